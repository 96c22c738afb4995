"""Odd addresses, clients and timings at which the gateway could be missed or a secret shown."""

from __future__ import annotations

import asyncio
import gc

import pytest
from call_modes import ASYNC, ASYNC_STREAM, STREAM, SYNC
from http_records import CHAT, KEY, TEXT, TOKEN, Reply, stream
from secret_searches import shown_in, told_by

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewayStreamError,
    _attach,
    _flow,
    _pool,
    _sdk,
    gateway_options,
    make_client,
)
from mistral_cf_adapter._routing import get_route

URLS = [
    "https://xn--mnchen-3ya.example",
    "https://münchen.example",
    "https://AI.Example.com:443/v1/a/g",
    "https://ai.example.com/team%20a",
    "https://ai.example.com/a%2fb",
    "https://ai.example.com/caf\u00e9",
    "http://[::1]:8080/v1/a/g",
]


@pytest.mark.parametrize("url", URLS)
def test_an_address_is_recognised_however_it_is_written(make_settings, url):
    try:
        route = get_route(make_settings(base_url=url))
    except GatewayConfigError:
        return  # refused before anything is sent
    for path in ("", "/v1/chat/completions"):
        assert route.covers(_sdk.httpx.URL(route.provider_url + path))
    chat = _sdk.httpx.URL(f"{route.provider_url}/v1/chat/completions")
    assert chat.path.removeprefix(route.provider_path) == "/v1/chat/completions"
    assert bytes(chat.raw_path).removeprefix(route.provider_raw_path) == b"/v1/chat/completions"


def test_a_path_with_escapes_has_all_that_others_have(gateway, make_settings):
    client = make_client(make_settings(base_url=f"{gateway.origin}/team%20a"))
    with gateway_options(endpoint="compat"):
        SYNC.chat(client)
    assert gateway.last.path == "/team%20a/compat/chat/completions"
    gateway.replies.append(Reply(200, b": ping\n\n", {"content-type": "text/event-stream"}))
    with pytest.raises(GatewayStreamError):
        STREAM.chat(client)


def test_a_shell_of_a_moment_ago_is_not_used_again(make_settings, gateway):
    client = make_client(make_settings())
    configuration = client.sdk_configuration
    state = configuration.__dict__[_attach._STATE]
    stale = configuration.client
    _attach.attach(client, make_settings(token="other"), get_route(make_settings(token="other")))
    state.wrappers["client"] = stale  # as a thread does that read the route before the change
    SYNC.chat(client)
    assert gateway.last.gateway["cf-aig-authorization"] == "Bearer other"


@pytest.mark.parametrize("way", [ASYNC, ASYNC_STREAM], ids=lambda way: way.name)
def test_no_event_loop_is_kept_once_it_has_ended(client, way):
    for _ in range(3):
        way.chat(client)
    gc.collect()
    assert _pool._process_pools.shutdown_generators == {}
    assert len(_pool._process_pools.by_loop) == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody closed what was the loop's
def test_a_loop_that_is_only_closed_is_let_go_by_the_next(client):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ASYNC.achat(client))
    loop.close()
    del loop
    ASYNC.chat(client)
    gc.collect()
    assert _pool._process_pools.shutdown_generators == {}


def test_what_lets_a_caller_in_at_the_gateways_host_stays_there(make_settings, mistral):
    settings = make_settings(fallback="direct", base_url="http://127.0.0.1:9/v1/a/g")
    access = {"CF-Access-Client-Secret": "access", "Cookie": "CF_Authorization=x", "x-mine": "1"}
    SYNC.chat(make_client(settings), http_headers=access)
    arrived = {name.lower() for name, _ in mistral.last.headers}
    assert not {"cf-access-client-secret", "cookie"} & arrived
    assert "x-mine" in arrived


def test_a_redirect_elsewhere_does_not_take_it_along(gateway, client, elsewhere):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}{CHAT}"))
    SYNC.chat(client, http_headers={"CF-Access-Client-Secret": "access"})
    assert elsewhere.last.header("cf-access-client-secret") is None


def test_one_clients_broken_connections_are_not_anothers(gateway, make_settings, monkeypatch):
    monkeypatch.setattr(_flow, "_open_until", {})
    settings = make_settings(fallback="direct")

    def broken(request):
        msg = "a proxy of its own"
        raise _sdk.httpx.ConnectError(msg, request=request)

    with _sdk.httpx.Client(transport=_sdk.httpx.MockTransport(broken)) as http:
        client = make_client(settings, client=http)
        with pytest.raises(_sdk.httpx.ConnectError):
            SYNC.chat(client)
    assert SYNC.chat(make_client(settings)) == TEXT
    assert len(gateway.requests) == 1


def test_a_probe_that_ends_in_another_error_leaves_no_cool_down(gateway, make_settings):
    client = make_client(make_settings(fallback="direct"))
    shell = client.sdk_configuration.client
    _flow._open_until[shell.route.origin, shell._pool_key] = 0.0
    gateway.replies.append(Reply(200, b"{}", {"content-type": "application/json"}, cut=True))
    with pytest.raises(_sdk.httpx.RemoteProtocolError):
        SYNC.chat(client)
    assert _flow._open_until == {}


def test_no_cool_down_means_no_probe_either(make_settings):
    settings = make_settings(fallback="direct").model_copy(update={"fallback_cooldown": 0})
    client = make_client(settings)
    shell = client.sdk_configuration.client
    _flow.record_outcome(shell.route, shell._pool_key, down=True)
    assert [_flow.is_open(shell.route, shell._pool_key) for _ in range(2)] == [False, False]
    _flow.record_outcome(shell.route, shell._pool_key, down=False)


@pytest.mark.parametrize("by", ["block", "call", "setting"])
def test_a_stored_key_is_not_overruled_by_the_http_clients_own(gateway, make_settings, by):
    stored = {"byok": True, "mistral_api_key": None} if by == "setting" else {}
    call = {"http_headers": {"cf-aig-byok-alias": "production"}} if by == "call" else {}
    with _sdk.httpx.Client(auth=("user", "word")) as http:
        client = make_client(make_settings(**stored), client=http)
        with gateway_options(byok_alias="production" if by == "block" else None):
            SYNC.chat(client, **call)
    assert gateway.last.header("authorization") is None


@pytest.mark.parametrize("direct", [False, True])
def test_half_a_character_passes_compat_as_it_passes_elsewhere(
    gateway, make_settings, mistral, direct
):
    there = {"base_url": "http://127.0.0.1:9/v1/a/g", "fallback": "direct"} if direct else {}
    with gateway_options(endpoint="compat"):
        SYNC.chat(make_client(make_settings(**there)), "half a \ud83d")
    arrived = (mistral if direct else gateway).last
    assert arrived.json["messages"][0]["content"] == "half a \ud83d"


@pytest.mark.parametrize("name", ["cf-aig-authorization", "x-api-key", "Authorization"])
def test_a_secret_with_a_line_break_is_refused_without_being_quoted(client, gateway, name):
    with pytest.raises(GatewayConfigError) as caught:
        SYNC.chat(client, http_headers={name: "Bearer hush-hush\n"})
    assert "hush" not in str(caught.value)
    assert gateway.requests == []


def test_a_stream_in_a_coding_of_two_is_left_to_the_http_library(gateway, client):
    reply = stream()
    gateway.replies.append(
        Reply(200, reply.payload, {**reply.all_headers(), "content-encoding": "identity, identity"})
    )
    assert STREAM.chat(client) == TEXT


def test_a_connection_that_breaks_within_a_stream_tells_the_log_id(gateway, client, stream_mode):
    kind = {"content-type": "text/event-stream", "cf-aig-log-id": "log-1"}
    gateway.replies.append(Reply(200, b": ping\n\n" * 9, kind, cut=True))
    with pytest.raises(_sdk.httpx.RemoteProtocolError) as caught:
        stream_mode.chat(client)
    assert "cf-aig-log-id: log-1" in caught.value.__notes__


@pytest.mark.parametrize("reply", [stream(), Reply(200, {})], ids=["events", "json"])
@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
async def test_an_answers_body_is_of_one_kind_sync_or_async(gateway, client, reply, path):
    """The SDK's hooks for workflows wrap a body by its kind, and ask for async first."""
    library = _sdk.httpx
    configuration = client.sdk_configuration
    gateway.replies += [reply, reply]
    accept = {"accept": "text/event-stream"}
    url = f"{gateway.base_url}/mistral{path}"
    request = configuration.client.build_request("POST", url, headers=accept, json={})
    response = configuration.client.send(request, stream=True)
    assert isinstance(response.stream, library.SyncByteStream)
    assert not isinstance(response.stream, library.AsyncByteStream)
    response.read()
    response = await configuration.async_client.send(request, stream=True)
    assert isinstance(response.stream, library.AsyncByteStream)
    assert not isinstance(response.stream, library.SyncByteStream)
    await response.aread()


def test_a_client_of_another_make_may_answer_with_a_body_of_both_kinds(make_settings, stream_mode):
    library = _sdk.httpx

    class Answers:
        build_request = staticmethod(
            library.Client(transport=library.BaseTransport()).build_request
        )

        def __init__(self, *, is_async):
            self.is_async = is_async

        def send(self, request, *, stream=False, follow_redirects=False):
            response = library.Response(
                200,
                headers={"content-type": "text/event-stream"},
                stream=library.ByteStream(events),
                request=request,
            )
            return asyncio.sleep(0, response) if self.is_async else response

        def close(self): ...

        async def aclose(self): ...

    events = stream().payload
    client = make_client(
        make_settings(), client=Answers(is_async=False), async_client=Answers(is_async=True)
    )
    assert stream_mode.chat(client) == TEXT


def test_a_trace_that_a_call_tells_twice_is_none(gateway, client):
    one = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    configuration = client.sdk_configuration
    url = f"{gateway.base_url}/mistral/v1/models"
    headers = [("traceparent", one), ("traceparent", one.replace("0af", "0bf"))]
    configuration.client.send(configuration.client.build_request("GET", url, headers=headers))
    assert "cf-aig-otel-trace-id" not in gateway.last.gateway


def test_a_connection_built_after_the_proxies_changed_serves_one_request_only(
    gateway, elsewhere, make_settings, monkeypatch
):
    monkeypatch.setenv("HTTP_PROXY", elsewhere.origin)
    client = make_client(make_settings())
    pool = _pool.sync_pool(client.sdk_configuration.client.inner.config)
    with monkeypatch.context() as for_a_moment:  # as for a call that waited for its turn
        for_a_moment.setenv("HTTP_PROXY", gateway.origin)
        pool.send(_pool.build_request("GET", "http://far.example/v1/models"))
    assert len(gateway.requests) == 1
    pool.send(_pool.build_request("GET", "http://far.example/v1/models"))
    assert len(gateway.requests) == 1
    assert len(elsewhere.requests) == 1


@pytest.mark.parametrize("content", [b"{not json", iter([b"{}"])], ids=["text", "stream"])
def test_a_body_that_compat_cannot_take_shows_no_secret(gateway, client, content):
    http = client.sdk_configuration.client
    url = f"{gateway.base_url}/mistral{CHAT}"
    headers = {"authorization": f"Bearer {KEY}", "cf-aig-authorization": f"Bearer {TOKEN}"}
    request = http.build_request("POST", url, headers=headers, content=content)
    with gateway_options(endpoint="compat"), pytest.raises(Exception) as caught:
        http.send(request)
    assert not shown_in(told_by(caught.value), KEY, TOKEN)
    assert gateway.requests == []


def test_an_address_that_is_none_shows_no_secret(client):
    with pytest.raises(_sdk.httpx.InvalidURL) as caught:
        SYNC.chat(client, server_url="http://[::1", http_headers={"authorization": KEY})
    assert not shown_in(told_by(caught.value), KEY, TOKEN)
