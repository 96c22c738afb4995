"""Import a module with room for the frames of all functions that run meanwhile.

Python keeps frames in pieces of memory of 16 KB. When one is full, the next call maps another one,
and the return from that call unmaps it. A loop that happens to run at the end of a piece does so
in each round: 1,000 to 5,000 times while the SDK is imported, by how deep the caller's own calls
are. Each time costs a page fault or more, together up to a third of those of a start.
"""

from contextlib import suppress
from importlib import import_module

_SLOTS = 8_000
"""Values that the function below asks room for. With so many (64 KB) its frame gets a piece of
128 KB, and what it calls uses the rest. Memory that is not written to costs nothing."""


def import_with_room(name: str) -> None:
    """Import a module, and what that imports, in one piece of memory for frames."""
    import_module(name)


with suppress(Exception):  # Nuitka and Cython make functions whose code cannot be replaced
    import_with_room.__code__ = import_with_room.__code__.replace(co_stacksize=_SLOTS)
