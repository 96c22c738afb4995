"""A pool in which a call costs the same, however many connections lie idle."""

import asyncio
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, NoReturn

from ._sdk import httpx
from .bodies import wrap_body
from .drains import READ_TIMEOUT, Unread, aread_rest, is_being_read, read_rest
from .generators import HiddenFromLoop
from .leftovers import has_leftovers
from .stack import Builder, Connection, PoolConfig, Stack

_MOST = 65_536
"""Connections: more ports than that no address has."""


class _Lent:
    """The body of an answer, which gives its connection back when it is closed."""

    def __init__(self, inner: Any, pool: Any, connection: Connection, network_stream: Any) -> None:
        self._inner = inner
        self._held = [(pool, connection)]  # together, as a closed body keeps neither
        self._network_stream = network_stream
        # Weak: who drops the iterator ends it, and with it the use of the connection.
        self._chunks: Any = None
        self._read = False

    def _take(self) -> tuple[Any, Any]:
        """Return pool and connection once; `None` for both if another thread was quicker."""
        try:
            return self._held.pop()
        except IndexError:
            return None, None

    def _take_unread(self) -> tuple[Any, Any]:
        """Return them with the rest of the response, `None` for both if there is no rest."""
        chunks = None if self._chunks is None else self._chunks()
        if chunks is None or self._read or is_being_read(chunks):
            return None, None
        pool, connection = self._take()
        if pool is not None:
            self._chunks = None
            connection.unread = Unread(chunks, self._inner, self._network_stream)
        return pool, connection

    def __del__(self) -> None:
        """Give it back where nobody has begun to read, so that no generator ends."""
        with suppress(Exception):
            pool, connection = self._held.pop()
            pool.abandon(connection)


class _SyncLent(_Lent, httpx.SyncByteStream):
    def __iter__(self) -> Generator[bytes, None, None]:
        chunks = iter(self._inner)
        self._chunks = weakref.ref(chunks)
        try:
            # Not `yield from`, which would close the iterator where its rest is read later.
            for chunk in chunks:  # noqa: UP028
                yield chunk
        except BaseException:
            self.close()
            raise
        self._read = True

    def close(self) -> None:
        pool, connection = self._take()
        if pool is None:
            return
        usable = False
        try:
            self._inner.close()
            usable = self._read
        finally:
            pool.give(connection, usable=usable)

    def close_unread(self) -> bool:
        """Give the connection back with a rest to read; return whether there is one."""
        pool, connection = self._take_unread()
        if pool is not None:
            pool.give(connection, usable=True)
        return pool is not None


class _AsyncLent(_Lent, httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        chunks = HiddenFromLoop(aiter(self._inner))
        self._chunks = weakref.ref(chunks)
        try:
            async for chunk in chunks:
                yield chunk
        except BaseException:
            await self.aclose()
            if self._chunks is not None:  # else they are kept for the next call
                await chunks.aclose()
            raise
        self._read = True

    async def aclose(self) -> None:
        pool, connection = self._take()
        if pool is None:
            return
        usable = False
        try:
            await self._inner.aclose()
            usable = self._read
        finally:
            await pool.give(connection, usable=usable)

    async def aclose_unread(self) -> bool:
        """Give the connection back with a rest to read; return whether there is one."""
        pool, connection = self._take_unread()
        if pool is not None:
            await pool.give(connection, usable=True)
        return pool is not None


class Pool:
    """Synchronous connections; `build(limits)` makes an `httpx.Client`."""

    def __init__(self, build: Builder, config: PoolConfig) -> None:
        self.config = config
        self._stack = Stack(build, config)
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(min(config.max_connections, _MOST)):
            self._free.put(None)

    def send(
        self, request: Any, *, stream: bool = False, as_transport: bool = False, **asked: Any
    ) -> Any:
        """Send on a connection that is free, or a new one.

        As a transport it leaves to the client before it all that a client adds.

        Raises:
            PoolTimeout: all connections were in use for as long as the request may wait.
        """
        self._wait(request)
        connection = None
        try:
            connection = self._acquire(request.url)
            if as_transport:
                response = transport_of(connection.client, request).handle_request(request)
            else:
                response = connection.client.send(request, stream=stream, **asked)
        except BaseException:
            self.give(connection, usable=False)
            raise
        if stream:
            network_stream = response.extensions.get("network_stream")
            wrap_body(response, lambda inner: _SyncLent(inner, self, connection, network_stream))
        else:
            self.give(connection, usable=True)
        return response

    def _acquire(self, url: Any) -> Connection:
        """Return a connection on which nothing is left over from an earlier response."""
        deadline = None
        while True:
            connection, surplus = self._stack.take(url)
            _close(surplus)
            if connection.is_new:
                return connection
            if connection.unread is not None:
                deadline = deadline or monotonic() + READ_TIMEOUT
                if not self._is_read(connection, deadline):
                    continue
            if not has_leftovers(connection.client):
                return connection
            _close(self._stack.give(connection, usable=False))

    def _is_read(self, connection: Connection, deadline: float) -> bool:
        """Read the rest of an earlier response; close the connection if it does not come."""
        unread, connection.unread = connection.unread, None
        is_read = False
        try:
            is_read = read_rest(unread, deadline)
        finally:
            if not is_read:
                _close(self._stack.give(connection, usable=False))
        return is_read

    def _wait(self, request: Any) -> None:
        with suppress(Empty):
            self._free.get_nowait()
            return
        patience = _patience(request)
        with suppress(Empty):
            self._free.get(timeout=patience)
            return
        _give_up(request, patience)

    def give(self, connection: Connection | None, *, usable: bool) -> None:
        """Take a connection back, for the next request or to be closed."""
        try:
            if connection is not None:
                _close(self._stack.give(connection, usable=usable))
        finally:
            self._free.put(None)

    def abandon(self, connection: Connection) -> None:
        """Take a connection back whose answer nobody holds any more."""
        self.give(connection, usable=False)

    def close_idle(self) -> None:
        """Close the connections that are not in use."""
        _close(self._stack.expire())

    def close(self) -> None:
        """Close every connection."""
        _close(self._stack.clear())


class AsyncPool:
    """Connections of one event loop of asyncio's; `build(limits)` makes an `httpx.AsyncClient`."""

    def __init__(self, build: Builder, config: PoolConfig) -> None:
        self.config = config
        self._stack = Stack(build, config)
        self._free = asyncio.Semaphore(config.max_connections)
        self._loop = weakref.ref(asyncio.get_running_loop())
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(
        self, request: Any, *, stream: bool = False, as_transport: bool = False, **asked: Any
    ) -> Any:
        """Send on a connection that is free, or a new one.

        As a transport it leaves to the client before it all that a client adds.

        Raises:
            PoolTimeout: all connections were in use for as long as the request may wait.
        """
        await self._wait(request)
        connection = None
        try:
            connection = await self._acquire(request.url)
            if as_transport:
                transport = transport_of(connection.client, request)
                response = await transport.handle_async_request(request)
            else:
                response = await connection.client.send(request, stream=stream, **asked)
        except BaseException:
            await self.give(connection, usable=False)
            raise
        if stream:
            network_stream = response.extensions.get("network_stream")
            wrap_body(response, lambda inner: _AsyncLent(inner, self, connection, network_stream))
        else:
            await self.give(connection, usable=True)
        return response

    async def _acquire(self, url: Any) -> Connection:
        deadline = None
        while True:
            connection, surplus = self._stack.take(url)
            await _aclose(surplus)
            if connection.is_new:
                return connection
            if connection.unread is not None:
                deadline = deadline or monotonic() + READ_TIMEOUT
                if not await self._is_read(connection, deadline):
                    continue
            if not has_leftovers(connection.client):
                return connection
            await _aclose(self._stack.give(connection, usable=False))

    async def _is_read(self, connection: Connection, deadline: float) -> bool:
        unread, connection.unread = connection.unread, None
        is_read = False
        try:
            is_read = await aread_rest(unread, deadline)
        finally:
            if not is_read:
                await _aclose(self._stack.give(connection, usable=False))
        return is_read

    async def _wait(self, request: Any) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        patience = _patience(request)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._free.acquire()
                return
        _give_up(request, patience)

    async def give(self, connection: Connection | None, *, usable: bool) -> None:
        """Take a connection back, for the next request or to be closed."""
        try:
            if connection is not None:
                await _aclose(self._stack.give(connection, usable=usable))
        finally:
            self._free.release()

    def abandon(self, connection: Connection) -> None:
        """Take a connection back whose answer nobody holds any more; from any thread."""
        loop = self._loop()
        if loop is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._let_go, connection)

    def _let_go(self, connection: Connection) -> None:
        task = asyncio.ensure_future(self.give(connection, usable=False))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Close every connection."""
        await _aclose(self._stack.clear())


def transport_of(client: Any, request: Any) -> Any:
    """Return what an HTTP client sends a request with: a proxy may be on the way."""
    return client._transport_for_url(request.url)  # noqa: SLF001


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
        try:
            raise cancelled
        finally:
            del cancelled  # an error and a frame that holds it would form a cycle
