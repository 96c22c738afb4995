"""`on_call()`: functions that get each call of the process when it is over."""

import asyncio
import atexit
import gc
import inspect
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from threading import get_ident
from typing import Any, Protocol, Self
from weakref import WeakKeyDictionary

from ._call_log import log_call, logger
from ._gateway_call import GatewayCall
from ._options import GatewayConfigError
from ._public import set_public_module

registered: list["CallListener"] = []
"""Those that are in force, in the order in which they were registered. Changed by single atomic
operations, without a lock."""

Pending = list["PendingReport"]
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

    def report(self, call: GatewayCall) -> "PendingReport | None":
        """Call the function; return what is left to do if it is asynchronous.

        What it raises is logged, the first time with its traceback.
        """
        calls_error = sys.exception()
        token = is_reporting.set(True)
        try:
            result = self.function(call)
        # Of a future that was cancelled: no task is cancelled in here.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            self.log(error, calls_error)
            return None
        finally:
            is_reporting.reset(token)
        return PendingReport(self, result) if inspect.isawaitable(result) else None

    def log(self, error: BaseException, calls_error: BaseException | None) -> None:
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

    def __exit__(self, *exc_info: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<on_call() of {self.function!r}>"


class PendingReport:
    """What an asynchronous function has left to do for one call."""

    def __init__(self, listener: CallListener, result: Awaitable[Any]) -> None:
        self._listener = listener
        self._result = result

    async def finish(self) -> None:
        """Await the function; log what it raises."""
        calls_error = sys.exception()
        token = is_reporting.set(True)
        try:
            await self._result
        except Exception as error:  # noqa: BLE001 - it must not harm the call
            self._listener.log(error, calls_error)
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            self._listener.log(error, calls_error)  # of a task that it awaits
        finally:
            with suppress(ValueError):  # freed with a loop that ended early: in another context
                is_reporting.reset(token)

    def close(self) -> None:
        """Leave it undone; a coroutine that is not awaited would be a warning."""
        if inspect.iscoroutine(self._result):
            self._result.close()


def _is_cancelled() -> bool:
    """Return whether the task itself is to be cancelled."""
    task = asyncio.current_task() if _has_loop() else None
    return task is not None and task.cancelling() > 0


def on_call(function: Callable[[GatewayCall], Any]) -> CallListener:
    """Call a function with the `GatewayCall` of every request of the process when it is over.

    That is when its body is read, or when its stream has ended, failed, been closed or dropped;
    a retry of the SDK is a call of its own. The function is called once for each, in the thread or
    task of the call, and delays it: hand slow work to a queue. The first error that it raises is
    logged by the logger `mistral_cf_adapter`, with a traceback; no error of it harms a call, so it
    cannot refuse one. Calls that it makes itself are not reported.

    An asynchronous function is awaited in the task of an asynchronous call. Where that is not
    possible (a synchronous call, a call that is cancelled, a stream that is dropped) it runs as a
    new task of the event loop of the thread; a cancelled call waits for that. In a thread without a
    loop a new one runs it to its end: it must not use what belongs to another loop.

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
    def report(self, call: GatewayCall) -> PendingReport | None: ...


def report(call: GatewayCall, reporters: Iterable[Reporter]) -> Pending:
    """Log a call that is over and report it; return what asynchronous functions have left to do."""
    if get_ident() in _collecting:
        report_dropped(call, reporters)
        return []
    pending = report_late() if _late or _left else []
    _report_to(reporters, call, pending)
    return pending


def _report_to(reporters: Iterable[Reporter], call: GatewayCall, pending: Pending) -> None:
    """Report a call and log it; add what is left to do to `pending`."""
    try:
        for each in reporters:
            left = None if each.is_undone else each.report(call)
            if left is not None:
                pending.append(left)
        log_call(call)  # last: a filter of the application's may raise
    except BaseException:
        _left.extend(pending)
        raise


def run(pending: Pending) -> None:
    """Do what asynchronous functions have left to do, from synchronous code."""
    if not pending:
        return
    if _has_loop():
        _start_task(pending)
        return
    # With a factory, the thread keeps the loop that it may have set: asyncio.run() takes it away.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(await_all(pending))


def _has_loop() -> bool:
    """Return whether an event loop of asyncio's runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def await_all(pending: Pending) -> None:
    """Await what asynchronous functions have left to do, and empty the list.

    A task that is cancelled may be so again, as AnyIO does at each step: another one awaits them.
    """
    if pending and _is_cancelled():
        await asyncio.shield(_start_task(pending))
        return
    try:
        while pending:
            await pending.pop(0).finish()
    finally:
        _postpone(pending)  # those after one in which this is cancelled or interrupted


_tasks: set[asyncio.Task[None]] = set()  # the event loop itself keeps weak references only


def _start_task(pending: Pending) -> asyncio.Task[None]:
    def end(task: asyncio.Task[None]) -> None:
        _tasks.discard(task)
        _postpone(pending)  # of a task that was cancelled before it began

    task = asyncio.get_running_loop().create_task(await_all(pending))
    _tasks.add(task)
    task.add_done_callback(end)
    return task


_left: deque[PendingReport] = deque()
"""What asynchronous functions have left to do, and no call waits for."""


def _postpone(pending: Pending) -> None:
    """Leave it to the next report. The event loop may be about to end: no task is begun."""
    _left.extend(pending)
    pending.clear()


# ---------------------------------------------------------------- streams that are dropped


_late: deque[tuple[GatewayCall, list[Reporter]]] = deque()
"""Calls that are still to be reported, and to whom."""
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
    if get_ident() in _collecting:
        _late.append((call, list(reporters)))
        if _has_loop():
            asyncio.get_running_loop().call_soon(_run_late)
        return
    pending: Pending = []
    _report_to(reporters, call, pending)
    if _has_loop():
        run(pending)
    else:
        _postpone(pending)


def report_late() -> Pending:
    """Report what could not be reported when it was over; return what is left to do."""
    pending: Pending = []
    with suppress(IndexError):  # atomic: another thread may do the same
        while True:
            pending.append(_left.popleft())
    while _late:
        try:
            call, reporters = _late.popleft()
        except IndexError:
            break
        _report_to(reporters, call, pending)
    return pending


def _run_late() -> None:
    run(report_late())


open_calls: WeakKeyDictionary[Any, None] = WeakKeyDictionary()
"""Streams that are not over: each has `drop()` and `forget()`."""


def _find_open_calls() -> list[Any]:
    """Return the streams that are not over, while other threads may open and end some."""
    calls = [each() for each in open_calls.keyrefs()]  # iterating over a `WeakSet` could raise
    return [call for call in calls if call is not None]


def _end() -> None:
    """Report at the end of the process what is still open; nothing is waited for."""
    if _note_collection in gc.callbacks:
        gc.callbacks.remove(_note_collection)
    _collecting.clear()
    for each in registered:
        each.is_undone = each.is_async
    for each in _find_open_calls():
        each.drop()
    for left in report_late():
        left.close()
    registered.clear()  # the functions would live on with the hooks of this module


def _forget_parents() -> None:
    """Forget in a forked child what the parent has open, and reports."""
    for each in _find_open_calls():
        each.forget()
    open_calls.clear()
    _late.clear()
    while _left:
        _left.popleft().close()
    _collecting.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)

set_public_module(CallListener, on_call)
