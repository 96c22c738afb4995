"""Conversations: started, continued, restarted, streamed, and read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing import limits
from mistral_cf_adapter.testing.mistral_chat import Turn, calls_of, model_of, turn_for
from mistral_cf_adapter.testing.mistral_store import MOMENT, Store, no_content, page_of, picked
from mistral_cf_adapter.testing.mistral_text import (
    as_dict,
    as_list,
    content_text,
    stable_id,
    usage,
)
from mistral_cf_adapter.testing.responses import (
    Response,
    event,
    json_response,
    stream_response,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Entry = dict[str, Any]

ROOT = "/v1/conversations"
CARD_FIELDS = frozenset({"name", "description", "metadata"})
MODEL_FIELDS = CARD_FIELDS | {"instructions", "tools", "completion_args", "guardrails"}
ARGUMENTS = frozenset({"tool_choice", "response_format", "max_tokens"})
MESSAGES = frozenset({"message.input", "message.output"})


@dataclass(slots=True)
class Conversation:
    """What the API says of it, the fields it was started with, and its entries."""

    card: dict[str, Any]
    fields: Mapping[str, Any]
    entries: list[Entry]


@dataclass(slots=True)
class Conversations:
    """The conversations of one upstream, by id."""

    kept: Store[Conversation] = field(default_factory=lambda: Store[Conversation](ROOT))

    def add_to(self, routes: Routes) -> None:
        """Serve what is under /v1/conversations."""
        routes.add(f"POST {ROOT}", self.start, required=("inputs",))
        routes.add(f"GET {ROOT}", self.list_all)
        routes.add(f"POST {ROOT}/{{}}", self.append)
        routes.add(f"GET {ROOT}/{{}}", self.show)
        routes.add(f"DELETE {ROOT}/{{}}", self.delete)
        routes.add(f"POST {ROOT}/{{}}/restart", self.restart)
        routes.add(f"GET {ROOT}/{{}}/history", self.history)
        routes.add(f"GET {ROOT}/{{}}/messages", self.messages)

    def say(self, request: ReceivedRequest, turn: Turn) -> Response | None:
        """Serve a request for a text with words a test has chosen; None is a 404."""
        identity, _, view = request.path.removeprefix(ROOT).strip("/").partition("/")
        if not identity:
            return self.start(request, turn)
        say = self.restart if view == "restart" else self.append
        return say(request, identity, turn)

    def list_all(self, request: ReceivedRequest) -> Response:
        """List the conversations."""
        cards = [conversation.card for conversation in self.kept]
        return json_response(page_of(cards, request.params))

    def show(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Show one conversation, without what was said."""
        conversation = self.kept.get(identity)
        return None if conversation is None else json_response(conversation.card)

    def delete(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Forget one conversation."""
        return None if self.kept.remove(identity) is None else no_content()

    def history(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Show all entries of one conversation."""
        conversation = self.kept.get(identity)
        if conversation is None:
            return None
        shown = {"conversation_id": identity, "entries": conversation.entries}
        return json_response({"object": "conversation.history", **shown})

    def messages(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Show the messages of one conversation, without the calls of functions."""
        conversation = self.kept.get(identity)
        if conversation is None:
            return None
        messages = [entry for entry in conversation.entries if entry["type"] in MESSAGES]
        shown = {"conversation_id": identity, "messages": messages}
        return json_response({"object": "conversation.messages", **shown})

    def start(self, request: ReceivedRequest, turn: Turn | None = None) -> Response:
        """Start a conversation with a model or an agent."""
        return self._open(request, request.fields, [], turn)

    def append(
        self, request: ReceivedRequest, identity: str, turn: Turn | None = None
    ) -> Response | None:
        """Go on with a conversation."""
        conversation = self.kept.get(identity)
        return None if conversation is None else self._say(request, conversation, turn)

    def restart(
        self, request: ReceivedRequest, identity: str, turn: Turn | None = None
    ) -> Response | None:
        """Start another conversation with the entries of this one, up to `from_entry_id`."""
        conversation = self.kept.get(identity)
        if conversation is None:
            return None
        last = request.fields.get("from_entry_id")
        ids = [entry["id"] for entry in conversation.entries]
        if last is not None and last not in ids:
            return None
        count = len(ids) if last is None else ids.index(last) + 1
        return self._open(request, conversation.fields, conversation.entries[:count], turn)

    def _open(
        self,
        request: ReceivedRequest,
        fields: Mapping[str, Any],
        entries: list[Entry],
        turn: Turn | None,
    ) -> Response:
        identity = f"conv_{self.kept.new_id().replace('-', '')}"
        conversation = Conversation(_card(identity, fields), fields, list(entries))
        return self._say(request, conversation, turn)

    def _say(
        self, request: ReceivedRequest, conversation: Conversation, turn: Turn | None
    ) -> Response:
        identity, past = conversation.card["id"], conversation.entries
        inputs = _inputs(request.fields.get("inputs"))
        turn = _turn(request, conversation, inputs) if turn is None else turn
        past.extend(_entry(each, identity, len(past) + n) for n, each in enumerate(inputs))
        outputs: list[Entry] = []
        for said in _outputs(turn, conversation.fields):
            outputs.append(_entry(said, identity, len(past) + len(outputs)))
        past.extend(outputs)
        self._keep(conversation, request)
        counted = usage(" ".join(map(_text, inputs)), turn.text or "")
        if request.streams:
            return stream_response(_stream(identity, outputs, list(turn.pieces), counted))
        shown = {"conversation_id": identity, "outputs": outputs, "usage": counted}
        return json_response({"object": "conversation.response", **shown})

    def _keep(self, conversation: Conversation, request: ReceivedRequest) -> None:
        """Keep a conversation, unless `store` is false, and the newest of its entries."""
        if request.fields.get("store") is False:
            return
        past = conversation.entries
        del past[: -limits.MAX_KEPT]
        size = sum(map(_size, past))
        while len(past) > 2 and size > limits.MAX_KEPT_BYTES:
            size -= _size(past.pop(0))
        self.kept.put(conversation.card["id"], conversation, size)


def _card(identity: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    card: dict[str, Any] = {
        "object": "conversation",
        "id": identity,
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }
    if fields.get("agent_id") is not None:
        return {**card, **picked(fields, CARD_FIELDS), "agent_id": str(fields["agent_id"])}
    return {**card, **picked(fields, MODEL_FIELDS), "model": model_of(fields)}


def _inputs(inputs: Any) -> list[Entry]:
    """Return what the caller says as entries of the conversation."""
    if isinstance(inputs, str):
        return [{"type": "message.input", "role": "user", "content": inputs}]
    return [_input(as_dict(entry)) for entry in as_list(inputs)]


def _input(entry: Mapping[str, Any]) -> Entry:
    if entry.get("type") == "function.result":
        names = ("tool_call_id", "result")
        return {"type": "function.result", **{name: str(entry.get(name, "")) for name in names}}
    if entry.get("role") == "assistant":
        return {"type": "message.output", "role": "assistant", "content": _content(entry)}
    return {"type": "message.input", "role": "user", "content": _content(entry)}


def _content(entry: Mapping[str, Any]) -> Any:
    content = entry.get("content")
    return content if isinstance(content, str) else content_text(content)


def _text(entry: Mapping[str, Any]) -> str:
    return str(entry.get("content", entry.get("result", "")))


def _size(entry: Mapping[str, Any]) -> int:
    return len(_text(entry)) + len(str(entry.get("arguments", "")))


def _turn(request: ReceivedRequest, conversation: Conversation, inputs: list[Entry]) -> Turn:
    """Decide what to say, as a chat completion with the same tools and arguments would."""
    fields = {**conversation.fields, **request.fields}
    last = inputs[-1] if inputs else {}
    role = "tool" if last.get("type") == "function.result" else "user"
    asked = {
        "messages": [{"role": role, "content": _text(last)}],
        "tools": fields.get("tools"),
        **picked(as_dict(fields.get("completion_args")), ARGUMENTS),
    }
    return turn_for(asked, request.body)


def _outputs(turn: Turn, fields: Mapping[str, Any]) -> list[Entry]:
    """Return what is said as entries: the functions to call, or a message."""
    by = {"agent_id": str(fields["agent_id"])} if fields.get("agent_id") is not None else {}
    by |= {"model": model_of(fields)}
    calls = calls_of(turn)
    if calls:
        return [{"type": "function.call", **by, **_call(call)} for call in calls]
    content = turn.text or ""
    return [{"type": "message.output", "role": "assistant", "content": content, **by}]


def _call(call: Mapping[str, Any]) -> Entry:
    function = as_dict(call.get("function"))
    arguments = function.get("arguments", "{}")
    name = str(function.get("name"))
    return {"tool_call_id": str(call.get("id")), "name": name, "arguments": arguments}


def _entry(fields: Entry, identity: str, index: int) -> Entry:
    kind = "fc" if fields["type"].startswith("function") else "msg"
    return {
        "object": "entry",
        **fields,
        "id": stable_id(f"{kind}_", identity, str(index)),
        "created_at": MOMENT,
        "completed_at": MOMENT,
    }


def _stream(
    identity: str, outputs: list[Entry], pieces: list[str], counted: dict[str, int]
) -> list[bytes]:
    started = _event("conversation.response.started", conversation_id=identity)
    done = _event("conversation.response.done", usage=counted)
    return [started, *_deltas(outputs, pieces), done]


def _deltas(outputs: list[Entry], pieces: list[str]) -> list[bytes]:
    calls = [entry for entry in outputs if entry["type"] == "function.call"]
    if calls:
        names = ("id", "model", "name", "tool_call_id", "arguments")
        return [
            _event("function.call.delta", output_index=n, **{name: call[name] for name in names})
            for n, call in enumerate(calls)
        ]
    said = outputs[0]
    about = {"id": said["id"], "role": "assistant", "model": said["model"]}
    place = {"output_index": 0, "content_index": 0}
    return [_event("message.output.delta", content=piece, **about, **place) for piece in pieces]


def _event(kind: str, **fields: Any) -> bytes:
    return event({"type": kind, "created_at": MOMENT, **fields}, kind)
