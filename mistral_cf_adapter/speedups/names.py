"""Lazy names looked up where they live, without a trip through the import system.

`utils`, `models` and `errors` resolve every attribute with `import_module()`, each time: a call
asks some thirty times, a streamed event three times.
"""

import sys
from collections.abc import Callable
from importlib.util import resolve_name
from typing import TYPE_CHECKING, Any

from .originals import codes_of
from .seams import ChangedError, Found

if TYPE_CHECKING:
    from types import ModuleType


def lazy_names(found: Found) -> Callable[[str], Any]:
    """Return the replacement for a package's `__getattr__`.

    Only the module is remembered, not the value: what is replaced in it later shows at once.
    """
    original: Callable[[str], Any] = found.original
    package = found.module
    lazy: dict[str, str] = vars(package).get("_dynamic_imports", {})
    if not lazy:
        msg = f"{package.__name__} has no table of lazy names"
        raise ChangedError(msg)
    homes: dict[str, tuple[ModuleType, dict[str, Any]]] = {}
    """The module of each name, and its namespace."""
    watched = codes_of(*found.functions)
    loaded = sys.modules

    def __getattr__(name: str) -> Any:  # noqa: N807
        for function, code in watched:
            if function.__code__ is not code:
                return original(name)
        home = homes.get(name)
        if home is not None:
            module, namespace = home
            if loaded.get(module.__name__) is module and name in namespace:
                return namespace[name]
        value = original(name)
        if name in lazy:
            found_in = loaded.get(resolve_name(lazy[name], package.__package__))
            if found_in is not None and name in vars(found_in):
                homes[name] = found_in, vars(found_in)
        return value

    return __getattr__
