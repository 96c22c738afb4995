"""HTTP clients of the user's own, with hooks, `auth` and a will of their own."""

from __future__ import annotations

import asyncio
import contextlib
import functools

import pytest
from http_records import KEY, TEXT, TOKEN, Keeping, Reply
from object_walks import texts_in

from mistral_cf_adapter import GatewayRedirectError, GatewaySettings, make_client
from mistral_cf_adapter._sdk import Mistral, httpx

OWN_KEY = "their-own-key-0123456789"
CHAT = "/v1/chat/completions"
HTTP = httpx.Client, httpx.AsyncClient


@pytest.fixture
def keyless(gateway):
    return GatewaySettings(base_url=gateway.base_url, token=TOKEN)


@contextlib.asynccontextmanager
async def asking(settings, mode, ssl_context, hooks=None, classes=HTTP, **options):
    """Yield what makes a call with an HTTP client that has hooks and other options."""
    hooks = hooks or {}
    if mode.is_async:
        hooks = {name: [awaited(hook) for hook in each] for name, each in hooks.items()}
    options |= {"verify": ssl_context, "event_hooks": hooks, "follow_redirects": True}
    if not mode.is_async:
        with classes[0](**options) as http:
            yield functools.partial(mode.chat_in_loop, make_client(settings, client=http))
        return
    async with classes[1](**options) as http:
        yield functools.partial(mode.chat_in_loop, make_client(settings, async_client=http))


def awaited(hook):
    async def run(what):
        if isinstance(what, httpx.Response):
            await what.aread()
        hook(what)

    return run


def raise_for_status(response):
    if not response.is_closed:
        response.read()
    response.raise_for_status()


async def test_the_error_of_a_response_hook_has_no_token(gateway, settings, mode, ssl_context):
    gateway.replies.append(Reply(404, {"detail": "no"}))
    hooks = {"response": [raise_for_status]}
    async with asking(settings, mode, ssl_context, hooks) as ask:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            await ask()
        assert gateway.last.gateway["cf-aig-authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in "\n".join(texts_in(caught.value))


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500])
def test_an_error_of_mistrals_does_not_lead_to_the_token(gateway, settings, mode, status):
    gateway.replies.append(Reply(status, {"detail": []}))
    with pytest.raises(Exception) as caught:
        mode.chat(make_client(settings))
    assert TOKEN not in "\n".join(texts_in(caught.value))


class Rotating(httpx.Auth):
    def auth_flow(self, request):
        request.headers["Authorization"] = f"Bearer {OWN_KEY}"
        yield request


def authorize(request):
    request.headers["Authorization"] = f"Bearer {OWN_KEY}"


OF_THE_CLIENT = [
    pytest.param({"auth": Rotating()}, id="auth"),
    pytest.param({"hooks": {"request": [authorize]}}, id="a hook"),
]


def authorization(request):
    return [value for name, value in request.headers if name.lower() == "authorization"]


@pytest.mark.parametrize("options", OF_THE_CLIENT)
async def test_a_client_may_bring_the_key_by_itself(gateway, keyless, mode, ssl_context, options):
    async with asking(keyless, mode, ssl_context, **options) as ask:
        assert await ask() == TEXT
    assert authorization(gateway.last) == [f"Bearer {OWN_KEY}"]


async def test_with_a_stored_key_its_auth_stays_unused(gateway, mode, ssl_context):
    settings = GatewaySettings(base_url=gateway.base_url, token=TOKEN, byok=True)
    async with asking(settings, mode, ssl_context, auth=Rotating()) as ask:
        assert await ask() == TEXT
    assert authorization(gateway.last) == []


async def test_its_auth_is_for_the_gateway_alone(gateway, elsewhere, keyless, mode, ssl_context):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}{CHAT}"))
    async with asking(keyless, mode, ssl_context, auth=Rotating()) as ask:
        await ask()
    assert authorization(elsewhere.last) == []


class Disobedient(httpx.Client):
    def send(self, request, **asked):
        return super().send(request, **{**asked, "follow_redirects": True})


class AsyncDisobedient(httpx.AsyncClient):
    async def send(self, request, **asked):
        return await super().send(request, **{**asked, "follow_redirects": True})


async def test_a_client_that_follows_redirects_by_itself_is_told_of(
    gateway, elsewhere, settings, mode, ssl_context
):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/taken"))
    classes = Disobedient, AsyncDisobedient
    async with asking(settings, mode, ssl_context, classes=classes) as ask:
        with pytest.raises(GatewayRedirectError, match="by itself") as caught:
            await ask()
        assert TOKEN not in "\n".join(texts_in(caught.value))
        assert KEY not in "\n".join(texts_in(caught.value))


def test_a_name_that_is_no_text_is_not_called_a_header(settings):
    client = make_client(settings)
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        client.files.list(search="\udcff")
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        asyncio.run(client.files.list_async(search="\udcff"))


# ---------------------------------------------------------------- redirects and demands for a key


DIGEST = {"www-authenticate": 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'}


@pytest.mark.parametrize("way", ["bare", "ours"])
async def test_a_demand_for_credentials_is_no_redirect(gateway, mode, ssl_context, way):
    gateway.replies.append(Reply(401, {"detail": "who are you?"}, DIGEST))
    auth = httpx.DigestAuth("a", "b")
    async with calling(gateway, ssl_context, way, auth=auth) as (client, seen):
        assert await mode.chat_in_loop(client) == TEXT
    assert gateway.requests[-1].header("authorization").startswith("Digest ")
    (response,) = seen
    assert [(each.status_code, len(each.history)) for each in response.history] == [(401, 0)]
    for each in (response, *response.history):
        assert "cf-aig-authorization" not in each.request.headers


@pytest.mark.parametrize("way", ["bare", "ours"])
async def test_no_redirects_at_all_is_an_error_of_the_http_librarys(
    gateway, mode, ssl_context, way
):
    gateway.replies.append(Reply(307, b"", {"location": "/elsewhere"}))
    async with calling(gateway, ssl_context, way, max_redirects=0) as (client, _):
        with pytest.raises(httpx.TooManyRedirects):
            await mode.chat_in_loop(client)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("way", ["bare", "ours"])
async def test_a_redirect_that_is_not_followed_has_its_next_request(
    gateway, mode, ssl_context, way
):
    gateway.replies.append(Reply(307, b"", {"location": "/v1/acc/gw/mistral/v1/other"}))
    async with calling(gateway, ssl_context, way, follow_redirects=False) as (client, seen):
        with pytest.raises(Exception, match=r"307|read\(\)"):
            await mode.chat_in_loop(client)
    (response,) = seen
    assert response.next_request.url.path == "/v1/acc/gw/mistral/v1/other"
    assert response.next_request.headers["authorization"] == f"Bearer {KEY}"
    assert "cf-aig-authorization" not in response.next_request.headers


@contextlib.asynccontextmanager
async def calling(gateway, ssl_context, way, **options):
    """Yield a client with own HTTP clients, bare or of the adapter, and the responses it gets."""
    options = {"verify": ssl_context, "follow_redirects": True, **options}
    with httpx.Client(**options) as http:
        async with httpx.AsyncClient(**options) as async_http:
            clients = {"client": http, "async_client": async_http}
            if way == "bare":
                client = Mistral(api_key=KEY, server_url=f"{gateway.base_url}/mistral", **clients)
            else:
                settings = GatewaySettings(
                    base_url=gateway.base_url, token=TOKEN, mistral_api_key=KEY
                )
                client = make_client(settings, **clients)
            yield client, Keeping(client).responses
