"""The switch, `enabled`: while it is off, calls go to Mistral as without this package.

Options then do nothing, as nothing reads them. What would reach Mistral are the headers of
`gateway_headers()`: a client of `make_client()` drops them by a hook, and where `patch()` would
have redirected other clients, `gateway_headers()` returns none.
"""

import logging
import os
from typing import Any, Literal
from weakref import WeakValueDictionary

IF_CONFIGURED: Literal["if-configured"] = "if-configured"
Enabled = bool | Literal["if-configured"]

RUN_FLAGS = "CF_AIG_RUN_FLAGS"
"""The variable with the flags of `run` that are settings, as JSON; secrets are no flags."""
RUN_IS_OFF = '{"enabled": false}'
"""Its value below a `run` that is switched off, whatever switched it off."""
_VARIABLE = "CF_AIG_ENABLED"
_WORDS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}

logger = logging.getLogger("mistral_cf_adapter")

configurations: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""The SDK's configurations that have a route, by `id()`: they are compared by value, and have no
hash."""
_off_patches: list[object] = []
_callers: set[str] = set()


def read_enabled(value: object) -> Enabled:
    """Return what a setting or variable says.

    Raises:
        ValueError: it is another word.
    """
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word == IF_CONFIGURED:
        return IF_CONFIGURED
    if word not in _WORDS:
        msg = f"must be true, false or {IF_CONFIGURED}"
        raise ValueError(msg)
    return _WORDS[word]


def has_route(configuration: object) -> bool:
    """Return whether the client of an SDK configuration goes through the gateway."""
    return id(configuration) in configurations


def drops_headers() -> bool:
    """Return whether headers for the gateway would go to Mistral: no client has a route.

    That is so while a `patch()` that is switched off is in force, with the variable at false, or
    below a `run` that is switched off.
    """
    if configurations:
        return False
    if _off_patches or os.environ.get(RUN_FLAGS) == RUN_IS_OFF:
        return True
    return _WORDS.get(os.environ.get(_VARIABLE, "").strip().lower()) is False


def enter_off(patched: object) -> None:
    """Remember that a patch is switched off, until `leave_off()`."""
    _off_patches.append(patched)


def leave_off(patched: object) -> None:
    """Forget a patch; do nothing if it is not switched off."""
    _off_patches[:] = [each for each in _off_patches if each is not patched]


def log_off(caller: str, reason: str) -> None:
    """Log, once in a process for each caller, that calls do not go through the gateway."""
    if caller in _callers:
        return
    _callers.add(caller)
    logger.info("%s: calls go to Mistral directly, not through AI Gateway: %s", caller, reason)


class HeadersHook:
    """A hook of the SDK's that drops the headers for Cloudflare from a client without a route."""

    def before_request(self, context: Any, request: Any) -> Any:
        """Return the request, without `cf-*` headers unless it goes through the gateway."""
        if not has_route(context.config):  # patch(client) may have come later
            for name in {name for name in request.headers if name.lower().startswith("cf-")}:
                del request.headers[name]
        return request
