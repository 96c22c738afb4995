"""No response came: DNS, TLS, a proxy, a certificate, the connection; and what to do."""

import os
import ssl
from dataclasses import replace
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from mistral_cf_adapter._base_url import is_loopback
from mistral_cf_adapter._connection_errors import Cause, find_cause, first_of, iterate_causes
from mistral_cf_adapter._errors import GatewayError
from mistral_cf_adapter._http_variables import find_problem
from mistral_cf_adapter._secrets import mask_url
from mistral_cf_adapter._settings import GatewaySettings

from ._findings import Problem

_OF_THE_ADDRESS = ("dns", "refused", "tls")
_NETWORK = (
    "Check this machine's network, DNS and firewall, and whether a proxy is needed (HTTPS_PROXY)."
)
_EXPIRED = (9, 10)  # OpenSSL's X509_V_ERR_*
_OF_ANOTHER_NAME = (62, 64)


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


def wrong_variable(settings: GatewaySettings) -> Problem | None:
    """Return what keeps the HTTP library from building a client: a proxy, a certificate file."""
    found = find_problem(with_proxies=not is_plain_loopback(settings.root_url))
    return None if found is None else Problem(found.kind, f"{found.cause}.", found.remedy)


def explain_no_response(error: BaseException, settings: GatewaySettings) -> Problem:
    """Return the problem that an error stands for with which no response came."""
    host = urlsplit(settings.root_url).netloc
    proxy = proxy_for(settings.root_url)
    chain = list(iterate_causes(error))
    found = _reason(chain, host if proxy is None else f"the proxy {proxy}")
    if proxy is None:
        # An address that nobody typed is not misspelt.
        typed = settings.base_url is not None or found.name not in _OF_THE_ADDRESS
        return found if typed else replace(found, advice=_NETWORK)
    if found.name == "certificate":
        cause = found.message.replace(f"the proxy {proxy}", f"{host} (through the proxy {proxy})")
        return replace(found, message=cause)
    return Problem(
        "proxy",
        f"The call to {host} goes through a proxy, and fails. {_capital(found.message)}",
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
