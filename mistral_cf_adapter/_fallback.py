"""Direct fallback: Mistral itself, while the gateway is down and only where it was asked for.

An outage is a gateway that cannot be reached, or an answer of Cloudflare's edge in its place.
What the gateway itself answers is none: a limit or a guardrail stays one.
"""

import json
from collections.abc import Hashable
from time import monotonic
from typing import Any
from weakref import ref

from . import _errors
from ._capture import logger
from ._routing import CREDENTIALS, Route, copied, without_gateways_own
from ._sdk import MISTRAL_URL

CONNECT_TIMEOUT = 5.0  # seconds

_UNREACHABLE = frozenset({"ConnectError", "ConnectTimeout"})  # of httpx and of httpx2
_EDGE = frozenset({502, 503, 504, *range(520, 531)})

_MAX_REMEMBERED = 1024

_down_until: dict[tuple[Hashable, Hashable], float] = {}


def direct_request(route: Route, request: Any, outgoing: Any) -> Any:
    """Return the same request for Mistral itself, `None` where it must not go there.

    It goes there with the key that the gateway would have got, so never in place of a stored
    one, and never for a model of somebody else's.
    """
    if not route.fallback or not request.url.path.startswith(f"{route.provider_path}/"):
        return None
    keys = {name: outgoing.headers[name] for name in CREDENTIALS if name in outgoing.headers}
    if not keys:
        return None
    # Taken before anything is sent: the HTTP client's own auth writes into the headers it sends.
    headers = without_gateways_own(request.headers)
    headers.update(keys)
    path = bytes(request.url.raw_path).removeprefix(route.provider_raw_path).decode("ascii")
    direct = copied(request, headers, type(request.url)(f"{MISTRAL_URL}{path}"))
    if outgoing.url.path == request.url.path:
        return direct
    return _from_compat(direct, json.loads(outgoing.content))


def _from_compat(direct: Any, body: dict[str, Any]) -> Any:
    """Take the provider off the model's name; `None` for a dynamic route or another's model."""
    provider, _, model = str(body["model"]).partition("/")
    if provider != "mistral":
        return None
    headers = direct.headers.copy()
    headers.pop("content-length", None)
    return type(direct)(
        direct.method,
        direct.url,
        headers=headers,
        content=json.dumps({**body, "model": model}).encode(),
        extensions=direct.extensions,
    )


def bounded(outgoing: Any) -> Any:
    """Have a request give up connecting after seconds, whatever its own timeout."""
    timeout: dict[str, float | None] = outgoing.extensions.get("timeout") or {}
    connect = min(timeout.get("connect") or CONNECT_TIMEOUT, CONNECT_TIMEOUT)
    outgoing.extensions["timeout"] = {**timeout, "connect": connect}
    return outgoing


def unreachable(error: Exception) -> str | None:
    """Return the name of an error that says that no connection could be made."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((name for name in names if name in _UNREACHABLE), None)


def edge_failure(response: Any) -> str | None:
    """Return the status of an answer of Cloudflare's edge, which the gateway had no part in."""
    if response.status_code not in _EDGE:
        return None
    if any(name.lower().startswith("cf-aig-") for name in response.headers):
        return None
    if not isinstance(_errors.from_response(response), _errors.GatewayUnavailableError):
        return None
    return f"HTTP {response.status_code}"


def is_down(route: Route, via: Hashable) -> bool:
    """Tell whether the gateway failed so lately, on this way to it, that it is not tried first.

    After the cool-down one request tries it, while others still go to Mistral.
    """
    until = _down_until.get((route.origin, via))
    if until is None or not route.cool_down:
        return False
    now = monotonic()
    if now < until:
        return True
    _down_until[route.origin, via] = now + CONNECT_TIMEOUT
    return False


def mark(route: Route, via: Hashable, *, down: bool) -> None:
    """Remember what was found of the gateway, for all clients that reach it in this way."""
    if down:
        _forget_expired()
        _down_until[route.origin, via] = monotonic() + route.cool_down
    else:
        _down_until.pop((route.origin, via), None)


def pool_key(client: Any) -> Hashable:
    """Return what an outage is remembered by for a client of the user's own: never an `id()`.

    Another client may get the `id()` of one that is gone.
    """
    try:
        key = ref(client)
        hash(key)
    except TypeError:
        return object()  # for one stand-in's time
    return key


def _forget_expired() -> None:
    """Drop outages that are over, those of clients that are gone, and the oldest of too many."""
    now = monotonic()
    for key, until in list(_down_until.items()):
        is_gone = isinstance(key[1], ref) and key[1]() is None
        if until < now or is_gone:
            _down_until.pop(key, None)
    for key in list(_down_until)[: max(0, len(_down_until) - _MAX_REMEMBERED + 1)]:
        _down_until.pop(key, None)


def warn(outage: str, method: str, path: str) -> None:
    """Say that a request bypasses the gateway."""
    message = "AI Gateway is down (%s): %s %s goes to Mistral directly"
    logger.warning(message, outage, method, path)


def warn_of_stream(outage: str, method: str, path: str) -> None:
    """Say that a request would have bypassed the gateway, and cannot."""
    message = (
        "AI Gateway is down (%s), and %s %s cannot go to Mistral directly: its body is a stream "
        "that can be sent only once"
    )
    logger.warning(message, outage, method, path)
