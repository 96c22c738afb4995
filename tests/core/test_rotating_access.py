"""Credentials for Cloudflare Access that are callables, or in files that change."""

from __future__ import annotations

import asyncio

import pytest
from http_records import KEY, PREFIX, TEXT, Reply
from object_walks import locals_of

from mistral_cf_adapter import (
    GatewayAccessError,
    GatewayConfigError,
    GatewaySettings,
    capture,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._sdk import Mistral, httpx
from mistral_cf_adapter.testing import Access, LocalGateway

CLIENT_ID = "88bf3b6d86161464.access"
REFUSAL = Reply(403, {"message": "Forbidden. You don't have permission to view this."})
HEADERS = {"access_client_secret": "cf-access-client-secret", "access_token": "cf-access-token"}


class Counter:
    """A callable that returns another secret each time."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return f"secret-of-call-{self.count:04}"


class AsyncCounter(Counter):
    async def __call__(self):
        await asyncio.sleep(0)
        return super().__call__()


def settings_with(make_settings, name, secret, **others):
    beside = {"access_client_id": CLIENT_ID} if name == "access_client_secret" else {}
    return make_settings(**{name: secret}, **beside, **others)


def sent(server, header):
    return [request.header(header) for request in server.requests]


setting = pytest.mark.parametrize("name", HEADERS)


@setting
@pytest.mark.parametrize("kind", [Counter, AsyncCounter])
def test_a_callable_is_asked_for_each_request(gateway, make_settings, mode, name, kind):
    settings = settings_with(make_settings, name, secret := kind())
    if kind is AsyncCounter and not mode.is_async:
        with pytest.raises(GatewayConfigError, match=f"^{name} is an asynchronous callable"):
            mode.chat(make_client(settings))
        assert gateway.requests == []
        return
    client = make_client(settings)
    assert [mode.chat(client), mode.chat(client)] == [TEXT] * 2
    assert sent(gateway, HEADERS[name]) == ["secret-of-call-0001", "secret-of-call-0002"]
    assert sent(gateway, "authorization") == [f"Bearer {KEY}"] * 2
    assert secret.count == 2
    if name == "access_client_secret":
        assert sent(gateway, "cf-access-client-id") == [CLIENT_ID] * 2


def test_under_patch(gateway, make_settings, mode, async_http):
    with patch(settings=make_settings(access_token=Counter())):
        mode.chat(Mistral(api_key=KEY, async_client=async_http))
    assert sent(gateway, "cf-access-token") == ["secret-of-call-0001"]


@pytest.mark.parametrize("stored", [{"byok": True}, {"byok_alias": "production"}])
def test_with_a_stored_key_a_jwt_stands_where_the_key_would(gateway, make_settings, mode, stored):
    settings = make_settings(access_token=Counter(), mistral_api_key=None, **stored)
    mode.chat(make_client(settings))
    assert sent(gateway, "authorization") == ["Bearer secret-of-call-0001"]
    assert sent(gateway, "cf-access-token") == [None]


@pytest.mark.parametrize("secret", [Counter, lambda: "secret-of-call-0001"])
@pytest.mark.parametrize("key", [KEY, Counter])
def test_the_auto_router_gets_a_jwt_and_no_key(gateway, make_settings, mode, secret, key):
    key = key() if key is Counter else key
    settings = make_settings(access_token=secret(), mistral_api_key=key)
    with gateway_options(endpoint="compat"):
        mode.chat(make_client(settings), model="cloudflare/auto")
    assert gateway.last.path == f"{PREFIX}/compat/chat/completions"
    assert sent(gateway, "authorization") == ["Bearer secret-of-call-0001"]
    assert sent(gateway, "cf-access-token") == [None]
    assert key == KEY or key.count == 0


@setting
def test_what_a_call_brings_for_access_wins(gateway, make_settings, mode, name):
    client = make_client(settings_with(make_settings, name, secret := Counter()))
    mode.chat(client, http_headers={"cf-access-token": "of-the-call-0123456789"})
    assert sent(gateway, "cf-access-token") == ["of-the-call-0123456789"]
    assert sent(gateway, "cf-access-client-secret") == [None]
    assert secret.count == 0


@setting
def test_it_stays_below_the_gateway(gateway, elsewhere, make_settings, mode, name):
    client = make_client(settings_with(make_settings, name, secret := Counter()))
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/v1/chat/completions"))
    mode.chat(client)
    with pytest.warns(UserWarning, match="past AI Gateway"):
        mode.chat(client, server_url=elsewhere.origin)
    assert sent(gateway, HEADERS[name]) == ["secret-of-call-0001"]
    assert sent(elsewhere, HEADERS[name]) == [None, None]
    assert secret.count == 1


def test_a_refused_jwt_is_asked_for_once_more(gateway, make_settings, mode):
    gateway.replies.append(REFUSAL)
    assert mode.chat(make_client(make_settings(access_token=Counter()))) == TEXT
    assert sent(gateway, "cf-access-token") == ["secret-of-call-0001", "secret-of-call-0002"]


def test_a_jwt_that_is_refused_twice_is_the_error(gateway, make_settings, mode):
    gateway.replies += [REFUSAL, REFUSAL]
    with pytest.raises(GatewayAccessError) as caught:
        mode.chat(make_client(make_settings(access_token=(secret := Counter()))))
    assert (len(gateway.requests), secret.count) == (2, 2)
    assert not [text for text in locals_of(caught.value) if "secret-of-call" in text]


@setting
def test_what_is_no_secret_is_named_by_its_setting(gateway, make_settings, mode, name):
    client = make_client(settings_with(make_settings, name, lambda: "two words"))
    with pytest.raises(GatewayConfigError, match=f"^{name}: what its callable returned"):
        mode.chat(client)
    assert gateway.requests == []


@setting
def test_a_file_that_changed_is_read_again(gateway, monkeypatch, mode, name, tmp_path):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    monkeypatch.setenv("CF_AIG_BASE_URL", gateway.base_url)
    if name == "access_client_secret":
        monkeypatch.setenv("CF_AIG_ACCESS_CLIENT_ID", CLIENT_ID)
    file = tmp_path / "settings.env"
    file.write_text(f"CF_AIG_{name.upper()}=secret-of-file-0001\n")
    client = make_client(GatewaySettings(_env_file=file))
    mode.chat(client)
    file.write_text(f"CF_AIG_{name.upper()}=secret-of-file-00002\n")
    mode.chat(client)
    assert sent(gateway, HEADERS[name]) == ["secret-of-file-0001", "secret-of-file-00002"]


FORMS = ("login", "unauthorized", "page", "json")


@pytest.mark.parametrize("form", FORMS)
def test_a_program_outlives_its_first_jwt(mode, form):
    access = Access(form=form)
    with LocalGateway(access=access) as local:
        expired, fresh = access.issue_jwt(seconds=-1), access.issue_jwt()
        jwts = iter([expired, fresh])
        client = make_client(local.settings(access_token=lambda: next(jwts)))
        with capture() as calls:
            assert mode.chat(client)
    assert len(local.requests) == 2
    assert [call.status_code for call in calls] == [200]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("follows", [True, False])
def test_a_program_outlives_a_service_token(plain_mode, form, follows, async_http):
    access = Access(form=form)
    with LocalGateway(access=access) as local, httpx.Client(follow_redirects=follows) as http:
        secrets = iter(["secret-of-yesterday", access.client_secret])
        settings = local.settings(access_client_secret=lambda: next(secrets))
        assert plain_mode.chat(make_client(settings, client=http, async_client=async_http))
    assert len(local.requests) == 2


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_that_is_refused_and_stays_is_the_error(mode, form):
    with LocalGateway(access=Access(form=form)) as local:
        settings = local.settings(access_client_secret=lambda: "secret-of-yesterday")
        with capture() as calls, pytest.raises(GatewayAccessError):
            mode.chat(make_client(settings))
        assert len(local.requests) == len(calls) == 1
