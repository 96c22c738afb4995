"""Streams: forms of events, packets, ends, errors in them, codings, and how they are read."""

from __future__ import annotations

import itertools
import json
import zlib
from typing import TYPE_CHECKING

from fault_scripts import (
    CHUNKED,
    DONE,
    EVENTS,
    HTML,
    JSON,
    LAST,
    SSE,
    WHOLE,
    chunked,
    completion,
    envelope,
    event,
    head,
    http,
)
from response_scenarios import CODINGS, PAGE, code, coded_header
from scenario import STREAMED, Reply, Scenario, in_packets, in_turn, reply, whole
from scenario_calls import CALLS, answer, named_event

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDED = ("chat", "fim", "agents")
NAMED = ("conversations", "transcriptions")
TEXT = b"".join(EVENTS)


def stream(
    *chunks: bytes, then: str = "", end: bytes = LAST, headers: tuple[str, ...] = ()
) -> Reply:
    """Return an event stream, each chunk in a packet of its own."""
    begin = head(200, *(headers or (SSE,)), CHUNKED, log_id=False)
    return Reply((begin, *chunked(*chunks), end) if end else (begin, *chunked(*chunks)), then)


# ---------------------------------------------------------------- the form of events

FORMS = {
    "as usual": WHOLE,
    "CRLF": WHOLE.replace(b"\n", b"\r\n"),
    "CR": WHOLE.replace(b"\n", b"\r"),
    "CR LF mixed": WHOLE.replace(b"\n\n", b"\r\n\n", 2),
    "LF CR": WHOLE.replace(b"\n\n", b"\n\r\n", 1),
    "three line ends": WHOLE.replace(b"\n\n", b"\n\n\n"),
    "comments": b": ping\n\n" + WHOLE.replace(b"\n\ndata", b"\n\n: ping\n\n:\n\ndata"),
    "comments inside": WHOLE.replace(b"data:", b": ping\ndata:"),
    "ids and retry": WHOLE.replace(b"data:", b"id: 1\nretry: 5\ndata:"),
    "an id with NUL": WHOLE.replace(b"data:", b"id: \0\ndata:", 1),
    "retry no number": WHOLE.replace(b"data:", b"retry: x\ndata:", 1),
    "without spaces": WHOLE.replace(b"data: ", b"data:"),
    "two spaces": WHOLE.replace(b"data: ", b"data:  "),
    "tabs": WHOLE.replace(b"data: ", b"data:\t"),
    "a byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "named message": WHOLE.replace(b"data:", b"event: message\ndata:"),
    "named twice": WHOLE.replace(b"data:", b"event: a\nevent: b\ndata:"),
    "unknown fields": WHOLE.replace(b"data:", b"what: x\nfield\ndata:"),
    "no value": WHOLE.replace(b"data:", b"event\nid\ndata:"),
    "data in two lines": WHOLE.replace(b'"model": ', b'\ndata: "model": '),
    "upper case": WHOLE.replace(b"data:", b"DATA:", 1),
    "space before the colon": WHOLE.replace(b"data:", b"data :", 1),
    "an empty event": b"data:\n\n" + WHOLE,
    "an event without data": b"event: ping\n\n" + WHOLE,
    "a name alone": b"event: error\n\n" + WHOLE,
    "an end mark with spaces": TEXT + b"data:   [DONE]  \n\n",
    "an end mark with an id": TEXT + b"id: 9\ndata: [DONE]\n\n",
    "an end mark with CR": TEXT + b"data: [DONE]\r\r",
    "an end mark with one line end": TEXT + b"data: [DONE]\n",
    "an end mark without line end": TEXT + b"data: [DONE]",
    "an end mark in quotes": TEXT + b'data: "[DONE]"\n\n',
    "an end mark in lower case": TEXT + b"data: [done]\n\n",
    "an end mark in a comment": TEXT + b": [DONE]\n\n",
    "an end mark twice": WHOLE + DONE,
    "an end mark at once": DONE,
    "an end mark in the middle": EVENTS[0] + DONE + EVENTS[1] + DONE,
    "an event after the end mark": WHOLE + EVENTS[0],
    "nonsense after the end mark": WHOLE + b"data: {oops\n\n",
    "an error after the end mark": WHOLE + b'data: {"error":"x"}\n\n',
    "blank lines at the end": WHOLE + b"\n\n\n",
    "no end mark": TEXT,
    "nothing": b"",
    "comments alone": b": ping\n\n: ping\n\n",
    "a cut event": TEXT[: len(EVENTS[0]) + 30],
    "a cut character": TEXT[: TEXT.index("é".encode()) + 1],
    "a cut end mark": TEXT + b"data: [DO",
    "an end mark that is text": event("[DONE]") + WHOLE,
    "an event that says data": event("data: [DONE]\n\n") + WHOLE,
    "a separator of lines in text": event("a\u2028b\u0085c") + WHOLE,
    "an event of 100 KB": event("x" * 100_000) + WHOLE,
}
SPLITS = ("in one packet", "in packets of 37", "line by line", "byte by byte")


def _split(data: bytes, how: str) -> Reply:
    begin = head(200, SSE, CHUNKED, log_id=False)
    if how == "in one packet":
        return reply(begin + b"".join(chunked(data)) * bool(data) + LAST)
    if how == "byte by byte":
        pieces = [bytes([byte]) for byte in data]
        return reply(begin + b"".join(chunked(*pieces)) + LAST)
    if how == "line by line":
        return reply(begin + b"".join(chunked(*data.splitlines(keepends=True))) + LAST)
    return reply(begin, *chunked(*in_packets(data, 37)), LAST)


def _forms() -> Iterator[Scenario]:
    for (name, data), split in itertools.product(FORMS.items(), SPLITS):
        if len(data) > 10_000 and split != "in one packet":
            continue
        if split == "in packets of 37" and len(data) > 900:
            continue
        yield Scenario(f"{name}, {split}", (_split(data, split),), STREAMED)


def _operations() -> Iterator[Scenario]:
    for call in (*ENDED, *NAMED):
        events = CALLS[call].events
        cut = events[:-1]
        forms = {
            "whole": stream(*events),
            "in one packet": _split(b"".join(events), "in one packet"),
            "without its end mark": stream(*cut),
            "nothing": stream(),
            "cut in an event": stream(events[0][:20]),
            "closed": stream(*cut, then="close", end=b""),
            "closed after its end mark": stream(*events, then="close", end=b""),
            "reset after its end mark": stream(*events, then="reset", end=b""),
            "until it closes": reply(head(200, SSE) + b"".join(events), then="close"),
            "with its length": whole(200, b"".join(events), SSE),
            "one event of unknown kind": stream(named_event("what.is.this", a=1), *events),
            "JSON": answer(call),
            "a page": whole(200, PAGE, HTML),
            "an empty response": whole(200, b"", SSE),
            "204": whole(204, b"", SSE),
            "an envelope": whole(200, envelope(2016), JSON),
        }  # fmt: skip
        for name, each in forms.items():
            for kept in (True, False):
                suffix = "" if kept else ", not kept"
                yield Scenario(
                    f"stream of {call}, {name}{suffix}", (each,), STREAMED, call, keep=kept
                )


# ---------------------------------------------------------------- errors inside

_MESSAGE = {"message": "Response blocked", "code": 2017}
ERRORS = {
    "a gateway's error": json.loads(envelope(2017)),
    "a provider's error with choices": {
        "id": "x",
        "choices": [],
        "error": {"code": 502, "message": "Provider returned error"},
    },
    "an error object": {"error": _MESSAGE},
    "an error text": {"error": "overloaded"},
    "an error of a type": {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
    "an empty error": {"error": {}},
    "no error": {"error": None},
    "Mistral's error": {"object": "error", "message": "Nope", "type": "x", "code": 500},
    "a detail": {"detail": "Unauthorized"},
    "a blocked response": {"success": False, "error": [{"code": 2030, "message": "blocked"}]},
    "another shape": {"id": []},
    "a list": [1],
    "a number": 1,
    "nothing": {},
}


def _errors() -> Iterator[Scenario]:
    for (name, value), after in itertools.product(ERRORS.items(), (b"", DONE)):
        data = json.dumps(value).encode()
        tail = ", then the end mark" if after else ""
        forms = {
            "as an event": b"data: " + data + b"\n\n",
            "as an event named error": b"event: error\ndata: " + data + b"\n\n",
            "as a line": data + b"\n",
            "named after its data": b"data: " + data + b"\nevent: error\n\n",
        }
        for form, bad in forms.items():
            yield Scenario(f"{name} {form}{tail}", (stream(EVENTS[0], bad + after),), STREAMED)
        yield Scenario(f"{name} at once{tail}", (stream(forms["as an event"] + after),), STREAMED)
    for name, bad in {
        "not JSON": b"data: {oops\n\n",
        "not UTF-8": b'data: "\xff\xfe"\n\n',
        "nested deep": b"data: " + b"[" * 3_000 + b"\n\n",
        "a page": PAGE,
        "JSON alone": completion(),
        "an envelope alone": envelope(2017),
    }.items():
        yield Scenario(f"{name} in a stream", (stream(EVENTS[0], bad + b"\n\n" + DONE),), STREAMED)
    for call, name in (
        ("conversations", "conversation.response.error"),
        ("transcriptions", "error"),
    ):
        bad = named_event(name, message="Nope", code=1, created_at="2026-01-01T00:00:00Z")
        first = CALLS[call].events[0]
        yield Scenario(f"{name} in a stream of {call}", (stream(first, bad),), STREAMED, call)


# ---------------------------------------------------------------- transport


def _flushed(wbits: int) -> bytes:
    compressor = zlib.compressobj(wbits=wbits)
    parts = [
        compressor.compress(each) + compressor.flush(zlib.Z_SYNC_FLUSH) for each in (*EVENTS, DONE)
    ]
    return b"".join(parts) + compressor.flush()


def _codings() -> Iterator[Scenario]:
    for coding in CODINGS:
        data, headers = code(coding, WHOLE), (SSE, coded_header(coding))
        forms = {
            "whole": stream(data, headers=headers),
            "in packets": stream(*in_packets(data, 50)[:12], data[600:], headers=headers),
            "cut": stream(data[: len(data) // 2], headers=headers),
            "cut by a byte": stream(data[:-1], headers=headers),
            "cut before its end mark": stream(code(coding, TEXT)[:-20], headers=headers),
            "without its end mark": stream(code(coding, TEXT), headers=headers),
            "corrupt": stream(data[:14] + b"\0\0\0\0" + data[18:], headers=headers),
            "not coded": stream(WHOLE, headers=headers),
        }
        for name, each in forms.items():
            yield Scenario(f"stream in {coding or 'no'} coding, {name}", (each,), STREAMED)
    for name, wbits in (("gzip", 31), ("deflate", 15), ("deflate-raw", -15)):
        flushed = stream(*in_packets(_flushed(wbits), 90), headers=(SSE, coded_header(name)))
        yield Scenario(f"stream in {name}, flushed", (flushed,), STREAMED)


TYPES = (
    SSE,
    "Content-Type: text/event-stream",
    "content-type: TEXT/EVENT-STREAM",
    "Content-Type: text/event-stream;;;",
    "Content-Type: text/event-stream; charset=latin-1",
    JSON,
    "Content-Type: text/plain",
    "Content-Type: application/x-ndjson",
    HTML,
    "X-Nothing: 1",
)


def _cut() -> Iterator[Scenario]:
    length = f"Content-Length: {len(WHOLE)}"
    mid = EVENTS[0] + EVENTS[1][:20]
    for then in ("close", "reset"):
        places = {
            "after the head": (head(200, SSE, CHUNKED),),
            "in an event": (head(200, SSE, length), mid),
            "between events": (head(200, SSE, CHUNKED), *chunked(EVENTS[0])),
            "in a chunk": (head(200, SSE, CHUNKED), b"100\r\n" + EVENTS[0]),
            "after the end mark": (head(200, SSE, CHUNKED), *chunked(WHOLE)),
            "with too long a length": (head(200, SSE, "Content-Length: 9999") + WHOLE,),
            "with too short a length": (head(200, SSE, "Content-Length: 50") + WHOLE,),
        }
        for place, packets in places.items():
            yield Scenario(f"stream {then} {place}", (Reply(packets, then),), STREAMED)
    stalled = {
        "after the head": (head(200, SSE, CHUNKED),),
        "between events": (head(200, SSE, CHUNKED), *chunked(EVENTS[0])),
        "after the end mark": (head(200, SSE, CHUNKED), *chunked(WHOLE)),
    }
    for place, packets in stalled.items():
        yield Scenario(
            f"stream stall {place}",
            (Reply(packets, "stall"),),
            STREAMED,
            sdk={"timeout_ms": 250},
        )
    for kind in TYPES:
        each = stream(*EVENTS, DONE, headers=(kind,))
        yield Scenario(f"stream, {kind}", (each,), STREAMED)
    for headers in (
        ("cf-aig-log-id: l", "cf-aig-cache-status: HIT"),
        ("Retry-After: 1",),
        ("Set-Cookie: a=b",),
    ):
        yield Scenario(
            f"stream with {headers[0]}", (stream(*EVENTS, DONE, headers=(SSE, *headers)),), STREAMED
        )


# ---------------------------------------------------------------- how it is read


def _readings() -> Iterator[Scenario]:
    endless = Reply((head(200, SSE, CHUNKED), *chunked(*EVENTS)), "stall")
    kinds = {"whole": stream(*EVENTS, DONE), "in one packet": _split(WHOLE, "in one packet"),
             "endless": endless, "with its length": whole(200, WHOLE, SSE),
             "JSON": whole(200, completion(), JSON),
             "an error": whole(422, b'{"detail":[]}', JSON)}  # fmt: skip
    for (name, each), reading, call, kept in itertools.product(
        kinds.items(),
        ("all", "first", "nothing", "dropped"),
        ("chat", "conversations"),
        (True, False),
    ):
        if (name == "endless" and reading == "all") or (
            call != "chat" and (kept or name != "whole")
        ):
            continue
        sent = each if call == "chat" else stream(*CALLS[call].events)
        suffix = "kept" if kept else "not kept"
        yield Scenario(
            f"stream {name} read {reading} by {call}, {suffix}",
            (sent,), STREAMED, call, reading=reading, keep=kept, closing=True,
        )  # fmt: skip
        yield Scenario(
            f"stream {name} read {reading} by {call}, {suffix}, three times",
            (sent,), STREAMED, call, reading=reading, keep=kept, times=3,
        )  # fmt: skip


def _redirects() -> Iterator[Scenario]:
    hop = Reply((http(307, b"", "Location: elsewhere", log_id=False),))
    good = stream(*EVENTS, DONE)
    yield Scenario("stream after a redirect", (hop, good), STREAMED)
    yield Scenario("stream after two redirects", (hop, hop, good), STREAMED)
    yield Scenario(
        "stream after a redirect, without its end mark", (hop, stream(*EVENTS)), STREAMED
    )
    yield Scenario(
        "JSON to a stream after a redirect", (hop, whole(200, completion(), JSON)), STREAMED
    )


def scenarios() -> Iterator[Scenario]:
    yield from in_turn(_forms())
    for rows in (_operations, _errors, _codings):
        yield from in_turn(rows())
    yield from _cut()
    yield from _readings()
    yield from _redirects()
