"""Spend less: cached answers, costs you can attribute, and a plan for a spent budget.

uv run examples/cost_control.py

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway, and give it a
spend limit in the dashboard. A spend limit is raised at once and never retried.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

from mistral_cf_adapter import GatewaySpendLimitError, capture, gateway_options, make_client

# Costs per token as your contract has them; without them the gateway uses its own price list.
PRICES = {
    "mistral-large-latest": {"per_token_in": 0.0000004, "per_token_out": 0.0000012},
    "mistral-small-latest": {"per_token_in": 0.00000008, "per_token_out": 0.00000024},
}
BEST, CHEAP = PRICES


@gateway_options(cache_ttl=3600)  # seconds; the same question is paid once an hour
def ask(client, question, team):
    """Answer with the best model that the budget still allows."""
    for model in (BEST, CHEAP):
        try:
            with gateway_options(custom_cost=PRICES[model], metadata={"team": team}):
                return complete(client, model, question)
        except GatewaySpendLimitError as error:
            print(f"  {model}: {error}")
    return "The budget for today is spent; please come back tomorrow."


def complete(client, model, question):
    messages = [{"role": "user", "content": question}]
    with capture() as calls:
        answer = client.chat.complete(model=model, messages=messages)
    call = calls[-1]
    paid = 0 if call.cache_status == "HIT" else answer.usage.total_tokens
    print(f"  {model}: cache {call.cache_status}, {paid} tokens to pay, log {call.log_id}")
    return answer.choices[0].message.content


def main():
    client = make_client()
    for question in (
        "What is a spend limit?",
        "What is a spend limit?",  # the same again: a cache hit
        "What is a cache?",
        "What is a token?",
    ):
        print(question)
        print(f"  {ask(client, question, team='search')}\n")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway() as local:
        if local:
            local.reply("It ends a gateway's spending when a budget is used up.")
            local.fail(2041)  # the third question, on the best model
            local.reply("It keeps answers, so that the same question is paid once.")
            local.fail(2041)  # the fourth question, on both
            local.fail(2041)
        main()
