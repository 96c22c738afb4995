"""Gateway options: what is accepted, how it is written, and which of four places wins."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import inspect
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pytest
from call_modes import SYNC
from http_records import KEY
from hypothesis import given
from hypothesis import strategies as st

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewayOptions,
    gateway_headers,
    gateway_options,
    make_client,
)
from mistral_cf_adapter._options import get_current_scope, header_names


class Team(enum.Enum):
    SEARCH = "search"


class Level(enum.IntEnum):
    HIGH = 3


class Provider(str, enum.Enum):  # noqa: UP042 - its str() is not its value
    XAI = "xai"


# ---------------------------------------------------------------- how they are written

WRITTEN = [
    ({"cache_ttl": 60}, "60"),
    ({"cache_ttl": 2_592_000}, "2592000"),
    ({"skip_cache": True}, "true"),
    ({"skip_cache": False}, "false"),
    ({"cache_key": "a b/c"}, "a b/c"),
    ({"cache_key": ""}, ""),
    ({"metadata": {"team": "search", "n": 1, "x": 0.5, "on": True}}, None),
    ({"metadata": {}}, "{}"),
    ({"collect_log": False}, "false"),
    ({"collect_log_payload": False}, "false"),
    ({"request_timeout": 1}, "1"),
    ({"max_attempts": 1}, "1"),
    ({"max_attempts": 5}, "5"),
    ({"retry_delay": 0}, "0"),
    ({"retry_delay": 60_000}, "60000"),
    ({"backoff": "exponential"}, "exponential"),
    ({"custom_cost": {"per_token_in": 0.0000004}}, '{"per_token_in":0.0000004}'),
    ({"custom_cost": {"per_token_out": Decimal("1E-9")}}, '{"per_token_out":0.000000001}'),
    ({"custom_cost": {"per_cache_read_token": 0}}, '{"per_cache_read_token":0}'),
    ({"event_id": "order-17"}, "order-17"),
    ({"byok_alias": "prod"}, "prod"),
    ({"no_wholesale": True}, "true"),
    ({"otel_trace_id": "0af7651916cd43dd8448eb211c80319c"}, "0af7651916cd43dd8448eb211c80319c"),
    ({"otel_parent_span_id": "b7ad6b7169203331"}, "b7ad6b7169203331"),
    ({"session_id": "chat 17"}, "chat 17"),
    ({"turn_id": "3"}, "3"),
    ({"no_session_affinity": True}, "true"),
    ({"allowed_models": ["openai/*", "@cf/qwen/*"]}, "openai/*,@cf/qwen/*"),
    ({"allowed_models": ("openai/*",)}, "openai/*"),
    ({"allowed_models": "openai/*, xai/grok-4.5"}, "openai/*,xai/grok-4.5"),
    ({"allowed_models": '["openai/*", "xai/*"]'}, "openai/*,xai/*"),
    ({"allowed_providers": dict.fromkeys(["openai", "xai"]).keys()}, "openai,xai"),
    ({"allowed_providers": (name for name in ["openai", "xai"])}, "openai,xai"),
    ({"allowed_providers": [Provider.XAI]}, "xai"),
]


@pytest.mark.parametrize(("option", "text"), WRITTEN)
def test_an_option_is_written_as_its_header(option, text):
    (name,) = option
    header = gateway_headers(**option)
    assert list(header) == [f"cf-aig-{name.replace('_', '-')}"]
    if text is not None:
        assert list(header.values()) == [text]


def test_every_option_that_is_a_header_is_in_the_table_above():
    assert {name for option, _ in WRITTEN for name in option} == {*header_names()}


@pytest.mark.parametrize("name", header_names())
def test_none_is_an_empty_header_for_the_adapter_to_take_back(name):
    assert gateway_headers(**{name: None}) == {header_names()[name]: ""}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", '"plain"'),
        ("Zoë", '"Zo\\u00eb"'),
        ("😀", '"\\ud83d\\ude00"'),
        ("a\r\nx-injected: 1", '"a\\r\\nx-injected: 1"'),
        ('quote"', '"quote\\""'),
        (7, "7"),
        (False, "false"),
        (Decimal("1.10"), '"1.10"'),
        (date(2026, 11, 23), '"2026-11-23"'),
        (datetime(2026, 11, 23, 10, 30, tzinfo=UTC), '"2026-11-23T10:30:00+00:00"'),
        (time(10, 30), '"10:30:00"'),
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (Team.SEARCH, '"search"'),
        (Level.HIGH, "3"),
    ],
)
def test_metadata_values_become_header_safe_json(value, text):
    header = gateway_headers(metadata={"k": value})["cf-aig-metadata"]
    assert header == f'{{"k":{text}}}'
    assert header.isascii()
    assert header.isprintable()


# ---------------------------------------------------------------- what is refused

REFUSED = [
    ({"cache_ttl": 59}, "cache_ttl"),
    ({"cache_ttl": 2_592_001}, "cache_ttl"),
    ({"cache_ttl": -1}, "cache_ttl"),
    ({"cache_ttl": 60.5}, "cache_ttl"),
    ({"cache_ttl": "soon"}, "cache_ttl"),
    ({"skip_cache": "maybe"}, "skip_cache"),
    ({"cache_key": "a\nb"}, "printable ASCII"),
    ({"cache_key": "a\x00"}, "printable ASCII"),
    ({"cache_key": "clé"}, "printable ASCII"),
    ({"cache_key": " a"}, "printable ASCII"),
    ({"event_id": "e\r\nx: y"}, "event_id"),
    ({"event_id": 7}, "event_id"),
    ({"byok_alias": "prod\t"}, "byok_alias"),
    ({"request_timeout": 0}, "request_timeout"),
    ({"max_attempts": 0}, "max_attempts"),
    ({"max_attempts": 6}, "max_attempts"),
    ({"retry_delay": -1}, "retry_delay"),
    ({"retry_delay": 60_001}, "retry_delay"),
    ({"backoff": "quadratic"}, "backoff"),
    ({"otel_trace_id": "0" * 31}, "otel_trace_id"),
    ({"otel_trace_id": "0" * 32 + "\n"}, "otel_trace_id"),
    ({"otel_trace_id": "G" * 32}, "otel_trace_id"),
    ({"otel_parent_span_id": "0" * 17}, "otel_parent_span_id"),
    ({"endpoint": "openai"}, "endpoint"),
    ({"metadata": "not json"}, "metadata"),
    ({"metadata": ["a"]}, "flat mapping"),
    ({"metadata": {"user": {"id": 1}}}, "'user'"),
    ({"metadata": {"tags": ["a"]}}, "'tags'"),
    ({"metadata": {"gone": None}}, "'gone'"),
    ({"metadata": {"cf.ray": "x"}}, "'cf.ray'"),
    ({"metadata": {"nan": float("nan")}}, "'nan'"),
    ({"metadata": {"inf": float("inf")}}, "'inf'"),
    ({"metadata": {"raw": b"x"}}, "'raw'"),
    ({"metadata": dict.fromkeys("abcdef", 1)}, "a, b, c, d, e, f"),
    ({"custom_cost": {}}, "per_token_in"),
    ({"custom_cost": {"per_tokn_in": 1}}, "per_token_in"),
    ({"custom_cost": {"per_token_in": -1}}, "negative"),
    ({"custom_cost": {"per_token_in": "nan"}}, "finite"),
    ({"custom_cost": {"per_token_in": "dear"}}, "numbers"),
    ({"custom_cost": 5}, "per_token_in"),
    ({"cach_ttl": 60}, "cach_ttl"),
    ({"session_id": "a\nb"}, "session_id"),
    ({"session_id": 7}, "session_id"),
    ({"turn_id": "\x7f"}, "turn_id"),
    ({"no_session_affinity": "perhaps"}, "no_session_affinity"),
    ({"allowed_models": []}, "allowed_models: is an empty list"),
    ({"allowed_models": ()}, "None sends no list"),
    ({"allowed_models": ["a/b", ""]}, "entry 2"),
    ({"allowed_models": ["a/b,c/d"]}, "no comma"),
    ({"allowed_models": ["a\r\nx-injected: 1"]}, "entry 1 must be printable ASCII"),
    ({"allowed_models": ["a\x00"]}, "printable ASCII"),
    ({"allowed_models": ["mod\u00e8le"]}, "printable ASCII"),
    ({"allowed_models": [" a/b"]}, "without surrounding spaces"),
    ({"allowed_models": ["a/b", 7]}, "entry 2"),
    ({"allowed_models": [None]}, "entry 1"),
    ({"allowed_models": [["a/b"]]}, "entry 1"),
    ({"allowed_models": [b"a/b"]}, "entry 1"),
    ({"allowed_models": {"a/b": True}}, "a list of texts"),
    ({"allowed_models": b"a/b"}, "a list of texts"),
    ({"allowed_models": 7}, "a list of texts"),
    ({"allowed_models": True}, "a list of texts"),
    ({"allowed_models": ""}, "entry 1"),
    ({"allowed_models": "  "}, "entry 1"),
    ({"allowed_models": "a/b,"}, "entry 2"),
    ({"allowed_models": ",a/b"}, "entry 1"),
    ({"allowed_models": '["a/b"'}, "is not JSON"),
    ({"allowed_models": "[]"}, "is an empty list"),
    ({"allowed_models": "[" * 100_000}, "is not JSON"),
    ({"metadata": "[" * 100_000}, "is not JSON"),
    ({"allowed_models": '["a,b"]'}, "no comma"),
    ({"allowed_providers": ["openai", "x,y"]}, "allowed_providers: entry 2"),
]


@pytest.mark.parametrize(("option", "said"), REFUSED)
@pytest.mark.parametrize("place", [gateway_headers, gateway_options], ids=lambda f: f.__name__)
def test_a_value_the_gateway_would_drop_is_refused_before_sending(place, option, said):
    if place is gateway_headers and "endpoint" in option:
        pytest.skip("refused as a whole")
    with pytest.raises(GatewayConfigError) as caught:
        place(**option)
    assert said in str(caught.value)


def test_an_unknown_option_is_answered_with_those_that_exist():
    with pytest.raises(GatewayConfigError, match=r"is not an option; there are .*cache_ttl"):
        gateway_options(zzz=60)


@pytest.mark.parametrize("name", ["cache_tll", "cachettl", "Cache_TTL"])
@pytest.mark.parametrize("use", [gateway_options, gateway_headers])
def test_a_misspelt_option_is_answered_with_the_nearest(use, name):
    with pytest.raises(GatewayConfigError, match=rf"^{name}: .*; did you mean cache_ttl\?$"):
        use(**{name: 60})


def test_the_endpoint_is_no_header():
    with pytest.raises(GatewayConfigError, match="not a header"):
        gateway_headers(endpoint="compat")


def test_a_refusal_does_not_quote_the_value():
    with pytest.raises(GatewayConfigError) as caught:
        gateway_options(cache_key="hunter2\n", metadata={"a": ["hunter2"]})
    assert "hunter2" not in str(caught.value)


@given(st.text())
def test_any_text_is_header_safe_or_refused(text):
    try:
        value = gateway_headers(cache_key=text)["cf-aig-cache-key"]
    except GatewayConfigError:
        return
    assert value == text
    assert "\r" not in value
    assert "\n" not in value
    value.encode("ascii")


@given(st.lists(st.text()))
def test_any_list_arrives_as_it_was_or_is_refused(entries):
    try:
        value = gateway_headers(allowed_models=entries)["cf-aig-allowed-models"]
    except GatewayConfigError:
        return
    assert value.split(",") == entries
    assert value.isascii()
    assert value.isprintable()


@given(st.dictionaries(st.text(), st.text() | st.booleans() | st.integers(), max_size=5))
def test_any_metadata_arrives_as_it_was_or_is_refused(entries):
    try:
        header = gateway_headers(metadata=entries)["cf-aig-metadata"]
    except GatewayConfigError:
        assert any(name.startswith("cf.") for name in entries)
        return
    header.encode("ascii")
    assert header.isprintable()
    assert json.loads(header) == entries


# ---------------------------------------------------------------- which place wins


PLACES = ["settings", "outer", "inner", "call"]


def sent(gateway, make_settings, places, mode, spelling=str, **call):
    """Call with an option set in some of the four places; return the headers that arrived."""
    client = make_client(make_settings(**places.get("settings", {})))
    headers = gateway_headers(**places.get("call", {}))
    headers = {spelling(name): value for name, value in headers.items()}
    with gateway_options(**places.get("outer", {})), gateway_options(**places.get("inner", {})):
        mode.chat(client, http_headers=headers or None, **call)
    return gateway.last.gateway


@pytest.mark.parametrize("count", range(1, 5))
def test_the_nearest_place_wins(gateway, make_settings, mode, count):
    places = {place: {"cache_ttl": 60 + n} for n, place in enumerate(PLACES[:count])}
    expected = str(60 + count - 1)
    assert sent(gateway, make_settings, places, mode)["cf-aig-cache-ttl"] == expected


def test_different_options_of_all_places_add_up(gateway, make_settings, mode):
    places = {
        "settings": {"collect_log": True},
        "outer": {"cache_ttl": 60},
        "inner": {"cache_key": "k"},
        "call": {"skip_cache": False},
    }
    arrived = sent(gateway, make_settings, places, mode)
    arrived.pop("cf-aig-authorization")
    assert arrived == {
        "cf-aig-collect-log": "true",
        "cf-aig-cache-ttl": "60",
        "cf-aig-cache-key": "k",
        "cf-aig-skip-cache": "false",
    }


def test_metadata_of_all_places_merges_entry_by_entry(gateway, make_settings, mode):
    places = {
        place: {"metadata": {"who": place, place: number}} for number, place in enumerate(PLACES)
    }
    arrived = json.loads(sent(gateway, make_settings, places, mode)["cf-aig-metadata"])
    assert arrived == {"who": "call", "settings": 0, "outer": 1, "inner": 2, "call": 3}


@pytest.mark.parametrize("last", range(1, 4))
def test_a_list_replaces_the_one_of_the_places_further_out(gateway, make_settings, mode, last):
    places = {place: {"allowed_models": [f"{place}/*"]} for place in PLACES[: last + 1]}
    arrived = sent(gateway, make_settings, places, mode)
    assert arrived["cf-aig-allowed-models"] == f"{PLACES[last]}/*"


def test_a_list_is_read_when_the_option_is_set(gateway, client, mode):
    models = ["openai/*"]
    with gateway_options(allowed_models=models):
        models.append("xai/*")
        mode.chat(client)
    assert gateway.last.gateway["cf-aig-allowed-models"] == "openai/*"


@pytest.mark.parametrize("last", PLACES[1:])
def test_a_sixth_metadata_entry_is_refused_wherever_it_comes_from(
    gateway, make_settings, mode, last
):
    places = {"settings": {"metadata": dict.fromkeys("abcde", 1)}, last: {"metadata": {"f": 1}}}
    with pytest.raises(GatewayConfigError, match="6 entries"):
        sent(gateway, make_settings, places, mode)
    assert gateway.requests == []


@pytest.mark.parametrize("place", ["outer", "inner", "call"])
def test_empty_metadata_adds_nothing_and_takes_nothing_away(
    gateway, make_settings, plain_mode, place
):
    places = {"settings": {"metadata": {"a": 1}}, place: {"metadata": {}}}
    arrived = sent(gateway, make_settings, places, plain_mode)
    assert json.loads(arrived["cf-aig-metadata"]) == {"a": 1}


@pytest.mark.parametrize("place", ["inner", "call"])
def test_none_takes_back_what_was_set_further_out(gateway, make_settings, mode, place):
    places = {"settings": {"cache_ttl": 60, "metadata": {"a": 1}}}
    places[place] = {"cache_ttl": None, "metadata": None}
    assert list(sent(gateway, make_settings, places, mode)) == ["cf-aig-authorization"]


@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title], ids=lambda f: f.__name__)
def test_a_header_of_the_call_is_never_doubled_whatever_its_case(
    gateway, make_settings, mode, spelling
):
    places = {
        "settings": {"cache_ttl": 60, "metadata": {"a": 1}},
        "call": {"cache_ttl": 99, "metadata": {"a": 2}},
    }
    arrived = sent(gateway, make_settings, places, mode, spelling)
    assert arrived["cf-aig-cache-ttl"] == "99"
    assert arrived["cf-aig-metadata"] == '{"a":2}'


def test_an_alias_taken_back_on_a_call_sends_the_callers_own_key(gateway, client):
    with gateway_options(byok_alias="production"):
        SYNC.chat(client, http_headers=gateway_headers(byok_alias=None))
    assert gateway.last.header("authorization") == f"Bearer {KEY}"


def test_one_header_in_two_cases_is_sent_once_the_last_one_wins(gateway, client, mode):
    mode.chat(client, http_headers={"CF-AIG-Cache-Key": "first", "cf-aig-cache-key": "last"})
    assert gateway.last.gateway["cf-aig-cache-key"] == "last"


def test_a_token_written_on_the_call_wins_over_the_settings(gateway, client, mode):
    mode.chat(client, http_headers={"CF-AIG-Authorization": "Bearer other"})
    assert gateway.last.gateway["cf-aig-authorization"] == "Bearer other"


@pytest.mark.parametrize("written", ["not json", "[1]"])
def test_metadata_by_hand_that_is_no_object_stays_as_it_is(gateway, make_settings, mode, written):
    client = make_client(make_settings(metadata={"a": 1}))
    mode.chat(client, http_headers={"cf-aig-metadata": written})
    assert gateway.last.gateway["cf-aig-metadata"] == written


def test_the_callers_own_headers_are_left_as_they_were(client, mode):
    headers = {"CF-AIG-Cache-TTL": "60", "x-mine": "1"}
    mode.chat(client, http_headers=headers)
    assert headers == {"CF-AIG-Cache-TTL": "60", "x-mine": "1"}


# ---------------------------------------------------------------- blocks


def effective():
    layer = get_current_scope()
    return {} if layer is None else dict(layer.options)


def test_blocks_nest_and_end():
    with gateway_options(cache_ttl=60):
        with gateway_options(skip_cache=True):
            assert effective() == {"cache_ttl": 60, "skip_cache": True}
        assert effective() == {"cache_ttl": 60}
    assert effective() == {}


def test_a_block_ends_with_an_exception_too():
    with pytest.raises(KeyError), gateway_options(cache_ttl=60):
        raise KeyError
    assert effective() == {}


def test_one_block_can_be_entered_again_and_inside_of_itself():
    block = gateway_options(cache_ttl=60)
    with block, gateway_options(cache_ttl=70), block:
        assert effective() == {"cache_ttl": 60}
    with block:
        assert effective() == {"cache_ttl": 60}
    assert effective() == {}


def test_metadata_over_the_limit_fails_at_the_block_and_leaves_the_outer_one():
    with gateway_options(metadata=dict.fromkeys("abc", 1)):
        with pytest.raises(GatewayConfigError, match="6 entries"):
            gateway_options(metadata=dict.fromkeys("xyz", 1)).__enter__()
        assert effective()["metadata"] == dict.fromkeys("abc", 1)
    assert effective() == {}


def test_a_decorator_holds_for_every_call_of_a_function():
    @gateway_options(cache_ttl=60)
    def decorated(depth):
        """Say what is in force."""
        return [effective()] if depth == 0 else [effective(), *decorated(depth - 1)]

    assert decorated(2) == [{"cache_ttl": 60}] * 3
    assert (decorated.__name__, decorated.__doc__) == ("decorated", "Say what is in force.")
    assert effective() == {}


async def test_a_decorated_coroutine_function_has_the_options_while_it_runs():
    @gateway_options(cache_ttl=60)
    async def decorated():
        await asyncio.sleep(0)
        return effective()

    assert inspect.iscoroutinefunction(decorated)
    assert await asyncio.gather(decorated(), decorated()) == [{"cache_ttl": 60}] * 2
    assert effective() == {}


def test_a_generator_cannot_be_decorated():
    def generator():
        yield

    async def async_generator():
        yield

    for function in (generator, async_generator):
        with pytest.raises(TypeError, match="generator"):
            gateway_options(cache_ttl=60)(function)


async def test_each_task_has_its_own_options():
    async def task(ttl):
        with gateway_options(cache_ttl=ttl):
            await asyncio.sleep(0)
            return effective()["cache_ttl"]

    with gateway_options(skip_cache=True):
        assert await asyncio.gather(*map(task, range(60, 110))) == list(range(60, 110))
        assert effective() == {"skip_cache": True}


def test_each_thread_has_its_own_options():
    barrier = threading.Barrier(4)

    def work(ttl):
        with gateway_options(cache_ttl=ttl):
            barrier.wait(10)
            return effective()

    with gateway_options(skip_cache=True), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(60, 64))) == [{"cache_ttl": ttl} for ttl in range(60, 64)]


def test_a_thread_given_the_context_sees_the_block():
    with gateway_options(cache_ttl=60), ThreadPoolExecutor(1) as pool:
        assert pool.submit(contextvars.copy_context().run, effective).result() == {"cache_ttl": 60}


def test_a_block_left_in_another_context_raises_nothing():
    block = gateway_options(cache_ttl=60)
    contextvars.copy_context().run(block.__enter__)
    block.__exit__(None, None, None)
    assert effective() == {}


def test_the_repr_of_a_block_names_options_and_no_values():
    assert repr(gateway_options(cache_key="hunter2")) == "gateway_options(cache_key)"


@pytest.mark.parametrize("function", [gateway_options, gateway_headers], ids=lambda f: f.__name__)
def test_signatures_name_every_option(function):
    assert {*inspect.signature(function).parameters} == {*GatewayOptions.model_fields}


# ---------------------------------------------------------------- traces


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = {
    "cf-aig-otel-trace-id": "0af7651916cd43dd8448eb211c80319c",
    "cf-aig-otel-parent-span-id": "b7ad6b7169203331",
}


def test_a_traceparent_becomes_the_gateways_trace(gateway, client, mode):
    mode.chat(client, http_headers={"traceparent": TRACEPARENT})
    assert TRACE.items() <= gateway.last.gateway.items()


def test_trace_ids_that_are_set_win_over_a_traceparent(gateway, client, mode):
    with gateway_options(otel_trace_id="a" * 32, otel_parent_span_id="b" * 16):
        mode.chat(client, http_headers={"traceparent": TRACEPARENT})
    assert gateway.last.gateway["cf-aig-otel-trace-id"] == "a" * 32
    assert gateway.last.gateway["cf-aig-otel-parent-span-id"] == "b" * 16


@pytest.mark.parametrize("given", ["", "junk", TRACEPARENT[:-1], TRACEPARENT.upper()])
def test_a_traceparent_that_is_none_adds_nothing(gateway, client, mode, given):
    mode.chat(client, http_headers={"traceparent": given})
    assert list(gateway.last.gateway) == ["cf-aig-authorization"]


# ---------------------------------------------------------------- the facts

# Request headers of the gateway, as far as they are known, that are deliberately no options.
NOT_OFFERED = {
    "cf-aig-authorization": "the token: a setting",
    "cf-aig-zdr": "for OpenAI and Anthropic through Cloudflare's billing only",
    "cf-aig-gateway-id": "for the REST host only; here the gateway is part of the URL",
    "cf-skip-cache": "deprecated alias of cf-aig-skip-cache",
    "cf-cache-ttl": "deprecated alias of cf-aig-cache-ttl",
    "payment-method": "for Cloudflare's own models only",
}
KNOWN = {
    "cf-aig-authorization",
    "cf-aig-backoff",
    "cf-aig-byok-alias",
    "cf-aig-cache-key",
    "cf-aig-cache-ttl",
    "cf-aig-collect-log",
    "cf-aig-collect-log-payload",
    "cf-aig-custom-cost",
    "cf-aig-event-id",
    "cf-aig-gateway-id",
    "cf-aig-max-attempts",
    "cf-aig-metadata",
    "cf-aig-no-wholesale",
    "cf-aig-otel-parent-span-id",
    "cf-aig-otel-trace-id",
    "cf-aig-request-timeout",
    "cf-aig-retry-delay",
    "cf-aig-skip-cache",
    "cf-aig-allowed-models",
    "cf-aig-allowed-providers",
    "cf-aig-no-session-affinity",
    "cf-aig-session-id",
    "cf-aig-turn-id",
    "cf-aig-zdr",
    "cf-cache-ttl",
    "cf-skip-cache",
    "payment-method",
}


def test_every_known_request_header_is_an_option_or_left_out_for_a_reason(record_property):
    offered = {*header_names().values()}
    wanted = KNOWN - {*NOT_OFFERED}
    record_property("options", f"options covered: {len(offered & wanted)}/{len(wanted)}")
    assert offered == wanted


def test_a_block_that_ends_inside_of_another_takes_its_own_options_away(client, gateway):
    def generator():
        with gateway_options(cache_ttl=60):
            yield

    inner = generator()
    next(inner)
    with gateway_options(collect_log_payload=False):
        inner.close()
        client.models.list()
        assert gateway.last.gateway["cf-aig-collect-log-payload"] == "false"
        assert "cf-aig-cache-ttl" not in gateway.last.gateway
    client.models.list()
    assert "cf-aig-collect-log-payload" not in gateway.last.gateway


async def test_a_block_that_ends_in_another_task_leaves_that_tasks_options(client, gateway):
    async def generator():
        with gateway_options(cache_ttl=60):
            yield

    async def other_task():
        with gateway_options(collect_log_payload=False):
            await inner.aclose()
            await client.models.list_async()

    inner = generator()
    await anext(inner)
    await asyncio.create_task(other_task())
    assert gateway.last.gateway["cf-aig-collect-log-payload"] == "false"
    assert "cf-aig-cache-ttl" not in gateway.last.gateway


class Callable:
    def __init__(self, client):
        self.client = client

    async def __call__(self):
        return await self.client.models.list_async()


@pytest.mark.parametrize(
    "make",
    [Callable, lambda client: lambda *_: client.models.list_async()],
    ids=["object", "lambda"],
)
async def test_a_decorator_holds_for_what_is_awaited_later(client, gateway, make):
    await gateway_options(cache_ttl=60)(make(client))()
    assert gateway.last.gateway["cf-aig-cache-ttl"] == "60"
    await client.models.list_async()
    assert "cf-aig-cache-ttl" not in gateway.last.gateway
