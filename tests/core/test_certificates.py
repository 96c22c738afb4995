"""Certificates that change while a process runs: a new client sees what a bare one would."""

from __future__ import annotations

import asyncio
import os
import ssl

import pytest
import trustme
from call_modes import ASYNC, ASYNC_STREAM, SYNC
from client_ways import settings_for, with_make_client, with_patch
from http_records import KEY, TEXT, TOKEN, RecordingServer

from mistral_cf_adapter import GatewaySettings, _pool, make_client
from mistral_cf_adapter._certificates import read_certificate_state
from mistral_cf_adapter._sdk import httpx


@pytest.fixture(autouse=True)
def _no_pools_before_and_after():
    _pool.close()
    yield
    _pool.close()


class Authority:
    """A certificate authority, a server that it vouches for, and its bundle in a file."""

    def __init__(self, bundle):
        self.ca = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1").configure_cert(self.context)
        self.bundle = bundle

    def install(self):
        """Replace the bundle, as an update of the system does: a new file under the same name."""
        new = self.bundle.with_suffix(".new")
        self.ca.cert_pem.write_to_path(str(new))
        new.replace(self.bundle)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    path = tmp_path / "bundle.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def made(server):
    return with_make_client(settings_for(server))


def patched(server):
    return with_patch(settings_for(server))


@pytest.mark.parametrize("client_for", [made, patched])
def test_a_new_client_uses_the_bundle_that_is_there_now(bundle, client_for, mode):
    old, new = Authority(bundle), Authority(bundle)
    with RecordingServer(old.context) as before, RecordingServer(new.context) as after:
        old.install()
        with client_for(before) as client:
            assert mode.chat(client) == TEXT
        new.install()
        with client_for(after) as client:
            assert mode.chat(client) == TEXT


def test_an_old_client_goes_on_with_the_bundle_it_was_built_with(bundle):
    old, new = Authority(bundle), Authority(bundle)
    with RecordingServer(old.context) as server, made(server) as first:
        old.install()
        assert SYNC.chat(first) == TEXT
        new.install()
        with made(server) as second, pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            SYNC.chat(second)
        assert SYNC.chat(first) == TEXT


def test_clients_with_the_same_certificates_share_connections(bundle):
    authority = Authority(bundle)
    with RecordingServer(authority.context) as server:
        authority.install()
        for _ in range(3):
            with made(server) as client:
                assert SYNC.chat(client) == TEXT
        assert len({request.peer for request in server.requests}) == 1


@pytest.mark.parametrize("mode", [ASYNC, ASYNC_STREAM], ids=lambda mode: mode.name)
def test_in_one_event_loop_as_well(bundle, mode):
    old, new = Authority(bundle), Authority(bundle)

    async def both():
        with RecordingServer(old.context) as before, RecordingServer(new.context) as after:
            for authority, server in ((old, before), (new, after)):
                authority.install()
                with made(server) as client:
                    assert await mode.achat(client) == TEXT

    asyncio.run(both())


def test_a_file_written_in_place_counts_as_another(bundle):
    bundle.write_text("one")
    before = read_certificate_state()
    assert read_certificate_state() == before
    bundle.write_text("other")
    assert read_certificate_state() != before


def test_a_file_added_to_the_folder_or_changed_in_it_counts(tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    before = read_certificate_state()
    (tmp_path / "ca.pem").write_text("one")
    between = read_certificate_state()
    (tmp_path / "ca.pem").write_text("another")
    assert len({before, between, read_certificate_state()}) == 3


def test_so_does_one_in_the_second_of_two_folders(tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(map(str, folders)))
    (folders[1] / "ca.pem").write_text("one")
    before = read_certificate_state()
    (folders[1] / "ca.pem").write_text("another")
    assert read_certificate_state() != before


@pytest.mark.parametrize("client_for", [made, patched])
def test_a_client_that_was_not_used_yet_leaves_a_bundle_that_returns_alone(
    tmp_path, monkeypatch, client_for, mode
):
    """A link is turned to another bundle and back: it has the same identity again."""
    link = tmp_path / "bundle.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(link))
    old, new = Authority(tmp_path / "old.pem"), Authority(tmp_path / "new.pem")
    with RecordingServer(old.context) as before, RecordingServer(new.context) as after:
        for authority in (old, new):
            authority.install()
        link.symlink_to(old.bundle)
        with client_for(after) as first:
            link.unlink()
            link.symlink_to(new.bundle)
            assert mode.chat(first) == TEXT
        link.unlink()
        link.symlink_to(old.bundle)
        with client_for(before) as second:
            assert mode.chat(second) == TEXT


def test_a_client_goes_on_with_the_certificates_of_its_first_call(bundle, mode):
    """Also where it was built before the bundle was there."""
    old, new = Authority(bundle), Authority(bundle)
    with RecordingServer(old.context) as server, made(server) as client:
        old.install()
        with asyncio.Runner() as runner:
            assert runner.run(mode.chat_in_loop(client)) == TEXT
            new.install()
            assert runner.run(mode.chat_in_loop(client)) == TEXT


def test_a_client_after_truststore_took_the_place_of_contexts_has_one_of_its(bundle, mode):
    truststore = pytest.importorskip("truststore")
    authority = Authority(bundle)
    with RecordingServer(authority.context) as server:
        authority.install()
        with made(server) as client:
            assert mode.chat(client) == TEXT
        before = list(_pool._process_pools.ssl.values())
        truststore.inject_into_ssl()
        try:
            with made(server) as client:
                assert mode.chat(client) == TEXT
        finally:
            truststore.extract_from_ssl()
    (new,) = [context for context in _pool._process_pools.ssl.values() if context not in before]
    assert isinstance(new, truststore.SSLContext)


def test_keys_are_written_for_the_next_client_and_to_the_file_that_is_there(
    bundle, monkeypatch, tmp_path, mode
):
    keys = tmp_path / "keys.log"
    authority = Authority(bundle)
    with RecordingServer(authority.context) as server:
        authority.install()
        with made(server) as client:
            assert mode.chat(client) == TEXT
        monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
        for _ in range(2):
            with made(server) as client:
                assert mode.chat(client) == TEXT
            assert "CLIENT" in keys.read_text()
            keys.rename(tmp_path / "rotated.log")


def test_a_connection_serves_one_set_of_certificates_proxies_and_limits(bundle, monkeypatch):
    """Clients that differ in any of these share none."""
    old, new = Authority(bundle), Authority(bundle)
    old.install()
    configs = [configuration_of(settings_for_any())]
    configs.append(configuration_of(settings_for_any(keepalive_expiry=5)))
    configs.append(configuration_of(settings_for_any(max_connections=5)))
    opened = [_pool.sync_pool(config) for config in configs]
    new.install()
    opened.append(_pool.sync_pool(configuration_of(settings_for_any())))
    for name in ("HTTPS_PROXY", "no_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        opened.append(_pool.sync_pool(configuration_of(settings_for_any())))
    assert len({id(pool) for pool in opened}) == len(opened) == 7
    assert _pool.sync_pool(configuration_of(settings_for_any())) is opened[-1]


def settings_for_any(**values):
    return GatewaySettings(account_id="acc", token=TOKEN, mistral_api_key=KEY, **values)


def configuration_of(settings):
    return make_client(settings).sdk_configuration.client.inner.config


def test_the_file_for_tls_keys_counts(bundle, monkeypatch):
    before = read_certificate_state()
    monkeypatch.setenv("SSLKEYLOGFILE", str(bundle.with_name("keys")))
    assert read_certificate_state() != before


def test_contexts_of_replaced_bundles_are_dropped(bundle):
    authority = Authority(bundle)
    with RecordingServer(authority.context) as server:
        for _ in range(12):
            authority.install()
            with made(server) as client:
                assert SYNC.chat(client) == TEXT
    assert len(_pool._process_pools.ssl) <= 8
