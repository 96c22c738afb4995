"""What the adapter on the newest SDK has to reach, and how a run compares."""

from dataclasses import dataclass
from typing import Any

import metrics
from spreads import Spread, ratios, values

MINE = "adapter-3.7.0"
PLAIN = "adapter-3.7.0-plain"


@dataclass(frozen=True)
class Target:
    """At least `must` times better than the bare SDK, or a figure of at most `must`."""

    metric: str
    figure: str
    must: float
    aim: float
    rival: str = MINE
    at_most: bool = False


TARGETS = [
    Target("construct", "next_us", 300, 1000),
    Target("call_sync", "cpu_us", 5, 8),
    Target("call_async", "cpu_us", 5, 8),
    Target("stream_sync", "cpu_us", 4, 10),
    Target("stream_async", "cpu_us", 4, 10),
    Target("per_request", "rps", 20, 60),
    Target("idle", "sync_handshakes", 0, 0, at_most=True),
    Target("idle", "async_handshakes", 0, 0, at_most=True),
    Target("memory", "made_kib", 50, 500),
    Target("routing", "sync_added_percent", 3, 1, rival=PLAIN, at_most=True),
    Target("routing", "async_added_percent", 3, 1, rival=PLAIN, at_most=True),
    Target("import", "wall_ms", 15, 5, at_most=True),
    Target("capture", "added_percent", 3, 1, rival=PLAIN, at_most=True),
    Target("capture", "added_percent", 3, 1, at_most=True),
]


def figure(target: Target) -> metrics.Figure:
    """Return the figure that a target is about."""
    named = metrics.BY_NAME[target.metric].figures
    return next(one for one in named if one.name == target.figure)


def measured(target: Target, results: dict[str, Any]) -> Spread | None:
    """Return the figure, or the ratio, that a target is about."""
    measure = values if target.at_most else ratios
    return measure(results, target.rival, target.metric, figure(target))


def verdict(target: Target, found: Spread) -> str:
    """Say which of the two marks the median reaches."""
    for name, mark in (("aim", target.aim), ("must", target.must)):
        if found.median <= mark if target.at_most else found.median >= mark:
            return name
    return "missed"
