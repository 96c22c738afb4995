"""The official Mistral SDK through Cloudflare AI Gateway.

from mistral_cf_adapter import make_client

client = make_client()  # a mistralai.Mistral, with settings from the environment
"""

# To read the core, in this order:
#   _client       make_client(); the docstring of _attach says how the SDK gets our HTTP client
#   _settings     the environment, files and keywords as checked values
#   _options      the cf-aig-* request headers as options
#   _routing      the SDK's request becomes the gateway's request
#   _flow         one call without I/O: redirects, fallback, errors, streams
#   _http_client  runs that flow, sync and async
#   _errors       the gateway's error responses as exceptions
#   _capture      the record of a call
# Skip on a first read:
#   clients       _patch, _attach, _switch (no gateway), _sdk (what differs between SDK majors)
#   settings      _settings_files, _settings_keywords, _settings_secrets, _secret_files, _secrets,
#                 _credentials (read for each request), _variables, _own_headers, _base_url,
#                 _http_variables, _validation, _diagnosis (what is wrong, and what to do)
#   requests      _paths (unsafe URLs), _gateway_models, _replays (bodies that can be sent once)
#   connections   _pool, _direct and _http11 (past the HTTP library's layers), _certificates, _fetch
#                 for Pyodide, _http2_logs, _locks
#   responses     _streaming, _codings (compressed data), _envelopes (the gateway's JSON), _edge
#                 (what stands in front of the gateway), _connection_errors (no response)
#   records       _gateway_call, _open_call (until it is over), _usage, _call_log, _listeners
#                 for on_call(), _telemetry for OpenTelemetry
#   names         _public, _reprs, _signatures, _typed
# speedups/ makes the SDK faster (with _collector, which pauses the garbage collector, and _frames,
# which saves page faults of the import), cli/ is the command, testing/ the local gateway.

TYPE_CHECKING = False  # importing `typing` for it would take longer than all the rest
if TYPE_CHECKING:
    from ._capture import capture
    from ._client import make_client
    from ._diagnosis import Diagnosis, Problem, diagnose, diagnose_async
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
    "Diagnosis",
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
    "Problem",
    "Usage",
    "capture",
    "diagnose",
    "diagnose_async",
    "gateway_headers",
    "gateway_options",
    "make_client",
    "on_call",
    "patch",
]

_HOMES = {
    "CallListener": "_listeners",
    "Diagnosis": "_diagnosis",
    "GatewayCall": "_gateway_call",
    "GatewayConfigError": "_options",
    "GatewayOptions": "_options",
    "GatewaySettings": "_settings",
    "Patch": "_patch",
    "Problem": "_diagnosis",
    "Usage": "_usage",
    "capture": "_capture",
    "diagnose": "_diagnosis",
    "diagnose_async": "_diagnosis",
    "gateway_headers": "_options",
    "gateway_options": "_options",
    "make_client": "_client",
    "on_call": "_listeners",
    "patch": "_patch",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use: importing the package loads neither SDK nor pydantic."""
    if name not in __all__:
        raise _no_attribute(name)
    import sys
    from importlib import import_module

    home = f"{__name__}.{_HOMES.get(name, '_errors')}"
    if home not in sys.modules:  # else there is nothing left to import, and nothing to pause for
        from ._collector import pause_collector
        from ._frames import import_with_room

        with pause_collector():
            import_with_room(home)
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def _no_attribute(name: str) -> AttributeError:
    near: list[str] = []
    if not name.startswith("_"):  # Python looks up many a name that does, in vain
        from difflib import get_close_matches

        near = get_close_matches(name, __all__, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
