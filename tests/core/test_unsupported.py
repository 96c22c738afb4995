"""What the gateway does not carry: refused by default, or direct on purpose, never half-way."""

from __future__ import annotations

import asyncio
import contextlib
import warnings

import pytest
from http_records import KEY, Reply

from mistral_cf_adapter import GatewayConfigError, _attach, capture, make_client, on_call, patch
from mistral_cf_adapter._sdk import Mistral, version

pytest.importorskip("websockets")
RELEASE = tuple(int(part) for part in version().split(".")[:2])


async def transcription(client, **options):
    await client.audio.realtime.connect(model="voxtral", **options)


async def speech(client, **options):
    await client.audio.realtime_speech.connect(model="voxtral", **options)


async def connector(client):
    async with client.beta.connectors.http_client(connector_id_or_name="github") as http:
        await http.get("repos")


async def mcp(client):
    pytest.importorskip("mcp")
    async with client.beta.connectors.mcp_client(connector_id_or_name="github"):
        pass


REALTIME = [
    pytest.param(
        transcription, marks=pytest.mark.skipif(RELEASE < (1, 12), reason="came with 1.12")
    ),
    pytest.param(speech, marks=pytest.mark.skipif(RELEASE < (3, 6), reason="came with 3.6")),
]
CONNECTORS = [
    pytest.param(way, marks=pytest.mark.skipif(RELEASE < (3, 0), reason="came with 3.0"))
    for way in (connector, mcp)
]
WAYS = [*REALTIME, *CONNECTORS]
PATHS = {
    transcription: "/v1/audio/transcriptions/realtime",
    speech: "/v1/audio/speech/realtime",
    connector: "/v1/connectors-gateway/github/http/repos",
    mcp: "/v1/connectors-gateway/github/mcp",
}


@pytest.fixture
def mistral(elsewhere, monkeypatch):
    """A server in the place of api.mistral.ai, which refuses every handshake."""
    monkeypatch.setattr(_attach, "MISTRAL_URL", elsewhere.origin)
    elsewhere.responder = lambda _: Reply(403, {"detail": "no"})
    return elsewhere


@pytest.fixture
def direct(make_settings):
    return make_client(make_settings(unsupported="direct", metadata={"a": 1}))


def connect(way, client, **options):
    """Connect as far as the server lets us."""
    with contextlib.suppress(Exception, BaseExceptionGroup):
        asyncio.run(way(client, **options))


@pytest.mark.parametrize("way", WAYS)
def test_by_default_nothing_is_sent_and_the_error_says_what_to_do(gateway, mistral, client, way):
    with pytest.raises(GatewayConfigError) as caught:
        asyncio.run(way(client))
    assert "AI Gateway does not carry" in str(caught.value)
    assert 'server_url="' in str(caught.value)
    assert "CF_AIG_UNSUPPORTED=direct" in str(caught.value)
    assert gateway.requests == mistral.requests == []


@pytest.mark.parametrize("way", REALTIME)
def test_a_server_named_on_the_call_is_connected_to(gateway, mistral, client, way):
    connect(way, client, server_url=mistral.origin)
    assert mistral.last.path.startswith(PATHS[way])
    assert mistral.last.gateway == {}
    assert gateway.requests == []


@pytest.mark.parametrize("way", WAYS)
def test_direct_connects_to_mistral_with_one_warning_and_no_gateway_header(
    gateway, mistral, direct, way
):
    with pytest.warns(UserWarning, match="connects to Mistral directly") as told:
        [connect(way, direct) for _ in range(2)]
    assert len(told) == 1
    assert gateway.requests == []
    assert {request.path.partition("?")[0] for request in mistral.requests} == {PATHS[way]}
    assert [request.gateway for request in mistral.requests] == [{}] * len(mistral.requests)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:.*connects to Mistral directly")
def test_direct_connections_carry_the_settings_key(mistral, direct, way):
    connect(way, direct)
    assert mistral.last.header("authorization") == f"Bearer {KEY}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:.*connects to Mistral directly")
def test_direct_connections_carry_the_environments_key(mistral, make_settings, monkeypatch, way):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    connect(way, make_client(make_settings(unsupported="direct")))
    assert mistral.last.header("authorization") == f"Bearer {KEY}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:.*connects to Mistral directly")
def test_direct_connections_carry_what_a_callable_returns(mistral, make_settings, way):
    connect(way, make_client(make_settings(unsupported="direct", mistral_api_key=lambda: KEY)))
    assert mistral.last.header("authorization") == f"Bearer {KEY}"


@pytest.mark.parametrize("way", REALTIME)
@pytest.mark.filterwarnings("ignore:.*connects to Mistral directly")
def test_direct_connections_cannot_await_a_key(mistral, make_settings, way):
    async def ask():
        return KEY

    client = make_client(make_settings(unsupported="direct", mistral_api_key=ask))
    with pytest.raises(GatewayConfigError, match="mistral_api_key is an asynchronous callable"):
        asyncio.run(way(client))
    assert mistral.requests == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:.*connects to Mistral directly")
def test_direct_connections_are_captured(mistral, direct, way):
    over = []
    with capture() as calls, on_call(over.append):
        connect(way, direct)
    assert over == calls
    found = {(call.routed, call.status_code, call.outcome, call.duration) for call in calls}
    assert found == {("elsewhere", None, None, None)}  # what becomes of it is not seen


def test_other_operations_of_a_direct_client_go_through_the_gateway(gateway, mistral, direct, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mode.chat(direct)
    assert gateway.last.gateway["cf-aig-metadata"] == '{"a":1}'
    assert mistral.requests == []


@pytest.mark.parametrize("way", WAYS)
def test_a_patched_client_refuses_too_until_it_is_undone(gateway, mistral, settings, way):
    with Mistral(api_key=KEY) as client:
        with patch(client, settings=settings), pytest.raises(GatewayConfigError):
            asyncio.run(way(client))
        client.sdk_configuration.server_url = mistral.origin
        connect(way, client)
    assert mistral.last.path.startswith(PATHS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("url", ["https://api.mistral.ai", "HTTPS://API.MISTRAL.AI/"])
def test_a_patched_client_connects_to_the_server_it_had(
    mistral, make_settings, monkeypatch, way, url
):
    seen = []
    monkeypatch.setattr(
        _attach, "_mistral_server", lambda configuration, state: seen.append(state.server_url)
    )
    with Mistral(api_key=KEY, server_url=url) as client:
        handle = patch(client, settings=make_settings(unsupported="direct"))
        with handle, pytest.warns(UserWarning, match="directly"):
            connect(way, client)
    assert seen
    assert {one.lower().rstrip("/") for one in seen} == {url.lower().rstrip("/")}
    assert mistral.requests


@pytest.mark.skipif(RELEASE < (2, 7), reason="before 2.7, `eu` was the only server")
@pytest.mark.filterwarnings("ignore:.*connects to Mistral directly")
@pytest.mark.parametrize(
    "given",
    [{"server": "eu"}, {"server_url": "https://api.eu.mistral.ai"}],
)
def test_a_direct_connection_stays_in_the_clients_region(make_settings, given):
    settings = make_settings(
        unsupported="direct", providers={"api.eu.mistral.ai": "custom-mistral-eu"}
    )
    with Mistral(api_key=KEY, **given) as client, patch(client, settings=settings):
        state = vars(client.sdk_configuration)[_attach._STATE]
        server = _attach._url_for_unrouted(
            "mistralai.extra.realtime", client.sdk_configuration, state
        )
    assert server == "https://api.eu.mistral.ai"


def test_who_asks_from_elsewhere_is_told_the_gateway(client, settings):
    assert client.sdk_configuration.get_server_details() == (settings.provider_url, {})
