"""Compressed bodies whose data stops before its end, in responses of the right length."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import zlib

import pytest
from call_modes import SYNC
from client_ways import client_for, settings_for, with_make_client, with_own_http, with_patch
from fault_scripts import JSON, LOG_ID, SSE, completion, http
from fault_server import FaultServer

from mistral_cf_adapter import GatewayStreamError, capture, make_client
from mistral_cf_adapter._sdk import SDKError, httpx

FILE = b"".join(b"%d is the square of %d\n" % (number**2, number) for number in range(3000))
BINARY = "Content-Type: application/octet-stream"
TEXT = "a long answer " * 500


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


def serving(body, *headers, status=200, coding="gzip"):
    """Serve one response to all requests, with the right length."""
    response = http(status, body, f"Content-Encoding: {coding}", *headers)
    return FaultServer(lambda wire, _: wire.send(response))


@pytest.fixture(params=[with_make_client, with_patch, with_own_http])
def built(request):
    return lambda server: request.param(settings_for(server))


def read(client):
    return client.files.download(file_id="f").read()


def iterate(client):
    return b"".join(client.files.download(file_id="f").iter_bytes(1000))


def aread(client):
    async def call():
        return await (await client.files.download_async(file_id="f")).aread()

    return asyncio.run(call())


def aiterate(client):
    async def call():
        response = await client.files.download_async(file_id="f")
        return b"".join([chunk async for chunk in response.aiter_bytes()])

    return asyncio.run(call())


DOWNLOADS = pytest.mark.parametrize("download", [read, iterate, aread, aiterate])


@DOWNLOADS
@EACH
def test_half_of_a_file_is_an_error_and_the_whole_is_the_file(built, download, name):
    coding, half = cut(name, FILE)
    with (
        serving(half, BINARY, coding=coding) as server,
        built(server) as client,
        pytest.raises(GatewayStreamError) as caught,
    ):
        download(client)
    assert isinstance(caught.value, SDKError)
    assert caught.value.log_id == LOG_ID
    assert caught.value.retryable
    assert f"the {coding} data of the response stops before its end" in str(caught.value)
    coding, body = whole(name, FILE)
    with serving(body, BINARY, coding=coding) as server, built(server) as client:
        assert download(client) == FILE


def test_what_arrived_is_handed_on_before_the_error():
    _, half = cut("gzip", FILE)
    with serving(half, BINARY) as server:
        response = client_for(server).files.download(file_id="f")
        chunks = response.iter_bytes(100)
        received = b"".join(next(chunks) for _ in range(10))
        with pytest.raises(GatewayStreamError):
            list(chunks)
    assert received == FILE[:1000]
    assert response.is_closed


@EACH
def test_half_of_an_answer_is_an_error_and_the_whole_is_the_answer(built, mode, name):
    """Streams too: the gateway answers in one piece where guardrails are on."""
    coding, half = cut(name, completion(TEXT))
    with (
        serving(half, JSON, coding=coding) as server,
        built(server) as client,
        capture() as calls,
        pytest.raises(GatewayStreamError) as caught,
    ):
        mode.chat(client)
    assert caught.value.log_id == LOG_ID
    assert [(call.status_code, call.log_id) for call in calls] == [(200, LOG_ID)]
    coding, body = whole(name, completion(TEXT))
    with serving(body, JSON, coding=coding) as server, built(server) as client:
        assert mode.chat(client) == TEXT


def test_an_answer_without_the_checksum_of_its_coding_is_an_error():
    body = gzip.compress(completion())[:-8]
    with serving(body, JSON) as server, pytest.raises(GatewayStreamError):
        SYNC.chat(client_for(server))


def test_half_of_an_event_stream_of_a_conversation_is_an_error(built, plain_mode):
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
        if plain_mode.is_async:
            return asyncio.run(call(client))
        with client.beta.conversations.start_stream(inputs="x", model="m") as events:
            seen.extend(events)
        return None

    with (
        serving(half, SSE) as server,
        built(server) as client,
        pytest.raises(GatewayStreamError) as caught,
    ):
        read_all(client)
    assert caught.value.log_id == LOG_ID
    whole_stream = half + compressor.compress(last) + compressor.flush()
    with serving(whole_stream, SSE) as server, built(server) as client:
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
    with serving(body, BINARY, coding=coding) as server, built(server) as client:
        assert download(client) == expected


@pytest.mark.parametrize("download", [read, aread])
def test_a_part_that_was_asked_for_is_no_error(download):
    _, half = cut("gzip", FILE)
    with serving(half, BINARY, "Content-Range: bytes 0-9/20", status=206) as server:
        client = client_for(server)
        try:
            assert FILE.startswith(download(client))
        except SDKError as error:
            assert not isinstance(error, GatewayStreamError)  # noqa: PT017 - of the SDK's own


def test_the_bytes_of_the_wire_are_no_error():
    _, half = cut("gzip", FILE)
    with serving(half, BINARY) as server:
        response = client_for(server).files.download(file_id="f")
        assert b"".join(response.iter_raw()) == half


@pytest.mark.parametrize("name", CODINGS)
def test_who_leaves_early_sees_no_error(name):
    coding, half = cut(name, FILE)

    async def leave(client):
        response = await client.files.download_async(file_id="f")
        async for _ in response.aiter_bytes(10):
            break
        await response.aclose()

    with serving(half, BINARY, coding=coding) as server:
        client = client_for(server)
        response = client.files.download(file_id="f")
        next(response.iter_bytes(10))
        response.close()
        client.files.download(file_id="f").close()
        asyncio.run(leave(client))


def test_an_error_with_half_of_its_text_keeps_its_status():
    half = gzip.compress(json.dumps({"message": "busy " * 200}).encode())[:-20]
    with serving(half, JSON, status=429) as server, pytest.raises(SDKError) as caught:
        SYNC.chat(client_for(server))
    assert caught.value.status_code == 429
    assert not isinstance(caught.value, GatewayStreamError)


# ---------------------------------------------------------------- other HTTP clients


@pytest.mark.parametrize("body", ["content", "stream"])
@pytest.mark.parametrize("call", [read, SYNC.chat])
def test_half_of_a_body_of_a_mock_transport_is_an_error(make_settings, call, body):
    half = cut("gzip", completion(TEXT))[1]

    def answer(_):
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        if call is read:
            headers["content-type"] = "application/octet-stream"
        if body == "content":
            return httpx.Response(200, headers=headers, content=half)
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(half))

    with httpx.Client(transport=httpx.MockTransport(answer)) as http_client:
        client = make_client(make_settings(), client=http_client)
        with pytest.raises(GatewayStreamError):
            call(client)


def test_a_connection_after_half_of_a_body_serves_the_next_call(caplog):
    responses = [
        http(200, cut("gzip", completion(TEXT))[1], JSON, "Content-Encoding: gzip"),
        http(200, completion("fine"), JSON),
    ]
    with FaultServer(lambda wire, _: wire.send(responses.pop(0))) as server:
        client = client_for(server)
        with pytest.raises(GatewayStreamError):
            SYNC.chat(client)
        with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
            assert SYNC.chat(client) == "fine"
        assert server.connections == 1
