"""Lazy names looked up where they live, without a trip through the import system.

`utils`, `models` and `errors` resolve every attribute with `import_module()`, each time: a call
asks some thirty times, a streamed event three times.
"""

import sys
from collections.abc import Callable
from importlib.util import resolve_name
from typing import TYPE_CHECKING, Any

from .originals import pair_with_code
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
    modules: dict[str, ModuleType] = {}
    watched = pair_with_code(*found.functions)
    loaded = sys.modules

    def __getattr__(name: str) -> Any:  # noqa: N807
        for function, code in watched:  # not `found.watch()`: a call of it costs more than this
            if function.__code__ is not code:
                return original(name)
        module = modules.get(name)
        if module is not None and loaded.get(module.__name__) is module and name in vars(module):
            return vars(module)[name]
        value = original(name)
        if name in lazy:
            module = loaded.get(resolve_name(lazy[name], package.__package__))
            if module is not None and name in vars(module):
                modules[name] = module
        return value

    return __getattr__
