"""What each team has spent: the usage of every call, and a price list of your own.

uv run examples/cost_per_team.py

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from threading import Lock

from mistral_cf_adapter import gateway_options, make_client, on_call

# Dollars for a million tokens, prompt and completion, as your contract has them.
PRICES = {
    "mistral-large-latest": (Decimal("0.40"), Decimal("1.20")),
    "mistral-small-latest": (Decimal("0.08"), Decimal("0.24")),
}
current_team = ContextVar("current_team", default="no team")


@contextmanager
def team(name):
    """Say whose calls these are, here and on the gateway's log."""
    token = current_team.set(name)
    with gateway_options(metadata={"team": name}):
        try:
            yield
        finally:
            current_team.reset(token)


class Spending:
    """Adds up what the calls of each team cost."""

    def __init__(self):
        self.dollars = Counter()
        self._lock = Lock()  # calls end in many threads

    def add(self, call):
        """Add a call: `on_call()` runs it in the call's own context, so the team is the call's."""
        cost = price(call)
        with self._lock:
            self.dollars[current_team.get()] += cost


def price(call):
    """Return what a call costs; one that the gateway's cache answered costs nothing."""
    # By the name that was asked for: the response may say which version that is.
    prices = PRICES.get(call.request_model)
    if prices is None or call.usage is None or call.cache_status == "HIT":
        return Decimal(0)
    tokens = call.usage.prompt_tokens or 0, call.usage.completion_tokens or 0
    return sum(each * count for each, count in zip(prices, tokens, strict=True)) / 1_000_000


def main():
    client = make_client()
    spending = Spending()
    messages = [{"role": "user", "content": "What is the mistral wind?"}]
    with on_call(spending.add):
        with team("search"):
            client.chat.complete(model="mistral-large-latest", messages=messages)
            for _ in client.chat.stream(model="mistral-small-latest", messages=messages):
                pass
        with team("shop"):
            client.chat.complete(model="mistral-small-latest", messages=messages)
    for name, dollars in spending.dollars.most_common():
        print(f"{name}: ${dollars:.8f}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway():
        main()
