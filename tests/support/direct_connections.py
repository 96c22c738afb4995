"""Connections that are open before their first request, so that it is written directly, too.

`DIRECT_FROM_FIRST=1` runs any test in this way: most ask once on each connection, and the first
request on one is the HTTP library's. A connection that cannot be opened is the library's to refuse.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter._direct import AsyncDirectTransport, DirectTransport

if TYPE_CHECKING:
    from collections.abc import Callable


def open_before_first_request() -> None:
    """Change the transports for the rest of the process."""
    for name in ("handle_request", "send"):
        setattr(DirectTransport, name, _opening(getattr(DirectTransport, name)))
    for name in ("handle_async_request", "send"):
        setattr(AsyncDirectTransport, name, _opening_async(getattr(AsyncDirectTransport, name)))


def _opening(original: Callable[..., Any]) -> Callable[..., Any]:
    def handle(self: Any, *arguments: Any) -> Any:
        request = arguments[-1]
        outer = _new_connection(self, request)
        if outer is not None:
            with contextlib.suppress(Exception):
                _put(self, outer, outer._connect(_core_request(self, request)))
        return original(self, *arguments)

    return handle


def _opening_async(original: Callable[..., Any]) -> Callable[..., Any]:
    async def handle(self: Any, *arguments: Any) -> Any:
        request = arguments[-1]
        outer = _new_connection(self, request)
        if outer is not None:
            with contextlib.suppress(Exception):
                _put(self, outer, await outer._connect(_core_request(self, request)))
        return await original(self, *arguments)

    return handle


def _core(transport: Any) -> Any:
    return sys.modules[type(transport._pool).__module__.partition(".")[0]]


def _core_request(transport: Any, request: Any) -> Any:
    core = _core(transport)
    url = request.url
    address = core.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    return core.Request(request.method, address, extensions=request.extensions)


def _new_connection(transport: Any, request: Any) -> Any:
    """Return a connection to be opened, `None` where one is open or cannot be."""
    pool = getattr(transport._transport, "_pool", None)
    if type(pool).__name__ not in ("ConnectionPool", "AsyncConnectionPool") or pool.connections:
        return None
    if request.url.scheme == "https":  # session tickets of TLS 1.3 look like a response
        return None
    return pool.create_connection(_core_request(transport, request).url.origin)


def _put(transport: Any, outer: Any, stream: Any) -> None:
    kind = f"{'Async' if hasattr(stream, 'aclose') else ''}HTTP11Connection"
    http11 = getattr(_core(transport), kind)(
        origin=outer._origin, stream=stream, keepalive_expiry=outer._keepalive_expiry
    )
    http11._state = type(http11._state).IDLE
    outer._connection = http11
    transport._pool._connections.append(outer)
