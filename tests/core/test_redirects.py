"""Redirects: secrets go to the gateway's origin, bodies go along, and there is an end to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys

import httpx
import httpx2
import pytest
from call_modes import ASYNC, SYNC
from http_records import CHAT, KEY, PREFIX, TEXT, TOKEN, Reply, completion, stream
from retry_configs import retries

from mistral_cf_adapter import GatewayError, capture, gateway_options, make_client
from mistral_cf_adapter._errors import GatewayRedirectError
from mistral_cf_adapter._flow import build_redirect_request
from mistral_cf_adapter._routing import get_route
from mistral_cf_adapter._sdk import SDKError
from mistral_cf_adapter._sdk import httpx as sdk_httpx

UNREADABLE = sys.modules[SDKError.__module__.rpartition(".")[0]].ResponseValidationError
UNANSWERED = (SDKError, UNREADABLE, sdk_httpx.ResponseNotRead, sdk_httpx.TransportError)
ALL = [301, 302, 303, 307, 308]
KEEPING_THE_BODY = [307, 308]
FILE = b'{"custom_id": "\x00\xff"}\r\n' * 1000


def secrets(request):
    """Return what of an arrived request nobody but the gateway may see."""
    names = ("authorization", "x-api-key", "cookie")
    found = [(n, v) for n, v in request.headers if n.lower() in names or "cf-a" in n.lower()]
    return found + [pair for pair in request.headers if TOKEN in pair[1] or KEY in pair[1]]


def attempt(call, *args, **options):
    """Call whatever becomes of it: a redirect that loses the body cannot be answered well."""
    with contextlib.suppress(*UNANSWERED):
        call(*args, **options)


# ---------------------------------------------------------------- to another origin


@pytest.mark.parametrize("status", ALL)
def test_no_secret_reaches_another_origin(gateway, elsewhere, make_settings, mode, status):
    client = make_client(make_settings(metadata={"user": "u1"}, cache_key="k"))
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/taken", status))
    with gateway_options(event_id="e-1"):
        attempt(mode.chat, client, http_headers={"CF-AIG-Step": "0", "x-api-key": KEY})
    (arrived,) = elsewhere.requests
    assert secrets(arrived) == []
    assert arrived.header("host") == f"127.0.0.1:{elsewhere.port}"


@pytest.mark.parametrize("status", ALL)
def test_no_secret_reaches_another_origin_with_an_upload(
    gateway, elsewhere, client, plain_mode, status
):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/taken/files", status))
    attempt(plain_mode.upload, client, FILE)
    (arrived,) = elsewhere.requests
    assert secrets(arrived) == []


@pytest.mark.parametrize("status", KEEPING_THE_BODY)
def test_a_followed_body_arrives_intact(gateway, elsewhere, client, mode, status):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/x{CHAT}", status))
    assert mode.chat(client, "Zoë \x00 " * 1000) == TEXT
    assert elsewhere.last.body == gateway.last.body
    assert elsewhere.last.method == "POST"


@pytest.mark.parametrize("status", KEEPING_THE_BODY)
def test_a_followed_upload_arrives_intact(gateway, elsewhere, client, plain_mode, status):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/x/files", status))
    plain_mode.upload(client, FILE)
    assert elsewhere.last.body == gateway.last.body
    assert FILE in elsewhere.last.body


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_body_that_http_drops_is_dropped(gateway, elsewhere, client, mode, status):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/x", status))
    attempt(mode.chat, client)
    assert (elsewhere.last.method, elsewhere.last.body) == ("GET", b"")


def test_a_secret_does_not_come_back_on_the_way_over_a_third_origin(
    gateway, elsewhere, client, mode
):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/one"))
    elsewhere.replies.append(Reply.redirect(f"{elsewhere.origin}/two{CHAT}"))
    assert mode.chat(client) == TEXT
    assert [secrets(request) for request in elsewhere.requests] == [[], []]


def test_a_stranger_that_redirects_to_the_gateway_gets_no_token_sent(
    gateway, elsewhere, client, mode
):
    elsewhere.replies.append(Reply.redirect(f"{gateway.base_url}/mistral{CHAT}"))
    mode.chat(client, server_url=elsewhere.origin)
    assert gateway.last.gateway == {}
    assert gateway.last.header("authorization") is None


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"x-api-key": KEY}},
        {"auth": ("user", KEY)},
    ],
)
def test_no_secret_escapes_through_a_client_of_the_users(
    gateway, elsewhere, settings, library, given
):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}{CHAT}"))
    with library.Client(follow_redirects=True, **given) as http:
        attempt(SYNC.chat, make_client(settings, client=http))
    assert secrets(elsewhere.last) == []


class OldFashioned(sdk_httpx.Client):
    """A client whose `send` takes no `follow_redirects`, but does follow."""

    def send(self, request, *, stream=False):
        return super().send(request, stream=stream)


def test_no_secret_escapes_through_a_client_that_follows_by_itself(gateway, elsewhere, settings):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}{CHAT}"))
    with OldFashioned(follow_redirects=True) as http:
        try:
            SYNC.chat(make_client(settings, client=http))
        except Exception:  # refusing is as good as following safely
            assert elsewhere.requests == []
        assert [secrets(request) for request in elsewhere.requests] in ([], [[]])


# ---------------------------------------------------------------- on the gateway's own origin


@pytest.mark.parametrize("status", KEEPING_THE_BODY)
@pytest.mark.parametrize("location", ["{base}/mistral/v1/moved", "/v1/acc/gw/mistral/v1/moved"])
def test_a_redirect_within_the_gateway_keeps_the_credentials(
    gateway, client, mode, status, location
):
    gateway.replies.append(Reply.redirect(location.format(base=gateway.base_url), status))
    gateway.replies.append(_answer_for(mode))
    assert mode.chat(client) == TEXT
    first, second = gateway.requests
    assert second.path == f"{PREFIX}/mistral/v1/moved"
    assert second.gateway == first.gateway
    assert second.header("authorization") == f"Bearer {KEY}"
    assert second.body == first.body


def _answer_for(mode):
    return stream() if mode.is_stream else completion()


# ---------------------------------------------------------------- to Mistral's own host


@pytest.mark.parametrize("status", KEEPING_THE_BODY)
@pytest.mark.parametrize("origin", ["https://api.mistral.ai", "https://api.mistral.ai:443"])
def test_a_redirect_to_mistral_goes_back_through_the_gateway(gateway, client, mode, status, origin):
    gateway.replies.append(Reply.redirect(f"{origin}/v1/chat/completions?x=a%2Fb", status))
    gateway.replies.append(_answer_for(mode))
    assert mode.chat(client) == TEXT
    first, second = gateway.requests
    assert second.path == f"{PREFIX}/mistral{CHAT}?x=a%2Fb"
    assert second.header("host") == f"127.0.0.1:{gateway.port}"
    assert second.gateway == first.gateway
    assert second.header("authorization") == f"Bearer {KEY}"
    assert second.body == first.body


@pytest.mark.parametrize("status", KEEPING_THE_BODY)
def test_an_upload_redirected_to_mistral_goes_back_through_the_gateway(
    gateway, client, plain_mode, status
):
    gateway.replies.append(Reply.redirect("https://api.mistral.ai/v1/files", status))
    plain_mode.upload(client, FILE)
    first, second = gateway.requests
    assert second.path == f"{PREFIX}/mistral/v1/files"
    assert second.body == first.body


def test_stored_keys_stay_without_authorization_on_the_way_back(gateway, make_settings, mode):
    client = make_client(make_settings(mistral_api_key=None, byok=True))
    gateway.replies.append(Reply.redirect(f"https://api.mistral.ai{CHAT}"))
    gateway.replies.append(_answer_for(mode))
    mode.chat(client)
    assert [request.header("authorization") for request in gateway.requests] == [None, None]


# ---------------------------------------------------------------- the decision itself


@pytest.mark.parametrize(
    ("sent_to", "location", "expected"),
    [
        ("https://gw.example/mistral/v1/x", "http://gw.example/mistral/v1/x", None),
        ("https://gw.example/mistral/v1/x", "http://other.example/x", None),
        ("https://gw.example/mistral/v1/x", "ftp://gw.example/x", None),
        ("https://gw.example/mistral/v1/x", "https://other.example/x", "stripped"),
        ("https://gw.example/mistral/v1/x", "https://gw.example:8443/x", "stripped"),
        ("https://gw.example/mistral/v1/x", "https://api.mistral.ai.evil.example/x", "stripped"),
        ("https://gw.example/mistral/v1/x", "https://gw.example:443/mistral/y", "kept"),
        ("https://gw.example/mistral/v1/x", "https://api.mistral.ai/v1/y", "back"),
        ("https://gw.example/mistral/v1/x", "http://api.mistral.ai/v1/y", None),
    ],
)
def test_what_a_hop_may_carry(make_settings, sent_to, location, expected):
    route = get_route(make_settings(base_url="https://gw.example"))
    headers = {"authorization": KEY, "x-api-key": KEY, "CF-AIG-Authorization": TOKEN}
    request = sdk_httpx.Request("POST", sent_to, headers=headers, content=b"body")
    hop = _hop(request, location)
    following = build_redirect_request(route, request, hop)
    if expected is None:
        assert following is None
        return
    names = {"authorization", "x-api-key", "cf-aig-authorization"} & {*following.headers}
    assert bool(names) == (expected != "stripped")
    if expected == "back":
        assert str(following.url) == "https://gw.example/mistral/v1/y"


def _hop(request, location):
    """Let the SDK's HTTP library work out the next request, without a connection."""
    reply = sdk_httpx.Response(307, headers={"location": location})
    transport = sdk_httpx.MockTransport(lambda _: reply)
    with sdk_httpx.Client(transport=transport) as http:
        return http.send(request, follow_redirects=False)


# ---------------------------------------------------------------- what is not followed


def no_trace_of_the_token(error):
    """Walk an exception and all that hangs on it."""
    for one in _chain(error):
        shown = [str(one), repr(one)]
        response = getattr(one, "raw_response", None) or getattr(one, "response", None)
        requests = [getattr(one, "_request", None), getattr(response, "_request", None)]
        requests.append(getattr(response, "next_request", None))
        shown += [repr(request.headers) for request in requests if request is not None]
        shown += [
            request.headers.get("cf-aig-authorization", "") for request in requests if request
        ]
        assert TOKEN not in " ".join(shown)


def _chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


REFUSALS = (GatewayRedirectError, sdk_httpx.TransportError, sdk_httpx.InvalidURL)


@pytest.mark.parametrize(
    "location",
    [
        *("https://", "http://", "ftp://x/", "http://[::1", "mailto:x@example.com"),
        *("http://127.0.0.1:99999999/", "http://127.0.0.1:many/", "http://a b.invalid/"),
        *("http://\xe9\xff.invalid/", "http://user:word@unknown.invalid/"),
    ],
)
def test_a_redirect_to_nowhere_is_an_error_without_the_token(gateway, client, mode, location):
    gateway.replies.append(Reply.redirect(location))
    with pytest.raises(REFUSALS) as caught:
        mode.chat(client)
    no_trace_of_the_token(caught.value)


@pytest.fixture
def secure(make_settings):
    """A client for an https gateway that redirects to plain http, and what it was sent."""
    requests = []

    def answer(request):
        requests.append(request)
        return sdk_httpx.Response(307, headers={"location": "http://gw.example/x"})

    transport = sdk_httpx.MockTransport(answer)
    settings = make_settings(base_url="https://gw.example")
    with sdk_httpx.Client(transport=transport, follow_redirects=True) as http:
        # Nothing is open in an async client that has only a mock for a transport.
        ahttp = sdk_httpx.AsyncClient(transport=transport, follow_redirects=True)
        yield make_client(settings, client=http, async_client=ahttp), requests


def test_a_downgrade_to_plain_http_is_refused(secure, mode):
    client, requests = secure
    with pytest.raises(GatewayError, match="HTTP 307 redirects to an address") as caught:
        mode.chat(client)
    assert not caught.value.retryable
    assert len(requests) == 1


def test_a_refused_redirect_does_not_show_the_token(secure, mode):
    client, _ = secure
    with pytest.raises(GatewayRedirectError) as caught:
        mode.chat(client)
    no_trace_of_the_token(caught.value)


def test_redirects_in_a_circle_end(gateway, elsewhere, client, mode):
    gateway.responder = lambda _: Reply.redirect(f"{elsewhere.origin}/x")
    elsewhere.responder = lambda _: Reply.redirect(f"{gateway.origin}/x")
    with pytest.raises(sdk_httpx.TooManyRedirects) as caught:
        mode.chat(client)
    assert len(gateway.requests) + len(elsewhere.requests) == 21
    no_trace_of_the_token(caught.value)


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_the_users_own_cap_on_hops_holds(gateway, settings, limit):
    gateway.responder = lambda _: Reply.redirect("/x")
    http = sdk_httpx.Client(follow_redirects=True, max_redirects=limit)
    with http, pytest.raises(Exception, match=r"redirects|307"):
        make_client(settings, client=http).models.list()
    assert len(gateway.requests) == limit + 1


def test_a_client_that_does_not_follow_is_not_made_to(gateway, elsewhere, settings):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/x"))
    with sdk_httpx.Client(follow_redirects=False) as http, pytest.raises(SDKError) as caught:
        make_client(settings, client=http).models.list()
    assert caught.value.status_code == 307
    assert elsewhere.requests == []


def test_a_redirect_that_is_handed_on_does_not_show_the_token(gateway, elsewhere, settings):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/x"))
    with sdk_httpx.Client(follow_redirects=False) as http, pytest.raises(SDKError) as caught:
        make_client(settings, client=http).models.list()
    no_trace_of_the_token(caught.value)


def test_a_redirected_call_is_captured_once_with_the_last_answer(gateway, elsewhere, client, mode):
    gateway.replies.append(Reply.redirect("/v1/acc/gw/mistral/v1/moved"))
    answer = _answer_for(mode)
    answer.headers["cf-aig-log-id"] = "log-2"
    gateway.replies.append(answer)
    with capture() as calls:
        mode.chat(client)
    assert [(call.log_id, call.path, call.attempt) for call in calls] == [("log-2", CHAT, 1)]


def test_a_retry_after_a_redirect_starts_at_the_gateway_again(gateway, elsewhere, client):
    for _ in range(2):
        gateway.replies.append(Reply.redirect(f"{elsewhere.origin}{CHAT}"))
    elsewhere.replies.append(Reply(503, {"message": "busy"}))
    assert SYNC.chat(client, retries=retries()) == TEXT
    assert [request.header("cf-aig-authorization") for request in gateway.requests] == (
        [f"Bearer {TOKEN}"] * 2
    )
    assert [secrets(request) for request in elsewhere.requests] == [[], []]


def test_concurrent_redirects_do_not_mix(gateway, elsewhere, client):
    count = itertools.count()

    def every_other(request):
        if next(count) % 2:
            return Reply.redirect(f"{elsewhere.origin}{CHAT}")
        return completion()

    gateway.responder = every_other

    async def all_at_once():
        return await asyncio.gather(*(ASYNC.achat(client, str(n)) for n in range(20)))

    assert asyncio.run(all_at_once()) == [TEXT] * 20
    assert [secrets(request) for request in elsewhere.requests] == [[]] * 10


# ---------------------------------------------------------------- elsewhere on the gateway's host

# Secrets go along below the same account, gateway and provider only.
OUTSIDE = [
    "/v1/ACC2/gw2/custom-x/f",
    "{origin}/v1/ACC2/gw2/custom-x/f",
    "//127.0.0.1:{port}/v1/ACC2/gw2/x",
    f"{PREFIX}/openai/v1/x",
    f"{PREFIX}/mistral2/v1/x",
    f"{PREFIX}/compat/chat/completions",
    f"{PREFIX}/mistral/../../../ACC2/gw2/x",
    f"{PREFIX}/mistral/%2e%2e/openai/v1/x",
    f"{PREFIX}/mistral/..%2fopenai/v1/x",
    f"{PREFIX}/mistral/..\\openai/v1/x",
    f"{PREFIX}/%6distral/v1/x",
    "../../../../ACC2/gw2/x",
]


def redirect_once(gateway, mode, location, status=307):
    location = location.format(origin=gateway.origin, port=gateway.port)
    gateway.replies.append(Reply.redirect(location, status))
    gateway.replies.append(stream() if mode.is_stream else completion())


@pytest.mark.parametrize("location", OUTSIDE)
def test_no_secret_goes_to_others_on_the_gateways_own_host(gateway, client, mode, location):
    redirect_once(gateway, mode, location)
    headers = {"CF-Access-Client-Secret": KEY, "Cookie": f"CF_Authorization={KEY}"}
    attempt(mode.chat, client, http_headers=headers)
    assert [secrets(request) for request in gateway.requests[1:]] == [[]]


@pytest.mark.parametrize("status", ALL)
def test_whatever_the_status(gateway, client, plain_mode, status):
    redirect_once(gateway, plain_mode, OUTSIDE[0], status)
    attempt(plain_mode.upload, client, b"x" * 1000)
    assert [secrets(request) for request in gateway.requests[1:]] == [[]]


def test_a_secret_does_not_come_back_over_another_area(gateway, client, mode):
    gateway.replies += [Reply.redirect(OUTSIDE[0]), Reply.redirect(f"{PREFIX}/mistral/v1/x")]
    attempt(mode.chat, client)
    assert [secrets(request) for request in gateway.requests[1:]] == [[], []]


@pytest.mark.parametrize(("path", "kept"), [("compat/moved", True), (f"mistral{CHAT}", False)])
def test_the_compat_endpoint_is_an_area_of_its_own(gateway, client, mode, path, kept):
    redirect_once(gateway, mode, f"{PREFIX}/{path}")
    with gateway_options(endpoint="compat"):
        attempt(mode.chat, client)
    assert gateway.requests[0].path == f"{PREFIX}/compat/chat/completions"
    assert bool(secrets(gateway.requests[1])) is kept


@pytest.mark.parametrize(
    "location",
    ["http://u:p@127.0.0.1:{port}", "HTTP://:p@127.0.0.1:{port}", "//u@127.0.0.1:{port}"],
)
def test_userinfo_of_a_redirect_does_not_take_the_keys_place(gateway, client, mode, location):
    redirect_once(gateway, mode, f"{location}{PREFIX}/mistral/v1/moved")
    mode.chat(client)
    assert gateway.last.path == f"{PREFIX}/mistral/v1/moved"
    assert gateway.last.header("authorization") == f"Bearer {KEY}"


@pytest.mark.parametrize("start", ["http://other\\@", "http://other.example\\@", "//other\\@"])
def test_a_redirect_with_an_ambiguous_host_is_refused(gateway, client, mode, start):
    redirect_once(gateway, mode, f"{start}127.0.0.1:{{port}}{PREFIX}/mistral/v1/moved")
    with pytest.raises(GatewayError, match="redirects to an address"):
        mode.chat(client)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("path", ["%2e%2e/openai/v1/x", "..%2fopenai/v1/x", "v1/%2e%2e/%2e%2e/x"])
def test_the_way_back_from_mistral_stays_below_the_provider(gateway, client, mode, path):
    redirect_once(gateway, mode, f"https://api.mistral.ai/{path}")
    with pytest.raises(GatewayError, match="redirects to an address"):
        mode.chat(client)
    assert len(gateway.requests) == 1


def test_with_stored_keys_no_key_of_the_environment_leaves(
    gateway, elsewhere, make_settings, monkeypatch, tmp_path, mode
):
    (tmp_path / "token").write_text(f"sa-{KEY}")
    client = make_client(make_settings(mistral_api_key=None, byok=True))
    for name, value in (
        ("MISTRAL_API_KEY", KEY),
        ("MISTRAL_SA_TOKEN_PATH", str(tmp_path / "token")),
    ):
        monkeypatch.setenv(name, value)
        mode.chat(client)
        mode.chat(client, server_url=elsewhere.origin)
        redirect_once(gateway, mode, f"{elsewhere.origin}{CHAT}")
        mode.chat(client)
    assert KEY not in str([request.headers for request in gateway.requests + elsewhere.requests])
    mode.chat(client, server_url=elsewhere.origin, http_headers={"Authorization": "Bearer mine"})
    assert elsewhere.last.header("authorization") == "Bearer mine"
