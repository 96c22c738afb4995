"""Where one event of a stream ends, found with a search instead of a loop over every byte."""

import re
from collections.abc import Callable, Iterable, Iterator

Scan = Callable[[bytearray, int], Iterable[tuple[int, int]]]

# The order decides: the SDK takes the first that fits.
_ANY_BLANK_LINE = re.compile(rb"\r\n\r\n|\r\n\r|\r\n\n|\r\r\n|\n\r\n|\r\r|\n\r|\n\n")
_SAME_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LONGEST = 4


def any_blank_line(buffer: bytearray, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each boundary begins and ends, as SDK 2 and 3 see them."""
    return _scan(_ANY_BLANK_LINE, buffer, start)


def same_blank_line(buffer: bytearray, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each boundary begins and ends, as SDK 1 sees them."""
    return _scan(_SAME_BLANK_LINE, buffer, start)


def _scan(pattern: re.Pattern[bytes], buffer: bytearray, start: int) -> Iterator[tuple[int, int]]:
    if buffer.find(b"\r", start) >= 0:
        # On from the next byte, not from the end: the SDK finds boundaries that overlap.
        while (match := pattern.search(buffer, start)) is not None:
            yield match.span()
            start = match.start() + 1
        return
    while (start := buffer.find(b"\n\n", start) + 1) > 0:
        yield start - 1, start + 1


def blocks(buffer: bytearray, chunk: bytes, scan: Scan) -> Iterator[bytearray]:
    """Add a chunk to the buffer and take out the blocks that are complete now."""
    # What was there has been searched; a boundary may have begun in its last bytes.
    start = max(0, len(buffer) - _LONGEST + 1)
    buffer += chunk
    position = 0
    for begin, end in scan(buffer, start):
        yield buffer[position:begin]
        position = end
    del buffer[:position]
