"""`run`: execute a program in this process as Python would."""

import builtins
import importlib.util
import io
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any

from . import PROGRAM


class _CannotRun(Exception):  # noqa: N818 - never leaves this file
    """There is no such program; says why, with Python's own exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def run_script(script: str, arguments: Sequence[str]) -> int:
    """Run a file, a directory or zip with a `__main__.py`, or `-`, and return its status."""
    sys.argv = [script, *arguments]
    return _run(lambda: _script(script))


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Run a module or package as `python -m` does, and return its status."""
    sys.argv = ["-m", *arguments]
    _first_on_path(os.getcwd())  # noqa: PTH109 - sys.path holds strings
    return _run(lambda: _module(name))


def _run(find: "Callable[[], tuple[CodeType, dict[str, Any]]]") -> int:
    try:
        code, names = find()
        main = ModuleType("__main__")
        vars(main).update(names)
        sys.modules["__main__"] = main
        exec(code, vars(main))  # noqa: S102 - this is what `run` is for
    except _CannotRun as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.status
    except SystemExit:
        raise
    except BaseException as error:
        trace = _without_ours(error.__traceback__)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        if isinstance(error, KeyboardInterrupt):
            # Python itself then ends by the signal, which shells report as status 130.
            sys.excepthook = _silent
            raise
    else:
        return 0
    return 1


def _silent(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None, /
) -> None:
    """Print nothing: the traceback has been printed."""


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """Drop the frames above the program's own."""
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_ours(file: str) -> bool:
    return file in (__file__, importlib.util.__file__) or file.startswith("<frozen importlib")


def _first_on_path(path: str) -> None:
    """Put the program's own directory first, in place of ours, unless Python is told not to."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def _script(script: str) -> tuple[CodeType, dict[str, Any]]:
    if script == "-":
        _first_on_path("")
        return compile(sys.stdin.read(), "<stdin>", "exec", dont_inherit=True), _names()
    importer = pkgutil.get_importer(script)
    if importer is not None:
        return _directory(script, importer)
    path = os.path.abspath(script)  # noqa: PTH100 - resolving links would change __file__
    _first_on_path(os.path.dirname(os.path.realpath(script)))  # noqa: PTH120
    if script.endswith(".pyc"):
        compiled = SourcelessFileLoader("__main__", path)
        try:
            return _code(compiled, "__main__"), _names(path, compiled)
        except OSError as error:
            raise _cannot_open(path, error) from None
    return _read(path), _names(path, SourceFileLoader("__main__", path))


def _read(path: str) -> CodeType:
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        raise _cannot_open(path, error) from None
    return compile(source, path, "exec", dont_inherit=True)


def _cannot_open(path: str, error: OSError) -> _CannotRun:
    return _CannotRun(f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}", 2)


def _directory(path: str, importer: Any) -> tuple[CodeType, dict[str, Any]]:
    if sys.flags.safe_path:
        sys.path.insert(0, path)
    else:
        sys.path[0] = path
    spec = importer.find_spec("__main__")
    if spec is None:
        msg = f"can't find '__main__' module in {path!r}"
        raise _CannotRun(msg)
    return _of_spec(spec)


def _module(name: str) -> tuple[CodeType, dict[str, Any]]:
    spec = _found(name)
    if spec.submodule_search_locations is not None:
        if name.endswith(".__main__"):
            msg = f"Cannot use package as __main__ module; {name!r} is a package"
            raise _CannotRun(msg)
        return _module(f"{name}.__main__")
    code, names = _of_spec(spec)
    sys.argv[0] = str(spec.origin)
    return code, names


def _found(name: str) -> ModuleSpec:
    if name.startswith("."):
        msg = "Relative module names not supported"
        raise _CannotRun(msg)
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        # Only a missing parent is ours to explain; an import inside of it is the program's.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        spec = None
    except ValueError:
        spec = None
    if spec is None:
        msg = f"No module named {name}"
        raise _CannotRun(msg)
    return spec


def _of_spec(spec: ModuleSpec) -> tuple[CodeType, dict[str, Any]]:
    names = _names(spec.origin if spec.has_location else None, spec.loader)
    names |= {"__spec__": spec, "__package__": spec.parent, "__cached__": spec.cached}
    return _code(spec.loader, spec.name), names


def _code(loader: Any, name: str) -> CodeType:
    code: CodeType | None = loader.get_code(name) if hasattr(loader, "get_code") else None
    if code is None:
        msg = f"No code object available for {name}"
        raise _CannotRun(msg)
    return code


def _names(file: str | None = None, loader: Any = None) -> dict[str, Any]:
    """Return what the namespace of a `__main__` starts with."""
    names = {"__builtins__": builtins, "__loader__": loader, "__package__": None}
    if "__annotations__" in vars(sys.modules["__main__"]):  # Python 3.14 no longer begins with it
        names["__annotations__"] = {}
    return names if file is None else {**names, "__file__": file, "__cached__": None}
