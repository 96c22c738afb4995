"""Secrets of files, which are read again when a file has changed.

Kubernetes and Docker replace a secret's file, a vault's agent writes into it. Looking takes one
`stat()` per file and request: 3 to 6 microseconds, of the 700 that a call takes.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ._secrets import Secret

logger = logging.getLogger("mistral_cf_adapter")

_Identity = tuple[int, int, int]
# A file that is written twice between two ticks of the system's clock, of 1 to 10 ms, may look the
# same after it: one that is this young is read again.
_YOUNG = 20_000_000  # nanoseconds


class SecretFiles:
    """The files that settings were read from, and the last good secrets in them.

    No lock: threads that see a change at once each read it, and the next request sees what one of
    them missed.
    """

    def __init__(
        self,
        files: Iterable[Path],
        directories: Iterable[Path],
        names: Iterable[str],
        read: Callable[[], Mapping[str, Secret]],
    ) -> None:
        """Look at the files as they are now: call this before they are read.

        Args:
            files: Files of variables.
            directories: Directories with a file for each variable.
            names: The variables' names, in any case.
            read: Reads the secrets that are in the files and can be used.
        """
        self.secrets: Mapping[str, Secret] = {}
        self._places = [*files, *directories]
        self._directories = [*directories]
        self._names = frozenset(name.lower() for name in names)
        self._read = read
        self._is_failing = False
        self._paths = self._find_paths()
        self._seen = _remember(self._look())

    def refresh(self) -> None:
        """Read the secrets again if a file has changed; keep what cannot be read now."""
        if self._look() == self._seen:
            return
        self._paths = self._find_paths()
        seen = _remember(self._look())
        found = self._read_found()
        lost = self.secrets.keys() - found.keys()
        self.secrets = {name: found.get(name, old) for name, old in self.secrets.items()}
        self._seen = seen
        if lost and not self._is_failing:
            logger.warning(
                "%s cannot be read again from %s: the last good value stays in use",
                " and ".join(sorted(lost)),
                ", ".join(map(str, self._places)),
            )
        self._is_failing = bool(lost)

    def _read_found(self) -> Mapping[str, Secret]:
        if not all(map(_identify, self._places)):
            return {}
        try:
            return self._read()
        except Exception:  # noqa: BLE001 - it may be half-written: in any way that a file can be
            return {}

    def _look(self) -> list[_Identity | None]:
        return list(map(_identify, self._paths))

    def _find_paths(self) -> list[str]:
        """Return what to look at: a directory alone shows no change within its files."""
        found = [*self._places]
        for directory in self._directories:
            with suppress(OSError):
                found += [path for path in directory.iterdir() if path.name.lower() in self._names]
        return list(map(str, found))

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class FileSecret:
    """One secret of files."""

    def __init__(self, files: SecretFiles, name: str) -> None:
        self.files = files
        self._name = name

    @property
    def last(self) -> Secret:
        """The secret as it was read last."""
        return self.files.secrets[self._name]

    def ask(self, setting: str) -> Secret:  # noqa: ARG002
        """Return the secret; the files were looked at before."""
        return self.last

    async def ask_async(self, setting: str) -> Secret:  # noqa: ARG002
        """Return the same: a `stat()` is too short to be awaited."""
        return self.last

    def __deepcopy__(self, memo: Any) -> Self:
        return self


def _identify(path: str | Path) -> _Identity | None:
    """Return the identity of a file and its content; `None` if there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time of Path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _remember(seen: list[_Identity | None]) -> list[_Identity | None] | None:
    """Return what was seen, `None` if a file may change again without a difference to be seen."""
    now = time.time_ns()
    is_young = any(one is not None and abs(now - one[0]) < _YOUNG for one in seen)
    return None if is_young else seen
