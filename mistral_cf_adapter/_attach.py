"""Redirect a `Mistral` object, and undo it.

The class of its `sdk_configuration` is swapped for a subclass whose `client` and `async_client`
return gateway clients around the stored HTTP clients; undo by swapping back. All sub-SDKs share
that configuration, so existing ones are redirected too, and so are clients stored later.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Generator
from copy import deepcopy
from time import perf_counter
from types import FrameType, SimpleNamespace
from typing import Any, NoReturn, Self, cast
from urllib.parse import urlsplit
from weakref import ref

from ._call_log import logger
from ._capture import isolate_spans, restore_spans
from ._capture import record as record_call
from ._credentials import SecretSource, ask_all
from ._http_client import AsyncGatewayClient, GatewayClient
from ._listeners import run
from ._locks import fork_safe_lock
from ._options import GatewayConfigError
from ._routing import NOT_PICKLED, Route, get_route
from ._sdk import MISTRAL_URL, Security, unsupported_sdk
from ._settings import GatewaySettings
from ._settings_secrets import Key, get_key_reader, key_follows_environment, live_secrets
from ._switch import configurations

_STATE = "_mistral_cf_adapter"
_WRAPPERS = GatewayClient, AsyncGatewayClient
# The SDK's code outside of its generated client asks for the server's address only to open
# connections of its own: realtime WebSockets and the connectors' HTTP and MCP clients.
_UNROUTED_CALLERS = "mistralai.extra."
_ROUTED_CALLERS = "mistralai.extra.workflows."

Override = Callable[[GatewaySettings], GatewaySettings]

_override: Override | None = None
_subclasses: dict[type, type] = {}


_lock = fork_safe_lock()


NO_KEY = Security()
"""In place of `None`, with which the SDK would send a key of the environment."""


class KeyForSDK:
    """The settings' key as the SDK takes it: a function that it asks at every call."""

    __slots__ = ("_follows_environment", "_is_stored", "_is_used", "_make", "_read", "is_live")

    def __init__(self, settings: GatewaySettings, *, stored_key: bool) -> None:
        self._follows_environment = key_follows_environment(settings)
        self._is_stored = stored_key
        self._is_used = not stored_key and (
            self._follows_environment or settings.mistral_api_key is not None
        )
        live = live_secrets(settings).get("mistral_api_key")
        self.is_live = live is not None
        """The key is asked for anew for each request."""
        self._read = get_key_reader(settings)
        # Most often made by the first call: a program may build clients that it never uses.
        self._make = None if live is None else _asking_security_maker(live)

    def __call__(self) -> Any:
        make = self._make
        if make is None:
            make = _security_maker(self._read, is_fixed=not self._follows_environment)
            self._make = make
        return make()

    def in_place_of(self, own: Any) -> Any:
        """Return the `security` of a configuration, given the client's own.

        With `None` the SDK reads `MISTRAL_API_KEY` itself, and ranks a service account's token
        above it; a key that is only in the settings wins over both.
        """
        if own is None and self._is_stored:
            return NO_KEY
        if not self._is_used or (own is not None and not _is_empty(own)):
            return own
        if self._follows_environment:
            if own is None and os.environ.get("MISTRAL_API_KEY"):
                return None
            if self._read()[0] is None:
                return own
        return self

    def __repr__(self) -> str:
        return "<the Mistral key of GatewaySettings>"


def _security_maker(read: Callable[[], Key], *, is_fixed: bool) -> Callable[[], Any]:
    """Return what makes the SDK's `Security` of a key, the same one for the same key."""
    if is_fixed:
        security = Security(api_key=read()[0])
        return lambda: security
    known: tuple[str | None, Any] | None = None

    def make() -> Any:
        nonlocal known
        key, _ = read()
        if known is None or key != known[0]:
            known = key, Security(api_key=key)
        return known[1]

    return make


def _asking_security_maker(source: SecretSource) -> Callable[[], Any]:
    """Return what asks for the key and makes the SDK's `Security` of it."""
    name = "mistral_api_key"
    return lambda: Security(api_key=ask_all({name: source})[name].get_secret_value())


def _is_empty(security: Any) -> bool:
    """Return whether a client was built without a key; 1.x keeps an empty Security then."""
    return not callable(security) and getattr(security, "api_key", None) is None


class Attachment:
    """One route on one SDK configuration and its copies; `detach()` takes it back, in any order."""

    __slots__ = ("__weakref__", "_configurations", "direct_url", "key", "route", "settings")

    def __init__(self, settings: GatewaySettings, route: Route) -> None:
        # Weak: a configuration has its attachments, and a cycle would keep it for a collection.
        self._configurations: tuple[ref[Any], ...] = ()
        self.settings = settings
        self.route = route
        self.key = KeyForSDK(settings, stored_key=settings.stored_key)
        self.direct_url = MISTRAL_URL if settings.unsupported == "direct" else None

    def add(self, configuration: Any) -> None:
        """Remember a configuration, so that `detach()` restores it too."""
        alive = (known for known in self._configurations if known() is not None)
        self._configurations = (*alive, ref(configuration))

    def effective(self) -> "Attachment":
        """Return this attachment, or the one that `override_settings()` replaces it with."""
        if _override is None:
            return self
        settings = _override(self.settings)
        return Attachment(settings, get_route(settings, self.route.provider))

    def detach(self) -> None:
        """Give the configurations back what they had; do nothing if that has happened already."""
        with _lock:
            for known in self._configurations:
                configuration = known()
                state = None if configuration is None else _get_state(configuration)
                if state is not None and self in state.attachments:
                    state.attachments.remove(self)
                    state.choose()
                    state.apply(configuration)
            self._configurations = ()


class _ClientState:
    """The original values of a configuration, and its attachments; the last one is active."""

    __slots__ = (
        "__weakref__",
        "applied_url",
        "attachments",
        "current",
        "original_class",
        "server_url",
        "warned",
        "wrappers",
    )

    def __init__(self, configuration: Any) -> None:
        self.original_class: type = type(configuration)
        self.server_url: str | None = configuration.server_url
        self.attachments: list[Attachment] = []
        self.current: Attachment | None = None
        self.wrappers: dict[str, Any] = {}
        self.applied_url = self.server_url
        self.warned = False

    def original_server(self, configuration: Any) -> str:
        """Return the address the configuration had."""
        before = SimpleNamespace(server_url=self.server_url, server=configuration.server)
        return str(self.original_class.get_server_details(before)[0])  # type: ignore[attr-defined]

    def choose(self) -> None:
        """Set `current` to the newest attachment, or to `None`."""
        # Not in apply(): this may raise, and the repr of a configuration can show a key.
        self.current = self.attachments[-1].effective() if self.attachments else None

    def apply(self, configuration: Any) -> None:
        """Bring the configuration in line with what was chosen."""
        self.wrappers = {}
        if self.current is None:
            configurations.pop(id(configuration), None)
            configuration.__class__ = self.original_class
            if configuration.server_url == self.applied_url:  # else its owner has set another
                configuration.server_url = self.server_url
            configuration.__dict__.pop(_STATE, None)
            restore_spans(configuration)
            return
        configurations[id(configuration)] = configuration
        configuration.__dict__[_STATE] = self
        isolate_spans(configuration)
        configuration.__class__ = _gateway_class(self.original_class)
        self.applied_url = self.current.route.provider_url
        configuration.server_url = _RoutedURL(self.applied_url, configuration)

    def extend_to(self, copy: Any) -> None:
        """Attach the same to a copy of the configuration, whose owner may have set another URL."""
        url = copy.server_url
        state = _ClientState(copy)
        state.original_class = self.original_class
        if url == self.applied_url:
            state.server_url = self.server_url
        state.attachments = list(self.attachments)
        for attachment in state.attachments:
            attachment.add(copy)
        state.choose()
        state.apply(copy)
        if url != self.applied_url:
            copy.server_url = url
        state.wrappers = (
            self.wrappers
        )  # a copy equals its original for as long as it is not changed


@contextlib.contextmanager
def override_settings(change: Override) -> Generator[None, None, None]:
    """Change the settings of every routed client of the process, existing and later ones."""
    _set_override(change)
    try:
        yield
    finally:
        _set_override(None)


def _set_override(change: Override | None) -> None:
    global _override  # noqa: PLW0603 - one process, one place where all its clients go
    with _lock:
        _override = change
        for configuration in list(configurations.values()):
            state = _get_state(configuration)
            if state is not None:
                state.choose()
                state.apply(configuration)


def attach(sdk: Any, settings: GatewaySettings, route: Route) -> Attachment:
    """Send every operation of an SDK object, existing sub-SDKs included, by a route.

    Raises:
        GatewayConfigError: this SDK is not one the adapter knows.
    """
    with _lock:
        state = _state_of(sdk)
        attachment = Attachment(settings, route)
        attachment.add(sdk.sdk_configuration)
        state.attachments.append(attachment)
        state.choose()
        state.apply(sdk.sdk_configuration)
    return attachment


def attachments_of(sdk: Any) -> list[Attachment]:
    """Return the routes on an SDK object, the last one in force."""
    return _state_of(sdk).attachments


def original_server(sdk: Any) -> str:
    """Return the address an SDK object has, or had before anything was attached to it."""
    return _state_of(sdk).original_server(sdk.sdk_configuration)


def _get_state(configuration: Any) -> _ClientState | None:
    """Return what is attached to a configuration; `None` too for one that is gone."""
    state: _ClientState | None = getattr(configuration, "__dict__", {}).get(_STATE)
    return state


def _get_current(configuration: Any) -> tuple[_ClientState | None, Attachment | None]:
    """Return the state and what is in force, read once: another thread may detach it meanwhile."""
    state = _get_state(configuration)
    return state, None if state is None else state.current


def _state_of(sdk: Any) -> _ClientState:
    """Return what is attached to an SDK object; a new state, not kept, if that is nothing."""
    try:
        configuration = sdk.sdk_configuration
    except AttributeError:
        attribute = f"{type(sdk).__name__}().sdk_configuration"
        raise unsupported_sdk(attribute) from None
    return _get_state(configuration) or _ClientState(configuration)


def _gateway_class(original_class: Any) -> type:
    """Return the subclass of a configuration class whose clients are gateway clients."""
    if original_class not in _subclasses:

        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original_class.__init__(self, *args, **kwargs)
            wrappers = [
                value for value in (*args, *kwargs.values()) if isinstance(value, _WRAPPERS)
            ]
            args, kwargs = (), {}  # a traceback may show what a frame holds
            _extend_to_replacement(self, wrappers, original_class)

        def get_server_details(self: Any) -> tuple[str, dict[str, str]]:
            state = self.__dict__.get(_STATE)
            caller_module: str = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if state is not None and caller_module.startswith(_UNROUTED_CALLERS):
                return _url_for_unrouted(caller_module, self, state), {}
            return cast("tuple[str, dict[str, str]]", original_class.get_server_details(self))

        body = {
            "__init__": __init__,
            "__copy__": _copy,
            "__deepcopy__": _deepcopy,
            "__reduce_ex__": _refuse_to_pickle,
            "__repr__": _repr,
            "client": _wrapped_client("client", GatewayClient),
            "async_client": _wrapped_client("async_client", AsyncGatewayClient),
            "security": property(_get_security, _set_security),
            "get_server_details": get_server_details,
        }
        _subclasses[original_class] = type(
            f"Gateway{original_class.__name__}", (original_class,), body
        )
    return _subclasses[original_class]


def _wrapped_client(
    name: str, wrapper_class: type[GatewayClient] | type[AsyncGatewayClient]
) -> property:
    def get(self: Any) -> Any:
        inner = self.__dict__[name]
        state, current = _get_current(self)
        if inner is None or state is None or current is None:
            return inner  # closed, or detached by another thread just now
        wrapper, route = state.wrappers.get(name), current.route
        # Another thread may just have stored a wrapper for the previous route.
        if wrapper is None or wrapper.inner is not inner or wrapper.route is not route:
            wrapper = state.wrappers[name] = wrapper_class(inner, route)
            wrapper.configuration = ref(self)
        return wrapper

    def put(self: Any, client: Any) -> None:
        self.__dict__[name] = client.inner if type(client) is wrapper_class else client

    return property(get, put)


def _blank(self: Any) -> Any:
    return object.__new__(cast("type[object]", type(self)))


def _copy(self: Any) -> Any:
    copy = _blank(self)
    copy.__dict__.update(self.__dict__)
    return _extend(self, copy)


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    copy = memo[id(self)] = _blank(self)
    values = {name: value for name, value in self.__dict__.items() if name != _STATE}
    copy.__dict__.update(deepcopy(values, memo))
    return _extend(self, copy)


def _refuse_to_pickle(_self: Any, _protocol: object) -> NoReturn:
    raise TypeError(NOT_PICKLED)


def _extend(original: Any, copy: Any) -> Any:
    """Attach to a copy what is attached to the original."""
    with _lock:
        state = _get_state(original)
        copy.__dict__.pop(_STATE, None)
        if state is None:  # detached by another thread just now
            copy.__class__ = type(original)
        else:
            state.extend_to(copy)
    return copy


def _extend_to_replacement(copy: Any, wrappers: list[Any], original_class: type) -> None:
    """Attach to what `dataclasses.replace()` made what is attached to the original.

    The original is known by its address or, if that is another now, by the clients it handed out.
    """
    makers = [copy.__dict__["server_url"], *wrappers]
    originals = [it.configuration() for it in makers if hasattr(it, "configuration")]
    with _lock:
        original = next((one for one in originals if _get_state(one) is not None), None)
        state = None if original is None else _get_state(original)
        if original is None or state is None:
            copy.__class__ = original_class
            return
        state.extend_to(copy)
    if "_hooks" in original.__dict__:  # no field of the dataclass, and no call works without
        copy.__dict__.setdefault("_hooks", original.__dict__["_hooks"])


class _RoutedURL(str):
    """A configuration's address while it is routed; `dataclasses.replace()` hands it on."""

    __slots__ = ("configuration",)

    configuration: ref[Any]

    def __new__(cls, url: str, configuration: Any) -> Self:
        self = super().__new__(cls, url)
        self.configuration = ref(configuration)
        return self

    def __reduce_ex__(self, _protocol: object) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def _get_security(self: Any) -> Any:
    """Return what the SDK authenticates with: a client's own key, else that of the settings."""
    own = self.__dict__["security"]
    _, current = _get_current(self)
    if current is None:
        return own
    key = current.key
    security = key.in_place_of(own)
    if key.is_live and security is key and _is_request_builder(sys._getframe(1)):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return NO_KEY
    return security


def _is_request_builder(frame: FrameType) -> bool:
    """Return whether a caller is code of the SDK's that leaves sending to the HTTP client.

    A gateway client adds a key that is asked for anew for each request.
    """
    module: str = frame.f_globals.get("__name__", "")
    if module.startswith(_UNROUTED_CALLERS):
        return module.startswith(_ROUTED_CALLERS)
    return module.startswith("mistralai.")


def _set_security(self: Any, security: Any) -> None:
    # What was read from a client of ours says where its key is, and is no key of its own.
    is_ours = security is NO_KEY or isinstance(security, KeyForSDK)
    self.__dict__["security"] = None if is_ours else security


def _url_for_unrouted(caller_module: str, configuration: Any, state: _ClientState) -> str:
    current = state.current
    direct_url = None if current is None else current.direct_url
    if direct_url is None:
        msg = (
            f"{caller_module} opens a connection of its own, which AI Gateway does not carry. To "
            f'connect to Mistral directly, pass server_url="{MISTRAL_URL}" to the call where it '
            "takes one, or set CF_AIG_UNSUPPORTED=direct "
            '(GatewaySettings(unsupported="direct"))'
        )
        raise GatewayConfigError(msg)
    if not state.warned:
        state.warned = True
        msg = f"{caller_module} connects to Mistral directly, not through AI Gateway"
        with contextlib.suppress(UserWarning):  # an error by a filter: it connects all the same
            warnings.warn(msg, stacklevel=4)
    logger.info("%s goes past AI Gateway", caller_module)
    # What becomes of the connection is not seen.
    fields = {"method": "GET", "path": caller_module, "attempt": 1, "routed": "elsewhere"}
    call = record_call(None, fields, perf_counter(), str, False, None, None)  # noqa: FBT003
    if call is not None:
        run(call.end(None))
    return _mistral_server(configuration, state) or direct_url


def _mistral_server(configuration: Any, state: _ClientState) -> str | None:
    """Return the server the client had before patch(), if it is one of Mistral's."""
    own = state.original_server(configuration)
    return own if (urlsplit(own).hostname or "").endswith(".mistral.ai") else None


def _repr(self: Any) -> str:
    # The dataclass's own would print the API key.
    return f"<{type(self).__name__} for {self.server_url}>"
