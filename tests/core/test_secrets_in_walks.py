"""No walk over attributes, slots, items or fields finds a secret: tracers export what they find.

A decorator such as Langfuse's `@observe()` takes the arguments of a function, a client among them.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from call_modes import MODES
from http_records import Reply
from object_walks import copied, serialized, texts_in
from pydantic import SecretStr
from secret_searches import KEY, TOKEN, shown_in

from mistral_cf_adapter import (
    GatewayError,
    GatewaySettings,
    capture,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._options import get_current_scope
from mistral_cf_adapter._sdk import Mistral
from mistral_cf_adapter._secrets import Secret

WALKS = {
    "attributes": lambda thing: "\n".join(texts_in(thing)),
    "a deep copy's": lambda thing: "\n".join(texts_in(copied(thing))),
    "as JSON": serialized,
    "vars": lambda thing: repr(getattr(thing, "__dict__", None)),
    "asdict": lambda thing: (
        repr(dataclasses.asdict(thing)) if dataclasses.is_dataclass(thing) else ""
    ),
}
WAYS = ["keywords", "environment", "file", "directory"]


@pytest.fixture(params=WAYS)
def settings(request, gateway, monkeypatch, tmp_path):
    """The settings, from each place that they can come from."""
    texts = {"CF_AIG_BASE_URL": gateway.base_url, "CF_AIG_TOKEN": TOKEN, "MISTRAL_API_KEY": KEY}
    if request.param == "keywords":
        return GatewaySettings(base_url=gateway.base_url, token=TOKEN, mistral_api_key=KEY)
    if request.param == "environment":
        for name, text in texts.items():
            monkeypatch.setenv(name, text)
        return GatewaySettings()
    if request.param == "directory":
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        return GatewaySettings(_secrets_dir=tmp_path)
    file = tmp_path / "settings.env"
    file.write_text("".join(f"{name}={text}\n" for name, text in texts.items()))
    return GatewaySettings(_env_file=file)


def things(settings, theirs, patched):
    """Name all that a program can hold of ours."""
    client = make_client(settings)
    for mode in MODES:
        mode.chat(client)
        mode.chat(theirs)
    with capture() as calls, gateway_options(cache_ttl=60):
        client.models.list()
        layer = get_current_scope()
    return {
        "settings": settings,
        "a copy of the settings": copy.deepcopy(settings),
        "another copy": settings.model_copy(update={"cache_ttl": 60}),
        "what is dumped of the settings": settings.model_dump(),
        "a client": client,
        "a sub-SDK": client.chat,
        "a sub-SDK of a sub-SDK": client.beta.conversations,
        "a configuration": client.sdk_configuration,
        "an HTTP client": client.sdk_configuration.client,
        "an async HTTP client": client.sdk_configuration.async_client,
        "a client that is patched": theirs,
        "its configuration": theirs.sdk_configuration,
        "a patch": patched,
        "calls": calls,
        "options": layer,
    }


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_from_anything_of_ours(settings, async_http, walk):
    with patch(settings=settings) as patched:
        for name, thing in things(settings, Mistral(), patched).items():
            assert not shown_in(walk(thing), TOKEN, KEY), name


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
@pytest.mark.parametrize("status", [401, 503])
def test_from_an_error(gateway, mode, status, walk):
    gateway.replies.append(Reply(status, {"success": False, "error": [{"code": 2009}]}))
    settings = GatewaySettings(base_url=gateway.base_url, token=TOKEN)
    with pytest.raises(GatewayError) as caught:
        mode.chat(make_client(settings, api_key=KEY))
    assert not shown_in(walk(caught.value), TOKEN, KEY)
    assert caught.value.raw_response.request.url.path.endswith("/chat/completions")


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_from_the_error_of_a_stream(gateway, walk):
    gateway.replies.append(Reply(200, b"data: 1", {"content-type": "text/event-stream"}))
    settings = GatewaySettings(base_url=gateway.base_url, token=TOKEN)
    client = make_client(settings, api_key=KEY)
    with pytest.raises(GatewayError) as caught:
        list(client.chat.stream(model="m", messages=[{"role": "user", "content": "x"}]))
    assert not shown_in(walk(caught.value), TOKEN, KEY)


def test_the_walk_finds_what_the_bare_sdk_keeps():
    """The key that a caller gave by keyword is where the SDK has it, with the adapter too."""
    settings = GatewaySettings(account_id="acc", token=TOKEN)
    for client in (Mistral(api_key=KEY), make_client(settings, api_key=KEY)):
        assert client.sdk_configuration.security.api_key == KEY
        for name in ("attributes", "as JSON"):
            assert shown_in(WALKS[name](client), KEY)
    assert not shown_in("\n".join(texts_in(client)), TOKEN)


def test_a_key_of_the_settings_is_a_function_to_the_sdk(gateway):
    settings = GatewaySettings(base_url=gateway.base_url, mistral_api_key=KEY)
    client = make_client(settings)
    assert client.sdk_configuration.security().api_key == KEY
    assert "settings" in repr(client.sdk_configuration.security).lower()
    client.models.list()
    assert gateway.last.all("authorization") == [f"Bearer {KEY}"]


def test_a_secret_is_a_secretstr_in_all_else():
    secret, other = Secret("text"), SecretStr("text")
    assert secret == other
    assert other == secret
    assert hash(secret) == hash(other)
    assert secret != Secret("texts")
    assert (len(secret), secret.get_secret_value()) == (4, "text")
    assert (str(secret), repr(secret)) == ("**********", "Secret('**********')")
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(secret)
    settings = GatewaySettings(account_id="acc", token=other)
    assert settings.token == other
    assert settings.model_dump_json().count("**********") == 1
