"""A request that asks too much of a local gateway gets a refusal, not a 500 and not its memory."""

from __future__ import annotations

import json
import logging
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_gateway import BASE, CHAT, QUESTION, asking, exchange, head, statuses

from mistral_cf_adapter.testing import LocalGateway, limits
from mistral_cf_adapter.testing.limits import BoundedList, drop_oldest


@pytest.fixture
def gateway(local_gateway, caplog):
    yield local_gateway
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# ---------------------------------------------------------------- bodies

DEEP = b"[" * 200_000 + b"]" * 200_000
PATHS = [
    f"{BASE}/v1/{path}"
    for path in (
        *("chat/completions", "fim/completions", "agents/completions", "embeddings", "ocr"),
        *("moderations", "chat/moderations", "classifications", "conversations", "files"),
        *("chat/classifications", "audio/transcriptions", "audio/speech", "audio/voices"),
        *("agents", "libraries", "batch/jobs", "fine_tuning/jobs", "responses", "nowhere"),
    )
] + ["/v1/acc/default/compat/chat/completions"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body", [DEEP, b'{"model":"m","messages":' + DEEP + b"}"], ids=["alone", "inside"]
)
def test_json_that_is_nested_too_deep_is_a_400(gateway, path, body):
    received = exchange(gateway, asking(gateway, body, path))
    assert statuses(received) == [400]
    assert b"nested too deep" in received


def test_a_log_cannot_be_edited_with_json_that_is_nested_too_deep(gateway):
    exchange(gateway, asking(gateway, QUESTION))
    path = f"/client/v4/accounts/acc/ai-gateway/gateways/default/logs/{gateway.logs[0].id}"
    sent = asking(gateway, DEEP, path, method="PATCH")
    sent = sent.replace(f"Bearer {gateway.mistral_api_key}".encode(), b"Bearer cf-api-test-token")
    assert statuses(exchange(gateway, sent)) == [400]


@pytest.mark.parametrize("name", ["cf-aig-metadata", "cf-aig-custom-cost"])
def test_a_header_that_is_nested_too_deep_counts_as_any_mistake_in_it(gateway, name):
    sent = asking(gateway, QUESTION, **{name: "[" * 6000 + "]" * 6000})
    assert statuses(exchange(gateway, sent)) == [200]


def seconds(gateway, sent):
    started = time.monotonic()
    received = exchange(gateway, sent)
    return time.monotonic() - started, received


ABSURD = {
    "n": (CHAT, {**QUESTION, "n": 1_000_000}),
    "dimension": (
        f"{BASE}/v1/embeddings",
        {"model": "m", "input": "x", "output_dimension": 1_000_000_000},
    ),
    "inputs": (f"{BASE}/v1/moderations", {"model": "m", "input": [""] * 1_000_000}),
}


@pytest.mark.parametrize(("path", "body"), ABSURD.values(), ids=ABSURD)
def test_a_small_request_for_a_huge_answer_is_refused(gateway, path, body):
    took, received = seconds(gateway, asking(gateway, body, path))
    assert statuses(received) == [422]
    assert took < 5
    assert len(received) < 10_000


def test_a_scripted_answer_is_not_repeated_without_a_bound(gateway):
    gateway.reply("Hello")
    _, received = seconds(gateway, asking(gateway, {**QUESTION, "n": 1_000_000}))
    assert statuses(received) == [200]
    assert len(received) < 100_000


SELF = {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcdefghij"}}
SCHEMAS = {
    "recursion": SELF,
    "many items": {"type": "array", "minItems": 10**9},
    "nested items": {
        "type": "array",
        "minItems": 1000,
        "items": {"type": "array", "minItems": 1000, "items": {"type": "array", "minItems": 1000}},
    },
    "a long word often": {"type": "array", "minItems": 10_000, "items": {"const": "x" * 100_000}},
    "no numbers": {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": "x"},
            "b": {"type": "number", "minimum": 1e308 * 10},
            "c": {"type": "array", "minItems": "x"},
            "d": {"enum": "abc"},
            "e": {"anyOf": {"0": {}}},
            "f": {"$ref": 5},
        },
    },
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_an_example_of_a_schema_has_a_bound(gateway, schema):
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    took, received = seconds(gateway, asking(gateway, {**QUESTION, "response_format": form}))
    assert statuses(received) == [200]
    assert took < 10
    assert len(received) < 2_000_000


def test_what_is_said_again_has_a_bound(gateway):
    spaces = {"role": "assistant", "content": "a " * 1_000_000, "prefix": True}
    body = {"model": "m" * 1_000_000, "messages": [spaces], "stream": True}
    took, received = seconds(gateway, asking(gateway, body))
    assert statuses(received) == [200]
    assert took < 10
    assert len(received) < 20_000_000


@pytest.mark.parametrize("path", PATHS)
def test_half_a_surrogate_pair_is_no_500(gateway, path):
    half = {"role": "user", "content": "\ud800"}
    body = {
        **dict.fromkeys(("model", "input", "inputs", "agent_id", "prompt"), "\ud800"),
        "messages": [half],
        "document": {"document_url": "\ud800"},
    }
    sent = asking(gateway, body, path, **{"cf-aig-cache-ttl": "60"})
    assert statuses(exchange(gateway, sent))[0] != 500


@pytest.mark.parametrize("path", [f"{BASE}/v1/files", f"{BASE}/v1/audio/transcriptions"])
@pytest.mark.parametrize(
    "body",
    [b"", b"--b", b"--b\r\nno header\r\n\r\nx\r\n--b--", b"garbage", b"--b\r\n\r\n\r\n--b--\r\n"],
)
def test_a_form_that_is_none_is_no_500(gateway, path, body):
    sent = asking(gateway, body, path)
    sent = sent.replace(b"application/json", b"multipart/form-data; boundary=b")
    assert statuses(exchange(gateway, sent))[0] in {200, 422}


@pytest.mark.parametrize("query", ["page=" + "9" * 5000, "per_page=" + "9" * 5000, "page=-1"])
def test_a_page_without_end_is_no_500(gateway, query):
    path = f"/client/v4/accounts/acc/ai-gateway/gateways/default/logs?{query}"
    sent = head(path, "GET", Authorization="Bearer cf-api-test-token", Connection="close")
    assert statuses(exchange(gateway, sent)) == [400]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = (
    *("model", "messages", "prompt", "input", "inputs", "document", "stream", "n", "max_tokens"),
    *("tools", "tool_choice", "response_format", "output_dimension", "agent_id", "name"),
    *("endpoint", "requests", "input_files", "training_files", "job_type", "suffix"),
    *("sample_audio", "completion_args", "metadata", "hyperparameters", "integrations"),
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": JSON | st.sampled_from(["user", "tool"]), "content": JSON}),
    max_size=2,
)
BODIES = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON | MESSAGES))


@given(st.sampled_from(PATHS), BODIES | JSON)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_json_at_all_is_a_500(gateway, path, body):
    received = exchange(gateway, asking(gateway, body, path))
    assert statuses(received)[0] != 500, received


def test_a_body_over_the_limit_is_a_413_which_the_caller_can_read(gateway, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BODY", 1000)
    assert statuses(exchange(gateway, asking(gateway, b"x" * (32 * limits.MIB)))) == [413]
    chunked = head(Transfer_Encoding="chunked") + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"
    assert statuses(exchange(gateway, chunked)) == [413]
    assert not gateway.requests
    assert statuses(exchange(gateway, asking(gateway, QUESTION))) == [200]


# ---------------------------------------------------------------- what is kept


def test_the_oldest_goes_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(limits, "MAX_KEPT", 3)
    kept = BoundedList(len)
    for item in ("a", "b", "c", "d"):
        kept.append(item)
    assert kept == ["b", "c", "d"]


def test_the_oldest_goes_when_there_are_too_many_bytes(monkeypatch):
    monkeypatch.setattr(limits, "MAX_KEPT_BYTES", 10)
    kept = BoundedList(len)
    for item in ("aaaa", "bbbb", "cccc", "d" * 20):
        kept.append(item)
    assert kept == ["d" * 20]
    kept.clear()
    for item in ("aaaa", "bbbb"):
        kept.append(item)
    assert kept == ["aaaa", "bbbb"]


def test_a_dictionary_is_bounded_likewise(monkeypatch):
    monkeypatch.setattr(limits, "MAX_KEPT_BYTES", 10)
    kept = {"a": "xxxx", "b": "xxxx", "c": "xxxx"}
    drop_oldest(kept, len)
    assert list(kept) == ["b", "c"]


@pytest.mark.parametrize("size", [10, 10_000])
def test_what_a_call_keeps_of_a_response_is_bounded_and_said(monkeypatch, size):
    monkeypatch.setattr(limits, "MAX_RESPONSE", 5000)
    with LocalGateway() as gateway:
        gateway.reply_stream([b"x" * size] * 1000)
        exchange(gateway, asking(gateway, {**QUESTION, "stream": True}))
        exchange(gateway, asking(gateway, QUESTION))
        (call,) = gateway.calls.wait(0, 10)[:1]
        small = gateway.calls.wait(1, 10)[0]
    assert call.sent == size * 1000
    assert call.is_cut
    assert call.size <= 10_000
    assert len(call.body) <= 5000
    assert not small.is_cut
    assert small.sent == len(small.body)


def test_what_is_scripted_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(limits, "MAX_KEPT_BYTES", 1000)
    large = "x" * 600
    gateway = LocalGateway()
    scripting = [
        lambda: gateway.reply(large),
        lambda: gateway.reply("", tool_calls=[{"id": "1", "function": {"name": large}}]),
        lambda: gateway.reply_json({"a": [large]}),
        lambda: gateway.reply_parsed({"a": large}),
        lambda: gateway.reply_stream([large]),
        lambda: gateway.reply_ocr(large),
        lambda: gateway.reply_embeddings([[0.5] * 100]),
        lambda: gateway.fail(status=500, body=large.encode()),
    ]
    for script in scripting:
        gateway.reset()
        script()
        with pytest.raises(ValueError, match="1000 bytes of responses can be scripted at once"):
            script()
    gateway.upstream_fail(500, body=large, times=5)
    with pytest.raises(ValueError, match="1000 bytes of responses"):
        gateway.upstream_fail(500, body=large)
    gateway.fault("status", body=large.encode())
    with pytest.raises(ValueError, match="1000 bytes of faults"):
        gateway.fault("garbage", data=large.encode())


def test_requests_logs_cache_files_and_conversations_are_bounded(monkeypatch):
    monkeypatch.setattr(limits, "MAX_KEPT", 5)
    with LocalGateway(cache_ttl=60) as gateway:
        client_headers = {"cf-aig-cache-ttl": "60"}
        for number in range(8):
            body = {**QUESTION, "messages": [{"role": "user", "content": str(number)}]}
            exchange(gateway, asking(gateway, body, **client_headers))
            exchange(gateway, asking(gateway, {"inputs": str(number)}, f"{BASE}/v1/conversations"))
            exchange(gateway, _upload(gateway, number))
        state, mistral = gateway._state, gateway._mistral
        kept = [gateway.requests, gateway.upstream_requests, gateway.logs]
        kept += [state.cache._entries, mistral.files.kept, mistral.conversations.kept]
        assert [len(each) for each in kept] == [5] * 6
        assert [request.fields.get("inputs") for request in gateway.requests[-2:]] == ["7", None]


def _upload(gateway, number):
    about = f'Content-Disposition: form-data; name="file"; filename="{number}"'
    part = f"--b\r\n{about}\r\n\r\nx\r\n--b--\r\n"
    sent = asking(gateway, part.encode(), f"{BASE}/v1/files")
    return sent.replace(b"application/json", b"multipart/form-data; boundary=b")


def test_a_file_uploaded_after_one_was_deleted_has_an_id_of_its_own(gateway):
    ids = []
    for _ in range(2):
        received = exchange(gateway, _upload(gateway, 1))
        ids.append(json.loads(received.partition(b"\r\n\r\n")[2])["id"])
        if len(ids) == 1:
            exchange(gateway, asking(gateway, b"", f"{BASE}/v1/files/{ids[0]}", method="DELETE"))
    assert len(set(ids)) == 2
