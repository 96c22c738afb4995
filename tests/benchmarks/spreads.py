"""Median, minimum and maximum over the rounds, of figures and of ratios to the baseline."""

from dataclasses import dataclass
from statistics import median
from typing import Any

from metrics import Figure
from rivals import BASELINE

# Below these a figure is noise, and a ratio to it would be too.
SMALLEST = {"ms": 0.1, "us": 0.01, "KiB": 0.1}


@dataclass(frozen=True)
class Spread:
    """A median and how far the rounds lie apart."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread | None:
    """Return the spread of `values`, None when there are none."""
    return Spread(median(values), min(values), max(values)) if values else None


def values(results: dict[str, Any], rival: str, metric: str, figure: Figure) -> Spread | None:
    """Return a figure as measured."""
    measured = (_value(one, rival, metric, figure) for one in results["rounds"])
    return spread([value for value in measured if value is not None])


def ratios(
    results: dict[str, Any], rival: str, metric: str, figure: Figure, baseline: str = BASELINE
) -> Spread | None:
    """Return how many times better than the baseline, compared within each round."""
    found = []
    for one in results["rounds"]:
        ours = _value(one, rival, metric, figure)
        bare = _value(one, baseline, metric, figure)
        if ours is None or bare is None:
            continue
        floor = SMALLEST.get(figure.unit, 1e-9)
        ours, bare = max(ours, floor), max(bare, floor)
        found.append(ours / bare if figure.higher_is_better else bare / ours)
    return spread(found)


def shares(results: dict[str, Any], rival: str, metric: str, figure: Figure) -> Spread | None:
    """Return a figure in microseconds as a percentage of the CPU of one bare call."""
    found = []
    for one in results["rounds"]:
        added = _value(one, rival, metric, figure)
        bare = one.get("call_sync", {}).get(BASELINE, {}).get("cpu_us")
        if added is not None and bare is not None:
            found.append(added / bare * 100)
    return spread(found)


def failures(results: dict[str, Any]) -> list[str]:
    """Return one line for each rival that was not installed or did not run."""
    lines = [f"{rival}: {reason}" for rival, reason in results["failures"].items()]
    for one in results["rounds"]:
        for metric, found in one.items():
            for rival, figures in found.items():
                if "failed" in figures:
                    lines.append(f"{rival}, {metric}: {figures['failed']}")
    return list(dict.fromkeys(lines))


def _value(one: dict[str, Any], rival: str, metric: str, figure: Figure) -> float | None:
    return one.get(metric, {}).get(rival, {}).get(figure.name)
