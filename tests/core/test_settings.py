"""`GatewaySettings`: where values come from, which one wins, and what is said of bad ones."""

from __future__ import annotations

import copy
import json
import pickle
import warnings

import pytest
from pydantic import SecretStr  # noqa: TC002 - the annotation is read

from mistral_cf_adapter import GatewayConfigError, GatewayOptions, GatewaySettings, make_client
from mistral_cf_adapter._options import header_names
from mistral_cf_adapter._routing import get_route
from mistral_cf_adapter._settings import from_environment
from mistral_cf_adapter._variables import ALIASES, env_names

SECRET = "hunter2-hunter2"


def value_of(settings, name):
    value = getattr(settings, name)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def refusal(**values):
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(**values)
    return str(caught.value)


# ---------------------------------------------------------------- where values come from


SAMPLES = {
    "account_id": "acc1",
    "gateway_id": "gw1",
    "token": "token1",
    "mistral_api_key": "key1",
    "base_url": "https://ai.example.com",
}


@pytest.mark.parametrize(
    ("name", "variable"),
    [(name, variable) for name, names in ALIASES.items() for variable in names],
)
def test_every_documented_variable_is_read(monkeypatch, name, variable):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    monkeypatch.setenv(variable, SAMPLES[name])
    assert value_of(GatewaySettings(), name) == SAMPLES[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_setting_can_be_given_by_its_own_name(name):
    settings = GatewaySettings(**{"account_id": "other", name: SAMPLES[name]})
    assert value_of(settings, name) == SAMPLES[name]


OPTION_VARIABLES = {
    "cache_ttl": ("3600", 3600),
    "skip_cache": ("false", False),
    "cache_key": ("k", "k"),
    "metadata": ('{"team": "search"}', {"team": "search"}),
    "collect_log": ("true", True),
    "collect_log_payload": ("0", False),
    "request_timeout": ("5000", 5000),
    "max_attempts": ("3", 3),
    "retry_delay": ("0", 0),
    "backoff": ("linear", "linear"),
    "event_id": ("e-1", "e-1"),
    "byok_alias": ("prod", "prod"),
    "no_wholesale": ("true", True),
    "otel_trace_id": ("a" * 32, "a" * 32),
    "otel_parent_span_id": ("b" * 16, "b" * 16),
    "session_id": ("s-1", "s-1"),
    "turn_id": ("t-1", "t-1"),
    "no_session_affinity": ("true", True),
    "allowed_models": ("openai/*, xai/*", ("openai/*", "xai/*")),
    "allowed_providers": ('["openai", "xai"]', ("openai", "xai")),
    "endpoint": ("compat", "compat"),
}


@pytest.mark.parametrize("name", OPTION_VARIABLES)
def test_every_option_is_also_a_variable(monkeypatch, name):
    text, expected = OPTION_VARIABLES[name]
    monkeypatch.setenv(f"CF_AIG_{name.upper()}", text)
    settings = GatewaySettings(account_id="acc1")
    assert settings.options == {name: expected}


def test_no_option_is_missing_from_the_table_above():
    assert {*OPTION_VARIABLES, "custom_cost"} == {*GatewayOptions.model_fields}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("openai/*", ("openai/*",)),
        ("openai/*,xai/*", ("openai/*", "xai/*")),
        (" openai/* , xai/* ", ("openai/*", "xai/*")),
        ('["openai/*", "xai/*"]', ("openai/*", "xai/*")),
        (' ["openai/*"]', ("openai/*",)),
        ('"openai/*"', ("openai/*",)),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file", "keyword"])
def test_a_list_is_json_or_has_commas(monkeypatch, tmp_path, place, text, expected):
    values = {"account_id": "acc1"}
    if place == "environment":
        monkeypatch.setenv("CF_AIG_ALLOWED_MODELS", text)
    elif place == "file":
        values["_env_file"] = tmp_path / ".env"
        values["_env_file"].write_text(f"CF_AIG_ALLOWED_MODELS='{text}'\n")
    else:
        if text.startswith('"'):
            pytest.skip("a keyword needs no quotes")
        values["allowed_models"] = text
    settings = GatewaySettings(**values)
    assert settings.options == {"allowed_models": expected}
    assert settings.model_copy(update={"account_id": "acc2"}).options == settings.options


@pytest.mark.parametrize(
    "text", ["[]", "a,,b", "a,", "7", "{}", '{"a": 1}', '["a,b"]', '["a"', "é"]
)
def test_a_list_in_the_environment_that_cannot_work_names_its_variable(monkeypatch, text):
    monkeypatch.setenv("CF_AIG_ALLOWED_MODELS", text)
    with pytest.raises(GatewayConfigError, match="CF_AIG_ALLOWED_MODELS: "):
        GatewaySettings(account_id="acc1")


def test_custom_cost_from_the_environment_keeps_its_decimals(monkeypatch):
    monkeypatch.setenv("CF_AIG_CUSTOM_COST", '{"per_token_in": 0.0000004}')
    route = get_route(GatewaySettings(account_id="acc1"))
    assert route.headers == {"cf-aig-custom-cost": '{"per_token_in":0.0000004}'}


@pytest.mark.parametrize("name", ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AI_GATEWAY_API_KEY", "TOKEN"])
def test_variables_that_mean_something_else_are_never_read(monkeypatch, name):
    monkeypatch.setenv(name, "broad-token")
    assert GatewaySettings(account_id="acc1").token is None


@pytest.mark.parametrize("name", ["ACCOUNT_ID", "BASE_URL", "PROVIDER", "GATEWAY_ID", "BYOK"])
def test_variables_without_a_prefix_are_never_read(monkeypatch, name):
    monkeypatch.setenv(name, "https://evil.example")
    assert GatewaySettings(account_id="acc1").provider_url == (
        "https://gateway.ai.cloudflare.com/v1/acc1/default/mistral"
    )


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("CF_AIG_TOKEN", "")
    monkeypatch.setenv("CF_AIG_BASE_URL", "")
    settings = GatewaySettings(account_id="acc1")
    assert settings.token is None
    assert settings.base_url is None


# ---------------------------------------------------------------- which one wins


def test_a_keyword_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "from-env")
    assert GatewaySettings(account_id="mine").account_id == "mine"


@pytest.mark.parametrize("name", ALIASES)
def test_of_two_variables_the_first_wins_and_both_are_named(monkeypatch, name):
    first, second = ALIASES[name][:2]
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", SAMPLES["account_id"])
    monkeypatch.setenv(first, SAMPLES[name])
    monkeypatch.setenv(second, f"{SAMPLES[name]}2")
    with pytest.warns(UserWarning, match=f"{first} and {second} differ; {first} is used") as told:
        settings = GatewaySettings()
    assert value_of(settings, name) == SAMPLES[name]
    assert f"{SAMPLES[name]}2" not in str(told[0].message)


def test_two_variables_that_agree_are_no_matter(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    monkeypatch.setenv("CF_ACCOUNT_ID", "acc1")
    assert GatewaySettings().account_id == "acc1"


def test_rival_variables_do_not_matter_to_a_keyword(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    monkeypatch.setenv("CF_ACCOUNT_ID", "acc2")
    assert GatewaySettings(account_id="mine").account_id == "mine"


# ---------------------------------------------------------------- files, when asked for


def test_a_dotenv_file_found_by_chance_is_not_read(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("CF_AIG_BASE_URL=https://evil.example\n")
    monkeypatch.chdir(tmp_path)
    assert GatewaySettings(account_id="acc1").base_url is None


@pytest.mark.parametrize("by", ["keyword", "variable"])
def test_a_dotenv_file_is_read_when_asked_for(monkeypatch, tmp_path, by):
    file = tmp_path / "gateway.env"
    file.write_text("CLOUDFLARE_ACCOUNT_ID=acc1\nCF_AIG_TOKEN=token1\nDATABASE_URL=x\nTOKEN=no\n")
    monkeypatch.setenv("CF_AIG_CACHE_TTL", "60")
    if by == "variable":
        monkeypatch.setenv("CF_AIG_ENV_FILE", str(file))
        settings = GatewaySettings()
    else:
        settings = GatewaySettings(_env_file=file)
    assert (settings.account_id, value_of(settings, "token")) == ("acc1", "token1")
    assert settings.cache_ttl == 60


def test_the_environment_wins_over_a_file(monkeypatch, tmp_path):
    file = tmp_path / "gateway.env"
    file.write_text("CLOUDFLARE_ACCOUNT_ID=file\n")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "env")
    assert GatewaySettings(_env_file=file).account_id == "env"


def test_a_directory_of_secrets_is_read_when_asked_for(tmp_path):
    (tmp_path / "cf_aig_token").write_text("token1\n")
    (tmp_path / "mistral_api_key").write_text("key1\n")
    settings = GatewaySettings(account_id="acc1", _secrets_dir=tmp_path)
    assert value_of(settings, "token") == "token1"
    assert value_of(settings, "mistral_api_key") == "key1"


# ---------------------------------------------------------------- what is said of bad values


def test_with_nothing_set_the_answer_names_what_to_set():
    said = refusal()
    for name in ("CLOUDFLARE_ACCOUNT_ID", "CF_AIG_TOKEN", "CF_AIG_BASE_URL"):
        assert name in said


BAD = [
    ("account_id", "   ", "blank"),
    ("account_id", "acc/gw", "one path segment"),
    ("account_id", "..", "one path segment"),
    ("account_id", "acc\x00", "one path segment"),
    ("account_id", "acc?x=1", "one path segment"),
    ("account_id", "acc@host", "one path segment"),
    ("account_id", "akkä", "one path segment"),
    ("account_id", "{account_id}", "placeholder in it, {account_id}"),
    ("gateway_id", "$GATEWAY", "placeholder in it, $GATEWAY"),
    ("gateway_id", "<name>", "placeholder in it, <name>"),
    ("gateway_id", "gw%2f..", "one path segment"),
    ("gateway_id", "g" * 65, "64"),
    ("gateway_id", ".", "one path segment"),
    ("token", f"Bearer: {SECRET}", "Bearer:"),
    ("token", "Bearer ", "`Bearer` alone"),
    ("token", "bearer", "`Bearer` alone"),
    ("token", "   ", "blank"),
    ("token", f'"{SECRET}"', "quotes"),
    ("token", f"'{SECRET}'", "quotes"),
    ("token", f"{SECRET}\n", "line break"),
    ("token", f"{SECRET}\r\nx-injected: 1", "line break"),
    ("token", f"{SECRET} {SECRET}", "spaces"),
    ("token", f"{SECRET}\N{EN DASH}", "quotes, spaces"),
    ("token", "${CF_AIG_TOKEN}", "placeholder"),
    ("token", "<your-token>", "placeholder"),
    ("mistral_api_key", f"{SECRET}\n", "line break"),
    ("provider", "openai", "custom-<slug>"),
    ("provider", "custom-../x", "custom-<slug>"),
    ("provider", "mistral/v1", "custom-<slug>"),
    ("unsupported", "ignore", "error"),
    ("endpoint", "both", "native"),
    ("max_connections", "0", "1"),
    ("keepalive_expiry", "-1", "0"),
    ("cache_ttl", "59", "60"),
]


@pytest.mark.parametrize(("name", "value", "expected"), BAD)
def test_a_bad_keyword_is_refused_by_name_and_without_its_value(name, value, expected):
    said = refusal(**{"account_id": "acc1", name: value})
    assert name in said
    assert expected in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("name", "value", "expected"), [row for row in BAD if "\x00" not in row[1]]
)
def test_a_bad_variable_is_refused_by_the_name_that_was_set(monkeypatch, name, value, expected):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    monkeypatch.setenv(env_names(name)[0], value)
    said = refusal()
    assert env_names(name)[0] in said
    assert expected in said
    assert SECRET not in said


def test_the_second_name_of_a_variable_is_named_where_it_was_used(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_AI_GATEWAY_TOKEN", "Bearer: x")
    assert "CLOUDFLARE_AI_GATEWAY_TOKEN" in refusal(account_id="acc1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("METADATA", "CUSTOM_COST", "PROVIDERS")
        for value in ("not-json", "{", "[1]", '"text"')
    ],
)
def test_a_variable_that_is_no_json_object_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(f"CF_AIG_{name}", value)
    said = refusal(account_id="acc1")
    assert f"CF_AIG_{name}" in said
    assert "not-json" not in said


def test_no_cause_of_a_refusal_shows_the_value():
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(account_id="acc1", token=f"Bearer: {SECRET}")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in repr(caught.value)
    assert SECRET not in repr(caught.value.__context__)


@pytest.mark.parametrize("prefix", ["Bearer ", "bearer ", "BEARER ", ""])
def test_a_token_may_be_pasted_with_bearer(prefix):
    settings = GatewaySettings(account_id="acc1", token=f"{prefix}{SECRET}")
    assert value_of(settings, "token") == SECRET


def test_surrounding_whitespace_of_an_id_is_no_matter():
    assert GatewaySettings(account_id=" acc1 ").account_id == "acc1"


@pytest.mark.parametrize(
    ("name", "hint"), [("acount_id", "account_id"), ("tokn", "token"), ("zzz", None)]
)
def test_a_setting_that_does_not_exist_is_refused_with_the_nearest_name(name, hint):
    said = refusal(**{name: "x"})
    assert repr(name) in said
    assert (f"did you mean {hint}?" in said) == (hint is not None)


@pytest.mark.parametrize("switch", [{"byok": True}, {"byok_alias": "prod"}])
@pytest.mark.parametrize("name", ["mistral_api_key", "MISTRAL_API_KEY"])
def test_stored_keys_and_a_key_by_keyword_contradict_each_other(switch, name):
    assert "contradict" in refusal(account_id="acc1", **switch, **{name: SECRET})


def test_stored_keys_and_a_key_of_the_environment_get_along(monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", SECRET)
    assert GatewaySettings(account_id="acc1", byok=True).stored_key


# ---------------------------------------------------------------- what it is afterwards


@pytest.mark.parametrize(
    ("values", "provider_url", "compat_url"),
    [
        ({"account_id": "a"}, "v1/a/default/mistral", "v1/a/default/compat"),
        ({"account_id": "a", "gateway_id": "g"}, "v1/a/g/mistral", "v1/a/g/compat"),
        (
            {"account_id": "a", "provider": "custom-mistral-eu"},
            "v1/a/default/custom-mistral-eu",
            "v1/a/default/compat",
        ),
    ],
)
def test_the_urls_are_cloudflares(values, provider_url, compat_url):
    settings = GatewaySettings(**values)
    assert settings.provider_url == f"https://gateway.ai.cloudflare.com/{provider_url}"
    assert settings.compat_url == f"https://gateway.ai.cloudflare.com/{compat_url}"


def test_with_a_base_url_no_account_is_needed():
    settings = GatewaySettings(base_url="https://ai.example.com")
    assert settings.provider_url == "https://ai.example.com/mistral"
    assert settings.compat_url == "https://ai.example.com/compat"


def test_nothing_about_the_settings_shows_a_secret():
    settings = GatewaySettings(account_id="acc1", token=SECRET, mistral_api_key=SECRET)
    route = get_route(settings)
    shown = [repr(settings), str(settings), repr(route), str(settings.model_dump())]
    shown.append(settings.model_dump_json())
    assert SECRET not in " ".join(shown)


def test_settings_do_not_change():
    with pytest.raises(ValueError):
        GatewaySettings(account_id="acc1").account_id = "acc2"


def test_settings_with_secrets_do_not_pickle():
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(GatewaySettings(account_id="acc1", token=SECRET))


def test_a_changed_copy_goes_where_it_says():
    settings = GatewaySettings(account_id="acc1", cache_ttl=60)
    assert get_route(settings).provider_url.endswith("/acc1/default/mistral")
    changed = settings.model_copy(update={"account_id": "acc2", "cache_ttl": 120})
    assert changed.provider_url.endswith("/acc2/default/mistral")
    assert get_route(changed).provider_url == changed.provider_url
    assert get_route(changed).headers == {"cf-aig-cache-ttl": "120"}


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"cache_ttl": 1}, "cache_ttl"),
        ({"CLOUDFLARE_ACCOUNT_ID": "a/b"}, "account_id"),
        ({"tokn": SECRET}, "did you mean token?"),
        ({"byok": True, "mistral_api_key": SECRET}, "contradict"),
    ],
)
def test_a_copy_is_checked_like_new_settings(update, expected):
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(account_id="acc1").model_copy(update=update)
    assert expected in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("byok", [True, False])
def test_a_copy_keeps_what_is_not_changed_whatever_the_environment_says_now(monkeypatch, byok):
    monkeypatch.setenv("MISTRAL_API_KEY", SECRET)
    settings = GatewaySettings(account_id="acc1", byok=byok, metadata={"a": 1})
    monkeypatch.setenv("CF_AIG_CACHE_TTL", "60")
    monkeypatch.setenv("CF_AIG_TOKEN", "token1")
    assert settings.model_copy() == settings
    assert settings.model_copy(update={"account_id": "acc2"}).options == {"metadata": {"a": 1}}


def test_a_deep_copy_is_equal():
    settings = GatewaySettings(account_id="acc1", token=SECRET, metadata={"a": 1})
    assert copy.deepcopy(settings) == settings


def test_the_environment_is_read_again_when_it_has_changed(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    first = from_environment()
    assert from_environment() is first
    monkeypatch.setenv("CF_AIG_CACHE_TTL", "60")
    assert from_environment().cache_ttl == 60
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc2")
    assert from_environment().account_id == "acc2"


def test_a_lower_case_variable_is_not_missed_the_second_time(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    before = GatewaySettings()
    from_environment()
    monkeypatch.setenv("cf_aig_cache_ttl", "60")
    assert from_environment().cache_ttl == GatewaySettings().cache_ttl != before.cache_ttl


def test_rivals_in_the_environment_are_reported_once_for_an_unchanged_environment(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    monkeypatch.setenv("CF_ACCOUNT_ID", "acc2")
    with pytest.warns(UserWarning, match="differ"):
        from_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_environment().account_id == "acc1"


@pytest.mark.parametrize("name", ["account_id", "token", *header_names()])
def test_every_setting_is_documented(name):
    assert GatewaySettings.model_fields[name].description


def test_providers_map_hosts_to_providers(monkeypatch):
    given = {"https://API.eu.mistral.ai/": "custom-eu", "codestral.mistral.ai": "custom-code"}
    monkeypatch.setenv("CF_AIG_PROVIDERS", json.dumps(given))
    assert GatewaySettings(account_id="acc1").providers == {
        "api.eu.mistral.ai": "custom-eu",
        "codestral.mistral.ai": "custom-code",
    }


@pytest.mark.parametrize("given", [{"": "custom-x"}, {"api.eu.mistral.ai": "openai"}])
def test_providers_that_name_no_host_or_no_provider_are_refused(given):
    assert "providers" in refusal(account_id="acc1", providers=given)


@pytest.mark.parametrize("by", ["keyword", "variable"])
def test_a_file_that_is_asked_for_and_not_there_is_an_error(monkeypatch, by):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    if by == "variable":
        monkeypatch.setenv("CF_AIG_ENV_FILE", "/nowhere/.env")
    with pytest.raises(GatewayConfigError, match=r"there is no file /nowhere/\.env"):
        GatewaySettings(**({"_env_file": "/nowhere/.env"} if by == "keyword" else {}))


@pytest.mark.parametrize("name", ["METADATA", "CUSTOM_COST", "PROVIDERS"])
def test_a_variable_that_is_not_json_is_shown_how_it_should_look(monkeypatch, name):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    monkeypatch.setenv(f"CF_AIG_{name}", "app=x")
    with pytest.raises(GatewayConfigError, match=rf"CF_AIG_{name}: is not JSON, as in {{"):
        GatewaySettings()


def test_the_warning_of_two_names_points_at_the_callers_own_line(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "here")
    monkeypatch.setenv("CF_ACCOUNT_ID", "there")
    for build in (GatewaySettings, make_client):
        with pytest.warns(UserWarning, match="differ") as told:
            build()
        assert told[0].filename == __file__


ENVIRONMENTS_URL = "https://ai.example.com/v1/other/gw"


@pytest.fixture
def with_base_url(monkeypatch):
    monkeypatch.setenv("CF_AIG_BASE_URL", ENVIRONMENTS_URL)
    monkeypatch.setenv("CF_AIG_TOKEN", SECRET)


@pytest.mark.usefixtures("with_base_url")
def test_keywords_that_name_a_gateway_win_over_a_url_of_the_environment(monkeypatch):
    settings = GatewaySettings(account_id="acc1", gateway_id="prod")
    assert settings.root_url == "https://gateway.ai.cloudflare.com/v1/acc1/prod"
    assert settings.base_url is None
    assert GatewaySettings(account_id="acc1").root_url.endswith("/v1/acc1/default")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc2")
    assert GatewaySettings(gateway_id="prod").root_url.endswith("/v1/acc2/prod")
    assert GatewaySettings(CLOUDFLARE_GATEWAY_ID="prod").root_url.endswith("/v1/acc2/prod")
    assert GatewaySettings().root_url == ENVIRONMENTS_URL


@pytest.mark.usefixtures("with_base_url")
def test_keywords_win_over_a_url_of_a_file_too(monkeypatch, tmp_path):
    monkeypatch.delenv("CF_AIG_BASE_URL")
    (tmp_path / ".env").write_text(f"CF_AIG_BASE_URL={ENVIRONMENTS_URL}\n")
    assert GatewaySettings(_env_file=tmp_path / ".env").root_url == ENVIRONMENTS_URL
    settings = GatewaySettings(_env_file=tmp_path / ".env", account_id="acc1")
    assert settings.root_url.endswith("/v1/acc1/default")
    monkeypatch.setenv("CLOUDFLARE_GATEWAY_ID", "prod")
    assert GatewaySettings(_env_file=tmp_path / ".env").root_url == ENVIRONMENTS_URL
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc2")  # the environment wins over a file
    settings = GatewaySettings(_env_file=tmp_path / ".env")
    assert settings.root_url.endswith("/v1/acc2/prod")
    assert settings.model_copy(update={"cache_ttl": 60}).root_url == settings.root_url
    monkeypatch.setenv("CF_AIG_BASE_URL", "https://mine.example.com")
    assert GatewaySettings(_env_file=tmp_path / ".env").root_url == "https://mine.example.com"


@pytest.mark.usefixtures("with_base_url")
def test_a_url_by_keyword_wins_over_account_and_gateway():
    url = "https://mine.example.com"
    settings = GatewaySettings(base_url=url, account_id="acc1", gateway_id="prod")
    assert settings.root_url == url
    assert GatewaySettings(account_id=None).root_url == ENVIRONMENTS_URL


@pytest.mark.usefixtures("with_base_url")
def test_a_copy_goes_to_the_gateway_that_is_changed():
    assert (
        GatewaySettings()
        .model_copy(update={"account_id": "acc1"})
        .root_url.endswith("/v1/acc1/default")
    )
    kept = GatewaySettings().model_copy(update={"cache_ttl": 60})
    assert kept.root_url == ENVIRONMENTS_URL


@pytest.mark.usefixtures("with_base_url")
def test_a_gateway_without_an_account_says_that_the_url_is_not_read():
    said = refusal(gateway_id="prod")
    assert "gateway_id is given, so CF_AIG_BASE_URL is not read" in said
    assert SECRET not in said


class ApplicationSettings(GatewaySettings):
    """Settings of an application, with fields of its own."""

    retries: int = 3
    team: str = "search"
    is_batch: bool = False
    ask: object = None
    vault_key: SecretStr | None = None


def test_fields_of_an_applications_own_class_take_what_they_take():
    values = {"retries": 5, "team": "billing", "is_batch": True, "ask": print}
    settings = ApplicationSettings(account_id="acc", vault_key="vault-key-0815", **values)
    copies = settings, settings.model_copy(), settings.model_copy(update={"cache_ttl": 60})
    for each in copies:
        assert {name: getattr(each, name) for name in values} == values
        assert each.vault_key.get_secret_value() == "vault-key-0815"
    assert settings.model_copy(update={"retries": 7}).retries == 7
    with pytest.raises(GatewayConfigError, match="retries: a value of the class str is no whole"):
        ApplicationSettings(account_id="acc", retries="many")
