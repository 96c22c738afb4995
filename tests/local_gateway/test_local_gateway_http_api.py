"""The HTTP API of a local gateway, as tests in other languages use it."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

import pytest
from gateway_api import GatewayApi
from raw_gateway import QUESTION, asking, exchange, port_of, statuses

from mistral_cf_adapter import GatewayCall, GatewayError, gateway_options, make_client
from mistral_cf_adapter.testing import Access, LocalGateway, limits, report_bypasses
from mistral_cf_adapter.testing.call_view import MAX_SHOWN
from mistral_cf_adapter.testing.http_api import PREFIX, ROUTES
from mistral_cf_adapter.testing.masks import Mask

HTML = "<script>alert('x')</script>"
CHAT = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": HTML}]}
DAY = 24 * 3600 * 1000
SECRETS = ("stored-key-0123456789", "0123456789-another-secret")


@pytest.fixture
def api(local_gateway):
    return GatewayApi(local_gateway)


@pytest.fixture
def client(local_gateway):
    return make_client(local_gateway.settings())


def say(client):
    return client.chat.complete(**CHAT).choices[0].message.content


def all_calls(api):
    return api.get("/calls?limit=1000")["calls"]


# ---------------------------------------------------------------- who and how


def test_it_is_healthy_and_lists_its_routes(api, local_gateway):
    health = api.get("/health")
    assert (health["status"], health["url"]) == ("ok", local_gateway.url)
    routes = api.get("/")["routes"]
    assert {(route["method"], route["path"]) for route in routes} == {
        (route.method, PREFIX + route.path) for route in ROUTES
    }
    assert all(route["summary"] for route in routes)


def test_what_it_is_asked_is_no_request_of_the_application(api, local_gateway):
    last = api.get("/health")["last_call_id"]
    api.post("/reset")
    assert local_gateway.requests == []
    local_gateway.assert_not_sent()
    assert api.get("/health")["last_call_id"] == last


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_for_this_machine_alone(api, route):
    path = route.path.replace("{id}", "1")
    body = {} if route.method in {"POST", "PATCH"} else None
    assert api_status(api, route.method, path, body, Origin="https://example.com") == 403
    assert api_status(api, route.method, path, body, Host="example.com") == 421


def api_status(api, *sent, **headers):
    """Return the status of a response that need not be JSON."""
    try:
        return api.send(*sent, **headers)[0]
    except json.JSONDecodeError as error:
        return {"This": 403 if "Origin" in error.doc else 421}[error.doc[:4]]


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if route.method in {"POST", "PATCH"}],
    ids=lambda route: route.path,
)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_a_form_of_a_web_page_changes_nothing(api, route, kind):
    headers = {} if kind is None else {"Content_Type": kind}
    path = route.path.replace("{id}", "1")
    if kind is None:
        status, _ = api.send(route.method, path)
    else:
        status, _ = api.send(route.method, path, b"{}", **headers)
    assert status == 415


def test_get_changes_nothing():
    assert {route.method for route in ROUTES} == {"GET", "POST", "PATCH", "DELETE"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/reply", {"txt": "x"}, 422, "did you mean text?"),
        ("POST", "/reply", {"text": 5}, 422, "text: must be text"),
        ("POST", "/reply", {}, 422, "text: Field required"),
        ("POST", "/reply", [], 422, "JSON object"),
        ("POST", "/reply", b"{", 400, "not JSON"),
        ("POST", "/reply", b"[" * 100_000, 400, "not JSON"),
        ("POST", "/reply", b"\xff", 400, "not JSON"),
        ("POST", "/upstream-fail", {"times": 10**9}, 422, "times"),
        ("POST", "/fault", {"kind": "reset", "times": 10**9}, 422, "times"),
        ("POST", "/fail", {}, 422, "needs code="),
        ("POST", "/fail", {"code": 999}, 422, "give status= too"),
        ("POST", "/fail", {"kind": "policy"}, 422, "policy_denied"),
        ("POST", "/fault", {"kind": "rest"}, 422, "'reset'"),
        ("POST", "/fault", {"kind": "reset", "keep": 1}, 422, "does not take keep"),
        ("POST", "/fault", {"kind": "refuse"}, 422, "needs seconds"),
        ("POST", "/fault", {"kind": "reset", "seconds": 1}, 422, "needs seconds"),
        ("POST", "/fault", {"kind": "redirect"}, 422, "needs to=URL"),
        ("POST", "/fault", {"kind": "edge", "page": "nowhere"}, 422, "nowhere"),
        ("POST", "/pass-time", {"seconds": -1}, 422, "more than 0"),
        ("POST", "/pass-time", b'{"seconds": Infinity}', 400, "not JSON"),
        ("PATCH", "/switches", {"guardrail": True}, 422, "did you mean guardrails?"),
        ("PATCH", "/switches", {"rate_limit": "5"}, 422, "rate_limit"),
        ("GET", "/calls?limit=0", None, 422, "limit"),
        ("GET", "/calls?limt=5", None, 422, "did you mean limit?"),
        ("GET", "/calls/12345678", None, 404, "no call 12345678"),
        ("GET", "/calls/abc", None, 422, "id"),
        ("POST", "/calls/12345678/send", {}, 404, "no call 12345678"),
        ("GET", "/cals", None, 404, "did you mean /_gateway/calls?"),
        ("POST", "/calls", {}, 405, "takes"),
    ],
)
def test_mistakes_are_explained(api, method, path, body, status, words):
    found, value = api.send(method, path, body)
    assert (found, words in value["error"]) == (status, True), value


# ---------------------------------------------------------------- calls


def test_calls_since_an_id_page_by_page(api, client):
    for _ in range(5):
        client.models.list()
    first, *_, last = [call["id"] for call in all_calls(api)]
    page = api.get(f"/calls?after={first}&limit=2")
    assert [call["id"] for call in page["calls"]] == [first + 1, first + 2]
    assert (page["more"], page["last_id"]) == (True, last)
    assert api.get(f"/calls?after={last}") == {"calls": [], "more": False, "last_id": last}
    newest = api.get(f"/calls?before={last}&limit=2")
    assert [call["id"] for call in newest["calls"]] == [last - 2, last - 1]
    assert newest["more"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("operation=chat.complete", 2),
        ("operation=chat.stream", 0),
        ("model=mistral-small-latest", 2),
        ("status=429", 1),
        ("code=2003", 1),
        ("failed=true", 1),
        ("failed=false", 2),
        ("cache=MISS", 1),
        ("q=%3CSCRIPT", 2),
        ("q=rate+limited", 1),
        ("q=nothing", 0),
    ],
)
def test_calls_can_be_filtered(api, client, local_gateway, query, count):
    client.models.list()
    with gateway_options(cache_ttl=60):
        say(client)
    local_gateway.fail(2003)
    with pytest.raises(GatewayError):
        say(client)
    assert len(api.get(f"/calls?{query}")["calls"]) == count


def test_one_call_has_everything(api, client, local_gateway):
    local_gateway.reply_stream(["Bon", "jour"])
    with gateway_options(metadata={"team": "search"}, event_id="e-1"):
        list(client.chat.stream(**CHAT))
    (listed,) = all_calls(api)
    call = api.get(f"/calls/{listed['id']}")
    assert listed.items() <= call.items()
    assert (call["prompt"], call["answer"]) == (HTML, "Bonjour")
    assert json.loads(call["request"]["body"])["messages"][0]["content"] == HTML
    assert call["response"]["body"] is None
    pieces = call["response"]["pieces"]
    assert '"Bon"' in "".join(piece["text"] for piece in pieces)
    assert all(piece["ms"] >= 0 for piece in pieces)
    effects = {option["option"]: option["effect"] for option in call["options"]}
    assert effects == {
        "metadata": "Kept with the log: team",
        "event_id": "Returned in cf-aig-event-id",
        "token": "The call was let in",
    }
    assert ["cf-aig-event-id", "e-1"] in call["response"]["headers"]
    assert "cf_gateway.reply_stream(['Bon', 'jour'])" in call["snippets"]["test"]


@pytest.mark.parametrize(
    ("options", "effect"),
    [
        ({"cache_ttl": "120"}, "Not in the cache; stored for 120 s"),
        ({"cache_ttl": "5"}, "Brought into range: 60 s. Not in the cache; stored for 60 s"),
        ({"cache_ttl": "soon"}, "Not a whole number: ignored"),
        ({"skip_cache": "true"}, "The cache was neither read nor written"),
        ({"cache_key": "k"}, "Not in the cache; stored under this key"),
        ({"metadata": '{"a":null}'}, "Lost: not a flat JSON object of texts, numbers and booleans"),
        ({"metadata": '{"a":1,"cf.b":2}'}, "Kept with the log: a. Dropped: cf.b"),
        ({"collect_log": "false"}, "Not logged, so no cf-aig-log-id"),
        ({"collect_log_payload": "false"}, "The log has neither prompt nor response"),
        ({"request_timeout": "500"}, "Waited at most 500 ms for the provider's first byte"),
        (
            {"request_timeout": "9" * 400},
            f"Brought into range: {DAY} ms. Waited at most {DAY} ms for the provider's first byte",
        ),
        ({"request_timeout": "9" * 5000}, "Not a positive whole number: ignored"),
        ({"cache_ttl": "9" * 5000}, "Not a whole number: ignored"),
        ({"max_attempts": "9" * 400}, "Asked the provider 1 of at most 5 times"),
        ({"retry_delay": "9" * 400}, "No effect: there was no second attempt"),
        (
            {"cache_ttl": "9" * 400},
            "Brought into range: 2592000 s. Not in the cache; stored for 2592000 s",
        ),
        ({"max_attempts": "3"}, "Asked the provider 1 of at most 3 times"),
        ({"retry_delay": "3"}, "No effect: there was no second attempt"),
        ({"custom_cost": "{}"}, "Lost: not a JSON object"),
        ({"custom_cost": '{"per_token_in":1}'}, "Kept with the log"),
        (
            {"byok_alias": "x"},
            "No effect: the request has a key of its own in Authorization",
        ),
        (
            {"no_wholesale": "true"},
            "No effect: the request has a key of its own in Authorization",
        ),
        ({"otel_trace_id": "a" * 32}, "Not imitated: this gateway exports no traces"),
        ({"session_id": "s"}, "No effect: the model is not cloudflare/auto"),
        ({"of_tomorrow": "s"}, "Not known to this gateway: ignored"),
    ],
)
def test_what_the_gateway_did_with_an_option(api, local_gateway, options, effect):
    (name,) = options
    headers = {f"cf-aig-{name.replace('_', '-')}": value for name, value in options.items()}
    exchange(local_gateway, asking(local_gateway, QUESTION, **headers))
    effects = api.get(f"/calls/{all_calls(api)[-1]['id']}")["options"]
    assert [found["effect"] for found in effects if found["option"] == name] == [effect]


def test_retries_are_explained(api, local_gateway):
    local_gateway.upstream_fail(500, times=2)
    headers = {"cf-aig-max-attempts": "3", "cf-aig-retry-delay": "1", "cf-aig-backoff": "linear"}
    exchange(local_gateway, asking(local_gateway, QUESTION, **headers))
    call = api.get(f"/calls/{all_calls(api)[-1]['id']}")
    effects = {option["option"]: option["effect"] for option in call["options"]}
    assert call["attempts"] == 3
    assert effects["max_attempts"] == "Asked the provider 3 of at most 3 times"
    assert effects["retry_delay"] == "Waited 1, 2 ms before the next attempts"


@pytest.mark.parametrize("depth", [340, 900, 5000])
def test_a_call_with_deep_json_is_shown(keyed, depth):
    gateway, api = keyed
    schema = b'{"a":' * depth + b"1" + b"}" * depth
    body = b'{"model": "mistral-small-latest", "messages": [], "tools": [%b]}' % schema
    exchange(gateway, asking(gateway, body))
    exchange(gateway, asking(gateway, CHAT, cf_aig_metadata="[" * depth))
    gateway.reply_json(json.loads("[" * 340 + "]" * 340))
    exchange(gateway, asking(gateway, CHAT))
    calls = [api.get(f"/calls/{call['id']}") for call in all_calls(api)]
    assert calls[0]["request"]["body"] == body.decode()
    # What cannot be parsed at all is copied as it is.
    assert ("too deep" if depth < 1000 else "httpx.request") in calls[0]["snippets"]["python"]
    assert calls[0]["snippets"]["curl"].startswith("curl ")
    assert "nested too deep" in calls[2]["snippets"]["test"]


def test_no_secret_is_shown_anywhere():
    key, other = SECRETS
    with LocalGateway(mistral_api_key=key, access=Access(client_secret=other)) as gateway:
        api = GatewayApi(gateway)
        prompt = f"my key is {key} and {other}"
        body = {**QUESTION, "messages": [{"role": "user", "content": prompt}]}
        headers = {
            "x-proxy-token": "s3cret-of-a-proxy-0001",
            "x-proxy-password": "letmein",
            "cf-access-client-id": "0123456789abcdef.access",
            "cf-access-client-secret": other,
            "Cookie": "session=0123456789abcdefg",
            "cf-aig-metadata": json.dumps({"key": key}),
        }
        exchange(gateway, asking(gateway, body, **headers))
        gateway.reply(f"the answer is {key}")
        shown = [api.send("GET", f"/calls/{call['id']}") for call in all_calls(api)]
        paths = ("/calls", "/totals", "/queue", "/switches", "/settings")
        shown += [api.send("GET", path) for path in paths]
        text = json.dumps(shown)
        for secret in (key, other, "s3cret-of-a-proxy-0001", "letmein", "0123456789abcdefg"):
            assert secret not in text, secret
        assert "my key is stor...89" in text


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_a_number_that_json_does_not_have_breaks_no_view(api, local_gateway, number):
    headers = {"cf-aig-metadata": f'{{"a":{number}}}', "cf-aig-custom-cost": f'{{"a":{number}}}'}
    with api.events() as events:
        exchange(local_gateway, asking(local_gateway, CHAT, **headers))
        local_gateway.dlp = {"a": float(number)}
        seen = [next(events) for _ in range(4)]
    (listed,) = api.get("/calls")["calls"]
    assert listed["metadata"] == {}
    effects = {one["option"]: one["effect"] for one in api.get(f"/calls/{listed['id']}")["options"]}
    assert effects["metadata"].startswith("Lost: ")
    assert effects["custom_cost"].startswith("Lost: ")
    assert seen[-1][2]["switches"]["dlp"] == {"a": None}
    assert api.get("/switches")["dlp"] == {"a": None}
    assert local_gateway.logs[0].metadata == {}


def test_a_switch_takes_no_number_that_json_does_not_have(api):
    status, said = api.send("PATCH", "/switches", b'{"dlp": {"a": 1e999}}')
    assert (status, said["error"]) == (400, "The body is not JSON")


KEY = "stored-key-0123456789-abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def keyed():
    """A gateway whose provider's key looks like a real one, and its API."""
    with LocalGateway(mistral_api_key=KEY) as gateway:
        yield gateway, GatewayApi(gateway)


def shown_of(api):
    """Return all that is shown of calls, as text, without what pieces it comes in."""
    with api.events("?after=0") as events:
        shown = [next(events) for _ in range(len(all_calls(api)) + 1)]
    shown += [api.get(path) for path in ("/calls", "/totals")]
    for call in all_calls(api):
        details = api.get(f"/calls/{call['id']}")
        shown += [details, "".join(piece["text"] for piece in details["response"]["pieces"])]
    return json.dumps(shown)


def parts_of(secret, length=8):
    """Yield each part of a secret that is no abbreviation of it."""
    return (secret[start : start + length] for start in range(len(secret) - length + 1))


@pytest.mark.parametrize("before", [130, 150, 155, 300, 310])
def test_a_secret_is_masked_before_it_is_cut(keyed, before):
    gateway, api = keyed
    text = "." * before + KEY
    gateway.reply(text)
    exchange(gateway, asking(gateway, {**CHAT, "messages": [{"role": "user", "content": text}]}))
    shown = shown_of(api)
    assert not [part for part in parts_of(KEY) if part in shown]


def test_a_secret_in_a_long_error_is_masked_before_it_is_cut(keyed):
    gateway, api = keyed
    gateway.upstream_fail(400, body={"message": "." * 980 + KEY})
    exchange(gateway, asking(gateway, CHAT))
    shown = shown_of(api)
    assert not [part for part in parts_of(KEY) if part in shown]
    (call,) = all_calls(api)
    assert len(call["error"]["message"]) < 1010


def test_a_secret_in_a_long_body_is_masked_before_it_is_cut(keyed):
    gateway, api = keyed
    text = "é" * 100 + "." * (MAX_SHOWN - 120) + KEY
    exchange(gateway, asking(gateway, text.encode() + b"." * MAX_SHOWN))
    gateway.reply_stream([b"data: " + b"." * (MAX_SHOWN - 40), KEY.encode(), b"." * MAX_SHOWN])
    exchange(gateway, asking(gateway, {**CHAT, "stream": True}))
    shown = shown_of(api)
    assert not [part for part in parts_of(KEY) if part in shown]
    call, streamed = (api.get(f"/calls/{one['id']}") for one in all_calls(api))
    assert call["request"]["body"].startswith("éé")
    pieces = streamed["response"]["pieces"]
    assert sum(len(piece["text"]) for piece in pieces) == MAX_SHOWN


def encoded(secret):
    """Yield a secret inside of base64, at each of the places that it can have there."""
    return [base64.b64encode(b"." * before + secret.encode()).decode() for before in range(3)]


@pytest.mark.parametrize("text", encoded(KEY))
def test_a_secret_is_masked_inside_of_base64(keyed, text):
    gateway, api = keyed
    gateway.reply(text)
    exchange(gateway, asking(gateway, {**CHAT, "messages": [{"role": "user", "content": text}]}))
    assert text[8:40] not in shown_of(api)


@pytest.mark.parametrize("escape", ["\\u{:04x}", "\\u{:04X}", "\\\\u{:04x}"])
def test_a_secret_is_masked_where_its_json_is_escaped(keyed, escape):
    gateway, api = keyed
    text = "".join(escape.format(ord(one)) for one in KEY)
    exchange(gateway, asking(gateway, b'{"model": "x", "messages": "%b"}' % text.encode()))
    (call,) = all_calls(api)
    body = api.get(f"/calls/{call['id']}")["request"]["body"]
    assert json.loads(body)["messages"] == "stor...yz"


def test_a_secret_is_masked_across_the_pieces_of_a_slow_response(keyed):
    gateway, api = keyed
    gateway.reply_stream([f"It is {KEY}.", f"Or {KEY} and {KEY}"])
    gateway.fault("slow_drip", delay=0, size=5)
    exchange(gateway, asking(gateway, {**CHAT, "stream": True}))
    shown = shown_of(api)
    assert KEY not in shown
    assert "Or stor...yz and stor...yz" in shown


def deltas_of(call):
    """Return the joined texts and arguments of a streamed call, as the page joins them."""
    text = "".join(piece["text"] for piece in call["response"]["pieces"])
    values = [json.loads(line[5:]) for line in text.split("\n") if line.startswith("data: {")]
    deltas = [value["choices"][0]["delta"] for value in values]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    return (
        "".join(delta.get("content") or "" for delta in deltas),
        "".join(call["function"]["arguments"] for call in calls),
    )


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("drip", [None, 5])
def test_a_secret_is_masked_that_is_split_over_the_events_of_a_stream(keyed, size, drip):
    gateway, api = keyed
    parts = [KEY[at : at + size] for at in range(0, len(KEY), size)]
    said = ['"It" is ', *parts, "."]
    texts = [{"choices": [{"index": 0, "delta": {"content": part}}]} for part in said]
    tools = [{"function": {"name": "f", "arguments": part}} for part in parts]
    called = [{"choices": [{"index": 0, "delta": {"tool_calls": [tool]}}]} for tool in tools]
    gateway.reply_stream([*texts, *called])
    if drip is not None:
        gateway.fault("slow_drip", delay=0, size=drip)
    exchange(gateway, asking(gateway, {**CHAT, "stream": True}))
    (call,) = all_calls(api)
    found = deltas_of(api.get(f"/calls/{call['id']}"))
    assert found == ('"It" is stor...yz.', "stor...yz")


def test_a_secret_is_masked_that_is_split_over_one_of_several_choices(keyed):
    gateway, api = keyed
    events = [
        {"choices": [{"index": index, "delta": {"content": text}}]}
        for part in KEY
        for index, text in enumerate((part, "x"))
    ]
    gateway.reply_stream(events)
    exchange(gateway, asking(gateway, {**CHAT, "stream": True}))
    (call,) = all_calls(api)
    text = "".join(piece["text"] for piece in api.get(f"/calls/{call['id']}")["response"]["pieces"])
    values = [json.loads(line[5:]) for line in text.split("\n") if line.startswith("data: {")]
    choices = [value["choices"][0] for value in values]
    joined = "".join(each["delta"]["content"] for each in choices if each["index"] == 0)
    assert joined == "stor...yz"


def test_a_stream_is_searched_for_split_secrets_in_time_of_its_size():
    mask = Mask([KEY])
    for text in ('"a":"\\"', '"a":"', "\\", '"a" ', '"a":"b\\u0041",'):
        shorter, longer = (seconds(mask.stream, [text * count]) for count in (20_000, 80_000))
        assert longer < 16 * max(shorter, 0.005), text


def seconds(function, *values):
    started = time.perf_counter()
    function(*values)
    return time.perf_counter() - started


def test_what_a_call_carries_is_masked_in_totals_and_one_by_one(keyed):
    gateway, api = keyed
    carried = ("cookie-of-a-session-0001", "another-cookie-000002", "dXNlcjpsb25nLXBhc3N3b3JkMQ==")
    session, other, basic = carried
    headers = {
        "Cookie": f"session={session}; other={other}",
        "x-proxy-auth": f"Basic {basic}",
        "cf-aig-metadata": json.dumps(dict(zip("abc", carried, strict=True))),
    }
    exchange(gateway, asking(gateway, {**CHAT, "model": session}, **headers))
    shown = shown_of(api)
    assert [secret for secret in carried if secret in shown] == []
    assert "a=cook...01" in shown


def test_the_secret_of_access_stays_masked_when_its_switch_is_off():
    secret = "0123456789-secret-of-access"
    with LocalGateway(access=Access(client_secret=secret)) as gateway:
        api = GatewayApi(gateway)
        api.send("PATCH", "/switches", {"access": False})
        content = f"my secret is {secret}"
        body = {**CHAT, "messages": [{"role": "user", "content": content}]}
        exchange(gateway, asking(gateway, body))
        assert secret not in shown_of(api)


def test_a_call_is_sent_again(api, client, local_gateway):
    local_gateway.reply("first")
    local_gateway.reply("second")
    assert say(client) == "first"
    (first,) = all_calls(api)
    sent = api.post(f"/calls/{first['id']}/send", 202)
    (again,) = local_gateway.calls.wait(first["id"], timeout=30)
    call = api.get(f"/calls/{again.id}")
    assert (call["answer"], call["client"]) == ("second", sent["client"])
    assert again.request.body == local_gateway.requests[0].body
    assert again.request.headers["authorization"] == f"Bearer {local_gateway.mistral_api_key}"


def test_a_call_is_sent_again_into_a_fault(api, client, local_gateway):
    say(client)
    last = local_gateway.calls.last_id
    api.post("/fault", 201, kind="reset")
    api.post(f"/calls/{last}/send", 202)
    (again,) = local_gateway.calls.wait(last, timeout=30)
    assert again.fault == "reset"


# ---------------------------------------------------------------- scripting


def test_responses_are_scripted(api, client):
    api.post("/reply", 201, text="one")
    api.post("/reply-stream", 201, pieces=["t", "wo"])
    queue = api.post("/reply-json", 201, value={"object": "list", "data": []}, path="models")
    assert queue["responses"] == [
        "reply('one')",
        "reply_stream(['t', 'wo'])",
        "reply_json({'object': 'list', 'data': []})",
    ]
    assert say(client) == "one"
    events = list(client.chat.stream(**CHAT))
    assert "".join(event.data.choices[0].delta.content or "" for event in events) == "two"
    assert client.models.list().data == []
    assert api.get("/queue") == {"responses": [], "upstream": [], "faults": []}


def test_a_reply_can_call_a_tool(api, client):
    tool_calls = [{"id": "abcdefghi", "function": {"name": "f", "arguments": "{}"}}]
    api.post("/reply", 201, text="", tool_calls=tool_calls)
    choice = client.chat.complete(**CHAT).choices[0]
    assert choice.message.tool_calls[0].function.name == "f"
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"code": 2003}, 429, 2003),
        ({"kind": "policy_denied"}, 403, None),
        ({"status": 400, "body": "<p>no</p>"}, 400, None),
        ({"code": 2016, "message": "no", "headers": {"retry-after": "1"}}, 424, 2016),
    ],
)
def test_the_gateway_fails(api, local_gateway, fields, status, code):
    api.post("/fail", 201, **fields)
    assert statuses(exchange(local_gateway, asking(local_gateway, QUESTION))) == [status]
    assert all_calls(api)[-1]["error"]["code"] == code


def test_the_provider_fails_and_is_slow(api, local_gateway):
    api.post("/upstream-fail", 201, status=503, times=2)
    api.post("/upstream-delay", 201, seconds=0.001)
    sent = asking(local_gateway, QUESTION)
    assert [statuses(exchange(local_gateway, sent)) for _ in range(3)] == [[503], [503], [200]]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "reset"},
        {"kind": "garbage", "data": "no HTTP"},
        {"kind": "cut_body", "keep": 3},
        {"kind": "status", "status": 503, "body": "later", "content_type": "text/plain"},
        {"kind": "redirect", "to": "http://127.0.0.1:1/", "status": 302},
        {"kind": "edge", "page": 1010},
        {"kind": "edge", "page": "challenge"},
        {"kind": "access", "form": "json"},
        {"kind": "slow_drip", "delay": 0.0001, "size": 64},
    ],
    ids=lambda fields: fields["kind"],
)
def test_faults_hit_the_next_request(api, local_gateway, fields):
    queue = api.post("/fault", 201, **fields)
    assert [fault["kind"] for fault in queue["faults"]] == [fields["kind"]]
    last = local_gateway.calls.last_id
    exchange(local_gateway, asking(local_gateway, QUESTION))
    (call,) = local_gateway.calls.wait(last, timeout=30)
    assert call.fault == fields["kind"]
    assert api.get("/queue")["faults"] == []


def _ask_until_refused(gateway):
    while True:
        # A connection that is open as the listener closes is reset.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            exchange(gateway, asking(gateway, QUESTION))
        time.sleep(0.02)


def test_connections_are_refused_for_a_while(api, local_gateway):
    api.post("/fault", 201, kind="refuse", seconds=60)
    with pytest.raises(ConnectionRefusedError):
        _ask_until_refused(local_gateway)
    local_gateway.reset()
    assert api.get("/health")["status"] == "ok"


def test_the_queue_is_cleared(api, client):
    api.post("/reply", 201, text="one")
    api.post("/upstream-fail", 201)
    api.post("/fault", 201, kind="reset", times=None)
    assert api.send("DELETE", "/queue") == (
        200,
        {"responses": [], "upstream": [], "faults": []},
    )
    assert say(client) != "one"


# ---------------------------------------------------------------- assertions


def test_assertions_hold(api, client):
    say(client)
    assert api.post("/assert-sent", path="chat/completions", times=1)["ok"]
    assert api.post("/assert-sent", json_contains={"model": CHAT["model"]}, method="post")["ok"]
    assert api.post("/assert-not-sent", path="v1/models") == {"ok": True}
    assert api.post("/assert-all-used") == {"ok": True}


def test_assertions_say_why_they_fail(api, client, local_gateway):
    say(client)
    failed = api.post("/assert-sent", 409, headers={"cf-aig-cache-ttl": "60"})
    assert "No request fits" in failed["error"]
    assert "header cf-aig-cache-ttl is absent" in failed["reasons"][0]
    failed = api.post("/assert-sent", 409, headers={"authorization": "Bearer x"})
    assert local_gateway.mistral_api_key not in json.dumps(failed)
    assert "should not" in api.post("/assert-not-sent", 409)["error"]
    api.post("/reply", 201, text="unused")
    assert "reply('unused')" in api.post("/assert-all-used", 409)["error"]


# ---------------------------------------------------------------- the gateway itself


def test_switches_change_what_happens_until_a_reset(api, local_gateway, client):
    sent = asking(local_gateway, QUESTION)
    changed = {"rate_limit": 0, "guardrails": True, "dlp": {"action": "FLAG"}, "cache_ttl": 60}
    status, switches = api.send("PATCH", "/switches", changed)
    assert (status, changed.items() <= switches.items()) == (200, True)
    assert statuses(exchange(local_gateway, sent)) == [429]
    api.send("PATCH", "/switches", {"rate_limit": None, "authenticated": False})
    bare = sent.replace(b"cf-aig-authorization", b"x-no-authorization")
    assert b"cf-aig-cache-status: MISS" in exchange(local_gateway, bare)
    assert b"cf-aig-cache-status: HIT" in exchange(local_gateway, bare)
    assert b"cf-aig-dlp" in exchange(local_gateway, bare)
    assert api.post("/pass-time", seconds=61)["ahead"] >= 61
    assert b"cf-aig-cache-status: MISS" in exchange(local_gateway, bare)
    api.send("PATCH", "/switches", {"access": True})
    assert statuses(exchange(local_gateway, sent)) == [302]
    settings = api.get("/settings")["env"]
    assert settings["CF_AIG_ACCESS_CLIENT_SECRET"]
    api.post("/reset")
    assert statuses(exchange(local_gateway, bare)) == [401]
    assert "HIT" not in exchange(local_gateway, sent).decode()


def test_the_switch_of_access_brings_back_the_one_that_was_given():
    access = Access(client_secret="0123456789-secret")
    with LocalGateway(access=access) as gateway:
        api = GatewayApi(gateway)
        assert api.send("PATCH", "/switches", {"access": False})[1]["access"] is False
        assert "CF_AIG_TOKEN" in gateway.env()
        api.send("PATCH", "/switches", {"access": True})
        assert gateway.env()["CF_AIG_ACCESS_CLIENT_SECRET"] == access.client_secret


def test_totals_count_tokens_hits_and_errors(api, client, local_gateway):
    with gateway_options(cache_ttl=60, metadata={"team": "search"}):
        answer = client.chat.complete(**CHAT)
        client.chat.complete(**CHAT)
    for fail in (lambda: local_gateway.fail(2003), lambda: local_gateway.upstream_fail(500)):
        fail()
        exchange(local_gateway, asking(local_gateway, QUESTION))
    local_gateway.fault("status")
    exchange(local_gateway, asking(local_gateway, QUESTION))
    totals = api.get("/totals")
    assert (totals["calls"], totals["errors"], totals["hit_ratio"]) == (5, 3, 0.5)
    assert totals["tokens_in"] == answer.usage.prompt_tokens  # a hit uses none
    assert totals["tokens_out"] == answer.usage.completion_tokens
    assert totals["errors_by_code"] == {"2003": 1, "HTTP 500": 1, "fault status": 1}
    assert totals["by_model"][CHAT["model"]]["calls"] == 5
    assert totals["by_metadata"] == {
        "team=search": {
            "calls": 2,
            "errors": 0,
            "tokens_in": totals["tokens_in"],
            "tokens_out": totals["tokens_out"],
        }
    }
    assert 0 < totals["p50_ms"] <= totals["p95_ms"]
    api.post("/reset")
    assert api.get("/totals")["calls"] == 0


def test_totals_go_on_where_calls_are_forgotten(client, local_gateway, api, monkeypatch):
    monkeypatch.setattr(limits, "MAX_KEPT", 2)
    for number in range(1, 6):
        client.models.list()
        assert api.get("/totals")["calls"] == number
    assert len(local_gateway.calls) == 2


# ---------------------------------------------------------------- events


def test_events_tell_of_calls_and_of_changes(api, client):
    with api.events() as events:
        name, _, hello = next(events)
        assert (name, hello["instance"]) == ("hello", api.get("/health")["instance"])
        name, _, state = next(events)
        assert (name, state["queue"]["responses"]) == ("state", [])
        api.post("/reply", 201, text="one")
        assert next(events)[2]["queue"]["responses"] == ["reply('one')"]
        say(client)
        name, call_id, call = next(events)
        assert (name, int(call_id), call["answer"]) == ("call", call["id"], "one")
        assert next(events)[2]["queue"]["responses"] == []
        api.post("/reset")
        assert next(events)[2]["cleared_at"] == call["id"]


def test_a_client_that_comes_back_misses_no_call(api, client):
    for _ in range(3):
        client.models.list()
    ids = [call["id"] for call in all_calls(api)]
    with api.events(Last_Event_ID=str(ids[0])) as events:
        assert [next(events)[1] for _ in range(3)][1:] == [str(call_id) for call_id in ids[1:]]
    with api.events(f"?after={ids[1]}") as events:
        assert [next(events)[1] for _ in range(2)][1:] == [str(ids[2])]
    # Ids of another run of the gateway: what is there is sent from its start.
    with api.events(Last_Event_ID="99999999") as events:
        assert [next(events)[1] for _ in range(4)][1:] == [str(call_id) for call_id in ids]


def test_changes_by_methods_are_told_as_well(api, local_gateway):
    with api.events() as events:
        assert [next(events)[0], next(events)[0]] == ["hello", "state"]
        local_gateway.reply("by a test")
        assert next(events)[2]["queue"]["responses"] == ["reply('by a test')"]


def test_a_gateway_ends_with_streams_of_events_open():
    gateway = LocalGateway()
    gateway.start()
    with GatewayApi(gateway).events() as events:
        next(events)
        gateway.stop()
        assert list(events)[1:] == []


def test_a_stream_of_events_that_is_not_read_delays_no_call(api, local_gateway, client):
    with socket.create_connection(("127.0.0.1", port_of(local_gateway))) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        sock.sendall(b"GET /_gateway/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for _ in range(300):
            client.models.list()
    assert len(local_gateway.calls) == 300


# ---------------------------------------------------------------- what went past the gateway


def test_a_call_past_the_gateway_is_reported(api):
    with api.events() as events:
        assert [next(events)[0], next(events)[0]] == ["hello", "state"]
        api.post("/bypassed", 201, method="POST", path="/v1/ocr", routed="direct", status=200)
        assert next(events)[2]["bypassed"] == 1
    (told,) = api.get("/bypassed")["bypassed"]
    assert (told["method"], told["path"], told["routed"]) == ("POST", "/v1/ocr", "direct")
    api.post("/reset")
    assert api.get("/bypassed")["bypassed"] == []


def test_report_bypasses_tells_of_the_calls_of_a_client(local_gateway, client, elsewhere, api):
    with report_bypasses(local_gateway.url):
        client.models.list()
        with pytest.warns(UserWarning, match="goes past AI Gateway"):
            client.models.list(server_url=elsewhere.origin)
        with api.events() as events:
            state = next(data for name, _, data in events if name == "state" and data["bypassed"])
    assert state["bypassed"] == 1
    (told,) = api.get("/bypassed")["bypassed"]
    assert (told["method"], told["routed"], told["operation"]) == (
        "GET",
        "elsewhere",
        "models.list",
    )


def test_report_bypasses_logs_that_no_gateway_is_there(caplog):
    with LocalGateway() as gateway:
        url = gateway.url
    known = {"attempt": 1, "elapsed": 0.1, "status_code": 200, "method": "GET", "path": "/v1/x"}
    before = threading.active_count()
    with report_bypasses(url) as listener:
        listener(GatewayCall(routed="direct", **known))
        while threading.active_count() > before:
            time.sleep(0.01)
    assert "could not be told of it: ConnectionRefusedError" in caplog.text


@pytest.mark.parametrize(
    "url", [None, "", "https://gateway.ai.cloudflare.com/v1/a/b", "http://example.com/"]
)
def test_report_bypasses_needs_a_gateway_of_this_machine(url):
    with pytest.raises(ValueError, match="CF_AIG_BASE_URL"):
        report_bypasses(url)


# ---------------------------------------------------------------- what it costs


def test_nothing_of_it_is_loaded_until_it_is_asked():
    program = (
        "import sys\n"
        "from mistral_cf_adapter.testing import LocalGateway\n"
        "with LocalGateway(page=True): pass\n"
        "names = [n for n in sys.modules if n.startswith('mistral_cf_adapter.testing')]\n"
        "print([n for n in names if 'http_' in n or n.endswith('.page')],"
        " 'starlette.applications' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[] False\n"


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("/reply-json", {"value": 1, "headers": {"x": "a\r\nb"}}),
        ("/fail", {"code": 2003, "headers": {"content-length": "5"}}),
        ("/upstream-fail", {"headers": {"": "a"}}),
        ("/fault", {"kind": "status", "status": 100}),
        ("/fault", {"kind": "status", "content_type": "a\nb"}),
        ("/fault", {"kind": "redirect", "to": "a\nb"}),
        ("/fault", {"kind": "slow_drip", "delay": 4000}),
    ],
)
def test_what_could_not_be_sent_is_a_422_and_is_not_scripted(api, route, fields):
    assert api.send("POST", route, fields)[0] == 422
    assert not any(api.get("/queue").values())


def test_calls_that_are_sent_again_at_once_have_a_bound():
    with LocalGateway() as gateway:
        api = GatewayApi(gateway)
        say(make_client(gateway.settings()))
        with gateway.fault("stall", times=None):
            for _ in range(limits.MAX_SENDING):
                api.post("/calls/1/send", 202)
            status, refused = api.send("POST", "/calls/1/send", {})
    assert status == 429
    assert refused["error"].startswith("32 calls are being sent again: wait")
    # The end of the gateway has dropped those that waited.
    with LocalGateway() as gateway:
        say(make_client(gateway.settings()))
        while GatewayApi(gateway).send("POST", "/calls/1/send", {})[0] == 429:
            time.sleep(0.01)
