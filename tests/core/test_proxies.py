"""Proxies of the environment: none for plain http to this machine, all others as on bare."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import pytest
from http_records import KEY, TEXT, TOKEN, Reply

from mistral_cf_adapter import GatewaySettings, _pool, make_client, patch
from mistral_cf_adapter._sdk import Mistral, httpx

VARIABLES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


class Proxy:
    """Records what arrives and hangs up."""

    def __enter__(self):
        self.received: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.received.append(connection.recv(65536))


@pytest.fixture
def proxy():
    _pool.close()
    with Proxy() as proxy:
        yield proxy
    _pool.close()


@pytest.fixture(params=VARIABLES)
def variable(request, monkeypatch, proxy):
    monkeypatch.setenv(request.param, proxy.url)
    return request.param


@contextmanager
def made(settings):
    yield make_client(settings)


@contextmanager
def patched(settings):
    with patch(settings=settings):
        yield Mistral(api_key=KEY)


def settings_for(server, host):
    base_url = server.base_url.replace("127.0.0.1", host)
    return GatewaySettings(base_url=base_url, token=TOKEN, mistral_api_key=KEY)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("client_for", [made, patched])
@pytest.mark.usefixtures("variable")
def test_plain_http_to_this_machine_takes_no_proxy(proxy, gateway, host, client_for, mode):
    with client_for(settings_for(gateway, host)) as client:
        assert mode.chat(client) == TEXT
    assert proxy.received == []


def test_nor_does_plain_http_to_the_ipv6_loopback(proxy, monkeypatch, mode):
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        base_url = f"http://[::1]:{listener.getsockname()[1]}/v1/acc/gw"
        settings = GatewaySettings(base_url=base_url, token=TOKEN, mistral_api_key=KEY)
        with pytest.raises(httpx.ConnectError):
            mode.chat(make_client(settings))
    assert proxy.received == []


def test_https_takes_the_proxy_as_on_bare(proxy, monkeypatch, mode):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    settings = GatewaySettings(account_id="acc", token=TOKEN, mistral_api_key=KEY)
    with pytest.raises(httpx.TransportError):
        mode.chat(make_client(settings))
    assert proxy.received
    assert all(data.startswith(b"CONNECT gateway.ai.cloudflare.com:443") for data in proxy.received)
    assert not any(secret.encode() in data for data in proxy.received for secret in (TOKEN, KEY))


def test_a_redirect_from_this_machine_to_another_host_takes_the_proxy(
    proxy, gateway, monkeypatch, mode
):
    """The origin decides, hop by hop."""
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    gateway.replies.append(Reply.redirect("http://far.example/v1/chat/completions"))
    with pytest.raises(httpx.TransportError):
        mode.chat(make_client(settings_for(gateway, "127.0.0.1")))
    assert len(proxy.received) == 1
    assert proxy.received[0].startswith(b"POST http://far.example/")
    assert not any(secret.encode() in proxy.received[0] for secret in (TOKEN, KEY))


def test_a_client_of_ones_own_takes_its_own_proxy(proxy, gateway, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with httpx.Client() as http:
        client = make_client(settings_for(gateway, "127.0.0.1"), client=http)
        with pytest.raises(httpx.TransportError):
            client.models.list()
    assert len(proxy.received) == 1
