"""Error envelopes: JSON in which the gateway, or a provider in a stream, says what went wrong.

The gateway's has `success: false` or `name: "AiGatewayError"`; its errors stand in `error` or
`errors`, as an array, an object or a text. A whole response with any other error is the
provider's, and the SDK raises it. In a stream the SDK does not look for errors, so there every
form counts: those of Mistral, OpenAI and Anthropic too.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

NO_MESSAGE = "no message"
# Of no use in a message, or such that it could not be printed: half of an emoji, an escape code.
_UNPRINTABLE = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
_BUDGET = ("spent", "limit", "bucket")


class ErrorDetail(NamedTuple):
    """What an error says."""

    code: int | None
    message: str
    is_gateways: bool
    """The gateway says it, not the provider."""
    budget: Mapping[str, str | int | float]
    """Of a spend policy: `spent`, `limit` and `bucket`, as far as they are texts and numbers."""

    @property
    def says_something(self) -> bool:
        """Whether there is a code or a message: a healthy event may have an empty error."""
        return bool(self.code) or self.message != NO_MESSAGE


def parse_json(body: bytes | bytearray) -> object:
    """Return what a body says, `None` where it is not JSON that can be read."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def read_envelope(body: object, status: int) -> ErrorDetail | None:
    """Return the gateway's error in the JSON of a whole response, or None."""
    if not isinstance(body, Mapping):
        return None
    body = cast("Mapping[str, Any]", body)
    if _is_gateways(body) or (status == 429 and _is_about_budget(body)):
        return _read(body, is_gateways=True)
    return None


def read_event(name: str, data: object) -> ErrorDetail | None:
    """Return the error in an event of a stream, or None.

    Args:
        name: The event's `event` field, empty where it has none.
        data: Its `data`, read as JSON, or as it is where that is no JSON.
    """
    if not isinstance(data, Mapping):
        return _read({"error": data}, is_gateways=False) if name == "error" else None
    data = cast("Mapping[str, Any]", data)
    kinds = (name, data.get("object"), data.get("type"))
    is_gateways = _is_gateways(data) or _is_about_budget(data)
    if "error" in kinds:
        return _read(data, is_gateways=is_gateways)
    # An event with another type may have a field `error` that is not about the stream.
    if data.get("type") is not None:
        return None
    if not (is_gateways or data.get("error")):
        return None
    found = _read(data, is_gateways=is_gateways)
    return found if found.says_something else None


def _is_gateways(body: Mapping[str, Any]) -> bool:
    if body.get("name") == "AiGatewayError":
        return True
    return body.get("success") is False and "detail" not in body  # which is a provider's


def _read(body: Mapping[str, Any], *, is_gateways: bool) -> ErrorDetail:
    detail = _first_detail(body.get("error") or body.get("errors"))
    code = _first_int(body.get("internalCode"), detail.get("code"), body.get("code"))
    texts = (
        *(detail.get("message"), body.get("message"), body.get("description")),
        *(body.get("detail"), detail.get("type")),
    )
    return ErrorDetail(code, _first_text(*texts), is_gateways, _budget(detail))


def _first_detail(details: Any) -> Mapping[str, Any]:
    """Return the first error of an array, an object or a bare text."""
    if isinstance(details, list):
        details = next(iter(cast("list[object]", details)), None)
    if isinstance(details, Mapping):
        return cast("Mapping[str, Any]", details)
    return {"message": details}


def _is_about_budget(body: Mapping[str, Any]) -> bool:
    """Return whether an error has all that a spend policy says (docs: features/policies)."""
    detail = _first_detail(body.get("error"))
    return all(name in detail for name in _BUDGET)


def _budget(detail: Mapping[str, Any]) -> Mapping[str, str | int | float]:
    fields = {name: detail.get(name) for name in _BUDGET}
    return {
        name: clean_text(value) if isinstance(value, str) else value
        for name, value in fields.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }


def clean_text(text: str) -> str:
    """Return a server's text with a space in place of what cannot be printed."""
    return re.sub(_UNPRINTABLE, " ", text)


def _first_int(*candidates: object) -> int | None:
    for candidate in candidates:
        if isinstance(candidate, int) and not isinstance(candidate, bool):
            return candidate
        if isinstance(candidate, str) and candidate.isdecimal() and len(candidate) < 10:
            return int(candidate)
    return None


def _first_text(*candidates: object) -> str:
    for candidate in candidates:
        if isinstance(candidate, str) and candidate.strip():
            return clean_text(candidate.strip())
    return NO_MESSAGE
