"""Copies of a client's configuration keep the route, and lose it with the original."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import weakref

import pytest
from call_modes import SYNC
from http_records import KEY, PREFIX, TEXT, TOKEN

from mistral_cf_adapter import _sdk, _switch, make_client, patch
from mistral_cf_adapter._attach import override_settings

MAKERS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "replace": dataclasses.replace,
    "replace a field": lambda it: dataclasses.replace(it, timeout_ms=5000),
    "copy of a copy": lambda it: copy.copy(copy.copy(it)),
    "replace after copy": lambda it: dataclasses.replace(copy.copy(it)),
}
SHALLOW = {name: maker for name, maker in MAKERS.items() if name != "deepcopy"}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def make_copy(request):
    return request.param


@pytest.fixture
def patched(settings, ssl_context, async_http):
    """A client of somebody else's under `patch()`, with HTTP clients of its own."""
    with _sdk.httpx.Client(verify=ssl_context) as http:
        sdk = _sdk.Mistral(api_key=KEY, client=http, async_client=async_http)
        with patch(sdk, settings):
            yield sdk


def _use(sdk, configuration):
    """Have an SDK object and its sub-SDKs use another configuration."""
    sdk.sdk_configuration = sdk.chat.sdk_configuration = configuration


@pytest.mark.parametrize("make_copy", SHALLOW.values(), ids=SHALLOW)
def test_a_copy_under_patch_keeps_the_route(gateway, patched, make_copy, mode):
    _use(patched, make_copy(patched.sdk_configuration))
    assert mode.chat(patched) == TEXT
    assert gateway.last.path.startswith(f"{PREFIX}/mistral/v1/")
    assert gateway.last.gateway == {"cf-aig-authorization": f"Bearer {TOKEN}"}


def test_a_copy_of_a_made_client_keeps_the_route(gateway, client, make_copy, mode):
    _use(client, make_copy(client.sdk_configuration))
    assert mode.chat(client) == TEXT
    assert gateway.last.gateway == {"cf-aig-authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("make_copy", SHALLOW.values(), ids=SHALLOW)
def test_undoing_a_patch_takes_the_route_off_the_copies(settings, bare, make_copy):
    bare.sdk_configuration.server_url = "https://api.mistral.ai"
    handle = patch(bare, settings)
    copied = make_copy(bare.sdk_configuration)
    handle.undo()
    assert type(copied) is type(bare.sdk_configuration) is _sdk.SDKConfiguration
    assert copied.server_url == "https://api.mistral.ai"
    assert vars(copied).keys() == vars(bare.sdk_configuration).keys()
    assert copied.client is bare.sdk_configuration.client


def test_a_copy_follows_settings_that_are_changed_for_all(gateway, client, make_copy):
    _use(client, make_copy(client.sdk_configuration))
    with override_settings(lambda settings: settings.model_copy(update={"cache_ttl": 60})):
        SYNC.chat(client)
        assert gateway.last.gateway.get("cf-aig-cache-ttl") == "60"
    SYNC.chat(client)
    assert "cf-aig-cache-ttl" not in gateway.last.gateway


def test_a_copy_equals_its_original_as_with_the_bare_sdk(client, patched, bare):
    for sdk in (client, patched, bare):
        configuration = sdk.sdk_configuration
        assert configuration == copy.copy(configuration) == dataclasses.replace(configuration)
        assert configuration != dataclasses.replace(configuration, timeout_ms=1)
        assert copy.copy(configuration).client is configuration.client


def test_a_replaced_client_goes_through_the_gateway(gateway, settings, bare):
    sdk = make_client(settings)
    http, async_http = bare.sdk_configuration.client, bare.sdk_configuration.async_client
    _use(sdk, dataclasses.replace(sdk.sdk_configuration, client=http, async_client=async_http))
    assert SYNC.chat(sdk) == TEXT
    assert gateway.last.gateway == {"cf-aig-authorization": f"Bearer {TOKEN}"}
    assert sdk.sdk_configuration.client.inner is http


def test_the_token_of_a_copy_is_its_originals(gateway, make_settings, bare):
    clients = [make_client(make_settings(token=f"token-of-{name}")) for name in "abc"]
    http, async_http = bare.sdk_configuration.client, bare.sdk_configuration.async_client
    for sdk in clients:
        _use(sdk, dataclasses.replace(sdk.sdk_configuration, client=http, async_client=async_http))
        SYNC.chat(sdk)
    sent = [request.header("cf-aig-authorization") for request in gateway.requests]
    assert sent == [f"Bearer token-of-{name}" for name in "abc"]


def test_an_address_is_text_that_copies_and_pickles_as_such(client):
    url = client.sdk_configuration.server_url
    for made in (copy.copy(url), copy.deepcopy(url), pickle.loads(pickle.dumps(url)), str(url)):
        assert made == url
        assert type(made) is str


def test_another_address_takes_a_copy_elsewhere_without_the_token(gateway, elsewhere, client):
    url = f"{elsewhere.base_url}/mistral"
    _use(client, dataclasses.replace(client.sdk_configuration, server_url=url))
    assert SYNC.chat(client) == TEXT
    assert not gateway.requests
    assert elsewhere.last.gateway == {}


@pytest.mark.parametrize("whole", [True, False], ids=["client", "configuration"])
def test_pickling_says_what_to_do(client, patched, whole):
    for sdk in (client, patched):
        with pytest.raises(TypeError, match="build it in the worker"):
            pickle.dumps(sdk if whole else sdk.sdk_configuration)


def test_a_configuration_and_its_copies_go_with_their_last_reference(settings):
    """Nothing of ours keeps them for a collection; the bare SDK's object has a cycle of its own."""
    configuration = copy.copy(make_client(settings).sdk_configuration)
    gc.collect()
    gone = weakref.ref(configuration)
    gc.disable()
    try:
        del configuration
        assert gone() is None
    finally:
        gc.enable()


def test_a_detached_class_that_is_called_makes_a_plain_configuration(client):
    kind = type(client.sdk_configuration)
    made = kind(None, True, None, True, None, server_url="https://api.mistral.ai")
    assert type(made) is _sdk.SDKConfiguration
    assert made.get_server_details() == ("https://api.mistral.ai", {})


def test_nothing_is_kept_of_a_configuration_that_is_gone(settings):
    gc.collect()
    before = len(_switch.configurations)
    for _ in range(3):
        copy.copy(make_client(settings).sdk_configuration)
    gc.collect()
    assert len(_switch.configurations) == before
