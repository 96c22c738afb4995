"""Responses of what stands in front of the gateway: Cloudflare's edge, Cloudflare Access, others.

A custom domain is a zone of its owner's, with rules, a Worker or an origin of its own. Its errors
come as a line `error code: 1010`, as an HTML page, or as JSON with `"cloudflare_error": true` where
the request accepts JSON, as the SDK's do.

Numbers: https://developers.cloudflare.com/support/troubleshooting/http-status-codes/ (1xxx, 52x)
`cf-mitigated`: https://developers.cloudflare.com/cloudflare-challenges/challenge-types/challenge-pages/detect-response/
Access: https://developers.cloudflare.com/ai-gateway/configuration/cloudflare-access/
The shapes of the JSON and of the refusals of Access are from reports of many users.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

from ._options import PREFIX

Sender = Literal["gateway", "provider", "edge", "access", "unknown"]

GATEWAY_HOST = "gateway.ai.cloudflare.com"
_TEXT_LIMIT = 20_000

_ORIGIN = (
    "Check what stands behind the host of the base URL (CF_AIG_BASE_URL), or ask who runs it: the "
    "gateway was not reached."
)
_ZONE = (
    "Ask who runs the zone of the base URL (CF_AIG_BASE_URL) to let this program in: Security > "
    "Events in the dashboard names the rule. The same request will be refused again."
)
_CLOUDFLARES_OWN = (
    "That host is Cloudflare's own: see https://www.cloudflarestatus.com, and try again later."
)
_CLOUDFLARES_RULE = (
    "That host is Cloudflare's own: try from another network, without a proxy or VPN, and with the "
    "SDK's own User-Agent, or ask Cloudflare's support. The same request will be refused again."
)
_ACCESS = (
    "Set CF_AIG_ACCESS_CLIENT_ID and CF_AIG_ACCESS_CLIENT_SECRET (a service token), or "
    "CF_AIG_ACCESS_TOKEN (a JWT). If one is set: a policy of the Access application must allow it "
    "(Zero Trust dashboard: Access > Applications; a service token needs the action Service Auth), "
    "and a JWT may have expired: `cloudflared access token -app=https://{host}` prints a new one."
)
_ACCESS_ELSEWHERE = (
    "That host is never behind Cloudflare Access: ask who runs the network or proxy in between, or "
    "set CF_AIG_BASE_URL to the custom domain of the gateway."
)
_UNKNOWN_PAGE = "Look at `body`, and ask who runs the firewall, proxy or login that sent it."
_UNKNOWN_OUTAGE = (
    "Try again. If it stays, see https://www.cloudflarestatus.com and https://status.mistral.ai; "
    "with logs on, the gateway's own responses have a cf-aig-log-id."
)


class Page(NamedTuple):
    """What a response of the edge says, and what to do about it."""

    kind: Literal["unavailable", "rate_limited", "blocked", "access"]
    what: str
    """`{host}` stands for the host that was asked, here and in the advice."""
    advice: str
    retryable: bool
    own_advice: str = ""
    """The advice where the host is Cloudflare's own."""
    code: int | None = None
    sender: Sender = "edge"


def _blocked(what: str) -> Page:
    return Page("blocked", what, _ZONE, retryable=False, own_advice=_CLOUDFLARES_RULE)


def _down(what: str, *, advice: str = _ORIGIN, retryable: bool = True) -> Page:
    return Page("unavailable", what, advice, retryable, own_advice=_CLOUDFLARES_OWN)


PAGES: Mapping[int, Page] = {
    1006: _blocked("the zone of {host} refuses this machine's IP address"),
    1009: _blocked("the zone of {host} refuses the country or region of this machine"),
    1010: _blocked("the zone of {host} refuses this client by its signature"),
    1015: Page(
        "rate_limited",
        "a rate limit of the zone of {host} is reached",
        "Slow down, or ask who runs the zone of the base URL (CF_AIG_BASE_URL) for a higher limit; "
        "it is not the gateway's own.",
        retryable=True,
        own_advice="Slow down: the limit is for this machine's IP address, and not the gateway's.",
    ),
    1016: _down("the name of the origin behind {host} cannot be resolved", retryable=False),
    1020: _blocked("a firewall rule of the zone of {host} refuses this request"),
    1033: _down("the Cloudflare Tunnel behind {host} is not connected"),
    1101: _down(
        "the Worker at {host} threw an exception",
        advice="Look at the logs of the Worker on the domain of the base URL (CF_AIG_BASE_URL), or "
        "ask who runs it: the gateway was not reached.",
    ),
    520: _down("the origin behind {host} gave an empty or broken response"),
    521: _down("the origin behind {host} refuses connections"),
    522: _down("the origin behind {host} did not take the connection in time"),
    523: _down("the origin behind {host} is unreachable"),
    524: _down("the origin behind {host} did not respond in time"),
    525: _down("the TLS handshake with the origin behind {host} failed"),
    526: _down("the certificate of the origin behind {host} is not valid", retryable=False),
    530: _down("the origin behind {host} cannot be reached"),
}
"""By the number on the page, else by the status."""

_CHALLENGE = _blocked("the zone of {host} asks for a challenge, which a program cannot pass")
_RULE = _blocked("a rule of the zone of {host} refuses this request")
_TOO_LARGE = Page(
    "blocked",
    "the request is larger than the zone of {host} takes",
    "Send less at once: the limit is that of the zone's plan (100 MB on Free and Pro).",
    retryable=False,
)
_DOWN = _down(
    "Cloudflare's edge responded in place of the gateway at {host}",
    advice="Try again; if it stays, check the domain of the base URL (CF_AIG_BASE_URL) and "
    "https://www.cloudflarestatus.com.",
)
_REFUSED = Page(
    "access",
    "Cloudflare Access refused the request to {host}",
    _ACCESS,
    retryable=False,
    own_advice=_ACCESS_ELSEWHERE,
    sender="access",
)
_OTHER_PAGE = Page(
    "blocked",
    "a page came in place of an API's response; its sender is unknown",
    _UNKNOWN_PAGE,
    retryable=False,
    sender="unknown",
)
_OTHER_OUTAGE = Page(
    "unavailable",
    "a response without a header of the gateway's and without JSON: something in front of the "
    "gateway, or Mistral if the gateway's logs are off",
    _UNKNOWN_OUTAGE,
    retryable=True,
    sender="unknown",
)

_STATUSES_OF_PAGES = frozenset({403, 409, 429, 500, 502, 503, 530})  # of the numbers from 1000 on
# Texts, compiled by their first use: most programs see no such page.
_LINE = r"\s*error code: (\d{3,5})\s*\Z"
_NUMBER = (
    r"cf-error-code[^>]*>\s*(\d{3,4})\b"
    r"|\berror(?: code)?:?\s*(?:</?span[^>]*>\s*)*(1\d{3}|5[23]\d)\b"
    r"|\|\s*(5[0-3]\d):"
)
_CHALLENGE_MARKS = ("just a moment...", "_cf_chl_opt", "/cdn-cgi/challenge-platform/")
_FIREWALL_MARKS = ("attention required! | cloudflare", "sorry, you have been blocked")
_EDGE_MARKS = ("cf-error-details", "<center>cloudflare</center>", "cloudflare ray id")
_ACCESS_MARKS = (".cloudflareaccess.com", "cloudflare access", "/cdn-cgi/access/")
_ACCESS_HEADERS = ("cf-access-domain", "cf-access-aud")
_ACCESS_JSON = "forbidden. you don't have permission to view this."
_LOGIN = r"https://[^/?#]+\.cloudflareaccess\.com/cdn-cgi/access/"


def find_page(response: Any, parsed: object) -> Page | None:
    """Return what an error response is that neither the gateway nor the provider sent.

    Args:
        response: A response that was read.
        parsed: Its body as JSON, `None` if it is not JSON.
    """
    if is_from_provider(response, parsed):
        return None
    page = _find_access(response, parsed) or _find_edge(response, parsed)
    if page is None:
        page = _find_other(response, parsed)
    return page and _complete(page, response)


def is_from_provider(response: Any, parsed: object) -> bool:
    """Return whether an error that is not the gateway's is known to be the provider's.

    A `cf-aig-*` header is put on by the gateway, so it let the request through. Without one, as
    with the gateway's logs off, the response itself may say that it is Mistral's.
    """
    headers = response.headers
    if any(name.lower().startswith((PREFIX, "mistral-")) for name in headers):
        return True
    if not isinstance(parsed, Mapping):
        return False
    body = cast("Mapping[str, Any]", parsed)
    if body.get("cloudflare_error") is True:  # of the edge in front of Mistral
        zone = str(body.get("zone", "")).lower()
        return zone == "mistral.ai" or zone.endswith(".mistral.ai")
    return body.get("object") == "error" or "detail" in body or "request_id" in body


def is_access_login(response: Any) -> bool:
    """Return whether a response, read or not, redirects to the login page of Cloudflare Access."""
    if not 300 <= response.status_code < 400:
        return False
    headers = response.headers
    if not (re.match(_LOGIN, headers.get("location", ""), re.IGNORECASE) or _challenges(headers)):
        return False
    return not any(name.lower().startswith(PREFIX) for name in headers)


def access_refusal(response: Any) -> Page:
    """Return the page for a redirect to the login page of Cloudflare Access."""
    return _complete(_REFUSED, response)


def _complete(page: Page, response: Any) -> Page:
    """Return a page with its host, and with the advice for it."""
    host = _get_host(response)
    advice = page.own_advice if page.own_advice and host == GATEWAY_HOST else page.advice
    what = page.what.replace("{host}", host or "the gateway")
    return page._replace(what=what, advice=advice.replace("{host}", host or "<host>"))


def _get_host(response: Any) -> str:
    request = getattr(response, "_request", None)
    return "" if request is None else str(request.url.host)


def _find_access(response: Any, parsed: object) -> Page | None:
    if is_access_login(response):
        return _REFUSED
    if response.status_code not in (401, 403):
        return None
    headers = response.headers
    if _challenges(headers) or any(name in headers for name in _ACCESS_HEADERS):
        return _REFUSED
    text = _get_text(response)
    if isinstance(parsed, Mapping):
        return _REFUSED if _ACCESS_JSON in text else None
    return _REFUSED if _is_html(response) and _has(text, _ACCESS_MARKS) else None


def _challenges(headers: Any) -> bool:
    """Return whether `WWW-Authenticate` names Access, as a scheme or in a metadata address."""
    return "cloudflare-access" in headers.get("www-authenticate", "").lower()


def _find_edge(response: Any, parsed: object) -> Page | None:
    status = response.status_code
    if status < 400:
        return None
    if response.headers.get("cf-mitigated") == "challenge":
        return _CHALLENGE
    if isinstance(parsed, Mapping):
        return _find_json(cast("Mapping[str, Any]", parsed), status)
    text = _get_text(response)
    line = re.match(_LINE, text)
    if line is not None:
        return _by_number(int(line[1]), status)
    if _is_html(response):
        page = _find_html(text, status, is_cloudflares=_is_cloudflares(response))
        if page is not None:
            return page
    is_page = status in PAGES or not text or _is_html(response)
    return _by_number(status, status) if 520 <= status <= 530 and is_page else None


def _find_json(body: Mapping[str, Any], status: int) -> Page | None:
    if body.get("cloudflare_error") is not True:
        return None
    code = body.get("error_code")
    return _by_number(code if isinstance(code, int) else status, status)


def _find_html(text: str, status: int, *, is_cloudflares: bool) -> Page | None:
    if _has(text, _CHALLENGE_MARKS):
        return _CHALLENGE
    number = re.search(_NUMBER, text)
    if number is not None:
        code = int(number[1] or number[2] or number[3])
        fits = status == code or status in _STATUSES_OF_PAGES
        if fits and (code in PAGES or "cloudflare" in text):
            return _by_number(code, status)
    if _has(text, _FIREWALL_MARKS):
        return _RULE
    if not is_cloudflares and not _has(text, _EDGE_MARKS):
        return None
    return _by_status(status) if status in (403, 413) or _has(text, _EDGE_MARKS) else None


def _by_number(code: int, status: int) -> Page:
    """Return the page of a number; `code` is left out where it only repeats a usual status."""
    page = PAGES.get(code) or PAGES.get(status) or _by_status(status)
    return page._replace(code=code if code in PAGES or code >= 1000 else None)


def _by_status(status: int) -> Page:
    if status == 413:
        return _TOO_LARGE
    if status == 429:
        return PAGES[1015]
    return _DOWN if status >= 500 else _RULE


def _find_other(response: Any, parsed: object) -> Page | None:
    """Return what a page is that only its place says something of."""
    if parsed is not None:
        return None
    if response.status_code in (502, 503, 504) and (not _get_body(response) or _is_html(response)):
        return _OTHER_OUTAGE
    return _OTHER_PAGE if response.status_code == 403 and _is_html(response) else None


def _is_cloudflares(response: Any) -> bool:
    """Return whether Cloudflare delivered it, which it does for the gateway as well."""
    return response.headers.get("server") == "cloudflare" and "cf-ray" in response.headers


def _is_html(response: Any) -> bool:
    return "html" in response.headers.get("content-type", "") or _get_text(response).startswith("<")


def _get_body(response: Any) -> bytes:
    body: bytes = getattr(response, "_content", b"")
    return body


def _get_text(response: Any) -> str:
    return _get_body(response)[:_TEXT_LIMIT].decode("latin-1").lower().lstrip()


def _has(text: str, marks: tuple[str, ...]) -> bool:
    return any(mark in text for mark in marks)
