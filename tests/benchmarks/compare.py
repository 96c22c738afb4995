# /// script
# requires-python = ">=3.11"
# dependencies = ["certifi", "trustme>=1.2"]
# ///
"""Measure this adapter beside its rivals: `uv run tests/benchmarks/compare.py`.

Each rival has an environment of its own; all call one local server, in rounds, each metric
of all rivals before the next metric. Figures are compared within a round, so that whatever
else the machine does touches all of them. Writes to --output:

    summary.md    the table of RESULTS.md: how many times better than the bare SDK
    details.md    every figure, the targets, what failed
    chart.svg     the summary as a picture
    growth.svg    how cost grows with tasks and idle connections, if that was measured
    results.json  the figures as measured; `--from` makes the other files of it again
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import chart
import growth_chart
import metrics
import report
import rivals
from environments import Environments, InstallError
from running import Runner, serving

Results = dict[str, Any]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    add = parser.add_argument
    add("--rivals", default="*", help="names or patterns, with commas (default: all)")
    add("--metrics", default="*", help="names or patterns, with commas (default: all)")
    add("--rounds", type=int, default=5, help="how often everything is measured (default: 5)")
    add("--calls", type=int, default=500, help="calls of one measurement (default: 500)")
    add("--idle", type=float, default=20, help="seconds without a call (default: 20)")
    add("--quick", action="store_true", help="one round of 20 calls, 7 s idle: does it run?")
    add("--output", type=Path, default=Path("benchmark-results"), help="default: %(default)s")
    add("--cache", type=Path, default=cache / "mistral-cf-adapter" / "benchmarks")
    add(
        "--python",
        default=os.path.realpath(sys.executable),
        help="interpreter of all rivals (default: this one)",
    )
    add("--from", dest="source", type=Path, help="a results.json: measure nothing")
    add("--list", action="store_true", help="print the names of rivals and metrics")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.calls, chosen.idle = 1, 20, 7
    return chosen


def chosen_from(patterns: str, names: list[str]) -> list[str]:
    """Return the names that any pattern matches; a pattern that matches none is a mistake."""
    wanted = patterns.split(",")
    for pattern in wanted:
        if not any(fnmatch(name, pattern) for name in names):
            sys.exit(f"no such name: {pattern!r}; choose from {', '.join(names)}")
    return [name for name in names if any(fnmatch(name, pattern) for pattern in wanted)]


def installed(names: list[str], environments: Environments) -> tuple[dict[str, Path], Results]:
    """Install all rivals; returns their interpreters and why the others have none."""
    pythons, failures = {}, {}
    for name in names:
        print(f"installing {name}", file=sys.stderr)
        try:
            pythons[name] = environments.prepare(rivals.BY_NAME[name])
        except InstallError as error:
            failures[name] = f"not installed: {error}"
    return pythons, failures


def measured(names: list[str], chosen: argparse.Namespace) -> Results:
    """Run all rounds; what was measured is written after each."""
    kinds = [metrics.BY_NAME[name] for name in chosen_from(chosen.metrics, list(metrics.BY_NAME))]
    pythons, failures = installed(names, Environments(chosen.cache, chosen.python))
    results: Results = {"about": about(chosen), "failures": failures, "rounds": []}
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch)) as server:
        runner = Runner(server, pythons, calls=chosen.calls, idle_s=chosen.idle)
        for number in range(chosen.rounds):
            results["rounds"].append(one_round(runner, kinds, number))
            write(results, chosen.output)
    return results


def one_round(runner: Runner, kinds: list[metrics.Metric], number: int) -> Results:
    """Measure everything once, the rivals in another order each time."""
    found: Results = {}
    for metric in kinds:
        names = [name for name in runner.pythons if metric.applies(rivals.BY_NAME[name])]
        random.Random(number).shuffle(names)
        start = time.monotonic()
        found[metric.name] = runner.measure(metric, names)
        taken = time.monotonic() - start
        print(f"round {number + 1}: {metric.name}, {taken:.0f} s", file=sys.stderr)
    return found


def about(chosen: argparse.Namespace) -> Results:
    """Describe the run, so that a table can be read without it."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "calls": chosen.calls,
        "idle_s": chosen.idle,
    }


def write(results: Results, output: Path) -> None:
    """Write all files."""
    output.mkdir(parents=True, exist_ok=True)
    files = {
        "results.json": json.dumps(results, indent=1),
        "summary.md": report.summary(results),
        "details.md": report.details(results),
        "chart.svg": chart.draw(results),
        "growth.svg": growth_chart.draw(results),
    }
    for name, text in files.items():
        if text is not None:
            (output / name).write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, or read what was measured, and write the files."""
    chosen = arguments()
    if chosen.list:
        print("rivals: ", " ".join(rivals.BY_NAME), "\nmetrics:", " ".join(metrics.BY_NAME))
        return
    if chosen.source:
        results = json.loads(chosen.source.read_text(encoding="utf-8"))
        write(results, chosen.output)
    else:
        names = chosen_from(chosen.rivals, list(rivals.BY_NAME))
        # Everything is a ratio to the baseline.
        results = measured(list(dict.fromkeys([rivals.BASELINE, *names])), chosen)
    print((chosen.output / "summary.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
