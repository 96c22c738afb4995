"""What a local gateway remembers of the calls that it has served."""

from __future__ import annotations

import threading

import pytest
from raw_gateway import QUESTION, asking, exchange

from mistral_cf_adapter import gateway_options, make_client
from mistral_cf_adapter.testing import LocalGateway, limits
from mistral_cf_adapter.testing.operation_names import name_operation

MESSAGES = [{"role": "user", "content": "Hello"}]
CHAT = {"model": "mistral-small-latest", "messages": MESSAGES}


@pytest.fixture
def client(local_gateway):
    return make_client(local_gateway.settings())


def _only(gateway):
    (call,) = gateway.calls.since(gateway.calls.last_id - len(gateway.calls))
    return call


def test_a_call_is_there_when_its_response_is(local_gateway, client):
    first = local_gateway.calls.last_id
    for number in range(1, 51):
        client.chat.complete(**CHAT)
        assert local_gateway.calls.last_id == first + number
        assert local_gateway.calls.get(first + number).status == 200


def test_what_a_call_says(local_gateway, client):
    local_gateway.reply("Bonjour!")
    with gateway_options(cache_ttl=60, metadata={"team": "search"}):
        answer = client.chat.complete(**CHAT)
    call = _only(local_gateway)
    assert (call.operation, call.provider, call.model) == (
        "chat.complete",
        "mistral",
        "mistral-small-latest",
    )
    assert (call.status, call.cache_status, call.attempts, call.error) == (200, "MISS", 1, None)
    assert call.metadata == {"team": "search"}
    assert call.usage.prompt_tokens == answer.usage.prompt_tokens
    assert call.usage.completion_tokens == answer.usage.completion_tokens
    assert b"Bonjour!" in call.body
    assert call.is_complete
    assert not call.is_streamed


def test_a_stream_has_its_pieces_and_their_moments(local_gateway, client):
    local_gateway.reply_stream(["Bon", "jour", "!"])
    with client.chat.stream(**CHAT) as stream:
        events = list(stream)
    call = _only(local_gateway)
    assert call.operation == "chat.stream"
    assert call.is_streamed
    assert len(call.pieces) >= len(events)
    moments = [moment for moment, _ in call.pieces]
    assert moments == sorted(moments)
    assert call.usage.completion_tokens == events[-1].data.usage.completion_tokens


@pytest.mark.parametrize(
    ("fail", "source", "code"),
    [
        (lambda gateway: gateway.fail(2003), "gateway", 2003),
        (lambda gateway: gateway.fail(kind="policy_denied"), "gateway", None),
        (lambda gateway: gateway.upstream_fail(422), "provider", None),
        (lambda gateway: gateway.upstream_fail(500), "provider", None),
        (lambda gateway: gateway.upstream_fail(500, body=[1, None]), "provider", None),
        (lambda gateway: gateway.fail(status=502, body=b"<html>"), "provider", None),
        (lambda gateway: gateway.fault("status"), "fault", None),
        (lambda gateway: gateway.fault("reset"), "fault", None),
        (lambda gateway: gateway.fault("garbage"), "fault", None),
        (lambda gateway: gateway.fault("cut_body"), "fault", None),
        (lambda gateway: gateway.reply_stream([{"error": {"message": "no"}}]), "provider", None),
    ],
)
def test_why_a_call_failed(local_gateway, fail, source, code):
    fail(local_gateway)
    last = local_gateway.calls.last_id
    exchange(local_gateway, asking(local_gateway, QUESTION))
    (call,) = local_gateway.calls.wait(last, timeout=30)
    assert (call.error.source, call.error.code) == (source, code)
    assert call.error.message


def test_a_slow_response_is_no_error(local_gateway, client):
    local_gateway.fault("slow_drip", delay=0, size=1000)
    last = local_gateway.calls.last_id
    client.chat.complete(**CHAT)
    (call,) = local_gateway.calls.wait(last, timeout=30)
    assert (call.fault, call.error) == ("slow_drip", None)


def test_what_is_refused_is_a_call_too(local_gateway):
    exchange(local_gateway, asking(local_gateway, QUESTION, "/nowhere"))
    call = _only(local_gateway)
    assert (call.operation, call.provider, call.error.code) == ("POST /nowhere", None, 2001)


def test_what_never_reached_a_provider_has_its_operations_name(local_gateway):
    local_gateway.fault("status")
    exchange(local_gateway, asking(local_gateway, QUESTION))
    call = _only(local_gateway)
    assert (call.operation, call.provider) == ("chat.complete", None)


def test_ids_go_on_after_a_reset_and_old_calls_go(local_gateway, client, monkeypatch):
    calls = local_gateway.calls
    client.models.list()
    last = calls.last_id
    local_gateway.reset()
    assert calls.since() == []
    assert calls.get(last) is None
    monkeypatch.setattr(limits, "MAX_KEPT", 3)
    for _ in range(5):
        client.models.list()
    assert [call.id for call in calls.since()] == [last + 3, last + 4, last + 5]
    assert [call.id for call in calls.since(last + 4)] == [last + 5]
    assert calls.since(last + 5) == calls.since(last + 50) == []
    assert calls.get(last + 2) is None
    assert calls.get(last + 4).id == last + 4


def test_a_thread_can_wait_for_the_next_call(local_gateway, client):
    calls, found = local_gateway.calls, []
    last = calls.last_id
    assert calls.wait(last, timeout=0) == []
    waiting = threading.Thread(target=lambda: found.extend(calls.wait(last, timeout=30)))
    waiting.start()
    client.models.list()
    waiting.join(30)
    assert [call.operation for call in found] == ["models.list"]


def test_a_listener_gets_each_call_and_may_fail(client, local_gateway, caplog):
    heard, done = [], threading.Event()

    def listen(call):
        heard.append(call.id)
        if len(heard) == 2:
            done.set()
        raise ValueError(call)

    unsubscribe = local_gateway.calls.subscribe(listen)
    client.models.list()
    client.models.list()
    assert done.wait(30)
    unsubscribe()
    client.models.list()
    last = local_gateway.calls.last_id
    assert heard == [last - 2, last - 1]
    assert "raised an error" in caplog.text


def test_a_listener_does_not_delay_the_response():
    with LocalGateway() as gateway:
        told, answered = threading.Event(), threading.Event()
        gateway.calls.subscribe(lambda _: (told.set(), answered.wait(30)))
        make_client(gateway.settings()).models.list()
        answered.set()
        assert told.wait(30)


@pytest.mark.parametrize(
    ("method", "path", "streams", "name"),
    [
        ("POST", "v1/chat/completions", False, "chat.complete"),
        ("POST", "v1/chat/completions", True, "chat.stream"),
        ("POST", "v1/conversations", True, "beta.conversations.start_stream"),
        ("GET", "v1/files/abc/content", False, "files.download"),
        ("GET", "v1/files", False, "files.list"),
        ("GET", "v1/files/a/b/c", False, "GET /v1/files/a/b/c"),
        ("PUT", "v1/chat/completions", False, "PUT /v1/chat/completions"),
    ],
)
def test_operations_have_the_sdks_names(method, path, streams, name):
    assert name_operation(method, path, streams=streams) == name
