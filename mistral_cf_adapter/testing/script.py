"""The script: responses that a test lays out beforehand, used in order."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_cf_adapter.testing.records import ReceivedRequest
    from mistral_cf_adapter.testing.responses import Response


@dataclass(frozen=True, slots=True)
class Scripted:
    """One response, for the next request that fits."""

    label: str
    """What `assert_all_used` calls it."""
    fits: Callable[[ReceivedRequest], bool]
    respond: Callable[[ReceivedRequest], Response] | None
    """None lets the next entry, or the model, respond."""
    final: bool = False
    """Whether it is the gateway's own word, so that no retry follows."""
    delay: float = 0.0
    """Seconds the upstream takes to its first byte."""


class Script:
    """A first-in first-out list of responses; safe to fill from one thread, read from another."""

    def __init__(self) -> None:
        self._entries: list[Scripted] = []
        self._lock = threading.Lock()

    def add(self, entry: Scripted, times: int = 1) -> None:
        """Append a response, `times` over."""
        with self._lock:
            self._entries.extend([entry] * times)

    def take(self, request: ReceivedRequest) -> Scripted | None:
        """Remove and return the first response that fits the request."""
        with self._lock:
            for index, entry in enumerate(self._entries):
                if entry.fits(request):
                    return self._entries.pop(index)
        return None

    def labels(self) -> list[str]:
        """Return what is left, in order."""
        with self._lock:
            return [entry.label for entry in self._entries]

    def clear(self) -> None:
        """Forget what is left."""
        with self._lock:
            self._entries.clear()


def path_matches(wanted: str | None, path: str) -> bool:
    """Return whether a path is the wanted one or ends with it, whole segments only."""
    if wanted is None:
        return True
    return path == wanted or path.endswith("/" + wanted.strip("/"))
