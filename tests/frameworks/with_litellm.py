"""LiteLLM: speaks HTTP itself, so `env --for litellm` says how to point it."""

import asyncio
from typing import Any

import litellm
from proof import CHAT, MODEL, Proof
from recipes import Recipe, recipe

HOW = "env --for litellm"
COMPAT = "/compat/chat/completions"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


def text_of(pieces: list[Any]) -> str:
    assert len(pieces) > 1
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


async def ask(call: dict[str, Any]) -> None:
    answer: Any = await litellm.acompletion(**call)
    assert "lovely to hear" in answer.choices[0].message.content


async def stream(call: dict[str, Any]) -> None:
    answer: Any = await litellm.acompletion(**call, stream=True)
    assert "lovely to hear" in text_of([piece async for piece in answer])


def every_way(proof: Proof, printed: Recipe, path: str, call: dict[str, Any]) -> None:
    """Run the snippet, and do with its arguments what it does not show."""
    with proof.through(HOW, "sync", path):
        answer = printed.follow()["answer"]
        assert "lovely to hear" in answer.choices[0].message.content
    call = {**HELLO, **call, "api_base": printed.base_url, "extra_headers": printed.headers}
    with proof.through(HOW, "stream", path):
        assert "lovely to hear" in text_of(list(litellm.completion(**call, stream=True)))
    with asyncio.Runner() as loop:
        with proof.through(HOW, "async", path):
            loop.run(ask(call))
        with proof.through(HOW, "async stream", path):
            loop.run(stream(call))


with Proof("litellm") as proof:
    every_way(proof, recipe("litellm"), CHAT, {"model": f"mistral/{MODEL}"})

with Proof("litellm", stored_key=True) as proof:
    call = {"model": f"openai/mistral/{MODEL}", "api_key": proof.gateway.token}
    every_way(proof, recipe("litellm"), COMPAT, call)
