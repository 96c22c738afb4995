"""Which headers hold secrets, by their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET_HEADERS = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"),
        *("cf-aig-authorization", "cf-access-client-secret", "cf-access-token"),
    }
)
_SECRET_NAME = re.compile(r"token|key|secret|auth|cookie|password|credential|signature|jwt")
_NO_SECRETS = frozenset({"cf-aig-cache-key"})


def is_secret_header(name: str) -> bool:
    """Return whether a header may hold a secret, by its name."""
    low = name.lower()
    return low in SECRET_HEADERS or (low not in _NO_SECRETS and bool(_SECRET_NAME.search(low)))


def secret_parts(name: str, value: str) -> Iterator[str]:
    """Yield the secrets in the value of a header: each cookie, or what follows the scheme."""
    if name.lower() == "cookie":
        yield from (part.partition("=")[2].strip() for part in value.split(";"))
    else:
        yield value.rpartition(" ")[2]
