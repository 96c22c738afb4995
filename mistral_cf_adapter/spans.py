"""Which OpenTelemetry span the facts of a call belong to: the SDK's own, else the current one.

From 2.x on, the SDK makes its span the current one. 1.x keeps it on a hook that all calls of a
client share, so that calls made at once end each other's spans and most are never exported: for
as long as a client is routed, its hook keeps a span for each call instead.
"""

import sys
from contextvars import ContextVar
from typing import Any

_span: ContextVar[Any] = ContextVar("mistral_cf_adapter.span", default=None)


def recording() -> Any:
    """Return the span to tell, `None` if nobody records one; never import OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = _span.get()
    if span is None or not span.is_recording():
        span = trace.get_current_span()
    return span if span.is_recording() else None


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


def _apart(kind: type[Any]) -> type[Any]:
    """Return the hook's class with a `request_span` that is the one of the call at hand."""
    if kind not in _subclasses:
        span = property(lambda _: _span.get(), lambda _, span: _keep(span))
        subclass = type(f"Apart{kind.__name__}", (kind,), {"request_span": span})
        _subclasses[kind], _originals[subclass] = subclass, kind
    return _subclasses[kind]


def _keep(span: Any) -> None:
    _span.set(span)
