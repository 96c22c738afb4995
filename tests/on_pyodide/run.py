"""Run the adapter on Pyodide, which Cloudflare's Python Workers run, against a local gateway.

uv run python tests/on_pyodide/run.py                  build the wheel and check it
uv run python tests/on_pyodide/run.py --wheel PATH     check a wheel that is there

Needs node (20 or newer), npm, uv and a package index, and no other network. Pyodide comes from
npm, in the release that package.json names. Exit status 1 if anything fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import host

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHON = "3.14"  # Pyodide's, with the platform of its wheels
PLATFORM = "pyemscripten_2026_0_wasm32"
LIMIT = 600  # seconds, for each program
# How Node is told to let Python wait for a promise: the newest flag that it has.
WAITING = ("--experimental-wasm-jspi", "--experimental-wasm-stack-switching")


def main() -> int:
    """Run all checks; return the exit status."""
    options = _options()
    for tool in ("node", "npm", "uv"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not on PATH: Pyodide cannot be run without it")
    with tempfile.TemporaryDirectory(prefix="pyodide-") as temporary:
        folder = Path(temporary)
        _install(folder, options.wheel)
        with host.serving() as environment:
            statuses = [
                _run(folder, environment, "checks.py"),
                _run(folder, environment, "checks_sync.py", *_flags()),
                _run(folder, environment, "checks_worker.py"),
            ]
    return 1 if any(statuses) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, help="the adapter; by default, built from here")
    return parser.parse_args()


def _install(folder: Path, wheel: Path | None) -> None:
    """Lay out Pyodide, the wheels for it and the programs in a folder."""
    wheels = folder / "wheels"
    wheels.mkdir()
    if wheel is None:
        _call("uv", "build", "--quiet", "--wheel", "--out-dir", str(folder / "dist"), str(ROOT))
        [wheel] = (folder / "dist").glob("*.whl")
    shutil.copy(wheel, wheels)
    pinned = folder / "pinned.txt"
    wanted = f"mistralai=={version('mistralai')}\n{wheel.resolve()}\n"
    (folder / "wanted.txt").write_text(wanted + (HERE / "requirements.txt").read_text())
    # uv knows the markers of Pyodide, but not yet the platform of its newest wheels; pip takes
    # any platform by name, but would choose packages by this machine's markers.
    _call(
        *("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
        *("--python-platform", "wasm32-pyodide2025", "--python-version", PYTHON),
        *("--no-emit-package", "mistral-cf-adapter", "--output-file", str(pinned)),
        str(folder / "wanted.txt"),
    )
    _call(
        *("uvx", "--quiet", "pip", "--disable-pip-version-check", "download", "--quiet"),
        *("--no-deps", "--only-binary", ":all:", "--implementation", "cp"),
        *("--python-version", PYTHON, "--abi", f"cp{PYTHON.replace('.', '')}", "--abi", "none"),
        *("--platform", PLATFORM, "--platform", "any", "--dest", str(wheels)),
        *("--requirement", str(pinned)),
    )
    for name in ("package.json", "load.mjs"):
        shutil.copy(HERE / name, folder)
    _call("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent", at=folder)
    programs = folder / "programs"
    programs.mkdir()
    for one in (*HERE.glob("*.py"), ROOT / "examples" / "worker" / "src" / "entry.py"):
        shutil.copy(one, programs)


def _call(*command: str, at: Path | None = None) -> None:
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed:\n{done.stdout}{done.stderr}")


def _flags() -> list[str]:
    """Return what Node has to be told so that synchronous calls work."""
    listed = subprocess.run(["node", "--v8-options"], capture_output=True, text=True, check=True)
    return [flag for flag in WAITING if f"{flag} " in listed.stdout][:1]


def _run(folder: Path, environment: dict[str, str], program: str, *flags: str) -> int:
    print(f"\n{program} in Pyodide: node {' '.join(flags)}", flush=True)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    programs = str(folder / "programs")
    return subprocess.run(
        ["node", *flags, "load.mjs", str(folder / "wheels"), programs, program],
        cwd=folder,
        env={**kept, "PYODIDE_ENVIRONMENT": json.dumps(environment)},
        stdin=subprocess.DEVNULL,
        timeout=LIMIT,
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
