"""The summary as an SVG: one line for each metric, one mark for each rival, logarithmic."""

import math
from collections.abc import Iterable
from html import escape
from typing import Any

from metrics import METRICS
from report import COLUMNS, number, shown, written
from rivals import BASELINE, MINE, Rival
from spreads import Spread, ratios, values

WIDTH, LEFT, RIGHT, TOP, ROW = 900, 290, 90, 92, 32
COLOURS = {
    MINE: "#d55e00",
    "openai": "#0072b2",
    "litellm": "#009e73",
    "portkey-ai": "#cc79a7",
    "langchain-mistralai": "#56b4e9",
    "pydantic-ai": "#b59f00",
    "raw-httpx": "#7f7f7f",
}
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
.small { font-size: 11px; fill: #57606a }
.title { font-size: 16px; font-weight: 600 }
.mine { font-weight: 600; fill: #b34f00 }
.grid { stroke: #d8dee4 } .one { stroke: #57606a; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .mine { fill: #ff9d57 }
  .grid { stroke: #30363d } .one { stroke: #9198a1 }
}
"""

Row = tuple[str, str, dict[str, Spread]]


class Axis:
    """Ratios to pixels, in decades."""

    def __init__(self, spreads: Iterable[Spread]) -> None:
        logs = [math.log10(max(value, 1e-3)) for one in spreads for value in (one.low, one.high)]
        self.first = math.floor(min([*logs, -1]))
        self.last = math.ceil(max([*logs, 1]))

    def x(self, ratio: float) -> float:
        share = (math.log10(max(ratio, 1e-3)) - self.first) / (self.last - self.first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    @property
    def decades(self) -> list[int]:
        return list(range(self.first, self.last + 1))


def draw(results: dict[str, Any]) -> str:
    """Return the chart; a metric or a rival that was not measured is left out."""
    rivals = sorted(shown(results, COLUMNS), key=lambda rival: COLUMNS.index(rival.name))
    rows = _rows(results, rivals)
    axis = Axis(one for _, _, spreads in rows for one in spreads.values())
    height = TOP + ROW * len(rows) + 30
    label = "Times better than the bare Mistral SDK 3.7.0, by metric and library"
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">',
        f"<title>{label}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="16" y="26">{label}</text>',
        *_legend(rivals),
        *_grid(axis, height),
    ]
    for index, row in enumerate(rows):
        parts += _line(row, axis, TOP + ROW * index + ROW / 2)
    return "\n".join([*parts, "</svg>", ""])


def _rows(results: dict[str, Any], rivals: list[Rival]) -> list[Row]:
    rows = []
    for metric in METRICS:
        for figure in metric.figures:
            bare = values(results, BASELINE, metric.name, figure)
            if not (figure.headline and figure.ratio and bare):
                continue
            found = {one.name: ratios(results, one.name, metric.name, figure) for one in rivals}
            spreads = {name: one for name, one in found.items() if one}
            rows.append((figure.title, f"bare: {number(bare.median)} {figure.unit}", spreads))
    return rows


def _legend(rivals: list[Rival]) -> list[str]:
    parts, x = [], 20.0
    for rival in rivals:
        parts.append(_mark(rival.name, x, 50))
        parts.append(f'<text class="small" x="{x + 10:.0f}" y="54">{escape(rival.title)}</text>')
        x += 26 + 6.1 * len(rival.title)
    return parts


def _grid(axis: Axis, height: int) -> list[str]:
    parts = []
    for decade in axis.decades:
        x = axis.x(10**decade)
        kind = "one" if decade == 0 else "grid"
        label = "bare SDK" if decade == 0 else f"{10**decade:,g}x"
        parts.append(
            f'<line class="{kind}" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height - 24}"/>'
        )
        text = f'<text class="small" text-anchor="middle" x="{x:.1f}"'
        parts += [f'{text} y="{y}">{label}</text>' for y in (TOP - 8, height - 8)]
    return parts


def _line(row: Row, axis: Axis, y: float) -> list[str]:
    title, absolute, spreads = row
    parts = [
        f'<text x="{LEFT - 14}" y="{y:.1f}" text-anchor="end">{escape(title)}</text>',
        f'<text class="small" x="{LEFT - 14}" y="{y + 12:.1f}" text-anchor="end">{absolute}</text>',
        f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>',
    ]
    # Ours last, on top of the others.
    for name, found in sorted(spreads.items(), key=lambda item: item[0] == MINE):
        parts.append(f"<g><title>{escape(f'{name}: {written(found)}')}</title>")
        parts.append(
            f'<line x1="{axis.x(found.low):.1f}" y1="{y:.1f}" x2="{axis.x(found.high):.1f}" '
            f'y2="{y:.1f}" stroke="{COLOURS[name]}" stroke-width="2"/>'
        )
        parts.append(f"{_mark(name, axis.x(found.median), y)}</g>")
    if mine := spreads.get(MINE):
        parts.append(
            f'<text class="mine" x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}">'
            f"{number(mine.median, 2)}x</text>"
        )
    return parts


def _mark(name: str, x: float, y: float) -> str:
    """Draw ours large, the raw limit as a diamond, the rest as dots."""
    colour = COLOURS[name]
    if name == "raw-httpx":
        points = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
        return f'<polygon points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
    radius = 7 if name == MINE else 4.5
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>'
