"""The quickstart runs as it is, without an account, and says where it went."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart.py"
NOISE = ("CF_", "CLOUDFLARE_", "MISTRAL_")


def run(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOISE)}
    command = [sys.executable, "-X", "utf8", str(QUICKSTART)]
    return subprocess.run(
        command, env={**kept, **variables}, capture_output=True, text=True, check=False
    )


def test_without_an_account_it_starts_a_local_gateway_and_says_so():
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "here is a local gateway, http://127.0.0.1:" in done.stdout
    for shown in (
        "Chat\n",
        "Stream\n",
        "Async, ",
        "cache HIT",
        "Embedding\n",
        "/v1/embeddings",
        "log ",
    ):
        assert shown in done.stdout


def test_with_a_gateway_of_yours_it_goes_there(gateway):
    done = run(CF_AIG_BASE_URL=gateway.base_url, MISTRAL_API_KEY="k")
    assert f"Your gateway: {gateway.base_url}/mistral" in done.stdout
    assert gateway.requests


def test_a_setting_that_is_wrong_is_explained_without_a_traceback():
    done = run(CLOUDFLARE_ACCOUNT_ID="a/b")
    assert done.returncode == 1
    assert "CLOUDFLARE_ACCOUNT_ID" in done.stderr
    assert "Traceback" not in done.stderr
