"""Responses, and the bodies in which the gateway refuses a request."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Body = bytes | tuple[bytes, ...] | AsyncGenerator[bytes, None]
"""A whole body, a stream whose pieces are known, or one still to come."""


class StreamBroken(Exception):  # noqa: N818  # the caller sees a broken connection
    """The body of a response ends before its end, and so does its connection."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response on its way to the caller."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: Body

    def header(self, name: str) -> str | None:
        """Return the first value of a header, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def with_headers(self, headers: Mapping[str, str]) -> Response:
        """Return this response with more headers."""
        return replace(self, headers=(*self.headers, *headers.items()))

    def known_body(self) -> bytes | None:
        """Return the body's bytes as far as they are known before it is sent."""
        if isinstance(self.body, bytes):
            return self.body
        return b"".join(self.body) if isinstance(self.body, tuple) else None


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with one JSON value."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    extra = tuple((headers or {}).items())
    return Response(status, (("content-type", "application/json"), *extra), utf8(body))


def bytes_response(
    body: bytes,
    content_type: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a response with bytes of any type."""
    return Response(status, (("content-type", content_type), *(headers or {}).items()), body)


def text_response(status: int, text: str) -> Response:
    """Return a response with a line of text that ends the connection."""
    headers = (("content-type", "text/plain; charset=utf-8"), ("connection", "close"))
    return Response(status, headers, utf8(f"{text}\n"))


def stream_response(chunks: Iterable[bytes]) -> Response:
    """Return a response of server-sent events."""
    return Response(200, (("content-type", "text/event-stream; charset=utf-8"),), tuple(chunks))


def event(value: Any, name: str | None = None) -> bytes:
    """Write one server-sent event."""
    data = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + utf8(f"data: {data}\n\n")


GATEWAY_ERRORS: Mapping[int, tuple[int, str]] = {
    2001: (400, "Please configure AI Gateway in the Cloudflare dashboard"),
    2003: (429, "Rate limited"),
    2005: (400, "Failed to get response from provider"),
    2008: (400, "Invalid provider"),
    2009: (401, "Unauthorized"),
    2016: (424, "Prompt blocked due to security configurations"),
    2017: (424, "Response blocked due to security configurations"),
    2019: (400, "Chat completion bad format"),
    2021: (402, "Insufficient wholesale credits. Please add money to your gateway or use BYOK"),
    2029: (424, "Request content blocked due to DLP policy violations"),
    2030: (424, "Response content blocked due to DLP policy violations"),
    2040: (400, "No BYOK credential with that alias"),
    2041: (429, "Spend limit exceeded: rule 'daily' (cost limit 10 per 86400s, fixed)"),
    2045: (429, "Spend limit exceeded: rule 'daily' (cost limit 10 per 86400s, fixed)"),
    7013: (503, "Guardrails are unavailable and a block rule applies"),
    # Seen in the field, in front of the gateway's own codes: a token is not accepted.
    9109: (401, "Invalid access token"),
    10000: (401, "Authentication error"),
    10001: (401, "Authentication error"),
}
"""Code -> usual status and message. Only the codes of which a trace was found."""

POLICY_ERRORS: Mapping[str, tuple[int, dict[str, Any]]] = {
    "policy_denied": (403, {"message": "Access denied by policy"}),
    "policy_spend": (
        429,
        {"message": "Spending limit exceeded", "bucket": "daily", "spent": 10.5, "limit": 10},
    ),
}


def gateway_error(
    code: int | None, *, message: str | None = None, status: int | None = None
) -> Response:
    """Refuse in the gateway's own shape; a code of None leaves the numbers out."""
    usual_status, usual_message = (
        GATEWAY_ERRORS.get(code, (400, "")) if code is not None else (400, "Bad request")
    )
    http_code = usual_status if status is None else status
    text = usual_message if message is None else message
    entry = {"message": text} if code is None else {"code": code, "message": text}
    body: dict[str, Any] = {
        "success": False,
        "result": [],
        "messages": [],
        "error": [entry],
        "name": "AiGatewayError",
        "httpCode": http_code,
        "message": text,
        "description": text,
    }
    if code is not None:
        body["internalCode"] = code
    return json_response(body, http_code)


def policy_error(kind: str, *, message: str | None = None, status: int | None = None) -> Response:
    """Refuse in the shape of a policy: `error` is an object there, and no code is given."""
    usual_status, usual = POLICY_ERRORS[kind]
    error = usual if message is None else {**usual, "message": message}
    return json_response({"success": False, "error": error}, status or usual_status)


def utf8(text: str) -> bytes:
    """Encode a text, whatever a request has made of it."""
    # JSON can hold half a surrogate pair, which UTF-8 cannot.
    return text.encode(errors="replace")


def words(text: str) -> Sequence[str]:
    """Cut a text before each word, so that the pieces joined give the text again."""
    pieces: list[str] = []
    for piece in text.split(" "):
        pieces.append(piece if not pieces else f" {piece}")
    return pieces
