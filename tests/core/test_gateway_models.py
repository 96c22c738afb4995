"""Models of the gateway's own: the Auto Router, aliases, and dynamic routes on the wrong path."""

from __future__ import annotations

import json
import logging
import warnings

import pytest
from call_modes import SYNC
from http_records import KEY, PREFIX, TOKEN, Reply

from mistral_cf_adapter import (
    GatewayError,
    GatewayInvalidProviderError,
    GatewayProviderError,
    _sdk,
    capture,
    gateway_headers,
    gateway_options,
    make_client,
)
from mistral_cf_adapter._sdk import httpx as sdk_httpx
from mistral_cf_adapter.testing import LocalGateway

AUTO = "cloudflare/auto"
GREETING = "Hello! It is lovely to hear from you through the gateway."
INVALID = {
    "object": "error",
    "message": "Invalid model",
    "type": "invalid_model",
    "param": None,
    "code": "1500",
}


@pytest.fixture
def ask(local_gateway, mode):
    """Make a call on the compat endpoint of the local gateway; return text and `GatewayCall`."""

    def ask(model=AUTO, **options):
        client = make_client(local_gateway.settings(endpoint="compat"))
        with capture() as calls, gateway_options(**options):
            text = mode.chat(client, model=model)
        return text, calls[-1]

    return ask


# ---------------------------------------------------------------- the Auto Router


def test_the_auto_router_says_what_it_chose(local_gateway, ask):
    text, call = ask()
    assert text == GREETING
    assert call.routed_model == "anthropic/claude-fable-5"
    assert call.routing_reason == "cost_optimal_within_pool"
    assert len(call.routing_decision_id) == 36
    assert call.routed == "gateway"
    (request,) = local_gateway.requests
    assert request.json()["model"] == AUTO
    assert local_gateway.logs[-1].provider == "anthropic"
    assert local_gateway.upstream_requests[-1].json()["model"] == "anthropic/claude-fable-5"


def test_the_options_of_the_auto_router_arrive(local_gateway, ask):
    ask(
        session_id="chat 17",
        turn_id="3",
        no_session_affinity=False,
        allowed_models=["openai/gpt-6-*", "xai/*"],
        allowed_providers=("xai",),
    )
    headers = local_gateway.requests[-1].headers
    assert {name: value for name, value in headers.items() if name.startswith("cf-aig-")} == {
        "cf-aig-authorization": f"Bearer {local_gateway.token}",
        "cf-aig-session-id": "chat 17",
        "cf-aig-turn-id": "3",
        "cf-aig-no-session-affinity": "false",
        "cf-aig-allowed-models": "openai/gpt-6-*,xai/*",
        "cf-aig-allowed-providers": "xai",
    }


POOLS = [
    ({}, "anthropic/claude-fable-5", "cost_optimal_within_pool"),
    ({"allowed_models": ["openai/*"]}, "openai/gpt-5.6-luna", "cost_optimal_within_pool"),
    ({"allowed_models": ["openai/gpt-6-sol"]}, "openai/gpt-6-sol", "forced_by_candidate_pool"),
    ({"allowed_models": ["**/*5.6*-*a"]}, "openai/gpt-5.6-luna", "cost_optimal_within_pool"),
    ({"allowed_models": ["@cf/qwen/*"]}, "@cf/qwen/qwen3.8-27b", "forced_by_candidate_pool"),
    ({"allowed_providers": ["minimax"]}, "minimax/m3", "forced_by_candidate_pool"),
    (
        {"allowed_models": ["*/*-luna", "xai/*"], "allowed_providers": ["xai", "minimax"]},
        "xai/grok-4.5",
        "cost_optimal_within_pool",
    ),
]


@pytest.mark.parametrize(("options", "model", "reason"), POOLS)
def test_lists_narrow_the_pool(ask, options, model, reason):
    _, call = ask(**options)
    assert (call.routed_model, call.routing_reason) == (model, reason)


@pytest.mark.parametrize(
    "options",
    [
        {"allowed_models": ["openai/*", "mistral/*"]},
        {"allowed_models": ["*"]},
        {"allowed_models": ["@cf/*"]},
        {"allowed_models": ["openai/gpt-5"]},
        {"allowed_models": ["OPENAI/*"]},
        {"allowed_models": ["openai/gpt-5.6.luna"]},
        {"allowed_models": ["mistral-small-latest"]},
        {"allowed_models": ["*" * 40 + "x"]},
        {"allowed_models": ["*-" * 20 + "*/*-*.*"]},
        {"allowed_providers": ["mistral"]},
        {"allowed_providers": ["openai", "x*"]},
        {"allowed_models": ["openai/*"], "allowed_providers": ["xai"]},
    ],
)
def test_an_entry_that_matches_nothing_is_a_400(ask, options):
    with pytest.raises(GatewayError) as caught:
        ask(**options)
    assert caught.value.status_code == 400
    assert not caught.value.retryable


# ---------------------------------------------------------------- whose key it is


@pytest.mark.parametrize("name", ["Authorization", "authorization", "x-api-key"])
def test_a_mistral_key_never_reaches_what_the_auto_router_chose(gateway, make_settings, mode, name):
    client = make_client(make_settings(endpoint="compat"))
    mode.chat(client, model=AUTO)
    mode.chat(client, model=AUTO, http_headers={name: f"Bearer {KEY}"})
    assert [request.path for request in gateway.requests] == [
        f"{PREFIX}/compat/chat/completions"
    ] * 2
    for request in gateway.requests:
        assert request.header("authorization") is None
        assert request.header("x-api-key") is None
        assert KEY not in str(request.headers)
        assert request.header("cf-aig-authorization") == f"Bearer {TOKEN}"


@pytest.mark.parametrize("model", ["Cloudflare/Auto", " cloudflare/auto", "CLOUDFLARE/auto\n"])
def test_no_spelling_of_the_auto_router_sends_the_key(gateway, make_settings, model):
    SYNC.chat(make_client(make_settings(endpoint="compat")), model=model)
    assert gateway.last.header("authorization") is None
    assert json.loads(gateway.last.body)["model"] == model


def test_a_key_of_the_environment_or_of_the_client_stays_at_home(
    gateway, make_settings, monkeypatch, mode
):
    settings = make_settings(endpoint="compat", mistral_api_key=None)
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    mode.chat(make_client(settings), model=AUTO)
    monkeypatch.delenv("MISTRAL_API_KEY")
    mode.chat(make_client(settings, api_key=KEY), model=AUTO)
    assert [KEY in str(request.headers) for request in gateway.requests] == [False, False]


@pytest.mark.parametrize("given", [{"auth": ("u", KEY)}, {"headers": {"Authorization": KEY}}])
def test_a_key_of_the_users_http_client_stays_at_home(gateway, make_settings, given):
    with sdk_httpx.Client(trust_env=False, **given) as http:
        client = make_client(make_settings(endpoint="compat"), client=http)
        SYNC.chat(client, model=AUTO)
        assert gateway.last.header("authorization") is None
        SYNC.chat(client, model="mistral-small-latest")
        assert gateway.last.header("authorization") is not None


def test_no_key_is_needed_for_the_auto_router(gateway, make_settings, mode):
    mode.chat(make_client(make_settings(endpoint="compat", mistral_api_key=None)), model=AUTO)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("model", ["mistral-small-latest", "dynamic/x", "custom/x", "custom-x/y"])
def test_other_models_get_the_key(gateway, make_settings, mode, model):
    mode.chat(make_client(make_settings(endpoint="compat")), model=model)
    assert gateway.last.header("authorization") == f"Bearer {KEY}"


def test_without_credits_the_auto_router_has_no_credentials(ask):
    with pytest.raises(GatewayError, match="No provider credentials"):
        ask(no_wholesale=True)


def test_the_local_gateway_takes_no_mistral_key_for_another_provider(local_gateway):
    headers = {
        "cf-aig-authorization": f"Bearer {local_gateway.token}",
        "authorization": f"Bearer {local_gateway.mistral_api_key}",
    }
    body = {"model": AUTO, "messages": [{"role": "user", "content": "x"}]}
    url = f"{local_gateway.url}/compat/chat/completions"
    with sdk_httpx.Client(trust_env=False) as http:
        assert http.post(url, json=body, headers=headers).status_code == 401
        headers["authorization"] = "Bearer a-key-of-that-provider"
        assert http.post(url, json=body, headers=headers).status_code == 200


# ---------------------------------------------------------------- aliases


def test_an_alias_names_a_model(mode):
    with LocalGateway(aliases={"fast": "mistral/mistral-small-latest"}) as gateway:
        client = make_client(gateway.settings(endpoint="compat"))
        assert mode.chat(client, model="custom/fast") == GREETING
        assert gateway.requests[-1].json()["model"] == "custom/fast"
        assert gateway.upstream_requests[-1].json()["model"] == "mistral-small-latest"
        with pytest.raises(GatewayProviderError, match="No alias 'slow'; configured: fast"):
            mode.chat(client, model="custom/slow")


def test_another_model_of_cloudflares_is_not_known_to_the_local_gateway(ask):
    with pytest.raises(GatewayInvalidProviderError, match="before the `/` in the model"):
        ask("cloudflare/auto-best")


# ---------------------------------------------------------------- on Mistral's own path


OWN = [AUTO, "custom/fast", "dynamic/support"]


def refuse(gateway, status=400):
    gateway.responder = lambda _: Reply(status, INVALID, {"cf-aig-log-id": "log-1"})


def ask_and_be_refused(mode, client, **options):
    """Return the warnings of a call that Mistral refuses."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(_sdk.SDKError):
            mode.chat(client, **options)
    return [one for one in caught if issubclass(one.category, UserWarning)]


@pytest.mark.parametrize("model", OWN)
def test_a_model_of_the_gateways_own_that_mistral_refuses_is_warned_of(
    gateway, client, mode, caplog, model
):
    caplog.set_level(logging.INFO, "mistral_cf_adapter")
    refuse(gateway)
    (one,) = ask_and_be_refused(mode, client, model=model)
    assert f"model '{model}' is AI Gateway's own" in str(one.message)
    assert 'endpoint="compat"' in str(one.message)
    assert one.filename.endswith(("call_modes.py", "test_gateway_models.py"))
    assert str(one.message) in caplog.text
    assert gateway.last.path == f"{PREFIX}/mistral/v1/chat/completions"


def test_the_warning_stops_nothing_and_comes_once(gateway, client, mode):
    refuse(gateway)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(_sdk.SDKError):
            mode.chat(client, model=AUTO)
    assert ask_and_be_refused(mode, client, model=AUTO) == []


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_an_error_that_is_not_about_the_model_warns_of_nothing(gateway, client, status):
    refuse(gateway, status)
    assert ask_and_be_refused(SYNC, client, model=AUTO) == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model": "custom-x/model"},
        {"model": "mistral-custom/x"},
        {"content": '"model": "cloudflare/auto"'},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"model": AUTO}}}]},
    ],
)
def test_another_models_error_warns_of_nothing(gateway, client, options):
    refuse(gateway)
    assert ask_and_be_refused(SYNC, client, **options) == []


def test_on_compat_nothing_is_warned_of(gateway, make_settings):
    refuse(gateway)
    client = make_client(make_settings(endpoint="compat"))
    assert ask_and_be_refused(SYNC, client, model=AUTO) == []


def test_a_custom_provider_may_have_such_a_model(gateway, make_settings):
    refuse(gateway)
    client = make_client(make_settings(provider="custom-x"))
    assert ask_and_be_refused(SYNC, client, model=AUTO) == []


def test_a_model_that_mistral_takes_is_its_own_business(client, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mode.chat(client, model="custom/model")


def test_a_file_that_is_refused_warns_of_nothing(gateway, client):
    refuse(gateway)
    line = json.dumps({"custom_id": "1", "body": {"model": AUTO}}).encode()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(_sdk.SDKError):
            SYNC.upload(client, line + b"\n" + line)


def test_options_for_one_call_reach_the_auto_router(gateway, make_settings, mode):
    client = make_client(make_settings(endpoint="compat", allowed_models="openai/*"))
    headers = gateway_headers(allowed_models=None, session_id="s")
    mode.chat(client, model=AUTO, http_headers=headers)
    assert "cf-aig-allowed-models" not in gateway.last.gateway
    assert gateway.last.gateway["cf-aig-session-id"] == "s"
