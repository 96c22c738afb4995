"""One environment per framework, made by uv out of its cache."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from catalogue import Framework

CHECKOUT = Path(__file__).resolve().parents[2]


class InstallError(Exception):
    """uv could not do it; the message is what it said last."""


class Environments:
    """Virtual environments below one folder, each with the adapter and one framework."""

    def __init__(self, folder: Path, python: str, wheel: Path | None) -> None:
        self.folder = folder
        self.python = python
        self._uv = os.environ.get("UV") or shutil.which("uv") or "uv"
        self.wheel = wheel or self._built()

    def install(self, framework: Framework) -> Path:
        """Return the interpreter that has a framework and the adapter; raises InstallError."""
        where = self.folder / framework.name
        self._run("venv", "--clear", "--python", self.python, str(where))
        python = where / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        adapter = f"{self.wheel}[testing]"
        # A wheel of the same name and version may be in uv's cache from another day.
        again = ("--reinstall-package", "mistral-cf-adapter")
        self._run(
            "pip", "install", "--python", str(python), *again, adapter, *framework.requirements
        )
        return python

    def behind(self, framework: Framework, python: Path) -> list[str]:
        """Say which distributions are not the newest, and why; raises InstallError if by us."""
        installed = self._installed(python)
        alone = self._resolved(framework.requirements, python)
        newest = self._resolved(framework.counted, python, "--no-deps")
        notes: list[str] = []
        for name in framework.counted:
            if installed[name] != alone[name]:
                msg = f"the adapter holds {name} back at {installed[name]}, below {alone[name]}"
                raise InstallError(msg)
            if installed[name] != newest[name]:
                notes.append(f"{name} {newest[name]} exists, but its requirements cannot be met")
        return notes

    def _built(self) -> Path:
        self._run("build", "--wheel", "--out-dir", str(self.folder / "wheel"), str(CHECKOUT))
        return next((self.folder / "wheel").glob("*.whl"))

    def _installed(self, python: Path) -> dict[str, str]:
        listed = self._run("pip", "list", "--format", "json", "--python", str(python))
        return {entry["name"]: entry["version"] for entry in json.loads(listed)}

    def _resolved(
        self, requirements: tuple[str, ...], python: Path, *options: str
    ) -> dict[str, str]:
        plain = ("--no-header", "--no-annotate", "--python", str(python))
        lines = self._run("pip", "compile", *plain, *options, "-", text="\n".join(requirements))
        pins = (line.partition("==") for line in lines.splitlines() if "==" in line)
        return {name.partition("[")[0]: version.partition(" ")[0] for name, _, version in pins}

    def _run(self, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            [self._uv, *arguments, "--quiet"],
            capture_output=True,
            text=True,
            input=text,
            check=False,
        )
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise InstallError("\n".join(lines[-5:]) or f"uv {arguments[0]} failed")
        return done.stdout
