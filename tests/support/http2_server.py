"""An HTTP/2 server without TLS on 127.0.0.1, for a client that speaks nothing else."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from typing import Any, Self

import h2.config
import h2.connection
import h2.events


class Http2Server(contextlib.AbstractContextManager["Http2Server"]):
    """Answers every request with an empty list, and keeps the headers."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.requests = self.requests
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1/acc/gw"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    requests: list[dict[str, str]]
    daemon_threads = True


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.request.settimeout(10)
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        self.request.sendall(connection.data_to_send())
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                for event in connection.receive_data(data):
                    self._answer(connection, event)
                self.request.sendall(connection.data_to_send())

    def _answer(self, connection: Any, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.server.requests.append(dict(event.headers))
        if isinstance(event, h2.events.StreamEnded):
            body = json.dumps({"object": "list", "data": []}).encode()
            headers = [(":status", "200"), ("content-type", "application/json")]
            connection.send_headers(event.stream_id, headers)
            connection.send_data(event.stream_id, body, end_stream=True)
