"""Keys that change while a client lives: what the SDK reads at every call is read at every call."""

from __future__ import annotations

import pytest
from call_modes import SYNC
from client_ways import WAYS, with_make_client, with_patch
from http_records import TOKEN
from test_client import MAJOR

from mistral_cf_adapter import GatewayConfigError, GatewaySettings, make_client, patch
from mistral_cf_adapter._attach import override_settings
from mistral_cf_adapter._sdk import Mistral

VARIABLES = ["MISTRAL_API_KEY", "CF_AIG_MISTRAL_API_KEY"]
reads_the_environment = pytest.mark.skipif(
    MAJOR < 2, reason="the SDK itself reads no key of the environment before 2.4"
)


@pytest.fixture
def environment(monkeypatch, gateway):
    monkeypatch.setenv("CF_AIG_BASE_URL", gateway.base_url)
    monkeypatch.setenv("CF_AIG_TOKEN", TOKEN)
    return monkeypatch


def key_of(request):
    return request.header("authorization")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_key_of_the_environment_is_read_at_every_call(gateway, environment, mode, variable, way):
    environment.setenv(variable, "one-of-the-keys")
    with way() as client:
        mode.chat(client)
        for key in ("another-of-the-keys", "Bearer third-of-the-keys"):
            environment.setenv(variable, key)
            mode.chat(client)
    assert [key_of(request) for request in gateway.requests] == [
        "Bearer one-of-the-keys",
        "Bearer another-of-the-keys",
        "Bearer third-of-the-keys",
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_key_that_is_removed_is_not_sent(gateway, environment, mode, variable, way):
    environment.setenv(variable, "one-of-the-keys")
    with way() as client:
        mode.chat(client)
        environment.delenv(variable)
        with pytest.raises(GatewayConfigError, match="There is no Mistral key"):
            mode.chat(client)
        environment.setenv(variable, "another-of-the-keys")
        mode.chat(client)
    arrived = [key_of(request) for request in gateway.requests]
    assert arrived == ["Bearer one-of-the-keys", "Bearer another-of-the-keys"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_key_that_comes_later_is_sent(gateway, environment, mode, variable, way):
    with way() as client:
        with pytest.raises(GatewayConfigError, match="There is no Mistral key"):
            mode.chat(client)
        environment.setenv(variable, "one-of-the-keys")
        mode.chat(client)
    assert key_of(gateway.last) == "Bearer one-of-the-keys"


@pytest.mark.parametrize("way", WAYS)
def test_the_first_variable_wins_at_every_call(gateway, environment, mode, way):
    first, second = VARIABLES
    environment.setenv(second, "of-the-second")
    with way() as client:
        mode.chat(client)
        environment.setenv(first, "of-the-first")
        mode.chat(client)
        environment.setenv(first, "")
        mode.chat(client)
    arrived = [key_of(request) for request in gateway.requests]
    assert arrived == ["Bearer of-the-second", "Bearer of-the-first", "Bearer of-the-second"]


@reads_the_environment
def test_it_is_the_key_that_the_bare_sdk_sends(gateway, environment, bare, mode):
    bare.sdk_configuration.security = None
    with with_make_client() as one, with_patch() as other:
        for key in ("first-of-the-keys", "second-of-the-keys"):
            environment.setenv("MISTRAL_API_KEY", key)
            gateway.reset()
            for client in (bare, one, other):
                mode.chat(client)
            arrived = [key_of(request) for request in gateway.requests]
            assert arrived == [f"Bearer {key}"] * 3


@pytest.mark.parametrize("way", WAYS)
def test_a_key_by_keyword_stays(gateway, environment, mode, way):
    settings = GatewaySettings(mistral_api_key="by-keyword")
    environment.setenv("MISTRAL_API_KEY", "of-the-environment")
    with way(settings) as client:
        mode.chat(client)
    assert key_of(gateway.last) == "Bearer by-keyword"


def test_a_key_of_the_client_stays(gateway, environment, mode):
    client = make_client(api_key="of-the-client")
    environment.setenv("MISTRAL_API_KEY", "of-the-environment")
    mode.chat(client)
    assert key_of(gateway.last) == "Bearer of-the-client"
    with patch():
        mode.chat(Mistral(api_key="of-the-client"))
    assert key_of(gateway.last) == "Bearer of-the-client"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["_env_file", "_secrets_dir"])
def test_a_later_variable_does_not_replace_a_key_of_a_file(
    gateway, environment, mode, tmp_path, place, way
):
    (tmp_path / "MISTRAL_API_KEY").write_text("of-a-file")
    file = tmp_path / "settings.env"
    file.write_text("MISTRAL_API_KEY=of-a-file\n")
    settings = GatewaySettings(**{place: file if place == "_env_file" else tmp_path})
    environment.setenv("MISTRAL_API_KEY", "of-the-environment")
    with way(settings) as client:
        mode.chat(client)
    assert key_of(gateway.last) == "Bearer of-a-file"


def test_the_environment_wins_over_a_file_as_long_as_it_has_a_key(gateway, environment, tmp_path):
    file = tmp_path / "settings.env"
    file.write_text("MISTRAL_API_KEY=of-a-file\n")
    environment.setenv("MISTRAL_API_KEY", "one-of-the-keys")
    client = make_client(GatewaySettings(_env_file=file))
    environment.setenv("MISTRAL_API_KEY", "another-of-the-keys")
    SYNC.chat(client)
    assert key_of(gateway.last) == "Bearer another-of-the-keys"


@pytest.mark.parametrize("way", WAYS)
def test_a_token_stays_as_it_was(gateway, environment, mode, way):
    environment.setenv("MISTRAL_API_KEY", "one-of-the-keys")
    with way() as client:
        environment.setenv("CF_AIG_TOKEN", "another-token")
        mode.chat(client)
    assert gateway.last.header("cf-aig-authorization") == f"Bearer {TOKEN}"
    mode.chat(make_client())
    assert gateway.last.header("cf-aig-authorization") == "Bearer another-token"


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("key", ["hunter2 3", "Bearer: hunter2", "<hunter2>", "  "])
def test_a_later_key_that_cannot_be_one_is_named_by_its_variable(
    gateway, environment, variable, key, mode
):
    if MAJOR > 1 and variable == "MISTRAL_API_KEY":
        pytest.skip("the SDK sends it by itself, as it is")
    environment.setenv(variable, "one-of-the-keys")
    client = make_client()
    environment.setenv(variable, key)
    with pytest.raises(GatewayConfigError, match=f"^{variable} ") as caught:
        mode.chat(client)
    assert "hunter2" not in str(caught.value)
    assert gateway.requests == []


@pytest.mark.skipif(MAJOR < 3, reason="service accounts came with 3.0")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variable", [None, "MISTRAL_API_KEY"])
def test_a_service_account_that_comes_later_is_used_as_the_sdk_does(
    gateway, environment, tmp_path, mode, variable, way
):
    """Its token ranks above the environment's key, and is read from the file at every call."""
    if variable is not None:
        environment.setenv(variable, "of-the-environment")
    file = tmp_path / "token"
    with way() as client:
        environment.setenv("MISTRAL_SA_TOKEN_PATH", str(file))
        for token in ("one-of-the-accounts", "another-of-the-accounts"):
            file.write_text(token)
            mode.chat(client)
            assert key_of(gateway.last) == f"Bearer {token}"
        if variable is not None:
            environment.delenv("MISTRAL_SA_TOKEN_PATH")
            mode.chat(client)
            assert key_of(gateway.last) == "Bearer of-the-environment"


@pytest.mark.skipif(MAJOR < 3, reason="service accounts came with 3.0")
def test_a_key_that_only_the_adapter_has_wins_over_a_service_account(
    gateway, environment, tmp_path, mode
):
    environment.setenv("MISTRAL_SA_TOKEN_PATH", str(tmp_path / "absent"))
    environment.setenv("CF_AIG_MISTRAL_API_KEY", "of-the-adapter")
    mode.chat(make_client())
    assert key_of(gateway.last) == "Bearer of-the-adapter"


def test_the_fallback_takes_the_key_of_now(gateway, mistral, environment):
    environment.setenv("CF_AIG_BASE_URL", "http://127.0.0.1:9/v1/acc/gw")
    environment.setenv("CF_AIG_FALLBACK", "direct")
    environment.setenv("MISTRAL_API_KEY", "one-of-the-keys")
    client = make_client()
    environment.setenv("MISTRAL_API_KEY", "another-of-the-keys")
    SYNC.chat(client)
    assert key_of(mistral.last) == "Bearer another-of-the-keys"


def test_clients_that_are_sent_elsewhere_read_it_too(gateway, elsewhere, environment):
    environment.setenv("MISTRAL_API_KEY", "one-of-the-keys")
    client = make_client()
    update = {"base_url": elsewhere.base_url}
    with override_settings(lambda settings: settings.model_copy(update=update)):
        environment.setenv("MISTRAL_API_KEY", "another-of-the-keys")
        SYNC.chat(client)
    assert key_of(elsewhere.last) == "Bearer another-of-the-keys"


def test_a_client_that_is_its_own_again_has_what_it_had(environment):
    environment.setenv("CF_AIG_MISTRAL_API_KEY", "one-of-the-keys")
    client = Mistral()
    before = client.sdk_configuration.security
    with patch(client):
        assert client.sdk_configuration.security().api_key == "one-of-the-keys"
    assert client.sdk_configuration.security is before
    client.sdk_configuration.security = "mine"
    with patch(client):
        client.sdk_configuration.security = "another"
    assert client.sdk_configuration.security == "another"
