"""`make_client()`: a real Mistral, every keyword, every kind of HTTP client, nothing left open."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import re
import ssl

import httpx
import httpx2
import pytest
import trustme
from call_modes import ASYNC, ASYNC_STREAM, STREAM, SYNC
from http_records import CHAT, KEY, PREFIX, TEXT, TOKEN, RecordingServer, Reply
from retry_configs import retries

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewaySettings,
    gateway_headers,
    gateway_options,
    make_client,
)
from mistral_cf_adapter._sdk import Mistral, version
from mistral_cf_adapter._sdk import httpx as sdk_httpx

MAJOR = int(version().partition(".")[0])
LIBRARIES = pytest.mark.parametrize(
    "library", [httpx, httpx2], ids=lambda library: library.__name__
)


# ---------------------------------------------------------------- what it is


def test_it_is_a_real_mistral(client, settings):
    assert type(client) is Mistral
    assert client.sdk_configuration.get_server_details()[0] == settings.provider_url


def test_settings_come_from_the_environment(monkeypatch, gateway, mode):
    monkeypatch.setenv("CF_AIG_BASE_URL", gateway.base_url)
    monkeypatch.setenv("CF_AIG_TOKEN", TOKEN)
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    assert mode.chat(make_client()) == TEXT
    assert gateway.last.path == f"{PREFIX}/mistral{CHAT}"
    assert gateway.last.header("authorization") == f"Bearer {KEY}"
    assert gateway.last.gateway == {"cf-aig-authorization": f"Bearer {TOKEN}"}


def test_without_a_token_none_is_sent(gateway, make_settings, mode):
    mode.chat(make_client(make_settings(token=None)))
    assert gateway.last.gateway == {}


@pytest.mark.parametrize("provider", ["mistral", "custom-mistral-eu"])
def test_the_provider_is_part_of_the_path(gateway, make_settings, mode, provider):
    mode.chat(make_client(make_settings(provider=provider)))
    assert gateway.last.path == f"{PREFIX}/{provider}{CHAT}"


def test_nothing_is_opened_before_the_first_call(settings, monkeypatch):
    for name in ("Client", "AsyncClient"):
        monkeypatch.setattr(sdk_httpx, name, lambda *_, **__: pytest.fail("opened"))
    make_client(settings)


@pytest.mark.parametrize("name", ["server", "server_url", "url_params"])
def test_another_address_contradicts_the_gateway(settings, name):
    value = {"server": "eu", "server_url": "https://x.example", "url_params": {"a": "b"}}[name]
    with pytest.raises(GatewayConfigError, match=rf"{name} contradicts"):
        make_client(settings, **{name: value})


@pytest.mark.parametrize("name", ["server", "server_url", "client", "api_key", "timeout_ms"])
def test_none_means_not_given(gateway, settings, name):
    assert SYNC.chat(make_client(settings, **{name: None})) == TEXT


def test_a_keyword_that_mistral_has_not_is_a_type_error(settings):
    with pytest.raises(TypeError, match="nonsense"):
        make_client(settings, nonsense=1)


def test_nothing_set_is_said_before_anything_is_built():
    with pytest.raises(GatewayConfigError, match="CLOUDFLARE_ACCOUNT_ID"):
        make_client()


# ---------------------------------------------------------------- the key


@pytest.mark.parametrize(
    "key", ["other", "Bearer other", lambda: "other"], ids=["text", "bearer", "callable"]
)
def test_an_api_key_wins_over_the_settings(gateway, settings, mode, key):
    mode.chat(make_client(settings, api_key=key))
    assert gateway.last.header("authorization") == "Bearer other"


def test_a_callable_key_is_asked_for_every_call(gateway, settings):
    keys = iter(["one", "two"])
    client = make_client(settings, api_key=lambda: next(keys))
    SYNC.chat(client)
    ASYNC.chat(client)
    arrived = [request.header("authorization") for request in gateway.requests]
    assert arrived == ["Bearer one", "Bearer two"]


def test_a_callable_that_has_no_key_leaves_it_to_the_settings(gateway, settings, mode):
    mode.chat(make_client(settings, api_key=lambda: None))
    assert gateway.last.header("authorization") == f"Bearer {KEY}"


@pytest.mark.parametrize("spelling", ["Authorization", "authorization", "AUTHORIZATION"])
def test_an_authorization_of_the_call_wins_and_is_not_doubled(gateway, client, mode, spelling):
    mode.chat(client, http_headers={spelling: "Bearer of-the-call"})
    assert gateway.last.all("authorization") == ["Bearer of-the-call"]


def test_without_any_key_it_is_said_before_sending(gateway, make_settings, mode):
    client = make_client(make_settings(mistral_api_key=None))
    with pytest.raises(GatewayConfigError, match=r"MISTRAL_API_KEY.*CF_AIG_BYOK"):
        mode.chat(client)
    assert gateway.requests == []


@pytest.mark.parametrize("key", ["", "hunter2\n", "hunter2\r\nx-injected: 1", "hunter2é"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(gateway, settings, mode, key):
    with pytest.raises(GatewayConfigError, match="api_key") as caught:
        mode.chat(make_client(settings, api_key=key))
    assert "hunter2" not in str(caught.value)
    assert gateway.requests == []


def test_a_missing_key_is_not_retried(gateway, make_settings, mode):
    client = make_client(make_settings(mistral_api_key=None), retry_config=retries())
    with pytest.raises(GatewayConfigError):
        mode.chat(client)


@pytest.mark.skipif(MAJOR < 3, reason="service accounts came with 3.0")
def test_a_key_by_keyword_wins_over_a_service_account(
    gateway, settings, monkeypatch, tmp_path, mode
):
    monkeypatch.setenv("MISTRAL_SA_TOKEN_PATH", str(tmp_path / "absent"))
    mode.chat(make_client(settings))
    assert gateway.last.header("authorization") == f"Bearer {KEY}"


@pytest.mark.skipif(MAJOR < 3, reason="this operation is newer")
@pytest.mark.parametrize(
    ("security", "header", "value"),
    [
        ({"dashboard_user_context_auth": "user-key"}, "x-api-key", "user-key"),
        ({"bearer_user_context_auth": "user-key"}, "authorization", "Bearer user-key"),
    ],
)
def test_operations_with_a_key_of_their_own_send_that_one_alone(
    gateway, client, security, header, value
):
    gateway.replies.append(Reply(400, {}))
    with contextlib.suppress(Exception):
        client.beta.users.get_identity(security=security)
    (other,) = {"x-api-key", "authorization"} - {header}
    assert gateway.last.header(header) == value
    assert gateway.last.header(other) is None


# ---------------------------------------------------------------- other keywords


class Debugger:
    def __init__(self):
        self.lines = []

    def debug(self, message, *args, **kwargs):
        self.lines.append(message % args if args else message)


def test_the_debug_logger_is_kept_and_never_told_the_token(gateway, settings, mode):
    debugger = Debugger()
    gateway.replies += [Reply(503, {}), Reply(429, {})]
    client = make_client(settings, debug_logger=debugger, retry_config=retries())
    mode.chat(client, http_headers=gateway_headers(cache_key="k"))
    told = "\n".join(debugger.lines)
    assert len(gateway.requests) == 3
    assert CHAT in told
    assert TOKEN not in told
    assert KEY not in told


def test_a_sub_sdk_that_was_touched_before_goes_through_too(gateway, client):
    chat, models = client.chat, client.models
    assert chat.complete(model="m", messages=[{"role": "user", "content": "x"}])
    assert models.list() is not None
    assert [bool(request.gateway) for request in gateway.requests] == [True, True]


def test_a_per_call_server_gets_nothing_of_the_gateways(elsewhere, gateway, make_settings, mode):
    client = make_client(make_settings(metadata={"a": 1}, cache_ttl=60))
    headers = {**gateway_headers(cache_key="k"), "CF-AIG-Event-Id": "e", "x-mine": "1"}
    with gateway_options(skip_cache=True, endpoint="compat"):
        assert mode.chat(client, server_url=elsewhere.origin, http_headers=headers) == TEXT
    assert gateway.requests == []
    assert elsewhere.last.gateway == {}
    assert elsewhere.last.path == CHAT
    assert elsewhere.last.header("x-mine") == "1"


@pytest.mark.parametrize("value", ["a\r\nx-injected: 1", "a\nb", "a\x00b"])
@pytest.mark.parametrize("name", ["cf-aig-cache-key", "x-mine"])
def test_control_characters_in_a_header_by_hand_are_not_sent(gateway, client, mode, name, value):
    with pytest.raises(Exception, match=r"(?i)header|character|control"):
        mode.chat(client, http_headers={name: value})
    assert gateway.requests == []


# ---------------------------------------------------------------- the user's own clients


@LIBRARIES
def test_a_client_of_the_users_is_used_with_its_headers_hooks_and_parameters(
    gateway, settings, library
):
    seen = []
    with library.Client(
        headers={"x-default": "1"},
        params={"api-version": "2"},
        event_hooks={"request": [seen.append], "response": [seen.append]},
    ) as http:
        client = make_client(settings, client=http)
        assert SYNC.chat(client) == STREAM.chat(client) == TEXT
        SYNC.upload(client, b"x")
    assert {request.header("x-default") for request in gateway.requests} == {"1"}
    assert {request.path.partition("?")[2] for request in gateway.requests} == {"api-version=2"}
    assert {len(request.gateway) for request in gateway.requests} == {1}
    assert len(seen) == 6


@LIBRARIES
async def test_an_async_client_of_the_users_is_used(gateway, settings, library):
    seen = []

    async def see(thing):
        seen.append(thing)

    async with library.AsyncClient(event_hooks={"request": [see]}) as http:
        client = make_client(settings, async_client=http)
        assert await ASYNC.achat(client) == await ASYNC_STREAM.achat(client) == TEXT
    assert len(seen) == len(gateway.requests) == 2
    assert {len(request.gateway) for request in gateway.requests} == {1}


@LIBRARIES
def test_a_client_of_the_users_is_never_closed(settings, library):
    http, ahttp = library.Client(), library.AsyncClient()
    with make_client(settings, client=http, async_client=ahttp) as client:
        SYNC.chat(client)
    assert not http.is_closed
    del client
    gc.collect()
    assert not http.is_closed
    assert not ahttp.is_closed
    http.close()
    asyncio.run(ahttp.aclose())


@LIBRARIES
def test_errors_through_a_client_of_the_users_are_the_gateways(gateway, settings, library):
    body = {"success": False, "error": [{"code": 2003, "message": "Rate limited"}]}
    gateway.responder = lambda _: Reply(429, body)
    with library.Client() as http, pytest.raises(Exception) as caught:
        SYNC.chat(make_client(settings, client=http))
    assert type(caught.value).__name__ == "GatewayRateLimitedError"


class Duck:
    """The SDK's HttpClient protocol and not a method more."""

    def __init__(self):
        self.inner = sdk_httpx.Client()
        self.sent = 0

    def build_request(self, *args, **kwargs):
        return self.inner.build_request(*args, **kwargs)

    def send(self, request, *, stream=False):
        self.sent += 1
        return self.inner.send(request, stream=stream)

    def close(self):
        self.inner.close()


class AsyncDuck(Duck):
    def __init__(self):
        super().__init__()
        self.inner.close()
        self.inner = sdk_httpx.AsyncClient()

    async def send(self, request, *, stream=False):
        self.sent += 1
        return await self.inner.send(request, stream=stream)

    async def aclose(self):
        await self.inner.aclose()


def test_any_object_with_the_protocols_methods_will_do(gateway, settings):
    duck = Duck()
    client = make_client(settings, client=duck)
    assert SYNC.chat(client) == STREAM.chat(client) == TEXT
    assert duck.sent == 2
    assert {len(request.gateway) for request in gateway.requests} == {1}
    duck.close()


async def test_any_async_object_with_the_protocols_methods_will_do(gateway, settings):
    duck = AsyncDuck()
    client = make_client(settings, async_client=duck)
    assert await ASYNC.achat(client) == await ASYNC_STREAM.achat(client) == TEXT
    assert duck.sent == 2
    await duck.aclose()


def test_a_client_stored_later_goes_through_the_gateway_too(gateway, client):
    with sdk_httpx.Client(headers={"x-later": "1"}) as http:
        client.sdk_configuration.client = http
        SYNC.chat(client)
        assert client.sdk_configuration.client.inner is http
    assert gateway.last.header("x-later") == "1"
    assert gateway.last.gateway


def test_a_shell_that_is_stored_again_does_not_grow(client):
    inner = client.sdk_configuration.client.inner
    for _ in range(3):
        client.sdk_configuration.client = client.sdk_configuration.client
    assert client.sdk_configuration.client.inner is inner


def test_one_http_client_can_serve_several_gateways(gateway, make_settings):
    with sdk_httpx.Client() as http:
        one = make_client(make_settings(token="one"), client=http)
        two = make_client(make_settings(token="two"), client=http)
        SYNC.chat(one)
        SYNC.chat(two)
    tokens = [request.header("cf-aig-authorization") for request in gateway.requests]
    assert tokens == ["Bearer one", "Bearer two"]


def test_a_shell_of_one_client_given_to_another_sends_the_latters_token_to_its_own_gateway(
    gateway, elsewhere, make_settings
):
    first = make_client(make_settings(token="first"))
    second_settings = make_settings(token="second", base_url=elsewhere.base_url)
    second = make_client(second_settings, client=first.sdk_configuration.client)
    SYNC.chat(second)
    assert gateway.requests == []
    assert elsewhere.last.header("cf-aig-authorization") == "Bearer second"


# ---------------------------------------------------------------- TLS


def test_a_client_with_certificates_of_its_own_keeps_them(make_settings):
    authority = trustme.CA()
    trusting, serving = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(trusting)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    with RecordingServer(serving) as server, sdk_httpx.Client(verify=trusting) as http:
        assert SYNC.chat(make_client(make_settings(base_url=server.base_url), client=http))
    assert server.last.gateway


# ---------------------------------------------------------------- lifetimes


def test_leaving_a_client_does_not_end_the_others(gateway, settings):
    with make_client(settings) as first:
        SYNC.chat(first)
    second = make_client(settings)
    assert SYNC.chat(second) == TEXT
    del first
    gc.collect()
    assert SYNC.chat(second) == TEXT


async def test_leaving_an_async_client_does_not_end_the_others(gateway, settings):
    async with make_client(settings) as first:
        await ASYNC.achat(first)
    assert await ASYNC.achat(make_client(settings)) == TEXT


def test_a_copy_of_a_client_goes_through_the_gateway_too(gateway, client):
    assert SYNC.chat(copy.copy(client)) == TEXT
    assert gateway.last.gateway


# ---------------------------------------------------------------- bodies


def test_a_request_is_the_bare_sdks_plus_the_token(gateway, client, bare, mode):
    mode.chat(bare)
    mode.chat(client)
    expected, arrived = gateway.requests
    assert arrived.body == expected.body
    assert arrived.path == expected.path
    added = set(arrived.headers) - set(expected.headers)
    assert added == {("cf-aig-authorization", f"Bearer {TOKEN}")}


def test_settings_by_hand_need_no_environment(monkeypatch, gateway):
    monkeypatch.setenv("CF_AIG_CACHE_TTL", "60")
    settings = GatewaySettings(base_url=gateway.base_url, mistral_api_key=KEY)
    SYNC.chat(make_client(settings))
    assert gateway.last.gateway == {"cf-aig-cache-ttl": "60"}


MISUSED = [
    (lambda settings: make_client(settings=settings), "make_client(GatewaySettings(...))"),
    (lambda settings: make_client(settings, cache_ttl=60), "make_client() takes cache_ttl in"),
    (lambda settings: make_client(account_id="abc"), "make_client() takes account_id in"),
    (lambda settings: make_client("key"), "GatewaySettings(...) first, not str"),
    (lambda settings: make_client({}), "GatewaySettings(...) first, not dict"),
]


@pytest.mark.parametrize(("call", "words"), MISUSED)
def test_settings_in_the_wrong_place_are_told_where_they_go(settings, call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call(settings)
