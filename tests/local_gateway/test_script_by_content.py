"""A test says which request gets which response: by its parts, or by a function of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import ANY

import pytest
from call_modes import MODES, SYNC
from gateway_api import GatewayApi
from pydantic import BaseModel
from raw_gateway import BASE, CHAT, QUESTION, asking, exchange, statuses

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewayError,
    GatewayRateLimitedError,
    gateway_options,
    make_client,
)
from mistral_cf_adapter.testing import LocalGateway, When, limits

LARGE = "mistral-large-latest"
REQUEST = {
    "model": LARGE,
    "messages": [{"role": "user", "content": "Paris?"}],
    "temperature": 0.5,
}
HEADERS = {
    "x-team": "search",
    "cf-aig-cache-ttl": "120",
    "cf-aig-metadata": '{"team":"a","id":1}',
}


@pytest.fixture
def gateway():
    with LocalGateway(routes={"support": f"mistral/{LARGE}"}) as gateway:
        yield gateway


@pytest.fixture
def client(gateway):
    return make_client(gateway.settings())


def body_of(received):
    return json.loads(received.partition(b"\r\n\r\n")[2])


def text_of(received):
    return body_of(received)["choices"][0]["message"]["content"]


def ask(client, text, model=LARGE):
    messages = [{"role": "user", "content": text}]
    return client.chat.complete(model=model, messages=messages).choices[0].message.content


def last_words(request):
    return request.json()["messages"][-1]["content"]


# ---------------------------------------------------------------- which request

FITTING = [
    {},
    {"path": "chat/completions"},
    {"path": "/v1/chat/completions"},
    {"path": CHAT},
    {"method": "post"},
    {"model": LARGE},
    {"json_contains": {"messages": [{"content": "Paris?"}]}},
    {"json_contains": {"temperature": 0.5, "messages": ANY}},
    {"headers": {"X-Team": "search", "x-other": None}},
    {"options": {"cache_ttl": 120, "metadata": {"team": "a"}, "skip_cache": None}},
    When(model=LARGE, options={"endpoint": "native"}),
    lambda request: request.json()["temperature"] == 0.5,
    lambda request: request.headers["cf-aig-cache-ttl"] == "120",
]
OTHER = [
    ({"path": "embeddings"}, "path is"),
    ({"method": "GET"}, "method is POST, not GET"),
    ({"model": "codestral-latest"}, f"model is '{LARGE}', not 'codestral-latest'"),
    (
        {"json_contains": {"messages": [{"content": "Rome?"}]}},
        "body.messages[0].content is 'Paris?', not 'Rome?'",
    ),
    ({"json_contains": {"messages": []}}, "body.messages has 1 item(s), not 0"),
    ({"json_contains": {"tools": ANY}}, "body.tools is absent"),
    ({"headers": {"x-team": None}}, "header x-team is present"),
    ({"headers": {"authorization": "Bearer x"}}, "not shown: it is a secret"),
    ({"options": {"cache_ttl": 60}}, "option cache_ttl is '120', not '60'"),
    ({"options": {"cache_ttl": None}}, "option cache_ttl is '120', and should be absent"),
    ({"options": {"skip_cache": True}}, "option skip_cache is absent"),
    ({"options": {"metadata": {"team": "b"}}}, "option metadata.team is 'a', not 'b'"),
    ({"options": {"endpoint": "compat"}}, "option endpoint is native, not compat"),
    (lambda request: False, "the function in when= did not accept it"),
]


@pytest.mark.parametrize("when", FITTING)
def test_a_response_is_for_the_request_that_fits(gateway, when):
    gateway.reply("it", when=when)
    assert text_of(exchange(gateway, asking(gateway, REQUEST, **HEADERS))) == "it"
    gateway.assert_all_used()


@pytest.mark.parametrize(("when", "reason"), OTHER)
def test_another_request_gets_another_response_and_the_end_says_why(gateway, when, reason):
    gateway.reply("it", when=when)
    assert text_of(exchange(gateway, asking(gateway, REQUEST, **HEADERS))) != "it"
    with pytest.raises(AssertionError) as caught:
        gateway.assert_all_used()
    assert "reply('it'): 1 request(s) were received last:" in str(caught.value)
    assert f"  1. POST {CHAT}: " in str(caught.value)
    assert reason in str(caught.value)
    assert gateway.mistral_api_key not in str(caught.value)


def test_a_reply_for_a_text_says_so_of_other_requests(gateway):
    gateway.reply("it")
    exchange(gateway, asking(gateway, {"model": "m", "input": "x"}, f"{BASE}/v1/embeddings"))
    with pytest.raises(AssertionError, match="it is no request for a text"):
        gateway.assert_all_used()


def test_behind_a_route_the_model_has_two_names(gateway):
    compat = "/v1/acc/default/compat/chat/completions"
    for name in ("dynamic/support", LARGE):
        gateway.reply(name, when={"model": name, "options": {"endpoint": "compat"}})
        sent = asking(gateway, {**REQUEST, "model": "dynamic/support"}, compat)
        assert text_of(exchange(gateway, sent)) == name


SCRIPTING = {
    "reply_stream": lambda gateway, when: gateway.reply_stream(["a"], when=when),
    "reply_json": lambda gateway, when: gateway.reply_json({}, status=201, when=when),
    "fail": lambda gateway, when: gateway.fail(2003, when=when),
    "upstream_fail": lambda gateway, when: gateway.upstream_fail(503, when=when),
    "upstream_delay": lambda gateway, when: gateway.upstream_delay(0.01, when=when),
    "fault": lambda gateway, when: gateway.fault("status", status=418, when=when),
}


@pytest.mark.parametrize("script", SCRIPTING.values(), ids=SCRIPTING)
def test_each_way_to_script_takes_when(gateway, script):
    script(gateway, {"model": LARGE})
    script(gateway, lambda request: request.json()["model"] == LARGE)
    assert statuses(exchange(gateway, asking(gateway, QUESTION))) == [200]
    for left in (1, 0):
        exchange(gateway, asking(gateway, REQUEST))
        if left:
            with pytest.raises(AssertionError, match="1 scripted answer"):
                gateway.assert_all_used()
    gateway.assert_all_used()


def test_an_unreadable_body_fits_nothing_that_looks_into_it(gateway):
    gateway.reply_json({"a": 1}, when={"json_contains": {"a": 1}})
    deep = b'{"model":"m","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert statuses(exchange(gateway, asking(gateway, deep))) == [400]
    with pytest.raises(AssertionError, match="nested too deep"):
        gateway.assert_sent(json_contains={"a": 1})
    gateway.reset()
    gateway.reply_embeddings([[0.5]])
    deep = b'{"model":"m","input":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    sent = asking(gateway, deep, f"{BASE}/v1/embeddings")
    assert statuses(exchange(gateway, sent)) == [400]
    with pytest.raises(AssertionError, match="nested too deep"):
        gateway.assert_all_used()


# ---------------------------------------------------------------- what is refused at once

REFUSED = [
    (lambda g: g.reply("x", toolcalls=[]), "does not take toolcalls; did you mean tool_calls?"),
    (lambda g: g.reply("x", tool_calls=[{"name": "f"}]), "which has `name` and `arguments`"),
    (lambda g: g.reply("x", wen={}), "did you mean when?"),
    (lambda g: g.reply(5), "takes a text, or a function that returns one, not int"),
    (lambda g: g.reply("x", when={"modle": "m"}), "did you mean model?"),
    (lambda g: g.reply("x", when={"json": {}}), "did you mean json_contains?"),
    (lambda g: g.reply("x", when={"headers": "x"}), "headers must be a mapping, not str"),
    (lambda g: g.reply("x", when="chat"), "takes a mapping or a function"),
    (lambda g: g.reply("x", when={"options": {"cach_ttl": 60}}), "did you mean cache_ttl?"),
    (lambda g: g.reply("x", when={"options": {"cache_ttl": 5}}), "must be from 60"),
    (lambda g: g.reply("x", when=lambda: True), "must take one argument, the request"),
    (lambda g: g.reply(lambda: "x"), "must take one argument, the request"),
    (lambda g: g.reply_stream("abc"), "takes a list of pieces, not one str"),
    (lambda g: g.reply_stream([1]), "must be a text, bytes or a mapping, not int"),
    (lambda g: g.reply_json({}, statu=1), "did you mean status?"),
    (lambda g: g.reply_json(object()), "not JSON serializable"),
    (lambda g: g.reply_parsed(object()), "not JSON serializable"),
    (lambda g: g.reply_embeddings([0.1]), "one list of numbers for each input"),
    (lambda g: g.reply_ocr(), "takes pages"),
    (lambda g: g.fail(2003, header={}), "did you mean headers?"),
    (lambda g: g.upstream_fail(time=2), "did you mean times?"),
    (lambda g: g.upstream_delay(1, tims=2), "did you mean times?"),
    (lambda g: g.fault("reset", wen={}), "did you mean when?"),
    (lambda g: g.assert_sent(option={}), "did you mean options?"),
    (lambda g: g.assert_not_sent(pth="x"), "did you mean path?"),
    (lambda _: LocalGateway(stored_key={}), "did you mean stored_keys?"),
]


@pytest.mark.parametrize(("script", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_cannot_be_meant_is_refused_before_anything_is_scripted(gateway, script, told):
    with pytest.raises((TypeError, GatewayConfigError)) as caught:
        script(gateway)
    assert told in str(caught.value)
    gateway.assert_all_used()


def test_an_async_function_is_refused(gateway):
    async def fits(request):
        return True

    with pytest.raises(TypeError, match="use a plain one"):
        gateway.reply("x", when=fits)


def test_any_field_can_be_given_unchecked(gateway):
    gateway.reply("x", message={"reasoning": "because"}, prefix=True)
    message = body_of(exchange(gateway, asking(gateway, QUESTION)))["choices"][0]["message"]
    assert (message["reasoning"], message["prefix"]) == ("because", True)


# ---------------------------------------------------------------- functions


def test_a_response_can_be_made_from_the_request(gateway, client, mode):
    gateway.reply(lambda request: f"You said {last_words(request)}")
    assert mode.chat(client, "Rome?") == "You said Rome?"


def test_the_other_kinds_can_as_well(gateway, client):
    gateway.reply_json(lambda request: {"path": request.path})
    assert body_of(exchange(gateway, asking(gateway, QUESTION))) == {"path": CHAT}
    gateway.reply_stream(lambda request: last_words(request).split("-"))
    assert MODES[2].chat(client, "a-b") == "ab"
    gateway.reply_embeddings(lambda request: [[0.5] for _ in request.json()["input"]])
    found = client.embeddings.create(model="mistral-embed", inputs=["a", "b"]).data
    assert [one.embedding for one in found] == [[0.5], [0.5]]


def fail(request):
    raise KeyError(request.headers["authorization"])


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (lambda g: g.reply("x", when=fail), "The function of reply('x') raised KeyError at "),
        (lambda g: g.reply(fail), "The function of reply(fail) raised KeyError at "),
        (lambda g: g.fault("reset", when=fail), "The function of fault('reset') raised KeyError"),
        (lambda g: g.reply(lambda request: 5), "raised TypeError: reply() takes a text"),
        (lambda g: g.reply_json(lambda request: object()), "raised TypeError"),
        (lambda g: g.reply("x", when=lambda request: pytest.skip("no")), "raised Skipped"),
        (lambda g: g.reply("x", when=lambda request: asyncio.sleep(0)), "use a plain function"),
    ],
)
def test_a_function_that_fails_is_a_500_and_fails_the_test(gateway, script, told):
    script(gateway)
    received = exchange(gateway, asking(gateway, QUESTION, **{"cf-aig-max-attempts": "3"}))
    assert statuses(received) == [500]
    assert told in body_of(received)["message"]
    assert gateway.mistral_api_key.encode() not in received
    with pytest.raises(AssertionError) as caught:
        gateway.assert_all_used()
    assert told in str(caught.value)
    assert caught.value.__cause__ is not None
    gateway.reset()
    gateway.assert_all_used()


def test_a_function_may_call_the_gateway_itself(gateway):
    def outer(request):
        return f"inner: {text_of(exchange(gateway, asking(gateway, QUESTION)))}"

    gateway.reply(outer, when={"model": LARGE})
    gateway.reply("one", when={"model": QUESTION["model"]})
    assert text_of(exchange(gateway, asking(gateway, REQUEST))) == "inner: one"


def test_a_function_that_never_returns_does_not_keep_the_gateway():
    program = """
        import threading, urllib.request
        from mistral_cf_adapter.testing import LocalGateway

        entered = threading.Event()

        def stuck(request):
            entered.set()
            threading.Event().wait()

        gateway = LocalGateway()
        gateway.start()
        gateway.reply("x", when=stuck)
        request = urllib.request.Request(
            gateway.url + "/mistral/v1/chat/completions",
            data=b'{"model": "m", "messages": [1]}',
            headers={"cf-aig-authorization": f"Bearer {gateway.token}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        threading.Thread(target=opener.open, args=(request,), daemon=True).start()
        assert entered.wait(20)
        gateway.stop()
        print("stopped")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "stopped\n", done.stderr


# ---------------------------------------------------------------- concurrent calls

COUNT = 40


def script_each(gateway):
    for number in reversed(range(COUNT)):
        if number % 2:
            messages = [{"content": f"Question {number}"}]
            gateway.reply(f"Answer {number}", when={"json_contains": {"messages": messages}})
        else:
            gateway.reply(
                f"Answer {number}",
                when=lambda request, n=number: last_words(request) == f"Question {n}",
            )


WANTED = [f"Answer {number}" for number in range(COUNT)]


def test_concurrent_threads_get_their_own(gateway, client):
    script_each(gateway)
    with ThreadPoolExecutor(20) as pool:
        got = pool.map(lambda number: ask(client, f"Question {number}"), range(COUNT))
        assert list(got) == WANTED
    gateway.assert_all_used()


async def test_concurrent_tasks_get_their_own(gateway, client):
    script_each(gateway)
    calls = [MODES[1].achat(client, f"Question {number}") for number in range(COUNT)]
    assert await asyncio.gather(*calls) == WANTED
    gateway.assert_all_used()


def test_one_response_is_for_one_of_many_that_fit(gateway, client):
    together = threading.Barrier(5, timeout=20)

    def fits(request):
        return together.wait() >= 0  # so that all are asked before one takes the response

    gateway.reply("the one", when=fits)
    with ThreadPoolExecutor(5) as pool:
        got = list(pool.map(lambda number: ask(client, str(number)), range(5)))
    assert got.count("the one") == 1
    gateway.assert_all_used()


# ---------------------------------------------------------------- other kinds of reply


class City(BaseModel):
    name: str
    inhabitants: int


PARIS = City(name="Paris", inhabitants=2_000_000)


@pytest.mark.parametrize("value", [PARIS, PARIS.model_dump()])
def test_a_model_of_pydantics_is_what_parse_returns(gateway, client, value):
    gateway.reply_parsed(value)
    messages = [{"role": "user", "content": "Paris?"}]
    answer = client.chat.parse(City, model=LARGE, messages=messages)
    assert answer.choices[0].message.parsed == PARIS


def test_what_is_scripted_is_what_it_was_then(gateway):
    value = {"a": 1}
    gateway.reply_json(value)
    gateway.reply_parsed(value)
    value["a"] = 2
    assert body_of(exchange(gateway, asking(gateway, QUESTION))) == {"a": 1}
    assert json.loads(text_of(exchange(gateway, asking(gateway, QUESTION)))) == {"a": 1}


def test_vectors_are_for_a_request_with_as_many_inputs(gateway, client):
    gateway.reply_embeddings([[0.1, 0.2], [0.3, 0.4]])
    one = client.embeddings.create(model="mistral-embed", inputs=["a"])
    assert one.data[0].embedding != [0.1, 0.2]
    with pytest.raises(AssertionError, match=r"it has 1 input\(s\), the reply 2 vector\(s\)"):
        gateway.assert_all_used()
    two = client.embeddings.create(model="mistral-embed", inputs=["a", "b"])
    assert [found.embedding for found in two.data] == [[0.1, 0.2], [0.3, 0.4]]
    gateway.assert_all_used()


def test_pages_are_what_ocr_finds(gateway, client):
    gateway.reply_ocr("# One", {"markdown": "# Two", "index": 7})
    document = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
    found = client.ocr.process(model="mistral-ocr-latest", document=document)
    assert [(page.index, page.markdown) for page in found.pages] == [(0, "# One"), (7, "# Two")]
    assert found.usage_info.pages_processed == 2


# ---------------------------------------------------------------- assertions


def test_options_and_model_can_be_asserted(gateway, client):
    with gateway_options(cache_ttl=120, metadata={"team": "search"}):
        SYNC.chat(client)
    sent = gateway.assert_sent(options={"cache_ttl": 120}, model=QUESTION["model"], times=1)
    assert sent is gateway.requests[0]
    gateway.assert_sent(options={"metadata": {"team": "search"}, "cache_key": None})
    gateway.assert_not_sent(options={"cache_ttl": 60})
    with pytest.raises(AssertionError, match="option cache_ttl is '120', not '60'"):
        gateway.assert_sent(options={"cache_ttl": 60})
    with pytest.raises(AssertionError, match="fits"):
        gateway.assert_not_sent(options={"cache_ttl": 120})


def test_a_failure_by_content_is_the_adapters_error(gateway, client):
    gateway.fail(2003, when={"options": {"cache_ttl": 120}})
    assert ask(client, "Hello")
    with gateway_options(cache_ttl=120), pytest.raises(GatewayRateLimitedError):
        ask(client, "Hello")


def test_guardrails_given_at_the_start_stay_on_after_a_reset():
    with LocalGateway(guardrails=True) as gateway:
        assert gateway.guardrails
        gateway.guardrails = False
        gateway.reset()
        assert gateway.guardrails
    with pytest.raises(TypeError):
        LocalGateway(guardrail=True)
    assert issubclass(GatewayRateLimitedError, GatewayError)


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("times", [0, -1, 10**12])
def test_a_number_of_times_has_a_bound(gateway, times):
    with pytest.raises(ValueError, match="times must be at least 1"):
        gateway.upstream_fail(times=times)
    gateway.assert_all_used()


def test_there_is_a_bound_to_what_is_scripted(gateway, monkeypatch):
    monkeypatch.setattr(limits, "MAX_KEPT", 3)
    for _ in range(3):
        gateway.reply("x")
    with pytest.raises(ValueError, match="3 responses can be scripted at once"):
        gateway.reply("x")
    for _ in range(5):
        gateway.fault("reset").end()
    for _ in range(3):
        gateway.fault("reset")
    with pytest.raises(ValueError, match="3 faults can be in force at once"):
        gateway.fault("reset")


def test_many_responses_that_do_not_fit_are_no_burden(gateway):
    for number in range(5000):
        gateway.reply("x", when={"json_contains": {"messages": [{"content": str(number)}]}})
    body = {**REQUEST, "messages": [{"role": "user", "content": "y" * 1_000_000}]}
    assert statuses(exchange(gateway, asking(gateway, body))) == [200]
    with pytest.raises(AssertionError, match=r"5000 .* and 4980 more") as caught:
        gateway.assert_all_used()
    assert len(str(caught.value)) < 20_000


def test_nothing_is_left_behind(gateway):
    before = set(threading.enumerate())
    with LocalGateway(strict=True) as other:
        other.reply(lambda request: "x", when=lambda request: True)
        assert text_of(exchange(other, asking(other, QUESTION))) == "x"
    left = [one for one in threading.enumerate() if one not in before and one.name != "scripted"]
    assert left == []


# ---------------------------------------------------------------- from other languages


BY_API = {
    "/reply": {"text": "it"},
    "/reply-json": {"value": {}, "status": 201},
    "/reply-stream": {"pieces": ["a"]},
    "/fail": {"code": 2003},
    "/upstream-fail": {"status": 503},
    "/upstream-delay": {"seconds": 0.01},
    "/fault": {"kind": "status", "status": 418},
}


@pytest.mark.parametrize(("route", "fields"), BY_API.items(), ids=BY_API)
def test_the_http_api_takes_when_as_well(gateway, route, fields):
    api = GatewayApi(gateway)
    api.post(route, 201, **fields, when={"model": LARGE, "options": {"cache_ttl": 120}})
    exchange(gateway, asking(gateway, QUESTION))
    problem = api.post("/assert-all-used", 409)
    assert any("not 'mistral-large-latest'" in reason for reason in problem["reasons"])
    exchange(gateway, asking(gateway, REQUEST, **HEADERS))
    api.post("/assert-all-used")
    wrong = api.post(route, 422, **fields, when={"modle": "m"})
    assert wrong["error"].endswith("(when=...) does not take modle; did you mean model?")


def test_the_http_api_asserts_by_option_and_model(gateway):
    api = GatewayApi(gateway)
    exchange(gateway, asking(gateway, REQUEST, **HEADERS))
    api.post("/assert-sent", options={"cache_ttl": 120}, model=LARGE, times=1)
    api.post("/assert-not-sent", options={"cache_ttl": 60})
    problem = api.post("/assert-sent", 409, options={"cache_ttl": 60})
    assert "option cache_ttl is '120', not '60'" in problem["reasons"][0]
    assert (
        "did you mean cache_ttl" in api.post("/assert-sent", 422, options={"cach_ttl": 1})["error"]
    )
