"""instructor: holds on to SDKs below 3, and takes a real `Mistral` or builds its own."""

import asyncio
from collections.abc import AsyncIterable, Iterable
from typing import Any

import instructor
from proof import MODEL, Proof
from pydantic import BaseModel
from recipes import only, recipe

from mistral_cf_adapter import make_client, patch

OWN_CLIENT = "from_mistral(make_client())"
QUESTION: Any = [{"role": "user", "content": "Paris"}]


class City(BaseModel):
    name: str


def check(answers: Iterable[Any]) -> None:
    answers = list(answers)
    assert answers
    assert all(isinstance(answer, City) for answer in answers)


async def collected(answers: AsyncIterable[Any]) -> list[Any]:
    return [answer async for answer in answers]


def every_way(proof: Proof, how: str, sync_client: Any, async_client: Any, when: str = "") -> None:
    with proof.through(how, "sync", what=when):
        check([sync_client.create(response_model=City, messages=QUESTION)])
    with proof.through(how, "stream", what=when):
        check(sync_client.create_partial(response_model=City, messages=QUESTION))
    # One event loop for both: a client built before patch() keeps its own pool, which has one.
    with asyncio.Runner() as loop:
        with proof.through(how, "async", what=when):
            check([loop.run(async_client.create(response_model=City, messages=QUESTION))])
        with proof.through(how, "async stream", what=when):
            partial = async_client.create_partial(response_model=City, messages=QUESTION)
            check(loop.run(collected(partial)))


def from_provider() -> tuple[Any, Any]:
    name = f"mistral/{MODEL}"
    return instructor.from_provider(name), instructor.from_provider(name, async_client=True)


with Proof("instructor") as proof:
    client = make_client()
    every_way(
        proof,
        OWN_CLIENT,
        instructor.from_mistral(client, model=MODEL),
        instructor.from_mistral(client, model=MODEL, use_async=True),
    )

    older = from_provider()
    with patch():
        every_way(proof, "patch()", *from_provider())
        every_way(proof, "patch()", *older, when="built before it")

    with proof.past("patch() undone"):
        older[0].create(response_model=City, messages=QUESTION, max_retries=1)

with Proof("instructor", stored_key=True) as proof, patch():
    every_way(proof, "patch()", *from_provider())

with Proof("instructor") as proof:
    printed = only(instructor.Instructor, recipe("instructor").follow())
    with proof.through("patch()", "sync", what="as env --for instructor prints it"):
        check([printed.create(response_model=City, messages=QUESTION)])
