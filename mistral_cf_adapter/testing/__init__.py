"""A local AI Gateway with a small Mistral behind it, for tests and first steps.

Needs the extra `testing`. Importing this package loads nothing heavy: starlette and uvicorn
come in with the first `LocalGateway`.

    from mistral_cf_adapter.testing import LocalGateway

    with LocalGateway() as gateway:
        client = make_client(gateway.settings())
        gateway.reply("Bonjour!")
        ...
        gateway.assert_all_used()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.access import Access
    from mistral_cf_adapter.testing.allowed_hosts import HostNotAllowedError
    from mistral_cf_adapter.testing.bypasses import report_bypasses
    from mistral_cf_adapter.testing.calls import Call, Calls
    from mistral_cf_adapter.testing.foreground import serve
    from mistral_cf_adapter.testing.gateway import LocalGateway
    from mistral_cf_adapter.testing.records import LogRecord, ReceivedRequest
    from mistral_cf_adapter.testing.when import When

__all__ = [
    "Access",
    "Call",
    "Calls",
    "HostNotAllowedError",
    "LocalGateway",
    "LogRecord",
    "ReceivedRequest",
    "When",
    "report_bypasses",
    "serve",
]

_HOMES = {
    "Access": "access",
    "Call": "calls",
    "Calls": "calls",
    "HostNotAllowedError": "allowed_hosts",
    "LocalGateway": "gateway",
    "LogRecord": "records",
    "ReceivedRequest": "records",
    "When": "when",
    "report_bypasses": "bypasses",
    "serve": "foreground",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        module = import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mistral_cf_adapter"):
            raise
        msg = (
            f"{name} needs {error.name}, which the extra 'testing' installs: "
            "pip install 'mistral-cf-adapter[testing]'"
        )
        raise ModuleNotFoundError(msg, name=error.name) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
