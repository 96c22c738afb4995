"""One client under one event loop after the other, and under several at once."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from call_modes import ASYNC, ASYNC_STREAM, SYNC
from client_ways import client_for, settings_for
from http_records import TEXT, completion

from mistral_cf_adapter import _pool, make_client
from mistral_cf_adapter._sdk import httpx

ASYNC_MODES = [ASYNC, ASYNC_STREAM]
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

either = pytest.mark.parametrize("way", ASYNC_MODES, ids=lambda way: way.name)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    """What a loop did not close shows as a ResourceWarning when it is collected: in its test."""
    yield
    gc.collect()
    assert not [clients for clients in _pool._process_pools.by_loop.values() if clients]


@pytest.fixture(scope="module")
def kept(gateway_server):
    """One client for all tests of this file, each of which has loops of its own."""
    return client_for(gateway_server)


@either
def test_one_asyncio_run_after_the_other(gateway, kept, way):
    assert [way.chat(kept) for _ in range(5)] == [TEXT] * 5


@either
@pytest.mark.parametrize("time", range(3))
async def test_a_loop_for_each_test(gateway, kept, way, time):
    assert await way.achat(kept) == TEXT


@either
def test_a_loop_in_each_of_many_threads(gateway, kept, way):
    async def several():
        return await asyncio.gather(*(way.achat(kept) for _ in range(3)))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: asyncio.run(several()), range(24)))
    assert answers == [[TEXT] * 3] * 24


@either
def test_calls_of_two_loops_at_the_same_moment(gateway, kept, way):
    both = threading.Barrier(2)

    async def call():
        await way.achat(kept)
        await asyncio.to_thread(both.wait)
        return await way.achat(kept)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(asyncio.run, [call(), call()])) == [TEXT] * 2


@either
def test_synchronous_calls_beside_a_loop(gateway, kept, way):
    async def beside():
        return await asyncio.gather(way.achat(kept), asyncio.to_thread(SYNC.chat, kept))

    assert asyncio.run(beside()) == [TEXT] * 2


def test_a_synchronous_call_within_a_loop(gateway, kept):
    async def within():
        return SYNC.chat(kept)

    assert asyncio.run(within()) == TEXT


@either
def test_an_asyncio_runner_that_is_used_twice(gateway, kept, way):
    with asyncio.Runner() as runner:
        assert [runner.run(way.achat(kept)) for _ in range(2)] == [TEXT] * 2
    assert len(gateway.requests) == 2


def test_a_loop_keeps_its_connection_for_its_next_call(gateway, kept):
    async def twice():
        await ASYNC.achat(kept)
        await ASYNC.achat(kept)

    asyncio.run(twice())
    assert len({request.peer for request in gateway.requests}) == 1


@either
def test_a_loop_that_ends_by_an_exception_leaves_the_next_one_in_order(gateway, kept, way):
    async def fails():
        await way.achat(kept)
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            asyncio.run(fails())
    assert way.chat(kept) == TEXT


def test_a_stream_that_is_left_open_when_its_loop_ends(gateway, kept):
    async def leave():
        events = await kept.chat.stream_async(**ASK)
        return (await anext(aiter(events))).data.choices[0].delta.content

    assert [asyncio.run(leave()) for _ in range(3)] == [TEXT[0]] * 3
    assert ASYNC.chat(kept) == TEXT


def test_calls_that_are_cancelled_by_the_end_of_their_loop(gateway, kept):
    arrived, release = threading.Event(), threading.Event()

    def hold(_):
        arrived.set()
        release.wait(10)
        return completion()

    async def leave():
        task = asyncio.create_task(ASYNC.achat(kept))
        await asyncio.to_thread(arrived.wait)
        assert not task.done()

    gateway.responder = hold
    asyncio.run(leave())
    release.set()
    gateway.responder = None
    assert ASYNC.chat(kept) == TEXT


@either
def test_a_loop_that_nobody_shuts_down_harms_no_other(gateway, kept, way):
    """Its connections cannot be closed in it any more; `close()` alone is what a program forgot."""
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(way.achat(kept)) == TEXT
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert way.chat(kept) == TEXT


@either
def test_a_client_of_the_users_stays_in_its_own_loop(gateway, way, ssl_context):
    async def with_their_own():
        async with httpx.AsyncClient(verify=ssl_context) as theirs:
            return await way.achat(make_client(settings_for(gateway), async_client=theirs))

    assert [asyncio.run(with_their_own()) for _ in range(2)] == [TEXT] * 2


SCRIPT = """
import asyncio, sys, threading
sys.path.insert(0, {tests!r})
from call_modes import ASYNC, ASYNC_STREAM
from mistral_cf_adapter import GatewaySettings, make_client

client = make_client(GatewaySettings(base_url={url!r}, mistral_api_key="k"))
for way in (ASYNC, ASYNC_STREAM) * 2:
    way.chat(client)
threads = [threading.Thread(target=ASYNC_STREAM.chat, args=(client,)) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
{last}
"""
LAST = {
    "all loops ended": "",
    "a daemon thread in the middle of a loop": (
        "loop = asyncio.new_event_loop()\n"
        "threading.Thread(target=loop.run_forever, daemon=True).start()\n"
        "asyncio.run_coroutine_threadsafe(ASYNC.achat(client), loop).result()\n"
    ),
    "a stream left open": (
        "async def leave():\n"
        "    events = await client.chat.stream_async(model='m', messages=[])\n"
        "    await anext(aiter(events))\n"
        "asyncio.run(leave())\n"
    ),
}


@pytest.mark.parametrize("last", LAST.values(), ids=LAST)
def test_a_process_with_many_loops_says_nothing_at_its_end(gateway, last):
    tests = str(Path(__file__).parents[1] / "support")
    script = SCRIPT.format(tests=tests, url=gateway.base_url, last=last)
    loud = ["-W", "always::ResourceWarning", "-W", "always::RuntimeWarning"]
    done = subprocess.run(
        [sys.executable, *loud, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
