"""Who may call a local gateway: programs of this machine, not a page of the web in its browser.

A page reaches 127.0.0.1 with requests of its own, which carry its `Origin`, and with a name of its
own that it has pointed here, which is then in `Host`.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mistral_cf_adapter.testing.responses import Response, text_response

if TYPE_CHECKING:
    from starlette.datastructures import Headers


def refusal(headers: Headers) -> Response | None:
    """Return the refusal of a request that is not for this machine or comes from a web page."""
    host = headers.get("host")
    if host is not None and not _is_loopback(f"//{host}"):
        text = (
            "This is a LocalGateway, which answers to localhost, 127.0.0.1 and [::1] alone, and "
            f"the request's Host is {host!r}: call it by the address it prints"
        )
        return text_response(421, text)
    origin = headers.get("origin")
    if origin is not None and not _is_loopback(origin):
        text = (
            "This is a LocalGateway, which is not for web pages of other hosts, and the request's "
            f"Origin is {origin!r}: call it from a program, or from a page of localhost"
        )
        return text_response(403, text)
    return None


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
