"""A local gateway as bytes on a socket see it."""

from __future__ import annotations

import json
import re
import socket

BASE = "/v1/acc/default/mistral"
CHAT = f"{BASE}/v1/chat/completions"
QUESTION = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}


def port_of(gateway):
    return int(gateway.origin.rpartition(":")[2])


def exchange(gateway, sent, *, timeout=20.0):
    """Send bytes, and return all that comes until the connection ends or is silent."""
    with socket.create_connection(("127.0.0.1", port_of(gateway)), timeout) as sock:
        sock.sendall(sent)
        received = b""
        try:
            while data := sock.recv(65536):
                received += data
        except (TimeoutError, ConnectionResetError):
            received += b"|open or reset"
    return received


def head(path=CHAT, method="POST", host="127.0.0.1", **headers):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def credentials(gateway):
    return {
        "cf-aig-authorization": f"Bearer {gateway.token}",
        "Authorization": f"Bearer {gateway.mistral_api_key}",
    }


def asking(gateway, body, path=CHAT, **headers):
    """Return a request as bytes, whose answer ends the connection."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Connection": "close", **headers}
    headers |= {**credentials(gateway), "Content-Length": str(len(data))}
    return head(path, **headers) + data


def statuses(received):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]
