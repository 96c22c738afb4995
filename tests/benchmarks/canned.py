"""The bytes that the server answers with, and the text that every client must make of them."""

import json

EVENTS = 200
# No two alike: LiteLLM takes a repeated word for a model that has lost its way.
WORDS = [f"token{number} " for number in range(EVENTS - 1)]
STREAMED = "".join(WORDS)
ANSWER = "The quick brown fox jumps over the lazy dog. " * 12
MODEL = "mistral-small-latest"

_USAGE = {"prompt_tokens": 24, "completion_tokens": EVENTS, "total_tokens": 24 + EVENTS}
_HEADERS = (
    "cf-aig-log-id: 01HZZZZZZZZZZZZZZZZZZZZZZZ\r\n"
    "cf-aig-cache-status: MISS\r\n"
    "date: Mon, 02 Nov 2026 10:00:00 GMT\r\n"
    "server: cloudflare\r\n"
)


def _completion() -> bytes:
    message = {"role": "assistant", "content": ANSWER, "tool_calls": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {
        "id": "cmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1_762_000_000,
        "model": MODEL,
        "choices": [choice],
        "usage": _USAGE,
    }
    return json.dumps(body).encode()


def _event(index: int) -> bytes:
    """Return one streamed event as one HTTP chunk."""
    last = index == EVENTS - 1
    delta = {"content": "" if last else WORDS[index]}
    if index == 0:
        delta["role"] = "assistant"
    choice = {"index": 0, "delta": delta, "finish_reason": "stop" if last else None}
    body = {
        "id": "cmpl-0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1_762_000_000,
        "model": MODEL,
        "choices": [choice],
    }
    if last:
        body["usage"] = _USAGE
    return _chunk(b"data: " + json.dumps(body).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def json_response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{_HEADERS}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


STREAM_HEAD = (
    f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{_HEADERS}"
    "transfer-encoding: chunked\r\n\r\n"
).encode()
STREAM_EVENTS = [_event(index) for index in range(EVENTS)]
STREAM_END = _chunk(b"data: [DONE]\n\n") + _chunk(b"")
STREAM = STREAM_HEAD + b"".join(STREAM_EVENTS) + STREAM_END
COMPLETION = json_response(_completion())
