"""Send with JavaScript's `fetch()`: on Pyodide, as in Cloudflare's Python Workers.

There are no sockets, threads or TLS contexts there, so there is no pool: the JavaScript runtime
keeps the connections. This module has the clients that stand in the place of `_pool`'s, and is
imported on Emscripten only. httpx2's own transport there (`httpx2-jsfetch`) is not used, because
it follows redirects by itself and sends the gateway's token along, asks for codings that the
runtime cannot decode, and yields `memoryview` where the SDK's stream reader needs `bytes`.

A synchronous call waits by JavaScript Promise Integration (JSPI), where the runtime has it.
"""

import copy
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import contextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib import import_module
from typing import Any, cast

from ._options import GatewayConfigError
from ._pool import AsyncPooledClient, PoolConfig, PooledClient
from ._sdk import httpx

# Pyodide's own modules, which no other Python has.
js: Any = import_module("js")
ffi: Any = import_module("pyodide.ffi")

# The runtime sets these itself, or must choose for itself which codings it can decode.
_OF_THE_RUNTIME = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "transfer-encoding"}
)

# What Node says of a fetch that failed before anything was sent. Other runtimes give no code.
_NOT_CONNECTED = frozenset(
    {
        *("ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"),
        *("UND_ERR_CONNECT_TIMEOUT", "ERR_TLS_CERT_ALTNAME_INVALID", "CERT_HAS_EXPIRED"),
        *("DEPTH_ZERO_SELF_SIGNED_CERT", "SELF_SIGNED_CERT_IN_CHAIN"),
        *("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"),
    }
)

_MAX_TIMER = 2**31 - 1  # milliseconds; JavaScript takes more for zero


@cache
def _client() -> Any:
    return httpx.Client(transport=FetchTransport(), cookies=_no_cookies(), follow_redirects=True)


@cache
def _async_client() -> Any:
    return httpx.AsyncClient(
        transport=AsyncFetchTransport(), cookies=_no_cookies(), follow_redirects=True
    )


def _no_cookies() -> CookieJar:
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def _build_request(*args: Any, **kwargs: Any) -> Any:
    return _client().build_request(*args, **kwargs)


def _client_attributes() -> dict[str, Any]:
    return cast("dict[str, Any]", vars(_client()))


def _new_client(client_class: Any, config: PoolConfig) -> Any:  # noqa: ARG001
    """Return a client of the library, as the SDK builds it, that sends with `fetch()`."""
    transport: Any = FetchTransport if client_class is httpx.Client else AsyncFetchTransport
    return client_class(transport=transport(), follow_redirects=True)


class FetchClient(PooledClient):
    """In the place of a `PooledClient`; the limits of a pool are the runtime's matter."""

    _build_request = staticmethod(_build_request)
    _new_client = staticmethod(_new_client)
    _attributes = staticmethod(_client_attributes)

    def send(self, request: Any, **kwargs: Any) -> Any:
        """Send a request with `fetch()`."""
        client = _client() if self._own is None else self._own
        return client.send(request, **kwargs)


class AsyncFetchClient(AsyncPooledClient):
    """In the place of an `AsyncPooledClient`."""

    _build_request = staticmethod(_build_request)
    _new_client = staticmethod(_new_client)
    _attributes = staticmethod(_client_attributes)

    async def send(self, request: Any, **kwargs: Any) -> Any:
        """Send a request with `fetch()`."""
        client = _async_client() if self._own is None else self._own
        return await client.send(request, **kwargs)


def through_fetch(client: Any) -> Any:
    """Return an HTTP client that sends as `client` does, but with the transports of this module.

    Only httpx2's own transports are replaced, and only in a copy: hooks, cookies and credentials
    are the client's.
    """
    transport = getattr(client, "__dict__", {}).get("_transport")
    if _safe(transport) is transport:
        return client
    client = copy.copy(client)
    client._transport = _safe(transport)  # noqa: SLF001
    client._mounts = {where: _safe(one) for where, one in client._mounts.items()}  # noqa: SLF001
    return client


def _safe(transport: Any) -> Any:
    if type(transport) is httpx.HTTPTransport:  # on Emscripten httpx2-jsfetch's, by this name
        return FetchTransport()
    if type(transport) is httpx.AsyncHTTPTransport:
        return AsyncFetchTransport()
    return transport


class FetchTransport(httpx.BaseTransport):
    """Sends synchronous requests, where the runtime lets Python wait for a promise."""

    def handle_request(self, request: Any) -> Any:
        """Send a request.

        Raises:
            GatewayConfigError: Python cannot wait here; nothing was sent.
        """
        if not ffi.can_run_sync():
            msg = (
                "a synchronous call cannot wait for its response here: this JavaScript runtime has "
                "no Promise Integration (JSPI), or the call is not below an async function. Use "
                "the asynchronous twin: `await client.chat.complete_async(...)` for "
                "`client.chat.complete(...)`, and so on for every operation"
            )
            raise GatewayConfigError(msg)
        fetch = _Fetch(request)
        promise = fetch.start(request, b"".join(request.stream))
        with fetch.limited():
            fetched = ffi.run_sync(promise)
        return _to_response(fetched, _Body(fetched.body, fetch))


class AsyncFetchTransport(httpx.AsyncBaseTransport):
    """Sends asynchronous requests."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request."""
        fetch = _Fetch(request)
        promise = fetch.start(request, b"".join([part async for part in request.stream]))
        with fetch.limited():
            fetched = await promise
        return _to_response(fetched, _AsyncBody(fetched.body, fetch))


class _Fetch:
    """One `fetch()`: its time limit, and how to end it."""

    def __init__(self, request: Any) -> None:
        self._controller = js.AbortController.new()
        timeout: dict[str, float | None] = request.extensions.get("timeout") or {}
        # `fetch()` does not tell connecting from waiting for the response.
        self._seconds = timeout.get("read")
        self._is_late = False

    def start(self, request: Any, body: bytes) -> Awaitable[Any]:
        """Return the promise of JavaScript's response."""
        init = _to_init(request, body, self._controller.signal)
        promise: Awaitable[Any] = js.fetch(str(request.url), init)
        return promise

    @contextmanager
    def limited(self) -> Generator[None, None, None]:
        """Limit the time of what is waited for, and raise its errors as the HTTP library's."""
        abort, timer = self._controller.abort, None
        if self._seconds is not None:
            milliseconds = min(int(self._seconds * 1000), _MAX_TIMER)
            timer = js.setTimeout(abort.bind(self._controller), milliseconds)
        try:
            yield
        except ffi.JsException as error:
            raise _to_http_error(error) from None
        except BaseException:  # cancelled
            abort()
            raise
        finally:
            if timer is not None:
                js.clearTimeout(timer)

    def end(self) -> None:
        """End it, and its connection where something is still to come."""
        self._controller.abort()


class _Body(httpx.SyncByteStream):
    def __init__(self, body: Any, fetch: _Fetch) -> None:
        self._reader = body.getReader() if body else None
        self._fetch = fetch

    def __iter__(self) -> Generator[bytes, None, None]:
        while self._reader is not None:
            with self._fetch.limited():
                part = ffi.run_sync(self._reader.read())
            if part.done:
                return
            yield part.value.to_bytes()

    def close(self) -> None:
        self._fetch.end()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, body: Any, fetch: _Fetch) -> None:
        self._reader = body.getReader() if body else None
        self._fetch = fetch

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        while self._reader is not None:
            with self._fetch.limited():
                part = await self._reader.read()
            if part.done:
                return
            yield part.value.to_bytes()

    async def aclose(self) -> None:
        self._fetch.end()


def _to_init(request: Any, body: bytes, signal: Any) -> Any:
    """Return what `fetch()` is to send, as an object of JavaScript's: its `repr` shows nothing."""
    headers = request.headers.multi_items()
    init = {
        "method": request.method,
        "headers": [pair for pair in headers if pair[0] not in _OF_THE_RUNTIME],
        "body": body or None,
        "redirect": "manual",
        "signal": signal,
    }
    return ffi.to_js(init, dict_converter=js.Object.fromEntries)


def _to_response(fetched: Any, body: Any) -> Any:
    headers = [(name, value) for name, value in fetched.headers.entries()]
    if fetched.headers.has("content-encoding"):  # the runtime has decoded it
        decoded = {"content-encoding", "content-length"}
        headers = [pair for pair in headers if pair[0] not in decoded]
    return httpx.Response(fetched.status, headers=headers, stream=body)


def _to_http_error(error: Any) -> Exception:
    """Return what the HTTP library raises for an error of JavaScript's."""
    if error.name == "AbortError":
        return httpx.ReadTimeout("no response from fetch() within the time limit")
    cause = getattr(error, "cause", None)
    code = getattr(cause, "code", None)
    reason = getattr(cause, "message", None) or code
    message = f"{error.message}: {reason}" if reason else str(error.message)
    return (httpx.ConnectError if code in _NOT_CONNECTED else httpx.ReadError)(message)
