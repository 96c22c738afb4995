"""`on_call()`: functions that get each call of the process when it is over."""

import asyncio
import atexit
import gc
import inspect
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import ContextVar
from threading import get_ident
from types import TracebackType
from typing import Any, Protocol, Self
from weakref import WeakSet

from ._call_log import log_call, logger
from ._gateway_call import GatewayCall
from ._options import GatewayConfigError
from ._public import set_public_module

registered: list["CallListener"] = []
"""Those that are in force, in the order in which they were registered. Changed by single atomic
operations, without a lock."""

Pending = list[Coroutine[Any, Any, None]]
"""What asynchronous functions are still to do."""

# Set while a function runs: a call that it makes itself is not reported, or it would never end.
is_reporting: ContextVar[bool] = ContextVar("mistral_cf_adapter.reporting", default=False)


class CallListener:
    """What `on_call()` returns: it calls the function for each call, until it is undone.

    It is a context manager, which undoes it at the end of the block. Called with a `GatewayCall`,
    it calls the function, so that one that is decorated can be used and tested; called with
    nothing, it undoes itself.

    Example:
        >>> listener: CallListener = on_call(print)
        >>> listener.undo()
    """

    def __init__(self, function: Callable[[GatewayCall], Any]) -> None:
        self.function = function
        self.is_async = any(
            map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None)))  # noqa: B004
        )
        self.is_undone = False
        self._has_failed = False

    def __call__(self, *call: GatewayCall) -> Any:
        """Call the function with a call; without one, `undo()`."""
        return self.function(*call) if call else self.undo()

    def undo(self) -> None:
        """Call the function no more. Doing so twice, or in any order, harms nothing."""
        if not self.is_undone:
            run(report_late())
        self.is_undone = True
        with suppress(ValueError):
            registered.remove(self)

    def report(self, call: GatewayCall) -> Coroutine[Any, Any, None] | None:
        """Call the function; return what is left to do if it is asynchronous.

        What it raises is logged, the first time with its traceback.
        """
        calls_error = sys.exception()
        token = is_reporting.set(True)
        try:
            result = self.function(call)
        except Exception as error:  # noqa: BLE001 - it must not harm the call
            self._log(error, calls_error)
            return None
        finally:
            is_reporting.reset(token)
        return self._finish(result) if inspect.isawaitable(result) else None

    async def _finish(self, result: Awaitable[Any]) -> None:
        calls_error = sys.exception()
        token = is_reporting.set(True)
        try:
            await result
        except Exception as error:  # noqa: BLE001
            self._log(error, calls_error)
        finally:
            is_reporting.reset(token)

    def _log(self, error: Exception, calls_error: BaseException | None) -> None:
        """Log an error of the function, without the error of the call that it may run after."""
        if self._has_failed:
            return
        self._has_failed = True
        cut_context(error, calls_error)
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        logger.warning(
            "on_call(): %s raised %s, and is called again for the next call; this is logged once",
            *(name, type(error).__name__),
            exc_info=error,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<on_call() of {self.function!r}>"


def on_call(function: Callable[[GatewayCall], Any]) -> CallListener:
    """Call a function with the `GatewayCall` of every request of the process when it is over.

    That is when its body is read, or when its stream has ended, failed, been closed or dropped;
    a retry of the SDK is a call of its own. The function is called once for each, in the thread or
    task of the call, and delays it: hand slow work to a queue. The first error that it raises is
    logged by the logger `mistral_cf_adapter`, with a traceback; no error of it harms a call, so it
    cannot refuse one. Calls that it makes itself are not reported.

    An asynchronous function is awaited in the task of an asynchronous call. Where that is not
    possible (a synchronous call, a call that is cancelled, a stream that is dropped) it runs as a
    new task of the event loop of the thread. In a thread without one a new loop runs it to its
    end: it must not use what belongs to another loop.

    A stream that is dropped is reported where Python frees it. If the garbage collector does, which
    runs at any moment, the report waits for the next turn of the event loop where one runs, else
    for the next report, the undo or the end of the process. Streams still open at the end of the
    process are reported there (`abandoned`), to functions that are not asynchronous.

    Args:
        function: Takes the call; what it returns is ignored.

    Returns:
        The undo: call it or its `undo()`, or use it as a context manager. `@on_call` works as a
        decorator too; the decorated function stays registered until its `undo()` is called.

    Raises:
        GatewayConfigError: it cannot be called.

    Example:
        >>> from mistral_cf_adapter.testing import LocalGateway  # needs no account
        >>> lines = []
        >>> with LocalGateway() as gateway, on_call(lambda call: lines.append(call.operation)):
        ...     models = make_client(gateway.settings()).models.list()
        >>> lines
        ['models.list']
    """
    if not callable(function):
        msg = f"on_call() takes a function, not {type(function).__name__}"
        raise GatewayConfigError(msg)
    listener = CallListener(function)
    watch_collections()
    registered.append(listener)
    return listener


def cut_context(error: BaseException, calls_error: BaseException | None) -> None:
    """Cut the error of the call off the error of a function that ran while it was handled."""
    link: BaseException | None = error
    while link is not None and calls_error is not None:
        if link.__context__ is calls_error:
            link.__context__ = None
        link = link.__context__


# ---------------------------------------------------------------- reports


class Reporter(Protocol):
    """What gets a call that is over: a `CallListener`, or what writes it to OpenTelemetry."""

    @property
    def is_async(self) -> bool: ...
    @property
    def is_undone(self) -> bool: ...
    def report(self, call: GatewayCall) -> Coroutine[Any, Any, None] | None: ...


def report(call: GatewayCall, reporters: Iterable[Reporter]) -> Pending:
    """Log a call that is over and report it; return what asynchronous functions have left to do."""
    late = report_late() if _late else []
    log_call(call)
    return [*late, *_report_to(reporters, call)]


def _report_to(reporters: Iterable[Reporter], call: GatewayCall) -> Pending:
    pending = (each.report(call) for each in reporters if not each.is_undone)
    return [each for each in pending if each is not None]


def run(pending: Pending) -> None:
    """Do what asynchronous functions have left to do, from synchronous code."""
    if not pending:
        return
    if _has_loop():
        _start_tasks(pending)
        return
    loop = asyncio.new_event_loop()  # after asyncio.run() the thread's own loop would be gone
    try:
        loop.run_until_complete(await_all(pending))
    finally:
        loop.close()


def _has_loop() -> bool:
    """Return whether an event loop of asyncio's runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def await_all(pending: Pending) -> None:
    """Await what asynchronous functions have left to do."""
    for each in pending:
        await each


_tasks: set[asyncio.Task[None]] = set()  # the event loop itself keeps weak references only


def _start_tasks(pending: Pending) -> None:
    task = asyncio.get_running_loop().create_task(await_all(pending))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


# ---------------------------------------------------------------- streams that are dropped


_late: deque[tuple[GatewayCall, list[Reporter], bool]] = deque()
"""Calls that are still to be reported, to whom, and whether they are to be logged too."""
_collecting: set[int] = set()
"""Threads in which the garbage collector runs."""


def _note_collection(
    phase: str,
    _info: object,
    threads: set[int] = _collecting,
    ident: Callable[[], int] = get_ident,
) -> None:
    (threads.add if phase == "start" else threads.discard)(ident())


def watch_collections() -> None:
    """Learn of each run of the garbage collector from now on."""
    if _note_collection not in gc.callbacks:
        gc.callbacks.append(_note_collection)


def report_dropped(call: GatewayCall, reporters: Iterable[Reporter]) -> None:
    """Do the same as `report()` where an object is freed: nothing is waited for there.

    Inside of the garbage collector a function could wait for a lock that the thread holds already,
    as the collector runs at any moment.
    """
    now = list(reporters)
    if get_ident() in _collecting:
        _late.append((call, now, True))
        if _has_loop():
            asyncio.get_running_loop().call_soon(_run_late)
        return
    log_call(call)
    later: list[Reporter] = []
    if not _has_loop():
        later = [each for each in now if each.is_async]
        now = [each for each in now if not each.is_async]
    pending = _report_to(now, call)
    if pending:
        _start_tasks(pending)
    if later:
        _late.append((call, later, False))


def report_late() -> Pending:
    """Report what could not be reported when it was over."""
    pending: Pending = []
    while True:
        try:
            call, reporters, is_logged = _late.popleft()
        except IndexError:
            return pending
        if is_logged:
            log_call(call)
        pending += _report_to(reporters, call)


def _run_late() -> None:
    run(report_late())


open_calls: WeakSet[Any] = WeakSet()
"""Streams that are not over: each has `drop()` and `forget()`."""


def _end() -> None:
    """Report at the end of the process what is still open; nothing is waited for."""
    if _note_collection in gc.callbacks:
        gc.callbacks.remove(_note_collection)
    _collecting.clear()
    for each in registered:
        each.is_undone = each.is_async
    for each in list(open_calls):
        each.drop()
    report_late()
    registered.clear()  # the functions would live on with the hooks of this module


def _forget_parents() -> None:
    """Forget in a forked child what the parent has open, and reports."""
    for each in list(open_calls):
        each.forget()
    open_calls.clear()
    _late.clear()
    _collecting.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)

set_public_module(CallListener, on_call)
