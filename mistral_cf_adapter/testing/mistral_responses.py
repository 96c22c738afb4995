"""Responses: what the model says as items of output, whole and as events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_chat import Turn, calls_of, model_of, turn_for
from mistral_cf_adapter.testing.mistral_store import CREATED, picked
from mistral_cf_adapter.testing.mistral_text import (
    as_dict,
    as_list,
    content_text,
    stable_id,
    usage,
)
from mistral_cf_adapter.testing.responses import Response, event, json_response, stream_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Item = dict[str, Any]

PATH = "/v1/responses"
ECHOED = frozenset(
    {
        *("instructions", "metadata", "temperature", "top_p", "tools", "tool_choice", "text"),
        *("parallel_tool_calls", "max_output_tokens", "prompt_cache_key", "reasoning"),
    }
)
"""Fields of a request that its response has too."""


def add_to(routes: Routes) -> None:
    """Serve what is under /v1/responses. Nothing is stored, as at Mistral."""
    routes.add(f"POST {PATH}", respond, required=("model", "input"))
    routes.add(f"POST {PATH}/input_tokens", count, required=("input",))


def respond(request: ReceivedRequest, turn: Turn | None = None) -> Response:
    """Return the response to a request, with a scripted turn or the default one."""
    fields = request.fields
    prompt, _ = _last_input(fields)
    turn = _default_turn(request) if turn is None else turn
    items = _items(turn, request.body)
    counted = usage(prompt, turn.text or "")
    whole: Item = {
        "id": stable_id("resp_", request.body),
        "object": "response",
        "created_at": CREATED,
        "model": model_of(fields),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **picked(fields, ECHOED),
        "error": None,
    }
    done: Item = {**whole, **_outcome(turn), "output": items, "usage": _usage(counted)}
    if not request.streams:
        return json_response(done)
    begun: Item = {**whole, "status": "in_progress", "output": []}
    return stream_response(_stream(begun, done, turn.pieces))


def count(request: ReceivedRequest) -> Response:
    """Count the words of the input and call them tokens."""
    prompt, _ = _last_input(request.fields)
    return json_response({"object": "response.input_tokens", "input_tokens": len(prompt.split())})


def _default_turn(request: ReceivedRequest) -> Turn:
    """Decide what to say, as a chat completion with the same tools and format would."""
    fields = request.fields
    text, role = _last_input(fields)
    choice = as_dict(fields.get("tool_choice"))
    form = as_dict(as_dict(fields.get("text")).get("format"))
    asked = {
        "messages": [{"role": role, "content": text}],
        "tools": [{"function": tool} for tool in as_list(fields.get("tools"))],
        "tool_choice": {"function": choice} if choice else fields.get("tool_choice"),
        "max_tokens": fields.get("max_output_tokens"),
        "response_format": {"type": form.get("type"), "json_schema": form},
    }
    return turn_for(asked, request.body)


def _last_input(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of the last item of the input, and whether a user or a tool says it."""
    given = fields.get("input")
    if isinstance(given, str):
        return given, "user"
    items = as_list(given)
    last = as_dict(items[-1]) if items else {}
    if last.get("type") == "function_call_output":
        output = last.get("output")
        return output if isinstance(output, str) else content_text(output), "tool"
    return content_text(last.get("content")), "user"


def _items(turn: Turn, seed: bytes) -> list[Item]:
    """Return what is said as items: the functions to call, or a message."""
    calls = calls_of(turn)
    if calls:
        return [_call(call, number, seed) for number, call in enumerate(calls)]
    part: Item = {"type": "output_text", "text": turn.text or "", "annotations": [], "logprobs": []}
    message: Item = {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return [{"id": stable_id("msg_", seed), **message}]


def _call(call: Mapping[str, Any], number: int, seed: bytes) -> Item:
    function = as_dict(call.get("function"))
    return {
        "id": stable_id("fc_", seed, str(number)),
        "type": "function_call",
        "status": "completed",
        "call_id": str(call.get("id")),
        "name": str(function.get("name")),
        "arguments": function.get("arguments", "{}"),
    }


def _outcome(turn: Turn) -> Item:
    if turn.finish_reason == "length":
        return {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    return {"status": "completed", "incomplete_details": None, "completed_at": CREATED}


def _usage(counted: Mapping[str, int]) -> Item:
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted["total_tokens"],
    }


def _stream(begun: Item, done: Item, pieces: Sequence[str]) -> list[bytes]:
    events: list[Item] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for number, item in enumerate(done["output"]):
        steps = _message_steps if item["type"] == "message" else _call_steps
        events += [{**step, "output_index": number} for step in steps(item, pieces)]
    events.append({"type": f"response.{done['status']}", "response": done})
    return [
        event({**fields, "sequence_number": number}, fields["type"])
        for number, fields in enumerate(events)
    ]


def _message_steps(item: Item, pieces: Sequence[str]) -> list[Item]:
    part = item["content"][0]
    place: Item = {"item_id": item["id"], "content_index": 0}
    text: Item = {**place, "logprobs": []}
    deltas = [{"type": "response.output_text.delta", "delta": piece, **text} for piece in pieces]
    return [
        {
            "type": "response.output_item.added",
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", "part": {**part, "text": ""}, **place},
        *deltas,
        {"type": "response.output_text.done", "text": part["text"], **text},
        {"type": "response.content_part.done", "part": part, **place},
        {"type": "response.output_item.done", "item": item},
    ]


def _call_steps(item: Item, _: Sequence[str]) -> list[Item]:
    place: Item = {"item_id": item["id"]}
    arguments: Item = {"arguments": item["arguments"], "name": item["name"]}
    kind = "response.function_call_arguments"
    begun = {**item, "arguments": "", "status": "in_progress"}
    return [
        {"type": "response.output_item.added", "item": begun},
        {"type": f"{kind}.delta", "delta": item["arguments"], **place},
        {"type": f"{kind}.done", **arguments, **place},
        {"type": "response.output_item.done", "item": item},
    ]
