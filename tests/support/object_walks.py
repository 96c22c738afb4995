"""What debuggers, error trackers and tracers make of an object, and of an exception's frames."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import mistral_cf_adapter

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = str(Path(mistral_cf_adapter.__file__).parent)
# The bare SDK has these frames too, with the key that a call brings.
_OF_THE_SDK = ("mistralai", "httpx", "httpx2", "httpcore", "httpcore2", "h11", "h2", "anyio")
_OF_THE_TESTS = str(Path(__file__).parents[1])


# ---------------------------------------------------------------- frames


def errors_of(error: BaseException) -> list[BaseException]:
    """Return an exception with all that it is chained to, whether a traceback would show it."""
    found: list[BaseException] = []
    links: list[Any] = [error]
    while links:
        link = links.pop()
        if link is None or any(link is other for other in found):
            continue
        found.append(link)
        links += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
    return found


def frames_of(error: BaseException) -> Iterator[FrameType]:
    for link in errors_of(error):
        trace = link.__traceback__
        while trace is not None:
            yield trace.tb_frame
            trace = trace.tb_next


def locals_of(error: BaseException, below: str = "") -> list[str]:
    """Return what the frames of an exception show that would not be there, or not so, without us.

    That is repr() of each variable and of what containers hold, as sentry-sdk, rich, structlog and
    `pytest -l` show them.

    Args:
        error: The exception, with its chain.
        below: Only frames of files below this directory.
    """
    return [
        f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}: {name} = {text}"
        for frame in frames_of(error)
        if not _is_to_be_left_out(frame) and frame.f_code.co_filename.startswith(below)
        for name, value in frame.f_locals.items()
        for text in _reprs(value, 6)
    ]


def _is_to_be_left_out(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    if module == "mistral_cf_adapter.speedups.streaming":  # in the SDK's place, with its variables
        return True
    of_the_sdk = module.partition(".")[0] in _OF_THE_SDK
    return of_the_sdk or frame.f_code.co_filename.startswith(_OF_THE_TESTS)


def _reprs(value: object, depth: int) -> Iterator[str]:
    try:
        yield repr(value)
    except Exception as refusal:
        yield str(refusal)
    if depth:
        for part in _shown_parts(value):
            yield from _reprs(part, depth - 1)


def _shown_parts(value: Any) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if _has_repr_of_dataclass(value):  # rich opens these
        fields = [field for field in dataclasses.fields(value) if field.repr]
        return [getattr(value, field.name, None) for field in fields]
    return []


def _has_repr_of_dataclass(value: Any) -> bool:
    code = getattr(type(value).__repr__, "__code__", None)
    return dataclasses.is_dataclass(type(value)) and "dataclasses" in str(code)


# ---------------------------------------------------------------- objects


def texts_in(thing: object) -> Iterator[str]:
    """Yield every text that is found from an object by its attributes, slots, items and fields.

    Functions, classes and modules are not entered, as no serializer does.
    """
    seen: dict[int, object] = {}
    todo: list[object] = [thing]
    while todo:
        current = todo.pop()
        if id(current) in seen:
            continue
        seen[id(current)] = current
        if isinstance(current, str):
            yield current
        elif isinstance(current, bytes | bytearray):
            yield current.decode("latin-1")
        elif not isinstance(current, type | ModuleType | FunctionType | MethodType):
            todo += _parts(current)
    # A repr is what those fall back on that enter no attributes.
    yield from (repr(value) for value in seen.values())


def _parts(value: Any) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    parts: list[object] = []
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        parts += [
            getattr(value, name, None) for name in ([slots] if isinstance(slots, str) else slots)
        ]
    attributes = getattr(value, "__dict__", None)
    return [*parts, *(attributes.values() if isinstance(attributes, dict) else ())]


def serialized(thing: object) -> str:
    """Return JSON as tracers write it: dataclasses, models, slots and attributes are opened."""
    return json.dumps(_opened(thing, set()))


def _opened(value: Any, outer: set[int]) -> Any:
    """Do as Langfuse's `EventSerializer` does, the widest of the known ones."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = _as_dict(value)
    elif hasattr(value, "model_dump") and not isinstance(value, type):
        value = value.model_dump()
    if isinstance(value, dict):
        return {str(name): _opened(part, outer) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_opened(part, outer) for part in value]
    if isinstance(value, type | ModuleType) or id(value) in outer:
        return str(value)
    return _attributes(value, {*outer, id(value)})


def _attributes(value: Any, outer: set[int]) -> Any:
    if hasattr(value, "__slots__"):
        slots = value.__slots__
        names = [slots] if isinstance(slots, str) else slots
        return {name: _opened(getattr(value, name, None), outer) for name in names}
    if hasattr(value, "__dict__"):
        return {name: _opened(part, outer) for name, part in vars(value).items()}
    return f"<{type(value).__name__}>"


def _as_dict(value: Any) -> Any:
    try:
        return dataclasses.asdict(value)
    except Exception:  # what cannot be copied is taken as it is
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def copied(thing: object) -> object:
    """Return a deep copy, or the refusal."""
    try:
        return copy.deepcopy(thing)
    except Exception as refusal:
        return str(refusal)
