"""The model and the usage that a request's or response's JSON states."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ._envelopes import parse_json
from ._public import set_public_module
from ._reprs import show_set_fields
from ._signatures import document_attributes, shorten_signatures

_MAX_PARSED = 32_768
"""Bytes of JSON that are parsed; more is only searched, as it is mostly vectors or files."""
_MAX_VALUE = 4096  # bytes of JSON in which a value ends that is searched for
_MAX_FINDS = 16
_MAX_AMOUNT = 2**63  # what metrics and databases take
_MAX_NAME = 200  # characters of a model's name

_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Usage:
    """What a call used, as the response says; what it does not say is `None`.

    Example:
        >>> Usage(prompt_tokens=5, completion_tokens=2).prompt_tokens
        5
    """

    prompt_tokens: int | None = None
    """Tokens of the prompt, those of the provider's cache included."""
    completion_tokens: int | None = None
    """Tokens of the completion."""
    total_tokens: int | None = None
    """Tokens in all."""
    cached_tokens: int | None = None
    """Tokens of the prompt that the provider had in its cache."""
    audio_seconds: int | float | None = None
    """Seconds of audio in the prompt."""
    pages: int | None = None
    """Pages that OCR processed."""

    __repr__ = show_set_fields


# The SDK writes the model first: then nothing else needs to be read.
_MODEL_FIRST = re.compile(rb'\s*\{\s*"model"\s*:\s*"([^"\\]*)"')


def read_model(body: bytes | bytearray) -> str | None:
    """Return the model in a request's JSON body."""
    first = _MODEL_FIRST.match(body)
    return read_body(body)[0] if first is None else clean_name(first[1].decode(errors="replace"))


def read_body(body: bytes | bytearray) -> tuple[str | None, Usage | None]:
    """Return the model and the usage in a JSON body or in an event's data, as far as it has them.

    A large body is searched for them and not parsed. Text in JSON has a backslash before each
    quote, so only a name or a value looks like a name there.
    """
    if len(body) <= _MAX_PARSED:
        parsed = parse_json(body)
        if not isinstance(parsed, Mapping):
            return None, None
        found = cast("Mapping[str, Any]", parsed)
    else:
        found = {
            "model": _find(body, b'"model"', _is_text),
            "usage": _find(body, b'"usage"', _has_usage),
            "usage_info": _find(body, b'"usage_info"', _has_usage),
        }
    model = found.get("model")
    return clean_name(model), _read_usage(found.get("usage")) or _read_usage(
        found.get("usage_info")
    )


def clean_name(model: object) -> str | None:
    """Return a model's name, short enough and printable; `None` where it is no text."""
    if not isinstance(model, str) or not model:
        return None
    name = model[:_MAX_NAME]
    return name if name.isprintable() else "".join(c if c.isprintable() else " " for c in name)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _has_usage(value: object) -> bool:
    return _read_usage(value) is not None


def _find(body: bytes | bytearray, name: bytes, fits: Callable[[object], bool]) -> Any:
    """Return the first value of this name that fits, or `None`."""
    position = -1
    for _ in range(_MAX_FINDS):
        position = body.find(name, position + 1)
        if position < 0:
            return None
        begin = position + len(name)
        text = body[begin : begin + _MAX_VALUE].decode(errors="replace").lstrip()
        if not text.startswith(":"):
            continue
        try:
            value, _ = _decoder.raw_decode(text[1:].lstrip())
        except (ValueError, RecursionError):
            continue
        if fits(value):
            return value
    return None


def _read_usage(usage: object) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    stated = cast("Mapping[str, Any]", usage)
    read = Usage(
        prompt_tokens=_count(stated.get("prompt_tokens")),
        completion_tokens=_count(stated.get("completion_tokens")),
        total_tokens=_count(stated.get("total_tokens")),
        cached_tokens=_cached_tokens(stated),
        audio_seconds=_amount(stated.get("prompt_audio_seconds")),
        pages=_count(stated.get("pages_processed")),
    )
    return None if read == _NOTHING else read


_NOTHING = Usage()


def _cached_tokens(stated: Mapping[str, Any]) -> int | None:
    """Return the cached tokens, which Mistral names in three ways (`UsageInfo` of its SDK)."""
    for name in ("prompt_tokens_details", "prompt_token_details"):
        details = stated.get(name)
        if isinstance(details, Mapping):
            count = _count(cast("Mapping[str, Any]", details).get("cached_tokens"))
            if count is not None:
                return count
    return _count(stated.get("num_cached_tokens"))


def _count(value: object) -> int | None:
    amount = _amount(value)
    return amount if isinstance(amount, int) else None


def _amount(value: object) -> int | float | None:
    """Return a number that can be added up: neither negative nor NaN nor without end."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if 0 <= value < _MAX_AMOUNT else None


document_attributes(Usage)
shorten_signatures(Usage)
set_public_module(Usage)
