"""What is said of settings that cannot work: which variable or file, its value, what is right."""

from __future__ import annotations

import gc
import sys
import warnings
from pathlib import Path

import pytest
from run_programs import start

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewayOptions,
    GatewaySettings,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._variables import ALIASES, LOOK_ALIKES, env_names

SECRET = "hunter2-hunter2"
LINES = f"CLOUDFLARE_ACCOUNT_ID=acc1\nCF_AIG_TOKEN={SECRET}\n"


def refusal(**keywords):
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(**keywords)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


def warned(**keywords):
    """Return what is warned of when settings are made."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        GatewaySettings(**keywords)
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


# ---------------------------------------------------------------- files that cannot be read


def read_by(how, path, monkeypatch):
    if how == "keyword":
        return refusal(_env_file=path)
    monkeypatch.setenv("CF_AIG_ENV_FILE", str(path))
    return refusal()


WRONG_FILES = {
    "UTF-16, as of PowerShell": (LINES.encode("utf-16"), "is UTF-16 text", "-Encoding utf8"),
    "UTF-16 without a mark": (LINES.encode("utf-16-le"), "is UTF-16 text", "save it as UTF-8"),
    "UTF-16 backwards": (b"\xfe\xff" + LINES.encode("utf-16-be"), "is UTF-16 text", "as UTF-8"),
    "Latin-1": (
        LINES.encode() + "CF_AIG_CACHE_KEY=é\n".encode("latin-1"),
        "line 3 (CF_AIG_CACHE_KEY), is not UTF-8 text",
        "save the file as UTF-8",
    ),
    "Latin-1 in a comment": (
        "# café\n".encode("latin-1") + LINES.encode(),
        "line 1, is not UTF-8 text",
        "save the file as UTF-8",
    ),
}


@pytest.mark.parametrize("how", ["keyword", "variable"])
@pytest.mark.parametrize(("content", "what", "remedy"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_file_that_is_not_utf8_is_named_with_the_remedy(
    monkeypatch, tmp_path, how, content, what, remedy
):
    path = tmp_path / "settings.env"
    path.write_bytes(content)
    said = read_by(how, path, monkeypatch)
    assert f"{'_env_file' if how == 'keyword' else 'CF_AIG_ENV_FILE'}: {path}" in said
    assert what in said
    assert remedy in said


@pytest.mark.parametrize("how", ["keyword", "variable"])
def test_a_directory_in_place_of_a_file_is_named(monkeypatch, tmp_path, how):
    assert f"{tmp_path} is a directory: name a file in it" in read_by(how, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["a/b/c", "x" * 5000, "nul\0byte", "~nosuchuser/.env"])
def test_a_file_that_cannot_be_there_is_named(name):
    assert "_env_file: there is no file" in refusal(_env_file=name)


def test_a_path_that_is_none_is_said_to_be_none():
    assert "_env_file: must be a path, not int" in refusal(_env_file=5)
    assert "_secrets_dir: must be a path, not int" in refusal(_secrets_dir=5, account_id="acc1")


def test_a_file_that_may_not_be_read_is_named(monkeypatch, tmp_path):
    path = tmp_path / "settings.env"
    path.write_text(LINES)

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert f"cannot read {path}: Permission denied. Let this user read it" in refusal(
        _env_file=path
    )


def test_an_encoding_of_the_users_own_is_used(tmp_path):
    path = tmp_path / "settings.env"
    path.write_bytes(LINES.encode("utf-16"))
    assert GatewaySettings(_env_file=path, _env_file_encoding="utf-16").account_id == "acc1"
    assert "no encoding 'utf-61'" in refusal(_env_file=path, _env_file_encoding="utf-61")


WRONG_SECRETS = {
    "UTF-16": (SECRET.encode("utf-16"), "is UTF-16 text"),
    "Latin-1": (f"{SECRET}é".encode("latin-1"), "is not UTF-8 text"),
    "a byte order mark": (f"\ufeff{SECRET}".encode(), "begins with a byte order mark"),
}


@pytest.mark.parametrize(("content", "what"), WRONG_SECRETS.values(), ids=WRONG_SECRETS)
def test_a_secret_that_is_no_text_is_named_by_variable_and_file(tmp_path, content, what):
    path = tmp_path / "cf_aig_token"
    path.write_bytes(content)
    said = refusal(account_id="acc1", _secrets_dir=tmp_path)
    assert f"_secrets_dir: CF_AIG_TOKEN: {path}" in said
    assert what in said


def test_a_file_that_is_no_secret_of_ours_may_hold_anything(tmp_path):
    (tmp_path / "certificate.der").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "database").mkdir()
    (tmp_path / "cf_aig_token").write_text(SECRET)
    assert GatewaySettings(account_id="acc1", _secrets_dir=tmp_path).token is not None


def test_a_directory_in_place_of_a_secret_or_the_other_way_round_is_named(tmp_path):
    (tmp_path / "cf_aig_token").mkdir()
    said = refusal(account_id="acc1", _secrets_dir=tmp_path)
    assert f"CF_AIG_TOKEN: {tmp_path / 'cf_aig_token'} is a directory" in said
    file = tmp_path / "file"
    file.touch()
    assert f"_secrets_dir: {file} is a file" in refusal(account_id="acc1", _secrets_dir=file)


def test_an_empty_variable_names_no_file(monkeypatch):
    monkeypatch.setenv("CF_AIG_ENV_FILE", "")
    assert GatewaySettings(account_id="acc1").account_id == "acc1"
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc2")
    assert make_client().sdk_configuration.server_url.endswith("/acc2/default/mistral")


def test_a_misspelt_keyword_for_files_is_refused():
    said = refusal(account_id="acc1", _env_fle=".env")
    assert "GatewaySettings has no setting '_env_fle'; did you mean _env_file?" in said


# ---------------------------------------------------------------- ./.env, which nothing reads

UNREAD = "but a file is read only when asked for: set CF_AIG_ENV_FILE=.env, or pass"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (LINES.encode(), "CLOUDFLARE_ACCOUNT_ID and CF_AIG_TOKEN"),
        (b"# x\nexport CF_ACCOUNT_ID = 'acc1'\n", "CF_ACCOUNT_ID"),
        (b"\xef\xbb\xbfCF_AIG_BASE_URL=https://ai.example.com\n", "CF_AIG_BASE_URL"),
        (LINES.encode("utf-16"), "CLOUDFLARE_ACCOUNT_ID and CF_AIG_TOKEN"),
        ("NAME=é\nCF_ACCOUNT_ID=acc1\n".encode("latin-1"), "CF_ACCOUNT_ID"),
    ],
)
def test_with_nothing_set_the_file_that_sets_it_is_named(monkeypatch, tmp_path, content, names):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(content)
    said = refusal()
    assert "CLOUDFLARE_ACCOUNT_ID is not set" in said
    assert f"./.env sets {names}, {UNREAD}" in said


@pytest.mark.parametrize("content", ["", "# CF_ACCOUNT_ID=x\n", "CF_ACCOUNT_ID=\n", "DATABASE=x\n"])
def test_a_file_that_sets_nothing_is_not_named(monkeypatch, tmp_path, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(content)
    assert "./.env" not in refusal()


def test_a_file_that_was_read_is_not_said_to_be_unread(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"CF_AIG_TOKEN={SECRET}\n")
    assert "./.env" not in refusal(_env_file=".env")
    monkeypatch.setenv("CF_AIG_ENV_FILE", ".env")
    assert "./.env" not in refusal()


# ---------------------------------------------------------------- two names of one setting


def test_two_names_within_a_file_that_differ_are_warned_of(tmp_path):
    path = tmp_path / "settings.env"
    path.write_text("CF_ACCOUNT_ID=acc2\nCLOUDFLARE_ACCOUNT_ID=acc1\n")
    first, second = "CLOUDFLARE_ACCOUNT_ID in the file", "CF_ACCOUNT_ID in the file"
    assert warned(_env_file=path) == [
        f"{first} and {second} differ; {first} is used. Unset the other."
    ]
    assert warned(_env_file=path, account_id="acc3") == []


def test_two_names_in_file_and_environment_that_differ_are_warned_of(monkeypatch, tmp_path):
    path = tmp_path / "settings.env"
    path.write_text(f"CF_AIG_TOKEN={SECRET}\n")
    monkeypatch.setenv("CLOUDFLARE_AI_GATEWAY_TOKEN", "another-token")
    (said,) = warned(_env_file=path, account_id="acc1")
    used = "CLOUDFLARE_AI_GATEWAY_TOKEN and CF_AIG_TOKEN in the file differ; CLOUDFLARE_AI_GATEWAY"
    assert said.startswith(used)
    assert SECRET not in said
    monkeypatch.setenv("CLOUDFLARE_AI_GATEWAY_TOKEN", SECRET)
    assert warned(_env_file=path, account_id="acc1") == []


def test_two_names_in_a_directory_of_secrets_that_differ_are_warned_of(monkeypatch, tmp_path):
    (tmp_path / "cf_aig_token").write_text(f"{SECRET}\n")
    (tmp_path / "cloudflare_ai_gateway_token").write_text("another-token")
    (said,) = warned(_secrets_dir=tmp_path, account_id="acc1")
    assert said.startswith("CF_AIG_TOKEN in _secrets_dir and CLOUDFLARE_AI_GATEWAY_TOKEN in")
    monkeypatch.setenv("CF_AIG_TOKEN", "the-third")
    (said,) = warned(_secrets_dir=tmp_path, account_id="acc1")
    assert "CF_AIG_TOKEN is used" in said


# ---------------------------------------------------------------- variables people write by hand


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_variable_that_looks_like_one_is_not_read_and_the_right_one_is_named(monkeypatch, name):
    meant = LOOK_ALIKES[name]
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    monkeypatch.setenv(name, SECRET)
    right = {"gateway_id": "CF_AIG_GATEWAY_ID", "base_url": "CF_AIG_BASE_URL"}
    right["token"] = "CF_AIG_TOKEN"
    assert warned() == [f"{name} is set, but not read; did you mean {right[meant]}?"]
    with pytest.warns(UserWarning, match="not read"):
        settings = GatewaySettings()
    assert settings == GatewaySettings.model_construct(**vars(settings))
    assert (settings.gateway_id, settings.base_url, settings.token) == ("default", None, None)


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_look_alike_beside_the_right_variable_is_for_another_program(monkeypatch, name):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    monkeypatch.setenv("CLOUDFLARE_GATEWAY_ID", "prod")
    monkeypatch.setenv("CF_AIG_TOKEN", SECRET)
    monkeypatch.setenv(name, "another")
    assert warned() == []


def test_a_look_alike_beside_a_keyword_is_for_another_program(monkeypatch):
    monkeypatch.setenv("AI_GATEWAY_ID", "another")
    monkeypatch.setenv("AI_GATEWAY_TOKEN", SECRET)
    assert warned(account_id="acc1", gateway_id="prod", token=SECRET) == []
    assert warned(base_url="https://ai.example.com", token=SECRET) == []


def test_a_copy_reads_no_variable_and_warns_of_none(monkeypatch):
    settings = GatewaySettings(account_id="acc1")
    monkeypatch.setenv("AI_GATEWAY_ID", "another")
    monkeypatch.setenv("AI_GATEWAY_TOKEN", SECRET)
    monkeypatch.setenv("CF_AIG_CACHE_TLL", "60")
    assert settings.model_copy(update={"byok": True}).byok


def test_a_look_alike_in_a_file_is_named_too(tmp_path):
    path = tmp_path / "settings.env"
    path.write_text("CLOUDFLARE_ACCOUNT_ID=acc1\nAI_GATEWAY_ID=prod\n")
    (said,) = warned(_env_file=path)
    assert said == "AI_GATEWAY_ID in the file is set, but not read; did you mean CF_AIG_GATEWAY_ID?"


@pytest.mark.parametrize("name", ["CF_GATEWAY_ID", "CF_AI_GATEWAY_ID"])
def test_an_id_whose_meaning_is_beyond_doubt_is_read(monkeypatch, name):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    monkeypatch.setenv(name, "prod")
    assert warned() == []
    assert GatewaySettings().root_url.endswith("/acc1/prod")


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("CF_AIG_CACHE_TLL", "CF_AIG_CACHE_TTL"),
        ("CF_AIG_CACHETTL", "CF_AIG_CACHE_TTL"),
        ("CF_AIG_PROVIDR", "CF_AIG_PROVIDER"),
        ("CF_AIG_ENVFILE", "CF_AIG_ENV_FILE"),
        ("cf_aig_metdata", "CF_AIG_METADATA"),
        ("CF_AIG_GATWAY_ID", "CF_AIG_GATEWAY_ID"),
        ("CLOUDFARE_GATEWAY_ID", "CLOUDFLARE_GATEWAY_ID"),
        ("CLOUDLFARE_GATEWAY_ID", "CLOUDFLARE_GATEWAY_ID"),
        ("CLOUDFLAIR_GATWAY_ID", "CLOUDFLARE_GATEWAY_ID"),
        ("CLOUD_FLARE_GATEWAY_ID", "CLOUDFLARE_GATEWAY_ID"),
        ("CLOUDFARE_AI_GATEWAY_URL", "CF_AIG_BASE_URL"),
        ("CF_AGI_TOKEN", "CF_AIG_TOKEN"),
        ("FC_AIG_TOKEN", "CF_AIG_TOKEN"),
        ("CFAIG_TOKN", "CF_AIG_TOKEN"),
        ("CF_AIGTOKEN", "CF_AIG_TOKEN"),
        ("MISTAL_API_KEY", "MISTRAL_API_KEY"),
        ("MISTRALAI_API_KEY", "MISTRAL_API_KEY"),
        ("MISTRALAPIKEY", "MISTRAL_API_KEY"),
    ],
)
def test_a_misspelt_variable_is_warned_of(monkeypatch, name, right):
    monkeypatch.setenv(name, "x")
    assert warned(account_id="acc1") == [f"{name} is set, but not read; did you mean {right}?"]


@pytest.mark.parametrize("name", ["CLOUDFARE_ACCOUNT_ID", "CLOUDFLARE_ACOUNT_ID", "CF_ACCOUNTID"])
def test_a_misspelt_account_is_named_beside_the_error(monkeypatch, name):
    monkeypatch.setenv(name, "acc1")
    with pytest.warns(
        UserWarning, match=rf"{name} is set, but not read; did you mean \w+ACCOUNT_ID"
    ):
        refusal()


OF_OTHER_PROGRAMS = [
    *("CLOUDFLARE_R2_ACCOUNT_ID", "CLOUDFLARE_R2_ACCESS_KEY_ID"),
    *("CLOUDFLARE_R2_SECRET_ACCESS_KEY", "CLOUDFLARE_R2_TOKEN", "CLOUDFLARE_IMAGES_ACCOUNT_ID"),
    *("CLOUDFLARE_STREAM_TOKEN", "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY"),
    *("CLOUDFLARE_API_BASE_URL", "CLOUDFLARE_EMAIL", "CLOUDFLARE_ZONE_ID", "CLOUDFLARE_ENV"),
    *("CLOUDFLARE_TUNNEL_TOKEN", "CLOUDFLARE_D1_DATABASE_ID", "CLOUDFLARE_WORKERS_AI_TOKEN"),
    *("CLOUDFLARE_ACCESS_CLIENT_ID", "CLOUDFLARE_ACCOUNT_NAME", "CLOUDFLARED_TOKEN"),
    *("CLOUFLARE_API_TOKEN", "CLOUDFRONT_ACCOUNT_ID", "CLOUDINARY_ACCOUNT_ID", "CLOUD_ACCOUNT_ID"),
    *("CF_PAGES", "CF_PAGES_URL", "CF_PAGES_BRANCH", "CF_API_TOKEN", "CF_API_KEY"),
    *("CF_API_BASE_URL", "CF_APP_BASE_URL", "CF_ZONE_ID", "CF_ACCESS_CLIENT_ID"),
    *("CF_ACCESS_CLIENT_SECRET", "CF_TOKEN", "CF_AI_TOKEN", "CF_HOME", "CF_TRACE"),
    *("CFN_ACCOUNT_ID", "CD_ACCOUNT_ID", "CS_ACCOUNT_ID", "AWS_ACCOUNT_ID", "ACCOUNT_ID"),
    *("GATEWAY_ID", "API_KEY", "MISTRAL_MODEL", "MISTRAL_SERVER_URL", "MISTRAL_BASE_URL"),
    *("MISTRAL_API_KEY_2", "MISTRAL_AGENT_ID", "MINSTREL_API_KEY", "MINIMAX_API_KEY"),
    *("OPENAI_API_KEY", "VITE_CLOUDFLARE_ACCOUNT_ID"),
]


def test_the_variables_of_other_programs_are_left_alone(monkeypatch):
    for name in OF_OTHER_PROGRAMS:
        monkeypatch.setenv(name, "x")
    assert warned(base_url="https://ai.example.com") == []
    with warnings.catch_warnings(record=True, action="always") as caught:
        refusal()
    assert caught == []


def test_with_nothing_set_the_local_gateway_is_named():
    assert refusal().endswith(
        ". To try it out without an account, `mistral-cf-adapter serve` starts a local gateway"
    )


def test_a_function_of_a_script_is_warned_too(tmp_path):
    """In a script `__package__` is None, in a module it is a text."""
    script = tmp_path / "script.py"
    script.write_text(
        "from mistral_cf_adapter import GatewaySettings\n"
        "def main():\n"
        "    GatewaySettings(account_id='acc1')\n"
        "main()\n"
    )
    done = start(sys.executable, str(script), settings={"CF_AIG_CACHETTL": "60"})
    assert done.returncode == 0, done.stderr
    assert f"{script}:3: UserWarning: CF_AIG_CACHETTL is set, but not read" in done.stderr


@pytest.mark.parametrize("name", ["CF_AIG_SOMETHING_ELSE", "CF_PAGES", "AI_GATEWAY_KIND"])
def test_a_variable_that_resembles_none_is_left_alone(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert warned(account_id="acc1") == []


# ---------------------------------------------------------------- values out of range

OUT_OF_RANGE = [
    ("cache_ttl", "5", "out of range: must be from 60 to 2592000 seconds"),
    ("cache_ttl", "1h", "no whole number: must be from 60 to 2592000 seconds"),
    ("cache_ttl", "90.5", "no whole number: must be from 60 to 2592000 seconds"),
    ("request_timeout", "0", "out of range: must be at least 1 milliseconds"),
    ("max_attempts", "9", "out of range: must be from 1 to 5"),
    ("retry_delay", "60001", "out of range: must be from 0 to 60000 milliseconds"),
    ("max_connections", "0", "out of range: must be at least 1"),
    ("keepalive_expiry", "-1", "out of range: must be more than 0 seconds"),
    ("keepalive_expiry", "soon", "no number: must be more than 0 seconds"),
    ("fallback_cooldown", "inf", "no finite number: must be at least 0 seconds"),
    ("byok", "maybe", "neither true nor false"),
    ("skip_cache", "2", "neither true nor false"),
    ("backoff", "cubic", "unknown: must be 'constant', 'linear' or 'exponential'"),
    ("unsupported", "ignore", "unknown: must be 'error' or 'direct'"),
    ("provider", "openai", "must be `mistral` or `custom-<slug>`"),
    ("base_url", "http://x.example", "must be https"),
    ("otel_trace_id", "ABC", "must be 32 hex digits, in lower case"),
]


@pytest.mark.parametrize(("name", "value", "expected"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_said_with_variable_value_and_range(
    monkeypatch, name, value, expected
):
    assert f"{name}: {value!r} " in refusal(account_id="acc1", **{name: value})
    (variable, *_) = env_names(name)
    monkeypatch.setenv(variable, value)
    assert f"{variable}: {value!r} " in (said := refusal())
    assert expected in said
    assert "Input should" not in said
    if name in GatewayOptions.model_fields:
        with pytest.raises(GatewayConfigError, match=f"^{name}: '{value}' ") as caught:
            gateway_options(**{name: value})
        assert expected in str(caught.value)


def test_a_number_is_shown_as_it_was_given():
    assert "cache_ttl: 5 is out of range" in refusal(account_id="a", cache_ttl=5)
    assert "byok: 2 is neither true nor false" in refusal(account_id="a", byok=2)
    assert "cache_ttl: a value of the class list is no whole number" in refusal(
        account_id="a", cache_ttl=[1]
    )


def test_text_that_is_none_and_mappings_that_are_none_are_said_plainly():
    assert "cache_key: must be text, not int" in refusal(account_id="a", cache_key=5)
    assert "providers: must be a mapping, not list" in refusal(account_id="a", providers=[1])
    assert "providers: must be text, not int" in refusal(account_id="a", providers={"h": 1})
    said = refusal(account_id="a", providers={"api.eu.mistral.ai": "openai"})
    assert "the provider of api.eu.mistral.ai must be `mistral` or `custom-<slug>`" in said
    assert "gateway_id: has 65 characters: must have at most 64" in refusal(
        account_id="a", gateway_id="g" * 65
    )
    assert "account_id: has 65 characters: must have at most 64" in refusal(account_id="a" * 65)


@pytest.mark.parametrize("name", ["cache_ttl", "byok", "backoff", "provider", "max_connections"])
def test_what_may_be_a_key_in_the_wrong_place_is_not_quoted(name):
    key = "abcdefghijklmnopqrstuvwxyz012345"
    said = refusal(account_id="a", **{name: key})
    assert key not in said
    assert name in said


@pytest.mark.parametrize("name", ["token", "mistral_api_key"])
@pytest.mark.parametrize("value", ["a b", "<x>", 5, ["x"]])
def test_no_value_of_a_secret_is_quoted(name, value):
    said = refusal(account_id="a", **{name: value})
    assert repr(value) not in said
    assert str(value) not in said.replace(f"{name}:", "")


def test_every_setting_of_several_names_is_an_alias():
    names = [name for aliases in ALIASES.values() for name in aliases]
    assert len(names) == len(set(names))
    assert not set(names) & LOOK_ALIKES.keys()


# ---------------------------------------------------------------- wrong objects


def test_patch_says_what_it_takes(monkeypatch):
    from unittest.mock import MagicMock

    from mistral_cf_adapter._sdk import Mistral

    settings = GatewaySettings(account_id="acc1")
    wrong = [
        (MagicMock(), "not MagicMock"),
        (MagicMock(spec=Mistral), "not MagicMock"),
        (object(), "not object"),
        ("key", "not str"),
        (Mistral, "not the class Mistral: patch"),
        (settings, r"not settings: pass those as patch\(settings=...\)"),
    ]
    for thing, said in wrong:
        with pytest.raises(
            GatewayConfigError, match=rf"patch\(\) takes a mistralai.Mistral, {said}"
        ):
            patch(thing, settings=settings)


@pytest.mark.every_sdk
def test_a_part_of_a_client_stands_for_the_client():
    from mistral_cf_adapter._sdk import Mistral

    with Mistral(api_key="k") as client:
        patched = patch(client.chat, settings=GatewaySettings(account_id="acc1"))
        assert client.sdk_configuration.server_url.endswith("/acc1/default/mistral")
        patched.undo()


@pytest.mark.every_sdk
def test_a_client_does_not_pickle_and_says_where_to_build_it():
    import pickle

    from mistral_cf_adapter._sdk import Mistral

    settings = GatewaySettings(account_id="acc1", token=SECRET, mistral_api_key=SECRET)
    client = make_client(settings)
    with patch(settings=settings), Mistral(api_key=SECRET) as redirected:
        for thing in (client, client.chat, client.sdk_configuration, redirected):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                with pytest.raises(TypeError, match="build it in the worker") as caught:
                    pickle.dumps(thing, protocol)
                assert SECRET not in str(caught.value)


def test_json_that_is_nested_too_deep_is_named(monkeypatch):
    gc.collect()  # else a client of another test may be closed while the stack is full
    monkeypatch.setenv("CF_AIG_METADATA", "[" * 1_000_000)
    assert refusal(account_id="a") == "Gateway settings: JSON is nested too deep in CF_AIG_METADATA"
