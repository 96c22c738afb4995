"""Somebody else's program: it knows Mistral, and nothing of a gateway."""

import os

try:
    from mistralai.client import Mistral
except ImportError:  # mistralai 1.x
    from mistralai import Mistral

MODEL = "mistral-small-latest"
client = Mistral(api_key=os.environ["MISTRAL_API_KEY"])


def _ask(question):
    return {"model": MODEL, "messages": [{"role": "user", "content": question}]}


def answer(question):
    return client.chat.complete(**_ask(question)).choices[0].message.content


def answer_in_pieces(question):
    with client.chat.stream(**_ask(question)) as events:
        for event in events:
            yield event.data.choices[0].delta.content or ""


async def answer_async(question):
    response = await client.chat.complete_async(**_ask(question))
    return response.choices[0].message.content


async def answer_in_pieces_async(question):
    async with await client.chat.stream_async(**_ask(question)) as events:
        async for event in events:
            yield event.data.choices[0].delta.content or ""


def vector(text):
    return client.embeddings.create(model="mistral-embed", inputs=[text]).data[0].embedding
