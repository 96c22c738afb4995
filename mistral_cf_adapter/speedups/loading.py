"""What the SDK loads at its import, and a first call does not need: loaded when it is used.

A finder in front of the others gives the SDK's modules as they are, and looks at a few of them
once they are there. Where the SDK was imported before, everything is loaded already.
"""

import logging
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any, Protocol, cast

from .._collector import are_speedups_off

logger = logging.getLogger("mistral_cf_adapter")

_ROOTS = "mistralai.client", "mistralai"


class Deferred(Protocol):
    """Something that is left for later."""

    def finish(self) -> None:
        """Load it now, and leave nothing for later from here on."""


_FollowUps = dict[str, Callable[[ModuleType], Deferred]]

_deferred: list[Deferred] = []


@contextmanager
def defer_loading() -> Generator[None, None, None]:
    """Leave for later what the SDK, imported in this block, does not need at once."""
    follow_ups: _FollowUps = {f"{root}.types.basemodel": _defer_models for root in _ROOTS}
    if are_speedups_off() or not follow_ups.keys().isdisjoint(sys.modules):
        yield
        return
    finder = _Finder(follow_ups)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def finish_loading() -> None:
    """Load everything that was left for later: the SDK is then as its own import leaves it."""
    while _deferred:
        _deferred.pop().finish()


def _defer_models(module: ModuleType) -> Deferred:
    from .deferred_models import DeferredModels

    return DeferredModels(module)


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
    """Loads a module as its own loader does, and follows up."""

    def __init__(
        self, loader: SourceFileLoader, follow_up: Callable[[ModuleType], Deferred]
    ) -> None:
        self._loader = loader
        self._follow_up = follow_up

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__
        spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        try:
            _deferred.append(self._follow_up(module))
        except Exception as why:  # noqa: BLE001 (a slow start is better than none)
            logger.debug("a faster start steps aside at %s: %s", module.__name__, why)
