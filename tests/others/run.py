"""Run another project's tests bare and under `patch()`, and compare.

python tests/others/run.py CHECKOUT [--python PYTHON] [pytest arguments]

CHECKOUT is the folder in which that project runs its tests; PYTHON one in which the project, its
tests' needs and this package are installed. The exit status is 1 if a test that passes bare does
not pass under `patch()`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
PASSED = "passed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", default=sys.executable)
    options, arguments = parser.parse_known_args()
    command = [options.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    bare = run(command, options.checkout)
    patched = run([*command, "-p", "under_patch"], options.checkout)
    for name, outcomes in (("bare", bare), ("under patch()", patched)):
        counts = Counter(outcomes.values())
        print(f"{name}: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")
    differing = [test for test in bare if bare[test] != patched.get(test)]
    for test in differing:
        print(f"differs: {test}: {bare[test]}, {patched.get(test, 'missing')}")
    return 0 if PASSED in bare.values() and not worse(bare, patched) else 1


def run(command: list[str], checkout: Path) -> dict[str, str]:
    """Return the outcome of each test."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        subprocess.run(
            [*command, f"--junitxml={report}", "-o", "junit_family=xunit2"],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
        cases = ElementTree.parse(report).iter("testcase") if report.is_file() else ()
        return {f"{case.get('classname')}::{case.get('name')}": outcome(case) for case in cases}


def outcome(case: ElementTree.Element) -> str:
    found = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    return found[0] if found else PASSED


def worse(bare: dict[str, str], patched: dict[str, str]) -> list[str]:
    return [test for test, result in bare.items() if result == PASSED != patched.get(test)]


if __name__ == "__main__":
    sys.exit(main())
