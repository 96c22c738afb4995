"""Requests sent and responses read directly, on a connection that the HTTP library has opened.

The library passes both through five layers, the largest part of a call that is not the SDK's. Here
the usual ones skip them: a request whose body is in memory, a response with a length or in chunks.
All else is the library's, also a response of which the head has begun: the library then reads what
was received so far, and it ends as it always did. So does every request while a tool looks at the
library's layers.

`send()` skips the library's client, too, which is around those layers: it has auth, hooks, proxies,
redirects and cookies, and a client of the pool none of them.
"""

import logging
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from copy import copy
from functools import cache
from time import monotonic, perf_counter
from types import CodeType, FunctionType, MethodType
from typing import Any, cast

from ._http11 import Body, Head, UnusualError, encode_request, read_body, read_head
from ._sdk import httpx

_READ_SIZE = 64 * 1024
"""Bytes: the library's own."""
_MAX_JOINED = 64 * 1024
"""Bytes of a body that is copied, to be sent together with its head."""

logger = logging.getLogger("mistral_cf_adapter")

_POOLS = frozenset({"ConnectionPool", "AsyncConnectionPool"})  # not one that sends to a proxy
_EXTENSIONS = frozenset({"trace", "target", "sni_hostname"})
"""What a request may ask of the library."""


class _Connection:
    """A connection of the library's that is open, and the layers by which it is reached."""

    def __init__(self, transport: Any) -> None:
        """Look for the connection.

        Raises:
            ValueError: none is open, or it does not speak HTTP/1.1 with the origin itself.
            AttributeError: this release of the library keeps it elsewhere.
        """
        pool = transport._pool  # noqa: SLF001
        (outer,) = pool.connections
        self._http11 = http11 = outer._connection  # noqa: SLF001
        if type(pool).__name__ not in _POOLS or not hasattr(http11, "_h11_state"):
            raise ValueError
        self.stream = http11._network_stream  # noqa: SLF001
        self._states: Any = type(http11._state)  # noqa: SLF001
        name: str = type(http11).__module__.partition(".")[0]
        self._logger = logging.getLogger(f"{name}.http11")
        self._transport = transport
        self._layers = transport, pool, outer, http11
        origin = http11._origin  # noqa: SLF001
        port = None if origin.port == _DEFAULT_PORTS.get(origin.scheme) else origin.port
        self._origin = origin.scheme, origin.host, port
        library: Any = sys.modules[name]
        self.error, self.write_error = library.RemoteProtocolError, library.WriteError
        handler = _handler_of(transport)
        self.map_errors = handler.__func__.__globals__["map_httpcore_exceptions"]

    def can_send(self, request: Any) -> bool:
        """Return whether a request can be sent now, and no tool looks at how it is done."""
        http11, url = self._http11, request.url
        return (
            http11.is_idle()
            and (url.raw_scheme, url.raw_host, url.port) == self._origin  # else it is redirected
            and not http11.has_expired()  # nor has it bytes to read, at the last moment
            and _EXTENSIONS.isdisjoint(request.extensions)
            and not self._logger.isEnabledFor(logging.DEBUG)
            and all(map(_is_library_method, map(_handler_of, self._layers)))
        )

    def is_closed(self) -> bool:
        """Return whether the library has closed it."""
        return bool(self._http11.is_closed())

    def begin(self) -> None:
        """Mark the connection as in use, as the library does."""
        self._http11._state = self._states.ACTIVE  # noqa: SLF001

    def end(self) -> None:
        """Mark the connection as idle."""
        http11 = self._http11
        http11._state = self._states.IDLE  # noqa: SLF001
        if http11._keepalive_expiry is not None:  # noqa: SLF001
            http11._expire_at = monotonic() + http11._keepalive_expiry  # noqa: SLF001

    def hand_over(self, received: bytes) -> Any:
        """Return a transport that sends a request as if it, and what was received, were not yet.

        It has this connection in place of a pool, which would open another one, and really send
        the request again, if it was closed in the meantime.
        """
        http11 = self._http11
        http11._state = self._states.IDLE  # noqa: SLF001
        kind = _AsyncBegunStream if hasattr(self.stream, "aclose") else _BegunStream
        http11._network_stream = kind(http11, self.stream, received)  # noqa: SLF001
        transport = copy(self._transport)
        transport._pool = http11  # noqa: SLF001
        return transport

    def close(self) -> Any:
        """Close the connection; for the one of an async client, return what is to be awaited."""
        http11 = self._http11
        return http11.aclose() if hasattr(http11, "aclose") else http11.close()


_DEFAULT_PORTS = {b"http": 80, b"https": 443}


def _handler_of(layer: Any) -> Any:
    """Return the method that handles requests in a layer."""
    return getattr(layer, "handle_async_request", None) or layer.handle_request


# ---------------------------------------------------------------- layers that are skipped

_LIBRARIES = "httpcore.", "httpcore2.", "httpx.", "httpx2."

_codes: dict[FunctionType, CodeType] = {}
"""The library's functions that were looked at, each with the code that it ran then."""


def _is_library_method(method: Any) -> bool:
    """Return whether a method of an object is the library's own.

    A tool may have replaced it, to trace calls or to return responses without a server.
    """
    # A tool's wrapper says of itself that it is what it wraps, but for its type.
    return type(method) is MethodType and _is_library_function(method.__func__)


def _is_library_function(function: Any) -> bool:
    """Return whether a function is the library's own, and runs its own code."""
    if type(function) is not FunctionType:
        return False
    code = _codes.get(function)
    if code is None:
        module: str = function.__globals__.get("__name__", "")  # none where a mock was made
        if not module.startswith(_LIBRARIES):
            return False
        code = _codes[function] = function.__code__
    return function.__code__ is code


# What the functions whose work is done here call and set, in the releases that were tried: httpx
# 0.28.1 and httpx2 2.13.0 to 2.16.2. One that uses another name does more. First those of
# `_send_single_request()`, then those of `iter_raw()` and `aiter_raw()`.
_TRIED_NAMES = frozenset(
    {
        *("_transport_for_url", "url", "time", "perf_counter", "isinstance", "stream", "cookies"),
        *("SyncByteStream", "AsyncByteStream", "RuntimeError", "AssertionError", "request_context"),
        *("request", "handle_request", "handle_async_request", "BoundSyncStream"),
        "BoundAsyncStream",
        *("extract_cookies", "default_encoding", "_default_encoding", "logger", "info", "method"),
        *("http_version", "status_code", "reason_phrase"),
        *("is_stream_consumed", "StreamConsumed", "is_closed", "StreamClosed"),
        "_num_bytes_downloaded",
        *("ByteChunker", "_request", "len", "decode", "flush", "close", "aclose", "__aiter__"),
        "AsyncGenerator",
    }
)
_SENDERS = (
    *("_send_single_request", "send", "_send_handling_auth", "_send_handling_redirects"),
    "_transport_for_url",
)
_READERS = "iter_raw", "read", "iter_bytes", "close"
_ASYNC_READERS = "aiter_raw", "aread", "aiter_bytes", "aclose"


def _passes_on(client: Any, request: Any) -> bool:
    """Return whether the library's client would do nothing with a request but send it.

    That is, hand it to its transport, and read the response.
    """
    names = _ASYNC_READERS if hasattr(client, "aclose") else _READERS
    senders: list[Any] = [getattr(client, name, None) for name in _SENDERS]
    readers: list[Any] = [getattr(httpx.Response, name, None) for name in names]
    return (
        all(map(_is_library_method, senders))
        and all(map(_is_library_function, readers))
        and _were_tried(senders[0].__func__, readers[0])
        and not getattr(client, "_mounts", True)  # transports to proxies
        and client.auth is None
        and not any(client.event_hooks.values())
        and not client.is_closed
        and "timeout" in request.extensions
        and not request.url.userinfo  # else it would be sent as credentials
        and not senders[0].__globals__["logger"].isEnabledFor(logging.INFO)
    )


@cache
def _were_tried(*functions: FunctionType) -> bool:
    return all(_TRIED_NAMES.issuperset(function.__code__.co_names) for function in functions)


# ---------------------------------------------------------------- requests and responses


class _BegunStream:
    """The network stream of a connection on which the request is sent, the response begun.

    The library's own takes its place again as soon as the library reads.
    """

    def __init__(self, http11: Any, inner: Any, received: bytes) -> None:
        self._http11 = http11
        self._inner = inner
        self._received = received

    def read(self, *_args: object, **_kwargs: object) -> Any:
        self._http11._network_stream = self._inner  # noqa: SLF001
        return self._received  # empty only if the server has ended its side

    def write(self, *_args: object, **_kwargs: object) -> Any:
        """Write nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _AsyncBegunStream(_BegunStream):
    async def read(self, *_args: object, **_kwargs: object) -> Any:
        self._http11._network_stream = self._inner  # noqa: SLF001
        return self._received

    async def write(self, *_args: object, **_kwargs: object) -> Any:
        """Write nothing."""


class _Exchange:
    """A request and its response."""

    def __init__(self, connection: _Connection, request: Any, sent: tuple[bytes, bytes]) -> None:
        self.connection = connection
        self.stream = connection.stream
        timeouts: dict[str, float | None] = request.extensions.get("timeout") or {}
        self.read_timeout = timeouts.get("read")
        self.write_timeout = timeouts.get("write")
        self.head: Head | None = None
        self._received = b""
        self._body: Body | None = None
        self._is_ended = False
        self.to_send = [b"".join(sent)] if len(sent[1]) <= _MAX_JOINED else [*sent]
        """Taken out as it is sent: a traceback may show what is in here, or in a variable."""
        connection.begin()

    def receive(self) -> Any:
        """Receive more of the response; for an async client, return what is to be awaited."""
        return self.stream.read(_READ_SIZE, self.read_timeout)

    def take(self, data: bytes) -> None:
        """Take bytes of the response, until its head is there."""
        known = len(self._received)
        self._received += data
        found = read_head(self._received, known) if data else None
        if found is not None:
            self.head, self._received = found
        elif not data:
            raise UnusualError

    def hand_over(self) -> Any:
        """Return the transport by which the library reads the response."""
        return self.connection.hand_over(self._received)

    def build_response(self, stream_class: Any) -> Any:
        """Return the response, whose body is read by a stream of that class."""
        head = cast("Head", self.head)
        response = httpx.Response(
            head.status,
            headers=head.headers,
            stream=stream_class(self),
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": head.reason,
                "network_stream": self.stream,
            },
        )
        if head.raw.isascii():
            response.headers.encoding = "ascii"  # as the library would find out
        return response

    def read_on(self, received: bytes | None) -> bytes | None:
        """Return data of the body; `None` if more has to be received, `b""` at the end."""
        if self._is_ended:
            return b""
        if self._body is None:
            self._body = read_body(cast("Head", self.head), self._received, self.connection.error)
            self._received = b""
        try:
            return self._body.send(received)
        except StopIteration as end:
            self._received = end.value
            return b""
        except self.connection.error as error:
            received = None  # a traceback may show what a frame holds
            raise error.with_traceback(None)  # noqa: B904 - nor those of the body

    def take_body(self) -> bytes | None:
        """Return the body and end, if all of it has arrived and nothing else has."""
        head = self.head
        if head is None or len(self._received) != head.length or not head.keeps_open:
            return None  # the library reads it, or there is more to do
        body, self._received, self._is_ended = self._received, b"", True
        self.connection.end()
        return body

    def end(self) -> bool:
        """End when the body is read; return whether the connection is to stay open."""
        if self._is_ended:  # the connection may serve the next request already
            return True
        self._is_ended = True
        if self._received:
            logger.debug("closed, as the server sent more bytes than its response")
        if self._received or not cast("Head", self.head).keeps_open:
            return False
        self.connection.end()
        return True


class _Stream(httpx.SyncByteStream):
    """The body of a response. Who leaves it unread closes the connection: see `_pool`."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    def __iter__(self) -> Generator[bytes, None, None]:
        exchange = self._exchange
        with exchange.connection.map_errors():
            data = exchange.read_on(None)
            while data != b"":
                if data is None:
                    data = exchange.read_on(exchange.receive())
                else:
                    yield data
                    data = None  # a traceback may show what a frame holds
                    data = exchange.read_on(None)
        if not exchange.end():
            exchange.connection.close()


class _AsyncStream(httpx.AsyncByteStream):
    """The same for an event loop."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        exchange = self._exchange
        with exchange.connection.map_errors():
            data = exchange.read_on(None)
            while data != b"":
                if data is None:
                    data = exchange.read_on(await exchange.receive())
                else:
                    yield data
                    data = None  # a traceback may show what a frame holds
                    data = exchange.read_on(None)
        if not exchange.end():
            await exchange.connection.close()


def _bind(response: Any, request: Any, client: Any, start: float) -> None:
    """Give a response what the library's client gives it before it reads the body."""
    response.request = request
    names = client._send_single_request.__globals__  # noqa: SLF001
    bound = names["BoundAsyncStream" if hasattr(client, "aclose") else "BoundSyncStream"]
    # In httpx the stream sets `elapsed`, in httpx2 the response asks the stream.
    more = {"response": response} if "response" in bound.__init__.__code__.co_varnames else {}
    response.stream = bound(response.stream, start=start, **more)
    if response.status_code // 100 == 3 and response.has_redirect_location:
        redirect = client._send_handling_redirects.__func__.__code__  # noqa: SLF001
        # Releases differ in whether they raise for an address that cannot be followed.
        hidden = (httpx.RemoteProtocolError,) if "suppress" in redirect.co_names else ()
        with suppress(*hidden):
            response.next_request = client._build_redirect_request(request, response)  # noqa: SLF001


def _take_body(exchange: _Exchange, response: Any) -> bool:
    """Let a response have its body as if it was read, if nothing is to be received or decoded."""
    body = None if "content-encoding" in response.headers else exchange.take_body()
    if body is None:
        return False
    response.is_stream_consumed = response.is_closed = True
    response._num_bytes_downloaded = len(body)  # noqa: SLF001
    response._content = body  # noqa: SLF001
    return True


class _TransportBase:
    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._connection: _Connection | None = None

    @property
    def _pool(self) -> Any:
        return self._transport._pool  # noqa: SLF001

    def _begin(self, request: Any) -> _Exchange | None:
        """Return the exchange for a request, `None` if the library has to do it."""
        connection = self._connection
        if connection is None or connection.is_closed():
            self._connection = connection = _find_connection(self._transport)
        if connection is None or not connection.can_send(request):
            return None
        sent = encode_request(request)
        return None if sent is None else _Exchange(connection, request, sent)


def _find_connection(transport: Any) -> _Connection | None:
    with suppress(ValueError, AttributeError, KeyError):  # none open, or a release that differs
        return _Connection(transport)
    return None


class DirectTransport(_TransportBase, httpx.BaseTransport):
    """A transport of the library's that writes and reads directly where it can."""

    def handle_request(self, request: Any) -> Any:
        """Send a request and return the response."""
        exchange = self._begin(request)
        if exchange is None:
            return self._transport.handle_request(request)
        return self._receive(exchange, request)

    def send(self, client: Any, request: Any) -> Any:
        """Send a request and read the response, past the client whose transport this is.

        Returns `None`, and sends nothing, where the client has more to do than that.
        """
        start = perf_counter()
        exchange = self._begin(request) if _passes_on(client, request) else None
        if exchange is None:
            return None
        response = None
        try:
            response = self._receive(exchange, request)
            _bind(response, request, client, start)
            if _take_body(exchange, response):
                response.stream.close()
            else:
                response.read()
        except BaseException as error:
            if isinstance(error, httpx.RequestError):
                error.request = request
            if response is not None:
                response.close()
            raise
        return response

    def _receive(self, exchange: _Exchange, request: Any) -> Any:
        if not self._is_done(exchange):
            return exchange.hand_over().handle_request(request)
        return exchange.build_response(_Stream)

    def _is_done(self, exchange: _Exchange) -> bool:
        """Return whether the response is one to be read directly."""
        with exchange.connection.map_errors():
            try:
                with suppress(exchange.connection.write_error):  # as the library: see what comes
                    while exchange.to_send:
                        exchange.stream.write(exchange.to_send.pop(0), exchange.write_timeout)
                while exchange.head is None:
                    exchange.take(exchange.receive())
            except UnusualError:
                return False
        return True

    def close(self) -> None:
        """Close the library's transport."""
        self._transport.close()


class AsyncDirectTransport(_TransportBase, httpx.AsyncBaseTransport):
    """The same for an event loop."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request and return the response."""
        exchange = self._begin(request)
        if exchange is None:
            return await self._transport.handle_async_request(request)
        return await self._receive(exchange, request)

    async def send(self, client: Any, request: Any) -> Any:
        """Send a request and read the response, past the client whose transport this is.

        Returns `None`, and sends nothing, where the client has more to do than that.
        """
        start = perf_counter()
        exchange = self._begin(request) if _passes_on(client, request) else None
        if exchange is None:
            return None
        response = None
        try:
            response = await self._receive(exchange, request)
            _bind(response, request, client, start)
            if _take_body(exchange, response):
                await response.stream.aclose()
            else:
                await response.aread()
        except BaseException as error:
            if isinstance(error, httpx.RequestError):
                error.request = request
            if response is not None:
                await response.aclose()
            raise
        return response

    async def _receive(self, exchange: _Exchange, request: Any) -> Any:
        if not await self._is_done(exchange):
            return await exchange.hand_over().handle_async_request(request)
        return exchange.build_response(_AsyncStream)

    async def _is_done(self, exchange: _Exchange) -> bool:
        with exchange.connection.map_errors():
            try:
                with suppress(exchange.connection.write_error):
                    while exchange.to_send:
                        await exchange.stream.write(exchange.to_send.pop(0), exchange.write_timeout)
                while exchange.head is None:
                    exchange.take(await exchange.receive())
            except UnusualError:
                return False
        return True

    async def aclose(self) -> None:
        """Close the library's transport."""
        await self._transport.aclose()


_NO_REDIRECTS = {"follow_redirects": False}


def send(client: Any, request: Any, **kwargs: Any) -> Any:
    """Send and read as `client.send()` does, past the client's layers where they do nothing."""
    response = None
    if kwargs == _NO_REDIRECTS and _is_direct(client, "handle_request"):
        response = client._transport.send(client, request)  # noqa: SLF001
    return client.send(request, **kwargs) if response is None else response


async def asend(client: Any, request: Any, **kwargs: Any) -> Any:
    """Do the same in an event loop."""
    response = None
    if kwargs == _NO_REDIRECTS and _is_direct(client, "handle_async_request"):
        response = await client._transport.send(client, request)  # noqa: SLF001
    return await client.send(request, **kwargs) if response is None else response


def _is_direct(client: Any, handler: str) -> bool:
    """Return whether a client has a transport of ours, of which no tool has wrapped the handler."""
    transport = getattr(client, "_transport", None)
    return isinstance(transport, _TransportBase) and handler not in vars(transport)


def make_direct(client: Any) -> None:
    """Have an HTTP client of one connection write and read directly where it can."""
    if not hasattr(client, "_transport"):
        return  # a release of the library that keeps it elsewhere
    is_async = hasattr(client, "aclose")
    transport: Any = AsyncDirectTransport if is_async else DirectTransport
    client._transport = transport(client._transport)  # noqa: SLF001
