"""Load and faults for as long as you like, and a ledger at the end that must add up.

python tests/programs/soak.py --minutes 10 [--seed N] [--round SECONDS]

Threads, event loops and forked processes share one client while a server answers well, badly,
with more than was asked, or not at all, and redirects to where no secret may go; some calls have
ids that are meant to reach elsewhere, and a proxy in the environment listens. Every request sent
ends in the ledger; the exit status is 1 if one is lost, a call hangs, or a descriptor or a secret
leaks.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import json
import logging
import os
import random
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))

from client_ways import client_for
from fault_scripts import EVENTS, FAULTS, JSON, drips, either, envelope, http, says, streams
from fault_server import FaultServer, Wire
from http_records import KEY, TOKEN
from soak_hostile import REDIRECTS, SURPLUS, is_first_hop, leaked, packets, proxy, redirect
from soak_load import AGAIN, HANGS, LOAD, Ledger, Worker

from mistral_cf_adapter import _pool

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_MS = 1_000
DESCRIPTORS = Path("/proc/self/fd")
STALLS = either(says(then=Wire.until_gone), streams(EVENTS[0], then=Wire.until_gone, end=b""))
PLAYS = {
    **FAULTS,
    "drips": drips,
    "stalls": STALLS,
    "503": says(http(503, b'{"detail":"overloaded"}', JSON)),
    "429": says(http(429, envelope(2003), JSON, "Retry-After: 0")),
    "guardrail": says(http(424, envelope(2016), JSON)),
    "503 and another response": says(http(503, b'{"detail":"overloaded"}', JSON) + SURPLUS),
    "refusal and another response": says(http(401, envelope(2009), JSON) + SURPLUS),
}
HOSTILE = dict.fromkeys(REDIRECTS, 1)
WEIGHTS = {
    "well": 3 * (len(PLAYS) + len(HOSTILE)),
    "well, and another response": len(PLAYS),
    **HOSTILE,
    **dict.fromkeys(PLAYS, 1),
}


class Stage:
    """The gateway that plays, and a stranger to which it sometimes redirects."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.arrived: Counter[str] = Counter()
        self.gateway = FaultServer(self.play)
        self.stranger = FaultServer(self.play_stranger)
        self.ledger = Ledger()

    def play(self, wire, request) -> None:
        self.gateway.requests.clear()  # for as long as you like
        if not is_first_hop(request):
            self.watch("another account got a secret", leaked(request))
            answer_well(wire, request)
            return
        question = question_of(request)
        if question is None:
            wire.close()
            return
        self.arrived[question] += 1
        name = self.rng.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
        if name == "well":
            answer_well(wire, request)
        elif name == "well, and another response":
            wire.send(b"".join([*packets(request, question), SURPLUS]))
        elif name in REDIRECTS:
            wire.send(redirect(name, self.gateway, self.stranger))
        else:
            PLAYS[name](wire, request)

    def play_stranger(self, wire, request) -> None:
        self.stranger.requests.clear()
        if TOKEN in request or KEY in request:
            self.ledger.wrong("leaked secrets", f"a stranger got one at {request.path}")
        answer_well(wire, request)

    def watch(self, what: str, found: str | None) -> None:
        if found is not None:
            self.ledger.wrong("leaked secrets", f"{what}: {found}")


def question_of(request) -> str | None:
    """Return what is asked, `None` if the client went away before its request was whole."""
    try:
        return json.loads(request.body)["messages"][0]["content"]
    except ValueError:
        return None


def answer_well(wire, request) -> None:
    question = question_of(request)
    if question is None:
        wire.close()
    else:
        wire.send(*packets(request, question))


class Eavesdropper(logging.Handler):
    """Looks for secrets in whatever any logger says."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(logging.DEBUG)
        self.ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if TOKEN in said or KEY in said:
            self.ledger.wrong("leaked secrets", f"logger {record.name}")


def play_round(number: int, seed: int, seconds: float) -> Ledger:
    """Let everybody call for some seconds; return what became of it."""
    stage = Stage(seed + number)
    with stage.stranger, stage.gateway:
        client = client_for(stage.gateway, timeout_ms=TIMEOUT_MS)
        # A fork in the middle of another thread's first import is a deadlock of Python's own.
        load = {name: work for name, work in LOAD.items() if number or name != "forks"}
        workers = [Worker(client, seed + number, f"{number} {name}") for name in load]
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=work, args=(worker, until), daemon=True)
            for work, worker in zip(load.values(), workers, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0) + 3 * HANGS)
        ledger = stage.ledger
        for thread, worker in zip(threads, workers, strict=True):
            ledger.add(worker.ledger)
            if thread.is_alive():
                ledger.wrong("hung", f"{worker.name} after {worker.ledger.counts['sent']} calls")
        held = stage.gateway.stuck() + stage.stranger.stuck()
        if held:
            ledger.wrong("leaked descriptors", f"{held} connections are held after round {number}")
    for question, times in stage.arrived.items():
        if times > 1 and not question.endswith(AGAIN):
            ledger.wrong("sent twice", question)
    ledger.counts["rounds"] += 1
    return ledger


def descriptors() -> int:
    _pool.close()
    gc.collect()
    return len(os.listdir(DESCRIPTORS)) if DESCRIPTORS.exists() else 0  # noqa: PTH208


@contextlib.contextmanager
def watched(ledger: Ledger) -> Iterator[None]:
    """Enter in the ledger what is said to nobody: log lines, warnings, what cannot be raised."""

    def unraisable(found: Any) -> None:
        said = "".join(traceback.format_exception(found.exc_value))
        ledger.wrong("unraisable", f"{getattr(found, 'object', '')} {said}")

    eavesdropper = Eavesdropper(ledger)
    root = logging.getLogger()
    root.addHandler(eavesdropper)
    root.setLevel(logging.DEBUG)
    sys.unraisablehook = threading.excepthook = unraisable
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
    root.removeHandler(eavesdropper)
    sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__


def soak(minutes: float, seed: int, seconds: float) -> Ledger:
    """Play rounds for as long as asked for, the first one to fill what is built once."""
    ledger = Ledger()
    ends = time.monotonic() + 60 * minutes
    with watched(ledger), proxy(functools.partial(ledger.wrong, "asked the proxy")):
        ledger.add(play_round(0, seed, seconds))
        before = descriptors()
        while time.monotonic() < ends and not ledger.counts["hung"]:
            ledger.add(play_round(ledger.counts["rounds"], seed, seconds))
        ledger.counts["leaked descriptors"] += max(descriptors() - before, 0)
    ledger.close()
    return ledger


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--round", type=float, default=10, help="seconds of each round")
    given = parser.parse_args()
    print(f"mistralai {version('mistralai')}, {given.minutes:g} minutes, seed {given.seed}")
    ledger = soak(given.minutes, given.seed, given.round)
    print(ledger)
    return 0 if ledger.balanced else 1


if __name__ == "__main__":
    sys.exit(main())
