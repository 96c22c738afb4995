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
from collections.abc import AsyncGenerator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ._sdk import httpx

# What httpx reads when a client is built: two pools differ when these do.
_ENVIRONMENT = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)


class PoolConfig(NamedTuple):
    """How a pool is set up."""

    max_connections: int = 1000
    keepalive_expiry: float = 60.0


_Environment = tuple[str | None, ...]
_Key = tuple[PoolConfig, _Environment]


class _State:
    """All pools of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ssl: dict[_Environment, Any] = {}
        self.sync: dict[_Key, Any] = {}
        self.by_loop: WeakKeyDictionary[Any, dict[_Key, Any]] = WeakKeyDictionary()
        self.without_loop: dict[_Key, Any] = {}
        self.keepers: dict[int, AsyncGenerator[None, None]] = {}


_state = _State()


def _key(config: PoolConfig) -> _Key:
    return config, tuple(map(os.environ.get, _ENVIRONMENT))


def _options(key: _Key) -> dict[str, Any]:
    config, environment = key
    context = _state.ssl.get(environment)
    if context is None:
        context = _state.ssl[environment] = httpx.create_ssl_context()
    return {
        "verify": context,
        "follow_redirects": True,  # for clients that were patched once and are their own again
        # Shared by strangers: what one is told to remember must not be sent for another.
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        "limits": httpx.Limits(
            max_connections=config.max_connections,
            max_keepalive_connections=config.max_connections,
            keepalive_expiry=config.keepalive_expiry,
        ),
    }


def sync_client(config: PoolConfig) -> Any:
    """Return this process's client for a configuration, building it if need be."""
    key = _key(config)
    client = _state.sync.get(key)
    if client is None:
        with _state.lock:
            client = _state.sync.get(key)
            if client is None:
                client = _state.sync[key] = httpx.Client(**_options(key))
    return client


def async_client(config: PoolConfig) -> Any:
    """Return the running event loop's client for a configuration, building it if need be."""
    key = _key(config)
    clients = _clients_of_loop()
    client = clients.get(key)
    if client is None:
        with _state.lock:
            client = clients[key] = httpx.AsyncClient(**_options(key))
        _close_with_loop(clients, key)
    return client


def _clients_of_loop() -> dict[_Key, Any]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # another async library, such as trio: one loop a process is the rule
        return _state.without_loop
    clients = _state.by_loop.get(loop)
    if clients is None:
        with _state.lock:
            _forget_closed_loops()
            clients = _state.by_loop.setdefault(loop, {})
    return clients


def _forget_closed_loops() -> None:
    """Let go of loops that ended without closing their async generators."""
    for loop in [loop for loop in _state.by_loop if loop.is_closed()]:
        for client in _state.by_loop.pop(loop).values():
            _state.keepers.pop(id(client), None)


def _close_with_loop(clients: dict[_Key, Any], key: _Key) -> None:
    """Have the loop close the client before it ends.

    A loop closes every async generator it has seen started (`shutdown_asyncgens`, which
    `asyncio.run` and the runners of test plugins and servers call), and that is the only
    moment at which its connections can still be closed properly.
    """
    keeper = _until_the_loop_ends(clients, key)
    _state.keepers[id(clients[key])] = keeper
    with contextlib.suppress(StopIteration):
        keeper.__anext__().send(None)


async def _until_the_loop_ends(clients: dict[_Key, Any], key: _Key) -> AsyncGenerator[None, None]:
    client = clients[key]
    state = _state
    try:
        yield
    finally:
        clients.pop(key, None)
        state.keepers.pop(id(client), None)
        await client.aclose()


@atexit.register
def close() -> None:
    """Close the pools of synchronous clients; the next request opens new ones."""
    with _state.lock:
        clients = list(_state.sync.values())
        _state.sync.clear()
    for client in clients:
        client.close()


def _start_afresh() -> None:
    """Leave the parent's pools to the parent: a forked child must not use or end its sockets."""
    global _state  # noqa: PLW0603 - the state of a process is its module's
    _parents.append(_state)
    _state = _State()


# Kept for as long as the child lives: collecting them would end the parents' TLS sessions.
_parents: list[_State] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
