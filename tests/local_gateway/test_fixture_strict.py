"""Strict by wish: what is not scripted is refused, and fails the test that lets it pass."""

from __future__ import annotations

from functools import partial

import pytest
from plugin_runs import run_tests
from raw_gateway import BASE, CHAT, QUESTION, asking, exchange, statuses

from mistral_cf_adapter import GatewayError, make_client
from mistral_cf_adapter.testing import LocalGateway

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester, pytestconfig):
    return partial(run_tests, pytester, pytestconfig)


@pytest.fixture
def strict():
    with LocalGateway(strict=True, stored_keys={"default": "k"}) as gateway:
        yield gateway


def post(gateway, path, body, method="POST"):
    return statuses(exchange(gateway, asking(gateway, body, f"{BASE}{path}", method=method)))


# ---------------------------------------------------------------- the gateway

ANSWERS = {
    "/v1/chat/completions": QUESTION,
    "/v1/fim/completions": {"model": "codestral-latest", "prompt": "x"},
    "/v1/agents/completions": {"agent_id": "a", "messages": [1]},
    "/v1/embeddings": {"model": "mistral-embed", "input": "x"},
    "/v1/ocr": {"model": "mistral-ocr-latest", "document": {"document_url": "x"}},
    "/v1/moderations": {"model": "mistral-moderation-latest", "input": "x"},
    "/v1/classifications": {"model": "mistral-moderation-latest", "input": "x"},
    "/v1/conversations": {"inputs": "x"},
    "/v1/audio/transcriptions": {},
    "/v2/nowhere": {},
}


@pytest.mark.parametrize(("path", "body"), ANSWERS.items(), ids=ANSWERS)
def test_what_mistral_would_answer_by_itself_is_refused(strict, path, body):
    received = exchange(strict, asking(strict, body, f"{BASE}{path}"))
    assert statuses(received) == [400]
    assert b'"name":"AiGatewayError"' in received
    assert f"POST {path}: nothing is scripted for it, and this LocalGateway is strict".encode() in (
        received
    )
    assert strict.upstream_requests == []
    with pytest.raises(AssertionError, match=f"POST {path}"):
        strict.assert_all_scripted()
    strict.reset()
    strict.assert_all_scripted()


def test_what_is_only_kept_is_served(strict):
    for method, path in (("GET", "/v1/models"), ("GET", "/v1/files"), ("GET", "/v1/files/x")):
        sent = asking(strict, b"", f"{BASE}{path}").replace(b"POST", method.encode(), 1)
        assert statuses(exchange(strict, sent))[0] in (200, 404)
    client = make_client(strict.settings())
    file = client.files.upload(file={"file_name": "a.jsonl", "content": b"{}"})
    assert [one.id for one in client.files.list().data] == [file.id]
    strict.assert_all_scripted()


def test_what_is_scripted_is_served(strict):
    for script in (
        lambda: strict.reply("x"),
        lambda: strict.reply_json({}),
        lambda: strict.upstream_fail(418),
        lambda: strict.fail(2016),
    ):
        script()
        assert post(strict, "/v1/chat/completions", QUESTION)[0] in (200, 418, 424)
    strict.upstream_delay(0.01)  # which says nothing by itself
    assert post(strict, "/v1/chat/completions", QUESTION) == [400]


@pytest.mark.parametrize("mode_is_stream", [False, True])
def test_the_refusal_says_why_what_is_left_does_not_fit(strict, mode_is_stream):
    strict.reply("Paris", when={"model": "mistral-large-latest"})
    received = exchange(strict, asking(strict, {**QUESTION, "stream": mode_is_stream}))
    why = "reply('Paris') does not fit: model is 'mistral-small-latest', not 'mistral-large-latest'"
    assert why.encode() in received


def test_the_sdk_raises_it_and_does_not_retry(strict, mode):
    client = make_client(strict.settings())
    with pytest.raises(GatewayError, match="nothing is scripted") as caught:
        mode.chat(client)
    assert caught.value.status_code == 400
    assert len(strict.requests) == 1


# ---------------------------------------------------------------- models

UNKNOWN = {**QUESTION, "model": "mistral-smal-latest"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/fim/completions"])
def test_an_unknown_model_is_refused_although_a_response_is_scripted(strict, path):
    strict.reply("x")
    received = exchange(strict, asking(strict, {**UNKNOWN, "prompt": "x"}, f"{BASE}{path}"))
    assert statuses(received) == [400]
    assert b"'mistral-smal-latest' is not known; did you mean mistral-small-latest?" in received
    assert b"LocalGateway(models=[...])" in received
    with pytest.raises(AssertionError, match="mistral-smal-latest"):
        strict.assert_all_scripted()
    assert post(strict, "/v1/chat/completions", QUESTION) == [200]


def test_a_form_has_a_model_too(strict):
    strict.reply_json({"model": "x", "text": "", "usage": {}})
    part = '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nvoxtral\r\n--b--\r\n'
    sent = asking(strict, part.encode(), f"{BASE}/v1/audio/transcriptions")
    sent = sent.replace(b"application/json", b"multipart/form-data; boundary=b")
    assert b"the model 'voxtral' is not known" in exchange(strict, sent)


def test_models_that_are_named_are_known():
    with LocalGateway(
        strict=True,
        models=["ft:mine"],
        routes={"a": "mistral/routed"},
        aliases={"b": "aliased"},
        custom_providers={"own": None},
    ) as gateway:
        compat = "/v1/acc/default/compat/chat/completions"
        custom = "/v1/acc/default/custom-own/v1/chat/completions"
        for path, model in (
            (CHAT, "ft:mine"),
            (compat, "dynamic/a"),
            (compat, "custom/b"),
            (compat, "mistral/mistral-small-latest"),
            (custom, "any"),
        ):
            gateway.reply("x")
            sent = asking(gateway, {**QUESTION, "model": model}, path)
            received = exchange(gateway, sent)
            assert statuses(received) == [200], received
        gateway.reply("x", when={"model": "named"})
        sent = asking(gateway, {**QUESTION, "model": "named"})
        assert statuses(exchange(gateway, sent)) == [200]
        gateway.assert_all_scripted()


# ---------------------------------------------------------------- the fixture

SWALLOWS = """
    import pytest
    from mistral_cf_adapter import make_client

    def ask(model="mistral-small-latest"):
        messages = [{"role": "user", "content": "Hello"}]
        try:
            return make_client().chat.complete(model=model, messages=messages)
        except Exception:
            return None
"""


@pytest.mark.parametrize(
    ("ini", "marker"),
    [
        ("cf_gateway_strict = true", ""),
        ("", "@pytest.mark.cf_gateway(strict=True)"),
        ("cf_gateway_strict = false", "@pytest.mark.cf_gateway(strict=True)"),
    ],
)
def test_a_refusal_that_the_application_swallows_fails_the_test(run, ini, marker):
    source = SWALLOWS + f"\n    {marker}\n    def test_it(cf_gateway):\n        assert not ask()\n"
    result = run(source, ini=ini)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "1 request(s) were refused, as nothing was scripted for them:",
            "  1. POST /v1/chat/completions: nothing is scripted for it*",
        ]
    )
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_without_the_wish_the_small_mistral_answers(run):
    marker = "@pytest.mark.cf_gateway(strict=False)"
    result = run(
        SWALLOWS
        + f"\n    {marker}\n    def test_it(cf_gateway):\n        assert ask()\n"
        + "\n    def test_marked_by_module(cf_gateway):\n        assert not ask()\n",
        ini="cf_gateway_strict = true",
    )
    result.assert_outcomes(passed=2, errors=1)


def test_an_unknown_model_and_an_unused_reply_are_said_together(run):
    result = run(
        SWALLOWS
        + """
    pytestmark = pytest.mark.cf_gateway(strict=True)

    def test_it(cf_gateway):
        cf_gateway.reply("x")
        ask(model="mistral-smal-latest")
    """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*did you mean mistral-small-latest[?]*", "*not used: reply('x')*"]
    )


# ---------------------------------------------------------------- the marker


def test_a_marker_takes_what_local_gateway_takes(run):
    result = run(
        """
        import pytest
        from mistral_cf_adapter import make_client

        pytestmark = pytest.mark.cf_gateway(stored_keys={"default": "k"}, token="of-the-module")

        @pytest.mark.cf_gateway(token="of-the-test")
        def test_it(cf_gateway):
            assert cf_gateway.token == "of-the-test"
            assert cf_gateway.stored_keys == {"default": "k"}
        """,
        arguments=["--strict-markers"],
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marked", "told"),
    [
        ("stored_key={}", "*does not take stored_key; did you mean stored_keys[?]*"),
        ("'strict'", "*takes keywords alone*"),
        ("allow_hosts='a.b'", "*takes a list of host names, not a text*"),
    ],
)
def test_a_marker_that_cannot_be_meant_is_an_error(run, marked, told):
    result = run(
        f"""
        import pytest

        @pytest.mark.cf_gateway({marked})
        def test_it(cf_gateway): pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])


def test_help_names_the_marker_and_the_options(run):
    result = run("def test_it(): pass", arguments=["--markers"])
    result.stdout.fnmatch_lines(["@pytest.mark.cf_gateway(*keywords): keywords of LocalGateway*"])
    result = run("def test_it(): pass", arguments=["--help"])
    result.stdout.fnmatch_lines(["*cf_gateway_strict (bool):*", "*cf_gateway_allow_hosts (args):*"])


# ---------------------------------------------------------------- where a failure points


def test_an_assertion_that_fails_ends_at_the_tests_own_line(run):
    result = run(
        """
        def test_it(cf_gateway):
            cf_gateway.assert_sent(options={"cache_ttl": 120})

        def test_not_sent(cf_gateway):
            cf_gateway.reply("x", toolcalls=[])
        """
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*test_*.py:2: AssertionError", "*test_*.py:5: TypeError"])
    result.stdout.no_fnmatch_line("*mistral_cf_adapter/testing/*")


def test_what_a_function_of_the_tests_own_raises_is_shown_at_its_end(run):
    result = run(
        SWALLOWS
        + """
    def decide(request):
        assert request.json()["model"] == "another", "not the model I meant"
        return True

    def test_it(cf_gateway):
        cf_gateway.reply("x", when=decide)
        ask()
    """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*not the model I meant*", "*The function of reply('x') raised AssertionError at *"]
    )


def test_a_skipped_test_is_not_an_error_for_what_is_left(run):
    result = run(
        """
        import pytest

        def test_it(cf_gateway):
            cf_gateway.reply("x")
            pytest.skip("not today")
        """
    )
    result.assert_outcomes(skipped=1)
