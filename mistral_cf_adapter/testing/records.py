"""What the gateway remembers: requests as they arrived, logs as a dashboard shows them."""

import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qsl

from starlette.datastructures import Headers

from mistral_cf_adapter._public import TESTING, set_public_module


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as it came off the wire: `method`, `path`, `query`, `headers`, `body`.

    `json()` decodes the body. `path` is percent-decoded and without the query, `raw_path` is as
    sent; `headers` ignores case. Headers and body are left out of the `repr`: they hold keys and
    prompts.
    """

    method: str
    """The HTTP method."""
    path: str
    """The path, percent-decoded, without the query."""
    raw_path: str
    """The path exactly as sent, still percent-encoded, without the query."""
    query: str
    """The query string exactly as sent, without the question mark."""
    headers: Headers = field(repr=False)
    """Case-insensitive; `headers.getlist(name)` gives every value of a repeated header."""
    body: bytes = field(repr=False)
    """The body, as sent."""

    def json(self) -> Any:
        """Return the body decoded from JSON; raise ValueError if it is not JSON.

        JSON that is nested too deep to be read raises RecursionError.
        """
        return json.loads(self.body)

    @property
    def params(self) -> dict[str, str]:
        """The query as a dictionary; of a repeated name the last value counts."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def fields(self) -> dict[str, Any]:
        """The body's JSON object, or an empty dictionary if it holds none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    @property
    def streams(self) -> bool:
        """Whether the caller asked for a stream of events."""
        return self.fields.get("stream") is True


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line of the gateway's log, written when its response starts."""

    id: str
    """`cf-aig-log-id` of the response."""
    request_id: str
    """`cf-aig-request-id` of the response."""
    event_id: str
    """`cf-aig-event-id`: the caller's own, else the gateway's."""
    gateway_id: str
    """Which of the gateways it was."""
    created_at: datetime
    """In UTC, when the response started."""
    duration: int
    """Milliseconds from the request's arrival to the start of its response."""
    written_at: float = field(repr=False)
    """From when on Cloudflare's API has it, in seconds of the gateway's clock."""
    provider: str
    """Who was asked, such as `mistral`."""
    model: str | None
    """The model that was asked for, behind a route or alias too."""
    path: str
    """The path behind the provider's name, such as `v1/chat/completions`."""
    status_code: int
    """The status that the caller got."""
    cached: bool
    """Whether the response came from the cache."""
    metadata: Mapping[str, str | int | float | bool]
    """What the gateway keeps of `cf-aig-metadata`."""
    attempts: int
    """How many times the upstream was asked; 0 for a cache hit or a refusal."""
    step: int
    """`cf-aig-step` of the response."""
    custom_cost: Mapping[str, float] | None
    """Costs per token, as `cf-aig-custom-cost` says them."""
    request: bytes | None = field(repr=False)
    """The request's body, or None when `cf-aig-collect-log-payload: false` asked for that."""
    response: bytes | None = field(repr=False)
    """The response's body; None when payloads are off, or for a forwarded stream."""
    feedback: float | None = None
    """From -1 to 1, as it was given through Cloudflare's API."""
    score: float | None = None
    """From 0 to 100, likewise."""

    @property
    def success(self) -> bool:
        """Whether the caller got a status below 400."""
        return self.status_code < 400


def uuid7() -> str:
    """Return a fresh UUIDv7, the shape of the gateway's ids: time first, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high = random >> 68
    low = random & ((1 << 62) - 1)
    value = (milliseconds & ((1 << 48) - 1)) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    return str(uuid.UUID(int=value))


set_public_module(LogRecord, ReceivedRequest, package=TESTING)
