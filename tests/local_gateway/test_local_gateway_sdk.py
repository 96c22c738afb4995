"""The bare SDK of every major understands what the embedded Mistral says."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

MAJOR = int(version("mistralai").partition(".")[0])
if MAJOR >= 3:
    import httpx2 as http
else:
    import httpx as http
if MAJOR >= 2:
    from mistralai.client import Mistral
else:
    from mistralai import Mistral

HELLO = [{"role": "user", "content": "Hello"}]
GREETING = "Hello! It is lovely to hear from you through the gateway."
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "default": "Paris"},
                "unit": {"enum": ["celsius", "kelvin"]},
                "days": {"type": "integer", "minimum": 2},
                "hours": {"type": "array", "items": {"type": "number"}},
                "place": {"$ref": "#/$defs/place"},
            },
            "$defs": {"place": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}},
        },
    },
}
SAMPLE = {"city": "Paris", "unit": "celsius", "days": 2, "hours": [1.0], "place": True}


@pytest.fixture(scope="module")
def mistral(served):
    headers = {"cf-aig-authorization": f"Bearer {served.token}"}
    with http.Client(headers=headers, trust_env=False) as client:
        yield Mistral(
            api_key=served.mistral_api_key, server_url=served.url + "/mistral", client=client
        )


@pytest.fixture
def gateway(local_gateway):
    return local_gateway


def test_chat_answers_with_text_and_usage(gateway, mistral):
    answer = mistral.chat.complete(model="mistral-small-latest", messages=HELLO)
    assert answer.choices[0].message.content == GREETING
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 1 + len(GREETING.split())


def test_the_same_question_gets_the_same_answer(gateway, mistral):
    ask = {"model": "mistral-small-latest", "messages": HELLO}
    assert mistral.chat.complete(**ask) == mistral.chat.complete(**ask)


@pytest.mark.parametrize(
    ("prompt", "topic"),
    [
        ("What is the best French cheese?", "the best French cheese"),
        ("Please tell me about Cloudflare!", "Cloudflare"),
        ("Explain quantum tunnelling\nin detail", "quantum tunnelling"),
        ("How do I bake bread?", "bake bread"),
        ("Who painted the Mona Lisa?", "the Mona Lisa"),
        ("Which planet is the largest?", '"Which planet is the largest"'),
    ],
)
def test_an_answer_names_its_topic(gateway, mistral, prompt, topic):
    messages = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
    answer = mistral.chat.complete(model="mistral-small-latest", messages=messages)
    assert f"about {topic}!" in answer.choices[0].message.content


@pytest.mark.parametrize("limit", [3, 1000])
def test_a_stream_gives_the_text_piece_by_piece(gateway, mistral, limit):
    with mistral.chat.stream(
        model="mistral-small-latest", messages=HELLO, max_tokens=limit
    ) as stream:
        chunks = [event.data for event in stream]
    said = [chunk.choices[0].delta.content for chunk in chunks]
    expected = GREETING if limit > 10 else "Hello! It is"
    assert "".join(said) == expected
    assert chunks[-1].choices[0].finish_reason == ("stop" if limit > 10 else "length")
    assert chunks[-1].usage.completion_tokens == len(expected.split())


@pytest.mark.parametrize(
    ("choice", "prompt", "called"),
    [
        ("any", "Hello", True),
        ("required", "Hello", True),
        ({"type": "function", "function": {"name": "get_weather"}}, "Hello", True),
        ("auto", "Use get_weather for Paris", True),
        ("auto", "Hello", False),
        ("none", "Use get_weather", False),
    ],
)
def test_a_tool_is_called_when_asked_for(gateway, mistral, choice, prompt, called):
    answer = mistral.chat.complete(
        model="mistral-small-latest",
        messages=[{"role": "user", "content": prompt}],
        tools=[WEATHER],
        tool_choice=choice,
    )
    choice = answer.choices[0]
    assert bool(choice.message.tool_calls) is called
    if called:
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls[0].function.name == "get_weather"
        assert json.loads(choice.message.tool_calls[0].function.arguments) == SAMPLE
        assert len(choice.message.tool_calls[0].id) == 9


def test_a_tool_call_is_streamed_and_its_result_is_told(gateway, mistral):
    ask = {"model": "mistral-small-latest", "tools": [WEATHER], "tool_choice": "any"}
    with mistral.chat.stream(messages=HELLO, **ask) as stream:
        call = [event.data for event in stream][-1].choices[0].delta.tool_calls[0]
    assert json.loads(call.function.arguments) == SAMPLE
    result = {"role": "tool", "name": "get_weather", "content": "sunny", "tool_call_id": call.id}
    answer = mistral.chat.complete(messages=[*HELLO, result], **ask)
    assert answer.choices[0].message.content == "Here is what I found: sunny"


def test_json_mode_and_schemas_give_fitting_json(gateway, mistral):
    plain = mistral.chat.complete(
        model="mistral-small-latest", messages=HELLO, response_format={"type": "json_object"}
    )
    assert json.loads(plain.choices[0].message.content) == {"answer": GREETING}
    schema = {"name": "w", "schema": WEATHER["function"]["parameters"], "strict": True}
    shaped = mistral.chat.complete(
        model="mistral-small-latest",
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    assert json.loads(shaped.choices[0].message.content) == SAMPLE


def test_embeddings_have_length_one_and_depend_on_the_text(gateway, mistral):
    answer = mistral.embeddings.create(model="mistral-embed", inputs=["a", "b", "a"])
    one, other, same = [item.embedding for item in answer.data]
    assert one == same != other
    assert sum(value * value for value in one) == pytest.approx(1, abs=1e-3)
    small = mistral.embeddings.create(model="mistral-embed", inputs="a", output_dimension=4)
    assert len(small.data[0].embedding) == 4


def test_fim_and_agents_complete_and_stream(gateway, mistral):
    fim = {"model": "codestral-latest", "prompt": "def f(x):\n"}
    assert "return" in mistral.fim.complete(**fim).choices[0].message.content
    agent = {"agent_id": "ag:1", "messages": HELLO}
    assert mistral.agents.complete(**agent).choices[0].message.content == GREETING
    for stream in (mistral.fim.stream(**fim), mistral.agents.stream(**agent)):
        with stream:
            assert "".join(event.data.choices[0].delta.content for event in stream)


def test_a_conversation_goes_on_and_can_be_read_back(gateway, mistral):
    talks = mistral.beta.conversations
    first = talks.start(model="mistral-small-latest", inputs="Hello")
    assert first.outputs[0].content == GREETING
    again = talks.append(conversation_id=first.conversation_id, inputs="What is tea?")
    assert "tea" in again.outputs[0].content
    assert again.conversation_id == first.conversation_id
    history = talks.get_history(conversation_id=first.conversation_id)
    assert [entry.content for entry in history.entries][:2] == ["Hello", GREETING]


def test_a_conversation_is_streamed_in_named_events(gateway, mistral):
    with mistral.beta.conversations.start_stream(
        model="mistral-small-latest", inputs=[{"role": "user", "content": "Hello"}]
    ) as stream:
        events = list(stream)
    assert [events[0].event, events[-1].event] == [
        "conversation.response.started",
        "conversation.response.done",
    ]
    assert "".join(event.data.content for event in events[1:-1]) == GREETING
    assert events[-1].data.usage.prompt_tokens == 1


def test_models_are_listed_and_shown(gateway, mistral):
    names = [card.id for card in mistral.models.list().data]
    assert "mistral-small-latest" in names
    assert mistral.models.retrieve(model_id="mistral-embed").id == "mistral-embed"
    with pytest.raises(Exception, match="Not Found") as caught:
        mistral.models.retrieve(model_id="nothing")
    assert caught.value.status_code == 404


def test_a_file_lives_from_upload_to_deletion(gateway, mistral):
    content = "é\n".encode() * 700_000
    card = mistral.files.upload(file={"file_name": "a b.pdf", "content": content}, purpose="ocr")
    assert (card.filename, card.size_bytes, card.purpose) == ("a b.pdf", len(content), "ocr")
    assert [item.id for item in mistral.files.list().data] == [card.id]
    assert mistral.files.retrieve(file_id=card.id).deleted is False
    download = mistral.files.download(file_id=card.id)
    assert b"".join(download.iter_bytes()) == content
    download.close()
    assert card.id in mistral.files.get_signed_url(file_id=card.id).url
    assert mistral.files.delete(file_id=card.id).deleted is True
    assert mistral.files.list().data == []


def test_ocr_reads_one_page(gateway, mistral):
    document = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
    answer = mistral.ocr.process(model="mistral-ocr-latest", document=document)
    assert "https://example.com/a.pdf" in answer.pages[0].markdown
    assert answer.usage_info.pages_processed == 1


def test_moderation_and_classification_judge_every_input(gateway, mistral):
    model = "mistral-moderation-latest"
    judged = mistral.classifiers.moderate(model=model, inputs=["kind", "I will kill"])
    flags = [result.categories["violence_and_threats"] for result in judged.results]
    assert flags == [False, True]
    talk = mistral.classifiers.moderate_chat(model=model, inputs=HELLO)
    assert len(talk.results) == 1
    classes = mistral.classifiers.classify(model="ft:x", inputs=["a", "b"])
    assert classes.results[0]["target"].scores["friendly"] == 0.9
    name = "inputs" if MAJOR == 1 else "input"
    chats = mistral.classifiers.classify_chat(model="ft:x", **{name: [{"messages": HELLO}]})
    assert len(chats.results) == 1


def test_a_recording_is_transcribed_whole_and_streamed(gateway, mistral):
    ask = {"model": "voxtral-mini-latest", "file": {"file_name": "a.mp3", "content": b"\0\1"}}
    text = "This is what I heard in a.mp3."
    assert mistral.audio.transcriptions.complete(**ask).text == text
    with mistral.audio.transcriptions.stream(**ask) as stream:
        events = [event.data for event in stream]
    assert "".join(event.text for event in events[:-1]) == text == events[-1].text


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"messages": [{"role": "user", "content": "x"}]}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": [1], "max_completion_tokens": 1}', "max_completion_tokens"),
        (b"[1]", "model"),
        (b"no json", 0),
    ],
)
def test_a_wrong_body_is_refused_as_mistral_does(gateway, mistral, body, problem):
    answer = http.post(
        gateway.url + "/mistral/v1/chat/completions",
        content=body,
        headers={
            "cf-aig-authorization": f"Bearer {gateway.token}",
            "authorization": f"Bearer {gateway.mistral_api_key}",
        },
        trust_env=False,
    )
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][-1] == problem


def test_the_sdk_reads_a_422_as_a_validation_error(gateway, mistral):
    gateway.upstream_fail(status=422)
    with pytest.raises(Exception, match=r"422|Value error|validation") as caught:
        mistral.chat.complete(model="m", messages=HELLO)
    assert type(caught.value).__name__ == "HTTPValidationError"


@pytest.mark.parametrize("status", [401, 429, 500])
def test_the_sdk_reads_other_failures_as_sdk_errors(gateway, mistral, status):
    gateway.upstream_fail(status=status)
    with pytest.raises(Exception, match=str(status)) as caught:
        mistral.chat.complete(model="m", messages=HELLO)
    assert caught.value.status_code == status
    assert caught.value.headers["cf-aig-log-id"] == gateway.logs[0].id


async def test_async_calls_work_too(gateway):
    headers = {"cf-aig-authorization": f"Bearer {gateway.token}"}
    async with http.AsyncClient(headers=headers, trust_env=False) as client:
        mistral = Mistral(
            api_key=gateway.mistral_api_key,
            server_url=gateway.url + "/mistral",
            async_client=client,
        )
        stream = await mistral.chat.stream_async(model="m", messages=HELLO)
        async with stream:
            said = [event.data.choices[0].delta.content async for event in stream]
    assert "".join(said) == GREETING
