"""The page of a local gateway: three files, which are read when they are asked for."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from mistral_cf_adapter.testing.responses import Response, text_response

if TYPE_CHECKING:
    from collections.abc import Mapping

FILES: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""Path -> name of the file and its type."""

# Nothing but these files and this gateway's own API; no code or style within the HTML.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("content-security-policy", _POLICY),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)


def respond(method: str, path: str) -> Response:
    """Return one of the page's files."""
    if method not in {"GET", "HEAD"}:
        return text_response(405, f"The page takes GET, not {method}")
    name, kind = FILES[path]
    body = files("mistral_cf_adapter.testing").joinpath("page", name).read_bytes()
    return Response(200, (("content-type", kind), *_HEADERS), body)
