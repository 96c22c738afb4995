"""Dynamic routes: the code names a route, the gateway decides which model answers.

uv run examples/dynamic_routes.py            # the route dynamic/support
uv run examples/dynamic_routes.py my-route

Set CLOUDFLARE_ACCOUNT_ID and CF_AIG_TOKEN to use your own gateway. Routes are made in its
dashboard page; their models use stored keys, so set CF_AIG_BYOK=true and no MISTRAL_API_KEY.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]", "openai>=1.60"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import sys
from importlib.util import find_spec

from mistral_cf_adapter import (
    GatewayError,
    GatewaySettings,
    capture,
    gateway_options,
    make_client,
)

MESSAGES = [{"role": "user", "content": "My parcel is late. What can I do?"}]


@gateway_options(endpoint="compat", metadata={"plan": "paid"})  # a route can branch on metadata
def ask(client, route):
    """Ask a route; return the answer and which step and model of the route gave it."""
    with capture() as calls:
        answer = client.chat.complete(model=f"dynamic/{route}", messages=MESSAGES)
    call = calls[-1]
    served = f"step {call.step}: {call.model} of {call.provider}, log {call.log_id}"
    return answer.choices[0].message.content, served


def ask_with_openai(settings, route):
    """Ask it with OpenAI's client: `mistral-cf-adapter env --for openai` writes this for you."""
    from openai import OpenAI

    token = settings.token
    key = token if settings.stored_key else settings.mistral_api_key
    with OpenAI(
        base_url=settings.compat_url,
        api_key=key.get_secret_value(),
        default_headers={"cf-aig-authorization": f"Bearer {token.get_secret_value()}"},
    ) as client:
        completions = client.chat.completions.with_raw_response
        raw = completions.create(model=f"dynamic/{route}", messages=MESSAGES)
    served = f"step {raw.headers.get('cf-aig-step')}: {raw.headers.get('cf-aig-model')}"
    return raw.parse().choices[0].message.content, served


def main():
    route = sys.argv[1] if len(sys.argv) > 1 else "support"
    try:
        text, served = ask(make_client(), route)
    except GatewayError as error:
        sys.exit(f"dynamic/{route}: {error}")
    print(f"{text}\n  {served}")
    if find_spec("openai"):
        text, served = ask_with_openai(GatewaySettings(), route)
        print(f"With the openai package: {text}\n  {served}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway(routes={"support": "mistral-small-latest"}) as local:
        if local:
            local.reply("Send me its number and I will look for it.")
            local.reply("Do you have its number?")
        main()
