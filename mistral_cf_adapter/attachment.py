"""The one mechanism: attach a route to a Mistral SDK object, and detach it again.

The SDK's configuration object is given a subclass of its own class whose `client` and
`async_client` hand out the gateway's shells around whatever is stored there. So a route holds
for sub-SDKs that exist already and for clients that are stored later, and taking the subclass
away leaves the object as it was.
"""

import contextlib
import sys
import warnings
from collections.abc import Callable, Generator
from copy import deepcopy
from types import SimpleNamespace
from typing import Any, NoReturn, Self, cast
from urllib.parse import urlsplit
from weakref import WeakValueDictionary, ref

from . import calls, spans
from ._keys import NO_KEY, KeyForSDK
from ._locks import fork_safe_lock
from ._sdk import MISTRAL_URL, moved
from .options import GatewayConfigError
from .routing import NOT_PICKLED, Route, route_of
from .settings import GatewaySettings
from .transport import AsyncGatewayClient, GatewayClient

_STATE = "_mistral_cf_adapter"
_SHELLS = GatewayClient, AsyncGatewayClient
# The SDK's code outside of its generated client asks for the server's address only to open
# connections of its own: realtime WebSockets and the connectors' HTTP and MCP clients.
_OWN_CONNECTIONS = "mistralai.extra."

Change = Callable[[GatewaySettings], GatewaySettings]

_change: Change | None = None
_subclasses: dict[type, type] = {}


_lock = fork_safe_lock()


class Attachment:
    """One route on one SDK configuration and its copies; `detach()` takes it back, in any order."""

    __slots__ = ("__weakref__", "_configurations", "direct_url", "key", "route", "settings")

    def __init__(self, settings: GatewaySettings, route: Route) -> None:
        # Weak: a configuration has its attachments, and a cycle would keep it for a collection.
        self._configurations: list[ref[Any]] = []
        self.settings = settings
        self.route = route
        self.key = KeyForSDK(settings)
        self.direct_url = MISTRAL_URL if settings.unsupported == "direct" else None

    def add(self, configuration: Any) -> None:
        """Have `detach()` take the route off this configuration too."""
        alive = [known for known in self._configurations if known() is not None]
        self._configurations = [*alive, ref(configuration)]

    def in_force(self) -> "Attachment":
        """Return this, or what `rerouted()` makes of it."""
        if _change is None:
            return self
        settings = _change(self.settings)
        return Attachment(settings, route_of(settings, self.route.provider))

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
            self._configurations = []


class _State:
    """What a configuration was, and the attachments on it, the last one in force."""

    def __init__(self, configuration: Any) -> None:
        self.kind: type = type(configuration)
        self.server_url: str | None = configuration.server_url
        self.attachments: list[Attachment] = []
        self.current: Attachment | None = None
        self.shells: dict[str, Any] = {}
        self.applied_url = self.server_url
        self.warned = False

    def original_server(self, configuration: Any) -> str:
        """Return the address the configuration had."""
        before = SimpleNamespace(server_url=self.server_url, server=configuration.server)
        return str(self.kind.get_server_details(before)[0])  # type: ignore[attr-defined]

    def choose(self) -> None:
        """Choose the attachment that is in force, `None` if there is none."""
        # Not in apply(): this may raise, and the repr of a configuration can show a key.
        self.current = self.attachments[-1].in_force() if self.attachments else None

    def apply(self, configuration: Any) -> None:
        """Bring the configuration in line with what was chosen."""
        self.shells = {}
        if self.current is None:
            _configurations.pop(id(configuration), None)
            configuration.__class__ = self.kind
            if configuration.server_url == self.applied_url:  # else its owner has set another
                configuration.server_url = self.server_url
            configuration.__dict__.pop(_STATE, None)
            spans.keep_together(configuration)
            return
        _configurations[id(configuration)] = configuration
        configuration.__dict__[_STATE] = self
        spans.keep_apart(configuration)
        configuration.__class__ = _routed(self.kind)
        self.applied_url = self.current.route.provider_url
        configuration.server_url = _RoutedURL(self.applied_url, configuration)

    def extend_to(self, copy: Any) -> None:
        """Attach the same to a copy of the configuration, whose owner may have set another URL."""
        url = copy.server_url
        state = _State(copy)
        state.kind = self.kind
        if url == self.applied_url:
            state.server_url = self.server_url
        state.attachments = list(self.attachments)
        for attachment in state.attachments:
            attachment.add(copy)
        state.choose()
        state.apply(copy)
        if url != self.applied_url:
            copy.server_url = url
        state.shells = self.shells  # a copy equals its original for as long as it is not changed


# By id(), as the SDK's configurations are compared by value and have no hash.
_configurations: WeakValueDictionary[int, Any] = WeakValueDictionary()


@contextlib.contextmanager
def rerouted(change: Change) -> Generator[None, None, None]:
    """Have every routed client of the process, older and later ones, use changed settings."""
    _reroute(change)
    try:
        yield
    finally:
        _reroute(None)


def _reroute(change: Change | None) -> None:
    global _change  # noqa: PLW0603 - one process, one place where all its clients go
    with _lock:
        _change = change
        for configuration in list(_configurations.values()):
            state = _get_state(configuration)
            if state is not None:
                state.choose()
                state.apply(configuration)


def attach(sdk: Any, settings: GatewaySettings, route: Route) -> Attachment:
    """Have every operation of an SDK object, existing sub-SDKs included, take a route.

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


def _get_state(configuration: Any) -> _State | None:
    """Return what is attached to a configuration; `None` too for one that is gone."""
    state: _State | None = getattr(configuration, "__dict__", {}).get(_STATE)
    return state


def _state_of(sdk: Any) -> _State:
    """Return what is attached to an SDK object; a new state, not kept, if that is nothing."""
    try:
        configuration = sdk.sdk_configuration
    except AttributeError:
        seam = f"{type(sdk).__name__}().sdk_configuration"
        raise moved(seam) from None
    return _get_state(configuration) or _State(configuration)


def _routed(kind: Any) -> type:
    """Return the subclass of a configuration class that hands out the gateway's shells."""
    if kind not in _subclasses:

        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            kind.__init__(self, *args, **kwargs)
            shells = [value for value in (*args, *kwargs.values()) if isinstance(value, _SHELLS)]
            args, kwargs = (), {}  # a traceback may show what a frame holds
            _extend_to_replacement(self, shells, kind)

        def get_server_details(self: Any) -> tuple[str, dict[str, str]]:
            state = self.__dict__.get(_STATE)
            asking: str = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if state is not None and asking.startswith(_OWN_CONNECTIONS):
                return _server_for_own_connections(asking, self, state), {}
            return cast("tuple[str, dict[str, str]]", kind.get_server_details(self))

        body = {
            "__init__": __init__,
            "__copy__": _copy,
            "__deepcopy__": _deepcopy,
            "__reduce_ex__": _refuse_to_pickle,
            "__repr__": _repr,
            "client": _handed_out("client", GatewayClient),
            "async_client": _handed_out("async_client", AsyncGatewayClient),
            "security": property(_get_security, _set_security),
            "get_server_details": get_server_details,
        }
        _subclasses[kind] = type(f"Gateway{kind.__name__}", (kind,), body)
    return _subclasses[kind]


def _handed_out(name: str, shell_class: type[GatewayClient] | type[AsyncGatewayClient]) -> property:
    def get(self: Any) -> Any:
        inner = self.__dict__[name]
        state = self.__dict__.get(_STATE)
        if inner is None or state is None or state.current is None:
            return inner  # closed, or detached by another thread just now
        shell, route = state.shells.get(name), state.current.route
        # Another thread may have stored a shell for the route of a moment ago.
        if shell is None or shell.inner is not inner or shell.route is not route:
            shell = state.shells[name] = shell_class(inner, route)
            shell.configuration = ref(self)
        return shell

    def put(self: Any, client: Any) -> None:
        self.__dict__[name] = client.inner if type(client) is shell_class else client

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


def _extend_to_replacement(copy: Any, shells: list[Any], kind: type) -> None:
    """Attach to what `dataclasses.replace()` made what is attached to the original.

    The original is known by its address or, if that is another now, by the clients it handed out.
    """
    makers = [copy.__dict__["server_url"], *shells]
    originals = [it.configuration() for it in makers if hasattr(it, "configuration")]
    with _lock:
        original = next((one for one in originals if _get_state(one) is not None), None)
        state = None if original is None else _get_state(original)
        if original is None or state is None:
            copy.__class__ = kind
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
    state = self.__dict__.get(_STATE)
    if state is None or state.current is None:
        return own
    return state.current.key.in_place_of(own)


def _set_security(self: Any, security: Any) -> None:
    # What was read from a client of ours says where its key is, and is no key of its own.
    is_ours = security is NO_KEY or isinstance(security, KeyForSDK)
    self.__dict__["security"] = None if is_ours else security


def _server_for_own_connections(asking: str, configuration: Any, state: _State) -> str:
    direct_url = None if state.current is None else state.current.direct_url
    if direct_url is None:
        msg = (
            f"{asking} opens a connection of its own, which AI Gateway does not carry. To connect "
            f'to Mistral directly, pass server_url="{MISTRAL_URL}" to the call where it takes '
            'one, or set CF_AIG_UNSUPPORTED=direct (GatewaySettings(unsupported="direct"))'
        )
        raise GatewayConfigError(msg)
    if not state.warned:
        state.warned = True
        msg = f"{asking} connects to Mistral directly, not through AI Gateway"
        with contextlib.suppress(UserWarning):  # an error by a filter: it connects all the same
            warnings.warn(msg, stacklevel=4)
    calls.logger.info("%s goes past AI Gateway", asking)
    # What becomes of the connection is not seen.
    facts = {"method": "GET", "path": asking, "attempt": 1, "routed": "elsewhere"}
    calls.report(None, None, facts, 0.0, otel=False)
    return _mistral_server(configuration, state) or direct_url


def _mistral_server(configuration: Any, state: _State) -> str | None:
    """Return the server the client had before patch(), if it is one of Mistral's."""
    own = state.original_server(configuration)
    return own if (urlsplit(own).hostname or "").endswith(".mistral.ai") else None


def _repr(self: Any) -> str:
    # The dataclass's own would print the API key.
    return f"<{type(self).__name__} for {self.server_url}>"
