"""Guardrails and response DLP answer a stream in one piece; it arrives as a stream all the same."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from mistral_cf_adapter import (
    GatewayDlpError,
    GatewayError,
    GatewayGuardrailError,
    GatewaySpendLimitError,
    capture,
    gateway_options,
    make_client,
)
from mistral_cf_adapter._sdk import SDKError

if TYPE_CHECKING:
    from mistral_cf_adapter.testing import LocalGateway

HELLO = [{"role": "user", "content": "Hello"}]
CHAT = {"model": "mistral-small-latest", "messages": HELLO}
FIM = {"model": "codestral-latest", "prompt": "def add(a, b):"}
AGENT = {"agent_id": "ag-1", "messages": HELLO}
OPERATIONS = [
    pytest.param("chat", CHAT, id="chat"),
    pytest.param("fim", FIM, id="fim"),
    pytest.param("agents", AGENT, id="agents"),
]
DLP = {"findings": [{"profile": {"profile_id": "p"}, "check": "RESPONSE"}], "action": "FLAG"}
CALLS = [
    {"id": "call00001", "type": "function", "function": {"name": "a", "arguments": '{"x": "é"}'}},
    {"id": "call00002", "type": "function", "function": {"name": "b", "arguments": "{}"}},
    {"id": "call00003", "type": "function", "function": {"name": "a", "arguments": '{"x": 2}'}},
]


class Weather(BaseModel):
    city: str


@pytest.fixture
def gateway(local_gateway: LocalGateway) -> LocalGateway:
    local_gateway.guardrails, local_gateway.dlp = True, None
    return local_gateway


@pytest.fixture
def client(gateway: LocalGateway) -> Any:
    return make_client(gateway.settings())


@pytest.fixture(params=["sync", "async"])
def stream(request: pytest.FixtureRequest, client: Any) -> Any:
    """Stream an operation to its end, sync or async; return its chunks."""

    def sync(operation: str, **arguments: Any) -> list[Any]:
        name = "parse_stream" if "response_format" in arguments else "stream"
        with getattr(getattr(client, operation), name)(**arguments) as events:
            return [event.data for event in events]

    async def in_a_loop(operation: str, **arguments: Any) -> list[Any]:
        name = "parse_stream_async" if "response_format" in arguments else "stream_async"
        async with await getattr(getattr(client, operation), name)(**arguments) as events:
            return [event.data async for event in events]

    if request.param == "sync":
        return sync
    return lambda operation, **arguments: asyncio.run(in_a_loop(operation, **arguments))


def whole(message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a whole answer of one choice."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    counted = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return {**answer, "choices": [{**choice, **fields}], "usage": counted}


# ---------------------------------------------------------------- one chunk that says it all


@pytest.mark.parametrize(("operation", "arguments"), OPERATIONS)
def test_a_buffered_stream_says_what_the_whole_answer_says(client, stream, operation, arguments):
    answer = getattr(client, operation).complete(**arguments)
    with capture() as calls:
        (chunk,) = stream(operation, **arguments)
    (said,), (meant,) = chunk.choices, answer.choices
    assert said.delta.content == meant.message.content != ""
    assert said.delta.role == "assistant"
    assert (said.index, said.finish_reason) == (meant.index, meant.finish_reason)
    assert chunk.id
    assert (chunk.model, chunk.created) == (answer.model, answer.created)
    assert chunk.object == "chat.completion.chunk"
    assert chunk.usage == answer.usage
    assert [call.buffered for call in calls] == [True]


@pytest.mark.parametrize(("operation", "arguments"), OPERATIONS)
def test_a_stream_that_is_not_buffered_is_not_said_to_be(gateway, stream, operation, arguments):
    gateway.guardrails = False
    with capture() as calls:
        assert len(stream(operation, **arguments)) > 1
    assert [call.buffered for call in calls] == [False]


def test_a_whole_answer_that_was_asked_for_is_not_said_to_be_buffered(client):
    with capture() as calls:
        client.chat.complete(**CHAT)
    assert [call.buffered for call in calls] == [False]


def test_findings_of_response_dlp_come_with_the_buffered_stream(gateway, stream):
    gateway.dlp = DLP
    with capture() as calls:
        (chunk,) = stream("chat", **CHAT)
    assert chunk.choices[0].delta.content
    (call,) = calls
    assert (call.buffered, call.dlp) == (True, DLP)


def test_compat_is_buffered_as_well(gateway, stream):
    with gateway_options(endpoint="compat"), capture() as calls:
        (chunk,) = stream("chat", **CHAT)
    gateway.assert_sent(path="compat/chat/completions")
    assert chunk.choices[0].delta.content
    assert calls[0].buffered is True


def test_a_parsed_stream_is_json_in_one_chunk(client, stream):
    with capture() as calls:
        (chunk,) = stream("chat", **CHAT, response_format=Weather)
    parsed = client.chat.parse(**CHAT, response_format=Weather).choices[0].message.parsed
    assert Weather(**json.loads(chunk.choices[0].delta.content)) == parsed
    assert calls[0].buffered is True


@pytest.mark.parametrize("reason", ["stop", "length", "model_length", "error", "new_reason"])
def test_every_reason_to_finish_arrives(gateway, stream, reason):
    gateway.reply("Hello", finish_reason=reason)
    (chunk,) = stream("chat", **CHAT)
    assert chunk.choices[0].finish_reason == reason


@pytest.mark.parametrize("text", ["", "é日本 \u2028", "a\nb\r\n\r\nc", "data: [DONE]\n\n"])
def test_every_text_arrives_as_it_is(gateway, stream, text):
    gateway.reply(text)
    (chunk,) = stream("chat", **CHAT)
    assert chunk.choices[0].delta.content == text


def test_several_choices_stay_several(stream):
    (chunk,) = stream("chat", **CHAT, n=3)
    assert [choice.index for choice in chunk.choices] == [0, 1, 2]


# ---------------------------------------------------------------- tool calls


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([None, None, None], [0, 1, 2], id="none, as in OpenAI's shape"),
        pytest.param([0, 0, 0], [0, 1, 2], id="all the same"),
        pytest.param([0, 1, 2], [0, 1, 2], id="as Mistral counts"),
        pytest.param([2, 0, 1], [2, 0, 1], id="in another order"),
    ],
)
def test_each_of_several_tool_calls_can_be_told_by_its_index(gateway, stream, given, expected):
    calls = [
        call if index is None else {**call, "index": index}
        for call, index in zip(CALLS, given, strict=True)
    ]
    gateway.reply("", tool_calls=calls)
    (chunk,) = stream("chat", **CHAT)
    said = chunk.choices[0].delta.tool_calls
    assert [call.index for call in said] == expected
    assert [call.id for call in said] == [call["id"] for call in CALLS]
    assert [call.function.name for call in said] == ["a", "b", "a"]
    assert [call.function.arguments for call in said] == ['{"x": "é"}', "{}", '{"x": 2}']
    assert chunk.choices[0].finish_reason == "tool_calls"


def test_tool_calls_come_without_any_text(gateway, stream):
    message = {"content": None, "tool_calls": CALLS[:1]}
    gateway.reply_json(whole(message, finish_reason="tool_calls"))
    (chunk,) = stream("chat", **CHAT)
    assert chunk.choices[0].delta.content is None
    assert chunk.choices[0].delta.tool_calls[0].function.arguments == '{"x": "é"}'


@pytest.mark.parametrize("calls", [None, []])
def test_no_tool_calls_stay_none(gateway, stream, calls):
    gateway.reply_json(whole({"content": "Hello", "tool_calls": calls}))
    (chunk,) = stream("chat", **CHAT)
    assert chunk.choices[0].delta.tool_calls == calls


def test_several_messages_of_a_choice_are_a_chunk_each(gateway, stream):
    messages = [{"role": "assistant", "content": text} for text in ("one", "two")]
    answer = whole({}, messages=messages)
    del answer["choices"][0]["message"]
    gateway.reply_json(answer)
    chunks = stream("chat", **CHAT)
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["one", "two"]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]
    assert [chunk.usage is not None for chunk in chunks] == [False, True]


def test_a_thinking_answer_keeps_its_pieces(gateway, stream):
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "Hello"},
    ]
    gateway.reply_json(whole({"content": content}))
    (chunk,) = stream("chat", **CHAT)
    assert [piece.type for piece in chunk.choices[0].delta.content] == ["thinking", "text"]


# ---------------------------------------------------------------- what is no answer


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        pytest.param({"code": 2016}, GatewayGuardrailError, id="prompt blocked"),
        pytest.param({"code": 2017}, GatewayGuardrailError, id="response blocked"),
        pytest.param({"code": 2029}, GatewayDlpError, id="prompt held back"),
        pytest.param({"code": 2030}, GatewayDlpError, id="response held back"),
        pytest.param({"kind": "policy_spend"}, GatewaySpendLimitError, id="budget spent"),
    ],
)
@pytest.mark.parametrize(("operation", "arguments"), OPERATIONS)
def test_an_error_in_place_of_an_answer_is_raised_as_such(
    gateway, stream, operation, arguments, failure, error
):
    gateway.fail(**failure)
    with capture() as calls, pytest.raises(error):
        stream(operation, **arguments)
    assert [call.buffered for call in calls] == [False]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        None,
        "text",
        {"choices": None},
        {"choices": ["text"]},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 0, "messages": ["text"]}]},
        {"choices": [{"index": 0, "message": {"tool_calls": ["text"]}}]},
    ],
)
def test_json_that_is_no_answer_is_the_sdks_to_refuse(gateway, stream, answer):
    gateway.reply_json(answer)
    with capture() as calls, pytest.raises(SDKError) as raised:
        stream("chat", **CHAT)
    assert not isinstance(raised.value, GatewayError)
    assert [call.buffered for call in calls] == [False]


def test_errors_of_mistral_arrive_as_the_sdk_raises_them(gateway, stream):
    gateway.upstream_fail(401)
    with pytest.raises(SDKError) as raised:
        stream("chat", **CHAT)
    assert not isinstance(raised.value, GatewayError)
    assert raised.value.status_code == 401
