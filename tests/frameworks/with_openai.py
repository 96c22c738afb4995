"""OpenAI's own client: the variables of `env --for openai` alone point it at `/compat`."""

import asyncio
from typing import Any

from openai import AsyncOpenAI, OpenAI
from proof import MODEL, Proof
from recipes import only, recipe

HOW = "env --for openai"
COMPAT = "/compat/chat/completions"
HELLO: dict[str, Any] = {
    "model": f"mistral/{MODEL}",
    "messages": [{"role": "user", "content": "hello"}],
}


def text_of(pieces: list[Any]) -> str:
    assert len(pieces) > 1
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


async def ask(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(**HELLO)
    assert "lovely to hear" in answer.choices[0].message.content


async def stream(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(**HELLO, stream=True)
    assert "lovely to hear" in text_of([piece async for piece in answer])


def every_way(proof: Proof) -> None:
    with proof.through(HOW, "sync", COMPAT, what="by its snippet"):
        client = only(OpenAI, recipe("openai").follow())
    # Those that follow know of nothing but the variables.
    with proof.through(HOW, "stream", COMPAT), OpenAI() as client:
        assert "lovely to hear" in text_of(
            list(client.chat.completions.create(**HELLO, stream=True))
        )
    client = AsyncOpenAI()
    with asyncio.Runner() as loop:
        with proof.through(HOW, "async", COMPAT):
            loop.run(ask(client))
        with proof.through(HOW, "async stream", COMPAT):
            loop.run(stream(client))


for stored_key in (False, True):
    with Proof("openai", stored_key=stored_key) as proof:
        every_way(proof)
