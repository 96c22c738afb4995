"""`help()` fits a screen and says what each keyword is for; `repr()` shows what is set."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap

import pytest

import mistral_cf_adapter
from mistral_cf_adapter import (
    Diagnosis,
    GatewayCall,
    GatewayOptions,
    GatewaySettings,
    Problem,
    Usage,
    make_client,
    on_call,
    patch,
)
from mistral_cf_adapter._sdk import Mistral
from mistral_cf_adapter._variables import env_names

PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in (mistral_cf_adapter,)
    for name in package.__all__
}


def documented_parts(thing):
    """Yield what `help()` prints of ours, as it indents it: signatures, docstrings, methods."""
    yield f"{thing.__name__}{inspect.signature(thing)}"
    yield from textwrap.indent(inspect.getdoc(thing), "    ").splitlines()
    for name, member in vars(thing).items() if inspect.isclass(thing) else ():
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not inspect.isfunction(function) or function.__doc__ is None:
            continue
        yield f"    {name}{inspect.signature(function)}"
        yield from textwrap.indent(inspect.getdoc(function), " " * 8).splitlines()


@pytest.mark.parametrize("name", PUBLIC)
def test_help_fits_a_screen_of_80_columns(name):
    assert [line for line in documented_parts(PUBLIC[name]) if len(line) > 80] == []


def test_help_names_every_variable_of_a_setting():
    text = " ".join(inspect.getdoc(GatewaySettings).split())
    for setting in GatewaySettings.model_fields:
        assert f" {setting}: " in text
        assert f"[{', '.join(env_names(setting))}]" in text


@pytest.mark.parametrize("cls", [GatewayCall, Usage, Diagnosis, Problem])
def test_help_lists_every_field_of_a_result(cls):
    lines = inspect.getdoc(cls).splitlines()
    for field in dataclasses.fields(cls):
        (line,) = [line for line in lines if line.startswith(f"    {field.name}: ")]
        assert len(line.split()) > 1


ERRORS = [thing for name, thing in PUBLIC.items() if name.endswith("Error")]


@pytest.mark.parametrize("cls", ERRORS)
def test_the_docstring_of_an_error_says_what_to_do(cls):
    doc = " ".join(inspect.getdoc(cls).split())
    advice = getattr(cls, "advice", None)
    assert f"What to do: {advice}" in doc if advice else "says what would be right" in doc


def test_a_signature_keeps_the_types_that_it_does_not_show():
    parameters = inspect.signature(make_client).parameters
    assert parameters["settings"].annotation == GatewaySettings | None
    assert str(inspect.signature(make_client)) == (
        "(settings=None, /, *, enabled=None, **mistral_kwargs)"
    )
    assert str(inspect.signature(GatewayCall)) == "(**keywords)"
    assert [*inspect.signature(GatewayCall).parameters][:2] == ["method", "path"]


# ---------------------------------------------------------------- what is set


SETTINGS = GatewaySettings(account_id="0123abcd", token="cf-token", cache_ttl=60)
SHOWN = [
    (SETTINGS, "GatewaySettings(account_id='0123abcd', token=Secret('**********'), cache_ttl=60)"),
    (GatewaySettings(enabled=False, byok=False), "GatewaySettings(enabled=False)"),
    (GatewayOptions(), "GatewayOptions()"),
    (GatewayOptions(skip_cache=False), "GatewayOptions(skip_cache=False)"),
    (Usage(prompt_tokens=0), "Usage(prompt_tokens=0)"),
    (
        GatewayCall(method="GET", path="/", attempt=1, elapsed=2, status_code=None, direct=True),
        "GatewayCall(method='GET', path='/', attempt=1, elapsed=2, status_code=None, direct=True)",
    ),
    (Problem("name", "What.", "Do."), "Problem(name='name', message='What.', advice='Do.')"),
]


@pytest.mark.parametrize(("thing", "shown"), SHOWN)
def test_a_repr_shows_what_is_set(thing, shown):
    assert repr(thing) == shown


def test_a_repr_of_settings_masks_secrets():
    headers = {"X-Key": "header-value-0123"}
    settings = GatewaySettings(account_id="a", mistral_api_key="mistral-key-0123", headers=headers)
    assert "0123" not in repr(settings) + str(settings)
    assert "headers={'X-Key': Secret('**********')}" in repr(settings)
    assert "mistral_api_key=" in repr(settings)


def test_a_repr_says_whether_a_patch_is_in_force():
    url = SETTINGS.provider_url
    first = patch(settings=SETTINGS)
    sdk = Mistral(api_key="k")
    assert repr(first) == f"<patch() to {url}, in force, 1 client>"
    with pytest.warns(UserWarning, match="until this patch is undone"):
        second = patch(settings=SETTINGS.model_copy(update={"gateway_id": "other"}))
    assert repr(first) == f"<patch() to {url}, below a newer patch, 1 client>"
    assert ", in force, " in repr(second)
    second.undo()
    assert ", in force, " in repr(first)
    assert repr(second).endswith("/other/mistral, undone>")
    first.undo()
    assert repr(first) == f"<patch() to {url}, undone>"
    one = patch(sdk, settings=SETTINGS)
    assert repr(one) == f"<patch() to {url}, in force, 1 client>"
    one.undo()
    assert repr(one) == f"<patch() to {url}, undone>"


def test_a_repr_says_that_a_patch_is_switched_off():
    off = patch(settings=GatewaySettings(enabled=False))
    assert repr(off) == "<patch(), switched off>"
    off.undo()
    assert repr(off) == "<patch(), undone>"


def test_a_repr_says_whether_a_listener_is_in_force():
    listener = on_call(print)
    assert repr(listener) == "<on_call() of <built-in function print>, in force>"
    listener.undo()
    assert repr(listener) == "<on_call() of <built-in function print>, undone>"
