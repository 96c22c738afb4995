"""The OpenAI-compatible endpoint and dynamic routes: chat goes there, the rest stays."""

from __future__ import annotations

import json

import pydantic
import pytest
from call_modes import SYNC
from http_records import KEY, PREFIX, TEXT, Reply
from retry_configs import retries

from mistral_cf_adapter import gateway_options, make_client

COMPAT = f"{PREFIX}/compat/chat/completions"


@pytest.fixture
def compat(make_settings):
    return make_client(make_settings(endpoint="compat"))


MODELS = [
    ("mistral-small-latest", "mistral/mistral-small-latest"),
    ("mistral/mistral-small-latest", "mistral/mistral-small-latest"),
    ("dynamic/support", "dynamic/support"),
    ("openai/gpt-5", "openai/gpt-5"),
    ("custom-x/model", "custom-x/model"),
]


@pytest.mark.parametrize(("model", "expected"), MODELS)
def test_a_bare_model_gets_mistrals_prefix_and_others_stay(gateway, compat, mode, model, expected):
    assert mode.chat(compat, model=model) == TEXT
    assert gateway.last.path == COMPAT
    assert json.loads(gateway.last.body)["model"] == expected
    assert gateway.last.header("host") == f"127.0.0.1:{gateway.port}"
    assert gateway.last.header("authorization") == f"Bearer {KEY}"
    assert list(gateway.last.gateway) == ["cf-aig-authorization"]


def test_the_rest_of_the_body_stays_as_it_is(gateway, client, compat, mode):
    options = {"temperature": 0.3, "tools": [_TOOL], "stop": ["é\x00"], "safe_prompt": True}
    mode.chat(client, "Zoë 😀", **options)
    mode.chat(compat, "Zoë 😀", **options)
    native, sent = (json.loads(request.body) for request in gateway.requests)
    assert {**sent, "model": native["model"]} == native
    assert gateway.last.header("content-length") == str(len(gateway.last.body))


_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def test_a_block_chooses_the_endpoint(gateway, client, compat, mode):
    with gateway_options(endpoint="compat"):
        mode.chat(client)
    mode.chat(client)
    with gateway_options(endpoint="native"):
        mode.chat(compat)
    with gateway_options(endpoint=None):
        mode.chat(compat)
    compat_or_not = [request.path == COMPAT for request in gateway.requests]
    assert compat_or_not == [True, False, False, False]


def test_options_travel_to_the_compat_endpoint(gateway, make_settings, mode):
    client = make_client(make_settings(endpoint="compat", cache_ttl=60))
    with gateway_options(metadata={"a": 1}):
        mode.chat(client)
    assert gateway.last.gateway["cf-aig-cache-ttl"] == "60"
    assert gateway.last.gateway["cf-aig-metadata"] == '{"a":1}'
    assert "cf-aig-endpoint" not in gateway.last.gateway


def test_other_operations_keep_the_native_path(gateway, compat):
    compat.models.list()
    compat.embeddings.create(model="mistral-embed", inputs=["a"])
    SYNC.upload(compat, b"x")
    assert all(request.path.startswith(f"{PREFIX}/mistral/v1/") for request in gateway.requests)
    assert json.loads(gateway.requests[1].body)["model"] == "mistral-embed"


class Answer(pydantic.BaseModel):
    number: int


def test_structured_answers_are_parsed_from_the_compat_endpoint(gateway, compat):
    gateway.replies.append(_completion('{"number": 7}'))
    answer = compat.chat.parse(
        response_format=Answer,
        model="mistral-small-latest",
        messages=[{"role": "user", "content": "x"}],
    )
    assert answer.choices[0].message.parsed == Answer(number=7)
    assert gateway.last.path == COMPAT


def _completion(text):
    message = {"role": "assistant", "content": text, "refusal": None}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "mistral-small-latest",
        "system_fingerprint": None,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return Reply(body=body)


def test_an_answer_in_openais_shape_parses(gateway, compat, plain_mode):
    gateway.replies.append(_completion("Bonjour"))
    assert plain_mode.chat(compat) == TEXT


def test_a_custom_provider_keeps_its_prefix_off_the_compat_endpoint(gateway, make_settings, mode):
    client = make_client(make_settings(endpoint="compat", provider="custom-eu"))
    mode.chat(client)
    assert json.loads(gateway.last.body)["model"] == "custom-eu/mistral-small-latest"


def test_stored_keys_work_on_the_compat_endpoint(gateway, make_settings, mode):
    client = make_client(make_settings(endpoint="compat", byok=True, mistral_api_key=None))
    mode.chat(client)
    assert gateway.last.header("authorization") is None


def test_a_retry_on_the_compat_endpoint_sends_the_same_again(gateway, compat, mode):
    gateway.replies.append(Reply(503, {}))
    assert mode.chat(compat, retries=retries()) == TEXT
    assert gateway.requests[0].body == gateway.requests[1].body
    assert gateway.requests[0].path == gateway.requests[1].path == COMPAT


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_from_the_compat_endpoint_keeps_its_body(gateway, compat, mode, status):
    gateway.responder = None
    gateway.replies.append(Reply.redirect(f"{COMPAT}?moved", status))
    assert mode.chat(compat) == TEXT
    assert gateway.requests[0].body == gateway.requests[1].body
