"""The way of a call through the files of the core stays short."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

LIMITS = {
    "chat.complete": {"files": 8, "changes": 16},
    "async stream": {"files": 9, "changes": 26},
}


@pytest.mark.skipif(not metadata.version("mistralai").startswith("3."), reason="one SDK will do")
def test_a_call_passes_few_files():
    program = Path(__file__).parents[1] / "support" / "call_path.py"
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(done.stdout)
    for name, limits in LIMITS.items():
        assert found[name]["files"] <= limits["files"], found
        assert found[name]["changes"] <= limits["changes"], found
