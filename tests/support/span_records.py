"""Spans that a test can read again, of a tracer that is the test's own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENT = "cf.aig.call"
PREFIX = "cf.aig."


@contextlib.contextmanager
def current_span(scope: str = "test") -> Iterator[Any]:
    """Be inside a span that is recorded."""
    with (
        TracerProvider(shutdown_on_exit=False)
        .get_tracer(scope)
        .start_as_current_span("mine") as span
    ):
        yield span


def events(span: ReadableSpan) -> list[dict[str, Any]]:
    """Return what a span's events say of calls, without the prefix of their names."""
    return [
        {name.removeprefix(PREFIX): value for name, value in (event.attributes or {}).items()}
        for event in span.events
        if event.name == EVENT
    ]


def has_facts(span: ReadableSpan) -> bool:
    """Return whether a span has facts of a call as attributes of its own."""
    return any(name.startswith(PREFIX) for name in span.attributes or {})
