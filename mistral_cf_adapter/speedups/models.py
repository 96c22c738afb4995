"""Lazy names looked up where they live, without a trip through the import system.

`utils`, `models` and `errors` resolve every attribute with `import_module()`, each time: a call
asks some thirty times, a streamed event three times.
"""

import sys
import typing
import weakref
from collections.abc import Callable
from importlib.util import resolve_name
from typing import TYPE_CHECKING, Any

import typing_extensions
from pydantic import BaseModel, ConfigDict, create_model

from .cache import BoundedCache, fingerprint
from .patches import ChangedError, Codes, Target, codes_of


def cached_type_hints(target: Target) -> "HintCache":
    """Return the replacement for the `get_type_hints` that one module calls."""
    if target.original is not typing.get_type_hints:
        msg = f"{target.module.__name__}.get_type_hints is not typing's"
        raise ChangedError(msg)
    return HintCache(typing.get_type_hints, codes_of(*target.functions, typing.get_type_hints))


class HintCache:
    """Stands in for `get_type_hints` in one module; callers get a dictionary of their own."""

    def __init__(
        self,
        get_type_hints: Callable[[Any], dict[str, Any]],
        watched: Codes = (),
    ) -> None:
        self._resolve = get_type_hints
        self._watched = watched
        self._hints: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._hints)

    def __call__(self, cls: type) -> dict[str, Any]:
        """Return the type hints of a class."""
        for function, code in self._watched:
            if function.__code__ is not code:
                return self._resolve(cls)
        hints = self._hints.get(cls)
        if hints is None:
            hints = self._hints[cls] = self._resolve(cls)
        return hints.copy()


_CONFIG = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)
_DEFINED = frozenset({"body", "__config__"})

Model = type[BaseModel]


def cached_create_model(target: Target) -> "ModelCache":
    """Return the replacement for the `create_model` that `serializers` calls."""
    if target.original is not create_model:
        msg = "serializers.create_model is not pydantic's"
        raise ChangedError(msg)
    return ModelCache(
        create_model, target.module.__name__, codes_of(*target.functions, create_model)
    )


class ModelCache:
    """Stands in for `create_model` in `serializers`: the same class for the same type."""

    def __init__(
        self,
        create_model: Callable[..., Model],
        module: str,
        watched: Codes = (),
    ) -> None:
        self._create = create_model
        self._watched = watched
        self._module = module
        self._cache: BoundedCache[tuple[Model, tuple[tuple[Model, Any], ...]]] = BoundedCache()

    def __len__(self) -> int:
        return len(self._cache)

    def __call__(self, name: str, /, **definition: Any) -> Model:
        """Return the model class for a type: the one made before, or a new one."""
        if definition.keys() != _DEFINED or definition["__config__"] != _CONFIG:
            return self._create(name, **definition)
        for function, code in self._watched:
            if function.__code__ is not code:
                return self._create(name, **definition)
        typ = definition["body"][0]
        key = name, fingerprint(typ)
        entry = self._cache.get(key)
        if entry is None or any(m.__pydantic_validator__ is not v for m, v in entry[1]):
            return self._make(name, typ, key)
        return entry[0]

    def _make(self, name: str, typ: Any, key: Any) -> Model:
        # A nested model that is rebuilt later has another schema, and another validator.
        schemas = tuple((model, model.__pydantic_validator__) for model in models_in(typ))
        # pydantic would take the name of the calling module, and so this one's.
        made = self._create(name, body=(typ, ...), __config__=_CONFIG, __module__=self._module)
        # What is half-built because a name is missing would stay so.
        if made.__pydantic_complete__:
            self._cache.set(key, typ, (made, schemas))
        return made


def models_in(typ: Any) -> frozenset[Model]:
    """Return the model classes that a type names, whose schemas become part of its own."""
    target: set[Model] = set()
    _collect(typ, target, set())
    return frozenset(target)


def _collect(typ: Any, target: set[Model], seen: set[int]) -> None:
    if id(typ) in seen:
        return
    seen.add(id(typ))
    if isinstance(typ, type) and issubclass(typ, BaseModel):
        target.add(typ)
        return
    parts: tuple[Any, ...] = (*typing_extensions.get_args(typ), _origin(typ))
    for part in parts:
        _collect(part, target, seen)


def _origin(typ: Any) -> Any:
    """Return what a type alias stands for, and what a generic one is made from."""
    if isinstance(typ, typing_extensions.TypeAliasType):
        return typ.__value__
    return typing_extensions.get_origin(typ)


def deepcopy_of_unset(target: Target) -> Callable[..., Any]:
    """Return the `Unset.__deepcopy__` to add: it makes the copy of `UNSET` once."""
    if target.original is not BaseModel.__deepcopy__:
        msg = "Unset has a deep copy of its own"
        raise ChangedError(msg)
    unset = vars(target.module)["UNSET"]
    copy = BaseModel.__deepcopy__(unset)
    if not _is_empty(unset) or not _is_empty(copy):
        msg = "UNSET holds something"
        raise ChangedError(msg)

    original: Any = BaseModel.__deepcopy__
    code = original.__code__

    def __deepcopy__(self: Any, memo: dict[int, Any] | None = None) -> Any:  # noqa: N807
        # Seven times for an event: else `Target.watch()` would be the plainer check.
        if (self is unset or self is copy) and original.__code__ is code:
            return copy
        return BaseModel.__deepcopy__(self, memo)

    return __deepcopy__


def _is_empty(value: Any) -> bool:
    return (
        not value.__dict__
        and not value.__pydantic_fields_set__
        and value.__pydantic_extra__ is None
        and value.__pydantic_private__ is None
    )


if TYPE_CHECKING:
    from types import ModuleType


def lazy_names(target: Target) -> Callable[[str], Any]:
    """Return the replacement for a package's `__getattr__`.

    Only the module is remembered, not the value: what is replaced in it later shows at once.
    """
    original: Callable[[str], Any] = target.original
    package = target.module
    lazy: dict[str, str] = vars(package).get("_dynamic_imports", {})
    if not lazy:
        msg = f"{package.__name__} has no table of lazy names"
        raise ChangedError(msg)
    homes: dict[str, tuple[ModuleType, dict[str, Any]]] = {}
    """The module of each name, and its namespace."""
    watched = codes_of(*target.functions)
    loaded = sys.modules

    def __getattr__(name: str) -> Any:  # noqa: N807
        for function, code in watched:
            if function.__code__ is not code:
                return original(name)
        home = homes.get(name)
        if home is not None:
            module, namespace = home
            if loaded.get(module.__name__) is module and name in namespace:
                return namespace[name]
        value = original(name)
        if name in lazy:
            found_in = loaded.get(resolve_name(lazy[name], package.__package__))
            if found_in is not None and name in vars(found_in):
                homes[name] = found_in, vars(found_in)
        return value

    return __getattr__
