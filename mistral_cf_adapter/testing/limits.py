"""How much a local gateway takes and keeps. The numbers are ours, not Cloudflare's."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024
MAX_BODY = 100 * MIB
"""Bytes of a request's body."""
REQUEST_TIMEOUT = 60.0
"""Seconds from a request's first byte to its last."""
MAX_KEPT = 10_000
"""Things of a kind that are remembered: requests, logs, cached responses, files."""
MAX_KEPT_BYTES = 128 * MIB
"""Bytes of their bodies; one that is larger alone is kept all the same."""
MAX_CHOICES = 128
"""The largest `n` of a completion."""
MAX_NUMBERS = 2_000_000
"""Numbers in the vectors of a response."""
MAX_INPUTS = 10_000
"""Texts that are classified at once."""
MAX_ECHO = 32_768
"""Characters of a request that are said again."""
MAX_NODES = 10_000
"""Values in an example of a JSON schema."""

T = TypeVar("T")


class BoundedList(list[T]):
    """The newest items of a kind: the oldest go when there are too many, or too many bytes."""

    def __init__(self, size: Callable[[T], int]) -> None:
        super().__init__()
        self._size = size
        self._bytes = 0

    def append(self, item: T) -> None:
        """Add an item, and drop the oldest ones while all are too much."""
        super().append(item)
        self._bytes += self._size(item)
        if len(self) > MAX_KEPT:
            self._drop_oldest()
        if self._bytes > MAX_KEPT_BYTES:
            # Counted anew: a test may have taken items out.
            self._bytes = sum(map(self._size, self))
            while self._bytes > MAX_KEPT_BYTES and len(self) > 1:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._bytes -= self._size(self.pop(0))


def drop_oldest(kept: dict[str, T], size: Callable[[T], int]) -> None:
    """Drop the oldest entries of a dictionary while all are too much."""
    total = sum(map(size, kept.values()))
    while len(kept) > 1 and (len(kept) > MAX_KEPT or total > MAX_KEPT_BYTES):
        total -= size(kept.pop(next(iter(kept))))
