"""Requests that are written and responses that are read directly are the HTTP library's own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from types import FunctionType, SimpleNamespace
from unittest import mock

import h11
import pytest
from call_modes import SYNC
from client_ways import client_for
from fault_scripts import good
from fault_server import FaultServer

from mistral_cf_adapter import _direct, _http11, _pool
from mistral_cf_adapter._http11 import UnusualError, read_body, read_head
from mistral_cf_adapter._sdk import httpx

# ---------------------------------------------------------------- a response, side by side

OPENED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
MANY = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 900) for number in range(130))

USUAL = {
    "length": LENGTH + b"\r\nhello",
    "no body": b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
    "chunks": CHUNKED + b"\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "one byte a chunk": CHUNKED + b"\r\n" + b"1\r\nx\r\n" * 50 + b"0\r\n\r\n",
    "sizes": CHUNKED + b"\r\n00A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n",
    "a line end in a chunk": CHUNKED + b"\r\n4\r\n\r\n\r\n\r\n2\r\n0\r\r\n0\r\n\r\n",
    "error": b"HTTP/1.1 500 Oh no\r\nContent-Length: 2\r\n\r\n{}",
    "redirect": b"HTTP/1.1 307 T\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n",
    "status 599": b"HTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "empty reason": b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    "reason": b"HTTP/1.1 200 \tAll \xe9 right \r\nContent-Length: 0\r\n\r\n",
    "spaces": LENGTH + b"A: \t b  c\t \r\nEmpty:\r\nEmpty2: \t \r\n\r\nhello",
    "same name": LENGTH + b"Set-Cookie: a=1\r\nset-cookie: b=2\r\n\r\nhello",
    "not ASCII": LENGTH + b"Name: \xc3\xa9\xff\r\n\r\nhello",
    "every sign in a name": LENGTH + b"!#$%&'*+-.^_`|~09azAZ: x\r\n\r\nhello",
    "case": b"HTTP/1.1 200 OK\r\ntransfer-ENCODING: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "to be closed": LENGTH + b"Connection: Keep-Alive, Close\r\n\r\nhello",
    "to be kept": LENGTH + b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\nhello",
    "more than its length": LENGTH + b"\r\nhello, and more",
    "more after its chunks": CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
    "gzip that is none": LENGTH + b"Content-Encoding: gzip\r\n\r\nhello",
    "large": b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
    "large chunk": CHUNKED + b"\r\n493E0\r\n" + b"x" * 300_000 + b"\r\n0\r\n\r\n",
    "long head": b"HTTP/1.1 200 OK\r\n" + MANY + b"Content-Length: 0\r\n\r\n",
    "chunks without CR": CHUNKED + b"\r\n5\nhello\n0\n\n",
    "footer": CHUNKED + b"\r\n5\r\nhelloXX0\r\n\r\n",
    "half a footer": CHUNKED + b"\r\n5\r\nhello\rX0\r\n\r\n",
    "cut in its length": LENGTH + b"\r\nhel",
    "cut before its body": LENGTH + b"\r\n",
    "cut in a chunk": CHUNKED + b"\r\n5\r\nhel",
    "cut in a footer": CHUNKED + b"\r\n5\r\nhello\r",
    "cut in a size": CHUNKED + b"\r\n5\r\nhello\r\n5",
    "cut before the last chunk": CHUNKED + b"\r\n5\r\nhello\r\n",
    "cut in the last chunk": CHUNKED + b"\r\n5\r\nhello\r\n0\r\n",
}
"""Read directly, to their end or where they are wrong."""

BY_H11 = {
    "extension": CHUNKED + b"\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n",
    "space after a size": CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"\r\n5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n",
    "trailers and more": CHUNKED + b"\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\nmore",
    "wrong trailers": CHUNKED + b"\r\n5\r\nhello\r\n0\r\n A b\r\n\r\n",
    "wrong size": CHUNKED + b"\r\n5\r\nhello\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "signed size": CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n",
    "size with a prefix": CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "size with an underscore": CHUNKED + b"\r\n1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "no size": CHUNKED + b"\r\n\r\nhello\r\n0\r\n\r\n",
    "long size": CHUNKED + b"\r\n" + b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n",
    "cut in trailers": CHUNKED + b"\r\n5\r\nhello\r\n0\r\nA: b\r\n",
    "endless size": CHUNKED + b"\r\n" + b"5" * 200_000,
}
"""Begun directly, and read to their end by h11."""

UNUSUAL = {
    "nothing": b"",
    "cut in its head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no HTTP": b"what is this?\r\n\r\n",
    "a blank line first": b"\r\n" + LENGTH + b"\r\nhello",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x50",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.0, kept": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "to the end": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH + b"\r\nhello",
    "hints": b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" + LENGTH + b"\r\nhello",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz",
    "status 099": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n",
    "lines without CR": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "one line without CR": b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello",
    "CR in a value": LENGTH + b"A: b\rC: d\r\n\r\nhello",
    "NUL": LENGTH + b"A: b\x00c\r\n\r\nhello",
    "a line that goes on": LENGTH + b"A: b\r\n c\r\n\r\nhello",
    "the first line goes on": b"HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 0\r\n\r\n",
    "no colon": LENGTH + b"A b\r\n\r\nhello",
    "no name": LENGTH + b": b\r\n\r\nhello",
    "space before the colon": LENGTH + b"A : b\r\n\r\nhello",
    "both lengths": CHUNKED + b"Content-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "length twice": LENGTH + b"Content-Length: 5\r\n\r\nhello",
    "two lengths": LENGTH + b"Content-Length: 4\r\n\r\nhello",
    "lengths in a list": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "no length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
    "long length": b"HTTP/1.1 200 OK\r\nContent-Length: %s5\r\n\r\nhello" % (b"0" * 20),
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "coding twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "connection twice": LENGTH + b"Connection: a\r\nConnection: close\r\n\r\nhello",
    "endless head": b"HTTP/1.1 200 OK\r\n" + MANY * 3,
}
"""The library's to read from the first byte on."""

RESPONSES = {f"{name}, {kind}": (text, kind) for kind, table in
    (("direct", USUAL), ("h11", BY_H11), ("library", UNUSUAL)) for name, text in table.items()
}  # fmt: skip


class Server(FaultServer):
    """Answers in the usual way, but the second request with other bytes, and then ends its side."""

    def __init__(self, text: bytes, pieces: int = 1):
        super().__init__(self._play)
        self._count = 0
        self._lock = threading.Lock()
        self._size = len(text) // pieces + 1
        self._text = text

    def _play(self, wire, request):
        with self._lock:
            self._count += 1
            is_second = self._count == 2
        if not is_second:
            wire.send(OPENED)
            return
        size = self._size
        wire.send(*[self._text[i : i + size] for i in range(0, len(self._text), size)])
        if b"more" not in self._text and not _is_complete(self._text):
            wire.close()


def _is_complete(text: bytes) -> bool:
    """Return whether a client knows where the response ends: else the server has to end it."""
    try:
        return _read_by_h11([text])[-1] == "end"
    except h11.RemoteProtocolError:
        return False


def make_request(server, **changes):
    headers = {"Authorization": "Bearer t", "X-Two": "a  b"}
    return _pool.build_request(
        "POST",
        f"{server.origin}/path?q=%20",
        headers=headers,
        content=b"{}",
        timeout=5.0,
        **changes,
    )


def describe(error):
    """Return the error and its cause; httpcore hides what is behind that, httpcore2 does not."""
    return [(type(each).__name__, str(each)) for each in (error, error.__cause__)]


def ask_sync(config, server):
    pool = _pool.ConnectionPool(_build(config), config)
    try:
        pool.send(make_request(server))
        response = pool.send(make_request(server), stream=True)
        yield from look(response)
        try:
            yield from response.iter_raw()
        except Exception as error:
            yield describe(error)
        finally:
            response.close()
    except Exception as error:
        yield describe(error)
    finally:
        try:
            pool.send(make_request(server))
        finally:
            pool.close()


async def ask_async(config, server):
    found = []
    pool = _pool.AsyncConnectionPool(_build(config, httpx.AsyncClient), config)
    try:
        await pool.send(make_request(server))
        response = await pool.send(make_request(server), stream=True)
        found += look(response)
        try:
            async for piece in response.aiter_raw():
                found.append(piece)
        except Exception as error:
            found.append(describe(error))
        finally:
            await response.aclose()
    except Exception as error:
        found.append(describe(error))
    finally:
        await pool.send(make_request(server))
        await pool.aclose()
    return found


def _build(config, kind=None):
    environment = _pool._environment()
    return _pool._client_factory(kind or httpx.Client, config, environment, False)


def look(response):
    yield response.status_code, response.http_version, response.extensions["reason_phrase"]
    yield [*response.headers.raw]
    yield isinstance(response.extensions["network_stream"], object)


def join(found):
    """Return what was found, the pieces of the body as one: where they are cut may differ."""
    body = b"".join(each for each in found if isinstance(each, bytes))
    return [each for each in found if not isinstance(each, bytes)], body


class Watch:
    """Counts how responses were read."""

    def __init__(self, monkeypatch):
        self.begun = self.handed_over = self.by_h11 = 0
        exchange = _direct._Exchange
        build, hand_over, read = exchange.__init__, exchange.hand_over, _http11._read_with_h11

        def counted_build(*arguments):
            self.begun += 1
            build(*arguments)

        def counted_hand_over(*arguments):
            self.handed_over += 1
            return hand_over(*arguments)

        def counted_read(*arguments):
            self.by_h11 += 1
            return read(*arguments)

        monkeypatch.setattr(exchange, "__init__", counted_build)
        monkeypatch.setattr(exchange, "hand_over", counted_hand_over)
        monkeypatch.setattr(_http11, "_read_with_h11", counted_read)


@pytest.fixture
def watch(monkeypatch):
    return Watch(monkeypatch)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize(("text", "kind"), RESPONSES.values(), ids=RESPONSES)
def test_a_response_is_the_one_that_the_library_reads(text, kind, pieces, is_async, watch):
    outcomes = []
    for is_direct in (False, True):
        config = _pool.PoolConfig(is_direct=is_direct)
        with Server(text, pieces) as server:
            if is_async:
                found = asyncio.run(ask_async(config, server))
            else:
                found = [*ask_sync(config, server)]
            outcomes.append((*join(found), server.connections, [r.head for r in server.requests]))
    by_library, direct = outcomes
    assert direct[:2] == by_library[:2]
    assert direct[2] == by_library[2]
    origin = b"Host: "
    assert [without(origin, head) for head in direct[3]] == [
        without(origin, head) for head in by_library[3]
    ]
    assert watch.begun >= 1
    assert watch.handed_over == (kind == "library")
    assert watch.by_h11 == (kind == "h11")


def without(name, head):
    return [line for line in head.split(b"\r\n") if not line.startswith(name)]


# ---------------------------------------------------------------- without a network


def _new_h11():
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=100 * 1024)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    return connection


def _read_by_h11(parts):
    """Return head, data and end of a response, as far as the parts say; raise what h11 raises."""
    connection, found = _new_h11(), []
    for part in parts:
        connection.receive_data(part)
        while True:
            event = connection.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED):
                break
            if isinstance(event, h11.EndOfMessage):
                return [*found, "end"]
            if isinstance(event, h11.Data):
                found.append(bytes(event.data))
            elif isinstance(event, h11.Response):
                found.append((event.status_code, event.reason, event.headers.raw_items()))
    return [*found, "waits"]


def _read_directly(parts):
    """Do the same with what is tested; `None` for a response that is the library's."""
    waiting, received, known = list(parts), b"", 0
    try:
        while (begun := read_head(received, known)) is None:
            if not waiting:
                return ["waits"]
            known = len(received)
            received += waiting[0]
            if not waiting.pop(0):
                return None
    except UnusualError:
        return None
    head, received = begun
    found = [(head.status, head.reason, head.headers)]
    body = read_body(head, received, h11.RemoteProtocolError)
    data = None
    while True:
        try:
            piece = body.send(data)
        except StopIteration:
            return [*found, "end"]
        if piece is not None:
            assert piece
            found.append(piece)
            data = None
        elif waiting:
            data = waiting.pop(0)
        else:
            return [*found, "waits"]


def outcome(read, parts):
    try:
        found = read(parts)
    except h11.RemoteProtocolError as error:
        return str(error)
    return None if found is None else join(found)


@pytest.mark.parametrize(("text", "kind"), RESPONSES.values(), ids=RESPONSES)
def test_a_response_may_arrive_byte_by_byte(text, kind):
    parts = [text[i : i + 1] for i in range(min(len(text), 3000))]
    direct = outcome(_read_directly, parts)
    assert direct in (None, outcome(_read_by_h11, parts))
    assert kind == "library" or direct is not None


def test_a_head_that_arrives_byte_by_byte_takes_no_longer_than_with_h11():
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"A: b\r\n" * 10_000 + b"\r\n"
    parts = [text[i : i + 1] for i in range(len(text))]

    def measure(read):
        started = time.thread_time()
        assert read(parts)[-1] == "end"
        return time.thread_time() - started

    assert measure(_read_directly) < 5 * measure(_read_by_h11)


def test_a_long_name_of_a_header_is_not_remembered():
    name = b"n" * 65
    head = b"HTTP/1.1 200 OK\r\n%s: x\r\nContent-Length: 0\r\n\r\n" % name
    read_head(head)
    assert name not in _http11._names


MARKS = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"F",
    b"_",
    b"+",
    b"\x80",
]
SEEDS = 40


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_read_directly_is_what_h11_reads(seed):
    """Usual responses, changed anywhere and cut anywhere."""
    chance = random.Random(seed)
    texts = [text for text, kind in RESPONSES.values() if len(text) < 1000]
    read = 0
    for _ in range(300):
        text = chance.choice(texts)
        for _ in range(chance.choice((0, 1, 1, 2))):
            start = chance.randrange(len(text) + 1)
            end = start + chance.choice((0, 0, 1, 2))
            text = text[:start] + chance.choice([b"", *MARKS]) + text[end:]
        cuts = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(4)))
        parts = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True) if i < j]
        parts += [b""] * chance.randrange(2)  # the server ends its side
        direct = outcome(_read_directly, parts)
        assert direct in (None, outcome(_read_by_h11, parts)), parts
        read += direct is not None
    assert read > 50


# ---------------------------------------------------------------- requests

BODY = b'{"model": "m"}'
REQUESTS = {
    "post": ("POST", "/a", {"X": "y"}, BODY),
    "get": ("GET", "/a?b=%20c&d=%C3%A9#e", {}, None),
    "delete": ("DELETE", "/a", {}, None),
    "put": ("PUT", "/a", {"content-type": "text/plain"}, BODY),
    "empty body": ("POST", "/a", {}, b""),
    "large body": ("POST", "/a", {}, b"x" * 3_000_000),
    "own host": ("POST", "/a", {"A": "b", "Host": "example.com", "C": "d"}, BODY),
    "own agent": ("POST", "/a", {"User-Agent": "me"}, BODY),
    "case": ("POST", "/a", {"X-aBc": "d", "authorization": "Bearer t"}, BODY),
    "obsolete text": ("POST", "/a", [(b"X", b"caf\xe9")], BODY),
    "same name": ("POST", "/a", [("X", "1"), ("x", "2")], BODY),
    "empty value": ("POST", "/a", {"X": ""}, BODY),
    "keep-alive": ("POST", "/a", {"Connection": "Keep-Alive"}, BODY),
}
LEFT = {
    "head": ("HEAD", "/a", {}, None),
    "options": ("OPTIONS", "/a", {}, None),
    "other method": ("PURGE", "/a", {}, None),
    "close": ("POST", "/a", {"Connection": "close"}, BODY),
    "own length": ("POST", "/a", {"Content-Length": "014"}, BODY),
    "trailers": ("POST", "/a", {"TE": "trailers"}, BODY),
    "in parts": ("POST", "/a", {}, "parts"),
    "two hosts": ("POST", "/a", [("Host", "a"), ("Host", "b")], BODY),
    "wrong length": ("POST", "/a", {"Content-Length": "3"}, BODY),
    "line end in a value": ("POST", "/a", {"X": "a\r\nEvil: b"}, BODY),
    "LF in a value": ("POST", "/a", {"X": "a\nEvil: b"}, BODY),
    "NUL in a value": ("POST", "/a", {"X": "a\0b"}, BODY),
    "space around a value": ("POST", "/a", {"X": " a "}, BODY),
    "space in a name": ("POST", "/a", {"X Y": "a"}, BODY),
    "colon in a name": ("POST", "/a", {"X:Y": "a"}, BODY),
    "line end in a name": ("POST", "/a", {"X\r\nEvil": "a"}, BODY),
    "empty name": ("POST", "/a", {"": "a"}, BODY),
}
ASKED = {f"{name}, {kind}": (asked, kind) for kind, table in
    (("direct", REQUESTS), ("library", LEFT)) for name, asked in table.items()
}  # fmt: skip


def _ask(is_direct, asked):
    method, path, headers, content = asked
    config = _pool.PoolConfig(is_direct=is_direct)
    pool = _pool.ConnectionPool(_build(config), config)
    with FaultServer(lambda wire, request: wire.send(answer(request))) as server:
        pool.send(make_request(server))
        body = iter([BODY, BODY]) if content == "parts" else content
        try:
            request = _pool.build_request(
                method, f"{server.origin}{path}", headers=headers, content=body, timeout=5.0
            )
            sent = pool.send(request).status_code
        except Exception as error:
            sent = describe(error)
        pool.send(make_request(server))
        pool.close()
        seen = [(without(b"Host: 127", each.head), each.body) for each in server.requests]
        return sent, seen, server.connections


def answer(request):
    return OPENED[:-2] if request.method == "HEAD" else OPENED


@pytest.mark.parametrize(("asked", "kind"), ASKED.values(), ids=ASKED)
def test_a_request_is_sent_as_the_library_sends_it(asked, kind, watch):
    by_library, direct = _ask(False, asked), _ask(True, asked)
    assert direct == by_library
    # The third one tells, too, where the second one has left the connection open.
    third = direct[2] == 1
    assert watch.begun == third + (kind == "direct")


# ---------------------------------------------------------------- who else looks


@pytest.fixture
def sending():
    """A pool with an open connection, its server, and a call."""
    config = _pool.PoolConfig(keepalive_expiry=30.0)
    pool = _pool.ConnectionPool(_build(config), config)
    with FaultServer(lambda wire, _: wire.send(OPENED)) as server:
        pool.send(make_request(server))
        yield pool, server
        pool.close()


def _core():
    return f"httpcore{httpx.__name__.removeprefix('httpx')}"


def test_a_request_may_ask_the_library_to_tell_what_it_does(sending, watch):
    pool, server = sending
    told = []
    pool.send(make_request(server, extensions={"trace": lambda name, _: told.append(name)}))
    assert "http11.receive_response_headers.complete" in told
    assert not watch.begun


def test_the_librarys_debug_log_is_complete(sending, watch, caplog):
    pool, server = sending
    with caplog.at_level(logging.DEBUG, logger=f"{_core()}.http11"):
        pool.send(make_request(server))
    assert any(record.message.startswith("receive_response_headers") for record in caplog.records)
    assert not watch.begun


@pytest.mark.parametrize("layer", ["transport", "pool", "connection", "http11"])
def test_a_tool_that_replaces_a_layer_sees_every_call(layer, sending, watch, monkeypatch):
    pool, server = sending
    http = httpx.HTTPTransport()
    core = __import__(_core())
    cls = {
        "transport": type(http),
        "pool": core.ConnectionPool,
        "connection": core.HTTPConnection,
        "http11": core.HTTP11Connection,
    }[layer]
    original, seen = cls.handle_request, []

    def handle_request(self, request):
        seen.append(request)
        return original(self, request)

    monkeypatch.setattr(cls, "handle_request", handle_request)
    pool.send(make_request(server))
    assert len(seen) == 1
    assert not watch.begun
    monkeypatch.undo()
    pool.send(make_request(server))
    assert server.connections == 1


def test_a_tool_that_replaces_a_method_of_one_object_sees_its_calls(sending, watch):
    pool, server = sending
    (connection,) = pool._connections.open
    library_pool = connection.client._transport._pool
    original, seen = library_pool.handle_request, []

    def handle_request(request):
        seen.append(request)
        return original(request)

    library_pool.handle_request = handle_request
    pool.send(make_request(server))
    assert len(seen) == 1
    assert not watch.begun


@pytest.mark.parametrize("kind", ["HTTPTransport", "ConnectionPool"])
def test_a_mock_with_the_signature_of_a_layer_sees_every_call(kind, sending, watch):
    pool, server = sending
    module = httpx if kind == "HTTPTransport" else __import__(_core())
    cls = getattr(module, kind)
    original = cls.handle_request
    with mock.patch.object(cls, "handle_request", autospec=True, side_effect=original) as layer:
        pool.send(make_request(server))
    assert layer.call_count == 1
    assert not watch.begun


def test_the_librarys_log_of_requests_is_written(sending, watch, caplog):
    pool, server = sending
    with caplog.at_level(logging.INFO, logger=httpx.__name__):
        pool.send(make_request(server))
    assert watch.begun == 1
    assert caplog.messages == [f'HTTP Request: POST {server.origin}/path?q=%20 "HTTP/1.1 200 OK"']


def test_a_client_of_an_unknown_release_is_left_as_it_is():
    client = SimpleNamespace(_other_transport=httpx.BaseTransport())
    before = dict(vars(client))
    _direct.make_direct(client)
    assert vars(client) == before


def test_speedups_that_are_off_leave_everything_to_the_library(watch):
    with FaultServer(good) as server:
        client = client_for(server, speedups=False)
        for _ in range(3):
            SYNC.chat(client)
        assert server.connections == 1
    assert not watch.begun


async def test_calls_are_sent_directly_from_the_second_on(mode, watch):
    with FaultServer(good) as server:
        client = client_for(server)
        for _ in range(3):
            await mode.chat_in_loop(client)
        assert server.connections == 1
    assert (watch.begun, watch.handed_over, watch.by_h11) == (2, 0, 0)


# ---------------------------------------------------------------- past the library's client


def describe_response(response, request):
    following = response.next_request
    return {
        "head": [*look(response)],
        "body": (response.content, response.text, response.num_bytes_downloaded),
        "state": (response.is_closed, response.is_stream_consumed, response.history),
        "request": response.request is request,
        "next": following and (following.method, following.url, [*following.headers.raw]),
        "stream": type(response.stream).__name__,
        "elapsed": response.elapsed.total_seconds() > 0,
        "encodings": (response.encoding, response.default_encoding, response.headers.encoding),
        "attributes": sorted(vars(response).keys() - {"_decoder"}),  # made when it is needed
    }


def send_whole(config, server):
    pool = _pool.ConnectionPool(_build(config), config)
    pool.send(make_request(server))
    request = make_request(server)
    try:
        found = describe_response(pool.send(request, follow_redirects=False), request)
    except Exception as error:
        found = describe(error), getattr(error, "request", None) is request
    pool.send(make_request(server))
    pool.close()
    return found


async def send_whole_async(config, server):
    pool = _pool.AsyncConnectionPool(_build(config, httpx.AsyncClient), config)
    await pool.send(make_request(server))
    request = make_request(server)
    try:
        found = describe_response(await pool.send(request, follow_redirects=False), request)
    except Exception as error:
        found = describe(error), getattr(error, "request", None) is request
    await pool.send(make_request(server))
    await pool.aclose()
    return found


WRONG_ADDRESS = LENGTH.replace(b"200", b"302") + b"Location: https://[:1]/\r\n\r\nhello"
WHOLE = {**RESPONSES, "wrong address, direct": (WRONG_ADDRESS, "direct")}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize(("text", "kind"), WHOLE.values(), ids=WHOLE)
def test_a_whole_response_is_the_one_that_the_librarys_client_returns(
    text, kind, pieces, is_async, watch
):
    outcomes = []
    for is_direct in (False, True):
        config = _pool.PoolConfig(is_direct=is_direct)
        with Server(text, pieces) as server:
            send = (
                (lambda *asked: asyncio.run(send_whole_async(*asked))) if is_async else send_whole
            )
            found = send(config, server)
            address = server.origin.removeprefix("http://")
            outcomes.append((str(found).replace(address, ""), server.connections))
    assert outcomes[1] == outcomes[0]
    assert watch.begun >= 1


@pytest.fixture
def sent_past(sending):
    """Sends over the pool, and returns how many of its calls went past the client's layers."""
    pool, server = sending

    def send(**changes):
        with mock.patch.object(_direct, "_bind", side_effect=_direct._bind) as bind:
            response = pool.send(make_request(server, **changes), follow_redirects=False)
        assert (response.status_code, response.content) == (200, b"ok")
        return bind.call_count

    return send


def test_the_installed_release_of_the_library_was_tried(sent_past):
    assert sent_past() == 1


@pytest.mark.parametrize(
    "name", ["send", "_send_handling_auth", "_send_handling_redirects", "_send_single_request"]
)
def test_a_tool_that_replaces_a_method_of_the_client_sees_every_call(name, sent_past, monkeypatch):
    original, seen = getattr(httpx.Client, name), []

    def replaced(self, *args, **kwargs):
        seen.append(args)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(httpx.Client, name, replaced)
    assert (sent_past(), len(seen)) == (0, 1)
    monkeypatch.undo()
    assert (sent_past(), len(seen)) == (1, 1)


def test_a_tool_that_replaces_code_of_the_client_sees_every_call(sent_past, monkeypatch):
    assert sent_past() == 1
    library = httpx.Client.send.__globals__
    original = FunctionType(httpx.Client.send.__code__, library)
    original.__kwdefaults__ = httpx.Client.send.__kwdefaults__
    tool = mock.Mock(side_effect=original)
    monkeypatch.setitem(library, "_tool", tool)
    code = compile("def send(self, *a, **k): return _tool(self, *a, **k)", "tool.py", "exec")
    monkeypatch.setattr(httpx.Client.send, "__code__", code.co_consts[0])
    assert (sent_past(), tool.call_count) == (0, 1)


@pytest.mark.parametrize("name", ["read", "iter_bytes", "iter_raw", "close"])
def test_a_tool_that_replaces_a_method_of_responses_sees_every_response(
    name, sent_past, monkeypatch
):
    original, seen = getattr(httpx.Response, name), []

    def replaced(self, *args, **kwargs):
        seen.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(httpx.Response, name, replaced)
    assert (sent_past(), len(seen)) == (0, 1)


@pytest.mark.parametrize("owner", ["client", "transport"])
def test_a_tool_that_replaces_a_method_of_the_pools_own_object_sees_every_call(
    owner, sending, sent_past
):
    (connection,) = sending[0]._connections.open
    client = connection.client
    owner, name = (client, "send") if owner == "client" else (client._transport, "handle_request")
    original, seen = getattr(owner, name), []

    def replaced(request, **kwargs):
        seen.append(request)
        return original(request, **kwargs)

    setattr(owner, name, replaced)
    assert (sent_past(), len(seen)) == (0, 1)


def test_hooks_and_auth_of_a_client_are_not_passed_by(sending, sent_past):
    (connection,) = sending[0]._connections.open
    seen = []
    connection.client.event_hooks = {"request": [], "response": [seen.append]}
    assert (sent_past(), len(seen)) == (0, 1)
    connection.client.event_hooks = {}
    connection.client.auth = "user", "password"
    assert sent_past() == 0
    connection.client.auth = None
    assert sent_past() == 1


def test_what_a_log_of_requests_shows_is_written_by_the_library(sent_past, caplog):
    with caplog.at_level(logging.INFO, logger=httpx.__name__):
        assert sent_past() == 0
    (record,) = caplog.records
    assert (record.module, record.funcName) == ("_client", "_send_single_request")


def test_a_library_that_does_more_than_it_did_is_not_passed_by(sent_past, monkeypatch):
    monkeypatch.setattr(_direct, "_TRIED_NAMES", _direct._TRIED_NAMES - {"extract_cookies"})
    _direct._were_tried.cache_clear()
    assert sent_past() == 0
    _direct._were_tried.cache_clear()


# ---------------------------------------------------------------- which connection


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("is_direct", [False, True])
def test_a_redirect_to_another_server_goes_there(is_direct, is_async):
    """The library's client follows redirects itself for a client that was patched once."""

    def play(wire, request):
        if b"/away" in request.head:
            target = other.origin.encode()
            wire.send(b"HTTP/1.1 307 T\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % target)
        else:
            wire.send(OPENED)

    paths = ["/here", "/away", "/here"]
    with FaultServer(good) as other, FaultServer(play) as server:
        requests = [
            _pool.build_request("POST", f"{server.origin}{path}", content=b"{}", timeout=5.0)
            for path in paths
        ]
        config = _pool.PoolConfig(is_direct=is_direct)
        if is_async:
            asyncio.run(_send_all_async(config, requests))
        else:
            _send_all(config, requests)
        assert [request.path for request in server.requests] == paths
        assert [request.path for request in other.requests] == ["/"]


def _send_all(config, requests):
    pool = _pool.ConnectionPool(_build(config), config)
    for request in requests:
        pool.send(request)
    pool.close()


async def _send_all_async(config, requests):
    pool = _pool.AsyncConnectionPool(_build(config, httpx.AsyncClient), config)
    for request in requests:
        await pool.send(request)
    await pool.aclose()


UNUSUAL_ENDS = {"204": UNUSUAL["204"], "HTTP/1.0": UNUSUAL["HTTP/1.0"], "nothing": b""}


@pytest.mark.parametrize("text", UNUSUAL_ENDS.values(), ids=UNUSUAL_ENDS)
def test_a_request_is_sent_once_though_its_pool_is_closed_meanwhile(text, watch):
    arrived, closed = threading.Event(), threading.Event()

    def play(wire, request):
        if b"/second" in request.head:
            arrived.set()
            closed.wait(10)
            wire.send(text)
            wire.close()
        else:
            wire.send(OPENED)

    def call():
        with contextlib.suppress(httpx.TransportError):  # the socket is closed by another thread
            pool.send(request)

    config = _pool.PoolConfig()
    pool = _pool.ConnectionPool(_build(config), config)
    with FaultServer(play) as server:
        pool.send(make_request(server))
        url = f"{server.origin}/second"
        # Without a timeout, or the call fails when the socket is closed.
        request = _pool.build_request("POST", url, content=b"{}", timeout=None)
        thread = threading.Thread(target=call)
        thread.start()
        assert arrived.wait(10)
        pool.close()
        closed.set()
        thread.join(10)
        assert not thread.is_alive()
        assert (server.connections, len(server.requests)) == (1, 2)
    assert watch.begun == 1


# ---------------------------------------------------------------- time


def _send_to_one_who_waits(is_direct, timeout):
    def play(wire, request):
        if b"second" in request.head:
            wire.until_gone()
        else:
            wire.send(OPENED)

    config = _pool.PoolConfig(is_direct=is_direct)
    pool = _pool.ConnectionPool(_build(config), config)
    with FaultServer(play) as server:
        pool.send(make_request(server))
        request = make_request(server)
        request.headers["x-which"] = "second"
        request.extensions["timeout"] = httpx.Timeout(timeout).as_dict()
        started = time.monotonic()
        with pytest.raises(httpx.ReadTimeout) as caught:
            pool.send(request)
        assert time.monotonic() - started >= timeout
        pool.close()
        return describe(caught.value), caught.value.request is request


def test_a_response_that_does_not_come_ends_as_with_the_library(watch):
    assert _send_to_one_who_waits(True, 0.1) == _send_to_one_who_waits(False, 0.1)
    assert watch.begun == 1


async def test_a_call_that_is_cancelled_leaves_no_connection_in_use(watch):
    def play(wire, request):
        if b"second" in request.head:
            wire.until_gone()
        else:
            wire.send(OPENED)

    config = _pool.PoolConfig(max_connections=1)
    pool = _pool.AsyncConnectionPool(_build(config, httpx.AsyncClient), config)
    with FaultServer(play) as server:
        await pool.send(make_request(server))
        request = make_request(server)
        request.headers["x-which"] = "second"
        task = asyncio.ensure_future(pool.send(request))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await pool.send(make_request(server))).status_code == 200
        assert server.connections == 2
        await pool.aclose()
    assert watch.begun == 1


class CountingConnection:
    """Stands for a connection, and counts how often a response ends on it."""

    stream = None
    error = LookupError
    map_errors = contextlib.nullcontext

    def __init__(self) -> None:
        self.ends = self.closes = 0

    def begin(self) -> None: ...

    def end(self) -> None:
        self.ends += 1

    def close(self) -> None:
        self.closes += 1


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_response_ends_once_however_often_its_stream_is_read(is_taken):
    """The connection may serve another request by then."""
    connection = CountingConnection()
    request = SimpleNamespace(extensions={})
    exchange = _direct._Exchange(connection, request, (b"", b""))
    exchange.take(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    stream = _direct._Stream(exchange)
    if is_taken:
        assert exchange.take_body() == b"ok"
    else:
        assert list(stream) == [b"ok"]
    assert list(stream) == list(stream) == []
    assert (connection.ends, connection.closes) == (1, 0)
