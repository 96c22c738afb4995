"""Which paths are refused, where, and what the refusal says; what goes elsewhere is as bare."""

from __future__ import annotations

import asyncio

import pytest
from call_modes import SYNC
from hostile_values import CONTROLS, CUTS, DOTS, ELSEWHERE, HOSTILE, ORDINARY
from http_records import CHAT, KEY, PREFIX, TOKEN, Reply
from secret_searches import shown_in, told_by

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewaySettings,
    _paths,
    _sdk,
    capture,
    make_client,
    patch,
)
from mistral_cf_adapter._routing import get_route

FILE = "/v1/files/{file_id}"
DOCUMENT = "/v1/libraries/{library_id}/documents/{document_id}"
CONNECTOR = "/v1/connectors/{connector_id}#id"


@pytest.fixture(params=["make_client", "patch"])
def sdk(request, settings):
    """A client of the recording gateway, of either way in."""
    if request.param == "make_client":
        yield make_client(settings)
        return
    with patch(settings=settings):
        yield _sdk.Mistral(api_key=KEY)


# ---------------------------------------------------------------- the check itself


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (FILE, "file_id"),
        (f"{FILE}/content", "file_id"),
        (DOCUMENT, "library_id"),
        (DOCUMENT, "document_id"),
        (CONNECTOR, "connector_id"),
    ],
)
def test_no_template_takes_a_hostile_value(template, name):
    for value in HOSTILE:
        path = template.replace(f"{{{name}}}", value)
        path = path.replace("{library_id}", "abc").replace("{document_id}", "abc")
        problem = _paths.find_problem(path, template)
        assert problem is not None, value
        assert problem.place == name, value


@pytest.mark.parametrize("template", [FILE, f"{FILE}/content", CONNECTOR])
def test_ordinary_values_are_taken_with_and_without_a_template(template):
    for value in ORDINARY:
        path = template.replace("{file_id}", value).replace("{connector_id}", value)
        assert _paths.find_problem(path, template) is None, value
        assert _paths.find_problem(path, None) is None, value


def test_without_a_template_what_is_no_path_is_refused():
    for value in [*DOTS, *CONTROLS, "a?b", "a#b", "", "a//b", "a/"]:
        assert _paths.find_problem(f"/v1/files/{value}", None) is not None, value


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/models", "/vx/models", "/v1x/models", "//"])
def test_without_a_template_a_path_begins_with_a_version(path):
    assert _paths.find_problem(path, None) is not None


@pytest.mark.parametrize("path", ["/v1/models", "/v2/prompts", "/v1/chat/completions#stream"])
def test_the_paths_of_the_sdk_need_no_template(path):
    assert _paths.find_problem(path, None) is None
    assert _paths.find_problem(path, path) is None


def test_a_placeholder_that_is_left_over_is_refused():
    assert _paths.find_problem("/v1/libraries/abc/documents/{document_id}", DOCUMENT) is not None
    assert _paths.find_problem("/v1/libraries/{document_id}/documents/x", DOCUMENT) is not None
    assert _paths.find_problem("/v1/libraries/{mine}/documents/x", DOCUMENT) is None


def test_a_long_hostile_value_is_judged_at_once():
    template = "/v1/{a}/x/{b}/x/{c}/x/{d}"
    path = template.replace("{a}", "/x/" * 20_000)
    assert _paths.find_problem(path, template) is not None
    assert _paths.find_problem("/v1/files/%" + "25" * 20_000 + "2e", FILE) is not None
    url = _sdk.httpx.URL(f"https://gateway.ai.cloudflare.com/v1/a/g/mistral/v1/{'a' * 60_000}%2e")
    assert get_route(GatewaySettings(account_id="a", gateway_id="g")).leads_to_provider(url)


@pytest.mark.parametrize(
    ("raw_path", "below"),
    [
        (b"/gw/mistral/v1/x", True),
        (b"/gw/mistral/v1/x?a=/../b", True),
        (b"/gw/mistral/v1/.well-known", True),
        (b"/gw/mistral/v1/a%2Fb", True),
        (b"/gw/mistral", False),
        (b"/gw/mistral2/v1/x", False),
        (b"/gw/mistral/../x", False),
        (b"/gw/mistral/..", False),
        (b"/gw/mistral/%2e%2e/x", False),
        (b"/gw/mistral/..%2fx", False),
        (b"/gw/mistral/a%2f%252e%252e%2fx", False),
        (b"/gw/mistral/..;/x", False),
        (b"/gw/mistral/a\\..\\x", False),
        (b"/gw/mistral/a%5c..%5cx", False),
        (b"/gw/%6distral/v1/x", False),
    ],
)
def test_what_lies_below_a_prefix(raw_path, below):
    assert _paths.is_below(raw_path, b"/gw/mistral/") is below


# ---------------------------------------------------------------- calls


def retrieve(client, file_id, **options):
    return client.files.retrieve(file_id=file_id, **options)


def retrieve_async(client, file_id, **options):
    return asyncio.run(client.files.retrieve_async(file_id=file_id, **options))


def append_stream(client, value, **options):
    given = {"conversation_id": value, "inputs": "Hello", **options}
    return client.beta.conversations.append_stream(**given)


def append_stream_async(client, value, **options):
    given = {"conversation_id": value, "inputs": "Hello", **options}
    return asyncio.run(client.beta.conversations.append_stream_async(**given))


def upload(client, value, **options):
    file = {"file_name": "a.txt", "content": b"x"}
    return client.beta.libraries.documents.upload(library_id=value, file=file, **options)


WAYS = [retrieve, retrieve_async, append_stream, append_stream_async, upload]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("value", [ELSEWHERE, "%2e%2e%2fx", "", "a/b", "x?y", "x#y", "a\nb"])
def test_a_call_is_refused_before_anything_is_sent(gateway, elsewhere, sdk, way, value):
    with capture() as calls, pytest.raises(GatewayConfigError, match=r"_id '.*cannot be part of"):
        way(sdk, value)
    assert gateway.requests == elsewhere.requests == calls == []


def test_the_refusal_names_the_parameter_and_what_is_wrong(client):
    with pytest.raises(GatewayConfigError) as caught:
        retrieve(client, ELSEWHERE)
    assert str(caught.value) == (
        f"file_id {ELSEWHERE!r} cannot be part of a request's path: the dot segment '..' in it "
        "would lead to another path"
    )


@pytest.mark.parametrize("where", ["start", "end"])
def test_the_refusal_shows_no_secret_and_no_long_text(gateway, client, where):
    secret = f"{KEY * 3}/../{TOKEN * 3}" + "x" * 500
    with pytest.raises(GatewayConfigError) as caught:
        retrieve(client, secret if where == "start" else f"../{secret}")
    assert not shown_in(str(caught.value), KEY, TOKEN)
    assert len(str(caught.value)) < 200
    assert gateway.requests == []


def test_the_refusal_shows_no_secret_of_the_call(client):
    own = "own-key-0815-4711-2342"
    with pytest.raises(GatewayConfigError) as caught:
        retrieve(client, f"../{own}", http_headers={"Authorization": f"Bearer {own}"})
    assert own not in str(caught.value)
    assert not shown_in(told_by(caught.value), KEY, TOKEN)


def test_an_id_that_ends_as_a_fragment_of_the_sdk_does_not_pass_for_it(gateway, client):
    for call in (
        lambda: client.beta.conversations.append(conversation_id="abc#stream", inputs="Hello"),
        lambda: append_stream(client, "abc#stream"),
        lambda: client.beta.conversations.get(conversation_id="abc#stream"),
        lambda: client.models.retrieve(model_id="abc#id"),
    ):
        with pytest.raises(GatewayConfigError, match=r"#"):
            call()
    assert gateway.requests == []


def path_of(server, client, value, **options):
    """Return the path at which a server sees a call, which it refuses."""
    server.responder = lambda _: Reply(404, {})
    with pytest.raises(_sdk.SDKError):
        retrieve(client, value, **options)
    return server.requests.pop().path


def test_ordinary_values_arrive_as_those_of_the_bare_sdk(gateway, sdk):
    bare = _sdk.Mistral(api_key=KEY, server_url=f"{gateway.base_url}/mistral")
    for value in ORDINARY:
        assert path_of(gateway, sdk, value) == path_of(gateway, bare, value)


# ---------------------------------------------------------------- requests that are built already


@pytest.fixture(params=["sync", "async"])
def send(request, client):
    """Send a request as the SDK does, sync and async."""
    configuration = client.sdk_configuration
    if request.param == "sync":
        return configuration.client.send

    def send(built):
        async def call():
            return await configuration.async_client.send(built)

        return asyncio.run(call())

    return send


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}/mistral/v1/../../../../ACC2/gw2/custom-x/f",
        f"{PREFIX}/mistral/v1/../../openai/v1/x",
        f"{PREFIX}/mistral/v1/%2e%2e/%2e%2e/openai/v1/x",
        f"{PREFIX}/mistral/v1/..%2f..%2fopenai/v1/x",
        f"{PREFIX}/mistral/v1/..\\..\\openai",
        f"{PREFIX}/mistral/models",
        f"{PREFIX}/mistral/",
        f"{PREFIX}/compat/chat/completions",
        f"{PREFIX}/openai/v1/x",
        "/v1/ACC2/gw2/mistral/v1/models",
        "/",
    ],
)
def test_a_saved_request_goes_below_the_provider_or_not_at_all(gateway, send, path):
    headers = {"authorization": f"Bearer {KEY}"}
    request = _sdk.httpx.Request("GET", gateway.origin + path, headers=headers)
    with pytest.raises(GatewayConfigError, match=r"not below /v1/acc/gw/mistral/v1/"):
        send(request)
    assert gateway.requests == []


def test_a_saved_request_of_the_sdk_is_sent_again(gateway, client, send):
    saved = []

    class Keep:
        def before_request(self, context, request):
            saved.append(request)
            return request

    client.sdk_configuration.__dict__["_hooks"].register_before_request_hook(Keep())
    client.models.list()
    send(saved[0])
    assert [request.path for request in gateway.requests] == [f"{PREFIX}/mistral/v1/models"] * 2
    assert gateway.requests[0].gateway == gateway.requests[1].gateway


def test_a_request_that_a_hook_replaced_is_checked_too(gateway, client):
    class Replace:
        def before_request(self, context, request):
            return _sdk.httpx.Request("GET", f"{request.url}/../../../openai/v1/x")

    client.sdk_configuration.__dict__["_hooks"].register_before_request_hook(Replace())
    with pytest.raises(GatewayConfigError, match="not below"):
        client.models.list()
    assert gateway.requests == []


# ---------------------------------------------------------------- elsewhere


def test_elsewhere_a_value_is_what_the_bare_sdk_makes_of_it(elsewhere, sdk):
    bare = _sdk.Mistral(api_key=KEY, server_url=elsewhere.origin)
    for value in [*DOTS, *CUTS]:
        routed = path_of(elsewhere, sdk, value, server_url=elsewhere.origin)
        assert routed == path_of(elsewhere, bare, value)


def test_another_gateway_of_the_same_host_is_elsewhere(gateway, sdk, mode):
    mode.chat(sdk, server_url=f"{gateway.origin}/v1/ACC2/gw2/mistral")
    assert gateway.last.path == f"/v1/ACC2/gw2/mistral{CHAT}"
    assert gateway.last.gateway == {}


@pytest.mark.parametrize("provider", ["openai", "mistral2", "compat", "mistral/v1"])
def test_another_provider_of_the_gateway_is_refused(gateway, sdk, provider):
    with pytest.raises(GatewayConfigError):
        SYNC.chat(sdk, server_url=f"{gateway.base_url}/{provider}")
    assert gateway.requests == []


@pytest.mark.parametrize("spelling", ["http://LOCALHOST", "HTTP://localhost"])
def test_the_gateways_address_in_another_spelling_is_checked_as_well(
    gateway, make_settings, spelling
):
    origin = f"http://localhost:{gateway.port}"
    client = make_client(make_settings(base_url=f"{origin}{PREFIX}"))
    spelt = f"{spelling}:{gateway.port}{PREFIX}/mistral"
    SYNC.chat(client, server_url=spelt)
    assert gateway.last.path == f"{PREFIX}/mistral{CHAT}"
    assert "cf-aig-authorization" in gateway.last.gateway
    with pytest.raises(GatewayConfigError, match="file_id"):
        retrieve(client, "../../x", server_url=spelt)
    with pytest.raises(GatewayConfigError, match="dot segment"):
        retrieve(client, "../../x", server_url=f"{spelling}:{gateway.port}/v1/ACC2/gw2/mistral")


def test_the_path_of_a_server_url_with_a_slash_at_its_end_is_the_same(gateway, sdk):
    SYNC.chat(sdk, server_url=f"{gateway.base_url}/mistral/")
    assert gateway.last.path == f"{PREFIX}/mistral{CHAT}"
