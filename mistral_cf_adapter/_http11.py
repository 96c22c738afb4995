"""The usual requests and responses of HTTP/1.1 as bytes, without I/O: see `_direct.py`.

What is unusual is not read here: `encode_request()` and `read_head()` say so. A body in chunks that
turns out to be unusual is read to its end by h11, as the HTTP library would have.
"""

import re
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, NoReturn

from ._sdk import httpx

_MAX_HEAD = 100 * 1024
"""Bytes: the HTTP library's own limit."""

Body = Generator[bytes | None, bytes | None, bytes]
"""Yields data or `None`, takes the next bytes; returns the bytes that came after the response."""


# ---------------------------------------------------------------- the request

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_MEANINGFUL = frozenset(
    {b"host", b"content-length", b"connection"}
    | {b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer"}  # none is usual
)
_TARGET = re.compile(rb"[\x21-\x7e]+")
_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
_NOT_IN_VALUES = b"\x00\r\n\x0b\x0c"

_names: dict[bytes, bytes] = {}
_MAX_NAMES = 1000
_MAX_NAME = 64
"""Bytes of a name worth remembering."""


def encode_request(request: Any) -> tuple[bytes, bytes] | None:
    """Return head and body of a request as the library would send them.

    `None` where the library has to do it: for what is unusual and what it refuses to send.
    """
    if request.method not in _METHODS or type(request.stream) is not httpx.ByteStream:
        return None
    body = b"".join(request.stream)
    target = request.url.raw_path
    if _TARGET.fullmatch(target) is None:
        return None
    lines = _encode_headers(request.headers.raw, len(body))
    if lines is None:
        return None
    start = b"%s %s HTTP/1.1\r\n" % (request.method.encode("ascii"), target)
    return start + lines, body


def _encode_headers(headers: list[tuple[bytes, bytes]], length: int) -> bytes | None:
    host, lines, lengths = b"", list[bytes](), 0
    for name, value in headers:
        lowered = _names.get(name) or _lower(name)
        if lowered is None or value != value.strip():
            return None
        line = b"%s: %s\r\n" % (name, value)
        if lowered not in _MEANINGFUL:
            lines.append(line)
        elif lowered == b"host" and not host:
            host = line
        elif lowered == b"content-length" and value == b"%d" % length:
            lengths += 1
            lines.append(line)
        elif lowered == b"connection" and value.lower() == b"keep-alive":
            lines.append(line)
        else:
            return None
    if not host or lengths > 1 or (length and not lengths):
        return None
    encoded = host + b"".join(lines)
    # Of these bytes a line has those of its end alone.
    if len(encoded) - len(encoded.translate(None, _NOT_IN_VALUES)) != 2 * len(headers):
        return None
    return encoded + b"\r\n"


def _lower(name: bytes) -> bytes | None:
    """Return the name of a header in lower case, `None` for what is no name."""
    lowered = _names.get(name)
    if lowered is None and _NAME.fullmatch(name):
        lowered = name.lower()
        if len(_names) < _MAX_NAMES and len(name) <= _MAX_NAME:
            _names[name] = lowered
    return lowered


# ---------------------------------------------------------------- the response


class Head(NamedTuple):
    """The head of a response.

    Attributes:
        headers: as received, in their order.
        length: bytes of the body, `None` for a body in chunks.
        keeps_open: whether the connection can be used again.
        raw: all of the head's bytes.
    """

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    length: int | None
    keeps_open: bool
    raw: bytes


_BLANK_LINE = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2})(?: ((?:[ \t]|[^\x00\s])*))?\r\n")
_HEADER = re.compile(rb"(?<=\n)([-!#$%&'*+.^_`|~0-9a-zA-Z]+):[ \t]*+([^\x00\r\n\x0b\x0c]*+)\r\n")
_LENGTH = re.compile(rb"[0-9]{1,20}")
_WITHOUT_BODY = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})


class UnusualError(Exception):
    """A response that is the library's to read."""


def read_head(received: bytes, known: int = 0) -> tuple[Head, bytes] | None:
    """Return the head of a response and what comes after it, `None` if more of it has to come.

    Args:
        received: All that was received.
        known: As many bytes as were in here the last time; the end of the head is after them.

    Raises:
        UnusualError: it is the library's to read, or to refuse.
    """
    blank = _BLANK_LINE.search(received, max(known - 2, 0))
    if blank is None:
        if len(received) > _MAX_HEAD or b"" < received[:1] < b"!":
            raise UnusualError
        return None
    raw = received[: blank.end()]
    status_line = _STATUS.match(raw)
    if status_line is None or int(status_line[1]) in _WITHOUT_BODY:
        raise UnusualError
    headers = _split_headers(raw, status_line.end())
    framing = _select_framing(headers)
    length = _find_length(framing)
    options = {option.strip() for option in framing.get(b"connection", b"").lower().split(b",")}
    reason = status_line[2] or b""
    head = Head(int(status_line[1]), reason, headers, length, b"close" not in options, raw)
    return head, received[blank.end() :]


def _split_headers(raw: bytes, start: int) -> list[tuple[bytes, bytes]]:
    """Return the headers of a head, which start at a position, in their order."""
    headers = [(name, value.rstrip(b" \t")) for name, value in _HEADER.findall(raw, start)]
    # Each ends its line: with the first and the last one these are all, or a line is unusual.
    if raw.count(b"\n") != len(headers) + 2 or not raw.endswith(b"\r\n\r\n"):
        raise UnusualError
    return headers


def _select_framing(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers that say where the response ends, by their names in lower case."""
    framing = dict[bytes, bytes]()
    for place, (name, value) in enumerate(headers):
        lowered = name.lower()
        if lowered not in _FRAMING:
            continue
        if lowered in framing:
            raise UnusualError
        if lowered == b"transfer-encoding":
            headers[place] = name, value.lower()  # as h11 gives it
        framing[lowered] = headers[place][1]
    return framing


def _find_length(framing: dict[bytes, bytes]) -> int | None:
    coding, length = framing.get(b"transfer-encoding"), framing.get(b"content-length")
    if coding is None and length is not None and _LENGTH.fullmatch(length):
        return int(length)
    if coding is None or length is not None or coding != b"chunked":
        raise UnusualError
    return None


def read_body(head: Head, received: bytes, error: type[Exception]) -> Body:
    """Read a body.

    Args:
        head: The response's.
        received: What was received after it.
        error: Raised where the response breaks off or is wrong.
    """
    if head.length is None:
        return _read_chunks(head, received, error)
    return _read_length(head.length, received, error)


def _read_length(length: int, received: bytes, error: type[Exception]) -> Body:
    def fail(left: int) -> NoReturn:
        _fail(error, f"{_BROKE_OFF} (received {length - left} bytes, expected {length})")

    return _read_data(length, received, fail)


def _read_data(size: int, received: bytes, fail: Callable[[int], NoReturn]) -> Body:
    """Read so many bytes; return what comes after them. `fail` gets how many are missing."""
    left = size
    while True:
        data, received = received[:left], received[left:]
        left -= len(data)
        if data:
            yield data
        if not left:
            return received
        received = (yield None) or b""
        if not received:
            fail(left)


_BROKE_OFF = "peer closed connection without sending complete message body"
_SIZE = re.compile(rb"[0-9a-fA-F]{1,20}")
_LONGEST_SIZE_LINE = 22


def _read_chunks(head: Head, received: bytes, error: type[Exception]) -> Body:
    """Read a body in chunks; those that have arrived together are given together, but for the last.

    It may be the end mark of a stream, which is not read before the reader wants it.
    """
    while True:
        chunks, position, size, start = _split_chunks(received)
        if len(chunks) > 1:
            yield b"".join(chunks[:-1])
        if chunks:
            yield chunks[-1]
        received = received[position:]
        start -= position
        if size == _NOT_THERE and len(received) < _LONGEST_SIZE_LINE:
            received += yield from _receive(error, is_begun=bool(received))
        elif size > 0:
            received = yield from _read_part(received[start:], size, error)
        elif size == 0 and received[start:] in (b"", b"\r"):
            received += yield from _receive(error, is_begun=bool(received[start:]))
        elif size == 0 and received[start : start + 2] == b"\r\n":
            return received[start + 2 :]
        else:  # with an extension, trailers, or wrong
            return (yield from _read_with_h11(head.raw + received, error))


_NOT_THERE = -1
_UNUSUAL_SIZE = -2


def _split_chunks(received: bytes) -> tuple[list[bytes], int, int, int]:
    """Split whole chunks off.

    Returns:
        Their data; where the first other one begins; its size, `_NOT_THERE` or `_UNUSUAL_SIZE`;
        where its data begins.
    """
    found, position = list[bytes](), 0
    while True:
        end = received.find(b"\r\n", position)
        line = received[position : max(end, 0)]
        size = _NOT_THERE if end < 0 else int(line, 16) if _SIZE.fullmatch(line) else _UNUSUAL_SIZE
        start = end + 2
        stop = start + size
        if size <= 0 or received[stop : stop + 2] != b"\r\n":
            return found, position, size, start
        found.append(received[start:stop])
        position = stop + 2


def _receive(error: type[Exception], *, is_begun: bool = False) -> Body:
    """Return the next received bytes; `is_begun` says that a line has arrived in part."""
    received = yield None
    if not received:
        _fail_in_chunks(error, is_begun=is_begun)
    return received


def _fail_in_chunks(error: type[Exception], *, is_begun: bool = False) -> NoReturn:
    broke_off = f"{_BROKE_OFF} (incomplete chunked read)"
    _fail(error, "peer unexpectedly closed connection" if is_begun else broke_off)


def _read_part(received: bytes, size: int, error: type[Exception]) -> Body:
    """Read the data of a chunk that has arrived in part; return what comes after the chunk."""
    received = yield from _read_data(size, received, lambda _: _fail_in_chunks(error))
    line_end = b"\r\n"
    while line_end:
        if not received:
            received = yield from _receive(error)
        found, received = received[: len(line_end)], received[len(line_end) :]
        if not line_end.startswith(found):
            wrong = f"malformed chunk footer: {bytearray(found)!r} (expected {line_end!r})"
            _fail(error, wrong)
        line_end = line_end[len(found) :]
    return received


def _fail(error: type[Exception], message: str) -> NoReturn:
    """Raise what the library raises, for the reason and in the words of h11."""
    import h11

    raise error(message) from h11.RemoteProtocolError(message)


def _read_with_h11(received: bytes, error: type[Exception]) -> Body:
    """Read the rest as the library does: from the head, and what comes after the last chunk."""
    import h11

    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "localhost")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(received)
    while True:
        try:
            event: Any = connection.next_event()
        except h11.RemoteProtocolError as wrong:
            raise error(str(wrong)) from wrong.with_traceback(None)
        if event is h11.NEED_DATA:
            connection.receive_data((yield None) or b"")
        elif isinstance(event, h11.Data):
            yield bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return bytes(connection.trailing_data[0])
