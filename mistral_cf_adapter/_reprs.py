"""`repr()` that shows what is set, and leaves out what is as it always is."""

from dataclasses import MISSING, fields
from typing import Any


def show_set_fields(self: Any) -> str:
    """Return the `repr()` of a dataclass, without the fields that have their default."""
    shown: list[str] = []
    for field in fields(self):
        value = getattr(self, field.name)
        if field.default is MISSING or value != field.default:
            shown.append(f"{field.name}={value!r}")
    return f"{type(self).__name__}({', '.join(shown)})"
