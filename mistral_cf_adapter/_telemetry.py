"""OpenTelemetry's metrics of each call, and a span where neither SDK nor instrumentor makes one.

Names and attributes are those of the semantic conventions for generative AI, which are in
development (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/), with what the
gateway says as `cf.aig.*`.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from time import time_ns
from typing import Any

from ._call_log import flatten, logger, select
from ._gateway_call import GatewayCall
from ._listeners import cut_context
from ._options import GatewayConfigError

_SCOPE = "mistral_cf_adapter"
_SECONDS = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
_TOKENS = tuple(4**power for power in range(14))
_CHAT = frozenset({"chat", "agents", "conversations"})
_NAMES = {"fim": "text_completion", "embeddings": "embeddings"}
_ON_METRICS = ("operation", "outcome", "routed", "cache_status", "error_code", "step")
"""Facts of the gateway with few values: each set of values is a time series."""


class Telemetry:
    """What a client's calls leave in OpenTelemetry."""

    def __init__(self, *, metrics: bool, spans: bool) -> None:
        self.metrics = metrics
        self.spans = spans
        self._api = _load("opentelemetry.metrics")
        self._trace = _load("opentelemetry.trace")
        self._provider: Any = None
        self._instruments: tuple[Any, Any, Any] = None, None, None
        self._has_failed = False

    def begin(self, *, needs_span: bool) -> "CallTelemetry":
        """Return what writes one call, in the context of now."""
        context = _load("opentelemetry.context").get_current() if needs_span else None
        return CallTelemetry(self, context)

    def write(self, call: GatewayCall, context: Any) -> None:
        """Write a call that is over; what goes wrong is logged, once, and harms no call."""
        calls_error = sys.exception()
        try:
            if self.metrics:
                self._measure(call)
            if context is not None:
                self._make_span(call, context)
        except Exception as error:  # noqa: BLE001 - of an exporter or a processor of spans
            if not self._has_failed:
                self._has_failed = True
                cut_context(error, calls_error)
                logger.warning("OpenTelemetry refused a call; this is logged once", exc_info=error)

    def _measure(self, call: GatewayCall) -> None:
        duration, tokens, first_chunk = self._get_instruments()
        attributes = _describe(call)
        facts = {name: getattr(call, name) for name in _ON_METRICS}
        shared = attributes | {
            f"cf.aig.{name}": value for name, value in facts.items() if value is not None
        }
        if call.duration is not None:
            duration.record(call.duration, shared)
        if call.time_to_first_event is not None:
            first_chunk.record(call.time_to_first_event, shared)
        for kind, count in _count_tokens(call).items():
            tokens.record(count, shared | {"gen_ai.token.type": kind})

    def _get_instruments(self) -> tuple[Any, Any, Any]:
        provider = self._api.get_meter_provider()
        if provider is not self._provider:
            meter = provider.get_meter(_SCOPE)
            self._instruments = (
                _histogram(meter, "gen_ai.client.operation.duration", "s", _SECONDS),
                _histogram(meter, "gen_ai.client.token.usage", "{token}", _TOKENS),
                _histogram(meter, "gen_ai.client.operation.time_to_first_chunk", "s", _SECONDS),
            )
            self._provider = provider
        return self._instruments

    def _make_span(self, call: GatewayCall, context: Any) -> None:
        end = time_ns()
        attributes = _describe(call)
        name = attributes["gen_ai.operation.name"]
        counts = {f"gen_ai.usage.{kind}_tokens": n for kind, n in _count_tokens(call).items()}
        facts = {f"cf.aig.{name}": value for name, value in select(flatten(call)).items()}
        span = self._trace.get_tracer(_SCOPE).start_span(
            f"{name} {call.request_model}" if call.request_model else name,
            context=context,
            kind=self._trace.SpanKind.CLIENT,
            attributes={**facts, **attributes, **counts},
            start_time=end - int((call.duration or 0.0) * 1e9),
        )
        if "error.type" in attributes and call.outcome != "abandoned":
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(end)


class CallTelemetry:
    """Writes one call when it is over, as a function of `on_call()` would."""

    is_async = False
    is_undone = False

    def __init__(self, telemetry: Telemetry, context: Any) -> None:
        self._telemetry = telemetry
        self._context = context

    def report(self, call: GatewayCall) -> None:
        """Write the call."""
        self._telemetry.write(call, self._context)


def make_telemetry(*, metrics: bool, spans: bool) -> Telemetry | None:
    """Return what writes the calls of a client, `None` if nothing is asked for.

    Raises:
        GatewayConfigError: it is asked for, and `opentelemetry-api` is not installed.
    """
    return Telemetry(metrics=metrics, spans=spans) if metrics or spans else None


def _load(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        msg = (
            "otel_metrics and otel_spans (CF_AIG_OTEL_METRICS, CF_AIG_OTEL_SPANS) need "
            "opentelemetry-api: install it, or drop them"
        )
        raise GatewayConfigError(msg) from None


def _histogram(meter: Any, name: str, unit: str, boundaries: tuple[float, ...]) -> Any:
    try:
        return meter.create_histogram(
            name, unit=unit, explicit_bucket_boundaries_advisory=boundaries
        )
    except TypeError:  # an API before 1.30
        return meter.create_histogram(name, unit=unit)


def _describe(call: GatewayCall) -> dict[str, Any]:
    """Return the attributes of a call that the conventions name."""
    operation = call.operation or f"{call.method} {call.routed}"
    owner = operation.partition(".")[0]
    attributes = {
        "gen_ai.operation.name": "chat" if owner in _CHAT else _NAMES.get(owner, operation),
        "gen_ai.provider.name": call.provider or "mistral_ai",
        "gen_ai.request.model": call.request_model,
        "gen_ai.response.model": call.response_model,
        "error.type": _name_error(call),
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _name_error(call: GatewayCall) -> str | None:
    if call.outcome == "error":
        return str(call.error_code or call.status_code or "error")
    return call.outcome if call.outcome in ("broken", "abandoned") else None


def _count_tokens(call: GatewayCall) -> Mapping[str, int]:
    """Return the tokens by their type; a cached response has used none."""
    if call.usage is None or call.cache_status == "HIT":
        return {}
    counts = {"input": call.usage.prompt_tokens, "output": call.usage.completion_tokens}
    return {kind: count for kind, count in counts.items() if count is not None}
