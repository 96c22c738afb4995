"""A server that says more than it was asked for: no other call gets to see the rest of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging

import pytest
from call_modes import ASYNC, ASYNC_STREAM, SYNC
from client_ways import client_for, settings_for
from fault_scripts import (
    ANSWER,
    CHUNKED,
    DONE,
    EVENTS,
    JSON,
    LAST,
    SSE,
    WHOLE,
    chunked,
    completion,
    either,
    envelope,
    event,
    good,
    head,
    http,
    tls,
)
from fault_scripts import _context as server_context
from fault_server import PREFIX, FaultServer
from http_records import KEY
from proxies import TunnelProxy

from mistral_cf_adapter import _pool, patch
from mistral_cf_adapter._sdk import Mistral, httpx

THEIRS = "what somebody else is told"
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def theirs(request):
    """Return a whole response that nobody asked for, of the kind that is waited for next."""
    if request.streamed:
        return http(200, event(THEIRS, "stop") + DONE, SSE)
    return http(200, completion(THEIRS), JSON)


def plus(plain, stream=None):
    """Send a response and another one, in one packet."""

    def play(wire, request):
        wire.send((stream if stream and request.streamed else plain) + theirs(request))

    return play


def split(*parts):
    """Send a response in packets, the last one of which goes on with another response."""

    def play(wire, request):
        wire.send(*parts[:-1], parts[-1] + theirs(request))

    return play


def rest(plain, stream, surplus):
    return lambda wire, request: wire.send((stream if request.streamed else plain) + surplus)


FINE, EVENT_STREAM = http(200, completion(), JSON), http(200, WHOLE, SSE)
IN_CHUNKS = head(200, JSON, CHUNKED) + b"".join(chunked(completion())) + LAST
STREAM_IN_CHUNKS = head(200, SSE, CHUNKED) + b"".join(chunked(*EVENTS, DONE)) + LAST
FIRST = {
    "Content-Length": plus(FINE, EVENT_STREAM),
    "chunks": plus(IN_CHUNKS, STREAM_IN_CHUNKS),
    "a packet for the last chunk": either(
        split(head(200, JSON, CHUNKED), *chunked(completion()), LAST),
        split(head(200, SSE, CHUNKED), *chunked(*EVENTS, DONE), LAST),
    ),
    "the last chunk in two packets": either(
        split(head(200, JSON, CHUNKED), *chunked(completion()), LAST[:3], LAST[3:]),
        split(head(200, SSE, CHUNKED), *chunked(*EVENTS, DONE), LAST[:3], LAST[3:]),
    ),
    "Mistral's error": plus(http(422, b'{"detail":[]}', JSON)),
    "Mistral's 500": plus(http(500, b'{"message":"Nope"}', JSON)),
    "the gateway's error": plus(http(401, envelope(2009), JSON)),
    "an error in chunks": plus(head(400, JSON, CHUNKED) + b"".join(chunked(envelope(2005))) + LAST),
    "an error of the edge": plus(http(503, b"<html>busy</html>", "Content-Type: text/html")),
    "204": plus(head(204)),
    "204 with a body": rest(head(204), head(204), completion(THEIRS)),
    "304": plus(head(304)),
    "JSON for a stream": plus(FINE),
    "not JSON": plus(http(200, b"{oops", JSON)),
    "a redirect to nowhere": plus(http(307, b"", "Location: ftp://x")),
    "a status line": rest(FINE, EVENT_STREAM, b"HTTP/1.1 200 OK\r\n"),
    "one byte": rest(FINE, EVENT_STREAM, b"x"),
    "an empty line": rest(FINE, EVENT_STREAM, b"\r\n"),
    "three responses": rest(FINE, EVENT_STREAM, http(200, completion(THEIRS), JSON) * 3),
    "more than one read": rest(FINE, EVENT_STREAM, http(200, b" " * 300_000, JSON)),
}


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    yield
    _pool.close()
    gc.collect()


@contextlib.contextmanager
def plain(play):
    with FaultServer(play) as server:
        yield server


@contextlib.contextmanager
def over_tls(play):
    with tls("127.0.0.1", play=play) as stage, pytest.MonkeyPatch.context() as patched:
        for name, value in stage.environment.items():
            patched.setenv(name, value)
        yield stage.servers[0]


def first_then(play):
    """Play something for the first request, and answer all others well."""
    asked = []

    def play_one(wire, request):
        asked.append(request)
        (play if len(asked) == 1 else good)(wire, request)

    return play_one


async def attempt(mode, client):
    """Make a call in this loop, with a connection of this loop; it may fail."""
    with contextlib.suppress(Exception):
        await mode.chat_in_loop(client)


async def assert_answered(mode, server, client):
    """Make calls, and find each answered by what it asked for."""
    for _ in range(3):
        assert await mode.chat_in_loop(client) == ANSWER
    assert len(server.requests) == 4


@pytest.mark.parametrize("serving", [plain, over_tls])
@pytest.mark.parametrize("first", FIRST)
async def test_the_call_of_another_client_gets_its_own_response(first, serving, mode):
    with serving(first_then(FIRST[first])) as server:
        await attempt(mode, client_for(server))
        other = client_for(server, token="cf-token-of-another", mistral_api_key="another-key")
        await assert_answered(mode, server, other)
        assert server.connections == 2


@pytest.mark.parametrize("first", ["Content-Length", "chunks"])
async def test_so_does_that_of_a_client_of_patch(first, mode):
    with plain(first_then(FIRST[first])) as server:
        with patch(settings=settings_for(server)):
            await attempt(mode, Mistral(api_key=KEY))
        with patch(settings=settings_for(server, token="cf-token-of-another")):
            await assert_answered(mode, server, Mistral(api_key="another-key"))
        assert server.connections == 2


async def test_so_does_a_call_that_waited_for_the_connection(mode):
    """The pool has one connection, which goes from the first call straight to the second."""
    with plain(first_then(FIRST["Content-Length"])) as server:
        clients = [client_for(server, max_connections=1) for _ in range(4)]
        calls = [mode.chat_in_loop(client) for client in clients]
        assert await asyncio.gather(*calls) == [ANSWER] * 4
        assert server.connections == 2


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", [200, 304])
def test_so_does_a_call_after_a_response_that_may_have_no_body(method, status):
    """What follows a response to HEAD is no body, whatever its length says."""
    announced = f"Content-Length: {len(theirs_plain())}"
    follows = head(status, announced) + theirs_plain()
    with plain(first_then(lambda wire, _: wire.send(follows + theirs_plain()))) as server:
        client = client_for(server)
        configuration = client.sdk_configuration
        request = configuration.client.build_request(method, f"{server.base_url}/mistral/v1/x")
        configuration.client.send(request, follow_redirects=False)
        assert SYNC.chat(client) == ANSWER
        assert server.connections == 2


def theirs_plain():
    return http(200, completion(THEIRS), JSON)


# ---------------------------------------------------------------- what comes later


class Late(FaultServer):
    """Answers well, and keeps the connections on which it did."""

    def __init__(self):
        super().__init__(self._note)
        self.wires = []

    def _note(self, wire, request):
        self.wires.append((wire, request))
        good(wire, request)

    def say_more(self):
        """Send another response on each connection; on loopback it has arrived on return."""
        for wire, request in self.wires:
            with contextlib.suppress(OSError):
                wire.sock.sendall(theirs(request))


async def test_what_comes_while_a_connection_is_idle_is_seen_by_no_call(mode):
    with Late() as server:
        client = client_for(server)
        assert await mode.chat_in_loop(client) == ANSWER
        server.say_more()
        assert await mode.chat_in_loop(client) == ANSWER
        assert server.connections == 2


async def test_nor_what_comes_after_the_connection_was_chosen(mode, monkeypatch):
    """The last moment at which anything can be told is the one before the request is sent."""
    original = _pool.has_leftovers

    def look(client):
        found = original(client)
        server.say_more()
        return found

    with Late() as server:
        client = client_for(server)
        assert await mode.chat_in_loop(client) == ANSWER
        monkeypatch.setattr(_pool, "has_leftovers", look)
        assert await mode.chat_in_loop(client) == ANSWER
        assert server.connections == 2


async def test_all_idle_connections_of_a_burst_may_be_spoilt(mode):
    with Late() as server:
        client = client_for(server)
        await asyncio.gather(*(mode.chat_in_loop(client) for _ in range(5)))
        before = server.connections
        server.say_more()
        assert await mode.chat_in_loop(client) == ANSWER
        assert server.connections == before + 1


# ---------------------------------------------------------------- through a proxy


@contextlib.contextmanager
def proxied(play, *, tls_to_proxy):
    """Serve `https://gateway.invalid` behind a proxy of the environment."""
    with (
        tls("gateway.invalid", play=play) as stage,
        TunnelProxy(
            stage.servers[0].address, server_context("127.0.0.1") if tls_to_proxy else None
        ) as proxy,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv("HTTPS_PROXY", proxy.origin)
        for name, value in stage.environment.items():
            patched.setenv(name, value)
        yield stage.servers[0], proxy


@pytest.mark.parametrize("tls_to_proxy", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("first", ["clean", "Content-Length", "chunks"])
async def test_it_is_the_same_in_a_tunnel(first, tls_to_proxy, mode):
    play = good if first == "clean" else first_then(FIRST[first])
    with proxied(play, tls_to_proxy=tls_to_proxy) as (server, proxy):
        for _ in range(3):
            client = client_for(server, base_url=f"https://gateway.invalid{PREFIX}")
            assert await mode.chat_in_loop(client) == ANSWER
        assert server.connections == len(proxy.requests) == (1 if first == "clean" else 2)


@pytest.mark.parametrize("first", ["clean", "Content-Length", "chunks"])
async def test_and_through_a_proxy_that_forwards(first, plain_mode, monkeypatch):
    """As it does for http, which a call may ask for."""
    play = good if first == "clean" else first_then(FIRST[first])
    with plain(play) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        for _ in range(3):
            calling = plain_mode.chat_in_loop(
                client_for(proxy), server_url="http://elsewhere.invalid"
            )
            assert await calling == ANSWER
        assert proxy.connections == (1 if first == "clean" else 2)


# ---------------------------------------------------------------- connections that are clean


@pytest.mark.parametrize("serving", [plain, over_tls])
async def test_a_connection_with_nothing_left_over_is_used_again(serving, mode):
    with serving(good) as server:
        for _ in range(5):
            assert await mode.chat_in_loop(client_for(server)) == ANSWER
        assert server.connections == 1


def test_closing_says_how_it_came_to_that(caplog):
    caplog.set_level(logging.DEBUG, logger="mistral_cf_adapter")
    with plain(first_then(FIRST["Content-Length"])) as server:
        client = client_for(server)
        for _ in range(2):
            assert SYNC.chat(client) == ANSWER
    assert "more bytes than its response" in caplog.text
    assert THEIRS not in caplog.text


@pytest.mark.parametrize("mode", [ASYNC, ASYNC_STREAM], ids=lambda mode: mode.name)
async def test_an_event_loop_that_is_not_asyncios_keeps_no_connection(mode, monkeypatch):
    monkeypatch.setattr(_pool, "_pools_of_loop", lambda: _pool._process_pools.no_loop)
    with plain(first_then(FIRST["Content-Length"])) as server:
        await attempt(mode, client_for(server))
        await assert_answered(mode, server, client_for(server, token="cf-token-of-another"))
        assert server.connections == 4


# ---------------------------------------------------------------- a library that is not known


class Wrapped:
    """A transport as tracing tools wrap it; of the transport within, it shows one attribute."""

    def __init__(self, inner, name):
        setattr(self, name, inner)
        self.handle_request = getattr(inner, "handle_request", None)
        self.handle_async_request = getattr(inner, "handle_async_request", None)
        self.close = getattr(inner, "close", None)
        self.aclose = getattr(inner, "aclose", None)


@pytest.fixture
def wrap(monkeypatch):
    """Have every HTTP client wrap its transport, and keep it under a name."""

    def wrap_all(name):
        for kind in (httpx.Client, httpx.AsyncClient):
            original = kind._init_transport
            monkeypatch.setattr(
                kind,
                "_init_transport",
                lambda *a, original=original, **k: Wrapped(original(*a, **k), name),
            )

    return wrap_all


async def test_a_transport_that_a_tracing_tool_has_wrapped_is_looked_into(wrap, mode):
    wrap("_transport")
    with plain(good) as server:
        for _ in range(3):
            assert await mode.chat_in_loop(client_for(server)) == ANSWER
        assert server.connections == 1


async def test_where_nothing_can_be_told_no_connection_is_used_twice(
    wrap, mode, caplog, monkeypatch
):
    monkeypatch.setattr(_pool, "_warned", set())
    wrap("_of_another_release")
    with plain(first_then(FIRST["Content-Length"])) as server:
        await attempt(mode, client_for(server))
        await assert_answered(mode, server, client_for(server))
        assert server.connections == 4
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "connections are not reused" in warning.message


@pytest.mark.parametrize("mode", [SYNC, ASYNC], ids=lambda mode: mode.name)
async def test_a_socket_of_which_the_system_tells_nothing_is_not_used(mode, monkeypatch):
    """As with select() and a descriptor over 1023, where there is no poll()."""

    def refuse(*_):
        msg = "filedescriptor out of range in select()"
        raise ValueError(msg)

    with plain(good) as server:
        client = client_for(server)
        assert await mode.chat_in_loop(client) == ANSWER
        monkeypatch.setattr(_pool, "is_readable", refuse)
        assert await mode.chat_in_loop(client) == ANSWER
        assert server.connections == 2
