"""Faults in which no whole response comes, each by name, and what comes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme
from call_modes import MODES, STREAMS
from fault_scripts import (
    DONE,
    EVENTS,
    JSON,
    MAJOR,
    SSE,
    WHOLE,
    Play,
    Stage,
    completion,
    deaf,
    drips,
    either,
    event,
    gone_for_good,
    good,
    head,
    http,
    never_accepts,
    nobody,
    proxied,
    refuses,
    says,
    served,
    streams,
    tls,
)
from fault_server import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from call_modes import Mode


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and what must come of it: an exception's name, "answer" for a whole answer.

    Names joined by "|" are all right.
    """

    name: str
    set_up: Callable[[], AbstractContextManager[Stage]]
    outcome: str
    modes: list[Mode]
    has_response: bool = False
    """Whether the head of a response arrives."""


def _before_the_body() -> Iterator[tuple[str, Play, str]]:
    begun = b"HTTP/1.1 200 OK\r\nContent-"
    for place, packets in (("before the headers", ()), ("in the headers", (begun,))):
        yield f"reset {place}", says(*packets, then=Wire.reset), "ReadError|RemoteProtocolError"
        yield f"closed {place}", says(*packets, then=Wire.close), "RemoteProtocolError"
        yield f"stalled {place}", says(*packets, then=Wire.until_gone), "ReadTimeout"
    no_http = says(b"\x16\x03\x01 no\r\n\r\n", then=Wire.close)
    yield "not HTTP", no_http, "RemoteProtocolError"
    for name, header in (
        ("header without a colon", "broken"),
        ("header of 2 MB", "x-bomb: " + "x" * 2_000_000),
    ):
        yield name, says(http(200, completion(), JSON, header)), "RemoteProtocolError"


def _network() -> Iterator[tuple[str, Callable[[], AbstractContextManager[Stage]], str]]:
    yield "connection refused", nobody, "ConnectError"
    yield "no such host", lambda: nobody("https://gateway.invalid"), "ConnectError"
    yield "connect timeout", never_accepts, "ConnectTimeout"
    yield "write timeout", deaf, "WriteTimeout"
    yield "TLS wrong name", lambda: tls("other.example"), "ConnectError"
    yield "TLS wrong authority", lambda: tls("127.0.0.1", trustme.CA()), "ConnectError"
    for status in (403, 407, 502):
        refused = refuses(status)
        yield f"proxy refuses {status}", lambda play=refused: proxied(play), "ProxyError"
    yield "proxy down", lambda: proxied(None), "ConnectError"
    hung_up = "ProxyError|ConnectError|RemoteProtocolError"
    yield "proxy hangs up", lambda: proxied(says(then=Wire.close)), hung_up
    yield "gone between two calls", gone_for_good, "ConnectError"


def _in_the_body() -> Iterator[tuple[str, Play, str, list[Mode]]]:
    json_length = f"Content-Length: {len(completion()) + 10}"
    stream_length = f"Content-Length: {len(WHOLE)}"
    half = either(
        says(head(200, JSON, json_length) + completion()[:40]),
        says(head(200, SSE, stream_length) + EVENTS[0]),
    )
    for name, then, outcome in (
        ("reset", Wire.reset, "ReadError|RemoteProtocolError"),
        ("closed", Wire.close, "RemoteProtocolError"),
        ("stalled", Wire.until_gone, "ReadTimeout"),
    ):
        yield f"{name} in the body", _and(half, then), outcome, MODES
    yield "dripping", drips, "answer", MODES
    # For each packet SDK 1.x searches all it has again: 10 MB would take it minutes.
    big = event("x" * (10_000_000 if MAJOR > 1 else 1_000_000))
    yield "event of 10 MB", streams(big, *EVENTS, DONE), "answer", STREAMS
    for name, then in (("stalled", Wire.until_gone), ("closed", Wire.close)):
        yield f"{name} after [DONE]", streams(WHOLE, then=then, end=b""), "answer", STREAMS


def _and(play: Play, then: Callable[[Wire], None]) -> Play:
    return lambda wire, request: play(wire, request) or then(wire)


FAULTS = [
    Fault("healthy", served(good), "answer", MODES, has_response=True),
    *(Fault(name, served(play), outcome, MODES) for name, play, outcome in _before_the_body()),
    *(Fault(name, set_up, outcome, MODES) for name, set_up, outcome in _network()),
    *(
        Fault(name, served(play), outcome, modes, has_response=True)
        for name, play, outcome, modes in _in_the_body()
    ),
]
