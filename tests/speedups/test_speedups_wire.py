"""Every operation of the SDK with and without the speed-ups: equal requests, equal results."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from operations import (
    Answer,
    Recorded,
    answer,
    arguments,
    mistral_class,
    operations,
    run,
    run_async,
)
from speedup_tools import nobody_holding

from mistral_cf_adapter import _sdk, speedups

CALLS = [
    pytest.param({}, id="required arguments"),
    pytest.param({"full": True, "variant": 1}, id="all arguments"),
]
BAD_ANSWERS = [
    pytest.param(Answer(200, "application/json", b'{"unexpected": []}'), id="wrong shape"),
    pytest.param(Answer(200, "application/json", b"{"), id="no JSON"),
    pytest.param(Answer(200, "text/html; charset=utf-8", b"<p>"), id="wrong type"),
    pytest.param(Answer(422, "application/json", b'{"detail": [{"loc": 1}]}'), id="422"),
    pytest.param(Answer(500, "text/plain", b"sorry"), id="500"),
]


@pytest.fixture(autouse=True)
def _bare():
    with nobody_holding():
        yield


class Wire:
    """The transport of a client: keeps every request and answers as told."""

    def __init__(self):
        self.requests = []
        self.reply = Answer()
        transport = _sdk.httpx.MockTransport(self.respond)
        self.sync = _sdk.httpx.Client(transport=transport)
        self.asynchronous = _sdk.httpx.AsyncClient(transport=transport)

    def sdk(self):
        return mistral_class()(api_key="k", client=self.sync, async_client=self.asynchronous)

    def respond(self, request):
        path = request.url.raw_path.decode()
        headers = [(name.decode(), text.decode()) for name, text in request.headers.raw]
        self.requests.append(Recorded(request.method, path, headers, request.read()).portable)
        kind = {"content-type": self.reply.content_type} if self.reply.content_type else {}
        return _sdk.httpx.Response(self.reply.status, headers=kind, content=self.reply.body)

    async def close(self):
        self.sync.close()
        await self.asynchronous.aclose()


async def visit(reply=None, every=None, **how):
    """Call operations one by one, and return what was sent and what came of it."""
    wire = Wire()
    sdk = wire.sdk()
    seen = {}
    for operation in operations(sdk):
        if every is not None and operation.name not in every:
            continue
        wire.reply = reply or answer(operation, **how)
        wire.requests = []
        given = arguments(operation, **how)
        if operation.is_async:
            outcome = await run_async(operation, sdk, **given)
        else:
            outcome = run(operation, sdk, **given)
        seen[operation.name] = (wire.requests, outcome.fingerprint)
    await wire.close()
    return seen


def differences(bare, fast):
    return [name for name in bare if bare[name] != fast[name]]


@pytest.mark.parametrize("how", CALLS)
def test_every_operation_sends_the_same_bytes_and_returns_the_same_value(how):
    bare = asyncio.run(visit(**how))
    with speedups.install():
        fast = asyncio.run(visit(**how))
    assert len(bare) > 100
    assert differences(bare, fast) == []
    succeeded = [name for name, (_, (_, error, _)) in bare.items() if error is type(None)]
    assert len(succeeded) > 0.95 * len(bare)


@pytest.mark.parametrize("reply", BAD_ANSWERS)
def test_a_bad_answer_raises_the_same_error_from_every_kind_of_call(reply):
    every = {"chat.complete", "chat.complete_async", "chat.stream", "models.list", "files.delete"}
    bare = asyncio.run(visit(reply, every))
    with speedups.install():
        fast = [asyncio.run(visit(reply, every)) for _ in range(2)]
    assert fast == [bare, bare]
    assert len(bare) == len(every)


def test_many_threads_may_call_at_once():
    wire = Wire()
    sdk = wire.sdk()
    chat = next(operation for operation in operations(sdk) if operation.name == "chat.complete")
    wire.reply = answer(chat)
    bare = run(chat, sdk).fingerprint
    with speedups.install(), ThreadPoolExecutor(8) as pool:
        assert [*pool.map(lambda _: run(chat, sdk).fingerprint, range(40))] == [bare] * 40
    asyncio.run(wire.close())


def test_a_call_goes_on_when_the_speedups_are_taken_out_half_way():
    event = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}],
    }
    wire = Wire()
    wire.reply = Answer(200, "text/event-stream", b"data: %s\n\n" % json.dumps(event).encode() * 4)
    handle = speedups.install()
    with wire.sdk().chat.stream(model="m", messages=[{"role": "user", "content": "x"}]) as stream:
        first = next(stream)
        handle.undo()
        assert [*stream] == [first] * 3
    asyncio.run(wire.close())
