"""One line of text for each call, for people who look at a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from mistral_cf_adapter.testing.calls import Call
    from mistral_cf_adapter.testing.gateway import LocalGateway

_OPERATION = 24
_MODEL = 24
_TOKENS = 11
_MAX_ERROR = 160
_RED = "\x1b[31m"
_DIM = "\x1b[2m"
_END = "\x1b[0m"


class CallLines:
    """Writes calls as lines, whose columns stand below each other.

    09:15:02  chat.complete             mistral-small-latest      200  MISS      4+6     12 ms  id

    Colours are for a terminal alone, and not where the variable NO_COLOR is set. Secrets that the
    gateway knows, or that came with the call, are masked; what cannot be printed is escaped.
    """

    def __init__(self, stream: TextIO, gateway: LocalGateway) -> None:
        self._gateway = gateway
        self._encoding = stream.encoding or "utf-8"
        self._is_coloured = (
            stream.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "") != "dumb"
        )

    def format(self, call: Call) -> str:
        """Return the line of a call."""
        from mistral_cf_adapter.testing.call_view import make_mask  # loads pydantic

        error = call.error
        # Masked first: of a secret that is cut, the rest would not be found.
        mask = make_mask(call, self._secrets())
        columns = (
            f"{call.received_at.astimezone():%H:%M:%S}",
            _fit(mask(call.operation), _OPERATION),
            _fit(mask(call.model or "-"), _MODEL),
            f"{call.status or '-':>3}",
            f"{call.cache_status or '-':<4}",
            f"{_tokens(call):>{_TOKENS}}",
            f"{call.duration * 1000:>5.0f} ms",
        )
        log = f"log {call.log_id}" if call.log_id else ""
        note = _fit(log, _MAX_ERROR).rstrip()
        if error is not None:
            code = "" if error.code is None else f" {error.code}"
            said = _fit(mask(f"{error.source}{code}: {error.message}"), _MAX_ERROR).rstrip()
            note = "  ".join(filter(None, (said, note)))
        line = self._encodable("  ".join((*columns, note)).rstrip())
        if not self._is_coloured:
            return line
        if error is not None:
            return f"{_RED}{line}{_END}"
        return line.replace(note, f"{_DIM}{note}{_END}") if note else line

    def _secrets(self) -> list[str]:
        gateway = self._gateway
        own = (gateway.token, gateway.api_token, gateway.mistral_api_key)
        return [*own, *gateway.stored_keys.values()]

    def _encodable(self, text: str) -> str:
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)


def _tokens(call: Call) -> str:
    usage = call.usage
    if usage is None:
        return "-"
    return f"{_number(usage.prompt_tokens)}+{_number(usage.completion_tokens)}"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _fit(text: str, width: int) -> str:
    """Return a text in a column, cut where it is longer."""
    text = _escape(text)
    return f"{text:<{width}}" if len(text) <= width else f"{text[: width - 3]}..."


def _escape(text: str) -> str:
    """Return a text in which nothing can move the cursor or change the terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
