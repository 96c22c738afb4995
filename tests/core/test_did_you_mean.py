"""Wherever a name is taken, one that is misspelt is answered with the one that is meant."""

from __future__ import annotations

import json
import warnings

import pytest

import mistral_cf_adapter
from mistral_cf_adapter import (
    GatewayOptions,
    GatewaySettings,
    gateway_headers,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._client import MistralKeywords
from mistral_cf_adapter._validation import is_secret
from mistral_cf_adapter._variables import env_names
from mistral_cf_adapter.cli import main
from mistral_cf_adapter.cli.commands import Doctor, Env, Run, Serve
from mistral_cf_adapter.cli.flags import flag_of, secret_flags
from mistral_cf_adapter.cli.tools import TOOLS

SETTINGS = GatewaySettings(account_id="acc", token="cf-token-0123456789")
OPTIONS = [*GatewayOptions.model_fields]
NAMES = [*GatewaySettings.model_fields]
FLAGS = [flag_of(name) for name in NAMES if not is_secret(GatewaySettings.model_fields[name])]


def misspell(name):
    """Swap two letters of a name: of its last word the second and third, or others that differ."""
    start = max(map(name.rfind, "_-")) + 1
    places = [start + 2, *range(len(name) - 1, start, -1), *range(start, 0, -1)]
    place = next(at for at in places if at < len(name) and name[at] != name[at - 1])
    return name[: place - 1] + name[place] + name[place - 1] + name[place + 1 :]


def told_by(call):
    """Return what a call raises or warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except Exception as error:
            return str(error)
    return "\n".join(str(warning.message) for warning in caught)


def keywords_of(function, names):
    """Yield each keyword that a function takes, and a call of it with that misspelt."""
    for name in names:
        yield name, lambda name=name: function(**{misspell(name): "x"})


CALLS = {
    "GatewaySettings()": keywords_of(GatewaySettings, [*NAMES, "_env_file", "_secrets_dir"]),
    "GatewayOptions()": keywords_of(GatewayOptions, OPTIONS),
    "gateway_options()": keywords_of(gateway_options, OPTIONS),
    "gateway_headers()": keywords_of(gateway_headers, OPTIONS),
    "make_client()": keywords_of(make_client, [*MistralKeywords.__annotations__, "enabled"]),
    "make_client() with a setting": keywords_of(make_client, ["account_id", "cache_ttl", "byok"]),
    "patch()": keywords_of(patch, ["settings"]),
    "model_copy()": (
        (name, lambda name=name: SETTINGS.model_copy(update={misspell(name): "x"}))
        for name in NAMES
    ),
    "custom_cost": (
        (name, lambda name=name: gateway_options(custom_cost={misspell(name): 1}))
        for name in ("per_token_in", "per_token_out", "per_cache_read_token")
    ),
    "the package": (
        (name, lambda name=name: getattr(mistral_cf_adapter, misspell(name)))
        for name in mistral_cf_adapter.__all__
    ),
}


@pytest.mark.parametrize(
    ("name", "call"),
    [
        pytest.param(name, call, id=f"{place} {name}")
        for place, calls in CALLS.items()
        for name, call in calls
    ],
)
def test_of_a_python_name(name, call):
    assert f"did you mean {name}?" in told_by(call)


VARIABLES = [variable for name in NAMES for variable in env_names(name)]


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("where", ["environment", "file", "directory"])
def test_of_a_variable(variable, where, tmp_path, monkeypatch):
    written = misspell(variable)
    is_account = variable in env_names("account_id")
    base = {"base_url": "https://ai.example.com"} if is_account else {"account_id": "acc"}
    sources = {}
    if where == "environment":
        monkeypatch.setenv(written, "x")
    elif where == "file":
        sources["_env_file"] = tmp_path / "settings.env"
        sources["_env_file"].write_text(f"{written}=x\n")
    else:
        sources["_secrets_dir"] = tmp_path
        (tmp_path / written).write_text("x")
    assert f"did you mean {variable}?" in told_by(lambda: GatewaySettings(**base, **sources))


COMMANDS = {"doctor": Doctor, "run": Run, "env": Env, "serve": Serve}


def own_flags(command):
    flags = [flag_of(name.rstrip("_")) for name in COMMANDS[command].model_fields]
    return [flag for flag in flags if flag not in FLAGS and flag != "--script"]


TYPED = [
    *((command, misspell(flag), flag) for command in COMMANDS for flag in own_flags(command)),
    *(("doctor", misspell(flag), flag) for flag in FLAGS),
    *((misspell(command), "", command) for command in COMMANDS),
    *(("env", f"--for={misspell(tool)}", tool) for tool in TOOLS if len(tool) > 2),
]


@pytest.mark.parametrize(("command", "argument", "meant"), TYPED)
def test_of_what_is_typed(command, argument, meant, capsys):
    assert main([command, *([argument] if argument else [])]) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--token", "--mistral-api-key", "--access-client-secret"])
def test_of_a_secret_no_flag_is_suggested_but_its_variable(flag, capsys):
    assert main(["doctor", misspell(flag)]) == 2
    told = capsys.readouterr().err
    variable = env_names(secret_flags()[flag])[0]
    assert f"secrets are no flags: set {variable}" in told
    assert "did you mean" not in told


def test_nothing_is_suggested_where_nothing_is_near(capsys):
    assert "did you mean" not in told_by(lambda: make_client(zzz=1))
    assert "did you mean" not in told_by(lambda: patch(zzz=1))
    assert "did you mean" not in told_by(lambda: mistral_cf_adapter.zzz)
    assert "did you mean" not in told_by(lambda: mistral_cf_adapter.__path_hooks__)
    assert main(["zzz"]) == 2
    assert "did you mean" not in capsys.readouterr().err


def test_a_setting_as_a_keyword_of_patch_is_led_to_the_settings():
    assert "pass settings=GatewaySettings(cache_ttl=...)" in told_by(lambda: patch(cache_ttl=60))


def test_no_value_of_an_unknown_keyword_is_told():
    secret = "a-secret-0123456789"
    for call in (
        lambda: make_client(api_kye=secret),
        lambda: patch(settngs=secret),
        lambda: GatewaySettings(tokn=secret),
        lambda: gateway_options(metdata={"key": secret}),
    ):
        assert secret not in json.dumps(told_by(call))
