"""A chat endpoint with canned answers, quick enough not to matter.

Run in a process of its own; it ends when its standard input closes. The first line it
prints is JSON: the ports of the plain, the TLS and the far (TLS behind a 50 ms round trip)
listener, all on 127.0.0.1.

The first segment of a path chooses the behaviour, the second names who is asking:

    /now/<tag>/...    answer at once, a stream in one write
    /wait/<tag>/...   answer after 200 ms: calls that queue on a small pool show
    /hold/<tag>/...   answer after 4 s: a thousand calls are under way at once
    /paced/<tag>/...  one streamed event at a time, 2 ms apart
    /stats/<tag>      how many connections and requests <tag> has made
"""

import asyncio
import contextlib
import json
import os
import ssl
import sys
from collections import Counter

from canned import COMPLETION, STREAM, STREAM_END, STREAM_EVENTS, STREAM_HEAD, json_response

ROUND_TRIP_S = 0.05
WAITS_S = {"wait": 0.2, "hold": 4.0}
PACE_S = 0.002

connections: Counter[str] = Counter()
requests: Counter[str] = Counter()


class Chat(asyncio.Protocol):
    """One connection: requests in, canned bytes out."""

    def __init__(self) -> None:
        self.buffer = b""
        self.counted = False
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            total = end + 4 + _content_length(head)
            if len(self.buffer) < total:
                return
            body, self.buffer = self.buffer[end + 4 : total], self.buffer[total:]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1].decode()
        _, behaviour, tag, *_rest = f"{path}//".split("/")
        if behaviour == "stats":
            self.transport.write(json_response(_stats(tag)))
            return
        self.count(tag)
        streamed = b'"stream":true' in body.replace(b" ", b"")
        if behaviour in WAITS_S:
            loop = asyncio.get_running_loop()
            answer = STREAM if streamed else COMPLETION
            loop.call_later(WAITS_S[behaviour], self.write, answer)
        elif behaviour == "paced" and streamed:
            task = asyncio.ensure_future(self.pace())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self.transport.write(STREAM if streamed else COMPLETION)

    def count(self, tag: str) -> None:
        requests[tag] += 1
        if not self.counted:
            self.counted = True
            connections[tag] += 1

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    async def pace(self) -> None:
        self.write(STREAM_HEAD)
        for event in STREAM_EVENTS:
            self.write(event)
            await asyncio.sleep(PACE_S)
        self.write(STREAM_END)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _stats(tag: str) -> bytes:
    return json.dumps({"connections": connections[tag], "requests": requests[tag]}).encode()


async def relay(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one connection to `port`, as if it were 50 ms away.

    The kernel answers a local connect at once, so the round trip that TCP's own handshake
    would take is added before the first bytes.
    """
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    out = carry(reader, far_writer, first_s=1.5 * ROUND_TRIP_S)
    back = carry(far_reader, writer, first_s=0)
    with contextlib.suppress(OSError):
        await asyncio.gather(out, back)


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, first_s: float
) -> None:
    """Copy bytes one way, each delayed by half a round trip, none before `first_s`."""
    loop = asyncio.get_running_loop()
    due = loop.time() + first_s
    while data := await reader.read(65536):
        # Strictly later than the one before: equal deadlines have no order.
        due = max(due + 1e-6, loop.time() + ROUND_TRIP_S / 2)
        loop.call_at(due, _forward, writer, data)
    loop.call_at(max(due + 1e-6, loop.time() + ROUND_TRIP_S / 2), writer.close)


def _forward(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


async def serve(certificate: str) -> None:
    """Serve until standard input closes."""
    allow_files()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    host, queue = "127.0.0.1", 1024
    plain = await loop.create_server(Chat, host, 0, backlog=queue)
    tls = await loop.create_server(Chat, host, 0, backlog=queue, ssl=context)
    tls_port = _port(tls)
    far = await asyncio.start_server(lambda r, w: relay(tls_port, r, w), host, 0, backlog=queue)
    ports = {"plain": _port(plain), "tls": tls_port, "far": _port(far)}
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # open connections are dropped without a word


def allow_files() -> None:
    """Let this process have as many connections open as the system allows it."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _port(server: asyncio.Server) -> int:
    return server.sockets[0].getsockname()[1]


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
