"""The garbage collector pauses while the SDK is imported.

An import makes some hundred thousand objects that stay. The collector would look at them again and
again, here and until the first call is done, and find nothing to free.
"""

import gc
import os
from collections.abc import Generator
from contextlib import contextmanager

from ._locks import fork_safe_lock

VARIABLE = "CF_AIG_SPEEDUPS"
_RUN_FLAGS = "CF_AIG_RUN_FLAGS"
_OFF = frozenset({"false", "0", "no", "off", "n", "f"})

_lock = fork_safe_lock()
_pauses = 0
_threshold = 0
"""The first one of `gc.get_threshold()` before the pause."""


def are_speedups_off() -> bool:
    """Return whether the environment says so: settings can be read only after the import."""
    word = os.environ.get(VARIABLE, "").strip().lower()
    return word in _OFF or '"speedups": false' in os.environ.get(_RUN_FLAGS, "")


@contextmanager
def pause_collector() -> Generator[None, None, None]:
    """Pause the collector for the block; what is there at its end counts as old.

    Does nothing where the program has stopped the collector itself. A threshold of 0 pauses it, not
    `gc.disable()`: that belongs to the program, which may call it meanwhile, in another thread.
    """
    if not _begin():
        yield
        return
    try:
        yield
    finally:
        _end()


def _begin() -> bool:
    global _pauses, _threshold  # noqa: PLW0603
    with _lock:
        if not _pauses:
            first, *others = gc.get_threshold()
            if not (first and gc.isenabled()) or are_speedups_off():
                return False
            _threshold = first
            gc.set_threshold(0, *others)
        _pauses += 1
        return True


def _end() -> None:
    global _pauses  # noqa: PLW0603
    with _lock:
        _pauses = max(_pauses - 1, 0)  # none any more in a child that was forked in between
        if _pauses:
            return
        if not gc.get_freeze_count():  # else a program has frozen objects, which are to stay so
            # Together they move every object to the oldest generation, without looking at any.
            gc.freeze()
            gc.unfreeze()
        _restore_threshold()


def _restore_threshold() -> None:
    first, *others = gc.get_threshold()
    if not first:  # else the program has set another one
        gc.set_threshold(_threshold, *others)


def _reset() -> None:
    """Let a child that was forked in the middle of an import collect."""
    global _pauses  # noqa: PLW0603
    if _pauses:
        _pauses = 0
        _restore_threshold()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)
