"""The measurements, each of one rival in one process; all return numbers by name."""

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from canned import ANSWER, EVENTS, STREAMED
from drivers import Driver

Figures = dict[str, float]
TASKS = 64
BURST = 256
AFTER_BURST = 10
WARM_UP = 3


@dataclass(frozen=True)
class Job:
    """What one worker is to do; `driver(listener, behaviour)` loads the rival."""

    rival: str
    statement: str
    calls: int
    idle_s: float
    tag: str
    ports: dict[str, int]
    arguments: str
    driver: Callable[[str, str], Driver]


def imports(job: Job) -> Figures:
    """Wall time of the import in a fresh process, less that of an empty one."""
    own = [_process_ms(job.statement) - _process_ms("pass") for _ in range(3)]
    return {"wall_ms": statistics.median(own)}


def _process_ms(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", statement], check=True)
    return (time.perf_counter() - start) * 1e3


def construct(job: Job) -> Figures:
    """Building a client, the first and the tenth time."""
    driver = _with_client(job, "plain")
    taken, kept = [], []
    for _ in range(10):
        start = time.perf_counter()
        kept.append(driver.make())
        taken.append((time.perf_counter() - start) * 1e6)
    return {"first_us": taken[0], "next_us": statistics.median(taken[1:])}


def _with_client(job: Job, listener: str) -> Driver:
    driver = job.driver(listener, "now")
    if not driver.has_client:
        raise NotImplementedError
    return driver


def call_sync(job: Job) -> Figures:
    """One call after the other on a warm client."""
    driver = job.driver("plain", "now")
    client = driver.make()
    _warm(driver, client)
    taken = []
    cpu = time.process_time()
    for _ in range(job.calls):
        start = time.perf_counter()
        driver.call(client)
        taken.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    return {"cpu_us": cpu / job.calls * 1e6, "wall_us": statistics.median(taken) * 1e6}


def _warm(driver: Driver, client: Any) -> None:
    for _ in range(WARM_UP):
        _check(driver.call(client), ANSWER)


def _check(text: str, expected: str) -> None:
    if text.strip() != expected.strip():
        msg = f"the answer is not the one that was served: {text[:60]!r}..."
        raise AssertionError(msg)


def call_async(job: Job) -> Figures:
    """64 tasks on one client, each calling again as soon as it has its answer."""
    driver = job.driver("plain", "now")
    each = max(2, job.calls * 2 // TASKS)

    async def task(client: Any) -> None:
        for _ in range(each):
            await driver.acall(client)

    async def measure() -> float:
        client = driver.amake()
        _check(await driver.acall(client), ANSWER)
        await asyncio.gather(*(driver.acall(client) for _ in range(TASKS)))
        cpu = time.process_time()
        await asyncio.gather(*(task(client) for _ in range(TASKS)))
        return time.process_time() - cpu

    return {"cpu_us": asyncio.run(measure()) / (each * TASKS) * 1e6}


def stream_sync(job: Job) -> Figures:
    """Streams of 200 events that arrive in one piece: the cost of parsing them."""
    driver = job.driver("plain", "now")
    client = driver.make()
    _check(_text(driver, client), STREAMED)
    streams = max(2, job.calls // 20)
    cpu = time.process_time()
    for _ in range(streams):
        for _event in driver.stream(client):
            pass
    return {"cpu_us": (time.process_time() - cpu) / (streams * EVENTS) * 1e6}


def _text(driver: Driver, client: Any) -> str:
    return "".join(part or "" for part in driver.stream(client))


def stream_async(job: Job) -> Figures:
    """The same in one task."""
    driver = job.driver("plain", "now")
    streams = max(2, job.calls // 20)

    async def measure() -> float:
        client = driver.amake()
        _check("".join([part or "" async for part in driver.astream(client)]), STREAMED)
        cpu = time.process_time()
        for _ in range(streams):
            async for _event in driver.astream(client):
                pass
        return time.process_time() - cpu

    return {"cpu_us": asyncio.run(measure()) / (streams * EVENTS) * 1e6}


def stream_paced(job: Job) -> Figures:
    """Events 2 ms apart, each read by itself, and how long the first one takes."""
    driver = job.driver("plain", "paced")
    client = driver.make()
    _check(_text(driver, client), STREAMED)
    firsts = []
    streams = max(2, job.calls // 200)
    cpu = time.process_time()
    for _ in range(streams):
        start = time.perf_counter()
        events = iter(driver.stream(client))
        next(events)
        firsts.append(time.perf_counter() - start)
        for _event in events:
            pass
    cpu = time.process_time() - cpu
    return {
        "cpu_us": cpu / (streams * EVENTS) * 1e6,
        "first_event_ms": statistics.median(firsts) * 1e3,
    }


def cold(job: Job) -> Figures:
    """From the start of Python to the first answer over TLS."""
    start = time.monotonic()
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), job.arguments, "cold"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return {"total_ms": (float(done.stdout.split()[-1]) - start) * 1e3}


def idle(job: Job) -> Figures:
    """A call on a client that nobody has used for a while, 50 ms away, over TLS."""
    driver = job.driver("far", "now")
    figures: Figures = {}
    client = driver.make()
    _warm(driver, client)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    aclient = None
    with suppress(NotImplementedError):
        aclient = loop.run_until_complete(_made_and_warm(driver))
    print("ready", flush=True)
    sys.stdin.readline()
    driver.call(client)
    if aclient:
        loop.run_until_complete(driver.acall(aclient))
    time.sleep(job.idle_s)
    with _counted(job, figures, "sync"):
        driver.call(client)
    if aclient:
        with _counted(job, figures, "async"):
            loop.run_until_complete(driver.acall(aclient))
    return figures


async def _made_and_warm(driver: Driver) -> Any:
    client = driver.amake()
    _check(await driver.acall(client), ANSWER)
    return client


@contextmanager
def _counted(job: Job, figures: Figures, kind: str) -> Iterator[None]:
    before = _connections(job)
    start = time.perf_counter()
    yield
    figures[f"{kind}_ms"] = (time.perf_counter() - start) * 1e3
    figures[f"{kind}_handshakes"] = _connections(job) - before


def _connections(job: Job) -> int:
    with urlopen(f"http://127.0.0.1:{job.ports['plain']}/stats/{job.tag}") as response:
        return json.load(response)["connections"]


def burst(job: Job) -> Figures:
    """256 calls at once to a server that takes 200 ms, and a few one by one after them."""
    driver = job.driver("plain", "wait")

    async def measure() -> Figures:
        client = driver.amake()
        _check(await driver.acall(client), ANSWER)
        start = time.perf_counter()
        await asyncio.gather(*(driver.acall(client) for _ in range(BURST)))
        wall = time.perf_counter() - start
        cpu = time.process_time()
        for _ in range(AFTER_BURST):
            await driver.acall(client)
        cpu = time.process_time() - cpu
        return {"wall_ms": wall * 1e3, "after_us": cpu / AFTER_BURST * 1e6}

    return asyncio.run(measure())


def per_request(job: Job) -> Figures:
    """A client for every request over TLS, dropped after use."""
    driver = job.driver("tls", "now")
    _check(driver.call(driver.make()), ANSWER)
    before = _connections(job)
    done = 0
    start = time.perf_counter()
    while done < 5 or time.perf_counter() - start < 1:
        driver.call(driver.make())
        done += 1
    rate = done / (time.perf_counter() - start)
    return {"rps": rate, "handshakes": (_connections(job) - before) / done}


def memory(job: Job) -> Figures:
    """Resident memory that one more client takes, unused and after a call over TLS."""
    driver = _with_client(job, "tls")
    kept = [driver.make() for _ in range(5)]
    for client in kept:
        driver.call(client)
    idle_kib = _kib_each(driver.make, kept, 100)
    if idle_kib < 40:  # too little to see in pages: take more of them
        idle_kib = _kib_each(driver.make, kept, 2000)

    def made_and_used() -> Any:
        client = driver.make()
        driver.call(client)
        return client

    return {"made_kib": idle_kib, "used_kib": _kib_each(made_and_used, kept, 50)}


def _kib_each(make: Callable[[], Any], kept: list[Any], count: int) -> float:
    before = resident_kib()
    kept += [make() for _ in range(count)]
    return (resident_kib() - before) / count


def resident_kib() -> float:
    gc.collect()
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return float(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak
