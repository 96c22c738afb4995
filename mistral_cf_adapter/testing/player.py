"""Answer from a cassette in place of the provider, and refuse what it does not hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

from mistral_cf_adapter.testing import cassette_bodies
from mistral_cf_adapter.testing.limits import MAX_KEPT
from mistral_cf_adapter.testing.mistral_text import as_dict, as_list
from mistral_cf_adapter.testing.recorder import show_request
from mistral_cf_adapter.testing.responses import Response, StreamBroken, json_response
from mistral_cf_adapter.testing.routing import PROVIDER, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
    from pathlib import Path

    from mistral_cf_adapter.testing.recorder import Secrets, Upstream
    from mistral_cf_adapter.testing.records import ReceivedRequest
    from mistral_cf_adapter.testing.routing import Target

    Entry = Mapping[str, Any]

Match = Literal["content", "order"]
MATCHES: tuple[Match, ...] = ("content", "order")
USUAL_TYPES = {"json": "application/json", "events": "text/event-stream"}
"""Form of a body -> its type, where a file edited by hand names none."""
MAX_SHOWN = 120
MAX_DIFFERENCES = 10
ABSENT = object()
"""What stands where a field is not there."""


@dataclass(slots=True, repr=False)
class Player:
    """Replays recorded responses.

    By "content", a request gets the response that was recorded for an equal one, those of several
    equal ones in turn and the last of them again and again. By "order", the first request must be
    the first recorded one, and so on. Equal means: method, path, query and body; not headers.
    """

    path: Path
    entries: Sequence[Entry]
    match: Match
    secrets: Secrets
    _recorded: list[Entry] = field(init=False)
    """What counts of each request in the file."""
    _used: set[int] = field(default_factory=set[int])
    _problems: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._recorded = [_comparable(entry["request"]) for entry in self.entries]

    async def respond(
        self, request: ReceivedRequest, target: Target, _: Upstream | None = None
    ) -> Response:
        """Return the recorded response to a request; the upstream is not asked.

        Raises Refused, with what was expected and what came, when there is none.
        """
        scrubber = self.secrets.scrubber(request)
        came = _comparable(await show_request(request, target, scrubber))
        number = self._next() if self.match == "order" else self._equal(came)
        if number is None or self._recorded[number] != came:
            problem = self._explain(number, came)
            if len(self._problems) < MAX_KEPT:
                self._problems.append(problem)
            raise Refused(_refusal(problem))
        self._used.add(number)
        return _response(self.entries[number]["response"])

    def problems(self) -> list[str]:
        """Say which requests were refused and, in order, which recordings were not used."""
        found = list(self._problems)
        if self.match == "order":
            left = [number for number in range(len(self.entries)) if number not in self._used]
            found += [f"{self._place(number)} was not used" for number in left]
        return found

    def rewind(self) -> None:
        """Forget what was replayed."""
        self._used.clear()
        self._problems.clear()

    def _next(self) -> int | None:
        number = len(self._used)
        return number if number < len(self.entries) else None

    def _equal(self, came: Entry) -> int | None:
        equal = [number for number, each in enumerate(self._recorded) if each == came]
        return next((n for n in equal if n not in self._used), equal[-1] if equal else None)

    def _place(self, number: int) -> str:
        return f"{self.path}, entry {number + 1} ({_name(self._recorded[number])})"

    def _explain(self, number: int | None, came: Entry) -> str:
        """Say what was expected and what came instead."""
        if not self._recorded or (number is None and self.match == "order"):
            return f"{_name(came)} came after all {len(self.entries)} recordings of {self.path}"
        start = f"{_name(came)} is not the next recording,"
        differences = [list(_compare(recorded, came, "")) for recorded in self._recorded]
        if number is None:
            start = f"{_name(came)} fits no recording; the closest is"
            number = min(range(len(differences)), key=lambda each: len(differences[each]))
        found = differences[number]
        lines = [f"  {line}" for line in found[:MAX_DIFFERENCES]]
        if len(found) > MAX_DIFFERENCES:
            lines.append(f"  and {len(found) - MAX_DIFFERENCES} more")
        return "\n".join([f"{start} {self._place(number)}:", *lines])


def _comparable(request: Entry) -> dict[str, Any]:
    """Return what counts of a request, with the same defaults in a file edited by hand."""
    counts = {name: value for name, value in request.items() if name != "headers"}
    counts["query"] = dict(parse_qsl(str(request.get("query", "")), keep_blank_values=True))
    counts["provider"] = request.get("provider", PROVIDER)
    if "json" in counts:
        counts |= cassette_bodies.bounded_json(counts.pop("json"))
    if "base64" in counts:
        counts["base64"] = "".join(str(counts["base64"]).split())
    return counts


def _compare(recorded: Any, came: Any, where: str) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(came, dict):
        wanted, got = as_dict(recorded), as_dict(came)
        for name in [*wanted, *(name for name in got if name not in wanted)]:
            place = f"{where}.{name}" if where else name
            yield from _compare(wanted.get(name, ABSENT), got.get(name, ABSENT), place)
    elif isinstance(recorded, list) and isinstance(came, list):
        first, second = as_list(recorded), as_list(came)
        for number in range(max(len(first), len(second))):
            one = first[number] if number < len(first) else ABSENT
            other = second[number] if number < len(second) else ABSENT
            yield from _compare(one, other, f"{where}[{number}]")
    elif recorded != came:
        yield f"{where}: recorded {_short(recorded)}, came {_short(came)}"


def _short(value: Any) -> str:
    if value is ABSENT:
        return "nothing"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _name(request: Entry) -> str:
    return f"{request['method']} {request['path']}"


def _refusal(problem: str) -> Response:
    fields = {"object": "error", "message": problem, "type": "not_recorded", "param": None}
    return json_response({**fields, "code": None}, 501)


def _response(recorded: Entry) -> Response:
    usual = [kind for form, kind in USUAL_TYPES.items() if form in recorded]
    given = {name.lower(): str(value) for name, value in recorded.get("headers", {}).items()}
    headers = tuple({**({"content-type": usual[0]} if usual else {}), **given}.items())
    events = recorded.get("events")
    if events is None:
        return Response(recorded["status"], headers, cassette_bodies.read(recorded))
    pieces = tuple(cassette_bodies.read_events(events))
    body = _cut(pieces) if recorded.get("cut") else pieces
    return Response(recorded["status"], headers, body)


async def _cut(pieces: tuple[bytes, ...]) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a stream that was cut, and then break the connection as it was."""
    for piece in pieces:
        yield piece
    raise StreamBroken
