"""A pool in which a call costs the same, however many connections lie idle.

The HTTP library's own pool asks the system about every idle connection, twice a call: the 256
that a burst leaves behind would slow down each call of the next minute. Here every connection has
an HTTP client of its own, and the one that was used last is used next.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, NamedTuple, NoReturn

from ._sdk import httpx

_MOST = 65_536
"""Connections: more ports than that no address has."""
_AT_ONCE = 32
"""Connections that one call closes at most, so that none pays for a burst of long ago."""

Builder = Callable[[Any], tuple[Any, bool]]
"""From an HTTP library's `Limits` to a client, and whether it fits its pool for good."""
_Origin = tuple[str, bytes, int | None]


class PoolConfig(NamedTuple):
    """How a pool is set up; `keepalive_expiry` in seconds."""

    max_connections: int = 1000
    keepalive_expiry: float = 60.0

    def limits(self, connections: int) -> Any:
        """Return the same for an HTTP client of so many connections."""
        return httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=self.keepalive_expiry,
        )


class _Connection:
    """An HTTP client of one connection; proxies and TLS are its own matter."""

    __slots__ = ("client", "lasting", "origin", "since")

    def __init__(self, built: tuple[Any, bool], origin: _Origin) -> None:
        self.client, self.lasting = built
        self.origin = origin
        self.since = 0.0
        """When it was last used."""


class _Stack:
    """Which connection is next, and which have to go.

    There is no lock: a stream that nobody finished gives its connection back while garbage is
    collected, at any moment in any thread. Each step on the containers is one of theirs alone.
    """

    def __init__(self, build: Builder, config: PoolConfig) -> None:
        self._build = build
        self._config = config
        self._one = config.limits(1)
        self._idle: deque[_Connection] = deque()
        """The one used last is on the right."""
        self.open: set[_Connection] = set()
        self._is_closed = False

    def take(self, url: Any) -> tuple[_Connection, list[Any]]:
        """Return a connection for a URL, and clients to close first."""
        origin = (url.scheme, url.raw_host, url.port)
        idle = self._last(origin)
        if idle is not None:
            return idle, []
        connection = _Connection(self._build(self._one), origin)
        self.open.add(connection)
        surplus = len(self.open) - self._config.max_connections
        return connection, self._forget(self._oldest(surplus))

    def give(self, connection: _Connection, *, usable: bool) -> list[Any]:
        """Take a connection back; return clients to close."""
        connection.since = monotonic()
        if not usable or not connection.lasting or self._is_closed:
            return self._forget([connection])
        self._idle.append(connection)
        expired = connection.since - self._config.keepalive_expiry
        return self._forget(self._oldest(_AT_ONCE, before=expired))

    def clear(self) -> list[Any]:
        """Return all clients, to be closed; keep no connection from now on."""
        self._is_closed = True
        self._idle.clear()
        return self._forget(list(self.open))

    def _last(self, origin: _Origin) -> _Connection | None:
        """Take the connection of an origin that was used last: nearly always the last of all."""
        try:
            last = self._idle.pop()
        except IndexError:
            return None
        if last.origin == origin:
            return last
        self._idle.append(last)
        for connection in reversed(list(self._idle)):
            if connection.origin == origin:
                with suppress(ValueError, IndexError):  # another thread was quicker
                    self._idle.remove(connection)
                    return connection
        return None

    def _oldest(self, most: int, before: float = inf) -> list[_Connection]:
        """Take the connections that were last used before a time."""
        oldest: list[_Connection] = []
        with suppress(IndexError):
            while len(oldest) < most and self._idle[0].since < before:
                oldest.append(self._idle.popleft())
        return oldest

    def _forget(self, connections: list[_Connection]) -> list[Any]:
        self.open.difference_update(connections)
        return [connection.client for connection in connections]


class _Lent:
    """The body of an answer, which gives its connection back when it is closed."""

    def __init__(self, inner: Any, pool: Any, connection: _Connection) -> None:
        self._inner = inner
        self._pool = pool
        self._held = [connection]
        self._read = False

    def __del__(self) -> None:
        """Give it back where nobody has begun to read, so that no generator ends."""
        with suppress(Exception):
            self._pool.abandon(self._held.pop())


class _SyncLent(_Lent, httpx.SyncByteStream):
    def __iter__(self) -> Generator[bytes, None, None]:
        try:
            yield from self._inner
        except BaseException:
            self.close()
            raise
        self._read = True

    def close(self) -> None:
        usable = False
        try:
            self._inner.close()
            usable = self._read
        finally:
            with suppress(IndexError):  # given back, or being so by another thread
                self._pool.give(self._held.pop(), usable=usable)


class _AsyncLent(_Lent, httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._inner:
                yield chunk
        except BaseException:
            await self.aclose()
            raise
        self._read = True

    async def aclose(self) -> None:
        usable = False
        try:
            await self._inner.aclose()
            usable = self._read
        finally:
            with suppress(IndexError):
                await self._pool.give(self._held.pop(), usable=usable)


class Pool:
    """Synchronous connections; `build(limits)` makes an `httpx.Client`."""

    def __init__(self, build: Builder, config: PoolConfig) -> None:
        self._stack = _Stack(build, config)
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(min(config.max_connections, _MOST)):
            self._free.put(None)

    def send(self, request: Any, *, stream: bool = False, **asked: Any) -> Any:
        """Send on a connection that is free, or a new one.

        Raises:
            PoolTimeout: all connections were in use for as long as the request may wait.
        """
        self._wait(request)
        connection = None
        try:
            connection, surplus = self._stack.take(request.url)
            _close(surplus)
            response = connection.client.send(request, stream=stream, **asked)
        except BaseException:
            self.give(connection, usable=False)
            raise
        if stream:
            response.stream = _SyncLent(response.stream, self, connection)
        else:
            self.give(connection, usable=True)
        return response

    def _wait(self, request: Any) -> None:
        with suppress(Empty):
            self._free.get_nowait()
            return
        patience = _patience(request)
        with suppress(Empty):
            self._free.get(timeout=patience)
            return
        _give_up(request, patience)

    def give(self, connection: _Connection | None, *, usable: bool) -> None:
        """Take a connection back, for the next request or to be closed."""
        try:
            if connection is not None:
                _close(self._stack.give(connection, usable=usable))
        finally:
            self._free.put(None)

    def abandon(self, connection: _Connection) -> None:
        """Take a connection back whose answer nobody holds any more."""
        self.give(connection, usable=False)

    def close(self) -> None:
        """Close every connection."""
        _close(self._stack.clear())


class AsyncPool:
    """Connections of one event loop of asyncio's; `build(limits)` makes an `httpx.AsyncClient`."""

    def __init__(self, build: Builder, config: PoolConfig) -> None:
        self._stack = _Stack(build, config)
        self._free = asyncio.Semaphore(config.max_connections)
        self._loop = weakref.ref(asyncio.get_running_loop())
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, request: Any, *, stream: bool = False, **asked: Any) -> Any:
        """Send on a connection that is free, or a new one.

        Raises:
            PoolTimeout: all connections were in use for as long as the request may wait.
        """
        if self._free.locked():
            await self._wait(request)
        else:
            await self._free.acquire()
        connection = None
        try:
            connection, surplus = self._stack.take(request.url)
            await _aclose(surplus)
            response = await connection.client.send(request, stream=stream, **asked)
        except BaseException:
            await self.give(connection, usable=False)
            raise
        if stream:
            response.stream = _AsyncLent(response.stream, self, connection)
        else:
            await self.give(connection, usable=True)
        return response

    async def _wait(self, request: Any) -> None:
        patience = _patience(request)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._free.acquire()
                return
        _give_up(request, patience)

    async def give(self, connection: _Connection | None, *, usable: bool) -> None:
        """Take a connection back, for the next request or to be closed."""
        try:
            if connection is not None:
                await _aclose(self._stack.give(connection, usable=usable))
        finally:
            self._free.release()

    def abandon(self, connection: _Connection) -> None:
        """Take a connection back whose answer nobody holds any more; from any thread."""
        loop = self._loop()
        if loop is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._let_go, connection)

    def _let_go(self, connection: _Connection) -> None:
        task = asyncio.ensure_future(self.give(connection, usable=False))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Close every connection."""
        await _aclose(self._stack.clear())


def _patience(request: Any) -> float | None:
    timeout: dict[str, float | None] = request.extensions.get("timeout") or {}
    return timeout.get("pool")


def _give_up(request: Any, patience: float | None) -> NoReturn:
    msg = f"no connection became free within {patience} s: raise max_connections of the settings"
    raise httpx.PoolTimeout(msg, request=request)


def _close(clients: list[Any]) -> None:
    for client in clients:
        with suppress(Exception):  # none that the call at hand has to do with
            client.close()


async def _aclose(clients: list[Any]) -> None:
    """Close all, even when cancelled: nobody else knows them any more."""
    cancelled = None
    for client in clients:
        try:
            await client.aclose()
        except Exception:  # noqa: BLE001, S110 - none that the call at hand has to do with
            pass
        except BaseException as error:  # noqa: BLE001
            cancelled = error
    if cancelled is not None:
        raise cancelled
