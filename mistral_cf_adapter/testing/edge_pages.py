"""Responses that do not come from the gateway: pages of Cloudflare's edge, and Cloudflare Access.

Documented by Cloudflare: the numbers and their statuses, `cf-mitigated: challenge`, the redirect to
Access's login page. Seen by others on live zones: the line `error code: 1010`, JSON with
`"cloudflare_error": true` where the request accepts JSON, the marks of the HTML pages (shortened
here), `www-authenticate: Cloudflare-Access`, `cf-access-domain`, and Access's JSON. None of these
has a `cf-aig-*` header: the gateway was not reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.responses import Response, bytes_response, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

_RAY = "8a1b2c3d4e5f6071-CDG"
_HEADERS = {"server": "cloudflare", "cf-ray": _RAY}
_TITLES: Mapping[int, tuple[int, str]] = {
    1006: (403, "Access denied"),
    1009: (403, "Access denied"),
    1010: (403, "Access denied"),
    1015: (429, "You are being rate limited"),
    1016: (530, "Origin DNS error"),
    1020: (403, "Access denied"),
    1033: (530, "Cloudflare Tunnel error"),
    1101: (500, "Worker threw exception"),
    413: (413, "413 Request Entity Too Large"),
    502: (502, "Bad gateway"),
    503: (503, "Service temporarily unavailable"),
    504: (504, "Gateway time-out"),
    520: (520, "Web server is returning an unknown error"),
    521: (521, "Web server is down"),
    522: (522, "Connection timed out"),
    523: (523, "Origin is unreachable"),
    524: (524, "A timeout occurred"),
    525: (525, "SSL handshake failed"),
    526: (526, "Invalid SSL certificate"),
    530: (530, "Origin error"),
}
PAGES = (*_TITLES, "challenge", "firewall")
"""What `fault("edge", page=...)` takes."""
EDGE_FORMS = ("line", "html", "json")
ACCESS_FORMS = ("login", "unauthorized", "page", "json")
LOGIN = "https://team.cloudflareaccess.com/cdn-cgi/access/login/ai.example.com?kid=1"


def edge_page(page: int | str, form: str) -> Response:
    """Return a page of the edge; `challenge`, `firewall` and 413 are HTML in any form."""
    if page == "challenge":
        html = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
        return _html(403, html, {"cf-mitigated": "challenge"})
    if page == "firewall":
        title = "<title>Attention Required! | Cloudflare</title>"
        return _html(
            403, f"<html><head>{title}</head><body>Sorry, you have been blocked</body></html>"
        )
    number = int(page)
    status, title = _TITLES[number]
    if number == 413:
        return _html(413, f"<html><h1>{title}</h1><hr><center>cloudflare</center></html>")
    if form == "html":
        return _html(status, _write_html(number, title))
    if form == "line":
        return bytes_response(f"error code: {number}".encode(), "text/plain", status, _HEADERS)
    return json_response(_write_json(number, status, title), status, _HEADERS)


def access_refusal(form: str) -> Response:
    """Return what Access says to a request without a valid identity."""
    if form == "login":
        headers = {"location": LOGIN, "www-authenticate": "Cloudflare-Access"}
        return Response(302, (*_HEADERS.items(), *headers.items()), b"")
    if form == "unauthorized":
        html = "<html><head><title>Sign in \u30fb Cloudflare Access</title></head></html>"
        return _html(401, html, {"www-authenticate": "Cloudflare-Access"})
    domain = {"cf-access-domain": "ai.example.com"}
    if form == "page":
        title = "<title>Forbidden \u30fb Cloudflare Access</title>"
        return _html(403, f"<html><head>{title}</head></html>", domain)
    message = (
        "Forbidden. You don't have permission to view this. Please contact your administrator."
    )
    body = {"message": message, "status_code": 403, "ray_id": _RAY}
    return json_response(body, 403, {**_HEADERS, **domain})


def check(kind: str, details: Mapping[str, Any]) -> None:
    """Raise ValueError for a page or a form that does not exist."""
    known: dict[str, tuple[object, ...]] = {"form": ACCESS_FORMS}
    if kind == "edge":
        known = {"page": PAGES, "form": EDGE_FORMS}
    for name, values in known.items():
        if name in details and details[name] not in values:
            shown = ", ".join(map(repr, values))
            msg = f"fault({kind!r}): unknown {name} {details[name]!r}: use one of {shown}"
            raise ValueError(msg)


def _html(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    kind = "text/html; charset=UTF-8"
    return bytes_response(text.encode(), kind, status, {**_HEADERS, **(headers or {})})


def _write_html(number: int, title: str) -> str:
    return (
        f"<!DOCTYPE html><html><head><title>{title} | ai.example.com | Cloudflare</title></head>"
        f'<body><div id="cf-error-details"><h1>Error <span class="cf-error-code">{number}</span>'
        f"</h1><h2>{title}</h2>Cloudflare Ray ID: {_RAY}</div></body></html>"
    )


def _write_json(number: int, status: int, title: str) -> dict[str, Any]:
    return {
        "title": f"Error {number}: {title}",
        "status": status,
        "detail": title,
        "error_code": number,
        "ray_id": _RAY,
        "zone": "ai.example.com",
        "cloudflare_error": True,
    }
