"""The command `mistral-cf-adapter`: doctor, run, env and serve."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

from mistral_cf_adapter import __version__

PROGRAM = "mistral-cf-adapter"


class UsageError(ValueError):
    """The command line cannot be understood; the message says why and shows no secret."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: What follows the program's name; by default `sys.argv[1:]`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    from .children import disarm
    from .pipes import end_quietly_without_reader

    disarm()  # below another `run`: here, this command decides whether to patch
    with end_quietly_without_reader() if arguments is None else contextlib.nullcontext():
        if given in (["--version"], ["-V"]):
            print(f"{PROGRAM} {__version__}")
            return 0
        action = _prepare(given)
        if action is None:
            return 2
        if given[:1] != ["run"]:
            return action()
    return action()  # outside, as the output is the program's


def _prepare(given: list[str]) -> Callable[[], int] | None:
    """Return what the command does; `None`, after a message, if that cannot work."""
    # Only what precedes the action is ours to explain: `run` hands over to somebody's program.
    with warnings.catch_warnings(record=True) as caught:
        _have_no_warning_raised()
        try:
            action = _parse(given).prepare()
        except ValueError as error:
            if not _is_for_user(error):
                raise
            print(f"{PROGRAM}: {error}", file=sys.stderr)
            return None
    for warning in caught:
        _show(warning)
    return action


class _Command(Protocol):
    def prepare(self) -> Callable[[], int]:
        """Return what the command does."""
        ...


def _parse(given: list[str]) -> _Command:
    """Return the command that was typed; `serve` without what the others need, which is slow."""
    if given[:1] == ["serve"]:
        from .serve import Serve

        return Serve(given[1:])
    from .commands import parse

    return parse(given)


def _is_for_user(error: ValueError) -> bool:
    """Return whether an error is about what was typed or set."""
    if isinstance(error, UsageError):
        return True
    from mistral_cf_adapter._options import GatewayConfigError

    return isinstance(error, GatewayConfigError)


def _have_no_warning_raised() -> None:
    """Record what `-W error` would raise: that is meant for the program, which comes later."""
    for category in {found[2] for found in warnings.filters if found[0] == "error"}:
        warnings.simplefilter("default", category)


def _show(warning: warnings.WarningMessage) -> None:
    """Print a warning about the settings as a message, without the place in our code."""
    if warning.category is UserWarning:
        print(f"{PROGRAM}: warning: {warning.message}", file=sys.stderr)
        return
    warnings.showwarning(
        warning.message, warning.category, warning.filename, warning.lineno, warning.file
    )
