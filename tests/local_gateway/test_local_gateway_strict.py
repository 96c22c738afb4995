"""Which requests a local gateway does not take: of web pages, ambiguous ones, halves of one."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import time

import pytest
from raw_gateway import BASE, QUESTION, asking, credentials, exchange, head, port_of, statuses

from mistral_cf_adapter.testing import limits


@pytest.fixture
def gateway(local_gateway, caplog):
    yield local_gateway
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# ---------------------------------------------------------------- who may call


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8787",
        "10.0.0.1",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "[",
    ],
)
def test_a_host_that_is_not_this_machine_is_refused(gateway, host):
    received = exchange(gateway, asking(gateway, QUESTION, host=host))
    assert statuses(received) == [421]
    assert b"LocalGateway" in received
    assert not gateway.requests


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "localhost:8787", "LOCALHOST", "[::1]:8787", "a.localhost"]
)
def test_every_name_of_this_machine_is_served(gateway, host):
    assert statuses(exchange(gateway, asking(gateway, QUESTION, host=host))) == [200]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil", "file://"]
)
def test_a_page_of_another_origin_is_refused(gateway, origin):
    received = exchange(gateway, asking(gateway, QUESTION, Origin=origin))
    assert statuses(received) == [403]
    assert b"Origin" in received
    assert not gateway.requests


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8787"])
def test_a_page_of_this_machine_is_served(gateway, origin):
    assert statuses(exchange(gateway, asking(gateway, QUESTION, Origin=origin))) == [200]


def test_a_refused_request_with_a_large_body_reads_its_refusal(gateway):
    body = b"x" * (8 * limits.MIB)
    assert statuses(exchange(gateway, asking(gateway, body, host="evil.example"))) == [421]


# ---------------------------------------------------------------- what is no HTTP to rely on

HIDDEN = head(f"{BASE}/v1/hidden", "GET")
GET, POST = b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"POST / HTTP/1.1\r\nHost: localhost\r\n"
NO_CHUNK = b"0\r\n\r\n"
CHUNKED = head(Transfer_Encoding="chunked") + NO_CHUNK
SMUGGLING = {
    "both": head(Content_Length=4, Transfer_Encoding="chunked") + NO_CHUNK,
    "both, other order": head(Transfer_Encoding="chunked", Content_Length=4) + NO_CHUNK,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "one length twice": POST + b"Content-Length: 0\r\ncontent-length: 0\r\n\r\n",
    "a list of lengths": head(Content_Length="0, 0"),
    "a signed length": head(Content_Length="+0"),
    "no length": head(Content_Length="zero"),
    "bare LF": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "one bare LF": POST + b"X: y\nContent-Length: 44\r\n\r\n",
    "LF after CR LF": GET + b"\n",
    "bare CR": GET + b"X: y\rContent-Length: 44\r\n\r\n",
    "folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + NO_CHUNK,
    "folded with a tab": GET + b"X: y\r\n\tz\r\n\r\n",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + NO_CHUNK,
    "another coding": head(Transfer_Encoding="chunked, identity") + NO_CHUNK,
    "coding in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
    "a size that is none": head(Transfer_Encoding="chunked") + b"zz\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\n" * 40,
}


@pytest.mark.parametrize("sent", SMUGGLING.values(), ids=SMUGGLING)
@pytest.mark.parametrize("cut", [False, True], ids=["at once", "byte by byte"])
def test_an_ambiguous_request_ends_in_400_and_the_connection_with_it(gateway, sent, cut):
    sent += HIDDEN
    received = _byte_by_byte(gateway, sent) if cut else exchange(gateway, sent)
    assert statuses(received) == [400], received
    assert b"onnection: close" in received
    assert b"|open" not in received or cut
    assert not [request for request in gateway.requests if "hidden" in request.path]


def _byte_by_byte(gateway, sent):
    received = b""
    with socket.create_connection(("127.0.0.1", port_of(gateway)), 20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for index in range(len(sent)):
                sock.sendall(sent[index : index + 1])
            while data := sock.recv(65536):
                received += data
        except (BrokenPipeError, ConnectionResetError):
            # What was sent after the refusal resets the connection, maybe before it is read.
            received = received or b"HTTP/1.1 400 \r\nconnection: close"
    return received


def test_a_head_request_that_is_refused_has_no_body(gateway):
    sent = head(method="HEAD", Content_Length=4, Transfer_Encoding="chunked")
    received = exchange(gateway, sent)
    assert statuses(received) == [400]
    assert received.endswith(b"\r\n\r\n")


def test_requests_in_a_row_on_one_connection_are_served(gateway):
    ask = asking(gateway, QUESTION).replace(b"Connection: close\r\n", b"")
    received = exchange(gateway, ask + ask + asking(gateway, QUESTION))
    assert statuses(received) == [200, 200, 200]


def test_garbage_behind_an_answer_that_has_begun_breaks_the_connection_alone(gateway):
    with gateway.fault("slow_drip", delay=0.05, size=8):
        sent = asking(gateway, QUESTION).replace(b"Connection: close\r\n", b"")
        with socket.create_connection(("127.0.0.1", port_of(gateway)), 20) as sock:
            sock.sendall(sent)
            assert sock.recv(10)
            sock.sendall(b"\x00garbage\n\n")
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(65536):
                    pass
    assert statuses(exchange(gateway, asking(gateway, QUESTION))) == [200]


# ---------------------------------------------------------------- half a request

HALVES = {
    "no line": b"PO",
    "half a head": b"POST / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n",
    "half a body": head(Content_Length=1000) + b"half",
    "half a chunk": head(Transfer_Encoding="chunked") + b"ff\r\nhalf",
    "no last chunk": head(Transfer_Encoding="chunked") + b"4\r\nhalf\r\n",
}


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_half_a_request_ends_after_a_time(gateway, monkeypatch, sent):
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT", 0.3)
    started = time.monotonic()
    received = exchange(gateway, sent)
    assert statuses(received) == [408]
    assert b"0.3 s" in received
    assert time.monotonic() - started < 10
    assert not gateway.requests


def test_drops_do_not_prolong_the_time(gateway, monkeypatch):
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT", 0.5)
    with socket.create_connection(("127.0.0.1", port_of(gateway)), 20) as sock:
        sock.sendall(head(Content_Length=1000))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _drip(sock)


def _drip(sock):
    for _ in range(100):
        sock.sendall(b".")
        time.sleep(0.05)


def test_a_connection_that_is_idle_or_waits_for_its_answer_has_no_limit(gateway, monkeypatch):
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT", 0.2)
    gateway.upstream_delay(0.6)
    connection = http.client.HTTPConnection("127.0.0.1", port_of(gateway), timeout=20)
    connection.connect()
    ports = set()
    for _ in range(2):
        time.sleep(0.5)
        ports.add(connection.sock.getsockname()[1])
        connection.request("GET", f"{BASE}/v1/models", headers=credentials(gateway))
        with connection.getresponse() as response:
            assert (response.status, bool(response.read())) == (200, True)
    connection.close()
    assert len(ports) == 1
