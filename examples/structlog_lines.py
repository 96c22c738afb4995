"""One line of JSON for each call, by structlog, whether your code or a library makes it.

uv run examples/structlog_lines.py

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]", "structlog>=24"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import logging
import sys

import structlog

from mistral_cf_adapter import GatewayError, make_client

FIELDS = (
    *("operation", "outcome", "status_code", "error_code", "log_id", "cache_status", "attempt"),
    *("request_model", "response_model", "prompt_tokens", "completion_tokens", "total_tokens"),
    *("duration", "time_to_first_event"),
)


def configure():
    """Send the standard library's logging through structlog, with the fields of a call."""
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.stdlib.ExtraAdder(FIELDS),  # each fact is an attribute of the log record
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                name_the_event,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler])
    logging.getLogger("mistral_cf_adapter").setLevel(logging.DEBUG)


def name_the_event(_logger, _method, event):
    """Write `call` for the message, whose text repeats the fields, and leave out what is empty."""
    if "outcome" in event:
        event["event"] = "call"
    return {name: value for name, value in event.items() if value is not None}


def main():
    client = make_client()
    question = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}
    with structlog.contextvars.bound_contextvars(team="search"):
        client.chat.complete(**question)
        for _ in client.chat.stream(**question):
            pass
        try:
            client.chat.complete(**question)
        except GatewayError as error:
            structlog.get_logger().warning("refused", advice=error.advice)


if __name__ == "__main__":
    from _gateway import gateway

    configure()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()]
    )
    with gateway() as local:
        if local:
            local.reply("Hello!")
            local.reply_stream(["Hel", "lo!"])
            local.fail(2016)
        main()
