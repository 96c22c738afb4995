"""Stored keys: the gateway holds the Mistral key, this process has none.

uv run examples/stored_keys.py
uv run examples/stored_keys.py production staging

Each argument is the alias of a key under Provider Keys in the gateway's dashboard page. Set
CLOUDFLARE_ACCOUNT_ID and CF_AIG_TOKEN to use your own gateway, and CF_AIG_BYOK_ALIAS, or
CF_AIG_BYOK=true for the key called `default`. No MISTRAL_API_KEY.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import os
import sys

from mistral_cf_adapter import GatewayStoredKeyError, capture, gateway_options, make_client

QUESTION = {
    "model": "mistral-small-latest",
    "messages": [{"role": "user", "content": "What is the mistral wind?"}],
}


def ask(client):
    try:
        with capture() as calls:
            answer = client.chat.complete(**QUESTION)
    except GatewayStoredKeyError as error:
        return str(error)  # it names the code and the log
    return f"{answer.choices[0].message.content}\n  log {calls[-1].log_id}"


def main():
    client = make_client()  # takes CF_AIG_BYOK_ALIAS from the environment
    print(f"The key of the settings\n  {ask(client)}")
    for alias in sys.argv[1:] or ["staging", "no-such-key"]:
        with gateway_options(byok_alias=alias):  # another key for one block: per tenant, say
            print(f"The key {alias!r}\n  {ask(client)}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway(stored_keys={"production": "one-key", "staging": "another"}) as local:
        if local:
            del os.environ["MISTRAL_API_KEY"]
            os.environ["CF_AIG_BYOK_ALIAS"] = "production"
        main()
        if local:
            sent = [request.headers.get("authorization") for request in local.requests]
            print(f"Authorization in the requests that left: {sent}")
