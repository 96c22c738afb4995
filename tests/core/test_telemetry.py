"""OpenTelemetry's metrics of each call, and a span where neither SDK nor instrumentor makes one."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest
from call_modes import SYNC
from http_records import KEY, TOKEN, Reply, completion
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from span_records import current_span, events

from mistral_cf_adapter import GatewayConfigError, GatewayError, make_client, on_call
from mistral_cf_adapter._sdk import Mistral

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "mistral-small-latest"
DURATION = "gen_ai.client.operation.duration"
TOKENS = "gen_ai.client.token.usage"
FIRST = "gen_ai.client.operation.time_to_first_chunk"
BLOCKED = {"success": False, "error": [{"code": 2016, "message": "Prompt blocked"}]}


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """Metrics of the whole process, for one test."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "_METER_PROVIDER", provider)
    yield reader
    provider.shutdown()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Spans of the whole process, for one test; the SDK makes none unless it is asked to."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield memory
    provider.shutdown()


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_a_call_is_measured(gateway, make_settings, reader, mode):
    gateway.responder = None
    mode.chat(make_client(make_settings(otel_metrics=True)))
    found = points(reader)
    (duration,) = found[DURATION]
    operation = "chat.stream" if mode.is_stream else "chat.complete"
    assert dict(duration.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
        "cf.aig.operation": operation,
        "cf.aig.outcome": "ok",
        "cf.aig.routed": "gateway",
    }
    assert duration.count == 1
    assert duration.explicit_bounds[:2] == (0.01, 0.02)
    assert (FIRST in found) is mode.is_stream
    if not mode.is_stream:
        counts = {each.attributes["gen_ai.token.type"]: each.sum for each in found[TOKENS]}
        assert counts == {"input": 1, "output": 1}


def test_a_response_of_the_cache_has_used_no_tokens(gateway, make_settings, reader):
    gateway.replies.append(completion())
    gateway.replies[0].headers["cf-aig-cache-status"] = "HIT"
    SYNC.chat(make_client(make_settings(otel_metrics=True)))
    found = points(reader)
    assert TOKENS not in found
    assert found[DURATION][0].attributes["cf.aig.cache_status"] == "HIT"


def test_an_error_has_its_type(gateway, make_settings, reader, mode):
    gateway.replies.append(Reply(424, BLOCKED))
    with pytest.raises(GatewayError):
        mode.chat(make_client(make_settings(otel_metrics=True)))
    (duration,) = points(reader)[DURATION]
    assert duration.attributes["error.type"] == "2016"
    assert duration.attributes["cf.aig.error_code"] == 2016


def test_a_stream_that_the_garbage_collector_drops_is_measured_later(make_settings, reader):
    client = make_client(make_settings(otel_metrics=True))
    events = client.chat.stream(model=MODEL, messages=[{"role": "user", "content": "x"}])
    events.itself = events
    del events
    gc.collect()
    assert DURATION not in points(reader)
    SYNC.chat(client)
    found = points(reader)[DURATION]
    assert {each.attributes["cf.aig.outcome"] for each in found} == {"abandoned", "ok"}


@pytest.mark.parametrize("values", [{}, {"otel": "false", "otel_metrics": True, "otel_spans": 1}])
def test_it_is_off_by_default_and_with_otel_off(make_settings, reader, spans, mode, values):
    mode.chat(make_client(make_settings(**values)))
    assert points(reader) == {}
    assert spans.get_finished_spans() == ()


def test_a_call_has_a_span_of_its_own(make_settings, spans, mode):
    client = make_client(make_settings(otel_spans=True))
    with trace.get_tracer("test").start_as_current_span("mine"):
        mode.chat(client)
    own, mine = sorted(spans.get_finished_spans(), key=lambda span: span.name == "mine")
    assert own.name == f"chat {MODEL}"
    assert own.kind is trace.SpanKind.CLIENT
    assert own.parent.span_id == mine.context.span_id
    assert own.attributes["gen_ai.response.model"] == MODEL
    assert own.attributes["cf.aig.status_code"] == 200
    assert mine.start_time <= own.start_time < own.end_time
    assert own.status.status_code is StatusCode.UNSET
    assert events(mine) == []
    assert not {TOKEN, KEY} & {str(value) for value in own.attributes.values()}


def test_the_span_of_a_call_that_fails_has_the_error(gateway, make_settings, spans, mode):
    gateway.replies.append(Reply(424, BLOCKED))
    with pytest.raises(GatewayError):
        mode.chat(make_client(make_settings(otel_spans=True)))
    (own,) = spans.get_finished_spans()
    assert own.status.status_code is StatusCode.ERROR
    assert (own.attributes["error.type"], own.attributes["cf.aig.error_code"]) == ("2016", 2016)


def test_the_span_of_an_instrumentor_is_enough(make_settings, spans, mode):
    client = make_client(make_settings(otel_spans=True))
    with current_span("openinference.instrumentation.mistralai") as span:
        mode.chat(client)
    assert spans.get_finished_spans() == ()
    assert span.events == ()


@pytest.mark.skipif(not Mistral.__module__.startswith("mistralai.client"), reason="makes no spans")
def test_the_sdks_own_span_is_enough(make_settings, spans, mode, monkeypatch):
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    mode.chat(make_client(make_settings(otel_spans=True)))
    (sdks,) = spans.get_finished_spans()
    assert sdks.instrumentation_scope.name != "mistral_cf_adapter"
    assert sdks.attributes["cf.aig.status_code"] == 200


def test_an_exporter_that_fails_harms_no_call(make_settings, spans, mode, monkeypatch, caplog):
    def fail(*_args, **_kwargs):
        raise RuntimeError

    client = make_client(make_settings(otel_spans=True))
    monkeypatch.setattr(TracerProvider, "get_tracer", fail)
    mode.chat(client)
    mode.chat(client)
    assert [each.message for each in caplog.records if each.name == "mistral_cf_adapter"] == [
        "OpenTelemetry refused a call; this is logged once"
    ]


@pytest.mark.parametrize("variable", ["CF_AIG_OTEL_METRICS", "CF_AIG_OTEL_SPANS"])
def test_without_opentelemetry_it_is_refused(make_settings, monkeypatch, variable):
    monkeypatch.setenv(variable, "true")
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(GatewayConfigError, match=variable):
        make_client(make_settings())


def test_a_call_that_a_function_of_on_call_makes_is_measured_too(make_settings, reader):
    client = make_client(make_settings(otel_metrics=True))
    with on_call(lambda _call: client.models.list()):
        SYNC.chat(client)
    measured = {each.attributes["cf.aig.operation"] for each in points(reader)[DURATION]}
    assert measured == {"chat.complete", "models.list"}
