"""How often the provider is asked, and how long a caller waits, under two kinds of retries.

The SDK retries for a time (`max_elapsed_time`), the gateway a number of times
(`max_attempts`); each try of the SDK begins the gateway's count anew, so they multiply.
"""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib import import_module
from importlib.metadata import version

import pytest

from mistral_cf_adapter import _sdk, capture, gateway_options, make_client
from mistral_cf_adapter._sdk import ROOT, SDKError

RELEASE = tuple(map(int, version("mistralai").split(".")[:2]))
UTILS = import_module(f"{ROOT}.utils")
# Waits of 1, 2 and 4 seconds: after three tries 3 of the 2.5 seconds are over.
THREE_TRIES = 2_500


pytestmark = pytest.mark.usefixtures("slept")


@pytest.fixture
def gateway(local_gateway):
    return local_gateway


def backoff(elapsed=THREE_TRIES, *, connections=True):
    return UTILS.RetryConfig(
        "backoff", UTILS.BackoffStrategy(1000, 60_000, 2, elapsed), connections
    )


# ---------------------------------------------------------------- how often

LATER = 100
ROWS = [
    # the provider fails | the SDK retries | max_attempts | tries of the SDK | attempts upstream
    (500, LATER, False, None, 1, 1),
    (500, LATER, False, 3, 1, 3),
    (500, LATER, False, 5, 1, 5),
    (500, LATER, True, None, 3, 3),
    (500, LATER, True, 1, 3, 3),
    (500, LATER, True, 2, 3, 6),
    (500, LATER, True, 5, 3, 15),
    (429, LATER, True, 2, 3, 6),
    (503, LATER, True, 2, 3, 6),
    # it recovers: both stop at the first answer
    (500, 1, False, 3, 1, 2),
    (500, 1, True, None, 2, 2),
    (500, 1, True, 3, 1, 2),
    (500, 3, True, 2, 2, 4),
    (429, 4, True, 2, 3, 5),
    # what is no use to ask again is asked once
    (401, LATER, True, 5, 1, 1),
    (422, LATER, True, 5, 1, 1),
]


@pytest.mark.parametrize(("status", "failures", "sdk", "attempts", "tries", "upstream"), ROWS)
def test_the_provider_is_asked_as_often_as_the_product_of_both(
    gateway, mode, status, failures, sdk, attempts, tries, upstream
):
    gateway.upstream_fail(status, times=failures)
    client = make_client(gateway.settings(), **({"retry_config": backoff()} if sdk else {}))
    with capture() as calls, gateway_options(max_attempts=attempts, retry_delay=0):
        ask(mode, client, fails=failures == LATER)
    assert (len(gateway.requests), len(gateway.upstream_requests)) == (tries, upstream)
    assert [call.attempt for call in calls] == list(range(1, tries + 1))


def ask(mode, client, *, fails, **options):
    """Make a call; tell the name of its error."""
    if not fails:
        return mode.chat(client, **options)
    with pytest.raises(Exception) as caught:
        mode.chat(client, **options)
    return type(caught.value).__name__


REFUSALS = [
    # the gateway refuses, which it does not retry itself | status | tries of the SDK
    (2003, None, "GatewayRateLimitedError", 3),
    (7013, None, "GatewayScannerError", 3),
    (2009, None, "GatewayUnauthorizedError", 1),
    (2016, None, "GatewayGuardrailError", 1),
    (2041, 429, "GatewaySpendLimitError", 1),
    (2029, 429, "GatewayDlpError", 1),
    (2005, 400, "GatewayProviderError", 1),  # by its status the SDK takes it for final
]


@pytest.mark.parametrize(("code", "status", "name", "tries"), REFUSALS)
def test_a_refusal_of_the_gateways_is_asked_again_by_the_sdk_alone(
    gateway, mode, code, status, name, tries
):
    for _ in range(4):
        refuse(gateway, code, status)
    client = make_client(gateway.settings(), retry_config=backoff())
    with gateway_options(max_attempts=5, retry_delay=0):
        assert ask(mode, client, fails=True) == name
    assert (len(gateway.requests), len(gateway.upstream_requests)) == (tries, 0)


def refuse(gateway, code, status):
    if status is None:
        gateway.fail(code)
        return
    body = b'{"success":false,"error":[{"code":%d,"message":"no"}]}' % code
    gateway.fail(status=status, body=body, content_type="application/json")


@pytest.mark.parametrize(("connections", "tries"), [(True, 3), (False, 1)])
def test_a_connection_that_is_refused_is_tried_again_if_the_sdk_is_told_so(
    gateway, mode, connections, tries
):
    config = backoff(connections=connections)
    client = make_client(gateway.settings(), retry_config=config)
    with capture() as calls, gateway.fault("refuse"):
        assert ask(mode, client, fails=True) == "GatewayConnectionError"
    assert len(calls) == tries


def test_a_connection_that_is_reset_is_tried_again_from_sdk_2_on(gateway, mode):
    """The request may have been carried out: a gateway that answered nothing may have."""
    gateway.fault("reset", times=None)
    client = make_client(gateway.settings(), retry_config=backoff())
    with capture() as calls:
        ask(mode, client, fails=True)
    assert len(calls) == (1 if RELEASE < (2, 0) else 3)


def test_retries_of_the_call_win_over_those_of_the_client(gateway, mode):
    gateway.upstream_fail(500, times=LATER)
    client = make_client(gateway.settings(), retry_config=backoff())
    ask(mode, client, fails=True, retries=backoff(500))
    assert len(gateway.requests) == 2


# ---------------------------------------------------------------- how long

DAYS = 3 * 24 * 3600
LONG = {
    "seconds": ("retry-after", str(DAYS)),
    "a date": ("retry-after", format_datetime(datetime.now(UTC) + timedelta(seconds=DAYS))),
    "milliseconds": ("retry-after-ms", str(DAYS * 1000)),
    "infinity": ("retry-after", "inf"),
    "more than a float": ("retry-after", "9" * 400),
}


@pytest.mark.parametrize("header", LONG.values(), ids=LONG)
@pytest.mark.parametrize("who", ["gateway", "provider"])
def test_a_wait_of_days_is_not_waited_for(gateway, mode, slept, header, who):
    headers = dict([header])
    for _ in range(4):
        if who == "gateway":
            gateway.fail(2003, headers=headers)
        else:
            gateway.upstream_fail(429, headers=headers)
    client = make_client(gateway.settings(), retry_config=backoff())
    name, value = header
    with pytest.raises(SDKError) as caught:
        mode.chat(client)
    assert sum(slept) <= 60
    for headers in (caught.value.headers, caught.value.raw_response.headers):
        assert headers.get(name) == headers[name] == value  # a queue's own back-off reads it
    twin = pickle.loads(pickle.dumps(caught.value.raw_response.headers))
    assert type(twin) is _sdk.httpx.Headers
    assert twin == caught.value.headers


@pytest.mark.parametrize("who", ["gateway", "provider"])
def test_a_short_wait_is_waited_for_from_sdk_1_12_on(gateway, mode, slept, who):
    if who == "gateway":
        gateway.fail(2003, headers={"retry-after": "2"})
    else:
        gateway.upstream_fail(429, headers={"retry-after": "2"})
    client = make_client(gateway.settings(), retry_config=backoff())
    assert mode.chat(client)
    assert slept == [1.0 if RELEASE < (1, 12) else 2.0]


def test_without_retries_nothing_is_waited_for(gateway, mode, slept):
    gateway.fail(2003, headers={"retry-after": str(DAYS)})
    assert ask(mode, make_client(gateway.settings()), fails=True) == "GatewayRateLimitedError"
    assert slept == []
