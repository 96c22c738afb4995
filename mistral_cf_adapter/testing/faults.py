"""Faults on demand: what a network or a broken hop does to a request."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from mistral_cf_adapter.testing import edge_pages, limits
from mistral_cf_adapter.testing.keywords import check_names
from mistral_cf_adapter.testing.matching import Arrival, Condition
from mistral_cf_adapter.testing.response_checks import check_bytes, check_number, check_response
from mistral_cf_adapter.testing.responses import Response, bytes_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Self

    from mistral_cf_adapter.testing.matching import Arrival, Condition
    from mistral_cf_adapter.testing.wire import Wire

__tracebackhide__ = True  # pytest shows the test's own line as the last

Kind = Literal[
    "refuse",
    "reset",
    "stall",
    "cut_body",
    "cut_stream",
    "end_stream",
    "garbage",
    "status",
    "slow_drip",
    "redirect",
    "edge",
    "access",
]

DETAILS: Mapping[str, frozenset[str]] = {
    "refuse": frozenset(),
    "reset": frozenset(),
    "stall": frozenset(),
    "cut_body": frozenset({"keep"}),
    "cut_stream": frozenset({"keep"}),
    "end_stream": frozenset({"keep"}),
    "garbage": frozenset({"data"}),
    "status": frozenset({"status", "body", "content_type", "headers"}),
    "slow_drip": frozenset({"delay", "size"}),
    "redirect": frozenset({"to", "status", "headers"}),
    "edge": frozenset({"page", "form"}),
    "access": frozenset({"form"}),
}
"""Which details each kind takes, besides `path`."""

MAX_DELAY = 3600
"""Seconds between two bits of "slow_drip"."""
GARBAGE = b"\x16\x03\x01\x02\x00 this is not HTTP\r\n\r\n"


@dataclass(slots=True)
class Fault:
    """A fault in force; a context manager that ends it, also ended by `end()`."""

    kind: str
    times: int | None
    path: str | None
    details: Mapping[str, Any]
    condition: Condition = field(repr=False)
    on_end: Callable[[], None] = field(default=lambda: None, repr=False)
    fired: int = 0
    """How many requests it has hit. Always 0 for "refuse": nothing arrives to be counted."""
    ended: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop the fault. Harmless when it is over."""
        if self.ended:
            return
        self.on_end()
        self.ended = True

    @property
    def pending(self) -> bool:
        """Whether requests are still due to be hit."""
        return not self.ended and self.times is not None and self.kind != "refuse"

    @property
    def label(self) -> str:
        """What `assert_all_used` calls it."""
        return f"fault({self.kind!r})"

    async def hits(self, arrival: Arrival) -> bool:
        """Return whether this request is to be hit; raise ScriptError if the test's code fails."""
        if self.ended or self.kind == "refuse" or self.condition.differences(arrival):
            return False
        return await self.condition.accepts(self.label, arrival)

    def fire(self) -> None:
        """Count one hit."""
        self.fired += 1
        if self.times is not None and self.fired >= self.times:
            self.ended = True


class Faults:
    """The faults in force, first in first out."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._room: limits.Room[Fault] = limits.Room(lambda fault: limits.size_of(fault.details))
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force; raise ValueError if there are too many."""
        with self._lock:
            self._faults = [known for known in self._faults if not known.ended]
            if len(self._faults) >= limits.MAX_KEPT:
                msg = f"{limits.MAX_KEPT} faults can be in force at once"
                raise ValueError(msg)
            if not self._room.has_room(self._faults, fault):
                msg = f"{limits.MAX_KEPT_BYTES} bytes of faults can be in force at once"
                raise ValueError(msg)
            self._faults.append(fault)
        return fault

    async def next(self, arrival: Arrival) -> Fault | None:
        """Return the fault that hits this request, counted as fired.

        Raises:
            ScriptError: a function of the test's own has failed.
        """
        with self._lock:
            faults = list(self._faults)
        for fault in faults:
            if not await fault.hits(arrival):
                continue
            with self._lock:
                # Another request may have been hit while a function of the test's was asked.
                if not fault.ended:
                    fault.fire()
                    return fault
        return None

    def in_force(self) -> list[Fault]:
        """Return the faults that have not ended."""
        with self._lock:
            return [fault for fault in self._faults if not fault.ended]

    def pending(self) -> list[tuple[str, Condition]]:
        """Return name and condition of the faults that still wait for a request."""
        with self._lock:
            return [(fault.label, fault.condition) for fault in self._faults if fault.pending]

    def clear(self) -> None:
        """End all of them."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.end()


def check(kind: str, times: int | None, details: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError for a fault that cannot be meant."""
    if kind not in get_args(Kind):
        msg = f"unknown fault {kind!r}: use one of {', '.join(get_args(Kind))}"
        raise ValueError(msg)
    if times is not None and times < 1:
        msg = f"fault({kind!r}): times must be at least 1, or None for 'until ended'"
        raise ValueError(msg)
    check_names(f"fault({kind!r})", details, sorted({*DETAILS[kind], "times", "path", "when"}))
    if kind == "redirect" and not isinstance(details.get("to"), str):
        msg = "fault('redirect') needs to=URL"
        raise TypeError(msg)
    if kind in {"edge", "access"}:
        edge_pages.check(kind, details)
    _check_details(f"fault({kind!r})", kind, details)


def _check_details(where: str, kind: str, details: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError for a detail that could not be sent."""
    for name in details.keys() & {"body", "data"}:
        check_bytes(f"{where}: {name}=", details[name])
    if details.get("keep") is not None:
        check_number(f"{where}: keep", details["keep"], at_least=0, at_most=limits.MAX_KEPT_BYTES)
    if "size" in details:
        check_number(f"{where}: size", details["size"], at_least=1, at_most=limits.MAX_KEPT_BYTES)
    if "delay" in details:
        check_number(f"{where}: delay", details["delay"], at_least=0, at_most=MAX_DELAY)
    if kind in {"status", "redirect"}:
        check_response(where, _status(details) if kind == "status" else _redirect(details))


async def apply(fault: Fault, wire: Wire, respond: Callable[[], Awaitable[Response]]) -> None:
    """Spoil one request; `respond` is called only where some of the response is sent."""
    details = fault.details
    match fault.kind:
        case "reset":
            await wire.reset()
        case "stall":
            await wire.until_gone()
        case "garbage":
            await wire.garbage(details.get("data", GARBAGE))
        case "status":
            await wire.deliver(_status(details))
        case "redirect":
            await wire.deliver(_redirect(details))
        case "edge":
            page, form = details.get("page", 502), details.get("form", "html")
            await wire.deliver(edge_pages.edge_page(page, form))
        case "access":
            await wire.deliver(edge_pages.access_refusal(details.get("form", "login")))
        case "cut_body":
            await wire.cut_body(await respond(), details.get("keep"))
        case "cut_stream" | "end_stream":
            hang_up = fault.kind == "cut_stream"
            await wire.cut_stream(await respond(), details.get("keep", 1), hang_up=hang_up)
        case _:
            await wire.drip(
                await respond(), delay=details.get("delay", 0.01), size=details.get("size", 16)
            )


def _status(details: Mapping[str, Any]) -> Response:
    status = details.get("status", 503)
    body = details.get("body", f"error {status}".encode())
    content_type = details.get("content_type", "text/plain; charset=utf-8")
    return bytes_response(body, content_type, status, details.get("headers"))


def _redirect(details: Mapping[str, Any]) -> Response:
    headers: dict[str, str] = {"location": details["to"], **(details.get("headers") or {})}
    return Response(details.get("status", 307), tuple(headers.items()), b"")
