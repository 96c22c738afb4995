"""Run a function for a limited time, whatever it waits for."""

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

_T = TypeVar("_T")


def run_within(seconds: float, function: Callable[[], _T]) -> _T:
    """Return what a function returns, or raise what it raises.

    It runs in a thread of its own: Python cannot interrupt a name that is being resolved, or a
    plain function of the user's. A thread that is given up ends by itself, and keeps no process
    alive. Where there are no threads, as on Pyodide, the function is not limited.

    Raises:
        TimeoutError: it takes longer.
    """
    result: Future[_T] = Future()
    context = copy_context()

    def run() -> None:
        try:
            result.set_result(context.run(function))
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            result.set_exception(error)

    try:
        Thread(target=run, name="mistral_cf_adapter diagnosis", daemon=True).start()
    except RuntimeError:
        return function()
    return result.result(seconds)
