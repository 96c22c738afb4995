"""The soak in its shortest form: its ledger adds up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# A process with threads that forks is warned of from Python 3.12 on.
QUIET = ("-W", "ignore::DeprecationWarning")


def test_a_short_soak_ends_with_a_ledger_that_adds_up():
    soak = Path(__file__).parents[1] / "programs" / "soak.py"
    done = subprocess.run(
        [sys.executable, *QUIET, str(soak), "--minutes=0.03", "--round=1", "--seed=6"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    ledger = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines()[1:])
    assert int(ledger["answered"].replace(",", "")) > 0
    assert int(ledger["typed errors"].replace(",", "")) > 0
    assert ledger["lost"] == ledger["hung"] == ledger["leaked secrets"] == "0"
