"""A file of settings beside the environment: which wins, under every name and in every encoding.

Some releases of pydantic-settings and python-dotenv, which read them, fail here: see the bounds in
pyproject.toml and `tests/releases.py`.
"""

import codecs
import itertools
import warnings

import pytest
from pydantic_settings import DotEnvSettingsSource, SettingsConfigDict

from mistral_cf_adapter import GatewayConfigError, GatewaySettings
from mistral_cf_adapter._variables import ALIASES, env_names

SAMPLES = {
    "account_id": ("here", "there"),
    "gateway_id": ("here", "there"),
    "token": ("token-here", "token-there"),
    "mistral_api_key": ("key-here", "key-there"),
    "base_url": ("https://here.example", "https://there.example"),
    "byok_alias": ("here", "there"),
    "cache_ttl": ("60", "70"),
    "providers": ('{"api.eu.mistral.ai": "custom-a"}', '{"api.eu.mistral.ai": "custom-b"}'),
    "unsupported": ("direct", "error"),
}
PAIRS = [(name, *pair) for name in SAMPLES for pair in itertools.product(env_names(name), repeat=2)]


def load(path, name, line, *, encoding="utf-8", **keywords):
    place = {} if name == "base_url" else {"base_url": "https://any.example"}
    path.write_bytes(f"{line}\nDATABASE_URL=x\n".encode(encoding))
    return getattr(GatewaySettings(_env_file=path, **place, **keywords), name)


def test_every_setting_with_several_names_is_tried():
    assert ALIASES.keys() <= SAMPLES.keys()


@pytest.mark.parametrize(("name", "variable", "other"), PAIRS)
@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_the_environment_wins_over_a_file_whatever_names_they_use(
    monkeypatch, tmp_path, name, variable, other, case
):
    here, there = SAMPLES[name]
    wanted = load(tmp_path / "wanted", name, f"{variable}={here}")
    monkeypatch.setenv(case(variable), here)
    with warnings.catch_warnings(record=True, action="always") as caught:
        assert load(tmp_path / "file", name, f"{other}={there}") == wanted
    differ = f"{case(variable)} and {other} in the file differ; {case(variable)} is used."
    said = [str(warning.message) for warning in caught]
    # By the same name, the environment is there to win.
    assert said == ([] if variable == other else [f"{differ} Unset the other."])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_keyword_wins_over_both(monkeypatch, tmp_path, name):
    here, there = SAMPLES[name]
    wanted = load(tmp_path / "wanted", name, f"{env_names(name)[0]}={here}")
    for variable in env_names(name):
        monkeypatch.setenv(variable, there)
    if name == "base_url":
        assert GatewaySettings(_env_file=tmp_path / "wanted", base_url=here).base_url == wanted
    else:
        assert load(tmp_path / "file", name, f"{variable}={there}", **{name: wanted}) == wanted


@pytest.mark.parametrize("name", SAMPLES)
def test_an_empty_variable_leaves_the_file_in_force(monkeypatch, tmp_path, name):
    here, _ = SAMPLES[name]
    wanted = load(tmp_path / "wanted", name, f"{env_names(name)[0]}={here}")
    monkeypatch.setenv(env_names(name)[0], "")
    assert load(tmp_path / "file", name, f"{env_names(name)[0]}={here}") == wanted


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("before", ["", "# a comment\n", "export "])
def test_a_byte_order_mark_loses_no_variable(tmp_path, name, before):
    for variable in env_names(name):
        line = f"{variable}={SAMPLES[name][0]}"
        wanted = load(tmp_path / "wanted", name, line)
        marked = load(tmp_path / "marked", name, f"{before}{line}", encoding="utf-8-sig")
        assert marked == wanted != GatewaySettings.model_fields[name].default
    assert (tmp_path / "marked").read_bytes().startswith(codecs.BOM_UTF8)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "I/O")])
def test_a_directory_that_cannot_be_looked_for_is_named(tmp_path, monkeypatch, error):
    """As one below a directory of another user."""

    def refuse(_):
        raise error

    directory = tmp_path / "secrets"
    monkeypatch.setattr(type(directory), "exists", refuse)
    with pytest.raises(GatewayConfigError, match="_secrets_dir: cannot read ") as caught:
        GatewaySettings(account_id="acc", _secrets_dir=directory)
    assert error.strerror in str(caught.value)


def test_a_directory_that_is_not_there_needs_no_current_directory(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.warns(UserWarning, match="does not exist"):
        settings = GatewaySettings(account_id="acc", _secrets_dir="absent")
    assert settings.token is None


def test_no_file_is_looked_for_where_none_is_given(tmp_path, monkeypatch):
    file = tmp_path / "settings"
    file.write_text("CF_AIG_CACHE_TTL=60\nCLOUDFLARE_ACCOUNT_ID=of-the-file\n")
    read = []
    call = DotEnvSettingsSource.__call__
    monkeypatch.setattr(
        DotEnvSettingsSource, "__call__", lambda self: read.append(self.env_file) or call(self)
    )
    assert GatewaySettings(account_id="a").cache_ttl is None
    assert read == []

    class OwnSettings(GatewaySettings):
        model_config = SettingsConfigDict(env_file=file)

    assert GatewaySettings(_env_file=file).cache_ttl == OwnSettings().cache_ttl == 60
    assert read == [file, file]
