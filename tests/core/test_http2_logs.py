"""An HTTP/2 client of the user's own, with all loggers on: none is told the gateway's token."""

from __future__ import annotations

import asyncio
import logging

import hpack
import httpx
import httpx2
import pytest
from http2_server import Http2Server
from secret_searches import shown_in

from mistral_cf_adapter import GatewaySettings, gateway_headers, make_client, patch
from mistral_cf_adapter._sdk import Mistral

TOKEN = "cfut_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
OTHER = "cfut_60303ae22b998861bce3b28f33eec1be758a213c"
KEY = "Zq7xWm3kVb9TnR2yLc5hJd8gFs1pQe6u"
LIBRARIES = pytest.mark.parametrize(
    "library", [httpx, httpx2], ids=lambda library: library.__name__
)
HTTP2 = {"http1": False, "http2": True, "trust_env": False}


@pytest.fixture(scope="module")
def server():
    with Http2Server() as server:
        yield server


@pytest.fixture
def settings(server):
    return GatewaySettings(base_url=server.base_url, token=TOKEN, mistral_api_key=KEY)


def coded(text):
    return bytes(hpack.Encoder().huffman_coder.encode(text.encode()))


def told(records):
    """Return what was logged, but by the server in its threads, which decodes all headers."""
    here = [record for record in records if record.threadName == "MainThread"]
    return "\n".join(record.getMessage() for record in here)


def check(records, server):
    text = told(records)
    assert server.requests[-1]["cf-aig-authorization"] == f"Bearer {TOKEN}"
    assert "cf-aig-authorization" in text, "hpack was heard"
    assert not shown_in(text, TOKEN, KEY, OTHER)
    assert repr(coded(f"Bearer {TOKEN}"))[2:-1] not in text


@LIBRARIES
def test_sync(server, settings, library, caplog):
    caplog.set_level(logging.DEBUG)
    with library.Client(**HTTP2) as http:
        client = make_client(settings, client=http)
        client.models.list(http_headers={"cf-aig-authorization": f"Bearer {OTHER}"})
        for number in range(3):
            client.models.list(http_headers=gateway_headers(cache_key=str(number) * 3000))
    check(caplog.records, server)


@LIBRARIES
def test_async(server, settings, library, caplog):
    caplog.set_level(logging.DEBUG)

    async def call():
        async with library.AsyncClient(**HTTP2) as http:
            client = make_client(settings, async_client=http)
            for _ in range(3):
                await client.models.list_async()

    asyncio.run(call())
    check(caplog.records, server)


@LIBRARIES
def test_patched(server, settings, library, caplog):
    caplog.set_level(logging.DEBUG)
    with library.Client(**HTTP2) as http, patch(settings=settings):
        Mistral(api_key=KEY, client=http).models.list()
    check(caplog.records, server)


@LIBRARIES
@pytest.mark.parametrize(
    "access",
    [
        {"access_token": OTHER},
        {"access_client_id": "x.access", "access_client_secret": OTHER},
        {"headers": {"X-Proxy-Key": OTHER}},
    ],
    ids=["JWT", "service token", "headers"],
)
def test_other_secrets(server, settings, library, caplog, access):
    caplog.set_level(logging.DEBUG)
    with library.Client(**HTTP2) as http:
        make_client(settings.model_copy(update=access), client=http).models.list()
    assert OTHER in server.requests[-1].values()
    check(caplog.records, server)
    assert repr(coded(OTHER))[2:-1] not in told(caplog.records)


def test_all_else_is_logged_as_it_was(settings, caplog):
    make_client(settings, client=httpx.Client())
    caplog.set_level(logging.DEBUG)
    encoder = hpack.Encoder()
    block = encoder.encode([(b"x-mine", b"my value"), (b"y", b"z")])
    hpack.Decoder().decode(block)
    text = told(caplog.records)
    assert "my value" in text
    assert repr(block) in text
    assert "REDACTED" not in text


def test_the_pairs_of_older_releases(settings, caplog):
    make_client(settings, client=httpx.Client())
    caplog.set_level(logging.DEBUG)
    pair = (b"cf-aig-authorization", f"Bearer {TOKEN}".encode())
    logger = logging.getLogger("hpack.hpack")
    logger.debug("Adding %s to the header table, sensitive:%s, huffman:%s", pair, False, True)
    logger.debug("no arguments")
    logger.debug("one %(name)s", {"name": "x"})
    assert not shown_in(told(caplog.records), TOKEN)
    assert "sensitive:False, huffman:True" in told(caplog.records)
