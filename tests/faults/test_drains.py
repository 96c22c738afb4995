"""A streamed call leaves its connection to the next call, and waits for nobody who says no more."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme
from call_modes import ASYNC_STREAM, STREAM
from http_records import TEXT, RecordingServer

from mistral_cf_adapter import make_client


@pytest.fixture(params=[STREAM, ASYNC_STREAM], ids=lambda mode: mode.name)
def streaming(request):
    return request.param


@pytest.fixture
def secure_gateway(tmp_path, monkeypatch):
    """The recording server behind TLS, with an authority that the environment names."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with RecordingServer(context) as server:
        yield server


def call_thrice(mode, client):
    """Make three calls, the async ones in one event loop."""
    if not mode.is_async:
        return [mode.chat(client) for _ in range(3)]

    async def calls():
        return [await mode.achat(client) for _ in range(3)]

    return asyncio.run(calls())


def test_streams_one_after_the_other_share_a_connection(gateway, client, streaming):
    assert call_thrice(streaming, client) == [TEXT] * 3
    assert len({request.peer for request in gateway.requests}) == 1


def test_so_do_streams_over_tls(secure_gateway, make_settings, streaming):
    client = make_client(make_settings(base_url=secure_gateway.base_url))
    assert call_thrice(streaming, client) == [TEXT] * 3
    assert len({request.peer for request in secure_gateway.requests}) == 1
