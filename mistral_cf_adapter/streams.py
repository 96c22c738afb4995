"""Streamed answers: none that broke off is taken for whole.

The SDK ends a stream that breaks off as if it were complete.
"""

import json
import zlib
from collections.abc import AsyncGenerator, Generator, Mapping
from functools import cache
from typing import Any, cast

from . import errors
from ._sdk import library_of
from .drains import adrain, drain

# Streams of these end with `data: [DONE]`; the others have no such mark.
_MARKED = frozenset({"/v1/chat/completions", "/v1/fim/completions", "/v1/agents/completions"})
EVENT_STREAM = "text/event-stream"
_ZIPPED = frozenset({"gzip", "deflate"})
_READABLE = _ZIPPED | {"", "identity"}  # no decoder for others in Python's own library


def wanted(request: Any) -> bool:
    """Tell whether the SDK asked for an event stream."""
    return bool(request.headers.get("accept") == EVENT_STREAM)


def is_marked(path: str) -> bool:
    """Tell whether an operation's stream ends with `data: [DONE]`."""
    return path in _MARKED


def is_event_stream(response: Any) -> bool:
    """Tell whether a response is what the SDK's stream methods accept."""
    content_type: str = response.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower() == EVENT_STREAM


def watch(response: Any) -> None:
    """Have the response's stream raise where it breaks off or carries an error.

    What arrived before stays with the caller. A reader that stops early sees no error.
    """
    if _coding(response) in _READABLE:
        library = library_of(response)
        both = library.SyncByteStream, library.AsyncByteStream
        kinds = tuple(kind for kind in both if isinstance(response.stream, kind))
        response.stream = _watched_class(kinds or both)(response)


def _coding(response: Any) -> str:
    coding: str = response.headers.get("content-encoding", "")
    return coding.strip().lower()


class Watch:
    """Reads along, line by line, for the end mark and for an error in place of an event."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.broken = False
        """What arrived cannot be decoded."""
        self.sound = 0
        """How much of the chunk that holds an error came before it, in bytes."""
        self.done = False
        """The end mark is read: nothing after it matters."""
        self._named_error = False
        self._line: list[bytes] = []
        self._decoder = zlib.decompressobj(47) if _coding(response) in _ZIPPED else None

    def read(self, chunk: bytes) -> None:
        """Look at a chunk.

        Raises:
            GatewayStreamError: the chunk ends a line that is an error, not an event.
        """
        if self.done:
            return
        if self._decoder is not None:
            chunk = self._decoded(self._decoder, chunk)
        *ended, rest = chunk.replace(b"\r", b"\n").split(b"\n")
        start = 0
        for line in ended:
            self.sound = 0 if self._decoder else start
            self._look(b"".join((*self._line, line)) if self._line else line)
            self._line.clear()
            start += len(line) + 1
        if rest:
            self._line.append(rest)

    def end(self) -> None:
        """Look at the end of the stream.

        Raises:
            GatewayStreamError: the stream ended without its mark.
        """
        self._look(b"".join(self._line))
        if not self.done:
            msg = "the stream ended before `data: [DONE]`"
            raise self._error(msg)

    def _decoded(self, decoder: Any, chunk: bytes) -> bytes:
        try:
            return bytes(decoder.decompress(chunk))
        except zlib.error:
            self.broken = True  # the reader's own decoder finds the same, and says so
            return b""

    def _look(self, line: bytes) -> None:
        if self.done:
            return
        if not line.isascii():
            self._check_text(line)
        if line.startswith(b"data:"):
            payload = line[5:].strip()
            if payload == b"[DONE]":
                self.done = True
            elif self._named_error or b'"choices"' not in payload:
                self._look_for_error(payload)
        elif line.startswith(b"event:"):
            self._named_error = line[6:].strip() == b"error"
        elif line.startswith(b"{"):
            self._look_for_error(line)

    def _check_text(self, line: bytes) -> None:
        try:
            line.decode()
        except UnicodeDecodeError:
            broken = self._error("the stream is not UTF-8")
        else:
            return
        raise broken

    def _look_for_error(self, payload: bytes) -> None:
        try:
            found = json.loads(payload)
        except ValueError:
            return
        except RecursionError:
            found = {"error": "an event is nested too deep"}
        if self._named_error:
            found = {"error": found}
        if isinstance(found, dict) and (message := _error_in(cast("dict[str, Any]", found))):
            msg = f"the stream carries an error: {message}"
            raise self._error(msg)

    def _error(self, message: str) -> errors.GatewayError:
        return errors.of_kind(errors.GatewayStreamError, message, self._response)


def _error_in(found: Mapping[str, Any]) -> str | None:
    """Return the message if an object is an error of the gateway's or of Mistral's."""
    is_error = found.get("object") == "error" or found.get("success") is False
    if not is_error and found.get("error") is None:
        return None
    detail: Any = found.get("error")
    if isinstance(detail, list):
        detail = next((entry for entry in cast("list[object]", detail)), None)
    if isinstance(detail, Mapping):
        detail = cast("Mapping[str, Any]", detail).get("message")
    return str(detail or found.get("message") or "no message")[:500]


@cache
def _watched_class(kinds: tuple[Any, ...]) -> type[Any]:
    """Return the stream class of a library's kinds: hooks of the SDK's tell a body by its kind."""

    class WatchedStream(*kinds):  # type: ignore[misc]
        """A response's stream with a `Watch` on it."""

        def __init__(self, response: Any) -> None:
            self._inner = response.stream
            self._response = response
            self._watch = Watch(response)
            self._rest: Any = None

        def _read(self, chunk: bytes) -> tuple[bytes, errors.GatewayError | None]:
            try:
                self._watch.read(chunk)
            except errors.GatewayError as error:
                return chunk[: self._watch.sound], error
            return chunk, None

        def __iter__(self) -> Generator[bytes, None, None]:
            rest = self._rest = iter(self._inner)
            try:
                for chunk in rest:
                    sound, error = self._read(chunk)
                    if self._watch.broken:
                        self._response.close()
                    yield sound
                    if error is not None:
                        raise error  # noqa: TRY301 - what came before it goes out first
                self._rest = None
                self._watch.end()
            except Exception as error:
                self._rest = None
                self._response.close()
                if not self._watch.done:
                    self._name_log(error)
                    raise

        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            rest = self._rest = aiter(self._inner)
            try:
                async for chunk in rest:
                    sound, error = self._read(chunk)
                    if self._watch.broken:
                        await self._response.aclose()
                    yield sound
                    if error is not None:
                        raise error  # noqa: TRY301 - what came before it goes out first
                self._rest = None
                self._watch.end()
            except Exception as error:
                self._rest = None
                await self._response.aclose()
                if not self._watch.done:
                    self._name_log(error)
                    raise

        def close(self) -> None:
            try:
                if (rest := self._left()) is not None:
                    drain(rest, self._response)
            finally:
                self._inner.close()

        async def aclose(self) -> None:
            try:
                if (rest := self._left()) is not None:
                    await adrain(rest, self._response)
            finally:
                await self._inner.aclose()

        def _name_log(self, error: Exception) -> None:
            """Have an error of the HTTP library's tell the log id; those of ours do already."""
            log_id = self._response.headers.get("cf-aig-log-id")
            if log_id and not isinstance(error, errors.GatewayError):
                error.add_note(f"cf-aig-log-id: {log_id}")

        def _left(self) -> Any:
            """Return what there is to read after the end mark, once."""
            rest, self._rest = self._rest, None
            return rest if self._watch.done else None

    return WatchedStream
