"""The servers of a process that runs scenarios: they stay, and play what each scenario sends."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from fault_scripts import JSON, http
from fault_server import FaultServer, Request, Wire

if TYPE_CHECKING:
    import ssl

    from scenario import Reply

FOUND = b'{"object":"list","data":[]}'


class ScenarioServer(FaultServer):
    """Sends the replies of a scenario, one after the other."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._send_reply, tls=tls)
        self._replies: tuple[Reply, ...] = ()
        self._origins: dict[str, str] = {}

    def begin(self, replies: tuple[Reply, ...], origins: dict[str, str]) -> None:
        """Forget what was, and send these replies from now on."""
        with contextlib.suppress(IndexError):
            while True:
                self._wires.pop().sock.close()
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self.requests.clear()
        self._replies, self._origins = replies, origins

    def settle(self) -> None:
        """Wait until every connection that was made so far is accepted."""
        with socket.create_connection(self.address) as probe:
            name = probe.getsockname()
            while not (own := [wire for wire in self._wires if _peer(wire) == name]):
                time.sleep(0.0002)
        self._wires.remove(own[0])

    def __exit__(self, *_: object) -> None:
        # The process ends, and its threads, all of them daemons, with it.
        self._listener.close()

    def _send_reply(self, wire: Wire, _: Request) -> None:
        place = min(len(self.requests), len(self._replies)) - 1
        reply = self._replies[place]
        wire.send(*(self._filled(packet) for packet in reply.packets))
        if reply.then:
            {"close": Wire.close, "reset": Wire.reset, "stall": Wire.until_gone}[reply.then](wire)

    def _filled(self, packet: bytes) -> bytes:
        if b"{" not in packet:
            return packet
        for name, origin in self._origins.items():
            packet = packet.replace(b"{%s}" % name.encode(), origin.encode())
        return packet


def _peer(wire: Wire) -> object:
    try:
        return wire.sock.getpeername()
    except OSError:
        return None


class OtherServer(ScenarioServer):
    """Answers every request well: where redirects lead, or as a proxy."""

    def _send_reply(self, wire: Wire, request: Request) -> None:
        if request.method == "CONNECT":
            wire.send(http(403, b"no", log_id=False))
            return wire.close()
        return wire.send(http(200, self._replies[0].packets[0] if self._replies else FOUND, JSON))
