"""What goes past the gateway by the user's own wish still goes, and leaves a trace."""

from __future__ import annotations

import logging
import warnings

import pytest
from call_modes import SYNC
from http_records import CHAT, KEY, TEXT

from mistral_cf_adapter import _sdk, capture, make_client, patch


@pytest.fixture(params=["make_client", "patch", "server_url set afterwards"])
def ask(request, settings, elsewhere):
    """Make a call that goes elsewhere, in each way there is."""
    if request.param == "make_client":
        client = make_client(settings)
        yield lambda mode: mode.chat(client, server_url=elsewhere.origin)
        return
    with patch(settings=settings):
        client = _sdk.Mistral(api_key=KEY)
        if request.param == "patch":
            yield lambda mode: mode.chat(client, server_url=elsewhere.origin)
        else:
            client.sdk_configuration.server_url = elsewhere.origin
            yield lambda mode: mode.chat(client)


def test_a_call_elsewhere_is_captured_logged_and_warned_of_once(
    gateway, elsewhere, ask, mode, caplog
):
    caplog.set_level(logging.INFO, "mistral_cf_adapter")
    with warnings.catch_warnings(record=True) as told, capture() as calls:
        warnings.simplefilter("always")
        for _ in range(3):
            assert ask(mode) == TEXT
    assert gateway.requests == []
    assert len(elsewhere.requests) == 3
    assert [(one.routed, one.direct, one.path, one.status_code) for one in calls] == (
        [("elsewhere", False, CHAT, 200)] * 3
    )
    (one,) = [one for one in told if "past AI Gateway" in str(one.message)]
    assert one.category is UserWarning
    assert one.filename.endswith(("call_modes.py", "test_bypass.py"))
    said = [record.getMessage() for record in caplog.records if "past AI" in record.message]
    assert len(said) == 3
    assert elsewhere.origin in said[0]


def test_a_filter_that_makes_errors_of_warnings_stops_nothing(elsewhere, ask, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask(mode) == TEXT


def test_a_call_through_the_gateway_says_so_and_warns_of_nothing(client, mode):
    with warnings.catch_warnings(record=True) as told, capture() as calls:
        mode.chat(client)
    assert [one.routed for one in calls] == ["gateway"]
    assert not told


def test_a_direct_fallback_says_so(mistral, make_settings):
    client = make_client(make_settings(base_url="http://127.0.0.1:9/v1/a/g", fallback="direct"))
    with warnings.catch_warnings(record=True) as told, capture() as calls:
        warnings.simplefilter("always")
        SYNC.chat(client)
        SYNC.chat(client)
    assert [(one.routed, one.direct) for one in calls] == [("direct", True)] * 2
    assert 1 <= len([one for one in told if "AI Gateway is down" in str(one.message)]) <= 2
