"""Under the fixture no client of the SDK reaches another host; the error says how it was built."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from functools import partial

import httpx
import httpx2
import pytest
from call_modes import MODES, SYNC
from http_records import KEY, Reply
from plugin_runs import run_tests

from mistral_cf_adapter import (
    GatewaySettings,
    _attach,
    _http_client,
    _sdk,
    make_client,
    patch,
    speedups,
)
from mistral_cf_adapter.testing import HostNotAllowedError
from mistral_cf_adapter.testing.allowed_hosts import HostGuard

pytest_plugins = ["pytester"]
HERE = "test_fixture_hosts.py"
# It would not be found, so that a test that fails reaches nobody.
ELSEWHERE = "https://api.elsewhere.invalid"


@pytest.fixture
def guard():
    with HostGuard(["allowed.invalid"]) as guard:
        yield guard


def refuse(request):
    pytest.fail(f"a request was sent: {request.url}")


async def refuse_async(request):
    refuse(request)


OWN = {
    "the SDK's": dict,
    "httpx": lambda: {
        "client": httpx.Client(transport=httpx.MockTransport(refuse)),
        "async_client": httpx.AsyncClient(transport=httpx.MockTransport(refuse_async)),
    },
    "httpx2": lambda: {
        "client": httpx2.Client(transport=httpx2.MockTransport(refuse)),
        "async_client": httpx2.AsyncClient(transport=httpx2.MockTransport(refuse_async)),
    },
}


# ---------------------------------------------------------------- a client without a route


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_a_bare_client_is_stopped_before_anything_is_sent(mode, own, when):
    def build():
        return _sdk.Mistral(api_key=KEY, **own())

    client = build() if when == "before" else None
    with HostGuard([]) as guard:
        client = client or build()
        with pytest.raises(HostNotAllowedError) as caught:
            mode.chat(client)
    told = str(caught.value)
    assert told.startswith("A Mistral client with server_url https://api.mistral.ai, built ")
    assert ("before the test" if when == "before" else f"{HERE}:") in told
    assert "would have sent POST https://api.mistral.ai/v1/chat/completions" in told
    assert 'allow_hosts=["api.mistral.ai"]' in told
    assert KEY not in told
    assert guard.refused == [told]


def test_it_says_the_line_that_built_the_client(guard):
    line = sys._getframe().f_lineno + 1
    client = _sdk.Mistral(api_key=KEY, server_url=f"{ELSEWHERE}/v9?key={KEY}")
    with pytest.raises(HostNotAllowedError) as caught:
        client.models.list()
    assert f"server_url {ELSEWHERE}/v9?***, built by " in str(caught.value)
    assert f"{HERE}:{line} without make_client() or patch()" in str(caught.value)
    assert KEY not in str(caught.value)


client_of_this_module = _sdk.Mistral(api_key=KEY)


def test_it_says_the_variable_of_a_client_that_was_there_before(guard):
    with pytest.raises(HostNotAllowedError) as caught:
        SYNC.chat(client_of_this_module)
    name = f"{__name__}.client_of_this_module"
    assert f"built before the test (it is {name}) without" in str(caught.value)


def test_a_hook_that_changes_the_address_is_seen(guard):
    class Elsewhere:
        def before_request(self, context, request):
            request.url = request.url.copy_with(scheme="https", host="api.elsewhere.invalid")
            return request

    client = _sdk.Mistral(api_key=KEY, server_url="http://127.0.0.1:9")
    client.sdk_configuration.__dict__["_hooks"].register_before_request_hook(Elsewhere())
    with pytest.raises(HostNotAllowedError, match=r"api\.elsewhere\.invalid"):
        SYNC.chat(client)


def test_a_redirect_of_a_server_on_this_machine_is_seen(guard, local_gateway, mode):
    own = (_sdk.httpx.AsyncClient if mode.is_async else _sdk.httpx.Client)(follow_redirects=True)
    given = {"async_client" if mode.is_async else "client": own}
    client = _sdk.Mistral(api_key=KEY, server_url=local_gateway.url + "/mistral", **given)
    local_gateway.fault("redirect", to=f"{ELSEWHERE}/v1/chat/completions")

    async def ask_async():
        async with own:
            await mode.achat(client)

    def ask():
        with own:
            mode.chat(client)

    with pytest.raises(HostNotAllowedError, match=rf"POST {ELSEWHERE}/v1"):
        asyncio.run(ask_async()) if mode.is_async else ask()
    assert len(own.event_hooks["request"]) == 1
    guard.__exit__(None, None, None)
    assert own.event_hooks["request"] == []


def test_a_test_may_empty_the_hooks_of_its_own_client(local_gateway):
    url = f"{local_gateway.url}/mistral"
    with _sdk.httpx.Client(follow_redirects=True) as own, HostGuard([]) as guard:
        client = _sdk.Mistral(api_key=local_gateway.mistral_api_key, server_url=url, client=own)
        own.headers["cf-aig-authorization"] = f"Bearer {local_gateway.token}"
        SYNC.chat(client)
        own.event_hooks["request"].clear()
        local_gateway.fault("redirect", to=f"{ELSEWHERE}/v1/chat/completions")
        with pytest.raises(HostNotAllowedError):
            SYNC.chat(client)
        own.event_hooks["request"].clear()
    assert len(guard.refused) == 1
    assert own.event_hooks["request"] == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "ALLOWED.invalid"])
def test_this_machine_and_the_hosts_that_are_allowed_are_reached(guard, mode, host):
    client = _sdk.Mistral(api_key=KEY, server_url=f"http://{host}:9", timeout_ms=5000)
    with pytest.raises(_sdk.httpx.ConnectError):
        mode.chat(client)
    guard.assert_nothing_refused()


def test_a_user_sees_the_client_that_was_given(guard):
    with _sdk.httpx.Client() as own:
        client = _sdk.Mistral(api_key=KEY, client=own)
        assert client.sdk_configuration.client is own
        assert replace(client.sdk_configuration).client is own


# ---------------------------------------------------------------- a client with a route


def test_a_server_of_the_call_is_seen(guard, local_gateway, mode):
    client = make_client(local_gateway.settings())
    with (
        pytest.warns(UserWarning, match="goes past"),
        pytest.raises(HostNotAllowedError) as caught,
    ):
        mode.chat(client, server_url=ELSEWHERE)
    assert str(caught.value).startswith("A client of make_client() or patch(), by server_url= of")
    assert mode.chat(client)


def test_a_redirect_is_seen(guard, local_gateway, mode):
    client = make_client(local_gateway.settings())
    local_gateway.fault("redirect", to=f"{ELSEWHERE}/v1/chat/completions")
    with pytest.raises(HostNotAllowedError, match=r"POST https://api\.elsewhere\.invalid/"):
        mode.chat(client)


def test_a_client_that_patch_leaves_alone_is_seen(guard, local_gateway):
    with patch(settings=local_gateway.settings()):
        client = _sdk.Mistral(api_key=KEY, server_url=ELSEWHERE)
        with pytest.raises(HostNotAllowedError, match=rf"built by \S*{HERE}:\d+ without"):
            SYNC.chat(client)


def test_a_connection_of_the_sdks_own_is_seen(guard):
    ask = {"__name__": "mistralai.extra.realtime.transcription"}
    exec("def ask(configuration): return configuration.get_server_details()", ask)
    with pytest.raises(HostNotAllowedError, match=r"GET https://api\.mistral\.ai"):
        ask["ask"](_sdk.Mistral(api_key=KEY).sdk_configuration)
    settings = GatewaySettings(
        base_url="http://127.0.0.1:9/v1/a/g", token="t" * 20, mistral_api_key=KEY,
        unsupported="direct",
    )  # fmt: skip
    with pytest.warns(UserWarning, match="directly"), pytest.raises(HostNotAllowedError):
        ask["ask"](make_client(settings).sdk_configuration)


# ---------------------------------------------------------------- WebSockets


def realtime_calls():
    """Return the calls of the installed SDK that open a WebSocket."""
    audio = client_of_this_module.audio  # one that is dropped here is collected in another test
    return [name for name in ("realtime", "realtime_speech") if hasattr(audio, name)]


def dial(client, name, url):
    return asyncio.run(getattr(client.audio, name).connect(model="m", server_url=url))


def refusal_of(call):
    """Return the guard's error that is the cause of the SDK's."""
    with pytest.raises(Exception, match="nothing was sent") as caught:
        call()
    assert isinstance(caught.value.__cause__, HostNotAllowedError)
    return str(caught.value.__cause__)


CLIENTS = {
    "bare": lambda gateway: _sdk.Mistral(api_key=KEY, server_url=gateway.url),
    "made": lambda gateway: make_client(gateway.settings()),
}


@pytest.mark.parametrize("built", CLIENTS)
@pytest.mark.parametrize("name", realtime_calls())
def test_a_server_of_a_call_that_opens_a_websocket_is_seen(guard, local_gateway, name, built):
    client = CLIENTS[built](local_gateway)
    told = refusal_of(lambda: dial(client, name, ELSEWHERE))
    assert "would have sent GET wss://api.elsewhere.invalid/v1/audio/" in told
    by = {
        "bare": f"built by {HERE}",
        "made": "A client of make_client() or patch(), by server_url=",
    }
    assert by[built].partition(HERE)[0] in told
    assert KEY not in told
    assert guard.refused == [told]


@pytest.mark.parametrize("name", realtime_calls())
def test_a_redirect_of_a_websocket_is_seen(guard, elsewhere, name):
    moved = {"location": ELSEWHERE.replace("https", "wss")}
    elsewhere.responder = lambda _: Reply(302, b"", moved)
    client = _sdk.Mistral(api_key=KEY)
    told = refusal_of(lambda: dial(client, name, elsewhere.origin))
    assert "would have sent GET wss://api.elsewhere.invalid" in told
    assert len(elsewhere.requests) == 1


@pytest.mark.parametrize("name", realtime_calls())
def test_a_websocket_to_this_machine_is_opened(guard, elsewhere, name):
    elsewhere.responder = lambda _: Reply(403, {"detail": "no"})
    with pytest.raises(Exception, match="403"):
        dial(_sdk.Mistral(api_key=KEY), name, elsewhere.origin)
    guard.assert_nothing_refused()


async def test_a_websocket_that_is_not_the_sdks_is_left_alone(guard):
    client = pytest.importorskip("websockets.asyncio.client")
    with pytest.raises(OSError):
        await client.connect("ws://elsewhere.invalid:9", proxy=None)
    guard.assert_nothing_refused()


# ---------------------------------------------------------------- afterwards


def test_nothing_is_left_behind():
    connect = getattr(sys.modules.get("websockets.asyncio.client"), "connect", None)

    def found():
        places = [(cls, vars(cls)) for cls in _sdk.configuration_classes()]
        names = ("client", "async_client", "get_server_details")
        values = [(cls, name, held.get(name)) for cls, held in places for name in names]
        sender = _http_client._BaseGatewayClient._get_sender
        own = vars(connect) if connect else {}
        dials = [own.get("__init__"), own.get("process_redirect")]
        return [*values, _attach._url_for_unrouted, sender, *dials]

    before = found()
    with HostGuard([]):
        built = _sdk.Mistral(api_key=KEY, server_url="http://127.0.0.1:9")
        assert found() != before
    assert found() == before
    assert isinstance(built.sdk_configuration.client, _sdk.httpx.Client)
    with pytest.raises(_sdk.httpx.ConnectError):
        SYNC.chat(built)


def test_speedups_are_the_same_below_it(local_gateway):
    settings = local_gateway.settings()
    with patch(settings=settings):
        without = speedups.active()
    with HostGuard([]), patch(settings=settings):
        assert speedups.active() == without


# ---------------------------------------------------------------- the fixture

BARE = """
    import pytest
    from mistral_cf_adapter._sdk import Mistral

    def ask():
        messages = [{"role": "user", "content": "Hello"}]
        client = Mistral(api_key="the-key-of-a-test", server_url="https://api.elsewhere.invalid",
                         timeout_ms=5000)
        return client.chat.complete(model="m", messages=messages)
"""


@pytest.fixture
def run(pytester, pytestconfig):
    return partial(run_tests, pytester, pytestconfig)


def test_the_fixture_stops_a_bare_client(run):
    result = run(BARE + "\n    def test_it(cf_gateway):\n        ask()\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*HostNotAllowedError: A Mistral client with server_url *, built by test_*.py:*"]
    )
    assert "the-key-of-a-test" not in result.stdout.str().replace(BARE, "").split("Error:")[-1]


def test_an_application_that_swallows_the_error_fails_the_test(run):
    result = run(
        BARE
        + """
    def test_it(cf_gateway):
        try:
            ask()
        except Exception:
            pass
    """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["1 request(s) to other hosts were refused:"])


@pytest.mark.parametrize(
    ("ini", "marker"),
    [
        ("cf_gateway_allow_hosts = api.elsewhere.invalid", ""),
        ("", "@pytest.mark.cf_gateway(allow_hosts=['api.elsewhere.invalid'])"),
    ],
)
def test_who_wants_a_host_can_have_it(run, ini, marker):
    result = run(
        BARE
        + f"""
    {marker}
    def test_it(cf_gateway):
        with pytest.raises(Exception) as caught:
            ask()
        assert "Connect" in type(caught.value).__name__

    def test_without_the_fixture():
        with pytest.raises(Exception) as caught:
            ask()
        assert "Connect" in type(caught.value).__name__
    """,
        ini=ini,
    )
    result.assert_outcomes(passed=2)


async def test_tasks_are_stopped_too(guard):
    client = _sdk.Mistral(api_key=KEY)
    calls = [MODES[1].achat(client) for _ in range(5)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(one) for one in found} == {HostNotAllowedError}
    with pytest.raises(AssertionError, match=r"5 request\(s\) to other hosts"):
        guard.assert_nothing_refused()
