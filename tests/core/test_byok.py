"""Stored keys: no `Authorization` leaves, whatever else would have sent one."""

from __future__ import annotations

import pytest
from call_modes import SYNC
from http_records import KEY, Reply

from mistral_cf_adapter import GatewayConfigError, gateway_headers, gateway_options, make_client
from mistral_cf_adapter._sdk import httpx as sdk_httpx

SWITCHES = pytest.mark.parametrize("switch", [{"byok": True}, {"byok_alias": "prod"}])


@pytest.fixture
def stored(make_settings):
    """Build a client of a gateway that holds the key."""
    return lambda switch, **keywords: make_client(
        make_settings(mistral_api_key=None, **switch), **keywords
    )


def without_key(request):
    assert request.header("authorization") is None
    assert request.header("x-api-key") is None
    assert KEY not in str(request.headers)
    return request


@SWITCHES
def test_no_authorization_leaves(gateway, stored, mode, switch):
    mode.chat(stored(switch))
    assert "cf-aig-authorization" in without_key(gateway.last).gateway


@SWITCHES
def test_a_key_of_the_environment_stays_at_home(gateway, stored, monkeypatch, mode, switch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    mode.chat(stored(switch))
    without_key(gateway.last)


@SWITCHES
def test_a_service_accounts_token_stays_at_home(
    gateway, stored, monkeypatch, tmp_path, mode, switch
):
    (tmp_path / "token").write_text(KEY)
    monkeypatch.setenv("MISTRAL_SA_TOKEN_PATH", str(tmp_path / "token"))
    mode.chat(stored(switch))
    without_key(gateway.last)


@pytest.mark.parametrize("name", ["Authorization", "authorization", "x-api-key", "X-API-Key"])
def test_a_key_of_the_call_stays_at_home(gateway, stored, mode, name):
    mode.chat(stored({"byok": True}), http_headers={name: f"Bearer {KEY}"})
    without_key(gateway.last)


@pytest.mark.parametrize("given", [{"auth": ("u", KEY)}, {"headers": {"Authorization": KEY}}])
def test_a_key_of_the_users_client_stays_at_home(gateway, stored, given):
    with sdk_httpx.Client(**given) as http:
        SYNC.chat(stored({"byok": True}, client=http))
    without_key(gateway.last)


def test_no_authorization_leaves_with_an_upload(gateway, stored, plain_mode):
    plain_mode.upload(stored({"byok": True}), b"x")
    without_key(gateway.last)


@SWITCHES
def test_an_api_key_beside_stored_keys_is_a_contradiction(make_settings, switch):
    with pytest.raises(GatewayConfigError, match="contradict"):
        make_client(make_settings(mistral_api_key=None, **switch), api_key=KEY)


def test_the_alias_is_sent(gateway, stored, mode):
    mode.chat(stored({"byok_alias": "prod"}))
    assert gateway.last.gateway["cf-aig-byok-alias"] == "prod"


def test_without_an_alias_none_is_sent(gateway, stored, mode):
    mode.chat(stored({"byok": True}))
    assert "cf-aig-byok-alias" not in gateway.last.gateway


def test_an_alias_of_a_block_or_call_chooses_among_stored_keys(gateway, stored, mode):
    client = stored({"byok": True})
    with gateway_options(byok_alias="block"):
        mode.chat(client)
    mode.chat(client, http_headers=gateway_headers(byok_alias="call"))
    sent = [without_key(request).gateway["cf-aig-byok-alias"] for request in gateway.requests]
    assert sent == ["block", "call"]


@pytest.mark.parametrize("place", ["block", "call"])
def test_an_alias_is_of_use_only_without_authorization(gateway, client, mode, place):
    if place == "block":
        with gateway_options(byok_alias="prod"):
            mode.chat(client)
    else:
        mode.chat(client, http_headers=gateway_headers(byok_alias="prod"))
    assert gateway.last.gateway["cf-aig-byok-alias"] == "prod"
    without_key(gateway.last)


def test_a_missing_alias_is_the_gateways_error(gateway, stored, mode):
    body = {"success": False, "error": [{"code": 2040, "message": "Not found; there are: prod"}]}
    gateway.replies.append(Reply(400, body))
    with pytest.raises(Exception, match=r"there are: prod.*CF_AIG_BYOK_ALIAS"):
        mode.chat(stored({"byok_alias": "x"}))
