"""Files: uploaded, listed, shown, downloaded, deleted, and a signed URL."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.limits import drop_oldest
from mistral_cf_adapter.testing.mistral_chat import CREATED
from mistral_cf_adapter.testing.responses import Response, bytes_response, json_response

if TYPE_CHECKING:
    from starlette.datastructures import FormData

    from mistral_cf_adapter.testing.records import ReceivedRequest


@dataclass(slots=True)
class Files:
    """The files of one upstream, in the order of their uploads."""

    _files: dict[str, tuple[dict[str, Any], bytes]] = field(
        default_factory=dict[str, tuple[dict[str, Any], bytes]]
    )
    _uploads: int = 0

    async def upload(self, form: FormData) -> Response | None:
        """Keep the form's `file`; None if it has none."""
        upload = form.get("file")
        if upload is None or isinstance(upload, str):
            return None
        content = await upload.read()
        name = upload.filename or "file"
        self._uploads += 1
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._uploads}/{name}"))
        card: dict[str, Any] = {
            "id": identity,
            "object": "file",
            "bytes": len(content),
            "created_at": CREATED,
            "filename": name,
            "purpose": form.get("purpose") or "fine-tune",
            "sample_type": "ocr_input" if form.get("purpose") == "ocr" else "instruct",
            "source": "upload",
            "num_lines": content.count(b"\n"),
            "mimetype": upload.content_type or "application/octet-stream",
            "signature": None,
        }
        self._files[identity] = (card, content)
        drop_oldest(self._files, lambda file: len(file[1]))
        return json_response(card)

    def all(self) -> Response:
        """List them."""
        cards = [card for card, _ in self._files.values()]
        return json_response({"object": "list", "data": cards, "total": len(cards)})

    def name(self, identity: str) -> str | None:
        """Return a file's name; None if there is no such file."""
        entry = self._files.get(identity)
        return None if entry is None else str(entry[0]["filename"])

    def one(self, request: ReceivedRequest, origin: str) -> Response | None:
        """Serve one file's own paths; None if there is no such file or path."""
        identity, _, view = request.path.removeprefix("/v1/files/").partition("/")
        entry = self._files.get(identity)
        if entry is None:
            return None
        card, content = entry
        match request.method, view:
            case "GET", "":
                return json_response({**card, "deleted": False})
            case "DELETE", "":
                del self._files[identity]
                return json_response({"id": identity, "object": "file", "deleted": True})
            case "GET", "content":
                return bytes_response(content, "application/octet-stream")
            case "GET", "url":
                return json_response({"url": f"{origin}/signed/{identity}?expiry=24h"})
            case _:
                return None
