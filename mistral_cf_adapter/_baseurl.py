"""Check the base URL: what people paste, and the one form the adapter needs."""

import ipaddress
from urllib.parse import SplitResult, urlsplit

_PROVIDERS = ("mistral", "compat")


def checked_base_url(value: str) -> str:
    """Return everything before `/{provider}` and `/compat`, without a trailing slash.

    A pasted `.../mistral`, `.../mistral/v1` or full endpoint is cut back to its base.

    Raises:
        ValueError: it is no https URL, or it is not clear which part is the base.
    """
    value = value.strip()
    parts = urlsplit(value)
    _check_address(value, parts)
    segments = [segment for segment in parts.path.split("/") if segment]
    if any(segment in (".", "..") for segment in segments):
        msg = "has dots for a path segment; give the plain URL"
        raise ValueError(msg)
    base = "/".join(_base_segments(segments, parts))
    return f"{parts.scheme}://{parts.netloc}/{base}".rstrip("/")


def _check_address(value: str, parts: SplitResult) -> None:
    if not value.isascii() or not value.isprintable() or " " in value:
        msg = "has spaces, control or non-ASCII characters in it"
        raise ValueError(msg)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        msg = "must be a URL such as https://gateway.ai.cloudflare.com/v1/{account}/{gateway}"
        raise ValueError(msg)
    if "@" in parts.netloc:
        msg = "has credentials in it; the token belongs in CF_AIG_TOKEN"
        raise ValueError(msg)
    if parts.query or parts.fragment:
        msg = "must not have a query or a fragment"
        raise ValueError(msg)
    _ = parts.port  # raises ValueError for a port that is no number
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        msg = "must be https: over http the token could be read on the way (loopback is exempt)"
        raise ValueError(msg)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base_segments(segments: list[str], parts: SplitResult) -> list[str]:
    if parts.hostname == "gateway.ai.cloudflare.com" or segments[:1] == ["v1"]:
        return _gateway_segments(segments, parts)
    for place, segment in enumerate(segments):
        if segment in _PROVIDERS:
            return segments[:place]
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
        if segments == ["v1"] and parts.hostname != "gateway.ai.cloudflare.com":
            msg += f", or {root} for a custom domain"
        raise ValueError(msg)
    for segment in segments[3:4]:
        _reject_custom(segment)
        if segment not in _PROVIDERS:
            base = "/".join([parts.netloc, *segments[:3]])
            msg = f"goes on after the gateway; did you mean {parts.scheme}://{base} ?"
            raise ValueError(msg)
    return segments[:3]


def _reject_custom(segment: str) -> None:
    if segment.startswith("custom-"):
        msg = f"must end before the provider; set CF_AIG_PROVIDER={segment} beside it"
        raise ValueError(msg)
