"""A budget in tokens that stops before the next call, in this process.

uv run examples/budget.py

For a budget of all processes give the gateway a spend limit: see cost_control.py. Set
CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

from threading import Lock

from mistral_cf_adapter import make_client, on_call


class BudgetSpentError(Exception):
    """The tokens are used up; nothing was sent."""


class Budget:
    """Counts the tokens of every call, and refuses the call after the one that used them up."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.used = 0
        self._lock = Lock()  # calls end in many threads

    def count(self, call):
        """Count a call that is over, for `on_call()`; a cache hit uses no tokens."""
        if call.usage is not None and call.cache_status != "HIT":
            with self._lock:
                self.used += call.usage.total_tokens or 0

    def check(self):
        """Raise if nothing is left. Calls that run meanwhile may still use more."""
        if self.used >= self.tokens:
            message = f"{self.used} of {self.tokens} tokens are used"
            raise BudgetSpentError(message)


def ask(client, budget, text):
    budget.check()
    messages = [{"role": "user", "content": text}]
    answer = client.chat.complete(model="mistral-small-latest", messages=messages)
    return answer.choices[0].message.content


def main():
    client = make_client()
    budget = Budget(tokens=20)
    with on_call(budget.count):
        for text in ("What is a budget?", "And a limit?", "And a quota?"):
            try:
                print(ask(client, budget, text))
            except BudgetSpentError as error:
                print(f"Not asked: {error}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway():
        main()
