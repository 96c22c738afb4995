"""Which objects of ours are part of a reference cycle, and so live until a collection."""

from __future__ import annotations

import contextlib
import gc
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mistral_cf_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HERE = str(Path(mistral_cf_adapter.__file__).parent)


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Leave it to the last reference to free an object."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def in_cycles(action: Callable[[], Any]) -> list[str]:
    """Return the cycles with an object of ours that an action leaves behind."""
    with no_collector():
        action()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            left = list(gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        rings = _rings(left)
        found = [" ".join(map(_name, ring)) for ring in rings if _is_of_our_making(ring)]
        del left, rings
    gc.collect()
    return found


def _is_of_our_making(ring: list[Any]) -> bool:
    # Python 3.13 keeps in a cycle the tasks that are cancelled as a loop ends, whoever made them.
    names = {_name(thing) for thing in ring}
    return "frame:_cancel_all_tasks" not in names and any(map(_is_ours, ring))


def _is_ours(thing: object) -> bool:
    code = next(
        (getattr(thing, name) for name in _CODES if isinstance(thing, _CODE_OWNERS[name])), None
    )
    if code is not None:
        return code.co_filename.startswith(_HERE)
    return type(thing).__module__.startswith("mistral_cf_adapter")


_CODE_OWNERS = {
    "__code__": types.FunctionType,
    "f_code": types.FrameType,
    "gi_code": types.GeneratorType,
    "cr_code": types.CoroutineType,
    "ag_code": types.AsyncGeneratorType,
}
_CODES = tuple(_CODE_OWNERS)


def _name(thing: object) -> str:
    for name in _CODES:
        if isinstance(thing, _CODE_OWNERS[name]):
            return f"{type(thing).__name__}:{getattr(thing, name).co_qualname}"
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _rings(things: list[Any]) -> list[list[Any]]:
    """Return the groups of objects that reach each other (Tarjan, without recursion)."""
    known = {id(thing): thing for thing in things}
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    rings = []
    for start in known:
        if start in index:
            continue
        work = [(start, iter(_below(known, start)))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            here, below = work[-1]
            step = next(below, None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[here])
                if low[here] == index[here]:
                    ring = []
                    while not ring or ring[-1] != here:
                        ring.append(stack.pop())
                        on_stack.discard(ring[-1])
                    if len(ring) > 1 or here in _below(known, here):
                        rings.append([known[one] for one in ring])
            elif step not in index:
                index[step] = low[step] = len(index)
                stack.append(step)
                on_stack.add(step)
                work.append((step, iter(_below(known, step))))
            elif step in on_stack:
                low[here] = min(low[here], index[step])
    return rings


def _below(known: dict[int, Any], here: int) -> list[int]:
    return [id(one) for one in gc.get_referents(known[here]) if id(one) in known]
