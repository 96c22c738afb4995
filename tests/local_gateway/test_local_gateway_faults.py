"""Faults on demand put on the socket what their names say."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from mistral_cf_adapter.testing import LocalGateway
from mistral_cf_adapter.testing.edge_pages import EDGE_FORMS, PAGES

HELLO = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}
STREAM = {**HELLO, "stream": True}
HEADERS = {
    "cf-aig-authorization": "Bearer cf-test-token",
    "authorization": "Bearer mistral-test-key",
}


@pytest.fixture
def gateway():
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def http():
    with httpx.Client(trust_env=False, headers=HEADERS) as client:
        yield client


def chat(http, gateway, json=HELLO, **options):
    return http.post(gateway.url + "/mistral/v1/chat/completions", json=json, **options)


def raw_answer(gateway):
    """Send one request by hand and return every byte that comes back."""
    port = int(gateway.origin.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


def test_refuse_closes_the_listener_until_it_is_ended(gateway, http):
    assert chat(http, gateway).status_code == 200
    with gateway.fault("refuse"):
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                chat(http, gateway)
    assert chat(http, gateway).status_code == 200
    gateway.fault("refuse")
    gateway.reset()
    assert chat(http, gateway).status_code == 200


def test_a_gateway_that_refuses_can_still_be_stopped():
    with LocalGateway() as gateway:
        gateway.fault("refuse")
    with pytest.raises(ConnectionRefusedError):
        raw_answer(gateway)


def test_reset_is_a_tcp_reset(gateway):
    gateway.fault("reset")
    with pytest.raises(ConnectionResetError):
        raw_answer(gateway)


@pytest.mark.parametrize("times", [1, 2])
def test_a_fault_lasts_for_its_number_of_requests(gateway, http, times):
    fault = gateway.fault("reset", times=times)
    for _ in range(times):
        with pytest.raises(httpx.HTTPError):
            chat(http, gateway)
    assert chat(http, gateway).status_code == 200
    assert fault.fired == times
    assert len(gateway.requests) == times + 1


def test_an_endless_fault_ends_with_its_block(gateway, http):
    with gateway.fault("status", times=None, status=529) as fault:
        assert [chat(http, gateway).status_code for _ in range(3)] == [529] * 3
    assert fault.fired == 3
    assert chat(http, gateway).status_code == 200


def test_a_fault_can_wait_for_a_path(gateway, http):
    gateway.fault("status", path="v1/embeddings", status=500)
    assert chat(http, gateway).status_code == 200
    url = gateway.url + "/mistral/v1/embeddings"
    assert http.post(url, json={"model": "m", "input": "x"}).status_code == 500


def test_stall_sends_nothing(gateway, http):
    gateway.fault("stall")
    with pytest.raises(httpx.ReadTimeout):
        chat(http, gateway, timeout=0.05)
    assert chat(http, gateway).status_code == 200


@pytest.mark.parametrize("keep", [None, 0, 7])
def test_a_cut_body_is_shorter_than_it_promised(gateway, http, keep):
    gateway.fault("cut_body", **({} if keep is None else {"keep": keep}))
    url = gateway.url + "/mistral/v1/chat/completions"
    received = []
    with http.stream("POST", url, json=HELLO) as answer:
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) > 100
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(answer.iter_raw())
    assert keep is None or len(b"".join(received)) == keep


def test_a_cut_stream_ends_without_its_end_mark(gateway, http):
    gateway.fault("cut_stream", keep=2)
    url = gateway.url + "/mistral/v1/chat/completions"
    received = []
    with (
        pytest.raises(httpx.RemoteProtocolError),
        http.stream("POST", url, json=STREAM) as answer,
    ):
        received.extend(answer.iter_raw())
    assert b"".join(received).count(b"data:") == 2


def test_an_ended_stream_lacks_its_end_mark_and_nothing_else(gateway, http):
    gateway.fault("end_stream", keep=2)
    answer = chat(http, gateway, STREAM)
    assert answer.text.count("data:") == 2
    assert "[DONE]" not in answer.text


def test_garbage_is_no_http(gateway, http):
    gateway.fault("garbage", data=b"\xff\xfe\r\n\r\n")
    assert raw_answer(gateway) == b"\xff\xfe\r\n\r\n"
    gateway.fault("garbage")
    with pytest.raises(httpx.RemoteProtocolError):
        chat(http, gateway)


def test_status_comes_with_any_body(gateway, http):
    gateway.fault(
        "status", status=502, body=b"<html>", content_type="text/html", headers={"retry-after": "1"}
    )
    answer = chat(http, gateway)
    assert (answer.status_code, answer.content) == (502, b"<html>")
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("body", [HELLO, STREAM])
def test_a_slow_drip_is_whole_in_the_end(gateway, http, body):
    whole = chat(http, gateway, body).content
    gateway.fault("slow_drip", delay=0, size=5)
    assert chat(http, gateway, body).content == whole


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_points_where_it_is_told(gateway, http, status):
    gateway.fault("redirect", to="http://127.0.0.1:1/else", status=status)
    answer = chat(http, gateway)
    assert answer.status_code == status
    assert answer.headers["location"] == "http://127.0.0.1:1/else"


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("explode", {}, "explode"),
        ("reset", {"times": 0}, "at least 1"),
        ("reset", {"keep": 1}, "does not take keep"),
        ("redirect", {}, "needs to=URL"),
        ("edge", {"page": 1234}, "unknown page 1234"),
        ("edge", {"form": "xml"}, "unknown form 'xml'"),
        ("edge", {"status": 403}, "does not take status"),
        ("access", {"form": "html"}, "unknown form 'html'"),
    ],
)
def test_a_fault_that_cannot_be_meant_is_an_error(gateway, kind, options, told):
    with pytest.raises((TypeError, ValueError), match=told):
        gateway.fault(kind, **options)


@pytest.mark.parametrize("form", EDGE_FORMS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_the_edge_has_no_header_of_the_gateways(gateway, http, page, form):
    gateway.fault("edge", page=page, form=form)
    response = chat(http, gateway)
    assert not [name for name in response.headers if name.startswith("cf-aig-")]
    assert (response.headers["server"], "cf-ray" in response.headers) == ("cloudflare", True)
    assert response.status_code >= 400
    if isinstance(page, int):
        assert str(page) in response.text
    if form == "json" and page not in ("challenge", "firewall", 413):
        assert response.json()["cloudflare_error"] is True
        assert response.json()["error_code"] == page


@pytest.mark.parametrize(("form", "status"), [("login", 302), ("page", 403), ("json", 403)])
def test_access_refuses_before_the_gateway(gateway, http, form, status):
    gateway.fault("access", form=form)
    response = chat(http, gateway)
    assert response.status_code == status
    assert not [name for name in response.headers if name.startswith("cf-aig-")]
    assert "access" in f"{response.headers} {response.text}".lower()
    assert gateway.upstream_requests == []


async def test_a_caller_that_goes_away_leaves_the_gateway_well(gateway, http):
    gateway.fault("stall")
    async with httpx.AsyncClient(trust_env=False, headers=HEADERS) as client:
        url = gateway.url + "/mistral/v1/chat/completions"
        task = asyncio.create_task(client.post(url, json=HELLO))
        while not gateway.requests:  # noqa: ASYNC110  # the gateway runs in another thread
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert chat(http, gateway).status_code == 200


def _ask_until_refused(gateway):
    while True:
        # A connection without a response raises httpx.ReadTimeout after a while.
        with httpx.Client(trust_env=False, headers=HEADERS, timeout=20) as client:
            assert chat(client, gateway).status_code == 200


def test_no_connection_is_left_unanswered_where_the_listener_closes():
    with LocalGateway() as gateway:
        for _ in range(40):
            refusing = threading.Timer(0.01, gateway.fault, ("refuse",))
            refusing.start()
            with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
                _ask_until_refused(gateway)
            refusing.join()
            gateway.reset()


# ---------------------------------------------------------------- start and stop


def test_a_gateway_can_be_started_again_after_its_end(http):
    gateway = LocalGateway()
    for number in range(1, 4):
        with gateway:
            assert chat(http, gateway).status_code == 200
            assert len(gateway.requests) == number
    with pytest.raises(httpx.ConnectError):
        chat(http, gateway)


def test_a_gateway_that_is_started_already_goes_on(http):
    with LocalGateway() as gateway:
        url = gateway.url
        with pytest.raises(RuntimeError, match="is started already, on port"):
            gateway.start()
        assert gateway.url == url
        assert chat(http, gateway).status_code == 200
    with pytest.raises(httpx.ConnectError):
        chat(http, gateway)


def test_a_gateway_whose_port_was_taken_can_be_started_later(http):
    with LocalGateway() as other:
        gateway = LocalGateway(port=int(other.origin.rpartition(":")[2]))
        with pytest.raises(OSError, match="in use"):
            gateway.start()
        gateway.stop()
    with gateway:
        assert chat(http, gateway).status_code == 200


WAITING = """
import contextlib, threading, urllib.request
from mistral_cf_adapter.testing import LocalGateway

def run(what):
    told = []
    heard = threading.Event()
    with LocalGateway() as gateway:
        def listen(call):
            try:
                what(gateway)
            except RuntimeError as error:
                told.append(str(error))
            heard.set()
        gateway.calls.subscribe(listen)
        with contextlib.suppress(OSError):
            urllib.request.urlopen(gateway.origin)
        assert heard.wait(10)
    assert len(told) == 1 and "on its own thread" in told[0], told

run(lambda gateway: gateway.stop())
run(lambda gateway: gateway.fault("refuse"))
"""


def test_the_gateway_cannot_wait_for_its_own_thread():
    run_alone(WAITING)


FORKED = """
import os, signal, socket
from mistral_cf_adapter.testing import LocalGateway

def is_refused(gateway):
    try:
        socket.create_connection(("127.0.0.1", port), 10).close()
    except ConnectionRefusedError:
        return True
    return False

gateway = LocalGateway()
gateway.start()
port = int(gateway.origin.rpartition(":")[2])
caller = socket.create_connection(("127.0.0.1", port), 10)
caller.sendall(b"GET /v1/acc HTTP/1.1\\r\\nhost: localhost\\r\\n\\r\\n")
assert caller.recv(1000000)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    signal.alarm(20)
    os.close(writing)
    caller.close()
    try:
        gateway.fault("refuse")
    except RuntimeError as error:
        gateway.stop()
        os.read(reading, 1)
        os._exit(0 if "was forked" in str(error) else 1)
    os._exit(2)
assert not is_refused(gateway)
with gateway.fault("refuse"):
    assert is_refused(gateway)
    try:
        assert caller.recv(1) == b""
    except ConnectionResetError:
        pass
assert not is_refused(gateway)
gateway.stop()
assert is_refused(gateway)
os.close(writing)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="not every system ends a listener of two")
def test_a_gateway_ends_although_a_forked_process_is_alive():
    run_alone(FORKED)


def run_alone(code):
    """Run a program that may hang, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- what could not be sent

BAD_HEADERS = [
    ({"x": "a\r\nset-cookie: b"}, "'x' has a value with a line break"),
    ({"x\r\ny": "a"}, "is no name of a header"),
    ({"": "a"}, "is no name of a header"),
    ({"x y": "a"}, "is no name of a header"),
    ({"Content-Length": "5"}, "is written by the server: leave it out"),
    ({"transfer-encoding": "chunked"}, "is written by the server: leave it out"),
    ({"x": " a"}, "begins or ends with a space"),
    ({"x": 1}, "must be text"),
]


@pytest.mark.parametrize(("headers", "told"), BAD_HEADERS)
def test_a_header_that_cannot_be_sent_is_refused_before_it_is_scripted(gateway, headers, told):
    for script in (
        lambda: gateway.reply_json({}, headers=headers),
        lambda: gateway.reply_json(lambda _: {}, headers=headers),
        lambda: gateway.fail(2003, headers=headers),
        lambda: gateway.upstream_fail(headers=headers),
        lambda: gateway.fault("status", headers=headers),
        lambda: gateway.fault("redirect", to="http://localhost", headers=headers),
    ):
        with pytest.raises((TypeError, ValueError), match=told):
            script()
    gateway.assert_all_used()


@pytest.mark.parametrize("status", [0, 100, 199, 600, 1000, "200", None, True])
def test_a_status_that_cannot_be_sent_is_refused_before_it_is_scripted(gateway, status):
    for script in (
        lambda: gateway.reply_json({}, status=status),
        lambda: gateway.upstream_fail(status),
        lambda: gateway.fault("status", status=status),
        lambda: gateway.fault("redirect", to="http://localhost", status=status),
    ):
        with pytest.raises(ValueError, match="must be a number from 200 to 599"):
            script()
    gateway.assert_all_used()


@pytest.mark.parametrize(
    ("kind", "details", "told"),
    [
        ("redirect", {"to": "http://localhost\r\nx: y"}, "'location' has a value with a line"),
        ("status", {"content_type": "text/html\n"}, "'content-type' has a value with a line"),
        ("status", {"body": "text"}, "body= must be bytes, not str"),
        ("garbage", {"data": None}, "data= must be bytes, not NoneType"),
        ("slow_drip", {"delay": float("inf")}, "delay=inf must be a number from 0 to 3600"),
        ("slow_drip", {"delay": float("nan")}, "delay=nan"),
        ("slow_drip", {"delay": -1}, "delay=-1"),
        ("slow_drip", {"size": 0}, "size=0"),
        ("cut_stream", {"keep": -1}, "keep=-1"),
    ],
)
def test_a_detail_that_cannot_be_sent_is_refused(gateway, kind, details, told):
    with pytest.raises((TypeError, ValueError), match=told):
        gateway.fault(kind, **details)
    gateway.assert_all_used()


@pytest.mark.parametrize("status", [200, 204, 304, 599])
def test_each_status_that_is_taken_can_be_sent(gateway, http, status):
    gateway.reply_json({"a": 1}, status=status, headers={"x": "é\tb"})
    answer = chat(http, gateway)
    assert answer.status_code == status
    assert answer.headers["x"].encode(answer.headers.encoding) == "é\tb".encode()
    assert answer.content == (b"" if status in {204, 304} else b'{"a":1}')
