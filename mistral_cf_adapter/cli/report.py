"""The doctor's report, and its text: the verdict first, then what is set."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from mistral_cf_adapter._diagnosis import Problem
from mistral_cf_adapter._diagnosis._sent import SentHeader

from .flags import flag_of
from .page import BOLD, DIM, GREEN, RED, YELLOW, Page, open_page

_MOST_ROWS = 7  # of settings, without -v: all fits 15 lines then


@dataclass(slots=True)
class Report:
    """What the doctor found; its fields are the keys of `doctor --json`."""

    ok: bool = False
    summary: str = ""
    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[str] = field(default_factory=list[str])
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
    call: dict[str, Any] | None = None
    """The result of the call, `None` if no call was made."""


def print_report(report: Report, out: TextIO, *, verbose: bool) -> None:
    """Print the report for people."""
    page = open_page(out)
    write_report(page, report, verbose=verbose)
    print(page.text, file=out)


def write_report(page: Page, report: Report, *, verbose: bool) -> None:
    """Write the report: the verdict, what to do, what is set, and with `-v` all the rest."""
    _write_verdict(page, report)
    for note in report.notes:
        page.paragraph(note, mark="!", colour=YELLOW)
    _write_settings(page, report, verbose=verbose)
    if verbose:
        _write_details(page, report)
    _write_call(page, report.call)
    if not verbose:
        if report.call is None:
            page.gap()
        page.paragraph("More, with defaults and headers: doctor -v", colour=DIM, whole=True)


def _write_verdict(page: Page, report: Report) -> None:
    if report.ok:
        page.paragraph(report.summary, mark="\u2713", colour=GREEN, whole=True)
        return
    count = len(report.problems)
    title = "1 problem:" if count == 1 else f"{count} problems:"
    page.paragraph(title, mark="\u2717", colour=RED, whole=True)
    for number, problem in enumerate(report.problems, 1):
        page.gap()
        page.paragraph(f"{problem.message} ({problem.name})", prefix=f"{number}. ")
        page.paragraph(problem.advice, prefix="   Next: ", colour=BOLD)
    if report.notes:
        page.gap()


def _write_settings(page: Page, report: Report, *, verbose: bool) -> None:
    told = [
        (name, found)
        for name, found in report.settings.items()
        if found["source"] != "default" or found["shadowed"]
    ]
    left_out = 0
    if verbose:
        unset = [name for name, found in report.settings.items() if _is_unset(found)]
        told = [each for each in report.settings.items() if each[0] not in unset]
    else:
        unset = []
        if len(told) > _MOST_ROWS:
            left_out = len(told) - _MOST_ROWS + 1
            told = told[:-left_out]
    if told:
        page.title("Set, with the switch off" if report.switch == "off" else "Set")
    page.rows(
        [(name, _value(found["value"]), _origin(name, found)) for name, found in told],
        dim=[found["source"] == "default" for _, found in told],
        cut=not verbose,
    )
    if left_out:
        page.paragraph(f"... and {left_out} more", prefix="  ", colour=DIM, whole=True)
    if unset:
        page.paragraph(f"not set: {', '.join(unset)}", prefix="  ", colour=DIM, whole=True)


def _write_details(page: Page, report: Report) -> None:
    if report.urls:
        page.title("URLs")
        page.rows([*report.urls.items(), *_proxy(report)])
    _write_sent(page, report)
    if report.patch:
        page.title("patch() takes clients for")
        page.rows([(url, to or "left where they are") for url, to in report.patch.items()])
        page.paragraph(report.children, prefix="  ")
    page.title("Versions")
    page.rows(report.versions.items())


def _write_sent(page: Page, report: Report) -> None:
    settings = report.settings
    for url in dict.fromkeys(header.url for header in report.sent):
        is_fallback = url != report.sent[0].url
        page.title(f"Sent to {url}{', while the gateway is down' if is_fallback else ''}")
        headers = [header for header in report.sent if header.url == url]
        page.rows(
            (header.header, header.setting, _origin(header.setting, settings[header.setting]))
            for header in headers
        )


def _is_unset(found: dict[str, Any]) -> bool:
    return found["source"] == "default" and found["value"] is None and not found["shadowed"]


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def _origin(name: str, found: dict[str, Any]) -> str:
    source = found["variable"] or found["source"]
    if found["source"] == "flag":
        source = flag_of(name)
    if found["source"] == "file":
        source += " in the file"
    return f"{source} (not used: {', '.join(found['shadowed'])})" if found["shadowed"] else source


def _proxy(report: Report) -> Iterator[tuple[str, str]]:
    if report.proxy is not None:
        yield "proxy", report.proxy


def _write_call(page: Page, call: dict[str, Any] | None) -> None:
    if call is None:
        return
    page.gap()
    page.paragraph(", ".join(_call_parts(call)), prefix="Call: ")


def _call_parts(call: dict[str, Any]) -> Iterable[str]:
    yield f"{call['method']} {call['path']}"
    yield "no response" if call["status_code"] is None else f"HTTP {call['status_code']}"
    yield f"{call['seconds']} s"
    if call["models"] is not None:
        yield f"{call['models']} models"
    if call["cache_status"] is not None:
        yield f"cache {call['cache_status']}"
    if call["log_id"] is not None:
        yield f"log {call['log_id']}"
