"""`patch()` and a program that is not edited: its host, the gateway, its host again.

The program's host is the real name, https://api.mistral.ai, with a certificate for that name;
a proxy in the environment leads to a server of the test's instead.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from pathlib import Path

import pytest
import trustme
from http_records import CHAT, KEY, PREFIX, TEXT, TOKEN, RecordingServer
from proxies import TunnelProxy

from mistral_cf_adapter import patch

HOST = "api.mistral.ai"


async def _joined(pieces):
    return "".join([piece async for piece in pieces])


USES = {
    "sync": lambda program, _: program.answer("Hello"),
    "stream": lambda program, _: "".join(program.answer_in_pieces("Hello")),
    "async": lambda program, run: run(program.answer_async("Hello")),
    "async-stream": lambda program, run: run(_joined(program.answer_in_pieces_async("Hello"))),
}


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def mistral(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    with RecordingServer(context) as server:
        yield server


@pytest.fixture
def proxy(mistral, authority, monkeypatch, tmp_path):
    mistral.reset()
    certificates = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(certificates)
    with TunnelProxy(("127.0.0.1", mistral.port)) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.origin)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
        yield server


@pytest.fixture
def run():
    """One event loop for all that the program does, as connections live in one."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def program(proxy, run, monkeypatch):
    """The program, imported anew; what it has opened is closed, as at its end."""
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    spec = importlib.util.spec_from_file_location(
        "application", Path(__file__).parents[1] / "support" / "application.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    configuration = module.client.sdk_configuration
    yield module
    configuration.client.close()
    run(configuration.async_client.aclose())
    vars(module.client).clear()  # its cycles would keep it for patch() to find in another test


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_program_is_redirected_without_an_edit_and_then_as_it_was(
    program, run, proxy, mistral, gateway, settings, use
):
    assert use(program, run) == TEXT
    with patch(settings=settings):
        assert use(program, run) == TEXT
        assert len(mistral.requests) == 1
    assert use(program, run) == TEXT

    (through,) = gateway.requests
    assert through.path == f"{PREFIX}/mistral{CHAT}"
    assert through.header("authorization") == f"Bearer {KEY}"
    assert through.gateway == {"cf-aig-authorization": f"Bearer {TOKEN}"}

    before, after = mistral.requests
    for direct in (before, after):
        assert direct.path == CHAT
        assert direct.header("host") == HOST
        assert direct.gateway == {}
    assert {request.path for request in proxy.requests} == {f"{HOST}:443"}
    assert after.json == before.json == through.json


def test_other_operations_of_a_program_come_along(program, mistral, gateway, settings):
    with patch(settings=settings):
        assert program.vector("x") == [0.5]
    assert gateway.last.path == f"{PREFIX}/mistral/v1/embeddings"
    assert mistral.requests == []
