"""What can be printed or pickled shows no secret: objects, errors, the commands' output."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import pickle
from unittest import mock

import pytest
from hypothesis import given
from object_walks import PACKAGE, locals_of
from secret_searches import PAIRS, a_few, drawn, forms_of, shown_in

import mistral_cf_adapter
from mistral_cf_adapter import (
    GatewayConfigError,
    GatewayOptions,
    GatewaySettings,
    _errors,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._sdk import Mistral, httpx
from mistral_cf_adapter.cli import main
from mistral_cf_adapter.cli.tools import TOOLS

SECRET = "cfut_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"

# ---------------------------------------------------------------- in what can be printed

THINGS = {
    "settings": lambda client, patched: patched.settings,
    "a copy of the settings": lambda client, patched: copy.deepcopy(patched.settings),
    "a client": lambda client, patched: client,
    "a sub-SDK": lambda client, patched: client.chat,
    "a configuration": lambda client, patched: client.sdk_configuration,
    "a patch": lambda client, patched: patched,
    "an HTTP client": lambda client, patched: client.sdk_configuration.client,
    "an async HTTP client": lambda client, patched: client.sdk_configuration.async_client,
    "the front of a pool": lambda client, patched: client.sdk_configuration.client.inner,
    "options": lambda client, patched: GatewayOptions(cache_ttl=60),
    "a block of options": lambda client, patched: gateway_options(cache_ttl=60),
}


@pytest.mark.parametrize("thing", THINGS.values(), ids=THINGS)
@given(PAIRS)
@a_few
def test_no_object_shows_or_pickles_a_secret(gateway, bare, async_http, thing, pair):
    token, key = pair
    settings = GatewaySettings(base_url=gateway.base_url, token=token, mistral_api_key=key)
    http = bare.sdk_configuration.client
    theirs = Mistral(api_key=key, client=http, async_client=async_http)
    with patch(theirs, settings=settings) as patched:
        for client in (make_client(settings), theirs):
            assert not shown_in(forms_of(thing(client, patched)), token, key)


def every_error():
    names = [name for name in mistral_cf_adapter.__all__ if name.endswith("Error")]
    return {getattr(mistral_cf_adapter, name) for name in names} - {GatewayConfigError}


def error_of(kind, key, library=httpx):
    """Return an error of a kind as the SDK raises it: with its request, and what may not pickle."""
    request = library.Request("POST", "https://x/y", headers={"Authorization": f"Bearer {key}"})
    headers = {"cf-aig-log-id": "log-1", "content-encoding": "gzip", "x": "y"}
    response = library.Response(429, headers=headers, request=request)
    response.iter_text = response.aiter_text = lambda: None
    error = _errors.build_error(kind, "it broke", response, "said")
    object.__setattr__(error, "code", 2003)
    error.add_note("noted")
    return error


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "pickle twice": lambda error: pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error)))),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("kind", sorted(every_error(), key=lambda kind: kind.__name__))
def test_every_error_survives_a_copy_without_the_key(kind, copied):
    error = error_of(kind, drawn(1))
    twin = copied(error)
    assert type(twin) is kind
    for name in ("message", "status_code", "body", "headers", "code", "log_id"):
        assert getattr(twin, name) == getattr(error, name)
    assert (str(twin), twin.retryable, twin.__notes__) == (str(error), error.retryable, ["noted"])
    assert twin.raw_response.headers == error.raw_response.headers
    assert str(twin.raw_response.request.url) == "https://x/y"
    assert not shown_in(forms_of(error) + str(twin.raw_response.request.headers), drawn(1))
    assert "authorization" not in error.raw_response.request.headers
    assert error.raw_response.request.headers["host"] == "x"


def test_a_settings_error_survives_a_pickle():
    error = GatewayConfigError("account_id is missing")
    assert str(pickle.loads(pickle.dumps(error))) == "account_id is missing"


# ---------------------------------------------------------------- in what the commands print

COMMANDS = [["doctor", "--offline"], ["doctor", "--offline", "--json"], ["env"], ["env", "--json"]]
COMMANDS += [["env", "--for", tool] for tool in TOOLS]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@given(PAIRS)
@a_few
def test_no_command_prints_a_secret(command, pair):
    token, key = pair
    given = {"CLOUDFLARE_ACCOUNT_ID": "a", "CF_AIG_TOKEN": token, "MISTRAL_API_KEY": key}
    out = io.StringIO()
    with mock.patch.dict(os.environ, given), contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(out))
        assert main(command) == 0
    assert out.getvalue()
    assert not shown_in(out.getvalue(), token, key)


def test_a_setting_that_is_set_later_is_not_shown():
    settings = GatewaySettings(account_id="acc", token="t" * 20)
    with pytest.raises(GatewayConfigError, match="model_copy") as caught:
        settings.token = SECRET
    assert SECRET not in str(caught.value)
    assert not shown_in("\n".join(locals_of(caught.value, PACKAGE)), {SECRET})


@pytest.mark.parametrize("name", ["account_id", "base_url"])
def test_a_secret_in_the_wrong_setting_is_in_no_frame(name):
    value = {"account_id": f"{SECRET}/x", "base_url": f"https://u:{SECRET}@x.example/v1"}[name]
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(**{"account_id": "acc", name: value})
    assert SECRET not in "\n".join(locals_of(caught.value, PACKAGE))


@pytest.mark.parametrize("header", ["authorization", "cf-aig-authorization", "cf-access-token"])
def test_a_secret_that_ends_with_a_space_is_not_quoted(client, header):
    with pytest.raises(GatewayConfigError, match="ends with a space") as caught:
        client.models.list(http_headers={header: f"Bearer {SECRET} "})
    assert SECRET not in str(caught.value)
