"""Try every release of a runtime dependency that pyproject.toml allows, each by itself.

uv run tests/releases.py                            every release of each; exit 1 if one fails
uv run tests/releases.py --sample                   the first and last release of each minor one
uv run tests/releases.py --only mistralai           one dependency
uv run tests/releases.py --only mistralai==2.10.1   one release; may be given more than once
uv run tests/releases.py --write-reference          and write the reference's table, if all work

Whatever was tried is compared with the reference's table; exit 1 also if that says something else.
mistralai is tried on a local gateway (tests/release_trial.py); pydantic-settings and python-dotenv,
which it brings, with the tests of the settings. Needs uv and a package index, which is asked for
the releases, and no other network. Environments are kept in the user's cache folder.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

import mistral_cf_adapter

CHECKOUT = Path(__file__).resolve().parents[1]
REFERENCE = Path(mistral_cf_adapter.__file__).parent / "REFERENCE.md"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mistral-cf-adapter"
LIMIT = 300  # seconds that trying one release may take
OURS = ("CF_", "CLOUDFLARE_", "MISTRAL_", "PYTEST_")
TESTS = {
    "pydantic-settings": (
        "test_settings*.py",
        "test_options.py",
        "test_cli.py",
        "test_cli_flags.py",
    ),
    "python-dotenv": ("test_settings*.py",),
}
TOOLS = ("pytest", "pytest-asyncio", "pytest-xdist", "hypothesis", "openai", "trustme")
TRIAL = ("tests/release_trial.py",)
BEGIN, END = "<!-- releases -->", "<!-- /releases -->"


@dataclass(frozen=True)
class Release:
    """One release of one distribution."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


@dataclass
class Outcome:
    """What became of one release."""

    release: Release
    failures: list[str] = field(default_factory=list)
    report: dict = field(default_factory=dict)
    output: str = ""

    @property
    def speedups(self) -> str:
        applied = self.report.get("speedups", {})
        return f"{sum(applied.values())} of {len(applied)}" if applied else ""


class Uv:
    """The package index and the environments, by way of uv."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._uv = os.environ.get("UV", "uv")

    def releases(self, requirement: str) -> list[Release]:
        """Return every release that a requirement allows, the oldest first.

        The newest is asked for, then the newest below that, and so on: uv passes over yanked and
        preliminary releases, and those for other versions of Python.
        """
        name = re.split(r"[^\w-]", requirement, maxsplit=1)[0]
        found: list[Release] = []
        while version := self._newest(requirement, below=found[-1].version if found else None):
            found.append(Release(name, version))
        if not found:
            msg = f"the index has no release of {requirement}"
            raise SystemExit(msg)
        return found[::-1]

    def environment(self, release: Release) -> Path:
        """Return the interpreter of an environment with a release and what the tests need."""
        folder = CACHE / "releases" / self._slug / str(release).replace("==", "-")
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if not python.exists():
            self._run("venv", "--clear", "--python", self._python, str(folder))
        # No build: the adapter is that of the checkout, by PYTHONPATH.
        self._run(
            *("pip", "install", "--python", str(python), "--requirements", "pyproject.toml"),
            *("--extra", "testing", *TOOLS, str(release)),
        )
        return python

    def _newest(self, requirement: str, below: str | None) -> str | None:
        wanted = requirement if below is None else f"{requirement},<{below}"
        plain = ("--no-deps", "--no-header", "--no-annotate", "--python", self._python)
        done = self._call("pip", "compile", *plain, "-", text=wanted)
        if done.returncode and "No solution found" in done.stderr:
            return None
        _check(done)
        return done.stdout.strip().partition("==")[2].partition(" ")[0]

    @property
    def _slug(self) -> str:
        return re.sub(r"\W+", "-", self._python).strip("-")

    def _run(self, *arguments: str) -> None:
        _check(self._call(*arguments))

    def _call(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [self._uv, *arguments, "--quiet"]
        # It is not about the environment that this program itself runs in.
        environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
        return subprocess.run(
            command,
            input=text,
            env=environment,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )


def _check(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise InstallError(" ".join(done.stderr.split()) or f"uv ended with {done.returncode}")


class InstallError(Exception):
    """uv could not do it; the message is what it said."""


def requirements() -> dict[str, str]:
    """Map each distribution that is tried to what pyproject.toml allows of it."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    allowed = {re.split(r"[^\w-]", one)[0]: one for one in project["dependencies"]}
    # pydantic-settings brings it, and asks for no more than this.
    return {**allowed, "python-dotenv": "python-dotenv>=0.21"}


def sample(releases: Sequence[Release]) -> list[Release]:
    """Return the first and the last release of each minor one."""
    chosen: list[Release] = []
    for _, group in groupby(releases, key=lambda release: release.minor):
        minor = list(group)
        chosen += dict.fromkeys((minor[0], minor[-1]))
    return chosen


def attempt(uv: Uv, release: Release) -> Outcome:
    """Try one release, and say on one line what came of it."""
    outcome = Outcome(release)
    try:
        python = uv.environment(release)
        _attempt(python, outcome)
    except (InstallError, subprocess.TimeoutExpired) as error:
        outcome.failures.append(str(error))
    words = [f"FAIL: {failure}" for failure in outcome.failures] or ["ok", outcome.speedups]
    print(f"{release}: {' '.join(words)}".rstrip(), flush=True)
    if outcome.failures and outcome.output:
        print(outcome.output.rstrip(), flush=True)
    return outcome


def _attempt(python: Path, outcome: Outcome) -> None:
    is_sdk = outcome.release.name == "mistralai"
    done = subprocess.run(
        [str(python), *(TRIAL if is_sdk else _tests_of(outcome.release.name))],
        env={k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        | {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'tests' / 'support'}"},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if is_sdk and done.stdout.startswith("{"):
        outcome.report = json.loads(done.stdout)
        results = outcome.report["results"].items()
        outcome.failures += [f"{name}: {problem}" for name, problem in results if problem]
    if done.returncode:
        outcome.failures = outcome.failures or ["the tests of the settings"]
        outcome.output = f"{'' if is_sdk else done.stdout}{done.stderr}"


def _tests_of(name: str) -> list[str]:
    folder = CHECKOUT / "tests"
    files = [str(path) for pattern in TESTS[name] for path in sorted(folder.rglob(pattern))]
    return ["-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *files]


def table(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Return one row for each run of releases of which the same is true."""
    rows: list[tuple[str, ...]] = []
    for _, group in groupby(outcomes, key=_alike):
        same = list(group)
        first, last = same[0], same[-1]
        versions = [first.release.version, last.release.version]
        failed = sorted({failure.partition(":")[0] for one in same for failure in one.failures})
        rows.append(
            (
                first.release.name,
                " to ".join(dict.fromkeys(versions)),
                str(len(same)),
                first.report.get("library", "-"),
                first.speedups or "-",
                f"FAIL: {', '.join(failed)}" if failed else "yes",
            )
        )
    return rows


def _alike(outcome: Outcome) -> tuple:
    major = outcome.release.version.partition(".")[0] if outcome.report else ""
    library = outcome.report.get("library")
    applied = str(outcome.report.get("speedups"))
    return outcome.release.name, major, library, applied, bool(outcome.failures)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print the rows in columns."""
    header = ("Package", "Releases", "Tried", "Built on", "Speed-ups", "Works")
    lines = [header, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    print()
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def print_stepping_aside(outcomes: Sequence[Outcome]) -> None:
    """Print which speed-ups do not apply to which releases."""
    absent: dict[str, list[str]] = {}
    for outcome in outcomes:
        for name, applied in outcome.report.get("speedups", {}).items():
            if not applied:
                absent.setdefault(name, []).append(outcome.release.version)
    for name, versions in absent.items():
        print(f"  {name!r} steps aside on {', '.join(versions)}")


def write_reference(rows: Sequence[tuple[str, ...]]) -> None:
    """Put the rows of mistralai between the reference's markers."""
    before, _, rest = REFERENCE.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    lines = [("mistralai", "Releases", "Built on", "Speed-ups"), ("---",) * 4]
    lines += [row[1:5] for row in rows if row[0] == "mistralai"]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    REFERENCE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def shown_in_reference(version: str) -> tuple[str, ...] | None:
    """Return what the reference says of a release of mistralai: its library and speed-ups."""
    text = REFERENCE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    for line in text.splitlines()[3:]:
        versions, _, *shown = (cell.strip() for cell in line.strip("|").split("|"))
        first, _, last = versions.partition(" to ")
        if _parts(first) <= _parts(version) <= _parts(last or first):
            return tuple(shown)
    return None


def compare_with_reference(outcomes: Sequence[Outcome]) -> bool:
    """Return whether the reference's table holds; one newer than its last row is said to be new."""
    holds = True
    for outcome in outcomes:
        if not outcome.report:
            continue
        shown = shown_in_reference(outcome.release.version)
        actual = (outcome.report["library"], outcome.speedups)
        if shown is None:
            print(f"{outcome.release} is not in the reference's table: see --write-reference")
        elif shown != actual:
            said, found = " and ".join(shown), " and ".join(actual)
            print(f"REFERENCE.md: {outcome.release} is {said}, not {found}")
            holds = False
    return holds


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def main() -> int:
    """Try what the command line asks for; return the exit status."""
    options = _options()
    uv = Uv(options.python)
    releases = [
        release
        for name, requirement in requirements().items()
        if not options.only or any(one.partition("==")[0] == name for one in options.only)
        for release in _chosen(uv.releases(requirement), options)
    ]
    print(f"{len(releases)} releases", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(partial(attempt, uv), releases))
    rows = table(outcomes)
    print_table(rows)
    print_stepping_aside(outcomes)
    if any(outcome.failures for outcome in outcomes):
        return 1
    if options.write_reference:
        write_reference(rows)
    return 0 if compare_with_reference(outcomes) else 1


def _chosen(releases: Sequence[Release], options: argparse.Namespace) -> Sequence[Release]:
    exact = [one for one in options.only if "==" in one]
    if exact and releases[0].name not in options.only:
        return [release for release in releases if str(release) in exact]
    return sample(releases) if options.sample else releases


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME[==VERSION]", help="may be repeated"
    )
    parser.add_argument("--sample", action="store_true", help="first and last of each minor one")
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="how many releases to try at the same time: %(default)s",
    )
    parser.add_argument("--python", default=sys.executable, help="for the environments")
    parser.add_argument("--write-reference", action="store_true", help="if all of them work")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
