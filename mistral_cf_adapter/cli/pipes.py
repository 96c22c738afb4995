"""A reader that leaves early, as in `mistral-cf-adapter env | head -1`."""

import contextlib
import os
import sys
from collections.abc import Generator

_STATUS = 141
"""What shells report for a program that a closed pipe has ended."""


@contextlib.contextmanager
def end_quietly_without_reader() -> Generator[None]:
    """End the process quietly where what is printed inside has no reader any more.

    Raises:
        SystemExit: nothing reads the output.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_STATUS)
