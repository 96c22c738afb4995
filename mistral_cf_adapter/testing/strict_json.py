"""JSON without `Infinity` and `NaN`, which Python reads and writes and a browser refuses."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn, cast

from mistral_cf_adapter.testing.mistral_text import as_dict

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_strict(text: str | bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none, or has a number that is not finite, such as NaN or 1e999.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, parse_float=_finite, parse_constant=_refuse)


def write_strict(value: Any) -> bytes:
    """Return a value as JSON; a number that is not finite is null, as in JavaScript."""
    try:
        text = _write(value)
    except ValueError:
        text = _write(_replace(value))
    # A prompt may have half a surrogate pair.
    return text.encode(errors="replace")


def _write(value: Any) -> str:
    return json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False
    )


def _replace(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {name: _replace(item) for name, item in as_dict(value).items()}
    if isinstance(value, list | tuple):
        return [_replace(item) for item in cast("Iterable[Any]", value)]
    return value


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    msg = f"{text} is no number of JSON, or too large"
    raise ValueError(msg)
