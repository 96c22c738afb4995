"""`GatewayCall`: what is known of one HTTP request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ._public import set_public_module
from ._reprs import show_set_fields
from ._signatures import document_attributes, shorten_signatures
from ._usage import Usage

Outcome = Literal["ok", "error", "abandoned", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class GatewayCall:
    """One HTTP request of the SDK: where it went, what came back, how it ended.

    A header that the gateway did not send is `None`. The headers are
    documented at https://developers.cloudflare.com/ai-gateway/ ; none of them
    holds a secret. The reference has a table of all fields (Calls).

    `elapsed`, `time_to_first_event` and `duration` are seconds from the
    request: to the response's headers (to its end if it is not streamed), to a
    stream's first data, and to the end.

    `outcome` is `ok`; `error`: an HTTP error or an error in the stream;
    `abandoned`: the caller closed or dropped the stream, or was cancelled;
    `broken`: no response, or it broke off.

    `usage` is what the response says: a cache `HIT` has one, and uses no
    tokens. A stream that is left before its last event has none.

    In `capture()` a call is listed when its response's headers arrive. Of a
    stream, `duration`, `outcome`, `usage`, `response_model`, `error_code` and
    `time_to_first_event` are `None` until the stream is over; then the same
    object has them, and changes no more.

    Example:
        >>> known = {"method": "GET", "path": "/v1/models", "attempt": 1}
        >>> GatewayCall(**known, elapsed=0.25, status_code=200).log_id is None
        True
    """

    method: str
    """HTTP method."""
    path: str
    """Path below the provider, as `/v1/chat/completions`."""
    attempt: int
    """1 for the first try of an SDK call, then one more for each retry of the SDK."""
    elapsed: float
    """Seconds until the response's headers arrived (until its end, if it is not streamed)."""
    status_code: int | None
    """HTTP status, `None` when no response arrived."""
    log_id: str | None = None
    """`cf-aig-log-id`: finds the log in the dashboard, takes feedback."""
    request_id: str | None = None
    """`cf-aig-request-id`."""
    event_id: str | None = None
    """`cf-aig-event-id`: your own, echoed."""
    cache_status: str | None = None
    """`cf-aig-cache-status`: `HIT` or `MISS`."""
    step: int | None = None
    """`cf-aig-step`: 0 for the primary target, then the index of the fallback."""
    model: str | None = None
    """`cf-aig-model`: what served a dynamic route; see `request_model` for the one asked for."""
    provider: str | None = None
    """`cf-aig-provider`: who served a dynamic route."""
    routed_model: str | None = None
    """`cf-aig-routed-model`: what the Auto Router chose, as `openai/gpt-5.6-luna`."""
    routing_reason: str | None = None
    """`cf-aig-routing-reason`: why, as `cost_optimal_within_pool` or `pinned_by_turn`."""
    routing_decision_id: str | None = None
    """`cf-aig-routing-decision-id`: the Auto Router's id for the choice."""
    dlp: Mapping[str, Any] | None = field(default=None, hash=False)
    """`cf-aig-dlp`: findings and action of data loss prevention."""
    buffered: bool = False
    """The gateway sent one JSON response to a streamed request (guardrails, response DLP)."""
    direct: bool = False
    """The gateway was down, and the request went to Mistral directly (`fallback="direct"`)."""
    routed: Literal["gateway", "direct", "elsewhere"] = "gateway"
    """`gateway`: through it. `direct`: to Mistral as a fallback. `elsewhere`: past the gateway by
    your own wish (`server_url=`, or a connection that the SDK opens itself): `path` is the whole
    path then, and no header is read."""
    operation: str | None = None
    """The SDK's method, as `chat.complete`, `chat.stream` or `embeddings.create`."""
    request_model: str | None = None
    """The model that was asked for; `None` where the request's body is not JSON, as an upload."""
    # What is known later is no part of the hash: a call may be in a set by then.
    response_model: str | None = field(default=None, hash=False)
    """The model that the response names."""
    usage: Usage | None = field(default=None, hash=False)
    """Tokens and pages, as the response says; of a stream, its last event that says so. A cache
    `HIT` has one, and uses no tokens."""
    time_to_first_event: float | None = field(default=None, hash=False)
    """Seconds from the request to the stream's first data; `None` where nothing is streamed."""
    duration: float | None = field(default=None, hash=False)
    """Seconds from the request to the end of the body or stream; `None` while it is not over."""
    outcome: Outcome | None = field(default=None, hash=False)
    """`ok`; `error`: an HTTP error, an error in the stream, or a redirect that was refused;
    `abandoned`: the caller closed or dropped the stream, or was cancelled; `broken`: no response,
    or it broke off. `None` while the call is not over, and for a connection of the SDK's own."""
    error_code: int | None = field(default=None, hash=False)
    """The gateway's code for the error, as 2003: see `GatewayError.code`. `None` for Mistral's."""

    __repr__ = show_set_fields


document_attributes(GatewayCall)
shorten_signatures(GatewayCall)
set_public_module(GatewayCall)
