"""Conversations: started, continued, streamed, and read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.limits import MAX_KEPT, MAX_KEPT_BYTES, drop_oldest
from mistral_cf_adapter.testing.mistral_chat import DEFAULT_MODEL, Turn, model_of
from mistral_cf_adapter.testing.mistral_text import (
    as_dict,
    as_list,
    content_text,
    reply_to,
    stable_id,
    usage,
)
from mistral_cf_adapter.testing.responses import (
    Response,
    event,
    json_response,
    stream_response,
    words,
)

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.records import ReceivedRequest

ROOT = "/v1/conversations"


@dataclass(slots=True)
class Conversations:
    """The conversations of one upstream, by id, as lists of entries."""

    _entries: dict[str, list[dict[str, Any]]] = field(
        default_factory=dict[str, list[dict[str, Any]]]
    )
    _started: int = 0

    def respond(self, request: ReceivedRequest, turn: Turn | None = None) -> Response | None:  # noqa: PLR0911  # one per path
        """Serve a path under /v1/conversations; None if it leads nowhere."""
        identity, _, view = request.path.removeprefix(ROOT).strip("/").partition("/")
        if not identity:
            return self._root(request, turn)
        if identity not in self._entries:
            return None
        match request.method, view:
            case "POST", "" | "restart":
                return self._say(request, identity, turn)
            case "GET", "":
                return json_response(_card(identity))
            case "GET", "history" | "messages":
                return json_response(self._past(identity, view))
            case "DELETE", "":
                del self._entries[identity]
                return Response(204, (), b"")
            case _:
                return None

    def _root(self, request: ReceivedRequest, turn: Turn | None) -> Response | None:
        if request.method == "GET":
            return json_response([_card(identity) for identity in self._entries])
        if request.method != "POST":
            return None
        identity = stable_id("conv_", str(self._started), request.body)
        self._started += 1
        self._entries[identity] = []
        drop_oldest(self._entries, _size)
        return self._say(request, identity, turn)

    def _say(self, request: ReceivedRequest, identity: str, turn: Turn | None) -> Response:
        fields = request.fields
        prompt = _prompt(fields.get("inputs"))
        text = reply_to(prompt) if turn is None or turn.text is None else turn.text
        pieces = words(text) if turn is None else turn.pieces
        past = self._entries[identity]
        past.append(_entry("message.input", "user", prompt, identity, len(past)))
        said = _entry("message.output", "assistant", text, identity, len(past))
        said["model"] = model_of(fields)
        past.append(said)
        del past[:-MAX_KEPT]
        while len(past) > 2 and _size(past) > MAX_KEPT_BYTES:
            del past[0]
        counted = usage(prompt, text)
        if request.streams:
            return stream_response(_stream(identity, said, list(pieces), counted))
        return json_response(
            {
                "object": "conversation.response",
                "conversation_id": identity,
                "outputs": [said],
                "usage": counted,
            }
        )

    def _past(self, identity: str, view: str) -> dict[str, Any]:
        entries = self._entries[identity]
        key = "entries" if view == "history" else "messages"
        return {"object": f"conversation.{view}", "conversation_id": identity, key: entries}


def _size(entries: list[dict[str, Any]]) -> int:
    return sum(len(entry["content"]) for entry in entries)


def _stream(
    identity: str, said: dict[str, Any], pieces: list[str], counted: dict[str, int]
) -> list[bytes]:
    def named(name: str, **fields: Any) -> bytes:
        return event({"type": name, **fields}, name)

    deltas = [
        named(
            "message.output.delta",
            id=said["id"],
            content=piece,
            role="assistant",
            model=said["model"],
            output_index=0,
            content_index=0,
        )
        for piece in pieces
    ]
    return [
        named("conversation.response.started", conversation_id=identity),
        *deltas,
        named("conversation.response.done", usage=counted),
    ]


def _entry(kind: str, role: str, content: str, identity: str, index: int) -> dict[str, Any]:
    return {
        "object": "entry",
        "type": kind,
        "role": role,
        "content": content,
        "id": stable_id("msg_", identity, str(index)),
        "created_at": "2026-01-01T00:00:00Z",
        "completed_at": "2026-01-01T00:00:00Z",
    }


def _card(identity: str) -> dict[str, Any]:
    moment = "2026-01-01T00:00:00Z"
    return {
        "object": "conversation",
        "id": identity,
        "model": DEFAULT_MODEL,
        "created_at": moment,
        "updated_at": moment,
    }


def _prompt(inputs: Any) -> str:
    if isinstance(inputs, str):
        return inputs
    texts = [content_text(as_dict(entry).get("content")) for entry in as_list(inputs)]
    return next((text for text in reversed(texts) if text), "")
