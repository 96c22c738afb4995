"""Secrets in the log of `hpack`, which writes at DEBUG each header that HTTP/2 sends.

Only an HTTP client of the user's own speaks HTTP/2. `hpack` leaves out the values of headers that
are marked as sensitive; h2 sets the mark, and knows of `authorization` alone.
"""

import logging
import sys
from collections.abc import Iterable
from typing import Any

_HEADERS = {b"cf-aig-authorization", b"cf-access-client-secret", b"cf-access-token"}
_REDACTED = b"SENSITIVE_REDACTED"  # as hpack itself writes


def redact_http2_logs(own_names: Iterable[str]) -> None:
    """Keep the secrets of the settings out of the log of `hpack`, in this process.

    Args:
        own_names: The names of the setting `headers`, in lower case.
    """
    _HEADERS.update(name.encode() for name in own_names)
    for name in ("hpack.hpack", "hpack.table"):
        logging.getLogger(name).addFilter(_redact)  # once: a filter that is there is not added


def _redact(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = _redact_arguments(record.args)
    return True


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple)


def _redact_arguments(args: tuple[Any, ...]) -> tuple[Any, ...]:
    first: Any = args[0] if args else None
    rest = args[1:]
    if _is_pair(first):  # name and value in one, in older releases
        return (_redact_arguments(first), *rest)
    if first in _HEADERS and rest:
        _values.add(rest[0])
        return (first, _REDACTED, *rest[1:])
    if isinstance(first, bytes) and not rest:
        return (_values.redact(first),)
    return args


class _Values:
    """The headers' values as they are sent: plain, or in Huffman's code."""

    def __init__(self) -> None:
        self._forms: set[bytes] = set()

    def add(self, value: Any) -> None:
        """Learn a value, before the block of bytes is written that it is sent in."""
        if isinstance(value, bytes) and value != _REDACTED and value not in self._forms:
            coder = sys.modules["hpack"].hpack.Encoder().huffman_coder
            self._forms |= {value, bytes(coder.encode(value))}

    def redact(self, block: bytes) -> bytes:
        """Return a block without the values."""
        for form in tuple(self._forms):
            block = block.replace(form, _REDACTED)
        return block


_values = _Values()
