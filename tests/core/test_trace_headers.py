"""The gateway is told which trace a call belongs to, with and without a `traceparent`."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from call_modes import SYNC
from http_records import KEY, Reply, completion
from opentelemetry import propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from span_records import current_span
from test_spans import sdk_traces

from mistral_cf_adapter import gateway_options, make_client, patch
from mistral_cf_adapter._sdk import Mistral, httpx

TRACE_ID = "cf-aig-otel-trace-id"
PARENT_ID = "cf-aig-otel-parent-span-id"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def ids(span):
    context = span.get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def sent(request):
    return request.header(TRACE_ID), request.header(PARENT_ID)


def test_the_current_spans_ids_are_sent(gateway, client, mode):
    with current_span() as span:
        mode.chat(client)
    assert sent(gateway.last) == ids(span)
    assert gateway.last.header("traceparent") is None


def test_patched_clients_send_them(gateway, settings, ssl_context, async_http, mode):
    with httpx.Client(verify=ssl_context) as http:
        theirs = Mistral(api_key=KEY, client=http, async_client=async_http)
        with patch(theirs, settings=settings), current_span() as span:
            mode.chat(theirs)
    assert sent(gateway.last) == ids(span)


def test_without_a_span_nothing_is_sent(gateway, client, mode):
    mode.chat(client)
    assert sent(gateway.last) == (None, None)


def test_instrumentation_that_writes_its_header_in_the_transport_comes_too_late(gateway, settings):
    """As `opentelemetry-instrument` does: its span is below the current one."""

    class Instrumented(httpx.HTTPTransport):
        def handle_request(self, request):
            with current_span() as below:
                trace_id, span_id = ids(below)
                request.headers["traceparent"] = f"00-{trace_id}-{span_id}-01"
                return super().handle_request(request)

    with (
        httpx.Client(transport=Instrumented()) as http,
        current_span() as span,
    ):
        SYNC.chat(make_client(settings, client=http))
    trace_id, parent_id = ids(span)
    assert sent(gateway.last) == (trace_id, parent_id)
    assert gateway.last.header("traceparent").split("-")[1] == trace_id


def test_a_traceparent_wins_over_the_current_span(gateway, client, mode):
    with current_span():
        mode.chat(client, http_headers={"traceparent": TRACEPARENT})
    assert sent(gateway.last) == tuple(TRACEPARENT.split("-")[1:3])


@pytest.mark.parametrize(
    "given",
    [
        "junk",
        TRACEPARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        TRACEPARENT.replace("b7ad6b7169203331", "0" * 16),
        "ff" + TRACEPARENT[2:],
    ],
)
def test_a_traceparent_that_is_none_is_not_made_up_for(gateway, client, given):
    with current_span():
        SYNC.chat(client, http_headers={"traceparent": given})
    assert sent(gateway.last) == (None, None)


@pytest.mark.parametrize("headers", [{}, {"traceparent": TRACEPARENT}])
@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"otel_trace_id": "a" * 32}, ("a" * 32, None)),
        ({"otel_parent_span_id": "b" * 16}, (None, "b" * 16)),
    ],
)
def test_an_id_that_is_stated_is_not_paired_with_one_of_another_trace(
    gateway, client, option, expected, headers
):
    with current_span(), gateway_options(**option):
        SYNC.chat(client, http_headers=headers)
    assert sent(gateway.last) == expected


@pytest.mark.parametrize("headers", [{}, {"traceparent": TRACEPARENT}])
def test_otel_false_sends_stated_ids_alone(gateway, make_settings, headers):
    client = make_client(make_settings(otel="false"))
    with current_span():
        SYNC.chat(client, http_headers=headers)
        assert sent(gateway.last) == (None, None)
        with gateway_options(otel_trace_id="a" * 32, otel_parent_span_id="b" * 16):
            SYNC.chat(client, http_headers=headers)
    assert sent(gateway.last) == ("a" * 32, "b" * 16)


def test_another_host_is_not_told(gateway, elsewhere, client):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/x"))
    elsewhere.replies.append(completion())
    with current_span() as span:
        SYNC.chat(client)
    assert sent(gateway.last) == ids(span)
    assert sent(elsewhere.last) == (None, None)


@sdk_traces
def test_the_sdks_own_span_is_the_parent_with_propagators_other_than_w3c(
    gateway, settings, monkeypatch, mode
):
    """As with `OTEL_PROPAGATORS=b3`: the SDK injects no `traceparent`."""
    provider = TracerProvider(shutdown_on_exit=False)
    started = []
    provider.add_span_processor(_Started(started))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    monkeypatch.setattr(propagate, "propagators", [])
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", CompositePropagator([]))
    with current_span() as around:
        mode.chat(make_client(settings))
    (sdks,) = started
    assert gateway.last.header("traceparent") is None
    assert sent(gateway.last) == ids(sdks)
    assert ids(sdks)[0] == ids(around)[0]


class _Started:
    def __init__(self, spans):
        self.spans = spans

    def on_start(self, span, parent_context=None):
        self.spans.append(span)

    def on_end(self, span):
        pass

    _on_ending = on_end

    def shutdown(self):
        pass


def test_opentelemetry_is_not_imported_for_it(gateway, client, monkeypatch):
    with current_span():
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")
        SYNC.chat(client)
        assert "opentelemetry.trace" not in sys.modules
    assert sent(gateway.last) == (None, None)


def test_a_span_of_datadogs_own_tracer_counts(gateway, client, monkeypatch, mode):
    """`ddtrace-run` imports `ddtrace.trace`, whose ids are numbers."""
    module = ModuleType("ddtrace.trace")
    span = SimpleNamespace(trace_id=0x6B08098900000000CDB9D7A404E0818D, span_id=0xD4C9A24A8CF13F88)
    module.tracer = SimpleNamespace(current_span=lambda: span)
    monkeypatch.setitem(sys.modules, "ddtrace.trace", module)
    mode.chat(client)
    assert sent(gateway.last) == ("6b08098900000000cdb9d7a404e0818d", "d4c9a24a8cf13f88")


def test_datadogs_tracer_without_a_span_sends_nothing(gateway, client, monkeypatch):
    module = ModuleType("ddtrace.trace")
    module.tracer = SimpleNamespace(current_span=lambda: None)
    monkeypatch.setitem(sys.modules, "ddtrace.trace", module)
    SYNC.chat(client)
    assert sent(gateway.last) == (None, None)
