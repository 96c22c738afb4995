"""Public names say which package exports them: in tracebacks, pickles, hints and `help()`."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import subprocess
import sys
import typing

import pytest

import mistral_cf_adapter
from mistral_cf_adapter import (
    GatewayCall,
    GatewayConfigError,
    GatewayError,
    GatewayOptions,
    GatewaySettings,
    make_client,
    testing,
)

PACKAGES = (mistral_cf_adapter, testing)
EXPORTS = [
    pytest.param(package.__name__, name, getattr(package, name), id=f"{package.__name__}.{name}")
    for package in PACKAGES
    for name in package.__all__
]
CLASSES = [export for export in EXPORTS if inspect.isclass(export.values[2])]
FUNCTIONS = [export for export in EXPORTS if inspect.isfunction(export.values[2])]


def run(code):
    """Run code in a fresh interpreter; return exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.mark.parametrize(("package", "name", "thing"), EXPORTS)
def test_every_export_names_the_package_that_exports_it(package, name, thing):
    assert (thing.__module__, thing.__qualname__) == (package, name)


@pytest.mark.parametrize("where", ["mistral_cf_adapter", "mistral_cf_adapter._options"])
def test_a_fresh_process_has_the_same_module_however_a_name_is_imported(where):
    code = f"from {where} import GatewayConfigError; print(GatewayConfigError.__module__)"
    assert run(code) == (0, "mistral_cf_adapter", "")


def test_a_traceback_has_the_public_name_where_nothing_but_a_function_was_imported():
    _, _, shown = run("from mistral_cf_adapter import gateway_headers as g; g(cache_ttl=5)")
    assert shown.splitlines()[-1].startswith("mistral_cf_adapter.GatewayConfigError: cache_ttl: ")


def test_a_traceback_has_the_public_name_of_a_gateways_error(served):
    served.fail(2003)
    code = (
        "from mistral_cf_adapter import GatewaySettings, make_client\n"
        f"settings = GatewaySettings(base_url={served.url!r}, token={served.token!r})\n"
        f"make_client(settings, api_key={served.mistral_api_key!r}).models.list()\n"
    )
    _, _, shown = run(code)
    assert "\nmistral_cf_adapter.GatewayRateLimitedError: " in shown


@pytest.mark.parametrize(("package", "name", "thing"), EXPORTS)
def test_classes_and_functions_pickle_by_their_public_name(package, name, thing):
    data = pickle.dumps(thing, protocol=0)
    assert data.startswith(f"c{package}\n{name}\n".encode())
    assert pickle.loads(data) is thing


def test_objects_pickle(served):
    for value in (
        GatewayOptions(cache_ttl=60, metadata={"team": "search"}),
        GatewayCall(method="GET", path="/", attempt=1, elapsed=0.1, status_code=200),
    ):
        assert pickle.loads(pickle.dumps(value)) == value
    error = pickle.loads(pickle.dumps(GatewayConfigError("what")))
    assert (type(error), str(error)) == (GatewayConfigError, "what")
    served.fail(2003)
    with pytest.raises(GatewayError) as caught:
        make_client(served.settings()).models.list()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), copy.code) == (type(caught.value), 2003)


def test_a_pickle_is_read_by_a_process_that_has_not_loaded_the_package(tmp_path):
    path = tmp_path / "options"
    path.write_bytes(pickle.dumps((GatewayOptions(cache_ttl=60), make_client)))
    code = f"import pickle; print(pickle.load(open({str(path)!r}, 'rb'))[0].cache_ttl)"
    assert run(code) == (0, "60", "")


@pytest.mark.parametrize(("package", "name", "thing"), CLASSES)
def test_the_hints_of_a_class_are_types(package, name, thing):
    hints = typing.get_type_hints(thing)
    assert not any(isinstance(hint, str | typing.ForwardRef) for hint in hints.values())


def test_the_fields_of_a_class_have_hints():
    assert typing.get_type_hints(GatewayCall)["attempt"] is int
    assert typing.get_type_hints(GatewaySettings)["byok"] is bool
    assert typing.get_type_hints(testing.LogRecord)["cached"] is bool
    assert typing.get_type_hints(testing.ReceivedRequest)["body"] is bytes


def test_a_subclass_of_a_model_keeps_fields_and_checks():
    class Settings(GatewaySettings):
        team: str = "search"

    made = Settings(account_id="0123abcd", token="cf-token", cache_ttl=60)
    assert (made.team, made.cache_ttl, made.gateway_id) == ("search", 60, "default")
    assert Settings.__module__ == __name__
    with pytest.raises(GatewayConfigError):
        Settings(account_id="0123abcd", cache_ttl=5)
    assert Settings.model_json_schema()["properties"]["team"]["type"] == "string"


@pytest.mark.parametrize(("package", "name", "thing"), EXPORTS)
def test_help_names_the_package(package, name, thing):
    text = pydoc.plain(pydoc.render_doc(thing))
    assert text.splitlines()[0].endswith(f" {name} in module {package}")


def test_help_of_the_package_lists_classes_and_functions():
    shown = pydoc.plain(pydoc.render_doc(mistral_cf_adapter))
    assert "class GatewaySettings(GatewayOptions, " in shown
    assert "    make_client(" in shown


@pytest.mark.parametrize(("package", "name", "thing"), FUNCTIONS)
def test_the_source_of_a_function_is_found(package, name, thing):
    assert f"def {name}(" in inspect.getsource(thing)
