"""The calls that a local gateway has served: what came, what went back, and when.

A call is kept just before the last bytes of its response are written, so that a client that has
its response finds it here. What takes time (reading tokens and errors, telling listeners) comes
after that, and only if it is asked for.
"""

import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter._public import TESTING, set_public_module
from mistral_cf_adapter.testing import limits, policies
from mistral_cf_adapter.testing.limits import BoundedList
from mistral_cf_adapter.testing.policies import Metadata
from mistral_cf_adapter.testing.records import ReceivedRequest

if TYPE_CHECKING:
    from mistral_cf_adapter._usage import Usage

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_Listener = Callable[["Call"], None]
_Pieces = list[tuple[float, bytes]]

_logger = logging.getLogger("mistral_cf_adapter.testing")
_SIZE_OF_PIECE = 100
"""Bytes that a piece takes besides its content, roughly."""
_PATH_OF_GATEWAY = re.compile("/v1/[^/]+/[^/]+/[^/]+/(.+)")


@dataclass(frozen=True, slots=True)
class CallError:
    """Why a call did not succeed."""

    source: str
    """Who says so: "gateway", "provider", "fault" (scripted) or "client" (which hung up)."""
    code: int | None
    """The gateway's code, such as 2003."""
    message: str


@dataclass
class Call:
    """One call that the gateway has served. Its fields do not change any more."""

    id: int
    """1 for the first call of a gateway, then one more each; not reset by `reset()`."""
    received_at: datetime
    """When the request was whole, in UTC."""
    request: ReceivedRequest = field(repr=False)
    provider: str | None
    """The provider it was for; None where it was refused before that was known."""
    path: str
    """The path behind the provider's name, such as `v1/chat/completions`, else the whole path."""
    target_model: str | None = field(repr=False)
    status: int | None
    """The status that was sent; None where a fault or the client came first."""
    response_headers: tuple[tuple[str, str], ...] = field(repr=False)
    pieces: _Pieces = field(repr=False)
    """What was sent of the body: seconds since the request, and bytes, for each write.

    At most `limits.MAX_RESPONSE` bytes: see `is_cut`.
    """
    sent: int
    """How many bytes of the body were sent, those that are not kept too."""
    is_complete: bool
    """Whether the response was sent to its end."""
    duration: float
    """Seconds from the request to the end of its response."""
    attempts: int
    """How often the provider was asked; 0 for a cache hit or a refusal."""
    cache_status: str | None
    """`HIT`, `MISS` or None."""
    fault: str | None
    """The kind of fault that hit it."""
    client: tuple[str, int] | None = field(repr=False)
    """The address it came from."""

    @cached_property
    def operation(self) -> str:
        """The SDK's name of it, such as `chat.complete`, else method and path."""
        from mistral_cf_adapter.testing.operation_names import name_operation

        try:
            streams = self.request.streams
        except RecursionError:  # the gateway refused it, and no stream was begun
            streams = False
        return name_operation(self.request.method, self.path, streams=streams)

    @cached_property
    def model(self) -> str | None:
        """The model it is for, behind a route or alias too."""
        from mistral_cf_adapter._usage import read_model

        return self.target_model or read_model(self.request.body)

    @cached_property
    def is_streamed(self) -> bool:
        """Whether the response is a stream of events."""
        return "event-stream" in self.response_header("content-type")

    @cached_property
    def metadata(self) -> Metadata:
        """What the gateway keeps of `cf-aig-metadata`."""
        return policies.read_metadata(self.request.headers)

    @cached_property
    def usage(self) -> "Usage | None":
        """The tokens that the response states. A cache hit states them, and uses none."""
        from mistral_cf_adapter._usage import read_body

        if not self.is_streamed:
            return read_body(self.body)[1]
        # The last event that states a usage counts, and it is the last or the last but one.
        found = (read_body(data)[1] for _, data in _events(self.body, newest_first=True))
        return next((usage for usage in found if usage is not None), None)

    @cached_property
    def error(self) -> CallError | None:
        """Why it did not succeed, None if it did."""
        from mistral_cf_adapter.testing.call_errors import error_in_body, error_in_stream

        if self.fault is not None and not (self.fault == "slow_drip" and self.is_complete):
            return CallError("fault", None, f"scripted fault: {self.fault}")
        if self.status is not None and self.status >= 400:
            return error_in_body(self.body, self.status)
        if not self.is_complete:
            return CallError("client", None, "The connection ended before the response did")
        return error_in_stream(self.body) if self.is_streamed else None

    @property
    def log_id(self) -> str:
        """The id of its log, empty if it has none."""
        return self.response_header("cf-aig-log-id")

    @property
    def body(self) -> bytes:
        """What was sent of the response's body."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def is_cut(self) -> bool:
        """Whether more of the body was sent than is kept in `pieces`."""
        return self.sent > sum(len(piece) for _, piece in self.pieces)

    @property
    def time_to_first_byte(self) -> float | None:
        """Seconds from the request to the first byte of the response's body."""
        return next((moment for moment, piece in self.pieces if piece), None)

    @property
    def size(self) -> int:
        """How many bytes it takes to keep."""
        response = sum(len(piece) + _SIZE_OF_PIECE for _, piece in self.pieces)
        return len(self.request.body) + response

    def response_header(self, name: str) -> str:
        """Return the first value of a response header, empty if there is none."""
        return next((value for key, value in self.response_headers if key == name), "")


class OpenCall:
    """A call that is being served, as the gateway learns of it."""

    def __init__(
        self, calls: "Calls", request: ReceivedRequest, client: tuple[str, int] | None
    ) -> None:
        self._calls = calls
        self._kept: Call | None = None
        self.request = request
        self.client = client
        self.provider: str | None = None
        self.path: str | None = None
        self.model: str | None = None
        self.attempts = 0
        self.cache_status: str | None = None
        self.fault: str | None = None
        self._received_at = datetime.now(UTC)
        self._started = time.perf_counter()
        self._status: int | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: _Pieces = []
        self._sent = 0
        self._room = limits.MAX_RESPONSE
        self._is_complete = False

    def watch(self, send: _Send) -> _Send:
        """Return a `send` of ASGI that notes what it sends."""

        async def note_and_send(message: _Message) -> None:
            self._note(message)
            await send(message)

        return note_and_send

    def _note(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = message["headers"]
            return
        piece = message.get("body", b"")
        if piece:
            self._sent += len(piece)
            self._keep_piece(piece)
        if not message.get("more_body", False):
            self._is_complete = True
            self._keep()

    def _keep_piece(self, piece: bytes) -> None:
        """Keep a piece, as much of it as there is room for: a stream may have no end."""
        if self._room <= 0:
            return
        self._pieces.append((time.perf_counter() - self._started, piece[: self._room]))
        self._room -= len(piece) + _SIZE_OF_PIECE

    def close(self) -> None:
        """Tell the listeners of the call, whose response has been sent or has failed."""
        self._calls.announce(self._kept or self._keep())

    def _keep(self) -> Call:
        self._kept = self._calls.keep(self)
        return self._kept

    def to_call(self, call_id: int) -> Call:
        """Return the record of the call as it is now."""
        return Call(
            id=call_id,
            received_at=self._received_at,
            request=self.request,
            provider=self.provider,
            path=_path_behind(self.request.raw_path) if self.path is None else self.path,
            target_model=self.model,
            status=self._status,
            response_headers=tuple((_text(name), _text(value)) for name, value in self._headers),
            pieces=self._pieces,
            sent=self._sent,
            is_complete=self._is_complete,
            duration=time.perf_counter() - self._started,
            attempts=self.attempts,
            cache_status=self.cache_status,
            fault=self.fault,
            client=self.client,
        )


class Calls:
    """The newest calls, oldest first, for one thread that adds and any number that read."""

    def __init__(self) -> None:
        self._calls: BoundedList[Call] = BoundedList(lambda call: call.size)
        self._changed = threading.Condition()
        self._listeners: tuple[_Listener, ...] = ()
        self._last_id = 0
        self.cleared_at = 0
        """The id of the last call that `clear()` forgot."""

    @property
    def last_id(self) -> int:
        """The id of the newest call, 0 before the first."""
        return self._last_id

    def open(self, request: ReceivedRequest, client: tuple[str, int] | None) -> "OpenCall":
        """Begin a call, whose `close()` must follow."""
        return OpenCall(self, request, client)

    def keep(self, open_call: "OpenCall") -> Call:
        """Keep a call that is over, and wake those who wait for it."""
        with self._changed:
            self._last_id += 1
            call = open_call.to_call(self._last_id)
            self._calls.append(call)
            self._changed.notify_all()
        return call

    def announce(self, call: Call) -> None:
        """Tell the listeners of a call."""
        for listener in self._listeners:
            try:
                listener(call)
            except Exception:  # a listener's mistake is not the call's
                _logger.exception("A function that listens to calls raised an error")

    def since(self, after: int = 0) -> list[Call]:
        """Return the calls whose id is larger, oldest first, as far as they are kept."""
        with self._changed:
            # Without gaps: each has the id that follows the one before it.
            newer = max(self._last_id - after, 0)
            return self._calls[max(len(self._calls) - newer, 0) :]

    def get(self, call_id: int) -> Call | None:
        """Return the call with this id, None if it is not kept."""
        found = self.since(call_id - 1)
        return found[0] if found and found[0].id == call_id else None

    def wait(self, after: int, timeout: float | None = None) -> list[Call]:
        """Wait for calls with a larger id; return them, none after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._last_id > after, timeout)
        return self.since(after)

    def subscribe(self, listener: _Listener) -> Callable[[], None]:
        """Call a function with each call that is over, in the gateway's own thread.

        Its response is sent by then, but other calls wait for the function: it must be quick.

        Returns:
            What ends that.
        """
        with self._changed:
            self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            with self._changed:
                kept = (other for other in self._listeners if other is not listener)
                self._listeners = tuple(kept)

        return unsubscribe

    def clear(self) -> None:
        """Forget the calls; the ids go on."""
        with self._changed:
            self._calls.clear()
            self.cleared_at = self._last_id

    def __len__(self) -> int:
        return len(self._calls)


def read_events(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and data of each server-sent event in a body."""
    return _events(body, newest_first=False)


def _events(body: bytes, *, newest_first: bool) -> Iterator[tuple[str, bytes]]:
    blocks = body.replace(b"\r\n", b"\n").split(b"\n\n")
    for block in reversed(blocks) if newest_first else blocks:
        name, data = "", list[bytes]()
        for line in block.split(b"\n"):
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                name = line[6:].strip().decode(errors="replace")
        if data:
            yield name, b"\n".join(data)


def _path_behind(raw_path: str) -> str:
    """Return the path behind the provider's name, the whole path where it has no such form."""
    found = _PATH_OF_GATEWAY.fullmatch(raw_path)
    return raw_path if found is None else found[1]


def _text(header: bytes) -> str:
    return header.decode("latin-1")


set_public_module(Call, Calls, package=TESTING)
