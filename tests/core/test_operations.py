"""Every generated operation of the installed SDK arrives, first without the adapter, then with it.

The bare SDK comes first because it is the measure: what the adapter sends must be that request,
byte for byte, plus the gateway's headers.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace

import pytest
from http_records import RecordingServer
from operations import COUNTED, TRACEPARENT, mistral_class, visit_all

from mistral_cf_adapter import GatewaySettings, make_client

GATEWAY = "/v1/acc/gw"
PREFIX = f"{GATEWAY}/mistral"
TOKEN = ("cf-aig-authorization", "Bearer cf-token")

# The second also takes other branches of unions: a file object for bytes, a stream for a value.
CALLS = [
    pytest.param({}, id="required arguments"),
    pytest.param({"full": True, "variant": 1}, id="all arguments"),
]


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch, RecordingServer() as recording:
        patch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("MISTRAL_API_KEY", "MISTRAL_SA_TOKEN_PATH", "MISTRAL_SDK_TELEMETRY"):
            patch.delenv(name, raising=False)
        yield recording


@pytest.fixture(scope="module", params=CALLS)
def how(request):
    return request.param


@pytest.fixture(scope="module")
def bare(server, how):
    url = f"{server.origin}{PREFIX}"
    return visit_all(lambda: mistral_class()(api_key="k", server_url=url), server, **how)


@pytest.fixture(scope="module")
def routed(server, how):
    settings = GatewaySettings(
        base_url=f"{server.origin}{GATEWAY}", token="cf-token", mistral_api_key="k"
    )
    return visit_all(lambda: make_client(settings), server, **how)


def none_of(problems):
    """Fail with all the offenders rather than with the first."""
    listing = [str(problem) for problem in problems]
    assert not listing, "\n".join([f"{len(listing)} operations:", *listing])


def arrived(visit):
    return (
        len(visit.requests) == 1
        and visit.requests[0].method == visit.operation.method
        and visit.operation.matches(visit.requests[0].path, PREFIX)
    )


def gateway_headers(request):
    return [pair for pair in request.lowered if pair[0].startswith("cf-aig-")]


def expected_headers(request):
    """The token; and where the SDK begins a trace by itself, as for a workflow, its ids."""
    trace = TRACEPARENT.fullmatch(dict(request.lowered).get("traceparent", ""))
    names = ("cf-aig-otel-parent-span-id", "cf-aig-otel-trace-id")
    return [TOKEN, *zip(names, (trace[2], trace[1]), strict=True)] if trace else [TOKEN]


def without_gateway_headers(request):
    added = gateway_headers(request)
    return replace(request, headers=[pair for pair in request.headers if pair not in added])


def test_the_walk_finds_at_least_the_operations_counted_for_this_release(bare):
    installed = tuple(int(n) for n in importlib.metadata.version("mistralai").split(".")[:3])
    expected = max((known, count) for known, count in COUNTED.items() if known <= installed)[1]
    assert len(bare) >= expected


def test_every_operation_has_its_twin(bare):
    names = {visit.operation.name for visit in bare}
    sync = {name for name in names if not name.endswith("_async")}
    assert names == sync | {f"{name}_async" for name in sync}


def test_without_the_adapter_every_operation_arrives_at_its_own_path(bare):
    none_of(visit for visit in bare if not arrived(visit))


def test_without_the_adapter_every_made_up_answer_is_parsed(bare):
    none_of(visit for visit in bare if visit.outcome.error is not None)


def test_through_the_adapter_every_operation_arrives_at_its_own_path(routed):
    none_of(visit for visit in routed if not arrived(visit))


def test_the_adapter_changes_nothing_of_the_bare_request(bare, routed):
    none_of(
        f"{mine.operation.name}: {mine.requests} instead of {its.requests}"
        for its, mine in zip(bare, routed, strict=True)
        if [without_gateway_headers(r.portable) for r in mine.requests]
        != [r.portable for r in its.requests]
    )


def test_the_adapter_adds_the_token_and_no_other_gateway_header(routed):
    none_of(
        f"{visit.operation.name}: {gateway_headers(request)}"
        for visit in routed
        for request in visit.requests
        if gateway_headers(request) != expected_headers(request)
    )


def test_the_caller_gets_the_same_value_with_and_without_the_adapter(bare, routed):
    none_of(
        mine
        for its, mine in zip(bare, routed, strict=True)
        if mine.outcome.fingerprint != its.outcome.fingerprint
    )


def test_all_generated_operations_are_routed(bare, routed, record_property):
    share = f"{sum(map(arrived, routed))}/{len(bare)} ({sum(map(arrived, routed)) / len(bare):.0%})"
    record_property("operations routed / generated", share)
    print(f"mistralai {importlib.metadata.version('mistralai')}: routed / generated {share}")
    assert sum(map(arrived, routed)) == len(bare)
