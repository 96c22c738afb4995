"""Synchronous calls on Pyodide, where the runtime lets Python wait for a promise."""

import contextlib
import os

import httpx2
import inside
from inside import ELSEWHERE, QUESTION, Gateway, raises
from mistralai.client import errors
from pyodide.ffi import can_run_sync

from mistral_cf_adapter import GatewayRateLimitedError, GatewayStreamError, capture

gateway = Gateway()


def text_of(stream):
    return "".join([event.data.choices[0].delta.content or "" for event in stream])


async def check_runtime():
    assert can_run_sync()


async def check_complete(way):
    await gateway.reply("Bonjour!")
    with way() as client, capture() as calls:
        answer = client.chat.complete(**QUESTION)
    assert answer.choices[0].message.content == "Bonjour!"
    assert calls[-1].log_id


async def check_stream(way):
    for speedups in (True, False):
        await gateway.reply_stream(["Bon", "jour", "!"])
        with way(speedups=speedups) as client:
            assert text_of(client.chat.stream(**QUESTION)) == "Bonjour!"


async def check_stream_that_ends_early(way):
    await gateway.fault("end_stream")
    with way() as client, raises(GatewayStreamError):
        text_of(client.chat.stream(**QUESTION))


async def check_gateway_error(way):
    await gateway.fail(2003)
    with way() as client, raises(GatewayRateLimitedError):
        client.chat.complete(**QUESTION)


async def check_redirect_to_another_origin(way):
    await gateway.fault("redirect", to=f"{ELSEWHERE}/v1/chat/completions")
    with way() as client, contextlib.suppress(errors.MistralError):
        client.chat.complete(**QUESTION)
    [request] = await Gateway("elsewhere").requests()
    assert "authorization" not in request["headers"]
    assert not [name for name in request["headers"] if name.startswith("cf-aig-")]


async def check_timeout(way):
    await gateway.fault("stall")
    with way() as client, raises(httpx2.TimeoutException):
        client.chat.complete(**QUESTION, timeout_ms=300)


async def check_files(way):
    content = os.urandom(100_000)
    with way() as client:
        file = client.files.upload(
            file={"file_name": "all.bin", "content": content}, purpose="batch"
        )
        assert client.files.download(file_id=file.id).read() == content


failures = await inside.run(inside.checks_of(globals()))
