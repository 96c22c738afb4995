"""Build the script's entries for `LocalGateway.reply()`, `.fail()` and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral import is_text_path
from mistral_cf_adapter.testing.mistral_chat import Turn
from mistral_cf_adapter.testing.mistral_errors import invalid, too_many, unauthorized
from mistral_cf_adapter.testing.responses import (
    GATEWAY_ERRORS,
    POLICY_ERRORS,
    Response,
    bytes_response,
    event,
    gateway_error,
    json_response,
    policy_error,
    stream_response,
    words,
)
from mistral_cf_adapter.testing.script import Scripted, path_matches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mistral_cf_adapter.testing.mistral import Mistral
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Fits = Callable[[ReceivedRequest], bool]
    Piece = str | bytes | Mapping[str, Any]

MAX_LABEL = 40


def reply(
    mistral: Mistral, text: str, path: str | None, message_fields: Mapping[str, Any]
) -> Scripted:
    """Let the model say a text."""
    fields = dict(message_fields)
    usual = "tool_calls" if fields.get("tool_calls") else "stop"
    finish = fields.pop("finish_reason", usual)
    turn = Turn(text, words(text), finish_reason=finish, message_fields=fields)
    return Scripted(_label("reply", text), _text(path), lambda request: mistral.say(request, turn))


def reply_stream(mistral: Mistral, pieces: Sequence[Piece], path: str | None) -> Scripted:
    """Let the model stream these pieces."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    label = _label("reply_stream", [*pieces])
    if len(texts) == len(pieces):
        turn = Turn("".join(texts), texts)
        return Scripted(label, _text(path), lambda request: mistral.say(request, turn))
    raw = stream_response(piece if isinstance(piece, bytes) else event(piece) for piece in pieces)
    return Scripted(label, _text(path), lambda _: raw)


def reply_json(
    value: Any, status: int, headers: Mapping[str, str] | None, path: str | None
) -> Scripted:
    """Let the provider respond with JSON."""
    response = json_response(value, status, headers)
    return Scripted(_label("reply_json", value), _path(path), lambda _: response)


def refusal(  # noqa: PLR0913  # one way to fail each, by keyword
    *,
    code: int | None,
    kind: str | None,
    status: int | None,
    message: str | None,
    body: bytes | None,
    content_type: str,
) -> Response:
    """Build the gateway's refusal; raise ValueError if nothing says how to refuse."""
    if code is None and kind is None and status is None:
        msg = "fail() needs code= (a gateway code such as 2003), kind= (a policy) or status="
        raise ValueError(msg)
    if code is not None and code not in GATEWAY_ERRORS and status is None:
        known = ", ".join(str(number) for number in GATEWAY_ERRORS)
        msg = f"fail(code={code}): give status= too, only these codes have a known one: {known}"
        raise ValueError(msg)
    if kind is not None and kind not in POLICY_ERRORS:
        msg = f"fail(kind={kind!r}): use one of {', '.join(POLICY_ERRORS)}"
        raise ValueError(msg)
    if body is not None:
        return bytes_response(body, content_type, status or 400)
    if kind is not None:
        return policy_error(kind, message=message, status=status)
    return gateway_error(code, message=message, status=status)


def fail(what: int | str | None, response: Response, path: str | None) -> Scripted:
    """Let the gateway refuse."""
    return Scripted(_label("fail", what), _path(path), lambda _: response, final=True)


def upstream_fail(
    status: int,
    body: Any,
    headers: Mapping[str, str] | None,
    path: str | None,
) -> Scripted:
    """Let the provider fail."""
    response = _mistral_error(status) if body is None else json_response(body, status)
    failure = response.with_headers(headers or {})
    return Scripted(_label("upstream_fail", status), _path(path), lambda _: failure)


def upstream_delay(seconds: float, path: str | None) -> Scripted:
    """Let the provider take its time, and then respond as it would have."""
    return Scripted(_label("upstream_delay", seconds), _path(path), None, delay=seconds)


def _mistral_error(status: int) -> Response:
    match status:
        case 401:
            return unauthorized()
        case 422:
            return invalid("value_error", ["body"], "Value error")
        case 429:
            return too_many()
        case _:
            fields = {"object": "error", "message": "Internal server error", "type": "error"}
            return json_response({**fields, "param": None, "code": str(status)}, status)


def _text(path: str | None) -> Fits:
    return lambda request: is_text_path(request) and path_matches(path, request.path)


def _path(path: str | None) -> Fits:
    return lambda request: path_matches(path, request.path)


def _label(name: str, value: Any) -> str:
    text = repr(value)
    return f"{name}({text if len(text) <= MAX_LABEL else text[:MAX_LABEL] + '...'})"
