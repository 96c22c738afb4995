"""What the SDK rebuilds on every call, built once; never a changed result.

Every speed-up names the place it goes in, checks that the source there is one it was proven
against, and steps aside with one DEBUG line when it is not.
"""

from typing import Self

from .._locks import fork_awaited_lock
from .late_hooks import load_hooks
from .patches import AppliedPatch, apply_all
from .registry import SPEEDUPS

_lock = fork_awaited_lock()
_holders = 0
_applied: list[AppliedPatch] = []


class Speedups:
    """What `install()` returns: a hold on the speed-ups, until `undo()`."""

    __slots__ = ("_holding",)

    def __init__(self) -> None:
        self._holding = True

    def undo(self) -> None:
        """Let go; the last one to do so restores the SDK. Do nothing when called again."""
        global _holders  # noqa: PLW0603
        with _lock:
            if not self._holding:
                return
            self._holding = False
            _holders -= 1
            if not _holders:
                _undo_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.undo()


def install() -> Speedups:
    """Put every speed-up in place that fits the installed SDK; cheap when they are there.

    Thread-safe and counted: they stay until each holder has called `undo()`.
    """
    global _holders  # noqa: PLW0603
    with _lock:
        if not _holders:
            _undo_all()  # what another thread had begun when this process was forked from its own
            from .. import _sdk  # which imports this package

            _applied.extend(apply_all(SPEEDUPS, _sdk.ROOT))
        _holders += 1
    return Speedups()


def _undo_all() -> None:
    while _applied:
        _applied.pop().undo()


def active() -> tuple[str, ...]:
    """Return the names of the speed-ups in place; empty when no client uses them."""
    return tuple(applied.speedup.name for applied in _applied)


__all__ = ["Speedups", "active", "install", "load_hooks"]
