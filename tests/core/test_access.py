"""Cloudflare Access in front of a custom domain: credentials of the settings let a program in.

They go below this account, gateway and provider, and nowhere else.
"""

from __future__ import annotations

import logging
import warnings

import pytest
from call_modes import ASYNC, SYNC
from http_records import CHAT, KEY, PREFIX, TOKEN, Reply, record_shown_requests
from secret_searches import forms_of, shown_in, told_by

from mistral_cf_adapter import (
    GatewayAccessError,
    GatewayConfigError,
    GatewaySettings,
    GatewayUnauthorizedError,
    _sdk,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._routing import get_route, make_headers_mask
from mistral_cf_adapter.testing import Access, LocalGateway

CLIENT_ID = "88bf3b6d86161464.access"
SECRET = "5d41402abc4b2a76b9719d911017c5927ae1f0d3"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE4MDAwMDAwMDB9.Zq7xWm3kVb9TnR2yLc5hJd8gFs1pQe6u"
SERVICE = {"access_client_id": CLIENT_ID, "access_client_secret": SECRET}
MODES_OF_ACCESS = {"service token": SERVICE, "JWT": {"access_token": JWT}}
NAMES = ("cf-access-client-id", "cf-access-client-secret", "cf-access-token")


@pytest.fixture(params=MODES_OF_ACCESS.values(), ids=MODES_OF_ACCESS)
def credentials(request):
    return request.param


def sent(request):
    """Return what a request brings for Access and the provider."""
    found = {name: request.header(name) for name in (*NAMES, "authorization")}
    return {name: value for name, value in found.items() if value is not None}


# ---------------------------------------------------------------- what is sent


def test_a_service_token_is_sent_beside_the_mistral_key(gateway, make_settings, mode):
    mode.chat(make_client(make_settings(**SERVICE, token=None)))
    assert sent(gateway.last) == {
        "cf-access-client-id": CLIENT_ID,
        "cf-access-client-secret": SECRET,
        "authorization": f"Bearer {KEY}",
    }
    assert gateway.last.header("cf-aig-authorization") is None


def test_a_jwt_is_sent_beside_the_mistral_key(gateway, make_settings, mode):
    mode.chat(make_client(make_settings(access_token=f"Bearer {JWT}")))
    assert sent(gateway.last) == {"cf-access-token": JWT, "authorization": f"Bearer {KEY}"}
    assert gateway.last.header("cf-aig-authorization") == f"Bearer {TOKEN}"


@pytest.mark.parametrize("stored", [{"byok": True}, {"byok_alias": "production"}])
def test_with_a_stored_key_a_jwt_stands_where_the_key_would(
    gateway, make_settings, mode, monkeypatch, stored
):
    settings = make_settings(access_token=JWT, mistral_api_key=None, **stored)
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    mode.chat(make_client(settings))
    assert sent(gateway.last) == {"authorization": f"Bearer {JWT}"}
    with patch(settings=settings):
        SYNC.chat(_sdk.Mistral(api_key=KEY))
    assert sent(gateway.last) == {"authorization": f"Bearer {JWT}"}


def test_with_an_alias_of_the_call_too(gateway, make_settings, mode):
    client = make_client(make_settings(access_token=JWT))
    with gateway_options(byok_alias="production"):
        mode.chat(client)
    assert sent(gateway.last) == {"authorization": f"Bearer {JWT}"}
    mode.chat(client)
    assert sent(gateway.last) == {"cf-access-token": JWT, "authorization": f"Bearer {KEY}"}


def test_with_a_stored_key_a_service_token_is_sent_alone(gateway, make_settings, mode):
    mode.chat(make_client(make_settings(**SERVICE, mistral_api_key=None, byok=True)))
    assert sent(gateway.last).keys() == {"cf-access-client-id", "cf-access-client-secret"}


@pytest.mark.parametrize("byok", [False, True])
def test_headers_of_the_call_win(gateway, make_settings, credentials, mode, byok):
    key = {"mistral_api_key": None, "byok": True} if byok else {}
    client = make_client(make_settings(**credentials, **key))
    mode.chat(client, http_headers={"CF-Access-Token": "another"})
    authorization = {} if byok else {"authorization": f"Bearer {KEY}"}
    assert sent(gateway.last) == {"cf-access-token": "another", **authorization}
    own = {"CF-Access-Client-Id": "id", "CF-Access-Client-Secret": "another"}
    mode.chat(client, http_headers=own)
    lowered = {name.lower(): value for name, value in own.items()}
    assert sent(gateway.last) == {**lowered, **authorization}


def test_an_http_clients_own_auth_does_not_take_the_jwts_place(gateway, make_settings):
    settings = make_settings(access_token=JWT, mistral_api_key=None, byok=True)
    with _sdk.httpx.Client(auth=("user", "password")) as http:
        SYNC.chat(make_client(settings, client=http))
    assert sent(gateway.last) == {"authorization": f"Bearer {JWT}"}


def test_compat_gets_them_too(gateway, make_settings, credentials, mode):
    with gateway_options(endpoint="compat"):
        mode.chat(make_client(make_settings(**credentials)))
    assert gateway.last.path == f"{PREFIX}/compat/chat/completions"
    assert set(sent(gateway.last)) & set(NAMES)


# ---------------------------------------------------------------- where nothing of it goes


def leaks(request):
    return [name for name, value in request.headers if shown_in(value, SECRET, JWT, CLIENT_ID)]


@pytest.mark.parametrize("byok", [False, True])
@pytest.mark.parametrize(
    "location", ["{elsewhere}/x", "{gateway}/v1/acc/other/mistral/x", "{gateway}/v1/acc/gw/other/x"]
)
def test_a_redirect_elsewhere_gets_none(
    gateway, elsewhere, make_settings, credentials, mode, location, byok
):
    origins = {"gateway": gateway.origin, "elsewhere": elsewhere.origin}
    gateway.replies.append(Reply.redirect(location.format(**origins), 308))
    key = {"mistral_api_key": None, "byok": True} if byok else {}
    client = make_client(make_settings(**credentials, **key))
    shown = ""
    try:
        mode.chat(client)
    except Exception as error:
        shown = told_by(error)
    assert not shown_in(shown, SECRET, JWT)
    first, *others = [*gateway.requests, *elsewhere.requests]
    assert leaks(first)
    assert others
    assert [leaks(request) for request in others] == [[]] * len(others)


@pytest.mark.parametrize("byok", [False, True])
def test_a_redirect_within_the_provider_keeps_them(gateway, make_settings, credentials, mode, byok):
    gateway.replies.append(Reply.redirect(f"{PREFIX}/mistral{CHAT}", 308))
    key = {"mistral_api_key": None, "byok": True} if byok else {}
    mode.chat(make_client(make_settings(**credentials, **key)))
    before, after = map(sent, gateway.requests)
    assert before == after


def test_the_response_of_a_redirect_does_not_show_them(gateway, make_settings, credentials):
    settings = make_settings(**credentials, mistral_api_key=None, byok=True)
    client = make_client(settings)
    seen = record_shown_requests(client)
    gateway.replies.append(Reply.redirect(f"{PREFIX}/mistral{CHAT}", 308))
    SYNC.chat(client)
    assert len(seen) == 2
    assert not shown_in(str([request.headers.raw for request in seen]), SECRET, JWT)


def test_the_fallback_gets_none(mistral, make_settings, credentials, mode):
    settings = make_settings(
        fallback="direct", base_url="http://127.0.0.1:9/v1/a/g", token=None, **credentials
    )
    with pytest.warns(UserWarning, match="is down"):
        mode.chat(make_client(settings))
    assert sent(mistral.last) == {"authorization": f"Bearer {KEY}"}


def test_a_jwt_is_never_mistrals_key(mistral, make_settings, mode):
    settings = make_settings(
        fallback="direct", base_url="http://127.0.0.1:9/v1/a/g", access_token=JWT
    )
    with gateway_options(byok_alias="production"), pytest.raises(_sdk.httpx.ConnectError):
        mode.chat(make_client(settings))
    assert mistral.requests == []


def test_a_server_of_the_call_gets_none(elsewhere, make_settings, credentials, mode):
    with pytest.warns(UserWarning, match="past AI Gateway"):
        mode.chat(make_client(make_settings(**credentials)), server_url=elsewhere.origin)
    assert sent(elsewhere.last) == {"authorization": f"Bearer {KEY}"}


def test_no_text_shows_them(gateway, make_settings, credentials, mode, caplog):
    caplog.set_level(logging.DEBUG)
    settings = make_settings(**credentials)
    client = make_client(settings)
    quoted = {"detail": f"who is {SECRET}, {JWT}?"}
    gateway.replies.append(Reply(401, {"success": False, "error": [{"code": 2009, **quoted}]}))
    gateway.replies[-1].body["error"][0]["message"] = quoted["detail"]
    with pytest.raises(GatewayUnauthorizedError) as caught:
        mode.chat(client)
    hidden = SECRET if "access_client_secret" in credentials else JWT
    assert not shown_in(caught.value.message, hidden)
    things = (settings, settings.model_dump(), client, client.sdk_configuration, patch)
    told = [*map(forms_of, things), repr(caught.value), caplog.text]
    assert not shown_in("\n".join(told), hidden)


def test_a_text_about_a_request_that_is_not_built_is_masked(make_settings, credentials):
    mask = make_headers_mask(get_route(make_settings(**credentials)), {})
    assert not shown_in(mask(f"{SECRET} {JWT}"), list(credentials.values())[-1])


def test_no_frame_shows_them(monkeypatch, credentials):
    monkeypatch.setenv("CF_AIG_TOKEN", "a-token")
    monkeypatch.setenv("CLOUDFLARE_AI_GATEWAY_TOKEN", "another")
    with warnings.catch_warnings(action="error"), pytest.raises(UserWarning) as caught:
        GatewaySettings(base_url="https://ai.example.com", **credentials)
    assert not shown_in(told_by(caught.value), SECRET, JWT)


# ---------------------------------------------------------------- what cannot work

CUSTOM = {"base_url": "https://ai.example.com"}
CLOUDFLARES = {"account_id": "acc"}
WRONG = [
    ({**CUSTOM, "access_client_id": CLIENT_ID}, "CF_AIG_ACCESS_CLIENT_SECRET"),
    ({**CUSTOM, "access_client_secret": SECRET}, "CF_AIG_ACCESS_CLIENT_ID"),
    ({**CUSTOM, **SERVICE, "access_token": JWT}, "contradict"),
    ({**CLOUDFLARES, **SERVICE}, "gateway.ai.cloudflare.com is never behind"),
    ({**CLOUDFLARES, "access_token": JWT}, "access_token .CF_AIG_ACCESS_TOKEN. is set"),
    ({"base_url": "https://GATEWAY.ai.cloudflare.com/v1/a/g", "access_token": JWT}, "is never"),
    ({**CUSTOM, "access_token": f"{JWT}\n"}, "access_token"),
    ({**CUSTOM, "access_token": "Bearer "}, "access_token: is the word `Bearer`"),
    ({**CUSTOM, **SERVICE, "access_client_secret": f"'{SECRET}'"}, "access_client_secret"),
    ({**CUSTOM, **SERVICE, "access_client_id": "CF-Access-Client-Id: x"}, "access_client_id"),
    ({**CUSTOM, **SERVICE, "access_client_id": "caf\u00e9.access"}, "access_client_id"),
]


@pytest.mark.parametrize(("values", "said"), WRONG)
def test_settings_that_cannot_work(values, said):
    with pytest.raises(GatewayConfigError, match=said) as caught:
        GatewaySettings(**values)
    assert not shown_in(told_by(caught.value), SECRET, JWT)


def test_the_variables_are_read(monkeypatch):
    monkeypatch.setenv("CF_AIG_BASE_URL", "https://ai.example.com")
    monkeypatch.setenv("CF_AIG_ACCESS_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("CF_AIG_ACCESS_CLIENT_SECRET", SECRET)
    settings = GatewaySettings()
    assert settings.access_client_id == CLIENT_ID
    assert settings.access_client_secret.get_secret_value() == SECRET
    with pytest.raises(GatewayConfigError, match="never behind"):
        settings.model_copy(update={"account_id": "acc"})


# ---------------------------------------------------------------- Access refuses, or lets in


@pytest.fixture(scope="module")
def guarded():
    with LocalGateway(access=Access(), stored_keys={"default": "stored-key-1"}) as gateway:
        yield gateway


@pytest.fixture
def access(guarded):
    guarded.reset()
    access = guarded._state.access
    access.form = "login"
    return access


def test_a_service_token_lets_in(guarded, access, mode):
    mode.chat(make_client(guarded.settings()))
    assert guarded.settings().token is None
    assert guarded.upstream_requests[-1].headers["authorization"] == "Bearer mistral-test-key"


@pytest.mark.parametrize("byok", [False, True])
def test_a_jwt_lets_in_until_it_expires(guarded, access, mode, byok):
    settings = guarded.settings(access_token=access.issue_jwt(seconds=600), byok=byok)
    client = make_client(settings)
    mode.chat(client)
    upstream = guarded.upstream_requests[-1].headers
    assert upstream["authorization"] == f"Bearer {'stored-key-1' if byok else 'mistral-test-key'}"
    assert not {name for name in upstream if name.startswith("cf-")}
    guarded.pass_time(601)
    with pytest.raises(
        GatewayAccessError, match="may have expired: `cloudflared access token -app"
    ):
        mode.chat(client)


@pytest.mark.parametrize("form", ["login", "unauthorized", "page", "json"])
@pytest.mark.parametrize(
    "values",
    [
        {"access_client_id": None, "access_client_secret": None, "token": "cf-test-token"},
        {"access_client_secret": "another-secret"},
        {"access_token": JWT},
        {"access_token": JWT, "byok": True},
    ],
    ids=["gateway token alone", "wrong secret", "wrong JWT", "wrong JWT, stored key"],
)
def test_what_does_not_let_in(guarded, access, form, values):
    access.form = form
    for mode in (SYNC, ASYNC):
        with pytest.raises(GatewayAccessError) as caught:
            mode.chat(make_client(guarded.settings(**values)))
        for name in (
            "CF_AIG_ACCESS_CLIENT_ID",
            "CF_AIG_ACCESS_CLIENT_SECRET",
            "CF_AIG_ACCESS_TOKEN",
        ):
            assert name in caught.value.advice
        assert not shown_in(told_by(caught.value), JWT)
    assert guarded.upstream_requests == []


def test_a_form_that_does_not_exist():
    with pytest.raises(ValueError, match="unknown form 'teapot'"):
        Access(form="teapot")
    assert "access-test-secret" not in repr(Access())


def test_an_application_without_access_is_adopted(guarded, access, make_settings):
    settings = guarded.adopted(make_settings(access_token=JWT))
    assert (settings.access_token, settings.token) == (None, None)
    assert SYNC.chat(make_client(settings))
