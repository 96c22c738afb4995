"""The only file that knows mistralai 1.x, 2.x and 3.x apart."""

import importlib
import importlib.metadata
import sys
from functools import cache
from types import CodeType, FrameType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from .options import GatewayConfigError

SUPPORTED = "mistralai 1.9.11 and newer, 2.x and 3.x"
MISTRAL_URL = "https://api.mistral.ai"

if TYPE_CHECKING:
    import httpx2 as httpx

    from ._typed import Mistral, SDKConfiguration, SDKError, Security


def version() -> str:
    """Return the installed release of mistralai."""
    return importlib.metadata.version("mistralai")


def moved(seam: str) -> GatewayConfigError:
    """Say that this SDK is not one the adapter knows: better no client than a bare one."""
    msg = (
        f"mistralai {version()} has no {seam}: this release of mistral_cf_adapter works with "
        f"{SUPPORTED}. Upgrade mistral_cf_adapter, or pin mistralai to one of those."
    )
    return GatewayConfigError(msg)


def _root() -> str:
    # 1.x has a *module* mistralai.client without Mistral, so only the attribute tells.
    for name in ("mistralai.client", "mistralai"):
        module = importlib.import_module(name)
        if hasattr(module, "Mistral"):
            return name
    seam = "Mistral class in mistralai.client or mistralai"
    raise moved(seam)


def _load(module: str, attribute: str) -> Any:
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        seam = f"{module}.{attribute}"
        raise moved(seam) from None


def _http_library() -> ModuleType:
    """Return httpx or httpx2, whichever the SDK itself builds its requests with."""
    name: str = _load(f"{ROOT}.httpclient", "httpx").__name__
    return sys.modules[name]


if not TYPE_CHECKING:
    ROOT = _root()
    Mistral = _load(ROOT, "Mistral")
    SDKConfiguration = _load(f"{ROOT}.sdkconfiguration", "SDKConfiguration")
    Security = _load(f"{ROOT}.models", "Security")
    # 1.x keeps its errors among the models.
    SDKError = _load(
        f"{ROOT}.errors" if ROOT == "mistralai.client" else f"{ROOT}.models", "SDKError"
    )
    httpx = _http_library()
    _SERVERS = _load(f"{ROOT}.sdkconfiguration", "SERVERS")
else:
    _SERVERS: dict[str, str]
    ROOT: str = "mistralai.client"


def library_of(thing: object) -> ModuleType:
    """Return the HTTP library, httpx or httpx2, that a request or response is of."""
    kind: Any = type(thing)
    return _library_of_class(kind)


@cache
def _library_of_class(kind: type) -> ModuleType:
    roots = (ancestor.__module__.partition(".")[0] for ancestor in kind.__mro__)
    name = next((root for root in roots if root in ("httpx", "httpx2")), httpx.__name__)
    return sys.modules[name]


def check_seams() -> None:
    """Raise unless the installed SDK has every place the adapter holds on to.

    Raises:
        GatewayConfigError: the SDK has changed; the message names what is missing.
    """
    held = {*getattr(SDKConfiguration, "__dataclass_fields__", ()), *vars(SDKConfiguration)}
    for name in ("client", "async_client", "server_url", "security", "get_server_details"):
        if name not in held:
            seam = f"SDKConfiguration.{name}"
            raise moved(seam)


_templates: dict[CodeType, str] = {}


def path_template(caller: FrameType) -> str | None:
    """Return an operation's path as `/v1/files/{file_id}`, `None` if the SDK is not the caller.

    Args:
        caller: The frame that builds a request: the SDK's `_build_request_with_client()`, behind
            `_build_request()`, behind the operation.
    """
    if caller.f_code.co_name != "_build_request_with_client":
        return None
    between = caller.f_back
    operation = between and between.f_back
    if operation is None:
        return None
    template = _templates.get(operation.f_code)
    if template is None:
        # All the variables of a frame are copied for this, so once for each operation.
        variables = caller.f_locals
        template = variables.get("path") if variables.get("url_override") is None else None
        if not isinstance(template, str):
            return None
        if _paths_in(operation.f_code) == [template]:
            _templates[operation.f_code] = template
    return template


def _paths_in(code: CodeType) -> list[str]:
    """Return the paths among the constants of an operation; a wrapper of the SDK's has none."""
    return [text for text in code.co_consts if isinstance(text, str) and text.startswith("/")]


def servers() -> dict[str, str]:
    """Map the SDK's server names to addresses; no name, `""`, is its default."""
    configuration = SimpleNamespace(server_url=None, server=None)
    default = SDKConfiguration.get_server_details(configuration)[0]  # type: ignore[arg-type]
    return {**_SERVERS, "": default}


__all__ = [
    "MISTRAL_URL",
    "ROOT",
    "SUPPORTED",
    "Mistral",
    "SDKConfiguration",
    "SDKError",
    "Security",
    "check_seams",
    "httpx",
    "moved",
    "path_template",
    "servers",
    "version",
]
