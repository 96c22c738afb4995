"""A pytest plugin: the fixture `cf_gateway`. Loads nothing but pytest until it is used."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

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
MARKER = "cf_gateway"
STRICT = "cf_gateway_strict"
ALLOW_HOSTS = "cf_gateway_allow_hosts"
ENDED_EARLY = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what can be set for all tests."""
    parser.addini(
        STRICT,
        "Whether the fixture cf_gateway refuses requests for which nothing is scripted",
        type="bool",
        default=False,
    )
    parser.addini(
        ALLOW_HOSTS,
        "Hosts that clients of the Mistral SDK may reach in tests with the fixture cf_gateway",
        type="args",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, for `--strict-markers`."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(**keywords): keywords of LocalGateway, and allow_hosts, for the fixture "
        "cf_gateway; those of a test win over those of its class and module",
    )


@pytest.fixture
def cf_gateway(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Generator[LocalGateway, None, None]:
    """Give a LocalGateway that all clients go to; unused scripted responses fail the test.

    The environment points at it, and so does, for the test, every client that `make_client()`
    or `patch()` has routed before. It accepts any Mistral key. A client of the SDK that would reach
    another host raises `HostNotAllowedError`, before anything is sent.

    `@pytest.mark.cf_gateway(...)` takes the keywords of LocalGateway, such as `strict=True` or
    `stored_keys={...}`, and `allow_hosts=[...]`: hosts that clients may reach all the same. In
    pytest's configuration, `cf_gateway_strict = true` and `cf_gateway_allow_hosts = ...` are for
    all tests.
    """
    keywords = _read_keywords(request)
    with _serve(keywords, monkeypatch) as (gateway, checks):
        yield gateway
        # A failed test has its own story to tell; what it did not reach only adds noise.
        if not request.node.stash.get(ENDED_EARLY, False):
            _run_checks(checks)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test itself failed or was skipped."""
    report = yield
    if report.when == "call" and not report.passed:
        item.stash[ENDED_EARLY] = True
    return report


def _read_keywords(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what pytest's configuration and the markers of a test say; the nearest wins."""
    from mistral_cf_adapter.testing.gateway import LocalGateway
    from mistral_cf_adapter.testing.keywords import check_names, keyword_names

    keywords: dict[str, Any] = {
        "mistral_api_key": None,
        "strict": request.config.getini(STRICT),
        "allow_hosts": request.config.getini(ALLOW_HOSTS),
    }
    known = ["allow_hosts", *keyword_names(LocalGateway.__init__)]
    for marker in reversed(list(request.node.iter_markers(MARKER))):
        try:
            check_names(f"@pytest.mark.{MARKER}()", marker.kwargs, known)
        except TypeError as error:
            pytest.fail(str(error), pytrace=False)
        if marker.args:
            pytest.fail(f"@pytest.mark.{MARKER}() takes keywords alone", pytrace=False)
        keywords |= marker.kwargs
    if isinstance(keywords["allow_hosts"], str):
        msg = f"@pytest.mark.{MARKER}(allow_hosts=...) takes a list of host names, not a text"
        pytest.fail(msg, pytrace=False)
    return keywords


Checks = tuple["Callable[[], None]", ...]


@contextmanager
def _serve(
    keywords: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Generator[tuple[LocalGateway, Checks], None, None]:
    """Serve a gateway that all goes to; return it with what is to be checked at the end."""
    from mistral_cf_adapter._attach import override_settings
    from mistral_cf_adapter.testing.allowed_hosts import HostGuard
    from mistral_cf_adapter.testing.gateway import LocalGateway

    allowed = keywords.pop("allow_hosts")
    with (
        LocalGateway(**keywords) as gateway,
        override_settings(gateway.adopted),
        HostGuard(allowed) as guard,
    ):
        _point_environment_at(gateway, monkeypatch)
        yield (
            gateway,
            (guard.assert_nothing_refused, gateway.assert_all_scripted, gateway.assert_all_used),
        )


def _run_checks(checks: Checks) -> None:
    """Fail for all that is wrong at the end of a test, without a traceback of ours."""
    __tracebackhide__ = True
    problems: list[AssertionError] = []
    for check in checks:
        try:
            check()
        except AssertionError as error:
            problems.append(error)
    if not problems:
        return
    text = "\n".join(map(str, problems))
    cause = next((one.__cause__ for one in problems if one.__cause__ is not None), None)
    if cause is None:
        pytest.fail(text, pytrace=False)
    # The traceback is that of the test's own function.
    raise AssertionError(text) from cause


def _point_environment_at(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing from the developer's own environment lead elsewhere."""
    for name in [*OTHER_NAMES, *(name for name in os.environ if name.startswith(PREFIX))]:
        monkeypatch.delenv(name, raising=False)
    for name, value in gateway.env().items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1"])))
