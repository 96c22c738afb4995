"""The calls that scenarios make, by name, and what a server sends for them in good health."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fault_scripts import EVENTS, JSON, USAGE, WHOLE, completion
from scenario import Reply, whole

QUESTION = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True, slots=True)
class Call:
    """An operation of the SDK: where it is, its methods, and its arguments."""

    path: str
    method: str
    stream: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    body: bytes = b"{}"
    """A body that the operation takes."""
    events: tuple[bytes, ...] = ()
    kind: str = JSON


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def named_event(name: str, **fields: Any) -> bytes:
    """Return an event of a stream that has names for its events."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


_MODEL = {"id": "m", "object": "model", "created": 1, "owned_by": "x", "type": "base"}
_MODEL |= {"capabilities": {}, "root": "m", "archived": False}
_FILE = {"id": "0b4b0b4b-0b4b-0b4b-0b4b-0b4b0b4b0b4b", "object": "file", "bytes": 3}
_FILE |= {
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "batch",
    "sample_type": "batch_request",
}
_FILE |= {"source": "upload", "size_bytes": 3}
_TIME = "2026-01-01T00:00:00Z"
_CONVERSATION = {
    "object": "conversation.response",
    "conversation_id": "c",
    "outputs": [{"type": "message.output", "content": "Hi", "role": "assistant"}],
    "usage": USAGE,
}
CONVERSATION_EVENTS = (
    named_event("conversation.response.started", conversation_id="c", created_at=_TIME),
    named_event("message.output.delta", id="e", content="Hi", created_at=_TIME),
    named_event("conversation.response.done", usage=USAGE, created_at=_TIME),
)
_TRANSCRIPT = {"model": "m", "text": "Hi", "language": "en", "usage": USAGE, "segments": []}
TRANSCRIPTION_EVENTS = (
    named_event("transcription.language", audio_language="en"),
    named_event("transcription.text.delta", text="Hi"),
    named_event("transcription.done", **_TRANSCRIPT),
)
_PAGE = {"index": 0, "markdown": "# Hi", "images": [], "dimensions": None}
_MODERATION = {"categories": {"x": False}, "category_scores": {"x": 0.1}}
_PAYLOAD = {"file_name": "a.jsonl", "content": b"{}\n"}
_DONE_STREAM = (*EVENTS, WHOLE[-14:])

CALLS = {
    "chat": Call(
        "chat", "complete", "stream",
        {"model": "m", "messages": QUESTION}, completion(), _DONE_STREAM,
    ),
    "fim": Call(
        "fim", "complete", "stream",
        {"model": "m", "prompt": "def f():"}, completion(), _DONE_STREAM,
    ),
    "agents": Call(
        "agents", "complete", "stream",
        {"agent_id": "a", "messages": QUESTION}, completion(), _DONE_STREAM,
    ),
    "conversations": Call(
        "beta.conversations", "start", "start_stream",
        {"model": "m", "inputs": "Hello"}, encode(_CONVERSATION), CONVERSATION_EVENTS,
    ),
    "transcriptions": Call(
        "audio.transcriptions", "complete", "stream",
        {"model": "m", "file_url": "https://example.org/a.mp3"},
        encode(_TRANSCRIPT), TRANSCRIPTION_EVENTS,
    ),
    "embeddings": Call(
        "embeddings", "create", "", {"model": "m", "inputs": ["a", "b"]},
        encode({
            "id": "e", "object": "list", "model": "m", "usage": USAGE,
            "data": [{"object": "embedding", "embedding": [0.1], "index": 0}],
        }),
    ),
    "moderation": Call(
        "classifiers", "moderate", "", {"model": "m", "inputs": ["a"]},
        encode({"id": "m", "model": "m", "results": [_MODERATION]}),
    ),
    "ocr": Call(
        "ocr", "process", "",
        {"model": "m", "document": {"type": "document_url", "document_url": "https://x.org/a"}},
        encode({"pages": [_PAGE], "model": "m", "usage_info": {"pages_processed": 1}}),
    ),
    "models": Call("models", "list", "", {}, encode({"object": "list", "data": [_MODEL]})),
    "model": Call("models", "retrieve", "", {"model_id": "m"}, encode(_MODEL)),
    "delete model": Call(
        "models", "delete", "", {"model_id": "ft:x"},
        encode({"id": "m", "object": "model", "deleted": True}),
    ),
    "upload": Call("files", "upload", "", {"file": _PAYLOAD}, encode(_FILE)),
    "files": Call(
        "files", "list", "", {"page": 1, "page_size": 5},
        encode({"object": "list", "total": 1, "data": [_FILE]}),
    ),
    "download": Call("files", "download", "", {"file_id": "f"}, b"file content, \xff\x00",
        kind="Content-Type: application/octet-stream",
    ),
    "delete file": Call(
        "files", "delete", "", {"file_id": "f"},
        encode({"id": _FILE["id"], "object": "file", "deleted": True}),
    ),
    "jobs": Call("batch.jobs", "list", "", {}, encode({"object": "list", "data": [], "total": 0})),
}  # fmt: skip


def answer(call: str, *headers: str) -> Reply:
    """Return what a server in good health says to a call."""
    return whole(200, CALLS[call].body, CALLS[call].kind, *headers)
