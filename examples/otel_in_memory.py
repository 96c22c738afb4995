"""OpenTelemetry metrics and spans of each call, in memory; put your exporters in their place.

uv run examples/otel_in_memory.py

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]", "opentelemetry-sdk>=1.30"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mistral_cf_adapter import GatewaySettings, make_client


def configure():
    """Set the providers of the process; return what collects."""
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    metrics.set_meter_provider(MeterProvider([reader]))
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return reader, exporter


def main():
    reader, exporter = configure()
    # Or CF_AIG_OTEL_METRICS=true and CF_AIG_OTEL_SPANS=true.
    client = make_client(GatewaySettings(otel_metrics=True, otel_spans=True))
    question = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}
    with trace.get_tracer("shop").start_as_current_span("checkout"):
        client.chat.complete(**question)
        for _ in client.chat.stream(**question):
            pass
    show(reader.get_metrics_data(), exporter.get_finished_spans())


def show(data, spans):
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                count = sum(point.count for point in metric.data.data_points)
                print(f"metric {metric.name} [{metric.unit}]: {count} values")
    for span in spans:
        facts = span.attributes
        print(f"span {span.name}: {facts.get('cf.aig.outcome')}, log {facts.get('cf.aig.log_id')}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway():
        main()
