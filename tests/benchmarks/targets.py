"""What the adapter on the newest SDK has to reach, and how a run compares."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import metrics
from rivals import BASELINE, MINE
from spreads import Spread, ratios, shares, values

PLAIN = "adapter-3.7.0-plain"
RAW = "raw-httpx"


@dataclass(frozen=True)
class Target:
    """At least `must` times better than the bare SDK, or a figure of at most `must`.

    With `of_bare` the figure is taken as a percentage of the bare SDK's CPU per call; `against`
    names another rival than the bare SDK.
    """

    metric: str
    figure: str
    must: float
    aim: float
    rival: str = MINE
    at_most: bool = False
    of_bare: bool = False
    against: str = BASELINE

    @property
    def measure(self) -> metrics.Figure:
        """The figure that the target is about."""
        named = metrics.BY_NAME[self.metric].figures
        return next(one for one in named if one.name == self.figure)

    @property
    def title(self) -> str:
        """What the target is called in a table."""
        share = ", of a bare call" if self.of_bare else ""
        share += "" if self.against == BASELINE else f", of the speed of {self.against}"
        return f"{self.measure.title}{share} [{self.rival}]"

    @property
    def unit(self) -> str:
        """The unit of the marks, none for a ratio."""
        if self.of_bare:
            return "%"
        return self.measure.unit if self.at_most else ""


TARGETS = [
    Target("construct", "next_us", 300, 1000),
    Target("cold", "total_ms", 1, 1.25),
    Target("call_sync", "cpu_us", 5, 8),
    Target("call_sync", "cpu_us", 0.45, 0.7, against=RAW),
    Target("call_async", "cpu_us", 5, 8),
    Target("call_async", "cpu_us", 1.2, 1.5, against=RAW),
    Target("stream_sync", "cpu_us", 4, 10),
    Target("stream_sync", "cpu_us", 0.3, 0.55, against=RAW),
    Target("stream_async", "cpu_us", 4, 10),
    Target("stream_async", "cpu_us", 0.3, 0.55, against=RAW),
    Target("per_request", "rps", 20, 60),
    Target("idle", "sync_handshakes", 0, 0, at_most=True),
    Target("idle", "async_handshakes", 0, 0, at_most=True),
    Target("memory", "made_kib", 50, 500),
    Target("routing", "sync_added_percent", 3, 1, rival=PLAIN, at_most=True),
    Target("routing", "async_added_percent", 3, 1, rival=PLAIN, at_most=True),
    Target("import", "wall_ms", 15, 5, at_most=True),
    Target("capture", "added_us", 3, 1, at_most=True, of_bare=True),
    Target("capture", "added_percent", 3, 1, at_most=True),
    Target("capture", "added_percent", 3, 1, rival=PLAIN, at_most=True),
    Target("listening", "added_us", 2, 1, at_most=True, of_bare=True),
    Target("listening", "event_us", 10, 2, at_most=True),
    Target("tasks", "times", 1.5, 1.3, at_most=True),
    Target("idle_connections", "times", 1.5, 1.3, at_most=True),
    Target("idle_connections", "async_times", 1.5, 1.3, at_most=True),
    Target("leftovers", "client_bytes", 100, 0, at_most=True),
    Target("leftovers", "stream_bytes", 100, 0, at_most=True),
    Target("leftovers", "descriptors", 0, 0, at_most=True),
    Target("leftovers", "threads", 0, 0, at_most=True),
]


def measured(target: Target, results: dict[str, Any]) -> Spread | None:
    """Return the figure, the share or the ratio that a target is about."""
    compare = partial(ratios, baseline=target.against)
    spread_of = shares if target.of_bare else values if target.at_most else compare
    return spread_of(results, target.rival, target.metric, target.measure)


def verdict(target: Target, found: Spread) -> str:
    """Say which of the two marks the median reaches."""
    for name, mark in (("aim", target.aim), ("must", target.must)):
        if found.median <= mark if target.at_most else found.median >= mark:
            return name
    return "missed"
