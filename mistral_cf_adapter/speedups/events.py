"""One event of a stream from its text to the decoder, without a deep copy on the way.

The SDK keeps each event in a dataclass and hands `dataclasses.asdict()` of it to `json.dumps()`:
a deep copy of what was parsed a moment ago, thrown away at once.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from .originals import stepping_aside
from .seams import Found

_LINE_BREAK = re.compile(r"\r?\n|\r")
_DATA = "data: "
_WITHOUT_DATA_REQUIRED = "646917c3d49ac0b0"  # 2.0.0 to 2.0.2, and 2.0.4

Parsed = tuple[Any, bool, str | None]


def parse_event(found: Found) -> Callable[..., Parsed]:
    """Return the replacement for `eventstreaming._parse_event` of mistralai 2.0 and later."""
    newer = _parser(found.module)
    if found.digests["_parse_event"] != _WITHOUT_DATA_REQUIRED:
        return stepping_aside(found.watch(), found.original, newer)

    def _parse_event(
        *,
        raw: bytearray,
        decoder: Callable[[str], Any],
        sentinel: str | None = None,
        event_id: str | None = None,
    ) -> Parsed:
        return newer(
            raw=raw, decoder=decoder, sentinel=sentinel, event_id=event_id, data_required=False
        )

    return stepping_aside(found.watch(), found.original, _parse_event)


def _parser(sdk: Any) -> Callable[..., Parsed]:

    def _parse_event(
        *,
        raw: bytearray,
        decoder: Callable[[str], Any],
        sentinel: str | None = None,
        event_id: str | None = None,
        data_required: bool = True,
    ) -> Parsed:
        fields, parts, event_id = _fields(raw.decode(), event_id)
        data = "\n".join(parts)
        if sentinel and parts and data == sentinel:
            return None, True, event_id
        if fields is None or (data_required and not parts):
            return None, False, event_id
        whole = _whole(fields, parts, data, event_id)
        try:
            return decoder(json.dumps(whole)), False, event_id
        except Exception:
            # What nests too deep for the SDK's copy fails there, and not in the decoder.
            sdk.asdict(sdk.ServerEvent(data=whole.get("data")))
            raise

    return _parse_event


def _fields(text: str, event_id: str | None) -> tuple[dict[str, Any] | None, list[str], str | None]:
    """Return what the lines say: None for nothing, the lines of data, and the last id so far."""
    fields: dict[str, Any] | None = None
    parts: list[str] = []
    for line in _LINE_BREAK.split(text) if "\r" in text else text.split("\n"):
        if line.startswith(_DATA):
            parts.append(line[len(_DATA) :])
            fields = {} if fields is None else fields
            continue
        name, value = _field(line)
        if name not in {"data", "event", "id", "retry"}:
            continue
        fields = {} if fields is None else fields
        if name == "data":
            parts.append(value)
        elif name == "event":
            fields["event"] = value
        elif name == "id":
            event_id = event_id if "\x00" in value else value
        elif value.isdigit():
            fields["retry"] = int(value)
    return fields, parts, event_id


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")


def _whole(fields: dict[str, Any], parts: list[str], data: str, event_id: str | None) -> Any:
    """Put the fields in the order of the SDK's dataclass, without those that are not set."""
    whole: dict[str, Any] = {} if event_id is None else {"id": event_id}
    if "event" in fields:
        whole["event"] = fields["event"]
    if parts:
        try:
            whole["data"] = json.loads(data)
        except json.JSONDecodeError:
            whole["data"] = data
    if "retry" in fields:
        whole["retry"] = fields["retry"]
    return whole
