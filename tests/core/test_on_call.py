"""`on_call()`: a function gets every call of the process once, when it is over."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial

import pytest
from call_modes import ASYNC, ASYNC_STREAM, STREAM, SYNC
from fault_server import refusing
from http_records import CHAT, KEY, TOKEN, Reply, stream
from retry_configs import retries

from mistral_cf_adapter import (
    CallListener,
    GatewayCall,
    GatewayConfigError,
    GatewayError,
    GatewayStreamError,
    Usage,
    _capture,
    capture,
    make_client,
    on_call,
)
from mistral_cf_adapter._sdk import SDKError, httpx

MODEL = "mistral-small-latest"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
BLOCKED = {"success": False, "error": [{"code": 2016, "message": "Prompt blocked"}]}
LIMITED = {"success": False, "error": [{"code": 2003, "message": "Rate limited"}]}


@pytest.fixture
def seen():
    """Every call that is over, while the test runs."""
    calls: list[GatewayCall] = []
    with on_call(calls.append):
        yield calls


def with_usage(ending=b"data: [DONE]\n\n"):
    """Stream a chat whose last event has the usage."""
    reply = stream()
    events = reply.body.removesuffix(b"data: [DONE]\n\n")
    last = {"model": MODEL, "choices": [], "usage": USAGE, "id": "x", "object": "x", "created": 1}
    reply.body = events + b"data: %s\n\n" % json.dumps(last).encode() + ending
    return reply


def read(client, ending=None):
    """Read a whole stream, for its error if it has one."""
    with client.chat.stream(**ASK) as events:
        for _ in events:
            pass
    return ending


async def aread(client):
    async with await client.chat.stream_async(**ASK) as events:
        async for _ in events:
            pass


READERS = pytest.mark.parametrize(
    "reading", [read, lambda client: asyncio.run(aread(client))], ids=["sync", "async"]
)


# ---------------------------------------------------------------- what it says


def test_each_way_of_calling_is_one_complete_call(client, seen, mode):
    mode.chat(client)
    (call,) = seen
    assert (call.outcome, call.status_code, call.error_code) == ("ok", 200, None)
    assert call.operation == ("chat.stream" if mode.is_stream else "chat.complete")
    assert (call.request_model, call.response_model) == (MODEL, MODEL)
    assert call.duration >= call.elapsed > 0
    if mode.is_stream:
        assert call.duration >= call.time_to_first_event >= call.elapsed
    else:
        assert call.time_to_first_event is None
        assert call.usage == Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)


@READERS
def test_the_usage_of_a_stream_is_that_of_its_last_event(gateway, client, seen, reading):
    gateway.replies.append(with_usage())
    reading(client)
    assert seen[0].usage == Usage(**USAGE)


def test_a_compressed_stream_is_read_as_well(gateway, client, seen):
    reply = with_usage()
    reply.body = gzip.compress(reply.body)
    reply.headers["content-encoding"] = "gzip"
    gateway.replies.append(reply)
    read(client)
    assert (seen[0].usage, seen[0].outcome) == (Usage(**USAGE), "ok")


def test_operations_have_the_names_of_the_sdks_methods(client, seen):
    client.models.list()
    client.embeddings.create(model="mistral-embed", inputs=["a"])
    SYNC.upload(client, b"x")
    ASYNC.upload(client, b"x")
    client.files.download(file_id="f").read()
    names = ["models.list", "embeddings.create", "files.upload", "files.upload", "files.download"]
    assert [call.operation for call in seen] == names
    assert [call.outcome for call in seen] == ["ok"] * 5
    assert [call.request_model for call in seen] == [None, "mistral-embed", None, None, None]


async def test_an_operation_that_another_task_sends_is_known_by_its_path(settings, seen):
    client = make_client(settings)
    http = client.sdk_configuration.async_client
    request = http.build_request(
        "POST", settings.provider_url + CHAT, json=ASK, headers={"accept": "text/event-stream"}
    )
    await asyncio.create_task(http.send(request))
    assert [call.operation for call in seen] == ["chat.stream"]


def test_a_retry_is_a_call_of_its_own(gateway, client, seen, plain_mode):
    gateway.replies += [Reply(429, LIMITED), Reply(503, {})]
    plain_mode.chat(client, retries=retries())
    found = [(call.attempt, call.outcome, call.error_code) for call in seen]
    assert found == [(1, "error", 2003), (2, "error", None), (3, "ok", None)]


def test_a_call_is_pickled_whole(client, seen):
    SYNC.chat(client)
    assert pickle.loads(pickle.dumps(seen[0])) == seen[0]


def test_a_model_name_is_short_and_printable(client, seen):
    client.chat.complete(**ASK | {"model": "a\nb\x1b[31m" + "c" * 1000})
    (call,) = seen
    assert call.request_model.isprintable()
    assert len(call.request_model) == 200


def test_a_large_body_is_searched_and_not_parsed(gateway, client, seen):
    vectors = [{"object": "embedding", "index": i, "embedding": [0.5] * 1024} for i in range(10)]
    body = {"id": "e", "object": "list", "data": vectors, "model": "mistral-embed", "usage": USAGE}
    gateway.replies.append(Reply(200, body))
    text = 'a text of "usage": {"total_tokens": 99} and "model": "other" ' * 1000
    client.embeddings.create(model="mistral-embed", inputs=[text])
    (call,) = seen
    assert (call.request_model, call.response_model) == ("mistral-embed", "mistral-embed")
    assert call.usage == Usage(**USAGE)


@pytest.mark.parametrize(
    ("stated", "usage"),
    [
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 3}}, Usage(**USAGE, cached_tokens=3)),
        ({**USAGE, "num_cached_tokens": 0}, Usage(**USAGE, cached_tokens=0)),
        ({**USAGE, "prompt_audio_seconds": 9}, Usage(**USAGE, audio_seconds=9)),
        ({"total_tokens": "many", "prompt_tokens": True}, None),
        ({"prompt_tokens": -5, "total_tokens": 10**30}, None),
        ({"prompt_audio_seconds": float("nan")}, None),
        ({"prompt_audio_seconds": float("inf")}, None),
        ([], None),
        (None, None),
    ],
)
def test_usage_in_other_forms(gateway, client, seen, stated, usage):
    gateway.replies.append(Reply(200, {"object": "list", "data": [], "usage": stated}))
    with suppress(Exception):  # what the SDK itself refuses
        client.models.list()
    assert seen[0].usage == usage


def test_the_pages_of_ocr_are_a_usage(gateway, client, seen):
    body = {"model": "ocr-1", "pages": [], "usage_info": {"pages_processed": 3}}
    gateway.replies.append(Reply(200, body))
    document = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
    client.ocr.process(model="ocr", document=document)
    assert (seen[0].operation, seen[0].usage) == ("ocr.process", Usage(pages=3))


def test_a_response_in_place_of_a_stream_is_complete_at_once(local_gateway, seen):
    local_gateway.guardrails = True
    STREAM.chat(make_client(local_gateway.settings()))
    (call,) = seen
    assert (call.buffered, call.outcome, call.response_model) == (True, "ok", MODEL)
    assert call.usage.total_tokens > 0


@pytest.mark.parametrize(
    ("ending", "outcome", "error"),
    [
        (b"data: [DONE]\n\n", "ok", None),
        (b"", "broken", GatewayStreamError),
        (b"data: %s\n\n" % json.dumps(BLOCKED).encode(), "error", GatewayStreamError),
    ],
)
def test_a_stream_that_a_hook_has_read(gateway, settings, seen, ending, outcome, error):
    gateway.replies.append(with_usage(ending))
    with httpx.Client(event_hooks={"response": [lambda response: response.read()]}) as http:
        client = make_client(settings, client=http)
        with pytest.raises(error) if error else nullcontext():
            read(client)
    assert [(call.outcome, call.usage) for call in seen] == [(outcome, Usage(**USAGE))]


# ---------------------------------------------------------------- how it ended


@pytest.mark.parametrize(
    ("status", "body", "code"), [(424, BLOCKED, 2016), (429, LIMITED, 2003), (401, {}, None)]
)
def test_an_http_error(gateway, client, seen, mode, status, body, code):
    gateway.replies.append(Reply(status, body))
    with pytest.raises(SDKError):
        mode.chat(client)
    (call,) = seen
    assert (call.outcome, call.status_code, call.error_code) == ("error", status, code)
    assert call.duration > 0


def test_an_error_of_the_gateways_with_http_200(gateway, client, seen):
    gateway.replies.append(Reply(200, BLOCKED))
    with pytest.raises(GatewayError):
        SYNC.chat(client)
    assert [(call.outcome, call.error_code) for call in seen] == [("error", 2016)]


@READERS
def test_an_error_in_a_stream(gateway, client, seen, reading):
    gateway.replies.append(with_usage(b"data: %s\n\n" % json.dumps(BLOCKED).encode()))
    with pytest.raises(GatewayStreamError):
        reading(client)
    (call,) = seen
    assert (call.outcome, call.error_code, call.usage) == ("error", 2016, Usage(**USAGE))


@READERS
def test_a_stream_without_its_end_mark_is_broken(gateway, client, seen, reading):
    gateway.replies.append(with_usage(b""))
    with pytest.raises(GatewayStreamError):
        reading(client)
    assert [(call.outcome, call.error_code) for call in seen] == [("broken", None)]


@READERS
def test_a_connection_that_breaks_off(gateway, client, seen, reading):
    gateway.replies.append(stream())
    gateway.replies[0].cut = True
    with pytest.raises(httpx.RemoteProtocolError):
        reading(client)
    assert [(call.outcome, call.status_code) for call in seen] == [("broken", 200)]


def test_no_response(make_settings, seen, mode):
    with refusing() as origin:
        client = make_client(make_settings(base_url=f"{origin}/v1/acc/gw"))
        with pytest.raises(GatewayError):
            mode.chat(client)
    (call,) = seen
    assert (call.outcome, call.status_code, call.usage) == ("broken", None, None)
    assert call.duration > 0


@pytest.mark.parametrize("leave", ["close", "drop", "drop unread"])
def test_a_stream_that_is_left_early(local_gateway, seen, leave):
    client = make_client(local_gateway.settings())  # which sends event by event
    events = client.chat.stream(**ASK)
    if leave != "drop unread":
        next(iter(events))
    assert seen == []
    if leave == "close":
        events.response.close()
        events.response.close()
    del events
    assert [call.outcome for call in seen] == ["abandoned"]


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_an_async_stream_that_is_left_early(local_gateway, seen, leave):
    client = make_client(local_gateway.settings())

    async def main():
        events = await client.chat.stream_async(**ASK)
        async for _ in events:
            break
        if leave == "close":
            await events.response.aclose()
        del events
        await asyncio.sleep(0.05)
        return [call.outcome for call in seen]

    assert asyncio.run(main()) == ["abandoned"]
    assert len(seen) == 1


async def test_a_call_that_is_cancelled_is_abandoned(gateway, client, seen):
    arrived, answering = threading.Event(), threading.Event()
    gateway.responder = lambda _request: (arrived.set(), answering.wait(5), stream())[-1]
    task = asyncio.create_task(client.chat.complete_async(**ASK))
    await asyncio.to_thread(arrived.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answering.set()
    assert [(call.outcome, call.status_code) for call in seen] == [("abandoned", None)]


def test_a_request_past_the_gateway(client, gateway, seen):
    client.models.list(server_url=gateway.origin)
    assert [(call.routed, call.outcome) for call in seen] == [("elsewhere", "ok")]


@READERS
@pytest.mark.parametrize("outcome", ["ok", "error"])
def test_a_stream_past_the_gateway(gateway, client, seen, reading, outcome):
    gateway.replies.append(with_usage() if outcome == "ok" else Reply(404, {"detail": "no"}))

    class Elsewhere:
        class chat:  # noqa: N801
            stream = partial(client.chat.stream, server_url=gateway.origin)
            stream_async = partial(client.chat.stream_async, server_url=gateway.origin)

    with nullcontext() if outcome == "ok" else pytest.raises(SDKError):
        reading(Elsewhere)
    (call,) = seen
    assert (call.routed, call.outcome) == ("elsewhere", outcome)
    assert call.usage == (Usage(**USAGE) if outcome == "ok" else None)


def test_a_redirect_that_the_client_does_not_follow(gateway, settings, seen):
    gateway.replies.append(Reply(302, {}, {"location": "/x"}))
    with httpx.Client(follow_redirects=False) as http, pytest.raises(SDKError):
        make_client(settings, client=http).models.list()
    assert [(call.status_code, call.outcome) for call in seen] == [(302, "error")]


# ---------------------------------------------------------------- who else sees it


def test_a_captured_stream_is_listed_at_once_and_complete_at_its_end(gateway, client, seen):
    gateway.replies.append(with_usage())
    gateway.replies[0].headers["cf-aig-dlp"] = '{"findings": []}'
    with capture() as calls, client.chat.stream(**ASK) as events:
        (call,) = calls
        assert (call.outcome, call.usage, call.duration) == (None, None, None)
        number = hash(call)
        list(events)
    assert (call.outcome, call.usage) == ("ok", Usage(**USAGE))
    assert seen[0] is call
    assert hash(call) == number


def test_with_nobody_listening_no_body_is_read(client, monkeypatch, mode):
    monkeypatch.setattr(_capture, "read_model", None)
    monkeypatch.setattr(_capture, "find_operation", None)
    mode.chat(client)


# ---------------------------------------------------------------- the function


def test_it_is_undone_in_any_order(client):
    first, second = [], []
    outer, inner = on_call(first.append), on_call(second.append)
    SYNC.chat(client)
    outer()
    outer.undo()
    SYNC.chat(client)
    inner()
    SYNC.chat(client)
    assert (len(first), len(second)) == (1, 2)


def test_two_registrations_of_a_function_are_two(client):
    calls = []
    with on_call(calls.append), on_call(calls.append):
        SYNC.chat(client)
    SYNC.chat(client)
    assert len(calls) == 2


def test_it_is_a_decorator(client):
    @on_call
    def note(call):
        calls.append(call)
        return "noted"

    calls = []
    assert isinstance(note, CallListener)
    with note:
        SYNC.chat(client)
        assert note(calls[0]) == "noted"
    SYNC.chat(client)
    assert len(calls) == 2


def test_what_cannot_be_called_is_refused():
    with pytest.raises(GatewayConfigError, match="takes a function, not str"):
        on_call("print")


def test_it_runs_in_the_thread_of_the_call(client):
    found = []

    def ask(number):
        STREAM.chat(client, f"q{number}")
        return threading.get_ident()

    note = on_call(lambda _call: found.append(threading.get_ident()))
    with note, ThreadPoolExecutor(8) as threads:
        asked = list(threads.map(ask, range(40)))
    assert sorted(found) == sorted(asked)


async def test_it_runs_in_the_task_of_the_call(client):
    tasks = []
    with on_call(lambda _call: tasks.append(asyncio.current_task())):
        mine = [asyncio.create_task(ASYNC.achat(client)) for _ in range(5)]
        mine += [asyncio.create_task(ASYNC_STREAM.achat(client)) for _ in range(5)]
        await asyncio.gather(*mine)
    assert set(tasks) == set(mine)


def test_what_it_raises_is_logged_once_and_harms_no_call(client, mode, caplog):
    def fail(_call):
        msg = "no such metric"
        raise RuntimeError(msg)

    with on_call(fail), on_call(fail):
        mode.chat(client)
        mode.chat(client)
    records = [record for record in caplog.records if record.name == "mistral_cf_adapter"]
    assert [record.levelname for record in records] == ["WARNING"] * 2
    assert "fail raised RuntimeError" in caplog.text
    assert "no such metric" in caplog.text
    assert TOKEN not in caplog.text
    assert KEY not in caplog.text


def test_the_log_of_what_it_raises_is_without_the_calls_own_error(gateway, client, caplog):
    def fail(_call):
        try:
            {}["first"]
        except KeyError:
            int("second")

    gateway.replies.append(Reply(424, BLOCKED))
    with on_call(fail), pytest.raises(GatewayError) as caught:
        SYNC.chat(client)
    assert "first" in caplog.text
    assert "second" in caplog.text
    assert "GatewayGuardrailError" not in caplog.text
    assert caught.value.__context__ is None


def test_a_call_that_it_makes_itself_is_not_reported(client, mode):
    def ask_again(call):
        calls.append(call)
        client.models.list()

    calls = []
    with on_call(ask_again), capture() as captured:
        mode.chat(client)
    assert [call.path for call in calls] == [CHAT]
    assert [call.path for call in captured if call.outcome == "ok"] == [CHAT, "/v1/models"]


def test_a_function_can_use_the_connection_that_the_call_has_left(make_settings, mode):
    client = make_client(make_settings(max_connections=1), timeout_ms=2000)

    def ask_again(_call):
        calls.append(client.models.list())

    async def ask_again_async(_call):
        calls.append(await client.models.list_async())

    calls = []
    with on_call(ask_again_async if mode.is_async else ask_again):
        mode.chat(client)
        if not mode.is_async:
            client.files.download(file_id="f").read()
    assert len(calls) == 2 - mode.is_async


# ---------------------------------------------------------------- asynchronous functions


@pytest.fixture
def slowly():
    """An asynchronous function that needs its loop, and what it has seen."""
    calls = []

    async def note(call):
        await asyncio.sleep(0.01)
        calls.append(call)

    with on_call(note):
        yield calls


def test_an_async_function_is_awaited(client, slowly, mode):
    mode.chat(client)  # asyncio.run() would cancel what is only scheduled
    assert [call.outcome for call in slowly] == ["ok"]


def test_an_async_function_gets_errors(gateway, client, slowly, mode):
    gateway.replies.append(Reply(424, BLOCKED))
    with pytest.raises(GatewayError):
        mode.chat(client)
    assert [call.error_code for call in slowly] == [2016]


@READERS
def test_an_async_function_gets_broken_streams(gateway, client, slowly, reading):
    gateway.replies.append(with_usage(b""))
    with pytest.raises(GatewayStreamError):
        reading(client)
    assert [call.outcome for call in slowly] == ["broken"]


async def test_a_sync_call_under_a_loop_leaves_it_to_a_task(client, slowly):
    SYNC.chat(client)
    assert slowly == []
    await asyncio.sleep(0.1)
    assert len(slowly) == 1


def test_a_sync_call_leaves_the_threads_own_loop_alone(client, slowly):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        SYNC.chat(client)
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert len(slowly) == 1


def test_a_dropped_stream_waits_for_an_async_function_until_the_next_call(client, slowly):
    client.chat.stream(**ASK)
    assert slowly == []
    SYNC.chat(client)
    assert [call.outcome for call in slowly] == ["abandoned", "ok"]


def test_what_an_async_function_raises_is_logged(client, mode, caplog):
    async def fail(_call):
        await asyncio.sleep(0)
        raise RuntimeError

    with on_call(fail):
        mode.chat(client)
    assert "raised RuntimeError" in caplog.text


# ---------------------------------------------------------------- garbage, forks, the end


def test_in_the_garbage_collector_no_function_runs(client):
    """The thread may hold a lock there which the function needs."""
    lock = threading.Lock()
    calls = []

    def note(call):
        assert lock.acquire(timeout=0), "the function would wait for ever"
        calls.append(call)
        lock.release()

    with on_call(note):
        events = client.chat.stream(**ASK)
        events.itself = events
        del events
        with lock:
            gc.collect()
            assert calls == []
        SYNC.chat(client)
        assert [call.outcome for call in calls] == ["abandoned", "ok"]


async def test_in_the_garbage_collector_the_event_loop_is_asked_to_report(client, seen):
    events = await client.chat.stream_async(**ASK)
    events.itself = events
    del events
    gc.collect()
    assert seen == []
    await asyncio.sleep(0)
    assert [call.outcome for call in seen] == ["abandoned"]


def test_what_was_left_in_the_garbage_collector_is_reported_at_the_undo(client):
    calls = []
    with on_call(calls.append):
        events = client.chat.stream(**ASK)
        events.itself = events
        del events
        gc.collect()
    assert [call.outcome for call in calls] == ["abandoned"]


PROGRAM = """
import asyncio, os, sys
from mistral_cf_adapter import GatewaySettings, capture, make_client, on_call

on_call(lambda call: print(os.getpid() == parent, call.operation, call.outcome, flush=True))

@on_call
async def report(call):
    print("async", call.outcome, flush=True)

parent = os.getpid()
client = make_client(GatewaySettings())
ask = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
"""


def run(gateway, program):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, **gateway.env()},
    )
    # Not its exit status: with an open stream Python 3.13 may crash after all is done, in the HTTP
    # library's close(), and does so with the bare SDK too.
    assert "on_call" not in done.stderr
    return done.stdout.splitlines()


def test_a_stream_that_is_open_at_the_end_of_the_process_is_reported_once(local_gateway):
    lines = run(local_gateway, "events = client.chat.stream(**ask)\nnext(iter(events))\n")
    assert lines == ["True chat.stream abandoned"]


def test_an_async_stream_that_is_open_at_the_end_of_the_process_is_reported_once(local_gateway):
    program = """
async def main():
    global events
    events = await client.chat.stream_async(**ask)
    async for _ in events:
        break

asyncio.run(main())
"""
    lines = run(local_gateway, program)
    assert [line for line in lines if line.startswith("True")] == ["True chat.stream abandoned"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_reports_its_own_calls_and_not_its_parents(local_gateway):
    program = """
events = client.chat.stream(**ask)
child = os.fork()
if child == 0:
    del events
    client.models.list()
    sys.exit()
os.waitpid(child, 0)
for _ in events:
    pass
"""
    lines = run(local_gateway, program)
    assert lines == ["False models.list ok", "async ok", "True chat.stream ok", "async ok"]


# ---------------------------------------------------------------- the log record


def records(caplog):
    return [each for each in caplog.records if hasattr(each, "outcome")]


def test_the_record_has_a_field_for_each_fact(gateway, client, caplog):
    gateway.replies.append(with_usage())
    gateway.replies[0].headers["cf-aig-log-id"] = "log-1"
    with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
        events = client.chat.stream(**ASK)
        assert records(caplog) == []
        list(events)
    (record,) = records(caplog)
    assert (record.log_id, record.operation, record.outcome) == ("log-1", "chat.stream", "ok")
    assert (record.prompt_tokens, record.total_tokens, record.cached_tokens) == (5, 12, None)
    assert record.status_code == 200
    flat = [v for v in vars(record).values() if isinstance(v, Usage | GatewayCall | dict)]
    assert flat == []
    assert "log_id=log-1" in record.getMessage()
    assert "total_tokens=12" in record.getMessage()


def test_a_record_factory_of_the_applications_keeps_its_own_fields(client, caplog, mode):
    factory = logging.getLogRecordFactory()

    def with_request_id(*args, **kwargs):
        record = factory(*args, **kwargs)
        record.request_id = "mine"
        return record

    logging.setLogRecordFactory(with_request_id)
    try:
        with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
            mode.chat(client)
    finally:
        logging.setLogRecordFactory(factory)
    assert [record.request_id for record in records(caplog)] == ["mine"]


OWN_HANDLER = """
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter('mine %(message)s'))
logging.getLogger('mistral_cf_adapter').addHandler(handler)
"""
SHOWING = """
import logging, os
{before}
from mistral_cf_adapter import GatewaySettings, make_client
client = make_client(GatewaySettings(base_url={url!r}, token="t", mistral_api_key="k"))
client.models.list()
"""


@pytest.mark.parametrize(
    ("level", "before", "lines"),
    [
        ("debug", "", 1),
        ("DEBUG", "", 1),
        ("info", "", 0),
        ("", "", 0),
        ("debug", "logging.basicConfig(format='mine %(message)s')", 1),
        ("debug", OWN_HANDLER, 1),
    ],
)
def test_a_variable_shows_the_log(gateway, level, before, lines):
    done = subprocess.run(
        [sys.executable, "-c", SHOWING.format(url=gateway.base_url, before=before)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={"CF_AIG_LOG": level, "PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )
    shown = [line for line in done.stderr.splitlines() if "operation=models.list" in line]
    assert len(shown) == lines
    assert all(line.startswith("mine") == bool(before) for line in shown)


def test_a_level_that_there_is_not_is_refused(make_settings, monkeypatch):
    monkeypatch.setenv("CF_AIG_LOG", "verbose")
    with pytest.raises(GatewayConfigError, match="CF_AIG_LOG"):
        make_settings()
