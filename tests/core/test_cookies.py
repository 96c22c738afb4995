"""Cookies: within a call as with the bare SDK; of shared connections none is kept for the next."""

from __future__ import annotations

import asyncio

import pytest
from built_clients import BARE, BEFORE, OWN, SHARED, built
from http_records import Reply

all_ways = pytest.mark.parametrize("way", [BARE, SHARED, BEFORE, OWN])


def call(client, mode, **options):
    if mode.is_async:
        asyncio.run(client.models.list_async(**options))
    else:
        client.models.list(**options)


def cookies(gateway):
    return [request.header("cookie") for request in gateway.requests]


def until_the_cookie_comes(request):
    """Set a cookie and redirect to the same address until it is sent."""
    if "seen=1" in (request.header("cookie") or ""):
        return Reply(body={"object": "list", "data": []})
    return Reply(307, headers={"location": request.path, "set-cookie": "seen=1; Path=/"})


def setting(*cookies):
    """Return what sets these cookies, one with each redirect to the same address."""
    left = iter([*cookies, None])

    def respond(request):
        cookie = next(left)
        if cookie is None:
            return Reply(body={"object": "list", "data": []})
        return Reply(307, headers={"location": request.path, "set-cookie": cookie})

    return respond


@all_ways
def test_a_cookie_of_a_redirect_is_sent_to_the_next_hop(way, gateway, make_settings, plain_mode):
    gateway.responder = until_the_cookie_comes
    with built(way, gateway, make_settings) as client:
        call(client, plain_mode)
    assert cookies(gateway) == [None, "seen=1"]


@all_ways
def test_a_redirect_takes_cookies_of_all_hops_before_and_none_of_the_callers(
    way, gateway, make_settings, plain_mode
):
    gateway.responder = setting("a=1", "b=2")
    with built(way, gateway, make_settings) as client:
        call(client, plain_mode, http_headers={"Cookie": "own=0"})
    assert cookies(gateway) == ["own=0", "a=1", "a=1; b=2"]


@all_ways
def test_a_cookie_that_is_taken_back_is_not_sent(way, gateway, make_settings, plain_mode):
    gateway.responder = setting("a=1", "a=; Max-Age=0")
    with built(way, gateway, make_settings) as client:
        call(client, plain_mode)
    assert cookies(gateway) == [None, "a=1", None]


@all_ways
def test_a_cookie_does_not_reach_another_host(way, gateway, elsewhere, make_settings, plain_mode):
    target = f"http://localhost:{elsewhere.port}/v1/models"
    gateway.replies.append(Reply(307, headers={"location": target, "set-cookie": "a=1"}))
    with built(way, gateway, make_settings) as client:
        call(client, plain_mode)
    assert cookies(elsewhere) == [None]


@pytest.mark.parametrize("account", ["/v1/ACC2/gw2/custom-x/f"])
def test_a_cookie_does_not_reach_another_account_of_the_gateways_host(
    gateway, make_settings, plain_mode, account
):
    gateway.replies.append(Reply(307, headers={"location": account, "set-cookie": "a=1; Path=/"}))
    with built(SHARED, gateway, make_settings) as client:
        call(client, plain_mode)
    assert gateway.last.path == account
    assert cookies(gateway) == [None, None]


SET = Reply(body={"object": "list", "data": []}, headers={"set-cookie": "a=1"})


@pytest.mark.parametrize("way", [SHARED, BEFORE])
def test_shared_connections_keep_no_cookie_for_the_next_call(
    way, gateway, make_settings, plain_mode
):
    gateway.replies.append(SET)
    with built(way, gateway, make_settings) as client:
        call(client, plain_mode)
        call(client, plain_mode)
    assert cookies(gateway) == [None, None]


@pytest.mark.parametrize("way", [BARE, OWN])
def test_a_client_of_your_own_keeps_cookies(way, gateway, make_settings, plain_mode):
    gateway.replies.append(SET)
    with built(way, gateway, make_settings) as client:
        call(client, plain_mode)
        call(client, plain_mode)
    assert cookies(gateway) == [None, "a=1"]


@pytest.mark.parametrize("way", [SHARED, BEFORE])
def test_a_client_on_which_something_was_set_keeps_its_own_cookies(
    way, gateway, make_settings, plain_mode
):
    """From then on it is one of the HTTP library's, for this client alone."""
    gateway.replies.append(SET)
    with built(way, gateway, make_settings) as client, built(way, gateway, make_settings) as other:
        configuration = client.sdk_configuration
        http = configuration.async_client if plain_mode.is_async else configuration.client
        http.cookies = {"b": "2"}
        call(client, plain_mode)
        call(client, plain_mode)
        call(other, plain_mode)
    first, second, others = cookies(gateway)
    assert (first, others) == ("b=2", None)
    assert sorted(second.split("; ")) == ["a=1", "b=2"]
