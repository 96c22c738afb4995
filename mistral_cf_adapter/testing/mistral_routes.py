"""Which part of the small Mistral serves which method and path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from mistral_cf_adapter.testing.records import ReceivedRequest
    from mistral_cf_adapter.testing.responses import Response

    Handler = Callable[..., Response | None]

ID = "{}"
"""Stands in a path for any one segment."""


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of Mistral's API."""

    path: tuple[str, ...]
    handler: Handler
    """Called with the request, the form if it reads one, and an id for each `{}`; None is a 404."""
    required: tuple[str, ...] = ()
    """Fields of the JSON body that must be there, and not be empty."""
    reads_form: bool = False

    def fits(self, segments: tuple[str, ...]) -> bool:
        """Return whether a path of the same number of segments is this one."""
        return all(mine in (ID, theirs) for mine, theirs in zip(self.path, segments, strict=True))


@dataclass(frozen=True, slots=True)
class Found:
    """The route of a request, and the ids in its path."""

    route: Route
    ids: tuple[str, ...]

    def call(self, request: ReceivedRequest, form: Mapping[str, Any] | None) -> Response | None:
        """Serve the request."""
        arguments = (request, form) if self.route.reads_form else (request,)
        return self.route.handler(*arguments, *self.ids)


class Routes:
    """The operations that the small Mistral imitates."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, int], list[Route]] = {}

    def add(
        self,
        operation: str,
        handler: Handler,
        *,
        required: tuple[str, ...] = (),
        reads_form: bool = False,
    ) -> None:
        """Serve an operation, written as `GET /v1/files/{}`, in place of who served it before."""
        method, _, path = operation.partition(" ")
        route = Route(_segments(path), handler, required, reads_form)
        routes = self._routes.setdefault((method, len(route.path)), [])
        routes[:] = [*(each for each in routes if each.path != route.path), route]
        # Where two fit, such as agents/pages and agents/{}, the one with fewer ids is meant.
        routes.sort(key=lambda route: route.path.count(ID))

    def find(self, request: ReceivedRequest) -> Found | None:
        """Return the route of a request; None if nothing imitates it."""
        segments = _segments(request.raw_path)
        for route in self._routes.get((request.method, len(segments)), ()):
            if route.fits(segments):
                ids = (name for mine, name in zip(route.path, segments, strict=True) if mine == ID)
                return Found(route, tuple(ids))
        return None


def _segments(path: str) -> tuple[str, ...]:
    return tuple(unquote(segment) for segment in path.strip("/").split("/"))
