"""Whole responses: statuses, bodies, framings, headers, content codings, who answered."""

from __future__ import annotations

import gzip
import itertools
import zlib
from typing import TYPE_CHECKING

from fault_scripts import (
    CHUNKED,
    HTML,
    JSON,
    LAST,
    LOG_ID,
    PAGE,
    SSE,
    chunked,
    completion,
    envelope,
    head,
    http,
)
from scenario import (
    ALL_MODES,
    PLAIN,
    Reply,
    Scenario,
    in_chunks,
    in_packets,
    in_turn,
    reply,
    until_close,
    whole,
)
from scenario_calls import CALLS, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = "Content-Type: text/plain"
DETAIL = b'{"detail":[{"loc":["body"],"msg":"bad","type":"missing"}]}'
NOPE = b'{"object":"error","message":"Nope","type":"x","param":null,"code":"2005"}'
BODIES = {
    "Mistral's JSON": (NOPE, JSON),
    "validation": (DETAIL, JSON),
    "detail text": (b'{"detail":"Unauthorized"}', JSON),
    "empty": (b"", JSON),
    "text": (b"upstream connect error or disconnect/reset before headers", TEXT),
    "page": (PAGE, HTML),
    "no type": (b"oops", "X-Nothing: 1"),
}
STATUSES = (
    201, 202, 204, 206, 300, 304, 400, 401, 402, 403, 404, 409, 413, 422, 424, 429, 500, 501, 502,
    503, 504, 520, 522, 526, 530, 999,
)  # fmt: skip


def _statuses() -> Iterator[Scenario]:
    for status, (name, (body, kind)) in itertools.product(STATUSES, BODIES.items()):
        for logged in (False, True):
            if logged and (status < 400 or name in ("validation", "no type")):
                continue
            suffix = ", logged" if logged else ""
            yield Scenario(
                f"{status} {name}{suffix}",
                (whole(status, body, kind, log_id=logged),),
                ALL_MODES if status in (400, 429, 503) else ("sync", "async stream"),
            )


CODES = (
    2001, 2003, 2005, 2008, 2009, 2016, 2017, 2019, 2021, 2029, 2030, 2040, 2041, 2045, 7013,
    10000, 999_999,
)  # fmt: skip


def _envelopes() -> Iterator[Scenario]:
    for code, status in itertools.product(CODES, (400, 401, 429, 503)):
        yield Scenario(
            f"envelope {code} with {status}",
            (whole(status, envelope(code), JSON, log_id=True),),
            ALL_MODES if status == 400 else ("async", "stream"),
        )
    for code in (2016, 2017, 2005):
        yield Scenario(f"envelope {code} with 200", (whole(200, envelope(code), JSON),), ALL_MODES)
    for code in (1006, 1009, 1010, 1015, 1016, 1020, 1033, 1101):
        for status in (403, 429, 500, 530):
            body = f"error code: {code}".encode()
            yield Scenario(f"edge text {code} with {status}", (whole(status, body, TEXT),))
    login = http(302, b"", "Location: {other}/cdn-cgi/access/login", log_id=False)
    yield Scenario("redirect to a login page", (Reply((login,)), whole(200, PAGE, HTML)), ALL_MODES)


# ---------------------------------------------------------------- success, framed in every way

MALFORMED = {
    "truncated JSON": completion()[:40],
    "not JSON": b"oops",
    "JSON null": b"null",
    "JSON list": b"[]",
    "JSON number": b"1",
    "JSON without choices": b'{"id":"c1"}',
    "JSON nested deep": b"[" * 2_000,
    "JSON not UTF-8": b'{"id":"\xff"}',
    "JSON in UTF-16": completion().decode().encode("utf-16"),
    "JSON with a byte order mark": b"\xef\xbb\xbf" + completion(),
    "JSON with NaN": completion().replace(b'"created": 1', b'"created": NaN'),
    "more fields": completion().replace(b'"id": "c1"', b'"id": "c1", "new": {"a": [1]}'),
    "unknown finish reason": completion().replace(b'"stop"', b'"new_reason"'),
    "spaces around": b"\r\n  " + completion() + b"\n",
    "empty": b"",
    "page": PAGE,
    "event stream": b"data: {}\n\n",
}
TYPES = (
    JSON,
    "Content-Type: application/json; charset=utf-8",
    "content-type: APPLICATION/JSON",
    "Content-Type: application/problem+json",
    "Content-Type: application/json; charset=utf-16",
    "Content-Type: application/json;;;",
    "Content-Type: text/json",
    TEXT,
    HTML,
    SSE,
    "Content-Type:",
    "Content-Type: nonsense",
    "X-Nothing: 1",
)


def _framings(body: bytes, kind: str) -> dict[str, Reply]:
    length = f"Content-Length: {len(body)}"
    return {
        "in one packet": whole(200, body, kind),
        "in packets": reply(head(200, kind, length), *in_packets(body, 40)),
        "in chunks": in_chunks(200, body[:7], body[7:90], body[90:], headers=(kind,)),
        "in chunks of one byte": reply(
            head(200, kind, CHUNKED)
            + b"".join(chunked(*[bytes([byte]) for byte in body]))
            + LAST
        ),
        "in chunks with extensions": reply(
            head(200, kind, CHUNKED) + b"%x;a=b\r\n%s\r\n" % (len(body), body) + LAST
        ),
        "in chunks with trailers": reply(
            head(200, kind, CHUNKED, "Trailer: X-Sum"),
            *chunked(body),
            b"0\r\nX-Sum: 1\r\n\r\n",
        ),
        "until it closes": until_close(200, body, kind),
        "with HTTP/1.0": reply(
            http(200, body, kind).replace(b"HTTP/1.1", b"HTTP/1.0"), then="close"
        ),
        "and it closes": reply(http(200, body, kind, "Connection: close"), then="close"),
        "with keep-alive": whole(200, body, kind, "Keep-Alive: timeout=5"),
        "after 100": reply(b"HTTP/1.1 100 Continue\r\n\r\n" + http(200, body, kind)),
        "after 103": reply(b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n", http(200, body, kind)),
        "with line feeds": reply(http(200, body, kind).replace(b"\r\n", b"\n", 3)),
        "without a reason": reply(http(200, body, kind).replace(b"Some Reason", b"")),
        "head in packets": reply(*in_packets(head(200, kind, length), 11), body),
        "with a surplus response": reply(http(200, body, kind) + http(200, b"{}", kind)),
    }  # fmt: skip


def _framed() -> Iterator[Scenario]:
    for call in ("chat", "embeddings", "models", "download", "ocr"):
        for name, each in _framings(CALLS[call].body, CALLS[call].kind).items():
            yield Scenario(f"{call} {name}", (each,), call=call)
            yield Scenario(f"{call} {name}, twice", (each,), call=call, times=2, keep=False)
    for name, body in MALFORMED.items():
        yield Scenario(f"success, {name}", (whole(200, body, JSON),), ALL_MODES)
        yield Scenario(
            f"success of embeddings, {name}", (whole(200, body, JSON),), call="embeddings"
        )
    for kind in TYPES:
        yield Scenario(f"success, {kind}", (whole(200, completion(), kind),), ALL_MODES)
        yield Scenario(f"refusal, {kind}", (whole(422, DETAIL, kind),), ALL_MODES)


def _calls() -> Iterator[Scenario]:
    for name in CALLS:
        for kept in (True, False):
            yield Scenario(
                f"{name}, {'kept' if kept else 'not kept'}",
                (answer(name),),
                call=name,
                keep=kept,
            )
        for status, (body, kind) in itertools.product((404, 422, 500), BODIES.values()):
            if kind == JSON and body:
                yield Scenario(
                    f"{name} {status} {body[:12].decode()}",
                    (whole(status, body, kind),),
                    call=name,
                )


# ---------------------------------------------------------------- cut off, or not HTTP


def _cut() -> Iterator[Scenario]:
    body = completion()
    long = head(200, JSON, f"Content-Length: {len(body) + 10}", log_id=False)
    places = {
        "before the head": (),
        "in the status line": (b"HTTP/1.1 20",),
        "in the head": (b"HTTP/1.1 200 OK\r\nContent-",),
        "before the body": (long,),
        "in the body": (long + body[:40],),
        "ten bytes before the end": (long + body,),
        "in a chunk": (head(200, JSON, CHUNKED) + b"%x\r\n" % len(body) + body[:40],),
        "between chunks": (head(200, JSON, CHUNKED), chunked(body[:40])[0]),
        "before the last chunk": (head(200, JSON, CHUNKED) + chunked(body)[0],),
        "in the last chunk": (head(200, JSON, CHUNKED) + chunked(body)[0] + b"0\r\n",),
        "in the body of an error": (head(500, JSON, "Content-Length: 900") + NOPE,),
    }
    for (place, packets), then in itertools.product(places.items(), ("close", "reset")):
        modes = ALL_MODES if then == "close" else PLAIN
        yield Scenario(f"{then} {place}", (Reply(packets, then),), modes)
        yield Scenario(f"{then} {place} of a download", (Reply(packets, then),), call="download")
    for place in ("before the head", "in the head", "in the body", "before the last chunk"):
        yield Scenario(f"stall {place}", (Reply(places[place], "stall"),), sdk={"timeout_ms": 250})
    odd = {
        "not HTTP": b"\x16\x03\x01 no\r\n\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/3.0": b"HTTP/3.0 200 OK\r\n\r\n",
        "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
        "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
        "length no number": head(200, JSON, "Content-Length: many") + body,
        "length below zero": head(200, JSON, "Content-Length: -1") + body,
        "length twice": head(200, JSON, "Content-Length: 10", "Content-Length: 20") + body,
        "length twice the same": head(
            200, JSON, f"Content-Length: {len(body)}", f"Content-Length: {len(body)}"
        ) + body,
        "length and chunks": head(200, JSON, "Content-Length: 5", CHUNKED)
        + chunked(body)[0] + LAST,
        "length too short": head(200, JSON, "Content-Length: 50") + body,
        "chunk size no number": head(200, JSON, CHUNKED) + b"zz\r\n",
        "chunk without its end": head(200, JSON, CHUNKED) + b"3\r\nabcd\r\n" + LAST,
        "coding unknown to HTTP": head(200, JSON, "Transfer-Encoding: rot13") + body,
        "header without a colon": http(200, body, JSON, "broken"),
        "header with a NUL": http(200, body, JSON, "x-nul: a\0b"),
        "header folded": http(200, body, JSON, "x-folded: a\r\n b"),
        "header with a space before the colon": http(200, body, JSON, "x-space : a"),
        "header without a name": http(200, body, JSON, ": a"),
        "header not ASCII": http(200, body, JSON, "x-name: \xe9\xff"),
        "header of 60 KB": http(200, body, JSON, "x-big: " + "x" * 60_000),
        "header of 2 MB": http(200, body, JSON, "x-big: " + "x" * 2_000_000),
        "200 headers": http(200, body, JSON, *[f"x-{number}: {number}" for number in range(200)]),
        "20,000 headers": http(200, body, JSON, *[f"x-{number}: x" for number in range(20_000)]),
    }  # fmt: skip
    for name, data in odd.items():
        yield Scenario(name, (Reply((data,), "close"),), ALL_MODES)


# ---------------------------------------------------------------- headers

HEADERS = {
    "cf-aig headers": (f"cf-aig-log-id: {LOG_ID}", "cf-aig-cache-status: HIT", "cf-aig-step: 0"),
    "cf-aig headers twice": ("cf-aig-log-id: a", "cf-aig-log-id: b", "cf-aig-step: 0"),
    "cf-aig headers in odd case": (f"CF-Aig-LOG-id: {LOG_ID}", "cF-AIG-cache-STATUS: hit"),
    "cf-aig headers wild": ("cf-aig-step: \xb2", "cf-aig-dlp: " + "[" * 500, "cf-aig-model: \xe9"),
    "a cookie": ("Set-Cookie: a=b; Path=/", "Set-Cookie: c=d"),
    "retry-after": ("Retry-After: 1",),
    "a long retry-after": ("Retry-After: 120",),
    "retry-after-ms": ("retry-after-ms: 120000",),
    "rate limits": ("x-ratelimit-remaining: 0", "ratelimit-reset: 7", "x-request-id: r"),
    "links": ("Link: </x>; rel=next", "Server: cloudflare", "CF-RAY: 8-AMS", "Vary: *"),
    "a location": ("Location: {other}/x",),
    "authentication": ('WWW-Authenticate: Bearer realm="x"', "Proxy-Authenticate: Basic"),
    "deprecation": ("x-model-deprecation-timestamp: 2026-01-01T00:00:00Z",),
    "an upgrade": ("Upgrade: h2c", "Alt-Svc: h3"),
    "repeated": ("X-A: 1", "x-a: 2", "X-A: 3"),
    "empty values": ("X-Empty:", "X-Blank:   "),
}


def _headers() -> Iterator[Scenario]:
    for (name, headers), status in itertools.product(HEADERS.items(), (200, 401, 429, 503)):
        body = completion() if status == 200 else NOPE
        modes = ALL_MODES if "retry" in name else PLAIN
        yield Scenario(f"{name} with {status}", (whole(status, body, JSON, *headers),), modes)
        yield Scenario(
            f"{name} with {status}, twice",
            (whole(status, body, JSON, *headers),),
            ("sync", "async"),
            times=2,
            keep=False,
        )


# ---------------------------------------------------------------- content codings


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def code(coding: str, data: bytes) -> bytes:
    """Return data in a content coding, as far as Python's own library can."""
    for name in coding.lower().replace(" ", "").split(","):
        if name in ("gzip", "x-gzip"):
            data = gzip.compress(data, mtime=0)
        elif name == "deflate":
            data = zlib.compress(data)
        elif name == "deflate-raw":
            data = raw_deflate(data)
    return data


CODINGS = (
    "gzip", "deflate", "deflate-raw", "identity", "gzip, identity", "gzip, deflate", "GZIP",
    "x-gzip", "nonsense", "gzip, nonsense", "",
)  # fmt: skip


def coded_header(coding: str) -> str:
    return f"Content-Encoding: {coding.replace('-raw', '')}"


def _codings() -> Iterator[Scenario]:
    for coding, (call, status) in itertools.product(
        CODINGS, (("chat", 200), ("download", 200), ("chat", 422))
    ):
        body = CALLS[call].body if status == 200 else NOPE
        kind = CALLS[call].kind if status == 200 else JSON
        data, header = code(coding, body), coded_header(coding)
        forms = {
            "whole": whole(status, data, kind, header),
            "in chunks": in_chunks(status, data[:20], data[20:], headers=(kind, header)),
            "cut": whole(status, data[: len(data) // 2], kind, header),
            "cut by a byte": whole(status, data[:-1], kind, header),
            "corrupt": whole(status, data[:14] + b"\0\0\0\0" + data[18:], kind, header),
            "with more after it": whole(status, data + b"more", kind, header),
            "empty": whole(status, b"", kind, header),
            "not coded": whole(status, body, kind, header),
            "broken off": reply(
                head(status, kind, header, f"Content-Length: {len(data)}") + data[:30], then="close"
            ),
        }
        for name, each in forms.items():
            modes = ALL_MODES if call == "chat" and status == 200 else PLAIN
            yield Scenario(f"{call} {status} {coding or 'no'} coding, {name}", (each,), modes, call)
    for name, body in (("gzip", completion()), ("deflate", completion())):
        twice = code(name, body) + code(name, body)
        yield Scenario(f"two members of {name}", (whole(200, twice, JSON, coded_header(name)),))
    bomb = gzip.compress(b'{"id":"' + b"x" * 3_000_000 + b'"}')
    yield Scenario("gzip bomb", (whole(200, bomb, JSON, coded_header("gzip")),))
    yield Scenario("gzip bomb as an error", (whole(400, bomb, JSON, coded_header("gzip")),))


# ---------------------------------------------------------------- redirects

TARGETS = {
    "same origin": "{same}/v1/acc/gw/mistral/elsewhere",
    "other origin": "{other}/x",
    "other gateway": "{same}/v1/acc/other/mistral/elsewhere",
    "relative": "elsewhere",
    "absolute path": "/v1/acc/gw/mistral/elsewhere?a=b",
    "query": "?a=b",
    "fragment": "/v1/acc/gw/mistral/elsewhere#part",
    "itself": "{same}/v1/acc/gw/mistral/v1/chat/completions",
    "two dots": "../../../../../x",
    "userinfo": "http://user:word@127.0.0.1:1/x",
    "scheme-relative": "//127.0.0.1:1/x",
    "two slashes": "//",
    "no scheme for it": "ftp://127.0.0.1/",
    "bad port": "http://127.0.0.1:99999999/",
    "bad host": "http://[bad/",
    "empty": "",
    "backslash": "http://127.0.0.1:1\\@127.0.0.1:2/x",
    "not ASCII": "/caf\xe9",
}
REDIRECTS = (300, 301, 302, 303, 307, 308)


def _targets() -> Iterator[Scenario]:
    good = whole(200, completion(), JSON)
    for (name, target), status in itertools.product(TARGETS.items(), REDIRECTS):
        first = Reply((http(status, b"", f"Location: {target}", log_id=False),))
        yield Scenario(f"redirect {status} to {name}", (first, good), ALL_MODES)


def _redirects() -> Iterator[Scenario]:
    good, page = whole(200, completion(), JSON), whole(200, PAGE, HTML)
    for status in (301, 307):
        moved = http(status, b"see there", "Location: elsewhere", "X-Hop: 1", log_id=False)
        hop = Reply((moved,))
        yield Scenario(f"redirect {status} twice", (hop, hop, good), ALL_MODES)
        yield Scenario(f"redirect {status} to a page", (hop, page), ALL_MODES)
        yield Scenario(f"redirect {status} for ever", (hop,))
        yield Scenario(
            f"redirect {status}, then an error", (hop, whole(422, DETAIL, JSON)), ALL_MODES
        )
        yield Scenario(f"redirect {status}, then it breaks off", (hop, reply(then="close")))
        cookie = Reply((http(status, b"", "Location: ", "Set-Cookie: a=b", log_id=False),))
        yield Scenario(f"redirect {status} with a cookie", (cookie, good), times=2)
        yield Scenario(f"redirect {status} with a cookie, again", (cookie, cookie, good))
        for call in ("models", "upload", "download", "delete file", "embeddings"):
            last = answer(call)
            yield Scenario(f"redirect {status} of {call}", (hop, last), call=call)
    bare = Reply((http(307, log_id=False),))
    yield Scenario("redirect without a location", (bare,), ALL_MODES)
    big = http(307, b"x" * 70_000, "Location: elsewhere", log_id=False)
    yield Scenario("redirect with a big body", (Reply((big,)), good))
    cut = head(307, "Content-Length: 900", "Location: elsewhere") + b"cut"
    yield Scenario("redirect that is cut", (Reply((cut,), "close"), good))
    coded = http(307, code("gzip", b"see"), "Location: elsewhere", coded_header("gzip"))
    yield Scenario("redirect with a coded body", (Reply((coded,)), good))


def scenarios() -> Iterator[Scenario]:
    for rows in (_statuses, _envelopes, _framed, _calls, _headers, _codings, _targets):
        yield from in_turn(rows())
    yield from _cut()
    yield from _redirects()
