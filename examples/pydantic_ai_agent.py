"""A pydantic-ai agent with a tool: one run at once, one streamed, a log for each turn.

uv run examples/pydantic_ai_agent.py

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway; without an
account it starts a local one, whose model has been told what to say.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]", "pydantic-ai-slim[mistral]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.mistral import MistralModel
from pydantic_ai.providers.mistral import MistralProvider

from mistral_cf_adapter import capture, gateway_options, make_client


def high_water(port: str) -> str:
    """Say when the tide is high today; yours asks a database."""
    return {"brest": "14:20", "calais": "21:05"}.get(port.lower(), "unknown")


def make_agent():
    provider = MistralProvider(mistral_client=make_client())
    return Agent(MistralModel("mistral-small-latest", provider=provider), tools=[high_water])


async def stream(agent, question):
    async with agent.run_stream(question) as answer:
        async for piece in answer.stream_text(delta=True, debounce_by=None):
            print(piece, end="", flush=True)
    print()


def main():
    agent = make_agent()
    with capture() as calls, gateway_options(metadata={"agent": "tides"}):
        print(agent.run_sync("When is high water in Brest?").output)
        asyncio.run(stream(agent, "And in Calais?"))

    print("One log for each turn, found by their metadata")
    for call in calls:
        print(f"  {call.status_code}  log {call.log_id}")


def play(local):
    """Let the local model call the tool, and then speak, for either question."""
    for number, (port, time) in enumerate([("Brest", "14:20"), ("Calais", "21:05")]):
        wish = {"name": "high_water", "arguments": f'{{"port": "{port}"}}'}
        local.reply("", tool_calls=[{"id": f"call0000{number}", "function": wish}])
        local.reply(f"High water in {port} is at {time}.")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway() as local:
        if local:
            play(local)
        main()
