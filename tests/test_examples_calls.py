"""The examples that see every call: what they print is compared with what the gateway has seen."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import example_programs
import pytest

from mistral_cf_adapter.testing import LocalGateway

MODEL = "mistral-small-latest"


@pytest.fixture
def gateway():
    with LocalGateway() as local:
        yield local


def shown(name, gateway):
    """Run an example with a gateway; return what it printed."""
    done = example_programs.run(name, **gateway.env())
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def tokens(log):
    """Return the tokens that a logged response says were used: of the prompt, of the completion."""
    names = b"prompt_tokens", b"completion_tokens"
    return [int(re.findall(rb'"%s": ?(\d+)' % name, log.response)[-1]) for name in names]


@pytest.mark.packages
def test_prometheus_scrapes_what_a_service_counted(gateway):
    pytest.importorskip("fastapi")
    parser = pytest.importorskip("prometheus_client.parser")
    gateway.reply("Hello")
    gateway.reply_stream(["Hello", " again"])
    gateway.fail(2016)
    text = shown("prometheus_metrics.py", gateway)
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    calls = {key: value for key, value in samples.items() if key[0] == "llm_calls_total"}
    kinds = [(dict(key[1:])["operation"], dict(key[1:])["outcome"]) for key in calls]
    assert sorted(kinds) == [
        ("chat.complete", "error"),
        ("chat.complete", "ok"),
        ("chat.stream", "ok"),
    ]
    assert set(calls.values()) == {1.0}
    (refused,) = [dict(key[1:]) for key in calls if ("outcome", "error") in key]
    assert refused["error_code"] == "2016"
    paid = sum(value for key, value in samples.items() if key[0] == "llm_tokens_total")
    assert paid == sum(sum(tokens(log)) for log in gateway.logs if log.success)
    assert samples["llm_first_event_seconds_count", ("model", MODEL)] == 1.0


@pytest.mark.packages
def test_structlog_writes_a_line_of_json_for_each_call(gateway):
    pytest.importorskip("structlog")
    gateway.reply("Hello!")
    gateway.reply_stream(["Hel", "lo!"])
    gateway.fail(2016)
    *calls, refused = map(json.loads, shown("structlog_lines.py", gateway).splitlines())
    found = [(each["operation"], each["outcome"], each.get("error_code")) for each in calls]
    assert found == [
        ("chat.complete", "ok", None),
        ("chat.stream", "ok", None),
        ("chat.complete", "error", 2016),
    ]
    assert [each["log_id"] for each in calls] == [log.id for log in gateway.logs]
    assert {each["event"] for each in calls} == {"call"}
    assert {each["team"] for each in (*calls, refused)} == {"search"}
    assert calls[1]["total_tokens"] == 2
    assert "Guardrails" in refused["advice"]


def test_opentelemetry_has_metrics_and_a_span_for_each_call(gateway):
    lines = shown("otel_in_memory.py", gateway).splitlines()
    logs = [log.id for log in gateway.logs]
    assert lines == [
        "metric gen_ai.client.operation.duration [s]: 2 values",
        "metric gen_ai.client.token.usage [{token}]: 4 values",
        "metric gen_ai.client.operation.time_to_first_chunk [s]: 1 values",
        *(f"span chat {MODEL}: ok, log {log_id}" for log_id in logs),
        "span checkout: None, log None",
    ]


def test_the_cost_of_each_team_is_what_its_logs_have_used(gateway):
    lines = shown("cost_per_team.py", gateway).splitlines()
    prices = {"mistral-large-latest": ("0.40", "1.20"), MODEL: ("0.08", "0.24")}
    expected: dict[str, Decimal] = {}
    for log in gateway.logs:
        used = zip(map(Decimal, prices[log.model]), tokens(log), strict=True)
        cost = sum(price * count for price, count in used) / 1_000_000
        team = log.metadata["team"]
        expected[team] = expected.get(team, Decimal(0)) + cost
    assert lines == [f"{team}: ${cost:.8f}" for team, cost in expected.items()]
    assert set(expected) == {"search", "shop"}


def test_the_budget_stops_before_the_call(gateway):
    text = shown("budget.py", gateway)
    assert re.search(r"Not asked: \d\d of 20 tokens are used\n$", text)
    assert len(gateway.requests) == 2


@pytest.mark.parametrize("name", ["otel_in_memory.py", "cost_per_team.py", "budget.py"])
def test_it_runs_without_an_account(name):
    done = example_programs.run(name)
    assert done.returncode == 0
    assert "using a local gateway" in done.stderr
