"""Where a speed-up goes in, and how it knows that the place is what it was written for."""

import __future__

import functools
import hashlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import resolve_name
from itertools import takewhile
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, cast

Codes = tuple[tuple[FunctionType, CodeType], ...]
"""Functions, each with the code it ran when a speed-up was built."""

_DEFINITIONS = b"def ", b"async def ", b"class ", b"@", b"if "
_LARGE = 65_536
"""Bytes of a compiled module that take longer to load than one function takes to compile."""


def is_as_written(
    function: FunctionType, module: ModuleType, name: str, lines: list[bytes], end: int
) -> bool:
    """Return whether a function's code is that of its source.

    Args:
        function: The function as it is now.
        module: The module whose source has it.
        name: The function's name in the module, as `BaseSDK.do_request`.
        lines: The module's source.
        end: The number of lines up to the function's end.
    """
    codes = [load_code(module) or _compile(function, name, lines, end)]
    for part in name.split("."):
        codes = [code for scope in codes for code in _find_codes(scope, part)]
    if function.__code__ in codes:  # the usual case, and the quick one
        return True
    return _without_positions(function.__code__) in map(_without_positions, codes)


def codes_of(*functions: object) -> Codes:
    """Return each plain function with the code that it runs now."""
    plain = (function for function in functions if isinstance(function, FunctionType))
    return tuple((function, function.__code__) for function in plain)


def watch_code(*functions: object) -> Callable[[], bool]:
    """Return a function that checks that all functions still run the code that they run now.

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


@functools.lru_cache(maxsize=32)
def load_code(module: ModuleType) -> CodeType | None:
    """Return a module's code from its compiled file, `None` where that is missing or large."""
    spec = module.__spec__
    loader = None if spec is None else spec.loader
    # A subclass, as of tools that check types, may change the code on the way.
    if spec is None or spec.cached is None or type(loader) is not SourceFileLoader:
        return None
    try:
        if os.stat(spec.cached).st_size > _LARGE:  # noqa: PTH116 - a third of the time of Path
            return None
        code: CodeType | None = loader.get_code(module.__name__)
    except (OSError, ImportError, EOFError):
        return None
    return code


def _compile(function: FunctionType, name: str, lines: list[bytes], end: int) -> CodeType:
    """Compile one definition, behind its module's imports and in its class.

    A call of what is imported compiles to other code than one of an object's method, and the
    class's name is part of names that begin with `__`.
    """
    owner = name.rpartition(".")[0]
    code = function.__code__
    imports = takewhile(lambda line: not line.startswith(_DEFINITIONS), lines)
    head = [f"class {owner}:".encode()] if owner else []
    source = b"\n".join([*imports, *head, *lines[code.co_firstlineno - 1 : end]])
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


logger = logging.getLogger("mistral_cf_adapter")

Sources = Mapping[str, frozenset[str]]

_Proven = tuple[str, FunctionType]
"""The digest of a function, and the function."""

_ABSENT = object()


class ChangedError(Exception):
    """The SDK is not what a speed-up was written for."""


class Target(NamedTuple):
    """A place as it was found: what a speed-up is built from."""

    module: ModuleType
    original: Any
    digests: Mapping[str, str]
    functions: tuple[FunctionType, ...] = ()
    """The functions with these digests."""

    def watch(self, *others: object) -> Callable[[], bool]:
        """Return a function that checks that these functions, and others, run the same code.

        If one does not, it is traced or debugged, and the original is called.
        """
        return watch_code(*self.functions, *others)


class Speedup(NamedTuple):
    """One attribute of an SDK module, or of a class in it, and what takes its place.

    `sources` holds, for each generation of the SDK, the functions that call the attribute or
    are it, with the digests of every text that has been proven; any other text, and the speed-up
    steps aside. A function in another module is named `utils.logger:get_body_content`.
    """

    name: str
    module: str
    attribute: str
    build: Callable[[Target], Any]
    sources: tuple[Sources, ...] = ({},)
    owner: str | None = None
    until_loaded: Callable[[Target, Callable[[], Any]], Any] | None = None
    """From the place and what builds the replacement to what stands there as long as some of the
    sources are not imported, `None` if they are."""


class AppliedPatch(NamedTuple):
    """A speed-up in place."""

    speedup: Speedup
    owner: Any
    before: Any
    after: Any

    def undo(self) -> None:
        """Restore the original, unless the attribute was replaced again."""
        if members(self.owner).get(self.speedup.attribute, _ABSENT) is not self.after:
            logger.debug(
                "speed-up %s stays: %s.%s has been replaced by somebody else",
                self.speedup.name,
                self.owner.__name__,
                self.speedup.attribute,
            )
        elif self.before is _ABSENT:
            delattr(self.owner, self.speedup.attribute)
        else:
            setattr(self.owner, self.speedup.attribute, self.before)


def apply_all(speedups: Iterable[Speedup], root: str) -> Iterator[AppliedPatch]:
    """Put every speed-up in place that fits, one by one; the others say why not, at DEBUG."""
    try:
        for speedup in speedups:
            applied = apply(speedup, root)
            if applied is not None:
                yield applied
    finally:
        _source.cache_clear()
        load_code.cache_clear()


def apply(speedup: Speedup, root: str) -> AppliedPatch | None:
    """Put one speed-up in place below the SDK's root package; None if it had to step aside."""
    try:
        return _apply(speedup, root)
    except Exception as why:  # noqa: BLE001 (a client without a speed-up is better than none)
        logger.debug("speed-up %s steps aside: %s", speedup.name, why)
        return None


def _apply(speedup: Speedup, root: str) -> AppliedPatch:
    module = importlib.import_module(f"{root}.{speedup.module}")
    owner = module if speedup.owner is None else members(module).get(speedup.owner)
    if owner is None:
        msg = f"{module.__name__} has no {speedup.owner}"
        raise ChangedError(msg)
    before = members(owner).get(speedup.attribute, _ABSENT)
    original = getattr(owner, speedup.attribute, None)
    if original is None:
        msg = f"{owner.__name__} has no {speedup.attribute}"
        raise ChangedError(msg)

    def prove(speedup: Speedup) -> Target:
        proven = _proven(speedup, module, root)
        digests = {name: known for name, (known, _) in proven.items()}
        functions = tuple(function for _, function in proven.values())
        return Target(module, original, digests, functions)

    def build() -> Any:
        return speedup.build(prove(speedup))

    after = None
    if speedup.until_loaded is not None:
        imported = speedup._replace(sources=tuple(_imported(speedup, root)))
        after = speedup.until_loaded(prove(imported), build)
    after = after or build()
    setattr(owner, speedup.attribute, after)
    return AppliedPatch(speedup, owner, before, after)


def members(owner: object) -> Mapping[str, Any]:
    """Return the attributes of a module, a class or an object itself."""
    return vars(owner)


def _imported(speedup: Speedup, root: str) -> Iterator[Sources]:
    """Return those of the sources whose modules are imported."""
    for sources in speedup.sources:
        homes = {name: name.rpartition(":")[0] for name in sources}
        yield {
            name: sources[name]
            for name, home in homes.items()
            if not home or resolve_name(f".{home}", root) in sys.modules
        }


def _proven(speedup: Speedup, module: ModuleType, root: str) -> dict[str, _Proven]:
    """Return the functions of the first generation whose sources are all known."""
    doubts: list[str] = []
    for sources in speedup.sources:
        try:
            return {name: _known(module, root, name, sources[name]) for name in sources}
        except (ChangedError, ImportError) as doubt:
            doubts.append(str(doubt))
    raise ChangedError("; ".join(dict.fromkeys(doubts)))


def _known(module: ModuleType, root: str, name: str, known: frozenset[str]) -> _Proven:
    elsewhere, _, function = name.rpartition(":")
    if elsewhere:
        module = importlib.import_module(f".{elsewhere}", root)
    proven = _examine(module, function)
    if proven[0] not in known:
        msg = f"the source of {module.__name__}.{function} is new (digest {proven[0]})"
        raise ChangedError(msg)
    return proven


def digest(module: ModuleType, name: str) -> str:
    """Return the digest of a function's source text: the same on every version of Python.

    Raises:
        ChangedError: it is not a plain function of that module, there is no source, or it runs
            other code than its source says.
    """
    return _examine(module, name)[0]


def _examine(module: ModuleType, name: str) -> _Proven:
    function: Any = module
    for part in name.split("."):
        function = members(function).get(part)
        if function is None:
            msg = f"{module.__name__} has no {name}"
            raise ChangedError(msg)
    if isinstance(function, staticmethod):
        function = cast("staticmethod[..., Any]", function).__func__
    if not isinstance(function, FunctionType) or function.__globals__ is not vars(module):
        msg = f"{module.__name__}.{name} is not the SDK's own"
        raise ChangedError(msg)
    lines = _source(module)
    start, end = _find_definition(lines, function.__code__.co_firstlineno - 1)
    text = b"\n".join(lines[start:end]).rstrip()
    if f"def {function.__name__}(".encode() not in text:
        msg = f"the source of {module.__name__}.{name} cannot be found"
        raise ChangedError(msg)
    if not is_as_written(function, module, name, lines, end):
        msg = f"{module.__name__}.{name} runs other code than its source says"
        raise ChangedError(msg)
    return hashlib.sha256(text).hexdigest()[:16], function


def _find_definition(lines: list[bytes], first: int) -> tuple[int, int]:
    """Return where a definition starts, behind its decorators, and where it ends."""
    while first < len(lines) and lines[first].lstrip().startswith(b"@"):
        first += 1
    head = lines[first] if first < len(lines) else b""
    margin = head[: len(head) - len(head.lstrip())]
    # The parenthesis that closes a long signature stands at the margin, too.
    inside = (margin + b" ", margin + b"\t", margin + b")")
    last = first + 1
    while last < len(lines) and (not lines[last] or lines[last].startswith(inside)):
        last += 1
    return first, last


@functools.lru_cache(maxsize=32)
def _source(module: ModuleType) -> list[bytes]:
    # inspect.getsource() would tokenize: ten times slower. Decoding takes a third of the rest.
    loader: Any = getattr(module.__spec__, "loader", None)
    try:
        text: bytes = loader.get_data(module.__file__)
    except (AttributeError, ImportError, OSError):
        return []
    return text.splitlines()
