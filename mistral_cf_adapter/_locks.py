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
