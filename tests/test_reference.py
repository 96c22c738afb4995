"""What the reference says of settings, options, fields and errors holds when it is tried."""

from __future__ import annotations

import re
from dataclasses import fields

import documents
import operations
import pytest
from write_reference import RETRYABLE_BY

import mistral_cf_adapter
from mistral_cf_adapter import GatewayCall, GatewayConfigError, GatewayOptions, GatewaySettings
from mistral_cf_adapter import _errors as errors_module
from mistral_cf_adapter._errors import BY_CODE, GatewayError
from mistral_cf_adapter._options import gateway_headers, header_names
from mistral_cf_adapter._variables import env_names

REFERENCE = documents.read("REFERENCE.md")
SETTINGS = REFERENCE.sections["Settings"].table("Setting")
OPTIONS = REFERENCE.sections["Options"].table("Option")
ERRORS = REFERENCE.sections["Errors"].table("Error")


def quoted(cell):
    return documents.QUOTED.findall(cell)


def test_the_settings_are_those_of_the_code_with_their_variables_in_order():
    own = GatewaySettings.model_fields.keys() - GatewayOptions.model_fields.keys()
    assert SETTINGS.keys() == own
    assert {name: tuple(quoted(row["Environment"])) for name, row in SETTINGS.items()} == {
        name: env_names(name) for name in SETTINGS
    }


@pytest.mark.parametrize(("name", "row"), SETTINGS.items())
def test_a_default_is_that_of_the_code(name, row):
    default = GatewaySettings.model_fields[name].default
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    assert row["Default"].partition(", or ")[0] == ("none" if default is None else f"`{shown}`")


CHOICES = [
    (name, choice)
    for name, row in SETTINGS.items()
    for choice in quoted(row["Default"].partition(", or ")[2])
]


@pytest.mark.parametrize(("name", "choice"), CHOICES)
def test_a_choice_is_one_that_is_accepted(name, choice):
    settings = GatewaySettings(account_id="acc", **{name: choice})
    assert getattr(settings, name) == choice


def test_the_settings_with_choices_are_known():
    assert {name for name, _ in CHOICES} == {"enabled", "unsupported", "fallback", "log"}


def test_the_options_are_those_of_the_code_with_their_headers():
    assert OPTIONS.keys() == GatewayOptions.model_fields.keys()
    assert {name: row["Header"].strip("`") for name, row in OPTIONS.items()} == {
        **dict.fromkeys(OPTIONS, "none"),
        **header_names(),
    }


NUMBERS = [
    (name, *map(int, bounds))
    for name, row in OPTIONS.items()
    for bounds in re.findall(r"(\d+) to (\d+)", row["Meaning"])
]


@pytest.mark.parametrize(("name", "low", "high"), NUMBERS)
def test_the_bounds_of_an_option_are_those_that_are_enforced(name, low, high):
    assert gateway_headers(**{name: low})
    assert gateway_headers(**{name: high})
    for outside in (low - 1, high + 1):
        with pytest.raises(GatewayConfigError):
            gateway_headers(**{name: outside})


def test_three_options_have_bounds():
    assert {name for name, *_ in NUMBERS} == {"cache_ttl", "max_attempts", "retry_delay"}


@pytest.mark.parametrize(
    ("name", "said", "value", "wrong"),
    [
        ("metadata", "At most 5", dict.fromkeys("abcde", 1), dict.fromkeys("abcdef", 1)),
        ("request_timeout", "Milliseconds", 1, 0),
        ("otel_trace_id", "32 hex digits", "a" * 32, "a" * 31),
        ("otel_parent_span_id", "16 hex digits", "a" * 16, "a" * 17),
        ("custom_cost", "per_token_in", {"per_token_in": 1}, {"other": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) and value in OPTIONS else "",
)
def test_the_other_ranges_are_enforced_too(name, said, value, wrong):
    assert said in OPTIONS[name]["Meaning"]
    assert gateway_headers(**{name: value})
    with pytest.raises(GatewayConfigError):
        gateway_headers(**{name: wrong})


def test_the_costs_are_those_that_are_accepted():
    names = re.findall(r"per_\w+", OPTIONS["custom_cost"]["Meaning"])
    assert gateway_headers(custom_cost=dict.fromkeys(names, 1))
    with pytest.raises(GatewayConfigError) as caught:
        gateway_headers(custom_cost={"other": 1})
    assert set(names) == set(re.findall(r"per_\w+", str(caught.value)))


@pytest.mark.parametrize("name", ["backoff", "endpoint"])
def test_the_values_of_a_choice_are_those_that_are_accepted(name):
    choices = quoted(OPTIONS[name]["Type"])
    assert [getattr(GatewayOptions(**{name: choice}), name) for choice in choices] == choices
    with pytest.raises(ValueError, match=re.escape(choices[-1])):
        GatewayOptions(**{name: "other"})


def test_the_fields_of_a_call_are_those_of_the_code():
    section = REFERENCE.sections["Calls"]
    assert section.table("Field").keys() == {fact.name for fact in fields(GatewayCall)}
    assert "" not in {row["Meaning"] for row in section.table("Field").values()}


def test_the_codes_are_those_of_the_code():
    shown = {
        int(code): name for name, row in ERRORS.items() for code in re.findall(r"\d+", row["Code"])
    }
    assert shown == {code: kind.__name__ for code, kind in BY_CODE.items()}


def test_every_error_of_the_gateway_has_a_row():
    kinds = [kind for kind in vars(errors_module).values() if isinstance(kind, type)]
    names = {kind.__name__ for kind in kinds if issubclass(kind, GatewayError)}
    assert ERRORS.keys() == names
    assert names <= set(mistral_cf_adapter.__all__)


@pytest.mark.parametrize(("name", "row"), ERRORS.items())
def test_what_may_be_asked_again_is_what_the_code_says(name, row):
    by_class = {True: "yes", False: "no"}[getattr(errors_module, name).retryable]
    assert row["Retryable"] == RETRYABLE_BY.get(name, by_class)


def test_the_counted_methods_are_those_of_the_operations_test():
    text = REFERENCE.sections["Compatibility"].text
    sentence = re.search(r"runs with (.+?), whose (.+?) generated", text)
    releases, counts = (re.findall(r"[\d.]+", words) for words in sentence.groups())
    shown = {
        tuple(map(int, release.split("."))): int(count)
        for release, count in zip(releases, counts, strict=True)
    }
    assert shown == operations.COUNTED
