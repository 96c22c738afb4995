"""llama-index: its language model names Mistral's address, its embeddings name none."""

import asyncio

from llama_index.core.llms import ChatMessage
from llama_index.embeddings.mistralai import MistralAIEmbedding
from llama_index.llms.mistralai import MistralAI
from proof import MODEL, Proof
from recipes import only, recipe

from mistral_cf_adapter import patch

QUESTION = [ChatMessage(role="user", content="hello")]


async def ask(llm: MistralAI) -> None:
    answer = await llm.achat(QUESTION)
    assert "lovely to hear" in str(answer.message.content)


async def stream(llm: MistralAI) -> None:
    pieces = [piece.delta async for piece in await llm.astream_chat(QUESTION)]
    assert len(pieces) > 1
    assert "lovely to hear" in "".join(piece or "" for piece in pieces)


async def embed(model: MistralAIEmbedding) -> None:
    assert len(await model.aget_query_embedding("one")) > 1
    assert len(await model.aget_text_embedding_batch(["one", "two"])) == 2


def every_way(proof: Proof, llm: MistralAI, when: str = "") -> None:
    with proof.through("patch()", "sync", what=when):
        assert "lovely to hear" in str(llm.chat(QUESTION).message.content)
    with proof.through("patch()", "stream", what=when):
        assert "lovely to hear" in list(llm.stream_complete("hello"))[-1].text
    # One event loop for both: a client built before patch() keeps its own pool, which has one.
    with asyncio.Runner() as loop:
        with proof.through("patch()", "async", what=when):
            loop.run(ask(llm))
        with proof.through("patch()", "async stream", what=when):
            loop.run(stream(llm))


def every_embedding(proof: Proof, model: MistralAIEmbedding, when: str = "") -> None:
    with proof.through("patch()", "sync", "embeddings", "embeddings", what=when):
        assert len(model.get_query_embedding("one")) > 1
        assert len(model.get_text_embedding_batch(["one", "two"])) == 2
    with proof.through("patch()", "async", "embeddings", "embeddings", what=when):
        asyncio.run(embed(model))


with Proof("llama-index-llms-mistralai") as proof:
    older = MistralAI(model=MODEL)
    with patch():
        every_way(proof, MistralAI(model=MODEL))
        every_way(proof, older, "built before it")
    with proof.past("patch() undone"):
        older.chat(QUESTION)

with Proof("llama-index-embeddings-mistralai") as proof:
    older = MistralAIEmbedding()
    with patch():
        every_embedding(proof, MistralAIEmbedding())
        every_embedding(proof, older, "built before it")
    with proof.past("patch() undone"):
        older.get_query_embedding("one")

with Proof("llama-index-llms-mistralai", stored_key=True) as proof, patch():
    every_way(proof, MistralAI(model=MODEL))

with Proof("llama-index-embeddings-mistralai", stored_key=True) as proof, patch():
    every_embedding(proof, MistralAIEmbedding())

with Proof("llama-index-llms-mistralai") as proof:
    llm = only(MistralAI, recipe("llama-index").follow())
    every_way(proof, llm, "as env --for llama-index prints it")
