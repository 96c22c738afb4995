"""What a scripted or recorded response may be, so that the server can send it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mistral_cf_adapter.testing.responses import Response

__tracebackhide__ = True  # pytest shows the test's own line as the last

MIN_STATUS, MAX_STATUS = 200, 599
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_VALUE = re.compile("[\0-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_OF_THE_SERVER = frozenset({"content-length", "transfer-encoding"})


def check_response(where: str, response: Response) -> Response:
    """Return a response; raise ValueError or TypeError, which names what cannot be sent."""
    check_status(where, response.status)
    check_headers(where, response.headers)
    return response


def check_status(where: str, status: object) -> None:
    """Raise ValueError for what is no status of a final response."""
    if type(status) is int and MIN_STATUS <= status <= MAX_STATUS:
        return
    msg = f"{where}: status={status!r} must be a number from {MIN_STATUS} to {MAX_STATUS}"
    raise ValueError(msg)


def check_headers(where: str, headers: Iterable[tuple[object, object]]) -> None:
    """Raise ValueError or TypeError for a header that HTTP has not, or that the server writes."""
    for name, value in headers:
        if not isinstance(name, str) or not isinstance(value, str):
            msg = f"{where}: the header {name!r} must be text, and so must its value"
            raise TypeError(msg)
        _check_header(where, name, value)


def _check_header(where: str, name: str, value: str) -> None:
    problem = ""
    if not _NAME.fullmatch(name):
        problem = "is no name of a header: use letters, digits and '-'"
    elif name.lower() in _OF_THE_SERVER:
        problem = "is written by the server: leave it out"
    elif _NO_VALUE.search(value):
        problem = "has a value with a line break or another control character"
    elif value != value.strip(" \t"):
        problem = "has a value that begins or ends with a space"
    if problem:
        msg = f"{where}: the header {name!r} {problem}"
        raise ValueError(msg)


def check_bytes(where: str, value: object) -> None:
    """Raise TypeError for what is no bytes."""
    if not isinstance(value, bytes):
        msg = f"{where} must be bytes, not {type(value).__name__}"
        raise TypeError(msg)


def check_number(where: str, value: object, *, at_least: int, at_most: float) -> None:
    """Raise ValueError for what is no number in a range; NaN is in none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not at_least <= cast("float", value) <= at_most:
        msg = f"{where}={value!r} must be a number from {at_least} to {at_most}"
        raise ValueError(msg)
