"""Many threads on one client, on two, and on one that is patched and unpatched meanwhile."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter

import pytest
from call_modes import MODES, SYNC
from http_records import (
    CHAT,
    KEY,
    PREFIX,
    TEXT,
    TOKEN,
    RecordingServer,
    completion,
    stream,
)

from mistral_cf_adapter import (
    GatewaySettings,
    _attach,
    capture,
    gateway_headers,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._sdk import Mistral, httpx

THREADS = 64
CALLS = 3


@pytest.fixture(autouse=True)
def _switch_often():
    """Give the races of this file a chance: threads take turns a hundred times as often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def _echo(gateway, elsewhere):
    for server in (gateway, elsewhere):
        server.responder = echo


def echo(request):
    return (stream if request.json.get("stream") else completion)(question_of(request))


def question_of(request) -> str:
    return request.json["messages"][0]["content"]


def in_threads(count, work):
    """Call `work(n)` in as many threads, all let go at once; raise what any of them raised."""
    start, failures = threading.Barrier(count), []

    def run(n):
        start.wait()
        try:
            work(n)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def settings_for(server, name, **values):
    return GatewaySettings(
        base_url=server.base_url, token=f"token-{name}", mistral_api_key=f"key-{name}", **values
    )


def test_many_threads_on_one_client_get_each_their_own_answer(gateway, client):
    def work(n):
        for call in range(CALLS):
            assert SYNC.chat(client, f"{n}-{call}") == f"{n}-{call}"

    in_threads(THREADS, work)
    assert Counter(map(question_of, gateway.requests)) == Counter(
        f"{n}-{call}" for n in range(THREADS) for call in range(CALLS)
    )


def test_all_ways_of_calling_at_once_on_one_client(client):
    def work(n):
        assert MODES[n % 4].chat(client, f"question {n}") == f"question {n}"

    in_threads(40, work)


def test_the_first_calls_of_a_process_race_for_one_pool(gateway, settings):
    """Whatever is built lazily is built by threads that all come first."""

    def work(n):
        assert SYNC.chat(make_client(settings), f"{n}") == f"{n}"

    in_threads(50, work)


def test_two_clients_with_different_settings_are_never_mixed(gateway, elsewhere):
    clients = {
        "one": make_client(settings_for(gateway, "one", metadata={"app": "one"}, cache_ttl=60)),
        "two": make_client(settings_for(elsewhere, "two", provider="custom-two", event_id="e")),
    }

    def work(n):
        for name in ("one", "two") * CALLS:
            assert SYNC.chat(clients[name], name) == name

    in_threads(THREADS // 2, work)
    assert {as_sent(request) for request in gateway.requests} == {
        ("one", "mistral", "key-one", "token-one", '{"app":"one"}', "60", None)
    }
    assert {as_sent(request) for request in elsewhere.requests} == {
        ("two", "custom-two", "key-two", "token-two", None, None, "e")
    }


def as_sent(request):
    headers = ("cf-aig-metadata", "cf-aig-cache-ttl", "cf-aig-event-id")
    return (
        question_of(request),
        request.path.removeprefix(f"{PREFIX}/").partition("/")[0],
        request.header("authorization").removeprefix("Bearer "),
        request.header("cf-aig-authorization").removeprefix("Bearer "),
        *map(request.header, headers),
    )


def test_two_clients_that_share_a_pool_keep_their_credentials(gateway):
    clients = [make_client(settings_for(gateway, name)) for name in "abcd"]

    def work(n):
        SYNC.chat(clients[n % 4], "abcd"[n % 4])

    in_threads(THREADS, work)
    sent = {(question_of(r), r.header("authorization")[-1]) for r in gateway.requests}
    assert sent == {(name, name) for name in "abcd"}


def test_options_of_each_thread_are_its_own(gateway, client):
    def work(n):
        with gateway_options(event_id=f"block {n}"), capture() as calls:
            SYNC.chat(client, f"{n}")
            SYNC.chat(client, f"{n}", http_headers=gateway_headers(cache_key=f"key {n}"))
        assert len(calls) == 2

    in_threads(THREADS, work)
    for request in gateway.requests:
        assert request.header("cf-aig-event-id") == f"block {question_of(request)}"
        assert request.header("cf-aig-cache-key") in (None, f"key {question_of(request)}")


# ---------------------------------------------------------------- patch() while calls go on


class Switchboard(httpx.BaseTransport):
    """Stands for api.mistral.ai, and hands on what is for the gateway."""

    def __init__(self):
        self.direct = []
        self.through = httpx.HTTPTransport()

    def handle_request(self, request):
        if request.url.host != "api.mistral.ai":
            return self.through.handle_request(request)
        self.direct.append(request)
        question = json.loads(request.read())["messages"][0]["content"]
        return httpx.Response(200, json=completion(question).body, request=request)

    def close(self):
        self.through.close()


@pytest.fixture
def mistral(async_http):
    board = Switchboard()
    with httpx.Client(transport=board) as http:
        board.client = Mistral(api_key=KEY, client=http, async_client=async_http)
        yield board


def test_patch_and_undo_race_with_calls_and_no_token_goes_to_mistral(gateway, mistral, settings):
    over = threading.Event()

    def work(n):
        if n == 0:
            for _ in range(50):
                with patch(mistral.client, settings=settings):
                    pass
            over.set()
        while not over.is_set():
            assert SYNC.chat(mistral.client, f"{n}") == f"{n}"

    in_threads(8, work)
    assert SYNC.chat(mistral.client, "last") == "last"
    for request in mistral.direct:
        assert request.url.path == CHAT
        assert not [name for name in request.headers if name.startswith("cf-aig-")]
    for request in gateway.requests:
        assert request.path == f"{PREFIX}/mistral{CHAT}"
        # A call that is sent after undo() to the address it was given before has no token.
        assert request.header("cf-aig-authorization") in (f"Bearer {TOKEN}", None)
    assert question_of_direct(mistral.direct[-1]) == "last"


@pytest.mark.parametrize("name", ["client", "async_client", "security"])
def test_an_undo_while_the_sdk_reads_its_configuration_breaks_no_call(mistral, settings, name):
    configuration = mistral.client.sdk_configuration
    with patch(mistral.client, settings=settings):
        state = _attach._get_state(configuration)
        current, reads = state.current, []

        class UndoneMeanwhile(type(state)):
            __slots__ = ()  # else a state cannot become one

            @property
            def current(self):
                reads.append(self)
                return current if len(reads) == 1 else None

            @current.setter
            def current(self, value):
                """Take what `undo()` sets."""

        del state.current
        state.__class__ = UndoneMeanwhile
        assert getattr(configuration, name) is not None
        assert len(reads) == 1


def question_of_direct(request):
    return json.loads(request.content)["messages"][0]["content"]


def test_patches_of_many_threads_leave_a_client_as_it_was(gateway, mistral, settings):
    before = dict(vars(mistral.client.sdk_configuration))

    def work(n):
        for _ in range(5):
            patch(mistral.client, settings=settings).undo()

    in_threads(20, work)
    configuration = mistral.client.sdk_configuration
    assert vars(configuration) == before
    assert type(configuration).__name__ == "SDKConfiguration"


def test_clients_built_while_patches_come_and_go_are_all_left_as_they_are_without(
    mistral, async_http, settings
):
    built, http = [], mistral.client.sdk_configuration.client

    def work(n):
        for _ in range(5):
            if n % 2:
                with patch(settings=settings):
                    pass
            else:
                built.append(Mistral(api_key=KEY, client=http, async_client=async_http))

    original = Mistral.__init__
    in_threads(8, work)
    assert Mistral.__init__ is original
    assert {type(sdk.sdk_configuration).__name__ for sdk in built} == {"SDKConfiguration"}
    assert {sdk.sdk_configuration.server_url or "" for sdk in built} == {""}


def test_two_patches_with_different_settings_are_never_mixed(gateway, elsewhere, mistral):
    one, two = settings_for(gateway, "one"), settings_for(elsewhere, "two")
    over = threading.Event()

    def work(n):
        if n < 2:
            for _ in range(30):
                patch(mistral.client, settings=(one, two)[n]).undo()
            over.set()
        while not over.is_set():
            assert SYNC.chat(mistral.client, TEXT) == TEXT

    in_threads(6, work)
    for server, token in ((gateway, "token-one"), (elsewhere, "token-two")):
        sent = {request.header("cf-aig-authorization") for request in server.requests}
        assert sent <= {f"Bearer {token}", None}


def test_a_server_that_is_busy_is_asked_by_each_thread_in_its_turn(settings):
    with RecordingServer() as server:
        server.responder = echo
        client = make_client(settings_for(server, "one", max_connections=2))

        def work(n):
            assert SYNC.chat(client, f"{n}") == f"{n}"

        in_threads(50, work)
        assert server.connections <= 2
