"""Bodies as a cassette shows them: JSON, text, events, a form, or else base64."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_text import as_dict, as_list
from mistral_cf_adapter.testing.responses import utf8

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.datastructures import FormData

    from mistral_cf_adapter.testing.scrubbing import Scrubber

    Shown = dict[str, Any]

EVENT_STREAM = "text/event-stream"
FIELD_NAMES = ("event", "id", "retry")
LINE_LENGTH = 76
MAX_VALUES = 50_000
"""Values of a body that are written one by one, as YAML is slow; a body with more is text."""
EVENTS_OF_TEXT = 100
"""Events that are one text then."""
_JSON_TYPE = re.compile(r"(?i)(application|text)/([\w.-]+\+)?json\s*(;|$)")
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f\x80-\x9f\ud800-\udfff\ufffe\uffff]")


class OneLine(dict[str, Any]):
    """What is written in one line, or a few, as the many events of a stream are."""


def show(body: bytes, content_type: str, scrubber: Scrubber) -> Shown:
    """Return a body under the name of its form; an empty dictionary for no body."""
    body = scrubber.body(body)
    if not body:
        return {}
    try:
        text = body.decode()
        if _UNPRINTABLE.search(text):
            return show_encoded(body, scrubber)
    except ValueError:
        return show_encoded(body, scrubber)
    if content_type.startswith(EVENT_STREAM):
        return {"events": _bounded_events([_event(block, scrubber) for block in _blocks(text)])}
    # A file that holds JSON is to be downloaded byte by byte.
    value = _structure(text, scrubber) if _JSON_TYPE.match(content_type) else None
    return {"text": scrubber.text(text)} if value is None else bounded_json(value)


def bounded_json(value: Any) -> Shown:
    """Return decoded JSON as a body; as text if it has so many values that YAML takes seconds."""
    if not _has_many_values(value):
        return {"json": value}
    return {"text": json.dumps(value, separators=(",", ":"))}


def _bounded_events(events: list[Shown]) -> list[Shown]:
    if not _has_many_values(events):
        return events
    starts = range(0, len(events), EVENTS_OF_TEXT)
    parts = (events[start : start + EVENTS_OF_TEXT] for start in starts)
    return [{"raw": "\n\n".join(map(_event_text, part))} for part in parts]


def _has_many_values(value: Any) -> bool:
    waiting: list[Any] = [value]
    count = 0
    while waiting and count <= MAX_VALUES:
        item = waiting.pop()
        if isinstance(item, dict | list):
            inner = as_dict(item).values() if isinstance(item, dict) else as_list(item)
            waiting += inner
            count += len(inner)
    return count > MAX_VALUES


def show_encoded(body: bytes, scrubber: Scrubber) -> Shown:
    """Return a body as base64, whatever it is."""
    text = base64.b64encode(scrubber.body(body)).decode()
    lines = (text[start : start + LINE_LENGTH] for start in range(0, len(text), LINE_LENGTH))
    return {"base64": "\n".join(lines) + "\n"}


def read(shown: Mapping[str, Any]) -> bytes:
    """Return the bytes of a body that `show` returned."""
    if "json" in shown:
        return utf8(json.dumps(shown["json"], ensure_ascii=False, separators=(",", ":")))
    if "text" in shown:
        return utf8(shown["text"])
    if "events" in shown:
        return b"".join(read_events(shown["events"]))
    return base64.b64decode(shown.get("base64", ""))


def read_events(events: list[Any]) -> Iterator[bytes]:
    """Yield the bytes of each event."""
    for event in events:
        yield utf8(_event_text(event) + "\n\n")


def _event_text(event: Shown) -> str:
    """Return the lines of an event."""
    if "raw" in event:
        return str(event["raw"])
    lines = [f"{name}: {event[name]}" for name in FIELD_NAMES if name in event]
    data = event.get("data", "")
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return "\n".join([*lines, *(f"data: {line}" for line in text.split("\n"))])


async def show_form(form: FormData, scrubber: Scrubber) -> list[Shown]:
    """Return the parts of a form, whose boundary is another one each time."""
    return [await _part(name, value, scrubber) for name, value in form.multi_items()]


async def _part(name: str, value: Any, scrubber: Scrubber) -> Shown:
    if isinstance(value, str):
        return {"name": name, "text": scrubber.text(value)}
    kind = value.content_type or ""
    shown: Shown = {"name": name, "filename": scrubber.text(value.filename or "")}
    if kind:
        shown["content_type"] = kind
    return {**shown, **show(await value.read(), kind, scrubber)}


def _structure(text: str, scrubber: Scrubber) -> Any:
    """Return a JSON object or array without secrets; None for anything else, or too deep a one."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return scrubber.json(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _blocks(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return [block for block in re.split(r"\n{2,}", lines.strip("\n")) if block]


def _event(block: str, scrubber: Scrubber) -> Shown:
    """Return the fields of an event; all of it as it is if it has others."""
    fields: Shown = {}
    data: list[str] = []
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name in FIELD_NAMES and name not in fields:
            fields[name] = scrubber.text(value)
        else:
            return {"raw": scrubber.text(block)}
    if not data:
        return {"raw": scrubber.text(block)}
    text = "\n".join(data)
    value = _structure(text, scrubber)
    return OneLine(fields, data=scrubber.text(text) if value is None else value)
