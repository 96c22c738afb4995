"""What the HTTP API of a local gateway takes, and what it does: one class for each route.

The fields of a class are those of the request, in its path, its query or its JSON body.
"""

# Not `from __future__ import annotations`: pydantic reads the types of the fields.

import http.client
import ssl
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from mistral_cf_adapter import __version__
from mistral_cf_adapter.testing import limits
from mistral_cf_adapter.testing.access import Access
from mistral_cf_adapter.testing.call_view import describe, summarize
from mistral_cf_adapter.testing.connect import show_variable
from mistral_cf_adapter.testing.faults import Kind
from mistral_cf_adapter.testing.masks import Mask
from mistral_cf_adapter.testing.state import SWITCHES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_cf_adapter.testing.calls import Call
    from mistral_cf_adapter.testing.http_api import HttpApi

MAX_LIMIT = 1000
"""Secrets that every local gateway has by default."""
_SENDING = threading.BoundedSemaphore(limits.MAX_SENDING)
"""Of all gateways of this process."""
_HOP_BY_HOP = frozenset({b"connection", b"content-length", b"transfer-encoding", b"keep-alive"})

Path = Annotated[
    str | None,
    Field(description="The path of the request it is for, or its end: fim/completions"),
]
When = Annotated[
    Mapping[str, Any] | None,
    Field(
        description="What the request must have: path, method, model, json_contains, headers, "
        "options"
    ),
]
Headers = Annotated[Mapping[str, str] | None, Field(description="More headers of the response")]
Times = Annotated[int, Field(ge=1, le=limits.MAX_KEPT, description="How many requests it is for")]
CallId = Annotated[int, Field(ge=1, description="The call's id")]


class NotFoundError(Exception):
    """What a request names is not there; the message says what."""


class ApiRequest(BaseModel):
    """A request without fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)
    success: ClassVar[int] = 200

    def run(self, api: "HttpApi") -> Any:
        """Do what is asked, and return JSON."""
        raise NotImplementedError

    def given(self) -> dict[str, Any]:
        """Return the fields that were given: they are keywords of a method of LocalGateway."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class _Scripting(ApiRequest):
    """One that adds to the queue, and returns what is in it."""

    success: ClassVar[int] = 201

    def run(self, api: "HttpApi") -> Any:
        self.add(api)
        return read_queue(api)

    def add(self, api: "HttpApi") -> None:
        raise NotImplementedError


# ---------------------------------------------------------------- what was served


class GetIndex(ApiRequest):
    """All routes."""

    def run(self, api: "HttpApi") -> Any:
        return {"routes": api.index}


class GetHealth(ApiRequest):
    """Whether it runs, and since which instance."""

    def run(self, api: "HttpApi") -> Any:
        return {
            "status": "ok",
            "version": __version__,
            "url": api.gateway.url,
            "instance": api.instance,
            "last_call_id": api.state.calls.last_id,
        }


class ListCalls(ApiRequest):
    """Calls that were served, in one line each."""

    after: int = Field(default=0, ge=0, description="Calls with a larger id, oldest first")
    before: int | None = Field(
        default=None, ge=1, description="Those with a smaller id, and of them the newest"
    )
    limit: int = Field(default=100, ge=1, le=MAX_LIMIT, description="How many at most")
    q: str | None = Field(
        default=None, description="A text in prompt, response, model, operation, log id or error"
    )
    operation: str | None = Field(default=None, description="As chat.complete")
    model: str | None = None
    status_code: int | None = Field(default=None, alias="status", description="The HTTP status")
    cache: Literal["HIT", "MISS"] | None = None
    code: int | None = Field(default=None, description="The gateway's code of its error")
    failed: bool | None = Field(default=None, description="Whether it has an error")

    def run(self, api: "HttpApi") -> Any:
        kept = api.state.calls.since(self.after)
        if self.before is not None:
            kept = [call for call in kept if call.id < self.before]
        filters = self.model_fields_set - {"after", "before", "limit"}
        fitting = [call for call in kept if self._fits(call)] if filters else kept
        newest = self.before is not None
        page = fitting[-self.limit :] if newest else fitting[: self.limit]
        return {
            "calls": [summarize(call, api.secrets()) for call in page],
            "more": len(fitting) > len(page),
            "last_id": api.state.calls.last_id,
        }

    def _fits(self, call: "Call") -> bool:
        wanted: list[tuple[Any, Callable[[Call], Any]]] = [
            (self.operation, lambda call: call.operation),
            (self.model, lambda call: call.model),
            (self.status_code, lambda call: call.status),
            (self.cache, lambda call: call.cache_status),
            (self.code, lambda call: None if call.error is None else call.error.code),
            (self.failed, lambda call: call.error is not None),
        ]
        if any(value is not None and value != read(call) for value, read in wanted):
            return False
        return self.q is None or self._has_text(call, self.q.lower())

    def _has_text(self, call: "Call", text: str) -> bool:
        message = "" if call.error is None else call.error.message
        texts = (call.operation, call.model or "", call.log_id, message)
        if any(text in part.lower() for part in texts):
            return True
        wanted = text.encode()
        return wanted in call.request.body.lower() or wanted in call.body.lower()


class GetCall(ApiRequest):
    """All of one call, secrets masked."""

    id: CallId

    def run(self, api: "HttpApi") -> Any:
        return describe(api.find_call(self.id), api.secrets(), api.gateway.origin)


class SendAgain(ApiRequest):
    """Send the call's request again."""

    id: CallId
    success: ClassVar[int] = 202

    def run(self, api: "HttpApi") -> Any:
        host, port = _send_again(api.find_call(self.id), api.gateway.origin)
        # The new call has this address, by which it is found.
        return {"client": f"{host}:{port}"}


class GetTotals(ApiRequest):
    """Sums since the start or the last reset: tokens, cache hits, durations, errors."""

    def run(self, api: "HttpApi") -> Any:
        return Mask(api.secrets()).mask_all(api.totals.read())


class GetEvents(ApiRequest):
    """Server-sent events: hello, call, state."""

    after: int | None = Field(
        default=None,
        ge=0,
        description="Calls with a larger id first; the header Last-Event-ID does the same",
    )


def _send_again(call: "Call", origin: str) -> tuple[str, int]:
    """Send a request once more, in a thread; return the address it comes from.

    Raises:
        HTTPException: too many are on their way, as under a fault that stalls.
    """
    if not _SENDING.acquire(blocking=False):
        text = f"{limits.MAX_SENDING} calls are being sent again: wait until some have ended"
        raise HTTPException(429, text)
    try:
        connection = _connect(origin)
        address = connection.sock.getsockname()
        threading.Thread(target=_exchange, args=(connection, call), daemon=True).start()
    except BaseException:
        _SENDING.release()
        raise
    return address[0], address[1]


def _connect(origin: str) -> http.client.HTTPConnection:
    scheme, _, address = origin.partition("://")
    timeout = limits.REQUEST_TIMEOUT
    connection = (
        http.client.HTTPConnection(address, timeout=timeout)
        if scheme == "http"
        # It is this gateway's own certificate, from a file of the test's.
        else http.client.HTTPSConnection(
            address,
            timeout=timeout,
            context=_context_without_check(),
        )
    )
    connection.connect()
    return connection


def _context_without_check() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _exchange(connection: http.client.HTTPConnection, call: "Call") -> None:
    request = call.request
    query = f"?{request.query}" if request.query else ""
    try:
        connection.putrequest(
            request.method,
            request.raw_path + query,
            skip_host=True,
            skip_accept_encoding=True,
        )
        for name, value in request.headers.raw:
            if name.lower() not in _HOP_BY_HOP:
                connection.putheader(name, value)
        if request.body or request.method in {"POST", "PUT", "PATCH"}:
            connection.putheader("content-length", str(len(request.body)))
        connection.endheaders(request.body or None)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        pass  # A fault may have hit it, or the gateway ended: its record says so.
    finally:
        connection.close()
        _SENDING.release()


# ---------------------------------------------------------------- responses to come


class Reply(_Scripting):
    """Script a text."""

    text: str = Field(description="What the model says")
    when: When = None
    path: Path = None
    finish_reason: str | None = None
    tool_calls: list[dict[str, Any]] | None = None

    def add(self, api: "HttpApi") -> None:
        api.gateway.reply(**self.given())


class ReplyStream(_Scripting):
    """Script a stream."""

    pieces: list[str | dict[str, Any]] = Field(
        description="Texts become chunks of the model's text; an object is one event's JSON"
    )
    when: When = None
    path: Path = None

    def add(self, api: "HttpApi") -> None:
        api.gateway.reply_stream(**self.given())


class ReplyJson(_Scripting):
    """Script JSON."""

    value: Any = Field(description="What the provider responds with")
    status_code: int = Field(default=200, alias="status", ge=200, le=599)
    headers: Headers = None
    when: When = None
    path: Path = None

    def add(self, api: "HttpApi") -> None:
        api.gateway.reply_json(**_rename(self.given()))


class Fail(_Scripting):
    """Let the gateway refuse."""

    code: int | None = Field(default=None, description="A code of the gateway's, as 2003")
    kind: Literal["policy_denied", "policy_spend"] | None = None
    status_code: int | None = Field(default=None, alias="status", ge=400, le=599)
    message: str | None = None
    body: str | None = Field(default=None, description="The body, in place of the gateway's own")
    content_type: str = "text/html"
    headers: Headers = None
    when: When = None
    path: Path = None

    def add(self, api: "HttpApi") -> None:
        keywords = _rename(self.given())
        if self.body is not None:
            keywords["body"] = self.body.encode()
        api.gateway.fail(**keywords)


class UpstreamFail(_Scripting):
    """Let the provider fail."""

    status_code: int = Field(default=500, alias="status", ge=400, le=599)
    times: Times = 1
    body: Any = Field(default=None, description="JSON in place of Mistral's own")
    headers: Headers = None
    when: When = None
    path: Path = None

    def add(self, api: "HttpApi") -> None:
        api.gateway.upstream_fail(**_rename(self.given()))


class UpstreamDelay(_Scripting):
    """Let the provider be slow."""

    seconds: float = Field(ge=0, le=3600, allow_inf_nan=False)
    times: Times = 1
    when: When = None
    path: Path = None

    def add(self, api: "HttpApi") -> None:
        api.gateway.upstream_delay(**self.given())


class AddFault(_Scripting):
    """Spoil the next requests on the network."""

    kind: Kind
    times: Annotated[int, Field(ge=1, le=limits.MAX_KEPT)] | None = Field(
        default=1, description="How many requests it hits; null for all until it is cleared"
    )
    when: When = None
    path: Path = None
    keep: int | None = Field(default=None, ge=0, description="Bytes or events before a cut")
    data: str | None = Field(default=None, description="What is sent as garbage")
    status_code: int | None = Field(default=None, alias="status", ge=200, le=599)
    body: str | None = None
    content_type: str | None = None
    headers: Headers = None
    delay: float | None = Field(
        default=None, ge=0, le=3600, allow_inf_nan=False, description="Seconds between two drips"
    )
    size: int | None = Field(default=None, ge=1, description="Bytes of a drip")
    to: str | None = Field(default=None, description="The URL of a redirect")
    page: int | str | None = Field(default=None, description="The page of Cloudflare's edge")
    form: str | None = Field(default=None, description="The form of that page, or of Access's")
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=3600,
        description="How long connections are refused: this API is not reached meanwhile",
    )

    def add(self, api: "HttpApi") -> None:
        keywords = _rename(self.given())
        for name in ("data", "body"):
            if keywords.get(name) is not None:
                keywords[name] = keywords[name].encode()
        seconds = keywords.pop("seconds", None)
        if (self.kind == "refuse") != (seconds is not None):
            msg = "fault('refuse') needs seconds, and no other fault takes them"
            raise ValueError(msg)
        if seconds is not None:
            api.refuse_later(seconds)
            return
        api.gateway.fault(**keywords)


class GetQueue(ApiRequest):
    """Scripted responses and faults to come."""

    def run(self, api: "HttpApi") -> Any:
        return read_queue(api)


class ClearQueue(ApiRequest):
    """Forget scripted responses and faults."""

    def run(self, api: "HttpApi") -> Any:
        for part in (api.state.script, api.state.upstream_script, api.state.faults):
            part.clear()
        return read_queue(api)


def read_queue(api: "HttpApi") -> dict[str, Any]:
    """Return what is still to come, by the part of the gateway that does it."""
    queue = {
        "responses": api.state.script.labels(),
        "upstream": api.state.upstream_script.labels(),
        "faults": [
            {"kind": fault.kind, "path": fault.path, "times": fault.times, "hits": fault.fired}
            for fault in api.state.faults.in_force()
        ],
    }
    return dict(Mask(api.secrets()).mask_all(queue))


def _rename(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields by the names that LocalGateway has for them."""
    return {("status" if name == "status_code" else name): value for name, value in fields.items()}


# ---------------------------------------------------------------- assertions


class AssertNotSent(ApiRequest):
    """Check that none was sent."""

    path: Path = None
    method: str | None = None
    model: str | None = None
    headers: Mapping[str, str | None] | None = Field(
        default=None, description="Request headers; null for one that must be absent"
    )
    json_contains: Mapping[str, Any] | None = Field(
        default=None, description="What the JSON body must have; more fields are allowed"
    )
    options: Mapping[str, Any] | None = Field(
        default=None, description="Options of the adapter, as cache_ttl; null for an absent one"
    )

    def run(self, api: "HttpApi") -> Any:
        api.gateway.assert_not_sent(**self.given())
        return {"ok": True}


class AssertSent(AssertNotSent):
    """Check that a request was sent."""

    times: int | None = Field(default=None, ge=1, description="How often exactly")

    def run(self, api: "HttpApi") -> Any:
        found = api.gateway.assert_sent(**self.given())
        return {"ok": True, "method": found.method, "path": found.path}


class AssertAllUsed(ApiRequest):
    """Check that the queue is empty and, where it is strict, that all was scripted."""

    def run(self, api: "HttpApi") -> Any:
        api.gateway.assert_all_scripted()
        api.gateway.assert_all_used()
        return {"ok": True}


# ---------------------------------------------------------------- the gateway itself


class Reset(ApiRequest):
    """Forget calls, logs, cache, queue and Mistral's files; set the switches as at the start."""

    def run(self, api: "HttpApi") -> Any:
        api.gateway.reset()
        return {"ok": True}


class PassTime(ApiRequest):
    """Move the clock of cache and rate limit."""

    seconds: float = Field(gt=0, le=10**9, allow_inf_nan=False)

    def run(self, api: "HttpApi") -> Any:
        api.gateway.pass_time(self.seconds)
        return {"ahead": api.state.ahead}


class GetSwitches(ApiRequest):
    """What can be changed while it runs."""

    def run(self, api: "HttpApi") -> Any:
        return read_switches(api)


class ChangeSwitches(ApiRequest):
    """Change it."""

    authenticated: bool = Field(default=True, description="Whether a token is required")
    guardrails: bool = Field(default=False, description="A stream is one JSON response then")
    dlp: dict[str, Any] | None = Field(
        default=None, description="What cf-aig-dlp says; null for no header"
    )
    rate_limit: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Requests a minute; null for no limit"
    )
    cache_ttl: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Seconds a response is cached for; null for no cache"
    )
    access: bool = Field(default=False, description="Whether Cloudflare Access stands before it")

    def run(self, api: "HttpApi") -> Any:
        for name, value in self.given().items():
            setattr(api.state, name, _access(api, on=value) if name == "access" else value)
        return read_switches(api)


def read_switches(api: "HttpApi") -> dict[str, Any]:
    """Return the switches, and by how much the clock was moved."""
    switches = {name: getattr(api.state, name) for name in SWITCHES}
    ahead = api.state.ahead
    return {**switches, "access": api.state.access is not None, "ahead": ahead}


def _access(api: "HttpApi", *, on: bool) -> Access | None:
    if not on or api.state.access is not None:
        return api.state.access if on else None
    access = api.access or Access()
    access.use_clock(api.state.wall_time)
    return access


class GetSettings(ApiRequest):
    """How to point an application here."""

    def run(self, api: "HttpApi") -> Any:
        state = api.state
        return {
            "url": api.gateway.url,
            "env": {name: show_variable(name, value) for name, value in api.gateway.env().items()},
            "mistral_url": f"{api.gateway.url}/mistral",
            "compat_url": f"{api.gateway.url}/compat",
            "upstream": state.upstream,
            "stored_keys": sorted(state.stored_keys),
            "routes": dict(state.routes),
            "aliases": dict(state.aliases),
        }


class ListBypassed(ApiRequest):
    """Calls that went past the gateway."""

    def run(self, api: "HttpApi") -> Any:
        return {"bypassed": list(api.state.bypassed)}


class ReportBypassed(ApiRequest):
    """Report such a call."""

    method: str = Field(max_length=20)
    path: str = Field(max_length=2000)
    routed: Literal["direct", "elsewhere"]
    operation: str | None = Field(default=None, max_length=200)
    model: str | None = Field(default=None, max_length=200)
    status_code: int | None = Field(default=None, alias="status")
    success: ClassVar[int] = 201

    def run(self, api: "HttpApi") -> Any:
        told = {**self.model_dump(by_alias=True), "time": datetime.now(UTC).isoformat()}
        api.state.bypassed.append(Mask(api.secrets()).mask_all(told))
        return {"ok": True}
