"""Which credential goes where: the headers of a call as the adapter builds it, by host."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cf_adapter._options import header_names
from mistral_cf_adapter._secrets import Secret

if TYPE_CHECKING:
    from mistral_cf_adapter._settings import GatewaySettings

_SETTINGS = {
    "cf-aig-authorization": "token",
    "cf-access-client-id": "access_client_id",
    "cf-access-client-secret": "access_client_secret",
    "cf-access-token": "access_token",
    **{header: name for name, header in header_names().items()},
}


@dataclass(frozen=True, slots=True)
class SentHeader:
    """A header that calls to a URL bring, and the setting that it comes from."""

    url: str
    header: str
    setting: str


def find_sent_headers(settings: "GatewaySettings") -> list[SentHeader]:
    """Return what a call sends because of the settings, without the values.

    The headers are those of a request that the adapter prepares, but does not send. What a program
    gives to the SDK itself (`api_key=`, `http_headers=`) is not among them.

    Raises:
        GatewayConfigError: such a request would be refused.
    """
    from mistral_cf_adapter._flow import build_direct_request
    from mistral_cf_adapter._routing import (
        add_secrets,
        find_missing_secrets,
        get_route,
        is_keyless,
        prepare_request,
    )
    from mistral_cf_adapter._sdk import MISTRAL_URL, httpx

    route = get_route(settings)
    request = httpx.Request("GET", f"{settings.provider_url}/v1/models")
    outgoing = prepare_request(route, request, None, needs_key=False)
    missing = find_missing_secrets(route, request, outgoing)
    add_secrets(route, outgoing, dict.fromkeys(missing, Secret("asked for with each request")))
    settings_of = {name.lower(): "headers" for name in settings.headers} | _SETTINGS
    settings_of["authorization"] = (
        "access_token" if is_keyless(route, outgoing) else "mistral_api_key"
    )
    added = sorted(outgoing.headers.keys() - request.headers.keys())
    sent = [SentHeader(settings.provider_url, name, settings_of[name]) for name in added]
    direct = build_direct_request(route, request, outgoing)
    if direct is not None:
        also = sorted(direct.headers.keys() & set(added))
        sent += [SentHeader(MISTRAL_URL, name, settings_of[name]) for name in also]
    return sent


def find_bare_headers() -> list[SentHeader]:
    """Return what a call sends with the switch off: the key that the SDK reads by itself."""
    from mistral_cf_adapter._sdk import MISTRAL_URL

    if not os.environ.get("MISTRAL_API_KEY"):
        return []
    return [SentHeader(MISTRAL_URL, "authorization", "mistral_api_key")]
