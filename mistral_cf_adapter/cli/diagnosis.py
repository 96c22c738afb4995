"""From what went wrong to plain words: the cause, and what to do next."""

import json
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from mistral_cf_adapter._base_url import is_loopback
from mistral_cf_adapter._connection_errors import Cause, find_cause, first_of, iterate_causes
from mistral_cf_adapter._errors import (
    CREATE_GATEWAY,
    GatewayAccessError,
    GatewayConnectionError,
    GatewayError,
    GatewayNotFoundError,
    GatewayStoredKeyError,
    GatewayUnauthorizedError,
    find_sender,
)
from mistral_cf_adapter._http_variables import find_problem
from mistral_cf_adapter._options import GatewayConfigError
from mistral_cf_adapter._secrets import mask_url
from mistral_cf_adapter._settings import GatewaySettings
from mistral_cf_adapter._variables import ENV_FILE, env_names

from .report import Problem

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


def failed_callable(error: BaseException) -> Problem:
    """Return the problem that a callable in place of a secret raised."""
    if isinstance(error, GatewayConfigError):
        return configuration(error)
    *_, note = getattr(error, "__notes__", [""])  # the last one names the setting
    return Problem(
        "callable_failed",
        f"{type(error).__name__}, {note}.",
        "Call it by itself, and correct what it raises.",
    )


def diagnose(
    error: BaseException, settings: GatewaySettings, address: str = "CF_AIG_BASE_URL"
) -> Problem:
    """Return the problem that an exception of the call stands for.

    Args:
        error: The exception.
        settings: The settings of the call.
        address: The variable or flag that gave the base URL, if one did.
    """
    if isinstance(error, GatewayConfigError):
        return missing_key(settings) or configuration(error)
    if isinstance(error, GatewayConnectionError):
        return _of_network(error, settings)
    if isinstance(error, GatewayError):
        return _of_gateway(error, settings, address)
    response = getattr(error, "raw_response", None)
    if response is None:
        return _of_network(error, settings)
    return _of_other_response(response, settings, address)


def configuration(error: BaseException) -> Problem:
    """Return the problem of settings that cannot work."""
    text = str(error).removeprefix("Gateway settings: ")
    return Problem("configuration", text, _correction(text))


def wrong_variable(settings: GatewaySettings) -> Problem | None:
    """Return what keeps the HTTP library from building a client: a proxy, a certificate file."""
    found = find_problem(with_proxies=not is_plain_loopback(settings.root_url))
    return None if found is None else Problem(found.kind, f"{found.cause}.", found.remedy)


def _correction(text: str) -> str:
    """Say what to type, as far as the error's text knows."""
    if f"{ENV_FILE}=.env" in text:
        return f"Set {ENV_FILE}=.env, then run the doctor again."
    named = re.search(r"\b(?:CF|CLOUDFLARE|MISTRAL)_[A-Z_]+\b", text)
    if named is None or (named[0] == ENV_FILE and "there is no file" not in text):
        return "Do what it says, then run the doctor again."
    suggested = re.search(r"did you mean (\S+) \?", text)
    if suggested is not None:
        return f"Set {named[0]}={suggested[1]}"
    verb = "Set" if f"{named[0]} is not set" in text else "Correct"
    return f"{verb} {named[0]}, then run the doctor again."


def _of_gateway(error: GatewayError, settings: GatewaySettings, address: str) -> Problem:
    if error.code in _CODES_OF_THE_API:
        return _not_a_gateway(error, settings, address)
    if isinstance(error, GatewayNotFoundError):
        return _not_found(settings, address)
    if isinstance(error, GatewayUnauthorizedError):
        return _unauthorized(settings)
    if isinstance(error, GatewayStoredKeyError):
        return _no_stored_key(error, settings)
    if isinstance(error, GatewayAccessError):
        return _refused_by_access(error, settings)
    kind = type(error).__name__.removeprefix("Gateway").removesuffix("Error")
    return Problem(
        f"gateway_{_snake(kind)}" if kind else "gateway_error",
        error.message.removesuffix(error.advice).strip(),
        error.advice,
    )


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


_CODES_OF_THE_API = (7000, 7001, 7003, 9109, 10000, 10001)


def _not_a_gateway(error: GatewayError, settings: GatewaySettings, address: str) -> Problem:
    """Return the problem for a code of Cloudflare's API, which AI Gateway does not use."""
    named = f"{address} to" if settings.base_url is not None else "the address to"
    said = error.message.removesuffix(error.advice).removeprefix("AI Gateway: ").strip()
    return Problem(
        "not_a_gateway",
        f"{urlsplit(settings.root_url).netloc} answered as Cloudflare's API does, not as AI "
        f"Gateway: {said}",
        f"Set {named} https://gateway.ai.cloudflare.com/v1/{{account}}/{{gateway}} or to the "
        "gateway's domain. If it is that already, create a new gateway token (dashboard: AI > AI "
        f"Gateway > your gateway > Settings) and set {variable_of('token')} to it.",
    )


def _not_found(settings: GatewaySettings, address: str) -> Problem:
    if settings.base_url is not None:
        return Problem(
            "gateway_not_found",
            f"There is no gateway at {settings.base_url}.",
            CREATE_GATEWAY.format(address=f"account and gateway in {address}"),
        )
    variables = f"{variable_of('account_id')} and {variable_of('gateway_id')}"
    return Problem(
        "gateway_not_found",
        f"There is no gateway called {settings.gateway_id!r} in the account {settings.account_id}, "
        "or no such account.",
        CREATE_GATEWAY.format(address=variables),
    )


def _unauthorized(settings: GatewaySettings) -> Problem:
    if settings.token is None:
        unused = [name for name in UNREAD if os.environ.get(name)]
        aside = f" {' and '.join(unused)} is set, but not used." if unused else ""
        cause = f"The gateway asks for a token, and none is set.{aside}"
        return Problem("token_missing", cause, _HOW_TO_AUTHENTICATE)
    if settings.mistral_api_key == settings.token:
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


def _refused_by_access(error: GatewayError, settings: GatewaySettings) -> Problem:
    cause = error.message.removesuffix(error.advice).strip()
    if settings.access_token is not None:
        next_step = (
            "The JWT may have expired: `cloudflared access token "
            f"-app={settings.base_url}` prints a new one for {variable_of('access_token')}. If it "
            "is new, a policy of the Access application must take its user (Zero Trust dashboard: "
            "Access > Applications)."
        )
    elif settings.access_client_id is not None:
        next_step = (
            f"Check {variable_of('access_client_id')} and {variable_of('access_client_secret')} "
            "against the service tokens in the Zero Trust dashboard (one may have expired), and "
            "that a policy of the Access application takes that token."
        )
    else:
        next_step = error.advice
    return Problem("gateway_access", cause, next_step)


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


def _of_other_response(response: Any, settings: GatewaySettings, address: str) -> Problem:
    """Return the problem for a response that is neither the gateway's error nor the edge's."""
    status = response.status_code
    if find_sender(response) == "provider":
        return _of_provider(response, settings, address)
    if status < 400:
        return no_model_list(status, settings, address)
    if status == 404:
        return _no_such_path(settings, address)
    return Problem(
        "unexpected_answer",
        f"The address answered HTTP {status}{_quote(response)}. Who sent it is unknown: it has "
        "neither the gateway's body nor one of its headers.",
        f"Check that {settings.provider_url} is the gateway, and that no login page or proxy "
        "answers in its place. If it is, Mistral may have answered: switch the gateway's logs on, "
        "and its headers tell.",
    )


def _of_provider(response: Any, settings: GatewaySettings, address: str) -> Problem:
    status = response.status_code
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
        cause = f"The gateway works; Mistral itself answered HTTP 404{_quote(response)}."
        return replace(_no_such_path(settings, address), cause=cause)
    if status == 429 or status >= 500:
        return Problem(
            "provider_busy",
            f"The gateway works; Mistral itself answered HTTP {status}{_quote(response)}.",
            "Try again later; see https://status.mistral.ai.",
        )
    if status < 400:
        return Problem(
            "unexpected_answer",
            f"The gateway works; what Mistral answered (HTTP {status}) is no list of models.",
            "Check CF_AIG_PROVIDER: `doctor` asks for /v1/models, as Mistral has it.",
        )
    return Problem(
        "provider_refused",
        f"The gateway works; Mistral itself answered HTTP {status}{_quote(response)}.",
        "See what Mistral says, and your account at https://console.mistral.ai (plan and billing "
        "for a 402).",
    )


def is_model_list(models: Any) -> bool:
    """Return whether a response said itself that it is a list, and has models in it.

    The SDK makes an empty list of models out of any JSON object.
    """
    if models is None or "object" not in models.model_fields_set:
        return False
    return bool(models.object == "list" and models.data)


def no_model_list(status: int, settings: GatewaySettings, address: str) -> Problem:
    """Return the problem for a response that is neither Mistral's nor marked by the gateway."""
    checked = address if settings.base_url is not None else settings.provider_url
    return Problem(
        "unexpected_answer",
        f"The address answered HTTP {status} with something that is no list of models and has no "
        "header of the gateway's: it is not the gateway.",
        f"Check {checked}: it must be the gateway, and no login page or proxy may answer in its "
        "place.",
    )


_QUOTE_LIMIT = 200


def _quote(response: Any) -> str:
    """Return what a body says, for the end of a sentence; its secrets are still to be masked."""
    said = _find_message(getattr(response, "_content", b""))
    said = " ".join(said.split()).rstrip(".")
    return f": {said[:_QUOTE_LIMIT]}" if said else ""


def _find_message(body: bytes) -> str:
    text = body[:10_000].decode(errors="replace")
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.lstrip().startswith("<") else text
    if not isinstance(parsed, Mapping):
        return parsed if isinstance(parsed, str) else text
    fields = cast("Mapping[str, object]", parsed)
    said = next((fields[name] for name in ("message", "detail", "error") if fields.get(name)), text)
    return said if isinstance(said, str) else json.dumps(said)


def _no_such_path(settings: GatewaySettings, address: str) -> Problem:
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
        f"Check {address}: it must be everything before /mistral, without /v1 at its end "
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
    chain = list(iterate_causes(error))
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


def _reason(chain: list[BaseException], host: str) -> Problem:
    cause = find_cause(chain[0])
    certificate = first_of(chain, ssl.SSLCertVerificationError)
    if certificate is not None:
        return Problem(
            "certificate",
            f"The certificate of {host} is not trusted: {certificate.verify_message}.",
            _about_certificate(certificate),
        )
    if cause == "tls":
        return Problem(
            "tls",
            f"{host} does not speak TLS as expected.",
            "Check the scheme (https or http) and port in CF_AIG_BASE_URL and the proxy variables.",
        )
    if cause == "dns":
        return Problem(
            "dns",
            f"{host} cannot be resolved (DNS).",
            "Check the spelling in CF_AIG_BASE_URL, the network and its DNS, and whether a proxy "
            "is needed (HTTPS_PROXY).",
        )
    return _of_connection(chain, cause, host)


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


def _of_connection(chain: list[BaseException], cause: Cause, host: str) -> Problem:
    if cause == "refused":
        return Problem(
            "refused",
            f"Nothing listens at {host}: the connection was refused.",
            "Check host and port in CF_AIG_BASE_URL; start the local gateway if it is one "
            "(`mistral-cf-adapter serve`); check the firewall.",
        )
    if cause == "timeout":
        return Problem(
            "timeout",
            f"{host} did not answer in time.",
            "Check the network and the firewall, or give it longer with `doctor --timeout 60`.",
        )
    refused = next((error for error in chain if type(error).__name__ == "ProxyError"), None)
    if refused is not None:
        return Problem("proxy", f"{host} answered: {refused}.", "Ask whoever runs the proxy.")
    named = next((error for error in chain if not isinstance(error, GatewayError)), chain[0])
    return Problem(
        "connection",
        f"The connection to {host} failed ({type(named).__name__}).",
        "Check the network, the firewall and, if there is one, the proxy.",
    )
