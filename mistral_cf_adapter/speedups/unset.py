"""One `Unset` for all fields that are not there, where each had a deep copy of its own.

pydantic copies a default that is a model for every field of every value, and `UNSET` is one:
seven copies in a streamed event. An `Unset` holds nothing and takes nothing, so that one copy does
for all. It is not `UNSET` itself: today no such field `is UNSET`, and somebody may count on it.
"""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from .seams import ChangedError, Found


def deepcopy_of_unset(found: Found) -> Callable[..., Any]:
    """Return the `Unset.__deepcopy__` to add: it makes the copy of `UNSET` once."""
    if found.original is not BaseModel.__deepcopy__:
        msg = "Unset has a deep copy of its own"
        raise ChangedError(msg)
    unset = vars(found.module)["UNSET"]
    copy = BaseModel.__deepcopy__(unset)
    if not _is_empty(unset) or not _is_empty(copy):
        msg = "UNSET holds something"
        raise ChangedError(msg)

    is_untouched = found.watch(BaseModel.__deepcopy__)

    def __deepcopy__(self: Any, memo: dict[int, Any] | None = None) -> Any:  # noqa: N807
        if (self is unset or self is copy) and is_untouched():
            return copy
        return BaseModel.__deepcopy__(self, memo)

    return __deepcopy__


def _is_empty(value: Any) -> bool:
    return (
        not value.__dict__
        and not value.__pydantic_fields_set__
        and value.__pydantic_extra__ is None
        and value.__pydantic_private__ is None
    )
