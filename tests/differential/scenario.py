"""What a scenario is made of: replies of the server, the call, the client, the environment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fault_scripts import CHUNKED, JSON, LAST, chunked, head, http

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PLAIN = ("sync", "async")
STREAMED = ("stream", "async stream")
ALL_MODES = PLAIN + STREAMED


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server sends for one request: packets, and what follows them.

    In the packets `{same}` stands for the gateway's origin and `{other}` for another server's.
    """

    packets: tuple[bytes, ...]
    then: str = ""
    """`close` or `reset` the connection, or `stall`: send nothing more, and keep it open."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: what the server sends, how the call is made, what the environment holds.

    Texts of the call, the client and the environment may name `{same}`, `{other}`, `{tls}`,
    `{proxy}` and `{refused}`, the origins of servers, and `{authority}`, a file of certificates.
    """

    name: str
    replies: tuple[Reply, ...]
    """To the first, the second, ... request; the last one again and again."""
    modes: tuple[str, ...] = PLAIN
    call: str = "chat"
    """A row of `CALLS`."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """More arguments of the call, or others."""
    reading: str = "all"
    """How a stream is read: `all`, `first` event only, `nothing`, or `dropped` after the first."""
    times: int = 1
    """How often the call is made, one after the other, with one client."""
    closing: bool = False
    """Count what stays open when the client is closed."""
    retries: tuple[Any, ...] = ()
    """Arguments of `BackoffStrategy`, and whether errors of the connection are retried."""
    http: dict[str, Any] | None = None
    """Keywords of an HTTP client of the user's own; by default there is none."""
    sdk: dict[str, Any] = field(default_factory=dict)
    """Keywords of `Mistral()`, without those that say where it goes."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Attributes that are set on `sdk_configuration.client` and `.async_client`."""
    keep: bool = True
    """Register a hook of the SDK's that keeps the response; with one, a speed-up steps aside."""
    hooks: tuple[str, ...] = ()
    """Further hooks of the SDK's: names of `HOOKS`."""
    environment: dict[str, str] = field(default_factory=dict)
    origin: str = "{same}"
    """Where the gateway is: `{same}`, `{tls}` or `{refused}`."""
    majors: tuple[int, ...] = (1, 2, 3)


def reply(*packets: bytes, then: str = "") -> Reply:
    return Reply(packets, then)


def whole(status: int, body: bytes, *headers: str, log_id: bool = False) -> Reply:
    """Return a response with its length."""
    return Reply((http(status, body, *headers, log_id=log_id),))


def in_chunks(status: int, *chunks: bytes, headers: tuple[str, ...] = (JSON,)) -> Reply:
    """Return a response in chunks, each in a packet of its own."""
    begin = head(status, *headers, CHUNKED, log_id=False)
    return Reply((begin, *chunked(*filter(None, chunks)), LAST))


def until_close(status: int, body: bytes, *headers: str) -> Reply:
    """Return a response that ends with its connection."""
    return Reply((head(status, *headers, log_id=False) + body,), "close")


def in_packets(data: bytes, size: int) -> tuple[bytes, ...]:
    """Split bytes into packets of a size."""
    return tuple(data[start : start + size] for start in range(0, len(data), size))


def in_turn(scenarios: Iterable[Scenario]) -> Iterator[Scenario]:
    """Leave each row one of its modes, the first, the second, ... in turn: tables are long."""
    for number, scenario in enumerate(scenarios):
        mode = scenario.modes[number % len(scenario.modes)]
        yield replace(scenario, modes=(mode,))
