"""Tool calling, and an answer in the shape of a class of yours.

uv run examples/tools.py

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway; without an
account it starts a local one, whose model has been told what to say.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import json

from pydantic import BaseModel

from mistral_cf_adapter import capture, gateway_options, make_client

MODEL = "mistral-small-latest"


def high_water(port):
    """Say when the tide is high; yours asks a database."""
    return {"brest": "14:20", "calais": "21:05"}[port.lower()]


FUNCTIONS = {"high_water": high_water}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "high_water",
            "description": "Time of today's next high water in a port",
            "parameters": {
                "type": "object",
                "properties": {"port": {"type": "string"}},
                "required": ["port"],
            },
        },
    }
]


class Tide(BaseModel):
    port: str
    time: str


def call_tool(name, arguments):
    """Run what the model asks for; what goes wrong is told to the model, which may do better."""
    try:
        fields = json.loads(arguments) if isinstance(arguments, str) else arguments
        return FUNCTIONS[name](**fields)
    except (KeyError, TypeError, ValueError) as error:
        return f"error: {error!r}"


def converse(client, messages, turns=5):
    """Ask, and answer the model's tool calls until it answers in words."""
    for _ in range(turns):
        answer = client.chat.complete(model=MODEL, messages=messages, tools=TOOLS)
        message = answer.choices[0].message
        messages.append(message)
        if not message.tool_calls:
            return message.content
        for call in message.tool_calls:
            name, arguments = call.function.name, call.function.arguments
            result = call_tool(name, arguments)
            print(f"  {name}({arguments}) -> {result}")
            messages.append(
                {"role": "tool", "name": name, "tool_call_id": call.id, "content": result}
            )
    msg = f"still calling tools after {turns} turns"
    raise RuntimeError(msg)


def main():
    client = make_client()
    messages = [{"role": "user", "content": "When is high water in Brest today?"}]
    with capture() as calls, gateway_options(metadata={"conversation": "tides-1"}):
        print(converse(client, messages))
        messages.append({"role": "user", "content": "Give me that as port and time."})
        tide = client.chat.parse(Tide, model=MODEL, messages=messages).choices[0].message.parsed
    print(f"{tide!r}\n\nOne log for each turn, found by their metadata")
    for call in calls:
        print(f"  {call.status_code}  log {call.log_id}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway() as local:
        if local:
            wish = {"name": "high_water", "arguments": '{"port": "Brest"}'}
            local.reply("", tool_calls=[{"id": "call00001", "function": wish}])
            local.reply("High water in Brest is at 14:20.")
            local.reply('{"port": "Brest", "time": "14:20"}')
        main()
