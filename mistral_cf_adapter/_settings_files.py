"""Files that hold settings: what is wrong with one, and which variables `./.env` sets.

A problem is returned as text, not raised, and never shows what a file holds: a traceback may show
the variables of each frame.
"""

import codecs
import inspect
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from ._variables import Variable

# `_env_file`, `_secrets_dir` and what else says where pydantic-settings reads from.
SOURCE_KEYWORDS = frozenset(
    name for name in inspect.signature(BaseSettings.__init__).parameters if name.startswith("_")
)
CONFIG = SettingsConfigDict(
    env_prefix="CF_AIG_",
    env_file_encoding="utf-8-sig",  # python-dotenv up to 1.2.2 keeps a byte order mark
    env_ignore_empty=True,
    extra="ignore",
    frozen=True,
    hide_input_in_errors=True,
    populate_by_name=True,
)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ASSIGNMENT = r"[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=[ \t]*[^\s#]"
_MAX_SIZE = 1_000_000  # bytes: a larger ./.env is no file of variables


def find_file_problem(
    keywords: Mapping[str, Any], variables: Collection[str], named_by: str
) -> str | None:
    """Return what is wrong with the files that settings are to be read from.

    Args:
        keywords: Of `GatewaySettings`: `_env_file`, `_env_file_encoding` and `_secrets_dir`.
        variables: The names of all variables that are read, in lower case.
        named_by: The keyword or variable that gave `_env_file`.
    """
    encoding = keywords.get("_env_file_encoding") or "utf-8"
    for file in paths_of(keywords.get("_env_file")):
        problem = _problem_with_file(file, encoding)
        if problem is not None:
            return f"{named_by}: {problem}"
    for directory in paths_of(keywords.get("_secrets_dir")):
        problem = _problem_with_directory(directory, variables)
        if problem is not None:
            return f"_secrets_dir: {problem}"
    return None


def paths_of(value: object) -> list[Any]:
    """Return the paths of a keyword that takes one path, several or `None`."""
    if value is None:
        return []
    return list(cast("list[Any]", value)) if isinstance(value, list | tuple) else [value]


def read_secrets(directory: Any, variables: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the files of a directory that has no problem, and what those of variables hold.

    Of a file that is no variable, which may be a misspelt one, nothing is read.
    """
    path = expand_path(directory)
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        if file.name.lower() in variables and file.is_file():
            yield file.name, file.read_text(encoding="utf-8").strip()
        elif not file.name.startswith(".") and file.is_file():
            yield file.name, "not read"


def variables_in_files(
    keywords: Mapping[str, Any], settings: type[BaseSettings], variables: Collection[str]
) -> list[Variable]:
    """Return the variables that files set and that are not empty."""
    file, directory = keywords.get("_env_file"), keywords.get("_secrets_dir")
    found: list[Variable] = []
    if file is not None:
        source = DotEnvSettingsSource(settings, file, keywords.get("_env_file_encoding"))
        found += [
            Variable(name.upper(), " in the file", value)
            for name, value in source.env_vars.items()
            if value
        ]
    for path in paths_of(directory):
        found += [
            Variable(name.upper(), " in _secrets_dir", value)
            for name, value in read_secrets(path, variables)
            if value
        ]
    return found


def find_unread_names(keywords: Mapping[str, Any], variables: Collection[str]) -> list[str]:
    """Return the variables that `./.env` sets, that are set nowhere else, and that nothing reads.

    The file is looked at for names alone.
    """
    path = Path(".env")
    if any(_is_same(path, file) for file in paths_of(keywords.get("_env_file"))):
        return []
    try:
        is_candidate = path.is_file() and path.stat().st_size <= _MAX_SIZE
        data = path.read_bytes() if is_candidate else b""
    except OSError:
        return []
    names = dict.fromkeys(filter(None, map(_assigned_name, _to_text(data).splitlines())))
    return [name for name in names if name.lower() in variables and not os.environ.get(name)]


def expand_path(given: Any) -> Path:
    """Return a path, with the home directory in place of `~` if there is such a user."""
    path = Path(given)
    with suppress(RuntimeError):
        return path.expanduser()
    return path


def _is_same(path: Path, other: Any) -> bool:
    try:
        return path.samefile(expand_path(other))
    except (OSError, ValueError):
        return False


def _to_text(data: bytes) -> str:
    return data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig", errors="replace")


def _assigned_name(line: str) -> str | None:
    found = re.match(_ASSIGNMENT, line)
    return None if found is None else found[1]


def _problem_with_file(file: Any, encoding: str) -> str | None:
    if not isinstance(file, str | os.PathLike):
        return f"must be a path, not {type(file).__name__}"
    path = expand_path(file)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            return _cannot_read(path, error)
        return f"there is no file {path}"
    if path.is_dir():
        return f"{path} is a directory: name a file in it"
    if not path.is_file():
        return f"{path} is no regular file"
    return _problem_with_content(path, encoding)


def _problem_with_directory(directory: Any, variables: Collection[str]) -> str | None:
    if not isinstance(directory, str | os.PathLike):
        return f"must be a path, not {type(directory).__name__}"
    path = expand_path(directory)
    try:
        if not path.exists():  # pydantic-settings warns: it may be mounted in production alone
            return None
        if not path.is_dir():
            return f"{path} is a file: name the directory that it is in"
        files = sorted(path.iterdir())
    except OSError as error:
        return _cannot_read(path, error)
    for file in files:
        problem = _problem_with_secret(file) if file.name.lower() in variables else None
        if problem is not None:
            return f"{file.name.upper()}: {problem}"
    return None


def _problem_with_secret(file: Path) -> str | None:
    if file.is_dir():
        return f"{file} is a directory, as Docker makes where there is no such file to mount"
    if not file.is_file():  # as a link to nothing, of which pydantic-settings warns
        return None
    return _problem_with_content(file, "utf-8", takes_mark=False)


def _problem_with_content(path: Path, encoding: str, *, takes_mark: bool = True) -> str | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        return _cannot_read(path, error)
    is_utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")
    if is_utf8 and (data.startswith(_UTF_16) or b"\0" in data):
        return (
            f"{path} is UTF-16 text, as PowerShell's `>` writes it: save it as UTF-8, there with "
            "`Set-Content -Encoding utf8`"
        )
    if data.startswith(codecs.BOM_UTF8) and not takes_mark:
        return f"{path} begins with a byte order mark: save it as UTF-8 without one"
    try:
        data.decode(encoding)
    except LookupError:
        return f"there is no encoding {encoding!r}: see _env_file_encoding"
    except ValueError as error:
        return f"{_place(path, data, error)} is not {encoding.upper()} text: save the file as UTF-8"
    return None


def _place(path: Path, data: bytes, error: ValueError) -> str:
    """Return where a file is wrong: its line, and the variable that the line sets."""
    if not isinstance(error, UnicodeDecodeError):
        return str(path)
    number = data.count(b"\n", 0, error.start) + 1
    name = _assigned_name(_to_text(data.split(b"\n")[number - 1]))
    return f"{path}, line {number}{f' ({name})' if name else ''},"


def _cannot_read(path: Path, error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"cannot read {path}: {reason}. Let this user read it, or name another"
