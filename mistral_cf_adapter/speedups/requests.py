"""A walk through a type planned once, where the SDK plans it again for every value.

Since 2.10 every argument of a call is searched for iterables, against every field of every
member of every union that its type names. What a type asks for does not change; and nothing is
to be done for text and numbers, most of what there is.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType, NoneType, UnionType
from typing import Any, Union, cast

import typing_extensions

from .cache import BoundedCache, fingerprint
from .patches import Codes, Target, codes_of, members


def get_body_content(target: Target) -> Callable[[Any], str]:
    """Return the replacement for `basesdk.get_body_content`: nothing where no logger listens.

    It renders the whole body of every request, images and recordings included, for a logger
    which by default does nothing.
    """
    original: Callable[[Any], str] = target.original
    logger = importlib.import_module(".utils.logger", target.module.__package__)
    silent: type = vars(logger)["NoOpLogger"]
    is_untouched = target.watch()

    def get_body_content(req: Any) -> str:
        caller = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if type(caller.f_locals.get("logger")) is silent and is_untouched():
            return ""
        return original(req)

    return get_body_content


_UNIONS = type(Union[int, None]), UnionType  # noqa: UP007 - one class from Python 3.14 on


def get_pydantic_model(target: Target) -> Callable[[Any, Any], Any]:
    """Return the replacement for `serializers.get_pydantic_model`: the same, with less to ask.

    Most arguments of a call are not given, and each is validated against its type. For a union that
    has `None` in it pydantic looks no further. In the others each value is asked whether it is a
    model, a `typing.List` or a `typing.Dict`, the dearest three of questions.
    """
    original: Any = target.original
    names = members(target.module)
    called = [(name, names[name]) for name in target.digests if name != original.__name__]
    is_untouched = target.watch()
    coerces = "_coerce_iterables_for_type" in original.__code__.co_names  # since 2.10

    def get_pydantic_model(data: Any, typ: Any) -> Any:
        for name, function in called:
            if names[name] is not function:
                return original(data, typ)
        if not is_untouched():
            return original(data, typ)
        if data is None and type(typ) in _UNIONS and NoneType in typ.__args__:
            return None
        if not _contains_model(data, names["BaseModel"]):
            return names["unmarshal"](data, typ)
        return names["_coerce_iterables_for_type"](data, typ) if coerces else data

    return get_pydantic_model


def _contains_model(data: object, model: type) -> bool:
    kind = type(data)  # as `typing.List` does, which takes no word for it
    if kind in _SCALARS:
        return False
    if kind not in _CONTAINERS and isinstance(data, model):
        return True
    parts: Iterable[object] = ()
    if issubclass(kind, list):
        parts = cast("list[object]", data)
    elif issubclass(kind, dict):
        parts = cast("dict[object, object]", data).values()
    for part in parts:  # noqa: SIM110 - any() takes twice as long
        if _contains_model(part, model):
            return True
    return False


_SCALARS = frozenset({str, int, float, bool, bytes, NoneType})
_CONTAINERS: frozenset[type] = frozenset({list, dict})
_LISTS: frozenset[type] = frozenset({list})
_ITERABLE: Any = Iterable
_MAPPING: Any = Mapping
_NO_LISTS: Any = (str, bytes, bytearray, Mapping)

Coerce = Callable[[Any], Any]
Plan = Coerce | None
"""What to do to a value; None where no value of the type is changed."""


def coerce_iterables_for_type(target: Target) -> "Coercion":
    """Return the replacement for `serializers._coerce_iterables_for_type`."""
    return Coercion(target.module, target.original, codes_of(*target.functions))


class Coercion:
    """Stands in for `_coerce_iterables_for_type`; the SDK's own predicates sort the types."""

    def __init__(
        self,
        sdk: ModuleType,
        original: Callable[[Any, Any], Any],
        watched: Codes = (),
    ) -> None:
        self._sdk = vars(sdk)
        self._original = original
        self._watched = watched
        self._cache: BoundedCache[tuple[Plan]] = BoundedCache()
        self._model: type = sdk.BaseModel

    def __len__(self) -> int:
        return len(self._cache)

    def __call__(self, data: Any, typ: Any) -> Any:
        """Return the value with lists in place of other iterables where the type has lists."""
        for function, code in self._watched:
            if function.__code__ is not code:
                return self._original(data, typ)
        if self._is_left_alone(data):
            return data
        plan = self._plan(typ)
        return data if plan is None else plan(data)

    def _is_left_alone(self, data: object) -> bool:
        kind = type(data)
        if kind in _SCALARS:
            return True
        return kind not in _CONTAINERS and isinstance(data, self._model)

    def _plan(self, typ: Any) -> Plan:
        key = fingerprint(typ)
        kept = self._cache.get(key)
        if kept is None:
            kept = (self._make(typ),)
            self._cache.set(key, typ, kept)
        return kept[0]

    def _make(self, typ: Any) -> Plan:
        sdk = self._sdk
        typ = sdk["_resolve_type_alias"](typ)
        origin: Any = typing_extensions.get_origin(typ)
        args: tuple[Any, ...] = typing_extensions.get_args(typ)
        if sdk["_is_annotated_type"](origin):
            return self._plan(args[0])
        if sdk["is_union"](origin):
            return self._union(args)
        if sdk["_is_list_type"](typ):
            return self._list(args[0] if args else Any)
        if sdk["_is_mapping_type"](typ):
            return self._mapping(args[1] if len(args) > 1 else Any)
        return self._record(typ) if sdk["_is_pydantic_model_type"](typ) else None

    def _union(self, args: tuple[Any, ...]) -> Plan:
        plans = [plan for plan in map(self._plan, args) if plan is not None]

        def coerce(data: Any) -> Any:
            for plan in plans:
                coerced = plan(data)
                if coerced is not data:
                    return coerced
            return data

        return coerce if plans else None

    def _list(self, item: Any) -> Coerce:
        def coerce(data: Any) -> Any:
            if data.__class__ not in _LISTS and (
                isinstance(data, _NO_LISTS) or not isinstance(data, _ITERABLE)
            ):
                return data
            return [self(part, item) for part in cast("Iterable[Any]", data)]

        return coerce

    def _mapping(self, value: Any) -> Coerce:
        def coerce(data: Any) -> Any:
            if not isinstance(data, _MAPPING):
                return data
            return {key: self(part, value) for key, part in data.items()}

        return coerce

    def _record(self, cls: Any) -> Coerce:
        fields: Any = None
        keys: list[tuple[str, Coerce]] = []

        def coerce(data: Any) -> Any:
            nonlocal fields, keys
            if data.__class__ is not dict or not cls.__pydantic_complete__:
                return self._original(data, cls)
            if fields is not cls.__pydantic_fields__:  # new, or the model has been rebuilt
                keys, fields = self._keys(cls.__pydantic_fields__), cls.__pydantic_fields__
            return self._coerced(data, keys)

        return coerce

    def _keys(self, fields: dict[str, Any]) -> list[tuple[str, Coerce]]:
        """Return the keys under which a record may hold something to coerce, in order."""
        return [
            (key, plan)
            for name, field in fields.items()
            if (plan := self._plan(field.annotation)) is not None
            for key in (name, field.alias)
            if key is not None
        ]

    def _coerced(self, data: dict[Any, Any], keys: list[tuple[str, Coerce]]) -> dict[Any, Any]:
        coerced = data
        for key, plan in keys:
            if key not in data:
                continue
            value = coerced[key]
            part = value if self._is_left_alone(value) else plan(value)
            if part is not value:
                coerced = dict(data) if coerced is data else coerced
                coerced[key] = part
        return coerced
