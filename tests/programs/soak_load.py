"""The load of the soak: who calls, in which way, and a ledger of what became of each call."""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections import Counter
from importlib import import_module

from fault_scripts import ANSWER
from http_records import KEY, TOKEN
from secret_searches import told_by
from soak_hostile import IDS

from mistral_cf_adapter import GatewayConfigError, GatewayError
from mistral_cf_adapter._sdk import ROOT, SDKError, httpx

UTILS = import_module(f"{ROOT}.utils")
HANGS = 30.0
"""Seconds; no call may take as long, as each has a timeout of one."""
TYPED = (GatewayError, SDKError.__base__, httpx.HTTPError)
TYPED_BY_SDK_1 = "ValidationError"
"""Pydantic's own, where it cannot read an event."""
ENDS = ("answered", "typed errors", "left early", "cancelled", "refused")
ZERO = (
    *("lost", "hung", "wrong", "sent twice", "unraisable"),
    *("leaked descriptors", "leaked secrets", "asked the proxy"),
)
AGAIN = "may be asked again"


class Ledger:
    """What became of what was sent."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        """What went wrong, the first few."""

    def add(self, other: Ledger) -> None:
        self.counts.update(other.counts)
        self.notes = [*self.notes, *other.notes][:20]

    def wrong(self, line: str, note: str) -> None:
        self.counts[line] += 1
        self.notes.append(f"{line}: {note}")

    def close(self) -> None:
        """Find out what is lost: sent, and come to no end of any kind."""
        ends = (*ENDS, "hung", "wrong")
        self.counts["lost"] = self.counts["sent"] - sum(self.counts[line] for line in ends)

    @property
    def balanced(self) -> bool:
        return self.counts["answered"] > 0 and not any(self.counts[line] for line in ZERO)

    def __str__(self) -> str:
        lines = ("rounds", "forks", "sent", *ENDS, *ZERO)
        return "\n".join([*(f"{line:20}{self.counts[line]:>12,}" for line in lines), *self.notes])


class Worker:
    """Makes calls until it is told to stop, and keeps a ledger of its own."""

    def __init__(self, client, seed: int, name: str) -> None:
        self.client = client
        self.rng = random.Random(f"{seed} {name}")
        self.name = name
        self.ledger = Ledger()

    def question(self) -> dict:
        self.ledger.counts["sent"] += 1
        content = f"{self.name} {self.ledger.counts['sent']}"
        ask = {"model": "m", "messages": [{"role": "user", "content": content}]}
        if self.rng.random() < 0.2:
            backoff = UTILS.BackoffStrategy(1, 5, 1, 50)
            ask["messages"][0]["content"] += f" {AGAIN}"
            ask["retries"] = UTILS.RetryConfig("backoff", backoff, True)
        return ask

    def ended(self, ask: dict, text: str, *, left: bool = False) -> None:
        if left:
            self.ledger.counts["left early"] += 1
        elif text in (ask["messages"][0]["content"], ANSWER):
            self.ledger.counts["answered"] += 1
        else:
            self.ledger.wrong("wrong", f"answered {text!r} to {ask['messages']}")

    def failed(self, error: Exception) -> None:
        if isinstance(error, TYPED) or type(error).__name__ == TYPED_BY_SDK_1:
            self.ledger.counts["typed errors"] += 1
        else:
            self.ledger.wrong("wrong", "".join(traceback.format_exception(error)))
        told = told_by(error)
        if TOKEN in told or KEY in told:
            self.ledger.wrong("leaked secrets", type(error).__name__)

    def hostile_id(self) -> str | None:
        """Return an id that is to be refused, now and then."""
        if self.rng.random() > 0.05:
            return None
        self.ledger.counts["sent"] += 1
        return self.rng.choice(IDS)

    def refused(self, identity: str, error: Exception | None) -> None:
        if isinstance(error, GatewayConfigError):
            self.ledger.counts["refused"] += 1
        else:
            self.ledger.wrong("wrong", f"{identity!r} as an id: {error!r}")

    def retrieve(self, identity: str) -> None:
        try:
            self.client.files.retrieve(file_id=identity)
        except Exception as error:
            self.refused(identity, error)
        else:
            self.refused(identity, None)

    async def retrieve_async(self, identity: str) -> None:
        try:
            await self.client.files.retrieve_async(file_id=identity)
        except asyncio.CancelledError:
            self.ledger.counts["cancelled"] += 1
        except Exception as error:
            self.refused(identity, error)
        else:
            self.refused(identity, None)

    def call(self) -> None:
        if (identity := self.hostile_id()) is not None:
            self.retrieve(identity)
            return
        ask, begun = self.question(), time.monotonic()
        try:
            if self.rng.random() < 0.5:
                self.ended(ask, self.client.chat.complete(**ask).choices[0].message.content)
            else:
                self.read(ask)
        except Exception as error:
            self.failed(error)
        if time.monotonic() - begun > HANGS:
            self.ledger.notes.append(f"it took {time.monotonic() - begun:.0f} s: {ask['messages']}")

    def read(self, ask: dict) -> None:
        leave = self.rng.random() < 0.2
        text = ""
        with self.client.chat.stream(**ask) as events:
            for each in events:
                text += each.data.choices[0].delta.content
                if leave:
                    break
        self.ended(ask, text, left=leave)

    async def call_async(self) -> None:
        if (identity := self.hostile_id()) is not None:
            await self.retrieve_async(identity)
            return
        ask = self.question()
        try:
            if self.rng.random() < 0.5:
                answer = await self.client.chat.complete_async(**ask)
                self.ended(ask, answer.choices[0].message.content)
            else:
                await self.read_async(ask)
        except asyncio.CancelledError:
            self.ledger.counts["cancelled"] += 1
        except Exception as error:
            self.failed(error)

    async def read_async(self, ask: dict) -> None:
        leave = self.rng.random() < 0.2
        text = ""
        async with await self.client.chat.stream_async(**ask) as events:
            async for each in events:
                text += each.data.choices[0].delta.content
                if leave:
                    break
        self.ended(ask, text, left=leave)

    async def batch(self) -> None:
        tasks = [asyncio.create_task(self.call_async()) for _ in range(10)]
        await asyncio.sleep(0.001)
        for task in self.rng.sample(tasks, 2):
            await asyncio.sleep(self.rng.random() / 100)
            task.cancel()
        _, late = await asyncio.wait(tasks, timeout=HANGS)
        self.ledger.counts["hung"] += len(late)


def call_in_turn(worker: Worker, until: float) -> None:
    while time.monotonic() < until:
        worker.call()


def run_loops(worker: Worker, until: float) -> None:
    """One event loop after the other, as programs do that call asyncio.run() for each question."""
    while time.monotonic() < until:
        asyncio.run(worker.batch())


def keep_a_loop(worker: Worker, until: float) -> None:
    async def batches():
        while time.monotonic() < until:
            await worker.batch()

    asyncio.run(batches())


def fork_now_and_then(worker: Worker, until: float) -> None:
    """As a server that loads its program before it forks its workers, again and again."""
    while time.monotonic() < until:
        worker.ledger.counts["forks"] += 1
        worker.ledger.add(ledger_of_child(worker, worker.ledger.counts["forks"]))
        time.sleep(0.5)


def ledger_of_child(worker: Worker, number: int) -> Ledger:
    """Make a few calls in a forked process, which sends its ledger before it ends."""
    mine, theirs = os.pipe()
    child = os.fork()
    if not child:
        # Generators that ran in the parent's other threads can come to no end here.
        sys.unraisablehook = lambda _: None
        try:
            os.write(theirs, json.dumps(calls_of_child(worker, number)).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    ledger = Ledger()
    with open(mine, "rb") as told:  # noqa: PTH123 - a descriptor
        ready, _, _ = select.select([told], [], [], HANGS)
        said = told.read() if ready else b""
    if not said:
        ledger.counts["sent"] = 1
        ledger.wrong("hung", f"forked process {number}")
        os.kill(child, signal.SIGKILL)
    else:
        ledger.counts, ledger.notes = Counter(json.loads(said)[0]), json.loads(said)[1]
    os.waitpid(child, 0)
    return ledger


def calls_of_child(parent: Worker, number: int) -> tuple[dict[str, int], list[str]]:
    worker = Worker(parent.client, number, f"{parent.name} child {number}")
    for _ in range(3):
        worker.call()
    asyncio.run(worker.batch())
    return dict(worker.ledger.counts), worker.ledger.notes


LOAD = {
    **{f"caller {n}": call_in_turn for n in range(3)},
    **{f"loops {n}": run_loops for n in range(2)},
    "one loop": keep_a_loop,
    "forks": fork_now_and_then,
}
