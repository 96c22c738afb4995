"""The gateway's base URL: what people paste becomes its one form, or is refused with the right one.

All functions raise a `ValueError` that says what is wrong, without credentials or a query.
"""

import ipaddress
import re
from urllib.parse import SplitResult, unquote, urlsplit

from ._secrets import mask_url

GATEWAY_HOST = "gateway.ai.cloudflare.com"
GATEWAY_URL = f"https://{GATEWAY_HOST}/v1"
_FORM = f"{GATEWAY_URL}/{{account_id}}/{{gateway_id}}"

_PROVIDERS = ("mistral", "compat")
_ID = r"[A-Za-z0-9_.~-]+"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]*)?"
_PLACEHOLDER = r"[{}<>$]"
# Of the dashboard and of the REST API: both name the account, and may name the gateway.
_ACCOUNT = r"(?:/client/v4/accounts)?/([0-9a-f]{32})(?:/|$)"
_GATEWAY = r"/ai-gateway/gateways/([A-Za-z0-9_-]+)(?:/|$)"


def validate_id(value: str) -> str:
    """Return an account or gateway id without surrounding spaces.

    Raises:
        ValueError: it is blank, a placeholder, or more than one path segment of a URL.
    """
    value = value.strip()
    if not value:
        msg = "is blank"
        raise ValueError(msg)
    _reject_placeholder(value)
    if not re.fullmatch(_ID, value) or set(value) == {"."}:
        msg = "must be one path segment of a URL: letters, digits, `-` and `_` (copy the id alone)"
        raise ValueError(msg)
    return value


def check_base_url(value: str) -> str:
    """Return a normalized base URL.

    Raises:
        ValueError: as of `normalize_base_url()`, with the URL, without what may be secret in it.
    """
    try:
        return normalize_base_url(value)
    except ValueError as error:
        is_url = value.strip().startswith(("https://", "http://"))  # else it may be a key
        shown = mask_url(value.strip()) if is_url else "***"
        msg = str(error) if shown == "***" else f"{shown!r} {error}"
        raise ValueError(msg) from None


def normalize_base_url(value: str) -> str:
    """Return everything before `/{provider}` and `/compat`, without a trailing slash.

    A pasted `.../mistral`, `.../mistral/v1` or full endpoint is cut back to its base.

    Raises:
        ValueError: it is no https URL, it is not clear which part is the base, or its host is
            known to be no gateway: the gateway's token must not go there.
    """
    parts = _split(value.strip())
    _check_address(parts)
    _check_host(parts)
    segments = [segment for segment in parts.path.split("/") if segment]
    for segment in segments:
        _check_segment(segment)
    base = "/".join(_base_segments(segments, parts))
    return f"{parts.scheme}://{parts.netloc}/{base}".rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is a loopback one."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reject_placeholder(value: str) -> None:
    if re.search(_PLACEHOLDER, value):
        msg = f"has a placeholder in it, {value}: write what it stands for"
        raise ValueError(msg)


def _split(value: str) -> SplitResult:
    if not value.isascii() or not value.isprintable() or " " in value:
        msg = "has spaces, control or non-ASCII characters in it"
        raise ValueError(msg)
    try:
        parts = urlsplit(value)
    except ValueError:  # its text may quote credentials
        msg = f"has no valid host; must be a URL such as {_FORM}"
        raise ValueError(msg) from None
    if parts.scheme not in ("https", "http") or not parts.netloc:
        msg = f"must be a URL such as {_FORM}"
        raise ValueError(msg)
    return parts


def _check_address(parts: SplitResult) -> None:
    if "@" in parts.netloc:
        msg = "has credentials in it; the token belongs in CF_AIG_TOKEN"
        raise ValueError(msg)
    if parts.query or parts.fragment:
        msg = "must not have a query or a fragment"
        raise ValueError(msg)
    _reject_placeholder(parts.netloc)
    if not parts.hostname:
        msg = f"must be a URL such as {_FORM}"
        raise ValueError(msg)
    _ = parts.port  # raises ValueError for a port that is no number
    if not re.fullmatch(_HOST, parts.netloc):
        msg = f"has no valid host; must be a URL such as {_FORM}"
        raise ValueError(msg)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        msg = "must be https: over http the token could be read on the way (loopback is exempt)"
        raise ValueError(msg)


def _check_host(parts: SplitResult) -> None:
    """Refuse the hosts of Mistral and Cloudflare that are no gateway."""
    host = _hostname(parts)
    if _is_below(host, "mistral.ai"):
        msg = (
            f"is Mistral's own address ({host}), which must not get the Cloudflare token. Give the "
            f"gateway's, {_FORM}, or unset this and set CLOUDFLARE_ACCOUNT_ID"
        )
        raise ValueError(msg)
    if _is_below(host, "cloudflare.com") and not _is_below(host, "ai.cloudflare.com"):
        msg = f"is on {host}, which is Cloudflare's but not AI Gateway{_meant_instead(parts.path)}"
        raise ValueError(msg)


def _meant_instead(path: str) -> str:
    """Return the gateway's URL, as far as a path of the dashboard or the REST API names it."""
    account, gateway = re.match(_ACCOUNT, path), re.search(_GATEWAY, path)
    if account is None:
        return f". Give the gateway's URL, {_FORM}"
    name = "default" if gateway is None else gateway[1]
    aside = " (`default` or the name of your gateway)" if gateway is None else ""
    return f"; did you mean {GATEWAY_URL}/{account[1]}/{name} ?{aside}"


def _hostname(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def _is_below(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _check_segment(segment: str) -> None:
    _reject_placeholder(segment)
    plain = segment
    while plain != (decoded := unquote(plain)):  # servers may decode more than once
        plain = decoded
    if plain in (".", "..") or set(plain) & set("/\\") or not plain.isprintable():
        msg = "has dots, a slash or a backslash within a path segment; give the plain URL"
        raise ValueError(msg)


def _base_segments(segments: list[str], parts: SplitResult) -> list[str]:
    if _hostname(parts) == GATEWAY_HOST or segments[:1] == ["v1"]:
        return _gateway_segments(segments, parts)
    for index, segment in enumerate(segments):
        if segment in _PROVIDERS:
            return segments[:index]
        _reject_custom(segment)
    if segments[-1:] == ["v1"]:
        base = "/".join([parts.netloc, *segments[:-1]])
        msg = f"must not end in /v1, the SDK adds it; did you mean {parts.scheme}://{base} ?"
        raise ValueError(msg)
    return segments


def _gateway_segments(segments: list[str], parts: SplitResult) -> list[str]:
    """Read `/v1/{account}/{gateway}`, with or without what follows it."""
    if len(segments) < 3 or segments[0] != "v1":
        root = f"{parts.scheme}://{parts.netloc}"
        msg = f"must name account and gateway: {root}/v1/{{account_id}}/{{gateway_id}}"
        if segments == ["v1"] and _hostname(parts) != GATEWAY_HOST:
            msg += f", or {root} for a custom domain"
        raise ValueError(msg)
    for segment, what in zip(segments[1:3], ("account id", "gateway id"), strict=True):
        _check_id(segment, what)
    for segment in segments[3:4]:
        _reject_custom(segment)
        if segment not in _PROVIDERS:
            base = "/".join([parts.netloc, *segments[:3]])
            msg = f"goes on after the gateway; did you mean {parts.scheme}://{base} ?"
            raise ValueError(msg)
    return segments[:3]


def _check_id(segment: str, what: str) -> None:
    try:
        validate_id(segment)
    except ValueError as error:
        msg = f"{what}: {error}"
        raise ValueError(msg) from None


def _reject_custom(segment: str) -> None:
    if segment.startswith("custom-"):
        msg = f"must end before the provider; set CF_AIG_PROVIDER={segment} beside it"
        raise ValueError(msg)
