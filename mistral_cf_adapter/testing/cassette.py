"""The cassette: a YAML file of recorded requests and responses, to be read, compared and edited."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from importlib import import_module
from math import isfinite
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from mistral_cf_adapter.testing.cassette_bodies import OneLine
from mistral_cf_adapter.testing.limits import MIB
from mistral_cf_adapter.testing.mistral_text import as_dict, as_list
from mistral_cf_adapter.testing.response_checks import MAX_STATUS, MIN_STATUS, check_headers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

try:
    # PyYAML has no types of its own.
    yaml: Any = import_module("yaml")
except ModuleNotFoundError as error:  # pragma: no cover  # a part of the extra
    _MISSING = "record= and replay= need PyYAML: pip install 'mistral-cf-adapter[testing]'"
    raise ModuleNotFoundError(_MISSING, name=error.name) from error

MAX_SIZE = 64 * MIB
"""Bytes of a cassette."""
HEADER = """\
# Recorded by LocalGateway(record=...) of mistral-cf-adapter, for LocalGateway(replay=...).
# Secrets were replaced by [secret] before this was written. To be edited by hand as you like.
"""
BODIES = ("json_", "text", "base64", "form", "events")
LINE_LENGTH = 100
Status = Annotated[int, Field(ge=MIN_STATUS, le=MAX_STATUS)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    json_: Any = Field(None, alias="json")
    text: str | None = None
    base64: str | None = None

    @model_validator(mode="after")
    def _has_one_body(self) -> _Part:
        given = [name.rstrip("_") for name in BODIES if name in self.model_fields_set]
        if len(given) > 1:
            msg = f"has more than one body: {' and '.join(given)}"
            raise ValueError(msg)
        return self

    @field_validator("base64")
    @classmethod
    def _is_base64(cls, value: str | None) -> str | None:
        b64decode("".join((value or "").split()), validate=True)
        return value


class FormPart(_Part):
    """A field or a file of a form."""

    name: str
    filename: str | None = None
    content_type: str | None = None


class Event(BaseModel):
    """One event of a stream: `data` is JSON or text; `raw` is all of an unusual one, or of many."""

    model_config = ConfigDict(extra="forbid", strict=True)

    event: str | None = None
    id: str | None = None
    retry: str | None = None
    data: str | dict[str, Any] | list[Any] = ""
    raw: str | None = None


class RecordedRequest(_Part):
    """What the provider was asked. Of the headers only the type of the body is kept."""

    method: str
    path: str
    query: str = ""
    provider: str = "mistral"
    headers: dict[str, str] = {}
    form: list[FormPart] | None = None


class RecordedResponse(_Part):
    """What the provider answered."""

    status: Status
    headers: dict[str, str] = {}
    events: list[Event] | None = None
    cut: bool = False
    """Whether the connection broke, or the caller left, before the end of the stream."""

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        check_headers("headers", value.items())
        return value


class Entry(BaseModel):
    """One request with its response."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request: RecordedRequest
    response: RecordedResponse


_TAG = "tag:yaml.org,2002:"
_ENTRIES: TypeAdapter[list[Entry]] = TypeAdapter(list[Entry])


_NUMBERS = {
    f"{_TAG}int": re.compile(r"-?(?:0|[1-9][0-9]*)\Z"),
    f"{_TAG}float": re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z"),
}
"""The numbers of JSON: YAML's own make 750 of 12:30 and 8 of 010."""


def _loader() -> Any:
    """Return a safe loader of JSON's types alone: a date, `no` and 12:30 are texts, as meant."""
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, pattern) for tag, pattern in found if _is_of_json(tag, first)]
        for first, found in base.yaml_implicit_resolvers.items()
    }
    made: Any = type("Loader", (base,), {"yaml_implicit_resolvers": resolvers})
    _add_numbers(made)
    return made


def _is_of_json(tag: str, first: str) -> bool:
    name = tag.removeprefix(_TAG)
    return name == "null" or (name == "bool" and first in "tTfF")


def _add_numbers(made: Any) -> None:
    for tag, pattern in _NUMBERS.items():
        made.add_implicit_resolver(tag, pattern, list("-0123456789"))


def _dumper() -> Any:
    """Return a safe dumper: text of several lines as a block, numbers in rows, no references."""
    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    made: Any = type("Dumper", (base,), {"ignore_aliases": _ignore_aliases})
    _add_numbers(made)  # so that a text that looks like one has quotes
    made.add_representer(str, _represent_text)
    made.add_representer(list, _represent_list)
    made.add_representer(OneLine, _represent_one_line)
    return made


def _ignore_aliases(_dumper: Any, _value: Any) -> bool:
    return True


def _represent_text(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _represent_list(dumper: Any, value: list[Any]) -> Any:
    in_rows = all(isinstance(item, int | float) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=in_rows)


def _represent_one_line(dumper: Any, value: dict[str, Any]) -> Any:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)


_LOADER: Any = _loader()
_DUMPER: Any = _dumper()


def write_entry(entry: Any) -> str | None:
    """Return an entry as the lines of a cassette; None if YAML cannot hold it."""
    try:
        text = yaml.dump(
            [entry], Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=LINE_LENGTH
        )
        is_same = yaml.load(text, Loader=_LOADER) == [entry]  # a SafeLoader
    except (yaml.YAMLError, UnicodeError, RecursionError):
        return None
    return f"\n{text}" if is_same else None


def save(path: Path, entries: Iterable[str]) -> None:
    """Put the entries in place of what the file held, all or nothing."""
    # A name of its own: another gateway may write the same file at the same time.
    waiting = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(8)}.tmp")
    try:
        waiting.write_text(HEADER + "".join(entries), encoding="utf-8", newline="\n")
        waiting.replace(path)
    finally:
        waiting.unlink(missing_ok=True)


def load(path: Path) -> list[dict[str, Any]]:
    """Read a cassette; raise ValueError, which names file, entry and field, for a mistake in it."""
    try:
        text = _read(path).decode()
        found: Any = _parse(text) or []
        _check_values(found, at_most=len(text))
        _ENTRIES.validate_python(found)
    except ValidationError as error:
        problems = (_problem(details) for details in error.errors(include_url=False))
        msg = f"{path}: {'; '.join(problems)}"
    except yaml.YAMLError as error:
        msg = f"{path}: not YAML: {error}"
    except (ValueError, RecursionError) as error:
        msg = f"{path}: cannot be read: {error}"
    else:
        return cast("list[dict[str, Any]]", found)
    raise ValueError(msg) from None


def _read(path: Path) -> bytes:
    """Return what a file holds; raise ValueError for what is no file, or too large."""
    if path.exists() and not path.is_file():  # a device may have no end, a pipe no writer
        msg = "it is a folder or a device"
        raise ValueError(msg)
    with path.open("rb") as file:
        content = file.read(MAX_SIZE + 1)
    if len(content) > MAX_SIZE:
        msg = f"it is over the limit of {MAX_SIZE} bytes"
        raise ValueError(msg)
    return content


def _parse(text: str) -> Any:
    """Return what YAML says; raise ValueError for a key that a JSON object cannot have."""
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check_keys(root)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check_keys(root: Any) -> None:
    """Raise ValueError for a key that is no text, or that an object has twice."""
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(root, ())]
    seen: set[int] = set()
    while waiting:
        node, place = waiting.pop()
        if id(node) in seen:  # a reference
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(item, (*place, number)) for number, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                _check_key(key, names, place)
                names.add(key.value)
                waiting.append((value, (*place, key.value)))


def _check_key(key: Any, names: set[str], place: tuple[str | int, ...]) -> None:
    problem = ""
    if key.tag != f"{_TAG}str":
        shown = key.value if isinstance(key.value, str) else "of several values"
        problem = f"the key {shown} is no text: put quotes around it"
    elif key.value in names:
        problem = f"the key {key.value!r} is there twice"
    if problem:
        line = key.start_mark.line + 1
        msg = f"{_place(place)}: {problem} (line {line})"
        raise ValueError(msg)


def _check_values(root: Any, *, at_most: int) -> None:
    """Raise ValueError for what JSON has not, and for references that multiply what is written."""
    waiting: list[Any] = [root]
    count = 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > at_most + 1:
            msg = "it has more values than characters: write out what *references stand for"
            raise ValueError(msg)
        if isinstance(value, dict):
            waiting.extend([*as_dict(value), *as_dict(value).values()])
        elif isinstance(value, list):
            waiting.extend(as_list(value))
        elif not isinstance(value, str | int | float | None):
            msg = f"{value!r} is a {type(value).__name__}, which JSON has not"
            raise ValueError(msg)  # noqa: TRY004  # of a file, not of an argument
        elif isinstance(value, float) and not isfinite(value):
            msg = f"{value!r} is a number which JSON has not"
            raise ValueError(msg)


def _problem(details: Any) -> str:
    """Say what is wrong with which field of which entry, counted from 1."""
    where = details["loc"]
    reason = str(details["msg"]).removeprefix("Value error, ")
    if not where:
        return f"must be a list of entries with request and response ({reason})"
    return f"{_place(where)}: {reason}"


def _place(where: tuple[str | int, ...]) -> str:
    """Return which field of which entry, counted from 1."""
    if not where or not isinstance(where[0], int):
        return "the whole"
    field = ".".join(str(part) for part in where[1:])
    return f"entry {where[0] + 1}, {field or 'the whole'}"
