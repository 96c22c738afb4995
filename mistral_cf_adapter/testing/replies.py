"""Build the script's entries for `LocalGateway.reply()`, `.fail()` and the like."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, cast

from mistral_cf_adapter.testing.keywords import check_names
from mistral_cf_adapter.testing.limits import size_of
from mistral_cf_adapter.testing.matching import Arrival, Condition, check_function
from mistral_cf_adapter.testing.mistral import is_text_path
from mistral_cf_adapter.testing.mistral_chat import Turn
from mistral_cf_adapter.testing.mistral_errors import invalid, too_many, unauthorized
from mistral_cf_adapter.testing.own_code import call_own
from mistral_cf_adapter.testing.response_checks import check_response
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
from mistral_cf_adapter.testing.script import Scripted

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.matching import Predicate
    from mistral_cf_adapter.testing.mistral import Mistral
    from mistral_cf_adapter.testing.when import When

    Wanted: TypeAlias = When | Predicate | None

Piece: TypeAlias = "str | bytes | Mapping[str, Any]"

__tracebackhide__ = True  # pytest shows the test's own line as the last
MAX_LABEL = 40


class MessageFields(TypedDict, total=False):
    """What an assistant's message may hold besides its text, and why it ended."""

    role: Literal["assistant"]
    content: str | Sequence[Mapping[str, Any]]
    """In place of the text: chunks, such as those of a model that thinks."""
    tool_calls: Sequence[Mapping[str, Any]]
    """Each with `id` and `function`, which has `name` and `arguments`."""
    prefix: bool
    finish_reason: Literal["stop", "length", "model_length", "error", "tool_calls"]
    """By default "tool_calls" where there are some, else "stop"."""


def check_fields(fields: Mapping[str, Any], unchecked: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a message; raise TypeError for one that no message has."""
    check_names("reply()", fields, [*MessageFields.__annotations__, "when", "path", "message"])
    _check_tool_calls(fields.get("tool_calls"))
    return {**fields, **(unchecked or {})}


def reply(
    mistral: Mistral, text: Any, fields: Mapping[str, Any], when: Wanted, path: str | None
) -> Scripted:
    """Let the model say a text."""
    usual = "tool_calls" if fields.get("tool_calls") else "stop"
    more = dict(fields)
    finish = more.pop("finish_reason", usual)

    def say(text: object, arrival: Arrival) -> Response:
        said = _check_text("reply()", text)
        turn = Turn(said, words(said), finish_reason=finish, message_fields=more)
        return mistral.say(arrival.outgoing, turn)

    condition = Condition("reply", when, path, _text)
    return scripted("reply", text, say, condition, check=_check_text, more=more)


def reply_stream(mistral: Mistral, pieces: Any, when: Wanted, path: str | None) -> Scripted:
    """Let the model stream these pieces."""

    def stream(pieces: object, arrival: Arrival) -> Response:
        given = _check_pieces("reply_stream()", pieces)
        texts = [piece for piece in given if isinstance(piece, str)]
        if len(texts) == len(given):
            return mistral.say(arrival.outgoing, Turn("".join(texts), texts))
        parts = (piece if isinstance(piece, bytes) else event(piece) for piece in given)
        return stream_response(parts)

    condition = Condition("reply_stream", when, path, _text)
    value = pieces if callable(pieces) else _check_pieces("reply_stream()", pieces)
    return scripted("reply_stream", value, stream, condition)


def reply_parsed(mistral: Mistral, value: Any, when: Wanted, path: str | None) -> Scripted:
    """Let the model say a value as JSON."""
    fixed = None if callable(value) else _to_json(value)  # as it is now: a test may change it

    def say(value: object, arrival: Arrival) -> Response:
        text = _to_json(value) if fixed is None else fixed
        return mistral.say(arrival.outgoing, Turn(text, words(text)))

    condition = Condition("reply_parsed", when, path, _text)
    return scripted("reply_parsed", value, say, condition, more={"text": fixed})


def reply_json(
    value: Any, status: int, headers: Mapping[str, str] | None, when: Wanted, path: str | None
) -> Scripted:
    """Let the provider respond with JSON."""
    check_response("reply_json()", json_response(None, status, headers))
    fixed = None if callable(value) else json_response(value, status, headers)

    def respond(value: object, _arrival: Arrival) -> Response:
        return json_response(value, status, headers) if fixed is None else fixed

    return scripted("reply_json", value, respond, Condition("reply_json", when, path))


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


def fail(what: int | str | None, response: Response, when: Wanted, path: str | None) -> Scripted:
    """Let the gateway refuse."""
    check_response("fail()", response)
    condition = Condition("fail", when, path)
    return Scripted(
        _label("fail", what), condition, lambda _: response, final=True, size=_size(response)
    )


def upstream_fail(
    status: int,
    body: Any,
    headers: Mapping[str, str] | None,
    when: Wanted,
    path: str | None,
) -> Scripted:
    """Let the provider fail."""
    response = _mistral_error(status) if body is None else json_response(body, status)
    failure = check_response("upstream_fail()", response.with_headers(headers or {}))
    condition = Condition("upstream_fail", when, path)
    return Scripted(
        _label("upstream_fail", status), condition, lambda _: failure, size=_size(failure)
    )


def upstream_delay(seconds: float, when: Wanted, path: str | None) -> Scripted:
    """Let the provider take its time, and then respond as it would have."""
    condition = Condition("upstream_delay", when, path)
    return Scripted(_label("upstream_delay", seconds), condition, None, delay=seconds)


def scripted(  # noqa: PLR0913  # one entry of the script
    name: str,
    value: Any,
    respond: Callable[[object, Arrival], Response],
    condition: Condition,
    *,
    check: Callable[[str, Any], object] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Scripted:
    """Script a value, with `more` that is sent besides it, or what a function makes of requests."""
    label = _label(name, value)
    if callable(value):
        function = check_function(f"{name}()", value)
        return Scripted(
            label,
            condition,
            lambda arrival: respond(call_own(function, arrival.received), arrival),
            is_function=True,
        )
    if check is not None:
        check(f"{name}()", value)
    size = size_of([value, more])
    return Scripted(label, condition, lambda arrival: respond(value, arrival), size=size)


def _size(response: Response) -> int:
    return size_of([response.headers, response.body])


def _check_text(where: str, value: object) -> str:
    if isinstance(value, str):
        return value
    msg = f"{where} takes a text, or a function that returns one, not {type(value).__name__}"
    raise TypeError(msg)


def _check_tool_calls(calls: object) -> None:
    if calls is None:
        return
    items = cast("list[object]", calls) if isinstance(calls, list | tuple) else [None]
    for call in items:
        function = cast("Mapping[str, Any]", call).get("function") if _is_mapping(call) else None
        if not (_is_mapping(function) and "name" in cast("Mapping[str, Any]", function)):
            msg = (
                "reply(tool_calls=...) takes a list of mappings with `id` and `function`, which "
                "has `name` and `arguments`"
            )
            raise TypeError(msg)


def _check_pieces(where: str, value: Any) -> list[Piece]:
    if not _is_list(value):
        msg = f"{where} takes a list of pieces, not one {type(value).__name__}"
        raise TypeError(msg)
    pieces: list[Any] = list(value)
    for piece in pieces:
        _check_piece(where, piece)
    return pieces


def _is_list(value: object) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes | Mapping)


def _check_piece(where: str, piece: object) -> None:
    if not isinstance(piece, str | bytes | Mapping):
        msg = f"{where}: a piece must be a text, bytes or a mapping, not {type(piece).__name__}"
        raise TypeError(msg)


def _to_json(value: Any) -> str:
    """Write a pydantic model, or anything JSON can hold, as the model would."""
    if hasattr(value, "model_dump_json"):
        return str(value.model_dump_json(by_alias=True))
    return json.dumps(value, ensure_ascii=False)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


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


def _text(arrival: Arrival) -> str | None:
    return None if is_text_path(arrival.outgoing) else "it is no request for a text"


def _label(name: str, value: Any) -> str:
    begin = value[: MAX_LABEL + 1] if isinstance(value, str) else value
    text = getattr(value, "__name__", repr(begin)) if callable(value) else repr(begin)
    return f"{name}({text if len(text) <= MAX_LABEL else text[:MAX_LABEL] + '...'})"
