"""What pydantic refuses, in plain words: the value that was given, and what would be right."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

_LONGEST = 16  # characters of a text that is quoted: a key or token is longer
_QUOTABLE = rf"(?!.*://)[^\s@?#]{{1,{_LONGEST}}}"
_UNITS = ("seconds", "milliseconds")
# By how the type of pydantic's error begins.
_NUMBERS = {
    "greater_than": "is out of range",
    "less_than": "is out of range",
    "int_": "is no whole number",
    "float_": "is no number",
    "finite_number": "is no finite number",
    "bool_": "is neither true nor false",
}
_TYPES = {"string_type": "text", "dict_type": "a mapping"}


def explain_validation_error(
    error: ValidationError,
    fields: Mapping[str, FieldInfo],
    name_of: Callable[[str], str] = str,
) -> dict[str, str]:
    """Return a sentence for each wrong option, with its name and, if it can be no secret, value.

    Args:
        error: What pydantic raised.
        fields: The options or settings, by every name they have.
        name_of: Returns the name by which a field was set.
    """
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        location = str(problem["loc"][0])
        field = fields.get(location)
        about = f" ({field.description})" if field and field.description else ""
        if problem["type"] == "extra_forbidden":
            text = f"is not an option{did_you_mean(location, fields) or _list(fields)}"
        else:
            text = _describe(problem, field)
        sentence = f"{name_of(location)}: {text}{about}"
        found[location] = f"{found[location]}; {sentence}" if location in found else sentence
    return found


def name_flag(text: str, flags: Collection[str]) -> str:
    """Return a sentence about a setting with its flag in place of its name, if it was a flag."""
    name, colon, rest = text.partition(": ")
    return f"--{name.replace('_', '-')}{colon}{rest}" if colon and name in flags else text


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the end of a sentence that suggests the nearest name, empty if none is near."""
    by_lower_case = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f"; did you mean {by_lower_case[near[0]]}?" if near else ""


def _list(names: Iterable[str]) -> str:
    return f"; there are {', '.join(names)}"


def _describe(problem: Mapping[str, Any], field: FieldInfo | None) -> str:
    kind: str = problem["type"]
    value = problem["input"]
    shown = _shown(value, field)
    if kind == "value_error":
        text = str(problem["msg"]).removeprefix("Value error, ")
        return f"{shown} {text}" if _is_quotable(value, field) else text
    if kind == "literal_error":
        return f"{shown} is unknown: must be {problem['ctx']['expected']}"
    for start, text in _NUMBERS.items():
        if kind.startswith(start):
            return f"{shown} {text}{_must_be(field)}"
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}, not {type(value).__name__}"
    if kind == "string_too_long":
        return f"has {len(value)} characters: must have at most {problem['ctx']['max_length']}"
    return str(problem["msg"])


def _shown(value: object, field: FieldInfo | None) -> str:
    if isinstance(value, bool | int | float) and field is not None:
        return repr(value)
    if not isinstance(value, str) or field is None or is_secret(field):
        return f"a value of the class {type(value).__name__}"
    return repr(value) if len(value) <= _LONGEST else f"a text of {len(value)} characters"


def _is_quotable(value: object, field: FieldInfo | None) -> bool:
    """Return whether a text can be no secret: it is short, and no URL, whose error quotes it."""
    if field is None or not isinstance(value, str) or not re.fullmatch(_QUOTABLE, value):
        return False
    parts = list(_parts(field.annotation))
    holds_text = any(part in parts for part in (str, bool, Literal))
    return holds_text and not any(part in parts for part in (SecretStr, Mapping, dict))


def _must_be(field: FieldInfo | None) -> str:
    """Return the end of a sentence that says which numbers a field takes, and their unit."""
    limits = {} if field is None else dict(_limits(field))
    unit = _unit(field)
    low, high, above = limits.get("ge"), limits.get("le"), limits.get("gt")
    if low is not None and high is not None:
        return f": must be from {low} to {high}{unit}"
    if low is not None:
        return f": must be at least {low}{unit}"
    return f": must be more than {above}{unit}" if above is not None else ""


def _unit(field: FieldInfo | None) -> str:
    """Return the unit that a field's description begins with."""
    first = ((field and field.description) or "").partition(" ")[0].lower()
    return f" {first}" if first in _UNITS else ""


def _limits(field: FieldInfo) -> Iterator[tuple[str, Any]]:
    for mark in _marks(field):
        for name in ("ge", "gt", "le"):
            limit = getattr(mark, name, None)
            if limit is not None:
                yield name, limit


def _marks(field: FieldInfo) -> Iterator[object]:
    """Yield what the annotation of a field is marked with, at whatever depth."""
    parts = [*field.metadata, *_parts(field.annotation)]
    for part in parts:
        if isinstance(part, FieldInfo):
            yield from part.metadata
        else:
            yield part


def is_secret(field: FieldInfo) -> bool:
    """Return whether a field holds a secret, by its annotation."""
    return any(part is SecretStr for part in _parts(field.annotation))


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation, and the types and marks within it."""
    yield get_origin(annotation) or annotation
    for part in (*get_args(annotation), *getattr(annotation, "__metadata__", ())):
        yield from _parts(part)
