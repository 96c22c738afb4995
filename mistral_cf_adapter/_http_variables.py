"""The variables that the HTTP library reads when it builds a client: proxies and certificates.

It raises its own errors for a wrong one, without the variable's name, and in the middle of a call.
"""

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from urllib.request import getproxies

from ._options import GatewayConfigError
from ._sdk import httpx
from ._secrets import mask_url

_T = TypeVar("_T")
_SCHEMES = ("http", "https", "all")
_KNOWN = "http://, https://, socks5:// or socks5h://"


class VariableProblem(NamedTuple):
    """What is wrong with a variable, and what to do."""

    kind: str
    """`certificate` or `proxy`."""
    cause: str
    remedy: str


def build_or_explain(build: Callable[[], _T]) -> _T:
    """Return what a function of the HTTP library builds.

    Raises:
        GatewayConfigError: a variable of the environment is wrong; the message names it.
        Exception: what the function raised, if that has another reason.
    """
    try:
        return build()
    except Exception as error:
        problem = explain(error)
        if problem is None:
            raise
    # Outside of `except`: the library's frames hold the passwords of proxies.
    msg = f"{problem.cause}. {problem.remedy}"
    raise GatewayConfigError(msg)


def find_problem(*, with_proxies: bool) -> VariableProblem | None:
    """Return what keeps the HTTP library from building a client in this environment."""
    try:
        context = httpx.create_ssl_context()
        httpx.Client(verify=context, trust_env=with_proxies).close()
    except Exception as error:
        problem = explain(error)
        if problem is None:
            raise
        return problem
    return None


def explain(error: Exception) -> VariableProblem | None:
    """Return which variable made the HTTP library raise, `None` if it was none."""
    if isinstance(error, OSError):  # ssl.SSLError is one
        return _problem_with_certificates(error)
    return next(_problems_with_proxies(error), None) or _problem_with_no_proxy(error)


def _problem_with_certificates(error: OSError) -> VariableProblem | None:
    bundle, key_log = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSLKEYLOGFILE")
    # Only the error of the file for keys has its name.
    if key_log and error.filename == key_log:
        return _describe_file("SSLKEYLOGFILE", key_log, _reason(error))
    if not bundle:
        return None
    if isinstance(error, ssl.SSLError):
        return _describe_file("SSL_CERT_FILE", bundle, "it holds no certificate in PEM form")
    return _describe_file("SSL_CERT_FILE", bundle, _reason(error))


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _describe_file(name: str, path: str, reason: str) -> VariableProblem:
    cause = f"{name} names {path}, which cannot be used: {reason}"
    return VariableProblem("certificate", cause, f"Correct {name}, or unset it.")


def _problems_with_proxies(error: Exception) -> Iterator[VariableProblem]:
    proxies = getproxies()
    for scheme in _SCHEMES:
        value = proxies.get(scheme)
        if not value:
            continue
        url = value if "://" in value else f"http://{value}"
        reason = _proxy_reason(url, error)
        if reason is not None:
            name = _name_of(f"{scheme}_proxy", value)
            cause = f"{name} is {mask_url(url)}, which is no proxy to use: {reason}"
            yield VariableProblem("proxy", cause, f"Correct {name}, or unset it.")


def _proxy_reason(url: str, error: Exception) -> str | None:
    if isinstance(error, ImportError):
        is_socks = url.lower().startswith("socks5")
        package = f"pip install '{httpx.__name__}[socks]'"
        return f"SOCKS needs a package that is not installed ({package})" if is_socks else None
    try:
        httpx.Proxy(url)
    except httpx.InvalidURL:
        return "it is no valid URL"
    except ValueError:
        return f"the scheme must be {_KNOWN}"
    return None


def _problem_with_no_proxy(error: Exception) -> VariableProblem | None:
    value = getproxies().get("no")
    if not value or not isinstance(error, httpx.InvalidURL):
        return None
    wrong = [entry for entry in map(str.strip, value.split(",")) if not _is_readable(entry)]
    name = _name_of("no_proxy", value)
    said = f"{', '.join(map(repr, wrong))} in {name}" if wrong else name
    return VariableProblem(
        "proxy",
        f"{said} cannot be read by {httpx.__name__} {httpx.__version__}",
        "Write an IPv6 address without brackets and without a range, as ::1, or leave it out.",
    )


def _is_readable(entry: str) -> bool:
    """Return whether the HTTP library can make a pattern of an entry of NO_PROXY."""
    pattern: Any = entry if "://" in entry else f"all://*{entry}"
    with suppress(ValueError):
        ipaddress.IPv6Address(entry.partition("/")[0])
        pattern = f"all://[{entry}]"
    try:
        httpx.URL(pattern)
    except httpx.InvalidURL:
        return False
    return True


def _name_of(name: str, value: str) -> str:
    """Return the variable that has a value, as it is written."""
    names = (name, name.upper())
    return next((one for one in names if os.environ.get(one) == value), "the system's proxy")
