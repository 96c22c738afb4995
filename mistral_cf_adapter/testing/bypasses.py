"""Calls that went past a local gateway: it is told of them, as it cannot see them.

    from mistral_cf_adapter.testing import report_bypasses

    listener = report_bypasses()  # to the gateway that CF_AIG_BASE_URL names

The adapter knows of two kinds (`GatewayCall.routed`): "direct", to Mistral as a fallback, and
"elsewhere", by the application's own wish.
"""

import http.client
import json
import logging
import os
import threading
from typing import Any
from urllib.parse import urlsplit

from mistral_cf_adapter._gateway_call import GatewayCall
from mistral_cf_adapter._listeners import CallListener, on_call
from mistral_cf_adapter._public import TESTING, set_public_module

PATH = "/_gateway/bypassed"
TIMEOUT = 5.0
_VARIABLE = "CF_AIG_BASE_URL"

_logger = logging.getLogger("mistral_cf_adapter.testing")


def report_bypasses(url: str | None = None) -> CallListener:
    """Tell a local gateway of each call of this process that goes past it; its page warns of them.

    It is told in a thread of its own, so that no call waits for it; that it cannot be reached is
    logged.

    Args:
        url: Any URL of the local gateway, by default that of `CF_AIG_BASE_URL`.

    Returns:
        What `on_call()` returns: it ends this when it is called or left.

    Raises:
        ValueError: there is no URL, or it is not one of this machine's.

    Example:
        >>> from mistral_cf_adapter.testing import LocalGateway, report_bypasses
        >>> with LocalGateway() as gateway, report_bypasses(gateway.url):
        ...     models = make_client(gateway.settings()).models.list()
    """
    host, port = _address(url or os.environ.get(_VARIABLE) or "")

    def report(call: GatewayCall) -> None:
        if call.routed != "gateway":
            threading.Thread(target=_send, args=(host, port, _to_json(call)), daemon=True).start()

    return on_call(report)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in {"127.0.0.1", "localhost"}:
        msg = (
            "report_bypasses() needs the http URL of a local gateway, as its argument or in "
            f"{_VARIABLE}: start one with `mistral-cf-adapter serve`"
        )
        raise ValueError(msg)
    return parts.hostname, parts.port or 80


def _to_json(call: GatewayCall) -> dict[str, Any]:
    return {
        "method": call.method,
        "path": call.path,
        "routed": call.routed,
        "operation": call.operation,
        "model": call.request_model,
        "status": call.status_code,
    }


def _send(host: str, port: int, bypassed: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", PATH, json.dumps(bypassed), headers)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        kind = type(error).__name__
        _logger.warning("A call went past the gateway, which could not be told of it: %s", kind)
    finally:
        connection.close()


set_public_module(report_bypasses, package=TESTING)
