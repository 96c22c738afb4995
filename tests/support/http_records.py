"""An HTTP server on 127.0.0.1 that keeps what arrives and answers what a test scripts."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl

TOKEN = "cf-token-0451"
KEY = "mistral-key-0815"
PREFIX = "/v1/acc/gw"
CHAT = "/v1/chat/completions"
TEXT = "Bonjour"


@dataclass
class Recorded:
    """One request as it arrived."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    peer: int = 0
    """The caller's port: the same for requests on one connection."""

    def all(self, name: str) -> list[str]:
        """Return every value of a header, whatever its case."""
        return [value for given, value in self.headers if given.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """Return a header's only value, `None` when it is absent."""
        values = self.all(name)
        assert len(values) < 2, f"{name} arrived {len(values)} times"
        return values[0] if values else None

    @property
    def gateway(self) -> dict[str, str]:
        """The gateway's headers, each of which must be there once."""
        names = {name.lower() for name, _ in self.headers if name.lower().startswith("cf-aig-")}
        return {name: str(self.header(name)) for name in sorted(names)}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


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


class RecordingServer(contextlib.AbstractContextManager["RecordingServer"]):
    """Keeps requests; answers from `replies` while there are any, then as a small Mistral."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Recorded] = []
        self.replies: deque[Reply] = deque()
        self.responder: Any = None
        self.connections: set[socket.socket] = set()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    @property
    def origin(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What `GatewaySettings(base_url=...)` takes."""
        return self.origin + PREFIX

    @property
    def last(self) -> Recorded:
        return self.requests[-1]

    def reset(self) -> None:
        self.requests.clear()
        self.replies.clear()
        self.responder = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.shutdown()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._http.server_close()
        self._thread.join()

    def reply(self, request: Recorded) -> Reply:
        if self.replies:
            return self.replies.popleft()
        return self.responder(request) if self.responder else _mistral(request)


class _Server(ThreadingHTTPServer):
    owner: RecordingServer
    daemon_threads = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of hostile tests hang up in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.owner.connections.add(self.connection)

    def finish(self) -> None:
        self.server.owner.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size + 2)[:-2])
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self) -> None:
        peer = self.client_address[1]
        request = Recorded(self.command, self.path, self.headers.items(), self.body(), peer)
        self.server.owner.requests.append(request)
        reply = self.server.owner.reply(request)
        self.send_response_only(reply.status)
        for name, value in reply.all_headers().items():
            self.send_header(name, value)
        self.end_headers()
        payload = reply.payload
        self.wfile.write(payload[: len(payload) // 2] if reply.cut else payload)
        self.close_connection = self.close_connection or reply.cut

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Keep the test output for tests."""


# ---------------------------------------------------------------- a small Mistral


def _mistral(request: Recorded) -> Reply:
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
