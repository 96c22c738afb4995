"""Where the gateway token and the Mistral key may be: in two headers, on their way, only.

Secrets are drawn, and looked for by every eight characters of them in a row.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from unittest import mock

import pytest
from http_records import CHAT, PREFIX, Reply, completion
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from retry_configs import retries
from secret_searches import PAIRS, a_few, forms_of, shown_in, some, told_by
from test_client import Debugger

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewaySettings,
    capture,
    gateway_headers,
    make_client,
)

MISTRAL = "https://api.mistral.ai"


class Ears(logging.Handler):
    """Hears every logger, warning and span, and can be a debug logger."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.debugger = Debugger()
        self.heard = []

    def emit(self, record):
        self.heard.append(record.getMessage())
        if record.exc_info:
            self.heard.append(told_by(record.exc_info[1]))

    @contextlib.contextmanager
    def listening(self):
        root, tracer = logging.getLogger(), TracerProvider().get_tracer("test")
        level = root.level
        root.setLevel(logging.DEBUG)
        root.addHandler(self)
        try:
            with (
                warnings.catch_warnings(record=True) as warned,
                tracer.start_as_current_span("mine") as span,
                capture() as calls,
            ):
                yield self
                self.heard += [str(warned), str(dict(span.attributes)), forms_of(calls)]
                self.heard += [str(dict(event.attributes)) for event in span.events]
                assert span.events
        finally:
            root.removeHandler(self)
            root.setLevel(level)
        self.heard += self.debugger.lines


# ---------------------------------------------------------------- on the wire

ENVELOPE = {"success": False, "error": [{"code": 2009, "message": "Unauthorized"}]}
SCENES = {
    "503": [Reply(503, {})],
    "429": [Reply(429, {**ENVELOPE, "error": [{"code": 2003, "message": "Slow"}]})],
    "refused": [Reply(401, ENVELOPE)],
    "Mistral's 401": [Reply(401, {"detail": "Unauthorized"})],
    "edge": [Reply(530, b"<html>", {"content-type": "text/html"})],
    "cut": [Reply(200, completion().body, cut=True)],
    "not JSON": [Reply(200, b"{oops", {"content-type": "application/json"})],
    "same origin": [Reply.redirect("{gateway}" + f"{PREFIX}/mistral{CHAT}", 308)],
    "elsewhere": [Reply.redirect("{elsewhere}/x")],
    "and back": [Reply.redirect("{elsewhere}/x"), Reply.redirect("{gateway}/y")],
    "Mistral's host": [Reply.redirect(f"{MISTRAL}{CHAT}")],
    "nowhere": [Reply.redirect("ftp://[x")],
    "circle": [Reply.redirect("{gateway}" + f"{PREFIX}/mistral{CHAT}")] * 25,
}


def at(reply, **origins):
    headers = {name: value.format(**origins) for name, value in reply.headers.items()}
    return Reply(reply.status, reply.body, headers, reply.cut)


def where(requests, secret):
    """Return the headers of requests that have a piece of a secret, and "other" for the rest."""
    found = set()
    for request in requests:
        found |= {name.lower() for name, value in request.headers if shown_in(value, secret)}
        rest = f"{request.path} {request.body.decode('latin-1')}"
        found |= {"other"} if shown_in(rest, secret) else set()
    return found


@given(PAIRS, st.lists(st.sampled_from(sorted(SCENES)), max_size=3), st.booleans())
@some
def test_secrets_are_in_two_headers_to_the_gateway_and_nowhere_else(
    gateway, elsewhere, mode, pair, scenes, by_keyword
):
    token, key = pair
    gateway.reset(), elsewhere.reset()
    origins = {"gateway": gateway.origin, "elsewhere": elsewhere.origin}
    gateway.replies += [at(reply, **origins) for scene in scenes for reply in SCENES[scene]]
    given_key = {"api_key": key} if by_keyword else {}
    ears = Ears()
    with ears.listening(), mock.patch.dict(os.environ, {"MISTRAL_DEBUG": "1"}):
        loggers = {"debug_logger": ears.debugger} if by_keyword else {}
        settings = GatewaySettings(
            base_url=gateway.base_url, token=token, mistral_api_key=None if by_keyword else key
        )
        client = make_client(settings, retry_config=retries(elapsed=20), **given_key, **loggers)
        try:
            mode.chat(client, http_headers=gateway_headers(cache_key="k"))
        except Exception as error:
            ears.heard.append(told_by(error))

    assert where(gateway.requests, token) == {"cf-aig-authorization"}
    assert where(gateway.requests, key) == {"authorization"}
    assert where(elsewhere.requests, token) == where(elsewhere.requests, key) == set()
    assert not shown_in("\n".join(ears.heard), token, key)


@given(PAIRS)
@a_few
def test_a_server_of_the_call_gets_the_key_alone(elsewhere, gateway, mode, pair):
    elsewhere.reset()
    token, key = pair
    settings = GatewaySettings(base_url=gateway.base_url, token=token, mistral_api_key=key)
    mode.chat(make_client(settings), server_url=elsewhere.origin)
    assert where(elsewhere.requests, token) == set()
    assert where(elsewhere.requests, key) == {"authorization"}


# ---------------------------------------------------------------- in what is refused

BROKEN = {
    "a setting beside them": {"provider": "nonsense"},
    "a setting that is none": {"providr": "mistral"},
    "stored keys and a key": {"byok": True},
    "a base URL": {"base_url": "http://example.com"},
    "a bad option": {"cache_ttl": 1},
}


@pytest.mark.parametrize("wrong", BROKEN.values(), ids=BROKEN)
@given(PAIRS)
@a_few
def test_refused_settings_show_no_secret(wrong, pair):
    token, key = pair
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(**{"account_id": "a", "token": token, "mistral_api_key": key, **wrong})
    assert not shown_in(told_by(caught.value), token, key)


CALLS = [
    pytest.param(lambda key: gateway_headers(metadata={"f": 6}), id="metadata"),
    pytest.param(lambda key: {"Authorization": f"Bearer {key}\n"}, id="line break"),
]


@pytest.mark.parametrize("headers_for", CALLS)
@given(PAIRS)
@a_few
def test_a_refused_call_shows_no_secret(gateway, mode, headers_for, pair):
    token, key = pair
    settings = GatewaySettings(
        base_url=gateway.base_url,
        token=token,
        mistral_api_key=key,
        metadata=dict.fromkeys("abcde", 1),
    )
    client = make_client(settings)
    with pytest.raises(GatewayConfigError) as caught:
        mode.chat(client, http_headers=headers_for(key))
    assert not shown_in(told_by(caught.value), token, key)
