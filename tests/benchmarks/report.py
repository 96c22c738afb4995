"""The figures as Markdown: the README's table, and everything else."""

from typing import Any

from metrics import METRICS, Figure, Metric
from rivals import BASELINE, RIVALS, Rival
from spreads import Spread, failures, ratios, values
from targets import TARGETS, figure, measured, verdict

MINE = "adapter-3.7.0"
COLUMNS = [
    MINE,
    "openai",
    "litellm",
    "portkey-ai",
    "langchain-mistralai",
    "pydantic-ai",
    "raw-httpx",
]


def number(value: float) -> str:
    """Write three significant digits, never an exponent."""
    if value != 0 and abs(value) < 0.1:
        return f"{value:.3f}"
    if abs(value) < 10:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def _range(found: Spread | None) -> str:
    if found is None:
        return "-"
    if found.low == found.high:
        return number(found.median)
    return f"{number(found.median)} ({number(found.low)}-{number(found.high)})"


def shown(results: dict[str, Any], names: list[str]) -> list[Rival]:
    """Return those of `names` that were measured, in the order of the table."""
    seen = {name for one in results["rounds"] for found in one.values() for name in found}
    seen |= set(results["failures"])
    return [rival for rival in RIVALS if rival.name in names and rival.name in seen]


def summary(results: dict[str, Any]) -> str:
    """Return the README's table: times better than the bare SDK, by metric and rival."""
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
    text = _range(found)
    return f"**{text}**" if rival.name == MINE and found else text


def _how_to_read(results: dict[str, Any]) -> list[str]:
    about, rounds = results["about"], len(results["rounds"])
    text = (
        "Times better than the bare SDK 3.7.0 in the same round: more is better, 1 is the same; "
        f"median (minimum-maximum) of {rounds} round{'s' * (rounds != 1)}. "
        "TLS handshakes are counted, not compared. "
        f"Python {about['python']}, {about['system']}, {about['date']}, one local server; "
        f"idle means {about['idle_s']:g} s without a call."
    )
    lines = [text, ""]
    lines += [f"- {line}" for line in failures(results)]
    return lines


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
    ratio = _range(ratios(results, rival.name, metric.name, one)) if one.ratio else ""
    return number(found.median), f"{number(found.low)}-{number(found.high)}", ratio


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
        one = figure(target)
        unit = f" {one.unit}" if target.at_most and one.unit else ""
        sign = "at most " if target.at_most else ""
        marks = [f"{sign}{number(mark)}{unit}" for mark in (target.must, target.aim)]
        title = f"{one.title} [{target.rival}]"
        lines.append(_row([title, f"{_range(found)}{unit}", *marks, verdict(target, found)]))
    return lines


def _figures(results: dict[str, Any], *, headline: bool = False) -> list[tuple[Metric, Figure]]:
    """Return the figures that were measured, or only those for the README."""
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
