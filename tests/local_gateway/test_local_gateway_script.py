"""A test can say what the gateway answers, and ask what it was sent."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import httpx
import pytest
from plugin_runs import run_tests

from mistral_cf_adapter.testing import LocalGateway

pytest_plugins = ["pytester"]

HELLO = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}
STREAM = {**HELLO, "stream": True}
CHAT = "/mistral/v1/chat/completions"
EMBED = "/mistral/v1/embeddings"
HEADERS = {
    "cf-aig-authorization": "Bearer cf-test-token",
    "authorization": "Bearer mistral-test-key",
}


@pytest.fixture
def gateway():
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def http():
    with httpx.Client(trust_env=False, headers=HEADERS) as client:
        yield client


def post(http, gateway, json=HELLO, path=CHAT, **options):
    return http.post(gateway.url + path, json=json, **options)


def text(answer):
    return answer.json()["choices"][0]["message"]["content"]


def deltas(answer):
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    said = [json.loads(line)["choices"][0]["delta"].get("content") for line in lines]
    return [piece for piece in said if piece]


class TestReplies:
    """Answers laid out beforehand."""

    def test_replies_come_in_order_and_then_the_model_speaks_again(self, gateway, http):
        gateway.reply("one")
        gateway.reply("two")
        assert [text(post(http, gateway)) for _ in range(2)] == ["one", "two"]
        assert text(post(http, gateway)).startswith("Hello!")
        gateway.assert_all_used()

    def test_a_reply_is_streamed_to_who_asks_for_a_stream(self, gateway, http):
        gateway.reply("one two")
        assert deltas(post(http, gateway, STREAM)) == ["one", " two"]

    def test_a_reply_waits_for_a_request_for_a_text(self, gateway, http):
        gateway.reply("words")
        embedded = post(http, gateway, {"model": "m", "input": "x"}, EMBED)
        assert embedded.json()["data"]
        assert text(post(http, gateway)) == "words"

    def test_a_reply_can_wait_for_its_path(self, gateway, http):
        gateway.reply("code", path="fim/completions")
        assert text(post(http, gateway)).startswith("Hello!")
        fim = {"model": "codestral-latest", "prompt": "x"}
        assert text(post(http, gateway, fim, "/mistral/v1/fim/completions")) == "code"

    def test_a_reply_can_carry_more_fields_of_the_message(self, gateway, http):
        call = {"id": "123456789", "function": {"name": "f", "arguments": "{}"}}
        gateway.reply("", tool_calls=[call])
        choice = post(http, gateway).json()["choices"][0]
        assert choice["message"]["tool_calls"] == [call]
        assert choice["finish_reason"] == "tool_calls"
        gateway.reply("cut", finish_reason="length")
        assert post(http, gateway).json()["choices"][0]["finish_reason"] == "length"

    def test_a_stream_comes_in_the_pieces_given(self, gateway, http):
        gateway.reply_stream(["a", "b c", "d"])
        assert deltas(post(http, gateway, STREAM)) == ["a", "b c", "d"]
        gateway.reply_stream(["a", "b c", "d"])
        assert text(post(http, gateway)) == "ab cd"

    def test_a_stream_may_hold_raw_events(self, gateway, http):
        gateway.reply_stream([{"x": 1}, b"data: raw\n\n"])
        assert post(http, gateway, STREAM).text == 'data: {"x": 1}\n\ndata: raw\n\n'

    def test_a_reply_goes_to_a_conversation_too(self, gateway, http):
        gateway.reply("talk")
        body = {"model": "m", "inputs": "x"}
        answer = post(http, gateway, body, "/mistral/v1/conversations")
        assert answer.json()["outputs"][0]["content"] == "talk"

    def test_json_answers_anything(self, gateway, http):
        gateway.reply_json({"a": 1}, status=201, headers={"x-more": "1"})
        answer = http.get(gateway.url + "/mistral/v2/what/ever")
        assert (answer.status_code, answer.json()) == (201, {"a": 1})
        assert answer.headers["x-more"] == "1"

    def test_a_scripted_answer_does_not_open_the_gate(self, gateway, http):
        gateway.reply("words")
        refused = post(http, gateway, headers={"cf-aig-authorization": "Bearer wrong"})
        assert refused.status_code == 401
        assert text(post(http, gateway)) == "words"


class TestFailures:
    """Refusals laid out beforehand."""

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            *[(2001, 400), (2003, 429), (2005, 400), (2008, 400), (2009, 401), (2016, 424)],
            *[(2017, 424), (2019, 400), (2021, 402), (2029, 424), (2030, 424), (2040, 400)],
            *[(2041, 429), (2045, 429), (7013, 503)],
        ],
    )
    def test_a_code_comes_with_its_status_in_the_gateways_shape(self, gateway, http, code, status):
        gateway.fail(code)
        answer = post(http, gateway)
        assert answer.status_code == answer.json()["httpCode"] == status
        assert answer.json()["internalCode"] == answer.json()["error"][0]["code"] == code
        assert answer.json()["message"]
        assert answer.headers["cf-aig-log-id"] == gateway.logs[0].id

    @pytest.mark.parametrize(("kind", "status"), [("policy_denied", 403), ("policy_spend", 429)])
    def test_a_policy_refuses_with_an_error_object(self, gateway, http, kind, status):
        gateway.fail(kind=kind)
        answer = post(http, gateway)
        assert answer.status_code == status
        assert answer.json()["success"] is False
        assert isinstance(answer.json()["error"]["message"], str)

    def test_a_failure_may_be_any_bytes(self, gateway, http):
        gateway.fail(status=502, body=b"<html>", content_type="text/html")
        answer = post(http, gateway)
        assert (answer.status_code, answer.text) == (502, "<html>")
        assert answer.headers["content-type"] == "text/html"

    def test_message_status_and_headers_can_be_chosen(self, gateway, http):
        gateway.fail(9999, status=418, message="teapot", headers={"retry-after": "3"})
        answer = post(http, gateway)
        assert (answer.status_code, answer.json()["message"]) == (418, "teapot")
        assert answer.headers["retry-after"] == "3"

    def test_a_refusal_reaches_no_provider_and_is_not_retried(self, gateway, http):
        gateway.fail(7013)
        assert post(http, gateway, headers={"cf-aig-max-attempts": "5"}).status_code == 503
        assert gateway.upstream_requests == []
        assert gateway.logs[0].attempts == 0

    @pytest.mark.parametrize(
        ("how", "told"),
        [({}, "needs code="), ({"code": 9999}, "give status="), ({"kind": "x"}, "policy_denied")],
    )
    def test_a_failure_that_says_too_little_is_an_error(self, gateway, how, told):
        with pytest.raises(ValueError, match=told):
            gateway.fail(**how)


class TestAssertions:
    """What was sent, and what was not used."""

    def test_what_is_left_is_named(self, gateway):
        gateway.assert_all_used()
        gateway.reply("never")
        gateway.fail(2003)
        gateway.upstream_fail(status=500)
        gateway.fault("reset")
        with pytest.raises(AssertionError) as caught:
            gateway.assert_all_used()
        for label in ("reply('never')", "fail(2003)", "upstream_fail(500)", "fault('reset')"):
            assert label in str(caught.value)
        gateway.reset()
        gateway.assert_all_used()

    def test_a_sent_request_is_found_by_each_of_its_parts(self, gateway, http):
        post(http, gateway, headers={"cf-aig-cache-ttl": "60"})
        found = gateway.assert_sent(
            path="v1/chat/completions",
            method="post",
            headers={"CF-AIG-Cache-TTL": "60", "cf-aig-cache-key": None},
            json_contains={"model": "mistral-small-latest"},
            times=1,
        )
        assert found is gateway.requests[0]
        gateway.assert_not_sent(path="v1/embeddings")

    @pytest.mark.parametrize(
        ("wanted", "reason"),
        [
            ({"path": "v1/embeddings"}, "path is /v1/acc/default/mistral/v1/chat/completions"),
            ({"path": "letions"}, "path is"),
            ({"method": "GET"}, "method is POST, not GET"),
            ({"headers": {"x": "1"}}, "header x is absent"),
            ({"headers": {"accept": None}}, "header accept is present"),
            ({"headers": {"accept": "no"}}, "header accept is '*/*', not 'no'"),
            ({"json_contains": {"model": "x"}}, "body.model is 'mistral-small-latest', not 'x'"),
            ({"json_contains": {"n": 1}}, "body.n is absent"),
            ({"times": 2}, "1 request(s) fit instead of 2"),
        ],
    )
    def test_a_request_that_does_not_fit_is_explained(self, gateway, http, wanted, reason):
        post(http, gateway)
        with pytest.raises(AssertionError) as caught:
            gateway.assert_sent(**wanted)
        assert reason in str(caught.value)

    def test_an_explanation_shows_no_secret(self, gateway, http):
        post(http, gateway)
        with pytest.raises(AssertionError) as caught:
            gateway.assert_sent(headers={"authorization": "Bearer else"})
        assert "mistral-test-key" not in str(caught.value)
        assert "header authorization has another value" in str(caught.value)

    @pytest.mark.parametrize("name", ["x-company-token", "x-auth", "Session-Cookie"])
    def test_an_explanation_shows_no_value_of_a_header_with_a_secrets_name(
        self, gateway, http, name
    ):
        post(http, gateway, headers={name: "value-of-a-company-1"})
        with pytest.raises(AssertionError) as caught:
            gateway.assert_sent(headers={name: "other"})
        assert "value-of-a-company" not in str(caught.value)
        assert f"header {name} has another value" in str(caught.value)

    @pytest.mark.parametrize("before", [0, 150, 185, 190])
    @pytest.mark.parametrize("as_list", [False, True])
    def test_an_explanation_masks_secrets_in_what_was_sent(self, http, before, as_list):
        key, carried = "key-0123456789-of-the-provider", "carried-9876543210-by-a-header"
        for secret in (key, carried):
            said = "." * before + secret
            body = {**HELLO, "messages": [{"role": "user", "content": [said] if as_list else said}]}
            with LocalGateway(stored_keys={"default": key}, strict=True) as gateway:
                post(http, gateway, body, headers={"x-other-token": carried})
                gateway.reply("x", when={"json_contains": {"messages": "none"}})
                fails = (
                    lambda g=gateway: g.assert_sent(json_contains={"messages": "none"}),
                    lambda g=gateway: g.assert_sent(
                        json_contains={"messages": [{"content": "none"}]}
                    ),
                    gateway.assert_all_used,
                    gateway.assert_all_scripted,
                )
                for fail in fails:
                    with pytest.raises(AssertionError) as caught:
                        fail()
                    parts = (secret[at : at + 8] for at in range(len(secret) - 7))
                    assert [part for part in parts if part in str(caught.value)] == []

    def test_an_unwanted_request_is_explained(self, gateway, http):
        gateway.assert_not_sent()
        post(http, gateway)
        with pytest.raises(AssertionError, match=r"1\. POST .*: fits"):
            gateway.assert_not_sent()

    def test_reset_forgets_everything_seen(self, gateway, http):
        gateway.guardrails = True
        post(http, gateway, headers={"cf-aig-cache-ttl": "60"})
        gateway.reset()
        assert not gateway.guardrails
        assert gateway.requests == gateway.upstream_requests == gateway.logs == []
        again = post(http, gateway, headers={"cf-aig-cache-ttl": "60"})
        assert again.headers["cf-aig-cache-status"] == "MISS"


class TestPlugin:
    """The fixture `cf_gateway`."""

    @pytest.fixture
    def run(self, pytester, pytestconfig):
        return partial(run_tests, pytester, pytestconfig)

    def test_the_environment_points_at_the_gateway_alone(self, run, monkeypatch):
        monkeypatch.setenv("CF_AIG_CACHE_TTL", "60")
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "mine")
        result = run(
            """
            import os

            def test_it(cf_gateway):
                assert {n: os.environ[n] for n in cf_gateway.env()} == cf_gateway.env()
                assert "CF_AIG_CACHE_TTL" not in os.environ
                assert "CLOUDFLARE_ACCOUNT_ID" not in os.environ
                assert "127.0.0.1" in os.environ["NO_PROXY"]
            """
        )
        result.assert_outcomes(passed=1)

    def test_an_unused_answer_fails_a_test_that_passed(self, run):
        result = run("def test_it(cf_gateway): cf_gateway.reply('never')")
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines(["*not used: reply('never')*"])

    def test_a_test_that_failed_is_not_blamed_twice(self, run):
        result = run("def test_it(cf_gateway): cf_gateway.reply('never'); assert False")
        result.assert_outcomes(failed=1)

    def test_nothing_heavy_is_loaded_before_it_is_used(self):
        program = (
            "import sys, mistral_cf_adapter.testing.plugin, mistral_cf_adapter.testing as t\n"
            "dir(t)\n"
            "heavy = {'starlette', 'uvicorn', 'httpx', 'httpx2', 'mistralai', 'pydantic'}\n"
            "print(sorted(heavy & sys.modules.keys()))\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == "[]"


def test_a_missing_extra_says_what_to_install():
    program = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from mistral_cf_adapter.testing import LocalGateway\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "pip install 'mistral-cf-adapter[testing]'" in run.stderr
