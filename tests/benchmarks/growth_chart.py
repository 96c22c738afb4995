"""How cost grows as an SVG: CPU per call of this adapter, by tasks and by idle connections."""

import math
from collections.abc import Iterable
from html import escape
from typing import Any, NamedTuple

from metrics import BY_NAME, IDLE, TASKS
from report import number, written
from rivals import MINE
from spreads import Spread, values

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 740, 330, 70, 190, 70, 40
AIM = 1.3
SUBTITLE = "by the number of tasks, and of idle connections; the cheapest of all rounds"
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
.small { font-size: 11px; fill: #57606a }
.title { font-size: 16px; font-weight: 600 }
.grid { stroke: #d8dee4 } .aim { stroke: #57606a; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 }
  .grid { stroke: #30363d } .aim { stroke: #9198a1 }
}
"""


class Line(NamedTuple):
    """One line: what is counted, the figures, and how they are drawn."""

    title: str
    metric: str
    prefix: str
    counts: tuple[int, ...]
    colour: str


LINES = (
    Line("tasks at once", "tasks", "cpu", TASKS, "#d55e00"),
    Line("idle connections", "idle_connections", "cpu", IDLE, "#0072b2"),
    Line("idle connections, async", "idle_connections", "async", IDLE, "#009e73"),
)

Points = dict[int, Spread]


def draw(results: dict[str, Any]) -> str | None:
    """Return the picture, `None` where growth was not measured."""
    found = {line: _points(results, line) for line in LINES}
    found = {line: points for line, points in found.items() if points}
    if not found:
        return None
    top = max(
        [2 * AIM, *(share for points in found.values() for share in _shares(points).values())]
    )
    scale = _Scale(math.ceil(top))
    label = "CPU per call of the adapter, times the cheapest of its line"
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">',
        f"<title>{label}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="16" y="26">{label}</text>',
        f'<text class="small" x="16" y="46">{SUBTITLE}</text>',
        *_grid(scale),
    ]
    ends = _spread_labels(scale.y(list(_shares(points).values())[-1]) for points in found.values())
    for (line, points), label_y in zip(found.items(), ends, strict=True):
        parts += _line(line, points, scale, label_y)
    return "\n".join([*parts, "</svg>", ""])


def _points(results: dict[str, Any], line: Line) -> Points:
    figures = {one.name: one for one in BY_NAME[line.metric].figures}
    found = {
        count: values(results, MINE, line.metric, figures[f"{line.prefix}_{count}_us"])
        for count in line.counts
    }
    return {count: one for count, one in found.items() if one}


def _shares(points: Points) -> dict[int, float]:
    """Return how dear each is, by the cheapest of its rounds: others' work only adds to them."""
    least = min(one.low for one in points.values())
    return {count: one.low / least for count, one in points.items()}


class _Scale:
    """Counts, in powers of two, and shares to pixels."""

    def __init__(self, top: int) -> None:
        self.top = top

    def x(self, count: int) -> float:
        share = math.log2(count) / math.log2(max(*TASKS, *IDLE))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, share: float) -> float:
        return HEIGHT - BOTTOM - share / self.top * (HEIGHT - TOP - BOTTOM)


def _grid(scale: _Scale) -> list[str]:
    parts = []
    for share in (*range(scale.top + 1), AIM):
        y, kind = scale.y(share), "aim" if share == AIM else "grid"
        parts.append(
            f'<line class="{kind}" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        )
        text = f"{number(share)}x{' (aim)' if share == AIM else ''}"
        parts.append(
            f'<text class="small" text-anchor="end" x="{LEFT - 8}" y="{y + 4:.1f}">{text}</text>'
        )
    below = f'<text class="small" text-anchor="middle" y="{HEIGHT - BOTTOM + 18}"'
    counts = sorted({*TASKS, *IDLE})
    return parts + [f'{below} x="{scale.x(count):.1f}">{count:,}</text>' for count in counts]


def _spread_labels(ends: Iterable[float]) -> list[float]:
    """Return where the labels of lines go, none on another one."""
    wanted = list(ends)
    placed = dict[int, float]()
    last = -math.inf
    for index in sorted(range(len(wanted)), key=wanted.__getitem__):
        last = placed[index] = max(wanted[index], last + 16)
    return [placed[index] for index in range(len(wanted))]


def _line(line: Line, points: Points, scale: _Scale, label_y: float) -> list[str]:
    places = [(scale.x(count), scale.y(share)) for count, share in _shares(points).items()]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"/>']
    for (count, found), (x, y) in zip(points.items(), places, strict=True):
        told = escape(f"{count:,} {line.title}: {written(found)} us")
        dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{line.colour}"/>'
        parts.append(f"<g><title>{told}</title>{dot}</g>")
    parts.append(
        f'<circle cx="{WIDTH - RIGHT + 16}" cy="{label_y:.1f}" r="4.5" fill="{line.colour}"/>'
        f'<text x="{WIDTH - RIGHT + 26}" y="{label_y + 4:.1f}">{escape(line.title)}</text>'
    )
    return parts
