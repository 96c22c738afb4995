"""The decisions themselves, without a connection: which URL, which headers, which answer."""

from __future__ import annotations

import ast
import inspect

import httpx
import httpx2
import pytest
from http_records import KEY, TOKEN
from hypothesis import given
from hypothesis import strategies as st

from mistral_cf_adapter import GatewayConfigError, GatewayError, GatewaySettings, _routing
from mistral_cf_adapter._flow import request_flow
from mistral_cf_adapter._options import OptionsBlock, OptionsScope
from mistral_cf_adapter._routing import (
    Route,
    get_route,
    prepare_request,
    raise_for_gateway_error,
    strip_gateway_headers,
)

LIBRARIES = pytest.mark.parametrize(
    "library", [httpx, httpx2], ids=lambda library: library.__name__
)
URL = "https://gateway.ai.cloudflare.com/v1/acc/gw/mistral/v1/chat/completions"


def route(**values):
    given = {"account_id": "acc", "gateway_id": "gw", "token": TOKEN, "mistral_api_key": KEY}
    given |= values
    return get_route(GatewaySettings(**{name: value for name, value in given.items() if value}))


@pytest.mark.parametrize(
    ("url", "covered"),
    [
        (URL, True),
        (URL + "?a=b", True),
        ("https://gateway.ai.cloudflare.com:443/v1/acc/gw/mistral/v1/x", True),
        ("https://GATEWAY.ai.cloudflare.com/v1/acc/gw/mistral/v1/x", True),
        ("https://gateway.ai.cloudflare.com/v1/acc/gw/compat/chat/completions", True),
        ("https://gateway.ai.cloudflare.com/v1/acc/gw", False),
        ("https://gateway.ai.cloudflare.com/v1/acc/gw2/mistral/v1/x", False),
        ("https://gateway.ai.cloudflare.com/v1/other/gw/mistral/v1/x", False),
        ("https://gateway.ai.cloudflare.com/v1/acc/gw/../../other/gw/x", False),
        ("https://gateway.ai.cloudflare.com:8443/v1/acc/gw/mistral/v1/x", False),
        ("http://gateway.ai.cloudflare.com/v1/acc/gw/mistral/v1/x", False),
        ("https://gateway.ai.cloudflare.com.evil.example/v1/acc/gw/mistral/x", False),
        ("https://evil.example/v1/acc/gw/mistral/v1/x", False),
        ("https://gateway.ai.cloudflare.com@evil.example/v1/acc/gw/mistral/x", False),
        ("https://api.mistral.ai/v1/acc/gw/mistral/v1/x", False),
    ],
)
@LIBRARIES
def test_only_this_gateway_is_covered(library, url, covered):
    assert route().covers(library.URL(url)) is covered


@LIBRARIES
def test_an_outgoing_request_is_a_copy_of_the_same_kind(library):
    request = library.Request("POST", URL, content=b"body", extensions={"timeout": {"read": 1}})
    before = dict(request.headers)
    outgoing = prepare_request(route(), request, None)
    assert type(outgoing) is type(request)
    assert outgoing is not request
    assert dict(request.headers) == before
    assert outgoing.stream is request.stream
    assert outgoing.extensions["timeout"] == {"read": 1}
    assert outgoing.headers["cf-aig-authorization"] == f"Bearer {TOKEN}"
    assert outgoing.headers["host"] == "gateway.ai.cloudflare.com"


@LIBRARIES
def test_a_request_past_the_gateway_is_a_copy_without_its_headers(library):
    headers = [("CF-AIG-Cache-TTL", "60"), ("cf-aig-x", "1"), ("Authorization", "mine")]
    request = library.Request("GET", "https://x.example", headers=headers)
    outgoing = strip_gateway_headers(request)
    assert sorted(outgoing.headers) == ["authorization", "host"]
    assert "cf-aig-x" in request.headers


def test_nearer_options_win_and_are_remembered_for_the_next_call():
    layer = OptionsScope(OptionsBlock({"cache_ttl": 70}), None)
    one, other = route(cache_ttl=60), route(cache_ttl=60, collect_log=True)
    request = httpx.Request("GET", URL)
    for _ in range(2):
        assert prepare_request(one, request, layer).headers["cf-aig-cache-ttl"] == "70"
        assert "cf-aig-collect-log" not in prepare_request(one, request, layer).headers
        assert prepare_request(other, request, layer).headers["cf-aig-collect-log"] == "true"


@pytest.mark.parametrize("authorization", [None, "Bearer mine"])
def test_a_key_is_added_only_where_there_is_none(authorization):
    headers = {} if authorization is None else {"authorization": authorization}
    outgoing = prepare_request(route(), httpx.Request("GET", URL, headers=headers), None)
    assert outgoing.headers["authorization"] == authorization or f"Bearer {KEY}"


def test_without_a_key_the_decision_is_to_send_nothing():
    flow = request_flow(route(mistral_api_key=None), httpx.Request("GET", URL), max_redirects=20)
    with pytest.raises(GatewayConfigError, match="no Mistral key"):
        next(flow)


def test_an_exchange_is_a_send_and_a_return():
    flow = request_flow(route(), request := httpx.Request("GET", URL), max_redirects=20)
    action = next(flow)
    assert action.kind == "send"
    with pytest.raises(StopIteration) as end:
        flow.send(response := httpx.Response(200, request=action.target))
    assert end.value.value is response
    assert response.request is request


def test_an_error_is_read_before_it_is_judged():
    flow = request_flow(route(), httpx.Request("GET", URL), max_redirects=20)
    next(flow)
    body = {"success": False, "error": [{"code": 2009, "message": "Unauthorized"}]}
    action = flow.send(response := httpx.Response(401, json=body))
    assert action.kind == "read"
    assert action.target is response
    with pytest.raises(GatewayError):
        flow.send(None)


def test_a_request_that_was_routed_already_is_sent_as_it_is():
    outgoing = prepare_request(route(), httpx.Request("GET", URL), None)
    flow = request_flow(route(token="another"), outgoing, max_redirects=20)
    assert next(flow).target is outgoing


def test_an_answer_that_is_no_error_is_handed_on_unread():
    response = httpx.Response(200, stream=httpx.ByteStream(b"x"))
    assert raise_for_gateway_error(response) is response
    assert not response.is_closed


def test_a_route_does_not_show_its_secrets():
    assert TOKEN not in repr(route())
    assert KEY not in repr(route())
    assert "acc/gw" in repr(route())


def test_a_route_is_worked_out_once_for_each_settings_and_provider():
    settings = GatewaySettings(account_id="acc")
    assert get_route(settings) is get_route(settings)
    eu = get_route(settings, "custom-eu")
    assert eu is get_route(settings, "custom-eu")
    assert eu.provider_url.endswith("/custom-eu")
    assert isinstance(eu, Route)


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=30))
def test_whatever_the_path_only_this_gateway_is_covered(path):
    try:
        url = httpx.URL(f"https://gateway.ai.cloudflare.com/v1/acc/gw/{path}")
    except httpx.InvalidURL:
        return
    if route().covers(url):
        assert url.path.startswith("/v1/acc/gw/")


def test_decisions_touch_no_socket_and_no_http_library():
    tree = ast.parse(inspect.getsource(_routing))
    imported = {
        name.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert not imported & {"httpx", "httpx2", "socket", "asyncio", "ssl"}
