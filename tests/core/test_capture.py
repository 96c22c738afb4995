"""`capture()`: one `GatewayCall` for every exchange, whoever makes it and however."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from call_modes import ASYNC, SYNC
from http_records import CHAT, KEY, TOKEN, Reply, completion, stream
from opentelemetry import trace
from retry_configs import retries
from span_records import current_span, events

from mistral_cf_adapter import GatewayCall, GatewayError, capture, make_client

DLP = {"findings": [{"profile": {"profile_id": "p"}, "check": "REQUEST"}], "action": "FLAG"}
HEADERS = {
    "cf-aig-log-id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "cf-aig-request-id": "req-1",
    "cf-aig-event-id": "event-1",
    "cf-aig-cache-status": "HIT",
    "cf-aig-step": "1",
    "cf-aig-model": "mistral-large-latest",
    "cf-aig-provider": "mistral",
    "cf-aig-routed-model": "openai/gpt-5.6-luna",
    "cf-aig-routing-reason": "cost_optimal_within_pool",
    "cf-aig-routing-decision-id": "91e0b970-33f0-4921-b8dc-127412e7b103",
    "cf-aig-dlp": json.dumps(DLP),
}
FACTS = {
    "log_id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "request_id": "req-1",
    "event_id": "event-1",
    "cache_status": "HIT",
    "step": 1,
    "model": "mistral-large-latest",
    "provider": "mistral",
    "routed_model": "openai/gpt-5.6-luna",
    "routing_reason": "cost_optimal_within_pool",
    "routing_decision_id": "91e0b970-33f0-4921-b8dc-127412e7b103",
    "dlp": DLP,
}


def answering(gateway, headers):
    """Answer every chat with these headers."""

    def respond(request):
        reply = stream() if json.loads(request.body).get("stream") else completion()
        reply.headers |= headers
        return reply

    gateway.responder = respond


# ---------------------------------------------------------------- what it tells


def test_a_call_has_all_that_the_gateway_said(gateway, client, mode):
    answering(gateway, HEADERS)
    with capture() as calls:
        mode.chat(client)
    (call,) = calls
    assert type(call) is GatewayCall
    assert {name: getattr(call, name) for name in FACTS} == FACTS
    assert (call.method, call.path, call.status_code, call.attempt) == ("POST", CHAT, 200, 1)
    assert call.elapsed > 0
    assert call.buffered is False


def test_every_response_header_of_the_facts_is_a_field():
    fields = {field.name for field in dataclasses.fields(GatewayCall)}
    names = {name.removeprefix("cf-aig-").replace("-", "_") for name in HEADERS}
    assert names <= fields


def test_what_the_gateway_did_not_say_is_none(client, mode):
    with capture() as calls:
        mode.chat(client)
    assert {getattr(calls[0], name) for name in FACTS} == {None}


@pytest.mark.parametrize(
    ("header", "value", "field"),
    [
        ("cf-aig-step", "second", "step"),
        ("cf-aig-step", "-1", "step"),
        ("cf-aig-step", "9" * 5000, "step"),
        ("cf-aig-step", "²", "step"),
        ("cf-aig-dlp", "not json", "dlp"),
        ("cf-aig-dlp", "[1]", "dlp"),
        ("cf-aig-dlp", "[" * 3000, "dlp"),
    ],
)
def test_headers_that_make_no_sense_are_none(gateway, client, header, value, field):
    answering(gateway, {header: value.encode().decode("latin-1")})
    with capture() as calls:
        SYNC.chat(client)
    assert getattr(calls[0], field) is None


def test_a_call_does_not_change():
    call = GatewayCall(method="GET", path="/", attempt=1, elapsed=0.1, status_code=200)
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.attempt = 2


# ---------------------------------------------------------------- which calls


def test_each_retry_is_a_call_that_counts_up(gateway, client, mode):
    gateway.replies += [Reply(503, {}), Reply(500, {}), Reply(429, {})]
    with capture() as calls:
        mode.chat(client, retries=retries())
        mode.chat(client, retries=retries())
    assert [(call.attempt, call.status_code) for call in calls] == [
        (1, 503),
        (2, 500),
        (3, 429),
        (4, 200),
        (1, 200),
    ]


def test_an_error_of_the_gateways_is_a_call(gateway, client, mode):
    body = {"success": False, "error": [{"code": 2009, "message": "Unauthorized"}]}
    gateway.replies.append(Reply(401, body, HEADERS))
    with capture() as calls, pytest.raises(GatewayError) as caught:
        mode.chat(client)
    assert calls[0].status_code == 401
    assert calls[0].log_id == caught.value.log_id == FACTS["log_id"]


def test_an_exchange_without_an_answer_is_a_call_without_a_status(make_settings, mode):
    client = make_client(make_settings(base_url="http://127.0.0.1:9/v1/acc/gw"))
    with capture() as calls, pytest.raises(Exception, match=r".*"):
        mode.chat(client)
    assert [(call.status_code, call.log_id) for call in calls] == [(None, None)]


def test_every_kind_of_operation_is_captured(client):
    with capture() as calls:
        client.models.list()
        client.embeddings.create(model="mistral-embed", inputs=["a"])
        SYNC.upload(client, b"x")
        client.files.download(file_id="f 1").close()
    assert [(call.method, call.path) for call in calls] == [
        ("GET", "/v1/models"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/files"),
        ("GET", "/v1/files/f 1/content"),
    ]


def test_a_stream_left_early_is_captured_all_the_same(client):
    with capture() as calls:
        events = client.chat.stream(model="m", messages=[{"role": "user", "content": "x"}])
        with events:
            next(iter(events))
    assert len(calls) == 1


# ---------------------------------------------------------------- who sees them


def test_outer_captures_see_what_inner_ones_see(client, mode):
    with capture() as outer:
        mode.chat(client)
        with capture() as inner:
            mode.chat(client)
        mode.chat(client)
    assert (len(outer), len(inner)) == (3, 1)
    assert outer[1] is inner[0]


def test_nothing_is_captured_after_the_block(client, mode):
    with capture() as calls:
        pass
    mode.chat(client)
    assert calls == []


def test_an_exception_ends_the_block_and_leaves_the_calls(client):
    def block():
        with capture() as calls:
            seen.append(calls)
            SYNC.chat(client)
            raise KeyError

    seen = []
    with pytest.raises(KeyError):
        block()
    SYNC.chat(client)
    assert len(seen[0]) == 1


def echoing(gateway):
    """Answer with the question for an id."""

    def respond(request):
        body = json.loads(request.body)
        reply = stream() if body.get("stream") else completion()
        reply.headers["cf-aig-log-id"] = body["messages"][0]["content"]
        return reply

    gateway.responder = respond


async def test_fifty_calls_at_once_keep_their_own(gateway, client):
    echoing(gateway)

    async def one(number):
        with capture() as calls:
            await ASYNC.achat(client, f"q{number}")
        return [call.log_id for call in calls]

    with capture() as all_calls:
        seen = await asyncio.gather(*map(one, range(50)))
    assert seen == [[f"q{number}"] for number in range(50)]
    assert {call.log_id for call in all_calls} == {f"q{number}" for number in range(50)}


def test_threads_keep_their_own(gateway, client):
    echoing(gateway)

    def one(number):
        with capture() as calls:
            SYNC.chat(client, f"q{number}")
        return [call.log_id for call in calls]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(20))) == [[f"q{number}"] for number in range(20)]


def test_a_thread_started_in_the_block_reports_only_with_the_context(client):
    with capture() as calls:
        thread = threading.Thread(target=SYNC.chat, args=(client,))
        thread.start()
        thread.join()
        assert calls == []
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(SYNC.chat, client))
        thread.start()
        thread.join()
    assert len(calls) == 1


async def test_a_task_started_in_the_block_reports_to_it(client):
    with capture() as calls:
        await asyncio.gather(ASYNC.achat(client), ASYNC.achat(client))
    assert len(calls) == 2


def test_a_block_left_in_another_context_raises_nothing():
    block = capture()
    contextvars.copy_context().run(block.__enter__)
    block.__exit__(None, None, None)


# ---------------------------------------------------------------- the logger and the span


def test_the_logger_gets_a_line_per_exchange_at_debug(gateway, client, mode, caplog):
    answering(gateway, HEADERS)
    with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
        mode.chat(client)
    lines = [
        record.getMessage() for record in caplog.records if record.name == "mistral_cf_adapter"
    ]
    (line,) = lines
    for fact in ("log_id=01890a5d", "status_code=200", "cache_status=HIT", f"path={CHAT}"):
        assert fact in line
    assert TOKEN not in line
    assert KEY not in line


def test_the_logger_is_silent_above_debug(client, mode, caplog):
    with caplog.at_level(logging.INFO, "mistral_cf_adapter"):
        mode.chat(client)
    assert not [record for record in caplog.records if record.name == "mistral_cf_adapter"]


def test_an_event_of_the_current_span_has_the_facts(gateway, client, mode):
    answering(gateway, HEADERS)
    with current_span() as span:
        mode.chat(client)
    (event,) = events(span)
    assert event["log_id"] == FACTS["log_id"]
    assert event["step"] == 1
    assert event["status_code"] == 200
    assert "dlp" not in event


def test_a_span_that_is_not_recorded_costs_nothing_and_harms_nothing(client, mode):
    with trace.use_span(trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)):
        mode.chat(client)
