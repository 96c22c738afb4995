"""What the small Mistral keeps: things of a kind by id, and the paths that serve them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mistral_cf_adapter.testing import limits
from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Card = dict[str, Any]

MOMENT = "2026-01-01T00:00:00Z"
"""When everything is made, changed and finished: the same question gets the same answer."""
CREATED = 1_760_000_000
"""The same in seconds since 1970, where Mistral gives seconds."""
OWNER = str(uuid.uuid5(uuid.NAMESPACE_URL, "owner"))
"""The user, workspace or organization that everything belongs to."""
DEFAULT_PAGE_SIZE = 100

T = TypeVar("T")


class Store(Generic[T]):
    """Things of a kind by id, oldest first; the oldest go when all are too much."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._items: dict[str, T] = {}
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._made = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._items.values()))

    @property
    def size(self) -> int:
        """The bytes of all items."""
        return self._total

    def new_id(self) -> str:
        """Return an id that no other thing of this store has had."""
        self._made += 1
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._kind}/{self._made}"))

    def put(self, identity: str, item: T, size: int = 0) -> None:
        """Keep an item of so many bytes, in place of one with the same id."""
        self._total += size - self._sizes.get(identity, 0)
        self._items[identity] = item
        self._sizes[identity] = size
        while len(self._items) > 1 and (
            len(self._items) > limits.MAX_KEPT or self._total > limits.MAX_KEPT_BYTES
        ):
            self.remove(next(iter(self._items)))

    def get(self, identity: str) -> T | None:
        """Return an item; None if there is none of that id."""
        return self._items.get(identity)

    def size_of(self, identity: str) -> int:
        """Return the bytes of an item; 0 if there is none of that id."""
        return self._sizes.get(identity, 0)

    def remove(self, identity: str) -> T | None:
        """Remove and return an item; None if there is none of that id."""
        self._total -= self._sizes.pop(identity, 0)
        return self._items.pop(identity, None)


@dataclass(slots=True)
class Resource:
    """JSON objects under one path: made, listed, shown, changed and deleted."""

    root: str
    make: Callable[[ReceivedRequest, str], Card]
    """Build a new object with the id given."""
    page: Callable[[Sequence[Card], Mapping[str, str]], Any]
    """Build the response to a request for the list."""
    deleted: Callable[[Card], Response]
    required: tuple[str, ...] = ()
    """Fields without which no object is made."""
    changes: frozenset[str] = frozenset()
    """Fields that an update may change."""
    created_status: int = 200
    kept: Store[Card] = field(init=False)

    def __post_init__(self) -> None:
        self.kept = Store(self.root)

    def add_to(self, routes: Routes) -> None:
        """Serve the five usual paths."""
        routes.add(f"POST {self.root}", self.create, required=self.required)
        routes.add(f"GET {self.root}", self.list_all)
        routes.add(f"GET {self.root}/{{}}", self.show)
        routes.add(f"DELETE {self.root}/{{}}", self.delete)
        for method in ("PATCH", "PUT"):
            routes.add(f"{method} {self.root}/{{}}", self.update)

    def create(self, request: ReceivedRequest) -> Response:
        """Make an object and keep it."""
        identity = self.kept.new_id()
        card = self.make(request, identity)
        self.kept.put(identity, card, len(request.body))
        return json_response(card, self.created_status)

    def list_all(self, request: ReceivedRequest) -> Response:
        """List what is kept, a page of it if asked so."""
        return json_response(self.page(list(self.kept), request.params))

    def show(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Show one object."""
        card = self.kept.get(identity)
        return None if card is None else json_response(card)

    def update(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Change the fields that may change, and show the object."""
        card = self.kept.get(identity)
        if card is None:
            return None
        changed = {**card, **picked(request.fields, self.changes)}
        self.kept.put(identity, changed, len(request.body))
        return json_response(changed)

    def delete(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Forget one object."""
        card = self.kept.remove(identity)
        return None if card is None else self.deleted(card)


def picked(fields: Mapping[str, Any], names: frozenset[str]) -> Card:
    """Return those of the fields that are named and not null."""
    return {name: fields[name] for name in fields if name in names and fields[name] is not None}


def page_of(cards: Sequence[Card], params: Mapping[str, str]) -> Sequence[Card]:
    """Return the page that `page` (from 0) and `page_size` (100) of a query ask for."""
    size = number(params.get("page_size"), DEFAULT_PAGE_SIZE)
    start = number(params.get("page"), 0) * size
    return cards[start : start + size]


def pagination(cards: Sequence[Card], params: Mapping[str, str]) -> Card:
    """Return what the list of a page says about all of them."""
    size = max(number(params.get("page_size"), DEFAULT_PAGE_SIZE), 1)
    page, pages = number(params.get("page"), 0), -(-len(cards) // size)
    return {
        "total_items": len(cards),
        "total_pages": pages,
        "current_page": page,
        "page_size": size,
        "has_more": page + 1 < pages,
    }


def no_content(_: Any = None) -> Response:
    """Say that it is done, without a body."""
    return Response(204, (), b"")


def number(text: str | None, default: int) -> int:
    """Return a number of a query; the default if it is none, or is negative."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else default
