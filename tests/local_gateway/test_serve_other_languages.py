"""`serve` and `env` as other languages use them: Mistral's own JavaScript SDK, and curl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass

import pytest

from mistral_cf_adapter.testing import LocalGateway

COMMAND = [sys.executable, "-m", "mistral_cf_adapter"]
OURS = ("CF_", "CLOUDFLARE_", "MISTRAL_")
JAVASCRIPT_SDK = "@mistralai/mistralai@2"
STREAM = """
const stream = await client.chat.stream({
  model: "mistral-small-latest",
  messages: [{ role: "user", content: "Hello" }],
});
for await (const event of stream) console.log(JSON.stringify(event.data.choices[0].delta.content));
"""


def run(*command, env, cwd=None):
    """Run a program with the gateway's variables and none of the developer's own."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        command,
        env={**inherited, "NO_PROXY": "127.0.0.1", **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Served:
    """What `serve` prints, read as a person would, and the log it keeps."""

    url: str
    env: dict[str, str]

    def logged(self, metadata):
        """Ask the served gateway for its one log with this metadata, in Cloudflare's own API."""
        origin, _, rest = self.url.partition("/v1/")
        account, gateway = rest.split("/")
        request = urllib.request.Request(
            f"{origin}/client/v4/accounts/{account}/ai-gateway/gateways/{gateway}/logs",
            headers={"authorization": f"Bearer {LocalGateway().api_token}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            logs = json.load(answer)["result"]
        (log,) = [log for log in logs if log["metadata"] == metadata]
        return log


@pytest.fixture(scope="module")
def served():
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            url = process.stdout.readline().split()[-1]
            lines = iter(process.stdout.readline, "Ctrl-C stops it.\n")
            exports = [line.split()[1] for line in lines if line.startswith("  export ")]
            yield Served(url, dict(export.split("=", 1) for export in exports))
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def javascript(tmp_path_factory):
    """A folder with Mistral's JavaScript SDK in it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")
    folder = tmp_path_factory.mktemp("javascript")
    (folder / "package.json").write_text('{"private": true}')
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", JAVASCRIPT_SDK],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"npm cannot install {JAVASCRIPT_SDK} here (status {done.returncode})")
    return folder


def snippet(tool, env):
    return run(*COMMAND, "env", "--for", tool, "--snippet", env=env)


def node(folder, code, env):
    (folder / "gateway.mjs").write_text(code)
    return run("node", "gateway.mjs", env=env, cwd=folder)


def marked(env, case):
    return {**env, "CF_AIG_METADATA": json.dumps({"case": case})}


def assert_chat_was_logged(served, case):
    log = served.logged({"case": case})
    assert (log["provider"], log["model"]) == ("mistral", "mistral-small-latest")
    assert log["path"].endswith("v1/chat/completions")
    assert log["status_code"] == 200


def test_the_javascript_sdk_completes_a_chat_as_the_snippet_says(served, javascript):
    env = marked(served.env, "js complete")
    assert node(javascript, snippet("js", env), env).startswith("Hello!")
    assert_chat_was_logged(served, "js complete")


def test_the_javascript_sdk_streams(served, javascript):
    env = marked(served.env, "js stream")
    client = snippet("js", env).partition("const answer")[0]
    pieces = [json.loads(line) for line in node(javascript, client + STREAM, env).splitlines()]
    assert len(pieces) > 2
    assert "".join(pieces).startswith("Hello!")
    assert_chat_was_logged(served, "js stream")


def test_the_javascript_sdk_sends_no_key_where_the_gateway_holds_it(javascript):
    with LocalGateway(stored_keys={"default": "mistral-test-key"}) as gateway:
        env = {**gateway.env(), "CF_AIG_BYOK": "true", "CF_AIG_CACHE_TTL": "60"}
        node(javascript, snippet("js", env), env)
        sent = gateway.assert_sent(path="v1/chat/completions", headers={"authorization": None})
    assert sent.headers["cf-aig-authorization"] == f"Bearer {gateway.token}"
    assert sent.headers["cf-aig-cache-ttl"] == "60"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize("stream", [False, True], ids=["complete", "stream"])
def test_curl_calls_it_as_the_snippet_says(served, stream):
    case = f"curl {stream}"
    env = marked(served.env, case)
    code = snippet("curl", env)
    if stream:
        code = code.replace('{"model"', '{"stream": true, "model"')
    answer = run("sh", "-euc", code, env=env)
    if stream:
        events = answer.split("\n\n")
        assert events[0].startswith("data: {")
        assert "data: [DONE]" in events
    else:
        assert json.loads(answer)["choices"][0]["message"]["content"].startswith("Hello!")
    assert_chat_was_logged(served, case)
