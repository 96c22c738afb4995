"""`mistral-cf-adapter env`: what a shell and other tools are told of the gateway."""

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

import pytest

from mistral_cf_adapter import GatewaySettings
from mistral_cf_adapter.cli import main
from mistral_cf_adapter.cli.tools import TOOLS
from mistral_cf_adapter.testing import Access, LocalGateway

KEY, TOKEN = "mistral-key-0123456789", "cf-token-0123456789"
SETTINGS = {"CLOUDFLARE_ACCOUNT_ID": "acc", "CF_AIG_TOKEN": TOKEN, "MISTRAL_API_KEY": KEY}
TRICKY = '{"who": "it\'s $HOME `id` \\"x\\""}'
ROOT = "https://gateway.ai.cloudflare.com/v1/acc/default"
PYTHON_TOOLS = sorted(set(TOOLS) - {"js", "curl"})


def start(*command, **settings):
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CF_", "CLOUDFLARE_", "MISTRAL_", "OPENAI_"))
    }
    return subprocess.run(
        command,
        env={**inherited, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def env(*arguments, **settings):
    """Return what the command prints, in this process: starting one takes long."""
    given = {**SETTINGS, **settings}
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(StringIO()) as out:
        for name, value in given.items():
            if value is not None:
                patched.setenv(name, value)
        assert main(["env", *arguments]) == 0
    return out.getvalue()


def evaluated(text):
    """Let a shell evaluate the text, and return what it then exports."""
    dump = "import json, os; print(json.dumps(dict(os.environ)))"
    done = start(
        "sh", "-euc", f'eval "$1"; {shlex.join([sys.executable, "-ISc", dump])}', "sh", text
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("tool", [None, *TOOLS])
@pytest.mark.parametrize("stored_key", [False, True])
def test_a_shell_can_evaluate_it_and_gets_the_same_values(tool, stored_key):
    tricky = {"CF_AIG_METADATA": TRICKY, "CF_AIG_BYOK": "true" if stored_key else None}
    tool_flags = () if tool is None else ("--for", tool)
    told = json.loads(env(*tool_flags, "--show-secrets", "--json", **tricky))["variables"]
    found = evaluated(env(*tool_flags, "--show-secrets", **tricky))
    assert {name: found[name] for name in told} == told


@pytest.mark.parametrize("tool", [None, *TOOLS])
def test_no_secret_is_printed_or_set_unless_asked_for(tool):
    tool_flags = () if tool is None else ("--for", tool)
    text = env(*tool_flags)
    assert KEY not in text
    assert TOKEN not in text
    found = evaluated(text)
    assert not {"MISTRAL_API_KEY", "CF_AIG_TOKEN", "OPENAI_API_KEY"} & set(found)
    assert "..." not in "".join(found[name] for name in found if name.startswith("OPENAI"))


@pytest.mark.parametrize("tool", TOOLS)
def test_a_hidden_secret_is_null_in_json(tool):
    text = env("--for", tool, "--json")
    assert KEY not in text
    assert TOKEN not in text
    assert json.loads(text)["variables"]["CF_AIG_TOKEN"] is None


def test_the_default_variables_lead_to_the_same_settings(monkeypatch):
    given = {
        "base_url": "https://ai.example.com",
        "token": TOKEN,
        "mistral_api_key": KEY,
        "provider": "custom-eu",
        "providers": {"api.eu.mistral.ai": "custom-eu"},
        "headers": {"X-Key": 'it\'s \\ "secret"', "X-Team": "search"},
        "metadata": {"team": "it's", "n": 1, "flag": True},
        "custom_cost": {"per_token_in": "0.00000001"},
        "cache_ttl": 60,
        "skip_cache": False,
        "speedups": False,
        "keepalive_expiry": 1.5,
        "allowed_models": ["openai/*", "a 'quoted' name/x"],
        "allowed_providers": ["openai"],
    }
    from mistral_cf_adapter.cli.environment import own_variables
    from mistral_cf_adapter.cli.guides import reveal

    settings = GatewaySettings(**given)
    for name, value in own_variables(settings).items():
        monkeypatch.setenv(name, reveal(value))
    assert GatewaySettings() == settings


def test_the_command_itself_can_be_evaluated_by_a_shell():
    command = shlex.join([sys.executable, "-m", "mistral_cf_adapter", "env", "--for", "langchain"])
    code = f'eval "$({command} --show-secrets)"; echo "$MISTRAL_BASE_URL $CF_AIG_TOKEN"'
    done = start("sh", "-euc", code, **SETTINGS)
    assert (done.stdout, done.stderr) == (f"{ROOT}/mistral/v1 {TOKEN}\n", "")


def test_langchain_is_told_its_base_url_and_headers():
    told = json.loads(env("--for", "langchain", "--json", "--show-secrets", CF_AIG_CACHE_TTL="60"))
    assert told["for"] == "langchain"
    assert told["base_url"] == f"{ROOT}/mistral/v1"
    assert told["variables"]["MISTRAL_BASE_URL"] == f"{ROOT}/mistral/v1"
    assert told["headers"] == {
        "cf-aig-authorization": f"Bearer {TOKEN}",
        "cf-aig-cache-ttl": "60",
    }


def test_litellm_is_never_left_to_a_variable_that_its_chat_ignores():
    told = json.loads(env("--for", "litellm", "--json", "--show-secrets"))
    assert "MISTRAL_API_BASE" not in told["variables"]
    assert f"api_base='{ROOT}/mistral/v1'" in told["snippet"]


@pytest.mark.parametrize("tool", ["openai", "litellm", "haystack"])
def test_with_a_stored_key_the_token_is_the_key_of_compat(tool):
    told = json.loads(env("--for", tool, "--json", "--show-secrets", CF_AIG_BYOK="true"))
    assert told["base_url"] == f"{ROOT}/compat"
    assert "cf-aig-authorization" not in told["headers"]
    assert KEY not in told["variables"].values()
    assert "MISTRAL_API_KEY" not in told["snippet"]


def test_tools_on_mistrals_sdk_are_told_to_patch():
    told = json.loads(env("--for", "llama-index", "--json"))
    assert "patch()" in told["snippet"]
    assert "MISTRAL_ENDPOINT" not in told["variables"]


@pytest.mark.parametrize("stored_key", [False, True])
@pytest.mark.parametrize("tool", PYTHON_TOOLS)
def test_a_python_snippet_is_python_without_a_secret(tool, stored_key):
    byok = {"CF_AIG_BYOK": "true"} if stored_key else {}
    snippet = env("--for", tool, "--snippet", CF_AIG_METADATA=TRICKY, **byok)
    ast.parse(snippet)
    assert KEY not in snippet
    assert TOKEN not in snippet


def test_the_javascript_snippet_calls_a_method_that_exists():
    snippet = env("--for", "js", "--snippet")
    assert "client.chat.complete(" in snippet
    assert "chat.create" not in snippet
    assert f'serverURL = "{ROOT}/mistral"' in snippet


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize("stored_key", [False, True])
def test_the_curl_snippet_reaches_the_gateway(stored_key):
    stored = {"default": "mistral-test-key"} if stored_key else {}
    with LocalGateway(stored_keys=stored) as gateway:
        settings = {**gateway.env(), "CF_AIG_METADATA": TRICKY, "CLOUDFLARE_ACCOUNT_ID": None}
        settings |= {"CF_AIG_BYOK": "true"} if stored_key else {}
        variables = env("--for", "curl", "--show-secrets", **settings)
        snippet = env("--for", "curl", "--snippet", **settings)
        done = start("sh", "-euc", f"{variables}\n{snippet}", NO_PROXY="127.0.0.1")
        assert done.returncode == 0, done.stderr
        (request,) = gateway.requests
    assert request.headers["cf-aig-authorization"] == f"Bearer {gateway.token}"
    assert json.loads(request.headers["cf-aig-metadata"]) == json.loads(TRICKY)
    assert ("authorization" in request.headers) is not stored_key


@pytest.mark.parametrize("account", [None, "acc"])
@pytest.mark.parametrize("tool", TOOLS)
def test_while_the_switch_is_off_no_tool_is_pointed_at_the_gateway(tool, account):
    off = {"CF_AIG_ENABLED": "false", "CLOUDFLARE_ACCOUNT_ID": account}
    comment = "//" if tool == "js" else "#"
    assert env("--for", tool, "--show-secrets", **off).splitlines() == [
        "#",
        f"# {comment} No gateway for {tool}: enabled (CF_AIG_ENABLED) is false.",
    ]
    told = json.loads(env("--for", tool, "--json", "--show-secrets", **off))
    assert (told["variables"], told["headers"], told["base_url"]) == ({}, {}, None)


def test_the_switch_itself_is_a_variable():
    found = evaluated(env(CF_AIG_ENABLED="false", CLOUDFLARE_ACCOUNT_ID=None))
    assert found["CF_AIG_ENABLED"] == "false"


@pytest.mark.parametrize("tool", [None, *TOOLS])
def test_own_headers_are_named_without_a_value(tool):
    tool_flags = () if tool is None else ("--for", tool)
    text = env(*tool_flags, CF_AIG_HEADERS='{"X-Proxy-Key": "value-0123456789"}')
    assert "X-Proxy-Key" in text
    assert "value-0123456789" not in text


ACCESS = {"CF_AIG_ACCESS_CLIENT_ID": "id.access", "CF_AIG_ACCESS_CLIENT_SECRET": "s" * 40}
WITHOUT_ACCESS = {"CLOUDFLARE_ACCOUNT_ID": None, "CF_AIG_TOKEN": None}


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize("stored_key", [False, True])
@pytest.mark.parametrize("by_jwt", [False, True])
def test_the_curl_snippet_passes_cloudflare_access(stored_key, by_jwt):
    access = Access()
    stored = {"default": "mistral-test-key"} if stored_key else {}
    with LocalGateway(access=access, stored_keys=stored) as gateway:
        settings = {**WITHOUT_ACCESS, **gateway.env()}
        settings |= {"CF_AIG_BYOK": "true"} if stored_key else {}
        if by_jwt:
            settings["CF_AIG_ACCESS_TOKEN"] = access.issue_jwt()
            del settings["CF_AIG_ACCESS_CLIENT_ID"], settings["CF_AIG_ACCESS_CLIENT_SECRET"]
        variables = env("--for", "curl", "--show-secrets", **settings)
        snippet = env("--for", "curl", "--snippet", **settings)
        assert access.client_secret not in snippet
        done = start("sh", "-euc", f"{variables}\n{snippet}", NO_PROXY="127.0.0.1")
        assert done.returncode == 0, done.stderr
        assert gateway.logs[-1].status_code == 200


@pytest.mark.parametrize("stored_key", [False, True])
@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_every_tool_is_told_of_cloudflare_access(tool, stored_key):
    address = {**WITHOUT_ACCESS, "CF_AIG_BASE_URL": "https://ai.example.com"}
    address |= {"CF_AIG_BYOK": "true"} if stored_key else {}
    for name, secret in (("CF_AIG_ACCESS_TOKEN", "ey.J.wt-0123456789"), ("", "s" * 40)):
        given = {**address, name: secret} if name else {**address, **ACCESS}
        told = json.loads(env("--for", tool, "--json", "--show-secrets", **given))
        assert secret in told["variables"].values()
        assert secret in told["headers"].values()
        assert secret not in told["snippet"]
        assert "patch()" in told["snippet"] or (name or "ACCESS_CLIENT_SECRET") in told["snippet"]
        hidden = env("--for", tool, **given)
        assert secret not in hidden


def test_openai_clients_need_the_variables_alone():
    openai = pytest.importorskip("openai")
    if tuple(map(int, openai.__version__.split(".")[:2])) < (2, 54):
        pytest.skip("this release of openai does not read OPENAI_CUSTOM_HEADERS")
    with LocalGateway() as gateway:
        settings = {**gateway.env(), "CLOUDFLARE_ACCOUNT_ID": None}
        told = json.loads(env("--for", "openai", "--json", "--show-secrets", **settings))
        code = (
            "from openai import OpenAI\n"
            "OpenAI().chat.completions.create(model='mistral/mistral-small-latest', "
            "messages=[{'role': 'user', 'content': 'x'}])"
        )
        done = start(sys.executable, "-c", code, NO_PROXY="127.0.0.1", **told["variables"])
        assert done.returncode == 0, done.stderr
        (request,) = gateway.requests
    assert request.headers["cf-aig-authorization"] == f"Bearer {gateway.token}"
    assert request.headers["authorization"] == f"Bearer {gateway.mistral_api_key}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--for", "cobol"], "there are langchain"),
        (["--snippet"], "needs --for"),
        (["--cache-ttl", "1"], "--cache-ttl: '1' is out of range"),
    ],
)
def test_what_cannot_be_printed_is_one_line_and_status_2(arguments, text):
    done = start(sys.executable, "-m", "mistral_cf_adapter", "env", *arguments, **SETTINGS)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
