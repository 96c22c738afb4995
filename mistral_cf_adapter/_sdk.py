"""The only file that knows mistralai 1.x, 2.x and 3.x apart."""

import importlib
import importlib.metadata
import inspect
import logging
import re
import sys
from collections.abc import Iterator
from functools import cache
from types import CodeType, FrameType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from ._options import GatewayConfigError
from .speedups.late_hooks import defer_hooks

SUPPORTED = "mistralai 1.9.11 and newer, 2.x and 3.x"
NEWEST_TRIED = {1: "1.12.4", 2: "2.10.1", 3: "3.7.0"}
"""The newest release of each major version that the tests were run with."""
MISTRAL_URL = "https://api.mistral.ai"

if TYPE_CHECKING:
    import httpx2 as httpx

    from ._typed import Mistral, SDKConfiguration, SDKError, Security


logger = logging.getLogger("mistral_cf_adapter")


def version() -> str:
    """Return the installed release of mistralai."""
    for name in ("mistralai.client._version", "mistralai._version"):
        found = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(found, str):
            return found
    return importlib.metadata.version("mistralai")  # reads a file: slower


def unsupported_sdk(attribute: str) -> GatewayConfigError:
    """Return the error for an SDK that lacks what the adapter needs."""
    msg = (
        f"mistralai {version()} has no {attribute}: this release of mistral_cf_adapter works with "
        f"{SUPPORTED}. Upgrade mistral_cf_adapter, or pin mistralai to one of those."
    )
    return GatewayConfigError(msg)


def _root() -> str:
    # 1.x has a *module* mistralai.client without Mistral, so only the attribute tells.
    for name in ("mistralai.client", "mistralai"):
        module = importlib.import_module(name)
        if hasattr(module, "Mistral"):
            return name
    attribute = "Mistral class in mistralai.client or mistralai"
    raise unsupported_sdk(attribute)


def _load(module: str, attribute: str) -> Any:
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        attribute = f"{module}.{attribute}"
        raise unsupported_sdk(attribute) from None


def _http_library() -> ModuleType:
    """Return httpx or httpx2, whichever the SDK itself builds its requests with."""
    name: str = _load(f"{ROOT}.httpclient", "httpx").__name__
    return sys.modules[name]


if not TYPE_CHECKING:
    with defer_hooks():
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


def http_library(thing: object) -> ModuleType:
    """Return the HTTP library, httpx or httpx2, that a request or response is of."""
    cls: Any = type(thing)
    return library_of_class(cls)


@cache
def library_of_class(cls: Any) -> ModuleType:
    """Return the HTTP library that a class of requests or responses is of."""
    roots = (ancestor.__module__.partition(".")[0] for ancestor in cls.__mro__)
    name = next((root for root in roots if root in ("httpx", "httpx2")), httpx.__name__)
    return sys.modules[name]


def hide_from_retries(headers: Any, names: frozenset[str]) -> Any:
    """Return headers of a response in which the SDK's retries do not find some names.

    The caller's own code finds them.
    """
    hiding = _hiding_class(cast("Any", type(headers)))(headers)
    hiding.hidden_names = names
    return hiding


@cache
def _hiding_class(cls: Any) -> Any:

    class Headers(cls):  # type: ignore[misc]
        """Headers of the HTTP library, some of which the SDK's retries do not see."""

        def get(self, key: str, default: Any = None) -> Any:
            caller: str = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            is_retrying = caller.startswith("mistralai.") and caller.endswith(".utils.retries")
            if is_retrying and key.lower() in self.hidden_names:
                return default
            return cls.get(self, key, default)

        def __reduce__(self) -> tuple[Any, ...]:
            return cls, (self.raw,)

    return Headers


@cache
def check_sdk() -> None:
    """Raise unless the installed SDK has every place the adapter holds on to.

    To be called before an SDK object is built. What is fine is looked at once, and only then it
    is said, once, that the release is untried.

    Raises:
        GatewayConfigError: the SDK has changed; the message names what is missing.
    """
    missing = next(_missing_attributes(), None)
    if missing is not None:
        raise unsupported_sdk(missing)
    note = untried()
    if note is not None:
        # A new minor release comes every week or two, and works as a rule.
        known_major = _numbers(version())[0] in NEWEST_TRIED
        logger.log(logging.INFO if known_major else logging.WARNING, "%s", note)


def _missing_attributes() -> Iterator[str]:
    held = {*getattr(SDKConfiguration, "__dataclass_fields__", ()), *vars(SDKConfiguration)}
    fields = ("client", "async_client", "server_url", "server", "security", "get_server_details")
    yield from (f"SDKConfiguration.{name}" for name in fields if name not in held)
    # GatewayError hands its arguments to the class above SDKError.
    above: Any = SDKError.__mro__[1]
    for owner, names in (
        (Mistral, ("api_key", "server", "server_url", "client", "async_client")),
        (above, ("message", "raw_response", "body")),
    ):
        yield from (f"{owner.__name__}({name}=)" for name in _refused(owner, names))
    try:
        servers()
    except Exception:  # noqa: BLE001 - whatever it is, the addresses cannot be had
        yield "SDKConfiguration.get_server_details() of a server's name"


def _refused(owner: Any, names: tuple[str, ...]) -> list[str]:
    """Return the arguments that a class does not take by name."""
    parameters = inspect.signature(owner.__init__).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):  # another's wrapper
        return []
    return [name for name in names if name not in parameters]


def untried() -> str | None:
    """Return a sentence if the installed SDK is newer than what the tests were run with."""
    installed = version()
    numbers = _numbers(installed)
    if not numbers:
        return None
    newest = NEWEST_TRIED.get(numbers[0], max(NEWEST_TRIED.values(), key=_numbers))
    if numbers <= _numbers(newest):
        return None
    return (
        f"mistralai {installed} is newer than the newest release this mistral_cf_adapter was "
        f"tested with, {newest}. It is used all the same: what has moved in it is an error before "
        "anything is sent, and speed-ups whose place has changed step aside"
    )


def _numbers(release: str) -> tuple[int, ...]:
    """Return the numbers that a release starts with: 3.8.0rc1 is (3, 8, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", release)
    return tuple(map(int, found[0].split("."))) if found else ()


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


_operations: dict[CodeType, str] = {}
_SENDERS = frozenset({"do_request", "do_request_async"})
_MAX_FRAMES = 60
_KNOWN_OPERATIONS = {
    ("POST", "/v1/chat/completions"): ("chat.complete", "chat.stream"),
    ("POST", "/v1/fim/completions"): ("fim.complete", "fim.stream"),
    ("POST", "/v1/agents/completions"): ("agents.complete", "agents.stream"),
    ("POST", "/v1/embeddings"): ("embeddings.create",) * 2,
    ("POST", "/v1/ocr"): ("ocr.process",) * 2,
    ("POST", "/v1/audio/transcriptions"): ("transcriptions.complete", "transcriptions.stream"),
    ("GET", "/v1/models"): ("models.list",) * 2,
}


def find_operation(caller: FrameType, request: Any) -> str | None:
    """Return the SDK's method that sends a request, as `chat.complete`.

    It is the caller of the SDK's `do_request()`. Where another task sends, as a tracer may have
    it, method and path tell, for the usual ones. (The SDK's own ids, such as
    `chat_completion_v1_chat_completions_post`, differ between its releases.)
    """
    frame: FrameType | None = caller
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name in _SENDERS and frame.f_back is not None:
            name = _name_operation(frame.f_back)
            if name is not None:
                return name
        frame = frame.f_back
    for (method, path), names in _KNOWN_OPERATIONS.items():
        if request.method == method and request.url.path.endswith(path):
            return names["text/event-stream" in request.headers.get("accept", "")]
    return None


def _name_operation(frame: FrameType) -> str | None:
    name = _operations.get(frame.f_code)
    if name is None and frame.f_globals.get("__name__", "").startswith("mistralai."):
        owner, _, method = frame.f_code.co_qualname.rpartition(".")
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", owner.rpartition(".")[2]).lower()
        name = _operations[frame.f_code] = f"{snake}.{method.removesuffix('_async')}"
    return name


def is_sending(caller: FrameType) -> bool:
    """Return whether a caller is the SDK's code that hands a request to the HTTP client."""
    return caller.f_code.co_name in _SENDERS and _is_of_sdk(caller)


def find_builder(caller: FrameType) -> FrameType | None:
    """Return the first frame outside of the SDK from which an object of its is built."""
    frame: FrameType | None = caller
    while frame is not None and _is_of_sdk(frame):
        frame = frame.f_back
    return frame


def _is_of_sdk(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES


_PACKAGES = ("mistralai", "mistralai_azure", "mistralai_gcp")


_CONFIGURATIONS = tuple(
    f"{package}.sdkconfiguration"
    for package in (
        *("mistralai.azure.client", "mistralai.gcp.client"),  # 2 and 3
        *("mistralai_azure", "mistralai_gcp"),  # 1
    )
)


def configuration_classes() -> list[Any]:
    """Return the class of configurations, and those of the SDK's clients for Azure and GCP.

    The latter as far as they are loaded: they are packages of their own.
    """
    modules = [sys.modules.get(name) for name in _CONFIGURATIONS]
    found = [getattr(module, "SDKConfiguration", None) for module in modules]
    return [SDKConfiguration, *(cls for cls in found if cls is not None)]


def servers() -> dict[str, str]:
    """Map the SDK's server names to addresses; no name, `""`, is its default."""
    configuration = SimpleNamespace(server_url=None, server=None)
    default = SDKConfiguration.get_server_details(configuration)[0]  # type: ignore[arg-type]
    return {**_SERVERS, "": default}


__all__ = [
    "MISTRAL_URL",
    "NEWEST_TRIED",
    "ROOT",
    "SUPPORTED",
    "Mistral",
    "SDKConfiguration",
    "SDKError",
    "Security",
    "check_sdk",
    "configuration_classes",
    "find_builder",
    "find_operation",
    "httpx",
    "is_sending",
    "path_template",
    "servers",
    "unsupported_sdk",
    "untried",
    "version",
]
