"""The setting `headers`: sent where the gateway's token goes, and shown nowhere."""

from __future__ import annotations

import json
import logging
import re
import warnings

import pytest
from call_modes import SYNC
from http_records import CHAT, KEY, PREFIX, TOKEN, Reply, record_shown_requests
from object_walks import texts_in
from secret_searches import forms_of, shown_in, told_by

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewaySettings,
    GatewayUnauthorizedError,
    _sdk,
    gateway_headers,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._options import header_names
from mistral_cf_adapter._routing import get_route, make_headers_mask

SECRET = "5d41402abc4b2a76b9719d911017c592"
OTHER = "7b52009b64fd0a2a49e6d8a939753077"
OWN = {"X-Proxy-Key": f"Basic {SECRET}", "cf-aig-newer-id": "shop-7"}


@pytest.fixture
def own(make_settings):
    return make_settings(headers=OWN)


def sent(request):
    found = {name: request.header(name) for name in OWN}
    return {name: value for name, value in found.items() if value is not None}


# ---------------------------------------------------------------- what is sent


def test_every_call_brings_them(gateway, own, mode):
    mode.chat(make_client(own))
    assert sent(gateway.last) == OWN
    assert gateway.last.header("authorization") == f"Bearer {KEY}"
    assert gateway.last.header("cf-aig-authorization") == f"Bearer {TOKEN}"
    mode.upload(make_client(own), b"x")
    assert sent(gateway.last) == OWN


def test_of_the_environment_and_under_patch(gateway, monkeypatch, mode, async_http):
    monkeypatch.setenv("CF_AIG_BASE_URL", gateway.base_url)
    monkeypatch.setenv("CF_AIG_HEADERS", json.dumps(OWN))
    with patch():
        mode.chat(_sdk.Mistral(api_key=KEY, async_client=async_http))
    assert sent(gateway.last) == OWN


def test_beside_cloudflare_access(gateway, make_settings, mode):
    settings = make_settings(headers=OWN, access_token="ey.J.wt-0123456789")
    mode.chat(make_client(settings))
    assert sent(gateway.last) == OWN
    assert gateway.last.header("cf-access-token") == "ey.J.wt-0123456789"
    mode.chat(make_client(settings), http_headers={"cf-access-token": "another"})
    assert sent(gateway.last) == OWN
    assert gateway.last.header("cf-access-token") == "another"


def test_headers_of_the_call_win(gateway, own, mode):
    mine = {"x-proxy-key": "mine", "CF-AIG-Newer-Id": "mine"}
    mode.chat(make_client(own), http_headers=mine)
    assert sent(gateway.last) == dict.fromkeys(OWN, "mine")
    mode.chat(make_client(own), http_headers={"cf-aig-newer-id": ""})  # taken back
    assert sent(gateway.last) == {"X-Proxy-Key": OWN["X-Proxy-Key"]}


def test_options_are_sent_beside_them(gateway, own, mode):
    with gateway_options(cache_ttl=60):
        mode.chat(make_client(own), http_headers=gateway_headers(cache_key="k"))
    assert gateway.last.gateway.keys() >= {
        *("cf-aig-newer-id", "cf-aig-cache-ttl", "cf-aig-cache-key")
    }


# ---------------------------------------------------------------- where they do not go


def names_in(request):
    return [name for name, value in request.headers if name.lower() in {n.lower() for n in OWN}]


@pytest.mark.parametrize("mine", [None, {"X-Proxy-Key": OTHER}])
@pytest.mark.parametrize(
    "location", ["{elsewhere}/x", "{gateway}/v1/acc/other/mistral/x", "{gateway}/v1/acc/gw/other/x"]
)
def test_a_redirect_elsewhere_gets_none(gateway, elsewhere, own, mode, location, mine):
    origins = {"gateway": gateway.origin, "elsewhere": elsewhere.origin}
    gateway.replies.append(Reply.redirect(location.format(**origins), 308))
    shown = ""
    try:
        mode.chat(make_client(own), http_headers=mine)
    except Exception as error:
        shown = told_by(error)
    assert not shown_in(shown, SECRET)
    first, *others = [*gateway.requests, *elsewhere.requests]
    assert names_in(first)
    assert others
    assert [names_in(request) for request in others] == [[]] * len(others)


def test_a_redirect_within_the_provider_keeps_them(gateway, own, mode):
    gateway.replies.append(Reply.redirect(f"{PREFIX}/mistral{CHAT}", 308))
    gateway.replies.append(Reply.redirect(f"https://api.mistral.ai{CHAT}", 308))
    mode.chat(make_client(own))
    assert [sent(request) for request in gateway.requests] == [OWN] * 3


def test_the_response_of_a_redirect_does_not_show_them(gateway, own):
    client = make_client(own)
    seen = record_shown_requests(client)
    gateway.replies.append(Reply.redirect(f"{PREFIX}/mistral{CHAT}", 308))
    SYNC.chat(client)
    assert len(seen) == 2
    assert not shown_in(str([request.headers.raw for request in seen]), SECRET)


@pytest.mark.parametrize("mine", [None, {"X-Proxy-Key": OTHER}])
def test_the_fallback_gets_none(mistral, make_settings, mode, mine):
    address = {"fallback": "direct", "base_url": "http://127.0.0.1:9/v1/a/g"}
    with pytest.warns(UserWarning, match="is down"):
        mode.chat(make_client(make_settings(headers=OWN, **address)), http_headers=mine)
    assert names_in(mistral.last) == []
    assert mistral.last.header("authorization") == f"Bearer {KEY}"


def test_a_server_of_the_call_gets_none(elsewhere, own, mode):
    with pytest.warns(UserWarning, match="past AI Gateway"):
        mode.chat(make_client(own), server_url=elsewhere.origin)
    assert names_in(elsewhere.last) == []


# ---------------------------------------------------------------- where they are not shown


def test_no_text_shows_a_value(gateway, own, mode, caplog):
    caplog.set_level(logging.DEBUG)
    client = make_client(own)
    said = f"who is {SECRET}, {OWN['X-Proxy-Key']}?"
    error = {"code": 2009, "message": said}
    gateway.replies.append(Reply(401, {"success": False, "error": [error]}))
    with pytest.raises(GatewayUnauthorizedError) as caught:
        mode.chat(client)
    assert "who is 5d41...92" in caught.value.message
    copy = own.model_copy(update={"cache_ttl": 60})
    things = (own, own.model_dump(), copy, client, client.sdk_configuration, caught.value.message)
    told = [*map(forms_of, things), *texts_in(own), *texts_in(client), caplog.text]
    assert not shown_in("\n".join(told), SECRET)
    assert "X-Proxy-Key" in repr(own)
    assert copy.headers == own.headers


def test_a_value_of_the_call_is_masked(own):
    mask = make_headers_mask(get_route(own), {"x-proxy-key": f"Basic {OTHER}"})
    assert not shown_in(mask(f"{SECRET} {OTHER}"), SECRET, OTHER)


@pytest.mark.parametrize("form", [dict, json.dumps], ids=["mapping", "JSON"])
def test_no_frame_shows_a_value(monkeypatch, form):
    monkeypatch.setenv("CF_AIG_TOKEN", "a-token")
    monkeypatch.setenv("CLOUDFLARE_AI_GATEWAY_TOKEN", "another")
    with warnings.catch_warnings(action="error"), pytest.raises(UserWarning) as caught:
        GatewaySettings(account_id="acc", headers=form(OWN))
    assert not shown_in(told_by(caught.value), SECRET)


# ---------------------------------------------------------------- what cannot be sent

REFUSED = [
    (f'{{"X-A": "{SECRET}', "is|must be a JSON object"),
    (f'["{SECRET}"]', "must be a JSON object"),
    ({SECRET}, "must map names to texts"),
    ({"X-A": 5}, "a value for X-A that is no text"),
    ({"X-A": None}, "a value for X-A that is no text"),
    ({"X-A": [SECRET]}, "a value for X-A that is no text"),
    (f'{{"X-A": {{"b": "{SECRET}"}}}}', "a value for X-A that is no text"),
    ({"": SECRET}, "a name that is empty"),
    ({f"X-A: {SECRET}": "b"}, "a name that is empty, or has a space"),
    ({"X\nA": SECRET}, "a name that is empty"),
    ({"X-\u00e9": SECRET}, "a name that is empty"),
    ({5: SECRET}, "a name that is empty"),
    ({"X-A": ""}, "a value for X-A that is empty"),
    ({"X-A": f"{SECRET}\r\nHost: evil"}, "a line break"),
    ({"X-A": f"{SECRET}\x00"}, "a control character"),
    ({"X-A": f" {SECRET}"}, "begins or ends with a space"),
    ({"X-A": f"{SECRET}\u00e9"}, "outside of ASCII"),
    ({"X-A": f"{SECRET}\u65e5"}, "outside of ASCII"),
    ({"X-A": SECRET, "x-a": SECRET}, "has x-a twice"),
    (f'{{"X-A": "{SECRET}", "X-A": "b"}}', "has X-A twice"),
    ({"Authorization": SECRET}, "set mistral_api_key .MISTRAL_API_KEY. instead"),
    ({"x-api-key": SECRET}, "set mistral_api_key"),
    ({"CF-AIG-Authorization": SECRET}, "set token .CF_AIG_TOKEN. instead"),
    ({"cf-access-client-secret": SECRET}, "set access_client_secret"),
    ({"Proxy-Authorization": SECRET}, "HTTPS_PROXY"),
    *(({header: SECRET}, f"set {name} ") for name, header in header_names().items()),
    *(
        ({header: SECRET}, "the SDK and the HTTP library decide it")
        for header in ("Host", "content-length", "Content-Type", "Accept", "User-Agent", "Cookie")
    ),
]


@pytest.mark.parametrize(("value", "said"), REFUSED)
def test_what_is_refused(monkeypatch, value, said):
    with pytest.raises(GatewayConfigError, match=said) as caught:
        GatewaySettings(account_id="acc", headers=value)
    assert re.search(r"Gateway settings: headers:? ", str(caught.value))
    assert not shown_in(told_by(caught.value), SECRET)
    if isinstance(value, str):
        monkeypatch.setenv("CF_AIG_HEADERS", value)
        with pytest.raises(GatewayConfigError, match="CF_AIG_HEADERS") as caught:
            GatewaySettings(account_id="acc")
        assert not shown_in(told_by(caught.value), SECRET)
