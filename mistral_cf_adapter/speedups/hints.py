"""Type hints resolved once per class, where the SDK resolves them for every request.

`typing.get_type_hints()` compiles and evaluates every annotation of a class and of its bases,
although the callers in `url`, `queryparams` and `forms` only look one of them up.
"""

import typing
import weakref
from collections.abc import Callable
from typing import Any

from .originals import Codes, codes_of
from .seams import ChangedError, Found


def cached_type_hints(found: Found) -> "HintCache":
    """Return the replacement for the `get_type_hints` that one module calls."""
    if found.original is not typing.get_type_hints:
        msg = f"{found.module.__name__}.get_type_hints is not typing's"
        raise ChangedError(msg)
    return HintCache(typing.get_type_hints, codes_of(*found.functions, typing.get_type_hints))


class HintCache:
    """Stands in for `get_type_hints` in one module; callers get a dictionary of their own."""

    def __init__(
        self,
        get_type_hints: Callable[[Any], dict[str, Any]],
        watched: Codes = (),
    ) -> None:
        self._resolve = get_type_hints
        self._watched = watched
        self._hints: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._hints)

    def __call__(self, cls: type) -> dict[str, Any]:
        """Return the type hints of a class."""
        for function, code in self._watched:
            if function.__code__ is not code:
                return self._resolve(cls)
        hints = self._hints.get(cls)
        if hints is None:
            hints = self._hints[cls] = self._resolve(cls)
        return hints.copy()
