"""Read the `cf-aig-*` request headers: cache and retry policy, metadata, costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from mistral_cf_adapter.testing.strict_json import read_strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import Headers

MAX_METADATA = 5
MIN_TTL = 60
MAX_TTL = 30 * 24 * 3600
KEY_ONLY_TTL = 300
MAX_RETRY_DELAY = 60_000
MAX_TIMEOUT = 24 * 3600 * 1000
"""Milliseconds; ours, as no limit is documented. A number of any length is taken."""

Metadata = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Whether and how long this request may be served from the cache."""

    ttl: int | None
    """Seconds; None leaves the cache alone."""
    key: str | None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often the upstream is asked, and how long the gateway waits in between."""

    attempts: int
    delay: float
    """Seconds."""
    backoff: str
    timeout: float | None
    """Seconds to the upstream's first byte."""

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after the attempt with this number, counted from 1."""
        if self.backoff == "linear":
            return self.delay * attempt
        if self.backoff == "exponential":
            return self.delay * (1 << (attempt - 1))
        return self.delay


def read_flag(headers: Headers, name: str, *, default: bool) -> bool:
    """Read a true/false header; anything else counts as not given."""
    return {"true": True, "false": False}.get(headers.get(name, "").lower(), default)


def read_metadata(headers: Headers) -> Metadata:
    """Read `cf-aig-metadata` by the gateway's rules: mistakes lose it all, silently."""
    value = read_object(headers.get("cf-aig-metadata"))
    if not all(isinstance(item, str | int | float | bool) for item in value.values()):
        return {}
    kept = [(key, item) for key, item in value.items() if not key.startswith("cf.")]
    return dict(kept[:MAX_METADATA])


def read_custom_cost(headers: Headers) -> Mapping[str, float] | None:
    """Read `cf-aig-custom-cost`; None when it is absent or no JSON object."""
    return read_object(headers.get("cf-aig-custom-cost")) or None


def read_cache_policy(headers: Headers, gateway_ttl: int | None) -> CachePolicy:
    """Read the cache headers over the gateway's own setting."""
    skip = read_flag(headers, "cf-aig-skip-cache", default=False)
    if skip or read_flag(headers, "cf-skip-cache", default=False):
        return CachePolicy(None, None)
    key = headers.get("cf-aig-cache-key")
    ttl = read_integer(headers.get("cf-aig-cache-ttl") or headers.get("cf-cache-ttl"))
    if ttl is not None:
        return CachePolicy(min(max(ttl, MIN_TTL), MAX_TTL), key)
    if gateway_ttl is None and key is not None:
        return CachePolicy(KEY_ONLY_TTL, key)
    return CachePolicy(gateway_ttl, key)


def read_retry_policy(headers: Headers) -> RetryPolicy:
    """Read the retry and timeout headers; out-of-range numbers are brought into range."""
    attempts = read_integer(headers.get("cf-aig-max-attempts"))
    delay = read_integer(headers.get("cf-aig-retry-delay"))
    timeout = read_integer(headers.get("cf-aig-request-timeout"))
    return RetryPolicy(
        attempts=min(max(attempts or 1, 1), 5),
        delay=min(max(delay or 0, 0), MAX_RETRY_DELAY) / 1000,
        backoff=headers.get("cf-aig-backoff", "constant"),
        timeout=None if timeout is None or timeout <= 0 else min(timeout, MAX_TIMEOUT) / 1000,
    )


def read_integer(text: str | None) -> int | None:
    """Read a whole number; None for another text, or one with thousands of digits."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def read_object(text: str | None) -> dict[str, Any]:
    """Read a header that is a JSON object; an empty one stands for any mistake."""
    try:
        value = read_strict(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
