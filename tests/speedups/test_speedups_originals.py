"""Where a tracer or a debugger replaced the code of a function, speed-ups step aside."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import subprocess
import sys
import textwrap
import threading
import types

import pytest
from call_modes import STREAM, SYNC
from http_records import TEXT
from speedup_tools import nobody_holding, sdk_module

from mistral_cf_adapter import _sdk, make_client, speedups
from mistral_cf_adapter.speedups import patches
from mistral_cf_adapter.speedups.registry import SPEEDUPS

# Python 3.13 and newer warn where a generator gets the code of a function, as these tests do it.
pytestmark = pytest.mark.filterwarnings("ignore:Assigning a code object of non-matching type")


class TracedError(Exception):
    """Raised by the code that a tracer put into a function."""


def _traced(*args, **kwargs):
    raise TracedError


_TRACED_CODE = _traced.__code__


def _functions(speedup):
    """Return the functions that a speed-up counts on, with the names of their places."""
    with nobody_holding():
        module = sdk_module(speedup.module)
        with contextlib.suppress(patches.ChangedError, ImportError):
            return {n: f for n, (_, f) in patches._proven(speedup, module, _sdk.ROOT).items()}
    return {}


def _fitting():
    with nobody_holding():
        return [speedup for speedup in SPEEDUPS if _applies(speedup)]


def _applies(speedup):
    applied = patches.apply(speedup, _sdk.ROOT)
    if applied is not None:
        applied.undo()
    return applied is not None


FITTING = _fitting()
# Without it the hooks are those of a release that has no such hook: see the test of its own.
ACCOUNT = "_hooks.service_account_auth:"
COUNTED_ON = [
    (speedup, name)
    for speedup in FITTING
    for name in _functions(speedup)
    if not name.startswith(ACCOUNT)
]


@contextlib.contextmanager
def _changed(function, attribute, value):
    before = getattr(function, attribute, None)
    setattr(function, attribute, value)
    try:
        yield
    finally:
        setattr(function, attribute, before)


@pytest.fixture
def without_speedups():
    with nobody_holding():
        yield


def _another(code):
    """Return code that does the same, as a tracer's does, and is not the same."""
    return code.replace(co_consts=(*code.co_consts, "traced"))


@pytest.mark.usefixtures("without_speedups")
@pytest.mark.parametrize(
    ("speedup", "name"), COUNTED_ON, ids=[f"{speedup.name}: {name}" for speedup, name in COUNTED_ON]
)
def test_a_speedup_is_not_installed_over_code_that_was_replaced(speedup, name, caplog):
    function = _functions(speedup)[name]
    with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
        for code in (_another(function.__code__), _TRACED_CODE):
            with _changed(function, "__code__", code):
                assert patches.apply(speedup, _sdk.ROOT) is None
    assert "runs other code than its source says" in caplog.text
    assert _applies(speedup)


@pytest.mark.usefixtures("without_speedups")
def test_a_hook_whose_code_was_replaced_runs_in_a_thread_as_with_the_bare_sdk():
    try:
        hook = sdk_module("_hooks.service_account_auth").ServiceAccountAuthHook
    except ImportError:
        pytest.skip("service accounts came with 3.0")
    hooks = sdk_module("_hooks.sdkhooks").SDKHooks()
    hooks.before_request_hooks = [hook()]
    speedup = next(speedup for speedup in SPEEDUPS if speedup.name == "hooks in threads")
    with _changed(hook.before_request, "__code__", _current_thread.__code__):
        applied = patches.apply(speedup, _sdk.ROOT)
        try:
            run = sdk_module("basesdk").run_sync_in_thread
            thread = asyncio.run(run(hooks.before_request, None, None))
        finally:
            applied.undo()
    assert thread is not threading.main_thread()


def _current_thread(self, hook_ctx, request):
    return __import__("threading").current_thread()


def _call(name):
    """Return a call of each function that a speed-up stands in for."""
    response = types.SimpleNamespace()
    calls = {
        "_parse_event": lambda f: f(raw=bytearray(b"data: 1\n"), decoder=str),
        "stream_events": lambda f: f(response, str),
        "stream_events_async": lambda f: f(response, str),
        "_coerce_iterables_for_type": lambda f: f({"a": 1}, list[int]),
        "get_pydantic_model": lambda f: f(None, int | None),
        "__getattr__": lambda f: f("SDKError"),
        "create_model": lambda f: f("M", body=(int, ...), __config__=_config()),
        "get_type_hints": lambda f: f(_sdk.Security),
        "__deepcopy__": lambda f: f(sdk_module("types.basemodel").UNSET),
        "get_body_content": _ask_for_body,
        "run_sync_in_thread": _run_hook,
    }
    return calls[name]


def _config():
    return {"populate_by_name": True, "arbitrary_types_allowed": True}


def _ask_for_body(function):
    logger = sdk_module("utils.logger").NoOpLogger()
    request = _sdk.httpx.Request("GET", "https://host.example")
    return [logger, function(request)][1]


def _run_hook(function):
    hooks = sdk_module("_hooks.sdkhooks").SDKHooks()
    hooks.before_request_hooks = []
    return asyncio.run(function(hooks.before_request, None, None))


@pytest.mark.usefixtures("without_speedups")
@pytest.mark.parametrize("speedup", FITTING, ids=lambda speedup: speedup.name)
def test_an_installed_speedup_steps_aside_when_code_is_replaced(speedup):
    module = sdk_module(speedup.module)
    owner = module if speedup.owner is None else getattr(module, speedup.owner)
    original = getattr(owner, speedup.attribute)
    applied = patches.apply(speedup, _sdk.ROOT)
    call = _call(speedup.attribute)
    missing = "TracedError" not in original.__globals__
    try:
        with contextlib.suppress(AttributeError):  # of a response that is none
            call(getattr(owner, speedup.attribute))
        with _changed(original, "__code__", _TRACED_CODE):
            original.__globals__["TracedError"] = TracedError
            with pytest.raises(TracedError):
                call(getattr(owner, speedup.attribute))
    finally:
        if missing:
            del original.__globals__["TracedError"]
        applied.undo()


@pytest.mark.usefixtures("without_speedups")
@pytest.mark.parametrize("speedup", FITTING, ids=lambda speedup: speedup.name)
def test_each_function_that_a_speedup_counts_on_is_watched(speedup):
    functions = _functions(speedup)
    is_untouched = patches.watch_code(*functions.values())
    for function in functions.values():
        assert is_untouched()
        with _changed(function, "__code__", _another(function.__code__)):
            assert not is_untouched()
    assert is_untouched()


@pytest.mark.parametrize("mode", [SYNC, STREAM], ids=lambda mode: mode.name)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_traced_function_is_called(gateway, settings, monkeypatch, mode, when):
    """As tools do that instrument a running program: they put a call of theirs into the code."""
    traced = _is_called_in(mode)
    with nobody_holding():
        if when == "after":
            assert mode.chat(make_client(settings)) == TEXT
        calls = []
        twin = types.FunctionType(
            traced.__code__, traced.__globals__, "twin", traced.__defaults__, traced.__closure__
        )
        twin.__kwdefaults__ = traced.__kwdefaults__

        def call(*args, **kwargs):
            calls.append(args or kwargs)
            return twin(*args, **kwargs)

        monkeypatch.setitem(traced.__globals__, "__tool", call)
        source = "def tool(*args, **kwargs): return __tool(*args, **kwargs)"
        names = {}
        exec(source, names)
        with _changed(traced, "__code__", names["tool"].__code__):
            assert mode.chat(make_client(settings)) == TEXT
    assert calls


def _is_called_in(mode):
    with nobody_holding():
        if mode is STREAM:
            return sdk_module("utils.eventstreaming")._parse_event
        return sdk_module("utils.queryparams")._populate_query_params


def test_code_that_is_warm_is_still_that_of_its_source():
    """Python rewrites the instructions of what runs often, in place."""
    module = sdk_module("utils.eventstreaming")
    known = patches.digest(module, "_peek_sequence")
    for _ in range(5000):
        module._peek_sequence(0, bytearray(b"\n\n\n\n"), b"\n\n")
    assert patches.digest(module, "_peek_sequence") == known


PYCS = {"with": {}, "without": {"PYTHONDONTWRITEBYTECODE": "1"}}
# Each compiles the whole SDK: tried without what an earlier run kept where it may matter most.
COMPILED = [
    ([], "with"),
    (["-O"], "without"),
    (["-OO"], "with"),
    (["-X", "no_debug_ranges"], "with"),
]


@pytest.mark.parametrize(("flags", "pycs"), COMPILED)
def test_the_speedups_fit_however_the_sdk_was_compiled(tmp_path, flags, pycs):
    """What Python has kept of earlier runs may have been compiled in another way."""
    code = """
        import mistral_cf_adapter.speedups as speedups
        speedups.install()
        print(len(speedups.active()))
    """
    environment = {"PYTHONPYCACHEPREFIX": str(tmp_path), **PYCS[pycs]}
    runs = [[sys.executable, *flags, "-c", textwrap.dedent(code)]]
    if pycs == "with":
        runs.append(runs[0][:1] + runs[0][-2:])
    for run in runs:
        done = subprocess.run(
            run, env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        assert int(done.stdout) == len(FITTING)


def test_a_function_is_compiled_as_in_its_module(tmp_path, monkeypatch):
    """Imported names, names private to a class, decorators and inner functions count."""
    text = '''
        from __future__ import annotations
        import json
        from functools import cache


        class Owner:
            __own = 1

            @staticmethod
            @cache
            def function(
                a: int = 1, *, b: str = "x"
            ) -> str:
                """Say something."""
                return json.dumps([Owner.__own, a, [x for x in b], (lambda: a)()])

            async def method(self): return await self.__private(super())
    '''
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "place.py").write_text(textwrap.dedent(text))
    module = __import__("place")
    lines = textwrap.dedent(text).encode().splitlines()
    decorated = module.Owner.__dict__["function"].__func__.__wrapped__
    functions = {
        "Owner.function": decorated,
        "Owner.method": module.Owner.method,
    }
    monkeypatch.setattr(patches, "load_code", lambda module: None)
    for name, function in functions.items():
        end = patches._find_definition(lines, function.__code__.co_firstlineno - 1)[1]
        assert patches.is_as_written(function, module, name, lines, end)
        with _changed(function, "__code__", _another(function.__code__)):
            assert not patches.is_as_written(function, module, name, lines, end)


def test_what_stands_in_is_called_in_place_of_the_original_only_while_that_is_untouched():
    def original():
        return "original"

    choose = patches.stepping_aside(patches.watch_code(original), original, lambda: "replacement")
    assert choose() == "replacement"
    with _changed(original, "__code__", functools.partial(lambda: "traced").func.__code__):
        assert choose() == "traced"
    assert choose() == "replacement"


def test_speedups_are_all_there_again_when_the_tracer_is_gone():
    with nobody_holding(), speedups.install():
        assert len(speedups.active()) == len(FITTING)
