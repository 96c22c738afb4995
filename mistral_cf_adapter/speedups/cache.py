"""What is kept per type: the key, and a bounded place for it."""

from typing import Annotated, Any, Generic, Literal, TypeVar

import typing_extensions

from .._locks import fork_safe_lock

LIMIT = 512
"""How much is kept at most; a program uses a few dozen of the SDK's types."""

T = TypeVar("T")

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
