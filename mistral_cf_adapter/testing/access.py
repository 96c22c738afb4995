"""Cloudflare Access in front of a local gateway, as it stands in front of a custom domain.

Documented by Cloudflare (AI Gateway: configuration/cloudflare-access; Cloudflare One: service
tokens, `cloudflared access`): a service token in `CF-Access-Client-Id` and
`CF-Access-Client-Secret`; a JWT in `cf-access-token`, or as a bearer token in `Authorization`; with
a JWT no gateway token is needed, and with a gateway token alone nothing gets through; the
credentials of Access are removed before the provider is called; a JWT expires; the redirect to the
login page. Seen by others: the pages with 401 and 403, the JSON with 403, `www-authenticate`.

Our assumptions: with a service token no gateway token is needed either; a gateway token beside a
valid identity is not looked at; a JWT that has expired, or has another signature, is refused as
none at all is; a bearer token that has not the form of a JWT is the Mistral key, and stays. The
JWTs here are signed with HS256 by a key of their own, those of Access with RS256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from starlette.datastructures import Headers

from mistral_cf_adapter._public import TESTING, set_public_module
from mistral_cf_adapter.testing import edge_pages
from mistral_cf_adapter.testing.routing import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_cf_adapter.testing.records import ReceivedRequest

Form = Literal["login", "unauthorized", "page", "json"]

_HEADER = {"alg": "HS256", "typ": "JWT"}


class Access:
    """Cloudflare Access, for `LocalGateway(access=Access())`.

    The module's docstring says what of it is documented and what is assumed.

    Args:
        client_id: the client id of the service token that it accepts.
        client_secret: the secret of that token.
        form: how it refuses: "login" (302 to the login page), "unauthorized" (a page with 401),
            "page" (a page with 403) or "json" (JSON with 403). It can be changed at any time.

    Raises:
        ValueError: there is no such form.

    Example:
        >>> from mistral_cf_adapter.testing import LocalGateway
        >>> access = Access()
        >>> with LocalGateway(access=access) as gateway:
        ...     settings = gateway.settings(access_token=access.issue_jwt(seconds=60))
        ...     models = make_client(settings).models.list()
        >>> settings.token is None
        True
    """

    def __init__(
        self,
        *,
        client_id: str = "0123456789abcdef.access",
        client_secret: str = "access-test-secret",  # noqa: S107
        form: Form = "login",
    ) -> None:
        edge_pages.check("access", {"form": form})
        self.client_id = client_id
        self.client_secret = client_secret
        self.form: Form = form
        self._key = secrets.token_bytes(32)
        self._now: Callable[[], float] = time.time

    def __repr__(self) -> str:
        return f"<Access {self.client_id}, form {self.form!r}>"

    def use_clock(self, now: Callable[[], float]) -> None:
        """Let JWTs expire by a clock, in seconds since 1970: the gateway's."""
        self._now = now

    def issue_jwt(self, seconds: float = 86_400.0, **claims: Any) -> str:
        """Return a JWT that is accepted for so many seconds, as `cloudflared access token` does."""
        expires = {"iat": self._now(), "exp": self._now() + seconds}
        signed = f"{_encode(_HEADER)}.{_encode({**claims, **expires})}"
        return f"{signed}.{self._sign(signed)}"

    def admit(self, request: ReceivedRequest) -> ReceivedRequest:
        """Return a request as the gateway gets it.

        Raises:
            Refused: it has no valid identity.
        """
        headers = request.headers
        bearer = _read_bearer(headers)
        if self._is_jwt(bearer):
            raw = [(name, value) for name, value in headers.raw if name != b"authorization"]
            return replace(request, headers=Headers(raw=raw))
        if self._has_service_token(headers) or self._is_jwt(headers.get("cf-access-token", "")):
            return request
        raise Refused(edge_pages.access_refusal(self.form))

    def _has_service_token(self, headers: Headers) -> bool:
        found = headers.get("cf-access-client-id"), headers.get("cf-access-client-secret")
        return found == (self.client_id, self.client_secret)

    def _is_jwt(self, text: str) -> bool:
        """Return whether a text is a JWT that was issued here and has not expired."""
        signed, _, signature = text.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(signed).encode()):
            return False
        payload = signed.partition(".")[2]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return bool(claims["exp"] > self._now())

    def _sign(self, text: str) -> str:
        digest = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _encode(value: object) -> str:
    text = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _read_bearer(headers: Headers) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value if scheme.lower() == "bearer" else ""


set_public_module(Access, package=TESTING)
