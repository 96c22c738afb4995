"""The SDK's retries: how they are asked for, what fails, and what the server says of waiting."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fault_scripts import DONE, EVENTS, HTML, JSON, PAGE, completion, envelope
from scenario import ALL_MODES, PLAIN, STREAMED, Reply, Scenario, in_turn, whole
from scenario_calls import CALLS, answer
from stream_scenarios import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

NOPE = b'{"object":"error","message":"Nope","type":"x","param":null,"code":"1"}'
THREE_TRIES = (1000, 60_000, 2, 2_500, True)
CONFIGS = {
    "three tries": THREE_TRIES,
    "five tries": (500, 60_000, 1.5, 6_000, True),
    "not of connections": (1000, 60_000, 2, 2_500, False),
    "short waits": (1, 2, 1.0, 4, True),
    "no time": (1000, 60_000, 2, 0, True),
}
WAITS = {
    "no header": (),
    "0": ("Retry-After: 0",),
    "1": ("Retry-After: 1",),
    "2.5": ("Retry-After: 2.5",),
    "60": ("Retry-After: 60",),
    "61": ("Retry-After: 61",),
    "120": ("Retry-After: 120",),
    "three days": ("Retry-After: 259200",),
    "below zero": ("Retry-After: -5",),
    "a date gone by": ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT",),
    "a date far off": ("Retry-After: Wed, 21 Oct 2099 07:28:00 GMT",),
    "a date without zone": ("Retry-After: Wed, 21 Oct 2015 07:28:00",),
    "infinity": ("Retry-After: inf",),
    "not a number": ("Retry-After: nan",),
    "more than a float": ("Retry-After: " + "9" * 400,),
    "words": ("Retry-After: soon",),
    "empty": ("Retry-After:",),
    "twice": ("Retry-After: 1", "Retry-After: 2"),
    "milliseconds": ("retry-after-ms: 1500",),
    "many milliseconds": ("retry-after-ms: 259200000",),
    "both": ("Retry-After: 3", "retry-after-ms: 10"),
    "milliseconds in words": ("retry-after-ms: soon",),
}


def _waits() -> Iterator[Scenario]:
    good = whole(200, completion(), JSON)
    for (name, headers), status in itertools.product(WAITS.items(), (429, 503)):
        bad = whole(status, NOPE, JSON, *headers)
        for number in (1, 9):
            yield Scenario(
                f"{status} {number} times, wait {name}",
                (*(bad,) * number, good),
                PLAIN,
                retries=THREE_TRIES,
            )
    for name, headers in WAITS.items():
        yield Scenario(
            f"429 without retries, wait {name}", (whole(429, NOPE, JSON, *headers),), ALL_MODES
        )
        yield Scenario(
            f"gateway's 2003, wait {name}",
            (whole(429, envelope(2003), JSON, *headers), good),
            ALL_MODES,
            retries=THREE_TRIES,
        )


def _statuses() -> Iterator[Scenario]:
    good = whole(200, completion(), JSON)
    kinds = {"JSON": (NOPE, JSON), "page": (PAGE, HTML), "empty": (b"", JSON)}
    for status, (kind, (body, header)) in itertools.product(
        (408, 425, 429, 500, 501, 502, 503, 504, 520, 529, 530), kinds.items()
    ):
        bad = whole(status, body, header)
        for name, config in CONFIGS.items():
            yield Scenario(
                f"retry {status} {kind} for ever, {name}", (bad,), ALL_MODES, retries=config
            )
        yield Scenario(f"retry {status} {kind} once", (bad, good), retries=THREE_TRIES)
    for status in (400, 401, 403, 404, 422):
        yield Scenario(f"no retry of {status}", (whole(status, NOPE, JSON),), retries=THREE_TRIES)
    for code in (2003, 2005, 2009, 2016, 2029, 2041, 7013):
        for status in (400, 429, 500, 503):
            yield Scenario(
                f"retry of envelope {code} with {status}",
                (whole(status, envelope(code), JSON), good),
                retries=THREE_TRIES,
            )


def _connections() -> Iterator[Scenario]:
    good, stream_good = whole(200, completion(), JSON), stream(*EVENTS, DONE)
    broken = {"close": Reply((), "close"), "reset": Reply((), "reset"),
              "not HTTP": Reply((b"\x16 no\r\n\r\n",), "close")}  # fmt: skip
    for (name, bad), (config, retries) in itertools.product(broken.items(), CONFIGS.items()):
        if name != "reset":
            yield Scenario(f"retry {name}, {config}", (bad, good), retries=retries)
            yield Scenario(
                f"retry {name} of a stream, {config}", (bad, stream_good), STREAMED, retries=retries
            )
    for config, retries in CONFIGS.items():
        yield Scenario(f"retry refused, {config}", (good,), origin="{refused}", retries=retries)
    bad = whole(503, NOPE, JSON)
    for call in CALLS:
        last = answer(call)
        yield Scenario(f"retry of {call}", (bad, bad, last), call=call, retries=THREE_TRIES)
    yield Scenario("retry of a stream", (bad, stream_good), STREAMED, retries=THREE_TRIES)
    for name, config in CONFIGS.items():
        yield Scenario(
            f"retries of the client, {name}", (bad,), ALL_MODES, sdk={"retry_config": config}
        )
    for kind in ("file", "pipe"):
        file = {"file_name": "a.jsonl", "content": (kind, b"{}\n" * 100)}
        yield Scenario(
            f"retry of an upload from a {kind}",
            (bad, answer("upload")),
            call="upload",
            arguments={"file": file},
            retries=THREE_TRIES,
        )


def scenarios() -> Iterator[Scenario]:
    for rows in (_waits(), _statuses()):
        yield from in_turn(rows)
    yield from _connections()
