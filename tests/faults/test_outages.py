"""An outage is remembered for the client that met it, and not for longer."""

from __future__ import annotations

import gc

from mistral_cf_adapter import _flow, _sdk
from mistral_cf_adapter._routing import get_route


def test_a_client_that_gets_the_id_of_one_that_is_gone_has_no_outage(make_settings, monkeypatch):
    monkeypatch.setattr(_flow, "_open_until", {})
    route = get_route(make_settings(fallback="direct"))
    for _ in range(20):
        client = _sdk.httpx.Client(transport=_sdk.httpx.BaseTransport())
        key = _flow.make_pool_key(client)
        assert key == _flow.make_pool_key(client)
        assert not _flow.is_open(route, key)
        _flow.record_outcome(route, key, down=True)
        assert _flow.is_open(route, _flow.make_pool_key(client))
        client.close()
        del client
        gc.collect()
    assert len(_flow._open_until) == 1


def test_what_is_remembered_is_bounded_and_expires(make_settings, monkeypatch):
    monkeypatch.setattr(_flow, "_open_until", {})
    route = get_route(make_settings(fallback="direct"))
    for number in range(3000):
        _flow.record_outcome(route, number, down=True)
    assert len(_flow._open_until) == _flow._MAX_REMEMBERED
    assert _flow.is_open(route, 2999)
    monkeypatch.setattr(_flow, "monotonic", lambda: 1e12)
    _flow.record_outcome(route, "new", down=True)
    assert len(_flow._open_until) == 1
