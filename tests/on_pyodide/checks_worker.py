"""The example of a Worker, called as Cloudflare calls it."""

import asyncio
import os
from types import SimpleNamespace

import entry
import inside
import js
from inside import Gateway, raises

gateway = Gateway()
ENV = SimpleNamespace(
    CF_AIG_BASE_URL=os.environ.pop("CF_AIG_BASE_URL"),
    CF_AIG_TOKEN=os.environ.pop("CF_AIG_TOKEN"),
    MISTRAL_API_KEY=os.environ.pop("MISTRAL_API_KEY"),
)


async def fetched(path):
    """Return JavaScript's response of the Worker, and wait for what it goes on with."""
    going_on = []
    context = SimpleNamespace(waitUntil=lambda task: going_on.append(asyncio.ensure_future(task)))
    worker = entry.Default(context, ENV)
    response = await worker.fetch(js.Request.new(f"https://worker.example{path}"))
    return response.js_object, going_on


async def check_answer():
    await gateway.reply("Bonjour!")
    response, _ = await fetched("/")
    assert await response.text() == "Bonjour!"
    assert response.status == 200
    assert response.headers.get("cf-aig-log-id")


async def check_error():
    await gateway.fail(2003)
    response, _ = await fetched("/")
    assert response.status == 429
    assert "2003" in await response.text()


async def check_stream():
    await gateway.reply_stream(["Bon", "jour", "!"])
    response, going_on = await fetched("/stream")
    assert await response.text() == "Bonjour!"
    await asyncio.gather(*going_on)


async def check_stream_that_ends_early():
    await gateway.fault("end_stream")
    response, going_on = await fetched("/stream")
    with raises(Exception) as found:
        await response.text()
    assert "DONE" in str(found[0])
    await asyncio.gather(*going_on)


failures = await inside.run(inside.checks_of(globals()))
