"""How cost grows with tasks and idle connections, and what clients and streams leave behind."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measures import Figures, Job, resident_kib
from metrics import IDLE, TASKS
from server import allow_files

EACH = 256
"""Calls of one short measurement."""
ROUNDS = 3
IDLE_ROUNDS = 9
"""More of them: these numbers cannot be measured in turn, and the machine's speed changes."""


def tasks(job: Job) -> Figures:
    """CPU per asynchronous call with so many tasks, each calling one after the other."""
    driver = job.driver("plain", "now")

    async def work(client: Any, calls: int) -> None:
        for _ in range(calls):
            await driver.acall(client)

    async def timed(client: Any, count: int) -> float:
        each = max(1, EACH // count)
        start = time.process_time()
        await asyncio.gather(*(work(client, each) for _ in range(count)))
        return (time.process_time() - start) / (each * count) * 1e6

    async def measure() -> Figures:
        client = driver.amake()
        await asyncio.gather(*(driver.acall(client) for _ in range(max(TASKS))))
        found: dict[int, list[float]] = {count: [] for count in TASKS}
        for _ in range(ROUNDS):
            for count in TASKS:
                found[count].append(await timed(client, count))
        return _figures("cpu", found)

    allow_files()
    return asyncio.run(measure())


def idle_connections(job: Job) -> Figures:
    """CPU per call, one after the other, beside so many idle connections of the shared pool."""
    allow_files()
    figures = asyncio.run(_idle_async(job))
    driver, holding = job.driver("plain", "now"), job.driver("plain", "hold")
    client, holder = driver.make(), holding.make()
    _call_us(partial(driver.call, client))
    found: dict[int, list[float]] = {}
    for count in IDLE:
        threads = [threading.Thread(target=holding.call, args=(holder,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found[count] = [_call_us(partial(driver.call, client)) for _ in range(IDLE_ROUNDS)]
    return figures | _figures("cpu", found)


def _call_us(call: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(EACH // 4):
        call()
    return (time.process_time() - start) / (EACH // 4) * 1e6


async def _idle_async(job: Job) -> Figures:
    driver, holding = job.driver("plain", "now"), job.driver("plain", "hold")
    client, holder = driver.amake(), holding.amake()
    for _ in range(EACH // 4):
        await driver.acall(client)
    found: dict[int, list[float]] = {}
    for count in IDLE:
        await asyncio.gather(*(holding.acall(holder) for _ in range(count)))
        found[count] = []
        for _ in range(IDLE_ROUNDS):
            start = time.process_time()
            for _ in range(EACH // 4):
                await driver.acall(client)
            found[count].append((time.process_time() - start) / (EACH // 4) * 1e6)
    return _figures("async", found)


def _figures(name: str, found: dict[int, list[float]]) -> Figures:
    best = {count: min(values) for count, values in found.items()}
    times = max(best.values()) / min(best.values())
    whole = "times" if name == "cpu" else f"{name}_times"
    return {f"{name}_{count}_us": value for count, value in best.items()} | {whole: times}


def leftovers(job: Job) -> Figures:
    """What 10,000 clients and 10,000 streams (20 times `--calls`) leave when they are dropped."""
    count = job.calls * 20
    driver = job.driver("plain", "now")
    client = driver.make()

    def abandon_stream() -> None:
        next(iter(driver.stream(client)))

    for _ in range(200):  # what is built once is not counted
        driver.make()
        abandon_stream()
    descriptors, threads = _descriptors(), threading.active_count()
    figures = {
        "client_bytes": _left_bytes(driver.make, count),
        "stream_bytes": _left_bytes(abandon_stream, count),
    }
    gc.collect()
    figures["descriptors"] = max(0, _descriptors() - descriptors)
    figures["threads"] = max(0, threading.active_count() - threads)
    return figures


def _left_bytes(action: Callable[[], object], count: int) -> float:
    before = resident_kib()
    for _ in range(count):
        action()
    return max(0.0, (resident_kib() - before) * 1024 / count)


def _descriptors() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):  # noqa: PTH112
            return len(os.listdir(folder))  # noqa: PTH208
    return 0
