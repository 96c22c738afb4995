"""Secrets of files, which are read again when a file has changed.

Kubernetes and Docker replace a secret's file, a vault's agent writes into it. Looking takes one
`stat()` per file and request: 3 to 6 microseconds, of the 700 that a call takes.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import AliasChoices, Field, SecretStr, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from ._secrets import Secret, check_secret
from ._settings_files import CONFIG, expand_path, paths_of
from ._variables import SECRETS, env_names

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


@cache
def _make_base_class() -> type[BaseSettings]:
    """Return the base of settings that are not read from the environment."""

    class FileSettings(BaseSettings):
        model_config = CONFIG

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return dotenv_settings, file_secret_settings

    return FileSettings


def find_secret_files(values: Mapping[str, Any], config: Mapping[str, Any]) -> SecretFiles | None:
    """Return the files that settings are about to be read from, `None` if there are none."""
    where = {name: value for name, value in values.items() if name.startswith("_")}
    places: dict[str, list[Any]] = {}
    for name in ("env_file", "secrets_dir"):
        given = where.get(f"_{name}", config.get(name))
        # One of the two kinds may be absent, as a directory that is mounted in production alone.
        found = filter(os.path.exists, map(expand_path, paths_of(given)))
        # Absolute: the process may go to another directory, with another `.env` in it.
        places[name] = [path.absolute() for path in found]
        where[f"_{name}"] = places[name] or None
    if not any(places.values()):
        return None
    names = [variable for name in SECRETS for variable in env_names(name)]
    return SecretFiles(
        places["env_file"], places["secrets_dir"], names, lambda: _read_secrets(where)
    )


def _read_secrets(where: Mapping[str, Any]) -> dict[str, Secret]:
    """Return the secrets that are in files and can be used."""
    fields: Any = {
        name: (SecretStr | None, Field(None, validation_alias=AliasChoices(*env_names(name))))
        for name in SECRETS
    }
    model = create_model("SecretsOfFiles", __base__=_make_base_class(), **fields)
    texts = {name: getattr(model(**where), name) for name in SECRETS}
    checked = {name: check_secret(text)[0] for name, text in texts.items() if text is not None}
    return {name: secret for name, secret in checked.items() if secret is not None}
