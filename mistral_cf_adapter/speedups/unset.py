"""A fresh `Unset` for every field that is not there, without the machinery of deep copies.

pydantic copies a default that is a model for every field of every value, and `UNSET` is one:
seven copies in a streamed event.
"""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from .seams import ChangedError, Found

_new = BaseModel.__new__
_set = object.__setattr__


def deepcopy_of_unset(found: Found) -> Callable[..., Any]:
    """Return the `Unset.__deepcopy__` to add: it makes what pydantic's own makes."""
    unset: Any = vars(found.module)["Unset"]
    if found.original is not BaseModel.__deepcopy__:
        msg = "Unset has a deep copy of its own"
        raise ChangedError(msg)
    if not _is_empty(BaseModel.__deepcopy__(unset())):
        msg = "this pydantic makes another kind of copy"
        raise ChangedError(msg)

    def __deepcopy__(self: Any, memo: dict[int, Any] | None = None) -> Any:  # noqa: N807
        if type(self) is not unset or not _is_empty(self):
            return BaseModel.__deepcopy__(self, memo)
        copy = _new(unset)
        if memo is not None:
            memo[id(self)] = copy
        _set(copy, "__dict__", {})
        _set(copy, "__pydantic_extra__", None)
        _set(copy, "__pydantic_fields_set__", set())
        _set(copy, "__pydantic_private__", None)
        return copy

    return __deepcopy__


def _is_empty(value: Any) -> bool:
    return (
        not value.__dict__
        and not value.__pydantic_fields_set__
        and value.__pydantic_extra__ is None
        and value.__pydantic_private__ is None
    )
