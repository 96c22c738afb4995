"""Event streams: guard the end, drain the rest, build one from JSON.

The SDK ends a stream that breaks off as if it were complete; a guarded stream raises.
"""

import asyncio
import json
import re
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
)
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import zip_longest
from time import monotonic
from types import coroutine
from typing import Any, NamedTuple, Self, cast
from weakref import ref

from ._envelopes import parse_json, read_event
from ._errors import (
    GatewayError,
    GatewayStreamError,
    Mask,
    build_error,
    from_event,
    mask_error,
)
from ._gateway_call import Outcome
from ._listeners import await_all, run
from ._open_call import OpenCall
from ._sdk import http_library, httpx, library_of_class

_BOUND = frozenset({"BoundSyncStream", "BoundAsyncStream"})  # of httpx and of httpx2


def get_body(response: Any) -> Any:
    """Return the stream that delivers a response's body."""
    stream = response.stream
    return stream._stream if type(stream).__name__ in _BOUND else stream  # noqa: SLF001


def wrap_body(response: Any, wrap: Callable[..., Any], *arguments: Any) -> None:
    """Put a stream, `wrap(stream, *arguments)`, around the one that delivers a response's body."""
    stream = response.stream
    if type(stream).__name__ in _BOUND:
        stream._stream = wrap(stream._stream, *arguments)  # noqa: SLF001
    else:  # a client of the user's own, which need not be of the library
        response.stream = wrap(stream, *arguments)


DRAIN_TIMEOUT = 0.05
"""Seconds that a call waits for the rest of earlier responses: a new connection takes as long."""


class Unread(NamedTuple):
    """A response that is closed, and not read to its end."""

    chunks: Any
    """The iterator over the body, where the reader left it."""
    stream: Any
    """The body, to be closed when it is read."""
    network_stream: Any
    """The HTTP library's stream of the connection."""


def read_rest(unread: Unread, deadline: float) -> bool:
    """Read a response to its end by a deadline; return whether that could be done.

    If not, the HTTP library has closed the connection or will do so with its client.
    """
    with suppress(Exception), _reading_until(unread.network_stream, deadline):
        if _read_to_end(unread.chunks, deadline):
            unread.stream.close()
            return True
    return False


async def aread_rest(unread: Unread, deadline: float) -> bool:
    """Do the same as `read_rest()` in an event loop of asyncio's."""
    with suppress(Exception):
        async with asyncio.timeout(deadline - monotonic()):
            async for _ in unread.chunks:
                pass
        await unread.stream.aclose()
        return True
    return False


def read_received(chunks: Iterator[bytes], response: Any) -> None:
    """Read what has been received of a response, without waiting for more."""
    network_stream = response.extensions.get("network_stream")
    if network_stream is not None and has_own_connection(response):
        with suppress(Exception), _reading_until(network_stream, 0.0):
            _read_to_end(chunks, monotonic() + DRAIN_TIMEOUT)


async def aread_received(chunks: AsyncIterator[bytes], response: Any) -> None:
    """Read what the HTTP library has received of a response: asking for more would wait."""
    network_stream = response.extensions.get("network_stream")
    if network_stream is not None and has_own_connection(response):
        with suppress(Exception), _replaced_read(network_stream, _refuse_to_read):
            async for _ in chunks:
                pass


def is_being_read(chunks: Any) -> bool:
    """Return whether another thread or task is inside of an iterator at this moment."""
    return bool(getattr(chunks, "gi_running", False) or getattr(chunks, "ag_running", False))


def has_own_connection(response: Any) -> bool:
    """Return whether no other response uses the connection: HTTP/2 carries many at once."""
    return response.http_version in ("HTTP/1.1", "HTTP/1.0")


def _read_to_end(chunks: Iterator[bytes], deadline: float) -> bool:
    """Read until the end or a deadline; return whether the end was reached."""
    return all(monotonic() <= deadline for _ in chunks)


@contextmanager
def _reading_until(network_stream: Any, deadline: float) -> Generator[None, None, None]:
    """Make each read of a connection end by a deadline; after it, read only what has arrived.

    The library passes the request's timeout, which may be none, and reads as often as it needs
    to. A socket that looks readable does not help: of a TLS record a part may have arrived.
    """
    read = network_stream.read

    def read_until(max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        return bytes(read(max_bytes, max(deadline - monotonic(), 0.0)))

    with _replaced_read(network_stream, read_until):
        yield


@contextmanager
def _replaced_read(network_stream: Any, read: Callable[..., Any]) -> Generator[None, None, None]:
    network_stream.read = read
    try:
        yield
    finally:
        del network_stream.read


async def _refuse_to_read(*_args: object, **_kwargs: object) -> bytes:
    raise BlockingIOError


class HiddenFromLoop:
    """Iterates over an async generator of which the event loop learns nothing.

    A loop learns of a generator by hooks that are called in its first step, and the generators
    within begin in the same step. Its owner has to end it: the loop will not.
    """

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        if self._begun:
            step: Awaitable[bytes] = self._chunks.__anext__()
            return step
        self._begun = True
        return _first_step(self._chunks)

    @property
    def ag_running(self) -> bool:
        """Whether a step is being taken at this moment."""
        return bool(self._chunks.ag_running)

    async def aclose(self) -> None:
        """End the generator."""
        await self._chunks.aclose()


@coroutine
def _first_step(chunks: Any) -> Generator[Any, Any, Any]:
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, _leave)
    try:
        step = chunks.__anext__()
        waiting_for = step.send(None)
    except StopIteration as end:  # it had to wait for nothing
        return end.value
    finally:
        sys.set_asyncgen_hooks(*hooks)
    try:
        while True:
            try:
                yield waiting_for
            except BaseException as error:  # noqa: BLE001 - a task may be cancelled while it waits
                waiting_for = step.throw(error)
            else:
                waiting_for = step.send(None)
    except StopIteration as end:
        return end.value


def _leave(_generator: object) -> None:
    """Let a generator be freed as it is: without a finalizer, freeing it would end it."""


_MESSAGES = frozenset({"message", "messages"})


def to_event_stream(response: Any) -> Any:
    """Return an event stream with the content of a JSON chat response, or None."""
    try:
        completion = json.loads(response.content)
        chunks = _as_chunks(completion)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    headers = response.headers.copy()
    for name in ("content-length", "content-encoding", "transfer-encoding"):
        headers.pop(name, None)
    headers["content-type"] = EVENT_STREAM
    body = "".join(f"data: {event}\n\n" for event in [*map(json.dumps, chunks), "[DONE]"])
    events = type(response)(
        response.status_code,
        headers=headers,
        # Unread, as a stream is when it arrives: the SDK's tracing goes by that.
        stream=http_library(response).ByteStream(body.encode()),
        request=response.request,
        extensions=response.extensions,
    )
    with suppress(RuntimeError):  # of a client of the user's own that takes no time
        events.elapsed = response.elapsed
    events.history = response.history
    return events


def _as_chunks(completion: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one chunk, or one for each message where a choice has several."""
    deltas = [_as_deltas(choice) for choice in completion["choices"]]
    chunks = [
        {**completion, "object": "chat.completion.chunk", "choices": [*filter(None, choices)]}
        for choices in zip_longest(*deltas)
    ]
    for chunk in chunks[:-1]:
        chunk.pop("usage", None)
    return chunks or [{**completion, "object": "chat.completion.chunk"}]


def _as_deltas(choice: dict[str, Any]) -> list[dict[str, Any]]:
    others = {name: value for name, value in choice.items() if name not in _MESSAGES}
    if choice.get("message") is not None:
        return [{**others, "delta": _as_delta(choice["message"])}]
    deltas = [
        {**others, "finish_reason": None, "delta": {**_as_delta(message), "index": index}}
        for index, message in enumerate(choice["messages"])
    ]
    deltas[-1:] = [{**delta, **others} for delta in deltas[-1:]]
    return deltas


def _as_delta(message: dict[str, Any]) -> dict[str, Any]:
    delta = {name: value for name, value in message.items() if name != "prefix"}
    calls: list[dict[str, Any]] = message.get("tool_calls") or []
    if len({call.get("index") for call in calls} - {None}) < len(calls):
        # A reader puts the pieces of a call together by its index; whole responses may have none.
        delta["tool_calls"] = [{**call, "index": index} for index, call in enumerate(calls)]
    return delta


EVENT_STREAM = "text/event-stream"


def guard_stream(response: Any, end_marks: frozenset[bytes], mask: Mask = str) -> None:
    """Make an event stream raise where it breaks off or carries an error.

    What arrived before stays with the caller. A reader that stops early sees no error.

    Args:
        response: With HTTP 200, read or not.
        end_marks: What ends the stream: its data, or the name of an event.
        mask: Takes secrets out of what an error says.
    """
    if hasattr(response, "_content"):  # read by a hook, or made with its content by a mock
        _guard_content(response, end_marks, mask)
        return
    guard = StreamGuard(ResponseRef(response), end_marks, mask)
    if response.headers.get("content-encoding"):
        if not hasattr(response, "_get_content_decoder"):
            return  # of a client of the user's own: its decoder is not known
        response._decoder = guard.decode_with(response._get_content_decoder())  # noqa: SLF001
    guard_with(response, guard, mask)


def guard_with(response: Any, guard: Any, mask: Mask) -> None:
    """Put a guard on a response's stream: a `StreamGuard`, or one with the same methods."""
    wrap_body(response, _make_guarded, response, guard, mask)


def _make_guarded(stream: Any, response: Any, guard: Any, mask: Mask) -> Any:
    stream_class, response_class = cast("Any", type(stream)), cast("Any", type(response))
    return _guarded_class(stream_class, response_class)(stream, guard, mask)


def end_call_with_stream(response: Any, call: OpenCall, end_marks: frozenset[bytes]) -> None:
    """End a call where the response's stream is over, with a guard or without one."""
    if type(response.stream).__name__ in _BOUND and hasattr(response.stream, "_response"):
        # In httpx the two refer to each other: who drops them would wait for the garbage collector.
        response.stream._response = _WeakResponse(response)  # noqa: SLF001
    set_call = getattr(get_body(response), "set_call", None)
    if set_call is None:
        guard_with(response, _NoGuard(response, end_marks), str)
        set_call = get_body(response).set_call
    set_call(call)


class _WeakResponse:
    """A response as the HTTP library's own stream needs it: to set the time that it took."""

    def __init__(self, response: Any) -> None:
        self._ref = ref(response)

    @property
    def elapsed(self) -> Any:
        """The time of the response, `None` where only its stream is left."""
        return getattr(self._ref(), "elapsed", None)

    @elapsed.setter
    def elapsed(self, elapsed: Any) -> None:
        response = self._ref()
        if response is not None:
            response.elapsed = elapsed


class _NoGuard:
    """Stands in for a guard where nothing can be found wrong with a stream."""

    failure = None
    undecodable = done = False

    def __init__(self, response: Any, end_marks: frozenset[bytes]) -> None:
        self.response = ResponseRef(response)
        self.note_event: Callable[[bytes], None] | None = None
        content_type: str = response.headers.get("content-type", "")
        is_readable = EVENT_STREAM in content_type and "content-encoding" not in response.headers
        self._reader = StreamGuard(self.response, end_marks, str) if is_readable else None

    def read(self, chunk: bytes) -> bytes:
        """Return a chunk as it is."""
        if self._reader is not None:
            self._reader.note_event = self.note_event
            self._reader.read(chunk)
        return chunk

    def end(self) -> None:
        """Find nothing wrong."""

    @property
    def reached_mark(self) -> bool:
        """Whether the end mark is read: the SDK drops the stream there."""
        return self._reader is not None and self._reader.done

    @property
    def carries_error(self) -> bool:
        """Whether the stream carries an error, which the caller gets as any event."""
        return self._reader is not None and self._reader.carries_error


def read_content(response: Any, call: OpenCall) -> Outcome:
    """Read the model and usage in the body of a response that was read; return how it ended."""
    content: bytes = getattr(response, "_content", b"")
    content_type: str = response.headers.get("content-type", "")
    if "json" in content_type:
        call.note_body(content)
    make_guard = getattr(getattr(response, "__dict__", {}).get("iter_bytes"), "make_guard", None)
    if make_guard is None:
        return "ok"
    guard = make_guard()
    guard.note_event = call.note_event
    guard.read(content)
    guard.end()
    if guard.done or guard.failure is None:
        return "ok"
    return "error" if guard.carries_error else "broken"


def _guard_content(response: Any, end_marks: frozenset[bytes], mask: Mask) -> None:
    """Do the same for a response whose body was read: its iterators go over that."""
    guard = partial(StreamGuard, ResponseRef(response), end_marks, mask)
    response.iter_bytes = _ContentIterator(response.content, guard)
    response.aiter_bytes = _AsyncContentIterator(response.content, guard)


class _ContentIterator:
    """Stands in for `iter_bytes()` of a response that was read. A copy by pickle has no guard."""

    def __init__(self, content: bytes, make_guard: Any = None) -> None:
        self._content = content
        self.make_guard = make_guard

    def __call__(self, chunk_size: int | None = None) -> Generator[bytes, None, None]:
        guard = None if self.make_guard is None else self.make_guard()
        valid = self._content if guard is None else guard.read(self._content)
        size = max(1, len(valid) if chunk_size is None else chunk_size)
        for start in range(0, len(valid), size):
            yield valid[start : start + size]
        if guard is None:
            return
        guard.end()
        if guard.failure is not None:
            raise guard.failure(guard.response.get())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._content,)


class _AsyncContentIterator(_ContentIterator):
    async def __call__(  # type: ignore[override]
        self, chunk_size: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        for chunk in super().__call__(chunk_size):
            yield chunk


class ResponseRef:
    """A response as its own stream knows it: a strong reference would form a cycle."""

    def __init__(self, response: Any) -> None:
        self.headers = response.headers
        self._ref = ref(response)
        self._class: Any = cast("type[object]", type(response))
        request = getattr(response, "_request", None)
        # Not the request, which has the key.
        self._sent = request and (request.method, request.url)
        self._status_code = response.status_code

    def get(self) -> Any:
        """Return the response, or one like it where only its stream is left."""
        response = self._ref()
        if response is None:
            # The library's class, as a subclass of a user may need other arguments.
            library = library_of_class(self._class)
            request = self._sent and library.Request(*self._sent)
            response = library.Response(self._status_code, headers=self.headers, request=request)
        return response

    def alive(self) -> Any:
        """Return the response, `None` where only its stream is left."""
        return self._ref()


_UTF8_BOM = b"\xef\xbb\xbf"
_LINE_END = rb"(?>\r\n|\r|\n)"
_BLANK_LINE = re.compile(_LINE_END * 2)
_LONGEST_BLANK_LINE = 4
_LONGEST_MARK = 32  # bytes: a hash of longer data would be for nothing
_LINE = re.compile(_LINE_END)


Failure = Callable[[Any], GatewayError]
"""Returns the error, given the response: an error here would form a cycle with it."""


class StreamGuard:
    """Reads along, event by event, for the end mark and for an error in place of an event."""

    def __init__(self, response: ResponseRef, end_marks: frozenset[bytes], mask: Mask) -> None:
        self.response = response
        self.done = False
        """The end mark is read: nothing after it matters."""
        self.failure: Failure | None = None
        """What is wrong, to be raised by who reads: frames here hold what arrived."""
        self.undecodable = False
        """The content coding is broken."""
        self.carries_error = False
        """The failure is an error that the stream carries, and no break."""
        self.note_event: Callable[[bytes], None] | None = None
        """Gets the data of each event, where a function or log listens to the call."""
        self._end_marks = end_marks
        self._mask = mask
        self._decoded: _DecodedBytes | None = None
        self._unfinished = bytearray()  # the event that has not arrived whole
        self._has_cr = False

    @property
    def reached_mark(self) -> bool:
        """Whether the end mark is read."""
        return self.done

    def decode_with(self, decoder: Any) -> "_DecodedBytes":
        """Decode what is read; return the decoder that hands on the outcome to the reader."""
        self._decoded = _DecodedBytes(decoder)
        return self._decoded

    def read(self, chunk: bytes) -> bytes:
        """Look at a chunk; return of it what the reader may have: all before an error."""
        if self._decoded is None:
            return self._look(chunk)
        try:
            decoded = self._decoded.decode_with("decode", chunk)
        except Exception as error:  # noqa: BLE001 - raised where the reader decodes
            self.undecodable = True
            self._decoded.fail(error)
        else:
            self._decoded.put(self._look(decoded))
        return chunk

    def end(self) -> None:
        """Look at the end of the stream: an error if it ended without its mark."""
        if self._decoded is not None and not self.undecodable:
            with suppress(Exception):  # a coding that is cut: then the mark is missing as well
                self._decoded.put(self._look(self._decoded.decode_with("flush")))
        if not self.done and self.failure is None:
            self.failure = self._check_event(bytes(self._unfinished))
        if not self.done and self.failure is None:
            self.failure = self._fail(f"the stream ended before {self._name_end_mark()}")

    def _look(self, chunk: bytes) -> bytes:
        if self.done or self.failure is not None:
            return b"" if self.failure else chunk
        if type(chunk) is not bytes:  # of a transport of the user's own
            chunk = bytes(chunk)
        is_whole = not self._unfinished and chunk.endswith(b"\n\n") and b"\r" not in chunk
        if is_whole and chunk.find(b"\n\n") == len(chunk) - 2:  # nearly every chunk is one event
            self.failure = self._check_event(chunk[:-2])
            return chunk if self.failure is None else b""
        if is_whole and self._is_plain(chunk):
            return chunk
        before = len(self._unfinished)
        text: bytes | bytearray = chunk
        if before:
            self._unfinished += chunk
            text = self._unfinished
        position = 0
        for begin, end in self._find_blank_lines(text, max(0, before + 1 - _LONGEST_BLANK_LINE)):
            self.failure = self._check_event(bytes(text[position:begin]))
            if self.failure is not None:
                return chunk[: max(0, position - before)]
            if self.done:
                return chunk
            position = end
        if before:
            del self._unfinished[:position]
        elif position < len(chunk):
            self._unfinished += chunk[position:]
        return chunk

    def _is_plain(self, events: bytes) -> bool:
        """Return whether no event of many can be an end mark or an error, and none is to be read.

        Each would be found in `_check_event()` by the same bytes.
        """
        if self.note_event is not None or b"rror" in events or b'"success"' in events:
            return False
        for mark in self._end_marks:
            if mark in events:
                return False
        return events.isascii() or _is_utf8(events)

    def _find_blank_lines(self, text: bytes | bytearray, start: int) -> Iterator[tuple[int, int]]:
        """Yield where each blank line that ends an event begins and ends."""
        self._has_cr = self._has_cr or b"\r" in text
        if self._has_cr:
            for match in _BLANK_LINE.finditer(text, start):
                yield match.span()
            return
        while (begin := text.find(b"\n\n", start)) >= 0:
            start = begin + 2
            yield begin, start

    def _check_event(self, event: bytes) -> Failure | None:
        if not event.isascii() and not _is_utf8(event):
            return self._fail("the stream is not UTF-8")
        if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
            name, data = b"", event[6:]  # nearly every event
        else:
            name, data = _read_fields(event)
        if self.note_event is not None:
            self.note_event(data)
        if name in self._end_marks or (len(data) < _LONGEST_MARK and data in self._end_marks):
            self.done = True
        elif name == b"error" or b"rror" in data or b'"success"' in data:
            return self._check_data(name, data)
        return None

    def _check_data(self, name: bytes, data: bytes) -> Failure | None:
        """Look closer at an event that may be an error: most others are not parsed."""
        found = parse_json(data)
        detail = read_event(name.decode(), data.decode() if found is None else found)
        if detail is None:
            return None
        self.carries_error = True
        return partial(from_event, detail, mask=self._mask)

    def _name_end_mark(self) -> str:
        mark = min(self._end_marks).decode()
        return f"`data: {mark}`" if mark.startswith("[") else f"its event `{mark}`"

    def _fail(self, message: str) -> Failure:
        return partial(build_error, GatewayStreamError, message, mask=self._mask)


class _DecodedBytes:
    """Stands in for a response's decoder: hands on what the guard has decoded already."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._waiting = b""
        self._error: Exception | None = None
        self._is_iterated = False  # httpx2's decoders yield what httpx's return

    def decode_with(self, method: str, *data: bytes) -> bytes:
        """Return what the library's decoder makes of some data."""
        found = getattr(self._decoder, method)(*data)
        self._is_iterated = not isinstance(found, bytes)
        return b"".join(found) if self._is_iterated else bytes(found)

    def put(self, decoded: bytes) -> None:
        """Take what the reader may have."""
        self._waiting += decoded

    def fail(self, error: Exception) -> None:
        """Take what the library's decoder raised, for the reader."""
        self._error = error

    def decode(self, data: bytes) -> Any:
        """Return what was decoded since the last time; or raise, as the decoder did."""
        del data
        error, self._error = self._error, None
        if error is not None:
            raise error
        waiting, self._waiting = self._waiting, b""
        return iter((waiting,)) if self._is_iterated else waiting

    def flush(self) -> Any:
        """Return the rest."""
        return self.decode(b"")


def _read_fields(event: bytes) -> tuple[bytes, bytes]:
    """Return an event's name and data, as the standard of server-sent events says."""
    name, data = b"", list[bytes]()
    for line in _LINE.split(event.removeprefix(_UTF8_BOM)):
        if line.startswith(b"{"):  # no field: an error in place of a stream
            data.append(line)
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return name, b"\n".join(data)


def _is_utf8(event: bytes) -> bool:
    try:
        event.decode()
    except UnicodeDecodeError:
        return False
    return True


def _weak(iterator: Any) -> Any:
    try:
        return ref(iterator)
    except TypeError:  # one of a user's own make, of a class that has none
        return None


def _end(call: OpenCall | None, outcome: Outcome, error: Exception | None = None) -> None:
    if call is not None:
        run(call.end(outcome, error))


async def _aend(call: OpenCall | None, outcome: Outcome, error: Exception | None = None) -> None:
    if call is not None:
        await await_all(call.end(outcome, error))


@cache
def _guarded_class(stream_class: Any, response_class: Any) -> type[Any]:
    """Return the class of guarded streams: sync, async or both, as the stream that is guarded.

    Hooks of the SDK tell a body by its class.
    """
    library = library_of_class(response_class)
    both = library.SyncByteStream, library.AsyncByteStream
    bases = tuple(base for base in both if issubclass(stream_class, base))
    return _make_guarded_class(bases or both)


@cache
def _make_guarded_class(bases: tuple[Any, ...]) -> type[Any]:

    class GuardedStream(*bases):  # type: ignore[misc]
        """A response's stream with a guard on it."""

        def __init__(self, stream: Any, guard: Any, mask: Mask) -> None:
            self._inner = stream
            self._response = guard.response
            self._mask = mask
            self._guard = guard
            # Weak: who drops the iterator ends it, and with it the use of the connection.
            self._chunks: Any = None
            self._call: OpenCall | None = None

        def set_call(self, call: OpenCall) -> None:
            """End a call where this stream is over."""
            self._call = call
            self._guard.note_event = call.note_event
            call.expect_end()

        def __iter__(self) -> Generator[bytes, None, None]:
            chunks = iter(self._inner)
            self._chunks = _weak(chunks)
            try:
                for chunk in chunks:
                    if self._call is not None:
                        self._call.note_data(chunk)
                    valid = self._guard.read(chunk)
                    if self._guard.undecodable:
                        self._close_response()
                    yield valid  # what came before an error goes out first
                    if self._guard.failure is not None:
                        break
                else:
                    self._chunks = None
                    self._guard.end()
                if self._guard.failure is not None:
                    raise self._guard.failure(self._response.get())  # noqa: TRY301
            except GeneratorExit:  # dropped: SDKs 2.x and 3.x do so at the mark, then close
                if self._guard.done:
                    self.close()
                self._drop_call()
                raise
            except Exception as error:
                chunk = valid = b""  # a traceback may show what a frame holds
                call = self._take_call()
                self._chunks = None
                self._close_response()
                self._drop_request()
                _end(call, self._outcome("broken"), error)
                if not self._guard.done:
                    self._note_log_id(error)
                    raise
            except BaseException:  # interrupted
                self._drop_call()
                raise
            self._finish_call()

        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            chunks = aiter(self._inner)
            self._chunks = _weak(chunks)
            try:
                async for chunk in chunks:
                    if self._call is not None:
                        self._call.note_data(chunk)
                    valid = self._guard.read(chunk)
                    if self._guard.undecodable:
                        await self._aclose_response()
                    yield valid  # what came before an error goes out first
                    if self._guard.failure is not None:
                        break
                else:
                    self._chunks = None
                    self._guard.end()
                if self._guard.failure is not None:
                    raise self._guard.failure(self._response.get())  # noqa: TRY301
            except GeneratorExit:  # dropped: SDKs 2.x and 3.x do so at the mark, then close
                if self._guard.done:
                    await self.aclose()
                await _aend(self._take_call(), self._outcome("abandoned"))
                raise
            except Exception as error:
                chunk = valid = b""  # a traceback may show what a frame holds
                call = self._take_call()
                self._chunks = None
                await self._aclose_response()
                self._drop_request()
                await _aend(call, self._outcome("broken"), error)
                if not self._guard.done:
                    self._note_log_id(error)
                    raise
            except BaseException:  # cancelled, or interrupted
                await _aend(self._take_call(), "abandoned")
                raise
            await self._afinish_call()

        def close(self) -> None:
            if self._call is None:
                self._close_inner()
                return
            call = self._take_call()
            try:
                self._close_inner()
            finally:
                _end(call, self._outcome("abandoned"))

        async def aclose(self) -> None:
            if self._call is None:
                await self._aclose_inner()
                return
            call = self._take_call()
            try:
                await self._aclose_inner()
            finally:
                await _aend(call, self._outcome("abandoned"))

        def _close_inner(self) -> None:
            chunks = self._take_unread()
            if chunks is not None:
                if hasattr(self._inner, "close_unread"):
                    if self._inner.close_unread():
                        return
                else:
                    read_received(chunks, self._response.get())
            self._inner.close()

        async def _aclose_inner(self) -> None:
            chunks = self._take_unread()
            if chunks is not None:
                if hasattr(self._inner, "aclose_unread"):
                    if await self._inner.aclose_unread():
                        return
                else:
                    await aread_received(chunks, self._response.get())
            await self._inner.aclose()

        def _take_call(self) -> OpenCall | None:
            call, self._call = self._call, None
            return call

        def _finish_call(self) -> None:
            call = self._take_call()
            if call is not None:
                self._close_response()  # a function may need the connection
                _end(call, self._outcome("ok"))

        async def _afinish_call(self) -> None:
            call = self._take_call()
            if call is not None:
                await self._aclose_response()
                await _aend(call, self._outcome("ok"))

        def _drop_call(self) -> None:
            call = self._take_call()
            if call is not None:
                call.drop(self._outcome("abandoned"))

        def _outcome(self, otherwise: Outcome) -> Outcome:
            """Return how the stream ended, by what the guard has read of it."""
            guard = self._guard
            if guard.reached_mark:
                return "ok"
            if guard.carries_error:
                return "error"
            return "broken" if guard.undecodable or guard.failure is not None else otherwise

        def _close_response(self) -> None:
            response = self._response.alive()
            self.close() if response is None else response.close()

        async def _aclose_response(self) -> None:
            response = self._response.alive()
            await (self.aclose() if response is None else response.aclose())

        def _drop_request(self) -> None:
            """Drop the closed stream, which refers to the request: an error keeps the response."""
            self._inner = http_library(self._response.get()).ByteStream(b"")

        def _note_log_id(self, error: Exception) -> None:
            """Add the log id to an error of the HTTP library; those of ours have it already."""
            if isinstance(error, GatewayError):
                return
            for each in (error, error.__cause__):
                if isinstance(each, Exception):
                    mask_error(each, self._mask)
            log_id = self._response.headers.get("cf-aig-log-id")
            if log_id:
                error.add_note(f"cf-aig-log-id: {self._mask(log_id)}")

        def _take_unread(self) -> Any:
            """Return the iterator over the bytes after the end mark, to the first caller."""
            chunks, self._chunks = self._chunks, None
            if chunks is None or not self._guard.done:
                return None
            chunks = chunks()
            return None if chunks is None or is_being_read(chunks) else chunks

    return GuardedStream


class PoolByteStream:
    """The body of a response; closing it releases its connection."""

    def __init__(self, inner: Any, pool: Any, connection: Any, network_stream: Any) -> None:
        self._inner = inner
        self._connection = [(pool, connection)]  # together, as a closed body keeps neither
        self._network_stream = network_stream
        # Weak: who drops the iterator ends it, and with it the use of the connection.
        self._chunks: Any = None
        self._exhausted = False

    def _take(self) -> tuple[Any, Any]:
        """Return pool and connection once; `None` for both if another thread was quicker."""
        try:
            return self._connection.pop()
        except IndexError:
            return None, None

    def _take_unread(self) -> tuple[Any, Any]:
        """Return them with the rest of the response, `None` for both if there is no rest."""
        chunks = None if self._chunks is None else self._chunks()
        if chunks is None or self._exhausted or is_being_read(chunks):
            return None, None
        pool, connection = self._take()
        if pool is not None:
            self._chunks = None
            connection.unread = Unread(chunks, self._inner, self._network_stream)
        return pool, connection

    def __del__(self) -> None:
        """Release the connection of a response that was dropped before it was iterated."""
        with suppress(Exception):
            pool, connection = self._connection.pop()
            pool.release_unclosed(connection)


class SyncPoolByteStream(PoolByteStream, httpx.SyncByteStream):
    def __iter__(self) -> Generator[bytes, None, None]:
        chunks = iter(self._inner)
        self._chunks = ref(chunks)
        try:
            # Not `yield from`, which would close the iterator where its rest is read later.
            for chunk in chunks:  # noqa: UP028
                yield chunk
        except BaseException:
            chunk = b""  # a traceback may show what a frame holds
            self.close()
            raise
        self._exhausted = True

    def close(self) -> None:
        pool, connection = self._take()
        if pool is None:
            return
        usable = False
        try:
            self._inner.close()
            usable = self._exhausted
        finally:
            pool.release(connection, usable=usable)

    def close_unread(self) -> bool:
        """Give the connection back with a rest to read; return whether there is one."""
        pool, connection = self._take_unread()
        if pool is not None:
            pool.release(connection, usable=True)
        return pool is not None


class AsyncPoolByteStream(PoolByteStream, httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        chunks = HiddenFromLoop(aiter(self._inner))
        self._chunks = ref(chunks)
        try:
            async for chunk in chunks:
                yield chunk
        except BaseException:
            chunk = b""
            await self.aclose()
            if self._chunks is not None:  # else they are kept for the next call
                await chunks.aclose()
            raise
        self._exhausted = True

    async def aclose(self) -> None:
        pool, connection = self._take()
        if pool is None:
            return
        usable = False
        try:
            await self._inner.aclose()
            usable = self._exhausted
        finally:
            await pool.release(connection, usable=usable)

    async def aclose_unread(self) -> bool:
        """Give the connection back with a rest to read; return whether there is one."""
        pool, connection = self._take_unread()
        if pool is None:
            return False
        try:
            # One turn of the loop, for the task by which it ends the iterator that the SDK dropped
            # at the end mark: a loop that is closed by hand at once reports one that is pending.
            await asyncio.sleep(0)
        finally:
            await pool.release(connection, usable=True)
        return True
