"""The error that the body of a response states."""

from __future__ import annotations

import json
from typing import Any, cast

from mistral_cf_adapter._envelopes import NO_MESSAGE, parse_json, read_envelope, read_event
from mistral_cf_adapter.testing.calls import CallError, read_events

_MAX_MESSAGE = 10_000
"""Characters of a message that are kept; what shows it masks it, and cuts it after that."""


def error_in_stream(body: bytes) -> CallError | None:
    """Return the first error of a stream's events, None if it has none."""
    if b"error" not in body and b"Error" not in body:
        return None
    for name, data in read_events(body):
        found = read_event(name, parse_json(data))
        if found is not None:
            source = "gateway" if found.is_gateways else "provider"
            return CallError(source, found.code, found.message[:_MAX_MESSAGE])
    return None


def error_in_body(body: bytes, status: int) -> CallError:
    """Return the error of a whole response with a status of 400 and more."""
    value = parse_json(body)
    found = read_envelope(value, status)
    if found is not None:
        message = f"HTTP {status}" if found.message == NO_MESSAGE else found.message
        return CallError("gateway", found.code, message[:_MAX_MESSAGE])
    message = _message_of_provider(value) or body[:_MAX_MESSAGE].decode(errors="replace").strip()
    return CallError("provider", None, message[:_MAX_MESSAGE] or f"HTTP {status}")


def _message_of_provider(value: Any) -> str | None:
    """Return the message in one of Mistral's shapes: `message`, or `detail` as text or list."""
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, Any]", value)
    message = fields.get("message") or fields.get("detail") or fields.get("error")
    if isinstance(message, str) or message is None:
        return message
    if isinstance(message, dict):
        text = cast("dict[str, Any]", message).get("message")
        return text if isinstance(text, str) else json.dumps(message)
    return "; ".join(map(_detail, cast("list[Any]", message)))


def _detail(problem: Any) -> str:
    if not isinstance(problem, dict):
        return str(problem)
    fields = cast("dict[str, Any]", problem)
    place = ".".join(map(str, fields.get("loc") or ()))
    return f"{place}: {fields.get('msg')}"
