"""Let no client of the SDK reach another host while a test runs.

What the SDK hands to its HTTP client is looked at there, after all of the SDK's hooks: for clients
without a route in their configuration, and for those of `make_client()` and `patch()` where the
adapter sends, for a `server_url=` of the call too. So is each redirect. The SDK's own connections,
such as realtime WebSockets, ask the configuration for the server, and that is looked at as well;
with a `server_url=` of the call they do not ask, so the URL of each of their WebSockets is too.
There the SDK raises an error of its own from the one of this module.

Clients for Azure and GCP are seen if their package was imported before the test.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import urlsplit

from mistral_cf_adapter import _attach, _sdk
from mistral_cf_adapter._base_url import is_loopback
from mistral_cf_adapter._http_client import (
    _BaseGatewayClient,  # pyright: ignore[reportPrivateUsage]
)
from mistral_cf_adapter._public import TESTING, set_public_module
from mistral_cf_adapter._secrets import mask_url
from mistral_cf_adapter.testing.limits import BoundedList

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType
    from typing import Self

__tracebackhide__ = True  # pytest shows the test's own line as the last

_CLIENTS = ("client", "async_client")
# As in _attach: code that asks for the server's address to connect to it by itself.
_CONNECTS = "mistralai.extra."
_LIBRARIES = ("site-packages", "dist-packages", str(Path(os.__file__).parent))
_MISSING = object()


class HostNotAllowedError(RuntimeError):
    """A client of the SDK would have sent a request to another host; nothing was sent.

    Raised under the fixture `cf_gateway`. The message says which client, how it was built and what
    to do; hosts in `allow_hosts` are let through.
    """


class HostGuard:
    """Raise where a client of the SDK would send to a host that is not allowed; undone at the end.

    Hosts of this machine are always allowed.
    """

    def __init__(self, allow_hosts: Iterable[str]) -> None:
        self._allowed = frozenset(host.lower() for host in allow_hosts)
        self.refused: list[str] = BoundedList(len)
        """What was not sent, in words."""
        self._places: dict[int, str] = {}
        self._originals: list[tuple[Any, str, Any]] = []
        self._hooks: dict[int, tuple[list[Any], Any]] = {}

    def __enter__(self) -> Self:
        for cls in _sdk.configuration_classes():
            for name in _CLIENTS:
                self._replace(cls, name, self._guarded_client(name))
            self._replace(cls, "get_server_details", self._guarded_server(cls))
        self._replace(_attach, "_url_for_unrouted", self._guarded_url())
        self._replace(_BaseGatewayClient, "_get_sender", self._guarded_sender())
        self._guard_websockets()
        return self

    def __exit__(self, *exc_info: object) -> None:
        while self._originals:
            owner, name, original = self._originals.pop()
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        for hooks, hook in self._hooks.values():
            if hook in hooks:  # a test may have emptied the list of its own client
                hooks.remove(hook)
        self._hooks.clear()

    def assert_nothing_refused(self) -> None:
        """Raise AssertionError if a request was refused, also where the application went on."""
        if self.refused:
            count = f"{len(self.refused)} request(s) to other hosts were refused:"
            raise AssertionError("\n  ".join([count, *self.refused]))

    def check(self, method: str, url: str, configuration: Any) -> None:
        """Raise HostNotAllowedError if a URL is not of an allowed host.

        Args:
            method: the request's, for the message.
            url: where it would go.
            configuration: that of the SDK client, `None` for one with a route.
        """
        host = (urlsplit(url).hostname or "").lower()
        if host in self._allowed or is_loopback(host):
            return
        self._refuse(method, url, host, configuration)

    def _refuse(self, method: str, url: str, host: str, configuration: Any) -> NoReturn:
        msg = (
            f"{self._describe(configuration)} would have sent {method} {mask_url(url)}, and "
            "nothing was sent. Under the fixture cf_gateway, clients of the SDK reach the local "
            "gateway alone: build this one with make_client(), or call patch(). To let it through: "
            f'@pytest.mark.cf_gateway(allow_hosts=["{host}"]), or cf_gateway_allow_hosts = {host} '
            "in pytest's configuration"
        )
        self.refused.append(msg)
        raise HostNotAllowedError(msg)

    def _describe(self, configuration: Any) -> str:
        if configuration is None:
            return "A client of make_client() or patch(), by server_url= of a call or a redirect,"
        server = mask_url(str(configuration.get_server_details()[0]))
        place = self._places.get(id(configuration))
        built = f"by {place}" if place else f"before the test{_variable_of(configuration)}"
        return (
            f"A Mistral client with server_url {server}, built {built} without make_client() or "
            "patch(),"
        )

    def _replace(self, owner: Any, name: str, replacement: Any) -> None:
        own: dict[str, Any] = owner.__dict__
        self._originals.append((owner, name, own.get(name, _MISSING)))
        setattr(owner, name, replacement)

    def _guarded_client(self, name: str) -> property:
        """Return a property that hands a guarded client to what sends, the plain one elsewhere."""

        def get(configuration: Any) -> Any:
            try:
                inner = configuration.__dict__[name]
            except KeyError:
                raise AttributeError(name) from None
            caller = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if inner is None or not _sdk.is_sending(caller):
                return inner
            self._watch_redirects(inner, configuration)
            return _GuardedClient(self, inner, configuration)

        def put(configuration: Any, client: Any) -> None:
            if name not in configuration.__dict__:  # it is being built
                caller = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                self._places[id(configuration)] = _place_of(_sdk.find_builder(caller))
            configuration.__dict__[name] = client

        return property(get, put)

    def _watch_redirects(self, inner: Any, configuration: Any) -> None:
        """Look at each request that an HTTP client sends, also where a redirect leads to it."""
        hooks = getattr(inner, "event_hooks", None)
        if not isinstance(hooks, dict) or "request" not in hooks:
            return  # it is no client of httpx
        requests: list[Any] = cast("Any", hooks)["request"]
        # It keeps the list, so that no other one has its id.
        known = self._hooks.get(id(requests))
        if known is not None:
            if known[1] not in requests:  # the test has emptied the list
                requests.append(known[1])
            return

        def check(request: Any) -> None:
            self.check(request.method, str(request.url), configuration)

        async def check_async(request: Any) -> None:
            check(request)

        hook = check_async if hasattr(inner, "aclose") else check
        requests.append(hook)
        self._hooks[id(requests)] = requests, hook

    def _guarded_server(self, cls: Any) -> Any:
        original = cls.get_server_details

        def get_server_details(configuration: Any) -> Any:
            details = original(configuration)
            caller: str = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if caller.startswith(_CONNECTS):
                self.check("GET", details[0], configuration)
            return details

        return get_server_details

    def _guard_websockets(self) -> None:
        """Look at the URL of each WebSocket that the SDK opens, and of each redirect there."""
        try:
            # Now: the SDK imports it when a test asks for a connection, and keeps what it got.
            from websockets.asyncio.client import connect
        except ImportError:
            return  # then the SDK opens none
        self._replace(connect, "__init__", self._guarded_connect(connect))
        if hasattr(connect, "process_redirect"):  # of websockets 14 and newer
            self._replace(connect, "process_redirect", self._guarded_redirect(connect))

    def _guarded_connect(self, cls: Any) -> Any:
        original = cls.__init__

        def init(connect: Any, uri: Any, *args: Any, **kwargs: Any) -> None:
            caller = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if caller.f_globals.get("__name__", "").startswith(_CONNECTS):
                configuration = getattr(caller.f_locals.get("self"), "_sdk_config", None)
                if _attach._STATE in getattr(configuration, "__dict__", ()):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                    configuration = None
                self.check("GET", str(uri), configuration)
                connect._mistral_configuration = configuration  # noqa: SLF001
            original(connect, uri, *args, **kwargs)

        return init

    def _guarded_redirect(self, cls: Any) -> Any:
        original = cls.process_redirect

        def process_redirect(connect: Any, exc: Exception) -> Any:
            target = original(connect, exc)
            if isinstance(target, str) and "_mistral_configuration" in vars(connect):
                self.check("GET", target, connect._mistral_configuration)  # noqa: SLF001
            return target

        return process_redirect

    def _guarded_url(self) -> Any:
        original = _attach._url_for_unrouted  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

        def url_for_unrouted(*args: Any) -> str:
            url = original(*args)
            self.check("GET", url, None)
            return url

        return url_for_unrouted

    def _guarded_sender(self) -> Any:
        original = _BaseGatewayClient._get_sender  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

        def sender(client: Any) -> _GuardedClient:
            return _GuardedClient(self, original(client), None)

        return sender


class _GuardedClient:
    """The part of an HTTP client that sends, sync or async, with a look at the URL before."""

    __slots__ = ("_configuration", "_guard", "_inner")

    def __init__(self, guard: HostGuard, inner: Any, configuration: Any) -> None:
        self._guard = guard
        self._inner = inner
        self._configuration = configuration

    def send(self, request: Any, **kwargs: Any) -> Any:
        self._guard.check(request.method, str(request.url), self._configuration)
        return self._inner.send(request, **kwargs)


def _place_of(frame: FrameType | None) -> str:
    """Return file and line of the nearest code that is no library's, else of the nearest."""
    nearest = frame
    while frame is not None and _is_library(frame):
        frame = frame.f_back
    found = frame or nearest
    if found is None:
        return "unknown code"
    path = Path(found.f_code.co_filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.name
    return f"{shown}:{found.f_lineno}"


def _is_library(frame: FrameType) -> bool:
    if frame.f_globals.get("__name__", "").startswith("mistral_cf_adapter."):
        return True  # patch() wraps what builds a client
    name = frame.f_code.co_filename
    return name.startswith("<") or any(part in name for part in _LIBRARIES)


def _variable_of(configuration: Any) -> str:
    """Return the end of a sentence that names the module and variable that hold a client."""
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            is_client = _sdk.Mistral in type(value).__mro__
            if is_client and value.__dict__.get("sdk_configuration") is configuration:
                return f" (it is {module.__name__}.{name})"
    return ""


set_public_module(HostNotAllowedError, package=TESTING)
