"""One call without I/O: fallback, redirects, errors, streams.

`request_flow()` is a generator that yields an `Action` for each thing to do (send a request, read
or close a response) and receives the result. `_http_client` runs it, sync or async.
"""

import asyncio
import json
import re
from collections.abc import Callable, Generator, Hashable, Mapping
from functools import partial
from time import monotonic, perf_counter
from typing import Any, Literal, NamedTuple
from weakref import ref

from . import _codings, _edge, _replays, _streaming
from ._call_log import logger
from ._capture import Place, warn_bypass, warn_once
from ._capture import record as record_call
from ._connection_errors import to_gateway_error
from ._credentials import SecretSource
from ._errors import (
    KEY_HEADERS,
    GatewayAccessError,
    GatewayRedirectError,
    GatewayStreamError,
    GatewayUnauthorizedError,
    GatewayUnavailableError,
    Mask,
    build_error,
    build_page_error,
    drop_stream,
    from_json_stream,
    from_response,
    from_success_response,
)
from ._gateway_call import Outcome
from ._gateway_models import find_misplaced_model
from ._open_call import OpenCall
from ._options import GatewayConfigError, get_current_scope
from ._routing import (
    ATTEMPT,
    MISTRAL_HOST,
    ROUTED,
    TOKEN_HEADER,
    Route,
    add_secrets,
    clone_request,
    find_address_problem,
    find_missing_key,
    find_missing_secrets,
    get_origin,
    is_keyless,
    is_within,
    make_mask,
    prepare_request,
    raise_for_gateway_error,
    restore_sdk_headers,
    secrets_area,
    strip_cloudflare_headers,
    strip_gateway_headers,
)
from ._sdk import MISTRAL_URL, http_library
from ._secrets import Secret

CONNECT_TIMEOUT = 5.0  # seconds
_PROBE_TIME = CONNECT_TIMEOUT

_CONNECT_ERRORS = frozenset({"ConnectError", "ConnectTimeout"})  # of httpx and of httpx2
_BREAKS = frozenset({"TransportError", "DecodingError", "OSError"})
_EDGE_STATUSES = frozenset({502, 503, 504, *range(520, 531)})

_MAX_REMEMBERED = 1024
_MAX_ENVELOPE = 65_536  # bytes

# The circuit breaker: until when it is open for a gateway's origin and a pool.
_open_until: dict[tuple[Hashable, Hashable], float] = {}


# A JSON response of these operations can be made a stream of events.
_CHAT_PATHS = frozenset({"/v1/chat/completions", "/v1/fim/completions", "/v1/agents/completions"})

# What ends a stream: this data, or an event of this name. Other streams have no end mark.
_CONVERSATIONS = "/v1/conversations"
_CONVERSATION_MARKS = frozenset({b"conversation.response.done", b"conversation.response.error"})
_END_MARKS = {
    **dict.fromkeys(_CHAT_PATHS, frozenset({b"[DONE]"})),
    "/v1/audio/transcriptions": frozenset({b"transcription.done"}),
    "/v1/audio/speech": frozenset({b"speech.audio.done"}),
}
_ALL_END_MARKS = frozenset[bytes]().union(_CONVERSATION_MARKS, *_END_MARKS.values())


_Recorder = Callable[[Any], OpenCall | None]
"""Records a call, given its response or `None`; returns it if it is to be ended."""

# The settings whose secret an error may refuse; the value may have changed since it was read.
_ACCESS = frozenset({"access_token", "access_client_secret"})
_REFUSALS: Mapping[type[Exception], frozenset[str]] = {
    GatewayUnauthorizedError: frozenset({"token"}),
    GatewayAccessError: _ACCESS,
}
_NOTHING: frozenset[str] = frozenset()


class Action(NamedTuple):
    """One thing to do: send a request, read or close a response, or read live secrets.

    Or to await what asynchronous functions of `on_call()` have left to do.
    """

    kind: Literal["send", "read", "close", "read_secrets", "await"]
    target: Any
    """The request, the response, or the sources of the secrets by setting."""
    drop_auth: bool = False
    """Send without the HTTP client's own `auth`: the target is outside of `secrets_area()` of the
    first request, or is Mistral itself, or the gateway is to use a stored key."""


Flow = Generator[Action, Any, Any]


def request_flow(  # noqa: PLR0913
    route: Route,
    request: Any,
    *,
    max_redirects: int | None,
    pool_key: Hashable = None,
    warned_places: set[Place] | None = None,
    keeps_cookies: bool = True,
    authenticates: bool = False,
) -> Flow:
    """Yield the actions of one call.

    Args:
        route: Where requests go and what they carry.
        request: The SDK's own request.
        max_redirects: How many redirects to follow, `None` if the first one is the response.
        pool_key: Which connections are used: the circuit breaker is kept per gateway and pool.
        warned_places: Places that were warned of already because a request goes past the gateway.
        keeps_cookies: The HTTP client stores cookies. A shared one must not; then only the
            redirects of this call send the cookies that were set on the way.
        authenticates: The HTTP client may add a Mistral key of its own, by `auth` or by a hook.

    Returns:
        The response for the SDK, whose request is the SDK's own, without the gateway's token.

    Raises:
        GatewayConfigError: the request cannot work; nothing was sent.
        GatewayError: the gateway responded with an error, or could not be reached.
    """
    # One GatewayClient around another: a patch of a client that already has one.
    if ROUTED in request.extensions:
        return (yield Action("send", request))
    return (
        yield from _RequestFlow(
            route, request, max_redirects, pool_key, warned_places, keeps_cookies, authenticates
        ).run()
    )


class _RequestFlow:
    """One request of the SDK, and its response so far."""

    __slots__ = (
        "authenticates",
        "direct",
        "fields",
        "has_response",
        "keeps_cookies",
        "left_gateway",
        "max_redirects",
        "path",
        "pool_key",
        "request",
        "response",
        "route",
        "secrets",
        "wants_stream",
        "warned_places",
    )

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        route: Route,
        request: Any,
        max_redirects: int | None,
        pool_key: Hashable,
        warned_places: set[Place] | None,
        keeps_cookies: bool,  # noqa: FBT001
        authenticates: bool,  # noqa: FBT001
    ) -> None:
        self.route = route
        self.warned_places = set[Place]() if warned_places is None else warned_places
        self.request = request
        self.max_redirects = max_redirects
        self.pool_key = pool_key
        self.keeps_cookies = keeps_cookies
        self.authenticates = authenticates
        self.path = request.url.path.removeprefix(route.provider_path)
        self.wants_stream = _streaming.EVENT_STREAM in request.headers.get("accept", "")
        """The SDK asked for an event stream."""
        self.response: Any = None
        self.has_response = False
        """The request was sent and a response arrived, so its body is consumed."""
        self.left_gateway = False
        """The request at hand leaves `secrets_area()` of the first one, or goes to Mistral."""
        self.direct = False
        self.secrets: list[Secret] = []
        """All live secrets that were read, to mask them."""
        self.fields: dict[str, Any] = {
            "method": request.method,
            "path": self.path,
            "attempt": _next_attempt(request),
            "routed": "gateway",
        }
        """Fields of `GatewayCall` that are not in the response."""

    def run(self) -> Flow:
        """Send the request; return the SDK's response, or raise."""
        if not hasattr(self.request, "_content"):  # only uploads have a body that is not in memory
            _replays.guard(self.request)
        if not self.route.leads_to_provider(self.request.url):
            problem = find_address_problem(self.route, self.request)
            if problem is not None:
                raise GatewayConfigError(problem)
            return (yield from self._send_unrouted())
        live = self.route.live_secrets
        needs_key = not (self.authenticates or (live and "mistral_api_key" in live))
        outgoing = prepare_request(
            self.route, self.request, get_current_scope(), needs_key=needs_key
        )
        missing = live and find_missing_secrets(self.route, self.request, outgoing)
        secrets = (yield from self._read_secrets(missing, outgoing)) if missing else None
        mask = make_mask(self.route, outgoing, self.secrets)
        record = self._make_recorder(mask)
        yield from self._send_and_record_errors(outgoing, mask, record)
        if missing and secrets:
            yield from self._send_again_if_refused(outgoing, missing, secrets, mask, record)
        self._note_outcome(mask)
        try:
            self._check_response(mask, outgoing)
        except Exception as error:
            yield from _end_with_error(record(self.response), error)
            raise
        response = self._wrap_stream(mask)
        call = record(self.response)
        if call is not None:
            yield from self._end_call(call, response)
        return response

    def _check_response(self, mask: Mask, outgoing: Any) -> None:
        """Raise what is wrong with a response."""
        response = self.response
        hidden_error = self._find_hidden_error(mask)
        if hidden_error is not None:
            try:
                raise hidden_error
            finally:
                del hidden_error  # an error and a frame that holds it would form a cycle
        if hasattr(response, "_decoder") and "content-encoding" in response.headers:
            _codings.check(response, mask)
        if response.status_code < 400:
            return
        drop_stream(response)  # the SDK's error keeps the response, and so what was sent
        self._warn_of_misplaced_model(outgoing)
        if not self.direct:
            had_token = TOKEN_HEADER in outgoing.headers
            raise_for_gateway_error(response, mask, self.route.address, had_token=had_token)

    def _end_call(self, call: OpenCall, response: Any) -> Flow:
        """End a call whose response arrived: now, or later by the `GuardedStream` of its stream.

        Args:
            call: The call.
            response: What the SDK gets: an event stream that was made of JSON is another response
                than the one that arrived.
        """
        arrived = self.response
        is_read = hasattr(response, "_content") or not hasattr(response, "stream")
        if response is arrived and not is_read:
            _streaming.end_call_with_stream(response, call, _ALL_END_MARKS)
            return
        if arrived.status_code < 400:
            pending = call.end(_streaming.read_content(arrived, call))
        else:  # the SDK raises a retryable one itself, after its retries
            is_gateways = self.fields["routed"] == "gateway"
            pending = call.end("error", from_response(arrived) if is_gateways else None)
        if pending:
            yield Action("await", pending)

    def _read_secrets(
        self, sources: Mapping[str, SecretSource], outgoing: Any
    ) -> Generator[Action, Any, dict[str, Secret]]:
        """Read live secrets, put them into the headers of a request, and return them."""
        secrets: dict[str, Secret] = yield Action("read_secrets", sources)
        self.secrets += secrets.values()
        add_secrets(self.route, outgoing, secrets)
        return secrets

    def _send_and_record_errors(self, outgoing: Any, mask: Mask, record: _Recorder) -> Flow:
        try:
            yield from self._send_handling_fallback(outgoing)
        except Exception as error:
            self._sanitize_error(error)
            yield from _end_with_error(record(self.response), error)
            self._note_outcome(mask, error)
            self._raise_connection_error(error, mask)
            raise
        except BaseException as error:  # cancelled, interrupted, or dropped by the HTTP client
            yield from _end_interrupted(record(self.response), error)
            raise

    def _send_again_if_refused(
        self,
        outgoing: Any,
        sources: Mapping[str, SecretSource],
        secrets: Mapping[str, Secret],
        mask: Mask,
        record: _Recorder,
    ) -> Flow:
        """Ask once more for the secret that a response refused; if it is another, send again."""
        name = next(iter(self._find_refused() & sources.keys()), None)
        if name is None or not _replays.can_replay(self.request):
            return
        again = clone_request(outgoing, outgoing.headers.copy())
        try:
            renewed = yield from self._read_secrets({name: sources[name]}, again)
        except Exception as error:
            error.add_note(f"asked once more after HTTP {self.response.status_code}")
            # Whatever the callable raises, it is no broken connection.
            yield from _end_with_error(record(self.response), error, "error")
            raise
        except BaseException as error:
            yield from _end_interrupted(record(self.response), error)
            raise
        if renewed[name] == secrets[name]:
            return
        logger.info(
            "%s was refused, and is another by now: %s %s is sent again",
            name,
            self.request.method,
            self.path,
        )
        self.response = None
        yield from self._send_and_record_errors(again, mask, record)

    def _find_refused(self) -> frozenset[str]:
        """Return the settings of which one has the secret that the response refused."""
        response = self.response
        if self.direct or self.left_gateway:
            return _NOTHING
        if response.status_code < 400:
            return _ACCESS if self._is_access_login() else _NOTHING
        error = from_response(response)
        if error is None:  # not known to be the gateway's
            return frozenset({"mistral_api_key"}) if response.status_code == 401 else _NOTHING
        return _REFUSALS.get(type(error), _NOTHING)

    def _find_hidden_error(self, mask: Mask) -> Exception | None:
        """Return the error in a response with a status below 400, or None."""
        response = self.response
        if 300 <= response.status_code < 400 and self._is_access_login():
            return build_page_error(_edge.access_refusal(response), response, mask)
        content: bytes = getattr(response, "_content", b"")
        if self.direct or response.status_code != 200 or len(content) > _MAX_ENVELOPE:
            return None
        if "json" not in response.headers.get("content-type", ""):
            return None  # a file, read by a hook
        if self.wants_stream and b"rror" in content:
            return from_json_stream(response, mask)
        # An error has one of these words: no other body is parsed.
        if b'"success"' not in content and b"AiGatewayError" not in content:
            return None
        return from_success_response(response, mask)

    def _warn_of_misplaced_model(self, outgoing: Any) -> None:
        """Warn if Mistral was asked for a model of the gateway's own, which it does not know."""
        if self.route.provider != "mistral" or outgoing.url.path != self.request.url.path:
            return
        model = find_misplaced_model(self.request, self.response.status_code)
        if model is not None:
            message = (
                f"model {model} is AI Gateway's own, and went to Mistral: it is for chat with "
                'endpoint="compat" (gateway_options() or CF_AIG_ENDPOINT)'
            )
            logger.info("%s", message)
            warn_once(self.warned_places, model, message)

    def _make_recorder(self, mask: Mask) -> _Recorder:
        """Return a function that records the call that begins now, given its response or `None`."""
        route = self.route
        started = perf_counter()
        return partial(
            record_call, self.request, self.fields, started, mask, route.otel, route.telemetry
        )

    def _note_outcome(self, mask: Mask, error: Exception | None = None) -> None:
        """Remember what came of a body that cannot be sent again."""
        if not hasattr(self.request, "_content"):
            response = self.response if error is None else None
            is_gateways = self.fields["routed"] == "gateway"
            _replays.note_outcome(self.request, response, error, mask, is_gateways=is_gateways)

    def _send_unrouted(self) -> Flow:
        """Send past the gateway (`routed="elsewhere"`): the call gave another `server_url=`."""
        origin = get_origin(self.request.url)
        warn_bypass(self.warned_places, origin, self.request.method, self.path)
        self.fields["routed"] = "elsewhere"
        outgoing = strip_gateway_headers(self.request)
        if self.route.live_secrets and (missing := find_missing_key(self.route, self.request)):
            yield from self._read_secrets(missing, outgoing)
        mask = make_mask(self.route, self.request, self.secrets)
        record = self._make_recorder(mask)
        try:
            yield from self._send_handling_redirects(outgoing)
        except Exception as error:
            self._sanitize_error(error)
            yield from _end_with_error(record(self.response), error)
            self._note_outcome(mask, error)
            raise
        except BaseException as error:
            yield from _end_interrupted(record(self.response), error)
            raise
        call = record(self.response)
        self._note_outcome(mask)
        if call is not None:
            yield from self._end_call(call, self.response)
        return self.response

    def _send_handling_fallback(self, outgoing: Any) -> Flow:
        """Send to the gateway or, if it is down and fallback is on, to Mistral directly."""
        direct = build_direct_request(self.route, self.request, outgoing)
        if direct is None:
            yield from self._send_and_read_errors(outgoing)
            return
        outage: str | None = "it was down a moment ago"
        if not is_open(self.route, self.pool_key):
            outage = yield from self._try_gateway(outgoing)
        if outage is None:
            return
        log_fallback(outage, self.request.method, self.path)
        warn_once(self.warned_places, "direct", "AI Gateway is down: a request goes to Mistral")
        self.direct, self.response = True, None
        self.fields |= {"direct": True, "routed": "direct"}
        try:
            yield from self._send_and_read_errors(direct)
        except Exception as error:
            error.add_note(f"AI Gateway was down as well ({outage})")
            raise

    def _try_gateway(self, outgoing: Any) -> Generator[Action, Any, str | None]:
        """Send to the gateway, or return why it cannot be reached."""
        try:
            yield from self._send_and_read_errors(limit_connect_timeout(outgoing))
        except Exception as error:
            outage = self._record_outage(get_connect_failure(error))
            if outage is None:
                raise
        else:
            outage = self._record_outage(get_edge_failure(self.response))
        return outage

    def _record_outage(self, outage: str | None) -> str | None:
        """Record the outcome; return the outage if the request can be sent to Mistral instead."""
        if self.left_gateway:
            outage = None
        record_outcome(self.route, self.pool_key, down=outage is not None)
        if outage is None or not self.has_response or _replays.can_replay(self.request):
            return outage
        log_no_replay(outage, self.request.method, self.path)
        return None

    def _send_and_read_errors(self, outgoing: Any) -> Flow:
        yield from self._send_handling_redirects(outgoing)
        if self._must_read():
            yield from self._read()

    def _send_handling_redirects(self, outgoing: Any) -> Flow:
        """Send, and follow redirects hop by hop, with secrets for the first address's area only.

        The response names the SDK's own request, which never carries the token.
        """
        first = outgoing.url
        history: list[Any] = []
        jar: Any = None
        for _ in range((self.max_redirects or 0) + 1):
            leaves = outgoing.url is not first and self._leaves(first, outgoing.url)
            self.left_gateway = self.direct or leaves
            # A shared client has no `auth`.
            drop_auth = self.keeps_cookies and (self.left_gateway or self._must_drop_auth(outgoing))
            response = self.response = yield Action("send", outgoing, drop_auth)
            self.has_response = True
            if response.history and any(each.has_redirect_location for each in response.history):
                yield Action("close", response)
                raise self._build_redirect_error(response)
            if response.next_request is not None and not self.keeps_cookies:
                jar = add_redirect_cookies(jar, response)
            next_request = build_redirect_request(self.route, outgoing, response)
            response.request = (
                restore_sdk_headers(self.route, self.request, outgoing) if history else self.request
            )
            response.next_request = None
            response.history = [*history, *map(self._sanitize_auth_response, response.history)]
            if response.status_code // 100 != 3 or not response.has_redirect_location:
                return
            if self._is_access_login():
                yield Action("close", response)
                return
            if self.max_redirects is None:
                if next_request is not None:
                    response.next_request = restore_sdk_headers(
                        self.route, self.request, next_request
                    )
                return
            problem = _find_redirect_problem(next_request)
            if problem is not None:
                yield Action("close", response)
                message = f"HTTP {response.status_code} redirects {problem}"
                raise build_error(GatewayRedirectError, message, response)
            yield from self._read()
            drop_stream(response)
            history.append(response)
            outgoing = next_request
        msg = "Exceeded maximum allowed redirects."
        raise http_library(self.request).TooManyRedirects(msg, request=self.request)

    def _sanitize_auth_response(self, response: Any) -> Any:
        """Return a 401 that the HTTP client's `auth` has answered, without secrets."""
        response.request = restore_sdk_headers(self.route, self.request, response.request)
        drop_stream(response)
        return response

    def _is_access_login(self) -> bool:
        """Return whether the gateway's response is a redirect to Cloudflare Access's login page.

        It is not followed: no program can log in there.
        """
        response = self.response
        if self.fields["routed"] != "gateway" or not response.has_redirect_location:
            return False
        return _edge.is_access_login(response)

    def _build_redirect_error(self, response: Any) -> Exception:
        """Return the error for a client that followed a redirect although it must not."""
        host = response.url.host
        response.request, response.history = self.request, []
        message = (
            f"the HTTP client followed a redirect to {host} by itself, although its send() was "
            "given follow_redirects=False: the gateway's token may have been sent there. Let "
            "send() pass follow_redirects on, and replace the token"
        )
        return build_error(GatewayRedirectError, message, response)

    def _leaves(self, first: Any, url: Any) -> bool:
        """Return whether a redirect leads to where the first address's secrets must not go."""
        area = secrets_area(self.route, first)
        return get_origin(url) != get_origin(self.request.url) or not is_within(url, area)

    def _must_drop_auth(self, outgoing: Any) -> bool:
        """Return whether the HTTP client must not add credentials: no key is to be sent."""
        # Without a key, what the gateway gets in `Authorization` is for Cloudflare Access.
        is_for_access = (
            self.route.read_extra_headers is not None and self.fields["routed"] == "gateway"
        )
        if _has_key(outgoing) and not is_for_access:
            return False
        return is_keyless(self.route, outgoing)

    def _must_read(self) -> bool:
        """Return whether the body must be read before the SDK gets the response."""
        if self.response.status_code >= 400:
            return True
        if not self.wants_stream or _is_event_stream(self.response):
            return False
        return not self._is_access_login()  # which is closed

    def _read(self) -> Flow:
        try:
            yield Action("read", self.response)
        except Exception:
            yield Action("close", self.response)  # else its connection would not be released
            raise

    def _wrap_stream(self, mask: Mask) -> Any:
        """Guard a streamed response, or make a stream of a JSON response."""
        response = self.response
        end_marks = _find_end_marks(self.path)
        if response.status_code == 200 and end_marks is not None:
            if _is_event_stream(response):
                _streaming.guard_stream(response, end_marks, mask)
                return response
            if self.wants_stream and self.path in _CHAT_PATHS:
                return self._make_stream() or response
        if not hasattr(response, "_content") and "content-encoding" in response.headers:
            _codings.guard_body(response, mask)
        return response

    def _make_stream(self) -> Any:
        events = _streaming.to_event_stream(self.response)
        if events is not None:
            self.fields["buffered"] = True
        return events

    def _raise_connection_error(self, error: Exception, mask: Mask) -> None:
        """Raise a `GatewayConnectionError` in place of the HTTP library's, for the gateway's host.

        What goes wrong at Mistral itself, or behind a redirect to another host, stays as it is.
        """
        if self.left_gateway:
            return
        named = to_gateway_error(error, self.request, mask)
        if named is None:
            return
        try:
            raise named from error
        finally:
            del named, error  # an error and a frame that holds it would form a cycle

    def _sanitize_error(self, error: Exception) -> None:
        """Make an HTTP error name the SDK's request, which never carries the token."""
        response: Any = getattr(error, "response", None)  # as a response hook raises for a status
        if getattr(response, "_request", None) is not None:
            response.request = self.request
            drop_stream(response)
        if getattr(error, "_request", None) is not None:
            error.request = self.request  # type: ignore[attr-defined]
            scheme, host, port = get_origin(self.request.url)
            note = f"{self.request.method} {scheme}://{host}:{port}{self.request.url.path}"
            if note not in getattr(error, "__notes__", ()):  # a transport may raise one again
                error.add_note(note)


def _end_with_error(
    call: OpenCall | None, error: Exception, outcome: Outcome | None = None
) -> Flow:
    """End a call that raises an error, which says how it ended if nothing else does."""
    if call is None:
        return
    pending = call.end(outcome or ("broken" if _is_broken(error) else "error"), error)
    if pending:
        yield Action("await", pending)


def _end_interrupted(call: OpenCall | None, error: BaseException) -> Flow:
    """End a call that is cancelled, or left at once."""
    if call is None:
        return
    if not isinstance(error, asyncio.CancelledError):
        call.drop()
        return
    pending = call.end("abandoned")
    if pending:  # else the event loop could end before
        yield Action("await", pending)


def _is_broken(error: Exception) -> bool:
    """Return whether an error says that the connection or the data of the body broke off."""
    if isinstance(error, GatewayStreamError):
        return error.code is None
    return any(cls.__name__ in _BREAKS for cls in type(error).__mro__)


def _find_redirect_problem(next_request: Any) -> str | None:
    """Return why a redirect cannot be followed; `next_request` is `None` if it must not be."""
    if next_request is None:
        return "to an address that cannot be followed"
    return f"a request, and {_replays.ADVICE}" if _replays.is_spent(next_request) else None


def _find_end_marks(path: str) -> frozenset[bytes] | None:
    return _CONVERSATION_MARKS if path.startswith(_CONVERSATIONS) else _END_MARKS.get(path)


def _has_key(request: Any) -> bool:
    """Return whether a request has a header with a Mistral key."""
    return any(name in request.headers for name in KEY_HEADERS)


def _is_event_stream(response: Any) -> bool:
    """Return whether a response is what the SDK's stream methods accept."""
    content_type: str = response.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower() == _streaming.EVENT_STREAM


def _next_attempt(request: Any) -> int:
    """Count the attempts of an SDK call: its retries send the same request again."""
    attempt: int = request.extensions.get(ATTEMPT, 0) + 1
    request.extensions[ATTEMPT] = attempt
    return attempt


def add_redirect_cookies(jar: Any, response: Any) -> Any:
    """Add the cookies that earlier redirects set to the next request; return their jar."""
    if jar is None:
        if "set-cookie" not in response.headers:
            return None
        jar = http_library(response).Cookies()
    jar.extract_cookies(response)
    jar.set_cookie_header(response.next_request)
    return jar


def build_redirect_request(route: Route, sent: Any, response: Any) -> Any:
    """Return the request for a redirect, or None if it must not or cannot be followed.

    Secrets go along below the same account, gateway and provider only: the gateway's host is
    shared by others, and `Location` comes from the provider.
    """
    next_request = response.next_request
    if next_request is None or _is_ambiguous(response.headers.get("location", "")):
        return None
    if next_request.url.userinfo:  # it would take the key's place
        next_request.url = next_request.url.copy_with(userinfo=b"")
    url = next_request.url
    if url.scheme not in (("https",) if sent.url.scheme == "https" else ("https", "http")):
        return None
    if not 0 < (url.port or 443) < 65536:
        return None
    if get_origin(url) == ("https", MISTRAL_HOST, 443) and route.covers(sent.url):
        return _reroute(route, sent, next_request)
    if get_origin(url) != get_origin(sent.url) or not is_within(url, secrets_area(route, sent.url)):
        next_request.headers = strip_cloudflare_headers(next_request.headers)
        for name in (*KEY_HEADERS, *route.own_names):
            next_request.headers.pop(name, None)
    return next_request


_AUTHORITY = r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#]*)"


def _is_ambiguous(location: str) -> bool:
    """Return whether a backslash hides the host of a redirect: readers differ on which it is."""
    match = re.match(_AUTHORITY, location)
    return match is not None and "\\" in match[1]


def _reroute(route: Route, sent: Any, next_request: Any) -> Any:
    """Return the request for a redirect to Mistral's host, through the gateway again."""
    path = bytes(next_request.url.raw_path).decode("ascii")
    url = type(next_request.url)(f"{route.provider_url}{path}")
    if not is_within(url, secrets_area(route, url)):
        return None
    headers = next_request.headers
    if "authorization" in sent.headers:
        headers["Authorization"] = sent.headers["authorization"]
    return clone_request(next_request, headers, url)


# ---------------------------------------------------------------- fallback, circuit breaker


def build_direct_request(route: Route, request: Any, outgoing: Any) -> Any:
    """Return the same request for Mistral itself, `None` where it must not go there.

    It goes there with the key that the gateway would have got, so never in place of a stored
    key, and never for a model of another provider.
    """
    if not route.fallback or not request.url.path.startswith(f"{route.provider_path}/"):
        return None
    if is_keyless(route, outgoing):  # then `Authorization` is for Cloudflare Access
        return None
    keys = {name: outgoing.headers[name] for name in KEY_HEADERS if name in outgoing.headers}
    if not keys:
        return None
    # Taken before anything is sent: the HTTP client's own auth writes into the headers it sends.
    headers = strip_cloudflare_headers(request.headers)
    for name in route.own_names:  # also with a value of the call's: they are for this side
        headers.pop(name, None)
    headers.update(keys)
    path = bytes(request.url.raw_path).removeprefix(route.provider_raw_path).decode("ascii")
    direct = clone_request(request, headers, type(request.url)(f"{MISTRAL_URL}{path}"))
    if outgoing.url.path == request.url.path:
        return direct
    return _convert_from_compat(direct, json.loads(outgoing.content))


def _convert_from_compat(direct: Any, body: dict[str, Any]) -> Any:
    """Remove the provider from the model's name; `None` for a dynamic route or another's model."""
    provider, _, model = str(body["model"]).partition("/")
    if provider != "mistral":
        return None
    headers = direct.headers.copy()
    headers.pop("content-length", None)
    return type(direct)(
        direct.method,
        direct.url,
        headers=headers,
        content=json.dumps({**body, "model": model}).encode(),
        extensions=direct.extensions,
    )


def limit_connect_timeout(outgoing: Any) -> Any:
    """Limit a request's connect timeout to 5 seconds."""
    timeout: dict[str, float | None] = outgoing.extensions.get("timeout") or {}
    connect = min(timeout.get("connect") or CONNECT_TIMEOUT, CONNECT_TIMEOUT)
    outgoing.extensions["timeout"] = {**timeout, "connect": connect}
    return outgoing


def get_connect_failure(error: Exception) -> str | None:
    """Return the name of an error that says that no connection could be made."""
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((name for name in names if name in _CONNECT_ERRORS), None)


def get_edge_failure(response: Any) -> str | None:
    """Return the status of an error response that came in place of the gateway's, or None.

    Neither the gateway nor the provider is known to have sent it: `from_response()` decides.
    """
    if response.status_code not in _EDGE_STATUSES:
        return None
    if not isinstance(from_response(response), GatewayUnavailableError):
        return None
    return f"HTTP {response.status_code}"


def is_open(route: Route, pool_key: Hashable) -> bool:
    """Return whether the circuit for this gateway and pool is open.

    After the cool-down it lets one caller through to probe the gateway, and is open for the others
    for a little longer.
    """
    until = _open_until.get((route.origin, pool_key))
    if until is None or not route.cooldown:
        return False
    now = monotonic()
    if now < until:
        return True
    _open_until[route.origin, pool_key] = now + _PROBE_TIME
    return False


def record_outcome(route: Route, pool_key: Hashable, *, down: bool) -> None:
    """Open or close the circuit for this gateway and pool."""
    if down:
        _forget_expired()
        _open_until[route.origin, pool_key] = monotonic() + route.cooldown
    else:
        _open_until.pop((route.origin, pool_key), None)


def make_pool_key(client: Any) -> Hashable:
    """Return a key for the circuit breaker of a user's own client: a weak reference to it.

    An `id()` may be another client's later.
    """
    try:
        key = ref(client)
        hash(key)
    except TypeError:
        return object()  # no weak reference to it: remembered for this GatewayClient alone
    return key


def _forget_expired() -> None:
    """Drop outages that are over, those of clients that are gone, and the oldest of too many."""
    now = monotonic()
    for key, until in list(_open_until.items()):
        is_gone = isinstance(key[1], ref) and key[1]() is None
        if until < now or is_gone:
            _open_until.pop(key, None)
    for key in list(_open_until)[: max(0, len(_open_until) - _MAX_REMEMBERED + 1)]:
        _open_until.pop(key, None)


def log_fallback(outage: str, method: str, path: str) -> None:
    """Log that a request goes to Mistral directly."""
    message = "AI Gateway is down (%s): %s %s goes to Mistral directly"
    logger.warning(message, outage, method, path)


def log_no_replay(outage: str, method: str, path: str) -> None:
    """Log that a request cannot be sent again to Mistral directly."""
    message = (
        "AI Gateway is down (%s), and %s %s cannot go to Mistral directly: its body is a stream "
        "that can be sent only once"
    )
    logger.warning(message, outage, method, path)
