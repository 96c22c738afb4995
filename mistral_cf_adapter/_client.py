"""`make_client()`: a Mistral SDK object that goes through the gateway."""

import inspect
import os
import sys
from collections.abc import Callable, Collection
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from ._attach import KeyForSDK, attach
from ._call_log import show_log
from ._certificates import read_certificate_state
from ._options import GatewayConfigError
from ._pool import AsyncPooledClient, PoolConfig, PooledClient
from ._public import set_public_module
from ._routing import get_route
from ._sdk import Mistral, check_sdk
from ._secrets import Secret
from ._settings import GatewaySettings, explain_off, from_environment
from ._signatures import shorten_signatures
from ._switch import Enabled, HeadersHook, has_route, log_off
from ._validation import did_you_mean
from .speedups import install as install_speedups
from .speedups import load_hooks

# Pyodide has no sockets: requests are sent by JavaScript's `fetch()`.
if sys.platform == "emscripten":
    from ._fetch import AsyncFetchClient as AsyncDefaultClient
    from ._fetch import FetchClient as DefaultClient
else:
    AsyncDefaultClient, DefaultClient = AsyncPooledClient, PooledClient

if TYPE_CHECKING:
    from ._typed import AsyncHttp, RetryConfig, SyncHttp


class MistralKeywords(TypedDict, total=False):
    """The keywords of `mistralai.Mistral()`, which `make_client()` hands on."""

    api_key: str | Callable[[], str | None] | None
    # Where to go is the settings' business: see _validate().
    server: None
    server_url: None
    url_params: None
    client: "SyncHttp | None"
    async_client: "AsyncHttp | None"
    retry_config: "RetryConfig | None"
    timeout_ms: int | None
    debug_logger: Any


def make_client(
    settings: GatewaySettings | None = None,
    /,
    *,
    enabled: Enabled | None = None,
    **mistral_kwargs: Unpack[MistralKeywords],
) -> Mistral:
    """Return a real `mistralai.Mistral` whose calls go through AI Gateway.

    Args:
        settings: Which gateway, with which credentials; by default from the
            environment.
        enabled: The setting of that name, in place of the settings' own:
            `False` or, with `"if-configured"` and neither an account nor a
            base URL, returns a plain `mistralai.Mistral` for Mistral itself,
            with the keywords as they are.
        **mistral_kwargs: Keywords of `mistralai.Mistral()`: `api_key`,
            `timeout_ms` (milliseconds), `retry_config`, `debug_logger`, and
            `client` / `async_client`, which are wrapped, used with their own
            proxies, certificates and hooks, and never closed.

    Without `client` and `async_client`, connections are shared by the process.
    They keep no cookie from one call to the next. What is read from or set on
    `sdk_configuration.client` is this client's alone, over the same
    connections, and then has cookies of its own.

    On Pyodide, as in Cloudflare's Python Workers, requests are sent by
    JavaScript's `fetch()`. A synchronous call works there only where Python
    can wait for JavaScript (JSPI) and below an async function; elsewhere it is
    a GatewayConfigError that names the asynchronous twin.

    Raises:
        GatewayConfigError: a setting is missing or wrong; `server` or
            `server_url` is given, which contradicts the gateway; an `api_key`
            is given where the gateway holds the key; or the installed SDK is
            not one the adapter knows. Nothing was sent.
        TypeError: a keyword is unknown to Mistral(), or settings are not
            GatewaySettings.

    Example:
        >>> settings = GatewaySettings(account_id="0123abcd", token="cf-token")
        >>> client = make_client(settings)
        >>> client.sdk_configuration.server_url
        'https://gateway.ai.cloudflare.com/v1/0123abcd/default/mistral'

        >>> from mistral_cf_adapter.testing import LocalGateway  # no account
        >>> question = {"role": "user", "content": "Hello"}
        >>> request = {"model": "mistral-small-latest", "messages": [question]}
        >>> with LocalGateway() as gateway:
        ...     gateway.reply("Bonjour!")
        ...     client = make_client(gateway.settings())
        ...     response = client.chat.complete(**request)
        >>> response.choices[0].message.content
        'Bonjour!'
    """
    # Strings are wrapped until the SDK gets them: a traceback may show what a frame holds, and a
    # misspelt keyword may hold a key.
    keywords = _wrap_strings(mistral_kwargs)
    # Only the class of a wrong argument is kept: it may be a secret.
    settings_class = type(settings)
    settings = settings if isinstance(settings, GatewaySettings) else None
    _check_arguments(settings_class, keywords)
    settings = _choose_settings(settings, enabled)
    if not settings.uses_gateway:
        return _make_plain_client(settings, keywords)
    check_sdk()
    _validate(settings, keywords)
    show_log(settings.log)
    route = get_route(settings)
    brought = [name for name in ("client", "async_client") if keywords.get(name) is not None]
    set_default_clients(settings, keywords)
    sdk = Mistral(**_unwrap_strings(keywords, server_url=route.provider_url))
    attach(sdk, settings, route)
    for name in brought:
        getattr(sdk.sdk_configuration, name)  # raises now if the user's client cannot work
    if settings.speedups:
        install_speedups()
    else:
        load_hooks()
    return sdk


def _choose_settings(settings: GatewaySettings | None, enabled: Enabled | None) -> GatewaySettings:
    if enabled is None:
        return from_environment() if settings is None else settings
    if settings is None:
        return GatewaySettings(enabled=enabled)
    return settings.model_copy(update={"enabled": enabled})


def _make_plain_client(settings: GatewaySettings, keywords: dict[str, Any]) -> Mistral:
    """Return the SDK's own client for Mistral: the switch is off.

    A `patch()` that is in force takes it along, as it does every `Mistral`.
    """
    sdk = Mistral(**_unwrap_strings(keywords))
    configuration: Any = sdk.sdk_configuration
    if not has_route(configuration):
        log_off("make_client()", explain_off(settings))
    key = KeyForSDK(settings, stored_key=False)  # Mistral needs one, whatever the gateway holds
    # Set in `__dict__`: the property of a patch would take this for the patch's own key.
    stored: Any = configuration.__dict__
    stored["security"] = key.in_place_of(stored["security"])
    hooks = configuration.__dict__.get("_hooks")
    if hooks is not None:  # an unknown SDK gets no hook
        hooks.register_before_request_hook(HeadersHook())
    return sdk


def set_default_clients(settings: GatewaySettings, keywords: dict[str, Any]) -> None:
    """Use the shared pools where the caller passes no HTTP client."""
    certificates = read_certificate_state()
    config = _share_config(
        PoolConfig(
            settings.max_connections, settings.keepalive_expiry, certificates, settings.speedups
        )
    )
    if keywords.get("client") is None:
        keywords["client"] = DefaultClient(config)
    if keywords.get("async_client") is None:
        keywords["async_client"] = AsyncDefaultClient(config)


@lru_cache(maxsize=16)
def _share_config(config: PoolConfig) -> PoolConfig:
    """Return the equal one of earlier clients, if any: a program may keep thousands of clients."""
    return config


def _wrap_strings(keywords: MistralKeywords) -> dict[str, Any]:
    """Move keywords into a dict that shows no text."""
    given = cast("dict[str, Any]", keywords)
    hidden = {
        name: Secret(value) if isinstance(value, str) else value for name, value in given.items()
    }
    given.clear()
    return hidden


def _unwrap_strings(hidden: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if isinstance(value, Secret) else value
        for name, value in (hidden | more).items()
    }


def _check_arguments(settings_class: type, keywords: dict[str, Any]) -> None:
    known = _find_keywords(keywords)
    for name in keywords:
        if name == "settings" or name in GatewaySettings.model_fields:
            msg = (
                f"make_client() takes {name} in its first argument, "
                "make_client(GatewaySettings(...)); its keywords are those of mistralai.Mistral()"
            )
            raise TypeError(msg)
        if name not in known:
            hint = did_you_mean(name, [*known, "enabled", *GatewaySettings.model_fields])
            msg = f"make_client() got an unexpected keyword argument {name!r}{hint}"
            raise TypeError(msg)
    if not issubclass(settings_class, GatewaySettings | NoneType):
        msg = f"make_client() takes GatewaySettings(...) first, not {settings_class.__name__}"
        raise TypeError(msg)


def _find_keywords(given: Collection[str]) -> Collection[str]:
    """Return the keywords of `Mistral()`; of a newer SDK only if one of these is not known."""
    known = MistralKeywords.__annotations__
    if known.keys() >= set(given):
        return known
    parameters = inspect.signature(Mistral).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return given if takes_any else parameters


def _validate(settings: GatewaySettings, keywords: dict[str, Any]) -> None:
    for name in ("server", "server_url", "url_params"):
        if keywords.get(name) is not None:
            msg = (
                f"{name} contradicts the gateway, whose address comes from the settings "
                "(CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_GATEWAY_ID, or CF_AIG_BASE_URL): drop it, "
                "or use mistralai.Mistral() to go there without the gateway"
            )
            raise GatewayConfigError(msg)
    if settings.stored_key and keywords.get("api_key") is not None:
        msg = (
            "api_key and byok contradict each other: any key that is sent is used in place of "
            "the one stored in the gateway. Drop api_key, or CF_AIG_BYOK and CF_AIG_BYOK_ALIAS"
        )
        raise GatewayConfigError(msg)
    if settings.fallback == "direct" and not _has_key(settings, keywords):
        msg = (
            "fallback=direct needs a Mistral key of your own: set MISTRAL_API_KEY or pass "
            "api_key=..., or drop CF_AIG_FALLBACK"
        )
        raise GatewayConfigError(msg)


def _has_key(settings: GatewaySettings, keywords: dict[str, Any]) -> bool:
    if settings.mistral_api_key is not None or keywords.get("api_key") is not None:
        return True
    return bool(os.environ.get("MISTRAL_SA_TOKEN_PATH"))  # the SDK reads the key from there


shorten_signatures(make_client)
set_public_module(make_client)
