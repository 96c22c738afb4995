"""Run every framework with the adapter, each in its newest release and an environment of its own.

python tests/frameworks/run.py                     everything; exit status 1 if anything fails
python tests/frameworks/run.py --only agno         one of them; may be given more than once
python tests/frameworks/run.py --table             rows for examples/README.md as well

Needs uv and a package index, and no other network: the gateway runs within each script.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import tables
from catalogue import FRAMEWORKS, QUIET, Framework
from environments import Environments, InstallError

HERE = Path(__file__).resolve().parent
LIMIT = 180  # seconds one script may take
OURS = ("CF_", "CLOUDFLARE_", "MISTRAL_", "OPENAI_", "OTEL_", "PYTHONPATH")


@dataclass
class Result:
    """What became of one framework."""

    framework: Framework
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    ways: list[tables.Way] = field(default_factory=list)
    """What has been proven, in order."""


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    options = _options()
    chosen = [one for one in FRAMEWORKS if not options.only or one.name in options.only]
    with tempfile.TemporaryDirectory(prefix="frameworks-") as temporary:
        folder = options.environments or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        environments = Environments(folder.resolve(), options.python, options.wheel)
        with ThreadPoolExecutor(options.jobs) as pool:
            results = list(pool.map(partial(_try, environments), chosen))
    rows = [
        row
        for result in results
        for row in tables.rows(result.framework.name, result.ways, result.error, result.notes)
    ]
    print(f"\n{tables.plain(rows)}")
    if options.table:
        print(f"\n{tables.markdown(rows)}")
    return 1 if any(result.error for result in results) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [one.name for one in FRAMEWORKS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=str(names))
    parser.add_argument("--table", action="store_true", help="print Markdown rows too")
    parser.add_argument(
        "--wheel", type=_file, help="the adapter to test; by default, built from the checkout"
    )
    parser.add_argument("--python", default=sys.executable, help="for the environments")
    parser.add_argument("--environments", type=Path, help="a folder to keep the environments in")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    return parser.parse_args()


def _file(name: str) -> Path:
    path = Path(name).resolve()
    if not path.is_file():
        msg = f"there is no file {name}"
        raise argparse.ArgumentTypeError(msg)
    return path


def _try(environments: Environments, framework: Framework) -> Result:
    result = Result(framework)
    output = ""
    try:
        python = environments.install(framework)
        result.notes = environments.behind(framework, python)
        report = environments.folder / f"{framework.name}.jsonl"
        report.unlink(missing_ok=True)
        done = _run([str(python), str(HERE / framework.script)], report)
        output = done.stdout
        if done.returncode:
            result.error = f"{framework.script} ended with {done.returncode}"
        result.ways = tables.read(report)
        if not result.ways:
            result.error = result.error or f"{framework.script} has proven nothing"
    except InstallError as error:
        result.error = str(error)
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode()
        result.error = f"{framework.script} did not end within {LIMIT} seconds"
    verdict = f"FAIL: {result.error}" if result.error else "OK"
    print(f"{output.rstrip()}\n{framework.name}: {verdict}\n".lstrip(), flush=True)
    return result


def _run(command: Sequence[str], report: Path) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(OURS) and not name.lower().endswith("_proxy")
    }
    return subprocess.run(
        command,
        cwd=report.parent,
        env={**kept, **QUIET, "FRAMEWORKS_REPORT": str(report)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
