"""What is kept per type: the key, a bounded place for it, and the models that it names."""

from typing import Annotated, Any, Generic, Literal, TypeVar

import typing_extensions
from pydantic import BaseModel

from .._locks import fork_safe_lock

LIMIT = 512
"""How much is kept at most; a program uses a few dozen of the SDK's types."""

T = TypeVar("T")
Model = type[BaseModel]

_lock = fork_safe_lock()

# typing hands out the same object for a type written twice, as long as it remembers it.
_recent: dict[int, tuple[Any, Any]] = {}

_ANNOTATED: Any = type(Annotated[int, 0])
_LITERALS: frozenset[Any] = frozenset((type(Literal[0]), type(typing_extensions.Literal[0])))


def fingerprint(typ: Any) -> Any:
    """Return a key that is equal only for types which pydantic cannot tell apart.

    `==` will not do: `Union[int, str] == Union[str, int]`, and a union tries its members in
    order. Leaves count by identity, so a caller that keeps the key must keep the type alive.
    """
    if isinstance(typ, type):
        return id(typ)
    recent = _recent.get(id(typ))
    if recent is not None and recent[0] is typ:
        return recent[1]
    args: Any = getattr(typ, "__args__", None)
    if not args or args.__class__ is not tuple:
        return id(typ)
    return _remembered(typ, _composed(typ, args))


def _remembered(typ: Any, key: Any) -> Any:
    if len(_recent) >= LIMIT:
        _recent.clear()
    _recent[id(typ)] = (typ, key)
    return key


def _composed(typ: Any, args: tuple[Any, ...]) -> Any:
    kind: Any = typ.__class__
    if kind in _LITERALS:
        return kind, tuple((arg.__class__, arg) for arg in args)
    if kind is _ANNOTATED:
        return kind, fingerprint(args[0]), tuple(map(id, typ.__metadata__))
    return kind, id(getattr(typ, "__origin__", None)), tuple(map(fingerprint, args))


class BoundedCache(Generic[T]):
    """Values by key, each with the type that its key stands for; the oldest goes first."""

    def __init__(self) -> None:
        self._entries: dict[Any, tuple[Any, T]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Any) -> T | None:
        """Return what is kept under a key, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def set(self, key: Any, typ: Any, value: T) -> None:
        """Keep a value, and its type alive with it."""
        with _lock:
            self._entries.pop(key, None)
            if len(self._entries) >= LIMIT:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = (typ, value)


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
