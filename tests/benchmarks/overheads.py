"""What the adapter adds to a call, told apart from the call within one process."""

import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from measures import Figures, Job


def routing(job: Job) -> Figures:
    """The adapter's `send` and `build_request`, less those of the client inside.

    The share is of the call without them, so of the bare SDK's call.
    """
    driver = job.driver("plain", "now")
    return {
        **_routing_sync(driver, job.calls),
        **asyncio.run(_routing_async(driver, job.calls)),
    }


def _routing_sync(driver: Any, calls: int) -> Figures:
    client = driver.make()
    for _ in range(3):
        driver.call(client)
    spent = _watch(client.sdk_configuration.client, _timed)
    cpu = time.thread_time()
    for _ in range(calls):
        driver.call(client)
    return _share("sync", spent, time.thread_time() - cpu, calls)


async def _routing_async(driver: Any, calls: int) -> Figures:
    client = driver.amake()
    for _ in range(3):
        await driver.acall(client)
    spent = _watch(client.sdk_configuration.async_client, _timed_async)
    cpu = time.process_time()
    for _ in range(calls):
        await driver.acall(client)
    return _share("async", spent, time.process_time() - cpu, calls)


def _share(kind: str, spent: Counter[str], cpu: float, calls: int) -> Figures:
    if not spent["inner"]:
        msg = "the adapter's call was not seen to reach an inner client's send()"
        raise AssertionError(msg)
    added = spent["outer"] - spent["inner"]
    return {
        f"{kind}_added_us": added / calls * 1e6,
        f"{kind}_added_percent": added / (cpu - added) * 100,
    }


def _watch(outer: Any, timed_send: Callable[..., Any]) -> Counter[str]:
    """Time both layers from now on; returns seconds of CPU by layer."""
    spent: Counter[str] = Counter()
    inner = "Client" if timed_send is _timed else "AsyncClient"
    layers = [(type(outer), "outer", inner)]
    layers += [
        (getattr(sys.modules[name], kind), "inner", kind)
        for name in ("httpx", "httpx2")
        if name in sys.modules
        for kind in ("Client", "AsyncClient")
    ]
    for owner, layer, kind in layers:
        # A request may be built by a client of either kind.
        owner.build_request = _timed(owner.build_request, spent, layer)
        if kind == inner:
            owner.send = timed_send(owner.send, spent, layer)
    return spent


def _timed(function: Any, spent: Counter[str], layer: str) -> Any:
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[layer] += time.thread_time() - start

    return timed


def _timed_async(function: Any, spent: Counter[str], layer: str) -> Any:
    async def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.thread_time()
        try:
            return await function(*args, **kwargs)
        finally:
            spent[layer] += time.thread_time() - start

    return timed


def capturing(job: Job) -> Figures:
    """capture() and gateway options around every other call, the rest without.

    Compares the routing of both, as above, plus entering and leaving the two blocks: the
    difference of whole calls would drown in what else varies from call to call.
    """
    driver: Any = job.driver("plain", "now")
    client = driver.make()
    for _ in range(3):
        driver.call(client)
    spent = _watch(client.sdk_configuration.client, _timed)
    ways = {"without": nullcontext, "with": lambda: _timed_block(driver.captured, spent)}
    ours: dict[str, list[float]] = {way: [] for way in ways}
    whole = []
    for _ in range(job.calls):
        for way, around in ways.items():
            driver.around = around
            spent.clear()
            start = time.thread_time()
            driver.call(client)
            whole.append(time.thread_time() - start)
            ours[way].append(spent["outer"] - spent["inner"])
    added = statistics.median(ours["with"]) - statistics.median(ours["without"])
    return {
        "added_us": added * 1e6,
        "added_percent": added / statistics.median(whole[::2]) * 100,
    }


@contextmanager
def _timed_block(block: Callable[[], Any], spent: Counter[str]) -> Iterator[None]:
    start = time.thread_time()
    entered = block()
    entered.__enter__()
    spent["outer"] += time.thread_time() - start
    yield
    start = time.thread_time()
    entered.__exit__(None, None, None)
    spent["outer"] += time.thread_time() - start


def listening(job: Job) -> Figures:
    """A function of on_call() for every other call and stream, none for the rest.

    Of a call the routing of both is compared, as above; of a stream the CPU per event.
    """
    driver: Any = job.driver("plain", "now")
    client = driver.make()
    for _ in range(3):
        driver.call(client)
        _read(driver, client)
    ways = {"without": nullcontext, "with": lambda: driver.adapter.on_call(_note)}
    events: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(max(4, job.calls // 20)):
        for way, around in ways.items():
            with around():
                start = time.thread_time()
                count = _read(driver, client)
                events[way].append((time.thread_time() - start) / count)
    spent = _watch(client.sdk_configuration.client, _timed)
    ours: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(job.calls):
        for way, around in ways.items():
            spent.clear()
            with around():
                driver.call(client)
            ours[way].append(spent["outer"] - spent["inner"])
    return {"added_us": _added_us(ours), "event_us": _added_us(events)}


def _added_us(seconds: dict[str, list[float]]) -> float:
    return (statistics.median(seconds["with"]) - statistics.median(seconds["without"])) * 1e6


def _read(driver: Any, client: Any) -> int:
    return sum(1 for _ in driver.stream(client))


def _note(_call: object) -> None:
    pass
