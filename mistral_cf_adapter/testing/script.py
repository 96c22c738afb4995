"""The script: responses that a test lays out beforehand, used in order."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cf_adapter.testing import limits
from mistral_cf_adapter.testing.own_code import run_test_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_cf_adapter.testing.matching import Arrival, Condition
    from mistral_cf_adapter.testing.responses import Response


__tracebackhide__ = True  # pytest shows the test's own line as the last


@dataclass(frozen=True, slots=True)
class Scripted:
    """One response, for the next request that fits."""

    label: str
    """What `assert_all_used` calls it."""
    condition: Condition
    respond: Callable[[Arrival], Response] | None
    """None lets the next entry, or the model, respond."""
    final: bool = False
    """Whether it is the gateway's own word, so that no retry follows."""
    delay: float = 0.0
    """Seconds the upstream takes to its first byte."""
    is_function: bool = False
    """Whether the response is made by a function of the test's own."""
    size: int = 0
    """About how many bytes the response takes until it is used."""

    async def fits(self, arrival: Arrival) -> bool:
        """Return whether it is for this request; raise ScriptError if the test's code fails."""
        if self.condition.differences(arrival):
            return False
        return await self.condition.accepts(self.label, arrival)

    async def make_response(self, arrival: Arrival) -> Response:
        """Return the response of one that has any; raise ScriptError if the test's code fails."""
        respond = self.respond
        if respond is None:
            msg = f"{self.label} has no response"
            raise AssertionError(msg)
        if self.is_function:
            return await run_test_code(self.label, lambda: respond(arrival))
        return respond(arrival)


class Script:
    """A first-in first-out list of responses; safe to fill from one thread, read from another."""

    def __init__(self) -> None:
        self._entries: list[Scripted] = []
        self._room: limits.Room[Scripted] = limits.Room(lambda entry: entry.size)
        self._lock = threading.Lock()

    def add(self, entry: Scripted, times: int = 1) -> None:
        """Append a response, `times` over.

        Raises:
            ValueError: `times` is less than 1, or there would be too many responses, or too many
                bytes of them; one that is larger alone is taken all the same.
        """
        with self._lock:
            if times < 1 or len(self._entries) + times > limits.MAX_KEPT:
                msg = (
                    f"{entry.label}: times must be at least 1, and {limits.MAX_KEPT} responses can "
                    "be scripted at once"
                )
                raise ValueError(msg)
            if not self._room.has_room(self._entries, entry):
                msg = (
                    f"{entry.label}: {limits.MAX_KEPT_BYTES} bytes of responses can be scripted at "
                    f"once, and with the {entry.size} of this one they would be more"
                )
                raise ValueError(msg)
            self._entries.extend([entry] * times)

    async def take(self, arrival: Arrival) -> Scripted | None:
        """Remove and return the first response that fits the request.

        Raises:
            ScriptError: a function of the test's own has failed.
        """
        for entry in self.entries():
            # Another request may have taken it while a function of the test's was asked.
            if await entry.fits(arrival) and self._remove(entry):
                return entry
        return None

    def _remove(self, entry: Scripted) -> bool:
        with self._lock:
            for index, other in enumerate(self._entries):
                if other is entry:
                    del self._entries[index]
                    return True
        return False

    def entries(self) -> list[Scripted]:
        """Return what is left, in order."""
        with self._lock:
            return list(self._entries)

    def labels(self) -> list[str]:
        """Return what is left by name, in order."""
        return [entry.label for entry in self.entries()]

    def clear(self) -> None:
        """Forget what is left."""
        with self._lock:
            self._entries.clear()
