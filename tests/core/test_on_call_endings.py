"""`on_call()`: functions that are cancelled, interrupted or dropped, and what is left of them."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import warnings
from contextlib import suppress

import pytest
from call_modes import ASYNC, ASYNC_STREAM, SYNC
from http_records import stream

from mistral_cf_adapter import GatewayCall, make_client, on_call
from mistral_cf_adapter._listeners import _find_open_calls
from mistral_cf_adapter._open_call import OpenCall
from mistral_cf_adapter._streaming import get_body

ASK = {
    "model": "mistral-small-latest",
    "messages": [{"role": "user", "content": "Hello"}],
}
KNOWN = {"method": "GET", "path": "/v1/models", "attempt": 1, "status_code": 200, "elapsed": 0.1}


@pytest.fixture(autouse=True)
def quiet(monkeypatch, caplog):
    """Fail where Python prints a warning, or what it cannot raise."""
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: printed.append(str(found.exc_value)))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", RuntimeWarning)
        yield
        gc.collect()
    assert printed == []
    assert [str(each.message) for each in found if each.category is RuntimeWarning] == []
    assert "destroyed" not in caplog.text


@pytest.fixture
def noted():
    """The calls that `note` in a test has seen."""
    return []


def test_a_task_of_its_own_that_was_cancelled_cancels_no_call(client, mode, caplog):
    async def wait_for_another(_call):
        task = asyncio.ensure_future(asyncio.sleep(9))
        task.cancel()
        await task

    with on_call(wait_for_another):
        mode.chat(client)
    assert "wait_for_another raised CancelledError" in caplog.text


async def test_a_future_that_was_cancelled_cancels_no_call(client, caplog):
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    with on_call(lambda _call: future.result()):
        await ASYNC.achat(client)
    assert "raised CancelledError" in caplog.text


def test_a_call_that_is_cancelled_in_one_function_is_reported_to_the_next(client, noted):
    async def wait(_call):
        await asyncio.sleep(9)

    async def note(call):
        noted.append(call.outcome)

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await ASYNC.achat(client)

    with on_call(wait), on_call(note):
        asyncio.run(main())
    assert noted == ["ok"]


@pytest.mark.parametrize("ask", [ASYNC.achat, ASYNC_STREAM.achat], ids=["call", "stream"])
@pytest.mark.parametrize("again", [0, 3])
def test_a_call_that_is_cancelled_for_the_end_of_its_loop_is_reported(
    gateway, client, noted, ask, again
):
    """AnyIO, and so Starlette, cancels a task again at each step."""
    arrived, answering = threading.Event(), threading.Event()
    gateway.responder = lambda _request: (arrived.set(), answering.wait(5), stream())[-1]

    async def note(call):
        await asyncio.sleep(0.02)
        noted.append(call.outcome)

    async def main():
        task = asyncio.create_task(ask(client))
        await asyncio.to_thread(arrived.wait, 5)
        for _ in range(again):
            task.cancel()
            await asyncio.sleep(0)
        if again:
            await asyncio.sleep(0.05)

    with on_call(note):
        asyncio.run(main())
        assert noted == ["abandoned"]
    answering.set()


def test_a_stream_that_is_cancelled_again_and_again_is_reported(local_gateway, noted):
    client = make_client(local_gateway.settings())

    async def note(call):
        await asyncio.sleep(0.02)
        noted.append(call.outcome)

    async def read(begun):
        async with await client.chat.stream_async(**ASK) as events:
            async for _ in events:
                begun.set()
                await asyncio.sleep(9)

    async def main():
        begun = asyncio.Event()
        task = asyncio.create_task(read(begun))
        await begun.wait()
        for _ in range(20):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)

    with on_call(note):
        asyncio.run(main())
        assert len(noted) == 1  # `ok` if the end mark has arrived by then


@pytest.mark.parametrize("is_first", [True, False])
def test_an_interrupt_in_one_function_leaves_the_others_to_the_next_report(client, noted, is_first):
    async def note(call):
        await asyncio.sleep(0.01)
        noted.append(call.outcome)

    async def interrupt(_call):
        raise KeyboardInterrupt

    def interrupt_at_once(_call):
        raise KeyboardInterrupt

    with on_call(interrupt if is_first else note), on_call(note if is_first else interrupt_at_once):
        with pytest.raises(KeyboardInterrupt):
            SYNC.chat(client)
        assert noted == []
    assert noted == ["ok"]


def test_a_function_that_returns_a_coroutine_gets_a_stream_that_is_dropped(client, noted):
    async def note(call):
        noted.append(call.outcome)

    with on_call(lambda call: note(call)):  # noqa: PLW0108 - it does not look asynchronous
        client.chat.stream(**ASK)
    assert noted == ["abandoned"]


def test_a_task_that_is_cancelled_before_it_begins_is_done_later(client, noted):
    async def note(call):
        noted.append(call.outcome)

    async def main():
        before = asyncio.all_tasks()
        SYNC.chat(client)
        (task,) = asyncio.all_tasks() - before
        task.cancel()

    with on_call(note):
        asyncio.run(main())
        assert noted == []
    assert noted == ["ok"]


def test_tasks_that_an_async_function_starts_end_with_its_loop(client, noted):
    async def note(_call):
        noted.append(asyncio.ensure_future(asyncio.sleep(9)))
        await asyncio.sleep(0)

    with on_call(note):
        SYNC.chat(client)
    assert noted.pop().cancelled()


def test_an_event_loop_that_is_closed_while_a_function_waits(client, caplog):
    async def wait(_call):
        waiting.set()
        await asyncio.sleep(9)

    waiting = asyncio.Event()
    with on_call(wait):
        loop = asyncio.new_event_loop()
        task = loop.create_task(ASYNC.achat(client))
        loop.run_until_complete(waiting.wait())
        loop.run_until_complete(loop.shutdown_asyncgens())  # which closes the connection
        loop.close()
        del task, loop
        gc.collect()
    caplog.clear()  # asyncio itself logs the task of the call


def test_in_the_garbage_collector_a_stream_that_arrived_whole_runs_no_function(client, noted):
    lock = threading.Lock()

    def note(call):
        assert lock.acquire(timeout=0), "the function would wait for ever"
        noted.append(call.outcome)
        lock.release()

    with on_call(note):
        events = client.chat.stream(**ASK)
        body = get_body(events.response)  # the collector is to find its iterator only
        lines = events.response.iter_lines()
        next(lines)  # all of it is in one piece, with the end mark
        cycle = [lines]
        cycle.append(cycle)
        del events, lines, cycle
        with lock:
            gc.collect()
            assert noted == []
    del body
    assert noted == ["ok"]


def test_a_filter_that_raises_keeps_no_call_from_a_function(client, noted, caplog):
    def refuse(_record):
        raise RuntimeError

    logger = logging.getLogger("mistral_cf_adapter")
    logger.addFilter(refuse)
    try:
        with (
            caplog.at_level(logging.DEBUG, logger.name),
            on_call(noted.append),
            suppress(RuntimeError),
        ):
            SYNC.chat(client)
    finally:
        logger.removeFilter(refuse)
    assert len(noted) == 1


def test_streams_can_be_opened_while_those_that_are_open_are_looked_for(client):
    """As threads do at the end of the process: iterating over a `WeakSet` would raise."""
    others = []

    def open_another(_frame, _event, _argument):
        sys.setprofile(None)
        others.append(OpenCall(GatewayCall(**KNOWN), 0.0, str))
        others[-1].expect_end()
        sys.setprofile(open_another)

    with on_call(print):
        events = client.chat.stream(**ASK)
    sys.setprofile(open_another)
    try:
        found = _find_open_calls()
    finally:
        sys.setprofile(None)
    assert len(others) > 1
    assert get_body(events.response)._call in found
