"""What the HTTP library's response tells is there, as with the bare SDK."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest
from built_clients import BARE, BEFORE, OWN, SHARED, built
from call_modes import ASYNC, SYNC
from http_records import PREFIX, Keeping, Reply, completion

WAYS = [SHARED, BEFORE, OWN]


def download(client, mode):
    """Return the response of a download, read to its end."""
    if mode is SYNC:
        response = client.files.download(file_id="f")
        response.read()
        return response

    async def call():
        response = await client.files.download_async(file_id="f")
        await response.aread()
        return response

    return asyncio.run(call())


all_ways = pytest.mark.parametrize("way", [BARE, *WAYS])


@all_ways
def test_the_response_of_a_call_tells_how_long_it_took(way, gateway, make_settings, mode):
    with built(way, gateway, make_settings) as client:
        hook = Keeping(client)
        assert mode.chat(client) == "Bonjour"
    assert timedelta(0) < hook.responses[-1].elapsed < timedelta(minutes=1)
    assert hook.responses[-1].history == []
    assert hook.responses[-1].url == hook.responses[-1].request.url


@all_ways
def test_a_stream_that_is_left_early_tells_how_long_it_took(way, gateway, make_settings):
    with built(way, gateway, make_settings) as client:
        hook = Keeping(client)
        question = [{"role": "user", "content": "Hello"}]
        with client.chat.stream(model="m", messages=question) as events:
            next(iter(events))
        hook.responses[-1].close()
    assert hook.responses[-1].elapsed > timedelta(0)


@all_ways
def test_a_download_tells_how_long_it_took(way, gateway, make_settings, plain_mode):
    with built(way, gateway, make_settings) as client:
        response = download(client, plain_mode)
    assert response.content == b"file content"
    assert response.elapsed > timedelta(0)
    assert response.num_bytes_downloaded == 12
    assert response.history == []


def test_a_stream_made_of_one_piece_tells_as_much(gateway, make_settings, stream_mode):
    gateway.responder = lambda request: completion()
    with built(SHARED, gateway, make_settings) as client:
        hook = Keeping(client)
        assert stream_mode.chat(client) == "Bonjour"
    assert hook.responses[-1].elapsed > timedelta(0)
    assert hook.responses[-1].history == []


# ---------------------------------------------------------------- redirects


def chain(request):
    """Redirect twice, with a path of its own each time, and a text in each response."""
    start = f"{PREFIX}/mistral/v1/"
    name = request.path.removeprefix(start)
    following = {"models": "models/two", "models/two": "models/three"}.get(name)
    if following is None:
        return Reply(body={"object": "list", "data": []})
    headers = {"location": start + following, "x-hop": name}
    return Reply(307, f"see {following}".encode(), headers)


def as_seen(response):
    return SimpleNamespace(
        url=str(response.url),
        status=response.status_code,
        method=response.request.method,
        request=str(response.request.url),
        text=response.text,
        next_request=response.next_request,
        key=response.request.headers.get("authorization"),
        hop=response.headers.get("x-hop"),
    )


def redirected(way, gateway, make_settings, mode):
    gateway.reset()
    gateway.responder = chain
    with built(way, gateway, make_settings) as client:
        hook = Keeping(client)
        if mode is SYNC:
            client.models.list()
        else:
            asyncio.run(client.models.list_async())
    response = hook.responses[-1]
    assert all(len(hop.history) == place for place, hop in enumerate(response.history))
    assert all(hop.elapsed > timedelta(0) for hop in response.history)
    return as_seen(response), [as_seen(hop) for hop in response.history]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("redirected_mode", [SYNC, ASYNC], ids=lambda mode: mode.name)
def test_url_and_history_after_redirects_are_as_with_the_bare_sdk(
    way, gateway, make_settings, redirected_mode
):
    bare = redirected(BARE, gateway, make_settings, redirected_mode)
    assert bare[0].url.endswith("/models/three")
    assert len(bare[1]) == 2
    ours = redirected(way, gateway, make_settings, redirected_mode)
    assert ours == bare


@pytest.mark.parametrize("way", WAYS)
def test_no_response_names_the_token_after_redirects(way, gateway, make_settings):
    gateway.responder = chain
    with built(way, gateway, make_settings) as client:
        hook = Keeping(client)
        client.models.list()
    assert len(gateway.requests) == 3
    assert all(request.header("cf-aig-authorization") for request in gateway.requests)
    for response in (hook.responses[-1], *hook.responses[-1].history):
        assert "cf-aig-authorization" not in response.request.headers
        assert response.next_request is None


@pytest.mark.parametrize("way", WAYS)
def test_redirects_leave_the_connection_to_the_next_hop(way, gateway, make_settings):
    gateway.responder = chain
    with built(way, gateway, make_settings) as client:
        client.models.list()
    if way != OWN:  # which keeps no connection here
        assert len({request.peer for request in gateway.requests}) == 1
