"""Names of models that are AI Gateway's own, and not a provider's.

`cloudflare/auto` is the Auto Router and `dynamic/{route}` a dynamic route; both are documented for
the compat endpoint (docs: features/auto-router, features/dynamic-routing). `custom/{alias}` is a
model alias, documented for Cloudflare's REST API (docs: features/routing/model-aliases): whether
the compat endpoint takes it is not known. A custom provider, `custom-{slug}`, is something else.

On Mistral's own path the gateway passes them on, and Mistral does not know them. Nothing is refused
beforehand, as Cloudflare does not say that they cannot work there: the user is told afterwards.
"""

import json
import re
from typing import Any, cast

AUTO_ROUTER = "cloudflare/"

_OWN = r"(?:cloudflare|custom|dynamic)/"
# Whether a body is worth parsing: a quote inside of a JSON text has a backslash before it.
_HINT = rb'"model"\s*:\s*"(?:cloudflare|custom|dynamic)/'
_SHOWN = 80  # characters
_STATUSES = frozenset({400, 404, 422})


def is_auto_router(model: object) -> bool:
    """Return whether a model is chosen by the Auto Router; none of its models is Mistral's.

    Whether the gateway looks at capitals and spaces is not known: no key goes along either way.
    """
    return isinstance(model, str) and model.strip().lower().startswith(AUTO_ROUTER)


def find_misplaced_model(request: Any, status_code: int) -> str | None:
    """Return a model of the gateway's own that a request was refused for, as text to show.

    Args:
        request: A request that was sent to a provider's own path.
        status_code: The status of its response.
    """
    content: bytes = getattr(request, "_content", b"")
    if status_code not in _STATUSES or re.search(_HINT, content) is None:
        return None
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None  # a file
    model: object = cast("dict[str, object]", body).get("model") if isinstance(body, dict) else None
    if not isinstance(model, str) or re.match(_OWN, model) is None:
        return None
    return ascii(model[:_SHOWN])
