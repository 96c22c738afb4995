"""Say that a request goes past the gateway: a log record each, a warning once for each place."""

import contextlib
import sys
import warnings
from types import FrameType
from typing import Any

from ._capture import logger

_NOT_THE_USERS = frozenset(
    {"mistral_cf_adapter", "mistralai", "httpx", "httpx2", "asyncio", "concurrent", "contextlib"}
)
_MAX_PLACES = 1000

Place = tuple[str, str, int]
"""Where a request went, and the file and line that made it."""


def tell_of_bypass(known: set[Place], origin: tuple[str, str, int], method: str, path: str) -> None:
    """Log that a request goes past the gateway, and warn if this place was not warned of yet.

    Args:
        known: The places of this client that were warned of.
        origin: Scheme, host and port to which the request goes.
        method: The request's method.
        path: The request's path.
    """
    scheme, host, port = origin
    address = f"{scheme}://{host}:{port}"
    logger.info("%s %s goes past AI Gateway, to %s", method, path, address)
    warn_once(known, address, f"a request goes past AI Gateway, to {address}")


def warn_once(known: set[Place], address: str, message: str) -> None:
    """Warn at the user's line, once for each line and address.

    A filter that makes errors of warnings does not stop the request: without the adapter it would
    be sent.
    """
    frame = _user_frame(sys._getframe(1))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    place = address, frame.f_code.co_filename, frame.f_lineno
    if place in known or len(known) >= _MAX_PLACES:
        return
    known.add(place)
    registry: dict[Any, Any] = frame.f_globals.setdefault("__warningregistry__", {})
    with contextlib.suppress(UserWarning):
        warnings.warn_explicit(message, UserWarning, *place[1:], registry=registry)


def _user_frame(frame: FrameType) -> FrameType:
    """Return the innermost frame that is neither ours nor of the libraries in between."""
    current: FrameType | None = frame
    while current is not None:
        name: str = current.f_globals.get("__name__", "")
        if name.partition(".")[0] not in _NOT_THE_USERS:
            return current
        frame, current = current, current.f_back
    return frame
