"""One model class per type, where the SDK builds one for every value.

`serializers.unmarshal()` and `marshal_json()` wrap each value in a model class that pydantic
builds afresh, with a validator and a serializer: the dearest thing pydantic does. The class
depends on the type alone.
"""

from collections.abc import Callable
from typing import Any

import typing_extensions
from pydantic import BaseModel, ConfigDict, create_model

from .kept import Kept, fingerprint
from .originals import Codes, codes_of
from .seams import ChangedError, Found

_CONFIG = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)
_DEFINED = frozenset({"body", "__config__"})

Model = type[BaseModel]


def cached_create_model(found: Found) -> "ModelCache":
    """Return the replacement for the `create_model` that `serializers` calls."""
    if found.original is not create_model:
        msg = "serializers.create_model is not pydantic's"
        raise ChangedError(msg)
    return ModelCache(create_model, found.module.__name__, codes_of(*found.functions, create_model))


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
        self._kept: Kept[tuple[Model, tuple[tuple[Model, Any], ...]]] = Kept()

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, name: str, /, **definition: Any) -> Model:
        """Return the model class for a type: the one made before, or a new one."""
        if definition.keys() != _DEFINED or definition["__config__"] != _CONFIG:
            return self._create(name, **definition)
        for function, code in self._watched:
            if function.__code__ is not code:
                return self._create(name, **definition)
        typ = definition["body"][0]
        key = name, fingerprint(typ)
        entry = self._kept.get(key)
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
            self._kept.keep(key, typ, (made, schemas))
        return made


def models_in(typ: Any) -> frozenset[Model]:
    """Return the model classes that a type names, whose schemas become part of its own."""
    found: set[Model] = set()
    _collect(typ, found, set())
    return frozenset(found)


def _collect(typ: Any, found: set[Model], seen: set[int]) -> None:
    if id(typ) in seen:
        return
    seen.add(id(typ))
    if isinstance(typ, type) and issubclass(typ, BaseModel):
        found.add(typ)
        return
    parts: tuple[Any, ...] = (*typing_extensions.get_args(typ), _origin(typ))
    for part in parts:
        _collect(part, found, seen)


def _origin(typ: Any) -> Any:
    """Return what a type alias stands for, and what a generic one is made from."""
    if isinstance(typ, typing_extensions.TypeAliasType):
        return typ.__value__
    return typing_extensions.get_origin(typ)
