"""After its end mark a stream is read to its end, so that its connection is used again.

The SDK (2.x and 3.x) closes a stream at the mark, and the HTTP library then drops a connection
that still has some of the answer to deliver: every streamed call would cost a TLS handshake. What
is left is a few bytes, mostly here already; who never sends them is not waited for.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from time import monotonic
from typing import Any

PATIENCE = 0.1  # seconds


def drain(rest: Iterator[bytes], response: Any) -> None:
    """Read what is left; give up, and end the connection, when that takes long."""
    network = response.extensions.get("network_stream")
    connection = None if network is None else network.get_extra_info("socket")
    if connection is None or not is_exclusive(response):  # no way to stop waiting
        return
    reader = threading.Thread(target=_exhaust, args=(rest,), daemon=True)
    try:
        reader.start()
    except RuntimeError:  # no thread left, or the interpreter is about to end
        return
    reader.join(PATIENCE)
    if reader.is_alive():
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        reader.join(PATIENCE)


def is_exclusive(response: Any) -> bool:
    """Tell whether a connection has this answer alone: one of HTTP/2 has many, and stays."""
    return response.http_version in ("HTTP/1.1", "HTTP/1.0")


def _exhaust(rest: Iterator[bytes]) -> None:
    until = monotonic() + PATIENCE
    with contextlib.suppress(Exception):
        for _ in rest:
            if monotonic() > until:
                return


async def adrain(rest: AsyncIterator[bytes], response: Any) -> None:
    """Read what is left; give up when that takes long, or in no event loop of asyncio's."""
    if not is_exclusive(response):
        return
    with contextlib.suppress(Exception):
        async with asyncio.timeout(PATIENCE):
            async for _ in rest:
                pass
