"""Credentials that are callables: asked for each request, and stored nowhere."""

from __future__ import annotations

import asyncio
import copy
import enum
import functools
import io
import itertools
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import FunctionType

import pytest
from call_modes import ASYNC, SYNC
from client_ways import WAYS, with_make_client, with_patch
from http_records import KEY, PREFIX, TEXT, TOKEN, Reply
from object_walks import locals_of, serialized, texts_in
from secret_searches import shown_in

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewaySettings,
    GatewayUnauthorizedError,
    _flow,
    capture,
    gateway_options,
    make_client,
    patch,
)
from mistral_cf_adapter._sdk import ROOT, Mistral, SDKError, httpx
from mistral_cf_adapter._variables import SECRETS
from mistral_cf_adapter.cli.doctor import run_checks
from mistral_cf_adapter.cli.environment import print_environment
from mistral_cf_adapter.cli.flags import SettingFlags

HEADERS = {"token": "cf-aig-authorization", "mistral_api_key": "authorization"}
UTILS = import_module(f"{ROOT}.utils")
AT_ONCE = UTILS.RetryConfig("backoff", UTILS.BackoffStrategy(1, 1, 1, 60_000), True)
CODES = [2009, 10000, 10001, 9109]


class Counter:
    """A callable that returns another secret each time, and counts."""

    def __init__(self, prefix="secret-of-call", last=100):
        self.values = [f"{prefix}-{number:04}" for number in range(1, last + 1)]
        self.count = 0

    def __call__(self):
        value = self.values[min(self.count, len(self.values) - 1)]
        self.count += 1
        return value


def is_async(function):
    """Return the same as a coroutine function."""

    async def call():
        await asyncio.sleep(0)
        return function()

    return call


def as_object(function):
    class Object:
        async def __call__(self):
            return function()

    return Object()


def as_function(function):
    def call():
        return function()

    return call


def as_function_of_a_coroutine(function):
    def call():
        return is_async(function)()

    return call


SYNC_FORMS = {
    "a function": as_function,
    "an object": lambda function: function,
    "a partial": lambda function: functools.partial(lambda one: one(), function),
    "a method": lambda function: function.__call__,
}
ASYNC_FORMS = {
    "a coroutine function": is_async,
    "an object": as_object,
    "a partial": lambda function: functools.partial(is_async(function)),
    "a function that returns a coroutine": as_function_of_a_coroutine,
}
setting = pytest.mark.parametrize("name", HEADERS)


def sent(server, name):
    return [request.header(HEADERS[name]) for request in server.requests]


def bearer(function, count):
    return [f"Bearer {value}" for value in function.values[:count]]


def refusal(code=2009, status=401, text="no"):
    return Reply(status, {"success": False, "error": [{"code": code, "message": text}]})


def mistrals_refusal(text="Unauthorized"):
    return Reply(401, {"detail": text}, {"cf-aig-log-id": "log-1"})


# ---------------------------------------------------------------- asked for each request


def test_every_secret_is_tried_here_or_with_access():
    assert {*HEADERS, "access_client_secret", "access_token"} == set(SECRETS)


@setting
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", SYNC_FORMS.values(), ids=SYNC_FORMS)
def test_a_callable_is_asked_for_each_request(gateway, make_settings, mode, name, way, form):
    function = Counter()
    with way(make_settings(**{name: form(function)})) as client:
        assert function.count == 0
        for _ in range(3):
            assert mode.chat(client) == TEXT
    assert sent(gateway, name) == bearer(function, 3)
    assert function.count == 3


@setting
@pytest.mark.parametrize("way", [with_make_client, with_patch])
@pytest.mark.parametrize("form", ASYNC_FORMS.values(), ids=ASYNC_FORMS)
def test_an_asynchronous_one_is_awaited_or_refused(gateway, make_settings, mode, name, way, form):
    function = Counter()
    with way(make_settings(**{name: form(function)})) as client:
        if mode.is_async:
            assert [mode.chat(client) for _ in range(2)] == [TEXT] * 2
            assert sent(gateway, name) == bearer(function, 2)
            return
        with pytest.raises(GatewayConfigError, match=rf"^{name} is an asynchronous callable"):
            mode.chat(client)
    assert gateway.requests == []
    assert function.count == 0


def test_both_are_asked_and_a_prefix_is_taken_off(gateway, make_settings, mode):
    settings = make_settings(
        token=lambda: "Bearer token-of-now", mistral_api_key=is_async(lambda: "bearer key-of-now")
    )
    if not mode.is_async:
        settings = settings.model_copy(update={"mistral_api_key": lambda: "bearer key-of-now"})
    mode.chat(make_client(settings))
    assert gateway.last.header("cf-aig-authorization") == "Bearer token-of-now"
    assert gateway.last.header("authorization") == "Bearer key-of-now"


class Words(str, enum.Enum):  # noqa: UP042
    """Texts that format as their names."""

    SECRET = "text-of-a-member"


@setting
@pytest.mark.parametrize("secret", [Words.SECRET, lambda: Words.SECRET], ids=["text", "callable"])
def test_a_member_of_an_enum_is_its_text(gateway, make_settings, mode, name, secret):
    mode.chat(make_client(make_settings(**{name: secret})))
    assert sent(gateway, name) == ["Bearer text-of-a-member"]


@setting
def test_every_operation_asks(gateway, make_settings, plain_mode, name):
    client = make_client(make_settings(**{name: (function := Counter())}))
    plain_mode.upload(client, b"{}")
    if plain_mode.is_async:
        asyncio.run(client.models.list_async())
    else:
        client.models.list()
    assert sent(gateway, name) == bearer(function, 2)


@setting
def test_a_retry_of_the_sdk_asks_anew(gateway, make_settings, mode, name):
    gateway.replies += [Reply(503), Reply(503)]
    client = make_client(make_settings(**{name: (function := Counter())}), retry_config=AT_ONCE)
    assert mode.chat(client) == TEXT
    assert sent(gateway, name) == bearer(function, 3)


@setting
def test_threads_may_ask_at_the_same_time(gateway, make_settings, name):
    arrived = threading.Barrier(4, timeout=20)
    numbers = itertools.count()

    def ask():
        arrived.wait()
        return f"secret-of-a-thread-{next(numbers)}"

    client = make_client(make_settings(**{name: ask}))
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(SYNC.chat, [client] * 4)) == [TEXT] * 4
    assert set(sent(gateway, name)) == {f"Bearer secret-of-a-thread-{n}" for n in range(4)}


def test_the_compat_endpoint_gets_them_too(gateway, make_settings, mode):
    settings = make_settings(token=Counter("t"), mistral_api_key=Counter("k"), endpoint="compat")
    gateway.replies.append(refusal())
    mode.chat(make_client(settings))
    assert {request.path for request in gateway.requests} == {f"{PREFIX}/compat/chat/completions"}
    assert sent(gateway, "token") == ["Bearer t-0001", "Bearer t-0002"]
    assert sent(gateway, "mistral_api_key") == ["Bearer k-0001"] * 2


def test_a_redirect_keeps_them_below_the_gateway_alone(gateway, elsewhere, make_settings, mode):
    settings = make_settings(token=(token := Counter("t")), mistral_api_key=(key := Counter("k")))
    gateway.replies += [
        Reply.redirect(f"{PREFIX}/mistral/v1/moved"),
        Reply.redirect(f"{elsewhere.origin}/v1/chat/completions"),
    ]
    mode.chat(make_client(settings))
    assert sent(gateway, "token") == ["Bearer t-0001"] * 2
    assert sent(gateway, "mistral_api_key") == ["Bearer k-0001"] * 2
    assert sent(elsewhere, "token") == sent(elsewhere, "mistral_api_key") == [None]
    assert (token.count, key.count) == (1, 1)


def test_a_refusal_behind_a_redirect_elsewhere_asks_for_nothing(
    gateway, elsewhere, make_settings, mode
):
    settings = make_settings(token=(token := Counter("t")), mistral_api_key=(key := Counter("k")))
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/v1/chat/completions"))
    elsewhere.replies.append(mistrals_refusal())
    with pytest.raises(SDKError):
        mode.chat(make_client(settings))
    assert (len(gateway.requests), len(elsewhere.requests)) == (1, 1)
    assert (token.count, key.count) == (1, 1)


# ---------------------------------------------------------------- only where it is needed


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "cf-aig-authorization"])
def test_what_a_call_brings_is_not_asked_for(gateway, make_settings, mode, header):
    name = "token" if header == "cf-aig-authorization" else "mistral_api_key"
    client = make_client(make_settings(**{name: (function := Counter())}))
    mode.chat(client, http_headers={header: "Bearer brought"})
    assert gateway.last.header(header) == "Bearer brought"
    assert function.count == 0


def test_the_key_of_a_client_wins(gateway, make_settings, mode):
    settings = make_settings(mistral_api_key=(function := Counter()))
    mode.chat(make_client(settings, api_key="of-the-client"))
    mode.chat(make_client(settings, api_key=lambda: "of-the-client"))
    with patch(settings=settings):
        mode.chat(Mistral(api_key="of-the-client"))
    assert sent(gateway, "mistral_api_key") == ["Bearer of-the-client"] * 3
    assert function.count == 0


def test_it_wins_over_the_environment(gateway, make_settings, monkeypatch, mode, tmp_path):
    monkeypatch.setenv("MISTRAL_API_KEY", "of-the-environment")
    monkeypatch.setenv("CF_AIG_TOKEN", "of-the-environment")
    monkeypatch.setenv("MISTRAL_SA_TOKEN_PATH", str(tmp_path / "absent"))
    settings = make_settings(token=lambda: "token-of-now", mistral_api_key=lambda: "key-of-now")
    for way in (with_make_client, with_patch):
        with way(settings) as client:
            mode.chat(client)
    assert sent(gateway, "token") == ["Bearer token-of-now"] * 2
    assert sent(gateway, "mistral_api_key") == ["Bearer key-of-now"] * 2


def test_a_key_is_not_asked_for_beside_a_stored_one(gateway, make_settings, mode):
    client = make_client(make_settings(mistral_api_key=(function := Counter())))
    with gateway_options(byok_alias="production"):
        mode.chat(client)
    assert gateway.last.header("authorization") is None
    assert function.count == 0


def test_a_stored_key_contradicts_a_callable(make_settings):
    with pytest.raises(GatewayConfigError, match="byok and mistral_api_key contradict"):
        make_settings(mistral_api_key=lambda: KEY, byok=True)


@setting
def test_nothing_is_asked_for_a_request_that_is_refused(gateway, make_settings, name):
    client = make_client(make_settings(**{name: (function := Counter())}))
    with pytest.raises(GatewayConfigError):
        client.files.retrieve(file_id="../secrets")
    assert (gateway.requests, function.count) == ([], 0)


def test_a_call_elsewhere_gets_the_key_and_no_token(gateway, elsewhere, make_settings, mode):
    """As with a text: the key is Mistral's, and the caller names the server."""
    token, key = Counter("token"), Counter("key")
    client = make_client(make_settings(token=token, mistral_api_key=key))
    with pytest.warns(UserWarning, match="past AI Gateway"):
        mode.chat(client, server_url=elsewhere.origin)
    assert elsewhere.last.header("authorization") == "Bearer key-0001"
    assert elsewhere.last.gateway == {}
    assert (token.count, key.count, gateway.requests) == (0, 1, [])


def test_the_fallback_takes_the_key(elsewhere, make_settings, monkeypatch, mode):
    monkeypatch.setattr(_flow, "MISTRAL_URL", elsewhere.origin)
    monkeypatch.setattr(_flow, "_open_until", {})
    settings = make_settings(
        base_url="http://127.0.0.1:9/v1/acc/gw",
        fallback="direct",
        token=Counter("token"),
        mistral_api_key=(key := Counter("key")),
    )
    with pytest.warns(UserWarning, match="AI Gateway is down"):
        mode.chat(make_client(settings))
    assert elsewhere.last.header("authorization") == "Bearer key-0001"
    assert elsewhere.last.gateway == {}
    assert key.count == 1


def test_a_refusal_of_the_fallback_asks_for_nothing(elsewhere, make_settings, monkeypatch, mode):
    monkeypatch.setattr(_flow, "MISTRAL_URL", elsewhere.origin)
    monkeypatch.setattr(_flow, "_open_until", {})
    elsewhere.replies.append(mistrals_refusal())
    base_url, key = "http://127.0.0.1:9/v1/acc/gw", Counter("key")
    settings = make_settings(base_url=base_url, fallback="direct", mistral_api_key=key)
    with pytest.warns(UserWarning, match="AI Gateway is down"), pytest.raises(SDKError):
        mode.chat(make_client(settings))
    assert (len(elsewhere.requests), key.count) == (1, 1)


# ---------------------------------------------------------------- what cannot work

WRONG = {
    "empty": ("", "is blank"),
    "blank": ("  ", "is blank"),
    "None": (None, "is no text but NoneType"),
    "bytes": (b"hunter2", "is no text but bytes"),
    "a list": (["hunter2"], "is no text but list"),
    "a line break": ("hunter2\nhunter2", "line break"),
    "not ASCII": ("hunter2é", "has quotes"),
    "as copied": ("Bearer: hunter2", "starts with `Bearer:`"),
    "a coroutine function": (is_async, "is no text but function"),
}


@setting
@pytest.mark.parametrize(("value", "reason"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("form", [lambda function: function, is_async])
def test_what_is_no_secret_is_named_by_its_setting(
    gateway, make_settings, mode, name, value, reason, form
):
    if form is is_async and not mode.is_async:
        return
    client = make_client(make_settings(**{name: form(lambda: value)}))
    with pytest.raises(GatewayConfigError) as caught:
        mode.chat(client)
    assert str(caught.value).startswith(f"{name}: what its callable returned ")
    assert reason in str(caught.value)
    assert not [text for text in [str(caught.value), *locals_of(caught.value)] if "hunter2" in text]
    assert gateway.requests == []


ERRORS = [RuntimeError("no vault"), httpx.ConnectError("no vault"), KeyError("no vault")]


@setting
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("form", [lambda function: function, is_async])
def test_what_it_raises_reaches_the_caller_as_it_is(
    gateway, make_settings, mode, name, error, form
):
    if form is is_async and not mode.is_async:
        return

    def fail():
        raise error

    client = make_client(make_settings(**{name: form(fail)}))
    with capture() as calls:
        for _ in range(2):
            with pytest.raises(type(error), match="no vault") as caught:
                mode.chat(client)
            assert caught.value is error
            (note,) = [note for note in error.__notes__ if f"the setting {name};" in note]
    assert note.startswith("raised by the callable")
    assert gateway.requests == []
    assert calls == []


def test_a_call_that_is_cancelled_meanwhile_sends_nothing(gateway, make_settings):
    async def call():
        begun = asyncio.Event()

        async def wait():
            begun.set()
            await asyncio.sleep(60)

        client = make_client(make_settings(token=wait))
        task = asyncio.create_task(ASYNC.achat(client))
        await asyncio.wait_for(begun.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(call())
    assert gateway.requests == []


@pytest.mark.parametrize("value", [5, ["x"], {"x": "y"}])
@setting
def test_what_is_neither_a_text_nor_a_callable_is_refused(make_settings, name, value):
    with pytest.raises(
        GatewayConfigError, match=f"{name}: must be a text, or a callable"
    ) as caught:
        make_settings(**{name: value})
    assert ";" not in str(caught.value)


# ---------------------------------------------------------------- a secret that is refused


@pytest.mark.parametrize("code", CODES)
def test_the_gateways_refusal_asks_for_the_token_once_more(
    gateway, make_settings, mode, code, caplog
):
    caplog.set_level(logging.INFO, "mistral_cf_adapter")
    gateway.replies.append(refusal(code))
    settings = make_settings(token=(token := Counter("t")), mistral_api_key=(key := Counter("k")))
    with capture() as calls:
        assert mode.chat(make_client(settings)) == TEXT
    assert sent(gateway, "token") == ["Bearer t-0001", "Bearer t-0002"]
    assert sent(gateway, "mistral_api_key") == ["Bearer k-0001"] * 2
    assert (token.count, key.count) == (2, 1)
    assert gateway.requests[0].body == gateway.requests[1].body
    assert [call.status_code for call in calls] == [200]
    assert "token was refused, and is another by now: POST" in caplog.text
    assert "t-000" not in caplog.text


def test_mistrals_refusal_asks_for_the_key_once_more(gateway, make_settings, mode):
    gateway.replies.append(mistrals_refusal())
    settings = make_settings(token=(token := Counter("t")), mistral_api_key=(key := Counter("k")))
    assert mode.chat(make_client(settings)) == TEXT
    assert sent(gateway, "token") == ["Bearer t-0001"] * 2
    assert sent(gateway, "mistral_api_key") == ["Bearer k-0001", "Bearer k-0002"]
    assert (token.count, key.count) == (1, 2)


REFUSALS = {
    "token": (refusal, GatewayUnauthorizedError),
    "mistral_api_key": (mistrals_refusal, SDKError),
}


@setting
def test_the_same_value_is_not_sent_twice(gateway, make_settings, mode, name):
    refuse, error = REFUSALS[name]
    gateway.replies.append(refuse())
    client = make_client(make_settings(**{name: (function := Counter(last=1))}))
    with pytest.raises(error):
        mode.chat(client)
    assert (len(gateway.requests), function.count) == (1, 2)


@setting
def test_another_value_is_sent_once_and_then_the_error_is_raised(
    gateway, make_settings, mode, name
):
    refuse, error = REFUSALS[name]
    gateway.replies += [refuse(text="first"), refuse(text="second")]
    client = make_client(make_settings(**{name: (function := Counter())}))
    with capture() as calls, pytest.raises(error, match="second"):
        mode.chat(client)
    assert (len(gateway.requests), function.count) == (2, 2)
    assert [call.status_code for call in calls] == [401]


@pytest.mark.parametrize("name", [None, *HEADERS])
def test_a_text_that_is_refused_is_not_sent_twice(gateway, make_settings, mode, name):
    """A refusal of the one secret does not ask for the other."""
    for other in REFUSALS.keys() - {name}:
        refuse, error = REFUSALS[other]
        gateway.reset()
        gateway.replies.append(refuse())
        values = {} if name is None else {name: Counter()}
        with pytest.raises(error):
            mode.chat(make_client(make_settings(**values)))
        assert len(gateway.requests) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
def test_other_errors_ask_for_nothing(gateway, make_settings, status):
    gateway.replies.append(Reply(status, {"detail": "no"}, {"cf-aig-log-id": "log-1"}))
    settings = make_settings(token=(token := Counter()), mistral_api_key=(key := Counter()))
    with pytest.raises(SDKError):
        SYNC.chat(make_client(settings))
    assert (len(gateway.requests), token.count, key.count) == (1, 1, 1)


@pytest.mark.parametrize("rewinds", [True, False])
def test_a_body_that_can_be_sent_once_is_not_sent_again(
    gateway, make_settings, plain_mode, rewinds
):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    gateway.replies.append(refusal())
    client = make_client(make_settings(token=(function := Counter())))
    content = io.BufferedReader((io.BytesIO if rewinds else Pipe)(b"a line\n" * 5000))
    if rewinds:
        plain_mode.upload(client, content)
        first, second = gateway.requests
        assert len(first.body) == len(second.body) > 35_000
        return
    with pytest.raises(GatewayUnauthorizedError):
        plain_mode.upload(client, content)
    assert (len(gateway.requests), function.count) == (1, 1)


@setting
def test_what_it_raises_the_second_time_reaches_the_caller_too(gateway, make_settings, mode, name):
    refuse, _ = REFUSALS[name]
    gateway.replies.append(refuse())
    error = httpx.ConnectError("no vault")
    values = iter(["first-of-the-secrets"])

    def ask():
        for value in values:
            return value
        raise error

    with capture() as calls, pytest.raises(httpx.ConnectError) as caught:
        mode.chat(make_client(make_settings(**{name: ask})))
    assert caught.value is error
    assert error.__notes__[-1] == "asked once more after HTTP 401"
    assert [(call.status_code, call.outcome) for call in calls] == [(401, "error")]


@setting
def test_a_gateway_that_is_gone_by_then_is_the_error(gateway, make_settings, mode, name):
    refuse, _ = REFUSALS[name]
    gateway.replies += [refuse(), Reply(200, {"x": "y"}, cut=True)]
    with capture() as calls, pytest.raises(httpx.RemoteProtocolError):
        mode.chat(make_client(make_settings(**{name: Counter()})))
    assert [call.status_code for call in calls] == [200 if mode.is_stream else None]


def test_a_retry_after_a_refusal_asks_anew(gateway, make_settings, mode):
    gateway.replies += [refusal(), Reply(503), refusal()]
    client = make_client(make_settings(token=(function := Counter())), retry_config=AT_ONCE)
    assert mode.chat(client) == TEXT
    assert sent(gateway, "token") == bearer(function, 4)


# ---------------------------------------------------------------- stored and shown nowhere

LONG = "Zq7xWm3kVb9TnR2yLc5hJd8gFs1pQe6u"
OTHER = "Hy4bNt8vKx2mPw6cRz9sLd3fGj7qAe5o"


def vault(*values):
    """Return a function that returns these, and then the last one for ever."""
    left = list(values)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@setting
def test_nothing_that_lasts_holds_it(gateway, make_settings, mode, name):
    secrets = {name: functools.partial(lambda secret: secret, LONG)}
    with patch(settings=make_settings(**secrets)) as handle:
        clients = [make_client(make_settings(**secrets)), Mistral()]
        for client in clients:
            mode.chat(client)
        for thing in (handle, handle.settings, *clients, copy.deepcopy(handle.settings)):
            assert not shown_in("\n".join(texts_in(thing)), LONG)
            assert not shown_in(serialized(thing), LONG)
    assert sent(gateway, name) == [f"Bearer {LONG}"] * 2


@setting
def test_the_sdks_own_request_does_not_have_it(gateway, make_settings, mode, name):
    refuse, error = REFUSALS[name]
    gateway.replies += [refuse(), refuse()]
    with pytest.raises(error) as caught:
        mode.chat(make_client(make_settings(**{name: vault(LONG, OTHER)})))
    assert HEADERS[name] not in caught.value.raw_response.request.headers
    assert not shown_in("\n".join(texts_in(caught.value)), LONG, OTHER)


@pytest.mark.parametrize("status", [401, 429])
def test_what_a_server_quotes_is_masked_and_no_callable_is_asked_for_it(
    gateway, make_settings, mode, status
):
    text = f"{LONG} and {OTHER} are wrong"
    gateway.replies += [refusal(text=text), refusal(2003 if status == 429 else 2009, status, text)]
    function = vault(LONG, OTHER, "asked-too-often")
    with pytest.raises(SDKError) as caught:
        mode.chat(make_client(make_settings(token=function)))
    assert "Zq7x...6u and Hy4b...5o are wrong" in caught.value.message
    assert function() == "asked-too-often"
    shown = locals_of(caught.value)
    assert not [one for one in shown if shown_in(one, LONG, OTHER)]


def test_what_a_stream_quotes_is_masked(gateway, make_settings):
    event = f'data: {{"error": "{LONG} is wrong"}}\n\n'.encode()
    gateway.replies.append(Reply(200, event, {"content-type": "text/event-stream"}))
    client = make_client(make_settings(mistral_api_key=lambda: LONG))
    with pytest.raises(SDKError, match=r"Zq7x\.\.\.6u is wrong"):
        list(client.chat.stream(model="m", messages=[{"role": "user", "content": "x"}]))


@setting
def test_settings_show_that_there_is_a_callable(make_settings, name):
    settings = make_settings(**{name: functools.partial(lambda secret: secret, LONG)})
    assert f"{name}=<a callable>" in repr(settings)
    assert f'"{name}":"<a callable>"' in settings.model_dump_json()
    assert settings.provider_url.endswith("/mistral")
    assert callable(getattr(settings, name))
    assert getattr(settings, name)() == LONG
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(settings)
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(getattr(settings, name))


@setting
def test_settings_with_the_same_callable_are_equal(make_settings, name):
    function = Counter()
    one, other = make_settings(**{name: function}), make_settings(**{name: function})
    assert one == other == one.model_copy() == copy.deepcopy(one)
    assert one != make_settings(**{name: Counter()})
    assert hash(getattr(one, name)) == hash(getattr(other, name))


@setting
def test_a_copy_may_have_a_text_in_its_place(gateway, make_settings, name):
    settings = make_settings(**{name: (function := Counter())})
    SYNC.chat(make_client(settings.model_copy(update={name: "a-text-by-now"})))
    assert sent(gateway, name) == ["Bearer a-text-by-now"]
    assert function.count == 0
    changed = make_settings().model_copy(update={name: function})
    SYNC.chat(make_client(changed))
    assert sent(gateway, name)[1:] == bearer(function, 1)


def test_who_reads_the_key_of_a_client_gets_it(make_settings):
    client = make_client(make_settings(mistral_api_key=Counter("key")))
    assert client.sdk_configuration.security().api_key == "key-0001"
    assert client.sdk_configuration.security().api_key == "key-0002"


CALLERS = {
    "mistralai.client.chat": None,
    "mistralai.chat": None,
    "mistralai.extra.workflows.helpers": None,
    "mistralai.extra.realtime.speech": "key-0001",
    "mistralai.extra.connectors_gateway": "key-0001",
    "mistralai.extra.observability.telemetry": "key-0001",
    "application": "key-0001",
}


def read_security():
    return configuration.security  # noqa: F821 - of the module that it is put into


@pytest.mark.parametrize(("caller", "key"), CALLERS.items())
def test_the_sdk_gets_it_where_no_client_of_ours_sends(make_settings, caller, key):
    configuration = make_client(
        make_settings(mistral_api_key=(function := Counter("key")))
    ).sdk_configuration
    names = {"__name__": caller, "configuration": configuration}
    read = FunctionType(read_security.__code__, names)
    security = read()
    security = security() if callable(security) else security
    assert security.api_key == key
    assert function.count == (key is not None)


# ---------------------------------------------------------------- the command


class Flags(SettingFlags):
    """The flags of a program that has callables, which the command line has not."""

    def settings(self):
        return FLAG_SETTINGS[-1]


FLAG_SETTINGS: list[GatewaySettings] = []


@pytest.fixture
def doctor():
    def run(settings):
        FLAG_SETTINGS.append(settings)
        return run_checks(Flags(), offline=False, timeout=10)

    yield run
    FLAG_SETTINGS.clear()


@pytest.mark.parametrize("form", [lambda function: function, is_async])
def test_doctor_asks_once_for_its_call(gateway, make_settings, doctor, form):
    token, key = Counter("token"), Counter("key")
    report = doctor(make_settings(token=form(token), mistral_api_key=form(key)))
    assert report.settings["token"]["value"] == "a callable"
    assert report.settings["mistral_api_key"]["value"] == "a callable"
    assert (token.count, key.count) == (1, 1)
    assert sent(gateway, "token") == ["Bearer token-0001"]
    assert sent(gateway, "mistral_api_key") == ["Bearer key-0001"]


def test_doctor_explains_a_refusal_and_masks_it(gateway, make_settings, doctor):
    gateway.replies.append(Reply(400, {"detail": f"bad key {LONG}"}, {"cf-aig-log-id": "log-1"}))
    report = doctor(make_settings(mistral_api_key=lambda: LONG))
    assert "bad key Zq7x...6u" in report.problem.cause
    gateway.replies.append(refusal())
    function = Counter()
    assert doctor(make_settings(token=function)).problem.code == "token_rejected"
    assert function.count == 1


def test_doctor_names_a_callable_that_fails(gateway, make_settings, doctor):
    def fail():
        raise OSError(LONG)

    problem = doctor(make_settings(token=fail)).problem
    assert problem.code == "callable_failed"
    assert "OSError, raised by the callable that is the setting token" in problem.cause
    assert LONG not in str(problem)
    problem = doctor(make_settings(token=str)).problem
    assert "token: what its callable returned is blank" in problem.cause
    assert gateway.requests == []


def test_env_shows_a_callable(make_settings, capsys):
    settings = make_settings(token=(function := Counter()), mistral_api_key=function)
    print_environment(settings, None, style="shell", show_secrets=False)
    out = capsys.readouterr().out
    assert "# export CF_AIG_TOKEN='a callable'" in out
    assert "# export MISTRAL_API_KEY='a callable'" in out
    print_environment(settings, "curl", style="shell", show_secrets=False)
    assert function.count == 0


def test_a_key_and_a_token_are_kept_apart(gateway, make_settings):
    settings = make_settings(token=lambda: TOKEN, mistral_api_key=lambda: KEY)
    SYNC.chat(make_client(settings))
    assert gateway.last.gateway == {"cf-aig-authorization": f"Bearer {TOKEN}"}
    assert gateway.last.header("authorization") == f"Bearer {KEY}"
