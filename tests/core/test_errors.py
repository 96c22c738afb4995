"""What the gateway says of itself arrives as a typed exception; what Mistral says, untouched."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle

import pytest
from call_modes import SYNC
from http_records import KEY, TEXT, TOKEN, Reply
from retry_configs import retries

import mistral_cf_adapter
from mistral_cf_adapter import (
    GatewayConfigError,
    GatewayError,
    GatewayPolicyError,
    GatewaySpendLimitError,
    GatewayStreamError,
    GatewayUnauthorizedError,
    _errors,
    capture,
    make_client,
)
from mistral_cf_adapter._sdk import SDKError
from mistral_cf_adapter._sdk import httpx as sdk_httpx

LOG_ID = "01890a5d-ac96-774b-bcce-b302099a8057"

# Every row of the facts of gateway-generated errors that has a code on this host:
# HTTP status, code, message, exception, whether it may pass, what the advice must name.
CODES = [
    (400, 2001, "Please configure AI Gateway in the dashboard", "NotFound", False, "BASE_URL"),
    (429, 2003, "Rate limited", "RateLimited", True, "limit"),
    (400, 2005, "Failed to get response from provider", "Provider", True, "provider's status"),
    (400, 2008, "Invalid provider", "InvalidProvider", False, "CF_AIG_PROVIDER"),
    (401, 2009, "Unauthorized", "Unauthorized", False, "CF_AIG_TOKEN"),
    (400, 2009, "Unauthorized", "Unauthorized", False, "AI Gateway Run"),
    (424, 2016, "Prompt blocked due to security configurations", "Guardrail", False, "Guardrails"),
    (424, 2017, "Response blocked", "Guardrail", False, "Guardrails"),
    (422, 2017, "Response blocked", "Guardrail", False, "Guardrails"),
    (400, 2019, "Chat completion bad format", "BadFormat", False, "mistral/{model}"),
    (402, 2021, "Insufficient wholesale credits", "Credits", False, "Mistral key"),
    (424, 2029, "Request blocked by DLP", "Dlp", False, "cf-aig-dlp"),
    (424, 2030, "Response blocked by DLP", "Dlp", False, "cf-aig-dlp"),
    (400, 2040, "No BYOK credential with that alias", "StoredKey", False, "CF_AIG_BYOK_ALIAS"),
    (429, 2041, "Spend limit exceeded: rule 'a'", "SpendLimit", False, "Spend limits"),
    (429, 2045, "Spend limit exceeded: rule 'a'", "SpendLimit", False, "Spend limits"),
    (503, 7013, "Guardrail scanner unavailable", "Scanner", True, "scanner"),
    (401, 9109, "Invalid access token", "Unauthorized", False, "CF_AIG_TOKEN"),
    (401, 10000, "Authentication error", "Unauthorized", False, "CF_AIG_TOKEN"),
    (403, 10000, "Authentication error", "Unauthorized", False, "CF_AIG_TOKEN"),
    (401, 10001, "Authentication error", "Unauthorized", False, "CF_AIG_TOKEN"),
]
# The rows of the facts whose codes belong to another host (REST).
OTHER_HOST = {7000, 7001, 7003}

ROWS = [pytest.param(*row, id=f"{row[0]}-{row[1]}") for row in CODES]


def today(status, code, message):
    """Return the body as it is now."""
    return {
        "success": False,
        "result": [],
        "messages": [],
        "error": [{"code": code, "message": message}],
        "name": "AiGatewayError",
        "httpCode": status,
        "internalCode": code,
        "message": message,
        "description": message,
    }


def older(status, code, message):
    """Return the body as it was: without name, httpCode and internalCode."""
    return {
        "success": False,
        "result": [],
        "messages": [],
        "error": [{"code": code, "message": message}],
    }


def envelope(status, code, message):
    """Return the body in Cloudflare's v4 envelope."""
    return {
        "result": None,
        "success": False,
        "errors": [{"code": code, "message": message}],
        "messages": [],
    }


def failed(error):
    return {"success": False, "error": error}


SHAPES = [today, older, envelope]


def refused(gateway, status, body, headers=None):
    gateway.responder = lambda _: Reply(status, body, {"cf-aig-log-id": LOG_ID, **(headers or {})})


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize(("status", "code", "message", "kind", "retryable", "advice"), ROWS)
def test_each_code_is_its_own_exception_that_shows_no_secret(
    gateway, client, mode, status, code, message, kind, retryable, advice
):
    refused(gateway, status, today(status, code, message))
    error = mode.error(client, "my secret prompt")
    assert isinstance(error, SDKError)
    assert type(error) is getattr(mistral_cf_adapter, f"Gateway{kind}Error")
    assert (error.code, error.status_code, error.log_id) == (code, status, LOG_ID)
    assert error.retryable is retryable
    assert message in str(error)
    assert advice in str(error)
    assert error.message == str(error)
    assert json.loads(error.body)["internalCode"] == code
    assert error.headers["cf-aig-log-id"] == LOG_ID
    assert error.raw_response.status_code == status
    assert "cf-aig-authorization" not in error.raw_response.request.headers
    shown = f"{error} {error!r} {error.__dict__}"
    assert not [secret for secret in (TOKEN, KEY, "my secret prompt") if secret in shown]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize(("status", "code", "message", "kind", "retryable", "advice"), ROWS)
def test_each_code_is_known_in_every_shape_of_body(
    gateway, client, shape, status, code, message, kind, retryable, advice
):
    refused(gateway, status, shape(status, code, message))
    error = SYNC.error(client)
    assert type(error).__name__ == f"Gateway{kind}Error"
    assert (error.code, error.retryable) == (code, retryable)


def test_every_code_of_the_facts_has_an_exception(record_property):
    known = {row[1] for row in CODES}
    assert known == {*_errors.BY_CODE}
    assert not known & OTHER_HOST
    record_property("error codes", f"error codes covered / in the facts: {len(known)}/{len(known)}")


# ---------------------------------------------------------------- bodies out of the row

DENIED = "Access denied by policy"
UNUSUAL = {
    "unknown 429": (429, envelope(429, 9999, "New"), GatewayError, 9999, True),
    "unknown 500": (500, envelope(500, 9999, "New"), GatewayError, 9999, True),
    "unknown 400": (400, envelope(400, 9999, "New"), GatewayError, 9999, False),
    "policy": (
        403,
        failed({"message": DENIED}),
        GatewayPolicyError,
        None,
        False,
    ),
    "nothing else": (400, {"success": False}, GatewayError, None, False),
    "code as text": (
        401,
        {"name": "AiGatewayError", "internalCode": "2009"},
        _errors.GatewayUnauthorizedError,
        2009,
        False,
    ),
}
ODD_CODES = (None, True, [], {}, 1e308, "\u00b2", "9" * 5000)
ODD_ERRORS = ([], {}, "Bad", None, 7, [None], ["text"], [[{"code": 2005}]])
for odd in (*([{"code": code, "message": None}] for code in ODD_CODES), *ODD_ERRORS):
    UNUSUAL[f"{odd!r:.40}"] = (400, failed(odd), GatewayError, None, False)
for number in (-1, 10**400):
    UNUSUAL[f"{number!r:.40}"] = (400, failed([{"code": number}]), GatewayError, number, False)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "retryable"), UNUSUAL.values(), ids=UNUSUAL
)
def test_unusual_bodies_are_understood_too(
    gateway, client, mode, status, body, kind, code, retryable
):
    refused(gateway, status, body)
    error = mode.error(client)
    assert type(error) is kind
    assert (error.code, error.status_code, error.retryable) == (code, status, retryable)
    assert str(error).startswith("AI Gateway: ")


@pytest.mark.parametrize("message", ["Failed", "F\u00e9"])
def test_an_envelope_in_an_unknown_charset_is_understood_too(gateway, client, mode, message):
    body = json.dumps(older(400, 2005, message), ensure_ascii=False).encode("latin-1")
    refused(gateway, 400, body, {"content-type": "application/json; charset=no-such"})
    assert isinstance(mode.error(client), SDKError)
    assert message != "Failed" or type(mode.error(client)) is _errors.GatewayProviderError


def test_a_long_message_is_cut(gateway, client):
    refused(gateway, 400, today(400, 2005, "x" * 100_000))
    assert len(str(SYNC.error(client))) < 1000


# ---------------------------------------------------------------- Mistral's own

VALIDATION = {
    "detail": [{"loc": ["body", "model"], "msg": "Field required", "type": "missing", "input": 1}]
}
MISTRALS = [
    pytest.param(401, {"detail": "Unauthorized"}, id="401"),
    pytest.param(401, {"message": "Unauthorized", "request_id": "r"}, id="401-gateway-like"),
    pytest.param(400, {"object": "error", "message": "Bad", "code": 2009, "type": "x"}, id="400"),
    pytest.param(403, {"message": "Forbidden"}, id="403"),
    pytest.param(404, {"message": "no Route matched with those values"}, id="404"),
    pytest.param(422, VALIDATION, id="422"),
    pytest.param(422, {"object": "error", "message": {"detail": []}, "code": 1500}, id="422-odd"),
    pytest.param(422, b"not json", id="422-text"),
    pytest.param(429, {"message": "Requests rate limit exceeded"}, id="429"),
    pytest.param(
        429, {"object": "error", "message": "capacity exceeded", "code": "3505"}, id="cap"
    ),
    pytest.param(
        500, {"object": "error", "message": "Service unavailable.", "code": 3000}, id="500"
    ),
    pytest.param(500, b"Internal Server Error", id="500-text"),
    pytest.param(503, {"object": "error", "message": "Service unavailable."}, id="503"),
    pytest.param(418, b"", id="418-empty"),
    pytest.param(400, {"success": True, "error": "x"}, id="success-true"),
    pytest.param(400, [{"success": False}], id="array"),
    pytest.param(400, b"[" * 2_000, id="hostile-json"),
    pytest.param(400, b'"Bad"', id="a string"),
    pytest.param(500, b"null", id="null"),
    pytest.param(400, b'{"x":"' + b"x" * 2_000_000 + b'"}', id="2 MB"),
    pytest.param(400, b'{"x":"\xff\xfe"}', id="not UTF-8"),
    pytest.param(200, b"<html>hello</html>", id="200-html"),
    pytest.param(200, {"unexpected": "shape"}, id="200-shape"),
    pytest.param(204, b"", id="204"),
]


@pytest.mark.parametrize(("status", "body"), MISTRALS)
def test_mistrals_own_errors_arrive_as_the_sdk_raises_them_bare(
    gateway, client, bare, mode, status, body
):
    headers = {"x-kong-request-id": "k"}
    headers |= {"content-type": "text/html"} if type(body) is bytes else {}
    gateway.responder = lambda _: Reply(status, body, headers)
    expected = _settled(mode, bare)
    arrived = _settled(mode, client)
    assert not isinstance(arrived, GatewayError)
    if body == b"":  # where a stream is empty, the bare SDK stumbles over its own reading of it
        assert {type(arrived), type(expected)} <= {SDKError, sdk_httpx.ResponseNotRead}
        return
    assert type(arrived) is type(expected)
    assert str(arrived) == str(expected)
    for name in ("status_code", "body", "message"):
        assert getattr(arrived, name, None) == getattr(expected, name, None)


def _settled(mode, client):
    try:
        return mode.chat(client)
    except Exception as error:
        return error


# ---------------------------------------------------------------- retries


def test_a_rate_limited_call_succeeds_when_the_sdk_retries(gateway, client, mode):
    gateway.replies += [Reply(429, today(429, 2003, "Rate limited"))] * 2
    with capture() as calls:
        assert mode.chat(client, retries=retries()) == TEXT
    assert [request.header("cf-aig-authorization") for request in gateway.requests] == (
        [f"Bearer {TOKEN}"] * 3
    )
    assert [(call.attempt, call.status_code) for call in calls] == [(1, 429), (2, 429), (3, 200)]


def test_a_client_that_retries_by_configuration_does_so_through_the_gateway(
    gateway, settings, mode
):
    gateway.replies.append(Reply(429, today(429, 2003, "Rate limited")))
    assert mode.chat(make_client(settings, retry_config=retries())) == TEXT
    assert gateway.requests[0].headers == gateway.requests[1].headers
    assert gateway.requests[0].body == gateway.requests[1].body


@pytest.mark.parametrize(("status", "code"), [(429, 2003), (503, 7013), (500, 9999)], ids=str)
def test_retries_that_run_out_end_in_the_gateways_exception(gateway, client, mode, status, code):
    for elapsed in (400, 4000):  # the second where the machine is busy
        gateway.reset()
        refused(gateway, status, today(status, code, "Not now"))
        error = mode.error(client, retries=retries(pause=40, elapsed=elapsed))
        assert type(error) is _errors.BY_CODE.get(code, GatewayError)
        if len(gateway.requests) > 1:
            return
    pytest.fail("it was not tried again")


@pytest.mark.parametrize(
    "row", [row for row in CODES if not row[4]], ids=lambda row: f"{row[0]}-{row[1]}"
)
def test_what_cannot_succeed_is_not_retried(gateway, client, mode, row):
    refused(gateway, row[0], today(*row[:3]))
    mode.error(client, retries=retries())
    assert len(gateway.requests) == 1


def test_an_error_that_hits_a_retried_call_last_is_the_one_raised(gateway, client, mode):
    gateway.replies.append(Reply(429, today(429, 2003, "Rate limited")))
    gateway.replies.append(Reply(429, today(429, 2045, "Spend limit exceeded")))
    error = mode.error(client, retries=retries())
    assert type(error) is GatewaySpendLimitError
    assert len(gateway.requests) == 2


def test_mistrals_own_429_is_retried_as_ever(gateway, client, mode):
    gateway.replies.append(Reply(429, {"message": "Requests rate limit exceeded"}))
    assert mode.chat(client, retries=retries()) == TEXT
    assert len(gateway.requests) == 2


# ---------------------------------------------------------------- other operations


def download(client):
    return client.files.download(file_id="f")


def upload(client):
    return client.files.upload(file={"file_name": "a", "content": b"x"})


def embed(client):
    return client.embeddings.create(model="mistral-embed", inputs=["a"])


def models(client):
    return client.models.list()


def embed_async(client):
    return asyncio.run(client.embeddings.create_async(model="mistral-embed", inputs=["a"]))


@pytest.mark.parametrize("call", [download, upload, embed, models, embed_async])
@pytest.mark.parametrize("code", [2003, 2005, 2009])
def test_operations_of_every_kind_raise_the_gateways_errors(gateway, client, call, code):
    row = next(row for row in CODES if row[1] == code)
    refused(gateway, row[0], today(*row[:3]))
    with pytest.raises(_errors.BY_CODE[code]):
        call(client)


# ---------------------------------------------------------------- connections


def test_an_answer_cut_in_its_middle_is_the_http_librarys_own_error(gateway, client, mode):
    gateway.replies.append(Reply(body=b"data: " + b"x" * 5000, cut=True))
    gateway.replies[0].headers["content-type"] = (
        "text/event-stream" if mode.is_stream else "application/json"
    )
    error = mode.error(client)
    if isinstance(error, sdk_httpx.TransportError):
        assert "cf-aig-authorization" not in error.request.headers
    else:
        assert isinstance(error, _errors.GatewayStreamError)


def test_an_error_cut_in_its_middle_is_still_captured(gateway, client, mode):
    gateway.replies.append(Reply(500, {"message": "x" * 5000}, cut=True))
    with capture() as calls:
        error = mode.error(client)
    assert isinstance(error, sdk_httpx.TransportError)
    assert "cf-aig-authorization" not in error.request.headers
    assert len(calls) == 1


def test_a_call_after_an_error_reuses_the_connection(gateway, client):
    refused(gateway, 429, today(429, 2003, "Rate limited"))
    for _ in range(3):
        SYNC.error(client)
    assert len({request.peer for request in gateway.requests}) == 1


# ---------------------------------------------------------------- the tree itself


TREE = [
    kind
    for kind in vars(_errors).values()
    if inspect.isclass(kind) and issubclass(kind, GatewayError)
]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_exception_is_public_printed_and_says_what_to_do(kind):
    assert kind.__name__ in mistral_cf_adapter.__all__
    assert kind.__name__ in (_errors.__doc__ or "")
    assert kind.__doc__
    assert kind is GatewayError or kind.advice.endswith(".")


def test_a_configuration_error_is_a_value_error_and_no_sdk_error():
    assert issubclass(GatewayConfigError, ValueError)
    assert not issubclass(GatewayConfigError, SDKError)


# ---------------------------------------------------------------- policies, Cloudflare's REST API

BUDGET = {"message": "Spending limit exceeded", "bucket": "team-a", "spent": 12.5, "limit": 10}


@pytest.mark.parametrize("fields", [{}, {"success": False}], ids=["bare", "in an envelope"])
def test_a_budget_of_a_policy_says_how_much_of_it_is_spent(gateway, client, mode, fields):
    refused(gateway, 429, {**fields, "error": BUDGET})
    error = mode.error(client, retries=retries())
    assert type(error) is GatewaySpendLimitError
    assert len(gateway.requests) == 1
    assert (error.bucket, error.spent, error.limit) == ("team-a", 12.5, 10)
    assert (
        f"exceeded (spent 12.5, limit 10, bucket team-a) (HTTP 429, log {LOG_ID})." in error.message
    )
    assert error.message.endswith("The rules are in the gateway's Policies in the dashboard.")
    assert "dollar" not in error.message
    assert not error.retryable
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.bucket, twin.spent, twin.limit) == ("team-a", 12.5, 10)


HUGE = 10**400
BUDGETS = [
    # what is said of the budget | bucket, spent, limit | in the message
    ({"bucket": "b", "spent": "12.50", "limit": "10"}, ("b", "12.50", "10"), "spent 12.50, limit"),
    ({"bucket": 7, "spent": 0, "limit": 0.0}, (7, 0, 0.0), "spent 0, limit 0.0, bucket 7"),
    ({"spent": 12.5, "limit": 10}, (None, 12.5, 10), "exceeded (spent 12.5, limit 10) (HTTP"),
    ({"bucket": "b"}, ("b", None, None), "exceeded (bucket b) (HTTP"),
    ({}, (None, None, None), "exceeded (HTTP"),
    ({"bucket": None, "spent": None, "limit": None}, (None, None, None), "exceeded (HTTP"),
    ({"bucket": {"id": 1}, "spent": [1], "limit": True}, (None, None, None), "exceeded (HTTP"),
    ({"bucket": "", "spent": -1, "limit": HUGE}, ("", -1, HUGE), "spent -1, limit 10000"),
    ({"bucket": "a\x1b[31m\r\nb\ud800"}, ("a [31m b ", None, None), "bucket a [31m b"),
    ({"bucket": "Zo\u00eb"}, ("Zo\u00eb", None, None), "bucket Zo\u00eb"),
]


@pytest.mark.parametrize(("fields", "expected", "said"), BUDGETS)
def test_a_budget_may_be_said_in_part_or_as_text(gateway, client, mode, fields, expected, said):
    refused(gateway, 429, failed({"message": "Spending limit exceeded", **fields}))
    error = mode.error(client)
    assert type(error) is GatewaySpendLimitError
    assert (error.bucket, error.spent, error.limit) == expected
    assert said in error.message
    assert len(error.message) < 800
    assert not error.retryable


@pytest.mark.parametrize("text", [b"NaN", b"1e999", b"-Infinity"])
def test_a_budget_with_a_number_that_is_none_is_shown_as_it_is(gateway, client, text):
    body = b'{"success":false,"error":{"message":"Spending limit exceeded","spent":%s}}' % text
    refused(gateway, 429, body)
    assert isinstance(SYNC.error(client).spent, float)


@pytest.mark.parametrize("message", ["Monthly cap is used up", ""])
def test_a_budget_is_known_by_its_fields_too(gateway, client, mode, message):
    refused(gateway, 429, {"success": False, "error": {**BUDGET, "message": message}})
    assert type(mode.error(client)) is GatewaySpendLimitError


def event(body):
    """Stream one event."""
    kind = {"content-type": "text/event-stream"}
    return Reply(200, f"data: {json.dumps(body)}\n\n".encode(), kind)


POLICIES = [
    ({"error": BUDGET}, GatewaySpendLimitError, "team-a"),
    ({"error": {"message": "Spending limit exceeded"}}, GatewaySpendLimitError, None),
    ({"error": {"message": DENIED}}, GatewayPolicyError, None),
]


@pytest.mark.parametrize(("fields", "kind", "bucket"), POLICIES)
def test_a_policy_in_a_response_with_http_200_is_raised(
    gateway, client, plain_mode, fields, kind, bucket
):
    gateway.replies.append(Reply(200, {"success": False, **fields}))
    error = plain_mode.error(client)
    assert type(error) is kind
    assert getattr(error, "bucket", None) == bucket
    assert not error.retryable


@pytest.mark.parametrize(("fields", "kind", "bucket"), POLICIES)
@pytest.mark.parametrize("is_event", [True, False], ids=["event", "JSON in place of the stream"])
def test_a_policy_in_a_stream_is_raised(
    gateway, client, stream_mode, fields, kind, bucket, is_event
):
    body = {"success": False, **fields}
    gateway.replies.append(event(body) if is_event else Reply(200, body))
    error = stream_mode.error(client)
    assert isinstance(error, kind)
    assert isinstance(error, GatewayStreamError)
    assert not error.retryable
    assert getattr(error, "bucket", None) == bucket
    if bucket:
        assert "(spent 12.5, limit 10, bucket team-a)" in error.message
        assert (error.spent, error.limit) == (12.5, 10)
        twin = pickle.loads(pickle.dumps(error))
        assert (twin.bucket, twin.spent, twin.limit) == ("team-a", 12.5, 10)


def test_a_bare_budget_in_a_stream_is_the_gateways(gateway, client, stream_mode):
    gateway.replies.append(event({"error": BUDGET}))
    error = stream_mode.error(client)
    assert isinstance(error, GatewaySpendLimitError)
    assert not error.retryable


def test_what_a_budget_quotes_of_a_secret_is_masked(gateway, client):
    refused(gateway, 429, {"success": False, "error": {**BUDGET, "bucket": f"user:{TOKEN}"}})
    error = SYNC.error(client)
    assert error.bucket == "user:***"
    assert TOKEN not in error.message


@pytest.mark.parametrize("kind", ["policy_spend", "policy_denied"])
def test_the_local_gateway_refuses_as_a_policy_does(local_gateway, mode, kind):
    local_gateway.fail(kind=kind)
    client = make_client(local_gateway.settings())
    with pytest.raises(GatewayError) as caught:
        mode.chat(client)
    error = caught.value
    expected = (
        (GatewaySpendLimitError, 429, "daily", 10.5, 10)
        if kind == "policy_spend"
        else (GatewayPolicyError, 403, None, None, None)
    )
    fields = (getattr(error, name, None) for name in ("bucket", "spent", "limit"))
    assert (type(error), error.status_code, *fields) == expected
    assert error.log_id


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Rate limit exceeded", "limit": 10}},
        {"error": {"bucket": "b", "spent": 1}},
        {"object": "error", "message": "Spending limit exceeded", "code": "1300"},
    ],
)
def test_a_429_that_may_be_mistrals_stays_mistrals(gateway, client, mode, body):
    gateway.replies += [Reply(429, body, {"cf-aig-log-id": "log-1"})]
    error = mode.error(client)
    assert isinstance(error, SDKError)
    assert not isinstance(error, GatewayError)


def test_a_code_with_a_budget_has_both(gateway, client):
    body = today(429, 2041, "Spend limit exceeded.")
    refused(gateway, 429, body)
    error = SYNC.error(client)
    assert (error.bucket, error.spent, error.limit) == (None, None, None)
    body["error"][0] |= {"bucket": "b", "spent": 2, "limit": 1}
    refused(gateway, 429, body)
    error = SYNC.error(client)
    assert (error.code, error.bucket, error.spent, error.limit) == (2041, "b", 2, 1)
    assert f"exceeded (spent 2, limit 1, bucket b) (2041, HTTP 429, log {LOG_ID})." in error.message
    assert "Spend limits" in error.advice


def test_a_policy_says_that_others_are_denied(gateway, client):
    refused(gateway, 403, {"success": False, "error": {"message": DENIED}})
    assert "what no policy allows is denied" in SYNC.error(client).message


@pytest.mark.parametrize("code", sorted(OTHER_HOST))
def test_an_error_of_the_rest_api_says_that_it_is_not_the_gateway(gateway, client, mode, code):
    refused(gateway, 404, envelope(404, code, "Could not route to /x"))
    error = mode.error(client)
    assert type(error) is _errors.GatewayNotFoundError
    assert "Cloudflare's REST API, not AI Gateway" in error.message
    assert error.code == code


@pytest.mark.parametrize("body", [envelope(401, 9999, "No"), {"success": False, "error": "No"}])
def test_any_401_in_an_envelope_is_about_the_token(gateway, client, mode, body):
    refused(gateway, 401, body)
    error = mode.error(client)
    assert type(error) is _errors.GatewayUnauthorizedError
    assert "CF_AIG_TOKEN" in error.message


# ---------------------------------------------------------------- texts of a server's


def test_a_secret_is_masked_before_a_message_is_cut(gateway, client, mode):
    refused(gateway, 401, today(401, 2009, f"{'x' * 480} token {TOKEN} is wrong"))
    assert TOKEN[:8] not in mode.error(client).message


def test_a_message_can_be_printed(gateway, client):
    refused(gateway, 424, today(424, 2016, "half \ud83d of\r\n\x1b[31m an emoji"))
    error = SYNC.error(client)
    assert str(error).encode()
    assert "half   of [31m an emoji" in error.message


def test_the_message_names_the_log(gateway, client, mode):
    refused(gateway, 429, today(429, 2003, "Too many"))
    assert str(mode.error(client)).startswith(
        f"AI Gateway: Too many (2003, HTTP 429, log {LOG_ID}). "
    )


def test_the_message_names_no_log_where_none_is_named(gateway, client, mode):
    gateway.responder = lambda _: Reply(429, today(429, 2003, "Too many"), {})
    error = mode.error(client)
    assert (error.log_id, " (2003, HTTP 429). " in str(error)) == (None, True)


@pytest.mark.parametrize("log_id", [TOKEN, f"{'x' * 30} {TOKEN}", KEY, "x" * 5000])
def test_a_log_id_in_a_message_is_masked_and_short(gateway, client, mode, log_id):
    refused(gateway, 429, today(429, 2003, "Too many"), {"cf-aig-log-id": log_id})
    error = mode.error(client)
    assert error.code == 2003
    assert not [secret for secret in (TOKEN, KEY) if secret[:8] in str(error)]
    assert len(str(error)) < 250


def test_an_envelope_with_a_providers_detail_is_the_providers(gateway, client):
    refused(gateway, 422, {"success": False, **VALIDATION})
    assert not isinstance(SYNC.error(client), GatewayError)


def test_a_response_of_an_error_that_may_pass_can_be_pickled(gateway, client):
    kept = []

    class Keeping:
        def after_error(self, _context, response, error):
            kept.append(pickle.dumps(response))
            return response, error

    client.sdk_configuration._hooks.register_after_error_hook(Keeping())
    refused(gateway, 429, today(429, 2003, "Rate limited"))
    assert type(SYNC.error(client)) is _errors.GatewayRateLimitedError
    assert "Rate limited" in "".join(pickle.loads(kept[0]).iter_text())


def test_2009_of_a_call_without_a_token_says_that_none_was_sent(served, mode):
    for token, told in ((None, "No token was sent: set CF_AIG_TOKEN"), ("wrong", "Check CF_AIG")):
        settings = served.settings().model_copy(update={"token": token})
        with pytest.raises(GatewayUnauthorizedError) as caught:
            mode.chat(make_client(settings))
        assert told in str(caught.value)
        assert told in caught.value.advice
