"""What all tests share: a clean environment, servers that record, and the ways of calling."""

from __future__ import annotations

import gc
import os
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import certifi
import pytest
import trustme
from call_modes import MODES, STREAMS, Mode
from fault_server import PREFIX, refusing
from http_records import KEY, TOKEN, RecordingServer

from mistral_cf_adapter import GatewaySettings, _flow, _sdk, make_client
from mistral_cf_adapter.testing import LocalGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

if os.environ.get("DIRECT_FROM_FIRST"):
    from direct_connections import open_before_first_request

    open_before_first_request()

OURS = ("CF_", "CLOUDFLARE_", "MISTRAL_", "AI_GATEWAY_")
PROXIES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"),
)

# What is in these files is the same with every release of the SDK, but for tests that are marked
# `every_sdk`; `pytest -m "not once"` leaves it out.
ONCE = {
    "test_base_url.py",
    "test_call_lines.py",
    "test_cli.py",
    "test_cli_doctor.py",
    "test_cli_doctor_page.py",
    "test_cli_env.py",
    "test_cli_flags.py",
    "test_cli_run.py",
    "test_cli_run_children.py",
    "test_cli_run_commands.py",
    "test_cli_run_servers.py",
    "test_cli_secrets.py",
    "test_cli_serve.py",
    "test_did_you_mean.py",
    "test_docstrings.py",
    "test_example_bulk.py",
    "test_examples.py",
    "test_examples_calls.py",
    "test_examples_integrations.py",
    "test_examples_requirements.py",
    "test_local_gateway_calls.py",
    "test_local_gateway_faults.py",
    "test_local_gateway_http_api.py",
    "test_local_gateway_limits.py",
    "test_local_gateway_logs_api.py",
    "test_local_gateway_script.py",
    "test_local_gateway_strict.py",
    "test_openapi.py",
    "test_page.py",
    "test_releases.py",
    "test_report.py",
    "test_serve_other_languages.py",
    "test_settings.py",
    "test_settings_messages.py",
    "test_settings_typing.py",
    "test_settings_files.py",
}

# Programs, which are slow to run, and what HTTP decides, not the SDK's own code nor a speed-up of
# it: tried once with each major version of the SDK, and so with httpx and with httpx2.
ONCE_A_MAJOR = {
    "test_access.py",
    "test_blocking_calls.py",
    "test_certificates.py",
    "test_connection_errors.py",
    "test_connections.py",
    "test_diagnose.py",
    "test_differential.py",
    "test_edge_pages.py",
    "test_event_loops.py",
    "test_fixture.py",
    "test_fixture_hosts.py",
    "test_fixture_strict.py",
    "test_fork_locks.py",
    "test_forks.py",
    "test_http2_logs.py",
    "test_leaving.py",
    "test_leftovers.py",
    "test_local_gateway.py",
    "test_local_gateway_resources.py",
    "test_outages.py",
    "test_own_headers.py",
    "test_ownership.py",
    "test_pool.py",
    "test_proxies.py",
    "test_proxy_variables.py",
    "test_record_replay.py",
    "test_redirects.py",
    "test_script_by_content.py",
    "test_secrets_in_frames.py",
    "test_secrets_in_walks.py",
    "test_secrets_masked.py",
    "test_secrets_shown.py",
    "test_soak.py",
    "test_threads.py",
    "test_trace_headers.py",
}

# What the tests of such a file share takes long to make: one process of pytest-xdist runs them all.
TOGETHER = {"test_operations.py", "test_paths.py", "test_serve_other_languages.py"}

WITHOUT_SPEEDUPS = os.environ.get("CF_AIG_SPEEDUPS") == "false"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in ONCE and not item.get_closest_marker("every_sdk"):
            item.add_marker("once")
        if item.path.name in ONCE_A_MAJOR:
            item.add_marker("once_a_major")
        if item.path.name in TOGETHER:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how much of the differential suite was the same, in whichever process it ran."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(report, "user_properties", ()):
                if name == "differential":
                    terminalreporter.write_line(f"differential suite: {value}")


@pytest.fixture(autouse=True, scope="module")
def _what_is_there_to_stay():
    """Leave modules and tests out of the collections of garbage to come: each is dear by then."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _few_authorities(tmp_path_factory):
    """Trust one authority: each client of the SDK's takes 80 ms of CPU to load the usual ones."""
    path = tmp_path_factory.mktemp("authorities") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(certifi, "where", lambda: str(path))
        yield


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Nothing of the developer's own environment decides where a test goes.

    `CF_AIG_SPEEDUPS=false pytest` runs everything on the SDK as it is.
    """
    for name in list(os.environ):
        if name.upper().startswith(OURS) or name.upper() in PROXIES:
            monkeypatch.delenv(name)
    if WITHOUT_SPEEDUPS:
        monkeypatch.setenv("CF_AIG_SPEEDUPS", "false")


def _serving() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        yield server


_gateway = pytest.fixture(scope="session", name="gateway_server")(_serving)
_elsewhere = pytest.fixture(scope="session", name="other_server")(_serving)


@pytest.fixture
def gateway(gateway_server):
    """A server that records, in the gateway's place."""
    gateway_server.reset()
    return gateway_server


@pytest.fixture(scope="module")
def served() -> Iterator[LocalGateway]:
    """The local gateway of a module's tests."""
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture
def local_gateway(served):
    """The same, as good as new for a test."""
    served.reset()
    return served


@pytest.fixture
def elsewhere(other_server):
    """A server that records, at another origin than the gateway."""
    other_server.reset()
    return other_server


@pytest.fixture
def mistral(elsewhere, monkeypatch):
    """A server in the place of api.mistral.ai, and no memory of an outage."""
    monkeypatch.setattr(_flow, "MISTRAL_URL", elsewhere.origin)
    monkeypatch.setattr(_flow, "_open_until", {})
    return elsewhere


@pytest.fixture
def nobody():
    """The base URL of a gateway that is not there."""
    with refusing() as origin:
        yield origin + PREFIX


@pytest.fixture
def slept(monkeypatch):
    """The waits of the SDK in seconds, none of which takes any time; tries take none either."""
    waits = []
    retries = import_module(f"{_sdk.ROOT}.utils.retries")

    async def sleep_async(seconds):
        waits.append(seconds)

    clock = SimpleNamespace(time=lambda: sum(waits), sleep=waits.append)
    monkeypatch.setattr(retries, "time", clock)
    monkeypatch.setattr(retries, "asyncio", SimpleNamespace(sleep=sleep_async))
    monkeypatch.setattr(retries, "random", SimpleNamespace(uniform=lambda low, high: 0.0))
    return waits


@pytest.fixture
def make_settings(gateway):
    """Build settings for the recording gateway; keywords add to them or replace them."""

    def build(**values: Any) -> GatewaySettings:
        given = {"base_url": gateway.base_url, "token": TOKEN, "mistral_api_key": KEY, **values}
        return GatewaySettings(**{name: value for name, value in given.items() if value})

    return build


@pytest.fixture
def settings(make_settings):
    return make_settings()


@pytest.fixture
def client(settings):
    return make_client(settings)


@pytest.fixture(scope="session")
def ssl_context():
    """Loading the certificates is what makes a client dear: once for all tests."""
    return _sdk.httpx.create_ssl_context()


@pytest.fixture
def async_http(ssl_context):
    """An async HTTP client that can be used in one event loop after the other."""
    return _ClientPerRequest(ssl_context)


@pytest.fixture
def bare(gateway, ssl_context, async_http):
    """The SDK without the adapter, pointed at the same server."""
    with _sdk.httpx.Client(verify=ssl_context) as http:
        yield _sdk.Mistral(
            api_key=KEY,
            server_url=f"{gateway.base_url}/mistral",
            client=http,
            async_client=async_http,
        )


class _ClientPerRequest:
    """An async client for `asyncio.run()`: opens for each request, as no loop lasts."""

    def __init__(self, ssl_context: Any) -> None:
        self._options = {"verify": ssl_context}

    def build_request(self, *args: Any, **kwargs: Any) -> Any:
        return _sdk.httpx.AsyncClient(**self._options).build_request(*args, **kwargs)

    async def send(self, request: Any, *, stream: bool = False, **kwargs: Any) -> Any:
        async with _sdk.httpx.AsyncClient(**self._options) as http:
            return await http.send(request, **kwargs)

    async def aclose(self) -> None:
        """Nothing is open between requests."""


@pytest.fixture(params=MODES, ids=lambda mode: mode.name)
def mode(request) -> Mode:
    """Write a promise once, keep it in all four ways of calling."""
    return request.param


@pytest.fixture(params=MODES[:2], ids=lambda mode: mode.name)
def plain_mode(request) -> Mode:
    """Like `mode`, for what has no stream."""
    return request.param


@pytest.fixture(params=STREAMS, ids=lambda mode: mode.name)
def stream_mode(request) -> Mode:
    """Like `mode`, for what is a stream."""
    return request.param
