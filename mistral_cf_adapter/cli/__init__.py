"""The command `mistral-cf-adapter`: doctor, run, env and serve."""

import sys
import warnings
from collections.abc import Sequence

from mistral_cf_adapter import __version__

PROGRAM = "mistral-cf-adapter"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: What follows the program's name; by default `sys.argv[1:]`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--version"], ["-V"]):
        print(f"{PROGRAM} {__version__}")
        return 0
    from mistral_cf_adapter._options import GatewayConfigError

    from .commands import UsageError, parse

    # Only what precedes the action is ours to explain: `run` hands over to somebody's program.
    with warnings.catch_warnings(record=True) as caught:
        try:
            action = parse(given).prepare()
        except (UsageError, GatewayConfigError) as error:
            print(f"{PROGRAM}: {error}", file=sys.stderr)
            return 2
    for warning in caught:
        _show(warning)
    return action()


def _show(warning: warnings.WarningMessage) -> None:
    """Print a warning about the settings as a message, without the place in our code."""
    if warning.category is UserWarning:
        print(f"{PROGRAM}: warning: {warning.message}", file=sys.stderr)
        return
    warnings.showwarning(
        warning.message, warning.category, warning.filename, warning.lineno, warning.file
    )
