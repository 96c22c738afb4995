"""Requests that have no query or header parameters are not searched for them again.

Every operation has each field of its request looked at, once for the query and once for headers;
a chat request has thirty, and none is either.
"""

from collections.abc import Callable
from typing import Any

from .kept import LIMIT
from .seams import Found, members

Populate = Callable[..., list[str]]


def populate_query_params(found: Found) -> Populate:
    """Return the replacement for `queryparams._populate_query_params`."""
    return _populate(found, "QueryParamMetadata")


def populate_headers(found: Found) -> Populate:
    """Return the replacement for `headers._populate_headers`."""
    return _populate(found, "HeaderMetadata")


def _populate(found: Found, metadata: str) -> Populate:
    original: Populate = found.original
    names = members(found.module)
    find, kind, base = names["find_field_metadata"], names[metadata], names["BaseModel"]
    is_untouched = found.watch()
    searched: dict[type, tuple[Any, bool]] = {}
    """Of each class its fields, which pydantic replaces when it is rebuilt, and what was found."""

    def populate(params: Any, *rest: Any) -> list[str]:
        if not isinstance(params, base) or not is_untouched():
            return original(params, *rest)
        cls: Any = params.__class__
        fields = cls.model_fields
        known = searched.get(cls)
        if known is not None and known[0] is fields and not known[1]:
            return []
        populated = original(params, *rest)
        if known is None or known[0] is not fields:
            if len(searched) >= LIMIT:
                searched.clear()
            searched[cls] = fields, any(find(field, kind) for field in fields.values())
        return populated

    return populate
