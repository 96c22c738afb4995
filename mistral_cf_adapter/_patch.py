"""`patch()`: redirect Mistral clients that other code builds or has built."""

import contextlib
import functools
import gc
import inspect
import warnings
from collections.abc import Collection
from typing import Any, Never, Self
from urllib.parse import urlsplit
from weakref import WeakSet

from ._attach import Attachment, attach, attachments_of, original_server
from ._call_log import show_log
from ._client import set_default_clients
from ._locks import fork_safe_lock
from ._options import GatewayConfigError
from ._public import set_public_module
from ._routing import MISTRAL_HOST, get_route
from ._sdk import Mistral, SDKConfiguration, check_sdk, servers
from ._secrets import mask_url
from ._settings import GatewaySettings, explain_off, from_environment
from ._signatures import shorten_signatures
from ._switch import enter_off, leave_off, log_off
from ._validation import did_you_mean
from .speedups import install as install_speedups
from .speedups import load_hooks

_REGIONAL = frozenset({"api.eu.mistral.ai", "api.us.mistral.ai", "codestral.mistral.ai"})

_lock = fork_safe_lock()
_active_patches: list["Patch"] = []  # process-wide patches, the newest last


class Patch:
    """What `patch()` returns: `undo()`, or leaving a `with` block, ends it.

    Attributes:
        settings: which gateway the clients are redirected to, with which
            credentials.

    Patches can be undone in any order; clients then go to the newest patch
    that is left, or to where they went before.

    Example:
        >>> settings = GatewaySettings(account_id="0123abcd", token="cf-token")
        >>> patched: Patch = patch(settings=settings)
        >>> patched.settings.provider_url
        'https://gateway.ai.cloudflare.com/v1/0123abcd/default/mistral'
        >>> patched.undo()
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        # Weak: a client's configuration has its attachments, and they go with it.
        self._attachments: WeakSet[Attachment] = WeakSet()
        is_on = settings.uses_gateway
        self._speedups = install_speedups() if is_on and settings.speedups else None
        if not settings.speedups:
            load_hooks()
        self._warned: set[str] = set()
        self._is_undone = False
        show_log(settings.log)

    def undo(self) -> None:
        """Restore what was there before; do nothing when called again."""
        with _lock:
            self._is_undone = True
            leave_off(self)
            if self in _active_patches:
                _active_patches.remove(self)
            for attachment in list(self._attachments):
                attachment.detach()
            self._attachments.clear()
            if self._speedups is not None:
                self._speedups.undo()
            if not _active_patches:
                _init_patch.uninstall()

    def redirect(self, sdk: Any) -> bool:
        """Redirect an SDK object that points at Mistral; return whether it does."""
        with _lock:
            if not self._attachments.isdisjoint(attachments_of(sdk)):
                return True
            provider = self.provider_for(original_server(sdk))
            if provider is None:
                return False
            route = get_route(self.settings, provider)
            self._attachments.add(attach(sdk, self.settings, route))
            return True

    def provider_for(self, server: str) -> str | None:
        """Return the gateway's provider for a server, `None` to leave it alone."""
        host = _mistral_host(server)
        if host is None or not self.settings.uses_gateway:
            return None
        if host in self.settings.providers:
            return self.settings.providers[host]
        if host == MISTRAL_HOST:
            return self.settings.provider
        if host not in self._warned:
            self._warned.add(host)
            msg = (
                f"patch() leaves clients for {host} where they are: the gateway's provider "
                f"`mistral` is {MISTRAL_HOST}. To take them along, create a custom provider for "
                f'the host and set CF_AIG_PROVIDERS=\'{{"{host}": "custom-<slug>"}}\''
            )
            # Callers are patch() and Mistral(): the warning points at the line that called those.
            warnings.warn(msg, stacklevel=4)
        return None

    def __enter__(self) -> Self:
        if self._is_undone:
            msg = "this patch is undone, and clients go to Mistral: call patch() again"
            raise GatewayConfigError(msg)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        if not self.settings.uses_gateway:
            return f"<patch(), {'undone' if self._is_undone else 'switched off'}>"
        return f"<patch() to {self.settings.provider_url}, {self._describe_state()}>"

    def _describe_state(self) -> str:
        if self._is_undone:
            return "undone"
        count = len(self._attachments)
        clients = "1 client" if count == 1 else f"{count} clients"
        # One client's patch is in no list, and a newer one may lie on top of it as well.
        is_below = self in _active_patches and self is not _active_patches[-1]
        return f"{'below a newer patch' if is_below else 'in force'}, {clients}"


def patch(  # noqa: D417 - `unknown` takes nothing, and is not shown
    client: Mistral | None = None,
    /,
    settings: GatewaySettings | None = None,
    **unknown: Never,
) -> Patch:
    """Redirect one client, or every `Mistral` of the process, through AI Gateway.

    Without a client, redirects those that are alive and those built later, in
    any module, subclass or framework, as long as they point at
    `https://api.mistral.ai`. Clients for other servers are left alone; those
    for Mistral's other hosts with a warning, unless `settings.providers` names
    a provider for them. Clients of `make_client()` keep their own settings. A
    patch on top of another wins until it is undone. The SDK's speed-ups are in
    place while it lasts, unless `settings.speedups` is off.

    Clients that are alive are found through `gc`: call this before
    `gc.freeze()`, which hides them, as servers do that fork their workers.

    With stored keys (`byok`) the keys of redirected clients are not sent.
    While the switch is off (`settings.enabled`), nothing is redirected, and
    `undo()` has nothing to do.

    Args:
        client: The one client to redirect; by default all.
        settings: Which gateway, with which credentials; by default from the
            environment.

    Returns:
        A `Patch`: `.undo()` restores what was there, and it is a context
        manager.

    Raises:
        GatewayConfigError: a setting is missing or wrong, the client points at
            no server of Mistral's, or the installed SDK is not one the adapter
            knows.

    Example:
        >>> settings = GatewaySettings(account_id="0123abcd", token="cf-token")
        >>> with patch(settings=settings) as patched:
        ...     pass  # every Mistral() in here goes through the gateway
        >>> patched.settings.provider_url
        'https://gateway.ai.cloudflare.com/v1/0123abcd/default/mistral'
    """
    problem = _problem_with_keywords(unknown) or _problem_with_arguments(client, settings)
    if problem is not None:
        del client, settings  # a traceback may show what a frame holds
        unknown.clear()
        try:
            raise problem
        finally:
            del problem  # an error and a frame that holds it would form a cycle
    settings = settings if settings is not None else from_environment()
    if not settings.uses_gateway:
        patched = Patch(settings)
        enter_off(patched)
        log_off("patch()", explain_off(settings))
        return patched
    check_sdk()
    patched = Patch(settings)
    try:
        if client is not None:
            _check_redirected(client, redirected=patched.redirect(client))
            return patched
        with _lock:
            if _active_patches and _active_patches[-1].settings != patched.settings:
                msg = (
                    f"patch(): clients go to {patched.settings.provider_url} until this patch is "
                    f"undone, no longer to {_active_patches[-1].settings.provider_url}"
                )
                warnings.warn(msg, stacklevel=2)
            _active_patches.append(patched)
            _init_patch.install()
            for sdk in _live_clients():
                with contextlib.suppress(ValueError):  # a server that the SDK does not know
                    patched.redirect(sdk)
    except BaseException:
        patched.undo()
        raise
    return patched


def _problem_with_keywords(unknown: Collection[str]) -> TypeError | None:
    """Return Python's own error, with the name that is meant, which it says from 3.13 on."""
    for name in unknown:
        if name in GatewaySettings.model_fields:
            hint = f"; pass settings=GatewaySettings({name}=...)"
        else:
            hint = did_you_mean(name, ["settings"])
        return TypeError(f"patch() got an unexpected keyword argument {name!r}{hint}")
    return None


def _problem_with_arguments(client: object, settings: object) -> GatewayConfigError | None:
    if client is not None and not _is_sdk_object(client):
        return GatewayConfigError(f"patch() takes a mistralai.Mistral, not {_describe(client)}")
    if settings is not None and not isinstance(settings, GatewaySettings):
        name = type(settings).__name__
        return GatewayConfigError(f"patch(settings=...) takes GatewaySettings(...), not {name}")
    return None


def _is_sdk_object(client: object) -> bool:
    """Return whether an object is a `Mistral`, or a part of one such as `client.chat`."""
    return isinstance(getattr(client, "sdk_configuration", None), SDKConfiguration)


def _describe(thing: object) -> str:
    if isinstance(thing, GatewaySettings):
        return "settings: pass those as patch(settings=...)"
    if isinstance(thing, type):
        return f"the class {thing.__name__}: patch() alone redirects all clients"
    return type(thing).__name__


def _check_redirected(client: Mistral, *, redirected: bool) -> None:
    if redirected:
        return
    msg = (
        f"patch(client): the client points at {mask_url(original_server(client))}, not at "
        f"https://{MISTRAL_HOST}, and stays as it is"
    )
    raise GatewayConfigError(msg)


def _live_clients() -> list[Any]:
    # type() and not isinstance(): proxies among all objects must not be woken by a look at them.
    return [
        thing
        for thing in gc.get_objects()
        if issubclass(type(thing), Mistral) and "sdk_configuration" in vars(thing)
    ]


def _mistral_host(server: str) -> str | None:
    """Return the host if an address is a server of Mistral's, in whatever spelling."""
    parts = urlsplit(server.strip())
    host = (parts.hostname or "").rstrip(".")
    plain = parts.path in ("", "/") and parts.scheme in ("https", "http")
    if not plain or parts.port not in (None, 80, 443):
        return None
    return host if host == MISTRAL_HOST or host in _REGIONAL else None


class _InitPatch:
    """`Mistral.__init__`, wrapped while a process-wide patch is in force."""

    def __init__(self) -> None:
        self._original: Any = None
        self._wrapper: Any = None
        self._wrapped_by_others = (
            False  # below another library's wrapper there is an earlier one of ours
        )

    def install(self) -> None:
        if Mistral.__init__ is self._wrapper:
            return
        self._wrapped_by_others = self._wrapper is not None
        self._original = Mistral.__init__
        self._wrapper = _wrap_init(self._original)
        Mistral.__init__ = self._wrapper  # type: ignore[method-assign]

    def uninstall(self) -> None:
        if self._wrapper is None:
            return
        left = self._wrapped_by_others or Mistral.__init__ is not self._wrapper
        if Mistral.__init__ is self._wrapper:
            Mistral.__init__ = self._original  # type: ignore[method-assign]
        self._original = self._wrapper = None
        self._wrapped_by_others = False
        if left:
            msg = (
                "patch().undo(): another library wrapped Mistral.__init__ after patch(); its "
                "wrapper is left in place, and ours inside of it does nothing any more"
            )
            warnings.warn(msg, stacklevel=3)


_init_patch = _InitPatch()


def _wrap_init(original: Any) -> Any:
    """Wrap `Mistral.__init__`: build with clients of the shared pool, then redirect."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        given = None
        try:
            patches = tuple(_active_patches)
            given = _bind(signature, self, args, kwargs) if patches else None
            if given is None:
                original(self, *args, **kwargs)
            else:
                _use_pooled_clients(patches[-1], given.arguments)
                original(*given.args, **given.kwargs)
            with _lock:  # a patch that was undone meanwhile takes no client any more
                for patched in _active_patches if patches else ():
                    patched.redirect(self)
        except BaseException:
            args = ()  # a traceback may show what a frame holds
            kwargs.clear()
            if given is not None:
                given.arguments.clear()
            raise

    return __init__


def _bind(
    signature: inspect.Signature, sdk: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> inspect.BoundArguments | None:
    """Return the arguments by name, `None` where they do not fit, which the SDK then says."""
    try:
        return signature.bind(sdk, *args, **kwargs)
    except TypeError:
        return None


def _use_pooled_clients(patched: Patch, arguments: dict[str, Any]) -> None:
    server = arguments.get("server_url") or servers().get(arguments.get("server") or "", "")
    if patched.provider_for(server) is not None:
        set_default_clients(patched.settings, arguments)


shorten_signatures(Patch, patch, without=["unknown"])
set_public_module(Patch, patch)
