"""What is made by the bare SDK of every major can be listed, shown, changed and deleted by it."""

from __future__ import annotations

import io
import json
import wave
from base64 import b64decode
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

MODEL = "mistral-small-latest"
HELLO = [{"role": "user", "content": "Hello"}]
GREETING = "Hello! It is lovely to hear from you through the gateway."
UUID = "11111111-2222-4333-8444-555555555555"

pytestmark = pytest.mark.filterwarnings(r"ignore:.*\* DEPRECATED:DeprecationWarning")
newer = pytest.mark.skipif(MAJOR < 2, reason="mistralai 1 has no such methods")


@pytest.fixture(scope="module")
def mistral(served):
    headers = {"cf-aig-authorization": f"Bearer {served.token}"}
    with http.Client(headers=headers, trust_env=False) as client:
        yield Mistral(
            api_key=served.mistral_api_key, server_url=served.url + "/mistral", client=client
        )


@pytest.fixture(autouse=True)
def gateway(local_gateway):
    return local_gateway


def assert_gone(call, **ids):
    with pytest.raises(Exception, match="Not Found") as caught:
        call(**ids)
    assert caught.value.status_code == 404


def download(url):
    return http.get(url, trust_env=False).content


def upload(mistral, lines, purpose="batch"):
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    file = {"file_name": "input.jsonl", "content": content}
    return mistral.files.upload(file=file, purpose=purpose).id


# ---------------------------------------------------------------- files


def test_files_are_listed_by_purpose_and_downloaded_from_a_signed_url(mistral):
    batch, tuning = upload(mistral, [1]), upload(mistral, [2], "fine-tune")
    listed = mistral.files.list(purpose="batch", page_size=10_000).data
    assert batch in [file.id for file in listed]
    assert tuning not in [file.id for file in listed]
    url = mistral.files.get_signed_url(file_id=tuning).url
    assert download(url) == b"2\n"
    mistral.files.delete(file_id=tuning)
    assert http.get(url, trust_env=False).status_code != 200
    assert_gone(mistral.files.retrieve, file_id=tuning)


# ---------------------------------------------------------------- batch jobs


def test_a_batch_job_runs_its_lines_and_leaves_files_of_results(mistral):
    lines = [
        {"custom_id": "good", "body": {"messages": HELLO}},
        {"custom_id": "bad", "body": {"messages": []}},
    ]
    job = mistral.batch.jobs.create(
        input_files=[upload(mistral, lines)], endpoint="/v1/chat/completions", model=MODEL
    )
    assert (job.status, job.total_requests) == ("QUEUED", 2)
    job = mistral.batch.jobs.get(job_id=job.id)
    assert (job.status, job.succeeded_requests, job.failed_requests) == ("SUCCESS", 1, 1)
    done, failed = [results(mistral, file) for file in (job.output_file, job.error_file)]
    assert [done["custom_id"], failed["custom_id"]] == ["good", "bad"]
    said = done["response"]["body"]["choices"][0]["message"]["content"]
    assert said == GREETING
    assert failed["response"]["status_code"] == 422
    assert job.id in [each.id for each in mistral.batch.jobs.list(page_size=10_000).data]


def results(mistral, file):
    answer = mistral.files.download(file_id=file)
    content = answer.read()
    answer.close()
    return json.loads(content)


def test_a_batch_job_can_be_canceled_before_it_is_shown(mistral):
    lines = [{"body": {"input": "x", "model": "m"}}]
    job = mistral.batch.jobs.create(input_files=[upload(mistral, lines)], endpoint="/v1/embeddings")
    assert mistral.batch.jobs.cancel(job_id=job.id).status == "CANCELLATION_REQUESTED"
    assert mistral.batch.jobs.get(job_id=job.id).status == "CANCELLED"
    assert_gone(mistral.batch.jobs.get, job_id=UUID)


def test_a_batch_job_with_a_line_that_is_no_request_fails_and_says_which(mistral):
    job = mistral.batch.jobs.create(
        input_files=[upload(mistral, [{"body": {"model": "m", "input": "x"}}, [1]])],
        endpoint="/v1/embeddings",
    )
    job = mistral.batch.jobs.get(job_id=job.id)
    assert job.status == "FAILED"
    assert "line 2" in job.errors[0].message


@newer
def test_a_batch_job_takes_its_requests_inline_and_gives_the_results_so(mistral):
    requests = [{"custom_id": "1", "body": {"model": "m", "input": "kill"}}]
    job = mistral.batch.jobs.create(requests=requests, endpoint="/v1/moderations")
    job = mistral.batch.jobs.get(job_id=job.id, inline=True)
    assert job.outputs[0]["response"]["body"]["results"][0]["categories"]["violence_and_threats"]
    assert mistral.batch.jobs.delete(job_id=job.id).deleted
    assert_gone(mistral.batch.jobs.get, job_id=job.id)


# ---------------------------------------------------------------- agents


def test_an_agent_has_versions_of_which_one_is_in_use(mistral):
    agents = mistral.beta.agents
    agent = agents.create(model=MODEL, name="a", instructions="one", tools=[{"type": "web_search"}])
    assert (agent.version, agent.instructions) == (0, "one")
    changed = agents.update(agent_id=agent.id, instructions="two")
    assert (changed.version, changed.instructions, changed.name) == (1, "two", "a")
    assert agents.update_version(agent_id=agent.id, version=0).instructions == "one"
    assert agents.get(agent_id=agent.id).instructions == "one"
    assert agent.id in [each.id for each in agents.list(page_size=10_000)]
    assert_gone(agents.get, agent_id="ag_none")


@newer
def test_a_version_of_an_agent_has_aliases(mistral):
    agents = mistral.beta.agents
    agent = agents.create(model=MODEL, name="a", instructions="one")
    agents.update(agent_id=agent.id, instructions="two")
    agents.create_version_alias(agent_id=agent.id, alias="live", version=0)
    assert agents.get(agent_id=agent.id, agent_version="live").instructions == "one"
    assert [each.alias for each in agents.list_version_aliases(agent_id=agent.id)] == ["live"]
    assert [each.version for each in agents.list_versions(agent_id=agent.id)] == [1, 0]
    assert agents.get_version(agent_id=agent.id, version="1").instructions == "two"
    agents.delete_version_alias(agent_id=agent.id, alias="live")
    assert_gone(agents.get, agent_id=agent.id, agent_version="live")
    agents.delete(agent_id=agent.id)
    assert_gone(agents.get, agent_id=agent.id)


# ---------------------------------------------------------------- libraries


def test_a_library_keeps_documents_until_it_is_deleted(mistral):
    libraries = mistral.beta.libraries
    library = libraries.create(name="facts", description="of life")
    ids = {"library_id": library.id}
    file = {"file_name": "a.txt", "content": b"forty-two"}
    document = libraries.documents.upload(**ids, file=file)
    ids["document_id"] = document.id
    assert (document.name, document.extension, document.size) == ("a.txt", "txt", 9)
    assert libraries.documents.status(**ids).processing_status == "Completed"
    assert libraries.documents.text_content(**ids).text == "forty-two"
    assert download(libraries.documents.get_signed_url(**ids)) == b"forty-two"
    assert download(libraries.documents.extracted_text_signed_url(**ids)) == b"forty-two"
    libraries.documents.reprocess(**ids)
    assert libraries.documents.update(**ids, name="b.txt").name == "b.txt"
    assert [each.name for each in libraries.documents.list(library_id=library.id).data] == ["b.txt"]
    assert libraries.get(library_id=library.id).nb_documents == 1
    libraries.documents.delete(**ids)
    assert_gone(libraries.documents.get, **ids)
    assert libraries.update(library_id=library.id, name="new").name == "new"
    assert library.id in [each.id for each in libraries.list().data]
    libraries.delete(library_id=library.id)
    assert_gone(libraries.get, library_id=library.id)


def test_a_library_is_shared(mistral):
    library = mistral.beta.libraries.create(name="facts")
    accesses = mistral.beta.libraries.accesses
    whom = {"org_id": UUID, "share_with_uuid": UUID, "share_with_type": "User"}
    accesses.update_or_create(library_id=library.id, level="Viewer", **whom)
    assert [each.role for each in accesses.list(library_id=library.id).data] == ["Viewer"]
    accesses.delete(library_id=library.id, **whom)
    assert accesses.list(library_id=library.id).data == []


# ---------------------------------------------------------------- models and fine-tuning


@pytest.mark.skipif(MAJOR > 1, reason="mistralai 2 and 3 have no jobs of fine-tuning")
def test_a_fine_tuning_job_makes_a_model(mistral):
    jobs = mistral.fine_tuning.jobs
    job = jobs.create(
        model="open-mistral-7b",
        hyperparameters={"training_steps": 1},
        training_files=[{"file_id": upload(mistral, [1], "fine-tune")}],
        auto_start=False,
    )
    assert job.status == "VALIDATED"
    assert jobs.get(job_id=job.id).status == "VALIDATED"
    assert jobs.start(job_id=job.id).status == "QUEUED"
    done = jobs.get(job_id=job.id)
    assert done.status == "SUCCESS"
    name = done.fine_tuned_model
    assert mistral.models.retrieve(model_id=name).job == job.id
    assert mistral.models.update(model_id=name, name="mine").name == "mine"
    assert mistral.models.archive(model_id=name).archived
    assert not mistral.models.unarchive(model_id=name).archived
    assert mistral.models.delete(model_id=name).deleted
    assert_gone(mistral.models.retrieve, model_id=name)
    assert job.id in [each.id for each in jobs.list().data]
    other = jobs.create(model="m", hyperparameters={"training_steps": 1})
    assert jobs.cancel(job_id=other.id).status == "CANCELLED"


# ---------------------------------------------------------------- conversations


def tool(name):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def test_a_conversation_calls_a_function_and_hears_its_result(mistral):
    talks = mistral.beta.conversations
    asked = talks.start(model=MODEL, inputs="Use get_weather", tools=[tool("get_weather")])
    call = asked.outputs[0]
    assert (call.type, call.name) == ("function.call", "get_weather")
    result = {"type": "function.result", "tool_call_id": call.tool_call_id, "result": "sunny"}
    told = talks.append(conversation_id=asked.conversation_id, inputs=[result])
    assert told.outputs[0].content == "Here is what I found: sunny"
    history = talks.get_history(conversation_id=asked.conversation_id).entries
    kinds = ["message.input", "function.call", "function.result", "message.output"]
    assert [entry.type for entry in history] == kinds
    messages = talks.get_messages(conversation_id=asked.conversation_id).messages
    assert [entry.type for entry in messages] == [kinds[0], kinds[3]]


def test_a_call_of_a_function_is_streamed(mistral):
    with mistral.beta.conversations.start_stream(
        model=MODEL, inputs="Use get_weather", tools=[tool("get_weather")]
    ) as stream:
        events = list(stream)
    assert [each.event for each in events] == [
        "conversation.response.started",
        "function.call.delta",
        "conversation.response.done",
    ]
    assert events[1].data.name == "get_weather"


def test_a_conversation_restarts_from_one_of_its_entries(mistral):
    talks = mistral.beta.conversations
    first = talks.start(model=MODEL, inputs="Hello")
    talks.append(conversation_id=first.conversation_id, inputs="What is tea?")
    entries = talks.get_history(conversation_id=first.conversation_id).entries
    again = talks.restart(
        conversation_id=first.conversation_id, from_entry_id=entries[1].id, inputs="What is ink?"
    )
    assert again.conversation_id != first.conversation_id
    said = [
        entry.content
        for entry in talks.get_history(conversation_id=again.conversation_id).entries
        if entry.type == "message.input"
    ]
    assert said == ["Hello", "What is ink?"]


def test_a_conversation_with_an_agent_names_it_and_one_that_is_not_stored_is_gone(mistral):
    talks = mistral.beta.conversations
    agent = mistral.beta.agents.create(model=MODEL, name="a")
    talk = talks.start(agent_id=agent.id, inputs="Hello")
    assert talks.get(conversation_id=talk.conversation_id).agent_id == agent.id
    secret = talks.start(model=MODEL, inputs="Hello", store=False)
    assert_gone(talks.get, conversation_id=secret.conversation_id)


# ---------------------------------------------------------------- audio


@newer
def test_speech_is_a_sound_and_is_streamed(mistral):
    said = mistral.audio.speech.complete(input="Hello", response_format="wav", stream=False)
    with wave.open(io.BytesIO(b64decode(said.audio_data))) as sound:
        assert sound.getnframes() == 800
    with mistral.audio.speech.complete(input="Hello", stream=True) as stream:
        events = [event.data for event in stream]
    pieces = b"".join(b64decode(event.audio_data) for event in events[:-1])
    assert pieces == b64decode(said.audio_data)
    assert events[-1].type == "speech.audio.done"


@newer
def test_a_voice_lives_from_its_sample_to_its_deletion(mistral):
    voices = mistral.audio.voices
    voice = voices.create(name="me", sample_audio="UklGRg==", languages=["en"])
    assert voices.get(voice_id=voice.id).name == "me"
    assert voices.update(voice_id=voice.id, name="you").name == "you"
    assert voice.id in [each.id for each in voices.list(limit=1000).items]
    sample = voices.get_sample_audio(voice_id=voice.id)
    assert sample.read() == b"RIFF"
    sample.close()
    voices.delete(voice_id=voice.id)
    assert_gone(voices.get, voice_id=voice.id)


# ---------------------------------------------------------------- prompts and skills


@pytest.mark.skipif(MAJOR < 3, reason="the names differ in older releases")
def test_a_prompt_has_versions_and_aliases(mistral):
    prompts = mistral.beta.prompts
    prompt = prompts.create(name="greet", definition={"content": "Hello"}, aliases=["live"])
    again = prompts.create_version(prompt_id=prompt.id, definition={"content": "Hello"})
    assert (again.version, again.deduplicated) == (1, True)
    second = prompts.create_version(prompt_id=prompt.id, definition={"content": "Hi"})
    assert second.version == 2
    assert prompts.get(prompt_id=prompt.id).definition.content == "Hi"
    assert prompts.get(prompt_id=prompt.id, alias="live").definition.content == "Hello"
    assert len(prompts.list_versions(prompt_id=prompt.id).data) == 2
    prompts.delete(prompt_id=prompt.id)
    assert_gone(prompts.get, prompt_id=prompt.id)


# ---------------------------------------------------------------- connectors


@pytest.mark.skipif(MAJOR < 3, reason="the names differ in older releases")
def test_a_connector_is_found_by_id_or_name_and_calls_its_tool(mistral):
    connectors = mistral.beta.connectors
    server = {"protocol": "mcp", "server": "https://example.com/mcp"}
    made = connectors.create(request={"name": "wiki", "description": "d", **server})
    assert connectors.get(connector_id_or_name="wiki").id == made.id
    said = connectors.call_tool(connector_id_or_name="wiki", tool_name="find", arguments={"a": 1})
    assert said.content[0].text == 'find: {"a": 1}'
    ids = {"connector_id_or_name": "wiki"}
    mine = {**ids, "consumer_scope": "user"}
    connectors.create_credentials(**mine, name="mine")
    names = [each.name for each in connectors.list_user_credentials(**ids).credentials]
    assert names == ["mine"]
    connectors.delete_credentials(**mine, credentials_name="mine")
    assert connectors.list_user_credentials(**ids).credentials == []
    changed = connectors.update(
        connector_id=made.id, request_body={"protocol": "mcp", "description": "new"}
    )
    assert changed.description == "new"
    connectors.delete(connector_id=made.id)
    assert_gone(connectors.get, connector_id_or_name="wiki")


# ---------------------------------------------------------------- responses

FLAT_TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
newest = pytest.mark.skipif(MAJOR < 3, reason="mistralai 1 and 2 have no responses")


@newest
def test_a_response_is_whole_or_streamed_and_can_be_scripted(mistral, gateway):
    whole = mistral.responses.create(model=MODEL, input="Hello")
    assert whole.output[0].content[0].text == GREETING
    assert whole.status == "completed"
    with mistral.responses.create(model=MODEL, input="Hello", stream=True) as stream:
        events = [each.data for each in stream]
    said = [each.delta for each in events if each.type == "response.output_text.delta"]
    assert "".join(said) == GREETING
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    assert [each.sequence_number for each in events] == list(range(len(events)))
    gateway.reply("Bonjour!")
    scripted = mistral.responses.create(model=MODEL, input=HELLO, instructions="Be brief")
    assert scripted.output[0].content[0].text == "Bonjour!"
    cut = mistral.responses.create(model=MODEL, input="Hello", max_output_tokens=2)
    assert cut.output[0].content[0].text == "Hello! It"
    assert cut.status == "incomplete"
    assert mistral.responses.count_input_tokens(model=MODEL, input="a b c").input_tokens == 3


@newest
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_calls_a_function_and_hears_its_result(mistral, stream):
    ask = {"model": MODEL, "tools": [FLAT_TOOL], "tool_choice": "required"}
    answer = mistral.responses.create(input="Hello", stream=stream, **ask)
    if stream:
        with answer:
            answer = [each.data for each in answer][-1].response
    call = answer.output[0]
    assert (call.type, call.name) == ("function_call", "get_weather")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    told = mistral.responses.create(input=[*HELLO, result], **ask)
    assert told.output[0].content[0].text == "Here is what I found: sunny"


def test_a_response_counts_tokens_and_fits_the_schema_that_is_asked_for(gateway):
    # By hand: mistralai 3.7.0 sends no `text`, and reads no `usage`.
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 4}}}
    form = {"type": "json_schema", "name": "x", "schema": schema}
    headers = {
        "cf-aig-authorization": f"Bearer {gateway.token}",
        "authorization": f"Bearer {gateway.mistral_api_key}",
    }
    body = {"model": MODEL, "input": "Hello there", "text": {"format": form}}
    url = gateway.url + "/mistral/v1/responses"
    answer = http.post(url, json=body, headers=headers, trust_env=False).json()
    assert json.loads(answer["output"][0]["content"][0]["text"]) == {"a": 4}
    assert answer["usage"]["input_tokens"] == 2


# ---------------------------------------------------------------- what is not there


def test_what_is_not_imitated_says_so_and_can_be_scripted(gateway):
    url = gateway.url + "/mistral/v1/admin/users"
    headers = {
        "cf-aig-authorization": f"Bearer {gateway.token}",
        "authorization": f"Bearer {gateway.mistral_api_key}",
    }
    answer = http.get(url, headers=headers, trust_env=False)
    assert answer.status_code == 501
    message = answer.json()["message"]
    assert "does not imitate GET /v1/admin/users of Mistral's API" in message
    assert "gateway.reply_json({...}, path='admin/users')" in message
    gateway.reply_json({"data": []}, path="admin/users")
    assert http.get(url, headers=headers, trust_env=False).json() == {"data": []}
