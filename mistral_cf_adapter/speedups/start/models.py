"""The SDK's models get their validators when they are first used, not when they are imported.

A call uses some thirty of the hundred models that the SDK imports for it, and those that are part
of others need no validator of their own. pydantic calls this `defer_build`. Three things that
pydantic leaves out until then are here from the start: what `inspect.signature()` returns, what a
deprecated field warns of, and the errors of a class that a program derives from one of the SDK's.
"""

import sys
from types import FrameType, ModuleType
from typing import Any, cast

import pydantic.main
from pydantic import BaseModel

from ..cache import models_in
from ..patches import ChangedError, members

_DEFER = "defer_build"
_OURS = "model_rebuild", "__pydantic_init_subclass__"
_build: Any = BaseModel.model_rebuild
"""pydantic's own."""


class DeferredModels:
    """Defers the models below the SDK's base model, until `finish()`."""

    def __init__(self, module: ModuleType) -> None:
        base: Any = members(module).get("BaseModel")
        _check(base)
        self._base = base
        self._package = f"{module.__name__.partition('.')[0]}."
        self._base.model_config[_DEFER] = True
        for name, replacement in zip(_OURS, self._replacements(), strict=True):
            setattr(self._base, name, replacement)

    def _replacements(self) -> tuple[Any, ...]:
        base, package = self._base, self._package

        def model_rebuild(cls: Any, /, **arguments: Any) -> bool | None:
            is_sdks = cls.__module__.startswith(package)
            if is_sdks and not arguments and _is_at_end_of_module(cls, sys._getframe(1)):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                return None
            if not cls.__pydantic_complete__:
                _build_nested(cls)
            depth: int = arguments.get("_parent_namespace_depth", 2)
            if depth > 0:  # of frames: this one is in between
                arguments["_parent_namespace_depth"] = depth + 1
            built: bool | None = _build.__func__(cls, **arguments)
            return built

        def init_subclass(cls: Any, /, **arguments: Any) -> None:
            above = cast("Any", super(base, cls))
            above.__pydantic_init_subclass__(**arguments)
            is_sdks = cls.__module__.startswith(package)
            if is_sdks and not any(one.deprecated for one in cls.__pydantic_fields__.values()):
                cls.__signature__ = _SIGNATURE
                return
            cls.model_config.pop(_DEFER, None)
            _build.__func__(cls, raise_errors=False, _parent_namespace_depth=0)

        return classmethod(model_rebuild), classmethod(init_subclass)

    def finish(self) -> None:
        """Build what is not built, as without this class."""
        base = self._base
        base.model_config.pop(_DEFER, None)
        for name in _OURS:
            delattr(base, name)
        waiting: list[Any] = [base]
        while waiting:
            cls = waiting.pop()
            waiting += cls.__subclasses__()
            cls.model_config.pop(_DEFER, None)
            cls.model_rebuild(raise_errors=False, _parent_namespace_depth=0)


class _Signature:
    """A model's signature until the model is built, which then has its own."""

    def __get__(self, instance: object, owner: Any) -> Any:
        if instance is None:
            _build.__func__(owner, raise_errors=False, _parent_namespace_depth=0)
            if members(owner).get("__signature__") is not self:
                return owner.__signature__
        raise AttributeError("__signature__")  # noqa: EM101 - as pydantic's own does


_SIGNATURE = _Signature()


def build_models(typ: Any) -> None:
    """Build the deferred models that a type names, and those in their fields before.

    pydantic takes what is built as it is, and would else work out the schema of a model again for
    each type that it is part of.
    """
    for model in models_in(typ):
        if members(model).get("__signature__") is _SIGNATURE and model not in _building:
            _building.add(model)
            try:
                _build_nested(model)
                _build.__func__(model, raise_errors=False, _parent_namespace_depth=0)
            finally:
                _building.discard(model)


def _build_nested(model: Any) -> None:
    for field in model.__pydantic_fields__.values():
        build_models(field.annotation)


_building: set[Any] = set()


def _is_at_end_of_module(cls: Any, caller: FrameType) -> bool:
    """Return whether the caller is the module of a class, as it is imported.

    All names that the class needs are in that module, whenever it is built; where another module
    rebuilds a class, that one has names that the class lacks.
    """
    names = caller.f_globals
    return names is caller.f_locals and names.get("__name__") == cls.__module__


def _check(base: Any) -> None:
    if not isinstance(base, type) or base.__bases__ != (BaseModel,):
        msg = "the SDK's models have another base"
        raise ChangedError(msg)
    own = members(base)
    config: Any = own.get("model_config", {})
    has_own = any(name in own for name in _OURS) or _DEFER in config
    if has_own or not own.get("__pydantic_complete__"):
        msg = "the base of the SDK's models builds them in a way of its own"
        raise ChangedError(msg)
    # Else two threads could build one model at the same time, and one find it half built.
    if not hasattr(pydantic.main, "_rebuild_lock"):
        msg = "this release of pydantic builds deferred models without a lock"
        raise ChangedError(msg)
