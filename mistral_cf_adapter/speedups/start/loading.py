"""What the SDK loads at its import, and a first call does not need: loaded when it is used.

A finder in front of the others finds the SDK's modules where they do, and has a say when a few of
them are executed. Where the SDK was imported before, everything is loaded already.
"""

import logging
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from ..._collector import are_speedups_off

if TYPE_CHECKING:
    from .hooks import DeferredHooks
    from .models import DeferredModels

logger = logging.getLogger("mistral_cf_adapter")

_ROOTS = "mistralai.client", "mistralai"

Execute = Callable[[], None]
_FollowUps = dict[str, Callable[[ModuleType, Execute], None]]

_models: "list[DeferredModels]" = []
_hooks: "list[DeferredHooks]" = []


@contextmanager
def defer_loading() -> Generator[None, None, None]:
    """Leave for later what the SDK, imported in this block, does not need at once."""
    bases = {f"{root}.types.basemodel" for root in _ROOTS}
    if are_speedups_off() or not bases.isdisjoint(sys.modules):
        yield
        return
    follow_ups: _FollowUps = dict.fromkeys(bases, _defer_models)
    follow_ups["mistralai.client._hooks.registration"] = partial(_defer_hooks, follow_ups)
    finder = _Finder(follow_ups)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if not hooks_deferred():
            sys.meta_path.remove(finder)


def finish_loading() -> None:
    """Load everything that was left for later: the SDK is then as its own import leaves it."""
    for deferred in (_models, _hooks):
        while deferred:
            deferred.pop().finish()
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not _Finder]


def hooks_deferred() -> "DeferredHooks | None":
    """Return what stands in for the SDK's hooks, `None` where they are loaded."""
    return _hooks[0] if _hooks else None


def _defer_models(module: ModuleType, execute: Execute) -> None:
    from .models import DeferredModels

    execute()
    with _stepping_aside(module):
        _models.append(DeferredModels(module))


def _defer_hooks(follow_ups: _FollowUps, module: ModuleType, execute: Execute) -> None:
    from .hooks import DeferredHooks

    with _stepping_aside(module):
        _hooks.append(DeferredHooks(module, execute))
    hooks = hooks_deferred()
    if hooks is None:
        execute()
        return

    def swap(module: ModuleType, execute: Execute) -> None:
        execute()
        hooks.swap(module.__name__)

    def watch(module: ModuleType, execute: Execute) -> None:
        execute()
        hooks.watch_extras(module)

    follow_ups.update((f"{module.__package__}.{name}", swap) for name in hooks.kinds)
    follow_ups["mistralai.extra"] = watch


@contextmanager
def _stepping_aside(module: ModuleType) -> Generator[None, None, None]:
    try:
        yield
    except Exception as why:  # noqa: BLE001 (a slow start is better than none)
        logger.debug("a faster start steps aside at %s: %s", module.__name__, why)


class _Finder:
    """Finds the modules with a follow-up where the other finders do."""

    def __init__(self, follow_ups: _FollowUps) -> None:
        self._follow_ups = follow_ups

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        follow_up = self._follow_ups.get(name)
        if follow_up is None:
            return None
        spec = next(self._ask_others(name, path, target), None)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None  # a tool has the module changed on the way
        spec.loader = cast("Any", _Loader(spec.loader, follow_up))
        return spec

    def _ask_others(self, *wanted: Any) -> Iterator[ModuleSpec]:
        for finder in sys.meta_path:
            if finder is not self:
                spec = finder.find_spec(*wanted)
                if spec is not None:
                    yield spec


class _Loader:
    """Loads a module as its own loader does, but for the follow-up."""

    def __init__(
        self, loader: SourceFileLoader, follow_up: Callable[[ModuleType, Execute], None]
    ) -> None:
        self._loader = loader
        self._follow_up = follow_up

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__
        spec.loader = module.__loader__ = self._loader
        self._follow_up(module, partial(self._loader.exec_module, module))
