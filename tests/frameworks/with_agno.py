"""agno: takes a client, or builds one that is given no address."""

import asyncio

from agno.agent import Agent
from agno.models.mistral import MistralChat
from proof import MODEL, Proof
from recipes import only, recipe

from mistral_cf_adapter import make_client, patch

OWN_CLIENT = "MistralChat(mistral_client=make_client())"


def text_of(pieces: list) -> str:
    assert len(pieces) > 1
    return "".join(str(getattr(piece, "content", None) or "") for piece in pieces)


async def ask(agent: Agent) -> None:
    answer = await agent.arun("hello")
    assert "lovely to hear" in str(answer.content)


async def stream(agent: Agent) -> None:
    assert "lovely to hear" in text_of([piece async for piece in agent.arun("hello", stream=True)])


def every_way(proof: Proof, how: str, model: MistralChat, when: str = "") -> None:
    agent = Agent(model=model, telemetry=False)
    with proof.through(how, "sync", what=when):
        assert "lovely to hear" in str(agent.run("hello").content)
    with proof.through(how, "stream", what=when):
        assert "lovely to hear" in text_of(list(agent.run("hello", stream=True)))
    # One event loop for both: a client built before patch() keeps its own pool, which has one.
    with asyncio.Runner() as loop:
        with proof.through(how, "async", what=when):
            loop.run(ask(agent))
        with proof.through(how, "async stream", what=when):
            loop.run(stream(agent))


with Proof("agno") as proof:
    every_way(proof, OWN_CLIENT, MistralChat(id=MODEL, mistral_client=make_client()))

    older = MistralChat(id=MODEL)
    older.get_client()
    with patch():
        every_way(proof, "patch()", MistralChat(id=MODEL))
        every_way(proof, "patch()", older, "built before it")

    with proof.past("patch() undone"):
        older.get_client().chat.complete(model=MODEL, messages=[{"role": "user", "content": "hi"}])

with Proof("agno", stored_key=True) as proof, patch():
    every_way(proof, "patch()", MistralChat(id=MODEL))

with Proof("agno") as proof:
    model = only(MistralChat, recipe("agno").follow())
    every_way(proof, "patch()", model, "as env --for agno prints it")
