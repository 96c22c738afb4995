"""A client of a local gateway's HTTP API, as another language would write it."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any

from raw_gateway import port_of


class GatewayApi:
    """Calls one gateway's API; gives status and JSON."""

    def __init__(self, gateway: Any) -> None:
        self._port = port_of(gateway)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with contextlib.closing(connection):
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            sent = {"Content-Type": "application/json"} if body is not None else {}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, f"/_gateway{path}", data, sent)
            response = connection.getresponse()
            return response.status, read_json(response.read() or b"null")

    def get(self, path: str) -> Any:
        status, value = self.send("GET", path)
        assert status == 200, value
        return value

    def post(self, path: str, status: int = 200, /, **fields: Any) -> Any:
        found, value = self.send("POST", path, fields)
        assert found == status, value
        return value

    @contextlib.contextmanager
    def events(self, query: str = "", **headers: str):
        """Yield an iterator over (event, id, data) of the stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with contextlib.closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", f"/_gateway/events{query}", headers=sent)
            response = connection.getresponse()
            assert response.getheader("content-type").startswith("text/event-stream")
            yield _events(response)


def _events(response: Any):
    fields: dict[str, str] = {}
    while line := response.readline():
        text = line.decode().rstrip("\n")
        if text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields.get("event"), fields.get("id"), read_json(fields["data"])
            fields = {}


def read_json(text: str | bytes) -> Any:
    """Read JSON as a browser does, which knows no NaN and no Infinity."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> None:
    msg = f"{name} is not JSON"
    raise AssertionError(msg)
