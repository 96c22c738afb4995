"""Run an example as a user does, in an environment that names no gateway."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOISE = ("CF_", "CLOUDFLARE_", "MISTRAL_")


def run(name, *arguments, stdin=None, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOISE)}
    return subprocess.run(
        [sys.executable, "-X", "utf8", str(EXAMPLES / name), *arguments],
        env={**kept, **variables},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
