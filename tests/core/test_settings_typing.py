"""What checkers and editors know of settings and options is what the models have.

Whether a wrong keyword is an error for mypy and pyright is in `tests/typing_api.py`.
"""

from __future__ import annotations

import inspect
import pydoc
import types
import typing
from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from mistral_cf_adapter import GatewayOptions, GatewaySettings, gateway_headers, gateway_options
from mistral_cf_adapter._options import OptionKeywords
from mistral_cf_adapter._settings_keywords import SettingsKeywords

SOURCES = {"_env_file", "_env_file_encoding", "_secrets_dir"}
PAIRS = [
    pytest.param(keywords, model, name, id=f"{model.__name__}.{name}")
    for keywords, model in ((OptionKeywords, GatewayOptions), (SettingsKeywords, GatewaySettings))
    for name in model.model_fields
]


def members(annotation):
    """Return the plain types that an annotation allows."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return {one for part in typing.get_args(annotation) for one in members(part)}
    if origin is typing.Literal:
        return set(typing.get_args(annotation))
    return {origin or annotation}


def allowed_by_model(field):
    """Return what a keyword may be: a secret as text too, and any mapping for a dict."""
    allowed = members(field.annotation)
    if SecretStr in allowed:
        allowed |= {str}
    return {Mapping if one is dict else one for one in allowed}


def test_each_setting_is_a_keyword_of_the_typed_signature():
    """If this fails, add the field to `SettingsKeywords`, or remove it there."""
    assert {*SettingsKeywords.__annotations__} == {*GatewaySettings.model_fields, *SOURCES}


def test_each_option_is_a_keyword_of_the_typed_signature():
    """If this fails, add the field to `OptionKeywords`, or remove it there."""
    assert {*OptionKeywords.__annotations__} == {*GatewayOptions.model_fields}


@pytest.mark.parametrize(("keywords", "model", "name"), PAIRS)
def test_the_keyword_has_the_type_of_the_field(keywords, model, name):
    hints = typing.get_type_hints(keywords)
    assert members(hints[name]) >= allowed_by_model(model.model_fields[name])


@pytest.mark.parametrize(("keywords", "model", "name"), PAIRS)
def test_none_is_a_keyword_where_it_is_a_value(keywords, model, name):
    hints = typing.get_type_hints(keywords)
    allows_none = type(None) in members(hints[name])
    assert allows_none == (type(None) in members(model.model_fields[name].annotation))


DOCUMENTED = {
    "GatewaySettings": (GatewaySettings, GatewaySettings),
    "GatewayOptions": (GatewayOptions, GatewayOptions),
    "gateway_options": (gateway_options, GatewayOptions),
    "gateway_headers": (gateway_headers, GatewayOptions),
}


@pytest.mark.parametrize(("thing", "model"), DOCUMENTED.values(), ids=DOCUMENTED)
def test_help_has_a_short_signature_and_a_line_for_each_keyword(thing, model):
    lines = pydoc.plain(pydoc.render_doc(thing)).splitlines()
    (signature,) = [line for line in lines if line.endswith(f"{thing.__name__}(**keywords)")]
    assert len(signature) < 80
    text = " ".join(" ".join(line.removeprefix(" | ") for line in lines).split())
    for name, field in model.model_fields.items():
        assert f" {name}: {field.description}" in text


@pytest.mark.parametrize(("thing", "model"), DOCUMENTED.values(), ids=DOCUMENTED)
def test_notebooks_complete_every_keyword(thing, model):
    assert {*inspect.signature(thing).parameters} == {*model.model_fields}


def test_the_settings_of_the_gateway_come_before_its_options():
    names = [*inspect.signature(GatewaySettings).parameters]
    assert names[:3] == ["account_id", "gateway_id", "token"]
    assert names.index("keepalive_expiry") < names.index("cache_ttl")


def test_a_subclass_of_the_settings_has_a_signature():
    class Settings(GatewaySettings):
        team: str = "search"

    assert "team" in inspect.signature(Settings).parameters
    assert Settings(account_id="acc1").team == "search"
