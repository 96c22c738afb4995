"""any-llm: builds a client for each call, or one that is kept; passes `server_url=None`."""

import asyncio
from typing import Any

import any_llm
from any_llm import AnyLLM
from proof import MODEL, Proof
from recipes import recipe

from mistral_cf_adapter import patch

HELLO: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
PROVIDER: dict[str, Any] = {"provider": "mistral"}


def text_of(pieces: list[Any]) -> str:
    assert len(pieces) > 1
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


async def ask(llm: AnyLLM) -> None:
    answer: Any = await llm.acompletion(**HELLO)
    assert "lovely to hear" in answer.choices[0].message.content


async def stream(llm: AnyLLM) -> None:
    answer: Any = await llm.acompletion(**HELLO, stream=True)
    assert "lovely to hear" in text_of([piece async for piece in answer])


def by_function(proof: Proof) -> None:
    with proof.through("patch()", "sync"):
        answer: Any = any_llm.completion(**HELLO, **PROVIDER)
        assert "lovely to hear" in answer.choices[0].message.content
    with proof.through("patch()", "stream"):
        assert "lovely to hear" in text_of(
            list(any_llm.completion(**HELLO, **PROVIDER, stream=True))
        )
    with proof.through("patch()", "sync", "embeddings", what="embeddings"):
        assert any_llm.embedding(model="mistral-embed", inputs="one", **PROVIDER).data
    with proof.through("patch()", "sync", "models", what="list of models"):
        assert any_llm.list_models(**PROVIDER)


def by_object(proof: Proof, llm: AnyLLM, when: str = "") -> None:
    # One event loop for both: a client built before patch() keeps its own pool, which has one.
    with asyncio.Runner() as loop:
        with proof.through("patch()", "async", what=when):
            loop.run(ask(llm))
        with proof.through("patch()", "async stream", what=when):
            loop.run(stream(llm))


with Proof("any-llm-sdk") as proof:
    older = AnyLLM.create("mistral")
    with patch():
        by_function(proof)
        by_object(proof, AnyLLM.create("mistral"))
        by_object(proof, older, "built before it")

    with proof.past("patch() undone"):
        asyncio.run(ask(older))

with Proof("any-llm-sdk", stored_key=True) as proof, patch():
    by_function(proof)
    by_object(proof, AnyLLM.create("mistral"))

with (
    Proof("any-llm-sdk") as proof,
    proof.through("patch()", "sync", what="as env --for any-llm prints it"),
):
    recipe("any-llm").follow()
