"""From what went wrong to plain words: the cause, and what to do next."""

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from mistral_cf_adapter._errors import (
    GatewayError,
    GatewayNotFoundError,
    GatewayStoredKeyError,
    GatewayUnauthorizedError,
)
from mistral_cf_adapter._options import GatewayConfigError
from mistral_cf_adapter._sdk import SDKError
from mistral_cf_adapter._secrets import mask_url
from mistral_cf_adapter._settings import GatewaySettings, env_names, is_loopback

from .report import Problem

_E = TypeVar("_E", bound=BaseException)

_HOW_TO_AUTHENTICATE = (
    "Create a Cloudflare API token with the permission `AI Gateway Run` (dashboard: AI > AI "
    "Gateway > your gateway > Settings > Create a token) and set CF_AIG_TOKEN."
)


def missing_key(settings: GatewaySettings) -> Problem | None:
    """Return the problem that there is no key to send, which needs no call to be seen."""
    if settings.stored_key or settings.mistral_api_key is not None:
        return None
    return Problem(
        "no_key",
        "There is no Mistral key to send.",
        "Set MISTRAL_API_KEY, or, if the key is stored in the gateway (Provider Keys), say so "
        "with CF_AIG_BYOK=true.",
    )


def diagnose(error: BaseException, settings: GatewaySettings) -> Problem:
    """Return the problem that an exception of the call stands for."""
    if isinstance(error, GatewayConfigError):
        return missing_key(settings) or configuration(error)
    if isinstance(error, GatewayError):
        return _of_gateway(error, settings)
    status = getattr(error, "status_code", None)
    if isinstance(error, SDKError) or isinstance(status, int):
        return _of_provider(status or 0, settings)
    return _of_network(error, settings)


def configuration(error: BaseException) -> Problem:
    """Return the problem of settings that cannot work."""
    text = str(error).removeprefix("Gateway settings: ")
    return Problem("configuration", text, _correction(text))


def _correction(text: str) -> str:
    """Say what to type, as far as the error's text knows."""
    named = re.search(r"\b(?:CF|CLOUDFLARE|MISTRAL)_[A-Z_]+\b", text)
    if named is None:
        return "Do what it says, then run the doctor again."
    suggested = re.search(r"did you mean (\S+) \?", text)
    if suggested is not None:
        return f"Set {named[0]}={suggested[1]}"
    verb = "Set" if f"{named[0]} is not set" in text else "Correct"
    return f"{verb} {named[0]}, then run the doctor again."


def _of_gateway(error: GatewayError, settings: GatewaySettings) -> Problem:
    if isinstance(error, GatewayNotFoundError):
        return _not_found(error, settings)
    if isinstance(error, GatewayUnauthorizedError):
        return _unauthorized(settings)
    if isinstance(error, GatewayStoredKeyError):
        return _no_stored_key(error, settings)
    kind = type(error).__name__.removeprefix("Gateway").removesuffix("Error")
    return Problem(
        f"gateway_{_snake(kind)}" if kind else "gateway_error",
        error.message.removesuffix(error.advice).strip(),
        error.advice,
    )


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _not_found(error: GatewayError, settings: GatewaySettings) -> Problem:
    if settings.base_url is not None:
        return Problem(
            "gateway_not_found",
            f"There is no gateway at {settings.base_url}.",
            "Check account and gateway in CF_AIG_BASE_URL, or create the gateway in the Cloudflare "
            "dashboard under AI > AI Gateway; only `default` is created by itself.",
        )
    return Problem(
        "gateway_not_found",
        f"There is no gateway called {settings.gateway_id!r} in the account {settings.account_id}, "
        "or no such account.",
        error.advice,
    )


def _unauthorized(settings: GatewaySettings) -> Problem:
    if settings.token is None:
        unused = [name for name in UNREAD if os.environ.get(name)]
        aside = f" {' and '.join(unused)} is set, but not used." if unused else ""
        cause = f"The gateway asks for a token, and none is set.{aside}"
        return Problem("token_missing", cause, _HOW_TO_AUTHENTICATE)
    key = settings.mistral_api_key
    if key is not None and key.get_secret_value() == settings.token.get_secret_value():
        return Problem(
            "token_rejected",
            "The gateway rejected the token, which is the same text as the Mistral key.",
            _HOW_TO_AUTHENTICATE,
        )
    return Problem(
        "token_rejected",
        "The gateway rejected the token: it is wrong or expired, belongs to another account, or "
        "lacks the permission `AI Gateway Run`. The gateway does not say which.",
        "Create a new token where it gets the permission by itself (dashboard: AI > AI Gateway > "
        f"your gateway > Settings > Create a token) and set {variable_of('token')} to it. It is "
        "not the Mistral key.",
    )


def variable_of(name: str) -> str:
    """Return the variable that a setting was read from, or would be."""
    names = env_names(name)
    return next((variable for variable in names if os.environ.get(variable)), names[0])


def _no_stored_key(error: GatewayError, settings: GatewaySettings) -> Problem:
    alias = settings.byok_alias or "default"
    return Problem(
        "stored_key_missing",
        f"The gateway has no stored key with the alias {alias!r} for {settings.provider}.",
        error.advice,
    )


def _of_provider(status: int, settings: GatewaySettings) -> Problem:
    if status == 401 and settings.stored_key:
        return Problem(
            "stored_key_missing",
            f"Mistral, not the gateway, refused: the gateway has no stored key for "
            f"{settings.provider}, or the stored one is not valid.",
            "Store a valid Mistral key in the gateway (dashboard: AI > AI Gateway > your gateway > "
            "Provider Keys), or send one: unset CF_AIG_BYOK and CF_AIG_BYOK_ALIAS, and set "
            "MISTRAL_API_KEY.",
        )
    if status in (401, 403):
        return Problem(
            "key_rejected",
            "Mistral, not the gateway, rejected the key. The gateway itself let the call through.",
            "Check MISTRAL_API_KEY against the keys at https://console.mistral.ai (API Keys): it "
            "must be Mistral's key, not Cloudflare's token.",
        )
    if status == 404:
        return _no_such_path(settings)
    if status == 429 or status >= 500:
        return Problem(
            "provider_busy",
            f"The gateway works; Mistral itself answered HTTP {status}.",
            "Try again later; see https://status.mistral.ai.",
        )
    return Problem(
        "unexpected_answer",
        f"The address answered HTTP {status or 'with something'} that is neither the gateway's nor "
        "Mistral's.",
        f"Check that {settings.provider_url} is the gateway, and that no login page or proxy "
        "answers in its place.",
    )


def _no_such_path(settings: GatewaySettings) -> Problem:
    if settings.provider != "mistral":
        return Problem(
            "path_not_found",
            f"The provider {settings.provider} has no such path.",
            "Its base URL in the dashboard (Custom providers) must be the bare host, such as "
            "https://api.eu.mistral.ai: with a /v1 of its own, /v1 is doubled.",
        )
    return Problem(
        "path_not_found",
        f"There is nothing at {settings.provider_url}/v1/models.",
        "Check CF_AIG_BASE_URL: it must be everything before /mistral, without /v1 at its end "
        "(the SDK adds /v1 by itself, and would double it).",
    )


_OF_THE_ADDRESS = ("dns", "refused", "tls")
_NETWORK = (
    "Check this machine's network, DNS and firewall, and whether a proxy is needed (HTTPS_PROXY)."
)
_EXPIRED = (9, 10)  # OpenSSL's X509_V_ERR_*
_OF_ANOTHER_NAME = (62, 64)
UNREAD = ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AI_GATEWAY_API_KEY")


def proxy_for(url: str) -> str | None:
    """Return the proxy that requests to a URL take, without its password."""
    return None if is_plain_loopback(url) else named_proxy(url)


def is_plain_loopback(url: str) -> bool:
    """Return whether a URL is plain http to this machine, which takes no proxy."""
    parts = urlsplit(url)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


def named_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, without its password."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is None or proxy_bypass(parts.netloc):
        return None
    return mask_url(proxy)


def _of_network(error: BaseException, settings: GatewaySettings) -> Problem:
    host = urlsplit(settings.root_url).netloc
    proxy = proxy_for(settings.root_url)
    chain = list(_chain(error))
    found = _reason(chain, host if proxy is None else f"the proxy {proxy}")
    if proxy is None:
        # An address that nobody typed is not misspelt.
        typed = settings.base_url is not None or found.code not in _OF_THE_ADDRESS
        return found if typed else replace(found, next_step=_NETWORK)
    if found.code == "certificate":
        cause = found.cause.replace(f"the proxy {proxy}", f"{host} (through the proxy {proxy})")
        return replace(found, cause=cause)
    return Problem(
        "proxy",
        f"The call to {host} goes through a proxy, and fails. {_capital(found.cause)}",
        f"Correct {_proxy_variable(settings.root_url)}, or put {host.partition(':')[0]} into "
        "NO_PROXY to go without the proxy.",
    )


def _proxy_variable(url: str) -> str:
    scheme = urlsplit(url).scheme
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    return next((name for name in names if os.environ.get(name)), "the system's proxy settings")


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came from: the HTTP library's, then the system's own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _reason(chain: list[BaseException], host: str) -> Problem:
    certificate = _first(chain, ssl.SSLCertVerificationError)
    if certificate is not None:
        return Problem(
            "certificate",
            f"The certificate of {host} is not trusted: {certificate.verify_message}.",
            _about_certificate(certificate),
        )
    if _first(chain, ssl.SSLError) is not None:
        return Problem(
            "tls",
            f"{host} does not speak TLS as expected.",
            "Check the scheme (https or http) and port in CF_AIG_BASE_URL and the proxy variables.",
        )
    if _first(chain, socket.gaierror) is not None:
        return Problem(
            "dns",
            f"{host} cannot be resolved (DNS).",
            "Check the spelling in CF_AIG_BASE_URL, the network and its DNS, and whether a proxy "
            "is needed (HTTPS_PROXY).",
        )
    return _of_connection(chain, host)


def _about_certificate(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _EXPIRED:
        return "Check this machine's clock; if it is right, the server needs a new certificate."
    if error.verify_code in _OF_ANOTHER_NAME:
        return "Check the host in CF_AIG_BASE_URL: the certificate is for another name."
    if os.environ.get("SSL_CERT_FILE"):
        return (
            "SSL_CERT_FILE is set and is used in place of the usual authorities: add the missing "
            "CA certificate to that file, or unset it."
        )
    return (
        "Set SSL_CERT_FILE to a bundle with the CA certificate of the proxy or firewall that "
        "inspects TLS in your network (or of your own server). Do not switch verification off."
    )


def _of_connection(chain: list[BaseException], host: str) -> Problem:
    system = [error.errno for error in chain if isinstance(error, OSError)]
    if errno.ECONNREFUSED in system:
        return Problem(
            "refused",
            f"Nothing listens at {host}: the connection was refused.",
            "Check host and port in CF_AIG_BASE_URL; start the local gateway if it is one "
            "(`mistral-cf-adapter serve`); check the firewall.",
        )
    names = [type(error).__name__ for error in chain]
    if any("Timeout" in name for name in names):
        return Problem(
            "timeout",
            f"{host} did not answer in time.",
            "Check the network and the firewall, or give it longer with `doctor --timeout 60`.",
        )
    refused = next((e for e in chain if type(e).__name__ == "ProxyError"), None)
    if refused is not None:
        return Problem("proxy", f"{host} answered: {refused}.", "Ask whoever runs the proxy.")
    file = _first(chain, FileNotFoundError)
    if file is not None and os.environ.get("SSL_CERT_FILE"):
        return Problem(
            "certificate",
            "SSL_CERT_FILE names a file that cannot be read.",
            "Correct SSL_CERT_FILE, or unset it.",
        )
    return Problem(
        "connection",
        f"The connection to {host} failed ({names[0]}).",
        "Check the network, the firewall and, if there is one, the proxy.",
    )


def _first(chain: list[BaseException], kind: type[_E]) -> _E | None:
    return next((error for error in chain if isinstance(error, kind)), None)
