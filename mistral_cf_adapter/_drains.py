"""What follows a stream's end mark is read before its connection is used again, never in a close.

The SDK (2.x and 3.x) closes a stream at the mark, and the HTTP library then drops a connection
that still has some of the response to deliver: every streamed call would cost a TLS handshake.
But a stream is closed at any moment: by the garbage collector, or when the interpreter ends. So
closing waits for nothing and starts nothing. The pool keeps the connection with the rest of the
response unread, and the next call that acquires the connection reads it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, NamedTuple

READ_TIMEOUT = 0.05
"""Seconds that a call waits for the rest of earlier responses: a new connection takes as long."""


class Unread(NamedTuple):
    """A response that is closed, and not read to its end."""

    chunks: Any
    """The iterator over the body, where the reader left it."""
    stream: Any
    """The body, to be closed when it is read."""
    network_stream: Any
    """The HTTP library's stream of the connection."""


def read_rest(unread: Unread, deadline: float) -> bool:
    """Read a response to its end by a deadline; return whether that could be done.

    If not, the HTTP library has closed the connection or will do so with its client.
    """
    with suppress(Exception), _reading_until(unread.network_stream, deadline):
        if _exhaust(unread.chunks, deadline):
            unread.stream.close()
            return True
    return False


async def aread_rest(unread: Unread, deadline: float) -> bool:
    """Do the same as `read_rest()` in an event loop of asyncio's."""
    with suppress(Exception):
        async with asyncio.timeout(deadline - monotonic()):
            async for _ in unread.chunks:
                pass
        await unread.stream.aclose()
        return True
    return False


def read_received(chunks: Iterator[bytes], response: Any) -> None:
    """Read what has been received of a response, without waiting for more."""
    network_stream = response.extensions.get("network_stream")
    if network_stream is not None and has_own_connection(response):
        with suppress(Exception), _reading_until(network_stream, 0.0):
            _exhaust(chunks, monotonic() + READ_TIMEOUT)


async def aread_received(chunks: AsyncIterator[bytes], response: Any) -> None:
    """Read what the HTTP library has received of a response: asking for more would wait."""
    network_stream = response.extensions.get("network_stream")
    if network_stream is not None and has_own_connection(response):
        with suppress(Exception), _replaced_read(network_stream, _refuse_to_read):
            async for _ in chunks:
                pass


def is_being_read(chunks: Any) -> bool:
    """Return whether another thread or task is inside of an iterator at this moment."""
    return bool(getattr(chunks, "gi_running", False) or getattr(chunks, "ag_running", False))


def has_own_connection(response: Any) -> bool:
    """Return whether no other response uses the connection: HTTP/2 carries many at once."""
    return response.http_version in ("HTTP/1.1", "HTTP/1.0")


def _exhaust(chunks: Iterator[bytes], deadline: float) -> bool:
    """Read until the end or a deadline; return whether the end was reached."""
    return all(monotonic() <= deadline for _ in chunks)


@contextmanager
def _reading_until(network_stream: Any, deadline: float) -> Generator[None, None, None]:
    """Have each read of a connection end by a deadline; one in the past takes what is here.

    The library passes the request's timeout, which may be none, and reads as often as it needs
    to. A socket that looks readable does not help: of a TLS record a part may have arrived.
    """
    read = network_stream.read

    def read_until(max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        return bytes(read(max_bytes, max(deadline - monotonic(), 0.0)))

    with _replaced_read(network_stream, read_until):
        yield


@contextmanager
def _replaced_read(network_stream: Any, read: Callable[..., Any]) -> Generator[None, None, None]:
    network_stream.read = read
    try:
        yield
    finally:
        del network_stream.read


async def _refuse_to_read(*_args: object, **_kwargs: object) -> bytes:
    raise BlockingIOError
