"""Every fault of the table in every mode: the right error, in bounded time, and nothing leaks."""

from __future__ import annotations

import logging
import os

import pytest
from call_modes import MODES
from fault_runs import play
from fault_scripts import (
    CHUNKED,
    EVENTS,
    HTML,
    JSON,
    LOG_ID,
    PAGE,
    SSE,
    WHOLE,
    chunked,
    completion,
    envelope,
    head,
    says,
    served,
)
from fault_server import PREFIX, Wire
from faults import FAULTS, Fault
from http_records import KEY, TOKEN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from object_walks import PACKAGE
from secret_searches import told_by

from mistral_cf_adapter import GatewayConnectionError

CASES = [
    pytest.param(fault, mode, id=f"{fault.name} - {mode.name}")
    for fault in FAULTS
    for mode in fault.modes
]


@pytest.mark.parametrize(("fault", "mode"), CASES)
def test_fault_has_its_outcome_and_leaks_nothing(fault, mode, caplog):
    caplog.set_level(logging.DEBUG)
    result = play(fault, mode)
    assert_clean(result)
    assert not secrets_in(caplog.text)
    assert result.outcome in fault.outcome.split("|"), result.error
    if not fault.has_response:
        assert isinstance(result.error, GatewayConnectionError)
    if result.stage.between is None:
        assert all(len(server.requests) <= 1 for server in result.stage.servers), "sent twice"


def assert_clean(result):
    assert result.outcome != "hangs"
    assert result.held + result.stuck == 0
    assert not any(secret in request for request in result.elsewhere for secret in (TOKEN, KEY))
    if result.error is not None:
        assert not secrets_in(told_by(result.error))


def secrets_in(text):
    return [secret for secret in (TOKEN, KEY) if secret in text]


# Fuzzing: any bytes for an answer.

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
FAMILY = ("MistralError", "HTTPError")
LINES = st.sampled_from([
    JSON, SSE, HTML, CHUNKED, "Content-Length: 7", "Content-Length: 0", "Content-Encoding: gzip",
    "Content-Encoding: deflate", "Connection: close", "Retry-After: 86400", "cf-aig-step: x",
    "cf-aig-dlp: {", f"cf-aig-log-id: {LOG_ID}", "Set-Cookie: a=b", "x: \xff",
    f"Location: {PREFIX}/mistral/x", "Location: http://[", "Location: ",
    "Content-Type: application/json; charset=utf-16", "Content-Type: text/event-stream;;;",
])  # fmt: skip
BODIES = st.sampled_from([
    completion(), WHOLE, b"".join(chunked(*EVENTS)), envelope(), envelope(2016), PAGE, b"{}", b"[]",
    b"error code: 1010", b'{"detail":"Unauthorized"}', b'{"detail":[]}', b"data: [DONE]\n\n", b"",
])  # fmt: skip
STATUSES = st.sampled_from([200, 200, 200, 204, 301, 307, 400, 401, 422, 424, 429, 502, 530, 999])


@st.composite
def answers(draw):
    """Return an answer that is right but for a few bytes of its body, or nothing like one."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    body = bytearray(draw(BODIES))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    lines = draw(st.lists(LINES, max_size=4))
    if draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
    return head(draw(STATUSES), *lines, log_id=False) + bytes(body)


def test_any_bytes_give_an_answer_or_an_error_of_a_known_family(mode):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(answers())
    def fuzz(data):
        fault = Fault("fuzz", served(says(data, then=Wire.close)), "any", MODES)
        result = play(fault, mode)
        assert_clean(result)
        if result.error is not None and not is_known(result.error):
            assert result.outcome == play(fault, mode, bare=True).outcome, "not the SDK's own"
            assert not raised_by_us(result.error)

    fuzz()


def is_known(error):
    return bool({kind.__name__ for kind in type(error).__mro__} & set(FAMILY))


def raised_by_us(error):
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename.startswith(PACKAGE)
