"""What a caller drops is freed at once: nothing of ours waits for the collector of cycles."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import tracemalloc
from weakref import ref

import pytest
from call_modes import MODES
from client_ways import settings_for
from cycles import in_cycles, no_collector
from fault_scripts import (
    CHUNKED,
    DONE,
    EVENTS,
    FAULTS,
    JSON,
    SSE,
    chunked,
    either,
    envelope,
    good,
    head,
    http,
    says,
    streams,
)
from fault_server import FaultServer
from http_records import KEY, TOKEN

from mistral_cf_adapter import GatewaySettings, _pool, _sdk, make_client, patch
from mistral_cf_adapter._attach import _get_state

ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
RESPONSES = {
    **FAULTS,
    "good": good,
    "retryable": says(http(429, envelope(2003), JSON)),
    "not UTF-8": either(good, streams(EVENTS[0], b"data: \xff\n\n", DONE)),
}


def unfinished(wire, _request):
    """Begin a stream, and say no more."""
    wire.send(head(200, SSE, CHUNKED) + b"".join(chunked(EVENTS[0])))
    wire.until_gone()


@pytest.fixture(params=["make_client", "patch"])
def build(request):
    """Build a client of a server, in either way."""

    def build(server, **values):
        settings = settings_for(server, **values)
        if request.param == "make_client":
            return make_client(settings)
        patches.enter_context(patch(settings=settings))
        return _sdk.Mistral(api_key=KEY)

    with contextlib.ExitStack() as patches:
        yield build


# ---------------------------------------------------------------- no cycle of ours


@pytest.mark.parametrize("response", RESPONSES)
def test_a_call_leaves_no_cycle_of_ours(build, response, mode):
    async def acall():
        with contextlib.suppress(Exception):  # here: asyncio keeps an error that it raises
            await mode.achat(client)

    def call():
        if mode.is_async:
            asyncio.run(acall())
            return
        with contextlib.suppress(Exception):
            mode.chat(client)

    with FaultServer(RESPONSES[response]) as server:
        client = build(server)
        call()  # what is made once, such as classes, is not what is looked for
        assert in_cycles(call) == []


@pytest.mark.parametrize("leave", ["break", "not begun", "exception"])
@pytest.mark.parametrize("play", [good, unfinished], ids=["whole", "unfinished"])
def test_a_stream_that_is_left_leaves_no_cycle_of_ours(build, play, leave):
    def call():
        events = client.chat.stream(**ASK)
        if leave == "not begun":
            return
        with contextlib.suppress(LookupError):
            for _ in events:
                if leave == "break":
                    break
                raise LookupError

    async def acall():
        events = await client.chat.stream_async(**ASK)
        if leave == "not begun":
            return
        with contextlib.suppress(LookupError):
            async for _ in events:
                if leave == "break":
                    break
                raise LookupError

    with FaultServer(play) as server:
        client = build(server)
        call()
        asyncio.run(acall())
        assert in_cycles(call) == []
        assert in_cycles(lambda: asyncio.run(acall())) == []


def test_a_call_that_is_refused_before_it_is_sent_leaves_no_cycle_of_ours(gateway):
    def call():
        with contextlib.suppress(Exception):
            client.chat.complete(**ASK)
        with contextlib.suppress(Exception):
            client.chat.complete(**ASK, http_headers={"x": "\u2603"})
        with contextlib.suppress(Exception):
            make_client(GatewaySettings(base_url=gateway.base_url), nonsense=1)
        with contextlib.suppress(Exception):
            GatewaySettings(base_url="nonsense", token=TOKEN)

    client = make_client(GatewaySettings(base_url=gateway.base_url, token=TOKEN))
    call()
    assert in_cycles(call) == []


def test_a_client_leaves_no_cycle_of_ours(build, gateway):
    def make():
        client = build(gateway)
        client.chat.complete(**ASK)
        asyncio.run(client.chat.complete_async(**ASK))

    make()
    assert in_cycles(make) == []


def test_patches_leave_no_cycle_of_ours(settings):
    def patched():
        made = patch(settings=settings)
        client = _sdk.Mistral(api_key=KEY)
        assert client.sdk_configuration.client is not None
        patch(client, settings=settings)
        made.undo()

    patched()
    assert in_cycles(patched) == []


# ---------------------------------------------------------------- freed with the last reference


def broken_up(client):
    """Drop the references to itself that the SDK gives a client."""
    for part in (client, *vars(client).values()):
        if getattr(part, "parent_ref", None) is client:
            part.parent_ref = None


def test_a_client_is_freed_where_the_sdk_lets_go_of_it(build, gateway):
    """The SDK's clients refer to themselves: below that cycle nothing of ours holds on."""
    with no_collector():
        client = build(gateway)
        client.chat.complete(**ASK)
        configuration = client.sdk_configuration
        parts = [client, configuration, _get_state(configuration), configuration.client]
        kept = [ref(part) for part in parts if part is not None]
        assert len(kept) == 4
        broken_up(client)
        del client, configuration, parts
        assert [it() for it in kept] == [None] * 4


def test_fifty_clients_are_gone_after_one_collection(build, gateway):
    kept = []
    for _ in range(50):
        client = build(gateway)
        client.chat.complete(**ASK)
        kept.append(ref(client.sdk_configuration))
    del client
    gc.collect()
    assert [it for it in kept if it() is not None] == []


def test_a_patch_lets_go_of_a_client(settings):
    with no_collector(), patch(settings=settings) as patched:
        client = _sdk.Mistral(api_key=KEY)
        kept = ref(client.sdk_configuration)
        assert "1 client>" in repr(patched)
        broken_up(client)
        del client
        assert kept() is None
        assert "0 clients" in repr(patched)


def test_a_patch_is_freed_with_its_last_reference(settings):
    with no_collector():
        client = _sdk.Mistral(api_key=KEY)
        patched = patch(client, settings=settings)
        kept = ref(patched)
        del patched
        assert kept() is None
        assert client.sdk_configuration.server_url == settings.provider_url


def freed(client, *, leave):
    """Return which parts of a dropped stream are freed at once: response, stream, generator."""
    with no_collector():
        events = client.chat.stream(**ASK)
        if leave:
            next(iter(events))
        parts = [ref(events), ref(events.response), ref(events.response.stream)]
        del events
        freed = [it() is None for it in parts]
    gc.collect()
    return freed


@pytest.mark.parametrize("leave", [True, False], ids=["begun", "not begun"])
@pytest.mark.parametrize("play", [good, unfinished], ids=["whole", "unfinished"])
def test_a_dropped_stream_is_freed_when_the_bare_one_is(build, play, leave):
    """In httpx, used by the SDK until 2.x, a response and its stream refer to each other."""
    with FaultServer(play) as server:
        with _sdk.httpx.Client() as http:
            bare = _sdk.Mistral(api_key=KEY, server_url=f"{server.base_url}/mistral", client=http)
            expected = freed(bare, leave=leave)
        assert freed(build(server), leave=leave) == expected


@pytest.mark.parametrize("play", [good, unfinished], ids=["whole", "unfinished"])
def test_connections_of_streams_that_are_left_are_free_for_the_next(build, play):
    def read():
        for _ in range(10):
            for _ in client.chat.stream(**ASK):
                break
        done.set()

    with FaultServer(play) as server, no_collector():
        client = build(server, max_connections=2)
        done = threading.Event()
        threading.Thread(target=read, daemon=True).start()
        assert done.wait(10)


@pytest.mark.parametrize("play", [good, unfinished], ids=["whole", "unfinished"])
def test_so_are_those_of_async_streams(build, play):
    async def read():
        async with asyncio.timeout(10):
            for _ in range(10):
                async for _ in await client.chat.stream_async(**ASK):
                    break

    with FaultServer(play) as server, no_collector():
        client = build(server, max_connections=2)
        asyncio.run(read())


def test_a_pool_is_freed_when_it_is_closed(make_settings, mode):
    settings = make_settings(max_connections=7)

    async def acall(client):
        assert await mode.achat(client)
        return ref(_pool.async_pool(client.sdk_configuration.async_client.inner.config))

    with no_collector():
        client = make_client(settings)
        if mode.is_async:
            kept = asyncio.run(acall(client))
        else:
            mode.chat(client)
            kept = ref(_pool.sync_pool(client.sdk_configuration.client.inner.config))
            _pool.close()
        assert kept() is None


def test_all_modes_are_tried():
    assert len(MODES) == 4


# ---------------------------------------------------------------- many clients of the same settings


def test_clients_of_the_same_settings_have_each_a_key_object_of_their_own(gateway):
    settings = GatewaySettings(base_url=gateway.base_url, token=TOKEN, mistral_api_key=KEY)
    first, second = (make_client(settings).sdk_configuration.security for _ in range(2))
    assert first() is first()
    assert first() is not second()
    first().api_key = "another"
    assert second().api_key == KEY


def test_a_client_that_is_kept_takes_little_memory(gateway):
    """What is equal for all clients of the same settings is there once: 3 KB are left of each."""
    settings = GatewaySettings(base_url=gateway.base_url, token=TOKEN, mistral_api_key=KEY)
    kept = [make_client(settings) for _ in range(20)]
    gc.collect()
    tracemalloc.start()
    try:
        kept += [make_client(settings) for _ in range(100)]
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] / 100 < 3800
    finally:
        tracemalloc.stop()
