"""Asynchronous calls and streams on Pyodide, and what must not be touched there."""

import asyncio
import contextlib
import gc
import gzip
import os
import sys
import threading
import traceback
from base64 import b64encode

# Taken before anything else is imported: a Worker may not draw random bytes while it is loaded.
drawn = []
urandom = os.urandom


def _urandom(size):
    frame = sys._getframe(1)
    while frame:
        drawn.append(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    return urandom(size)


os.urandom = _urandom

import httpx2
import inside
from inside import ELSEWHERE, KEY, QUESTION, TOKEN, Gateway, raises, text_of
from mistralai.client import Mistral, errors
from mistralai.client.utils import BackoffStrategy, RetryConfig
from pyodide.ffi import can_run_sync

import mistral_cf_adapter
from mistral_cf_adapter import (
    GatewayConfigError,
    GatewayRateLimitedError,
    GatewayStreamError,
    _flow,
    capture,
    gateway_headers,
    gateway_options,
    make_client,
)

mistral_cf_adapter.make_client(inside.settings())
os.urandom = urandom

gateway = Gateway()
elsewhere = Gateway("elsewhere")


async def sent():
    requests = await gateway.requests()
    return requests[-1]


async def check_bare_sdk():
    """What the adapter is compared with: a call works, and a stream does not so far."""
    client = Mistral(api_key=KEY, server_url=f"{os.environ['CF_AIG_BASE_URL']}/mistral")
    header = {"cf-aig-authorization": f"Bearer {TOKEN}"}
    answer = await client.chat.complete_async(**QUESTION, http_headers=header)
    assert answer.choices[0].message.content
    stream = await client.chat.stream_async(**QUESTION, http_headers=header)
    try:
        assert await text_of(stream)
    except AttributeError as error:
        print(f"the bare SDK cannot stream: {error}")


async def check_complete(way):
    await gateway.reply("Bonjour!")
    with way() as client:
        answer = await client.chat.complete_async(**QUESTION)
    assert answer.choices[0].message.content == "Bonjour!"
    request = await sent()
    assert request["headers"]["cf-aig-authorization"] == f"Bearer {TOKEN}"
    assert request["headers"]["authorization"] == f"Bearer {KEY}"
    assert request["headers"]["user-agent"].startswith("mistral-client-python/")
    assert request["json"]["messages"][0]["content"] == "Hello"


async def check_stream(way):
    await gateway.reply_stream(["Bon", "jour", "!"])
    with way() as client:
        assert await text_of(await client.chat.stream_async(**QUESTION)) == "Bonjour!"


async def check_stream_without_speedups(way):
    await gateway.reply_stream(["Bon", "jour", "!"])
    with way(speedups=False) as client:
        assert await text_of(await client.chat.stream_async(**QUESTION)) == "Bonjour!"


async def check_stream_cut_into_bits(way):
    await gateway.reply_stream(["Gr", "\u00fc\u00df", "e \U0001f600"])
    await gateway.fault("slow_drip", size=7, delay=0.001)
    with way() as client:
        text = await text_of(await client.chat.stream_async(**QUESTION))
    assert text == "Gr\u00fc\u00dfe \U0001f600"


async def check_stream_that_ends_early(way):
    await gateway.fault("end_stream")
    with way() as client:
        stream = await client.chat.stream_async(**QUESTION)
        with raises(GatewayStreamError) as found:
            await text_of(stream)
    assert "[DONE]" in str(found[0])


async def check_stream_that_breaks(way):
    await gateway.fault("cut_stream")
    with way() as client:
        stream = await client.chat.stream_async(**QUESTION)
        with raises(httpx2.TransportError) as found:
            await text_of(stream)
    assert any("cf-aig-log-id" in note for note in found[0].__notes__)


async def check_stream_in_one_piece(way):
    await gateway.guardrails(True)
    try:
        with way() as client, capture() as calls:
            assert await text_of(await client.chat.stream_async(**QUESTION))
    finally:
        await gateway.guardrails(False)
    assert calls[-1].buffered


async def check_stream_left_early(way):
    await gateway.reply_stream(["Bon", "jour", "!"])
    with way() as client:
        async with await client.chat.stream_async(**QUESTION) as stream:
            async for _ in stream:
                break
        await gateway.reply("Encore!")
        answer = await client.chat.complete_async(**QUESTION)
    assert answer.choices[0].message.content == "Encore!"


async def check_options_and_capture(way):
    options = gateway_options(cache_ttl=3600, metadata={"team": "search"})
    with way(metadata={"app": "shop"}) as client, capture() as calls, options:
        await client.chat.complete_async(**QUESTION, http_headers=gateway_headers(skip_cache=True))
    headers = (await sent())["headers"]
    assert headers["cf-aig-cache-ttl"] == "3600"
    assert headers["cf-aig-skip-cache"] == "true"
    assert headers["cf-aig-metadata"] == '{"app":"shop","team":"search"}'
    assert calls[-1].log_id
    assert calls[-1].status_code == 200


async def check_capture_of_tasks(way):
    with way() as client:

        async def ask(number):
            with capture() as calls, gateway_options(event_id=f"event-{number}"):
                await client.chat.complete_async(**QUESTION)
            return [call.event_id for call in calls]

        found = await asyncio.gather(*map(ask, range(8)))
    assert found == [[f"event-{number}"] for number in range(8)]


async def check_gateway_error(way):
    await gateway.fail(2003)
    with way() as client, raises(GatewayRateLimitedError) as found:
        await client.chat.complete_async(**QUESTION)
    assert found[0].code == 2003
    assert isinstance(found[0], errors.SDKError)


async def check_gateway_error_of_a_stream(way):
    await gateway.fail(2003)
    with way() as client, raises(GatewayRateLimitedError):
        await client.chat.stream_async(**QUESTION)


async def check_retries(way):
    await gateway.upstream_fail(500, times=2)
    retries = RetryConfig("backoff", BackoffStrategy(1, 2, 1, 5000), False)
    with way() as client, capture() as calls:
        await client.chat.complete_async(**QUESTION, retries=retries)
    assert [call.attempt for call in calls] == [1, 2, 3]


async def check_redirect_to_another_origin(way):
    """The token and the key stay with the gateway, whatever follows redirects."""
    await gateway.fault("redirect", to=f"{ELSEWHERE}/v1/chat/completions")
    with way() as client, contextlib.suppress(errors.MistralError):
        await client.chat.complete_async(**QUESTION)
    [request] = await elsewhere.requests()
    assert "authorization" not in request["headers"]
    assert not [name for name in request["headers"] if name.startswith("cf-aig-")]


async def check_redirect_within_the_gateway(way):
    path = f"{os.environ['CF_AIG_BASE_URL']}/mistral/v1/chat/completions"
    await gateway.fault("redirect", to=path)
    with way() as client:
        answer = await client.chat.complete_async(**QUESTION)
    assert answer.choices[0].message.content


async def check_timeout(way):
    await gateway.fault("stall")
    with way() as client, raises(httpx2.TimeoutException):
        await client.chat.complete_async(**QUESTION, timeout_ms=300)


async def check_cancelled_call(way):
    await gateway.fault("stall")
    with way() as client, raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await client.chat.complete_async(**QUESTION)


async def check_gateway_that_is_not_there(way):
    await gateway.fault("refuse")
    with way() as client, raises(httpx2.ConnectError):
        await client.chat.complete_async(**QUESTION)


async def check_fallback_while_the_gateway_is_not_there():
    """Nothing was sent, so that Mistral itself is asked: here, the other gateway in its place."""
    await gateway.fault("refuse")
    _flow.MISTRAL_URL = f"{ELSEWHERE}/v1/acc/default/mistral"
    client = make_client(inside.settings(fallback="direct"))
    with capture() as calls, contextlib.suppress(errors.MistralError):
        await client.chat.complete_async(**QUESTION)
    [request] = await elsewhere.requests()
    assert request["headers"]["authorization"] == f"Bearer {KEY}"
    assert calls[-1].direct


async def check_compressed_answers(way):
    """The runtime decodes what it asked for; the adapter does not take it for compressed."""
    stream = b'data: {"id":"1","model":"m","choices":[]}\n\ndata: [DONE]\n\n'
    body = {"base64": b64encode(gzip.compress(stream)).decode()}
    headers = {"content-encoding": "gzip"}
    await gateway.fault(
        "status", status=200, body=body, content_type="text/event-stream", headers=headers
    )
    with way() as client:
        events = [event async for event in await client.chat.stream_async(**QUESTION)]
    assert [event.data.id for event in events] == ["1"]
    assert "zstd" not in (await sent())["headers"]["accept-encoding"]


async def check_files(way):
    content = bytes(range(256)) * 400
    with way() as client:
        file = await client.files.upload_async(
            file={"file_name": "all.bin", "content": content}, purpose="batch"
        )
        answer = await client.files.download_async(file_id=file.id)
        parts = [part async for part in answer.aiter_bytes()]
    assert all(type(part) is bytes for part in parts)
    assert b"".join(parts) == content


async def check_synchronous_call(way):
    """Without JavaScript Promise Integration it says what to call instead; nothing is sent."""
    if can_run_sync():  # a Node that has it without a flag: checks_sync.py is about that
        return
    with way() as client:
        for call in (client.chat.complete, client.chat.stream):
            with raises(GatewayConfigError) as found:
                call(**QUESTION)
            assert "complete_async" in str(found[0])
    assert await gateway.requests() == []


async def check_secrets_in_frames(way):
    """No variable of a frame that an error passes shows a secret."""
    await gateway.fault("refuse")
    with way() as client, raises(httpx2.ConnectError) as found:
        await client.chat.complete_async(**QUESTION)
    frames = [frame for frame, _ in traceback.walk_tb(found[0].__traceback__)]
    ours = [frame for frame in frames if "mistral_cf_adapter" in frame.f_code.co_filename]
    assert ours
    shown = [repr(value) for frame in ours for value in frame.f_locals.values()]
    assert not [text for text in (*shown, str(found[0])) if TOKEN in text or KEY in text]


async def check_many_at_once():
    client = make_client()
    answers = await asyncio.gather(
        *(client.chat.complete_async(**QUESTION) for _ in range(50)),
    )
    assert len(answers) == 50


async def check_client_per_request():
    for _ in range(20):
        await make_client().chat.complete_async(**QUESTION)
    gc.collect()


async def check_what_is_not_touched():
    """No thread was started, and neither pools nor commands were imported."""
    assert threading.active_count() == 1
    ours = {
        name.removeprefix("mistral_cf_adapter.")
        for name in sys.modules
        if name.startswith("mistral_cf_adapter.")
    }
    assert not ours & {"pools", "connections", "cli", "testing"}, sorted(ours)
    assert "httpcore2" not in sys.modules


async def check_nothing_random_is_drawn_on_import():
    assert not [name for name in drawn if name.startswith("mistral_cf_adapter")], drawn


failures = await inside.run(inside.checks_of(globals()))
