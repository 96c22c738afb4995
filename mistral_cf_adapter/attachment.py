"""The one mechanism: attach a route to a Mistral SDK object, and detach it again.

The SDK's configuration object is given a subclass of its own class whose `client` and
`async_client` hand out the gateway's shells around whatever is stored there. So a route holds
for sub-SDKs that exist already and for clients that are stored later, and taking the subclass
away leaves the object as it was.
"""

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit
from weakref import WeakSet

from . import spans
from ._keys import KeyForSDK
from ._sdk import MISTRAL_URL, check_seams
from .options import GatewayConfigError
from .routing import Route, route_of
from .settings import GatewaySettings
from .transport import AsyncGatewayClient, GatewayClient

_STATE = "_mistral_cf_adapter"
# The SDK's code outside of its generated client asks for the server's address only to open
# connections of its own: realtime WebSockets and the connectors' HTTP and MCP clients.
_OWN_CONNECTIONS = "mistralai.extra."

Change = Callable[[GatewaySettings], GatewaySettings]

_change: Change | None = None
_subclasses: dict[type, type] = {}


def process_lock() -> Any:
    """Return a lock that a forked child need not wait for, whichever thread of its parent's had it.

    The bound method that frees it keeps no module alive for longer than its time, which would
    have sockets collected with warnings at the end.
    """
    lock: Any = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lock._at_fork_reinit)  # noqa: SLF001
    return lock


_lock = process_lock()


class Attachment:
    """One route on one SDK configuration; `detach()` takes it back, in any order."""

    __slots__ = ("_configuration", "direct_url", "key", "route", "settings")

    def __init__(self, configuration: Any, settings: GatewaySettings, route: Route) -> None:
        self._configuration = configuration
        self.settings = settings
        self.route = route
        self.key = KeyForSDK(settings)
        self.direct_url = MISTRAL_URL if settings.unsupported == "direct" else None

    def in_force(self) -> "Attachment":
        """Return this, or what `rerouted()` makes of it."""
        if _change is None:
            return self
        settings = _change(self.settings)
        return Attachment(self._configuration, settings, route_of(settings, self.route.provider))

    def detach(self) -> None:
        """Give the configuration back what it had; do nothing if that has happened already."""
        with _lock:
            state: _State | None = self._configuration.__dict__.get(_STATE)
            if state is not None and self in state.attachments:
                state.attachments.remove(self)
                state.apply()


class _State:
    """What a configuration was, and the attachments on it, the last one in force."""

    def __init__(self, configuration: Any) -> None:
        self.configuration = configuration
        self.kind: type = type(configuration)
        self.server_url: str | None = configuration.server_url
        self.attachments: list[Attachment] = []
        self.shells: dict[str, Any] = {}
        self.applied_url = self.server_url
        self.warned = False

    def original_server(self) -> str:
        """Return the address the configuration had."""
        before = SimpleNamespace(server_url=self.server_url, server=self.configuration.server)
        return str(self.kind.get_server_details(before)[0])  # type: ignore[attr-defined]

    def apply(self) -> None:
        """Bring the configuration in line with the attachments."""
        if self.attachments:
            _states.add(self)
            self.current = self.attachments[-1].in_force()
        configuration = self.configuration  # after what may raise: its repr can show a key
        if not self.attachments:
            _states.discard(self)
            self.shells = {}
            configuration.__class__ = self.kind
            if configuration.server_url == self.applied_url:  # else its owner has set another
                configuration.server_url = self.server_url
            configuration.__dict__.pop(_STATE, None)
            spans.keep_together(configuration)
            return
        self.shells = {}
        configuration.__dict__[_STATE] = self
        spans.keep_apart(configuration)
        configuration.__class__ = _routed(self.kind)
        configuration.server_url = self.applied_url = self.current.route.provider_url


_states: WeakSet[_State] = WeakSet()


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
        for state in list(_states):
            state.apply()


def attach(sdk: Any, settings: GatewaySettings, route: Route) -> Attachment:
    """Have every operation of an SDK object, existing sub-SDKs included, take a route.

    Raises:
        GatewayConfigError: this SDK is not one the adapter knows.
    """
    check_seams()
    with _lock:
        state = _state_of(sdk)
        attachment = Attachment(sdk.sdk_configuration, settings, route)
        state.attachments.append(attachment)
        state.apply()
    return attachment


def original_server(sdk: Any) -> str:
    """Return the address an SDK object has, or had before anything was attached to it."""
    return _state_of(sdk).original_server()


def _state_of(sdk: Any) -> _State:
    """Return what is attached to an SDK object; a new state, not kept, if that is nothing."""
    configuration = sdk.sdk_configuration
    state: _State | None = configuration.__dict__.get(_STATE)
    return state or _State(configuration)


def _routed(kind: type) -> type:
    """Return the subclass of a configuration class that hands out the gateway's shells."""
    if kind not in _subclasses:
        body = {
            "client": _handed_out("client", GatewayClient),
            "async_client": _handed_out("async_client", AsyncGatewayClient),
            "security": property(_get_security, _set_security),
            "get_server_details": _get_server_details,
            "__repr__": _repr,
        }
        _subclasses[kind] = type(f"Gateway{kind.__name__}", (kind,), body)
    return _subclasses[kind]


def _handed_out(name: str, shell_class: type[GatewayClient] | type[AsyncGatewayClient]) -> property:
    def get(self: Any) -> Any:
        inner = self.__dict__[name]
        state: _State | None = self.__dict__.get(_STATE)
        if inner is None or state is None:  # closed, or detached by another thread just now
            return inner
        shell, route = state.shells.get(name), state.current.route
        # Another thread may have stored a shell for the route of a moment ago.
        if shell is None or shell.inner is not inner or shell.route is not route:
            shell = state.shells[name] = shell_class(inner, route)
        return shell

    def put(self: Any, client: Any) -> None:
        self.__dict__[name] = client.inner if type(client) is shell_class else client

    return property(get, put)


def _get_security(self: Any) -> Any:
    """Return what the SDK authenticates with: a client's own key, else that of the settings."""
    own = self.__dict__["security"]
    state: _State | None = self.__dict__.get(_STATE)
    return own if state is None else state.current.key.in_place_of(own)


def _set_security(self: Any, security: Any) -> None:
    # What was read from a client of ours says where its key is, and is no key of its own.
    self.__dict__["security"] = None if isinstance(security, KeyForSDK) else security


def _get_server_details(self: Any) -> tuple[str, dict[str, str]]:
    state: _State | None = self.__dict__.get(_STATE)
    asking: str = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if state is not None and asking.startswith(_OWN_CONNECTIONS):
        return _server_for_own_connections(asking, state), {}
    kind: type = cast("type[object]", type(self)) if state is None else state.kind
    return cast("tuple[str, dict[str, str]]", kind.get_server_details(self))  # type: ignore[attr-defined]


def _server_for_own_connections(asking: str, state: _State) -> str:
    direct_url = state.current.direct_url
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
        warnings.warn(msg, stacklevel=4)
    return _mistral_server(state) or direct_url


def _mistral_server(state: _State) -> str | None:
    """Return the server the client had before patch(), if it is one of Mistral's."""
    own = state.original_server()
    return own if (urlsplit(own).hostname or "").endswith(".mistral.ai") else None


def _repr(self: Any) -> str:
    # The dataclass's own would print the API key.
    return f"<{type(self).__name__} for {self.server_url}>"
