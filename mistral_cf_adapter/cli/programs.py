"""What `run NAME` means: a file, or a command on PATH such as `uvicorn`, which may be Python."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from . import PROGRAM, UsageError

_PYTHON = re.compile(r"(?:python|pypy)[\d.]*w?t?(?:\.exe)?", re.IGNORECASE)
_SUFFIXES = (".py", ".pyw", ".pyc", ".pyz")


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and who is to run it."""

    path: str
    is_python: bool
    """Runs in this process; else it is another program, which may start Python itself."""


def find_program(name: str) -> Program:
    """Return what to run: a file, as for Python itself, else a command on PATH.

    Raises:
        UsageError: there is neither, or it is Python itself.
    """
    is_file = os.path.exists(name)  # noqa: PTH110
    has_folder = bool(os.path.dirname(name))  # noqa: PTH120
    if _is_python_command(name) and (has_folder or not is_file):
        msg = f"leave out {name}: `{PROGRAM} run app.py` runs app.py in {sys.executable}"
        raise UsageError(msg)
    if is_file or has_folder or name == "-" or name.endswith(_SUFFIXES):
        return Program(name, is_python=True)  # run.py says what is missing, as Python does
    if name == "opentelemetry-instrument":
        msg = f"write `{name} {PROGRAM} run ...`: it would keep {PROGRAM} from what it starts"
        raise UsageError(msg)
    # PATH may lack the commands of an environment that is not activated.
    path = shutil.which(name) or shutil.which(name, path=os.path.dirname(sys.executable))  # noqa: PTH120
    if path is None:
        msg = f"there is no file {name} in {os.getcwd()}, and no command {name} on PATH"  # noqa: PTH109
        raise UsageError(msg)
    return Program(path, is_python=_is_script_of_this_python(path))


def _is_python_command(name: str) -> bool:
    return _PYTHON.fullmatch(os.path.basename(name)) is not None  # noqa: PTH119


def replace_process(path: str, command: Sequence[str]) -> int:
    """Run a program in place of this process, with its process id, streams and exit status.

    Returns the status on Windows, which cannot replace a process.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if os.name != "nt":
        try:
            os.execv(path, [*command])  # noqa: S606 - this is what `run` is for
        except OSError as error:
            print(f"{PROGRAM}: {path}: {error.strerror}", file=sys.stderr)
            return 126  # as of a shell
    process = subprocess.Popen(command, executable=path)  # noqa: S603
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the program has got it too, and decides
            continue


def _is_script_of_this_python(path: str) -> bool:
    """Return whether a file's first line names the Python that runs this."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            lines = [os.fsdecode(file.readline(4096)) for _ in range(2)]
    except OSError:  # it may be there to be executed, and not to be read
        return False
    interpreter = _interpreter(*lines)
    if interpreter is None or not _is_python_command(interpreter):
        return False
    return _is_same_python(interpreter)


def _interpreter(first: str, second: str) -> str | None:
    """Return the program that a script's first line names."""
    if not first.startswith("#!"):
        return None
    if second.startswith("'''exec'"):  # pip's and uv's form for long paths, with spaces in them
        return _split(second.removeprefix("'''exec'"))[0]
    words = _split(first[2:])
    if words and os.path.basename(words[0]) == "env":  # noqa: PTH119
        words = [word for word in words[1:] if not word.startswith("-")]
        return shutil.which(words[0]) if words else None
    return words[0] if words else None


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line) or [""]
    except ValueError:
        return [""]


def _is_same_python(interpreter: str) -> bool:
    """Return whether a path is that of `sys.executable`, of the same virtual environment."""
    try:
        folders = (os.path.dirname(path) for path in (interpreter, sys.executable))  # noqa: PTH120
        return os.path.samefile(*folders) and os.path.samefile(interpreter, sys.executable)  # noqa: PTH121
    except OSError:
        return False
