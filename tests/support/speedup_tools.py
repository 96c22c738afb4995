"""The SDK as it is and with the speed-ups, side by side."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pydantic
from operations import Sampler, fingerprint

from mistral_cf_adapter import _sdk, speedups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def sdk_module(name: str) -> Any:
    """Import a module of the installed SDK, as `utils.serializers`."""
    return importlib.import_module(f"{_sdk.ROOT}.{name}")


def run_program(program: str, *arguments: str, **variables: str) -> Any:
    """Run a program in a new interpreter and return the JSON that it prints.

    Args:
        program: Its text; what it prints last is one line.
        arguments: Its arguments.
        variables: Variables of its environment, which has none that the adapter or the SDK reads.
    """
    read = ("CF_", "CLOUDFLARE_", "MISTRAL_", "OTEL_")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(read)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def nobody_holding() -> Iterator[None]:
    """Take the speed-ups out, whoever holds them, and put them back at the end."""
    holders = speedups._holders
    _let_go()
    try:
        yield
    finally:
        _let_go()
        if holders:
            speedups.install()
            speedups._holders = holders


def _let_go() -> None:
    with speedups._lock:
        while speedups._applied:
            speedups._applied.pop().undo()
        speedups._holders = 0


def outcome(action: Callable[[], Any]) -> Any:
    """Return everything a caller can tell apart about a result or an exception."""
    try:
        return fingerprint(action())
    except Exception as error:
        return _described(error)


def _described(error: BaseException | None) -> Any:
    if error is None:
        return None
    return type(error), str(error), _described(error.__cause__)


def both(action: Callable[[], Any]) -> tuple[Any, list[Any]]:
    """Return the outcome of the bare SDK, and the first and the second one with the speed-ups."""
    bare = outcome(action)
    with speedups.install():
        return bare, [outcome(action), outcome(action)]


def assert_same(action: Callable[[], Any]) -> None:
    bare, fast = both(action)
    assert fast == [bare, bare]


@functools.cache
def model_classes() -> list[type[pydantic.BaseModel]]:
    """Return every model class the installed SDK has."""
    models = sdk_module("models")
    found = (getattr(models, name) for name in models._dynamic_imports)
    unique = dict.fromkeys(
        one for one in found if inspect.isclass(one) and issubclass(one, pydantic.BaseModel)
    )
    return [*unique]


@functools.cache
def sample(cls: type, *, full: bool, variant: int = 0) -> Any:
    """Return a made-up value of a model class as JSON, or None where there is no such thing."""
    sampler = Sampler(sdk_module("models"), full=full, wire=True, variant=variant)
    try:
        value = sampler.value(cls)
        json.dumps(value)
    except Exception:  # a few hold what has no JSON, such as a response or a file
        return None
    return value
