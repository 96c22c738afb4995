"""On a span that is not the SDK's own, each exchange is an event, and nothing else is written."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor

import pytest
from call_modes import ASYNC, STREAM, SYNC
from http_records import CHAT, KEY, TOKEN, Reply, completion
from retry_configs import retries
from span_records import current_span, events, has_facts

from mistral_cf_adapter import GatewayError, GatewaySettings, gateway_options, make_client, patch
from mistral_cf_adapter._sdk import Mistral, SDKError, httpx

MODELS = Reply(200, {"object": "list", "data": []})
REFUSED = {"success": False, "error": [{"code": 2016, "message": "Blocked"}]}


def hit(**headers):
    reply = completion()
    reply.headers |= {"cf-aig-cache-status": "HIT", **headers}
    return reply


def test_two_calls_in_a_span_are_two_events_whose_facts_do_not_mix(gateway, client):
    gateway.replies += [hit(**{"cf-aig-log-id": "log-1"}), MODELS]
    with current_span() as span:
        SYNC.chat(client)
        client.models.list()
    chat, models = events(span)
    assert (chat["path"], chat["cache_status"], chat["log_id"]) == (CHAT, "HIT", "log-1")
    assert models["path"] == "/v1/models"
    assert models.keys() == {"method", "path", "attempt", "elapsed", "status_code"}
    assert not has_facts(span)


def test_every_way_of_calling_writes_one_event(client, mode):
    with current_span() as span:
        mode.chat(client)
    (event,) = events(span)
    assert (event["path"], event["status_code"]) == (CHAT, 200)
    assert len(span.events) == 1
    assert not span.attributes
    assert not {TOKEN, KEY} & {str(value) for value in event.values()}


def test_patched_clients_write_events_too(settings, ssl_context, async_http, mode):
    with httpx.Client(verify=ssl_context) as http:
        clients = {"client": http, "async_client": async_http}
        older = Mistral(api_key=KEY, **clients)
        with patch(older, settings=settings), patch(settings=settings), current_span() as span:
            mode.chat(older)
            mode.chat(Mistral(api_key=KEY, **clients))
    assert len(events(span)) == 2
    assert not has_facts(span)


def test_each_attempt_of_a_retried_call_is_an_event(gateway, settings):
    client = make_client(settings, retry_config=retries())
    gateway.replies += [Reply(503, {}), hit()]
    with current_span() as span:
        SYNC.chat(client)
    found = [(event["attempt"], event["status_code"]) for event in events(span)]
    assert found == [(1, 503), (2, 200)]
    assert "cache_status" not in events(span)[0]


@pytest.mark.parametrize(("status", "error"), [(401, SDKError), (424, GatewayError)])
def test_a_call_that_raises_is_an_event(gateway, client, mode, status, error):
    gateway.replies.append(Reply(status, REFUSED if error is GatewayError else {}))
    with current_span() as span, pytest.raises(error):
        mode.chat(client)
    (event,) = events(span)
    assert event["status_code"] == status


def test_fifty_tasks_in_a_span_write_fifty_events_each_with_its_own_facts(gateway, client):
    gateway.responder = _echo

    async def ask(number: int) -> None:
        with gateway_options(event_id=f"event-{number}"):
            await client.chat.complete_async(
                model="m", messages=[{"role": "user", "content": str(number)}]
            )

    async def all_at_once() -> None:
        await asyncio.gather(*map(ask, range(50)))

    with current_span() as span:
        asyncio.run(all_at_once())
    assert {each["event_id"] for each in events(span)} == {f"event-{n}" for n in range(50)}
    assert not has_facts(span)


def test_threads_write_on_the_span_of_their_own_context(gateway, client):
    gateway.responder = _echo

    def ask(number: int) -> None:
        with gateway_options(event_id=f"event-{number}"), current_span() as span:
            SYNC.chat(client)
            client.models.list()
            assert [event["event_id"] for event in events(span)] == [f"event-{number}"] * 2

    with ThreadPoolExecutor(8) as threads:
        for result in [threads.submit(contextvars.copy_context().run, ask, n) for n in range(24)]:
            result.result()


def test_open_streams_write_at_their_headers(client):
    with current_span() as span:
        first, second = (
            client.chat.stream(model="m", messages=[{"role": "user", "content": "Hello"}])
            for _ in range(2)
        )
        assert len(events(span)) == 2
        for stream in (second, first):
            with stream as found:
                list(found)
    assert len(events(span)) == 2


def test_a_call_within_a_call_has_an_event_of_its_own(gateway, settings):
    inner = make_client(settings)

    def ask_first(_request) -> None:
        inner.models.list()

    gateway.replies += [MODELS, hit()]
    with httpx.Client(event_hooks={"request": [ask_first]}) as http:
        client = make_client(settings, client=http)
        with current_span() as span:
            SYNC.chat(client)
    models, chat = events(span)
    assert (models["path"], chat["path"]) == ("/v1/models", CHAT)
    assert "cache_status" not in models
    assert chat["cache_status"] == "HIT"


@pytest.mark.parametrize(
    "scope",
    ["openinference.instrumentation.mistralai", "opentelemetry.instrumentation.mistralai"],
)
def test_a_span_of_an_instrumentor_of_the_sdk_is_left_as_it_is(client, scope, mode):
    with current_span(scope) as span:
        mode.chat(client)
    assert (span.events, dict(span.attributes)) == ((), {})


@pytest.mark.parametrize("scope", ["mistral-shop", "opentelemetry.instrumentation.fastapi"])
def test_a_span_of_any_other_tracer_gets_the_event(client, scope):
    with current_span(scope) as span:
        ASYNC.chat(client)
    assert len(events(span)) == 1


def test_otel_false_writes_nothing(make_settings, mode):
    client = make_client(make_settings(otel="false"))
    with current_span() as span:
        mode.chat(client)
    assert (span.events, dict(span.attributes)) == ((), {})


def test_the_variable_turns_it_off_under_patch_too(gateway, monkeypatch):
    monkeypatch.setenv("CF_AIG_BASE_URL", gateway.base_url)
    monkeypatch.setenv("CF_AIG_OTEL", "false")
    assert GatewaySettings().otel is False
    with patch(), current_span() as span:
        STREAM.chat(Mistral(api_key=KEY))
    assert not span.events


def _echo(request):
    reply = completion() if request.path.endswith(CHAT) else MODELS
    identifier = {"cf-aig-event-id": request.gateway["cf-aig-event-id"]}
    return Reply(reply.status, reply.body, {**reply.headers, **identifier})
