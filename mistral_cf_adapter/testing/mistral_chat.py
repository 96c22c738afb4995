"""Chat, agents and fill-in-the-middle, whole and streamed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.limits import MAX_CHOICES, MAX_ECHO
from mistral_cf_adapter.testing.mistral_store import CREATED
from mistral_cf_adapter.testing.mistral_text import (
    as_count,
    as_dict,
    as_list,
    content_text,
    reply_to,
    sample,
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
    from collections.abc import Mapping, Sequence

    from mistral_cf_adapter.testing.records import ReceivedRequest

PATHS = frozenset({"/v1/chat/completions", "/v1/agents/completions", "/v1/fim/completions"})
DEFAULT_MODEL = "mistral-small-latest"
MAX_MODEL = 256


@dataclass(frozen=True, slots=True)
class Turn:
    """What the assistant says in one response."""

    text: str | None
    pieces: Sequence[str]
    """The text as a stream cuts it."""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish_reason: str = "stop"
    message_fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """More fields of the message, as a test scripted them."""


def respond(request: ReceivedRequest, turn: Turn | None = None) -> Response:
    """Return the response to a completion request, with a scripted turn or the default one."""
    fields = request.fields
    turn = _default_turn(request) if turn is None else turn
    if fields.get("stream") is True:
        return stream_response(_stream(request, turn))
    identity = _identity(request, "chat.completion")
    count = min(as_count(fields.get("n"), 1), MAX_CHOICES)
    choices = [_choice(index, turn) for index in range(count)]
    return json_response(
        {**identity, "choices": choices, "usage": usage(_prompt(fields), turn.text or "")}
    )


def _default_turn(request: ReceivedRequest) -> Turn:
    fields = request.fields
    if request.path.endswith("/fim/completions"):
        return text_turn("    return result\n", fields)
    return turn_for(fields, request.body)


def turn_for(fields: Mapping[str, Any], seed: bytes) -> Turn:
    """Decide what to say to messages: a tool call, JSON or a sentence."""
    messages = as_list(fields.get("messages"))
    last = as_dict(messages[-1]) if messages else {}
    tool = None if last.get("role") == "tool" else _wanted_tool(fields)
    if tool is not None:
        call = _tool_call(tool, seed)
        return Turn(None, (), (call,), "tool_calls")
    if last.get("role") == "tool":
        return text_turn(f"Here is what I found: {_echo(last)}", fields)
    form = as_dict(fields.get("response_format"))
    if form.get("type") in {"json_object", "json_schema"}:
        return text_turn(_json_text(form, _prompt(fields)), fields)
    prefix = _echo(last) if last.get("prefix") is True else ""
    return text_turn(prefix + reply_to(_prompt(fields)), fields)


def _echo(message: Mapping[str, Any]) -> str:
    """Return a message's text to say it again; each word of it may become an event."""
    return content_text(message.get("content"))[:MAX_ECHO]


def text_turn(text: str, fields: Mapping[str, Any]) -> Turn:
    """Say a text, cut after `max_tokens` words."""
    limit = fields.get("max_tokens")
    pieces = words(text)
    if isinstance(limit, int) and limit < len(pieces):
        kept = pieces[:limit]
        return Turn("".join(kept), kept, finish_reason="length")
    return Turn(text, pieces)


def _prompt(fields: Mapping[str, Any]) -> str:
    if "prompt" in fields:
        return str(fields["prompt"])
    for message in reversed(as_list(fields.get("messages"))):
        if as_dict(message).get("role") == "user":
            return content_text(as_dict(message).get("content"))
    return ""


def _wanted_tool(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    functions = [as_dict(as_dict(tool).get("function")) for tool in as_list(fields.get("tools"))]
    functions = [each for each in functions if isinstance(each.get("name"), str) and each["name"]]
    choice = fields.get("tool_choice")
    if not functions or choice == "none":
        return None
    named = as_dict(as_dict(choice).get("function")).get("name")
    if named is not None:
        return next((item for item in functions if item["name"] == named), None)
    if isinstance(choice, str) and choice in {"any", "required"}:
        return functions[0]
    prompt = _prompt(fields)
    return next((item for item in functions if item["name"] in prompt), None)


def calls_of(turn: Turn) -> list[dict[str, Any]]:
    """Return the calls of functions in a turn, also those of a scripted one."""
    calls = turn.tool_calls or turn.message_fields.get("tool_calls") or ()
    return [as_dict(call) for call in calls]


def _tool_call(function: Mapping[str, Any], seed: bytes) -> dict[str, Any]:
    arguments = json.dumps(sample(function.get("parameters", {})) or {})
    return {
        # Mistral's own ids of tool calls have nine characters, and it insists on that.
        "id": stable_id("", seed)[:9],
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
        "index": 0,
    }


def _json_text(form: Mapping[str, Any], prompt: str) -> str:
    if form["type"] == "json_object":
        return json.dumps({"answer": reply_to(prompt)})
    holder = as_dict(form.get("json_schema"))
    return json.dumps(sample(holder.get("schema", holder.get("schema_definition", {}))))


def _identity(request: ReceivedRequest, kind: str) -> dict[str, Any]:
    fields = request.fields
    return {
        "id": stable_id("", request.body),
        "object": kind,
        "created": CREATED,
        "model": model_of(fields),
    }


def model_of(fields: Mapping[str, Any]) -> str:
    """Return the model that a request names, to say it in each event."""
    model = fields.get("model")
    return model[:MAX_MODEL] if isinstance(model, str) and model else DEFAULT_MODEL


def _choice(index: int, turn: Turn) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": turn.text or "",
        "tool_calls": [dict(call) for call in turn.tool_calls] or None,
        **turn.message_fields,
    }
    return {"index": index, "message": message, "finish_reason": turn.finish_reason}


def _stream(request: ReceivedRequest, turn: Turn) -> list[bytes]:
    identity = _identity(request, "chat.completion.chunk")

    def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event({**identity, "choices": [choice], **more})

    counted = usage(_prompt(request.fields), turn.text or "")
    first = chunk({"role": "assistant", "content": ""})
    pieces = [chunk({"content": piece}) for piece in turn.pieces]
    last: dict[str, Any] = {"content": "", **turn.message_fields}
    if turn.tool_calls:
        last["tool_calls"] = [dict(call) for call in turn.tool_calls]
    return [first, *pieces, chunk(last, turn.finish_reason, usage=counted), event("[DONE]")]
