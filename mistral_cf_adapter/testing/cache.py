"""The gateway's cache: whole responses to identical requests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mistral_cf_adapter.testing.limits import drop_oldest
from mistral_cf_adapter.testing.responses import utf8

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.responses import Response

MAX_REQUEST = 25 * 1024 * 1024


def default_key(
    provider: str, path: str, model: str | None, authorization: str, body: bytes
) -> str:
    """Hash what the documentation names: provider, path, model, provider key and body."""
    digest = hashlib.sha256()
    for part in (provider, path, model or "", authorization):
        digest.update(utf8(part))
        digest.update(b"\0")
    digest.update(body)
    return digest.hexdigest()


@dataclass(slots=True)
class Cache:
    """Responses with the moment each one expires, on the gateway's clock."""

    _entries: dict[str, tuple[float, Response]] = field(
        default_factory=dict[str, "tuple[float, Response]"]
    )

    def get(self, key: str, now: float) -> Response | None:
        """Return the stored response unless it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires, response = entry
        return response if now < expires else None

    def put(self, key: str, response: Response, expires: float) -> None:
        """Store a whole response with a status below 300, of a type the gateway caches."""
        if isinstance(response.body, bytes) and response.status < 300 and _is_cacheable(response):
            self._entries[key] = (expires, response)
            drop_oldest(self._entries, _size)

    def clear(self) -> None:
        """Forget every response."""
        self._entries.clear()


def _size(entry: tuple[float, Response]) -> int:
    return len(entry[1].body) if isinstance(entry[1].body, bytes) else 0


def _is_cacheable(response: Response) -> bool:
    kind = response.header("content-type") or ""
    return kind.startswith(("text/", "image/", "application/json")) and "event-stream" not in kind
