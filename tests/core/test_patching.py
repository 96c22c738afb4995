"""`patch()`: clients that others build go through the gateway, and back again without a trace."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from call_modes import ASYNC, SYNC
from http_records import CHAT, KEY, PREFIX, TEXT, TOKEN, completion

from mistral_cf_adapter import GatewayConfigError, _patch, _sdk, make_client, patch, speedups
from mistral_cf_adapter._sdk import Mistral, version
from mistral_cf_adapter._sdk import httpx as sdk_httpx

RELEASE = tuple(int(part) for part in version().split(".")[:2])
DEFAULTS = [
    {},
    {"server_url": None},
    {"server_url": ""},
    {"server_url": "https://api.mistral.ai"},
    {"server_url": "https://api.mistral.ai/"},
    {"server_url": "https://API.Mistral.AI"},
    {"server_url": "https://api.mistral.ai:443"},
    {"server_url": "https://api.mistral.ai."},
    {"server_url": " https://api.mistral.ai"},
    {"server_url": "http://api.mistral.ai"},
]
ELSEWHERE = [
    "http://localhost:8000",
    "http://127.0.0.1:8000/v1",
    "https://llm.internal.example",
    "https://api.mistral.ai.evil.example",
    "https://my-resource.openai.azure.com",
    "https://europe-west4-aiplatform.googleapis.com",
    "https://api.mistral.ai:8443",
    "https://proxy.example/https://api.mistral.ai",
    "https://gateway.ai.cloudflare.com/v1/acc/gw/mistral",
]
REGIONAL = [
    "https://api.eu.mistral.ai",
    "https://api.us.mistral.ai",
    "https://codestral.mistral.ai",
]


@pytest.fixture
def build(ssl_context, async_http):
    """Build a Mistral as somebody else would, cheaply, and be rid of it in the end."""
    opened, built = [], []

    def build(cls=Mistral, **keywords):
        http = sdk_httpx.Client(verify=ssl_context)
        client = cls(**{"api_key": KEY, "client": http, "async_client": async_http, **keywords})
        opened.append(http)
        built.append(weakref.ref(client))
        return client

    yield build
    for http in opened:
        http.close()
    for reference in built:  # its cycles would keep it for patch() to find in another test
        if (client := reference()) is not None:
            vars(client).clear()


@pytest.fixture(autouse=True)
def nothing_stays():
    """No test leaves a trace on the SDK's class."""
    before = Mistral.__init__
    yield
    left = list(_patch._active_patches)
    for handle in left:
        handle.undo()
    after, Mistral.__init__ = Mistral.__init__, before
    assert left == []
    assert after is before


def goes_to_gateway(client, gateway):
    gateway.reset()
    SYNC.chat(client)
    return gateway.last.path == f"{PREFIX}/mistral{CHAT}" and bool(gateway.last.gateway)


def server(client):
    return client.sdk_configuration.get_server_details()[0]


def snapshot(client):
    """Return all that a configuration is, by identity."""
    configuration = client.sdk_configuration
    state = {name: id(value) for name, value in vars(configuration).items()}
    return type(configuration), state


# ---------------------------------------------------------------- all clients


@pytest.mark.parametrize("keywords", DEFAULTS, ids=str)
def test_a_client_built_later_is_redirected_in_every_spelling_of_the_default(
    gateway, settings, build, mode, keywords
):
    with patch(settings=settings):
        client = build(**keywords)
        assert mode.chat(client) == TEXT
    assert gateway.last.path == f"{PREFIX}/mistral{CHAT}"
    assert gateway.last.header("authorization") == f"Bearer {KEY}"
    assert gateway.last.gateway == {"cf-aig-authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("keywords", DEFAULTS, ids=str)
def test_a_client_built_before_is_redirected_and_restored(gateway, settings, build, mode, keywords):
    client = build(**keywords)
    before = snapshot(client)
    with patch(settings=settings):
        assert mode.chat(client) == TEXT
        assert gateway.last.gateway
    assert snapshot(client) == before


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_client_for_another_server_is_left_alone(settings, build, url):
    before = build(server_url=url)
    was = snapshot(before)
    with patch(settings=settings):
        after = build(server_url=url)
        assert snapshot(before) == was
        assert type(after.sdk_configuration) is was[0]
        assert server(after) == url


def test_a_client_without_keywords_builds_no_http_client_of_its_own(gateway, settings, monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    with patch(settings=settings):
        client = Mistral()
        with client:
            assert SYNC.chat(client) == TEXT
    assert gateway.last.header("authorization") == f"Bearer {KEY}"


def test_sub_sdks_that_were_touched_before_are_redirected(gateway, settings, build):
    client = build()
    chat, models = client.chat, client.models
    with patch(settings=settings):
        chat.complete(model="m", messages=[{"role": "user", "content": "x"}])
        models.list()
    assert [request.path for request in gateway.requests] == [
        f"{PREFIX}/mistral{CHAT}",
        f"{PREFIX}/mistral/v1/models",
    ]


class Subclass(Mistral):
    """As an application would: with arguments and work of its own."""

    def __init__(self, name, **keywords):
        self.name = name
        super().__init__(**keywords)
        self.first = self.chat


def test_subclasses_are_redirected_before_and_after(gateway, settings, build):
    class Local(Subclass):
        pass

    def make(**keywords):
        return Local("app", **keywords)

    before = build(make)
    with patch(settings=settings):
        after = build(make)
        assert goes_to_gateway(before, gateway)
        assert goes_to_gateway(after, gateway)
    assert (before.name, after.name) == ("app", "app")


def test_a_client_redirected_before_a_gc_freeze_is_restored_after_it(settings, build):
    client = build()
    with patch(settings=settings):
        gc.freeze()
        try:
            assert server(client) == settings.provider_url
        finally:
            gc.unfreeze()
    assert server(client) == "https://api.mistral.ai"


class Unhashable(Mistral):  # noqa: PLW1641
    """Equality of its own, and so no hash."""

    def __eq__(self, other):
        return True


def test_clients_that_cannot_be_hashed_and_are_equal_are_told_apart(settings, build):
    before = build(Unhashable)
    with patch(settings=settings):
        after = build(Unhashable)
        assert server(before) == server(after) == settings.provider_url
    assert server(before) == server(after) == "https://api.mistral.ai"


def test_an_address_the_owner_sets_while_patched_is_not_lost(settings, build):
    client = build()
    with patch(settings=settings):
        client.sdk_configuration.server_url = "https://llm.example"
    assert server(client) == "https://llm.example"


def test_a_class_imported_by_another_module_is_the_same_class(gateway, settings, build):
    namespace = {}
    exec(f"from {_sdk.ROOT} import Mistral as Imported", namespace)
    with patch(settings=settings):
        assert goes_to_gateway(build(namespace["Imported"]), gateway)


def test_positional_arguments_are_kept(settings):
    with patch(settings=settings):
        client = Mistral(KEY)
        assert server(client) == settings.provider_url


def test_a_wrong_argument_is_still_a_type_error(settings):
    with patch(settings=settings), pytest.raises(TypeError, match="nonsense"):
        Mistral(nonsense=1)


def test_settings_come_from_the_environment(gateway, build, monkeypatch):
    monkeypatch.setenv("CF_AIG_BASE_URL", gateway.base_url)
    monkeypatch.setenv("CF_AIG_TOKEN", TOKEN)
    with patch():
        assert goes_to_gateway(build(), gateway)


def test_without_settings_nothing_is_patched():
    with pytest.raises(GatewayConfigError, match="CLOUDFLARE_ACCOUNT_ID"):
        patch()


def test_clients_of_make_client_keep_their_own_settings(gateway, elsewhere, make_settings):
    own = make_settings(base_url=elsewhere.base_url)
    before = make_client(own)
    with patch(settings=make_settings()):
        after = make_client(own)
        SYNC.chat(before)
        SYNC.chat(after)
    SYNC.chat(before)
    assert gateway.requests == []
    assert len(elsewhere.requests) == 3


def test_stored_keys_keep_the_clients_key_at_home(gateway, make_settings, build, mode):
    with patch(settings=make_settings(byok=True, mistral_api_key=None)):
        mode.chat(build())
    assert gateway.last.header("authorization") is None


def test_a_client_keeps_its_own_key(gateway, make_settings, build, mode):
    with patch(settings=make_settings(mistral_api_key="of-the-settings")):
        mode.chat(build(api_key="its-own"))
        mode.chat(build(api_key=lambda: "asked"))
    keys = [request.header("authorization") for request in gateway.requests]
    assert keys == ["Bearer its-own", "Bearer asked"]


# ---------------------------------------------------------------- back again


def test_after_undo_a_client_goes_to_its_original_host(gateway, settings, build):
    client = build()
    seen = []
    # The host is real: nothing may be sent there.
    client.sdk_configuration.client.send = lambda request, **_: (
        seen.append(request) or _answer(request)
    )
    with patch(settings=settings):
        pass
    SYNC.chat(client)
    assert str(seen[0].url) == f"https://api.mistral.ai{CHAT}"
    assert "cf-aig-authorization" not in seen[0].headers


def _answer(request):
    reply = completion()
    return sdk_httpx.Response(
        200, content=reply.payload, headers=reply.all_headers(), request=request
    )


def test_a_client_built_while_patched_goes_to_mistral_afterwards(settings, build):
    with patch(settings=settings):
        client = build()
    assert server(client) == "https://api.mistral.ai"
    assert type(client.sdk_configuration).__name__ == "SDKConfiguration"
    assert client.sdk_configuration.client.__class__ is sdk_httpx.Client


def test_undo_twice_is_harmless(settings, build):
    handle = patch(settings=settings)
    client = build()
    handle.undo()
    handle.undo()
    assert server(client) == "https://api.mistral.ai"


def test_a_with_block_undoes_also_after_an_exception(settings):
    before = Mistral.__init__
    with pytest.raises(KeyError), patch(settings=settings):
        raise KeyError
    assert Mistral.__init__ is before


def test_patching_twice_is_harmless(gateway, settings, build):
    client = build()
    before = snapshot(client)
    with patch(settings=settings), patch(settings=settings):
        assert goes_to_gateway(client, gateway)
        assert len(gateway.requests) == 1
    assert snapshot(client) == before


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (0, 2, 1)])
def test_nested_handles_undo_in_any_order(make_settings, build, order):
    client = build()
    before = snapshot(client)
    settings = [make_settings(provider=f"custom-{name}") for name in "abc"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handles = [patch(settings=one) for one in settings]
    left = [0, 1, 2]
    later = build()
    for index in order:
        assert server(client) == server(later) == settings[left[-1]].provider_url
        handles[index].undo()
        left.remove(index)
    assert snapshot(client) == before
    assert server(later) == "https://api.mistral.ai"


@pytest.mark.parametrize("first", ["all", "one"])
def test_patching_one_and_patching_all_undo_in_any_order(settings, build, first):
    client = build()
    before = snapshot(client)
    handles = {"all": patch(settings=settings), "one": patch(client, settings=settings)}
    handles.pop(first).undo()
    assert server(client) == settings.provider_url
    handles.popitem()[1].undo()
    assert snapshot(client) == before


def test_patching_with_other_settings_says_what_happens(make_settings):
    first, second = make_settings(), make_settings(provider="custom-eu")
    with patch(settings=first), pytest.warns(UserWarning, match=r"custom-eu.*no longer to"):
        patch(settings=second).undo()


def test_the_warning_about_other_settings_is_not_raised_for_equal_ones(make_settings):
    with patch(settings=make_settings()):
        patch(settings=make_settings()).undo()


@pytest.fixture
def put_on_a_wrapper():
    """Wrap the constructor as another library does; the wrapper notes in `seen` what it builds."""
    original = Mistral.__init__

    def put_on():
        inner = Mistral.__init__

        def theirs(self, *args, **kwargs):
            theirs.seen.append(self)
            inner(self, *args, **kwargs)

        theirs.seen = []
        Mistral.__init__ = theirs
        return theirs

    yield put_on
    Mistral.__init__ = original


def test_a_wrapper_put_on_later_by_another_library_is_left_alone_and_reported(
    gateway, settings, build, put_on_a_wrapper
):
    handle = patch(settings=settings)
    theirs = put_on_a_wrapper()
    with pytest.warns(UserWarning, match="another library"):
        handle.undo()
    assert Mistral.__init__ is theirs
    client = build()
    assert theirs.seen == [client]
    assert server(client) == "https://api.mistral.ai"
    with patch(settings=settings):
        assert goes_to_gateway(build(), gateway)
    assert Mistral.__init__ is theirs


def test_a_wrapper_between_two_patches_is_reported_when_both_are_undone(
    settings, build, put_on_a_wrapper
):
    first = patch(settings=settings)
    theirs = put_on_a_wrapper()
    second = patch(settings=settings)
    first.undo()
    with pytest.warns(UserWarning, match="another library"):
        second.undo()
    assert Mistral.__init__ is theirs
    assert server(build()) == "https://api.mistral.ai"


def test_a_wrapper_put_on_before_by_another_library_stays_in_the_chain(
    gateway, settings, build, put_on_a_wrapper
):
    theirs = put_on_a_wrapper()
    with patch(settings=settings):
        assert goes_to_gateway(client := build(), gateway)
    assert theirs.seen == [client]
    assert Mistral.__init__ is theirs


def test_the_wrapped_constructor_still_looks_like_mistrals(settings):
    before = inspect.signature(Mistral.__init__)
    with patch(settings=settings):
        assert inspect.signature(Mistral.__init__) == before
        assert Mistral.__init__.__doc__


@pytest.mark.parametrize("wanted", ["yes", "no"])
@pytest.mark.parametrize("which", ["all", "one"])
def test_the_speedups_are_there_while_patched_if_they_are_wanted(
    make_settings, build, wanted, which
):
    arguments = {"all": (), "one": (build(),)}[which]
    held = speedups.active()
    with patch(*arguments, settings=make_settings(speedups=wanted)) as handle:
        assert bool(speedups.active()) == (wanted == "yes" or bool(held))
        handle.undo()
        assert speedups.active() == held


# ---------------------------------------------------------------- one client


def test_one_client_is_redirected_and_the_others_are_not(gateway, settings, build):
    one, other = build(), build()
    was = snapshot(other)
    with patch(one, settings=settings):
        assert goes_to_gateway(one, gateway)
        assert snapshot(other) == was
        assert server(build()) == "https://api.mistral.ai"
    assert server(one) == "https://api.mistral.ai"


def test_a_handle_for_one_client_is_a_handle(settings, build):
    client = build()
    handle = patch(client, settings=settings)
    assert server(client) == settings.provider_url
    handle.undo()
    assert server(client) == "https://api.mistral.ai"


@pytest.mark.parametrize("url", ["http://localhost:8000", "https://llm.example"])
def test_one_client_that_points_elsewhere_is_refused_out_loud(settings, build, url):
    client = build(server_url=url)
    was = snapshot(client)
    with pytest.raises(GatewayConfigError, match="stays as it is"):
        patch(client, settings=settings)
    assert snapshot(client) == was


@pytest.mark.parametrize("thing", ["text", 7, object(), sdk_httpx])
def test_what_is_no_client_is_refused(settings, thing):
    with pytest.raises(GatewayConfigError, match=r"takes a mistralai\.Mistral, not"):
        patch(thing, settings=settings)


# ---------------------------------------------------------------- other hosts of Mistral's


@pytest.mark.parametrize("url", REGIONAL)
def test_a_client_in_another_region_stays_there_with_one_warning(settings, build, url):
    handle = patch(settings=settings)
    with pytest.warns(UserWarning, match=r"custom-<slug>") as told:
        clients = [build(server_url=url) for _ in range(3)]
    handle.undo()
    assert len(told) == 1
    assert [server(client) for client in clients] == [url] * 3


@pytest.mark.parametrize("url", REGIONAL)
def test_a_client_alive_in_another_region_stays_there_with_one_warning(settings, build, url):
    clients = [build(server_url=url) for _ in range(3)]
    with pytest.warns(UserWarning, match=r"custom-<slug>") as told:
        patch(settings=settings).undo()
    assert len(told) == 1
    assert [server(client) for client in clients] == [url] * 3


@pytest.mark.parametrize("url", REGIONAL)
def test_a_provider_named_for_the_region_takes_its_clients(
    gateway, make_settings, build, mode, url
):
    host = url.removeprefix("https://")
    settings = make_settings(providers={host: "custom-region"})
    with patch(settings=settings):
        mode.chat(build(server_url=url))
    assert gateway.last.path == f"{PREFIX}/custom-region{CHAT}"


@pytest.mark.skipif(RELEASE < (2, 7), reason="regions came with 2.7")
@pytest.mark.parametrize("name", ["eu", "us"])
def test_a_region_by_name_is_known(settings, make_settings, build, gateway, name):
    with patch(settings=settings), pytest.warns(UserWarning, match=f"api.{name}.mistral.ai"):
        assert server(build(server=name)) == f"https://api.{name}.mistral.ai"
    providers = {f"api.{name}.mistral.ai": "custom-region"}
    with patch(settings=make_settings(providers=providers)):
        assert server(build(server=name)).endswith("/custom-region")


def test_every_server_of_the_sdk_is_known(settings, build):
    for name, address in _sdk.servers().items():
        host = address.removeprefix("https://")
        assert host == "api.mistral.ai" or host in _patch._REGIONAL, name


def test_the_warning_of_a_built_client_points_at_the_callers_own_line(settings, build):
    with patch(settings=settings), pytest.warns(UserWarning, match=r"custom-<slug>") as told:
        client = Mistral(api_key=KEY, server_url=REGIONAL[0])
    vars(client).clear()
    assert told[0].filename == __file__


def test_the_warning_of_patch_points_at_the_callers_own_line(settings, build):
    client = build(server_url=REGIONAL[0])
    with pytest.warns(UserWarning, match=r"custom-<slug>") as told:
        patch(settings=settings).undo()
    assert told[0].filename == __file__
    assert server(client) == REGIONAL[0]


def test_a_patch_that_fails_leaves_nothing_behind(settings, build):
    before, held = Mistral.__init__, speedups.active()
    client, regional = build(), build(server_url=REGIONAL[0])
    # Here it is a warning that has been made an error; any other failure is the same.
    with warnings.catch_warnings(action="error"), pytest.raises(UserWarning):
        patch(settings=settings)
    assert _patch._active_patches == []
    assert speedups.active() == held
    assert Mistral.__init__ is before
    assert [server(client), server(regional)] == ["https://api.mistral.ai", REGIONAL[0]]


# ---------------------------------------------------------------- what the owner does later


def test_a_client_that_its_owner_replaces_goes_through_the_gateway(gateway, settings, build):
    client = build()
    with patch(settings=settings), sdk_httpx.Client(headers={"x-new": "1"}) as http:
        client.sdk_configuration.client = http
        assert goes_to_gateway(client, gateway)
        assert gateway.last.header("x-new") == "1"
    assert client.sdk_configuration.client is http


def test_an_async_client_that_its_owner_replaces_goes_through_the_gateway(
    gateway, settings, build, ssl_context
):
    client = build()

    async def run():
        # As pydantic-ai does whenever the event loop has changed.
        async with sdk_httpx.AsyncClient(verify=ssl_context) as http:
            client.sdk_configuration.async_client = http
            assert await ASYNC.achat(client) == TEXT

    with patch(settings=settings):
        for _ in range(2):
            asyncio.run(run())
    assert [bool(request.gateway) for request in gateway.requests] == [True, True]


def test_a_per_call_server_is_the_way_out(gateway, elsewhere, settings, build, mode):
    with patch(settings=settings):
        mode.chat(build(), server_url=elsewhere.origin)
    assert gateway.requests == []
    assert elsewhere.last.gateway == {}


def test_leaving_a_patched_client_closes_what_it_would_have_closed(settings, ssl_context):
    client = Mistral(api_key=KEY)
    http = client.sdk_configuration.client
    with patch(settings=settings):
        with client:
            pass
        assert http.is_closed
        assert client.sdk_configuration.client is None
    asyncio.run(client.sdk_configuration.async_client.aclose())


def test_a_patched_client_that_is_dropped_is_collected(settings, build):
    with patch(settings=settings):
        gone = weakref.ref(build())
        gc.collect()
        assert gone() is None


def test_a_stream_that_is_open_at_undo_is_read_to_its_end(gateway, settings, build):
    client = build()
    with patch(settings=settings):
        events = client.chat.stream(model="m", messages=[{"role": "user", "content": "x"}])
    with events:
        text = "".join(event.data.choices[0].delta.content for event in events)
    assert text == TEXT


# ---------------------------------------------------------------- threads


def test_clients_built_in_many_threads_are_all_redirected(gateway, settings, build):
    with patch(settings=settings), ThreadPoolExecutor(8) as pool:
        clients = list(pool.map(lambda _: build(), range(40)))
        assert {server(client) for client in clients} == {settings.provider_url}
    assert {server(client) for client in clients} == {"https://api.mistral.ai"}


def test_patching_and_undoing_in_many_threads_leaves_nothing(settings, build):
    client = build()
    before = snapshot(client)
    start = threading.Barrier(6)

    def work(_):
        start.wait(10)
        for _ in range(3):
            with patch(settings=settings):
                assert server(client) == settings.provider_url

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert snapshot(client) == before


# ---------------------------------------------------------------- an SDK that has changed


@pytest.mark.parametrize("call", [lambda s: patch(settings=s), make_client], ids=["patch", "make"])
@pytest.mark.parametrize("seam", ["client", "async_client", "security", "get_server_details"])
def test_an_sdk_whose_seams_have_moved_is_refused_with_those_that_work(
    settings, monkeypatch, call, seam
):
    class Moved:
        client = async_client = server_url = server = security = get_server_details = None

    _sdk.check_sdk.cache_clear()
    delattr_from = {name: value for name, value in vars(Moved).items() if name != seam}
    monkeypatch.setattr(_sdk, "SDKConfiguration", type("SDKConfiguration", (), delattr_from))
    with pytest.raises(GatewayConfigError, match=rf"SDKConfiguration\.{seam}.*1\.9\.11"):
        call(settings)


def test_the_repr_of_a_handle_shows_no_secret(settings, build):
    with patch(settings=settings) as handle:
        client = build()
        assert TOKEN not in repr(handle)
        assert KEY not in f"{handle!r} {client.sdk_configuration!r}"


def test_a_patch_that_is_undone_cannot_be_entered(settings):
    patched = patch(settings=settings)
    patched.undo()
    with pytest.raises(GatewayConfigError, match=r"call patch\(\) again"), patched:
        pass
