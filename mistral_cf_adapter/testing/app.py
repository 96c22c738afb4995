"""The gateway's rules, from a request on the wire to the response, as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from mistral_cf_adapter.testing import faults, guard, limits, logs_api, policies
from mistral_cf_adapter.testing.cache import MAX_REQUEST, default_key
from mistral_cf_adapter.testing.matching import Arrival
from mistral_cf_adapter.testing.own_code import ScriptError
from mistral_cf_adapter.testing.records import LogRecord, ReceivedRequest, uuid7
from mistral_cf_adapter.testing.responses import Response, gateway_error, text_response
from mistral_cf_adapter.testing.routing import (
    PROVIDER,
    Refused,
    Target,
    find_target,
    gateway_of,
    upstream_request,
    without_stream,
)
from mistral_cf_adapter.testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from mistral_cf_adapter.testing.calls import OpenCall
    from mistral_cf_adapter.testing.state import State

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]
    Upstream = Callable[[ReceivedRequest, Target], Awaitable[Response]]

API_PREFIX = "/_gateway"
PAGE_PATHS = frozenset({"/", "/page.css", "/page.js"})


class UpstreamUnreachable(Exception):  # noqa: N818  # the caller sees it as a 2005
    """The provider sent no response."""


class GatewayApp:
    """Receive and check a request, send it upstream, log it, respond."""

    def __init__(self, state: State, upstream: Upstream, *, has_page: bool = False) -> None:
        self.transports: dict[tuple[str, int], asyncio.Transport] = {}
        self.download: Callable[[ReceivedRequest], Response | None] = lambda _: None
        """Return what is at a signed URL; None for any other."""
        self.make_api: Callable[[], ASGIApp] | None = None
        """Makes the HTTP API, which is loaded when it is first asked."""
        self._state = state
        self._upstream = upstream
        self._has_page = has_page
        self._api: ASGIApp | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, as an ASGI server asks."""
        try:
            await self._serve(scope, receive, send)
        except asyncio.CancelledError:
            return  # The gateway is stopping, and the connection is gone already.

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        wire = Wire(receive, send, self.transports[scope["client"]])
        headers = Headers(raw=scope["headers"])
        refused = guard.refusal(headers)
        body = await _read(receive, at_most=limits.MAX_BODY if refused is None else 0)
        if body is None:
            return
        if refused is None and len(body) > limits.MAX_BODY:
            text = f"The request's body is over {limits.MAX_BODY} bytes."
            refused = text_response(413, text)
        if refused is not None:
            await wire.deliver(refused)
            return
        if scope["path"].startswith(API_PREFIX):
            await self._call_api(scope, body, receive, send)
            return
        request = _request(scope, headers, body)
        if self._has_page and request.path in PAGE_PATHS:
            from mistral_cf_adapter.testing import page

            await wire.deliver(page.respond(request.method, request.path))
            return
        self._state.requests.append(request)
        call = self._state.calls.open(request, scope["client"])
        try:
            await self._answer(request, call, replace(wire, send=call.watch(send)))
        finally:
            call.close()

    async def _call_api(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        if self._api is None and self.make_api is not None:
            self._api = self.make_api()
        if self._api is not None:
            await self._api(scope, _with_body(body, receive), send)

    async def _answer(self, request: ReceivedRequest, call: OpenCall, wire: Wire) -> None:
        async def respond() -> Response:
            return await self._respond(request, call)

        try:
            fault = await self._state.faults.next(Arrival(request))
        except ScriptError as error:
            await wire.deliver(_report(error, self._state))
            return
        if fault is None:
            await wire.deliver(await respond())
            return
        call.fault = fault.kind
        await faults.apply(fault, wire, respond)

    async def _respond(self, request: ReceivedRequest, call: OpenCall) -> Response:
        """Return the response of the gateway, or of the API that has its logs."""
        if logs_api.is_for_api(request):
            return logs_api.respond(request, self._state)
        downloaded = self.download(request)
        if downloaded is not None:
            return downloaded
        try:
            if self._state.access is not None:
                request = self._state.access.admit(request)
            target = find_target(request, self._state)
            call.provider, call.path, call.model = target.provider, target.path, target.model
            return await _Call(self._state, self._upstream, request, target, call).respond()
        except Refused as refused:
            return refused.response
        except RecursionError:
            return gateway_error(None, message="The request's JSON is nested too deep")


class _Call:
    """One request the gateway has accepted, on its way through."""

    def __init__(
        self,
        state: State,
        upstream: Upstream,
        request: ReceivedRequest,
        target: Target,
        call: OpenCall,
    ) -> None:
        self._state = state
        self._upstream = upstream
        self._request = request
        self._target = target
        self._call = call
        self._started = time.monotonic()

    async def respond(self) -> Response:
        """Take the request through, and put the gateway's headers on what comes back."""
        try:
            response = await self._process()
        except Refused as refused:
            response = refused.response
        except ScriptError as error:
            response = _report(error, self._state)
        return self._finish(response)

    async def _process(self) -> Response:
        state, headers = self._state, self._request.headers
        if not state.admit():
            raise Refused(gateway_error(2003))
        target = self._target
        if state.guardrails and self._request.streams:
            target = without_stream(target)
        outgoing = upstream_request(self._request, target, state)
        policy = policies.read_cache_policy(headers, state.cache_ttl)
        if policy.ttl is None or outgoing.method != "POST" or len(outgoing.body) > MAX_REQUEST:
            return await self._send_with_retries(outgoing, target)
        authorization = outgoing.headers.get("authorization", "")
        key = policy.key or default_key(
            target.provider, target.path, target.model, authorization, outgoing.body
        )
        stored = state.cache.get(key, state.now())
        self._call.cache_status = "MISS" if stored is None else "HIT"
        if stored is not None:
            return stored
        response = await self._send_with_retries(outgoing, target)
        state.cache.put(key, response, state.now() + policy.ttl)
        return response

    async def _send_with_retries(self, outgoing: ReceivedRequest, target: Target) -> Response:
        policy = policies.read_retry_policy(self._request.headers)
        for attempt in range(1, policy.attempts + 1):
            last = attempt == policy.attempts
            # Documented: the last retry waits for as long as it takes.
            timeout = None if last and policy.attempts > 1 else policy.timeout
            response = await self._attempt(outgoing, target, timeout)
            if last or not _is_failure(response):
                return response
            await asyncio.sleep(policy.wait(attempt))
        msg = "unreachable: there is always a last attempt"
        raise AssertionError(msg)

    async def _attempt(
        self,
        outgoing: ReceivedRequest,
        target: Target,
        timeout: float | None,  # noqa: ASYNC109
    ) -> Response:
        state = self._state
        arrival = Arrival(self._request, outgoing)
        if state.strict is not None and target.provider == PROVIDER and not target.routing:
            left = [*state.upstream_script.entries(), *state.script.entries()]
            await state.strict.check_model(arrival, left)
        provider = await state.upstream_script.take(arrival)
        entry = provider
        if entry is None or entry.respond is None:
            entry = await state.script.take(arrival)
        if entry is not None and entry.final:
            raise Refused(await entry.make_response(arrival))
        if entry is None and state.strict is not None:
            state.strict.check_scripted(arrival, state.script.entries())
        self._call.attempts += 1
        state.upstream_requests.append(outgoing)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(0 if provider is None else provider.delay)
                if entry is None:
                    return await self._upstream(outgoing, target)
                return await entry.make_response(arrival)
        except TimeoutError:
            return gateway_error(2005, message="The provider did not answer in time")
        except UpstreamUnreachable:
            return gateway_error(2005)

    def _finish(self, response: Response) -> Response:
        state, headers, target = self._state, self._request.headers, self._target
        request_id = uuid7()
        event_id = headers.get("cf-aig-event-id") or request_id
        extra = {"cf-aig-request-id": request_id, "cf-aig-event-id": event_id, "cf-aig-step": "0"}
        if self._call.cache_status is not None:
            extra["cf-aig-cache-status"] = self._call.cache_status
        if target.dynamic:
            extra["cf-aig-model"] = target.model or ""
            extra["cf-aig-provider"] = target.provider
        extra |= target.routing
        if state.dlp is not None:
            extra["cf-aig-dlp"] = json.dumps(state.dlp, separators=(",", ":"))
        if policies.read_flag(headers, "cf-aig-collect-log", default=True):
            extra["cf-aig-log-id"] = request_id
            state.logs.append(self._record(response, request_id, event_id))
        return response.with_headers(extra)

    def _record(self, response: Response, request_id: str, event_id: str) -> LogRecord:
        headers, target = self._request.headers, self._target
        payload = policies.read_flag(headers, "cf-aig-collect-log-payload", default=True)
        return LogRecord(
            id=request_id,
            request_id=request_id,
            event_id=event_id,
            gateway_id=gateway_of(self._request),
            created_at=datetime.now(UTC),
            duration=round((time.monotonic() - self._started) * 1000),
            written_at=self._state.now() + self._state.log_delay,
            provider=target.provider,
            model=target.model,
            path=target.path,
            status_code=response.status,
            cached=self._call.cache_status == "HIT",
            metadata=policies.read_metadata(headers),
            attempts=self._call.attempts,
            step=0,
            custom_cost=policies.read_custom_cost(headers),
            request=self._request.body if payload else None,
            response=response.known_body() if payload else None,
        )


def _report(error: ScriptError, state: State) -> Response:
    """Keep an error of the test's own code for its end, and say it to the caller."""
    state.script_errors.append(error)
    return gateway_error(None, message=str(error), status=500)


def _is_failure(response: Response) -> bool:
    return response.status == 429 or response.status >= 500 or _is_gateway_failure(response)


def _is_gateway_failure(response: Response) -> bool:
    return response.status == 400 and b'"internalCode":2005' in (response.known_body() or b"")


async def _read(receive: Receive, *, at_most: int) -> bytes | None:
    """Return a body, or a piece of it that is over the limit; `None` if the caller is gone.

    All of it is read: a caller that is still sending would not read a refusal.
    """
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if len(body) <= at_most:
            body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _with_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` of ASGI that has a body which was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body() -> Message:
        return messages.pop() if messages else await receive()

    return receive_body


def _request(scope: Message, headers: Headers, body: bytes) -> ReceivedRequest:
    return ReceivedRequest(
        method=scope["method"],
        path=scope["path"],
        raw_path=scope["raw_path"].decode("ascii"),
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
    )
