"""No secret is a plain variable of a frame that an exception passes: error trackers show those."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import warnings

import pytest
from call_modes import SYNC
from fault_scripts import good
from fault_server import FaultServer
from http_records import PREFIX, Reply
from object_walks import PACKAGE, errors_of, frames_of, locals_of
from secret_searches import KEY, OTHER, TOKEN, shown_in

from mistral_cf_adapter import (
    GatewayConfigError,
    GatewayError,
    GatewaySettings,
    gateway_headers,
    gateway_options,
    make_client,
    on_call,
    patch,
)
from mistral_cf_adapter._sdk import Mistral, httpx
from mistral_cf_adapter._settings import from_environment

ENVIRONMENT = {"CLOUDFLARE_ACCOUNT_ID": "acc", "CF_AIG_TOKEN": TOKEN, "MISTRAL_API_KEY": KEY}


def check(error):
    """Nothing of ours, nor what we call, shows a secret; and the error came through us at all."""
    shown = [*locals_of(error), *map(repr, errors_of(error)), *map(str, errors_of(error))]
    assert not [text for text in shown if shown_in(text, TOKEN, KEY, OTHER)]
    assert any(frame.f_code.co_filename.startswith(PACKAGE) for frame in frames_of(error))


@pytest.fixture
def environment(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


# ---------------------------------------------------------------- settings

FROM_ENVIRONMENT = {
    "no account": {"CLOUDFLARE_ACCOUNT_ID": None},
    "an account that is none": {"CLOUDFLARE_ACCOUNT_ID": "<x>"},
    "an option out of range": {"CF_AIG_CACHE_TTL": "1"},
    "a base URL without TLS": {"CF_AIG_BASE_URL": "http://x.y"},
    "providers that are no JSON": {"CF_AIG_PROVIDERS": "x"},
    "a provider that is none": {"CF_AIG_PROVIDER": "openai"},
    "a token as copied": {"CF_AIG_TOKEN": f"Bearer: {TOKEN}"},
    "a token in quotes": {"CF_AIG_TOKEN": f'"{TOKEN}"'},
    "a key with a line break": {"MISTRAL_API_KEY": f"{KEY}\n"},
    "two tokens and an error": {"CLOUDFLARE_AI_GATEWAY_TOKEN": OTHER, "CF_AIG_BYOK": "perhaps"},
    "fallback with a stored key": {"CF_AIG_FALLBACK": "direct", "CF_AIG_BYOK": "true"},
    "a file that is not there": {"CF_AIG_ENV_FILE": "/nowhere/.env"},
}
READERS = {
    "GatewaySettings": GatewaySettings,
    "from_environment": from_environment,
    "make_client": make_client,
    "make_client with a key": lambda: make_client(api_key=OTHER),
    "patch": patch,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("changes", FROM_ENVIRONMENT.values(), ids=FROM_ENVIRONMENT)
def test_of_the_environment(environment, changes, read):
    for name, value in changes.items():
        environment.delenv(name) if value is None else environment.setenv(name, value)
    with warnings.catch_warnings(action="ignore"), pytest.raises(GatewayConfigError) as caught:
        read()
    check(caught.value)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_of_a_warning_that_is_an_error(environment, read):
    environment.setenv("CLOUDFLARE_AI_GATEWAY_TOKEN", OTHER)
    with pytest.raises(UserWarning, match="differ") as caught:
        read()
    check(caught.value)


KEYWORDS = {
    "an option out of range": {"cache_ttl": 1},
    "stored keys and a key": {"byok": True},
    "a name that is misspelt": {"tokn": OTHER},
    "a name that is none": {"cloudflare_api_token": OTHER},
    "a token under its variable's name": {"CF_AIG_TOKEN": f"Bearer: {OTHER}"},
    "a token in a list": {"token": [OTHER]},
    "a token in a dict": {"token": {"value": OTHER}},
    "a token as bytes": {"token": f"Bearer: {OTHER}".encode()},
    "a file that cannot be": {"_env_file": 5},
    "a directory that is a file": {"_secrets_dir": __file__},
    "no such directory": {"_secrets_dir": "/nowhere"},
}


@pytest.mark.parametrize("wrong", KEYWORDS.values(), ids=KEYWORDS)
def test_of_keywords(wrong):
    given = {"account_id": "acc", "token": TOKEN, "mistral_api_key": KEY, **wrong}
    with pytest.raises(Exception) as caught:  # of `-W error` and of pathlib, too
        GatewaySettings(**given)
    check(caught.value)


def test_of_a_copy(environment):
    settings = GatewaySettings()
    for changed in ({"token": f"Bearer: {OTHER}"}, {"tokn": OTHER}, {"cache_ttl": 1}):
        with pytest.raises(GatewayConfigError) as caught:
            settings.model_copy(update={"mistral_api_key": OTHER, **changed})
        check(caught.value)


FILES = {
    "an option out of range": f"CF_AIG_TOKEN={TOKEN}\nCF_AIG_CACHE_TTL=1\n".encode(),
    "a token that is none": f"CF_AIG_TOKEN='Bearer: {TOKEN}'\n".encode(),
    "no text": f"CF_AIG_TOKEN={TOKEN}\nX=\xff\n".encode("latin-1"),
    "UTF-16": f"CF_AIG_TOKEN={TOKEN}\n".encode("utf-16"),
    "no account": f"CF_AIG_TOKEN={TOKEN}\nMISTRAL_API_KEY={KEY}\n".encode(),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_of_a_file(tmp_path, monkeypatch, content):
    file = tmp_path / "settings.env"
    file.write_bytes(content)
    monkeypatch.setenv("CF_AIG_ENV_FILE", str(file))
    with pytest.raises(GatewayConfigError) as caught:
        make_client()
    check(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads anything")
def test_of_a_file_that_may_not_be_read(tmp_path, environment):
    file = tmp_path / "settings.env"
    file.touch(mode=0)
    with pytest.raises(GatewayConfigError, match="cannot read") as caught:
        GatewaySettings(_env_file=file)
    check(caught.value)


def test_of_a_directory_of_secrets(tmp_path):
    (tmp_path / "CF_AIG_TOKEN").write_text(f"Bearer: {TOKEN}")
    (tmp_path / "MISTRAL_API_KEY").write_text(KEY)
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(account_id="acc", _secrets_dir=tmp_path)
    check(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
def test_of_a_secret_that_is_no_text(tmp_path, encoding):
    (tmp_path / "CF_AIG_TOKEN").write_bytes(f"{TOKEN}\xff".encode(encoding))
    (tmp_path / "MISTRAL_API_KEY").write_text(KEY)
    with pytest.raises(GatewayConfigError) as caught:
        GatewaySettings(account_id="acc", _secrets_dir=tmp_path)
    check(caught.value)


def test_of_a_file_that_nothing_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"CF_AIG_TOKEN={TOKEN}\nMISTRAL_API_KEY={KEY}\n")
    with pytest.raises(GatewayConfigError, match="sets CF_AIG_TOKEN and MISTRAL_API_KEY") as caught:
        make_client()
    check(caught.value)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_of_a_look_alike_whose_warning_is_an_error(environment, read):
    environment.delenv("CF_AIG_TOKEN")
    environment.setenv("CF_AI_GATEWAY_TOKEN", OTHER)
    with pytest.raises(UserWarning, match="not read") as caught:
        read()
    check(caught.value)


# ---------------------------------------------------------------- arguments


def settings_of(**values):
    given = {"account_id": "acc", "token": TOKEN, "mistral_api_key": KEY}
    return GatewaySettings(**{**given, **values})


OPTIONS = {
    "gateway_options": lambda: gateway_options(token=OTHER),
    "gateway_options out of range": lambda: gateway_options(cache_ttl=1),
    "gateway_headers": lambda: gateway_headers(authorization=f"Bearer {OTHER}"),
    "gateway_headers with endpoint": lambda: gateway_headers(endpoint="compat"),
}
ARGUMENTS = {
    **OPTIONS,
    "a token in place of settings": lambda: make_client(TOKEN),
    "a dict in place of settings": lambda: make_client({"token": TOKEN}),
    "a token by keyword": lambda: make_client(token=TOKEN),
    "a name that is misspelt": lambda: make_client(settings_of(), api_kye=OTHER),
    "an address": lambda: make_client(settings_of(), api_key=OTHER, server_url="https://x"),
    "a stored key and a key": lambda: make_client(
        settings_of(mistral_api_key=None, byok=True), api_key=OTHER
    ),
    "a client that is none": lambda: make_client(settings_of(), api_key=OTHER, client=object()),
    "a client that follows redirects": lambda: make_client(
        settings_of(), api_key=OTHER, client=Redirecting()
    ),
    "patch() and a token": lambda: patch(TOKEN),
    "patch() and no settings": lambda: patch(settings={"token": TOKEN}),
    "patch() and another server": lambda: patch(
        Mistral(api_key=OTHER, server_url=f"https://me:{OTHER}@x.example"), settings=settings_of()
    ),
}


class Redirecting:
    follow_redirects = True

    def send(self, request, *, stream=False):
        raise NotImplementedError

    def build_request(self, *args, **kwargs):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError


@pytest.mark.parametrize("call", ARGUMENTS.values(), ids=ARGUMENTS)
def test_of_arguments(call):
    with pytest.raises((TypeError, GatewayConfigError, AssertionError)) as caught:
        call()
    check(caught.value)


WRONG = {
    "a keyword that is none": {"api_kye": OTHER},
    "a client that is none": {"client": object()},
    "a server that is none": {"server": "moon"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("by_position", [True, False])
def test_of_a_client_that_is_built_under_patch(wrong, by_position):
    positional, named = ((OTHER,), {}) if by_position else ((), {"api_key": OTHER})
    with pytest.raises(Exception) as bare:
        Mistral(*positional, **named, **wrong).models.list()
    with patch(settings=settings_of()), pytest.raises(Exception) as caught:
        Mistral(*positional, **named, **wrong).models.list()
    assert (type(caught.value), str(caught.value)) == (type(bare.value), str(bare.value))
    check(caught.value)


def test_of_a_warning_under_patch(monkeypatch):
    with patch(settings=settings_of()), pytest.raises(UserWarning) as caught:
        Mistral(api_key=OTHER, server_url="https://codestral.mistral.ai")
    check(caught.value)


# ---------------------------------------------------------------- calls


def quoting(status=401):
    """Return an error of the gateway's that quotes what it was sent."""
    error = {"code": 2009, "message": f"bad token {TOKEN}, bad key Bearer {KEY}"}
    return Reply(status, {"success": False, "error": [error]})


def event(text):
    return Reply(200, text.encode("latin-1"), {"content-type": "text/event-stream"})


SCENES = {
    "refused": [quoting()],
    "busy": [quoting(503)],
    "no page": [Reply(530, f"error code: 1016 {TOKEN}".encode())],
    "nowhere": [Reply.redirect(f"ftp://x/{TOKEN}")],
    "circle": [Reply.redirect(f"{PREFIX}/mistral/v1/chat/completions")] * 25,
    "cut": [Reply(200, {"x": "y"}, cut=True)],
    "an event that is an error": [event(f'data: {{"error": "{TOKEN} {KEY}"}}\n\n')],
    "an error by its name": [event(f'event: error\ndata: {{"message": "{TOKEN} {KEY}"}}\n\n')],
    "an error at the end": [event(f'data: {{"error": "{TOKEN} {KEY}"}}')],
    "an end without its mark": [event(f"data: {KEY}")],
    "no text": [event(f"data: {TOKEN}\xff\n\n")],
}


@contextlib.contextmanager
def settings_with_the_key(base_url):
    yield make_client(settings_of(base_url=base_url))


@contextlib.contextmanager
def client_with_the_key(base_url):
    yield make_client(settings_of(base_url=base_url, mistral_api_key=None), api_key=KEY)


@contextlib.contextmanager
def patched_client(base_url):
    with patch(settings=settings_of(base_url=base_url, mistral_api_key=None)):
        yield Mistral(api_key=KEY)


@contextlib.contextmanager
def settings_with_callables(base_url):
    values = {"token": lambda: TOKEN, "mistral_api_key": lambda: KEY}
    yield make_client(settings_of(base_url=base_url, **values))


BUILDERS = [settings_with_the_key, client_with_the_key, patched_client, settings_with_callables]


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_of_a_call(gateway, mode, scene, build):
    gateway.replies += scene
    with build(gateway.base_url) as client, pytest.raises(Exception) as caught:
        mode.chat(client)
    if isinstance(caught.value, GatewayError):
        check(caught.value)
    shown = locals_of(caught.value, below=PACKAGE)  # of the SDK's and of the HTTP library's errors
    assert not [text for text in shown if shown_in(text, TOKEN, KEY)]


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_of_a_call_that_functions_and_the_log_get(gateway, mode, scene, caplog):
    async def note(call):
        calls.append(call)

    gateway.replies += scene
    calls = []
    caplog.set_level("DEBUG", "mistral_cf_adapter")
    with (
        settings_with_the_key(gateway.base_url) as client,
        on_call(calls.append),
        on_call(note),
        pytest.raises(Exception) as caught,
    ):
        mode.chat(client)
    shown = [*locals_of(caught.value, below=PACKAGE), *map(repr, calls), caplog.text]
    assert not [text for text in shown if shown_in(text, TOKEN, KEY)]
    assert len(calls) == 2


QUOTED = f": {TOKEN}{KEY}\n\n".encode()  # a comment of an event stream
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Sent: " + QUOTED.strip() + b"\r\n"
CHUNKS = b"%sTransfer-Encoding: chunked\r\n\r\n%s" % (
    HEAD,
    3 * (b"%x\r\n%s\r\n" % (len(QUOTED), QUOTED)),
)
BROKEN = {
    "a head": HEAD,
    "a length": HEAD + b"Content-Length: 500\r\n\r\n" + QUOTED,
    "a chunk": CHUNKS + b"fff\r\n" + QUOTED,
    "a size": CHUNKS + b"xyz\r\n" + QUOTED,
    "the end of a chunk": CHUNKS + b"2\r\n" + QUOTED,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
async def test_of_a_response_that_breaks_off_in(text, mode):
    """On a connection that was used, where it is read directly."""

    def play(wire, request):
        if len(server.requests) == 1:
            good(wire, request)
        else:
            wire.send(text)
            wire.close()

    with FaultServer(play) as server, settings_with_the_key(server.base_url) as client:
        await mode.chat_in_loop(client)
        with pytest.raises((GatewayError, httpx.TransportError)) as caught:
            await mode.chat_in_loop(client)
        assert server.connections == 1
    shown = locals_of(caught.value, below=PACKAGE)
    assert not [text for text in shown if shown_in(text, TOKEN, KEY)]


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {OTHER}\n"}, {"Authorization": f"é{OTHER}"}, {"X": 5}, {"X": None}],
)
def test_of_a_header_by_hand(gateway, mode, headers):
    client = make_client(settings_of(base_url=gateway.base_url))
    headers = {"cf-aig-authorization": f"Bearer {TOKEN}", **headers}
    with pytest.raises((GatewayConfigError, TypeError)) as caught:
        mode.chat(client, http_headers=headers)
    check(caught.value)


def test_of_a_call_without_a_key(gateway, mode):
    client = make_client(settings_of(base_url=gateway.base_url, mistral_api_key=None))
    with pytest.raises(GatewayConfigError, match="no Mistral key") as caught:
        mode.chat(client)
    check(caught.value)


def test_of_metadata_that_is_too_much(gateway, mode):
    settings = settings_of(base_url=gateway.base_url, metadata=dict.fromkeys("abcde", 1))
    with pytest.raises(GatewayConfigError) as caught:
        mode.chat(make_client(settings), http_headers=gateway_headers(metadata={"f": 1}))
    check(caught.value)


def test_of_a_gateway_that_is_not_there(gateway, mode):
    settings = settings_of(base_url="http://127.0.0.1:9/v1/acc/gw")
    with pytest.raises(httpx.ConnectError) as caught:
        mode.chat(make_client(settings, api_key=OTHER))
    check(caught.value)


def test_of_a_fallback_that_fails_too(gateway, monkeypatch):
    monkeypatch.setattr("mistral_cf_adapter._flow.MISTRAL_URL", "http://127.0.0.1:9")
    settings = settings_of(base_url="http://127.0.0.1:9/v1/acc/gw", fallback="direct")
    with pytest.raises(httpx.ConnectError) as caught:
        SYNC.chat(make_client(settings))
    check(caught.value)


def test_of_a_call_that_is_cancelled(gateway):
    arrived, released = threading.Event(), threading.Event()

    def wait(request):
        arrived.set()
        released.wait(30)
        return Reply()

    async def call():
        task = asyncio.create_task(client.models.list_async())
        assert await asyncio.to_thread(arrived.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    gateway.responder = wait
    client = make_client(settings_of(base_url=gateway.base_url), api_key=OTHER)
    error = asyncio.run(call())
    released.set()
    check(error)
