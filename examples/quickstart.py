"""A first look: the Mistral SDK through Cloudflare AI Gateway, in a few seconds.

uv run examples/quickstart.py

Set CLOUDFLARE_ACCOUNT_ID (or CF_AIG_BASE_URL), and MISTRAL_API_KEY, to use your own gateway;
without them it starts a local one, which needs no account and no key.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import asyncio
import os
import sys

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewayError,
    capture,
    gateway_options,
    make_client,
)
from mistral_cf_adapter.testing import LocalGateway

YOUR_GATEWAY = ("CLOUDFLARE_ACCOUNT_ID", "CF_AIG_BASE_URL")


def ask(question):
    messages = [{"role": "user", "content": question}]
    return {"model": "mistral-small-latest", "messages": messages, "max_tokens": 60}


def tour(client):
    print("Chat")
    with capture() as calls, gateway_options(cache_ttl=60):
        answer = client.chat.complete(**ask("What is the mistral wind?"))
        print(f"  {answer.choices[0].message.content}\n\nStream\n  ", end="")

        for event in client.chat.stream(**ask("Tell me about Provence")):
            print(event.data.choices[0].delta.content or "", end="", flush=True)

        answer = asyncio.run(client.chat.complete_async(**ask("What is the mistral wind?")))
        print(f"\n\nAsync, the first question again\n  {answer.choices[0].message.content}\n")

        print("Embedding")
        vectors = client.embeddings.create(model="mistral-embed", inputs=["sea", "sky"])
        for text, item in zip(("sea", "sky"), vectors.data, strict=True):
            start = ", ".join(f"{value:+.3f}" for value in item.embedding[:3])
            print(f"  {text} -> [{start}, ...]  {len(item.embedding)} numbers")

    print("\nWhat the gateway says of each call")
    for call in calls:
        cache = call.cache_status or "off"
        print(f"  {call.path:22} {call.status_code}  cache {cache:4}  log {call.log_id}")


def main():
    if any(os.environ.get(name) for name in YOUR_GATEWAY):
        client = make_client()  # settings come from the environment
        print(f"Your gateway: {client.sdk_configuration.server_url}\n")
        return tour(client)
    with LocalGateway() as gateway:
        print(f"No {' or '.join(YOUR_GATEWAY)}: here is a local gateway, {gateway.url}\n")
        tour(make_client(gateway.settings()))
    return print("\nOn your own gateway: set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN, MISTRAL_API_KEY.")


if __name__ == "__main__":
    try:
        main()
    except (GatewayConfigError, GatewayError) as error:
        sys.exit(f"\n{error}")
