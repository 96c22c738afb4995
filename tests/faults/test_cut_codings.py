"""Compressed bodies whose data stops before its end, in responses of the right length."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import zlib

import pytest
from fault_scripts import JSON, LOG_ID, PATH, SSE, completion, http
from fault_server import FaultServer
from http_records import KEY, TOKEN

from mistral_cf_adapter import GatewaySettings, GatewayStreamError, capture, make_client, patch
from mistral_cf_adapter._sdk import Mistral, SDKError, httpx

FILE = b"".join(b"%d is the square of %d\n" % (number**2, number) for number in range(3000))
BINARY = "Content-Type: application/octet-stream"
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def deflate_raw(data):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def brotli(data):
    return pytest.importorskip("brotli").compress(data)


CODINGS = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", deflate_raw),
    "br": ("br", brotli),
    "two, the inner one": ("deflate, gzip", zlib.compress),
    "two": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
}
EACH = pytest.mark.parametrize("name", CODINGS)


def cut(name, data):
    """Return the name of a coding and half of what it makes of some data."""
    coding, compress = CODINGS[name]
    half = compress(data)
    half = half[: len(half) // 2]
    return coding, gzip.compress(half) if "inner" in name else half


def whole(name, data):
    coding, compress = CODINGS[name]
    body = compress(data)
    return coding, gzip.compress(body) if "inner" in name else body


@contextlib.contextmanager
def serving(body, *headers, status=200, coding="gzip"):
    """Serve one response to all requests, with the right length."""
    response = http(status, body, f"Content-Encoding: {coding}", *headers)
    with FaultServer(lambda wire, _: wire.send(response)) as server:
        yield GatewaySettings(base_url=server.origin + PATH, token=TOKEN, mistral_api_key=KEY)


@contextlib.contextmanager
def _made(settings):
    yield make_client(settings)


@contextlib.contextmanager
def _patched(settings):
    with patch(settings=settings):
        yield Mistral(api_key=KEY)


@contextlib.contextmanager
def _brought(settings):
    for_one_call = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0))
    with httpx.Client() as client:
        yield make_client(settings, client=client, async_client=for_one_call)


@pytest.fixture(params=[_made, _patched, _brought], ids=["made", "patched", "own http client"])
def built(request):
    return request.param


def read(client):
    return client.files.download(file_id="f").read()


def iterate(client):
    return b"".join(client.files.download(file_id="f").iter_bytes(1000))


async def _aread(client):
    return await (await client.files.download_async(file_id="f")).aread()


async def _aiterate(client):
    response = await client.files.download_async(file_id="f")
    return b"".join([chunk async for chunk in response.aiter_bytes()])


def aread(client):
    return asyncio.run(_aread(client))


def aiterate(client):
    return asyncio.run(_aiterate(client))


DOWNLOADS = pytest.mark.parametrize("download", [read, iterate, aread, aiterate])


@DOWNLOADS
@EACH
def test_half_of_a_file_is_an_error(built, download, name):
    coding, half = cut(name, FILE)
    with (
        serving(half, BINARY, coding=coding) as settings,
        built(settings) as client,
        pytest.raises(GatewayStreamError) as caught,
    ):
        download(client)
    assert isinstance(caught.value, SDKError)
    assert caught.value.log_id == LOG_ID
    assert caught.value.retryable
    assert f"the {coding} data of the response stops before its end" in str(caught.value)


@DOWNLOADS
@EACH
def test_a_whole_file_is_the_file(built, download, name):
    coding, body = whole(name, FILE)
    with serving(body, BINARY, coding=coding) as settings, built(settings) as client:
        assert download(client) == FILE


def test_what_arrived_is_handed_on_before_the_error():
    _, half = cut("gzip", FILE)
    with serving(half, BINARY) as settings:
        response = make_client(settings).files.download(file_id="f")
        chunks = response.iter_bytes(100)
        received = b"".join(next(chunks) for _ in range(10))
        with pytest.raises(GatewayStreamError):
            list(chunks)
    assert received == FILE[:1000]
    assert response.is_closed


def complete(client):
    return client.chat.complete(**ASK).choices[0].message.content


def complete_async(client):
    async def call():
        return await client.chat.complete_async(**ASK)

    return asyncio.run(call()).choices[0].message.content


def complete_stream(client):
    """The gateway answers in one piece where guardrails are on."""
    with client.chat.stream(**ASK) as events:
        return "".join(event.data.choices[0].delta.content for event in events)


def complete_stream_async(client):
    async def call():
        async with await client.chat.stream_async(**ASK) as events:
            return "".join([event.data.choices[0].delta.content async for event in events])

    return asyncio.run(call())


CALLS = [complete, complete_async, complete_stream, complete_stream_async]


@pytest.mark.parametrize("call", CALLS)
@EACH
def test_half_of_an_answer_is_an_error(built, call, name):
    coding, half = cut(name, completion("a long answer " * 500))
    with (
        serving(half, JSON, coding=coding) as settings,
        built(settings) as client,
        capture() as calls,
        pytest.raises(GatewayStreamError) as caught,
    ):
        call(client)
    assert caught.value.log_id == LOG_ID
    assert [(call.status_code, call.log_id) for call in calls] == [(200, LOG_ID)]


@pytest.mark.parametrize("call", CALLS)
@EACH
def test_a_whole_answer_is_the_answer(built, call, name):
    coding, body = whole(name, completion("a long answer " * 500))
    with serving(body, JSON, coding=coding) as settings, built(settings) as client:
        assert call(client) == "a long answer " * 500


def test_an_answer_without_the_checksum_of_its_coding_is_an_error():
    body = gzip.compress(completion())[:-8]
    with serving(body, JSON) as settings, pytest.raises(GatewayStreamError):
        complete(make_client(settings))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_half_of_an_event_stream_of_a_conversation_is_an_error(built, asynchronous):
    started = {"type": "conversation.response.started", "conversation_id": "c"}
    failed = {"type": "conversation.response.error", "message": "x", "code": 1}
    first, last = (
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        for event in (started, failed)
    )
    compressor = zlib.compressobj(wbits=31)
    half = compressor.compress(first) + compressor.flush(zlib.Z_SYNC_FLUSH)
    seen = []

    async def call(client):
        events = await client.beta.conversations.start_stream_async(inputs="x", model="m")
        async with events:
            seen.extend([event async for event in events])

    def read_all(client):
        if asynchronous:
            return asyncio.run(call(client))
        with client.beta.conversations.start_stream(inputs="x", model="m") as events:
            seen.extend(events)
        return None

    with (
        serving(half, SSE) as settings,
        built(settings) as client,
        pytest.raises(GatewayStreamError) as caught,
    ):
        read_all(client)
    assert caught.value.log_id == LOG_ID
    whole_stream = half + compressor.compress(last) + compressor.flush()
    with serving(whole_stream, SSE) as settings, built(settings) as client:
        seen.clear()
        read_all(client)
    assert len(seen) == 2


# ---------------------------------------------------------------- what is no error

GOOD = {
    "nothing at all": (b"", "gzip", b""),
    "an empty file": (gzip.compress(b""), "gzip", b""),
    "bytes after the end": (gzip.compress(FILE) + b"\0" * 20, "gzip", FILE),
    "a second member": (gzip.compress(FILE) + gzip.compress(b"x"), "gzip", FILE),
    "no coding": (FILE, "identity", FILE),
    "a coding that the HTTP library does not know": (FILE, "x-own", FILE),
}


@DOWNLOADS
@pytest.mark.parametrize("name", GOOD)
def test_what_the_http_library_reads_whole_is_handed_on(built, download, name):
    body, coding, expected = GOOD[name]
    with serving(body, BINARY, coding=coding) as settings, built(settings) as client:
        assert download(client) == expected


@pytest.mark.parametrize("download", [read, aread])
def test_a_part_that_was_asked_for_is_no_error(download):
    _, half = cut("gzip", FILE)
    with serving(half, BINARY, "Content-Range: bytes 0-9/20", status=206) as settings:
        client = make_client(settings)
        try:
            assert FILE.startswith(download(client))
        except SDKError as error:
            assert not isinstance(error, GatewayStreamError)  # noqa: PT017 - of the SDK's own


def test_the_bytes_of_the_wire_are_no_error():
    _, half = cut("gzip", FILE)
    with serving(half, BINARY) as settings:
        response = make_client(settings).files.download(file_id="f")
        assert b"".join(response.iter_raw()) == half


@pytest.mark.parametrize("name", CODINGS)
def test_who_leaves_early_sees_no_error(name):
    coding, half = cut(name, FILE)

    async def leave(client):
        response = await client.files.download_async(file_id="f")
        async for _ in response.aiter_bytes(10):
            break
        await response.aclose()

    with serving(half, BINARY, coding=coding) as settings:
        client = make_client(settings)
        response = client.files.download(file_id="f")
        next(response.iter_bytes(10))
        response.close()
        client.files.download(file_id="f").close()
        asyncio.run(leave(client))


def test_an_error_with_half_of_its_text_keeps_its_status():
    half = gzip.compress(json.dumps({"message": "busy " * 200}).encode())[:-20]
    with serving(half, JSON, status=429) as settings, pytest.raises(SDKError) as caught:
        complete(make_client(settings))
    assert caught.value.status_code == 429
    assert not isinstance(caught.value, GatewayStreamError)


# ---------------------------------------------------------------- other HTTP clients


@pytest.mark.parametrize("body", ["content", "stream"])
@pytest.mark.parametrize("call", [read, complete])
def test_half_of_a_body_of_a_mock_transport_is_an_error(call, body):
    half = cut("gzip", completion("a long answer " * 500))[1]

    def answer(_):
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        if call is read:
            headers["content-type"] = "application/octet-stream"
        if body == "content":
            return httpx.Response(200, headers=headers, content=half)
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(half))

    settings = GatewaySettings(
        base_url="http://127.0.0.1:9/v1/acc/gw", token=TOKEN, mistral_api_key=KEY
    )
    with httpx.Client(transport=httpx.MockTransport(answer)) as http_client:
        client = make_client(settings, client=http_client)
        with pytest.raises(GatewayStreamError):
            call(client)


def test_a_connection_after_half_of_a_body_serves_the_next_call(caplog):
    responses = [
        http(
            200, cut("gzip", completion("a long answer " * 500))[1], JSON, "Content-Encoding: gzip"
        ),
        http(200, completion("fine"), JSON),
    ]
    with FaultServer(lambda wire, _: wire.send(responses.pop(0))) as server:
        settings = GatewaySettings(base_url=server.origin + PATH, token=TOKEN, mistral_api_key=KEY)
        client = make_client(settings)
        with pytest.raises(GatewayStreamError):
            complete(client)
        with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
            assert complete(client) == "fine"
        assert server.connections == 1
