"""Errors of the HTTP library, by which a call did not reach the gateway, as `GatewayError`s.

Loaded with the rest, and called only when a call has failed.
"""

import errno
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, TypeVar, cast

from ._errors import (
    GatewayConnectionError,
    GatewayTimeoutError,
    Mask,
    copy_without_credentials,
    mask_error,
)
from ._public import set_public_module
from ._sdk import http_library, library_of_class

_E = TypeVar("_E", bound=BaseException)

Cause = Literal["certificate", "tls", "dns", "refused", "timeout", "proxy", "connection"]

_MESSAGE_LIMIT = 300
_PASSES_BY_ITSELF = frozenset({"dns", "refused", "timeout", "connection"})
_WORDS: dict[Cause, str] = {
    "certificate": "cannot connect to {host}: the certificate is not trusted",
    "tls": "cannot connect to {host}: the TLS handshake failed",
    "dns": "cannot connect to {host}: the name cannot be resolved (DNS)",
    "refused": "cannot connect to {host}: the connection was refused",
    "proxy": "cannot connect to {host}: the proxy refused",
    "timeout": "cannot connect to {host}: it took too long",
    "connection": "the connection to {host} failed",
}
# By name: Python on Pyodide may have no `ssl`.
_CAUSES: dict[str, Cause] = {
    "SSLCertVerificationError": "certificate",
    "SSLError": "tls",
    "gaierror": "dns",
}
_TIMEOUTS = {
    "ConnectTimeout": ("connect", "no connection to {host}"),
    "ReadTimeout": ("read", "nothing came from {host}"),
    "WriteTimeout": ("write", "{host} took nothing of the request"),
    "PoolTimeout": ("pool", "no connection to {host} was free"),
}


def to_gateway_error(error: Exception, request: Any, mask: Mask) -> GatewayConnectionError | None:
    """Return the error for one of the HTTP library's; None for one that is about something else.

    Args:
        error: What was raised.
        request: The SDK's own request, without the gateway's token.
        mask: Masks secrets in the error's text.
    """
    kind: Any = type(error)
    if kind.__module__.partition(".")[0] not in ("httpx", "httpx2"):
        return None  # of a user's own transport, whose handlers look for what it has
    library = library_of_class(kind)
    own_mistake = library.UnsupportedProtocol, library.LocalProtocolError
    if not isinstance(error, library.TransportError) or isinstance(error, own_mistake):
        return None
    is_timeout = isinstance(error, library.TimeoutException)
    base: Any = GatewayTimeoutError if is_timeout else GatewayConnectionError
    cls = _combine(base, kind)
    # What broke later, by TLS for example, was connected.
    connected = not isinstance(error, library.ConnectError | library.ProxyError)
    cause: Cause = "connection" if connected else find_cause(error)
    shown = f"{_describe(error, cause, request)} ({_quote(error, mask)})"
    for each in iterate_causes(error):
        if isinstance(each, Exception):
            mask_error(each, mask)
    response = _make_response(request, 504 if is_timeout else 502)
    result: GatewayConnectionError = cls(f"AI Gateway: {shown}. {base.advice}", response, "")
    object.__setattr__(result, "_request", request)
    object.__setattr__(result, "retryable", cause in _PASSES_BY_ITSELF)
    result.args = (result.message,)  # as of the HTTP library; a response is not a text
    for note in getattr(error, "__notes__", ()):
        result.add_note(note)
    return result


def find_cause(error: BaseException) -> Cause:
    """Return why a connection failed, as far as what the error came from tells."""
    chain = list(iterate_causes(error))
    names = {cls.__name__ for each in chain for cls in type(each).__mro__}
    for name, cause in _CAUSES.items():
        if name in names:
            return cause
    if errno.ECONNREFUSED in [each.errno for each in chain if isinstance(each, OSError)]:
        return "refused"
    if any("Timeout" in name for name in names):
        return "timeout"
    if "ProxyError" in names:
        return "proxy"
    return "connection"


def iterate_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came from: the HTTP library's, then the system's own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        # The context of the system's own error is what the program was handling at the time.
        error = error.__cause__ or (None if isinstance(error, OSError) else error.__context__)


def first_of(chain: list[BaseException], kind: type[_E]) -> _E | None:
    """Return the first exception of a class."""
    return next((error for error in chain if isinstance(error, kind)), None)


def _describe(error: Exception, cause: Cause, request: Any) -> str:
    host = request.url.netloc.decode("ascii")
    names = [cls.__name__ for cls in type(error).__mro__]
    kind = next((name for name in names if name in _TIMEOUTS), None)
    if kind is None:
        return _WORDS[cause].format(host=host)
    setting, words = _TIMEOUTS[kind]
    timeouts: dict[str, float | None] = request.extensions.get("timeout") or {}
    seconds = timeouts.get(setting)
    return words.format(host=host) + ("" if seconds is None else f" within {seconds:g} s")


def _quote(error: Exception, mask: Mask) -> str:
    """Return the error's class and text, which programs and people look for in logs."""
    text = mask(str(error)).strip()[:_MESSAGE_LIMIT].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _make_response(request: Any, status: int) -> Any:
    """Return the stand-in for a response, which an `SDKError` must have."""
    return http_library(request).Response(
        status,
        request=copy_without_credentials(request),
        extensions={"reason_phrase": b"No Response"},
    )


@cache
def _combine(base: Any, kind: Any) -> Any:
    """Return a class that is one of ours and one of the HTTP library's, made once for each pair."""
    cls = type(base.__name__, (base, kind), {"__doc__": base.__doc__, "__reduce__": _reduce})
    set_public_module(cls)
    return cls


def _reduce(error: Any) -> tuple[Any, ...]:
    """Pickle such an error: its class is made again, and its request leaves the headers behind."""
    base, kind = cast("tuple[Any, Any]", type(error).__bases__)
    _, (message, response, body), state = base.__reduce__(error)
    state["_request"] = response.request
    return _restore, (base, kind, message, response, body), state


def _restore(base: Any, kind: Any, message: str, response: Any, body: str) -> Any:
    error = _combine(base, kind)(message, response, body)
    error.args = (message,)
    return error
