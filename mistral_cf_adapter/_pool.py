"""Connections: one pool per process, event loop and configuration, shared by all clients.

Credentials travel with each request, so clients can share connections; a client per request
then costs no handshake. A pool is opened by the first request that needs it. It goes with the
event loop (async) or the process (sync), never with one of its clients.
"""

import asyncio
import atexit
import contextlib
import logging
import os
import select
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import suppress
from functools import cache, lru_cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, NamedTuple, NoReturn, Self, cast
from weakref import WeakKeyDictionary

from . import _direct
from ._base_url import is_loopback
from ._certificates import read_certificate_state
from ._http_variables import build_or_explain
from ._locks import fork_safe_lock
from ._sdk import httpx
from ._streaming import (
    DRAIN_TIMEOUT,
    AsyncPoolByteStream,
    SyncPoolByteStream,
    aread_rest,
    read_rest,
    wrap_body,
)

_MAX_EVICTIONS = 32
"""Connections that one call closes at most, so that none pays for a burst of long ago."""

_Origin = tuple[str, bytes, int | None]
ClientFactory = Callable[[Any, _Origin], tuple[Any, bool]]
"""From an HTTP library's `Limits` and an origin to a client, and whether it can be pooled."""


class PoolConfig(NamedTuple):
    """How a pool is set up; `keepalive_expiry` in seconds."""

    max_connections: int = 1000
    keepalive_expiry: float = 60.0
    certificates: Hashable = None
    """The state of the certificate files when the client was built: see `_certificates.py`."""
    is_direct: bool = True
    """Whether requests are written and responses read directly: see `_direct.py`."""

    def limits(self, connections: int) -> Any:
        """Return the same for an HTTP client of so many connections."""
        return httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=self.keepalive_expiry,
        )


class Connection:
    """An HTTP client of one connection; proxies and TLS are its own matter."""

    __slots__ = ("client", "last_used", "origin", "reusable", "unread")

    def __init__(self, built: tuple[Any, bool], origin: _Origin) -> None:
        self.client, self.reusable = built
        self.origin = origin
        self.last_used = 0.0
        """When it was last used."""
        self.unread: Any = None
        """What is left of its last response, to be read before the next request."""

    @property
    def is_new(self) -> bool:
        """Whether no request was sent on it."""
        return not self.last_used


class IdleConnections:
    """Which connection is next, and which have to go.

    No lock: `release()` may run inside garbage collection in any thread, where waiting can
    deadlock. Only single atomic deque and set operations are used.
    """

    def __init__(self, build: ClientFactory, config: PoolConfig) -> None:
        self._build = build
        self._config = config
        self._one = config.limits(1)
        self._idle: deque[Connection] = deque()
        """The one used last is on the right."""
        self.open: set[Connection] = set()
        self._is_closed = False

    def acquire(self, url: Any) -> tuple[Connection, list[Any]]:
        """Acquire a connection for a URL; return it and the clients to close first."""
        origin = (url.scheme, url.raw_host, url.port)
        idle = self._pop_idle(origin)
        if idle is not None:
            return idle, []
        connection = Connection(self._build(self._one, origin), origin)
        self.open.add(connection)
        evicted = len(self.open) - self._config.max_connections
        return connection, self._discard(self._pop_expired(evicted))

    def release(self, connection: Connection, *, usable: bool) -> list[Any]:
        """Release a connection; return clients to close."""
        connection.last_used = monotonic()
        if not usable or not connection.reusable or self._is_closed:
            return self._discard([connection])
        self._idle.append(connection)
        expired = connection.last_used - self._config.keepalive_expiry
        return self._discard(self._pop_expired(_MAX_EVICTIONS, before=expired))

    def expire(self) -> list[Any]:
        """Return the clients of all idle connections, to be closed."""
        return self._discard(self._pop_expired(len(self._idle)))

    def close_all(self) -> list[Any]:
        """Return all clients, to be closed, and keep no connection from now on."""
        self._is_closed = True
        self._idle.clear()
        return self._discard(list(self.open))

    def _pop_idle(self, origin: _Origin) -> Connection | None:
        """Remove and return the connection of an origin that was used last."""
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

    def _pop_expired(self, most: int, before: float = inf) -> list[Connection]:
        """Remove and return connections that were last used before a time."""
        oldest: list[Connection] = []
        with suppress(IndexError):
            while len(oldest) < most and self._idle[0].last_used < before:
                oldest.append(self._idle.popleft())
        return oldest

    def _discard(self, connections: list[Connection]) -> list[Any]:
        self.open.difference_update(connections)
        return [connection.client for connection in connections]


logger = logging.getLogger("mistral_cf_adapter")

_warned: set[str] = set()


def has_leftovers(client: Any) -> bool:
    """Return whether a connection of an HTTP client holds bytes, or may hold some.

    Args:
        client: An `httpx.Client` or `AsyncClient`, none of whose connections is in use.
    """
    try:
        return any(map(_is_dirty, _open_connections(client)))
    except Exception as unknown:  # noqa: BLE001 - whatever it is, nothing can be told
        _warn(unknown)
        return True


def _open_connections(client: Any) -> list[Any]:
    transports = (client._transport, *client._mounts.values())  # noqa: SLF001
    return [
        connection
        for transport in transports
        if transport is not None  # as for a host of NO_PROXY, which the first one serves
        for connection in _pool_of(transport).connections
        if not connection.is_closed()
    ]


def _pool_of(transport: Any) -> Any:
    """Return the connection pool of a transport, which a tracing tool may have wrapped."""
    while not hasattr(transport, "_pool"):
        transport = transport._transport  # noqa: SLF001
    return transport._pool  # noqa: SLF001


def _is_dirty(connection: Any) -> bool:
    if not connection.is_idle():
        return True
    http11 = connection
    while not hasattr(http11, "_h11_state"):  # one to or through a proxy holds another
        http11 = http11._connection  # noqa: SLF001
    received, is_at_end = http11._h11_state.trailing_data  # noqa: SLF001
    stream = http11._network_stream  # noqa: SLF001
    sock = _asyncio_socket(stream) if hasattr(stream, "_stream") else _blocking_socket(stream)
    if received or sock is None:
        logger.debug("closed, as the server sent more bytes than its response: %s", connection)
        return True
    return is_at_end or is_readable(sock)


def _blocking_socket(stream: Any) -> Any:
    """Return the socket of a blocking stream, `None` if bytes wait in a buffer above it."""
    sock = stream._sock  # noqa: SLF001
    if hasattr(sock, "pending") and sock.pending():
        return None
    if not hasattr(stream, "ssl_obj"):
        return sock
    # TLS within TLS, for a proxy that is spoken to in https.
    return None if stream.ssl_obj.pending() or stream._incoming.pending else sock  # noqa: SLF001


def _asyncio_socket(stream: Any) -> Any:
    """Return the socket of an event loop's stream, `None` if bytes wait in a buffer above it."""
    stream = stream._stream  # noqa: SLF001
    while hasattr(stream, "transport_stream"):
        if stream._ssl_object.pending() or stream._read_bio.pending:  # noqa: SLF001
            return None
        stream = stream.transport_stream
    transport = stream._transport  # noqa: SLF001
    if stream._protocol.read_queue:  # noqa: SLF001
        return None
    # On Windows a read that was under way when reading was paused leaves its result here.
    if getattr(transport, "_pending_data_length", -1) != -1:
        return None
    return transport.get_extra_info("socket")


def is_readable(sock: Any) -> bool:
    """Return whether a socket has bytes to read, or has ended: a system call, not a read."""
    descriptor: int = sock.fileno()
    if descriptor < 0:
        return True
    if not hasattr(select, "poll"):  # Windows, and where gevent has taken it away
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _warn(unknown: Exception) -> None:
    """Log once why connections are closed after each response."""
    reason = str(unknown)
    if reason in _warned:
        return
    _warned.add(reason)
    message = (
        "connections are not reused: whether a response left bytes on one cannot be told with "
        "this release of the HTTP library (%s)"
    )
    logger.warning(message, reason)


_MAX_PORTS = 65_536
"""Connections: more ports than that no address has."""


class ConnectionPool:
    """Synchronous connections; `build(limits)` makes an `httpx.Client`."""

    def __init__(self, build: ClientFactory, config: PoolConfig) -> None:
        self.config = config
        self._connections = IdleConnections(build, config)
        self._slots: SimpleQueue[None] = SimpleQueue()
        for _ in range(min(config.max_connections, _MAX_PORTS)):
            self._slots.put(None)

    def send(
        self, request: Any, *, stream: bool = False, as_transport: bool = False, **send_kwargs: Any
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
            elif stream or not self.config.is_direct:
                response = connection.client.send(request, stream=stream, **send_kwargs)
            else:
                response = _direct.send(connection.client, request, **send_kwargs)
        except BaseException:
            self.release(connection, usable=False)
            raise
        if stream:
            network_stream = response.extensions.get("network_stream")
            wrap_body(response, SyncPoolByteStream, self, connection, network_stream)
        else:
            self.release(connection, usable=True)
        return response

    def _acquire(self, url: Any) -> Connection:
        """Return a connection on which nothing is left over from an earlier response."""
        deadline = None
        while True:
            connection, evicted = self._connections.acquire(url)
            _close(evicted)
            if connection.is_new:
                return connection
            if connection.unread is not None:
                deadline = deadline or monotonic() + DRAIN_TIMEOUT
                if not self._is_read(connection, deadline):
                    continue
            if not has_leftovers(connection.client):
                return connection
            _close(self._connections.release(connection, usable=False))

    def _is_read(self, connection: Connection, deadline: float) -> bool:
        """Read the rest of an earlier response; close the connection if it does not come."""
        unread, connection.unread = connection.unread, None
        is_read = False
        try:
            is_read = read_rest(unread, deadline)
        finally:
            if not is_read:
                _close(self._connections.release(connection, usable=False))
        return is_read

    def _wait(self, request: Any) -> None:
        with suppress(Empty):
            self._slots.get_nowait()
            return
        timeout = _get_pool_timeout(request)
        with suppress(Empty):
            self._slots.get(timeout=timeout)
            return
        _raise_pool_timeout(request, timeout)

    def release(self, connection: Connection | None, *, usable: bool) -> None:
        """Release a connection: keep it for the next request, or close it."""
        try:
            if connection is not None:
                _close(self._connections.release(connection, usable=usable))
        finally:
            self._slots.put(None)

    def release_unclosed(self, connection: Connection) -> None:
        """Release the connection of a response that was dropped."""
        self.release(connection, usable=False)

    def close_idle(self) -> None:
        """Close the connections that are not in use."""
        _close(self._connections.expire())

    def close(self) -> None:
        """Close every connection."""
        _close(self._connections.close_all())


class AsyncConnectionPool:
    """Connections of one event loop of asyncio's; `build(limits)` makes an `httpx.AsyncClient`."""

    def __init__(self, build: ClientFactory, config: PoolConfig) -> None:
        self.config = config
        self._connections = IdleConnections(build, config)
        self._slots = asyncio.Semaphore(config.max_connections)
        self._loop = weakref.ref(asyncio.get_running_loop())
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(
        self, request: Any, *, stream: bool = False, as_transport: bool = False, **send_kwargs: Any
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
            elif stream or not self.config.is_direct:
                response = await connection.client.send(request, stream=stream, **send_kwargs)
            else:
                response = await _direct.asend(connection.client, request, **send_kwargs)
        except BaseException:
            await self.release(connection, usable=False)
            raise
        if stream:
            network_stream = response.extensions.get("network_stream")
            wrap_body(response, AsyncPoolByteStream, self, connection, network_stream)
        else:
            await self.release(connection, usable=True)
        return response

    async def _acquire(self, url: Any) -> Connection:
        deadline = None
        while True:
            connection, evicted = self._connections.acquire(url)
            await _aclose(evicted)
            if connection.is_new:
                return connection
            if connection.unread is not None:
                deadline = deadline or monotonic() + DRAIN_TIMEOUT
                if not await self._is_read(connection, deadline):
                    continue
            if not has_leftovers(connection.client):
                return connection
            await _aclose(self._connections.release(connection, usable=False))

    async def _is_read(self, connection: Connection, deadline: float) -> bool:
        unread, connection.unread = connection.unread, None
        is_read = False
        try:
            is_read = await aread_rest(unread, deadline)
        finally:
            if not is_read:
                await _aclose(self._connections.release(connection, usable=False))
        return is_read

    async def _wait(self, request: Any) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        timeout = _get_pool_timeout(request)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._slots.acquire()
                return
        _raise_pool_timeout(request, timeout)

    async def release(self, connection: Connection | None, *, usable: bool) -> None:
        """Release a connection: keep it for the next request, or close it."""
        try:
            if connection is not None:
                await _aclose(self._connections.release(connection, usable=usable))
        finally:
            self._slots.release()

    def release_unclosed(self, connection: Connection) -> None:
        """Release the connection of a response that was dropped; called from any thread."""
        loop = self._loop()
        if loop is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._release_later, connection)

    def _release_later(self, connection: Connection) -> None:
        task = asyncio.ensure_future(self.release(connection, usable=False))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Close every connection."""
        await _aclose(self._connections.close_all())


def transport_of(client: Any, request: Any) -> Any:
    """Return what an HTTP client sends a request with: a proxy may be on the way."""
    return client._transport_for_url(request.url)  # noqa: SLF001


def _get_pool_timeout(request: Any) -> float | None:
    timeout: dict[str, float | None] = request.extensions.get("timeout") or {}
    return timeout.get("pool")


def _raise_pool_timeout(request: Any, timeout: float | None) -> NoReturn:
    msg = f"no connection became free within {timeout} s: raise max_connections of the settings"
    raise httpx.PoolTimeout(msg, request=request)


def _close(clients: list[Any]) -> None:
    for client in clients:
        with suppress(Exception):  # none that the call at hand has to do with
            client.close()


async def _aclose(clients: list[Any]) -> None:
    """Close all clients, also when cancelled: no other reference to them is left."""
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


# What httpx reads when a client is built: two pools differ when these do.
_HTTP_ENVIRONMENT = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_ENCODED: tuple[Any, ...] = tuple(map(getattr(os.environ, "encodekey", str), _HTTP_ENVIRONMENT))
_MAX_CONTEXTS = 8  # certificates are replaced once in a while, not all the time
_MAX_LOADS = 3  # of a bundle that is replaced while it is loaded

_MAX_CACHED_URL = 1024  # characters of a URL worth remembering


class _Environment:
    """Stands for the values of those variables, one of which may have a proxy's password in it.

    Frames that an error passes hold this in their variables, and not the values.
    """

    __slots__ = ()


_Values = tuple[str | bytes | None, ...]
_Key = tuple[PoolConfig, _Environment]


class _ProcessPools:
    """All pools of this process."""

    def __init__(self) -> None:
        # Reentrant: a finalizer or a signal handler may call while certificates are loaded.
        self.lock = threading.RLock()
        self.ssl: dict[tuple[_Environment, Hashable], Any] = {}
        self.sync: dict[_Key, ConnectionPool] = {}
        self.by_loop: WeakKeyDictionary[Any, dict[_Key, Any]] = WeakKeyDictionary()
        self.no_loop: dict[_Key, Any] = {}
        self.shutdown_generators: dict[int, AsyncGenerator[None, None]] = {}


_process_pools = _ProcessPools()


_environments: dict[_Values, _Environment] = {}


def _environment() -> _Environment:
    """Return the same object for as long as the variables have the same values."""
    values = _read_variables()
    found = _environments.get(values)
    return _environments.setdefault(values, _Environment()) if found is None else found


def _read_variables() -> _Values:
    # `os.environ.get()` raises and catches an error for each name that is not set, as most are.
    stored = getattr(os.environ, "_data", None)
    if stored is None:
        return tuple(map(os.environ.get, _HTTP_ENVIRONMENT))
    return tuple(map(stored.get, _ENCODED))


def _key(config: PoolConfig) -> _Key:
    return config, _environment()


def _load_certificates(config: PoolConfig, environment: _Environment) -> tuple[PoolConfig, Any]:
    """Return a TLS context, and the configuration with the state of the files it was loaded from.

    They may have been replaced since the client was built, which loads nothing by itself.
    """
    contexts = _process_pools.ssl
    context = contexts.get((environment, config.certificates))
    if context is not None:
        return config, context
    state: Hashable = None
    for _ in range(_MAX_LOADS):
        state = read_certificate_state()
        context = contexts.get((environment, state))
        context = context or build_or_explain(httpx.create_ssl_context)
        if state == read_certificate_state():  # else a file was replaced, or one for keys opened
            break
    while len(contexts) >= _MAX_CONTEXTS:
        contexts.pop(next(iter(contexts)), None)
    contexts[environment, state] = context
    # The same object where it can be: clients with another one take the pool's at their first call.
    same = state == config.certificates
    return config if same else config._replace(certificates=state), context


def _client_factory(
    client_class: Any, config: PoolConfig, environment: _Environment, context: Any
) -> ClientFactory:
    def build(limits: Any, origin: tuple[str, bytes, int | None]) -> tuple[Any, bool]:
        construct = partial(
            client_class,
            limits=limits,
            verify=context,
            # Plain http to this machine: a proxy would get the secrets unencrypted, and could not
            # reach the origin.
            trust_env=not _is_plain_loopback(origin),
            follow_redirects=True,  # for clients that were patched once and are their own again
            # Clients share connections: a cookie set for one must not be sent for another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        client = build_or_explain(construct)
        if config.is_direct:
            _direct.make_direct(client)
        # If the proxy variables changed meanwhile, use this client once and do not pool it.
        return client, _environment() is environment

    return build


def _is_plain_loopback(origin: tuple[str, bytes, int | None]) -> bool:
    return origin[0] == "http" and is_loopback(origin[1].decode("ascii").strip("[]"))


@cache
def _request_builder() -> Any:
    """Return a client that only builds requests: it needs neither TLS nor connections."""
    return httpx.Client(transport=httpx.BaseTransport())


def build_request(method: str, url: Any, *, params: Any = None, **kwargs: Any) -> Any:
    """Build a request for any of the pools, as `httpx.Client.build_request()` does."""
    if isinstance(url, str) and len(url) <= _MAX_CACHED_URL and "?" not in url:
        # The library would take the URL apart twice, the second time to add no parameters.
        url, params = _parse_url(url), params or None
    return _request_builder().build_request(method, url, params=params, **kwargs)


def client_attributes() -> dict[str, Any]:
    """Return what an HTTP client of the library holds."""
    return cast("dict[str, Any]", vars(_request_builder()))


def new_client(client_class: Any, config: PoolConfig) -> Any:
    """Return a client of the library, as the SDK builds it, that sends over shared connections."""
    transport: Any = PoolTransport if client_class is httpx.Client else AsyncPoolTransport
    return client_class(transport=transport(config), follow_redirects=True)


class PoolTransport(httpx.BaseTransport):
    """Sends over the connections that a process shares."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config

    def handle_request(self, request: Any) -> Any:
        """Send a request."""
        pool = sync_pool(self._config)
        self._config = pool.config
        return pool.send(request, stream=True, as_transport=True)


class AsyncPoolTransport(httpx.AsyncBaseTransport):
    """Sends over the connections that an event loop shares."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request."""
        pool = async_pool(self._config)
        self._config = pool.config
        return await pool.send(request, stream=True, as_transport=True)


@lru_cache(maxsize=256)
def _parse_url(url: str) -> Any:
    return httpx.URL(url)


def sync_pool(config: PoolConfig) -> ConnectionPool:
    """Return this process's pool for a configuration, building it if need be.

    Its own `config` says which certificates it was built with.
    """
    key = _key(config)
    pool = _process_pools.sync.get(key)
    if pool is None:
        with _process_pools.lock:
            config, context = _load_certificates(config, key[1])
            key = config, key[1]
            pool = _process_pools.sync.get(key)
            if pool is None:
                _expire_outdated(_process_pools.sync, config)
                build = _client_factory(httpx.Client, config, key[1], context)
                pool = _process_pools.sync[key] = ConnectionPool(build, config)
    return pool


def async_pool(config: PoolConfig) -> Any:
    """Return the running event loop's pool for a configuration, building it if need be."""
    key = _key(config)
    pools = _pools_of_loop()
    pool = pools.get(key)
    if pool is None:
        with _process_pools.lock:
            config, context = _load_certificates(config, key[1])
        key = config, key[1]
        pool = pools.get(key)
        if pool is None:  # no other thread runs this loop
            in_asyncio = pools is not _process_pools.no_loop
            used = config._replace(is_direct=config.is_direct and in_asyncio)
            build = _client_factory(httpx.AsyncClient, used, key[1], context)
            pool = pools[key] = (AsyncConnectionPool if in_asyncio else _PlainAsyncClients)(
                build, config
            )
            _close_on_loop_shutdown(pools, key)
    return pool


class _PlainAsyncClients:
    """The HTTP library's own pools, for an event loop that is not asyncio's.

    They keep no connection: nothing could tell that a response left no bytes on one before the
    library hands it to the next call.
    """

    def __init__(self, build: ClientFactory, config: PoolConfig) -> None:
        self.config = config
        limits = httpx.Limits(max_connections=config.max_connections, max_keepalive_connections=0)
        self._remote, _ = build(limits, ("https", b"", None))
        self._loopback, _ = build(limits, ("http", b"localhost", None))

    async def send(self, request: Any, *, as_transport: bool = False, **send_kwargs: Any) -> Any:
        url = request.url
        client = (
            self._loopback
            if _is_plain_loopback((url.scheme, url.raw_host, url.port))
            else self._remote
        )
        if as_transport:
            return await transport_of(client, request).handle_async_request(request)
        return await client.send(request, **send_kwargs)

    async def aclose(self) -> None:
        await self._remote.aclose()
        await self._loopback.aclose()


def _expire_outdated(pools: dict[_Key, ConnectionPool], config: PoolConfig) -> None:
    """Close idle connections that were made with other certificates, replaced since as a rule."""
    for (other, _), pool in list(pools.items()):
        if other.certificates != config.certificates:
            pool.close_idle()


def _pools_of_loop() -> dict[_Key, Any]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # another async library, such as trio: one loop a process is the rule
        return _process_pools.no_loop
    pools = _process_pools.by_loop.get(loop)
    if pools is None:
        with _process_pools.lock:
            _forget_closed_loops()
            pools = _process_pools.by_loop.setdefault(loop, {})
    return pools


def _forget_closed_loops() -> None:
    """Forget loops that ended without closing their async generators."""
    for loop in [loop for loop in _process_pools.by_loop if loop.is_closed()]:
        for pool in _process_pools.by_loop.pop(loop).values():
            _process_pools.shutdown_generators.pop(id(pool), None)


def _close_on_loop_shutdown(pools: dict[_Key, Any], key: _Key) -> None:
    """Make the loop close the pool before it ends.

    A loop closes every async generator it has seen started (`shutdown_asyncgens`, which
    `asyncio.run` and the runners of test plugins and servers call), and that is the only
    moment at which its connections can still be closed properly.
    """
    keeper = _wait_for_loop_shutdown(pools, key)
    _process_pools.shutdown_generators[id(pools[key])] = keeper
    with contextlib.suppress(StopIteration):
        keeper.__anext__().send(None)


async def _wait_for_loop_shutdown(pools: dict[_Key, Any], key: _Key) -> AsyncGenerator[None, None]:
    pool = pools[key]
    state = _process_pools
    try:
        yield
    finally:
        pools.pop(key, None)
        state.shutdown_generators.pop(id(pool), None)
        await pool.aclose()


@atexit.register
def close() -> None:
    """Close the pools of synchronous clients; the next request opens new ones."""
    # Without the lock, for which the end of a program would have to wait: each step is atomic.
    with contextlib.suppress(KeyError):
        while True:
            _process_pools.sync.popitem()[1].close()


def _reset_after_fork() -> None:
    """Start without pools in a forked child, which must not use or close its parent's sockets."""
    global _process_pools  # noqa: PLW0603 - the state of a process is its module's
    _inherited.append(_process_pools)
    _process_pools = _ProcessPools()


# Kept for as long as the child lives: collecting them would end the parents' TLS sessions.
_inherited: list[_ProcessPools] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


_clients_lock = fork_safe_lock()


def _forwarded(name: str, default: object) -> property:
    """Return a property of the private client, with a default until there is one."""

    def get(self: Any) -> Any:
        return default if self._own is None else getattr(self._own, name)

    def put(self: Any, value: object) -> None:
        setattr(self._get_own(), name, value)

    return property(get, put)


class PooledClientBase:
    """The front of a pool: opens nothing until it is used, and closes nothing of the pool's."""

    _client_class: Any
    config: PoolConfig
    # What `_fetch` has functions of its own for.
    _build_request = staticmethod(build_request)
    _new_client = staticmethod(new_client)
    _attributes = staticmethod(client_attributes)
    _own: Any = None
    """The client behind it, once it was needed."""

    follow_redirects = _forwarded("follow_redirects", default=True)
    max_redirects = _forwarded("max_redirects", default=20)
    auth = _forwarded("auth", default=None)

    def __init__(self, config: PoolConfig) -> None:
        object.__setattr__(self, "config", config)  # else it would take a dict to begin with

    @property
    def keeps_cookies(self) -> bool:
        """Whether cookies of one call are sent with the next one."""
        return self._own is not None

    def build_request(self, *args: Any, **kwargs: Any) -> Any:
        """Build a request as the HTTP library's clients do."""
        if self._own is not None:
            return self._own.build_request(*args, **kwargs)
        return self._build_request(*args, **kwargs)

    def _get_own(self) -> Any:
        """Return the client behind it, building it if need be."""
        with _clients_lock:
            if self._own is None:
                self.__dict__["_own"] = self._new_client(self._client_class, self.config)
            return self._own

    def _has(self, name: str) -> bool:
        """Return whether the HTTP library's clients have an attribute."""
        return hasattr(self._client_class, name) or name in self._attributes()

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The HTTP library's class, for `isinstance()` as with the bare SDK."""
        return self._client_class

    def __deepcopy__(self, _memo: object) -> Any:
        """Return a copy that shares what is behind this: connections, and no lock can be copied."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        return copy

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not self._has(name):
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(self._get_own(), name)

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(type(self), name) or name in self.__dict__ or not self._has(name):
            object.__setattr__(self, name, value)
        else:
            setattr(self._get_own(), name, value)


class PooledClient(PooledClientBase):
    """A client of the process's pool."""

    _client_class = httpx.Client

    def send(self, request: Any, **kwargs: Any) -> Any:
        """Send a request over a connection of the pool."""
        if self._own is not None:
            return self._own.send(request, **kwargs)
        pool = sync_pool(self.config)
        if self.config is not pool.config:
            self.config = pool.config  # with the certificates of its first call from now on
        return pool.send(request, **kwargs)

    def close(self) -> None:
        """Close the client behind it, if any; other clients share the pool."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        self._get_own().__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._get_own().__exit__(*exc_info)


class AsyncPooledClient(PooledClientBase):
    """A client of the event loop's pool."""

    _client_class = httpx.AsyncClient

    async def send(self, request: Any, **kwargs: Any) -> Any:
        """Send a request over a connection of the pool."""
        if self._own is not None:
            return await self._own.send(request, **kwargs)
        pool = async_pool(self.config)
        if self.config is not pool.config:
            self.config = pool.config
        return await pool.send(request, **kwargs)

    async def aclose(self) -> None:
        """Close the client behind it, if any; other clients share the pool."""
        if self._own is not None:
            await self._own.aclose()

    async def __aenter__(self) -> Self:
        await self._get_own().__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._get_own().__aexit__(*exc_info)
