"""Prompts and skills: named things with versions and aliases of versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_store import MOMENT, Store, picked
from mistral_cf_adapter.testing.mistral_text import as_dict, as_list
from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Card = dict[str, Any]

VERSION_FIELDS = frozenset({"definition", "notes"})
FIELDS = frozenset({"name", "sharingScope"})


@dataclass(slots=True)
class Entry:
    """One prompt or skill: its own fields, and its versions by number."""

    card: Card
    versions: Store[Card]
    latest: int = 0

    def shown(self, version: str | None = None, alias: str | None = None) -> Card | None:
        """Return it in one of its versions, the latest by default; None if there is none."""
        number = str(self.latest) if version is None else version
        if alias is not None:
            named = (str(each["version"]) for each in self.versions if alias in each["aliases"])
            number = next(named, "")
        found = self.versions.get(number)
        return None if found is None else {**self.card, **found, "latestVersion": self.latest}


@dataclass(slots=True)
class Registry:
    """All things of one kind, under one path."""

    root: str
    more_fields: frozenset[str] = frozenset()
    """Fields that this kind has and others have not."""
    kept: Store[Entry] = field(init=False)

    def __post_init__(self) -> None:
        self.kept = Store(self.root)

    def add_to(self, routes: Routes) -> None:
        """Serve the usual paths."""
        one, versions = f"{self.root}/{{}}", f"{self.root}/{{}}/versions"
        routes.add(f"POST {self.root}", self.create, required=("name", "definition"))
        routes.add(f"GET {self.root}", self.list_all)
        routes.add(f"GET {one}", self.show)
        routes.add(f"PATCH {one}", self.update)
        routes.add(f"DELETE {one}", self.delete)
        routes.add(f"GET {versions}", self.list_versions)
        routes.add(f"POST {versions}", self.create_version, required=("definition",))
        routes.add(f"GET {versions}/{{}}", self.show_version)
        routes.add(f"PATCH {versions}/{{}}", self.update_version)

    def create(self, request: ReceivedRequest) -> Response:
        """Keep a new one as its version 1."""
        identity = self.kept.new_id()
        fields = picked(request.fields, FIELDS | self.more_fields)
        card = {"sharingScope": "workspace", **fields, "id": identity, "updatedAt": MOMENT}
        entry = Entry(card, Store("versions"))
        self._add_version(entry, request)
        return json_response(entry.shown())

    def list_all(self, request: ReceivedRequest) -> Response:
        """List them, those with a version of that alias if one is asked for."""
        alias = request.params.get("alias")
        cards = [entry.shown(alias=alias) for entry in self.kept]
        return json_response({"data": [card for card in cards if card is not None]})

    def show(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Show one, in the version or with the alias that is asked for."""
        entry, params = self.kept.get(identity), request.params
        card = None if entry is None else entry.shown(params.get("version"), params.get("alias"))
        return None if card is None else json_response(card)

    def update(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Change what is the same in all versions."""
        entry = self.kept.get(identity)
        if entry is None:
            return None
        entry.card |= picked(request.fields, self.more_fields | {"sharingScope"})
        return json_response(entry.shown())

    def delete(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Forget one."""
        return None if self.kept.remove(identity) is None else json_response({})

    def list_versions(self, _: ReceivedRequest, identity: str) -> Response | None:
        """List the versions of one, the oldest first."""
        entry = self.kept.get(identity)
        return None if entry is None else json_response({"data": list(entry.versions)})

    def create_version(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Make a version, or none if the latest has the same definition."""
        entry = self.kept.get(identity)
        if entry is None:
            return None
        latest = as_dict(entry.versions.get(str(entry.latest)))
        is_same = latest.get("definition") == request.fields["definition"]
        if not is_same:
            self._add_version(entry, request)
        return json_response({"version": entry.latest, "deduplicated": is_same})

    def show_version(self, _: ReceivedRequest, identity: str, version: str) -> Response | None:
        """Show one version."""
        entry = self.kept.get(identity)
        card = None if entry is None else entry.shown(version)
        return None if card is None else json_response(card)

    def update_version(
        self, request: ReceivedRequest, identity: str, version: str
    ) -> Response | None:
        """Change the notes or the aliases of a version."""
        entry = self.kept.get(identity)
        found = None if entry is None else entry.versions.get(version)
        if entry is None or found is None:
            return None
        fields = request.fields
        found |= picked(fields, frozenset({"notes"}))
        if isinstance(fields.get("aliases"), dict):
            found["aliases"] = as_list(fields["aliases"].get("values"))
        return json_response(entry.shown(version))

    def _add_version(self, entry: Entry, request: ReceivedRequest) -> None:
        fields = request.fields
        entry.latest += 1
        version = {
            **picked(fields, VERSION_FIELDS),
            "version": entry.latest,
            "aliases": as_list(fields.get("aliases")),
            "createdAt": MOMENT,
        }
        entry.versions.put(str(entry.latest), version, len(request.body))
        self.kept.put(entry.card["id"], entry, entry.versions.size)
