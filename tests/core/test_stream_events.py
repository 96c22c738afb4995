"""What stands in an event stream: errors in every form, end marks, codings, and how it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gzip
import json
import pickle
import zlib

import pytest
from client_ways import client_for, settings_for, with_make_client, with_own_http, with_patch
from fault_scripts import (
    CHUNKED,
    LAST,
    LOG_ID,
    MAJOR,
    SSE,
    chunked,
    event,
    head,
    http,
)
from fault_server import FaultServer
from http_records import KEY

from mistral_cf_adapter import (
    GatewayDlpError,
    GatewayError,
    GatewayGuardrailError,
    GatewayRateLimitedError,
    GatewaySpendLimitError,
    GatewayStreamError,
    make_client,
)
from mistral_cf_adapter._sdk import Mistral, httpx
from mistral_cf_adapter._streaming import ResponseRef, StreamGuard

ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
HEALTHY = [event("one"), event("two")]
DONE = b"data: [DONE]\n\n"
TEXTS = ["one", "two"]


def data(value, name=None):
    """Return one event."""
    head = b"" if name is None else b"event: %s\n" % name.encode()
    return head + b"data: " + json.dumps(value).encode() + b"\n\n"


def blocked(code, message="Response blocked", **fields):
    return {"success": False, "error": [{"code": code, "message": message}], **fields}


# Event after two healthy ones: class, code, whether it may pass, and what the message says.
ERRORS = {
    "of another provider": (
        data({"id": "x", "choices": [], "error": {"code": 502, "message": "Provider returned"}}),
        (GatewayStreamError, 502, True, "Provider returned"),
    ),
    "of a provider that repeats itself": (
        data({"error": {"code": 400, "message": "Invalid model"}}),
        (GatewayStreamError, 400, False, "Invalid model"),
    ),
    "with choices": (
        data({"choices": [{"index": 0, "delta": {}}], "error": {"message": "cut off"}}),
        (GatewayStreamError, None, True, "cut off"),
    ),
    "named": (
        data({"error": {"message": "overloaded"}}, "error"),
        (GatewayStreamError, None, True, "overloaded"),
    ),
    "named and typed": (
        data({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, "error"),
        (GatewayStreamError, None, True, "Busy"),
    ),
    "typed": (
        data({"type": "error", "error": {"type": "overloaded_error"}}),
        (GatewayStreamError, None, True, "overloaded_error"),
    ),
    "of text": (data({"error": "overloaded"}), (GatewayStreamError, None, True, "overloaded")),
    "named, of text": (
        b"event: error\ndata: upstream is gone\n\n",
        (GatewayStreamError, None, True, "upstream is gone"),
    ),
    "Mistral's": (
        data({"object": "error", "message": "Service unavailable", "code": "503"}),
        (GatewayStreamError, 503, True, "Service unavailable"),
    ),
    "guardrails": (data(blocked(2017)), (GatewayGuardrailError, 2017, False, "Response blocked")),
    "guardrails, named": (
        data(blocked(2016), "error"),
        (GatewayGuardrailError, 2016, False, "Response blocked"),
    ),
    "DLP": (data(blocked(2030)), (GatewayDlpError, 2030, False, "Response blocked")),
    "spend limit": (data(blocked(2041)), (GatewaySpendLimitError, 2041, False, "blocked")),
    "rate limit": (data(blocked(2003)), (GatewayRateLimitedError, 2003, True, "blocked")),
    "with a name": (
        data({"name": "AiGatewayError", "internalCode": 2017, "message": "Blocked"}),
        (GatewayGuardrailError, 2017, False, "Blocked"),
    ),
    "a code that is not known": (
        data(blocked(2999, "New")),
        (GatewayStreamError, 2999, False, "New"),
    ),
    "in lines": (
        b"id: 7\ndata: "
        + json.dumps(blocked(2017, "x")).replace(", ", ",\ndata: ").encode()
        + b"\nevent: error\n\n",
        (GatewayGuardrailError, 2017, False, "x"),
    ),
    "JSON and no event": (
        json.dumps(blocked(2017)).encode(),
        (GatewayGuardrailError, 2017, False, "Response blocked"),
    ),
}

NEWLINES = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}


def served(*packets, coding=None, status=200, content_type=SSE):
    """Return a script that streams packets, each in a chunk of its own."""
    headers = [content_type, CHUNKED]
    if coding:
        headers.append(f"Content-Encoding: {coding}")

    def play(wire, _request):
        wire.send(head(status, *headers), *chunked(*packets), LAST)

    return play


def read(client, seen):
    """Read a stream into `seen`."""
    with client.chat.stream(**ASK) as events:
        for one in events:
            seen.append(one.data.choices[0].delta.content)


async def aread(client, seen):
    async with await client.chat.stream_async(**ASK) as events:
        async for one in events:
            seen.append(one.data.choices[0].delta.content)


def run(server, way, seen):
    """Read a stream in one of the ways."""
    with WAYS[way](settings_for(server)) as client:
        if "async" in way:
            asyncio.run(aread(client, seen))
        else:
            read(client, seen)


async def read_whole(response):
    await response.aread()


@contextlib.contextmanager
def read_by_a_hook(settings):
    """HTTP clients of the user's own, whose hooks read each response."""
    one_call = {"limits": httpx.Limits(max_keepalive_connections=0)}
    own = httpx.AsyncClient(event_hooks={"response": [read_whole]}, **one_call)
    with httpx.Client(event_hooks={"response": [lambda response: response.read()]}) as http:
        yield make_client(settings, client=http, async_client=own)


WAYS = {
    "sync": with_make_client,
    "async": with_make_client,
    "patch": with_patch,
    "own client": with_own_http,
    "read by a hook": read_by_a_hook,
    "read by a hook, async": read_by_a_hook,
}
EACH_WAY = pytest.mark.parametrize("way", WAYS)


@EACH_WAY
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_in_a_stream_is_raised_after_what_came_before(name, way):
    middle, (cls, code, retryable, text) = ERRORS[name]
    seen = []
    with (
        FaultServer(served(*HEALTHY, middle, *[DONE] * middle.endswith(b"\n"))) as server,
        pytest.raises(GatewayStreamError) as caught,
    ):
        run(server, way, seen)
    error = caught.value
    assert seen == TEXTS
    assert isinstance(error, cls)
    assert (error.code, error.retryable) == (code, retryable)
    assert text in error.message
    assert error.message.endswith(error.advice)
    assert error.log_id == LOG_ID
    assert f"log {LOG_ID})" in error.message
    assert ("ask again" in error.message) <= retryable


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1 << 20])
@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("name", ["guardrails", "named and typed", "in lines"])
def test_an_error_is_seen_however_it_is_split(name, newline, size):
    middle, (cls, code, *_) = ERRORS[name]
    body = b"".join((*HEALTHY, middle, DONE)).replace(b"\n", NEWLINES[newline])
    packets = [body[start : start + size] for start in range(0, len(body), size)]
    seen = []
    with FaultServer(served(*packets)) as server, pytest.raises(cls) as caught:
        run(server, "sync", seen)
    assert seen == TEXTS
    assert caught.value.code == code


TEXT = b"".join([*HEALTHY, event("\u00e9t\u00e9")])
CUT = {
    "between events": TEXT,
    "in an event": TEXT[:-40],
    "in a character": TEXT[: TEXT.index("\u00e9".encode()) + 1],
    "in the end mark": TEXT + DONE[:9],
    "before the first event": b"",
    "after a comment": b": ping\n\n",
}


@EACH_WAY
@pytest.mark.parametrize("name", CUT)
def test_a_stream_that_ends_before_its_end_mark_raises(name, way):
    seen = []
    with (
        FaultServer(served(*[CUT[name]] * bool(CUT[name]))) as server,
        pytest.raises(GatewayStreamError, match=r"ended before|is not UTF-8"),
    ):
        run(server, way, seen)
    assert seen == [text for text in (*TEXTS, "été") if event(text) in CUT[name]] or "hook" in way


HARMLESS = {
    "a byte order mark": b"\xef\xbb\xbf" + b"".join((*HEALTHY, DONE)),
    "comments": b": ping\n\n" + HEALTHY[0] + b":\n\n: error\n" + HEALTHY[1] + DONE,
    "no last blank line": b"".join(HEALTHY) + b"data: [DONE]",
    "ids": b"id: 1\nretry: 5\n".join((b"", *HEALTHY, DONE)),
    "no spaces": b"".join((*HEALTHY, DONE)).replace(b"data: ", b"data:"),
    "an error that is none": b"".join(
        (HEALTHY[0], HEALTHY[1].replace(b'"choices"', b'"error": null, "choices"'), DONE)
    ),
    "fields of another name": b"".join((b"error: x\n", *HEALTHY, b"success\n", DONE)),
    "events after the end": b"".join((*HEALTHY, DONE, ERRORS["guardrails"][0])),
}

OF_NEWER_READERS = {"a byte order mark", "events after the end"}


@EACH_WAY
@pytest.mark.parametrize("name", HARMLESS)
def test_what_the_sdk_reads_is_read(name, way):
    seen = []
    if MAJOR == 1 and name in OF_NEWER_READERS:
        pytest.skip("the reader of SDK 1 cannot")
    with FaultServer(served(HARMLESS[name])) as server:
        bare = []
        read(Mistral(api_key=KEY, server_url=server.origin), bare)
        run(server, way, seen)
    assert seen == bare == TEXTS


def deflate_raw():
    return zlib.compressobj(wbits=-15)


CODINGS = {
    "gzip": ("gzip", lambda: zlib.compressobj(wbits=31)),
    "deflate": ("deflate", zlib.compressobj),
    "deflate without its header": ("deflate", deflate_raw),
    "a list": ("gzip, identity", lambda: zlib.compressobj(wbits=31)),
    "x": ("identity", None),
}


def compressed(coding, packets, *, is_cut=False):
    """Return packets in a coding, each flushed."""
    make = CODINGS[coding][1]
    if make is None:
        return packets
    compressor = make()
    found = [compressor.compress(one) + compressor.flush(zlib.Z_SYNC_FLUSH) for one in packets]
    return found if is_cut else [*found, compressor.flush()]


@EACH_WAY
@pytest.mark.parametrize("coding", CODINGS)
def test_a_stream_in_a_coding_is_read_and_guarded(coding, way):
    name = CODINGS[coding][0]
    seen = []
    with FaultServer(served(*compressed(coding, [*HEALTHY, DONE]), coding=name)) as server:
        run(server, way, seen)
    assert seen == TEXTS

    seen.clear()
    cut = compressed(coding, HEALTHY, is_cut=True)
    with FaultServer(served(*cut, coding=name)) as server, pytest.raises(GatewayStreamError):
        run(server, way, seen)
    assert seen == TEXTS or "hook" in way  # a hook that reads it gets the error

    seen.clear()
    packets = compressed(coding, [*HEALTHY, ERRORS["guardrails"][0], DONE])
    with (
        FaultServer(served(*packets, coding=name)) as server,
        pytest.raises(GatewayGuardrailError),
    ):
        run(server, way, seen)
    assert seen == TEXTS


def test_two_codings_are_decoded_in_turn():
    body = zlib.compress(gzip.compress(b"".join(HEALTHY)))
    seen = []
    with (
        FaultServer(served(body, coding="gzip, deflate")) as server,
        pytest.raises(GatewayStreamError, match=r"ended before `data: \[DONE\]`"),
    ):
        run(server, "sync", seen)
    assert seen == TEXTS


def mocked(body):
    """Return a transport that answers with an event stream that has arrived whole."""
    kind = {"content-type": "text/event-stream"}
    return httpx.MockTransport(lambda _: httpx.Response(200, headers=kind, content=body))


def test_a_mock_that_has_its_content_is_guarded(settings):
    seen = []
    transport = mocked(b"".join((*HEALTHY, ERRORS["guardrails"][0])))
    with httpx.Client(transport=transport) as own, pytest.raises(GatewayGuardrailError):
        read(make_client(settings, client=own), seen)
    assert seen == TEXTS


@pytest.mark.parametrize("accept", ["text/event-stream, */*", "TEXT/event-stream;q=1", "*/*"])
def test_the_callers_own_accept_header_leaves_the_guard_on(accept):
    with (
        FaultServer(served(*HEALTHY)) as server,
        client_for(server) as client,
        pytest.raises(GatewayStreamError),
    ):
        list(client.chat.stream(**ASK, http_headers={"Accept": accept}))


def test_an_error_in_a_stream_can_be_copied_and_pickled():
    with (
        FaultServer(served(*HEALTHY, ERRORS["guardrails"][0])) as server,
        pytest.raises(GatewayGuardrailError) as caught,
    ):
        run(server, "sync", [])
    for twin in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert isinstance(twin, GatewayGuardrailError)
        assert isinstance(twin, GatewayStreamError)
        assert twin.message == caught.value.message
        assert (twin.code, twin.retryable) == (2017, False)
        assert repr(twin) == repr(caught.value)


# ---------------------------------------------------------------- end marks of other operations


def conversation(*types):
    started = {"conversation_id": "c", "created_at": "2026-01-01T00:00:00Z"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    delta = {"id": "1", "content": "x", "created_at": "2026-01-01T00:00:00Z"}
    fields = {
        "conversation.response.started": started,
        "conversation.response.done": {"usage": usage},
        "conversation.response.error": {"message": "It failed", "code": 500},
        "message.output.delta": delta,
    }
    return [data({"type": kind, **fields[kind]}, kind) for kind in types]


def start(client):
    return client.beta.conversations.start_stream(model="m", inputs="x")


def append(client):
    return client.beta.conversations.append_stream(conversation_id="c", inputs="x")


def restart(client):
    return client.beta.conversations.restart_stream(
        conversation_id="c", inputs="x", from_entry_id="1"
    )


def transcribe(client):
    return client.audio.transcriptions.stream(model="m", file_url="https://example.com/a.mp3")


STARTED, DELTA = "conversation.response.started", "message.output.delta"
TRANSCRIPTION_DONE = {
    "model": "m",
    "text": "x",
    "language": None,
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "type": "transcription.done",
}


@pytest.mark.parametrize("call", [start, append, restart])
@pytest.mark.parametrize("last", ["conversation.response.done", "conversation.response.error"])
def test_a_conversation_ends_with_its_last_event(call, last):
    packets = conversation(STARTED, DELTA, last)
    with FaultServer(served(*packets)) as server, client_for(server) as client:
        assert [one.event for one in call(client)] == [STARTED, DELTA, last]


@pytest.mark.parametrize("call", [start, append, restart])
@pytest.mark.parametrize("types", [(STARTED, DELTA), (STARTED,), ()])
def test_a_conversation_without_its_last_event_raises(call, types):
    seen = []
    with (
        FaultServer(served(*conversation(*types))) as server,
        client_for(server) as client,
        pytest.raises(GatewayStreamError, match=r"ended before its event `conversation\.response"),
    ):
        seen.extend(one.event for one in call(client))
    assert len(seen) <= len(types)


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("fim", {"model": "m", "prompt": "x"}),
        ("agents", {"agent_id": "a", "messages": ASK["messages"]}),
    ],
)
def test_other_completions_without_their_end_mark_raise(family, arguments):
    with FaultServer(served(*HEALTHY)) as server, client_for(server) as client:
        events = getattr(client, family).stream(**arguments)
        with pytest.raises(GatewayStreamError, match="ended before"):
            list(events)


def test_a_conversation_carries_an_error():
    packets = [*conversation(STARTED), ERRORS["guardrails"][0]]
    with FaultServer(served(*packets)) as server, client_for(server) as client:
        events = start(client)
        next(events)
        with pytest.raises(GatewayGuardrailError):
            next(events)


def test_a_transcription_ends_with_its_last_event():
    packets = [
        data({"type": "transcription.text.delta", "text": "x"}, "transcription.text.delta"),
        data(TRANSCRIPTION_DONE, "transcription.done"),
    ]
    with FaultServer(served(*packets)) as server, client_for(server) as client:
        assert len(list(transcribe(client))) == 2
    with (
        FaultServer(served(*packets[:1])) as server,
        client_for(server) as client,
        pytest.raises(GatewayStreamError, match=r"`transcription\.done`"),
    ):
        list(transcribe(client))


# ---------------------------------------------------------------- HTTP 200 with an error inside


def answer(body):
    """Return a script that sends a JSON response with HTTP 200."""

    def play(wire, _request):
        wire.send(http(200, json.dumps(body).encode(), "Content-Type: application/json"))

    return play


def test_an_error_in_a_response_with_http_200_is_raised(mode):
    with (
        FaultServer(answer(blocked(2016, "Prompt blocked"))) as server,
        client_for(server) as client,
        pytest.raises(GatewayGuardrailError, match="Prompt blocked") as caught,
    ):
        mode.chat(client)
    assert caught.value.code == 2016
    assert caught.value.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"success": False},
        {"success": True, "error": None},
        {"data": [{"success": False, "error": {"message": "x"}}], "object": "list"},
    ],
)
def test_a_provider_may_use_the_word_success(body):
    with FaultServer(answer(body)) as server, client_for(server) as client:
        error = None
        try:
            client.models.list()
        except Exception as raised:
            error = raised
    assert not isinstance(error, GatewayError)


def test_an_error_in_a_json_response_to_a_stream_is_raised():
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
    body = {"choices": [choice], "error": {"code": 502, "message": "Provider returned error"}}
    with (
        FaultServer(answer(body)) as server,
        client_for(server) as client,
        pytest.raises(GatewayStreamError, match="Provider returned error"),
    ):
        client.chat.stream(**ASK)


def test_a_file_that_a_hook_reads_is_no_error():
    content = b'{"success": false, "error": "job failed"}'

    def play(wire, _request):
        wire.send(http(200, content, "Content-Type: application/octet-stream"))

    with FaultServer(play) as server, read_by_a_hook(settings_for(server)) as client:
        assert client.files.download(file_id="f").read() == content


# ---------------------------------------------------------------- what is no error

CHUNK = json.loads(HEALTHY[0].removeprefix(b"data: "))
EMPTY_ERRORS = [
    {"error": None},
    {"error": ""},
    {"error": {}},
    {"error": []},
    {"error": False},
    {"error": {"code": None, "message": None}},
    {"error": {"code": 0, "message": ""}},
    {"success": False},
    {"success": True, "error": None},
]


@pytest.mark.parametrize("fields", EMPTY_ERRORS, ids=json.dumps)
def test_a_healthy_event_may_have_an_empty_error(fields):
    seen = []
    with FaultServer(served(data({**CHUNK, **fields}), DONE)) as server:
        run(server, "sync", seen)
    assert seen == ["one"]


@pytest.mark.parametrize(
    "fields", [{"success": False}, {"name": "AiGatewayError"}, {"error": {"message": "of a tool"}}]
)
def test_an_event_with_a_type_tells_of_something_else(fields):
    kind = "function.call.delta"
    call = {"id": "1", "name": "f", "tool_call_id": "2", "arguments": "{}", "type": kind}
    packets = [data({**call, **fields}, kind), *conversation("conversation.response.error")]
    with FaultServer(served(*packets)) as server, client_for(server) as client:
        assert [one.event for one in start(client)] == [kind, "conversation.response.error"]


def test_a_response_that_was_read_can_be_read_in_parts_and_pickled(settings, plain_mode):
    body = b"".join((*HEALTHY, DONE))

    async def call():
        async with httpx.AsyncClient(transport=mocked(body)) as own:
            events = await make_client(settings, async_client=own).chat.stream_async(**ASK)
            parts = events.response.aiter_bytes(chunk_size=7)
            return events.response, [part async for part in parts]

    if plain_mode.is_async:
        response, parts = asyncio.run(call())
    else:
        with httpx.Client(transport=mocked(body)) as own:
            response = make_client(settings, client=own).chat.stream(**ASK).response
            parts = list(response.iter_bytes(chunk_size=7))
    assert b"".join(parts) == body
    assert {len(part) for part in parts[:-1]} == {7}
    twin = pickle.loads(pickle.dumps(response))
    assert b"".join(twin.iter_bytes()) == body


# ---------------------------------------------------------------- in one piece or in many

SPECIAL = {
    "nothing": [],
    "mark": [DONE],
    "mark as an event's name": [b"event: end\ndata: 1\n\n"],
    "mark in a text": [data({"text": "the mark is [DONE], they say"})],
    "mark among lines": [b": a comment\ndata: [DONE]\n\n"],
    "error's name": [b"event: error\ndata: {}\n\n"],
    "error": [data({"error": {"code": 2016, "message": "no"}})],
    "error in a text": [data({"text": "an error"})],
    "error in two lines": [b'data: {"error":\ndata: {"code": 1, "message": "no"}}\n\n'],
    "refusal": [data({"success": False, "error": [{"code": 2017, "message": "no"}]})],
    "not UTF-8": [b"data: \xff\n\n"],
    "a part of a letter": [b"data: \xc3\n\n", b"data: \xa9\n\n"],
    "UTF-8": [b"data: \xc3\xa9\n\n"],
    "empty": [b"\n\n"],
    "CRLF": [b"data: [DONE]\r\n\r\n"],
    "CR": [b"data: [DONE]\r\r"],
    "no blank line": [b"data: [DONE]\n"],
}


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("is_read", [False, True])
def test_events_are_checked_alike_in_one_piece_and_in_many(special, before, after, is_read):
    events = [event("one")] * before + special + [event("two")] * after
    found = []
    for pieces in (events, [b"".join(events)], [bytes([byte]) for byte in b"".join(events)]):
        response = httpx.Response(200, headers={"content-type": "text/event-stream"})
        guard = StreamGuard(ResponseRef(response), frozenset({b"[DONE]", b"end"}), str)
        noted = []
        if is_read:
            guard.note_event = noted.append
        text = b"".join(guard.read(piece) for piece in pieces if piece)
        guard.end()
        failure = guard.failure and str(guard.failure(response))
        found.append((guard.done, guard.carries_error, failure, noted, text))
    whole, joined, single = found
    assert whole[:4] == joined[:4] == single[:4]
    if whole[2] is None:
        assert whole[4] == joined[4] == single[4]
