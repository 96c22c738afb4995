"""Run tests that use the fixture `cf_gateway` in a pytest of their own."""

from __future__ import annotations

PLUGIN = "mistral_cf_adapter.testing.plugin"


def run_tests(pytester, pytestconfig, source, *, ini="", arguments=()):
    """Run the tests of a source text in this process, and return what pytest says."""
    lines = ["[pytest]", "asyncio_default_fixture_loop_scope = function", ini]
    pytester.makeini("\n".join(lines))
    installed = pytestconfig.pluginmanager.has_plugin("mistral_cf_adapter")
    pytester.makepyfile(source)
    options = [] if installed else ["-p", PLUGIN]
    return pytester.runpytest_inprocess(*options, "-q", *arguments)
