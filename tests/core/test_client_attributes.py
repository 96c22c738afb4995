"""The SDK's HTTP client can be read, set and instrumented as with the bare SDK."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect

import pytest
from built_clients import BARE, BEFORE, LATER, OWN, SHARED, built
from http_records import KEY, PREFIX, Reply

from mistral_cf_adapter import _sdk, make_client, patch
from mistral_cf_adapter._sdk import httpx

WAYS = [SHARED, BEFORE, OWN, LATER]
CALLS = ["sync", "async"]


def http_of(client, calls):
    configuration = client.sdk_configuration
    return configuration.client if calls == "sync" else configuration.async_client


def call(client, calls):
    """Make a call; return what became of it."""
    try:
        if calls == "sync":
            client.models.list()
        else:
            asyncio.run(client.models.list_async())
    except Exception as error:
        return type(error).__name__
    return "done"


def arrived(gateway):
    """Return what arrived, without what is the gateway's own."""
    return [
        (
            request.method,
            request.path,
            sorted(
                (name.lower(), value)
                for name, value in request.headers
                if not name.lower().startswith("cf-aig-")
            ),
        )
        for request in gateway.requests
    ]


def outcome(way, calls, gateway, make_settings, action, responder=None):
    """Return all that can be seen of a call of a client after an action on its HTTP client."""
    gateway.reset()
    gateway.responder = responder
    with built(way, gateway, make_settings) as client:
        seen = action(http_of(client, calls))
        done = call(client, calls)
        return done, seen, arrived(gateway)


def assert_as_bare(way, calls, gateway, make_settings, action, responder=None):
    bare = outcome(BARE, calls, gateway, make_settings, action, responder)
    assert outcome(way, calls, gateway, make_settings, action, responder) == bare
    return bare


both_calls = pytest.mark.parametrize("calls", CALLS)
all_ways = pytest.mark.parametrize("way", WAYS)

# ---------------------------------------------------------------- reading

READS = [
    *("headers", "timeout", "cookies", "params", "event_hooks", "is_closed", "auth", "base_url"),
    *("trust_env", "follow_redirects", "max_redirects", "_mounts"),
]


@both_calls
@all_ways
@pytest.mark.parametrize("name", READS)
def test_what_is_read_is_as_with_the_bare_sdk(way, calls, gateway, make_settings, name):
    def read(http):
        return repr(getattr(http, name))

    assert_as_bare(way, calls, gateway, make_settings, read)


@both_calls
@all_ways
def test_an_instance_of_the_http_librarys_class(way, calls, gateway, make_settings):
    kind, other = httpx.Client, httpx.AsyncClient
    if calls == "async":
        kind, other = other, kind
    with built(way, gateway, make_settings) as client:
        http = http_of(client, calls)
        assert isinstance(http, kind)
        assert not isinstance(http, other)
        assert not hasattr(http, "no_such_attribute")
        with pytest.raises(AttributeError, match="no_such_attribute"):
            http.no_such_attribute  # noqa: B018


@both_calls
@all_ways
def test_other_requests_can_be_sent(way, calls, gateway, make_settings):
    def get(http):
        done = http.get(f"{gateway.origin}/other", headers={"X": "1"})
        if inspect.isawaitable(done):
            done = asyncio.run(done)
        return done.status_code

    with built(way, gateway, make_settings) as client:
        assert get(http_of(client, calls)) == 200
    assert gateway.last.path == "/other"
    assert gateway.last.header("cf-aig-authorization") is None


@both_calls
@all_ways
def test_what_is_set_can_be_read(way, calls, gateway, make_settings):
    with built(way, gateway, make_settings) as client:
        http = http_of(client, calls)
        http.timeout = 3.0
        http.no_name_of_the_library = 1
        assert http.timeout == httpx.Timeout(3.0)
        assert http_of(client, calls).timeout == httpx.Timeout(3.0)
        assert http_of(client, calls).no_name_of_the_library == 1
        del http.no_name_of_the_library
        assert not hasattr(http, "no_name_of_the_library")


# ---------------------------------------------------------------- setting

ACTIONS = {
    "headers[...]": lambda http: http.headers.__setitem__("X-One", "1"),
    "headers": lambda http: setattr(http, "headers", {"X-All": "1"}),
    "auth": lambda http: setattr(http, "auth", ("user", "password")),
    "cookies": lambda http: setattr(http, "cookies", {"c": "1"}),
    "cookies.set": lambda http: http.cookies.set("c", "1"),
    "params": lambda http: setattr(http, "params", {"q": "1"}),
    "nothing": lambda http: None,
}


@both_calls
@all_ways
@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_what_is_set_takes_effect(way, calls, gateway, make_settings, action):
    bare = assert_as_bare(way, calls, gateway, make_settings, action)
    assert bare[0] == "done"


def to_itself(request):
    """Redirect without an end."""
    return Reply.redirect(request.path)


REDIRECTS = {
    "follow_redirects=False": ("follow_redirects", False),
    "follow_redirects=True": ("follow_redirects", True),
    "max_redirects=1": ("max_redirects", 1),
    "max_redirects=30": ("max_redirects", 30),
}


@both_calls
@all_ways
@pytest.mark.parametrize("change", REDIRECTS.values(), ids=REDIRECTS)
def test_redirects_are_followed_as_the_client_says(way, calls, gateway, make_settings, change):
    def action(http):
        setattr(http, *change)

    bare = assert_as_bare(way, calls, gateway, make_settings, action, to_itself)
    expected = {"follow_redirects": 21 if change[1] else 1, "max_redirects": change[1] + 1}
    assert len(bare[2]) == expected[change[0]]


@all_ways
def test_redirects_can_be_switched_between_two_calls(way, gateway, make_settings):
    gateway.responder = to_itself
    counts = []
    with built(way, gateway, make_settings) as client:
        for value in (False, True, False):
            client.sdk_configuration.client.follow_redirects = value
            gateway.requests.clear()
            call(client, "sync")
            counts.append(len(gateway.requests))
    assert counts == [1, 21, 1]


@both_calls
@all_ways
def test_one_send_can_differ_from_the_client(way, calls, gateway, make_settings):
    for value, count in ((False, 1), (True, 21)):
        gateway.reset()
        gateway.responder = to_itself
        with built(way, gateway, make_settings) as client:
            http = http_of(client, calls)
            http.follow_redirects = not value
            url = f"{client.sdk_configuration.get_server_details()[0]}/v1/models"
            sent = http.build_request("GET", url, headers={"Authorization": f"Bearer {KEY}"})
            with contextlib.suppress(httpx.TooManyRedirects):
                if calls == "sync":
                    http.send(sent, follow_redirects=value)
                else:
                    asyncio.run(http.send(sent, follow_redirects=value))
        assert len(gateway.requests) == count


def _hook(seen, calls):
    def note(thing):
        seen.append(getattr(thing, "status_code", None) or thing.method)

    async def note_async(thing):
        note(thing)

    return note if calls == "sync" else note_async


@both_calls
@all_ways
@pytest.mark.parametrize("how", ["set", "append"])
def test_event_hooks_are_called(way, calls, gateway, make_settings, how):
    seen = []
    hook = _hook(seen, calls)

    def action(http):
        if how == "set":
            http.event_hooks = {"request": [hook], "response": [hook]}
        else:
            http.event_hooks["request"].append(hook)
            http.event_hooks["response"].append(hook)

    assert_as_bare(way, calls, gateway, make_settings, action)
    assert seen == ["GET", 200] * 2


class Counting(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport around another one, as tools put it in."""

    def __init__(self, inner):
        self.inner = inner
        self.requests = []

    def handle_request(self, request):
        self.requests.append(request.url.path)
        return self.inner.handle_request(request)

    async def handle_async_request(self, request):
        self.requests.append(request.url.path)
        return await self.inner.handle_async_request(request)


@both_calls
@all_ways
def test_a_transport_that_is_put_in_is_used(way, calls, gateway, make_settings):
    counting = []

    def action(http):
        http._transport = Counting(http._transport)
        counting.append(http._transport)

    assert_as_bare(way, calls, gateway, make_settings, action)
    assert counting[0].requests == counting[1].requests == [f"{PREFIX}/mistral/v1/models"]


def _instrument(http, seen):
    """Do as `HTTPXClientInstrumentor.instrument_client()` does."""
    transport = http._transport
    name = "handle_request" if hasattr(transport, "handle_request") else "handle_async_request"
    original = getattr(transport, name)

    def traced(request):
        seen.append(request.method)
        return original(request)

    setattr(transport, name, traced)
    assert list(http._mounts.values()) == []
    http._is_instrumented = True


@both_calls
@all_ways
def test_a_client_can_be_instrumented(way, calls, gateway, make_settings):
    seen = []
    assert_as_bare(way, calls, gateway, make_settings, lambda http: _instrument(http, seen))
    assert seen == ["GET", "GET"]
    with built(way, gateway, make_settings) as client:
        _instrument(http_of(client, calls), seen)
        assert http_of(client, calls)._is_instrumented


@both_calls
@all_ways
def test_opentelemetrys_instrumentor(way, calls, gateway, make_settings):
    module = pytest.importorskip("opentelemetry.instrumentation.httpx")
    with built(way, gateway, make_settings) as client:
        module.HTTPXClientInstrumentor.instrument_client(http_of(client, calls))
        assert call(client, calls) == "done"
        module.HTTPXClientInstrumentor.uninstrument_client(http_of(client, calls))
        assert call(client, calls) == "done"


@both_calls
@all_ways
def test_send_can_be_wrapped(way, calls, gateway, make_settings):
    """As the SDK's own tracing of 3.x does."""
    seen = []

    def action(http):
        original = http.send

        def send(request, **asked):
            seen.append(request.method)
            return original(request, **asked)

        http.send = send

    assert_as_bare(way, calls, gateway, make_settings, action)
    assert seen == ["GET", "GET"]


@both_calls
@pytest.mark.parametrize("way", [SHARED, BEFORE])
def test_what_is_set_is_of_one_client_alone(way, calls, gateway, make_settings):
    with built(way, gateway, make_settings) as client:
        http_of(client, calls).headers["X-One"] = "1"
        with built(way, gateway, make_settings) as other:
            assert call(other, calls) == "done"
            assert gateway.last.header("x-one") is None
        assert call(client, calls) == "done"
        assert gateway.last.header("x-one") == "1"


def test_connections_stay_shared(gateway, make_settings):
    settings = make_settings()
    first, second = make_client(settings), make_client(settings)
    first.sdk_configuration.client.headers["X-One"] = "1"
    for client in (first, second, first):
        client.models.list()
    assert len({request.peer for request in gateway.requests}) == 1


def test_a_stream_goes_through_a_client_that_was_changed(gateway, make_settings, mode):
    client = make_client(make_settings())
    http_of(client, "async" if mode.is_async else "sync").headers["X-One"] = "1"
    assert mode.chat(client) == "Bonjour"
    assert gateway.last.header("x-one") == "1"
    assert gateway.last.header("cf-aig-authorization")


def test_what_was_set_under_a_patch_stays(gateway, make_settings):
    client = _sdk.Mistral(api_key=KEY)
    with patch(client, settings=make_settings(mistral_api_key=None)):
        client.sdk_configuration.client.headers["X-One"] = "1"
    assert client.sdk_configuration.client.headers["X-One"] == "1"
    with patch(client, settings=make_settings(mistral_api_key=None)):
        client.models.list()
    assert gateway.last.header("x-one") == "1"


def test_a_name_of_the_bare_sdk_is_read_behind_a_client_that_was_patched_once(
    gateway, make_settings
):
    with patch(settings=make_settings()):
        client = _sdk.Mistral(api_key=KEY)
    assert isinstance(client.sdk_configuration.client, httpx.Client)
    client.sdk_configuration.client.headers["X-One"] = "1"
    client.models.list(server_url=gateway.origin)
    assert gateway.last.header("x-one") == "1"


# ---------------------------------------------------------------- copies, closing


@pytest.mark.parametrize("way", [SHARED, BEFORE])
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copy_keeps_what_was_set(way, gateway, make_settings, make):
    with built(way, gateway, make_settings) as client:
        client.sdk_configuration.client.headers["X-One"] = "1"
        configuration = make(client.sdk_configuration)
        assert configuration.client.headers["X-One"] == "1"


@pytest.mark.parametrize("way", [SHARED, OWN])
def test_a_client_can_be_entered_and_closed(way, gateway, make_settings):
    with built(way, gateway, make_settings) as client:
        http = client.sdk_configuration.client
        with http as entered:
            assert entered is http
            assert call(client, "sync") == "done"
        assert http.is_closed

        async def enter():
            async with client.sdk_configuration.async_client as entered:
                assert not entered.is_closed
                await client.models.list_async()
            assert client.sdk_configuration.async_client.is_closed

        asyncio.run(enter())


def test_a_client_that_nobody_looks_at_costs_nothing(gateway, make_settings):
    client = make_client(make_settings())
    client.models.list()
    repr(client.sdk_configuration.client)
    hasattr(client.sdk_configuration.client, "_a_mark_of_some_tool")
    client.sdk_configuration.client._a_mark_of_some_tool = True
    client.models.list()
    assert client.sdk_configuration.client.inner._own is None
