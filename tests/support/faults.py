"""The faults a network, an edge or a gateway can show, each by name, and what comes of each."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme
from fault_scripts import (
    CHUNKED,
    DONE,
    EVENTS,
    HTML,
    JSON,
    LAST,
    LOG_ID,
    MAJOR,
    PAGE,
    PATH,
    SSE,
    WHOLE,
    Play,
    Stage,
    chunked,
    completion,
    deaf,
    decorated,
    downgrade,
    drips,
    either,
    envelope,
    event,
    gone_for_good,
    good,
    head,
    holds_back,
    http,
    never_accepts,
    nobody,
    proxied,
    redirects,
    refuses,
    says,
    served,
    streams,
    tls,
    twice,
)
from fault_server import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and what must come of it: an exception's name, "answer" for a whole answer.

    Names joined by "|" are all right; a mode with "" is not run.
    """

    name: str
    set_up: Callable[[], AbstractContextManager[Stage]]
    plain: str
    stream: str


# The table: name, set-up, and what must come of a plain and of a streamed call.

close, reset, stall = Wire.close, Wire.reset, Wire.until_gone
BOTH_WHOLE = ("answer", "answer")
CUT_JSON = completion()[:40]
LONG = f"Content-Length: {len(completion()) + 10}"
ZIPPED = gzip.compress(completion())
BOMB = gzip.compress(b'{"id":"' + b"x" * 20_000_000 + b'"}')
GZIP = "Content-Encoding: gzip"
NESTED = b"[" * 100_000


def both(outcome: str) -> tuple[str, str]:
    return outcome, outcome


def _rows() -> Iterator[tuple[str, Callable[[], AbstractContextManager[Stage]], tuple[str, str]]]:
    yield "healthy", served(good), BOTH_WHOLE
    yield from _edge()
    yield from _envelopes()
    yield from _mistral()
    yield from _redirects()
    yield from _headers()
    yield from _cut()
    yield from _bodies()
    yield from _streams()
    yield from _network()


def _edge():
    unavailable, blocked = both("GatewayUnavailableError"), both("GatewayBlockedError")
    yield "HTML 403", served(says(http(403, PAGE, HTML, log_id=False))), blocked
    for status in (502, 503, 504, 520, 521, 522, 523, 524, 530):
        yield f"HTML {status}", served(says(http(status, PAGE, HTML, log_id=False))), unavailable
    yield "HTML 502 of Mistral's", served(says(http(502, PAGE, HTML))), both("SDKError")
    for status, code, outcome in (
        (403, 1010, blocked),
        (429, 1015, both("GatewayRateLimitedError")),
        (530, 1033, unavailable),
    ):
        body = f"error code: {code}".encode()
        answer = http(status, body, "Content-Type: text/plain", log_id=False)
        yield f"edge text {code}", served(says(answer)), outcome
    yield "empty 502", served(says(http(502, log_id=False))), unavailable
    yield "HTML 200", served(says(http(200, PAGE, HTML))), both("SDKError|GatewayUnavailableError")


def _envelopes():
    def answers(status: int, body: bytes):
        return served(says(http(status, body, JSON)))

    for status, code, name in (
        (400, 2001, "GatewayNotFoundError"),
        (429, 2003, "GatewayRateLimitedError"),
        (400, 2005, "GatewayProviderError"),
        (401, 2009, "GatewayUnauthorizedError"),
        (424, 2016, "GatewayGuardrailError"),
        (422, 2017, "GatewayGuardrailError"),
        (402, 2021, "GatewayCreditsError"),
        (503, 7013, "GatewayScannerError"),
        (400, 999_999, "GatewayError"),
    ):
        yield f"envelope {code}", answers(status, envelope(code)), both(name)
    provider, unknown = both("GatewayProviderError"), both("GatewayError")
    one = {"code": 2005, "message": "Failed"}
    yield (
        "envelope `errors`",
        answers(400, envelope(error=None, errors=[one])),
        provider,
    )
    yield "envelope object", answers(400, envelope(error=one)), provider
    yield "envelope code as text", answers(400, envelope("2005")), provider
    for code in (None, True, [], {}, -1, 10**400, 1e308, "²", "9" * 5000):
        label = repr(code) if len(repr(code)) < 10 else f"{repr(code)[:3]}..."
        yield f"envelope code {label}", answers(400, envelope(code)), unknown
    for error in ([], {}, "Bad", None, 7, [None], ["text"], [[one]]):
        yield f"envelope error {error!r}", answers(400, envelope(error=error)), unknown
    yield "success false alone", answers(400, b'{"success":false}'), unknown
    plain = both("SDKError")
    yield "error body list", answers(400, json.dumps([one]).encode()), plain
    yield "error body string", answers(400, b'"Bad"'), plain
    yield "error body null", answers(500, b"null"), plain
    yield "error body empty", answers(400, b""), plain
    yield "error body 2 MB", answers(400, b'{"x":"' + b"x" * 2_000_000 + b'"}'), plain
    yield "error body not UTF-8", answers(400, b'{"x":"\xff\xfe"}'), plain
    yield "error body nested deep", answers(400, NESTED), plain
    not_utf8 = envelope().replace(b"Failed", b"F\xe9\xff")
    yield "envelope not UTF-8", answers(400, not_utf8), both("SDKError|GatewayProviderError")
    charset = says(http(400, envelope(), JSON + "; charset=no-such"))
    yield "envelope with an unknown charset", served(charset), provider
    yield (
        "200 with an envelope",
        answers(200, envelope()),
        (
            "ResponseValidationError|GatewayProviderError",
            "SDKError|GatewayProviderError",
        ),
    )


def _mistral():
    plain = both("SDKError")
    for status in (400, 401, 403, 404, 429, 500, 503):
        body = b'{"object":"error","message":"Nope","type":"x","param":null,"code":"2005"}'
        yield f"Mistral's {status}", served(says(http(status, body, JSON))), plain
    detail = b'{"detail":[{"loc":["body"],"msg":"bad","type":"missing"}]}'
    yield "Mistral's 422", served(says(http(422, detail, JSON))), both("HTTPValidationError")


def _redirects():
    elsewhere = f"{PATH}/mistral/elsewhere"
    for status in (307, 308):
        yield f"redirect {status} same origin", redirects("{same}" + elsewhere, status), BOTH_WHOLE
        yield f"redirect {status} cross origin", redirects("{other}/x", status), BOTH_WHOLE
    yield "redirect relative", redirects(elsewhere), BOTH_WHOLE
    yield "redirect 302", redirects(elsewhere, 302), both("SDKError")
    yield (
        "redirect loop",
        redirects(f"{PATH}/mistral/v1/chat/completions"),
        both("TooManyRedirects"),
    )
    yield (
        "redirect without Location",
        served(says(http(307))),
        both("SDKError|GatewayRedirectError"),
    )
    bad = both("GatewayRedirectError|RemoteProtocolError|UnsupportedProtocol")
    nowhere = both(f"{bad[0]}|ConnectError")
    for location, outcomes in (
        ("http://[bad/", nowhere),
        ("http://127.0.0.1:99999999/", nowhere),
        ("http://127.0.0.1:many/", bad),
        ("ftp://127.0.0.1/", bad),
        ("//", both(f"{nowhere[0]}|TooManyRedirects")),
        ("http://", nowhere),
        ("http://a b.invalid/", nowhere),
        ("http://\xe9\xff.invalid/", nowhere),
        ("http://user:word@unknown.invalid/", nowhere),
    ):
        yield f"redirect to {location}", redirects(location), outcomes
    yield "redirect https to http", downgrade, both("GatewayRedirectError")


def _headers():
    yield "no cf-aig headers", served(decorated()), BOTH_WHOLE
    double = decorated("cf-aig-log-id: a", "cf-aig-log-id: b", "cf-aig-step: 0", "cf-aig-step: 1")
    yield "cf-aig headers twice", served(double), BOTH_WHOLE
    odd = decorated(f"CF-Aig-LOG-id: {LOG_ID}", "cF-AIG-cache-STATUS: hit")
    yield "cf-aig headers in odd case", served(odd), BOTH_WHOLE
    wild = decorated("cf-aig-step: \xb2", "cf-aig-dlp: " + "[" * 20_000, "cf-aig-model: \xe9\xff")
    yield "cf-aig headers wild", served(wild), BOTH_WHOLE
    yield "header of 60 KB", served(decorated("x-big: " + "x" * 60_000)), BOTH_WHOLE
    protocol = both("RemoteProtocolError")
    yield "header of 2 MB", served(decorated("x-bomb: " + "x" * 2_000_000)), protocol
    yield "20,000 headers", served(decorated(*[f"x-{n}: {n}" for n in range(20_000)])), protocol
    yield "header without a colon", served(decorated("broken")), protocol
    yield "header with a NUL", served(decorated("x-nul: a\0b")), protocol
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    early = lambda wire, request: wire.send(interim) or good(wire, request)  # noqa: E731
    yield "103 before the answer", served(early), BOTH_WHOLE


def _cut():
    begun, length = b"HTTP/1.1 200 OK\r\nContent-", f"Content-Length: {len(WHOLE)}"
    half = either(says(head(200, JSON, LONG) + CUT_JSON), says(head(200, SSE, length) + EVENTS[0]))
    mid = head(200, SSE, length) + EVENTS[0] + EVENTS[1][:20]
    lost, broken, late = "ReadError", "RemoteProtocolError", "ReadTimeout"
    for name, play in (
        ("before the headers", says()),
        ("in the headers", says(begun)),
        ("in the body", half),
        ("in an event", says(mid)),
    ):
        modes = (lambda outcome: ("", outcome)) if "event" in name else both
        yield f"reset {name}", served(_and(play, reset)), modes(f"{lost}|{broken}")
        yield f"closed {name}", served(_and(play, close)), modes(broken)
        yield f"stalled {name}", served(_and(play, stall)), modes(late)
    yield "not HTTP", served(says(b"\x16\x03\x01 no\r\n\r\n", then=close)), both(broken)
    yield "status 999", served(says(http(999, b"{}", JSON))), both("SDKError")


def _and(play: Play, then: Callable[[Wire], None]) -> Play:
    return lambda wire, request: play(wire, request) or then(wire)


def _bodies():
    def sized(length: str, then: Callable[[Wire], None] = close) -> Play:
        return either(
            says(head(200, JSON, f"Content-Length: {length}") + completion(), then=then),
            says(head(200, SSE, f"Content-Length: {length}") + WHOLE, then=then),
        )

    broken, typed = "RemoteProtocolError", "SDKError|ResponseValidationError"
    for status in (200, 204):
        empty = ("SDKError", "SDKError|GatewayStreamError")
        yield f"{status} without a body", served(says(http(status))), empty
    yield "200 empty JSON", served(says(http(200, b"", JSON))), (typed, "SDKError")
    too_long = str(len(WHOLE) + 10_000)
    yield "Content-Length too long", served(sized(too_long)), (broken, f"answer|{broken}")
    yield "Content-Length too short", served(sized("50")), (typed, "GatewayStreamError")
    yield "Content-Length no number", served(sized("many")), both(broken)
    yield "Content-Length negative", served(sized("-1")), both(broken)
    yield "Content-Length twice", served(sized("10\r\nContent-Length: 20")), both(broken)
    yield "chunk size no number", served(says(head(200, JSON, CHUNKED), b"zz\r\n")), both(broken)
    for name, body in (
        ("truncated JSON", CUT_JSON),
        ("not JSON", b"oops"),
        ("JSON null", b"null"),
        ("JSON list", b"[]"),
        ("JSON nested deep", NESTED),
        ("JSON not UTF-8", b'{"id":"\xff"}'),
    ):
        yield name, served(says(http(200, body, JSON))), (typed, "SDKError")
    zipped = says(http(200, ZIPPED[:20] + b"\0\0\0\0" + ZIPPED[24:], JSON, GZIP))
    yield "gzip corrupt", served(zipped), both("DecodingError")
    cut = says(http(200, ZIPPED[:40], JSON, GZIP))
    yield "gzip cut", served(cut), both("GatewayStreamError")
    yield (
        "gzip that is not",
        served(says(http(200, completion(), JSON, GZIP))),
        both("DecodingError"),
    )
    yield "gzip bomb", served(says(http(200, BOMB, JSON, GZIP))), (typed, "SDKError")
    yield "gzip bomb as an error", served(says(http(400, BOMB, JSON, GZIP))), both("SDKError")
    fine = either(
        says(http(200, ZIPPED, JSON, GZIP)), says(http(200, gzip.compress(WHOLE), SSE, GZIP))
    )
    yield "gzip fine", served(fine), BOTH_WHOLE
    encoding = says(http(200, completion(), JSON, "Content-Encoding: nonsense"))
    yield "unknown encoding", served(encoding), ("answer", "answer")


def _streams():
    whole, ended = ("", "answer"), ("", "GatewayStreamError")
    text = b"".join(EVENTS)
    yield (
        "stream in single bytes",
        served(
            says(
                head(200, SSE, CHUNKED)
                + b"".join(chunked(*[bytes([byte]) for byte in WHOLE]))
                + LAST
            )
        ),
        whole,
    )
    yield "stream with CRLF", served(streams(WHOLE.replace(b"\n", b"\r\n"))), whole
    yield "stream with CR", served(streams(WHOLE.replace(b"\n", b"\r"))), whole
    split = WHOLE.replace(b"\n", b"\r\n").partition(b"\r\n\r")
    yield "stream with CRLF split", served(streams(split[0] + split[1], split[2])), whole
    yield (
        "stream with comments",
        served(streams(b": ping\n\n" + WHOLE.replace(b"\n\ndata", b"\n\n: ping\n\n:\n\ndata"))),
        whole,
    )
    yield (
        "stream with ids and retry",
        served(streams(WHOLE.replace(b"data:", b"id: 1\nretry: 5\ndata:"))),
        whole,
    )
    yield "stream without spaces", served(streams(WHOLE.replace(b"data: ", b"data:"))), whole
    yield "stream dripping", served(drips), whole
    yield "first event not held back", holds_back, whole
    # For each packet SDK 1.x searches all it has again: 10 MB would take it minutes.
    big = event("x" * (10_000_000 if MAJOR > 1 else 1_000_000))
    yield "event of 10 MB", served(streams(big, *EVENTS, DONE)), whole
    yield "stalled after [DONE]", served(streams(WHOLE, then=stall, end=b"")), whole
    yield "closed after [DONE]", served(streams(WHOLE, then=close, end=b"")), whole
    yield "no [DONE]", served(streams(text)), ended
    yield "no [DONE], close-delimited", served(says(head(200, SSE) + text, then=close)), ended
    cut = text[: len(EVENTS[0])]
    yield "cut between events", served(streams(cut)), ended
    yield "cut in an event", served(streams(cut + EVENTS[1][:30])), ended
    yield "cut in a character", served(streams(text[: text.index("é".encode()) + 1])), ended
    yield "no events", served(streams()), ended
    yield "only comments", served(streams(b": ping\n\n")), ended
    yield "[DONE] cut", served(streams(text + b"data: [DO")), ended
    message = {"message": "Response blocked", "code": 2017}
    for name, value in (
        ("gateway's error", json.loads(envelope(2017))),
        ("error object", {"error": message}),
        ("error text", {"error": "overloaded"}),
        ("Mistral's error", {"object": "error", "message": "Nope", "type": "x", "code": 500}),
    ):
        middle = b"data: " + json.dumps(value).encode() + b"\n\n"
        outcome = ("", "GatewayGuardrailError") if "gateway" in name else ended
        yield f"{name} in a stream", served(streams(cut + middle)), outcome
        yield f"{name} in a stream, then [DONE]", served(streams(cut + middle + DONE)), outcome
    named = b"event: error\ndata: " + json.dumps(message).encode() + b"\n\n"
    yield "event named error", served(streams(cut + named)), ended
    typed = ("", "GatewayStreamError|ResponseValidationError|SDKError")
    if MAJOR == 1:  # its own, and its stream is closed only with the garbage (client-python#532)
        typed = ("", "GatewayStreamError|ValidationError|ValidationError+held")
    nested = "", f"{typed[1]}|RecursionError"
    yield "event not JSON", served(streams(cut + b"data: {oops\n\n" + DONE)), typed
    yield "event of another shape", served(streams(cut + b'data: {"id":[]}\n\n' + DONE)), typed
    yield "event not UTF-8", served(streams(cut + b'data: "\xff\xfe"\n\n' + DONE)), typed
    yield "event nested deep", served(streams(cut + b"data: " + NESTED + b"\n\n" + DONE)), nested
    yield "JSON to a stream", served(says(http(200, completion(), JSON))), ("", "SDKError|answer")


def _network():
    lost = both("ConnectError")
    yield "connection refused", nobody, lost
    yield "no such host", lambda: nobody("https://gateway.invalid"), lost
    yield "connect timeout", never_accepts, both("ConnectTimeout")
    yield "write timeout", deaf, both("WriteTimeout")
    yield "TLS healthy", lambda: tls("127.0.0.1"), BOTH_WHOLE
    yield "TLS wrong name", lambda: tls("other.example"), lost
    yield "TLS wrong authority", lambda: tls("127.0.0.1", trustme.CA()), lost
    proxy = both("ProxyError")
    for status in (403, 407, 502):
        yield f"proxy refuses {status}", lambda status=status: proxied(refuses(status)), proxy
    yield "proxy down", lambda: proxied(None), lost
    yield (
        "proxy hangs up",
        lambda: proxied(says(then=close)),
        both("ProxyError|ConnectError|RemoteProtocolError"),
    )
    yield "closed while idle", lambda: twice(good, hang_up=True), BOTH_WHOLE
    stale = http(200, completion("stale"), JSON)
    later = lambda wire, request: good(wire, request) or wire.send(stale)  # noqa: E731
    yield "surplus answer while idle", lambda: twice(later, hang_up=False), BOTH_WHOLE
    fine = http(200, WHOLE, SSE)
    glued = either(says(http(200, completion(), JSON) + stale), says(fine + stale))
    yield "surplus answer at once", lambda: twice(glued, hang_up=False), BOTH_WHOLE
    yield "gone between two calls", gone_for_good, lost


FAULTS = [Fault(name, set_up, *outcomes) for name, set_up, outcomes in _rows()]

# What the bare SDK does instead, where it differs by more than the class: for any Gateway...Error
# of the table it raises SDKError. "+leak": the token went to another host. "+held": the connection
# stayed in use. A "|" stands for what differs from mode to mode or from run to run.
_SHAPE = "ResponseValidationError"
_UNREAD = ("SDKError", "ResponseNotRead")
_WRONG_EVENTS = [
    *(fault.name for fault in FAULTS if "error" in fault.name and "in a stream" in fault.name),
    "event named error",
    "event not JSON",
    "event of another shape",
]
BARE: dict[str, tuple[str, str]] = {
    "envelope 2017": both("HTTPValidationError"),
    "empty 502": _UNREAD,
    "error body empty": _UNREAD,
    "redirect without Location": _UNREAD,
    "200 without a body": _UNREAD,
    "204 without a body": _UNREAD,
    "200 empty JSON": (_SHAPE, "ResponseNotRead"),
    "gzip cut": (_SHAPE, "ResponseNotRead"),
    "redirect 307 cross origin": both("answer+leak"),
    "redirect 308 cross origin": both("answer+leak"),
    "redirect https to http": both("answer+leak"),
    "redirect to http://127.0.0.1:99999999/": both("ConnectError|ExceptionGroup"),
    "Content-Length too short": both(_SHAPE),
    "gzip corrupt": both("DecodingError|DecodingError+held"),  # held by httpx, not by httpx2
    "gzip that is not": both("DecodingError|DecodingError+held"),
    "no [DONE]": ("", "answer"),
    "no [DONE], close-delimited": ("", "answer"),
    "cut between events": ("", "short"),
    "cut in an event": ("", _SHAPE),
    "cut in a character": ("", "UnicodeDecodeError"),
    "no events": ("", "short"),
    "only comments": ("", "short"),
    "[DONE] cut": ("", _SHAPE),
    **dict.fromkeys(_WRONG_EVENTS, ("", _SHAPE)),
    "event not UTF-8": ("", "UnicodeDecodeError"),
    "event nested deep": ("", "RecursionError"),
    "surplus answer while idle": ("answer|short", "answer|SDKError"),
    "surplus answer at once": ("short", "answer|SDKError"),
}
_HELD = "ValidationError|ValidationError+held"
BARE_1: dict[str, tuple[str, str]] = {
    "Content-Length too long": both("RemoteProtocolError"),
    "Content-Length too short": (_SHAPE, "ValidationError"),
    "stalled after [DONE]": ("", "ReadTimeout"),
    "closed after [DONE]": ("", "RemoteProtocolError"),
    "cut in an event": ("", "ValidationError"),
    "[DONE] cut": ("", "ValidationError"),
    **dict.fromkeys(_WRONG_EVENTS, ("", _HELD)),
    "event not UTF-8": ("", "UnicodeDecodeError|UnicodeDecodeError+held"),
    "event nested deep": ("", _HELD),
}
"""Where SDK 1.x differs from 2.x and 3.x; it also takes minutes for an event of 10 MB."""
