"""What each speed-up is worth: calls and events with it and without it, in turn.

    uv run --group test python tests/benchmarks/speedup_shares.py

For a call, an asynchronous call of 64 tasks and a streamed event it prints by how many per cent
the CPU time grows where one speed-up is taken out: the median of pairs of short runs in one
process, half of them the other way round, with the quartiles. What is below 2 in every column
could go.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import running
from canned import EVENTS
from drivers import Adapter

from mistral_cf_adapter import speedups
from mistral_cf_adapter.speedups.registry import SPEEDUPS

TASKS = 64
CALLS = 16
STREAMS = 1

Run = Callable[[], float]
"""Does a fixed amount of work and returns its CPU time."""


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def call(driver: Adapter, client: Any) -> None:
    for _ in range(CALLS):
        driver.call(client)


def stream(driver: Adapter, client: Any) -> None:
    for _ in range(STREAMS):
        for _event in driver.stream(client):
            pass


async def call_together(driver: Adapter, client: Any) -> None:
    await asyncio.gather(*(driver.acall(client) for _ in range(TASKS)))


def without(name: str, run: Run) -> float:
    """Run with one speed-up taken out."""
    applied = next(one for one in speedups._applied if one.speedup.name == name)
    applied.undo()
    try:
        return run()
    finally:
        setattr(applied.owner, applied.speedup.attribute, applied.after)


def share(name: str, run: Run, pairs: int) -> list[float]:
    """Return the per cent that a run takes more without a speed-up, pair by pair."""
    found: list[float] = []
    for number in range(pairs):
        if number % 2:
            there, gone = run(), without(name, run)
        else:
            gone, there = without(name, run), run()
        found.append((gone / there - 1) * 100)
    return found


def measure(base_url: str, pairs: int, only: list[str]) -> None:
    driver = Adapter(base_url)
    client = driver.make()
    loop = asyncio.new_event_loop()

    def together() -> Awaitable[None]:
        return call_together(driver, client)

    runs: dict[str, Run] = {
        "call": partial(timed, partial(call, driver, client)),
        "async call": partial(timed, lambda: loop.run_until_complete(together())),
        f"event of {EVENTS}": partial(timed, partial(stream, driver, client)),
    }
    for run in runs.values():
        run()
    print(f"| Speed-up | {' | '.join(runs)} |\n|---|{'---|' * len(runs)}")
    active = [one.name for one in SPEEDUPS if one.name in speedups.active()]
    for name in only or active:
        cells: list[str] = []
        for run in runs.values():
            low, middle, high = statistics.quantiles(share(name, run, pairs), n=4)
            cells.append(f"{middle:.1f} ({low:.1f} to {high:.1f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="speed-ups by name, with commas (default: all)")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of runs for each figure")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        running.serving(Path(scratch)) as server,
    ):
        port = server.ports["plain"]
        names = [name for name in arguments.only.split(",") if name]
        measure(f"http://127.0.0.1:{port}/now/shares/v1/acc/gw", arguments.pairs, names)


if __name__ == "__main__":
    main()
