"""OpenTelemetry: where the facts of a call are written, and which trace a call belongs to.

From 2.4.4 on, the SDK keeps the span it makes for a call with the request. Before, it keeps it on a
hook that all calls of a client share, so that calls made at once end each other's spans and most
are never exported: for as long as a client is routed, its hook keeps the span with the request too.
"""

import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

_SPAN = "_tracing_span"  # the SDK's own key in a request's extensions
_EVENT = "cf.aig.call"
_INSTRUMENTOR = ".instrumentation.mistral"  # openinference's and openllmetry's

_Write = Callable[[Mapping[str, Any]], None]


def get_writer(request: Any) -> _Write | None:
    """Return what writes the facts of a call, `None` if no span is recorded.

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


def keep_apart(configuration: Any) -> None:
    """Have a client keep a span for each call."""
    for hook in _hooks(configuration):
        kind = type(hook)
        if kind not in _originals and "request_span" in hook.__dict__:
            hook.__class__ = _apart(kind)


def keep_together(configuration: Any) -> None:
    """Give a client back what it had."""
    for hook in _hooks(configuration):
        kind = type(hook)
        hook.__class__ = _originals.get(kind, kind)


def _hooks(configuration: Any) -> list[object]:
    hooks: Any = configuration.__dict__.get("_hooks")
    return list(getattr(hooks, "before_request_hooks", ()))


_subclasses: dict[type[Any], type[Any]] = {}
_originals: dict[type[Any], type[Any]] = {}

# While a hook runs, its span is here; between, as each may run in another thread, with the request.
_span: ContextVar[Any] = ContextVar("mistral_cf_adapter.span", default=None)


def _apart(kind: type[Any]) -> type[Any]:
    """Return the hook's class with a `request_span` that is the one of the call at hand."""
    if kind not in _subclasses:
        body = {
            "request_span": property(lambda _: _span.get(), lambda _, span: _keep(span)),
            "before_request": _before_request(kind),
            "after_success": _with_span_of_request(kind.after_success),
            "after_error": _with_span_of_request(kind.after_error),
        }
        subclass = type(f"Apart{kind.__name__}", (kind,), body)
        _subclasses[kind], _originals[subclass] = subclass, kind
    return _subclasses[kind]


def _keep(span: Any) -> None:
    _span.set(span)


def _before_request(kind: Any) -> Callable[..., Any]:
    def before_request(self: Any, context: Any, request: Any) -> Any:
        result = kind.before_request(self, context, request)
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
