"""The official Mistral SDK through Cloudflare AI Gateway.

from mistral_cf_adapter import make_client

client = make_client()  # a mistralai.Mistral, with settings from the environment
"""

# How a call runs: make_client() or patch() puts a route on a Mistral object (_client, _patch,
# _attach). The SDK then sends through a GatewayClient (_http_client), which runs one flow without
# I/O (_flow). The flow has the request rewritten for the gateway (_routing, from _settings and
# _options; _credentials and _secret_files: secrets that are read each time; _paths refuses unsafe
# URLs; _gateway_models: the gateway's own models), sends it on a pooled connection (_pool;
# _replays: a body that can be sent once), guards a stream (_streaming; _codings: compressed data),
# turns the gateway's errors into exceptions (_errors; _envelopes: their JSON; _edge: what stands in
# front of the gateway; _connection_errors: no response) and records the call (_capture,
# _gateway_call). With a listener, the call is ended with its body or stream (_open_call,
# with its _usage), logged (_call_log), given to the functions of on_call() (_listeners) and to
# OpenTelemetry (_telemetry).
# _settings reads the environment (_own_headers: one setting, checked). With the switch off
# (_switch) there is no route, and the client is the SDK's own.
# What differs between mistralai 1, 2 and 3 is in _sdk; speedups/ makes the SDK faster, cli/ is the
# command, testing/ the local gateway.
# Around _settings: _settings_keywords (their types), _settings_files (what is wrong with a file),
# _settings_secrets (fixed, or read for each request), _variables (their names, conflicts and
# look-alikes), _base_url, _validation (pydantic's words made plain); _http_variables: proxies and
# certificates.
# To read the core: _client, _settings, _options, _routing, _flow, _http_client, _errors, _capture.

TYPE_CHECKING = False  # importing `typing` for it would take longer than all the rest
if TYPE_CHECKING:
    from ._capture import capture
    from ._client import make_client
    from ._errors import (
        GatewayAccessError,
        GatewayBadFormatError,
        GatewayBlockedError,
        GatewayConnectionError,
        GatewayCreditsError,
        GatewayDlpError,
        GatewayError,
        GatewayGuardrailError,
        GatewayInvalidProviderError,
        GatewayNotFoundError,
        GatewayPolicyError,
        GatewayProviderError,
        GatewayRateLimitedError,
        GatewayRedirectError,
        GatewayScannerError,
        GatewaySpendLimitError,
        GatewayStoredKeyError,
        GatewayStreamError,
        GatewayTimeoutError,
        GatewayUnauthorizedError,
        GatewayUnavailableError,
    )
    from ._gateway_call import GatewayCall
    from ._listeners import CallListener, on_call
    from ._options import GatewayConfigError, GatewayOptions, gateway_headers, gateway_options
    from ._patch import Patch, patch
    from ._settings import GatewaySettings
    from ._usage import Usage

__version__ = "0.1.0"

__all__ = [
    "CallListener",
    "GatewayAccessError",
    "GatewayBadFormatError",
    "GatewayBlockedError",
    "GatewayCall",
    "GatewayConfigError",
    "GatewayConnectionError",
    "GatewayCreditsError",
    "GatewayDlpError",
    "GatewayError",
    "GatewayGuardrailError",
    "GatewayInvalidProviderError",
    "GatewayNotFoundError",
    "GatewayOptions",
    "GatewayPolicyError",
    "GatewayProviderError",
    "GatewayRateLimitedError",
    "GatewayRedirectError",
    "GatewayScannerError",
    "GatewaySettings",
    "GatewaySpendLimitError",
    "GatewayStoredKeyError",
    "GatewayStreamError",
    "GatewayTimeoutError",
    "GatewayUnauthorizedError",
    "GatewayUnavailableError",
    "Patch",
    "Usage",
    "capture",
    "gateway_headers",
    "gateway_options",
    "make_client",
    "on_call",
    "patch",
]

_HOMES = {
    "CallListener": "_listeners",
    "GatewayCall": "_gateway_call",
    "GatewayConfigError": "_options",
    "GatewayOptions": "_options",
    "GatewaySettings": "_settings",
    "Patch": "_patch",
    "Usage": "_usage",
    "capture": "_capture",
    "gateway_headers": "_options",
    "gateway_options": "_options",
    "make_client": "_client",
    "on_call": "_listeners",
    "patch": "_patch",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use: importing the package loads neither SDK nor pydantic."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    from ._collector import pause_collector

    with pause_collector():
        value = getattr(import_module(f".{_HOMES.get(name, '_errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
