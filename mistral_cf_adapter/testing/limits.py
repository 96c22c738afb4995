"""How much a local gateway takes and keeps. The numbers are ours, not Cloudflare's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024
MAX_BODY = 100 * MIB
"""Bytes of a request's body, and of an upstream's response that is no stream of events."""
REQUEST_TIMEOUT = 60.0
"""Seconds from a request's first byte to its last."""
MAX_KEPT = 10_000
"""Things of a kind that are remembered: requests, logs, cached responses, files."""
MAX_KEPT_BYTES = 128 * MIB
"""Bytes of their bodies; one that is larger alone is kept all the same."""
MAX_RESPONSE = 32 * MIB
"""Bytes of a response that a call keeps, of which the rest is counted alone."""
MAX_SENDING = 32
"""Calls that are sent again at once, each in a thread of its own."""
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


class Room(Generic[T]):
    """Whether there is room for one more item, in bytes; counted anew only where it may be full."""

    def __init__(self, size: Callable[[T], int]) -> None:
        self._size = size
        self._at_most = 0
        """Bytes of all that were added since the last count."""

    def has_room(self, kept: Iterable[T], item: T) -> bool:
        """Count an item in; return False if it and those that are kept are too large.

        One that is larger alone has room all the same. One that is kept several times counts once.
        """
        size = self._size(item)
        if self._at_most + size > MAX_KEPT_BYTES:
            self._at_most = sum({id(each): self._size(each) for each in kept}.values())
        if self._at_most and self._at_most + size > MAX_KEPT_BYTES:
            return False
        self._at_most += size
        return True


def size_of(value: Any) -> int:
    """Return about how many bytes a value of texts, bytes, lists and mappings takes."""
    waiting: list[Any] = [value]
    size = 0
    while waiting:
        item = waiting.pop()
        if isinstance(item, str | bytes):
            size += len(item)
            continue
        size += 8
        if isinstance(item, Mapping):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += cast("Iterable[Any]", item)
    return size
