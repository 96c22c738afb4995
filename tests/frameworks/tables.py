"""What was proven, as a table to read and as one for examples/README.md."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HEADER = ("Framework", "Version", "SDK", "Reached by", "Sync", "Async", "Stream", "")
COLUMNS = 7  # of the table in examples/README.md


@dataclass(frozen=True)
class Way:
    """One path of one framework that was seen to go through the gateway."""

    framework: str
    version: str
    sdk: str
    how: str
    mode: str


def read(report: Path) -> list[Way]:
    """Return what a script has reported, which may be nothing."""
    if not report.exists():
        return []
    return [Way(**json.loads(line)) for line in report.read_text("utf-8").splitlines()]


def rows(
    name: str, ways: Sequence[Way], error: str | None, notes: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return a row for each framework and how it was reached; a failure has one even without."""
    verdict = "FAIL" if error else "; ".join(["OK", *notes])
    if not ways:
        return [(name, "-", "-", "-", "-", "-", "-", verdict)]
    groups: dict[tuple[str, ...], set[str]] = {}
    for way in ways:
        key = (way.framework, way.version, way.sdk, way.how)
        groups.setdefault(key, set()).add(way.mode)
    return [(*key, *_modes(modes), verdict) for key, modes in groups.items()]


def _modes(modes: set[str]) -> tuple[str, str, str]:
    streams = [mode.removesuffix("stream").strip() or "sync" for mode in modes if "stream" in mode]
    return (
        "yes" if "sync" in modes else "-",
        "yes" if "async" in modes else "-",
        ", ".join(sorted(streams, reverse=True)) or "-",
    )


def plain(table: Sequence[tuple[str, ...]]) -> str:
    """Set a table in columns."""
    lines = [HEADER, *table]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(table: Sequence[tuple[str, ...]]) -> str:
    """Set a table in Markdown, without the rows that failed."""
    good = [line for line in table if line[COLUMNS] != "FAIL"]
    lines = [HEADER[:COLUMNS], ("---",) * COLUMNS]
    for framework, version, sdk, how, *modes in good:
        lines.append((framework, version, sdk, f"`{how}`", *modes[: COLUMNS - 4]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
