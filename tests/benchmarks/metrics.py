"""What is measured, and how its figures read in a table."""

from collections.abc import Callable
from dataclasses import dataclass

from rivals import Rival

TASKS = 1, 8, 64, 512
IDLE = 1, 16, 256, 1000


@dataclass(frozen=True)
class Figure:
    """One number of a metric. `headline` figures are in RESULTS.md's table and the chart."""

    name: str
    title: str
    unit: str
    higher_is_better: bool = False
    headline: bool = False
    ratio: bool = True


@dataclass(frozen=True)
class Metric:
    """One measurement: a function of measures.py, or of overheads.py for the adapter's own."""

    name: str
    figures: tuple[Figure, ...]
    applies: Callable[[Rival], bool] = lambda _rival: True
    together: bool = False  # all rivals at once: they only sleep


def _adapter(rival: Rival) -> bool:
    return rival.group == "adapter" and not rival.options.get("captured")


def _main(rival: Rival) -> bool:
    return rival.name in ("adapter-3.7.0", "mistralai-3.7.0")


def _mine(rival: Rival) -> bool:
    return rival.name == "adapter-3.7.0"


METRICS = [
    Metric("import", (Figure("wall_ms", "Import", "ms", headline=True),)),
    Metric(
        "construct",
        (
            Figure("first_us", "Construct the first client", "us"),
            Figure("next_us", "Construct a client", "us", headline=True),
        ),
    ),
    Metric("cold", (Figure("total_ms", "Cold start to first answer, TLS", "ms", headline=True),)),
    Metric(
        "call_sync",
        (
            Figure("cpu_us", "CPU per call", "us", headline=True),
            Figure("wall_us", "Latency per call", "us", headline=True),
        ),
    ),
    Metric("call_async", (Figure("cpu_us", "CPU per call, async, 64 tasks", "us", headline=True),)),
    Metric("stream_sync", (Figure("cpu_us", "CPU per streamed event", "us", headline=True),)),
    Metric(
        "stream_async", (Figure("cpu_us", "CPU per streamed event, async", "us", headline=True),)
    ),
    Metric(
        "stream_paced",
        (
            Figure("cpu_us", "CPU per streamed event, each arriving alone", "us"),
            Figure("first_event_ms", "Time to first event", "ms", headline=True),
        ),
    ),
    Metric(
        "per_request",
        (
            Figure(
                "rps", "A client per request, TLS", "req/s", higher_is_better=True, headline=True
            ),
            Figure("handshakes", "TLS handshakes per request", "", ratio=False),
        ),
    ),
    Metric(
        "burst",
        (
            Figure("wall_ms", "Burst of 256 tasks", "ms", headline=True),
            Figure("after_us", "CPU per call after the burst, one by one", "us"),
        ),
    ),
    Metric(
        "idle",
        (
            Figure("sync_ms", "Call after idling, TLS, 50 ms away", "ms", headline=True),
            Figure("async_ms", "Call after idling, async", "ms"),
            Figure(
                "sync_handshakes", "New TLS handshakes after idling", "", headline=True, ratio=False
            ),
            Figure("async_handshakes", "New TLS handshakes after idling, async", "", ratio=False),
        ),
        together=True,
    ),
    Metric(
        "memory",
        (
            Figure("made_kib", "Memory per extra client", "KiB", headline=True),
            Figure("used_kib", "Memory per extra client, each used once", "KiB"),
        ),
    ),
    Metric(
        "tasks",
        (
            *(Figure(f"cpu_{n}_us", f"CPU per call, {n} tasks", "us") for n in TASKS),
            Figure(
                "times",
                "CPU per call, the dearest by the cheapest, 1 to 512 tasks",
                "",
                ratio=False,
            ),
        ),
        applies=_main,
    ),
    Metric(
        "idle_connections",
        (
            *(Figure(f"cpu_{n}_us", f"CPU per call, {n} idle connections", "us") for n in IDLE),
            *(Figure(f"async_{n}_us", f"The same, async, {n} idle", "us") for n in IDLE),
            Figure(
                "times",
                "CPU per call, the dearest by the cheapest, 1 to 1,000 idle connections",
                "",
                ratio=False,
            ),
            Figure("async_times", "The same, async", "", ratio=False),
        ),
        applies=_mine,
    ),
    Metric(
        "leftovers",
        (
            Figure("client_bytes", "Memory left by a client that is dropped", "B", ratio=False),
            Figure("stream_bytes", "Memory left by a stream that is dropped", "B", ratio=False),
            Figure("descriptors", "Sockets and files left by both", "", ratio=False),
            Figure("threads", "Threads left by both", "", ratio=False),
        ),
        applies=_mine,
    ),
    Metric(
        "routing",
        (
            Figure("sync_added_us", "Added by routing", "us", ratio=False),
            Figure("sync_added_percent", "Added by routing, of a bare call", "%", ratio=False),
            Figure("async_added_us", "Added by routing, async", "us", ratio=False),
            Figure(
                "async_added_percent", "Added by routing, async, of a bare call", "%", ratio=False
            ),
        ),
        applies=lambda rival: _adapter(rival) and rival.options.get("speedups") is False,
    ),
    Metric(
        "capture",
        (
            Figure("added_us", "Added by capture() and options", "us", ratio=False),
            Figure(
                "added_percent",
                "Added by capture() and options, of the call without",
                "%",
                ratio=False,
            ),
        ),
        applies=_adapter,
    ),
    Metric(
        "listening",
        (
            Figure("added_us", "Added by on_call()", "us", ratio=False),
            Figure("event_us", "Added by on_call(), per event", "us", ratio=False),
        ),
        applies=_adapter,
    ),
]
BY_NAME = {metric.name: metric for metric in METRICS}
