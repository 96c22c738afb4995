"""The quickstart runs as it is, without an account, and says where it went."""

from __future__ import annotations

import example_programs


def run(**variables):
    return example_programs.run("quickstart.py", **variables)


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
