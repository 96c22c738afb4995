"""The switch: while it is off, calls go to Mistral as without this package, and say so once."""

from __future__ import annotations

import logging
import subprocess
import sys
from weakref import WeakValueDictionary

import pytest
from call_modes import SYNC
from http_records import KEY, TOKEN

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewaySettings,
    _attach,
    _switch,
    capture,
    gateway_headers,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._sdk import Mistral
from mistral_cf_adapter.testing import LocalGateway

OFF = {
    "false": {"CF_AIG_ENABLED": "false"},
    "0": {"CF_AIG_ENABLED": "0"},
    "OFF": {"CF_AIG_ENABLED": " OFF "},
    "false with an account": {"CF_AIG_ENABLED": "false", "CLOUDFLARE_ACCOUNT_ID": "acc"},
    "if-configured": {"CF_AIG_ENABLED": "if-configured"},
    "a gateway's name alone": {"CF_AIG_ENABLED": "if-configured", "CLOUDFLARE_GATEWAY_ID": "gw"},
    "no key": {"CF_AIG_ENABLED": "false", "CF_AIG_BYOK": "true", "CF_AIG_FALLBACK": "direct"},
    "half a service token": {"CF_AIG_ENABLED": "no", "CF_AIG_ACCESS_CLIENT_ID": "x.access"},
}
MINE = {"CF-AIG-Cache-Key": "mine", "cf-access-token": "ey.J.wt", "x-mine": "1"}


@pytest.fixture(autouse=True)
def _forget_what_was_said(monkeypatch):
    # Clients of other tests that have a route may still be there.
    routed = WeakValueDictionary()
    monkeypatch.setattr(_switch, "configurations", routed)
    monkeypatch.setattr(_attach, "configurations", routed)
    monkeypatch.setattr(_switch, "_callers", set())
    yield
    assert _switch._off_patches == []


@pytest.fixture(params=OFF.values(), ids=OFF)
def off(request, monkeypatch):
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def switched_off(monkeypatch):
    monkeypatch.setenv("CF_AIG_ENABLED", "false")


def set_gateway(monkeypatch, gateway):
    monkeypatch.setenv("CF_AIG_BASE_URL", gateway.base_url)
    monkeypatch.setenv("CF_AIG_TOKEN", TOKEN)
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)


def sent(request):
    """Return a request's headers, but for those that tell one connection from another."""
    return sorted((name.lower(), value) for name, value in request.headers)


# ---------------------------------------------------------------- a client


def test_the_client_is_the_sdks_own(off, monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    client = make_client(timeout_ms=1234)
    bare = Mistral(timeout_ms=1234)
    assert type(client) is Mistral
    ours, theirs = client.sdk_configuration, bare.sdk_configuration
    assert type(ours) is type(theirs)
    assert type(ours.client) is type(theirs.client)
    assert type(ours.async_client) is type(theirs.async_client)
    assert ours.get_server_details() == theirs.get_server_details()
    assert ours.get_server_details()[0] == "https://api.mistral.ai"
    assert ours.timeout_ms == theirs.timeout_ms == 1234


def test_a_call_is_the_bare_sdks(off, elsewhere, async_http, mode, monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    keywords = {"server_url": elsewhere.origin, "async_client": async_http}
    client, bare = make_client(**keywords), Mistral(api_key=KEY, **keywords)
    with gateway_options(cache_ttl=60), capture() as calls:
        assert mode.chat(client) == mode.chat(bare)
    ours, theirs = elsewhere.requests
    assert sent(ours) == sent(theirs)
    assert (ours.path, ours.body) == (theirs.path, theirs.body)
    assert ours.header("authorization") == f"Bearer {KEY}"
    assert calls == []


@pytest.mark.parametrize(
    "values",
    [{"enabled": False}, {"enabled": "false"}, {"enabled": "if-configured"}],
    ids=lambda values: repr(values["enabled"]),
)
def test_no_header_for_cloudflare_reaches_mistral(elsewhere, async_http, mode, values):
    keywords = {"server_url": elsewhere.origin, "async_client": async_http, "api_key": KEY}
    client = make_client(GatewaySettings(**values), **keywords)
    mode.chat(client, http_headers={**gateway_headers(skip_cache=True), **MINE})
    assert not [name for name, _ in elsewhere.last.headers if name.lower().startswith("cf-")]
    assert elsewhere.last.header("x-mine") == "1"


def test_a_client_that_is_patched_later_sends_them(gateway, make_settings, mode, async_http):
    client = make_client(enabled=False, api_key=KEY, async_client=async_http)
    with patch(client, make_settings()):
        mode.chat(client, http_headers=gateway_headers(skip_cache=True))
    assert gateway.last.header("cf-aig-skip-cache") == "true"
    assert gateway.last.header("cf-aig-authorization") == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("variables", "values", "key"),
    [
        ({}, {"mistral_api_key": KEY}, KEY),
        ({"CF_AIG_MISTRAL_API_KEY": KEY}, {}, KEY),
        ({"MISTRAL_API_KEY": "another-key"}, {"mistral_api_key": KEY}, KEY),
        ({"MISTRAL_API_KEY": KEY, "CF_AIG_BYOK": "true"}, {}, KEY),
    ],
)
def test_a_key_of_the_settings_is_sent(
    elsewhere, async_http, monkeypatch, mode, variables, values, key
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    keywords = {"server_url": elsewhere.origin, "async_client": async_http}
    settings = GatewaySettings(enabled=False, **values)
    mode.chat(make_client(settings, **keywords))
    assert elsewhere.last.header("authorization") == f"Bearer {key}"
    mode.chat(make_client(settings, api_key="mine", **keywords))
    assert elsewhere.last.header("authorization") == "Bearer mine"


@pytest.mark.parametrize("kind", ["a text", "a callable", "a file", "a file that is named"])
def test_a_key_beside_a_stored_one_stays_where_the_switch_is_turned_off(
    gateway, elsewhere, monkeypatch, tmp_path, kind
):
    file = tmp_path / "settings.env"
    file.write_text(f"MISTRAL_API_KEY={KEY}\n")
    if kind == "a file that is named":
        monkeypatch.setenv("CF_AIG_ENV_FILE", str(file))
    values = {
        "a text": {"mistral_api_key": KEY, "enabled": False},
        "a callable": {"mistral_api_key": lambda: KEY, "enabled": False},
        "a file": {"_env_file": file},
        "a file that is named": {},
    }[kind]
    settings = GatewaySettings(base_url=gateway.base_url, byok=True, **values)
    SYNC.chat(make_client(settings, enabled=False, server_url=elsewhere.origin))
    assert elsewhere.last.header("authorization") == f"Bearer {KEY}"
    SYNC.chat(make_client(settings, enabled=True))
    assert gateway.last.header("authorization") is None


def test_an_asynchronous_key_is_refused_with_what_helps(elsewhere, async_http, mode):
    """The SDK itself asks for it, and awaits nothing."""

    async def ask():
        return KEY

    keywords = {"server_url": elsewhere.origin, "async_client": async_http}
    client = make_client(GatewaySettings(enabled=False, mistral_api_key=ask), **keywords)
    with pytest.raises(GatewayConfigError, match="as with the switch off: give a plain function"):
        mode.chat(client)
    assert elsewhere.requests == []


def test_the_keyword_of_make_client(gateway, monkeypatch, mode):
    assert type(make_client(enabled="if-configured").sdk_configuration.client).__name__ == "Client"
    set_gateway(monkeypatch, gateway)
    mode.chat(make_client(enabled="if-configured"))
    assert gateway.last.header("cf-aig-authorization") == f"Bearer {TOKEN}"
    off = make_client(GatewaySettings(), enabled=False)
    assert off.sdk_configuration.get_server_details()[0] == "https://api.mistral.ai"
    mode.chat(make_client(GatewaySettings(enabled=False), enabled=True))
    assert len(gateway.requests) == 2


# ---------------------------------------------------------------- which of them counts


def test_the_environment_decides_where_the_program_leaves_it_to_the_configuration(
    gateway, monkeypatch
):
    set_gateway(monkeypatch, gateway)
    assert GatewaySettings(enabled="if-configured").uses_gateway
    monkeypatch.setenv("CF_AIG_ENABLED", "false")
    assert not GatewaySettings(enabled="if-configured").uses_gateway
    assert make_client(enabled="if-configured").sdk_configuration.server_url != gateway.base_url
    assert GatewaySettings(enabled=True).uses_gateway
    monkeypatch.setenv("CF_AIG_ENABLED", "true")
    monkeypatch.delenv("CF_AIG_BASE_URL")
    with pytest.raises(GatewayConfigError, match="CLOUDFLARE_ACCOUNT_ID is not set"):
        make_client(enabled="if-configured")


@pytest.mark.parametrize("value", ["flase", "maybe", "none", "2", "if_configured", "-"])
def test_a_wrong_value_fails_loudly(monkeypatch, value):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc")
    monkeypatch.setenv("CF_AIG_ENABLED", value)
    told = f"CF_AIG_ENABLED: '{value}' must be true, false or if-configured"
    for call in (GatewaySettings, make_client, patch, lambda: make_client(enabled="if-configured")):
        with pytest.raises(GatewayConfigError, match=told):
            call()
    with pytest.raises(GatewayConfigError, match=told.removeprefix("CF_AIG_").lower()):
        make_client(enabled=value)


def test_it_is_on_unless_it_is_said():
    with pytest.raises(GatewayConfigError, match="CLOUDFLARE_ACCOUNT_ID is not set"):
        make_client()
    with pytest.raises(GatewayConfigError, match="CLOUDFLARE_ACCOUNT_ID is not set"):
        make_client(enabled=True)


def test_a_base_url_that_is_not_read_is_no_missing_configuration(monkeypatch):
    monkeypatch.setenv("CF_AIG_BASE_URL", "https://ai.example.com")
    with pytest.raises(GatewayConfigError, match="so CF_AIG_BASE_URL is not read"):
        GatewaySettings(enabled="if-configured", gateway_id="gw")


def test_an_address_that_is_not_there_is_not_made_up(switched_off):
    settings = GatewaySettings()
    assert "enabled=False" in repr(settings)
    for name in ("root_url", "provider_url", "compat_url"):
        with pytest.raises(GatewayConfigError, match="CLOUDFLARE_ACCOUNT_ID is not set"):
            getattr(settings, name)
    switched_on = settings.model_copy(update={"enabled": True, "account_id": "acc"})
    assert switched_on.provider_url.endswith("/acc/default/mistral")
    with pytest.raises(GatewayConfigError, match="CLOUDFLARE_ACCOUNT_ID is not set"):
        settings.model_copy(update={"enabled": True})


def test_the_local_gateway_is_on_all_the_same(monkeypatch, make_settings):
    left_to_it = make_settings(enabled="if-configured")
    monkeypatch.setenv("CF_AIG_ENABLED", "false")
    with LocalGateway() as gateway:
        assert SYNC.chat(make_client(gateway.settings()))
        assert gateway.adopted(left_to_it).uses_gateway
        assert not gateway.settings(enabled=False).uses_gateway


# ---------------------------------------------------------------- a patch


def test_patch_does_nothing(off, monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    before, init = Mistral(), Mistral.__init__
    with patch() as patched:
        assert Mistral.__init__ is init
        assert type(Mistral().sdk_configuration) is type(before.sdk_configuration)
        assert before.sdk_configuration.get_server_details()[0] == "https://api.mistral.ai"
        assert patched.redirect(before) is False
        assert repr(patched) == "<patch(), switched off>"
        assert gateway_headers(skip_cache=True) == {}
    patched.undo()
    with pytest.raises(GatewayConfigError, match="is undone"), patched:
        pass
    other = patch(before)
    assert type(before.sdk_configuration) is type(Mistral().sdk_configuration)
    other.undo()
    other.undo()


@pytest.mark.parametrize("key", [KEY, lambda: KEY], ids=["a text", "a callable"])
def test_a_client_below_a_patch_has_its_key_and_goes_where_the_patch_leads(
    gateway, make_settings, mode, caplog, key
):
    caplog.set_level(logging.INFO, "mistral_cf_adapter")
    with patch(settings=make_settings(mistral_api_key=None)):
        mode.chat(make_client(GatewaySettings(enabled=False, mistral_api_key=key)))
    assert gateway.last.header("authorization") == f"Bearer {KEY}"
    assert gateway.last.header("cf-aig-authorization") == f"Bearer {TOKEN}"
    assert "directly" not in caplog.text


def test_patch_leaves_another_patch_in_force(gateway, make_settings, mode, async_http):
    with patch(settings=make_settings()), patch(settings=GatewaySettings(enabled=False)):
        client = Mistral(api_key=KEY, async_client=async_http)
        mode.chat(client, http_headers=gateway_headers(skip_cache=True))
    assert gateway.last.header("cf-aig-skip-cache") == "true"


def test_headers_are_none_while_the_variable_says_so(switched_off, monkeypatch):
    assert gateway_headers(skip_cache=True) == {}
    with pytest.raises(GatewayConfigError, match="cache_ttl"):
        gateway_headers(cache_ttl=1)
    monkeypatch.setenv("CF_AIG_ENABLED", "true")
    assert gateway_headers(skip_cache=True) == {"cf-aig-skip-cache": "true"}


def test_a_client_with_a_route_gets_its_headers_all_the_same(
    switched_off, gateway, make_settings, mode
):
    client = make_client(make_settings(enabled=True))
    mode.chat(client, http_headers=gateway_headers(skip_cache=True))
    assert gateway.last.header("cf-aig-skip-cache") == "true"


def test_nothing_of_the_sdk_is_changed(switched_off):
    code = (
        "from mistral_cf_adapter import make_client, patch\n"
        "from mistral_cf_adapter._sdk import Mistral\n"
        "import mistral_cf_adapter.speedups as speedups\n"
        "speedups.install = None\n"
        "patch(); make_client(); Mistral()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- what is said


def test_each_says_so_once(switched_off, caplog):
    caplog.set_level(logging.INFO, "mistral_cf_adapter")
    for _ in range(3):
        make_client()
        patch().undo()
    assert caplog.messages == [
        f"{caller}: calls go to Mistral directly, not through AI Gateway: enabled "
        "(CF_AIG_ENABLED) is false"
        for caller in ("make_client()", "patch()")
    ]
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_if_configured_says_what_is_missing(caplog):
    caplog.set_level(logging.INFO, "mistral_cf_adapter")
    make_client(enabled="if-configured")
    assert "neither CLOUDFLARE_ACCOUNT_ID nor CF_AIG_BASE_URL is set" in caplog.text


def test_nothing_is_said_while_it_is_on(gateway, monkeypatch, caplog):
    set_gateway(monkeypatch, gateway)
    caplog.set_level(logging.INFO, "mistral_cf_adapter")
    SYNC.chat(make_client(enabled="if-configured"))
    patch().undo()
    assert "directly" not in caplog.text
