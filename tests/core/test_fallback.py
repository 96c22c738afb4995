"""Direct fallback: Mistral itself while the gateway is down, and never otherwise."""

from __future__ import annotations

import io

import pytest
from call_modes import STREAM, SYNC
from http_records import CHAT, KEY, TEXT, TOKEN, Reply, completion
from retry_configs import retries

from mistral_cf_adapter import (
    GatewayBlockedError,
    GatewayConfigError,
    GatewayGuardrailError,
    GatewayRateLimitedError,
    GatewayStreamError,
    GatewayUnavailableError,
    _flow,
    _sdk,
    capture,
    gateway_headers,
    gateway_options,
    make_client,
    patch,
)

PAGE = b"<html>Bad gateway</html>"
ENVELOPE = {"success": False, "errors": [{"code": 2003, "message": "Rate limited"}]}
BLOCKED = {"success": False, "errors": [{"code": 2016, "message": "Prompt blocked"}]}


pytestmark = pytest.mark.usefixtures("mistral")


@pytest.fixture
def build(make_settings):
    """Build a client that falls back; keywords are settings."""

    def build(**values):
        return make_client(make_settings(fallback="direct", **values))

    return build


@pytest.fixture
def cut_off(build, nobody):
    """A client whose gateway cannot be reached."""
    return build(base_url=nobody)


def page(status, **headers):
    return Reply(status, PAGE, {"content-type": "text/html", **headers})


def test_an_unreachable_gateway_is_bypassed_with_the_mistral_key_alone(cut_off, mistral, mode):
    options = gateway_headers(cache_ttl=60, metadata={"team": "search"})
    assert mode.chat(cut_off, http_headers=options) == TEXT
    (arrived,) = mistral.requests
    assert arrived.path == CHAT
    assert arrived.header("authorization") == f"Bearer {KEY}"
    assert arrived.gateway == {}
    assert TOKEN not in str(arrived.headers)
    assert arrived.header("host") == mistral.origin.removeprefix("http://")


def test_a_direct_call_is_marked_and_logged_as_a_warning(cut_off, mode, caplog):
    with capture() as calls:
        mode.chat(cut_off)
    (call,) = calls
    assert (call.direct, call.status_code, call.log_id) == (True, 200, None)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    said = "AI Gateway is down (ConnectError): POST /v1/chat/completions goes to Mistral directly"
    assert (record.name, record.getMessage()) == ("mistral_cf_adapter", said)


@pytest.mark.parametrize("status", [502, 503, 504, *range(520, 531)])
def test_a_page_of_the_edge_is_an_outage(build, gateway, mistral, status):
    gateway.replies.append(page(status))
    assert SYNC.chat(build()) == TEXT
    assert [len(gateway.requests), len(mistral.requests)] == [1, 1]
    assert mistral.last.json == gateway.last.json


def test_a_page_of_the_edge_is_an_outage_in_every_mode(build, gateway, mistral, mode):
    gateway.replies.append(page(502))
    assert mode.chat(build()) == TEXT
    assert len(mistral.requests) == 1


NO_OUTAGE = [
    (Reply(429, ENVELOPE), GatewayRateLimitedError),
    (Reply(403, BLOCKED), GatewayGuardrailError),
    (page(403), GatewayBlockedError),
    (page(502, **{"cf-aig-log-id": "log"}), _sdk.SDKError),
    (Reply(500, {"object": "error", "message": "Mistral's own"}), _sdk.SDKError),
    (Reply(503, {"object": "error", "message": "Mistral's own"}), _sdk.SDKError),
    (Reply(401, {"detail": "Unauthorized"}), _sdk.SDKError),
]


@pytest.mark.parametrize(("reply", "error"), NO_OUTAGE)
def test_what_the_gateway_or_mistral_answered_is_no_outage(build, gateway, mistral, reply, error):
    gateway.replies.append(reply)
    client = build()
    with pytest.raises(error):
        SYNC.chat(client)
    assert SYNC.chat(client) == TEXT
    assert [len(gateway.requests), len(mistral.requests)] == [2, 0]


def test_nothing_goes_direct_after_the_first_byte(build, gateway, mistral, mode):
    kind = "text/event-stream" if mode.is_stream else "application/json"
    gateway.replies.append(Reply(200, b": ping\n\n" * 9, {"content-type": kind}, cut=True))
    with pytest.raises(_sdk.httpx.RemoteProtocolError):
        mode.chat(build())
    assert mistral.requests == []


def test_without_the_setting_there_is_no_bypass(make_settings, nobody, mistral, mode):
    with pytest.raises(_sdk.httpx.ConnectError):
        mode.chat(make_client(make_settings(base_url=nobody)))
    assert mistral.requests == []


def test_during_the_cool_down_the_gateway_is_left_alone(build, gateway, mistral, mode):
    gateway.replies.append(page(503))
    client = build()
    for _ in range(3):
        mode.chat(client)
    assert [len(gateway.requests), len(mistral.requests)] == [1, 3]


def test_the_cool_down_holds_for_all_clients_of_one_gateway(build, gateway, mistral):
    gateway.replies.append(page(503))
    SYNC.chat(build())
    SYNC.chat(build(cache_ttl=60))
    assert [len(gateway.requests), len(mistral.requests)] == [1, 2]


def way_of(client):
    shell = client.sdk_configuration.client
    return shell.route.origin, shell._pool_key


def test_after_the_cool_down_the_gateway_is_tried_again(build, gateway, mistral):
    client = build()
    _flow._open_until[way_of(client)] = 0.0
    SYNC.chat(client)
    SYNC.chat(client)
    assert [len(gateway.requests), len(mistral.requests)] == [2, 0]
    assert _flow._open_until == {}


def test_one_request_tries_while_the_others_wait_for_what_it_finds(build, gateway):
    route, via = build().sdk_configuration.client.route, "these connections"
    _flow._open_until[route.origin, via] = 0.0
    assert [_flow.is_open(route, via) for _ in range(3)] == [False, True, True]


def test_no_cool_down_means_that_the_gateway_always_comes_first(build, gateway, mistral):
    gateway.replies.extend([page(503), page(503)])
    client = build(fallback_cooldown=1e-9)
    SYNC.chat(client)
    SYNC.chat(client)
    assert [len(gateway.requests), len(mistral.requests)] == [2, 2]


def test_connecting_is_bounded_to_seconds(make_settings):
    seen = []
    with _sdk.httpx.Client() as http:
        http.event_hooks["request"] = [lambda request: seen.append(request.extensions["timeout"])]
        client = make_client(make_settings(fallback="direct"), client=http, timeout_ms=60_000)
        SYNC.chat(client)
    assert (seen[0]["connect"], seen[0]["read"]) == (_flow.CONNECT_TIMEOUT, 60)


@pytest.mark.parametrize("timeout", [{}, {"connect": None}, {"connect": 1.0}, {"connect": 99.0}])
def test_a_shorter_timeout_of_the_callers_stays(timeout):
    request = _sdk.httpx.Request("GET", "http://127.0.0.1/", extensions={"timeout": timeout})
    bound = _flow.limit_connect_timeout(request).extensions["timeout"]["connect"]
    assert bound == min(timeout.get("connect") or 5.0, 5.0)


def test_a_call_with_a_stored_key_never_goes_direct(cut_off, mistral):
    with gateway_options(byok_alias="production"), pytest.raises(_sdk.httpx.ConnectError):
        SYNC.chat(cut_off)
    assert mistral.requests == []


COMPAT = [
    ("mistral-small-latest", "mistral-small-latest"),
    ("mistral/mistral-small-latest", "mistral-small-latest"),
    ("dynamic/support", None),
    ("openai/gpt-4o", None),
    ("cloudflare/auto", None),
    ("custom/fast", None),
]


@pytest.mark.parametrize(("model", "direct"), COMPAT)
def test_on_compat_only_mistrals_models_go_direct(cut_off, mistral, model, direct, mode):
    with gateway_options(endpoint="compat"):
        if direct is None:
            with pytest.raises(_sdk.httpx.ConnectError):
                mode.chat(cut_off, model=model)
        else:
            assert mode.chat(cut_off, model=model) == TEXT
    assert [(sent.path, sent.json["model"]) for sent in mistral.requests] == (
        [(CHAT, direct)] if direct else []
    )


def test_another_host_on_purpose_has_no_fallback(cut_off, nobody, mistral):
    with pytest.raises(_sdk.httpx.ConnectError):
        SYNC.chat(cut_off, server_url=nobody.removesuffix("/v1/acc/gw"))
    assert mistral.requests == []


def test_an_upload_goes_direct_whole(build, gateway, mistral, plain_mode):
    gateway.replies.append(page(502))
    plain_mode.upload(build(), b"one line\n" * 1000)
    through, direct = gateway.last, mistral.last
    assert direct.body == through.body
    assert direct.path == "/v1/files"


class Pipe(io.BufferedReader):
    """Bytes that can be read once."""

    def __init__(self, content):
        super().__init__(io.BytesIO(content))

    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation


def test_a_body_that_was_sent_and_cannot_be_repeated_is_said_so(build, gateway, mistral, caplog):
    gateway.replies.append(page(502))
    with pytest.raises(GatewayUnavailableError):
        SYNC.upload(build(), Pipe(b"one line\n"))
    assert mistral.requests == []
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "POST /v1/files cannot go to Mistral directly: its body is a stream" in record.message


def test_a_body_that_was_not_sent_yet_needs_no_repeating(cut_off, mistral):
    SYNC.upload(cut_off, Pipe(b"one line\n"))
    assert b"one line\n" in mistral.last.body


def test_what_mistral_answers_directly_is_not_taken_for_the_gateways(cut_off, mistral, mode):
    mistral.replies.append(page(503))
    with pytest.raises(_sdk.SDKError) as caught:
        mode.chat(cut_off)
    assert not isinstance(caught.value, GatewayUnavailableError)


def test_a_direct_stream_that_breaks_off_is_an_error_too(cut_off, mistral):
    mistral.replies.append(Reply(200, b": ping\n\n", {"content-type": "text/event-stream"}))
    with pytest.raises(GatewayStreamError):
        STREAM.chat(cut_off)


def test_when_mistral_cannot_be_reached_either_that_is_the_error(
    cut_off, nobody, monkeypatch, mode
):
    monkeypatch.setattr(_flow, "MISTRAL_URL", nobody.removesuffix("/v1/acc/gw"))
    with capture() as calls, pytest.raises(_sdk.httpx.ConnectError) as caught:
        mode.chat(cut_off)
    assert [(call.direct, call.status_code) for call in calls] == [(True, None)]
    assert "AI Gateway was down as well (ConnectError)" in caught.value.__notes__
    assert TOKEN not in str(caught.value.request.headers)


def test_a_redirect_of_the_gateways_that_leads_nowhere_is_no_outage(
    build, gateway, nobody, mistral
):
    gateway.replies.append(Reply.redirect(f"{nobody}/x"))
    with pytest.raises(_sdk.httpx.ConnectError):
        SYNC.chat(build())
    assert mistral.requests == []


def test_a_client_with_credentials_of_its_own_keeps_them_from_mistral(
    nobody, mistral, make_settings
):
    settings = make_settings(fallback="direct", base_url=nobody)
    with _sdk.httpx.Client(auth=("user", "word"), headers={"cf-aig-authorization": "x"}) as http:
        SYNC.chat(make_client(settings, client=http))
    assert mistral.last.header("authorization") == f"Bearer {KEY}"
    assert mistral.last.gateway == {}


def test_the_sdks_retries_go_direct_too(cut_off, mistral):
    mistral.replies.extend([Reply(503, {}), completion()])
    with capture() as calls:
        assert SYNC.chat(cut_off, retries=retries()) == TEXT
    assert [(call.attempt, call.direct) for call in calls] == [(1, True), (2, True)]


def test_patched_clients_fall_back_with_their_own_key(nobody, mistral, mode, make_settings):
    with patch(settings=make_settings(base_url=nobody, fallback="direct", mistral_api_key=None)):
        mode.chat(_sdk.Mistral(api_key="their-own"))
    assert mistral.last.header("authorization") == "Bearer their-own"


WRONG = [
    ({"byok": True}, "byok"),
    ({"byok_alias": "production"}, "byok"),
    ({"provider": "custom-eu"}, "custom-eu"),
]


@pytest.mark.parametrize(("values", "named"), WRONG)
def test_settings_that_rule_a_fallback_out_are_refused(make_settings, values, named):
    with pytest.raises(GatewayConfigError, match=named):
        make_settings(fallback="direct", mistral_api_key=None, **values)


def test_a_fallback_without_a_key_is_refused_at_the_start(make_settings, monkeypatch):
    settings = make_settings(fallback="direct", mistral_api_key=None)
    with pytest.raises(GatewayConfigError, match="MISTRAL_API_KEY"):
        make_client(settings)
    make_client(settings, api_key="their-own")
    monkeypatch.setenv("MISTRAL_SA_TOKEN_PATH", "/nowhere")
    make_client(settings)


def test_other_operations_go_direct_as_well(cut_off, mistral):
    cut_off.models.list()
    cut_off.embeddings.create(model="mistral-embed", inputs=["sea"])
    assert [sent.path for sent in mistral.requests] == ["/v1/models", "/v1/embeddings"]
