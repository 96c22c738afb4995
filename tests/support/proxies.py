"""A proxy that is asked for a tunnel with CONNECT, and joins two sockets."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from fault_server import GONE, FaultServer, Request, Wire

if TYPE_CHECKING:
    import ssl


class TunnelProxy(FaultServer):
    """Takes every tunnel to one address, whatever host it is asked for.

    `requests` holds what the proxy itself was asked; what goes through the tunnel is not seen.
    """

    def __init__(self, upstream: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._tunnel, tls=tls)
        self._upstream = upstream

    def _tunnel(self, wire: Wire, request: Request) -> None:
        if request.method != "CONNECT":
            wire.send(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(self._upstream, GONE) as upstream:
            upstream.settimeout(None)
            wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._start(_copy, upstream, wire.sock)
            _copy(wire.sock, upstream)
        wire.over = True


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on what arrives until one side ends, then end the other."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for sock in (source, target):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
