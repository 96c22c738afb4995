"""The doctor's report, and its text: colour and columns on a terminal, plain lines elsewhere."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong: a stable name, the cause in words, and the next step."""

    code: str
    cause: str
    next_step: str


@dataclass(frozen=True, slots=True)
class SentHeader:
    """A header that calls to a URL bring, and the setting that it comes from."""

    url: str
    header: str
    setting: str


@dataclass(slots=True)
class Report:
    """What the doctor found; its fields are the keys of `doctor --json`."""

    ok: bool = False
    switch: str | None = None
    """`on` or `off`: whether calls go through the gateway. `None`: the settings cannot work."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    urls: dict[str, str] = field(default_factory=dict[str, str])
    sent: list[SentHeader] = field(default_factory=list[SentHeader])
    """Which credentials and options go where, without their values."""
    versions: dict[str, str] = field(default_factory=dict[str, str])
    patch: dict[str, str | None] = field(default_factory=dict[str, str | None])
    """Mistral's servers, and where patch() redirects clients for them; `None`: not redirected."""
    children: str = ""
    """Whether `run` reaches the processes that a program starts."""
    proxy: str | None = None
    notes: list[str] = field(default_factory=list[str])
    call: dict[str, Any] | None = None
    """The result of the call, `None` if no call was made."""
    problem: Problem | None = None


class Page:
    """Lines of text, for a terminal or for a file."""

    def __init__(self, *, terminal: bool) -> None:
        self.terminal = terminal
        self.colour = terminal and not os.environ.get("NO_COLOR")
        self.lines: list[str] = []

    def paint(self, text: str, colour: str) -> str:
        """Return the text in a colour, if there is colour."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour and text else text

    def title(self, text: str) -> None:
        """Begin a section."""
        self.lines += ["", self.paint(text, BOLD)]

    def rows(self, rows: Iterable[Row], *, dim: Iterable[bool] = ()) -> None:
        """Add rows: in columns on a terminal, two spaces apart elsewhere."""
        known = list(rows)
        dimmed = [*dim] or [False] * len(known)
        widths = [max(map(len, column)) for column in zip(*known, strict=True)]
        for row, faint in zip(known, dimmed, strict=True):
            cells = map(str.ljust, row, widths) if self.terminal else row
            text = "  " + "  ".join(cells).rstrip()
            self.lines.append(self.paint(text, DIM) if faint else text)


def as_text(report: Report, *, terminal: bool | None = None) -> str:
    """Return the report for people."""
    page = Page(terminal=_is_terminal() if terminal is None else terminal)
    page.lines.append(", ".join(f"{name} {text}" for name, text in report.versions.items()))
    page.title("Settings, with the switch off" if report.switch == "off" else "Settings")
    unset = [name for name, found in report.settings.items() if _is_unset(found)]
    told = {name: found for name, found in report.settings.items() if name not in unset}
    page.rows(
        [(name, _value(found["value"]), _origin(found)) for name, found in told.items()],
        dim=[found["source"] == "default" for found in told.values()],
    )
    if unset:
        page.lines.append(page.paint(f"  not set: {', '.join(unset)}", DIM))
    if report.urls:
        page.title("URLs")
        page.rows([*report.urls.items(), *_proxy(report)])
    _sent(page, report)
    if report.patch:
        page.title("patch() takes clients for")
        page.rows([(url, to or "left where they are") for url, to in report.patch.items()])
        page.lines.append(f"  {report.children}")
    _notes(page, report.notes)
    _call(page, report.call)
    _verdict(page, report)
    return "\n".join(page.lines)


def _sent(page: Page, report: Report) -> None:
    for url in dict.fromkeys(header.url for header in report.sent):
        is_fallback = url != report.sent[0].url
        page.title(f"Sent to {url}{', while the gateway is down' if is_fallback else ''}")
        headers = [header for header in report.sent if header.url == url]
        page.rows(
            (each.header, each.setting, _origin(report.settings[each.setting])) for each in headers
        )


def _is_unset(found: dict[str, Any]) -> bool:
    return found["source"] == "default" and found["value"] is None and not found["shadowed"]


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def _origin(found: dict[str, Any]) -> str:
    source = found["variable"] or found["source"]
    if found["source"] == "file":
        source += " in the file"
    return f"{source} (not used: {', '.join(found['shadowed'])})" if found["shadowed"] else source


def _proxy(report: Report) -> Iterator[Row]:
    if report.proxy is not None:
        yield "proxy", report.proxy


def _notes(page: Page, notes: list[str]) -> None:
    if not notes:
        return
    page.title("Notes")
    page.lines += [f"  {page.paint('!', YELLOW)} {note}" for note in notes]


def _call(page: Page, call: dict[str, Any] | None) -> None:
    if call is None:
        return
    page.title("Call")
    told = {name: value for name, value in call.items() if value is not None and value is not False}
    page.rows([(name, str(value)) for name, value in told.items()])


def _verdict(page: Page, report: Report) -> None:
    if report.problem is None:
        checked = "The settings are well; no call was made." if report.call is None else ""
        page.lines += ["", page.paint(checked or "All is well.", GREEN)]
        return
    page.lines += ["", page.paint(f"Problem: {report.problem.code}", RED)]
    page.rows([("what", report.problem.cause), ("next", report.problem.next_step)])
