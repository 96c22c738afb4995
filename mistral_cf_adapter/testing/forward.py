"""A real upstream behind the local gateway's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from mistral_cf_adapter.testing.app import UpstreamUnreachable
from mistral_cf_adapter.testing.responses import Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mistral_cf_adapter.testing.records import ReceivedRequest

# The server frames the body anew; everything else goes through as it came.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


async def forward(request: ReceivedRequest, base: str) -> Response:
    """Send a request on and pass the response back piece by piece.

    Raises UpstreamUnreachable when no response comes.
    """
    client = httpx.AsyncClient(timeout=httpx.Timeout(60, read=None))
    url = base.rstrip("/") + request.raw_path + (f"?{request.query}" if request.query else "")
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
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
        if name.lower() not in HOP_BY_HOP
    )
    if "text/event-stream" in response.headers.get("content-type", ""):
        return Response(response.status_code, kept, _pieces(client, response))
    try:
        body = b"".join([piece async for piece in response.aiter_raw()])
    except httpx.HTTPError as error:
        raise UpstreamUnreachable from error
    finally:
        await response.aclose()
        await client.aclose()
    return Response(response.status_code, kept, body)


async def _pieces(
    client: httpx.AsyncClient, response: httpx.Response
) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in response.aiter_raw():
            yield piece
    finally:
        await response.aclose()
        await client.aclose()
