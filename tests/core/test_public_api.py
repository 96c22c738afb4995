"""The public names: sorted, lazy, documented, and their examples true."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from importlib import import_module, metadata

import pytest

import mistral_cf_adapter

NAMES = mistral_cf_adapter.__all__
SETTINGS = mistral_cf_adapter.GatewaySettings(account_id="0123abcd", token="cf-token")
HEAVY = ("mistralai", "pydantic", "pydantic_settings", "httpx", "httpx2", "asyncio", "ssl")


def run(code):
    """Run code in a fresh interpreter; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_names_are_sorted_and_there():
    assert sorted(NAMES) == NAMES
    assert [name for name in NAMES if not hasattr(mistral_cf_adapter, name)] == []
    assert {*dir(mistral_cf_adapter)} == {*NAMES, "__version__"}


def test_what_patch_returns_has_a_public_name():
    with mistral_cf_adapter.patch(settings=SETTINGS) as patched:
        assert type(patched) is mistral_cf_adapter.Patch


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        mistral_cf_adapter.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy():
    code = f"import mistral_cf_adapter, sys; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code) == "[]"


def test_a_star_import_brings_every_name():
    assert run("from mistral_cf_adapter import *; print(make_client.__name__)") == "make_client"


def test_the_version_is_the_distributions():
    assert mistral_cf_adapter.__version__ == metadata.version("mistral-cf-adapter")


def test_the_package_says_that_it_is_typed():
    from importlib.resources import files

    assert (files(mistral_cf_adapter) / "py.typed").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_documented(name):
    thing = getattr(mistral_cf_adapter, name)
    first = (thing.__doc__ or "").strip().partition("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 100
    assert thing.__module__ == "mistral_cf_adapter"


@pytest.mark.parametrize(
    "name", [name for name in NAMES if inspect.isclass(getattr(mistral_cf_adapter, name))]
)
def test_every_public_method_is_documented(name):
    cls = getattr(mistral_cf_adapter, name)
    own = {key: value for key, value in vars(cls).items() if not key.startswith(("_", "model_"))}
    undocumented = [
        key
        for key, value in own.items()
        if (inspect.isfunction(value) or isinstance(value, property)) and not value.__doc__
    ]
    assert undocumented == []


MODULES = [
    "_options",
    "_settings",
    "_capture",
    "_client",
    "_errors",
    "_patch",
    "_routing",
    "_http_client",
    "_pool",
    "_attach",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_are_true(name):
    module = import_module(f"mistral_cf_adapter.{name}")
    names = {public: getattr(mistral_cf_adapter, public) for public in NAMES}
    found = doctest.DocTestFinder(recurse=True).find(module, extraglobs=names)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    results = [runner.run(example) for example in found]
    assert sum(result.failed for result in results) == 0


def test_there_are_examples_to_check():
    examples = 0
    for name in ("make_client", "patch", "capture", "gateway_options", "gateway_headers"):
        doc = inspect.getdoc(getattr(mistral_cf_adapter, name)) or ""
        examples += len(doctest.DocTestParser().get_examples(doc))
    assert examples >= 5


def test_an_sdk_that_is_none_of_ours_is_refused_with_those_that_work():
    code = (
        "import sys, types\n"
        "for name in ('mistralai', 'mistralai.client'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "from mistral_cf_adapter import GatewayConfigError\n"
        "try:\n    from mistral_cf_adapter import make_client\n"
        "except GatewayConfigError as error: print(error)\n"
    )
    assert "2.x and 3.x" in run(code)


def test_a_process_that_made_calls_ends_without_a_warning(gateway):
    code = (
        "import asyncio\n"
        "from mistral_cf_adapter import GatewaySettings, make_client\n"
        f"settings = GatewaySettings(base_url={gateway.base_url!r}, mistral_api_key='k')\n"
        "client = make_client(settings)\n"
        "client.models.list()\n"
        "asyncio.run(client.models.list_async())\n"
        "make_client(settings).models.list()\n"
    )
    assert run(code) == ""
    assert len(gateway.requests) == 3
