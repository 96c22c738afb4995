"""The text that a call asks for, and the one that it is answered with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mistral_cf_adapter._envelopes import parse_json
from mistral_cf_adapter.testing.calls import read_events
from mistral_cf_adapter.testing.mistral_text import as_dict, as_list, content_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mistral_cf_adapter.testing.calls import Call
    from mistral_cf_adapter.testing.masks import Mask

MAX_PREVIEW = 160
"""Characters of a text that is shortened."""
MAX_PARSED = 32_768
"""Bytes of a body that is parsed."""
_SPACES = re.compile(r"\s+")


def shorten(text: str, mask: Mask) -> str:
    """Return the beginning of a text, in one line and masked."""
    short = _SPACES.sub(" ", mask.beginning(text, MAX_PREVIEW * 2)).strip()
    return short if len(short) <= MAX_PREVIEW else f"{short[:MAX_PREVIEW]}…"


def prompt_of(call: Call) -> str:
    """Return what is asked: the last message, the input or the prompt."""
    fields = fields_of(call)
    messages = as_list(fields.get("messages")) or as_list(fields.get("inputs"))
    if messages and isinstance(messages[-1], dict):
        return content_text(as_dict(messages[-1]).get("content"))
    asked = (fields.get(name) for name in ("inputs", "input", "prompt"))
    text = next((value for value in asked if value), "")
    return text if isinstance(text, str) else " ".join(map(str, as_list(text)[:5]))


def fields_of(call: Call) -> dict[str, Any]:
    """Return the JSON object of the request's body, empty if it is large or none."""
    body = call.request.body
    return {} if len(body) > MAX_PARSED else as_dict(parse_json(body))


def answer_of(call: Call) -> str:
    """Return the text that was answered, empty where the response is none."""
    if call.is_streamed:
        return "".join(deltas_of(call))
    return content_text(message_of(call).get("content"))


def message_of(call: Call) -> dict[str, Any]:
    """Return the message of a whole response, of a conversation its last output."""
    value = as_dict(parse_json(call.body)) if len(call.body) <= MAX_PARSED else {}
    choices, outputs = as_list(value.get("choices")), as_list(value.get("outputs"))
    if choices:
        return as_dict(as_dict(choices[0]).get("message"))
    return as_dict(outputs[-1]) if outputs else {}


def deltas_of(call: Call) -> Iterator[str]:
    """Yield the texts of a stream's events."""
    for _, data in read_events(call.body[:MAX_PARSED]):
        value = as_dict(parse_json(data))
        choices = as_list(value.get("choices"))
        delta = as_dict(as_dict(choices[0]).get("delta")) if choices else value
        text = content_text(delta.get("content"))
        if text:
            yield text
