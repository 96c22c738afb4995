"""Give public objects the name of the package that exports them."""

from typing import Any

PACKAGE = "mistral_cf_adapter"
TESTING = f"{PACKAGE}.testing"


def set_public_module(*objects: Any, package: str = PACKAGE) -> None:
    """Set `__module__` of classes and functions, which tracebacks, pickles and `help()` show.

    Call this after a class is complete: pydantic, dataclasses and `typing.get_type_hints()`
    resolve annotations that are text in the module that `__module__` names. For the same reason
    the modules of public classes have annotations that are objects, not text.
    """
    for thing in objects:
        thing.__module__ = package
