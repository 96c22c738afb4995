"""`capture()`; the record of a call; warnings of a bypass; spans and trace ids."""

import contextlib
import inspect
import json
import logging
import sys
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from time import perf_counter
from types import FrameType
from typing import Any, cast

from ._call_log import flatten, logger, select
from ._gateway_call import GatewayCall
from ._listeners import Reporter, registered
from ._open_call import OpenCall
from ._public import set_public_module
from ._sdk import ROOT, find_operation
from ._signatures import shorten_signatures
from ._telemetry import Telemetry
from ._usage import read_model

_FIELDS = {
    f"cf-aig-{name.replace('_', '-')}".encode(): name
    for name in (
        *("log_id", "request_id", "event_id", "cache_status"),
        *("step", "model", "provider", "dlp"),
        *("routed_model", "routing_reason", "routing_decision_id"),
    )
}

_sinks: ContextVar[tuple[list[GatewayCall], ...]] = ContextVar(
    "mistral_cf_adapter._capture", default=()
)


@contextmanager
def capture() -> Generator[list[GatewayCall], None, None]:
    """Collect a `GatewayCall` for each request in the block, as they are answered.

    A streamed one is complete when its stream is over: see `GatewayCall`.

    Works for sync, async, streamed and retried calls; blocks nest, and each
    sees the calls of the blocks within. Tasks and threads started inside (with
    a copy of the context) report to the same list.

    Example:
        >>> from mistral_cf_adapter.testing import LocalGateway  # no account
        >>> with LocalGateway() as gateway, capture() as calls:
        ...     models = make_client(gateway.settings()).models.list()
        >>> [(call.path, call.status_code) for call in calls]
        [('/v1/models', 200)]
        >>> calls[-1].log_id == gateway.logs[-1].id
        True
    """
    calls: list[GatewayCall] = []
    _sinks.set((*_sinks.get(), calls))
    try:
        yield calls
    finally:
        # No reset(token): a block may end in another context than it began in.
        _sinks.set(tuple(sink for sink in _sinks.get() if sink is not calls))


def record(  # noqa: PLR0913, PLR0917
    request: Any,
    fields: Mapping[str, Any],
    started: float,
    mask: Callable[[str], str],
    otel: bool,  # noqa: FBT001
    telemetry: Telemetry | None,
    response: Any,
) -> OpenCall | None:
    """Record a call: append it to each `capture()` list, and write it on a span.

    Args:
        request: The SDK's own request, `None` for a connection of the SDK's own.
        fields: Fields of `GatewayCall` that are not in the response.
        started: When it began, by `time.perf_counter()`.
        mask: Masks in a text the secrets that the request carried.
        otel: Write on a span.
        telemetry: What else is written to OpenTelemetry.
        response: What arrived, `None` if nothing did.

    Returns:
        The call, which its caller has to end; `None` if nothing needs to know how it ends.
    """
    elapsed = perf_counter() - started
    sinks = _sinks.get()
    write = get_writer(request) if otel else None
    reporters: tuple[Reporter, ...] = ()
    if telemetry is not None and request is not None:
        needs_span = telemetry.spans and _needs_span(request)
        write = None if needs_span else write
        reporters = (telemetry.begin(needs_span=needs_span),)
    listens = bool(sinks or registered or reporters) or logger.isEnabledFor(logging.DEBUG)
    if not listens and write is None:
        return None
    status_code = None if response is None else response.status_code
    header_fields: dict[str, Any] = {}
    if response is not None and fields.get("routed") != "elsewhere":
        header_fields = _from_headers(response.headers, mask)
    values: dict[str, Any] = {
        **fields,
        **header_fields,
        "elapsed": elapsed,
        "status_code": status_code,
    }
    if write is not None:
        fields = select(flatten(GatewayCall(**values)))
        write({f"cf.aig.{name}": value for name, value in fields.items()})
    if not listens:
        return None
    call = GatewayCall(**values, **_from_request(request))
    for sink in sinks:
        sink.append(call)
    return OpenCall(call, started, mask, reporters)


def _from_request(request: Any) -> dict[str, Any]:
    """Return what the request says of itself."""
    if request is None:
        return {}
    content: bytes = getattr(request, "_content", b"")
    is_json = "json" in request.headers.get("content-type", "")
    return {
        "operation": find_operation(sys._getframe(1), request),  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        "request_model": read_model(content) if content and is_json else None,
    }


def _from_headers(headers: Any, mask: Callable[[str], str]) -> dict[str, Any]:
    """Return the gateway's response headers as fields, in one pass over the raw headers."""
    found: dict[str, Any] = {}
    for name, value in headers.raw:
        field = _FIELDS.get(name.lower())
        if field is not None:
            found[field] = value.decode(headers.encoding)
    texts = "\n".join(found.values())
    if mask(texts) != texts:
        found = {field: mask(text) for field, text in found.items()}
    if "step" in found:
        found["step"] = _parse_int(found["step"])
    if "dlp" in found:
        found["dlp"] = _parse_object(found["dlp"])
    return found


def _parse_int(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdecimal() and len(value) < 10 else None


def _parse_object(value: str | None) -> Mapping[str, Any] | None:
    if value is None:
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else None


# ---------------------------------------------------------------- warnings of a bypass


_NOT_THE_USERS = frozenset(
    {"mistral_cf_adapter", "mistralai", "httpx", "httpx2", "asyncio", "concurrent", "contextlib"}
)
_MAX_PLACES = 1000

Place = tuple[str, str, int]
"""What a warning is about, and the file and line that made the request."""


def warn_bypass(
    warned_places: set[Place], origin: tuple[str, str, int], method: str, path: str
) -> None:
    """Log that a request goes past the gateway, and warn if this place was not warned of yet.

    Args:
        warned_places: The places of this client that were warned of.
        origin: Scheme, host and port to which the request goes.
        method: The request's method.
        path: The request's path.
    """
    scheme, host, port = origin
    address = f"{scheme}://{host}:{port}"
    logger.info("%s %s goes past AI Gateway, to %s", method, path, address)
    warn_once(warned_places, address, f"a request goes past AI Gateway, to {address}")


def warn_once(warned_places: set[Place], subject: str, message: str) -> None:
    """Warn at the user's line, once for each line and subject (an address, a model).

    A filter that makes errors of warnings does not stop the request: without the adapter it would
    be sent.
    """
    frame = _user_frame(sys._getframe(1))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    place = subject, frame.f_code.co_filename, frame.f_lineno
    if place in warned_places or len(warned_places) >= _MAX_PLACES:
        return
    warned_places.add(place)
    registry: dict[Any, Any] = frame.f_globals.setdefault("__warningregistry__", {})
    with contextlib.suppress(UserWarning):
        warnings.warn_explicit(message, UserWarning, *place[1:], registry=registry)


def _user_frame(frame: FrameType) -> FrameType:
    """Return the innermost frame that is neither ours nor of the libraries in between."""
    current: FrameType | None = frame
    while current is not None:
        name: str = current.f_globals.get("__name__", "")
        if name.partition(".")[0] not in _NOT_THE_USERS:
            return current
        frame, current = current, current.f_back
    return frame


# ---------------------------------------------------------------- spans


_SPAN = "_tracing_span"  # the SDK's own key in a request's extensions
_EVENT = "cf.aig.call"
_INSTRUMENTOR = ".instrumentation.mistral"  # openinference's and openllmetry's

_Write = Callable[[Mapping[str, Any]], None]


def get_writer(request: Any) -> _Write | None:
    """Return a function that writes the fields of a call to a span, `None` if none is recorded.

    They are attributes of the SDK's own span. Any other span may be around more than one call:
    there they are an event. A span that an instrumentor of the SDK made is left as it made it.
    """
    span = request.extensions.get(_SPAN)
    if span is not None and span.is_recording():
        return span.set_attributes  # type: ignore[no-any-return]
    span = _get_current_span()
    if span is None or not span.is_recording() or _is_instrumentors(span):
        return None
    return partial(span.add_event, _EVENT)


def _needs_span(request: Any) -> bool:
    """Return whether neither the SDK nor an instrumentor of it has made a span for the call."""
    span = request.extensions.get(_SPAN)
    if span is not None and span.is_recording():
        return False
    span = _get_current_span()
    return span is None or not _is_instrumentors(span)


def _is_instrumentors(span: Any) -> bool:
    scope = getattr(span, "instrumentation_scope", None)
    return scope is not None and _INSTRUMENTOR in scope.name


def get_trace_ids(request: Any) -> tuple[str, str] | None:
    """Return the hexadecimal ids of the trace and span that a request is sent in, if any.

    Instrumentation of the HTTP library writes its own `traceparent` later than this is asked.
    """
    span = request.extensions.get(_SPAN) or _get_current_span()
    if span is not None:
        context = span.get_span_context()
        if context.is_valid:
            return f"{context.trace_id:032x}", f"{context.span_id:016x}"
    return _get_datadog_ids()


def _get_current_span() -> Any:
    """Return OpenTelemetry's current span, `None` where OpenTelemetry is not imported."""
    get = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    return None if get is None else get()


def _get_datadog_ids() -> tuple[str, str] | None:
    """Return the ids of Datadog's own tracer, which `ddtrace-run` starts."""
    tracer = getattr(sys.modules.get("ddtrace.trace"), "tracer", None)
    span = None if tracer is None else tracer.current_span()
    return None if span is None else (f"{span.trace_id:032x}", f"{span.span_id:016x}")


def isolate_spans(configuration: Any) -> None:
    """Store the SDK's span per call instead of per client (1.12, and the first releases of 2.x)."""
    if not _is_span_on_hook():
        return
    for hook in _hooks(configuration):
        hook_class = type(hook)
        if hook_class not in _originals and "request_span" in hook.__dict__:
            hook.__class__ = _per_call(hook_class)


def restore_spans(configuration: Any) -> None:
    """Restore the SDK's own hooks."""
    if not _originals:
        return
    for hook in _hooks(configuration):
        original = _originals.get(type(hook))
        if original is not None:
            hook.__class__ = original


def _is_span_on_hook() -> bool:
    """Return whether the SDK's tracing hook, of which each client has one, has the span on itself.

    Its class tells: a look at what the hooks of each client hold costs memory in each of them.
    """
    hook_class = getattr(sys.modules.get(f"{ROOT}._hooks.tracing"), "TracingHook", None)
    return hook_class is not None and _sets_span(hook_class)


@cache
def _sets_span(hook_class: Any) -> bool:
    code = getattr(inspect.unwrap(hook_class.__init__), "__code__", None)
    return code is not None and "request_span" in code.co_names


def _hooks(configuration: Any) -> list[object]:
    hooks: Any = configuration.__dict__.get("_hooks")
    return list(getattr(hooks, "before_request_hooks", ()))


_subclasses: dict[type[Any], type[Any]] = {}
_originals: dict[type[Any], type[Any]] = {}

# The span while a hook runs. Between hooks, which may run in other threads, it is kept in the
# request's extensions.
_span: ContextVar[Any] = ContextVar("mistral_cf_adapter.span", default=None)


def _per_call(hook_class: type[Any]) -> type[Any]:
    """Return the hook's class with a `request_span` that is the one of the call at hand."""
    if hook_class not in _subclasses:
        body = {
            "request_span": property(lambda _: _span.get(), lambda _, span: _set_span(span)),
            "before_request": _before_request(hook_class),
            "after_success": _with_span_of_request(hook_class.after_success),
            "after_error": _with_span_of_request(hook_class.after_error),
        }
        subclass = type(f"PerCall{hook_class.__name__}", (hook_class,), body)
        _subclasses[hook_class], _originals[subclass] = subclass, hook_class
    return _subclasses[hook_class]


def _set_span(span: Any) -> None:
    _span.set(span)


def _before_request(hook_class: Any) -> Callable[..., Any]:
    def before_request(self: Any, context: Any, request: Any) -> Any:
        result = hook_class.before_request(self, context, request)
        if not isinstance(result, Exception):
            result.extensions[_SPAN] = _span.get()
        return result

    return before_request


def _with_span_of_request(original: Any) -> Callable[..., Any]:
    def after(self: Any, context: Any, response: Any, *rest: Any) -> Any:
        request = getattr(response, "_request", None)
        span = None if request is None else request.extensions.get(_SPAN)
        if span is not None:  # a hook of the user's may have sent another request
            _span.set(span)
        return original(self, context, response, *rest)

    return after


shorten_signatures(capture)
set_public_module(capture)
