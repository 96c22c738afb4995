"""A server on 127.0.0.1 that keeps what arrives and answers what a test scripts."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from http.client import responses
from typing import TYPE_CHECKING, Any, Self

from fault_server import PREFIX, FaultServer, Request, Wire  # noqa: F401 - PREFIX for tests

if TYPE_CHECKING:
    import ssl

TOKEN = "cf-token-0451"
KEY = "mistral-key-0815"
CHAT = "/v1/chat/completions"
TEXT = "Bonjour"


@dataclass
class Reply:
    """One answer: bytes, or anything else as JSON; `cut` ends the connection in its middle."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False

    @classmethod
    def redirect(cls, location: str, status: int = 307) -> Self:
        return cls(status, headers={"location": location})

    @property
    def payload(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def all_headers(self) -> dict[str, str]:
        kind = {} if isinstance(self.body, bytes) else {"content-type": "application/json"}
        return {**kind, **self.headers, "content-length": str(len(self.payload))}

    @property
    def head(self) -> bytes:
        lines = [f"{name}: {value}" for name, value in self.all_headers().items()]
        reason = responses.get(self.status, "")
        return "\r\n".join([f"HTTP/1.1 {self.status} {reason}", *lines, "", ""]).encode("latin-1")


class RecordingServer(FaultServer):
    """Keeps requests; answers from `replies` while there are any, then as a small Mistral."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._send_reply, tls=tls)
        self.replies: deque[Reply] = deque()
        self.responder: Any = None

    @property
    def last(self) -> Request:
        return self.requests[-1]

    def reset(self) -> None:
        self.forget_closed()
        self.requests.clear()
        self.replies.clear()
        self.responder = None

    def _send_reply(self, wire: Wire, request: Request) -> None:
        reply = self._choose_reply(request)
        payload = reply.payload
        wire.send(reply.head + payload[: len(payload) // 2 if reply.cut else None])
        if reply.cut:
            wire.close()

    def _choose_reply(self, request: Request) -> Reply:
        if self.replies:
            return self.replies.popleft()
        return self.responder(request) if self.responder else _mistral(request)


# ---------------------------------------------------------------- a small Mistral


def _mistral(request: Request) -> Reply:
    path = request.path.partition("?")[0]
    if path.endswith("/chat/completions"):
        return stream() if request.json.get("stream") else completion()
    if path.endswith("/files") and request.method == "POST":
        return Reply(body=_FILE)
    if path.endswith("/content"):
        return Reply(body=b"file content", headers={"content-type": "application/octet-stream"})
    if path.endswith("/embeddings"):
        return Reply(body=_EMBEDDING)
    return Reply(body={"object": "list", "data": []})


def completion(text: str = TEXT) -> Reply:
    """Answer a chat in one piece."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Reply(body={**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


def stream(text: str = TEXT) -> Reply:
    """Answer a chat as server-sent events, a letter each."""
    deltas = [{"delta": {"content": letter}, "finish_reason": None} for letter in text]
    deltas.append({"delta": {"content": ""}, "finish_reason": "stop"})
    chunks = [{**_HEAD, "choices": [{"index": 0, **delta}]} for delta in deltas]
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return Reply(body=events.encode(), headers={"content-type": "text/event-stream"})


_HEAD = {"id": "cmpl-1", "created": 1, "model": "mistral-small-latest"}
_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_EMBEDDING = {
    **_HEAD,
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": _USAGE,
}
_FILE = {
    "id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "batch",
    "sample_type": "batch_request",
    "source": "upload",
}


def record_shown_requests(client):
    """Return a list that gets the requests which the SDK sees in a response and its history."""
    configuration, shown = client.sdk_configuration, []
    send = configuration.client.send

    def watch(request, **options):
        response = send(request, **options)
        shown.extend([response.request, *(each.request for each in response.history)])
        return response

    configuration.client.send = watch
    return shown


class Keeping:
    """A hook of the SDK's that keeps the responses of calls."""

    def __init__(self, client: Any) -> None:
        self.responses: list[Any] = []
        hooks = client.sdk_configuration.__dict__["_hooks"]
        hooks.register_after_success_hook(self)
        hooks.register_after_error_hook(self)

    def after_success(self, _context: Any, response: Any) -> Any:
        self.responses.append(response)
        return response

    def after_error(self, _context: Any, response: Any, error: Any) -> Any:
        self.responses.append(response)
        return response, error
