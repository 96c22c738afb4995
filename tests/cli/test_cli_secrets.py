"""The command line and secrets: none is a flag, and what is masked is no ordinary word."""

from __future__ import annotations

import builtins
import io
import json
import os
import shlex
import subprocess
import sys
from contextlib import redirect_stdout

import pytest
from object_walks import locals_of
from secret_searches import shown_in

from mistral_cf_adapter.cli import main
from mistral_cf_adapter.cli.tools import TOOLS
from mistral_cf_adapter.testing import LocalGateway

TOKEN = "cfut_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
KEY = "Zq7xWm3kVb9TnR2yLc5hJd8gFs1pQe6u"
ENVIRONMENT = {"CLOUDFLARE_ACCOUNT_ID": "acc", "CF_AIG_TOKEN": TOKEN, "MISTRAL_API_KEY": KEY}
ROOT = "https://gateway.ai.cloudflare.com/v1/acc/default"


@pytest.fixture
def environment(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


# ---------------------------------------------------------------- flags

FLAGS = {
    "--token": "CF_AIG_TOKEN",
    "--cf-aig-token": "CF_AIG_TOKEN",
    "--cloudflare-ai-gateway-token": "CF_AIG_TOKEN",
    "--mistral-api-key": "MISTRAL_API_KEY",
    "--mistral_api_key": "MISTRAL_API_KEY",
    "--api-key": "MISTRAL_API_KEY",
}
COMMANDS = [["doctor"], ["doctor", "--offline"], ["env"], ["serve"], ["run"], []]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("joined", [True, False])
def test_no_command_takes_a_secret_as_a_flag(capsys, tmp_path, command, flag, joined):
    program = tmp_path / "program.py"
    program.write_text("raise SystemExit('it ran')")
    given = [f"{flag}={KEY}"] if joined else [flag, KEY]
    rest = [str(program)] if command == ["run"] else []
    assert main([*command, *given, *rest]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"Set {FLAGS[flag]}, or put it into a file and name that with CF_AIG_ENV_FILE" in err
    assert "read the command line" in err
    assert not shown_in(err, KEY)


@pytest.mark.parametrize("command", ["doctor", "env", "run", "serve"])
def test_no_help_names_such_a_flag(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert "--token" not in shown
    assert "--mistral-api-key" not in shown


def test_such_a_flag_of_the_program_is_its_own(tmp_path, environment):
    program = tmp_path / "program.py"
    program.write_text("import sys; print(sys.argv[1:])")
    command = [sys.executable, "-m", "mistral_cf_adapter", "run", str(program), "--token", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("['--token', 'x']\n", "")


@pytest.mark.skipif(os.name == "nt", reason="the snippet is for a POSIX shell")
@pytest.mark.parametrize("stored_key", [False, True])
def test_the_curl_snippet_has_no_secret_among_the_arguments(tmp_path, environment, stored_key):
    environment.setenv("CF_AIG_BYOK", "true" if stored_key else "false")
    curl = tmp_path / "curl"
    dump = "import json, sys; print(json.dumps([sys.argv[1:], sys.stdin.read()]))"
    curl.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-ISc", dump])} "$@"\n')
    curl.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    snippet = printed("env", "--for", "curl", "--snippet")
    done = subprocess.run(
        ["sh", "-euc", snippet],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    arguments, given = json.loads(done.stdout)
    assert not shown_in(" ".join(arguments), TOKEN, KEY)
    assert f"{ROOT}/mistral/v1/chat/completions" in arguments
    key = "" if stored_key else f"Authorization: Bearer {KEY}\n"
    assert given == f"{key}cf-aig-authorization: Bearer {TOKEN}\n"


# ---------------------------------------------------------------- secrets that are none


def printed(*arguments):
    with redirect_stdout(io.StringIO()) as out:
        main([*arguments])
    return out.getvalue()


PLACEHOLDERS = ["x", "gateway", "mistral", "api", "cf"]


@pytest.mark.parametrize("name", ["CF_AIG_TOKEN", "MISTRAL_API_KEY"])
@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_a_placeholder_masks_no_word_and_is_pointed_out(environment, name, text):
    # Nothing answers: the report has a problem, which is in words.
    environment.setenv("CF_AIG_BASE_URL", "http://127.0.0.1:9/v1/acc/gateway-x")
    before = json.loads(printed("doctor", "--json"))
    environment.setenv(name, text)
    found = json.loads(printed("doctor", "--json"))
    assert found["problem"] == before["problem"]
    assert found["problem"]["cause"].startswith("Nothing listens at 127.0.0.1:9")
    assert found["urls"] == before["urls"]
    assert found["settings"]["token" if name == "CF_AIG_TOKEN" else "mistral_api_key"]["value"] == (
        "***"
    )
    (note,) = (note for note in found["notes"] if note not in before["notes"])
    assert note.startswith(f"{name} is shorter than any ")


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_the_gateways_own_words_stay_whole(environment, text):
    with LocalGateway(token=text) as gateway:
        for name, value in {**gateway.env(), "MISTRAL_API_KEY": text}.items():
            environment.setenv(name, value)
        words = "the api of this gateway, x, cf and mistral"
        gateway.fail(code=4711, status=400, message=words)
        found = json.loads(printed("doctor", "--json"))
    assert words in found["problem"]["cause"]


@pytest.mark.parametrize("tool", [None, *TOOLS])
@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_a_placeholder_hides_no_other_variable(environment, tool, text):
    tool_flags = [] if tool is None else ["--for", tool]
    before = json.loads(printed("env", *tool_flags, "--json"))
    environment.setenv("CF_AIG_TOKEN", text)
    environment.setenv("MISTRAL_API_KEY", text)
    assert json.loads(printed("env", *tool_flags, "--json")) == before
    shown = printed("env", *tool_flags)
    assert "***" in shown
    for name, value in before["variables"].items():
        assert (f"export {name}={shlex.quote(value)}" in shown) if value and "'" in value else True
        assert value is None or f"# export {name}" not in shown


def test_a_secret_that_a_server_quotes_is_masked(environment):
    with LocalGateway(token=TOKEN) as gateway:
        for name, value in {**gateway.env(), "MISTRAL_API_KEY": KEY}.items():
            environment.setenv(name, value)
        gateway.fail(code=4711, status=400, message=f"bad {TOKEN}, {KEY}")
        shown = printed("doctor") + printed("doctor", "--json")
    assert "bad ****, ****" in shown
    assert not shown_in(shown, TOKEN, KEY)


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize(
    "arguments", [["doctor"], ["doctor", "--offline"], ["env"], ["env", "--show-secrets"]]
)
@pytest.mark.parametrize("kind", [BrokenPipeError, KeyboardInterrupt])
def test_no_frame_has_a_secret_when_the_output_breaks_off(environment, arguments, kind):
    def broken(*args, **kwargs):
        raise kind

    environment.setenv("CF_AIG_BASE_URL", "http://127.0.0.1:9/v1/acc/gw")
    environment.setattr(builtins, "print", broken)
    with pytest.raises(kind) as caught:
        main(arguments)
    environment.undo()
    assert not [text for text in locals_of(caught.value) if shown_in(text, TOKEN, KEY)]


def test_no_frame_has_a_secret_when_the_call_is_interrupted(environment):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    environment.setattr("mistral_cf_adapter._client.make_client", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        main(["doctor"])
    assert not [text for text in locals_of(caught.value) if shown_in(text, TOKEN, KEY)]
