"""A pytest plugin: the fixture `cf_gateway`. Loads nothing but pytest until it is used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from mistral_cf_adapter.testing.gateway import LocalGateway

PREFIX = "CF_AIG_"
OTHER_NAMES = (
    "CLOUDFLARE_ACCOUNT_ID",
    "CF_ACCOUNT_ID",
    "CLOUDFLARE_GATEWAY_ID",
    "CLOUDFLARE_AI_GATEWAY_ID",
    "CF_GATEWAY_ID",
    "CF_AI_GATEWAY_ID",
    "CLOUDFLARE_AI_GATEWAY_TOKEN",
    "CLOUDFLARE_AI_GATEWAY_BASE_URL",
    "MISTRAL_SA_TOKEN_PATH",
)
FAILED = pytest.StashKey[bool]()


@pytest.fixture
def cf_gateway(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Generator[LocalGateway, None, None]:
    """Give a LocalGateway that all clients go to; unused scripted responses fail the test.

    The environment points at it, and so does, for the test, every client that `make_client()`
    or `patch()` has routed before. It accepts any Mistral key.
    """
    from mistral_cf_adapter._attach import override_settings
    from mistral_cf_adapter.testing.gateway import LocalGateway

    with LocalGateway(mistral_api_key=None) as gateway, override_settings(gateway.adopted):
        _point_environment_at(gateway, monkeypatch)
        yield gateway
        # A failed test has its own story to tell; what it did not reach only adds noise.
        if not request.node.stash.get(FAILED, False):
            gateway.assert_all_used()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test itself failed."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report


def _point_environment_at(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing from the developer's own environment lead elsewhere."""
    for name in [*OTHER_NAMES, *(name for name in os.environ if name.startswith(PREFIX))]:
        monkeypatch.delenv(name, raising=False)
    for name, value in gateway.env().items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1"])))
