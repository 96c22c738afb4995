"""Stream an answer to a terminal: text as it comes, then the usage and the log id.

uv run examples/streaming.py "Tell me about Provence"

Ctrl-C ends the answer, not the program, and keeps what is printed. A stream that ends early is
never taken for a whole answer: GatewayStreamError says so, and the program asks once more.

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway; without an
account it starts a local one, whose first stream ends early.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import sys

from mistral_cf_adapter import GatewayError, GatewayStreamError, capture, make_client


def show(client, question):
    """Print one answer as it comes, and what the gateway says of it."""
    messages = [{"role": "user", "content": question}]
    usage, ending = None, "complete"
    with capture() as calls:
        try:
            # The inner block closes the connection, however it is left.
            with client.chat.stream(model="mistral-small-latest", messages=messages) as events:
                for event in events:
                    print(event.data.choices[0].delta.content or "", end="", flush=True)
                    usage = event.data.usage or usage  # it comes with the last event
        except KeyboardInterrupt:
            ending = "stopped"
    print(f"\n  {ending}")
    for call in calls:  # none, if stopped before the answer began
        print(f"  log {call.log_id}")
    if usage is not None:
        print(f"  tokens: {usage.prompt_tokens} in, {usage.completion_tokens} out")


def main():
    client = make_client()
    question = " ".join(sys.argv[1:]) or "Tell me about Provence"
    try:
        try:
            show(client, question)
        except GatewayStreamError as error:
            print(f"\n  {error}\n")  # it names the log
            show(client, question)
    except GatewayError as error:
        sys.exit(f"\n{error}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway() as local:
        if local:
            local.fault("end_stream", keep=3)
        main()
