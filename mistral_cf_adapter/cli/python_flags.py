"""Flags of Python itself before the program: `run -W error -u app.py`.

Most of them can only be given when Python starts, so Python is started again with them, in place
of this process. That comes before anything of the program runs.
"""

import itertools
import os
import re
import sys
from collections.abc import Sequence

from . import PROGRAM, UsageError

_PLAIN = "bBdEIOPqRsuv"
_FLAG = re.compile(rf"-[{_PLAIN}]*(?:[{_PLAIN}]|[WX].*)", re.DOTALL)
_FLAG_BEFORE_VALUE = re.compile(rf"-[{_PLAIN}]*[WX]")
_REFUSED_FLAG = re.compile(rf"-[{_PLAIN}]*([ciSx])")
_REFUSED = {
    "c": "takes a file, `-m module`, or `-` for standard input, not -c",
    "i": "cannot pass on -i: in an interactive Python, call patch() of mistral_cf_adapter",
    "S": "cannot pass on -S: without `site` Python does not find installed packages",
    "x": "cannot pass on -x: remove the first line of the file",
}


def takes_next(argument: str) -> bool:
    """Return whether the value of a flag of Python's is the next argument."""
    return _FLAG_BEFORE_VALUE.fullmatch(argument) is not None


def take_python_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of Python's among the arguments of `run`, and the other arguments.

    Raises:
        UsageError: `run` cannot pass on a flag.
    """
    if arguments[:1] != ["run"]:
        return [], [*arguments]
    flags: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        refused = _REFUSED_FLAG.match(argument)
        if refused is not None:
            msg = f"run {_REFUSED[refused[1]]}"
            raise UsageError(msg)
        if _FLAG.fullmatch(argument) is None:
            others.append(argument)
            continue
        flags.append(argument)
        if takes_next(argument):
            flags += itertools.islice(rest, 1)
    return flags, others


def restart(flags: Sequence[str], arguments: Sequence[str]) -> int:
    """Start Python again with these flags and `run` with these arguments; return its status.

    Returns on Windows alone: elsewhere the new Python takes this process over.
    """
    from .programs import replace_process

    return replace_process(sys.executable, [sys.executable, *flags, *_how_started(), *arguments])


def _how_started() -> list[str]:
    """Return what stands between Python and the arguments: the command's file, or `-m` and us.

    That has Python's flags of now in it.
    """
    module = os.path.join("mistral_cf_adapter", "__main__.py")  # noqa: PTH118
    command = os.path.basename(sys.argv[0])  # noqa: PTH119
    if not (command.startswith(PROGRAM) or sys.argv[0].endswith(module)):
        return ["-m", "mistral_cf_adapter"]  # main() was called by other code
    return sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv[1:])]
