"""Clients built in each way there is, which send to the recording server."""

from __future__ import annotations

import contextlib

from http_records import KEY, PREFIX

from mistral_cf_adapter import _sdk, make_client, patch
from mistral_cf_adapter._sdk import httpx

BARE, SHARED, BEFORE, OWN, LATER = "bare", "make_client", "patched before", "own", "patched later"

# An async client is used in several event loops here: it must keep no connection of one.
_HTTP = {
    "follow_redirects": True,
    "limits": httpx.Limits(max_keepalive_connections=0),
    "verify": httpx.create_ssl_context(),
}


@contextlib.contextmanager
def built(way, gateway, make_settings):
    """Build a client in one of these ways."""
    own = {"client": httpx.Client(**_HTTP), "async_client": httpx.AsyncClient(**_HTTP)}
    settings = make_settings(mistral_api_key=None)
    if way == BARE:
        yield _sdk.Mistral(KEY, server_url=f"{gateway.origin}{PREFIX}/mistral", **own)
    elif way == SHARED:
        yield make_client(settings, api_key=KEY)
    elif way == OWN:
        yield make_client(settings, api_key=KEY, **own)
    elif way == BEFORE:
        with patch(settings=settings):
            yield _sdk.Mistral(KEY)
    else:
        client = _sdk.Mistral(KEY, **own)
        with patch(client, settings=settings):
            yield client
