"""What happened: one `GatewayCall` for every exchange with the gateway."""

import json
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

from . import _spans
from ._public import set_public_module

logger = logging.getLogger("mistral_cf_adapter")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCall:
    """The facts of one exchange, from the gateway's response headers.

    A header that the gateway did not send is `None`. The headers are documented at
    https://developers.cloudflare.com/ai-gateway/ ; none of them holds a secret.
    `elapsed` is in seconds, to the answer's headers, or to its end if it is not streamed.

    Example:
        >>> facts = {"method": "GET", "path": "/v1/models", "attempt": 1, "status_code": 200}
        >>> call = GatewayCall(**facts, elapsed=0.25)
        >>> call.log_id is None
        True
    """

    method: str
    """HTTP method."""
    path: str
    """Path below the provider, as `/v1/chat/completions`."""
    attempt: int
    """1 for the first try of an SDK call, then one more for each retry of the SDK."""
    elapsed: float
    """Seconds until the answer's headers arrived (until its end, if it is not streamed)."""
    status_code: int | None
    """HTTP status, `None` when no answer arrived."""
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
    """`cf-aig-model`: what served a dynamic route."""
    provider: str | None = None
    """`cf-aig-provider`: who served a dynamic route."""
    dlp: Mapping[str, Any] | None = None
    """`cf-aig-dlp`: findings and action of data loss prevention."""
    buffered: bool = False
    """The gateway answered a streamed request in one piece (guardrails, response DLP)."""
    direct: bool = False
    """The gateway was down, and the request went to Mistral directly (`fallback="direct"`)."""
    routed: Literal["gateway", "direct", "elsewhere"] = "gateway"
    """`gateway`: through it. `direct`: to Mistral as a fallback. `elsewhere`: past the gateway by
    your own wish (`server_url=`, or a connection that the SDK opens itself): `path` is the whole
    path then, and no header is read."""


_FIELDS = {
    f"cf-aig-{name.replace('_', '-')}".encode(): name
    for name in (
        *("log_id", "request_id", "event_id", "cache_status"),
        *("step", "model", "provider", "dlp"),
    )
}

_sinks: ContextVar[tuple[list[GatewayCall], ...]] = ContextVar(
    "mistral_cf_adapter._capture", default=()
)


@contextmanager
def capture() -> Generator[list[GatewayCall], None, None]:
    """Collect a `GatewayCall` for every exchange in the block, in the order they ended.

    Works for sync, async, streamed and retried calls; blocks nest, and each sees the calls of
    the blocks within. Tasks and threads started inside (with a copy of the context) report
    to the same list.

    Example:
        >>> from mistral_cf_adapter.testing import LocalGateway  # needs no account
        >>> with LocalGateway() as gateway, capture() as calls:
        ...     models = make_client(gateway.settings()).models.list()
        >>> [(call.path, call.status_code) for call in calls]
        [('/v1/models', 200)]
        >>> calls[-1].log_id == gateway.logs[-1].id
        True
    """
    calls: list[GatewayCall] = []
    _sinks.set((*_sinks.get(), calls))
    try:
        yield calls
    finally:
        # No reset(token): a block may end in another context than it began in.
        _sinks.set(tuple(sink for sink in _sinks.get() if sink is not calls))


def report(  # noqa: PLR0913
    request: Any,
    response: Any,
    facts: Mapping[str, Any],
    elapsed: float,
    *,
    mask: Callable[[str], str] = str,
    otel: bool = True,
) -> None:
    """Tell whoever listens of an exchange: capture() blocks, the logger, a span.

    Args:
        request: The SDK's own request.
        response: What arrived, `None` if nothing did.
        facts: Fields of `GatewayCall` that the response does not tell.
        elapsed: Seconds.
        mask: Masks in a text the secrets that the request carried.
        otel: Write on a span.
    """
    sinks = _sinks.get()
    write = _spans.get_writer(request) if otel else None
    is_told = write is not None or logger.isEnabledFor(logging.DEBUG)
    if not sinks and not is_told:
        return
    status_code = None if response is None else response.status_code
    told_by_gateway: dict[str, Any] = {}
    if response is not None and facts.get("routed") != "elsewhere":
        told_by_gateway = _from_headers(response.headers, mask)
    call = GatewayCall(**facts, **told_by_gateway, elapsed=elapsed, status_code=status_code)
    for sink in sinks:
        sink.append(call)
    if not is_told:
        return
    told = _told(call)
    if write is not None:
        write({f"cf.aig.{name}": value for name, value in told.items()})
    logger.debug("%s", " ".join(f"{name}={value}" for name, value in told.items()))


def _from_headers(headers: Any, mask: Callable[[str], str]) -> dict[str, Any]:
    """Return what the gateway tells, in one pass over the raw headers."""
    found: dict[str, Any] = {}
    for name, value in headers.raw:
        field = _FIELDS.get(name.lower())
        if field is not None:
            found[field] = value.decode(headers.encoding)
    texts = "\n".join(found.values())
    if mask(texts) != texts:
        found = {field: mask(text) for field, text in found.items()}
    if "step" in found:
        found["step"] = _int(found["step"])
    if "dlp" in found:
        found["dlp"] = _object(found["dlp"])
    return found


def _int(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdecimal() and len(value) < 10 else None


def _object(value: str | None) -> Mapping[str, Any] | None:
    if value is None:
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else None


def _told(call: GatewayCall) -> dict[str, str | int | float | bool]:
    """Return the facts worth a line: those that are set, and none that is nested."""
    told = {field.name: getattr(call, field.name) for field in fields(call)}
    told["elapsed"] = round(call.elapsed, 4)
    return {
        name: value
        for name, value in told.items()
        if value is not None
        and value is not False
        and name != "dlp"
        and (name, value) != ("routed", "gateway")
    }


set_public_module(GatewayCall, capture)
