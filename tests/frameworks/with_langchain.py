"""langchain-mistralai: speaks HTTP itself, so `env --for langchain` says how to point it."""

import asyncio
import os

from langchain_mistralai import ChatMistralAI, MistralAIEmbeddings
from proof import Proof
from recipes import only, recipe

HOW = "env --for langchain"


async def ask(llm: ChatMistralAI) -> None:
    answer = await llm.ainvoke("hello")
    assert "lovely to hear" in answer.text


async def stream(llm: ChatMistralAI) -> None:
    pieces = [piece.text async for piece in llm.astream("hello")]
    assert len(pieces) > 1
    assert "lovely to hear" in "".join(pieces)


def every_way(proof: Proof, llm: ChatMistralAI) -> None:
    with proof.through(HOW, "sync"):
        assert "lovely to hear" in llm.invoke("hello").text
    with proof.through(HOW, "stream"):
        assert "lovely to hear" in "".join(piece.text for piece in llm.stream("hello"))
    with asyncio.Runner() as loop:
        with proof.through(HOW, "async"):
            loop.run(ask(llm))
        with proof.through(HOW, "async stream"):
            loop.run(stream(llm))


with Proof("langchain-mistralai") as proof:
    printed = recipe("langchain")
    every_way(proof, only(ChatMistralAI, printed.follow()))

    # The embeddings know no variable for the address.
    embeddings = MistralAIEmbeddings(endpoint=printed.base_url)
    embeddings.client.headers.update(printed.headers)
    with proof.through(HOW, "sync", "embeddings", what="embeddings"):
        assert len(embeddings.embed_query("hello")) > 1

with Proof("langchain-mistralai", stored_key=True) as proof:
    os.environ.pop("MISTRAL_API_KEY")
    every_way(proof, only(ChatMistralAI, recipe("langchain").follow()))
