"""LangChain through the gateway: langchain-mistralai does not use Mistral's SDK, so it is told.

uv run examples/langchain_env.py

What it needs to know is what `mistral-cf-adapter env --for langchain` prints: an address, and
headers. To write them into your program by hand, run that command; this one asks it each time.

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway; without an
account it starts a local one. Options of the environment, such as CF_AIG_CACHE_TTL, come along;
gateway_options() and capture() do not reach code that does not use the SDK.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]", "langchain-mistralai"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import json
import os
import subprocess
import sys

from langchain_mistralai import ChatMistralAI

ENV = ["-m", "mistral_cf_adapter", "env", "--for", "langchain", "--json", "--show-secrets"]


def gateway_environment():
    """Return what the command prints: `variables`, `headers`, `base_url` and a `snippet`."""
    printed = subprocess.run([sys.executable, *ENV], check=True, stdout=subprocess.PIPE)
    return json.loads(printed.stdout)


def make_llm(environment):
    os.environ.update(environment["variables"])  # MISTRAL_BASE_URL and the key
    llm = ChatMistralAI(model="mistral-small-latest")
    for client in (llm.client, llm.async_client):
        client.headers.update(environment["headers"])
        if "MISTRAL_API_KEY" not in environment["variables"]:
            del client.headers["Authorization"]  # the gateway holds the key
    return llm


def show_log(response):
    print(f"  {response.status_code}  log {response.headers.get('cf-aig-log-id')}")


def main():
    llm = make_llm(gateway_environment())
    llm.client.event_hooks["response"].append(show_log)  # what capture() does for the SDK

    print(llm.invoke("What is the mistral wind?").text)
    for piece in llm.stream("Tell me about Provence"):
        print(piece.text, end="", flush=True)
    print()


if __name__ == "__main__":
    from _gateway import gateway

    with gateway():
        main()
