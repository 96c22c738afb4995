"""Request bodies that can be sent only once, such as an upload from a pipe.

The SDK's retries and the HTTP library's redirects send a request again. The HTTP library rewinds
files for that, and what cannot be rewound is sent as an empty file, with success. Here such a body
is sent once: what would be sent again is the error of the first time.
"""

import io
import os
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any

from ._errors import Mask, from_response
from ._sdk import SDKError, http_library

_ITERATORS = frozenset({"IteratorByteStream", "AsyncIteratorByteStream"})  # of httpx and httpx2
_OF_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")
ADVICE = "its body can be read only once. Pass bytes, or a file that can be rewound"


def can_replay(request: Any) -> bool:
    """Return whether a body that was sent can be sent again, whole."""
    if hasattr(request, "_content"):
        return True
    parts = getattr(request.stream, "fields", None)
    return parts is not None and all(map(_is_rewindable, parts))


def guard(request: Any) -> None:
    """Make sure that a body that cannot be read twice is sent once.

    Raises:
        SDKError: it was sent, and this is what the response to it said.
        RequestError: it was sent, and no response came (the HTTP library's).
    """
    stream = request.stream
    if isinstance(stream, _Once):
        if stream.is_spent:
            raise stream.error(request)
    elif _can_be_read_once(stream):
        library = http_library(request)
        both = library.SyncByteStream, library.AsyncByteStream
        request.stream = _once_class(
            tuple(base for base in both if isinstance(stream, base)), library
        )(stream)


def note_outcome(
    request: Any,
    response: Any,
    error: Exception | None,
    mask: Mask,
    *,
    is_gateways: bool = True,
) -> None:
    """Remember what came of sending a request, for the error of the second time."""
    stream = request.stream
    if isinstance(stream, _Once):
        is_failure = response is not None and response.status_code >= 400
        stream.response = _copy(request, response) if is_failure else None
        stream.failure = "" if error is None else type(error).__name__
        stream.mask = mask
        stream.is_gateways = is_gateways


def is_spent(request: Any) -> bool:
    """Return whether a request has a body that was sent and cannot be sent again."""
    return isinstance(request.stream, _Once) and request.stream.is_spent


def _can_be_read_once(stream: Any) -> bool:
    """Return whether a stream is known to be empty when it is read again.

    One of a class that is not the HTTP library's may well open its source anew.
    """
    parts = getattr(stream, "fields", None)
    if parts is not None:
        return not all(map(_is_rewindable, parts))
    if type(stream).__name__ not in _ITERATORS:
        return False
    source = getattr(stream, "_stream", None)
    return any(hasattr(source, name) for name in ("read", "__next__", "__anext__"))


def _is_rewindable(part: Any) -> bool:
    """Return whether the HTTP library can go back to the start of a part of a form."""
    file = getattr(part, "file", b"")
    if isinstance(file, str | bytes):
        return True
    try:
        seekable = file.seekable() if hasattr(file, "seekable") else None
        if seekable is not None:
            return bool(seekable)
        if hasattr(file, "seek"):
            file.seek(0, os.SEEK_CUR)
            return file.tell() is not None  # as what inherits from `typing.IO` says
    except io.UnsupportedOperation:
        return False
    except Exception:  # noqa: BLE001 - closed, or of a simpler kind: the HTTP library will see
        return True
    return False


def _copy(request: Any, response: Any) -> Any:
    """Copy a response with its text; it must not lead back to the request, whose stream has it."""
    library = http_library(response)
    headers = response.headers.copy()
    for name in _OF_THE_BODY:
        headers.pop(name, None)
    return library.Response(
        response.status_code,
        headers=headers,
        content=getattr(response, "_content", b""),
        request=library.Request(request.method, str(request.url)),
    )


class _Once:
    """A stream that is read once."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_spent = False
        self.response: Any = None
        self.failure = ""
        self.mask: Mask = str
        self.is_gateways = True

    def error(self, request: Any) -> Exception:
        """Return the error of the first time."""
        what = f"{request.method} {request.url.path} is not sent again: {ADVICE}"
        response = self.response
        if response is None:
            reason = f" ({self.failure})" if self.failure else ""
            failed: Exception = http_library(request).RequestError(
                f"no response came{reason}, and {what}", request=request
            )
            return failed
        error: Exception | None = None
        if self.is_gateways:
            error = from_response(response, self.mask)
        if error is None:
            error = SDKError("API error occurred", response, self.mask(response.text))
        error.add_note(what)
        return error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_stream":
            raise AttributeError(name)
        return getattr(self._stream, name)


@cache
def _once_class(bases: tuple[Any, ...], library: Any) -> type[Any]:
    """Return a stream class with these bases: an HTTP client looks at the class of a body."""

    class OnceStream(_Once, *bases):  # type: ignore[misc]
        """A request's stream that is read once."""

        def __iter__(self) -> Iterator[bytes]:
            if self.is_spent:
                raise library.StreamConsumed
            self.is_spent = True
            yield from self._stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            if self.is_spent:
                raise library.StreamConsumed
            self.is_spent = True
            async for chunk in self._stream:
                yield chunk

    return OnceStream
