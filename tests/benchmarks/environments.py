"""An environment for each rival, built once and used again."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from rivals import ADAPTER, Rival

CHECKOUT = Path(__file__).resolve().parents[2]
DISTRIBUTION = "mistral-cf-adapter"


class InstallError(Exception):
    """A rival could not be installed; the message is the installer's last line."""


class Environments:
    """Virtual environments under `cache`, one for each set of requirements."""

    def __init__(self, cache: Path, python: str) -> None:
        self.cache = cache
        self.python = python
        self.uv = os.environ.get("UV") or shutil.which("uv") or "uv"
        self.fresh: dict[Path, Path | InstallError] = {}

    def prepare(self, rival: Rival) -> Path:
        """Return the interpreter that has `rival` installed; raises InstallError."""
        where = self.cache / f"{_slug(rival)}-{self._digest(rival)}"
        if where not in self.fresh:
            try:
                self.fresh[where] = self._install(rival, where)
            except InstallError as error:
                self.fresh[where] = error
        found = self.fresh[where]
        if isinstance(found, InstallError):
            raise found
        return found

    def _install(self, rival: Rival, where: Path) -> Path:
        python = where / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        done = where / "installed"
        local = ADAPTER in rival.requirements
        if done.exists() and not local:
            return python
        if not done.exists():
            self._run("venv", "--clear", "--python", self.python, str(where))
        if rival.requirements:
            wanted = [_requirement(name) for name in rival.requirements]
            # The checkout has changed since the last run, though its version has not.
            again = ["--reinstall-package", DISTRIBUTION] if local else []
            self._run(
                "pip", "install", "--python", str(python), "--compile-bytecode", *again, *wanted
            )
        done.touch()
        return python

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [self.uv, arguments[0], "--quiet", *arguments[1:]],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise InstallError(lines[-1] if lines else f"uv {arguments[0]} failed")

    def _digest(self, rival: Rival) -> str:
        return hashlib.sha256(repr((self.python, rival.requirements)).encode()).hexdigest()[:8]


def _requirement(name: str) -> str:
    return str(CHECKOUT) if name == ADAPTER else name


def _slug(rival: Rival) -> str:
    return "adapter" if ADAPTER in rival.requirements else rival.name
