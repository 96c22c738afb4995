"""The processes that a program under `run` starts: an environment in which they call patch() too.

A folder that holds only a `sitecustomize.py` goes first in PYTHONPATH. Every Python imports that
module when it starts, save one with -S, -E or -I.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any

from mistral_cf_adapter._switch import RUN_FLAGS, RUN_IS_OFF

FLAGS = RUN_FLAGS
_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "startup")  # noqa: PTH100, PTH118, PTH120
_ENV_FILE = "CF_AIG_ENV_FILE"


def reach_children(flags: Mapping[str, Any]) -> None:
    """Have the Python processes that this one starts call patch() with the same settings."""
    stop_reaching_children()
    paths = filter(None, (_FOLDER, os.environ.get("PYTHONPATH")))
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    if flags:
        import json

        os.environ[FLAGS] = json.dumps(flags, default=str)
    if os.environ.get(_ENV_FILE):  # a child may run in another directory
        file = os.path.expanduser(os.environ[_ENV_FILE])  # noqa: PTH111
        os.environ[_ENV_FILE] = os.path.abspath(file)  # noqa: PTH100


def switch_children_off() -> None:
    """Let the processes that this one starts be as without `run`, and send no gateway_headers()."""
    stop_reaching_children()
    os.environ[FLAGS] = RUN_IS_OFF


def stop_reaching_children() -> None:
    """Undo what a `run` around this one has set for its children."""
    os.environ.pop(FLAGS, None)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if _FOLDER not in paths:
        return
    rest = os.pathsep.join(path for path in paths if path != _FOLDER)
    if rest:
        os.environ["PYTHONPATH"] = rest
    else:
        del os.environ["PYTHONPATH"]


def disarm() -> None:
    """Have the finder that waits for the SDK in a child wait no longer.

    It stays in `sys.meta_path`: other threads may be going through that list.
    """
    finder: Any
    for finder in sys.meta_path:
        if hasattr(finder, "waits_for_mistralai"):
            finder.waits_for_mistralai = False


def find_obstacle() -> str | None:
    """Return why the processes that this one starts are not all reached, `None` if they are."""
    if sys.flags.ignore_environment:
        return "Python was started with -E or -I, which multiprocessing passes on"
    if not os.path.isfile(os.path.join(_FOLDER, "sitecustomize.py")):  # noqa: PTH113, PTH118
        return f"the installed package has no file {_FOLDER}{os.sep}sitecustomize.py"
    if os.pathsep in _FOLDER:
        return f"PYTHONPATH cannot hold {_FOLDER}, which has a {os.pathsep!r} in it"
    return None


def describe_children() -> str:
    """Return in one sentence whether `run` reaches the processes that a program starts."""
    obstacle = find_obstacle()
    if obstacle is None:
        return "Under `run`, the Python processes that a program starts are patched too."
    return f"Under `run`, not all processes that a program starts are patched: {obstacle}."
