"""Async generators that an event loop does not end by itself.

A loop that shuts down ends all async generators it knows, at once and in no order. Those of an
HTTP library's body lie within each other, and ended so they report errors to the user's terminal.
What is kept to be read later is hidden from the loop.
"""

import sys
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any, Self


class HiddenFromLoop:
    """Iterates over an async generator of which the event loop learns nothing.

    A loop learns of a generator by hooks that are called in its first step, and the generators
    within begin in the same step. Whoever holds this has to end it: the loop will not.
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
