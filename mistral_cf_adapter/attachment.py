"""The one mechanism: attach a route to a Mistral SDK object, and detach it again.

The SDK's configuration object is given a subclass of its own class whose `client` and
`async_client` hand out the gateway's shells around whatever is stored there. So a route holds
for sub-SDKs that exist already and for clients that are stored later, and taking the subclass
away leaves the object as it was.
"""

import os
import sys
import threading
import warnings
from typing import Any, cast

from ._sdk import MISTRAL_URL, SDKConfiguration, Security, check_seams
from .options import GatewayConfigError
from .routing import Route
from .settings import GatewaySettings
from .transport import AsyncGatewayClient, GatewayClient

_lock = threading.RLock()
_STATE = "_mistral_cf_adapter"
# The SDK's code outside of its generated client asks for the server's address only to open
# connections of its own: realtime WebSockets and the connectors' HTTP and MCP clients.
_OWN_CONNECTIONS = "mistralai.extra."


class Attachment:
    """One route on one SDK configuration; `detach()` takes it back, in any order."""

    __slots__ = ("_configuration", "direct_url", "route", "security")

    def __init__(self, configuration: Any, settings: GatewaySettings, route: Route) -> None:
        self._configuration = configuration
        self.route = route
        self.security = _security(settings)
        self.direct_url = MISTRAL_URL if settings.unsupported == "direct" else None

    def detach(self) -> None:
        """Give the configuration back what it had; do nothing if that has happened already."""
        with _lock:
            state = self._configuration.__dict__.get(_STATE)
            if state is None or self not in state.attachments:
                return
            state.attachments.remove(self)
            _apply(self._configuration, state)


class _State:
    """What a configuration was, and the attachments on it, the last one in force."""

    __slots__ = ("attachments", "clients", "kind", "security", "server_url", "warned")

    def __init__(self, configuration: Any) -> None:
        self.attachments: list[Attachment] = []
        self.clients: dict[str, Any] = {}
        self.kind: type = type(configuration)
        self.server_url: str | None = configuration.server_url
        self.security: Any = configuration.security
        self.warned = False


def is_attached(sdk: Any) -> bool:
    """Tell whether an SDK object sends through a gateway already."""
    return _STATE in sdk.sdk_configuration.__dict__


def attach(sdk: Any, settings: GatewaySettings, route: Route) -> Attachment:
    """Have every operation of an SDK object, existing sub-SDKs included, take a route.

    Raises:
        GatewayConfigError: this SDK is not one the adapter knows.
    """
    check_seams()
    configuration = sdk.sdk_configuration
    with _lock:
        state = configuration.__dict__.get(_STATE)
        if state is None:
            state = configuration.__dict__[_STATE] = _State(configuration)
        attachment = Attachment(configuration, settings, route)
        state.attachments.append(attachment)
        _apply(configuration, state)
    return attachment


def _apply(configuration: Any, state: _State) -> None:
    state.clients.clear()
    configuration.security = state.security
    if not state.attachments:
        configuration.__class__ = state.kind
        configuration.server_url = state.server_url
        del configuration.__dict__[_STATE]
        return
    current = state.attachments[-1]
    configuration.__class__ = _routed(state.kind)
    configuration.server_url = current.route.provider_url
    if state.security is None:
        configuration.security = current.security


def _security(settings: GatewaySettings) -> Any:
    """Return the settings' key for the SDK, unless it finds the same one by itself.

    Left to itself, the SDK ranks its other sources (a service account's token) as it always
    does; a key that is only in the settings must win over all of them.
    """
    key = settings.mistral_api_key and settings.mistral_api_key.get_secret_value()
    if settings.stored_key or key is None or key == os.environ.get("MISTRAL_API_KEY"):
        return None
    return Security(api_key=key)


def _shell(name: str, kind: type[GatewayClient] | type[AsyncGatewayClient]) -> property:
    def get(self: Any) -> Any:
        inner = self.__dict__[name]
        state: _State = self.__dict__[_STATE]
        shell = state.clients.get(name)
        if inner is None or (shell is not None and shell.inner is inner):
            return inner and shell
        shell = state.clients[name] = kind(inner, state.attachments[-1].route)
        return shell

    def put(self: Any, client: Any) -> None:
        self.__dict__[name] = client.inner if type(client) is kind else client

    return property(get, put)


_subclasses: dict[type, type] = {}


def _routed(kind: type) -> type:
    """Return the subclass of a configuration class that hands out the gateway's shells."""
    if kind not in _subclasses:
        body = {
            "client": _shell("client", GatewayClient),
            "async_client": _shell("async_client", AsyncGatewayClient),
            "get_server_details": _get_server_details,
            "__repr__": _repr,
        }
        _subclasses[kind] = type(f"Gateway{kind.__name__}", (kind,), body)
    return _subclasses[kind]


def _get_server_details(self: Any) -> tuple[str, dict[str, str]]:
    state: _State = self.__dict__[_STATE]
    asking: str = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001
    if not asking.startswith(_OWN_CONNECTIONS):
        return cast("tuple[str, dict[str, str]]", state.kind.get_server_details(self))
    return _server_for_own_connections(asking, state), {}


def _server_for_own_connections(asking: str, state: _State) -> str:
    direct_url = state.attachments[-1].direct_url
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
    return direct_url


def _repr(self: Any) -> str:
    # The dataclass's own would print the API key.
    return f"<{type(self).__name__} for {self.server_url}>"

