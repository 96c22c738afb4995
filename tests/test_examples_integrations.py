"""The examples with other people's code run as they are, here and against your gateway."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import time
from functools import cache
from importlib.util import find_spec
from types import SimpleNamespace

import example_programs
import httpx
import pytest

from mistral_cf_adapter.testing import LocalGateway

NEEDS = {
    "patch_application.py": None,
    "document_ocr.py": None,
    "feedback.py": "cloudflare",
    "langchain_env.py": "langchain_mistralai",
    "pydantic_ai_agent.py": "pydantic_ai",
}
LOCAL = re.compile(
    r"No CLOUDFLARE_ACCOUNT_ID or CF_AIG_BASE_URL: "
    r"using a local gateway, http://127\.0\.0\.1:\d+/v1/acc/default\n"
)
LOG = r"log [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
CHAT = "/v1/chat/completions"


@pytest.fixture
def local():
    with LocalGateway() as gateway:
        yield gateway


def needed(name):
    """Return the example's name, or skip the test without the package it is about."""
    # Not importorskip: these packages need not load in this process, with its strict warnings.
    if NEEDS[name] is not None and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    return name


def named(gateway):
    return {**gateway.env(), **gateway.api_env()}


@cache
def offline(name):
    """Run an example without an account, once for all tests; return what it prints."""
    done = example_programs.run(needed(name))
    assert done.returncode == 0, done.stderr
    assert LOCAL.fullmatch(done.stderr), done.stderr
    return done.stdout


def yours(gateway, name, *arguments, **variables):
    """Run an example against a gateway that the environment names; return what it prints."""
    done = example_programs.run(needed(name), *arguments, **{**named(gateway), **variables})
    assert (done.returncode, done.stderr) == (0, "")
    assert gateway.logs[-1].id in done.stdout
    return done.stdout


@pytest.fixture
def feedback(local, monkeypatch):
    """The feedback example in this process, where it need not really wait."""
    waits = []
    for variable, value in named(local).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(time, "sleep", waits.append)
    program = runpy.run_path(str(example_programs.EXAMPLES / needed("feedback.py")))
    return SimpleNamespace(main=program["main"], waits=waits)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.packages] * (package is not None))
        for name, package in NEEDS.items()
    ],
)
def test_without_an_account_it_says_that_it_starts_a_local_gateway(name):
    assert re.search(LOG, offline(name))


@pytest.mark.every_sdk
def test_an_application_is_redirected_without_an_edit_and_let_go_again():
    assert re.fullmatch(
        rf"""Before patch\(\): https://api\.mistral\.ai
Patched: http://127\.0\.0\.1:\d+/v1/acc/default/mistral
  A cold wind that blows hard\.
  Le mistral est un vent fort et froid\.
Afterwards: https://api\.mistral\.ai
What went through the gateway
  {CHAT}  200  {LOG}
  {CHAT}  200  {LOG}
""",
        offline("patch_application.py"),
    )


def test_both_clients_of_the_application_are_taken_along(local):
    yours(local, "patch_application.py")
    assert [request.path for request in local.upstream_requests] == [CHAT, CHAT]
    assert [log.metadata for log in local.logs] == [{"app": "theirs"}] * 2


def test_the_application_runs_as_it_is_under_the_command(local):
    local.reply("A cold wind.")
    local.reply("Un vent froid.")
    program = str(example_programs.EXAMPLES / "their_application.py")
    done = subprocess.run(
        [sys.executable, "-m", "mistral_cf_adapter", "run", program],
        env={**os.environ, **named(local)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "A cold wind.\nUn vent froid.\n"


@pytest.mark.packages
def test_the_agent_calls_its_tool_in_a_run_and_in_a_streamed_run():
    printed = offline("pydantic_ai_agent.py")
    assert printed.startswith("High water in Brest is at 14:20.\nHigh water in Calais is at 21:05.")
    assert len(re.findall(f"  200  {LOG}", printed)) == 4


@pytest.mark.packages
def test_the_tool_tells_the_model_and_every_turn_has_the_metadata(local):
    for port in ("Brest", "Calais"):
        wish = {"name": "high_water", "arguments": f'{{"port": "{port}"}}'}
        local.reply("", tool_calls=[{"id": f"{port:x<9}", "function": wish}])
        local.reply(f"{port}!")
    assert "Brest!\nCalais!\n" in yours(local, "pydantic_ai_agent.py")
    asked = [request.fields for request in local.upstream_requests]
    assert [fields.get("stream") or False for fields in asked] == [False, False, True, True]
    assert [fields["messages"][-1]["content"] for fields in asked[1::2]] == ["14:20", "21:05"]
    assert [log.metadata for log in local.logs] == [{"agent": "tides"}] * 4


@pytest.mark.packages
def test_langchain_answers_and_streams_with_the_headers_it_was_told(local):
    local.reply("A wind.")
    local.reply_stream(["A ", "region."])
    printed = yours(local, "langchain_env.py", CF_AIG_CACHE_TTL="60")
    assert re.fullmatch(rf"  200  {LOG}\nA wind\.\n  200  {LOG}\nA region\.\n", printed)
    local.assert_sent(path=CHAT, headers={"cf-aig-cache-ttl": "60"}, times=2)


@pytest.mark.packages
def test_langchain_sends_no_key_when_the_gateway_holds_it():
    with LocalGateway(stored_keys={"default": "stored"}) as gateway:
        yours(gateway, "langchain_env.py", CF_AIG_BYOK="true", MISTRAL_API_KEY="unused")
        gateway.assert_sent(path=CHAT, headers={"authorization": None}, times=2)


@pytest.mark.packages
def test_a_log_that_comes_late_is_waited_for_and_scored():
    printed = offline("feedback.py")
    assert "  not written yet, again in 0.2 s\n" in printed
    assert re.search(f"Scored {LOG}\n", printed)
    assert "The log has feedback 1, score 90, {'user': 'u-17'}" in printed


@pytest.mark.packages
def test_feedback_reaches_the_log_of_the_answer(local):
    yours(local, "feedback.py")
    (log,) = local.logs
    assert (log.feedback, log.score, log.metadata) == (1, 90, {"user": "u-17"})


@pytest.mark.packages
def test_a_log_that_never_comes_is_given_up_with_the_likely_reasons(feedback, monkeypatch):
    with LocalGateway(log_delay=3600) as gateway:
        for variable, value in named(gateway).items():
            monkeypatch.setenv(variable, value)
        with pytest.raises(SystemExit, match=r"There is no log .* since 2026-09-24"):
            feedback.main()
    assert feedback.waits == [0.2, 0.4, 0.8, 1.6, 3.2]


@pytest.mark.packages
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CLOUDFLARE_API_TOKEN", "cf-test-token", "CLOUDFLARE_API_TOKEN needs AI Gateway Read"),
        ("CLOUDFLARE_API_TOKEN", None, "Set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN"),
        ("CLOUDFLARE_ACCOUNT_ID", None, "Set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN"),
    ],
    ids=["another token", "no token", "no account"],
)
def test_feedback_says_what_is_missing(feedback, monkeypatch, variable, value, said):
    monkeypatch.delenv(variable)
    if value is not None:
        monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit, match=said):
        feedback.main()
    assert feedback.waits == []


@pytest.mark.every_sdk
def test_the_document_is_read_by_its_id_and_deleted_again(local, tmp_path):
    document = tmp_path / "a b.pdf"
    document.write_bytes(b"%PDF-1.4 whatever\n%%EOF\n")
    printed = yours(local, "document_ocr.py", str(document))
    assert "Deleted: True\nPage 0\n# A page\n\nRead from a b.pdf.\n1 page(s)\n" in printed
    upload, ocr, deletion = local.upstream_requests
    assert (upload.method, upload.path, ocr.path) == ("POST", "/v1/files", "/v1/ocr")
    assert document.read_bytes() in upload.body
    asked = ocr.fields["document"]
    assert asked["type"] == "file"
    assert (deletion.method, deletion.path) == ("DELETE", f"/v1/files/{asked['file_id']}")
    assert [log.request for log in local.logs] == [None] * 3
    again = httpx.post(
        f"{local.url}/mistral/v1/ocr",
        json=ocr.fields,
        headers={
            "authorization": f"Bearer {local.mistral_api_key}",
            "cf-aig-authorization": f"Bearer {local.token}",
        },
    )
    assert again.status_code == 404


def test_a_document_of_its_own_is_a_pdf_with_one_line():
    assert "Uploaded invoice.pdf, 596 bytes\n" in offline("document_ocr.py")


def test_the_document_is_deleted_also_if_it_cannot_be_read(local):
    local.upstream_fail(500, path="/v1/ocr")
    done = example_programs.run("document_ocr.py", **named(local))
    assert done.returncode == 1
    assert "Deleted: True" in done.stdout
    assert local.upstream_requests[-1].method == "DELETE"
