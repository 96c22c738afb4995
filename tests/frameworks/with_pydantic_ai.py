"""pydantic-ai: asynchronous within, and given to replacing the SDK's HTTP client."""

import asyncio

from proof import CHAT, MODEL, Proof
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.mistral import MistralModel
from pydantic_ai.providers.mistral import MistralProvider
from recipes import only, recipe

from mistral_cf_adapter import make_client, patch

OWN_CLIENT = "MistralProvider(mistral_client=make_client())"


class City(BaseModel):
    name: str


def agent_of(provider: MistralProvider) -> Agent:
    return Agent(MistralModel(MODEL, provider=provider))


async def ask(agent: Agent) -> None:
    answer = await agent.run("hello")
    assert "lovely to hear" in answer.output


async def stream(agent: Agent) -> None:
    async with agent.run_stream("hello") as answer:
        pieces = [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1
    assert "lovely to hear" in "".join(pieces)


async def ask_inside(agent: Agent) -> None:
    """Use the agent as a context manager, which closes its HTTP client at the end."""
    async with agent:
        await ask(agent)


def every_way(proof: Proof, how: str, agent: Agent, when: str = "") -> None:
    with proof.through(how, "sync", what=when):
        assert "lovely to hear" in agent.run_sync("hello").output
    with proof.through(how, "async", CHAT, CHAT, what=f"{when} on two event loops"):
        asyncio.run(ask(agent))
        asyncio.run(ask(agent))
    with proof.through(how, "async stream", CHAT, CHAT, what=f"{when} on two event loops"):
        asyncio.run(stream(agent))
        asyncio.run(stream(agent))
    with proof.through(how, "async", what=f"{when} with structured output"):
        city = asyncio.run(agent.run("Paris", output_type=City)).output
        assert isinstance(city, City)


def client_replaced(proof: Proof, provider: MistralProvider) -> None:
    """Enter the agent again, upon which pydantic-ai puts a new client into the SDK object."""
    agent = agent_of(provider)
    first = provider._own_http_client
    with proof.through("patch()", "async", CHAT, CHAT, CHAT, what="client replaced in between"):
        asyncio.run(ask_inside(agent))
        asyncio.run(ask_inside(agent))
        asyncio.run(ask(agent))
    assert provider._own_http_client is not first, "pydantic-ai has replaced nothing"


with Proof("pydantic-ai-slim") as proof:
    every_way(proof, OWN_CLIENT, agent_of(MistralProvider(mistral_client=make_client())))

    older = MistralProvider()
    patched = patch()
    every_way(proof, "patch()", agent_of(MistralProvider()))
    every_way(proof, "patch()", agent_of(older), "built before it")
    client_replaced(proof, MistralProvider())
    client_replaced(proof, older)

    patched.undo()
    for provider in (older, MistralProvider()):
        with proof.past("patch() undone"):
            asyncio.run(ask(agent_of(provider)))

with Proof("pydantic-ai-slim", stored_key=True) as proof, patch():
    every_way(proof, "patch()", agent_of(MistralProvider()))
    client_replaced(proof, MistralProvider())

with Proof("pydantic-ai-slim") as proof:
    agent = only(Agent, recipe("pydantic-ai").follow())
    every_way(proof, "patch()", agent, "as env --for pydantic-ai prints it")
