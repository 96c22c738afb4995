"""Server-sent events of a local gateway: each call that it served, and each change of its state.

- `hello`, at the start: the instance. Another one than before means that the gateway was started
  anew, and that the ids of calls have begun at 1 again.
- `call`, with the call's id: the call in one line. A client that comes back sends the last id in
  `Last-Event-ID`, as `EventSource` does, and misses none that is still kept.
- `state`: the queue, the switches, how many calls went past the gateway, and the id up to which
  calls were forgotten by a reset.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from mistral_cf_adapter.testing.call_view import summarize
from mistral_cf_adapter.testing.http_requests import read_queue, read_switches
from mistral_cf_adapter.testing.strict_json import write_strict

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from mistral_cf_adapter.testing.calls import Call
    from mistral_cf_adapter.testing.http_api import HttpApi
    from mistral_cf_adapter.testing.http_requests import GetEvents

LOOK_EVERY = 1.0
"""Seconds after which the state is looked at: a test may have changed it by methods."""
RETRY = 1000
"""Milliseconds after which a browser connects again."""
AT_ONCE = 20
"""Calls that are written in one piece; other requests are served after each."""


def stream_events(api: HttpApi, fields: GetEvents, request: Request) -> Response:
    """Return the response that goes on until the client leaves."""
    newest = api.state.calls.last_id
    text = request.headers.get("last-event-id", "")
    after = int(text) if text.isdecimal() and len(text) < 16 else fields.after
    if after is None:
        after = newest
    elif after > newest:
        after = 0  # an id from before a restart
    return StreamingResponse(
        _events(api, after),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-content-type-options": "nosniff"},
    )


async def _events(api: HttpApi, after: int) -> AsyncGenerator[bytes, None]:
    changed = asyncio.Event()
    unsubscribe = api.state.calls.subscribe(lambda _: changed.set())
    api.changed.add(changed)
    try:
        hello = {"instance": api.instance, "last_id": api.state.calls.last_id}
        yield f"retry: {RETRY}\n".encode() + _event("hello", hello)
        state: dict[str, Any] = {}
        while True:
            changed.clear()
            while calls := api.state.calls.since(after)[:AT_ONCE]:
                yield b"".join(_call_event(api, call) for call in calls)
                after = calls[-1].id
                await asyncio.sleep(0)
            if state != (state := read_state(api)):
                yield _event("state", state)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await changed.wait()
    finally:
        unsubscribe()
        api.changed.discard(changed)


def read_state(api: HttpApi) -> dict[str, Any]:
    """Return what may change without a call."""
    return {
        "queue": read_queue(api),
        "switches": read_switches(api),
        "bypassed": len(api.state.bypassed),
        "cleared_at": api.state.calls.cleared_at,
    }


def _call_event(api: HttpApi, call: Call) -> bytes:
    return f"id: {call.id}\n".encode() + _event("call", summarize(call, api.secrets()))


def _event(name: str, value: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), write_strict(value))
