"""The gateway's cache: whole answers to identical requests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mistral_cf_adapter.testing.answers import utf8
from mistral_cf_adapter.testing.limits import drop_oldest

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.answers import Answer

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
    """Answers with the moment each one expires, on the gateway's clock."""

    _entries: dict[str, tuple[float, Answer]] = field(
        default_factory=dict[str, "tuple[float, Answer]"]
    )

    def get(self, key: str, now: float) -> Answer | None:
        """Return the stored answer unless it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires, answer = entry
        return answer if now < expires else None

    def put(self, key: str, answer: Answer, expires: float) -> None:
        """Keep an answer if it is a whole one below 300, of a kind the gateway caches."""
        if isinstance(answer.body, bytes) and answer.status < 300 and _is_cacheable(answer):
            self._entries[key] = (expires, answer)
            drop_oldest(self._entries, _size)

    def clear(self) -> None:
        """Forget every answer."""
        self._entries.clear()


def _size(entry: tuple[float, Answer]) -> int:
    return len(entry[1].body) if isinstance(entry[1].body, bytes) else 0


def _is_cacheable(answer: Answer) -> bool:
    kind = answer.header("content-type") or ""
    return kind.startswith(("text/", "image/", "application/json")) and "event-stream" not in kind
