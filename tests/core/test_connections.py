"""After faults and many calls nothing is held: not in the pool, not among the descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import random
import socket
import sys
from pathlib import Path

import pytest
from call_modes import ASYNC, MODES, SYNC
from client_ways import client_for
from fault_runs import held, pool_of
from fault_scripts import (
    CHUNKED,
    EVENTS,
    FAULTS,
    JSON,
    SSE,
    chunked,
    completion,
    good,
    head,
    http,
    says,
)
from fault_server import FaultServer, Wire

from mistral_cf_adapter import _pool
from mistral_cf_adapter._sdk import httpx

DESCRIPTORS = Path("/proc/self/fd")
needs_descriptors = pytest.mark.skipif(
    not DESCRIPTORS.exists(), reason="the system does not list a process's descriptors"
)
CALLS = int(os.environ.get("CONNECTION_CALLS", "200"))
"""10,000 in the long run by hand."""
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def descriptors():
    gc.collect()
    return len(os.listdir(DESCRIPTORS))  # noqa: PTH208 - iterdir() would be one more


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_pool_of_one_connection_serves_the_next_call_after_any_fault(fault, mode):
    def play(wire, request):
        (FAULTS[fault] if len(server.requests) % 2 else good)(wire, request)

    with FaultServer(play) as server:
        client = client_for(server, max_connections=1)
        for _ in range(2):
            with contextlib.suppress(Exception):
                await mode.chat_in_loop(client)
            assert await mode.chat_in_loop(client)
        assert held(pool_of(client, mode)) == 0


@needs_descriptors
def test_descriptors_stay_level_over_many_calls_with_faults_mixed_in():
    rng = random.Random(6)
    plays = [good, good, *FAULTS.values()]

    def play(wire, request):
        rng.choice(plays)(wire, request)

    with FaultServer(play) as server:
        client = client_for(server)
        for mode in MODES * 3:
            with contextlib.suppress(Exception):
                mode.chat(client)
        assert server.stuck() == 0
        before = descriptors()
        for mode in itertools.islice(itertools.cycle(MODES), CALLS):
            with contextlib.suppress(Exception):
                mode.chat(client)
        assert held(pool_of(client, SYNC)) == 0
        assert server.stuck() == 0
        server.hang_up()
        _pool.close()
        assert descriptors() <= before
    assert not [clients for clients in _pool._process_pools.by_loop.values() if clients]


@needs_descriptors
async def test_descriptors_stay_level_over_many_tasks_that_are_cancelled():
    def play(wire, request):
        if len(server.requests) % 2:
            return good(wire, request)
        wire.send(head(200, SSE, CHUNKED), *chunked(EVENTS[0]))
        return wire.until_gone()

    async def read():
        async with await client.chat.stream_async(**ASK) as events:
            async for _ in events:
                begun.set()

    with FaultServer(play) as server:
        client = client_for(server)
        levels = []
        for _ in range(2):
            for _ in range(20):
                begun = asyncio.Event()
                task = asyncio.create_task(read())
                await begun.wait()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert await asyncio.to_thread(server.stuck) == 0
            assert held(pool_of(client, ASYNC)) == 0
            levels.append(descriptors())
        assert levels[1] <= levels[0]


# ---------------------------------------------------------------- connections that are kept


async def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used(mode):
    """Not even tried: a request on it would be lost, and may not be sent twice."""
    with FaultServer(good) as server:
        client = client_for(server)
        assert await mode.chat_in_loop(client)
        await asyncio.to_thread(server.hang_up)
        assert await mode.chat_in_loop(client)
        assert (len(server.requests), server.connections) == (2, 2)


def test_a_connection_that_the_server_closes_after_each_answer_is_not_kept():
    with FaultServer(says(http(200, completion(), JSON, "Connection: close"))) as server:
        client = client_for(server)
        for _ in range(3):
            assert SYNC.chat(client)
        assert (len(server.requests), server.connections) == (3, 3)
        assert held(pool_of(client, SYNC)) == 0


def test_a_connection_older_than_its_expiry_is_not_used(monkeypatch):
    with FaultServer(good) as server:
        client = client_for(server, keepalive_expiry=30.0)
        SYNC.chat(client)
        clock = core_clock()
        monkeypatch.setattr(clock, "monotonic", lambda now=clock.monotonic: now() + 31)
        SYNC.chat(client)
        assert server.connections == 2


def core_clock():
    """Return the clock that the HTTP library's connections look at."""
    core = httpx._transports.default.__name__.partition(".")[0].replace("httpx", "httpcore")
    return sys.modules[f"{core}._sync.http11"].time


@needs_descriptors
def test_a_client_for_every_call_opens_no_more_than_one_connection():
    with FaultServer(good) as server:
        SYNC.chat(client_for(server))
        before = descriptors()
        for _ in range(20):
            SYNC.chat(client_for(server))
        assert (descriptors(), server.connections) == (before, 1)


def test_a_connection_that_is_reset_is_closed_on_our_side_too(monkeypatch):
    made = []
    original = socket.create_connection

    def connect(*args, **kwargs):
        made.append(original(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(socket, "create_connection", connect)
    with FaultServer(says(then=Wire.reset)) as server:
        client = client_for(server)
        for _ in range(5):
            with pytest.raises(httpx.TransportError):
                SYNC.chat(client)
        assert [one.fileno() for one in made] == [-1] * 5
