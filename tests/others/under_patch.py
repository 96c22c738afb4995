"""A pytest plugin that puts another project's tests under `patch()`: `pytest -p under_patch`.

Their mocks and cassettes know Mistral's own address. What the adapter sends is given that address
again just before it reaches the HTTP library, so that the mocks find it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any

from mistral_cf_adapter import GatewaySettings, patch

SETTINGS = GatewaySettings(
    base_url="https://gateway.ai.cloudflare.com/v1/account/gateway", token="cf-token"
)
MISTRAL = "https://api.mistral.ai"


def pytest_configure() -> None:
    for library in ("httpx", "httpx2"):
        if importlib.util.find_spec(library) is not None:
            _restore_addresses(importlib.import_module(library))
    patch(settings=SETTINGS)


def _restore_addresses(library: Any) -> None:
    for client in (library.Client, library.AsyncClient):
        client.send = _restoring(client.send)


def _restoring(send: Any) -> Any:
    @functools.wraps(send)
    def restoring(client: Any, request: Any, **kwargs: Any) -> Any:
        url = str(request.url)
        if url.startswith(SETTINGS.provider_url):
            request.url = type(request.url)(MISTRAL + url.removeprefix(SETTINGS.provider_url))
            request.headers["host"] = request.url.host
        return send(client, request, **kwargs)

    return restoring
