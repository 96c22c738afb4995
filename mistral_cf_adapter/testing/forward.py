"""A real upstream behind the local gateway's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from mistral_cf_adapter.testing import limits
from mistral_cf_adapter.testing.app import UpstreamUnreachable
from mistral_cf_adapter.testing.responses import Response, StreamBroken, gateway_error
from mistral_cf_adapter.testing.routing import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from mistral_cf_adapter.testing.records import ReceivedRequest

# The server frames the body anew; everything else goes through as it came.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


async def forward(request: ReceivedRequest, base: str, *, decode: bool = False) -> Response:
    """Send a request on and pass the response back piece by piece.

    With `decode` no body is compressed, so that it can be read on its way.

    A response that is no stream is read whole, so that it can be cached and logged.

    Raises UpstreamUnreachable when no response comes, and Refused where one is too large for that.
    """
    client = httpx.AsyncClient(timeout=httpx.Timeout(60, read=None))
    url = base.rstrip("/") + request.raw_path + (f"?{request.query}" if request.query else "")
    changed = {b"host", b"accept-encoding"} if decode else {b"host"}
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in changed]
    if decode:
        headers.append((b"accept-encoding", b"identity"))
    try:
        outgoing = client.build_request(
            request.method, url, headers=headers, content=request.body or None
        )
        response = await client.send(outgoing, stream=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        await client.aclose()
        raise UpstreamUnreachable from error
    kept = tuple(
        (name, value)
        for name, value in response.headers.multi_items()
        if name.lower() not in HOP_BY_HOP and not (decode and name.lower() == "content-encoding")
    )
    read = response.aiter_bytes if decode else response.aiter_raw
    if "text/event-stream" in response.headers.get("content-type", ""):
        return Response(response.status_code, kept, _pieces(client, response, read()))
    try:
        body = await _read_whole(read())
    except httpx.HTTPError as error:
        raise UpstreamUnreachable from error
    finally:
        await response.aclose()
        await client.aclose()
    return Response(response.status_code, kept, body)


async def _read_whole(pieces: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > limits.MAX_BODY:
            message = (
                f"The upstream's response is over {limits.MAX_BODY} bytes and is no stream of "
                "events: the local gateway does not pass it on"
            )
            raise Refused(gateway_error(None, message=message, status=501))
    return bytes(body)


async def _pieces(
    client: httpx.AsyncClient, response: httpx.Response, pieces: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in pieces:
            yield piece
    except httpx.HTTPError as error:
        raise StreamBroken from error
    finally:
        await response.aclose()
        await client.aclose()
