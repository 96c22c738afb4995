"""A redirect takes secrets along below the same account, gateway and provider only."""

from __future__ import annotations

import contextlib

import pytest
from http_records import CHAT, KEY, PREFIX, TOKEN, Reply, completion, stream

from mistral_cf_adapter import GatewayError, gateway_options, make_client

ALL = [301, 302, 303, 307, 308]
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


def secrets(request):
    names = ("authorization", "x-api-key", "cookie")
    found = [n for n, _ in request.headers if n.lower() in names or n.lower().startswith("cf-")]
    return found + [value for _, value in request.headers if TOKEN in value or KEY in value]


def attempt(call, *args, **options):
    with contextlib.suppress(Exception):
        call(*args, **options)


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
