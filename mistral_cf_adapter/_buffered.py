"""Answers in one piece to requests for a stream: made a stream, so that none is lost.

The gateway answers so when guardrails or response DLP are on, and the SDK fails on it.
"""

import json
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from ._sdk import library_of
from ._streaming import EVENT_STREAM

_MESSAGES = frozenset({"message", "messages"})


def in_events(response: Any) -> Any:
    """Return an event stream that says what a whole chat answer says, if it is one."""
    try:
        answer = json.loads(response.content)
        chunks = _as_chunks(answer)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    headers = response.headers.copy()
    for name in ("content-length", "content-encoding", "transfer-encoding"):
        headers.pop(name, None)
    headers["content-type"] = EVENT_STREAM
    body = "".join(f"data: {event}\n\n" for event in [*map(json.dumps, chunks), "[DONE]"])
    events = type(response)(
        response.status_code,
        headers=headers,
        # Unread, as a stream is when it arrives: the SDK's tracing goes by that.
        stream=library_of(response).ByteStream(body.encode()),
        request=response.request,
        extensions=response.extensions,
    )
    with suppress(RuntimeError):  # of a client of the user's own that takes no time
        events.elapsed = response.elapsed
    events.history = response.history
    return events


def _as_chunks(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one chunk, or one for each message where a choice has several."""
    deltas = [_as_deltas(choice) for choice in answer["choices"]]
    chunks = [
        {**answer, "object": "chat.completion.chunk", "choices": [*filter(None, choices)]}
        for choices in zip_longest(*deltas)
    ]
    for chunk in chunks[:-1]:
        chunk.pop("usage", None)
    return chunks or [{**answer, "object": "chat.completion.chunk"}]


def _as_deltas(choice: dict[str, Any]) -> list[dict[str, Any]]:
    others = {name: value for name, value in choice.items() if name not in _MESSAGES}
    if choice.get("message") is not None:
        return [{**others, "delta": _as_delta(choice["message"])}]
    deltas = [
        {**others, "finish_reason": None, "delta": {**_as_delta(message), "index": index}}
        for index, message in enumerate(choice["messages"])
    ]
    deltas[-1:] = [{**delta, **others} for delta in deltas[-1:]]
    return deltas


def _as_delta(message: dict[str, Any]) -> dict[str, Any]:
    delta = {name: value for name, value in message.items() if name != "prefix"}
    calls: list[dict[str, Any]] = message.get("tool_calls") or []
    if len({call.get("index") for call in calls} - {None}) < len(calls):
        # A reader puts the pieces of a call together by its index; whole answers may have none.
        delta["tool_calls"] = [{**call, "index": index} for index, call in enumerate(calls)]
    return delta
