"""Files: uploaded, listed, shown, downloaded, deleted, and a signed URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_errors import missing
from mistral_cf_adapter.testing.mistral_store import CREATED, Store, page_of
from mistral_cf_adapter.testing.responses import Response, bytes_response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

ROOT = "/v1/files"
SIGNED = "/signed/files"
SAMPLE_TYPES = {"batch": "batch_request"}
"""Purpose -> what a file holds; "instruct" for any other."""


@dataclass(frozen=True, slots=True)
class File:
    """One file: what the API says of it, and its bytes."""

    card: dict[str, Any]
    content: bytes


@dataclass(slots=True)
class Files:
    """The files of one upstream, in the order of their uploads."""

    origin: Callable[[], str]
    """The origin that signed URLs begin with."""
    kept: Store[File] = field(default_factory=lambda: Store[File](ROOT))

    def add_to(self, routes: Routes) -> None:
        """Serve what is under /v1/files."""
        routes.add(f"POST {ROOT}", self.upload, reads_form=True)
        routes.add(f"GET {ROOT}", self.list_all)
        routes.add(f"GET {ROOT}/{{}}", self.show)
        routes.add(f"DELETE {ROOT}/{{}}", self.delete)
        routes.add(f"GET {ROOT}/{{}}/content", self.download)
        routes.add(f"GET {ROOT}/{{}}/url", self.sign)

    def add_signed_to(self, routes: Routes) -> None:
        """Serve what the signed URLs lead to."""
        routes.add(f"GET {SIGNED}/{{}}", self.download)

    def upload(self, _: ReceivedRequest, form: Mapping[str, Any]) -> Response:
        """Keep the form's `file`."""
        upload = read_upload(form)
        if upload is None:
            return missing("file")
        purpose = str(form.get("purpose") or "fine-tune")
        name, kind, content = upload
        card = self.add(name, content, purpose, mimetype=kind)
        return json_response(card)

    def add(self, name: str, content: bytes, purpose: str, **more: Any) -> dict[str, Any]:
        """Keep a file and return what the API says of it."""
        card: dict[str, Any] = {
            "id": self.kept.new_id(),
            "object": "file",
            "bytes": len(content),
            "created_at": CREATED,
            "filename": name,
            "purpose": purpose,
            "sample_type": SAMPLE_TYPES.get(purpose, "instruct"),
            "source": "upload",
            "num_lines": content.count(b"\n"),
            "mimetype": None,
            "signature": None,
            **more,
        }
        self.kept.put(card["id"], File(card, content), len(content))
        return card

    def list_all(self, request: ReceivedRequest) -> Response:
        """List them, with the purpose, source, type or part of the name that is asked for."""
        params = request.params
        cards = [file.card for file in self.kept]
        for name in ("purpose", "source", "sample_type"):
            if name in params:
                cards = [card for card in cards if card[name] == params[name]]
        cards = [card for card in cards if params.get("search", "") in card["filename"]]
        data = page_of(cards, params)
        return json_response({"object": "list", "data": data, "total": len(cards)})

    def show(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Show one file's description."""
        file = self.kept.get(identity)
        return None if file is None else json_response({**file.card, "deleted": False})

    def delete(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Forget one file."""
        if self.kept.remove(identity) is None:
            return None
        return json_response({"id": identity, "object": "file", "deleted": True})

    def download(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Return the bytes of one file."""
        file = self.kept.get(identity)
        return None if file is None else bytes_response(file.content, "application/octet-stream")

    def sign(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Return a URL that serves the file without a key."""
        if self.kept.get(identity) is None:
            return None
        return json_response({"url": f"{self.origin()}{SIGNED}/{identity}?expiry=24h"})

    def name(self, identity: str) -> str | None:
        """Return a file's name; None if there is no such file."""
        file = self.kept.get(identity)
        return None if file is None else str(file.card["filename"])


def read_upload(form: Mapping[str, Any]) -> tuple[str, str, bytes] | None:
    """Return the name, type and bytes of a form's `file`; None if it has none."""
    upload = form.get("file")
    if upload is None or isinstance(upload, str):
        return None
    kind = upload.content_type or "application/octet-stream"
    return upload.filename or "file", kind, upload.file.read()
