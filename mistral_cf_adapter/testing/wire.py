"""From a response to bytes on the socket, whole or spoilt on purpose."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cf_adapter.testing.responses import StreamBroken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
    from typing import Any, TypeAlias

    from mistral_cf_adapter.testing.responses import Body, Response

    Message: TypeAlias = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wire:
    """One caller's connection: the ASGI pair and the transport beneath it."""

    receive: Callable[[], Awaitable[Message]]
    send: Callable[[Message], Awaitable[None]]
    transport: asyncio.Transport

    async def deliver(self, response: Response) -> None:
        """Send a response as it is."""
        body = response.body
        if isinstance(body, bytes):
            await self._start(response, length=len(body))
            await self._piece(body, more=False)
            return
        await self._start(response)
        try:
            await self._stream(body)
        except StreamBroken:
            await self.hang_up()

    async def _stream(self, body: Body) -> None:
        async with aclosing(_pieces(body)) as pieces:
            async for piece in pieces:
                if self.transport.is_closing():
                    await self.until_gone()
                    return
                await self._piece(piece)
                # Each event leaves in a packet of its own, as it would from afar.
                await asyncio.sleep(0)
        await self._piece(b"", more=False)

    async def drip(self, response: Response, *, delay: float, size: int) -> None:
        """Send a response slowly: `size` bytes, then `delay` seconds, and so on."""
        whole = response.body
        await self._start(response, length=len(whole) if isinstance(whole, bytes) else None)
        async with aclosing(_pieces(whole)) as pieces:
            async for piece in pieces:
                for index in range(0, len(piece), size):
                    if self.transport.is_closing():
                        await self.until_gone()
                        return
                    await self._piece(piece[index : index + size])
                    await asyncio.sleep(delay)
        await self._piece(b"", more=False)

    async def cut_body(self, response: Response, keep: int | None) -> None:
        """Promise the whole body in content-length, send `keep` bytes (half), hang up."""
        body = response.known_body() or b""
        await self._start(response, length=max(len(body), 1))
        await self._piece(body[: len(body) // 2 if keep is None else keep])
        await self.hang_up()

    async def cut_stream(self, response: Response, keep: int, *, hang_up: bool) -> None:
        """Send `keep` pieces of a stream, then hang up or end it, without the end mark."""
        await self._start(response)
        sent = 0
        async with aclosing(_pieces(response.body)) as pieces:
            async for piece in pieces:
                if sent >= keep:
                    break
                await self._piece(piece)
                sent += 1
        if hang_up:
            await self.hang_up()
        else:
            await self._piece(b"", more=False)

    async def garbage(self, data: bytes) -> None:
        """Send bytes that are no HTTP, then hang up."""
        self.transport.write(data)
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close after what was written has left."""
        self.transport.close()
        await self.until_gone()

    async def reset(self) -> None:
        """Drop the connection with a TCP reset."""
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        await self.until_gone()

    async def until_gone(self) -> None:
        """Wait until the connection is closed, by whichever side."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _start(self, response: Response, length: int | None = None) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in response.headers]
        if length is not None and response.status not in {204, 304}:
            headers.append((b"content-length", str(length).encode()))
        await self.send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )

    async def _piece(self, piece: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": piece, "more_body": more})


async def _pieces(body: Body) -> AsyncGenerator[bytes, None]:
    if isinstance(body, bytes):
        yield body
        return
    if isinstance(body, tuple):
        for piece in body:
            yield piece
        return
    async with aclosing(body):
        async for piece in body:
            yield piece
