"""With OpenTelemetry, the facts of a call are on the SDK's own span of that call."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from call_modes import ASYNC, STREAM, SYNC
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from retry_configs import retries
from span_records import events

from mistral_cf_adapter import GatewayError, capture, gateway_options, make_client, patch
from mistral_cf_adapter._sdk import ROOT, Mistral, SDKError, httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_cf_adapter.testing import LocalGateway

# 1.9 makes no spans of its own; in 2.x and 3.x they are asked for with a variable.
TRACES = find_spec(f"{ROOT}._hooks.tracing") is not None
# Until 2.4.0 the hook that makes spans holds the span, from 2.4.4 on the request does.
ON_HOOK = TRACES and "request_span" in vars(import_module(f"{ROOT}._hooks.tracing").TracingHook())
HELLO = [{"role": "user", "content": "Hello"}]
MODEL = "gen_ai.request.model"

sdk_traces = pytest.mark.skipif(not TRACES, reason="this SDK makes no spans")


@pytest.fixture
def gateway(local_gateway: LocalGateway) -> LocalGateway:
    return local_gateway


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Trace the whole process, as an application does, for one test."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    yield memory
    provider.shutdown()


@pytest.fixture
def client(gateway: LocalGateway, exporter: InMemorySpanExporter) -> Any:
    return make_client(gateway.settings())


def facts(exporter: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in exporter.get_finished_spans()]


@sdk_traces
def test_the_facts_are_on_the_sdks_span(client, exporter, mode):
    with capture() as calls, gateway_options(event_id="event-1"):
        mode.chat(client)
    (found,) = facts(exporter)
    assert found["cf.aig.log_id"] == calls[0].log_id is not None
    assert found["cf.aig.event_id"] == "event-1"
    assert found["cf.aig.status_code"] == 200
    assert found[MODEL] == "mistral-small-latest"


@sdk_traces
def test_the_sdks_span_is_preferred_to_the_one_around_the_call(client, exporter, mode):
    with trace.get_tracer("test").start_as_current_span("mine"):
        mode.chat(client)
    spans = exporter.get_finished_spans()
    (mine,) = [span for span in spans if span.name == "mine"]
    (sdks,) = [span for span in spans if span is not mine]
    assert "cf.aig.log_id" in sdks.attributes
    assert "cf.aig.log_id" not in mine.attributes
    assert sdks.parent.span_id == mine.context.span_id


@pytest.mark.skipif(TRACES, reason="this SDK makes spans")
def test_an_sdk_without_spans_leaves_the_facts_to_the_span_around(client, exporter, mode):
    with trace.get_tracer("test").start_as_current_span("mine"):
        mode.chat(client)
    (mine,) = exporter.get_finished_spans()
    (event,) = events(mine)
    assert event["status_code"] == 200


@sdk_traces
def test_each_of_fifty_tasks_has_its_own_facts_on_its_own_span(client, exporter):
    async def ask(number: int) -> None:
        with gateway_options(event_id=f"event-of-model-{number}"):
            await client.chat.complete_async(model=f"model-{number}", messages=HELLO)

    async def all_at_once() -> None:
        await asyncio.gather(*map(ask, range(50)))

    asyncio.run(all_at_once())
    check_own(exporter, 50)


@sdk_traces
def test_each_of_fifty_calls_in_threads_has_its_own_facts_on_its_own_span(client, exporter):
    def ask(number: int) -> None:
        with gateway_options(event_id=f"event-of-model-{number}"):
            client.chat.complete(model=f"model-{number}", messages=HELLO)

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(ask, range(50)))
    check_own(exporter, 50)


@sdk_traces
def test_each_of_ten_open_streams_has_its_own_facts_on_its_own_span(client, exporter):
    streams = []
    for number in range(10):
        with gateway_options(event_id=f"event-of-model-{number}"):
            streams.append(client.chat.stream(model=f"model-{number}", messages=HELLO))
    for stream in streams:
        with stream as events:
            assert len(list(events)) > 1
    check_own(exporter, 10)


def check_own(exporter: InMemorySpanExporter, count: int) -> None:
    found = facts(exporter)
    assert len({each["cf.aig.log_id"] for each in found}) == len(found) == count
    for each in found:
        assert each["cf.aig.event_id"] == f"event-of-{each[MODEL]}"


@sdk_traces
def test_each_attempt_of_a_retried_call_tells_its_own(gateway, exporter):
    client = make_client(gateway.settings(), retry_config=retries())
    gateway.upstream_fail(503)
    with capture() as calls:
        SYNC.chat(client)
    assert [call.attempt for call in calls] == [1, 2]
    found = {each.get("cf.aig.log_id") for each in facts(exporter)}
    assert calls[-1].log_id in found


@sdk_traces
@pytest.mark.parametrize("same", [True, False], ids=["same client", "another client"])
def test_a_call_within_a_call_has_its_own_facts_on_its_own_span(gateway, exporter, same):
    clients = []

    def ask_first(request):
        if not request.url.path.endswith("/models"):
            clients[-1].models.list()

    with httpx.Client(event_hooks={"request": [ask_first]}) as http:
        clients = [make_client(gateway.settings(), client=http)]
        if not same:
            clients.append(make_client(gateway.settings()))
        with capture() as calls:
            SYNC.chat(clients[0])
    models, chat = calls
    found = {each["cf.aig.path"]: each["cf.aig.log_id"] for each in facts(exporter)}
    assert found == {models.path: models.log_id, chat.path: chat.log_id}


@sdk_traces
def test_otel_false_writes_nothing_on_the_sdks_span(gateway, exporter, mode):
    mode.chat(make_client(gateway.settings(otel="false")))
    (found,) = facts(exporter)
    assert MODEL in found
    assert not [name for name in found if name.startswith("cf.aig.")]


@sdk_traces
def test_an_error_of_mistral_is_on_the_sdks_span(gateway, client, exporter, plain_mode):
    gateway.upstream_fail(401)
    with capture() as calls, pytest.raises(SDKError):
        plain_mode.chat(client)
    (found,) = facts(exporter)
    assert (found["cf.aig.status_code"], found["cf.aig.log_id"]) == (401, calls[0].log_id)


@sdk_traces
@pytest.mark.skipif(ON_HOOK, reason="this SDK ends no span where sending raises, even bare")
def test_an_error_of_the_gateway_is_on_the_sdks_span(gateway, client, exporter, plain_mode):
    gateway.fail(2016)
    with pytest.raises(GatewayError):
        plain_mode.chat(client)
    (found,) = facts(exporter)
    assert found["cf.aig.status_code"] == 424


@sdk_traces
def test_a_call_that_raised_leaves_no_span_to_the_next_one(gateway, client, exporter, plain_mode):
    gateway.fail(2016)
    with pytest.raises(GatewayError):
        plain_mode.chat(client)
    exporter.clear()
    with capture() as calls:
        plain_mode.chat(client)
    (found,) = facts(exporter)
    assert found["cf.aig.log_id"] == calls[0].log_id


@sdk_traces
def test_a_stream_in_one_piece_is_a_stream_to_the_sdks_tracing(gateway, client, exporter, caplog):
    gateway.guardrails = True
    with caplog.at_level(logging.WARNING):
        STREAM.chat(client)
    (found,) = facts(exporter)
    assert found["cf.aig.buffered"] is True
    assert not [record for record in caplog.records if record.name.startswith("mistralai")]


@sdk_traces
def test_patched_clients_tell_it_too_built_before_or_after(gateway, exporter, monkeypatch):
    for name, value in gateway.env().items():
        monkeypatch.setenv(name, value)
    before = Mistral(api_key=gateway.mistral_api_key)
    with patch():
        for client in (before, Mistral(api_key=gateway.mistral_api_key)):
            SYNC.chat(client)
    found = facts(exporter)
    assert len(found) == 2
    assert all("cf.aig.log_id" in each for each in found)


@sdk_traces
def test_no_secret_is_on_a_span(gateway, client, exporter):
    ASYNC.chat(client)
    found = str(facts(exporter))
    assert gateway.token not in found
    assert gateway.mistral_api_key not in found


def test_the_sdks_own_hook_is_given_back(gateway, exporter):
    theirs = Mistral(api_key="k")
    hooks = theirs.sdk_configuration.__dict__["_hooks"].before_request_hooks
    before = [type(hook) for hook in hooks]
    with patch(theirs, settings=gateway.settings()):
        changed = [type(hook) for hook in hooks] != before
    assert [type(hook) for hook in hooks] == before
    assert changed is ON_HOOK
