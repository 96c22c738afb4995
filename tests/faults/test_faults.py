"""Every fault of the table in every mode: the right error, in bounded time, and nothing leaks."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest
from fault_matrix import (
    KEY,
    MODES,
    PACKAGE,
    SHORT_TIMEOUT_MS,
    TIMEOUT_MS,
    TOKEN,
    expected,
    hop_secrets,
    leaks,
    play,
    settings_for,
)
from fault_scripts import (
    CHUNKED,
    EVENTS,
    HTML,
    JSON,
    LOG_ID,
    PAGE,
    PATH,
    SSE,
    WHOLE,
    Stage,
    chunked,
    completion,
    envelope,
    good,
    head,
    says,
    served,
    streams,
)
from fault_server import FaultServer, Wire
from faults import FAULTS, Fault
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mistral_cf_adapter import (
    GatewayConnectionError,
    GatewayError,
    GatewayStreamError,
    _pool,
    make_client,
)
from mistral_cf_adapter._sdk import httpx

BY_NAME = {fault.name: fault for fault in FAULTS}
NO_RESPONSE = {
    *("connection refused", "no such host", "connect timeout", "write timeout", "proxy down"),
    *("TLS wrong name", "TLS wrong authority", "proxy refuses 403", "proxy refuses 407"),
    *("reset before the headers", "closed before the headers", "stalled before the headers"),
    *("reset in the headers", "closed in the headers", "stalled in the headers", "not HTTP"),
    *("gone between two calls", "header without a colon", "header of 2 MB"),
}
"""Nothing, or no whole head of a response, came from the gateway."""
CASES = [
    pytest.param(fault, mode, id=f"{fault.name} - {mode}")
    for fault in FAULTS
    for mode in MODES
    if expected(fault, mode)
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    yield
    _pool.close()


@pytest.mark.parametrize(("fault", "mode"), CASES)
def test_fault_has_its_outcome_and_leaks_nothing(fault, mode, caplog):
    caplog.set_level(logging.DEBUG)
    result = play(fault, mode)
    assert_clean(result, caplog.text)
    assert result.label in expected(fault, mode), result.error
    if fault.name in NO_RESPONSE:
        assert isinstance(result.error, GatewayConnectionError)
    if result.stage.between is None and "redirect" not in fault.name:
        assert all(len(server.requests) <= 1 for server in result.stage.servers), "sent twice"


def assert_clean(result, log=""):
    assert result.outcome != "hangs"
    assert not hop_secrets(result.stage)
    assert TOKEN not in log
    assert KEY not in log
    if result.error is not None:
        assert not leaks(result.error)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["envelope 2005", "envelope 2016"])
def test_gateway_error_names_the_log(name, mode):
    assert play(BY_NAME[name], mode).error.log_id == LOG_ID


@pytest.mark.parametrize("mode", MODES[2:])
@pytest.mark.parametrize("name", ["no [DONE]", "cut in an event", "gateway's error in a stream"])
def test_stream_error_names_the_log_and_leaves_the_caller_what_came_before(name, mode):
    result = play(BY_NAME[name], mode)
    assert isinstance(result.error, GatewayError)
    assert result.error.log_id == LOG_ID
    assert result.text.startswith("Bonjour,")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("status", [307, 308])
def test_redirect_elsewhere_carries_the_whole_body_and_no_secret(status, mode):
    result = play(BY_NAME[f"redirect {status} cross origin"], mode)
    gateway, other = result.stage.servers
    assert [request.body for request in other.requests] == [gateway.requests[0].body]
    assert TOKEN in gateway.requests[0]
    assert not any(b"cf-aig" in request.head.lower() for request in other.requests)
    assert not any(request.header("authorization") for request in other.requests)


@pytest.mark.parametrize("mode", MODES)
def test_redirect_on_the_same_origin_keeps_the_credentials(mode):
    (gateway, _) = play(BY_NAME["redirect 307 same origin"], mode).stage.servers
    assert [request.header("cf-aig-authorization") for request in gateway.requests] == [
        [f"Bearer {TOKEN}"]
    ] * 2


@pytest.mark.parametrize("mode", MODES)
def test_redirect_to_http_sends_nothing_there(mode):
    gateway, plain = play(BY_NAME["redirect https to http"], mode).stage.servers
    assert len(gateway.requests) == 1
    assert plain.connections == 0


FAMILIES = [
    pytest.param("chat", "stream", {"messages": [{"role": "user", "content": "x"}]}, id="chat"),
    pytest.param("fim", "stream", {"prompt": "x"}, id="fim"),
    pytest.param("agents", "stream", {"messages": [{"role": "user", "content": "x"}]}, id="agents"),
]


@pytest.mark.parametrize(("family", "method", "arguments"), FAMILIES)
def test_every_kind_of_stream_says_that_it_broke_off(family, method, arguments):
    target = {"agent_id": "a"} if family == "agents" else {"model": "m"}
    with FaultServer(streams(EVENTS[0])) as server:
        stream = getattr(getattr(client_of(server), family), method)(**target, **arguments)
        with pytest.raises(GatewayError, match="stream"):
            list(stream)


def test_conversation_stream_that_ends_without_its_last_event_raises():
    started = b'event: conversation.response.started\ndata: {"type":"conversation.response.started"'
    event = started + b',"conversation_id":"c","created_at":"2026-01-01T00:00:00Z"}\n\n'
    with FaultServer(streams(event)) as server:
        conversations = client_of(server).beta.conversations
        events = conversations.start_stream(model="m", inputs="x")
        next(events)
        with pytest.raises(GatewayStreamError, match=r"`conversation\.response\.done`"):
            next(events)


def client_of(server, **changes):
    stage = Stage(server.origin)
    changed = settings_for(stage).model_copy(update=changes)
    return make_client(changed, timeout_ms=SHORT_TIMEOUT_MS if changes else TIMEOUT_MS)


ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
OPEN_ENDED = streams(*EVENTS[:1], then=lambda wire: wire.until_gone(), end=b"")


def test_pool_that_is_used_up_times_out_and_recovers():
    def play(wire, request):
        (OPEN_ENDED if request.streamed else good)(wire, request)

    with FaultServer(play) as server:
        client = client_of(server, max_connections=1)
        with client.chat.stream(**ASK) as stream:
            next(stream)
            with pytest.raises(httpx.PoolTimeout):
                client.chat.complete(**ASK)
        assert client.chat.complete(**ASK).choices


def test_leaving_a_stream_early_frees_its_connection_at_once():
    with FaultServer(OPEN_ENDED) as server:
        with client_of(server).chat.stream(**ASK) as stream:
            for _ in stream:
                break
        assert server.stuck() == 0


async def test_leaving_an_async_stream_early_frees_its_connection_at_once():
    with FaultServer(OPEN_ENDED) as server:
        async with await client_of(server).chat.stream_async(**ASK) as stream:
            async for _ in stream:
                break
        assert await asyncio.to_thread(server.stuck) == 0


async def test_cancelling_a_call_frees_its_connection_at_once():
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()

    def play(wire, _):
        loop.call_soon_threadsafe(arrived.set)
        wire.until_gone()

    with FaultServer(play) as server:
        task = asyncio.create_task(client_of(server).chat.complete_async(**ASK))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.stuck) == 0


async def test_cancelling_a_stream_frees_its_connection_at_once():
    async def consume():
        async with await client_of(server).chat.stream_async(**ASK) as stream:
            async for _ in stream:
                begun.set()

    begun = asyncio.Event()
    with FaultServer(OPEN_ENDED) as server:
        task = asyncio.create_task(consume())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.stuck) == 0


# Fuzzing: any bytes for an answer.

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
FAMILY = ("MistralError", "HTTPError")
LINES = st.sampled_from([
    JSON, SSE, HTML, CHUNKED, "Content-Length: 7", "Content-Length: 0", "Content-Encoding: gzip",
    "Content-Encoding: deflate", "Connection: close", "Retry-After: 86400", "cf-aig-step: x",
    "cf-aig-dlp: {", f"cf-aig-log-id: {LOG_ID}", "Set-Cookie: a=b", "x: \xff",
    f"Location: {PATH}/mistral/x", "Location: http://[", "Location: ",
    "Content-Type: application/json; charset=utf-16", "Content-Type: text/event-stream;;;",
])  # fmt: skip
BODIES = st.sampled_from([
    completion(), WHOLE, b"".join(chunked(*EVENTS)), envelope(), envelope(2016), PAGE, b"{}", b"[]",
    b"error code: 1010", b'{"detail":"Unauthorized"}', b'{"detail":[]}', b"data: [DONE]\n\n", b"",
])  # fmt: skip
STATUSES = st.sampled_from([200, 200, 200, 204, 301, 307, 400, 401, 422, 424, 429, 502, 530, 999])


@st.composite
def answers(draw):
    """Return an answer that is right but for a few bytes of its body, or nothing like one."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    body = bytearray(draw(BODIES))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    lines = draw(st.lists(LINES, max_size=4))
    if draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
    return head(draw(STATUSES), *lines, log_id=False) + bytes(body)


@pytest.mark.parametrize("mode", MODES)
def test_any_bytes_give_an_answer_or_an_error_of_a_known_family(mode):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(answers())
    def fuzz(data):
        fault = Fault("fuzz", served(says(data, then=Wire.close)), "any", "any")
        result = play(fault, mode)
        assert_clean(result)
        assert result.held + result.stuck == 0
        if result.error is not None and not is_known(result.error):
            assert result.outcome == play(fault, mode, bare=True).outcome, "not the SDK's own"
            assert not raised_by_us(result.error)

    fuzz()


def is_known(error):
    return bool({kind.__name__ for kind in type(error).__mro__} & set(FAMILY))


def raised_by_us(error):
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename.startswith(PACKAGE)
