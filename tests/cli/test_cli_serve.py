"""`serve`: its flags, its settings file, and where its secrets come from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from mistral_cf_adapter.cli import main
from mistral_cf_adapter.cli import serve as serve_command
from mistral_cf_adapter.testing import LocalGateway
from mistral_cf_adapter.testing.keywords import keyword_names

SECRET = "a-secret-of-your-own-0123456789"
MODULE = [sys.executable, "-m", "mistral_cf_adapter", "serve", "--port", "0"]


@pytest.fixture
def options(monkeypatch):
    """Return what `serve` is called with, for a command line."""

    def read(*arguments):
        given = {}
        monkeypatch.setattr("mistral_cf_adapter.testing.serve", lambda **all: given.update(all))
        assert main(["serve", *arguments]) == 0
        return given

    return read


@pytest.fixture
def settings_file(tmp_path):
    def write(text):
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return str(path)

    return write


def complaint(capsys, *arguments):
    assert main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mistral-cf-adapter: ")
    assert SECRET not in err
    return err


# ---------------------------------------------------------------- flags


def test_without_flags_there_is_a_port_alone(options):
    assert options() == {"port": 8787, "quiet": False}


def test_each_flag_is_a_keyword_of_local_gateway(options, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKEN_OF_MINE", SECRET)
    key = tmp_path / "key"
    key.write_text("of-a-file-0123\nanother line\n")
    found = options(
        *("--port", "0", "--quiet", "--upstream", "https://api.mistral.ai"),
        *("--route", "a=mistral/b", "--route", "c=d=e", "--alias", "f=g"),
        *("--rate-limit", "60", "--cache-ttl", "120", "--guardrails", "--no-strict", "--no-page"),
        *("--gateway-token", "env:TOKEN_OF_MINE"),
        *("--stored-key", f"default=file:{key}", "--stored-key", "two=env:TOKEN_OF_MINE"),
    )
    assert found == {
        "port": 0,
        "quiet": True,
        "upstream": "https://api.mistral.ai",
        "routes": {"a": "mistral/b", "c": "d=e"},
        "aliases": {"f": "g"},
        "rate_limit": 60,
        "cache_ttl": 120,
        "guardrails": True,
        "strict": False,
        "page": False,
        "token": SECRET,
        "stored_keys": {"default": "of-a-file-0123", "two": SECRET},
    }
    assert {*found} - {"quiet"} <= {*keyword_names(LocalGateway.__init__)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gateway-token", SECRET], "serve --gateway-token: give env:NAME or file:PATH"),
        (["--gateway-token", "env:NOT_THERE_AT_ALL"], "there is no variable NOT_THERE_AT_ALL"),
        (["--gateway-token", "file:/not/there"], "cannot read /not/there: No such file"),
        (["--stored-key", SECRET], "serve --stored-key: takes a name, = and a value"),
        (["--stored-key", f"a={SECRET}"], "serve --stored-key a=: give env:NAME or file:PATH"),
        (["--route", "a"], "serve --route: takes a name, = and a value"),
        (["--rate-limit", SECRET], "argument --rate-limit: invalid int value: '***'"),
        (["--cach-ttl", "5"], "--cach-ttl 5; did you mean --cache-ttl?"),
        (["--token", SECRET], "--token is no flag"),
        ([SECRET], "unrecognized arguments: ***"),
        (["--strict=yes"], "--strict"),
    ],
)
def test_what_cannot_be_meant_is_one_message_without_a_secret(capsys, arguments, told):
    assert told in complaint(capsys, *arguments)


def test_an_empty_file_is_no_secret(capsys, tmp_path):
    (tmp_path / "key").write_text("\n")
    told = complaint(capsys, "--gateway-token", f"file:{tmp_path / 'key'}")
    assert "the first line of " in told


# ---------------------------------------------------------------- the settings file

FILE = """
port = 0
token = "env:TOKEN_OF_MINE"
rate_limit = 5
strict = true
log_delay = 0.5
models = ["mine"]
[stored_keys]
default = "env:TOKEN_OF_MINE"
plain = "as-it-stands"
[access]
client_secret = "env:TOKEN_OF_MINE"
"""


def test_a_settings_file_has_the_keywords_and_flags_win(options, settings_file, monkeypatch):
    monkeypatch.setenv("TOKEN_OF_MINE", SECRET)
    found = options("--config", settings_file(FILE), "--rate-limit", "7")
    access = found.pop("access")
    assert access.client_secret == SECRET
    assert found == {
        "port": 0,
        "quiet": False,
        "token": SECRET,
        "rate_limit": 7,
        "strict": True,
        "log_delay": 0.5,
        "models": ["mine"],
        "stored_keys": {"default": SECRET, "plain": "as-it-stands"},
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ratelimit = 5", "does not take ratelimit; did you mean rate_limit?"),
        (f'token = "{SECRET}', "gateway.toml: "),
        (f'rate_limit = "{SECRET}"', "rate_limit must be a whole number"),
        ("rate_limit = true", "rate_limit must be a whole number"),
        ("strict = 1", "strict must be true or false"),
        ("token = 5", "token must be a text"),
        ('routes = "a"', "routes must be a table of texts"),
        ("[routes]\na = 1", "routes must be a table of texts"),
        ('models = "a"', "models must be a list of texts"),
        ('log_delay = "a"', "log_delay must be a number of seconds"),
        ('token = "env:NOT_THERE_AT_ALL"', "token: there is no variable NOT_THERE_AT_ALL"),
        (f'[access]\nsecret = "{SECRET}"', "unexpected keyword argument 'secret'"),
        ("port = 70000", "a port is 1 to 65535"),
    ],
)
def test_a_settings_file_with_a_mistake_says_which(capsys, settings_file, text, told):
    assert told in complaint(capsys, "--config", settings_file(text))


def test_a_settings_file_that_is_not_there_says_so(capsys, tmp_path):
    name = str(tmp_path / "none.toml")
    assert f"serve --config {name}: No such file" in complaint(capsys, "--config", name)


def test_the_types_that_are_checked_are_those_of_keywords():
    assert {*serve_command._TYPES} <= {*keyword_names(LocalGateway.__init__)}


# ---------------------------------------------------------------- a process


def test_no_secret_is_in_the_process_list_or_in_what_is_printed():
    command = [*MODULE, "--gateway-token", "env:TOKEN_OF_MINE", "--stored-key", "a=env:KEY_OF_MINE"]
    env = {**os.environ, "TOKEN_OF_MINE": SECRET, "KEY_OF_MINE": f"key-{SECRET}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as served:
        try:
            lines = [served.stdout.readline()]
            while not lines[-1].startswith("Ctrl-C"):
                lines.append(served.stdout.readline())
            url = lines[0].split()[-1]
            for token in (SECRET, "wrong"):
                ask(f"{url}/mistral/v1/models", token, "x")
                lines.append(served.stdout.readline())
        finally:
            served.terminate()
    assert SECRET not in "".join(lines)
    assert SECRET not in " ".join(command)
    assert "  export CF_AIG_TOKEN=***\n" in lines
    assert "models.list" in lines[-2]
    assert " 200  " in lines[-2]
    assert "gateway 2009: Unauthorized" in lines[-1]


@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE is POSIX")
def test_it_ends_quietly_when_its_reader_leaves():
    with subprocess.Popen(
        MODULE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        try:
            url = served.stdout.readline().split()[-1]
            served.stdout.close()
            with suppress(OSError):  # it may end before its response has left
                ask(f"{url}/mistral/v1/models", "wrong", "x")
            served.wait(30)
            assert (served.returncode, served.stderr.read()) == (141, "")
        finally:
            served.kill()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/folder"), "serve: /folder: Permission denied"),
        (PermissionError("record='x': its folder is not writable"), "serve: record='x': its"),
        (OSError(98, "Address already in use"), "port 0: Address already in use. Try another"),
    ],
    ids=["a file", "a cassette", "the port"],
)
def test_what_the_system_refuses_is_named(capsys, monkeypatch, error, told):
    def refuse(**_):
        raise error

    monkeypatch.setattr("mistral_cf_adapter.testing.serve", refuse)
    assert main(["serve", "--port", "0"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"mistral-cf-adapter: {told}")
    assert ("Try another" in said) == ("port" in told)


def test_a_cassette_in_no_folder_is_not_the_port(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "cassette.yaml"
    assert main(["serve", "--port", "0", "--record", str(path), "--upstream", "http://x"]) == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "file") in said
    assert "port" not in said.replace(str(tmp_path), "")


def ask(url, token, key):
    request = urllib.request.Request(
        url,
        headers={"cf-aig-authorization": f"Bearer {token}", "authorization": f"Bearer {key}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        return None


def test_it_starts_without_pydantic_and_the_sdk():
    program = (
        "import sys; from mistral_cf_adapter.cli.serve import Serve\n"
        "Serve(['--port', '0', '--strict']).prepare()\n"
        "print(sorted({'pydantic', 'pydantic_settings', 'mistralai', 'httpx'} & {*sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
