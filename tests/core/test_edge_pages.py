"""Who sent an error is told from evidence, and each page of the edge has its own advice."""

from __future__ import annotations

import json

import pytest
from call_modes import ASYNC, SYNC
from http_records import CHAT, TEXT, TOKEN, Reply

from mistral_cf_adapter import (
    GatewayAccessError,
    GatewayBlockedError,
    GatewayError,
    GatewayRateLimitedError,
    GatewayUnavailableError,
    _edge,
    capture,
    make_client,
)
from mistral_cf_adapter._errors import find_sender
from mistral_cf_adapter._sdk import SDKError
from mistral_cf_adapter._sdk import httpx as sdk_httpx
from mistral_cf_adapter.testing.edge_pages import ACCESS_FORMS, EDGE_FORMS, LOGIN, PAGES

PASSES = "passes by itself"
LOG_ID = {"cf-aig-log-id": "01890a5d-ac96-774b-bcce-b302099a8057"}
HTML = {"content-type": "text/html"}
TEXT_TYPE = {"content-type": "text/plain"}
CLOUDFLARE = {"server": "cloudflare", "cf-ray": "8a1b-CDG"}
UPSTREAM = b"upstream connect error or disconnect/reset before headers. reset reason: overflow"

# Page, class, whether it may pass, what the message must say, what the advice must say.
ROWS = [
    (1006, GatewayBlockedError, False, "IP address", "Ask who runs the zone"),
    (1009, GatewayBlockedError, False, "country", "Ask who runs the zone"),
    (1010, GatewayBlockedError, False, "signature", "Ask who runs the zone"),
    (1020, GatewayBlockedError, False, "firewall rule", "Ask who runs the zone"),
    ("challenge", GatewayBlockedError, False, "challenge", "Ask who runs the zone"),
    ("firewall", GatewayBlockedError, False, "a rule of the zone", "Ask who runs the zone"),
    (413, GatewayBlockedError, False, "larger than", "Send less"),
    (1015, GatewayRateLimitedError, True, "rate limit of the zone", "Slow down"),
    (1016, GatewayUnavailableError, False, "cannot be resolved", "behind the host"),
    (1033, GatewayUnavailableError, True, "Tunnel", "behind the host"),
    (1101, GatewayUnavailableError, True, "Worker", "logs of the Worker"),
    (502, GatewayUnavailableError, True, "in place of the gateway", "Try again"),
    (503, GatewayUnavailableError, True, "in place of the gateway", "Try again"),
    (504, GatewayUnavailableError, True, "in place of the gateway", "Try again"),
    (520, GatewayUnavailableError, True, "broken response", "behind the host"),
    (521, GatewayUnavailableError, True, "refuses connections", "behind the host"),
    (522, GatewayUnavailableError, True, "in time", "behind the host"),
    (523, GatewayUnavailableError, True, "unreachable", "behind the host"),
    (524, GatewayUnavailableError, True, "in time", "behind the host"),
    (525, GatewayUnavailableError, True, "TLS handshake", "behind the host"),
    (526, GatewayUnavailableError, False, "certificate", "behind the host"),
    (530, GatewayUnavailableError, True, "cannot be reached", "behind the host"),
]


@pytest.fixture
def page_client(local_gateway):
    return make_client(local_gateway.settings())


# ---------------------------------------------------------------- the table


def test_every_page_of_the_table_is_tried():
    tried = {row[0] for row in ROWS}
    assert tried == set(PAGES)
    assert set(_edge.PAGES) <= tried


@pytest.mark.parametrize("form", EDGE_FORMS)
@pytest.mark.parametrize(
    ("page", "kind", "retryable", "what", "advice"), ROWS, ids=[str(row[0]) for row in ROWS]
)
def test_each_page_has_its_class_and_its_advice(
    local_gateway, page_client, page, kind, retryable, what, advice, form
):
    with local_gateway.fault("edge", page=page, form=form):
        error = SYNC.error(page_client)
    assert type(error) is kind
    number = page if isinstance(page, int) and page >= 520 else None
    assert (error.code, error.retryable) == (number, retryable)
    assert what in error.message
    assert advice in error.advice
    assert error.message.endswith(error.advice)
    assert "Ray ID 8a1b2c3d4e5f6071-CDG" in error.message
    assert PASSES not in error.message


@pytest.mark.parametrize("page", [1010, 1015, 522, "challenge"])
def test_a_page_is_known_in_every_mode(local_gateway, page_client, mode, page):
    with local_gateway.fault("edge", page=page):
        error = mode.error(page_client)
    assert type(error) is next(row[1] for row in ROWS if row[0] == page)
    assert isinstance(error, SDKError)
    assert "cf-aig-authorization" not in error.raw_response.request.headers


OTHER_PAGES = [
    (429, b"<html><h1>Error 1015</h1></html>", GatewayRateLimitedError, 1015),
    (500, b"<html><h1>Error 1101</h1></html>", GatewayUnavailableError, 1101),
    (503, b"error code: 1102", GatewayUnavailableError, 1102),
    (409, b"error code: 1001", GatewayBlockedError, 1001),
    (403, b"error code: 1099\n", GatewayBlockedError, 1099),
    (530, b"", GatewayUnavailableError, 530),
    (527, b"<html/>", GatewayUnavailableError, None),
    (524, b"error code: 524", GatewayUnavailableError, 524),
    (400, b"<html><hr><center>cloudflare</center></html>", GatewayBlockedError, None),
    (500, b"<html>ai.example.com | 522: Connection timed out</html>", GatewayUnavailableError, 522),
]


@pytest.mark.parametrize(("status", "body", "kind", "code"), OTHER_PAGES)
def test_a_page_without_its_usual_marks_is_known_too(gateway, client, status, body, kind, code):
    gateway.replies.append(Reply(status, body, HTML))
    error = SYNC.error(client)
    assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize("status", [403, 413])
def test_a_page_that_cloudflare_delivered_is_the_edges_by_its_place(gateway, client, status):
    gateway.replies.append(Reply(status, b"<html>No</html>", {**HTML, **CLOUDFLARE}))
    assert type(SYNC.error(client)) is GatewayBlockedError


@pytest.mark.parametrize(("status", "code"), [(403, 1010), (429, 1015), (522, 522), (500, 1101)])
def test_on_cloudflares_own_host_there_is_nobody_behind_it(status, code):
    body = f"error code: {code}".encode()
    request = sdk_httpx.Request("POST", "https://gateway.ai.cloudflare.com/v1/a/g/mistral/v1/x")
    page = _edge.find_page(sdk_httpx.Response(status, content=body, request=request), None)
    assert page.advice == _edge.PAGES[code].own_advice
    assert "CF_AIG_BASE_URL" not in page.advice


def test_a_secret_in_the_ray_id_is_masked(gateway, client):
    gateway.replies.append(Reply(403, b"error code: 1010", {"cf-ray": TOKEN}))
    assert TOKEN not in str(SYNC.error(client))


# ---------------------------------------------------------------- the provider's own

WITH_THE_GATEWAYS_HEADER = [
    (503, UPSTREAM, TEXT_TYPE),
    (504, b"", TEXT_TYPE),
    (520, b"<html>520: unknown error</html>", HTML),
    (403, b"error code: 1010", TEXT_TYPE),
    (429, b"<html>Error 1015</html>", HTML),
    (403, b"<html>Just a moment...</html>", {**HTML, "cf-mitigated": "challenge"}),
    (413, b"<html><center>cloudflare</center></html>", HTML),
    (403, b"<html>Cloudflare Access</html>", {**HTML, "www-authenticate": "Cloudflare-Access"}),
    (530, b'{"cloudflare_error":true,"error_code":1033}', {"content-type": "application/json"}),
]


@pytest.mark.parametrize(("status", "body", "headers"), WITH_THE_GATEWAYS_HEADER)
def test_with_a_header_of_the_gateways_it_is_the_providers(
    gateway, client, bare, mode, status, body, headers
):
    gateway.responder = lambda _: Reply(status, body, {**headers, **LOG_ID})
    error = mode.error(client)
    assert not isinstance(error, GatewayError)
    if body:
        assert type(error) is SDKError
        assert str(error) == str(mode.error(bare))
        assert body.decode() in str(error)


@pytest.mark.parametrize("status", [403, 413, 429, 500, 502, 503, 504, *range(520, 531)])
def test_mistrals_json_with_a_status_of_the_edges_is_mistrals(gateway, client, status):
    body = {"object": "error", "message": "Service unavailable.", "code": status}
    gateway.replies.append(Reply(status, body, LOG_ID))
    error = SYNC.error(client)
    assert not isinstance(error, GatewayError)
    assert "Service unavailable." in str(error)


MISTRALS_WITHOUT_LOGS = [
    Reply(503, UPSTREAM, TEXT_TYPE),
    Reply(503, {"object": "error", "message": "Service unavailable."}),
    Reply(502, {"detail": "Bad Gateway"}),
    Reply(503, {"message": "no healthy upstream", "request_id": "r"}),
    Reply(502, b"<html>Bad gateway</html>", {**HTML, "mistral-correlation-id": "c"}),
    Reply(520, {"cloudflare_error": True, "error_code": 520, "zone": "api.mistral.ai"}),
]


@pytest.mark.parametrize("reply", MISTRALS_WITHOUT_LOGS)
def test_what_is_known_to_be_mistrals_is_not_bypassed(gateway, make_settings, mistral, reply):
    gateway.replies.append(reply)
    error = SYNC.error(make_client(make_settings(fallback="direct")))
    assert type(error) is SDKError
    assert mistral.requests == []


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>"], ids=["empty", "page"])
def test_a_sender_that_is_unknown_is_said_to_be_so(gateway, client, mode, status, body):
    gateway.responder = lambda _: Reply(status, body, HTML)
    error = mode.error(client)
    assert type(error) is GatewayUnavailableError
    assert (error.code, error.retryable) == (None, True)
    assert "something in front of the gateway, or Mistral" in error.message


def test_a_page_of_a_firewall_is_not_called_an_outage(gateway, client):
    gateway.replies.append(Reply(403, b"<html>Category: generative AI</html>", HTML))
    error = SYNC.error(client)
    assert type(error) is GatewayBlockedError
    assert not error.retryable
    assert "its sender is unknown" in error.message


OUTAGES = [502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 530, 1016, 1033]
NO_OUTAGES = [1006, 1009, 1010, 1015, 1020, 1101, 413, "challenge", "firewall"]


@pytest.mark.parametrize("form", EDGE_FORMS)
@pytest.mark.parametrize("page", [*OUTAGES, *NO_OUTAGES])
def test_the_fallback_asks_the_same(local_gateway, mistral, page, form):
    client = make_client(local_gateway.settings(fallback="direct"))
    with local_gateway.fault("edge", page=page, form=form):
        if page in OUTAGES:
            assert SYNC.chat(client) == TEXT
        else:
            SYNC.error(client)
    assert len(mistral.requests) == (1 if page in OUTAGES else 0)


# ---------------------------------------------------------------- Cloudflare Access


@pytest.mark.parametrize("form", ACCESS_FORMS)
def test_access_says_what_lets_a_program_in(local_gateway, page_client, mode, form):
    with local_gateway.fault("access", form=form), capture() as calls:
        error = mode.error(page_client)
    assert type(error) is GatewayAccessError
    assert error.retryable is False
    assert "Cloudflare Access refused the request to 127.0.0.1" in error.message
    for word in ("CF_AIG_ACCESS_CLIENT_ID", "CF_AIG_ACCESS_TOKEN", "-app=https://127.0.0.1`"):
        assert word in error.message
    assert "<html" not in str(error)
    assert [call.status_code for call in calls] == [error.status_code]


ACCESS_REFUSALS = [
    (401, b"<html>Sign in</html>", {**HTML, "www-authenticate": "Cloudflare-Access"}),
    (403, b"<html>team.cloudflareaccess.com</html>", HTML),
    (
        401,
        b"{}",
        {
            "www-authenticate": 'Bearer resource_metadata="https://x/.well-known/cloudflare-access-protected-resource/"'
        },
    ),
    (403, b"", {"cf-access-aud": "3162f272"}),
]


@pytest.mark.parametrize(("status", "body", "headers"), ACCESS_REFUSALS)
def test_access_is_known_by_any_of_its_marks(gateway, client, status, body, headers):
    gateway.replies.append(Reply(status, body, headers))
    assert type(SYNC.error(client)) is GatewayAccessError


@pytest.mark.parametrize("own_client", [False, True], ids=["pool", "own"])
@pytest.mark.parametrize("follow", [True, False])
def test_the_login_page_of_access_is_not_asked_for(
    gateway, elsewhere, make_settings, monkeypatch, own_client, follow
):
    login = f"{elsewhere.origin}/cdn-cgi/access/login/ai.example.com"
    challenge = {"location": login, "www-authenticate": "Cloudflare-Access"}
    gateway.replies.append(Reply(302, b"", challenge))
    with sdk_httpx.Client(follow_redirects=follow) as http:
        client = make_client(make_settings(), client=http if own_client else None)
        error = SYNC.error(client)
    assert type(error) is GatewayAccessError
    assert elsewhere.requests == []
    gateway.replies.append(Reply.redirect(LOGIN, 302))
    assert type(ASYNC.error(make_client(make_settings()))) is GatewayAccessError


def test_a_redirect_with_a_header_of_the_gateways_is_followed(gateway, client, elsewhere):
    challenge = {"location": f"{elsewhere.origin}{CHAT}", "www-authenticate": "Cloudflare-Access"}
    gateway.replies.append(Reply(307, b"", {**challenge, **LOG_ID}))
    assert SYNC.chat(client) == TEXT
    assert len(elsewhere.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "https://cloudflareaccess.com.example/cdn-cgi/access/login",
        "https://evil.example/.cloudflareaccess.com/cdn-cgi/access/",
        "https://team.cloudflareaccess.com.evil.example/cdn-cgi/access/login",
    ],
)
def test_only_access_has_its_login_page(location):
    response = sdk_httpx.Response(302, headers={"location": location})
    assert find_sender(response) == "unknown"
    assert find_sender(sdk_httpx.Response(302, headers={"location": LOGIN})) == "access"


SENDERS = [
    ("gateway", 429, {"success": False, "error": [{"code": 2003}]}, {}),
    ("gateway", 429, {"success": False, "error": [{"code": 2003}]}, LOG_ID),
    ("provider", 503, {}, LOG_ID),
    ("provider", 422, {"detail": []}, {}),
    ("edge", 403, {"cloudflare_error": True, "error_code": 1010}, {}),
    ("access", 403, {}, {"cf-access-domain": "x"}),
    ("unknown", 503, {}, {}),
    ("unknown", 404, {"message": "not found"}, {}),
]


@pytest.mark.parametrize(("sender", "status", "body", "headers"), SENDERS)
def test_the_sender_of_a_response(sender, status, body, headers):
    response = sdk_httpx.Response(status, content=json.dumps(body), headers=headers)
    assert find_sender(response) == sender


# ---------------------------------------------------------------- the settings that are meant


@pytest.mark.parametrize(
    ("settings", "named", "other"),
    [
        ({}, "base_url (CF_AIG_BASE_URL)", "CLOUDFLARE_ACCOUNT_ID"),
        ({"base_url": None, "account_id": "acc"}, "CLOUDFLARE_ACCOUNT_ID", "CF_AIG_BASE_URL"),
    ],
)
def test_a_gateway_that_is_not_there_names_the_settings_that_were_used(
    gateway, make_settings, settings, named, other
):
    body = {"success": False, "error": [{"code": 2001, "message": "Please configure"}]}

    def answer(request):
        return sdk_httpx.Response(400, json=body)

    with sdk_httpx.Client(transport=sdk_httpx.MockTransport(answer)) as http:
        error = SYNC.error(make_client(make_settings(**settings), client=http))
    assert error.code == 2001
    assert named in error.message
    assert named in error.advice
    assert other not in error.message


def test_no_advice_says_that_what_stays_passes():
    for page in _edge.PAGES.values():
        assert PASSES not in page.advice + page.own_advice
