"""The fixture `cf_gateway` takes an application as it is, built long before the test or not."""

from __future__ import annotations

import pytest
from call_modes import SYNC
from http_records import KEY, TEXT, TOKEN

from mistral_cf_adapter import (
    GatewaySettings,
    GatewayUnauthorizedError,
    _attach,
    _sdk,
    make_client,
    patch,
)
from mistral_cf_adapter._variables import ALIASES
from mistral_cf_adapter.testing import LocalGateway
from mistral_cf_adapter.testing.plugin import OTHER_NAMES

REAL = {"account_id": "real", "token": TOKEN, "mistral_api_key": KEY}


def sent(gateway):
    return gateway.requests[-1].headers


@pytest.fixture(scope="module")
def built_on_import():
    return make_client(GatewaySettings(**REAL, metadata={"app": "shop"}))


@pytest.mark.parametrize("test", ["one", "two"])
def test_a_client_built_before_the_test_goes_to_the_tests_gateway(
    cf_gateway, built_on_import, mode, test
):
    cf_gateway.reply(f"Hello {test}")
    assert mode.chat(built_on_import) == f"Hello {test}"
    assert TOKEN not in str(sent(cf_gateway))
    assert KEY not in str(sent(cf_gateway))


def test_its_own_options_stay(cf_gateway, built_on_import):
    SYNC.chat(built_on_import)
    assert sent(cf_gateway)["cf-aig-metadata"] == '{"app":"shop"}'


def test_a_client_built_in_the_test_with_real_settings_does_as_well(cf_gateway):
    SYNC.chat(make_client(GatewaySettings(**REAL)))
    assert len(cf_gateway.requests) == 1


def test_a_patched_client_with_a_key_of_its_own_does_as_well(cf_gateway):
    with patch(settings=GatewaySettings(**REAL)):
        SYNC.chat(_sdk.Mistral(api_key="their-own"))
    assert sent(cf_gateway)["authorization"] == "Bearer their-own"


def test_a_fallback_is_off_in_tests(cf_gateway):
    client = make_client(GatewaySettings(**REAL, fallback="direct"))
    with cf_gateway.fault("refuse"), pytest.raises(_sdk.httpx.ConnectError):
        SYNC.chat(client)


def test_a_wrong_token_for_the_tests_gateway_is_refused(cf_gateway, monkeypatch):
    with pytest.raises(GatewayUnauthorizedError):
        SYNC.chat(make_client(cf_gateway.settings(token="wrong-token-0123456789")))
    monkeypatch.setenv("CF_AIG_TOKEN", "wrong-token-0123456789")
    with pytest.raises(GatewayUnauthorizedError):
        SYNC.chat(make_client())


def test_a_fallback_of_its_own_settings_is_off_too(cf_gateway):
    client = make_client(cf_gateway.settings(fallback="direct"))
    with cf_gateway.fault("refuse"), pytest.raises(_sdk.httpx.ConnectError):
        SYNC.chat(client)


@pytest.mark.parametrize("stored", [{"byok": True}, {"byok_alias": "default"}])
def test_settings_for_a_stored_key_bring_none(stored):
    with LocalGateway(stored_keys={"default": "stored-key"}) as local:
        SYNC.chat(make_client(local.settings(**stored)))
        assert "authorization" not in sent(local)
        assert local.upstream_requests[-1].headers["authorization"] == "Bearer stored-key"


def test_afterwards_a_client_is_where_it_was(gateway, make_settings):
    client = make_client(make_settings())
    with _attach.override_settings(lambda _: make_settings(base_url="http://127.0.0.1:9/v1/a/g")):
        pass
    assert SYNC.chat(client) == TEXT
    assert gateway.last.gateway["cf-aig-authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("name", ["rate_limit", "cache_ttl", "reqests"])
def test_what_would_change_nothing_cannot_be_set(cf_gateway, name):
    with pytest.raises(AttributeError, match=rf"no attribute '{name}' to set.*LocalGateway\("):
        setattr(cf_gateway, name, 1)


def test_what_can_be_changed_at_any_time_still_can(cf_gateway, monkeypatch):
    cf_gateway.guardrails = True
    cf_gateway.dlp = {"action": "FLAG"}
    monkeypatch.setattr(cf_gateway, "env", dict)
    assert (cf_gateway.guardrails, cf_gateway.env()) == (True, {})


def test_no_variable_of_the_developers_names_another_gateway():
    known = {name for names in ALIASES.values() for name in names if not name.startswith("CF_AIG_")}
    assert known - {"MISTRAL_API_KEY"} <= set(OTHER_NAMES)
