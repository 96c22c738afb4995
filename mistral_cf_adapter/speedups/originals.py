"""Whether a function of the SDK runs the code that its module's source says.

Tracers and debuggers replace a function's `__code__` and leave all else about it as it was.
"""

import __future__

from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from itertools import takewhile
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

Codes = tuple[tuple[FunctionType, CodeType], ...]
"""Functions, each with the code it ran when a speed-up was built."""

_DEFINITIONS = "def ", "async def ", "class ", "@", "if "
_LARGE = 65_536
"""Bytes of a compiled module that take longer to load than one function takes to compile."""


def is_as_written(
    function: FunctionType, module: ModuleType, name: str, lines: list[str], end: int
) -> bool:
    """Return whether a function's code is that of its source.

    Args:
        function: The function as it is now.
        module: The module whose source has it.
        name: The function's name in the module, as `BaseSDK.do_request`.
        lines: The module's source.
        end: The number of lines up to the function's end.
    """
    found = [load_code(module) or _compile(function, name, lines, end)]
    for part in name.split("."):
        found = [code for scope in found for code in _find_codes(scope, part)]
    return _without_positions(function.__code__) in map(_without_positions, found)


def codes_of(*functions: object) -> Codes:
    """Return each plain function with the code that it runs now."""
    plain = (function for function in functions if isinstance(function, FunctionType))
    return tuple((function, function.__code__) for function in plain)


def watch_code(*functions: object) -> Callable[[], bool]:
    """Return what tells whether all functions still run the code that they run now.

    Where each call asks often, a loop over `codes_of()` in place costs less.
    """
    watched = codes_of(*functions)

    def is_untouched() -> bool:
        for function, code in watched:  # noqa: SIM110 - all() takes twice as long
            if function.__code__ is not code:
                return False
        return True

    return is_untouched


def stepping_aside(
    is_untouched: Callable[[], bool], original: Callable[..., Any], replacement: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function that calls the original where its code was replaced."""

    def choose(*args: Any, **kwargs: Any) -> Any:
        return (replacement if is_untouched() else original)(*args, **kwargs)

    return choose


@lru_cache(maxsize=32)
def load_code(module: ModuleType) -> CodeType | None:
    """Return a module's code from its compiled file, `None` where that is missing or large."""
    spec = module.__spec__
    loader = None if spec is None else spec.loader
    # A subclass, as of tools that check types, may change the code on the way.
    if spec is None or spec.cached is None or type(loader) is not SourceFileLoader:
        return None
    try:
        if Path(spec.cached).stat().st_size > _LARGE:
            return None
        code: CodeType | None = loader.get_code(module.__name__)
    except (OSError, ImportError, EOFError):
        return None
    return code


def _compile(function: FunctionType, name: str, lines: list[str], end: int) -> CodeType:
    """Compile one definition, behind its module's imports and in its class.

    A call of what is imported compiles to other code than one of an object's method, and the
    class's name is part of names that begin with `__`.
    """
    owner = name.rpartition(".")[0]
    code = function.__code__
    imports = takewhile(lambda line: not line.startswith(_DEFINITIONS), lines)
    head = [f"class {owner}:"] if owner else []
    source = "\n".join([*imports, *head, *lines[code.co_firstlineno - 1 : end]])
    flags = code.co_flags & __future__.annotations.compiler_flag
    compiled: CodeType = compile(source, code.co_filename, "exec", flags, dont_inherit=True)
    return compiled


def _find_codes(scope: CodeType, name: str) -> Iterator[CodeType]:
    constants = (each for each in scope.co_consts if isinstance(each, CodeType))
    return (each for each in constants if each.co_name == name)


def _without_positions(code: CodeType) -> CodeType:
    """Return code without where its text stands, which compiled files may leave out."""
    constants = tuple(
        _without_positions(each) if isinstance(each, CodeType) else each for each in code.co_consts
    )
    return code.replace(co_consts=constants, co_firstlineno=1, co_linetable=b"")
