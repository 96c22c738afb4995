"""A pool of connections: as many as were asked for, the last one first, and none ever lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from call_modes import ASYNC, ASYNC_STREAM, MODES, STREAM, SYNC
from client_ways import client_for
from fault_runs import pool_of
from fault_scripts import (
    CHUNKED,
    DONE,
    EVENTS,
    JSON,
    LAST,
    SSE,
    chunked,
    good,
    head,
    says,
    streams,
)
from fault_server import GONE, FaultServer, Wire, refusing

from mistral_cf_adapter import GatewayStreamError, _pool, _streaming
from mistral_cf_adapter._sdk import httpx

ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
CUT = head(200, JSON, "Content-Length: 900") + b"{"
BURST = 20
SOON = 5.0
"""Seconds in which a client closes what it is to close, on a machine however busy."""
QUESTIONS = 4
"""How often the HTTP library may ask the system about a connection in one call."""


class Server(FaultServer):
    """Knows on which connection each request came, and can change its script."""

    def __init__(self, play=good):
        super().__init__(self._note)
        self.play = play
        self.used: list[Wire] = []

    def _note(self, wire, request):
        self.used.append(wire)
        self.play(wire, request)

    async def has_lost(self, wires):
        """Wait until the clients have closed these connections."""
        for wire in wires:
            assert await asyncio.to_thread(wire.gone.wait, SOON)


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def other():
    with Server() as server:
        yield server


@pytest.fixture(autouse=True)
async def _threads_for_a_burst():
    with ThreadPoolExecutor(BURST + 4) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        yield


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    """What was not closed shows as a ResourceWarning when it is collected: in its test."""
    yield
    _pool.close()
    gc.collect()


def ask(mode, client, **options):
    """Make a call in a task."""
    return asyncio.create_task(mode.chat_in_loop(client, **options))


async def ask_at_once(mode, client, server, count):
    """Make calls that the server answers when all have come, each on a connection of its own."""
    everyone = threading.Barrier(count)

    def play(wire, request):
        everyone.wait(GONE)
        good(wire, request)

    server.play = play
    assert all(await asyncio.gather(*(ask(mode, client) for _ in range(count))))
    server.play = good


async def opened(mode, client, *, events=1):
    """Return a stream of which so many events are read."""
    if mode.is_async:
        stream = await client.chat.stream_async(**ASK)
        for _ in range(events):
            await anext(stream)
        return stream

    def begin():
        stream = client.chat.stream(**ASK)
        for _ in range(events):
            next(stream)
        return stream

    return await asyncio.to_thread(begin)


async def closed(stream):
    if hasattr(stream, "__aenter__"):
        await stream.__aexit__(None, None, None)
    else:
        stream.__exit__(None, None, None)


async def read(stream):
    if hasattr(stream, "__aiter__"):
        return [event async for event in stream]
    return await asyncio.to_thread(list, stream)


def stream_of(mode):
    return ASYNC_STREAM if mode.is_async else STREAM


def plain_of(mode):
    return ASYNC if mode.is_async else SYNC


def free(mode, client):
    """Count the calls that could be made at once now."""
    slots = pool_of(client, mode)._slots
    return slots._value if mode.is_async else slots.qsize()


def unfinished(wire, request):
    """Send the first of the events, and no more."""
    wire.send(head(200, SSE, CHUNKED), *chunked(EVENTS[0]))
    wire.until_gone()


def pass_time(monkeypatch, seconds):
    monkeypatch.setattr(_pool, "monotonic", lambda: time.monotonic() + seconds)


# ---------------------------------------------------------------- the last one first


async def test_calls_one_after_the_other_use_one_connection(server, mode):
    client = client_for(server)
    for _ in range(4):
        assert await ask(mode, client)
    assert (len(server.requests), server.connections) == (4, 1)


async def test_after_a_burst_calls_use_the_connection_that_was_given_back_last(server, mode):
    client = client_for(server)
    everyone, the_others = threading.Barrier(5), threading.Event()

    def play(wire, request):
        everyone.wait(GONE)
        if wire is server.used[2]:
            the_others.wait(GONE)
        good(wire, request)

    server.play = play
    calls = [ask(mode, client) for _ in range(5)]
    for number, call in enumerate(asyncio.as_completed(calls), 1):
        assert await call
        if number == 4:
            the_others.set()
    server.play = good
    for _ in range(3):
        assert await ask(mode, client)
    assert server.connections == 5
    assert server.used[5:] == [server.used[2]] * 3


async def test_the_idle_rest_of_a_burst_is_closed_once_it_has_expired(server, mode, monkeypatch):
    client = client_for(server, keepalive_expiry=30.0)
    await ask_at_once(mode, client, server, 5)
    assert await ask(mode, client)
    assert not any(wire.gone.is_set() for wire in server.used)
    pass_time(monkeypatch, 31)
    assert await ask(mode, client)
    assert await ask(mode, client)
    last = server.used[-1]
    await server.has_lost(set(server.used) - {last})
    assert not last.gone.is_set()
    assert server.connections == 5


async def test_so_are_connections_to_a_host_that_is_called_no_more(
    server, other, mode, monkeypatch
):
    client = client_for(server, keepalive_expiry=30.0)
    assert await ask(mode, client, server_url=other.origin)
    pass_time(monkeypatch, 31)
    assert await ask(mode, client)
    await server.has_lost(other.used)


@pytest.mark.skipif(not hasattr(select, "poll"), reason="the HTTP library asks in another way")
async def test_the_system_is_asked_about_a_few_connections_however_many_are_idle(
    server, mode, monkeypatch
):
    asked = []
    original = select.poll

    def poll():
        asked.append(None)
        return original()

    client = client_for(server)
    await ask_at_once(mode, client, server, BURST)
    monkeypatch.setattr(select, "poll", poll)
    assert await ask(mode, client)
    assert 1 <= len(asked) <= QUESTIONS


# ---------------------------------------------------------------- no more than were asked for


async def test_a_call_over_the_limit_waits_until_a_connection_is_given_back(server, mode):
    client = client_for(server, max_connections=2)
    both, release, order = threading.Barrier(3), threading.Event(), []

    def play(wire, request):
        if len(server.requests) <= 2:
            both.wait(GONE)
            release.wait(GONE)
        order.append("arrives")
        good(wire, request)

    server.play = play
    calls = [ask(mode, client) for _ in range(2)]
    await asyncio.to_thread(both.wait, GONE)
    calls.append(ask(mode, client))
    await asyncio.sleep(0.02)  # in which it would arrive
    assert (len(server.requests), order) == (2, [])
    release.set()
    assert all(await asyncio.gather(*calls))
    assert (len(server.requests), server.connections) == (3, 2)


async def test_one_that_waits_too_long_is_told_which_setting_to_raise(server, mode):
    client = client_for(server, max_connections=2)
    hasty = client_for(server, max_connections=2, timeout_ms=20)
    server.play = unfinished
    held = [await opened(stream_of(mode), client) for _ in range(2)]
    for _ in range(3):
        with pytest.raises(httpx.PoolTimeout, match="max_connections"):
            await ask(mode, hasty)
    assert len(server.requests) == 2
    for stream in held:
        await closed(stream)
    await ask_at_once(mode, client, server, 2)
    assert free(mode, client) == 2


ERRORS = {
    "refused": None,
    "reset": says(then=Wire.reset),
    "cut": says(CUT, then=Wire.close),
    "cut in a stream": streams(EVENTS[0], then=Wire.close, end=b""),
}


@pytest.mark.parametrize("error", ERRORS)
async def test_an_error_loses_no_connection_of_the_limit(server, mode, error):
    client = client_for(server, max_connections=2)
    server.play = ERRORS[error] or good
    with refusing() as refused:
        options = {} if ERRORS[error] else {"server_url": refused}
        for _ in range(3):
            with pytest.raises(Exception):  # noqa: B017 - which one is the matter of other tests
                await ask(mode, client, **options)
    await ask_at_once(mode, client, server, 2)
    assert free(mode, client) == 2


@pytest.mark.parametrize("way", [ASYNC, ASYNC_STREAM], ids=lambda way: way.name)
async def test_a_task_that_is_cancelled_loses_no_connection_of_the_limit(server, way):
    client = client_for(server, max_connections=2)
    both = threading.Barrier(3)

    def play(wire, request):
        both.wait(GONE)
        wire.until_gone()

    server.play = play
    for _ in range(2):
        tasks = [ask(way, client) for _ in range(5)]
        await asyncio.to_thread(both.wait, GONE)
        for task in reversed(tasks):  # those that wait first, then those in flight
            task.cancel()
        assert {type(result) for result in await results(tasks)} == {asyncio.CancelledError}
        await server.has_lost(server.used)
    await ask_at_once(way, client, server, 2)
    assert free(way, client) == 2


async def results(tasks):
    return await asyncio.gather(*tasks, return_exceptions=True)


async def cancelled_after(steps, task):
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await results([task])


@pytest.mark.parametrize("way", [ASYNC, ASYNC_STREAM], ids=lambda way: way.name)
@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_a_task_may_be_cancelled_at_any_moment(server, way, steps):
    client = client_for(server, max_connections=1)
    await cancelled_after(steps, ask(way, client))
    await collected()  # cancelled while the SDK runs its hooks in a thread, it drops its answer
    assert await ask(way, client)
    assert free(way, client) == 1


@pytest.mark.parametrize("way", [ASYNC, ASYNC_STREAM], ids=lambda way: way.name)
async def test_a_task_that_is_cancelled_while_it_closes_what_has_expired_leaves_none_open(
    server, way, monkeypatch
):
    client = client_for(server, keepalive_expiry=30.0)
    await ask_at_once(way, client, server, 5)
    pass_time(monkeypatch, 31)
    pool = pool_of(client, way)
    task = ask(way, client)
    async with asyncio.timeout(SOON):
        while len(pool._connections.open) > 1:  # noqa: ASYNC110 - it is the moment that counts
            await asyncio.sleep(0)
    task.cancel()
    await results([task])
    await server.has_lost(set(server.used) - {server.used[-1]})


async def test_at_the_limit_an_idle_connection_to_another_host_makes_room(server, other, mode):
    client = client_for(server, max_connections=2)
    server.play = unfinished
    stream = await opened(stream_of(mode), client)
    server.play = good
    assert await ask(mode, client)
    in_use, idle = server.used
    for _ in range(2):
        assert await ask(plain_of(mode), client, server_url=other.origin)
    await server.has_lost([idle])
    assert not in_use.gone.is_set()
    await closed(stream)
    assert await ask(mode, client)
    assert (server.connections, other.connections) == (3, 1)
    assert free(mode, client) == 2


async def test_a_pool_of_one_connection_serves_two_hosts_in_turn(server, other, mode):
    client = client_for(server, max_connections=1)
    for _ in range(2):
        assert await ask(mode, client)
        assert await ask(plain_of(mode), client, server_url=other.origin)
    await server.has_lost([*server.used, other.used[0]])
    assert not other.used[1].gone.is_set()


async def test_threads_that_call_another_host_at_once_stay_within_the_limit(server, other):
    client = client_for(server, max_connections=2)
    assert await ask(SYNC, client, server_url=other.origin)
    _pool, both = pool_of(client, SYNC)._connections, threading.Barrier(2)
    original = _pool._build

    def build(*arguments):
        both.wait(GONE)
        return original(*arguments)

    _pool._build = build
    await ask_at_once(SYNC, client, server, 2)
    await server.has_lost(other.used)
    assert (server.connections, len(_pool.open)) == (2, 2)


def test_sixteen_threads_share_four_connections(server):
    client = client_for(server, max_connections=4)
    with ThreadPoolExecutor(16) as threads:
        calls = [threads.submit(SYNC.chat, client) for _ in range(16 * 20)]
        assert all(call.result() for call in calls)
    assert len(server.requests) == 320
    assert server.connections <= 4
    assert free(SYNC, client) == 4


async def test_so_do_sixteen_tasks(server):
    client = client_for(server, max_connections=4)

    async def calls():
        return [await ASYNC.achat(client) for _ in range(20)]

    assert all(map(all, await asyncio.gather(*(calls() for _ in range(16)))))
    assert len(server.requests) == 320
    assert server.connections <= 4
    assert free(ASYNC, client) == 4


async def test_all_ways_of_calling_fit_into_the_limit_together(server):
    client = client_for(server, max_connections=3)
    assert all(await asyncio.gather(*(ask(way, client) for way in MODES * 8)))
    assert server.connections <= 6  # of the process, and of the loop
    assert {free(way, client) for way in (SYNC, ASYNC)} == {3}


# ---------------------------------------------------------------- streams


async def test_a_stream_that_is_read_gives_its_connection_to_the_next_call(server, stream_mode):
    client = client_for(server, max_connections=1)
    for _ in range(3):
        assert len(await read(await opened(stream_mode, client))) == len(EVENTS) - 1
    assert server.connections == 1


async def test_a_stream_that_is_left_half_way_is_closed_and_its_place_is_free(server, stream_mode):
    client = client_for(server, max_connections=1)
    server.play = unfinished
    for _ in range(2):
        await closed(await opened(stream_mode, client))
    await server.has_lost(server.used)
    server.play = good
    assert await ask(stream_mode, client)
    assert server.connections == 3


@pytest.mark.parametrize("events", [0, 1], ids=["unread", "half-read"])
async def test_a_stream_that_is_forgotten_gives_its_place_back(server, stream_mode, events):
    client = client_for(server, max_connections=1)
    server.play = unfinished
    stream = await opened(stream_mode, client, events=events)
    del stream
    await collected()
    server.play = good
    assert await ask(stream_mode, client)
    await server.has_lost(server.used[:1])
    assert free(stream_mode, client) == 1


async def collected():
    """Take turns with the loop: async generators are closed in it, one holding the next."""
    for _ in range(3):
        await asyncio.sleep(0.01)
        gc.collect()


async def test_closing_a_stream_twice_gives_its_place_back_once(server, stream_mode):
    client = client_for(server, max_connections=1)
    server.play = unfinished
    stream = await opened(stream_mode, client)
    body = stream.response.stream
    for _ in range(2):
        await closed(stream)
        await (body.aclose() if stream_mode.is_async else asyncio.to_thread(body.close))
    assert free(stream_mode, client) == 1


def test_a_body_that_two_threads_close_gives_its_connection_back_once():
    both = threading.Barrier(2)
    given = []

    class Body:
        def close(self):
            time.sleep(0.001)

    class Pool:
        def release(self, connection, *, usable):
            given.append((connection, usable))

    def close(body):
        both.wait(GONE)
        body.close()

    for number in range(50):
        lent = _streaming.SyncPoolByteStream(Body(), Pool(), number, None)
        with ThreadPoolExecutor(2) as threads:
            for closing in [threads.submit(close, lent) for _ in range(2)]:
                closing.result()
    assert given == [(number, False) for number in range(50)]


# ---------------------------------------------------------------- closing the pool


ENDS = (httpx.TransportError, httpx.StreamError, GatewayStreamError)


def the_rest_later(event):
    def play(wire, request):
        wire.send(head(200, SSE, CHUNKED), *chunked(EVENTS[0]))
        event.wait(GONE)
        wire.send(*chunked(*EVENTS[1:], DONE), LAST)

    return play


async def close_pool(mode, client):
    """Close the pool as the end of the process or of the event loop does."""
    if mode.is_async:
        await _pool._process_pools.shutdown_generators[id(pool_of(client, mode))].aclose()
    else:
        _pool.close()


@pytest.mark.parametrize("blocked", [False, True], ids=["between events", "waiting for one"])
async def test_pools_may_be_closed_while_a_stream_is_read(server, stream_mode, blocked):
    client, later = client_for(server, max_connections=1), threading.Event()
    server.play = the_rest_later(later)
    stream = await opened(stream_mode, client)
    reading = asyncio.create_task(read(stream)) if blocked else None
    await asyncio.sleep(0.02)
    await close_pool(stream_mode, client)
    later.set()
    with contextlib.suppress(*ENDS):
        await (reading or read(stream))
    await closed(stream)
    await server.has_lost(server.used)
    server.play = good
    assert await ask(stream_mode, client)
    assert await ask(stream_mode, client)
    assert server.connections == 2
    assert free(stream_mode, client) == 1


async def test_a_call_that_waits_while_pools_are_closed_is_made_and_leaves_nothing_open(
    server, mode
):
    client = client_for(server, max_connections=1)
    server.play = unfinished
    stream = await opened(stream_of(mode), client)
    call = ask(mode, client)
    await asyncio.sleep(0.02)
    server.play = good
    await close_pool(mode, client)
    await closed(stream)
    assert await call
    await close_pool(mode, client)
    await server.has_lost(server.used)


def test_closed_pools_keep_no_connection(server):
    client = client_for(server)
    assert SYNC.chat(client)
    _pool.close()
    assert server.used[0].gone.wait(GONE)
    assert SYNC.chat(client)
    assert server.connections == 2


class Unclosable:
    """A body whose end is read, and then a task is cancelled while it closes."""

    def __iter__(self):
        yield b"x"

    async def __aiter__(self):
        yield b"x"

    def close(self):
        raise asyncio.CancelledError

    async def aclose(self):
        raise asyncio.CancelledError


# What such a body leaves behind, the HTTP library takes for a connection in use.


def test_a_body_that_cannot_be_closed_leaves_no_connection_to_the_next_call():
    given = []
    pool = SimpleNamespace(release=lambda _connection, *, usable: given.append(usable))
    body = _streaming.SyncPoolByteStream(Unclosable(), pool, "connection", None)
    assert list(body) == [b"x"]
    with pytest.raises(asyncio.CancelledError):
        body.close()
    assert given == [False]


async def test_an_async_body_that_cannot_be_closed_leaves_none_either():
    pool = SimpleNamespace(release=AsyncMock())
    body = _streaming.AsyncPoolByteStream(Unclosable(), pool, "connection", None)
    assert [chunk async for chunk in body] == [b"x"]
    with pytest.raises(asyncio.CancelledError):
        await body.aclose()
    pool.release.assert_awaited_once_with("connection", usable=False)


IN_A_FINALIZER = """
import gc, ssl
from mistral_cf_adapter import GatewaySettings, _sdk, make_client

settings = GatewaySettings(base_url={origin!r}, token="t", mistral_api_key="k")
ask = dict(model="m", messages=[{{"role": "user", "content": "x"}}])
with _sdk.httpx.Client(verify=False) as http:  # without the pool: the SDK loads its modules
    make_client(settings, client=http).chat.complete(**ask)
client = make_client(settings)

class Cleanup:
    def __del__(self):
        client.chat.complete(**ask)

load = ssl.SSLContext.load_verify_locations
def collect_and_load(*args, **kwargs):
    gc.collect()
    return load(*args, **kwargs)
ssl.SSLContext.load_verify_locations = collect_and_load

gc.disable()
garbage = Cleanup()
garbage.itself = garbage
del garbage
client.chat.complete(**ask)
print("ended")
"""


def test_a_finalizer_may_call_while_the_pool_is_built(server):
    program = IN_A_FINALIZER.format(origin=server.origin)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")
    assert len(server.requests) == 3
