"""The errors of the small Mistral, in Mistral's own shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.records import ReceivedRequest


def unauthorized() -> Response:
    """Refuse a key as Mistral does."""
    return json_response({"detail": "Unauthorized"}, 401)


def not_found(path: str) -> Response:
    """Say that there is nothing here, as Mistral does."""
    return json_response({"detail": f"Not Found: {path}"}, 404)


def too_many() -> Response:
    """Refuse for the rate, as Mistral does."""
    return json_response(
        {
            "object": "error",
            "message": "Rate limit exceeded",
            "type": "rate_limited",
            "param": None,
            "code": "1300",
        },
        429,
    )


def invalid(kind: str, where: list[str | int], message: str) -> Response:
    """Refuse a body as Mistral does: a list of what is wrong where."""
    return json_response({"detail": [{"type": kind, "loc": where, "msg": message}]}, 422)


def missing(name: str) -> Response:
    """Refuse a body without a field that must be there."""
    return invalid("missing", ["body", name], "Field required")


def not_imitated(request: ReceivedRequest) -> Response:
    """Say that LocalGateway lacks an operation: Mistral itself may well have it.

    The status is 501, which the SDK does not retry, and not the 404 of a thing that is not there.
    """
    path = request.path.removeprefix("/v1/").lstrip("/")
    message = (
        f"LocalGateway does not imitate {request.method} {request.path} of Mistral's API. Give the "
        f"response beforehand: gateway.reply_json({{...}}, path={path!r})"
    )
    return json_response(
        {
            "object": "error",
            "message": message,
            "type": "not_imitated",
            "param": None,
            "code": None,
        },
        501,
    )
