"""Connections: one pool per process, event loop and configuration, shared by all clients.

Credentials travel with each request, so clients can share connections; a client per request
then costs no handshake. A pool is opened by the first request that needs it. It goes with the
event loop (async) or the process (sync), never with one of its clients.
"""

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Hashable
from functools import cache, lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast
from weakref import WeakKeyDictionary

from ._baseurl import is_loopback
from ._certificates import read_certificate_state
from ._connections import AsyncPool, Pool, transport_of
from ._sdk import httpx
from ._stack import Builder, PoolConfig

# What httpx reads when a client is built: two pools differ when these do.
_ENVIRONMENT = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_ENCODED: tuple[Any, ...] = tuple(map(getattr(os.environ, "encodekey", str), _ENVIRONMENT))
_MOST_CONTEXTS = 8  # certificates are replaced once in a while, not all the time
_MOST_LOADS = 3  # of a bundle that is replaced while it is loaded

_LONGEST = 1024  # characters of a URL worth remembering

_Environment = tuple[str | bytes | None, ...]
_Key = tuple[PoolConfig, _Environment]


class _State:
    """All pools of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ssl: dict[tuple[_Environment, Hashable], Any] = {}
        self.sync: dict[_Key, Pool] = {}
        self.by_loop: WeakKeyDictionary[Any, dict[_Key, Any]] = WeakKeyDictionary()
        self.without_loop: dict[_Key, Any] = {}
        self.keepers: dict[int, AsyncGenerator[None, None]] = {}


_state = _State()


def _environment() -> _Environment:
    # `os.environ.get()` raises and catches an error for each name that is not set, as most are.
    stored = getattr(os.environ, "_data", None)
    if stored is None:
        return tuple(map(os.environ.get, _ENVIRONMENT))
    return tuple(map(stored.get, _ENCODED))


def _key(config: PoolConfig) -> _Key:
    return config, _environment()


def _load_certificates(config: PoolConfig, environment: _Environment) -> tuple[PoolConfig, Any]:
    """Return a TLS context, and the configuration with the state of the files it was loaded from.

    They may have been replaced since the client was built, which loads nothing by itself.
    """
    contexts = _state.ssl
    context = contexts.get((environment, config.certificates))
    if context is not None:
        return config, context
    state: Hashable = None
    for _ in range(_MOST_LOADS):
        state = read_certificate_state()
        context = contexts.get((environment, state)) or httpx.create_ssl_context()
        if state == read_certificate_state():  # else a file was replaced, or one for keys opened
            break
    while len(contexts) >= _MOST_CONTEXTS:
        contexts.pop(next(iter(contexts)), None)
    contexts[environment, state] = context
    return config._replace(certificates=state), context


def _builder(kind: Any, environment: _Environment, context: Any) -> Builder:
    def build(limits: Any, origin: tuple[str, bytes, int | None]) -> tuple[Any, bool]:
        client = kind(
            limits=limits,
            verify=context,
            # Plain http to this machine: a proxy would get the secrets unencrypted, and could not
            # reach the origin.
            trust_env=not _is_plain_loopback(origin),
            follow_redirects=True,  # for clients that were patched once and are their own again
            # Shared by strangers: what one is told to remember must not be sent for another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        # One that was built after the proxies changed is none for the calls to come.
        return client, _environment() == environment

    return build


def _is_plain_loopback(origin: tuple[str, bytes, int | None]) -> bool:
    return origin[0] == "http" and is_loopback(origin[1].decode("ascii").strip("[]"))


@cache
def _scribe() -> Any:
    """Return a client that only builds requests: it needs neither TLS nor connections."""
    return httpx.Client(transport=httpx.BaseTransport())


def build_request(method: str, url: Any, *, params: Any = None, **kwargs: Any) -> Any:
    """Build a request for any of the pools, as `httpx.Client.build_request()` does."""
    if isinstance(url, str) and len(url) <= _LONGEST and "?" not in url:
        # The library would take the URL apart twice, the second time to add no parameters.
        url, params = _parsed(url), params or None
    return _scribe().build_request(method, url, params=params, **kwargs)


def client_attributes() -> dict[str, Any]:
    """Return what an HTTP client of the library holds."""
    return cast("dict[str, Any]", vars(_scribe()))


def new_client(kind: Any, config: PoolConfig) -> Any:
    """Return a client of the library, as the SDK builds it, that sends over shared connections."""
    transport: Any = PoolTransport if kind is httpx.Client else AsyncPoolTransport
    return kind(transport=transport(config), follow_redirects=True)


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
def _parsed(url: str) -> Any:
    return httpx.URL(url)


def sync_pool(config: PoolConfig) -> Pool:
    """Return this process's pool for a configuration, building it if need be.

    Its own `config` says which certificates it was built with.
    """
    key = _key(config)
    pool = _state.sync.get(key)
    if pool is None:
        with _state.lock:
            config, context = _load_certificates(config, key[1])
            key = config, key[1]
            pool = _state.sync.get(key)
            if pool is None:
                _expire_outdated(_state.sync, config)
                build = _builder(httpx.Client, key[1], context)
                pool = _state.sync[key] = Pool(build, config)
    return pool


def async_pool(config: PoolConfig) -> Any:
    """Return the running event loop's pool for a configuration, building it if need be."""
    key = _key(config)
    pools = _pools_of_loop()
    pool = pools.get(key)
    if pool is None:
        with _state.lock:
            config, context = _load_certificates(config, key[1])
        key = config, key[1]
        pool = pools.get(key)
        if pool is None:  # no other thread runs this loop
            build = _builder(httpx.AsyncClient, key[1], context)
            in_asyncio = pools is not _state.without_loop
            pool = pools[key] = (AsyncPool if in_asyncio else _PlainAsyncClients)(build, config)
            _close_with_loop(pools, key)
    return pool


class _PlainAsyncClients:
    """The HTTP library's own pools, for an event loop that is not asyncio's.

    They keep no connection: nothing could tell that a response left no bytes on one before the
    library hands it to the next call.
    """

    def __init__(self, build: Builder, config: PoolConfig) -> None:
        self.config = config
        limits = httpx.Limits(max_connections=config.max_connections, max_keepalive_connections=0)
        self._remote, _ = build(limits, ("https", b"", None))
        self._loopback, _ = build(limits, ("http", b"localhost", None))

    async def send(self, request: Any, *, as_transport: bool = False, **asked: Any) -> Any:
        url = request.url
        client = (
            self._loopback
            if _is_plain_loopback((url.scheme, url.raw_host, url.port))
            else self._remote
        )
        if as_transport:
            return await transport_of(client, request).handle_async_request(request)
        return await client.send(request, **asked)

    async def aclose(self) -> None:
        await self._remote.aclose()
        await self._loopback.aclose()


def _expire_outdated(pools: dict[_Key, Pool], config: PoolConfig) -> None:
    """Close idle connections that were made with other certificates, replaced since as a rule."""
    for (other, _), pool in list(pools.items()):
        if other.certificates != config.certificates:
            pool.close_idle()


def _pools_of_loop() -> dict[_Key, Any]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # another async library, such as trio: one loop a process is the rule
        return _state.without_loop
    pools = _state.by_loop.get(loop)
    if pools is None:
        with _state.lock:
            _forget_closed_loops()
            pools = _state.by_loop.setdefault(loop, {})
    return pools


def _forget_closed_loops() -> None:
    """Let go of loops that ended without closing their async generators."""
    for loop in [loop for loop in _state.by_loop if loop.is_closed()]:
        for pool in _state.by_loop.pop(loop).values():
            _state.keepers.pop(id(pool), None)


def _close_with_loop(pools: dict[_Key, Any], key: _Key) -> None:
    """Have the loop close the pool before it ends.

    A loop closes every async generator it has seen started (`shutdown_asyncgens`, which
    `asyncio.run` and the runners of test plugins and servers call), and that is the only
    moment at which its connections can still be closed properly.
    """
    keeper = _until_the_loop_ends(pools, key)
    _state.keepers[id(pools[key])] = keeper
    with contextlib.suppress(StopIteration):
        keeper.__anext__().send(None)


async def _until_the_loop_ends(pools: dict[_Key, Any], key: _Key) -> AsyncGenerator[None, None]:
    pool = pools[key]
    state = _state
    try:
        yield
    finally:
        pools.pop(key, None)
        state.keepers.pop(id(pool), None)
        await pool.aclose()


@atexit.register
def close() -> None:
    """Close the pools of synchronous clients; the next request opens new ones."""
    # Without the lock, for which the end of a program would have to wait: each step is atomic.
    with contextlib.suppress(KeyError):
        while True:
            _state.sync.popitem()[1].close()


def _start_afresh() -> None:
    """Leave the parent's pools to the parent: a forked child must not use or end its sockets."""
    global _state  # noqa: PLW0603 - the state of a process is its module's
    _parents.append(_state)
    _state = _State()


# Kept for as long as the child lives: collecting them would end the parents' TLS sessions.
_parents: list[_State] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
