"""In a process below `run`: call patch() before the first Mistral client is built.

Not when the SDK is imported: it may be the adapter that imports it, half loaded itself, and other
threads may wait for either. And a process that builds no client loads nothing of the adapter.
"""

import functools
import importlib
import json
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .children import FLAGS, disarm

if TYPE_CHECKING:
    from mistral_cf_adapter._patch import Patch
    from mistral_cf_adapter._settings import GatewaySettings

_PATCH = "mistral_cf_adapter._patch"


def on_import(module: ModuleType) -> None:
    """Go on after the import of a module that `startup/sitecustomize.py` watches.

    Raises:
        GatewayConfigError: a setting is missing or wrong; the import fails with it.
    """
    if module.__name__ == _PATCH:
        _patch_process(module)
    elif hasattr(module, "Mistral"):  # else `run` itself has refused this SDK
        _await_client(module.Mistral)


def _patch_process(module: ModuleType) -> None:
    """Call patch() as `run` did in its own process, before the program's own calls of it."""
    try:
        _patches.append(module.patch(settings=_read_settings()))
    except Exception as error:  # the next client fails with it as well
        error.add_note("A program under `mistral-cf-adapter run` started this process.")
        raise
    disarm()


def _await_client(sdk_class: Any) -> None:
    """Wrap `Mistral.__init__`, so that the first client imports `_patch`, which calls patch()."""
    original = sdk_class.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            if _patches:
                original(self, *args, **kwargs)
                return
            is_outermost = sdk_class.__init__ is __init__
            importlib.import_module(_PATCH)  # other threads wait here until it is done
            if is_outermost and sdk_class.__init__ is not __init__:
                sdk_class.__init__(self, *args, **kwargs)  # patch()'s, which calls this one
                return
            # Another library's wrapper has called this one, and must not be called twice.
            original(self, *args, **kwargs)
            for patched in _patches:
                patched.redirect(self)
        except BaseException:
            args = ()  # a traceback may show what a frame holds
            kwargs.clear()
            raise

    sdk_class.__init__ = __init__


def _read_settings() -> "GatewaySettings":
    from mistral_cf_adapter._options import GatewayConfigError
    from mistral_cf_adapter._settings import GatewaySettings, from_environment

    text = os.environ.get(FLAGS)
    if text is None:
        return from_environment()
    try:
        flags = dict(json.loads(text))
    except (ValueError, TypeError):
        msg = f"{FLAGS} is not as `mistral-cf-adapter run` set it: unset it"
        raise GatewayConfigError(msg) from None
    return GatewaySettings(**flags)


_patches: list["Patch"] = []  # the one of this process, once it is in force
