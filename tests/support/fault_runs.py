"""Play a fault to the SDK, with the adapter or bare, and say what came of the call."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

from client_ways import settings_for
from fault_scripts import ANSWER, Stage
from http_records import KEY, TOKEN

from mistral_cf_adapter import GatewayConnectionError, _pool, make_client
from mistral_cf_adapter._sdk import Mistral, httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from call_modes import Mode
    from fault_server import Request
    from faults import Fault

TIMEOUT_MS = 10_000
SHORT_TIMEOUT_MS = 250
"""For the faults that wait for it; the others must not meet it on a busy machine."""
WATCHDOG = 60.0
CLEARED = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(slots=True)
class Result:
    """What came of one call."""

    outcome: str
    """"answer", "short" for less than the answer taken for the whole, or an exception's name."""
    error: BaseException | None = None
    held: int = 0
    """Connections the client's pool still has in use."""
    stage: Stage | None = field(default=None, repr=False)
    stuck: int = 0
    """Connections the servers find still open though the call is over."""
    elsewhere: list[Request] = field(default_factory=list)
    """What a proxy was asked, or another server than the gateway."""


def play(fault: Fault, mode: Mode, *, bare: bool = False) -> Result:
    """Set up a fault, make a call in a mode and return what came of it."""
    with fault.set_up() as stage, _environment(stage.environment):
        timeout_ms = SHORT_TIMEOUT_MS if "Timeout" in fault.outcome else TIMEOUT_MS
        build = functools.partial(_bare if bare else _adapted, stage, mode, timeout_ms)
        result = _watched(lambda: asyncio.run(_call(stage, mode, build)))
        _pool.close()
        result.stage = stage
        result.stuck = sum(server.stuck() for server in stage.servers)
        others = [server for server in stage.servers if server.origin != stage.origin]
        result.elsewhere = [request for server in others for request in server.requests]
        return result


async def _call(stage: Stage, mode: Mode, build: Callable[[], Any]) -> Result:
    async with build() as (sdk, pool):
        try:
            if stage.between is not None:
                await mode.chat_in_loop(sdk, stage.prompt)
                await asyncio.to_thread(stage.between)
            text = await mode.chat_in_loop(sdk, stage.prompt)
        except Exception as error:
            return Result(_name_of(error), error, held(pool()))
        return Result("answer" if text.lstrip("x") == ANSWER else "short", None, held(pool()))


def _name_of(error: BaseException) -> str:
    """Return an exception's class; where a connection failed the HTTP library's, as when bare."""
    kind = type(error)
    return (kind.__bases__[1] if isinstance(error, GatewayConnectionError) else kind).__name__


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    with mock.patch.dict(os.environ):
        for name in CLEARED:
            os.environ.pop(name, None)
            os.environ.pop(name.lower(), None)
        os.environ.update(changes)
        yield


def _watched(call: Callable[[], Result]) -> Result:
    """Run a call where it can hang without holding up anyone but itself."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(WATCHDOG)
    return results[0] if results else Result("hangs")


@contextlib.asynccontextmanager
async def _adapted(stage: Stage, mode: Mode, timeout_ms: int) -> Any:
    """Yield a client of the adapter, and what tells its pool."""
    sdk = make_client(settings_for(stage), timeout_ms=timeout_ms)
    yield sdk, lambda: pool_of(sdk, mode)


def pool_of(client: Any, mode: Mode) -> Any:
    """Return the pool of connections that a client of the adapter uses for a mode."""
    configuration = client.sdk_configuration
    if mode.is_async:
        return _pool.async_pool(configuration.async_client.inner.config)
    return _pool.sync_pool(configuration.client.inner.config)


@functools.cache
def _trust() -> Any:
    return httpx.create_ssl_context()


@contextlib.asynccontextmanager
async def _bare(stage: Stage, mode: Mode, timeout_ms: int) -> Any:
    """Yield the SDK as people use it with the gateway: its defaults and one more header."""
    how = {
        "follow_redirects": True,
        "headers": {"cf-aig-authorization": f"Bearer {TOKEN}"},
        "verify": httpx.create_ssl_context() if stage.environment else _trust(),
    }
    with httpx.Client(**how) as client:
        async with httpx.AsyncClient(**how) as async_client:
            sdk = Mistral(
                api_key=KEY,
                server_url=f"{stage.base_url}/mistral",
                client=client,
                async_client=async_client,
                timeout_ms=timeout_ms,
            )
            yield sdk, lambda: async_client if mode.is_async else client


def held(pool: Any) -> int:
    """Count the connections in use of a pool of ours, or of an HTTP client.

    One that waits for its next call with the rest of a stream to read is in use by none.
    """
    stack = getattr(pool, "_connections", None)
    clients = [pool] if stack is None else [one.client for one in stack.open if one.unread is None]
    transports = [t for c in clients for t in (c._transport, *filter(None, c._mounts.values()))]
    connections = [c for transport in transports for c in transport._pool.connections]
    return sum(not (c.is_idle() or c.is_closed()) for c in connections)
