"""Proxies of the environment: none for plain http to this machine, all others as on bare."""

from __future__ import annotations

import socket

import pytest
from client_ways import settings_for, with_make_client, with_patch
from fault_scripts import says
from fault_server import FaultServer, Wire
from http_records import KEY, TEXT, TOKEN, Reply

from mistral_cf_adapter import GatewaySettings, _pool, make_client
from mistral_cf_adapter._sdk import httpx

VARIABLES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture
def proxy():
    """A proxy that keeps what it is asked, and hangs up."""
    _pool.close()
    with FaultServer(says(then=Wire.close)) as proxy:
        yield proxy
    _pool.close()


@pytest.fixture(params=VARIABLES)
def variable(request, monkeypatch, proxy):
    monkeypatch.setenv(request.param, proxy.origin)
    return request.param


def settings_at(server, host):
    return settings_for(server, base_url=server.base_url.replace("127.0.0.1", host))


def heads(proxy):
    return [request.head for request in proxy.requests]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("client_for", [with_make_client, with_patch])
@pytest.mark.usefixtures("variable")
def test_plain_http_to_this_machine_takes_no_proxy(proxy, gateway, host, client_for, mode):
    with client_for(settings_at(gateway, host)) as client:
        assert mode.chat(client) == TEXT
    assert proxy.requests == []


def test_nor_does_plain_http_to_the_ipv6_loopback(proxy, monkeypatch, mode):
    monkeypatch.setenv("ALL_PROXY", proxy.origin)
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        base_url = f"http://[::1]:{listener.getsockname()[1]}/v1/acc/gw"
        settings = GatewaySettings(base_url=base_url, token=TOKEN, mistral_api_key=KEY)
        with pytest.raises(httpx.ConnectError):
            mode.chat(make_client(settings))
    assert proxy.requests == []


def test_https_takes_the_proxy_as_on_bare(proxy, monkeypatch, mode):
    monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
    settings = GatewaySettings(account_id="acc", token=TOKEN, mistral_api_key=KEY)
    with pytest.raises(httpx.TransportError):
        mode.chat(make_client(settings))
    assert heads(proxy)
    assert all(head.startswith(b"CONNECT gateway.ai.cloudflare.com:443") for head in heads(proxy))
    assert not any(secret in request for request in proxy.requests for secret in (TOKEN, KEY))


def test_a_redirect_from_this_machine_to_another_host_takes_the_proxy(
    proxy, gateway, monkeypatch, mode
):
    """The origin decides, hop by hop."""
    monkeypatch.setenv("ALL_PROXY", proxy.origin)
    monkeypatch.setenv("HTTP_PROXY", proxy.origin)
    gateway.replies.append(Reply.redirect("http://far.example/v1/chat/completions"))
    with pytest.raises(httpx.TransportError):
        mode.chat(make_client(settings_for(gateway)))
    (head,) = heads(proxy)
    assert head.startswith(b"POST http://far.example/")
    assert not any(secret in proxy.requests[0] for secret in (TOKEN, KEY))


def test_a_client_of_ones_own_takes_its_own_proxy(proxy, gateway, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.origin)
    with httpx.Client() as http:
        client = make_client(settings_for(gateway), client=http)
        with pytest.raises(httpx.TransportError):
            client.models.list()
    assert len(proxy.requests) == 1
