"""Refuse a keyword or a name that is not known, and suggest the one that is meant."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__tracebackhide__ = True  # pytest shows the test's own line as the last

P = ParamSpec("P")
R = TypeVar("R")


def check_names(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for the first given name that is not known.

    Args:
        where: what was called, as "reply()".
        given: the names that were given.
        known: the names that it takes.
    """
    names = list(known)
    unknown = next((name for name in given if name not in names), None)
    if unknown is None:
        return
    from mistral_cf_adapter._validation import did_you_mean

    longer = next((name for name in names if name.startswith(f"{unknown}_")), None)
    hint = f"; did you mean {longer}?" if longer else did_you_mean(unknown, names)
    hint = hint or f"; there are {', '.join(names)}"
    msg = f"{where} does not take {unknown}{hint}"
    raise TypeError(msg)


def suggest_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Let a method say which keyword is meant where one is unknown; Python's own error does not."""
    names = keyword_names(function)
    where = "LocalGateway()" if function.__name__ == "__init__" else f"{function.__name__}()"

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_names(where, kwargs, names)
        return function(*args, **kwargs)

    return checked


@functools.cache
def keyword_names(function: Callable[..., object]) -> Sequence[str]:
    """Return the names that a method takes as keywords."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return tuple(one.name for one in parameters if one.kind is not one.VAR_KEYWORD)
