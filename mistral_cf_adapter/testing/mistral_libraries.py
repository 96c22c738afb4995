"""Libraries of documents, and who may see them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_errors import invalid, missing
from mistral_cf_adapter.testing.mistral_files import read_upload
from mistral_cf_adapter.testing.mistral_store import (
    MOMENT,
    OWNER,
    Store,
    no_content,
    page_of,
    pagination,
    picked,
)
from mistral_cf_adapter.testing.responses import Response, bytes_response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Card = dict[str, Any]

ROOT = "/v1/libraries"
DOCUMENTS = f"{ROOT}/{{}}/documents"
DOCUMENT = f"{DOCUMENTS}/{{}}"
SIGNED = "/signed/documents"
SHARE = f"{ROOT}/{{}}/share"
CHANGES = frozenset({"name", "description"})
DOCUMENT_CHANGES = frozenset({"name", "attributes", "expires_at"})
MAX_SHARES = 1000


@dataclass(slots=True)
class Document:
    """One document: what the API says of it, and its bytes."""

    card: Card
    content: bytes


@dataclass(slots=True)
class Library:
    """One library with its documents and the entities it is shared with."""

    card: Card
    documents: Store[Document]
    shares: dict[str, Card] = field(default_factory=dict[str, dict[str, Any]])

    def shown(self) -> Card:
        """Return what the API says of it."""
        count = len(self.documents)
        return {**self.card, "nb_documents": count, "total_size": self.documents.size}


@dataclass(slots=True)
class Libraries:
    """The libraries of one upstream. Documents are processed as soon as they are there."""

    origin: Callable[[], str]
    """The origin that signed URLs begin with."""
    kept: Store[Library] = field(default_factory=lambda: Store[Library](ROOT))

    def add_to(self, routes: Routes) -> None:
        """Serve what is under /v1/libraries."""
        routes.add(f"POST {ROOT}", self.create, required=("name",))
        routes.add(f"GET {ROOT}", self.list_all)
        routes.add(f"GET {ROOT}/{{}}", self.show)
        routes.add(f"DELETE {ROOT}/{{}}", self.delete)
        routes.add(f"POST {DOCUMENTS}", self.upload, reads_form=True)
        routes.add(f"GET {DOCUMENTS}", self.list_documents)
        routes.add(f"GET {DOCUMENT}", self.show_document)
        routes.add(f"DELETE {DOCUMENT}", self.delete_document)
        for method in ("PATCH", "PUT"):
            routes.add(f"{method} {ROOT}/{{}}", self.update)
            routes.add(f"{method} {DOCUMENT}", self.update_document)
        routes.add(f"GET {DOCUMENT}/text_content", self.read_text)
        routes.add(f"GET {DOCUMENT}/status", self.show_status)
        routes.add(f"GET {DOCUMENT}/signed-url", self.sign)
        routes.add(f"GET {DOCUMENT}/extracted-text-signed-url", self.sign_text)
        routes.add(f"POST {DOCUMENT}/reprocess", self.reprocess)
        routes.add(f"GET {SHARE}", self.list_shares)
        routes.add(f"PUT {SHARE}", self.share, required=("level", "share_with_uuid"))
        routes.add(f"DELETE {SHARE}", self.unshare, required=("share_with_uuid",))

    def add_signed_to(self, routes: Routes) -> None:
        """Serve what the signed URLs lead to."""
        routes.add(f"GET {SIGNED}/{{}}/{{}}/{{}}", self.download)

    def create(self, request: ReceivedRequest) -> Response:
        """Keep an empty library."""
        fields = request.fields
        identity = self.kept.new_id()
        card = {
            "id": identity,
            "created_at": MOMENT,
            "updated_at": MOMENT,
            "owner_id": OWNER,
            "owner_type": fields.get("owner_type") or "Workspace",
            "chunk_size": fields.get("chunk_size"),
            "description": None,
            **picked(fields, CHANGES),
        }
        library = Library(card, Store(f"{ROOT}/{identity}"))
        self.kept.put(identity, library)
        return json_response(library.shown(), 201)

    def list_all(self, request: ReceivedRequest) -> Response:
        """List the libraries."""
        cards = [library.shown() for library in self.kept]
        return _page(cards, request.params)

    def show(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Show one library."""
        library = self.kept.get(identity)
        return None if library is None else json_response(library.shown())

    def update(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Change a library's name or description."""
        library = self.kept.get(identity)
        if library is None:
            return None
        library.card |= picked(request.fields, CHANGES)
        return json_response(library.shown())

    def delete(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Forget a library and its documents."""
        library = self.kept.remove(identity)
        return None if library is None else json_response(library.shown())

    def upload(self, _: ReceivedRequest, form: Mapping[str, Any], identity: str) -> Response | None:
        """Keep the form's `file` as a document."""
        library = self.kept.get(identity)
        upload = read_upload(form)
        if library is None:
            return None
        if upload is None:
            return missing("file")
        document = _document(library, *upload)
        library.documents.put(document.card["id"], document, len(document.content))
        self.kept.put(identity, library, library.documents.size)
        return json_response(document.card, 201)

    def list_documents(self, request: ReceivedRequest, identity: str) -> Response | None:
        """List the documents of a library."""
        library = self.kept.get(identity)
        if library is None:
            return None
        text = request.params.get("search", "")
        cards = [document.card for document in library.documents]
        cards = [card for card in cards if text in str(card["name"])]
        return _page(cards, request.params)

    def show_document(self, _: ReceivedRequest, library: str, identity: str) -> Response | None:
        """Show one document."""
        document = self._document(library, identity)
        return None if document is None else json_response(document.card)

    def update_document(
        self, request: ReceivedRequest, library: str, identity: str
    ) -> Response | None:
        """Change a document's name, attributes or expiry."""
        document = self._document(library, identity)
        if document is None:
            return None
        document.card |= picked(request.fields, DOCUMENT_CHANGES)
        return json_response(document.card)

    def delete_document(self, _: ReceivedRequest, library: str, identity: str) -> Response | None:
        """Forget one document."""
        found = self.kept.get(library)
        if found is None or found.documents.remove(identity) is None:
            return None
        return no_content()

    def read_text(self, _: ReceivedRequest, library: str, identity: str) -> Response | None:
        """Return the text of a document, which is what its bytes are in UTF-8."""
        document = self._document(library, identity)
        if document is None:
            return None
        return json_response({"text": document.content.decode(errors="replace")})

    def show_status(self, _: ReceivedRequest, library: str, identity: str) -> Response | None:
        """Say that a document is processed."""
        document = self._document(library, identity)
        if document is None:
            return None
        names = ("process_status", "processing_status")
        return json_response({"document_id": identity, **{n: document.card[n] for n in names}})

    def sign(self, _: ReceivedRequest, library: str, identity: str) -> Response | None:
        """Return a URL that serves a document without a key."""
        return self._sign(library, identity, "content")

    def sign_text(self, _: ReceivedRequest, library: str, identity: str) -> Response | None:
        """Return a URL that serves a document's text without a key."""
        return self._sign(library, identity, "text")

    def download(
        self, _: ReceivedRequest, library: str, identity: str, view: str
    ) -> Response | None:
        """Return a document, or its text, as a signed URL serves it."""
        document = self._document(library, identity)
        if document is None:
            return None
        kind = "text/plain; charset=utf-8" if view == "text" else document.card["mime_type"]
        return bytes_response(document.content, kind)

    def reprocess(self, _: ReceivedRequest, library: str, identity: str) -> Response | None:
        """Do nothing: a document is processed already."""
        return None if self._document(library, identity) is None else no_content()

    def list_shares(self, _: ReceivedRequest, identity: str) -> Response | None:
        """List whom a library is shared with."""
        library = self.kept.get(identity)
        return None if library is None else json_response({"data": [*library.shares.values()]})

    def share(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Share a library with a user, a workspace or an organization."""
        library = self.kept.get(identity)
        if library is None:
            return None
        if len(library.shares) >= MAX_SHARES:
            return invalid("too_large", ["body", "share_with_uuid"], "LocalGateway's limit")
        fields = request.fields
        whom = str(fields["share_with_uuid"])
        library.shares[whom] = {
            "library_id": identity,
            "user_id": None,
            "org_id": fields.get("org_id") or OWNER,
            "role": fields["level"],
            "share_with_type": fields.get("share_with_type") or "User",
            "share_with_uuid": whom,
        }
        return json_response(library.shares[whom])

    def unshare(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Stop sharing a library with one of them."""
        library = self.kept.get(identity)
        if library is None:
            return None
        sharing = library.shares.pop(str(request.fields["share_with_uuid"]), None)
        return None if sharing is None else json_response(sharing)

    def _sign(self, library: str, identity: str, view: str) -> Response | None:
        if self._document(library, identity) is None:
            return None
        return json_response(f"{self.origin()}{SIGNED}/{library}/{identity}/{view}")

    def _document(self, library: str, identity: str) -> Document | None:
        found = self.kept.get(library)
        return None if found is None else found.documents.get(identity)


def _page(cards: list[Card], params: Mapping[str, str]) -> Response:
    data = page_of(cards, params)
    return json_response({"pagination": pagination(cards, params), "data": data})


def _document(library: Library, name: str, kind: str, content: bytes) -> Document:
    card = {
        "id": library.documents.new_id(),
        "library_id": library.card["id"],
        "hash": hashlib.sha256(content).hexdigest(),
        "mime_type": kind,
        "extension": PurePosixPath(name).suffix.removeprefix(".") or None,
        "size": len(content),
        "name": name,
        "summary": f"What {name} says.",
        "created_at": MOMENT,
        "last_processed_at": MOMENT,
        "number_of_pages": 1,
        "process_status": "done",
        "processing_status": "Completed",
        "uploaded_by_id": OWNER,
        "uploaded_by_type": "User",
        "tokens_processing_main_content": len(content.split()),
        "tokens_processing_summary": 3,
        "tokens_processing_total": len(content.split()) + 3,
        "attributes": None,
        "expires_at": None,
    }
    return Document(card, content)
