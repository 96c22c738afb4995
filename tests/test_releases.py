"""The program that tries every release: what it chooses, shows and ends with. No index is asked."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import pytest
import releases
from releases import InstallError, Outcome, Release, sample, shown_in_reference, table

from mistral_cf_adapter import _sdk
from mistral_cf_adapter.speedups.registry import SPEEDUPS

REFERENCE = f"before\n{releases.BEGIN}\n{releases.END}\nafter\n"
KNOWN = ["1.9.11", "1.10.0", "1.10.1", "1.10.2", "2.0.0"]
REPORT = {"library": "httpx", "results": {"chat": ""}, "speedups": {"streams": True}}


class Index:
    """Stands for uv: knows some releases, and makes a program of each that prints a report."""

    def __init__(self, folder, reports):
        self._folder, self._reports = folder, reports

    def releases(self, requirement):
        if not requirement.startswith("mistralai"):
            return []
        return [Release("mistralai", version) for version in KNOWN]

    def environment(self, release):
        report = self._reports.get(release.version, REPORT)
        if report is None:
            msg = "no such wheel"
            raise InstallError(msg)
        program = self._folder / release.version
        status = any(report["results"].values())
        lines = f"print({json.dumps(report)!r})", f"raise SystemExit({status:d})"
        program.write_text("\n".join((f"#!{sys.executable}", *lines)))
        program.chmod(0o755)
        return program


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the program with a reference of its own; return its exit status."""

    def run(*arguments, reports=None):
        monkeypatch.setattr(releases, "Uv", lambda python: Index(tmp_path, reports or {}))
        # One at a time: a file that is open for writing, in a fork of another one, does not run.
        monkeypatch.setattr(sys, "argv", ["releases.py", "--jobs=1", *arguments])
        return releases.main()

    reference = tmp_path / "REFERENCE.md"
    reference.write_text(REFERENCE)
    monkeypatch.setattr(releases, "REFERENCE", reference)
    run.reference = reference
    return run


def test_all_that_work_are_a_success_and_one_row_for_each_run_of_alike(run, capsys):
    assert run("--write-reference") == 0
    assert "1.9.11 to 1.10.2" in capsys.readouterr().out
    assert run.reference.read_text() == REFERENCE.replace(
        releases.END,
        "| mistralai | Releases | Built on | Speed-ups |\n"
        "| --- | --- | --- | --- |\n"
        "| 1.9.11 to 1.10.2 | 4 | httpx | 1 of 1 |\n"
        "| 2.0.0 | 1 | httpx | 1 of 1 |\n"
        f"{releases.END}",
    )


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({**REPORT, "results": {"chat": "", "stream": "ValueError: no"}}, "stream: ValueError: no"),
        (None, "no such wheel"),
    ],
    ids=["does not work", "does not install"],
)
def test_one_that_fails_is_named_and_a_failure(run, capsys, report, words):
    assert run("--write-reference", reports={"1.10.1": report}) == 1
    assert f"mistralai==1.10.1: FAIL: {words}" in capsys.readouterr().out
    assert "| 1.9" not in run.reference.read_text()  # nothing is written of what fails


def test_a_reference_that_says_something_else_is_a_failure(run, capsys):
    run("--write-reference")
    assert run("--sample") == 0
    assert run("--sample", reports={"1.10.2": {**REPORT, "library": "httpx2"}}) == 1
    assert (
        "REFERENCE.md: mistralai==1.10.2 is httpx and 1 of 1, not httpx2" in capsys.readouterr().out
    )


def test_one_that_the_reference_does_not_have_yet_is_told(run, capsys):
    assert run() == 0
    assert "mistralai==2.0.0 is not in the reference's table" in capsys.readouterr().out


def test_a_sample_is_the_first_and_last_of_each_minor_one():
    chosen = sample([Release("mistralai", version) for version in KNOWN])
    assert [release.version for release in chosen] == ["1.9.11", "1.10.0", "1.10.2", "2.0.0"]


def test_one_release_can_be_asked_for(run, capsys):
    run("--only", "mistralai==1.10.1", "--only", "mistralai==2.0.0")
    assert capsys.readouterr().out.startswith("2 releases\n")


def test_a_failure_divides_rows():
    outcomes = [Outcome(Release("mistralai", version), [], REPORT) for version in KNOWN[:3]]
    outcomes[1].failures = ["chat: no"]
    assert [row[-1] for row in table(outcomes)] == ["yes", "FAIL: chat", "yes"]


@pytest.mark.every_sdk
def test_the_reference_tells_of_the_release_that_is_installed():
    version = importlib.metadata.version("mistralai")
    code = "from mistral_cf_adapter import speedups; speedups.install(); print(speedups.active())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    active = sum(repr(seam.name) in done.stdout for seam in SPEEDUPS)
    applied = f"{active} of {len(SPEEDUPS)}"
    assert shown_in_reference(version) == (_sdk.httpx.__name__, applied)
