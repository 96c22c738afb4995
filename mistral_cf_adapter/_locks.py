"""Locks that a fork may find held.

A forked child has one thread. A lock that another thread of its parent held would stay locked in
the child for ever, so every lock of the process is made here.
"""

import os
import threading
from typing import Any


def fork_safe_lock() -> Any:
    """Return an RLock that is re-initialised in forked children."""
    lock: Any = threading.RLock()
    if hasattr(os, "register_at_fork"):
        # The lock's own method, not a function of this module: that would keep the module alive
        # until after its sockets are collected, with warnings at the end of the interpreter.
        os.register_at_fork(after_in_child=lock._at_fork_reinit)  # noqa: SLF001
    return lock


def fork_awaited_lock(patience: float = 1.0) -> Any:
    """Return an RLock that a fork waits for, some seconds at most, before it goes on as above.

    For work that imports modules: the import system's own locks stay held in a child that was
    forked meanwhile.
    """
    lock: Any = threading.RLock()
    if not hasattr(os, "register_at_fork"):
        return lock
    taken: dict[int, bool] = {}  # by thread, as several may fork at once

    def take() -> None:
        taken[threading.get_ident()] = lock.acquire(timeout=patience)

    def release() -> None:
        if taken.pop(threading.get_ident(), False):
            lock.release()

    def reset() -> None:
        taken.clear()
        lock._at_fork_reinit()  # noqa: SLF001

    os.register_at_fork(before=take, after_in_parent=release, after_in_child=reset)
    return lock
