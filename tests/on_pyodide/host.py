"""What runs on the machine while Pyodide runs the checks: local gateways, and a door to them."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing import LocalGateway

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def serving() -> Iterator[dict[str, str]]:
    """Run two gateways, and yield the variables that Pyodide needs to know of them.

    A POST to the door, `{"of": "gateway", "call": "reply", "args": ["Bonjour!"], "kwargs": {}}`,
    calls a method of one of them; `requests` returns what arrived.
    """
    with LocalGateway() as gateway, LocalGateway() as elsewhere:
        door = _Door({"gateway": gateway, "elsewhere": elsewhere})
        thread = threading.Thread(target=door.serve_forever, daemon=True)
        thread.start()
        try:
            yield {
                **gateway.env(),
                "DOOR": f"http://127.0.0.1:{door.server_port}",
                "ELSEWHERE": elsewhere.origin,
            }
        finally:
            door.shutdown()
            door.server_close()
            thread.join()


class _Door(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, gateways: dict[str, LocalGateway]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gateways = gateways

    def call(self, asked: dict[str, Any]) -> Any:
        gateway = self.gateways[asked["of"]]
        if asked["call"] == "requests":
            return [
                {"path": one.path, "headers": dict(one.headers), "json": _json(one.body)}
                for one in gateway.requests
            ]
        if asked["call"] == "guardrails":
            gateway.guardrails = asked["args"][0]
        else:
            details = {name: _bytes(value) for name, value in asked["kwargs"].items()}
            getattr(gateway, asked["call"])(*asked["args"], **details)
        return None


def _bytes(value: Any) -> Any:
    """Return the bytes that JSON had to write as `{"base64": "..."}`."""
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return b64decode(value["base64"])
    return value


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


class _Handler(BaseHTTPRequestHandler):
    server: _Door

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps(self.server.call(asked)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""
