"""Code of a test's own that a local gateway calls: `when=` and replies that are functions."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from mistral_cf_adapter.testing.records import ReceivedRequest

T = TypeVar("T")
_OURS = "mistral_cf_adapter."


class ScriptError(Exception):
    """A function of the test's own, which the script asked, has failed.

    The message shows no text of the error, which may quote the request; `__cause__` is the error.
    """

    def __init__(self, label: str, error: BaseException) -> None:
        # Without a place it is an error of ours, which quotes nothing.
        about = _place_of(error.__traceback__) or f": {error}"
        super().__init__(f"The function of {label} raised {type(error).__name__}{about}")
        self.__cause__ = error


async def run_test_code(label: str, function: Callable[[], T]) -> T:
    """Run code of the test's in a thread, so that it may call the gateway or wait.

    The thread is a daemon: a function that never returns must not keep the process.

    Raises:
        ScriptError: it raised; an error such as pytest's own skip or failure counts too.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - it belongs to the test
            finish(done.set_exception, ScriptError(label, error))
        else:
            finish(done.set_result, result)

    def finish(set_outcome: Callable[[Any], None], outcome: object) -> None:
        def finish_in_loop() -> None:
            if not done.done():  # cancelled, as the gateway stops
                set_outcome(outcome)

        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish_in_loop)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="scripted", daemon=True).start()
    return await done


def call_own(function: Callable[[ReceivedRequest], Any], request: ReceivedRequest) -> Any:
    """Return what a function of the test's own says of a request."""
    result = function(request)
    if inspect.iscoroutine(result):
        result.close()
        msg = "the function returned a coroutine, which is not awaited here: use a plain function"
        raise TypeError(msg)
    return result


def _place_of(trace: TracebackType | None) -> str:
    """Return where in the test's code an error was raised: the outermost frame outside of ours."""
    while trace is not None:
        if not trace.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
            return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return ""
