"""Where a stream of ours takes the place of a response's.

An HTTP client puts a stream around each body that notes `response.elapsed` when it is closed. Ours
go below it. So `elapsed` stays right, a look at `response.stream` finds a class of the library's,
and no object of ours is part of the cycle that httpx's own stream forms with its response.
"""

from collections.abc import Callable
from typing import Any

_BOUND = frozenset({"BoundSyncStream", "BoundAsyncStream"})  # of httpx and of httpx2


def wrap_body(response: Any, wrap: Callable[[Any], Any]) -> None:
    """Put a stream around the one that delivers a response's body."""
    stream = response.stream
    if type(stream).__name__ in _BOUND:
        stream._stream = wrap(stream._stream)  # noqa: SLF001
    else:  # a client of the user's own, which need not be of the library
        response.stream = wrap(stream)
