"""A server that speaks bytes, so that it can speak wrong ones: one script per request."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

PREFIX = "/v1/acc/gw"
GONE = 20.0
"""Seconds after which a client that should have gone away counts as one that leaks."""


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    head: bytes
    body: bytes
    peer: int = 0
    """The caller's port: the same for requests on one connection."""

    @property
    def method(self) -> str:
        return self.head.partition(b" ")[0].decode()

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = [line.partition(":") for line in lines]
        return [(name, value.strip(" \t")) for name, _, value in pairs]

    @property
    def streamed(self) -> bool:
        return re.search(rb'"stream":\s*true', self.body) is not None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

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

    def __contains__(self, text: str) -> bool:
        return text.encode() in self.head or text.encode() in self.body


class Wire:
    """One connection, as a script sees it."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.sock = sock
        self.peer = sock.getpeername()[1]
        self.stopping = stopping
        self.over = False
        self.busy = False
        self.gone = threading.Event()
        self._buffer = b""

    def send(self, *parts: bytes) -> None:
        """Send each part in a packet of its own."""
        for part in parts:
            self.sock.sendall(part)
            if len(parts) > 1:
                time.sleep(0.002)

    def reset(self) -> None:
        """Have the client see a connection reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        self.over = True

    def close(self) -> None:
        """End our side and wait for the client to end its own: one that does not, leaks."""
        self.over = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.until_gone()

    def until_gone(self) -> None:
        """Say nothing until the client has closed the connection."""
        self.over = True
        while self._more(b""):
            pass

    def request(self, *, deaf: bool = False) -> Request | None:
        """Return the next request; `None` when the client closes the connection before its end."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more(self._buffer):
                return None
            self.busy = True
            if not self._buffer[:1].isalpha():  # as of a client that speaks TLS
                self.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        try:
            body = b"" if deaf else self._body(head)
        except EOFError:
            return None
        return Request(head, body, self.peer)

    def _body(self, head: bytes) -> bytes:
        if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
            return self._chunks()
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        return self._exactly(int(length[1])) if length else b""

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                self._more_of_body()
            size, _, self._buffer = self._buffer.partition(b"\r\n")
            chunk = self._exactly(int(size or b"0", 16) + 2)[:-2]
            if not chunk:
                return body
            body += chunk

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more_of_body()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _more_of_body(self) -> None:
        if not self._more(self._buffer):
            raise EOFError

    def _more(self, before: bytes) -> bool:
        try:
            data = self.sock.recv(1 << 16)
        except OSError:
            return False
        self._buffer = before + data
        return bool(data)


class FaultServer:
    """Answers on 127.0.0.1 by playing `play(wire, request)`; ends when its block does.

    Args:
        play: What to do for a request; it may raise OSError when the client is gone.
        tls: Speak TLS with this context.
        deaf: Play as soon as the request's head is read, and leave its body unread.
    """

    def __init__(
        self,
        play: Callable[[Wire, Request], None],
        *,
        tls: ssl.SSLContext | None = None,
        deaf: bool = False,
    ) -> None:
        self.requests: list[Request] = []
        self._play = play
        self._tls = tls
        self._deaf = deaf
        self._stopping = threading.Event()
        self._wires: list[Wire] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()

    def __enter__(self) -> Self:
        if self._deaf:  # accepted sockets inherit it
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError), socket.create_connection(self.address, 1):
            pass  # wakes the accepting thread
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(GONE)
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads)

    @property
    def address(self) -> tuple[str, int]:
        return self._listener.getsockname()

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def origin(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What `GatewaySettings(base_url=...)` takes."""
        return self.origin + PREFIX

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return len(self._wires)

    def stuck(self, patience: float = GONE) -> int:
        """Count the connections a client still holds though their exchange is over."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            busy = sum(wire.busy and not wire.gone.is_set() for wire in self._wires)
            if not busy:
                return 0
            time.sleep(0.002)
        return busy

    def forget_closed(self) -> None:
        """Count no more the connections that are closed."""
        self._wires = [wire for wire in self._wires if not wire.gone.is_set()]
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def hang_up(self) -> None:
        """Close every connection and return when that is done."""
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
        for wire in self._wires:
            wire.gone.wait(GONE)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._stopping.is_set():
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        wire = Wire(sock, self._stopping)
        self._wires.append(wire)
        try:
            with contextlib.suppress(OSError):  # the client may be gone at any time
                self._converse(wire)
        finally:
            wire.gone.set()
            with contextlib.suppress(OSError):
                wire.sock.close()

    def _converse(self, wire: Wire) -> None:
        if self._tls is not None:
            wire.sock = self._tls.wrap_socket(wire.sock, server_side=True)
        while not wire.over and (request := wire.request(deaf=self._deaf)):
            self.requests.append(request)
            self._play(wire, request)
            wire.busy = False


@contextlib.contextmanager
def full_backlog():
    """Yield the origin of a server that never accepts: connecting to it takes for ever.

    On Linux a full accept queue drops further handshakes, also on loopback.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def refusing():
    """Yield the origin of a port on which nobody listens, nor can until the block ends."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
