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
    else:
        _waiting.append(_FirstClient(module.Mistral))


def _patch_process(module: ModuleType) -> None:
    """Call patch() as `run` did in its own process, before the program's own calls of it."""
    try:
        settings = _read_settings()
        for first in _waiting:
            first.unwrap()
        _patches.append(module.patch(settings=settings))
    except Exception as error:
        for first in _waiting:
            first.wrap()  # the next client fails as well
        error.add_note("A program under `mistral-cf-adapter run` started this process.")
        raise
    disarm()


class _FirstClient:
    """`Mistral.__init__`, wrapped until a first client is built or `_patch` is imported."""

    def __init__(self, sdk_class: Any) -> None:
        self._class = sdk_class
        self._original = sdk_class.__init__
        self._wrapper = self._make_wrapper()
        self._is_unwrapped = True
        self.wrap()

    def wrap(self) -> None:
        """Wrap `__init__`, if it is not wrapped."""
        if self._class.__init__ is self._original:
            self._class.__init__ = self._wrapper
            self._is_unwrapped = False

    def unwrap(self) -> None:
        """Restore the SDK's own, unless another library has wrapped ours since."""
        if self._class.__init__ is self._wrapper:
            self._class.__init__ = self._original
            self._is_unwrapped = True

    def _make_wrapper(self) -> Any:
        @functools.wraps(self._original)
        def __init__(sdk: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            try:
                importlib.import_module(_PATCH)  # ends in _patch_process()
                if self._is_unwrapped:
                    self._class.__init__(sdk, *args, **kwargs)  # wrapped by patch() now
                    return
                # Another library has wrapped this, and so patch() came too late for this client.
                self._original(sdk, *args, **kwargs)
                _patches[0].redirect(sdk)
            except BaseException:
                args = ()  # a traceback may show what a frame holds
                kwargs.clear()
                raise

        return __init__


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


_waiting: list[_FirstClient] = []  # more than one where the SDK was imported again
_patches: list["Patch"] = []
