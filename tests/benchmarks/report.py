"""The figures as Markdown: RESULTS.md's table, and everything else."""

from typing import Any

from metrics import METRICS, Figure, Metric
from rivals import BASELINE, MINE, RIVALS, Rival
from spreads import Spread, failures, ratios, values
from targets import TARGETS, measured, verdict

COLUMNS = [
    MINE,
    "openai",
    "litellm",
    "portkey-ai",
    "langchain-mistralai",
    "pydantic-ai",
    "raw-httpx",
]


def number(value: float, digits: int = 3) -> str:
    """Write that many significant digits, never an exponent."""
    if abs(value) < 100:
        return f"{round(value, 3):.{digits}g}"
    return f"{float(f'{value:.{digits}g}'):,.0f}"


def written(found: Spread, digits: int = 3) -> str:
    """Write a median with its minimum and maximum, or alone when they are the same."""
    median, low, high = (number(one, digits) for one in (found.median, found.low, found.high))
    return median if low == high else f"{median} ({low}-{high})"


def shown(results: dict[str, Any], names: list[str]) -> list[Rival]:
    """Return those of `names` that were measured, in the order of the table."""
    seen = {name for one in results["rounds"] for found in one.values() for name in found}
    seen |= set(results["failures"])
    return [rival for rival in RIVALS if rival.name in names and rival.name in seen]


def summary(results: dict[str, Any]) -> str:
    """Return RESULTS.md's table: times better than the bare SDK, by metric and rival."""
    columns = shown(results, COLUMNS)
    columns.sort(key=lambda rival: COLUMNS.index(rival.name))
    titles = [f"**{one.title}**" if one.name == MINE else one.title for one in columns]
    header = ["", "bare SDK 3.7.0", *titles]
    lines = [_row(header), _row(["---", *["---:"] * (len(header) - 1)])]
    for metric, one in _figures(results, headline=True):
        bare = values(results, BASELINE, metric.name, one)
        absolute = f"{number(bare.median)} {one.unit}".strip() if bare else "-"
        cells = [_summary_cell(results, rival, metric, one) for rival in columns]
        lines.append(_row([one.title, absolute, *cells]))
    return "\n".join([*lines, "", *_how_to_read(results), ""])


def _summary_cell(results: dict[str, Any], rival: Rival, metric: Metric, one: Figure) -> str:
    measure = ratios if one.ratio else values
    found = measure(results, rival.name, metric.name, one)
    if found is None:
        return "-"
    text = written(found, digits=2)
    return f"**{text}**" if rival.name == MINE else text


def _how_to_read(results: dict[str, Any]) -> list[str]:
    about, rounds = results["about"], len(results["rounds"])
    text = (
        "Times better than the bare SDK 3.7.0 in the same round: more is better, 1 is the same; "
        f"median (minimum-maximum) of {rounds} round{'s' * (rounds != 1)}. "
        "TLS handshakes are counted, not compared. "
        "The adapter imports the SDK on first use: the cold start has all of it. "
        f"Python {about['python']}, {about['system']}, {about['date']}, one local server; "
        f"idle means {about['idle_s']:g} s without a call."
    )
    failed = [f"- {line}" for line in failures(results)]
    return [text, "", "Failed:", "", *failed] if failed else [text]


def details(results: dict[str, Any]) -> str:
    """Return the targets and a table for each figure."""
    lines = ["# Benchmark", "", *_how_to_read(results), "", *_targets(results)]
    for metric, one in _figures(results):
        lines += ["", f"## {one.title}{f' ({one.unit})' if one.unit else ''}", ""]
        lines += [f"`{metric.name}: {one.name}`", ""]
        lines += [_row(["", "median", "minimum-maximum", "times better than bare 3.7.0"])]
        lines += [_row(["---", "---:", "---:", "---:"])]
        lines += [
            _row([rival.title, *_detail_cells(results, rival, metric, one)])
            for rival in shown(results, [rival.name for rival in RIVALS if metric.applies(rival)])
        ]
    return "\n".join([*lines, ""])


def _detail_cells(
    results: dict[str, Any], rival: Rival, metric: Metric, one: Figure
) -> tuple[str, str, str]:
    found = values(results, rival.name, metric.name, one)
    if found is None:
        return _why_not(results, rival, metric), "", ""
    ratio = ratios(results, rival.name, metric.name, one) if one.ratio else None
    extent = f"{number(found.low)}-{number(found.high)}"
    return number(found.median), extent, written(ratio) if ratio else ""


def _why_not(results: dict[str, Any], rival: Rival, metric: Metric) -> str:
    """Tell a failure from what a library does not offer."""
    if rival.name in results["failures"]:
        return "failed"
    found = [one.get(metric.name, {}).get(rival.name, {}) for one in results["rounds"]]
    return "failed" if any("failed" in figures for figures in found) else "not offered"


def _targets(results: dict[str, Any]) -> list[str]:
    lines = ["## Targets", "", _row(["", "measured", "must", "aim", "reached"])]
    lines.append(_row(["---", "---:", "---:", "---:", "---"]))
    for target in TARGETS:
        found = measured(target, results)
        if found is None:
            continue
        unit = f" {target.unit}" if target.unit else ""
        sign = "at most " if target.at_most else ""
        marks = [f"{sign}{number(mark)}{unit}" for mark in (target.must, target.aim)]
        reached = f"{written(found)}{unit}"
        lines.append(_row([target.title, reached, *marks, verdict(target, found)]))
    return lines


def _figures(results: dict[str, Any], *, headline: bool = False) -> list[tuple[Metric, Figure]]:
    """Return the figures that were measured, or only those of that table."""
    seen = {name for one in results["rounds"] for name, found in one.items() if found}
    return [
        (metric, one)
        for metric in METRICS
        if metric.name in seen
        for one in metric.figures
        if one.headline or not headline
    ]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
