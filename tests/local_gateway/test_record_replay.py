"""What a local gateway records it can replay, and what it records has no secrets."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import yaml
from http_records import RecordingServer, Reply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mistral_cf_adapter import gateway_options, make_client
from mistral_cf_adapter.testing import Access, LocalGateway, cassette, cassette_bodies
from mistral_cf_adapter.testing.calls import read_events
from mistral_cf_adapter.testing.scrubbing import Scrubber

MODEL = "mistral-small-latest"
MAJOR = int(version("mistralai").partition(".")[0])
TOKEN, KEY = "gateway-token-0123456789", "mistral-key-abcdefghij"


def hello(text="Hello"):
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def upstream():
    """The embedded Mistral of another gateway, which stands for the real one."""
    with LocalGateway(authenticated=False, mistral_api_key=None) as gateway:
        yield gateway


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cassettes" / "cassette.yaml"


@pytest.fixture
def recording(upstream, path):
    with LocalGateway(
        upstream=upstream.url + "/mistral", record=path, token=TOKEN, mistral_api_key=KEY
    ) as gateway:
        upstream.reset()
        yield gateway


def ask_sync(gateway):
    """Use a text, streams, vectors, files, forms and an error; return what came."""
    client = make_client(gateway.settings())
    said = [client.chat.complete(model=MODEL, messages=hello()).choices[0].message.content]
    with client.chat.stream(model=MODEL, messages=hello("What is tea?")) as stream:
        said.append([event.data.choices[0].delta.content for event in stream])
    with client.beta.conversations.start_stream(model=MODEL, inputs="Hello") as stream:
        said.append([(event.event, event.data.type) for event in stream])
    said.append(client.embeddings.create(model="mistral-embed", inputs=["a", "b"]).data)
    file = {"file_name": "é.bin", "content": b"\0\1\xff" * 100}
    uploaded = client.files.upload(file=file, purpose="ocr")
    downloaded = client.files.download(file_id=uploaded.id)
    said.append(downloaded.read())
    downloaded.close()
    sound = {"file_name": "a.mp3", "content": b"\0\1"}
    said.append(client.audio.transcriptions.complete(model="voxtral", file=sound).text)
    with pytest.raises(Exception, match="Not Found") as caught:
        client.models.retrieve(model_id="nothing")
    return [*said, caught.value.status_code]


async def ask_async(gateway):
    client = make_client(gateway.settings())
    answers = await asyncio.gather(
        *(client.chat.complete_async(model=MODEL, messages=hello(text)) for text in ("a", "b"))
    )
    said = [answer.choices[0].message.content for answer in answers]
    async with await client.chat.stream_async(model=MODEL, messages=hello()) as stream:
        said.append([event.data.choices[0].delta.content async for event in stream])
    return said


@pytest.mark.parametrize("match", ["content", "order"])
def test_calls_are_replayed_as_they_were_recorded(recording, upstream, path, match):
    recorded = ask_sync(recording)
    assert len(upstream.requests) == 8
    with LocalGateway(replay=path, match=match) as gateway:
        assert ask_sync(gateway) == recorded
        gateway.assert_all_used()
    assert len(upstream.requests) == 8


async def test_asynchronous_calls_are_replayed_too(recording, path):
    recorded = await ask_async(recording)
    with LocalGateway(replay=path) as gateway:
        assert await ask_async(gateway) == recorded
        gateway.assert_all_used()


def test_a_stream_is_replayed_as_events_one_by_one(recording, path):
    body = {"model": MODEL, "messages": hello(), "stream": True}
    sent = [post(recording, body).text]
    with LocalGateway(replay=path) as gateway:
        sent.append(post(gateway, body).text)
    assert sent[0] == sent[1]


def post(gateway, body, path="/v1/chat/completions", **more):
    headers = {
        "cf-aig-authorization": f"Bearer {gateway.token}",
        "authorization": f"Bearer {gateway.mistral_api_key}",
        **more.pop("headers", {}),
    }
    url = f"{gateway.url}/mistral{path}"
    return httpx.post(url, json=body, headers=headers, trust_env=False, **more)


# ---------------------------------------------------------------- the file


def test_a_cassette_is_written_for_people(recording, path):
    ask_sync(recording)
    text = path.read_text(encoding="utf-8")
    entries = yaml.safe_load(text)
    assert list(entries[0]) == ["request", "response"]
    assert entries[0]["request"] == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": {"content-type": "application/json"},
        "json": {"model": MODEL, "messages": hello(), "stream": False},
    }
    assert entries[1]["response"]["events"][-1] == {"data": "[DONE]"}
    parts = {part["name"]: part for part in entries[4]["request"]["form"]}
    assert parts["purpose"] == {"name": "purpose", "text": "ocr"}
    assert parts["file"]["filename"] == "é.bin"
    assert base64.b64decode(entries[5]["response"]["base64"]) == b"\0\1\xff" * 100
    assert max(map(len, text.splitlines())) < 200
    assert "&id" not in text


def test_the_file_is_whole_after_each_call_and_in_the_order_of_the_requests(recording, path):
    for number in range(3):
        post(recording, {"model": MODEL, "messages": hello(str(number))})
        entries = cassette.load(path)
        said = [entry["request"]["json"]["messages"][0]["content"] for entry in entries]
        assert said == [str(each) for each in range(number + 1)]
    assert [each.name for each in path.parent.iterdir()] == ["cassette.yaml"]


def test_a_recording_replaces_the_file_at_its_first_call(upstream, path):
    path.parent.mkdir()
    path.write_text("[]")
    with LocalGateway(record=path) as gateway:
        assert path.read_text() == "[]"
        post(gateway, {"model": MODEL, "messages": hello()})
    assert len(cassette.load(path)) == 1


def test_a_compressed_response_is_recorded_as_what_it_says(path):
    with RecordingServer() as server:
        kind = {"content-type": "application/json", "content-encoding": "gzip"}
        server.replies.append(Reply(200, gzip.compress(b'{"a": 1}'), kind))
        with LocalGateway(upstream=server.origin, record=path) as gateway:
            assert post(gateway, {"model": "m"}, "/v1/x").json() == {"a": 1}
    assert cassette.load(path)[0]["response"]["json"] == {"a": 1}
    with LocalGateway(replay=path) as gateway:
        assert post(gateway, {"model": "m"}, "/v1/x").json() == {"a": 1}


@pytest.mark.parametrize("depth", [300, 900, 100_000])
def test_json_that_is_nested_too_deep_for_yaml_is_recorded_all_the_same(path, depth):
    deep = b"[" * depth + b"]" * depth
    with RecordingServer() as server:
        server.replies.append(Reply(200, deep, {"content-type": "application/json"}))
        with LocalGateway(upstream=server.origin, record=path) as gateway:
            assert post(gateway, {"model": "m"}, "/v1/x").content == deep
    with LocalGateway(replay=path) as gateway:
        assert post(gateway, {"model": "m"}, "/v1/x").content == deep


def test_a_file_that_holds_json_is_replayed_byte_by_byte(recording, path):
    content = b'{"a":  1.0}\n'
    file = {"file_name": "a.jsonl", "content": content}
    assert reload(recording, file) == content
    with LocalGateway(replay=path) as gateway:
        assert reload(gateway, file) == content


def reload(gateway, file):
    client = make_client(gateway.settings())
    answer = client.files.download(file_id=client.files.upload(file=file, purpose="batch").id)
    content = answer.read()
    answer.close()
    return content


def test_a_text_of_several_lines_is_a_block(recording, path):
    post(recording, {"model": MODEL, "messages": hello("one\ntwo\n")})
    assert "content: |\n          one\n          two\n" in path.read_text()


def test_a_cassette_that_is_full_refuses_the_next_call(path, monkeypatch):
    monkeypatch.setattr(cassette, "MAX_SIZE", 3000)
    ask = {"model": MODEL, "messages": hello("é" * 100)}
    with LocalGateway(record=path) as gateway:
        answers = [post(gateway, ask) for _ in range(9)]
        with pytest.raises(AssertionError, match="is full"):
            gateway.assert_all_used()
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 501
    assert "is full" in answers[-1].json()["message"]
    assert 0 < len(cassette.load(path)) < 9


# ---------------------------------------------------------------- secrets


def in_any_form(secret):
    raw = secret.encode()
    yield secret
    yield quote(secret, safe="")
    for start in range(3):
        yield base64.b64encode(raw[start:]).decode().rstrip("=")[: (len(raw) - start) // 3 * 4 - 4]


@pytest.mark.parametrize("where", ["body", "query", "path", "form", "base64", "binary"])
def test_no_secret_is_written_wherever_it_stands(upstream, path, where):
    access = Access()
    jwt = access.issue_jwt()
    secrets = [KEY, access.client_id, access.client_secret, "cookie-0123456789", jwt]
    everything = " ".join(secrets)
    with LocalGateway(
        upstream=upstream.url + "/mistral", record=path, mistral_api_key=KEY, access=access
    ) as gateway:
        headers = {
            "authorization": f"Bearer {KEY}",
            "cf-access-client-id": access.client_id,
            "cf-access-client-secret": access.client_secret,
            "cf-access-token": jwt,
            "cookie": "session=cookie-0123456789",
        }
        sent = {"url": f"{gateway.url}/mistral/v1/files", "method": "POST", "headers": headers}
        match where:
            case "body":
                sent["json"] = {"model": "m", everything: [everything], "api_key": "another-one"}
                secrets.append("another-one")
            case "query":
                sent["params"] = {"q": everything}
            case "path":
                sent["url"] += "/" + quote(everything, safe="")
            case "form":
                sent["files"] = {"file": (KEY, everything.encode())}
            case "base64":
                urls = [
                    base64.b64encode(b"x" * number + everything.encode()).decode()
                    for number in range(3)
                ]
                sent["json"] = {"urls": urls}
            case "binary":
                sent["content"] = b"\0" + everything.encode()
                headers["content-type"] = "application/octet-stream"
        httpx.request(**sent, trust_env=False)
    text = path.read_text()
    assert "[secret]" in text or where == "binary"
    written = text + str(cassette_bodies.read(cassette.load(path)[0]["request"]))
    for secret in secrets:
        for form in in_any_form(secret):
            assert form not in "".join(written.split())


def test_the_gateways_own_token_and_the_key_of_the_response_are_not_written(path):
    with RecordingServer() as server:
        server.replies.append(Reply(200, {"you": TOKEN, "key": KEY}, {"set-cookie": "a=b"}))
        with LocalGateway(
            upstream=server.origin, record=path, token=TOKEN, mistral_api_key=None
        ) as gateway:
            headers = {"authorization": f"Bearer {KEY}"}
            post(gateway, {"model": "m", "token": TOKEN}, "/v1/x", headers=headers)
    text = path.read_text()
    assert KEY not in text
    assert TOKEN not in text
    assert "set-cookie" not in text


def test_a_request_with_a_secret_in_it_is_replayed_with_another_secret(recording, path):
    post(recording, {"model": MODEL, "messages": hello(f"I am {TOKEN}")})
    with LocalGateway(replay=path, token="another-token") as gateway:
        answer = post(gateway, {"model": MODEL, "messages": hello("I am another-token")})
        assert answer.status_code == 200


# ---------------------------------------------------------------- the command line


def test_serve_records_what_an_upstream_answers_and_leaves_a_whole_file_when_killed(path):
    command = [sys.executable, "-m", "mistral_cf_adapter", "serve", "--port=0", f"--record={path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        try:
            url = served.stdout.readline().split()[-1]
            headers = {
                "cf-aig-authorization": "Bearer cf-test-token",
                "authorization": f"Bearer {KEY}",
            }
            with httpx.Client(headers=headers, trust_env=False) as client:
                for number in range(20):
                    ask = {"model": MODEL, "messages": hello(str(number))}
                    client.post(f"{url}/mistral/v1/chat/completions", json=ask)
        finally:
            served.kill()
    assert len(cassette.load(path)) == 20
    assert KEY not in path.read_text()


# ---------------------------------------------------------------- what does not fit


def test_a_request_that_fits_no_recording_is_told_the_closest_and_fails_the_test(recording, path):
    post(recording, {"model": MODEL, "messages": hello("far away"), "top_p": 1, "n": 1})
    post(recording, {"model": MODEL, "messages": hello()})
    with LocalGateway(replay=path) as gateway:
        client = make_client(gateway.settings())
        with pytest.raises(Exception, match="fits no recording") as caught:
            client.chat.complete(model=MODEL, messages=hello("Hallo"))
        assert caught.value.status_code == 501
        with pytest.raises(AssertionError) as failed:
            gateway.assert_all_used()
    message = str(failed.value)
    assert f"closest is {path}, entry 2 (POST /v1/chat/completions):" in message
    assert "  json.messages[0].content: recorded 'Hello', came 'Hallo'" in message
    assert "  json.stream: recorded nothing, came False" in message


def test_by_order_another_request_is_refused_and_what_is_left_fails_the_test(recording, path):
    for text in "ab":
        post(recording, {"model": MODEL, "messages": hello(text)})
    with LocalGateway(replay=path, match="order") as gateway:
        refused = post(gateway, {"model": MODEL, "messages": hello("b")})
        assert refused.status_code == 501
        assert "is not the next recording" in refused.json()["message"]
        assert post(gateway, {"model": MODEL, "messages": hello("a")}).status_code == 200
        with pytest.raises(AssertionError, match=r"entry 2 .* was not used"):
            gateway.assert_all_used()
        gateway.reset()
        for text in "ab":
            assert post(gateway, {"model": MODEL, "messages": hello(text)}).status_code == 200
        gateway.assert_all_used()
        late = post(gateway, {"model": MODEL, "messages": hello("a")})
        assert "came after all 2 recordings" in late.json()["message"]


def test_a_refused_request_is_not_retried_by_the_gateway(recording, path):
    post(recording, {"model": MODEL, "messages": hello()})
    with LocalGateway(replay=path) as gateway:
        post(gateway, {"model": MODEL}, headers={"cf-aig-max-attempts": "5"})
        assert len(gateway.upstream_requests) == 1


def test_by_content_equal_requests_get_their_responses_in_turn_and_the_last_one_again(path):
    with RecordingServer() as server:
        server.replies.extend(Reply(200, {"n": number}) for number in range(2))
        with LocalGateway(upstream=server.origin, record=path) as gateway:
            for _ in range(2):
                post(gateway, {"model": "m"}, "/v1/x")
    with LocalGateway(replay=path) as gateway:
        said = [post(gateway, {"model": "m"}, "/v1/x").json()["n"] for _ in range(3)]
        assert said == [0, 1, 1]
        gateway.assert_all_used()


def test_the_gateways_options_work_on_what_is_replayed(recording, path):
    ask = {"model": MODEL, "messages": hello()}
    make_client(recording.settings()).chat.complete(**ask)
    with LocalGateway(replay=path, match="order") as gateway:
        client = make_client(gateway.settings())
        with gateway_options(cache_ttl=60):
            for _ in range(2):
                client.chat.complete(**ask)
        assert [log.cached for log in gateway.logs] == [False, True]
        gateway.upstream_fail(500)
        assert post(gateway, {"model": "m"}).status_code == 500
        gateway.assert_all_used()


def test_a_stream_that_was_cut_is_cut_in_the_replay(upstream, path):
    ask = {"model": MODEL, "messages": hello(), "stream": True}
    upstream.reset()
    upstream.fault("cut_stream", keep=2)
    with (
        LocalGateway(upstream=upstream.url + "/mistral", record=path) as gateway,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        post(gateway, ask)
    response = cassette.load(path)[0]["response"]
    assert response["cut"] is True
    assert len(response["events"]) == 2
    with LocalGateway(replay=path) as gateway, pytest.raises(httpx.RemoteProtocolError):
        post(gateway, ask)


def test_a_provider_that_cannot_be_reached_is_not_recorded(path):
    with LocalGateway(upstream="http://127.0.0.1:9", record=path) as gateway:
        assert post(gateway, {"model": "m"}).json()["internalCode"] == 2005
    assert not path.exists()


# ---------------------------------------------------------------- mistakes

GOOD = "- request: {method: GET, path: /v1/models}\n  response: {status: 200, json: {}}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not YAML"),
        ("a: 1", "must be a list of entries"),
        (GOOD + "- 1", "entry 2, the whole"),
        (
            GOOD + GOOD.replace("200", "abc"),
            "entry 2, response.status: Input should be a",
        ),
        (GOOD.replace("200", "99"), "entry 1, response.status"),
        (
            GOOD.replace("200", '200, headers: {x: "a\\nb"}'),
            "entry 1, response.headers: headers: the header 'x' has a value with a line break",
        ),
        (GOOD.replace("method", "methud"), "entry 1, request.methud: Extra inputs are not permit"),
        (
            GOOD.replace("json: {}", "json: {}, text: x"),
            "entry 1, response: has more than one",
        ),
        (GOOD.replace("json: {}", "base64: '*'"), "entry 1, response.base64"),
        (GOOD.replace("json: {}", "json: {1a: 2020-01-01, a: !!binary aaaa}"), "is a bytes"),
        (GOOD.replace("{}", "&a [1, *a]"), "references"),
        (
            GOOD + GOOD.replace("{}", "{a: [{b: 1, c: 2, b: 3}]}"),
            "entry 2, response.json.a.0: the key 'b' is there twice (line 4)",
        ),
        (GOOD.replace("status: 200", "status: 200, status: 201"), "'status' is there twice"),
        (GOOD.replace("{}", "{1: a}"), "response.json: the key 1 is no text: put quotes around"),
        (GOOD.replace("{}", "{null: a}"), "response.json: the key null is no text"),
        (GOOD.replace("{}", "{[a]: b}"), "response.json: the key of several values is no text"),
        (GOOD.replace("{}", "{a: 1e999}"), "inf is a number which JSON has not"),
        (GOOD.replace("{}", "{a: !!float .nan}"), "nan is a number which JSON has not"),
        (GOOD.replace("json: {}", "events: [{dato: x}]"), "entry 1, response.events.0.dato"),
    ],
)
def test_a_mistake_in_a_cassette_is_named_with_file_entry_and_field(path, text, problem):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match=r"cassette\.yaml: ") as caught:
        LocalGateway(replay=path)
    assert problem in str(caught.value)


def test_a_device_or_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="/dev/null: cannot be read: it is a folder or a device"):
        cassette.load(Path("/dev/null"))
    with pytest.raises(ValueError, match="it is a folder or a device"):
        LocalGateway(replay=tmp_path)
    (tmp_path / "large.yaml").write_text(GOOD)
    monkeypatch.setattr(cassette, "MAX_SIZE", len(GOOD))
    assert len(cassette.load(tmp_path / "large.yaml")) == 1
    monkeypatch.setattr(cassette, "MAX_SIZE", len(GOOD) - 1)
    with pytest.raises(ValueError, match="over the limit of"):
        cassette.load(tmp_path / "large.yaml")


def test_numbers_written_by_hand_are_those_of_json(path):
    texts = ["12:30", "010", "1_000", "0x1F", ".nan", "-.inf", "+1", ".5", "1.", "<<", "="]
    numbers = ["0", "-7", "1e5", "1E-5", "0.5", "-1.5e+3", "123456789012345678901"]
    path.parent.mkdir()
    path.write_text(GOOD.replace("{}", f"[{', '.join([*texts, *numbers])}]"))
    (entry,) = cassette.load(path)
    assert entry["response"]["json"] == [*texts, *map(json.loads, numbers)]


def test_a_text_that_looks_like_a_number_is_recorded_with_quotes(path):
    texts = ["12:30", "010", "1_000", "1e5", "-0.5E7", "7", "~", "true", "on", "2020-01-01", "<<"]
    entry = {
        "request": {"method": "GET", "path": "/", "json": {each: each for each in texts}},
        "response": {"status": 200, "json": texts},
    }
    path.parent.mkdir()
    cassette.save(path, [cassette.write_entry(entry)])
    assert cassette.load(path) == [entry]


def test_words_and_dates_written_by_hand_are_texts(path):
    path.parent.mkdir()
    path.write_text(GOOD.replace("{}", "{a: no, b: 2020-01-01, c: true, d: on}"))
    with LocalGateway(replay=path) as gateway:
        headers = {"authorization": f"Bearer {gateway.mistral_api_key}"}
        headers["cf-aig-authorization"] = f"Bearer {gateway.token}"
        url = f"{gateway.url}/mistral/v1/models"
        answer = httpx.get(url, headers=headers, trust_env=False).json()
    assert answer == {"a": "no", "b": "2020-01-01", "c": True, "d": "on"}


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"replay": "x", "record": "y"}, "leave out record="),
        ({"replay": "x", "upstream": "http://127.0.0.1:9"}, "leave out upstream="),
        ({"replay": "x", "match": "some"}, "use one of content, order"),
    ],
)
def test_what_does_not_go_together_is_refused(keywords, problem):
    with pytest.raises(ValueError, match=problem):
        LocalGateway(**keywords)


def test_a_cassette_that_is_not_there_is_an_error(path):
    with pytest.raises(FileNotFoundError, match=r"cassette\.yaml"):
        LocalGateway(replay=path)


def test_without_pyyaml_the_error_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from mistral_cf_adapter.testing import LocalGateway\n"
        f"LocalGateway(record={str(tmp_path / 'a.yaml')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "record= and replay= need PyYAML: pip install" in done.stderr


# ---------------------------------------------------------------- any body

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(VALUES | st.sampled_from([["no"], ["2020-01-01"], ["1e5"], {"~": "a \n b\n\n"}, ["\ud800"]]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_read_from_a_cassette_as_it_was_written(tmp_path_factory, value):
    body = json.dumps(value).encode()
    shown = cassette_bodies.show(body, "application/json", Scrubber([]))
    text = cassette.write_entry({"request": shown, "response": shown})
    if text is None:
        shown = cassette_bodies.show_encoded(body, Scrubber([]))
        text = cassette.write_entry({"request": shown, "response": shown})
    read = yaml.load(text, Loader=cassette._LOADER)[0]["request"]
    assert json.loads(cassette_bodies.read(read)) == value


@given(st.binary() | st.text().map(lambda text: text.encode(errors="replace")))
@settings(max_examples=200, deadline=None)
def test_any_other_body_is_read_byte_by_byte(body):
    shown = cassette_bodies.show(body, "text/plain", Scrubber([]))
    text = cassette.write_entry(shown)
    read = yaml.load(text, Loader=cassette._LOADER)[0]
    assert cassette_bodies.read(read) == body


# ---------------------------------------------------------------- a large body


def test_a_large_body_is_read_and_written_apart_so_that_no_other_call_waits(
    upstream, path, monkeypatch
):
    threads = []
    write_entry = cassette.write_entry

    def write(entry):
        threads.append(threading.current_thread().name)
        return write_entry(entry)

    monkeypatch.setattr(cassette, "write_entry", write)
    large = {"model": MODEL, "messages": hello("word " * 20_000)}
    with LocalGateway(upstream=upstream.url + "/mistral", record=path) as gateway:
        said = post(gateway, large).json()
        streamed = post(gateway, {**large, "stream": True}).text
    with LocalGateway(replay=path) as gateway:
        assert post(gateway, large).json() == said
        assert post(gateway, {**large, "stream": True}).text == streamed
        gateway.assert_all_used()
    assert len(threads) == 6
    assert "local-gateway" not in threads


MANY = [{"a": [index, "\ud83d\ude00"], "b": None} for index in range(20_000)]
MANY_BODIES = {
    "JSON": (json.dumps({"data": MANY}).encode(), "application/json", "text"),
    "half an emoji": (json.dumps([*MANY, "\ud800"]).encode(), "application/json", "text"),
    "events": (
        b"".join(b'event: e\ndata: {"a": %d, "b": []}\n\n' % number for number in range(20_000)),
        "text/event-stream", "events",
    ),
    "one event": (b"data: %b\n\n" % json.dumps(MANY).encode(), "text/event-stream", "events"),
}  # fmt: skip


def seconds(function, *values):
    started = time.perf_counter()
    result = function(*values)
    return time.perf_counter() - started, result


@pytest.mark.parametrize(("body", "kind", "form"), MANY_BODIES.values(), ids=MANY_BODIES)
def test_a_body_of_many_values_is_written_as_fast_as_text(body, kind, form):
    shown = cassette_bodies.show(body, kind, Scrubber([]))
    assert list(shown) == [form]
    plain = cassette_bodies.show(b"x" * len(body), "text/plain", Scrubber([]))
    took, text = seconds(cassette.write_entry, {"response": shown})
    usual, _ = seconds(cassette.write_entry, {"response": plain})
    assert took < 20 * usual
    read = cassette_bodies.read(yaml.load(text, Loader=cassette._LOADER)[0]["response"])
    if kind == "application/json":
        assert json.loads(read) == json.loads(body)
    else:
        found = [json.loads(data) for _, data in read_events(read)]
        assert found == [json.loads(data) for _, data in read_events(body)]


def test_a_body_of_many_values_is_recorded_without_secrets_and_replayed(upstream, path):
    numbers = {"password": "hidden-by-its-name", "key": KEY, "numbers": list(range(60_000))}
    asked = {"model": MODEL, "messages": hello(), "metadata": numbers}
    with LocalGateway(
        upstream=upstream.url + "/mistral", record=path, mistral_api_key=KEY
    ) as gateway:
        said = post(gateway, asked).json()
        streamed = post(gateway, {**asked, "stream": True}).text
    written = path.read_text()
    assert KEY not in written
    assert "hidden-by-its-name" not in written
    assert len(written.splitlines()) < 20_000
    with LocalGateway(replay=path, mistral_api_key=KEY) as gateway:
        assert post(gateway, asked).json() == said
        assert post(gateway, {**asked, "stream": True}).text == streamed
        gateway.assert_all_used()


def test_a_body_of_many_values_may_be_written_by_hand(path):
    asked = {"model": MODEL, "messages": hello(), "metadata": {"numbers": list(range(60_000))}}
    request = {"method": "POST", "path": "/v1/chat/completions", "json": asked}
    entry = {"request": request, "response": {"status": 200, "json": {"said": "by hand"}}}
    path.parent.mkdir()
    path.write_text(json.dumps([entry]))
    with LocalGateway(replay=path) as gateway:
        assert post(gateway, asked).json() == {"said": "by hand"}


# ---------------------------------------------------------------- a file that cannot be written


def test_a_recording_that_cannot_be_a_file_is_refused_at_once(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder or a device"):
        LocalGateway(record=tmp_path)
    with pytest.raises(IsADirectoryError, match="is a folder or a device"):
        LocalGateway(record="/dev/null")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        LocalGateway(record=tmp_path / "file" / "cassette.yaml")


def test_a_folder_that_is_not_writable_is_refused_at_once(path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(PermissionError, match="its folder is not writable"):
        LocalGateway(record=path)


def test_a_recording_that_cannot_be_written_any_more_is_said_and_fails_the_test(upstream, path):
    with LocalGateway(upstream=upstream.url + "/mistral", record=path) as gateway:
        path.parent.rmdir()
        answer = post(gateway, {"model": MODEL, "messages": hello()})
        assert answer.status_code == 501
        assert answer.json()["name"] == "AiGatewayError"
        problem = f"The recording {path} cannot be written: No such file or directory"
        assert answer.json()["message"] == problem
        with pytest.raises(httpx.RemoteProtocolError):
            post(gateway, {"model": MODEL, "messages": hello(), "stream": True})
        with pytest.raises(AssertionError, match="cannot be written: No such file"):
            gateway.assert_all_used()
        gateway.reset()
        gateway.assert_all_used()


def test_two_gateways_may_write_the_same_file_at_the_same_time(tmp_path):
    path = tmp_path / "cassette.yaml"
    texts = ["# one\n" * 10_000, "# two\n" * 10_000]

    def save(number):
        for _ in range(100):
            cassette.save(path, [texts[number]])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, [0, 1]))
    assert path.read_text() in [cassette.HEADER + text for text in texts]
    assert list(tmp_path.iterdir()) == [path]
