"""A call that is not over: it is completed, logged and reported when it is."""

from collections.abc import Callable, Sequence
from time import perf_counter

from ._errors import GatewayError
from ._gateway_call import GatewayCall, Outcome
from ._listeners import (
    Pending,
    Reporter,
    is_reporting,
    open_calls,
    registered,
    report,
    report_dropped,
    watch_collections,
)
from ._usage import Usage, read_body


class OpenCall:
    """One call, to be ended once: who comes second does nothing."""

    __slots__ = (
        "__weakref__",
        "_first_event",
        "_is_inner",
        "_mask",
        "_model",
        "_own",
        "_started",
        "_unended",
        "_usage",
    )

    def __init__(
        self,
        call: GatewayCall,
        started: float,
        mask: Callable[[str], str],
        own: Sequence[Reporter] = (),
    ) -> None:
        self._unended = [call]
        self._is_inner = is_reporting.get()
        self._started = started
        self._own = own
        self._mask = mask
        self._first_event: float | None = None
        self._model: str | None = None
        self._usage: Usage | None = None

    def expect_end(self) -> None:
        """Expect the end of a stream, of which a forked child is told nothing."""
        watch_collections()
        open_calls[self] = None

    def note_data(self, data: bytes) -> None:
        """Take the time of a stream's first data."""
        if self._first_event is None and data:
            self._first_event = perf_counter() - self._started

    def note_event(self, data: bytes) -> None:
        """Read an event of a stream: the first one with a model, and those with a usage."""
        if b'"usage"' in data or (self._model is None and b'"model"' in data):
            self.note_body(data)

    def note_body(self, body: bytes | bytearray) -> None:
        """Read the model and the usage that a body states."""
        model, usage = read_body(body)
        self._model = self._model or model
        self._usage = usage or self._usage

    def end(self, outcome: Outcome | None, error: Exception | None = None) -> Pending:
        """Complete and report the call; return what asynchronous functions have left to do."""
        call = self._complete(outcome, error)
        return [] if call is None else report(call, self._find_reporters())

    def drop(self, outcome: Outcome = "abandoned") -> None:
        """End it where an object is freed, or the process ends."""
        call = self._complete(outcome)
        if call is not None:
            report_dropped(call, self._find_reporters())

    def _find_reporters(self) -> list[Reporter]:
        """Return who gets the call: of what a function of `on_call()` calls, functions do not."""
        return [*self._own, *(() if self._is_inner else registered)]

    def forget(self) -> None:
        """Leave it to the process that began it."""
        self._unended.clear()

    def _complete(
        self, outcome: Outcome | None, error: Exception | None = None
    ) -> GatewayCall | None:
        try:
            call = self._unended.pop()  # atomic: two threads may end a stream at once
        except IndexError:
            return None
        if outcome == "ok" and (call.status_code or 0) >= 300:
            outcome = "error"  # a response that the SDK refuses: of another host, or a redirect
        model = self._model
        if model is not None and model != call.request_model:  # which is the caller's own word
            model = self._mask(model)
        code = error.code if isinstance(error, GatewayError) else None
        values = {
            "response_model": model,
            "usage": self._usage,
            "time_to_first_event": self._first_event,
            "duration": None if outcome is None else perf_counter() - self._started,
            "error_code": code,
            "outcome": outcome,  # last: who reads it in another thread finds the others set
        }
        for name, value in values.items():
            object.__setattr__(call, name, value)
        return call

    def __del__(self) -> None:
        """End a call whose stream was dropped."""
        if self._unended:
            self.drop()
