"""Take secrets out of what is written down, wherever they stand in it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from mistral_cf_adapter.testing.mistral_text import as_dict, as_list
from mistral_cf_adapter.testing.secret_names import SECRET_HEADERS, secret_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from starlette.datastructures import Headers

MASK = "[secret]"
MIN_LENGTH = 6
"""Characters of the shortest value that is looked for: a shorter one stands in too many words."""
UNRECORDED_HEADERS = SECRET_HEADERS | {
    *("cf-access-client-id", "cf-access-jwt-assertion", "x-goog-api-key"),
}
"""Headers of which a cassette has no value."""
SECRET_FIELDS = frozenset(
    {
        *("api_key", "apikey", "authorization", "password", "client_secret", "secret"),
        *("access_token", "refresh_token"),
    }
)
"""Names of JSON fields whose text is a secret whatever it is."""


def secrets_of(headers: Headers) -> Iterator[str]:
    """Yield the secrets that a request's headers hold, without the name of their scheme."""
    for name, value in headers.items():
        if name.lower() not in UNRECORDED_HEADERS:
            continue
        if name.lower() != "cookie":
            yield value
        yield from secret_parts(name, value)


class Scrubber:
    """Replaces known secrets: as they are, in a URL, in JSON, and inside of base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: one secret may be a part of another.
        known = sorted({each for each in secrets if len(each) >= MIN_LENGTH}, key=len, reverse=True)
        self._forms = list(dict.fromkeys(form for each in known for form in forms_of(each)))

    def text(self, value: str) -> str:
        """Return a text without secrets."""
        for form in self._forms:
            if form in value:
                value = value.replace(form, MASK)
        return value

    def body(self, value: bytes) -> bytes:
        """Return bytes without secrets."""
        for form in self._forms:
            raw = form.encode()
            if raw in value:
                value = value.replace(raw, MASK.encode())
        return value

    def json(self, value: Any) -> Any:
        """Return decoded JSON without secrets, in names and values."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(item) for item in as_list(value)]
        if isinstance(value, dict):
            fields = as_dict(value)
            return {self.text(name): self._field(name, item) for name, item in fields.items()}
        return value

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers without secrets."""
        return {
            name: MASK if name.lower() in UNRECORDED_HEADERS else self.text(value)
            for name, value in headers.items()
        }

    def _field(self, name: str, value: Any) -> Any:
        if name.lower() in SECRET_FIELDS and isinstance(value, str) and value:
            return MASK
        return self.json(value)


def forms_of(secret: str) -> Iterator[str]:
    """Yield a secret as it is, and as it stands in a URL, in JSON and inside of base64."""
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    raw = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # Base64 cuts bytes in threes: the characters at both ends depend on the neighbours.
            encoded = encode(b"\0" * before + raw).decode().rstrip("=")
            first, last = (0, 2, 3)[before], (len(raw) + before) // 3 * 4
            if last - first >= MIN_LENGTH:
                yield encoded[first:last]
