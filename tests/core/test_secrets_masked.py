"""What a server quotes of the secrets that it was sent is masked in every text of ours."""

from __future__ import annotations

import logging

import pytest
from http_records import Reply, completion, stream
from opentelemetry.sdk.trace import TracerProvider
from pydantic import SecretStr
from secret_searches import KEY, OTHER, TOKEN, shown_in

from mistral_cf_adapter import GatewayError, GatewaySettings, capture, make_client, patch
from mistral_cf_adapter._sdk import Mistral
from mistral_cf_adapter._secrets import abbreviate, mask

SAID = f"bad token {TOKEN}: key Bearer {KEY}%20{OTHER}"


@pytest.fixture
def settings(gateway):
    return GatewaySettings(base_url=gateway.base_url, token=TOKEN, mistral_api_key=KEY)


def error(status=401, code=2009):
    return Reply(status, {"success": False, "error": [{"code": code, "message": SAID}]})


def event(text):
    return Reply(200, text.encode(), {"content-type": "text/event-stream"})


ANSWERS = {
    "an error": error(),
    "an error that may pass": error(429, 2003),
    "an error without a code": Reply(403, {"success": False, "message": f"policy {SAID}"}),
    "an array": Reply(400, {"success": False, "errors": [SAID]}),
}
STREAMS = {
    "an event": event(f'data: {{"error": {{"message": "{SAID}"}}}}\n\n'),
    "a named event": event(f'event: error\ndata: {{"message": "{SAID}"}}\n\n'),
    "Mistral's": event(f'data: {{"object": "error", "message": "{SAID}"}}\n\n'),
}


def told_by(error):
    return "\n".join([str(error), repr(error), error.message, *getattr(error, "__notes__", ())])


@pytest.mark.parametrize("way", ["made", "patched"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_in_the_message_of_an_error(gateway, settings, mode, answer, way):
    gateway.replies.append(answer)
    headers = {"Authorization": f"Bearer {OTHER}"}
    with patch(settings=settings):
        client = make_client(settings) if way == "made" else Mistral(api_key=KEY)
        with pytest.raises(GatewayError) as caught:
            mode.chat(client, http_headers=headers)
    assert not shown_in(told_by(caught.value), TOKEN, KEY, OTHER)
    assert "cfut...1b" in str(caught.value)
    assert "Zq7x...6u" in str(caught.value)
    # The server's own text, as the SDK's errors have it.
    assert SAID in caught.value.body
    assert SAID in caught.value.raw_response.text


@pytest.mark.parametrize("answer", STREAMS.values(), ids=STREAMS)
def test_in_the_message_of_a_streams_error(gateway, settings, stream_mode, answer):
    gateway.replies.append(answer)
    with pytest.raises(GatewayError) as caught:
        stream_mode.chat(make_client(settings), http_headers={"Authorization": f"Bearer {OTHER}"})
    assert not shown_in(told_by(caught.value), TOKEN, KEY, OTHER)
    assert "cfut...1b" in str(caught.value)


QUOTED = {
    "cf-aig-log-id": f"log {TOKEN}",
    "cf-aig-model": KEY,
    "cf-aig-event-id": f"Bearer {KEY}",
    "cf-aig-dlp": f'{{"findings": "{TOKEN}"}}',
}


def test_in_logs_spans_and_captured_calls(gateway, settings, mode, caplog):
    reply = stream() if mode.is_stream else completion()
    gateway.replies.append(Reply(200, reply.body, reply.headers | QUOTED))
    tracer = TracerProvider().get_tracer("test")
    caplog.set_level(logging.DEBUG, "mistral_cf_adapter")
    with capture() as found, tracer.start_as_current_span("mine") as span:
        mode.chat(make_client(settings))
    told = [repr(found), span.to_json(), *(record.getMessage() for record in caplog.records)]
    assert found[-1].log_id == "log cfut...1b"
    assert found[-1].dlp == {"findings": "cfut...1b"}
    assert not shown_in("\n".join(told), TOKEN, KEY)


def test_in_the_note_on_a_stream_that_breaks_off(gateway, settings, stream_mode):
    gateway.replies.append(Reply(200, stream().body, stream().headers | QUOTED, cut=True))
    with pytest.raises(Exception) as caught:
        stream_mode.chat(make_client(settings))
    assert "cf-aig-log-id: log cfut...1b" in "".join(caught.value.__notes__)


# ---------------------------------------------------------------- the one function


def masked(text, *secrets):
    return mask(text, [SecretStr(secret) for secret in secrets])


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("x", "proxy of gateway.ai.cloudflare.com"),
        ("gateway", "There is no gateway at gateway.ai.cloudflare.com"),
        ("cloudflare", "The call to gateway.ai.cloudflare.com"),
        ("test-key", "a test-key is one for tests"),
        ("12345678", "log 0123456789, log a12345678"),
        ("", "nothing"),
    ],
)
def test_what_is_no_secret_stays(secret, text):
    assert masked(text, secret) == text


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        ("12345678", "key 12345678.", "key ***."),
        ("abc-1234", "token=abc-1234&x", "token=***&x"),
        ("a.c+1234", "abc+1234 a.c+1234", "abc+1234 ***"),
        (KEY, f"%20{KEY}x", "%20Zq7x...6ux"),
        ("cf-token-0451", '"cf-token-0451"', '"***"'),
    ],
)
def test_what_is_one_is_masked(secret, text, expected):
    assert masked(text, secret) == expected


@pytest.mark.parametrize("secret", ["", "short", "fifteen-letters"])
def test_a_short_secret_is_not_shown_in_part(secret):
    assert abbreviate(SecretStr(secret)) == "***"
