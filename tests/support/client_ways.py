"""Ways to a client with these settings: `make_client()`, with a copy of the settings, `patch()`."""

from __future__ import annotations

import copy
from contextlib import contextmanager

from http_records import KEY, TOKEN

from mistral_cf_adapter import GatewaySettings, make_client, patch
from mistral_cf_adapter._sdk import Mistral, httpx


def settings_for(server, **values):
    """Return settings for a server in the gateway's place; keywords add to them or replace them."""
    given = {"base_url": server.base_url, "token": TOKEN, "mistral_api_key": KEY, **values}
    return GatewaySettings(**given)


def client_for(server, *, timeout_ms=10_000, **values):
    return make_client(settings_for(server, **values), timeout_ms=timeout_ms)


@contextmanager
def with_make_client(settings=None):
    yield make_client(settings)


@contextmanager
def with_a_copy(settings=None):
    """Several clients have one settings object, and copies of it."""
    settings = settings or GatewaySettings()
    make_client(settings)
    yield make_client(copy.deepcopy(settings).model_copy(update={"cache_ttl": 60}))


@contextmanager
def with_patch(settings=None):
    with patch(settings=settings):
        yield Mistral()


@contextmanager
def with_own_http(settings=None):
    """HTTP clients of the user's own; the async one keeps no connection for another loop."""
    for_one_call = httpx.AsyncClient(
        limits=httpx.Limits(max_keepalive_connections=0), follow_redirects=True
    )
    with httpx.Client(follow_redirects=True) as http:
        yield make_client(settings, client=http, async_client=for_one_call)


WAYS = [with_make_client, with_a_copy, with_patch]
