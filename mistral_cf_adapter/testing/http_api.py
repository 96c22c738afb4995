"""The HTTP API of a local gateway, for tests in other languages and for its page.

JSON in and out, under `/_gateway`. `ROUTES` is all of it: the routing, the index at `/_gateway/`
and the documentation are made from it. An error is `{"error": message, "reasons": [...]}`, with
404, 405, 409 for an assertion that does not hold, 415 for another content type, 422 for wrong
fields.

A page of the web cannot use it: `guard` refuses its `Origin`, and what changes something takes
JSON alone, which a form cannot send.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from dataclasses import dataclass
from functools import partial
from time import sleep
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from mistral_cf_adapter._validation import did_you_mean, explain_validation_error
from mistral_cf_adapter.testing import http_requests as asked
from mistral_cf_adapter.testing.http_events import stream_events
from mistral_cf_adapter.testing.masks import Mask, known_secrets
from mistral_cf_adapter.testing.strict_json import read_strict, write_strict
from mistral_cf_adapter.testing.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo
    from starlette.requests import Request

    from mistral_cf_adapter.testing.access import Access
    from mistral_cf_adapter.testing.calls import Call
    from mistral_cf_adapter.testing.gateway import LocalGateway
    from mistral_cf_adapter.testing.http_requests import ApiRequest
    from mistral_cf_adapter.testing.state import State

PREFIX = "/_gateway"
_JSON = "application/json"
_TIME_TO_LEAVE = 0.2
"""Seconds that a response gets before its connection is closed."""


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One route of the API."""

    method: str
    path: str
    """Behind `/_gateway`."""
    request: type[ApiRequest]

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return (self.request.__doc__ or "").rstrip(".")

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """The fields by their names in JSON; their types and descriptions are pydantic's."""
        fields = self.request.model_fields
        return {field.alias or name: field for name, field in fields.items()}

    def describe(self) -> dict[str, Any]:
        """Return the route as JSON, for the index and the documentation."""
        fields = {
            name: {
                "type": _type_name(field.annotation),
                "required": field.is_required(),
                "description": field.description or "",
            }
            for name, field in self.fields.items()
        }
        path = PREFIX + self.path
        return {"method": self.method, "path": path, "summary": self.summary, "fields": fields}


ROUTES = (
    ApiRoute("GET", "/", asked.GetIndex),
    ApiRoute("GET", "/health", asked.GetHealth),
    ApiRoute("GET", "/settings", asked.GetSettings),
    ApiRoute("GET", "/calls", asked.ListCalls),
    ApiRoute("GET", "/calls/{id}", asked.GetCall),
    ApiRoute("POST", "/calls/{id}/send", asked.SendAgain),
    ApiRoute("GET", "/events", asked.GetEvents),
    ApiRoute("GET", "/totals", asked.GetTotals),
    ApiRoute("GET", "/queue", asked.GetQueue),
    ApiRoute("DELETE", "/queue", asked.ClearQueue),
    ApiRoute("POST", "/reply", asked.Reply),
    ApiRoute("POST", "/reply-json", asked.ReplyJson),
    ApiRoute("POST", "/reply-stream", asked.ReplyStream),
    ApiRoute("POST", "/fail", asked.Fail),
    ApiRoute("POST", "/upstream-fail", asked.UpstreamFail),
    ApiRoute("POST", "/upstream-delay", asked.UpstreamDelay),
    ApiRoute("POST", "/fault", asked.AddFault),
    ApiRoute("POST", "/assert-sent", asked.AssertSent),
    ApiRoute("POST", "/assert-not-sent", asked.AssertNotSent),
    ApiRoute("POST", "/assert-all-used", asked.AssertAllUsed),
    ApiRoute("POST", "/reset", asked.Reset),
    ApiRoute("POST", "/pass-time", asked.PassTime),
    ApiRoute("GET", "/switches", asked.GetSwitches),
    ApiRoute("PATCH", "/switches", asked.ChangeSwitches),
    ApiRoute("GET", "/bypassed", asked.ListBypassed),
    ApiRoute("POST", "/bypassed", asked.ReportBypassed),
)


class HttpApi:
    """The API of one local gateway, as an ASGI application."""

    def __init__(self, gateway: LocalGateway, state: State) -> None:
        self.gateway = gateway
        self.state = state
        self.access: Access | None = state.access
        """What the switch `access` turns on, if one was given at the start."""
        self.totals = Totals(state.calls)
        self.instance = secrets.token_hex(4)
        """Another one for each gateway: after a restart the ids of calls begin anew."""
        self.index = [route.describe() for route in ROUTES]
        self.changed: set[asyncio.Event] = set()
        """Set after each change, for the streams of events that are open."""
        routes = [
            Route(PREFIX + route.path, partial(self._serve, route), methods=[route.method])
            for route in ROUTES
        ]
        handlers = {HTTPException: _http_error}
        self.app = Starlette(routes=routes, exception_handlers=cast("Any", handlers))

    def secrets(self) -> list[str]:
        """Return what is masked wherever it appears."""
        # That of Access too while its switch is off: what came before is still shown.
        given = [] if self.access is None else [self.access.client_secret]
        return [*known_secrets(self.state), *given]

    def find_call(self, call_id: int) -> Call:
        """Return a call; raise NotFoundError if it is not kept."""
        call = self.state.calls.get(call_id)
        if call is None:
            msg = f"There is no call {call_id}: it was never made, or forgotten since"
            raise asked.NotFoundError(msg)
        return call

    def refuse_later(self, seconds: float) -> None:
        """Refuse connections for so long, once the response to this request has left."""

        def refuse() -> None:
            sleep(_TIME_TO_LEAVE)
            with self.gateway.fault("refuse"):
                sleep(seconds)

        threading.Thread(target=refuse, daemon=True).start()

    async def _serve(self, route: ApiRoute, request: Request) -> Response:
        try:
            fields = await _read_fields(route, request)
            if route.request is asked.GetEvents:
                return stream_events(self, cast("asked.GetEvents", fields), request)
            # In a thread: it takes a while with many calls, and closing a listener waits for
            # this event loop.
            result = await asyncio.to_thread(fields.run, self)
        except _REFUSALS as error:
            return self._refuse(route, error)
        if route.method != "GET":
            for changed in self.changed:
                changed.set()
        return _json(result, route.request.success)

    def _refuse(self, route: ApiRoute, error: Exception) -> Response:
        if isinstance(error, ValidationError):
            return _error(422, "; ".join(explain_validation_error(error, route.fields).values()))
        if isinstance(error, asked.NotFoundError):
            return _error(404, str(error))
        if isinstance(error, RecursionError):
            return _error(422, "The request's JSON is nested too deep")
        status = 409 if isinstance(error, AssertionError) else 422
        return _error(status, Mask(self.secrets()).mask_all(str(error)))


_REFUSALS = (asked.NotFoundError, AssertionError, ValueError, TypeError, RecursionError)
"""What a request is refused with; pydantic's ValidationError is a ValueError."""


async def _read_fields(route: ApiRoute, request: Request) -> ApiRequest:
    """Return the fields of path, query and body, checked."""
    given: dict[str, Any] = {**request.query_params, **request.path_params}
    if route.method in {"GET", "DELETE"}:
        return route.request.model_validate(given, strict=False)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise HTTPException(415, f"Send JSON, with the header Content-Type: {_JSON}")
    try:
        body = read_strict(await request.body() or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(422, "The body must be a JSON object")
    # The id in a path is text.
    path = {name: int(value) if value.isdecimal() else value for name, value in given.items()}
    return route.request.model_validate({**cast("dict[str, Any]", body), **path})


async def _http_error(request: Request, error: HTTPException) -> Response:
    message = error.detail
    if error.status_code == 404:
        known = {PREFIX + route.path for route in ROUTES}
        message = f"There is no {request.url.path}{did_you_mean(request.url.path, known)}"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.url.path} takes {allowed}, not {request.method}"
    response = _error(error.status_code, message)
    response.headers.update(error.headers or {})
    return response


def _error(status: int, message: str) -> Response:
    first, *rest = message.split("\n")
    return _json({"error": first, "reasons": [line.strip() for line in rest]}, status)


def _json(value: Any, status: int) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(write_strict(value), status, headers, _JSON)


def _type_name(annotation: Any) -> str:
    """Return a type in JSON's words."""
    parts, origin = get_args(annotation), get_origin(annotation)
    if origin is Annotated:
        return _type_name(parts[0])
    if origin is Literal:
        return " or ".join(map(json.dumps, parts))
    if origin in {Union, UnionType}:
        return " or ".join(map(_type_name, parts))
    if origin is list:
        return f"list of {_type_name(parts[0])}"
    return "object" if origin is not None else _TYPE_NAMES[annotation]


_TYPE_NAMES: Mapping[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    Any: "any JSON",
}
