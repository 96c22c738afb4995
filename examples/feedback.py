"""Score an answer in the gateway's log, through Cloudflare's own package.

uv run examples/feedback.py

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway (and
CLOUDFLARE_GATEWAY_ID if it is not `default`), and CLOUDFLARE_API_TOKEN, a second token, with the
permissions AI Gateway Read and Edit. Without an account it starts a local gateway with a small
copy of that API, where logs come late.

Accounts created since 2026-09-24 keep their logs elsewhere. Cloudflare documents this API for
older ones only, and not what it answers the others: be ready for a 404 that stays.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]", "cloudflare>=4"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import os
import sys
import time

from cloudflare import AuthenticationError, Cloudflare, NotFoundError, PermissionDeniedError

from mistral_cf_adapter import GatewaySettings, capture, make_client

# Seconds. A log may be written some hundred milliseconds after the end of a stream.
WAITS = (0.2, 0.4, 0.8, 1.6, 3.2)


class Feedback:
    """The logs of one gateway, as something to write a judgement on."""

    def __init__(self, settings):
        self._logs = Cloudflare().ai_gateway.logs  # reads CLOUDFLARE_API_TOKEN
        self._where = {"account_id": settings.account_id, "gateway_id": settings.gateway_id}

    def give(self, log_id, **judgement):
        """Write on a log, and wait for it if need be; NotFoundError if it never comes."""
        for wait in WAITS:
            try:
                return self._logs.edit(log_id, **self._where, **judgement)
            except NotFoundError:
                print(f"  not written yet, again in {wait} s")
                time.sleep(wait)
        return self._logs.edit(log_id, **self._where, **judgement)


def ask(client, question):
    """Stream an answer to the terminal and return the id of its log."""
    messages = [{"role": "user", "content": question}]
    with (
        capture() as calls,
        client.chat.stream(model="mistral-small-latest", messages=messages) as events,
    ):
        for event in events:
            print(event.data.choices[0].delta.content or "", end="", flush=True)
    print()
    return calls[-1].log_id


def main():
    settings = GatewaySettings()
    if not (settings.account_id and os.environ.get("CLOUDFLARE_API_TOKEN")):
        sys.exit("Set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN: the logs need both.")
    feedback = Feedback(settings)
    log_id = ask(make_client(settings), "What is the mistral wind?")
    try:
        # 1 is a thumb up and -1 one down, a score is from 0 to 100, metadata is up to you.
        feedback.give(log_id, feedback=1, score=90, metadata={"user": "u-17"})
    except NotFoundError:
        sys.exit(
            f"There is no log {log_id}. Check the account and gateway id. An account created "
            "since 2026-09-24 keeps its logs elsewhere, and this API may not know them."
        )
    except (AuthenticationError, PermissionDeniedError) as error:
        sys.exit(f"CLOUDFLARE_API_TOKEN needs AI Gateway Read and Edit: {error}")
    print(f"Scored log {log_id}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway(log_delay=0.3) as local:
        if local:
            os.environ.update(local.api_env())
        main()
        if local:
            log = local.logs[-1]
            print(f"The log has feedback {log.feedback}, score {log.score}, {dict(log.metadata)}")
