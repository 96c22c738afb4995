"""Uploads from what cannot be rewound: sent once, and never empty with success."""

from __future__ import annotations

import gc
import io
from importlib import import_module
from typing import IO
from weakref import ref

import pytest
from fault_server import refusing
from http_records import KEY, Reply

from mistral_cf_adapter import (
    GatewayError,
    GatewayProviderError,
    GatewayRedirectError,
    _replays,
    _sdk,
    capture,
    make_client,
    patch,
)
from mistral_cf_adapter._sdk import ROOT, Mistral, SDKError, httpx

UTILS = import_module(f"{ROOT}.utils")
pytestmark = pytest.mark.usefixtures("slept")
FAILURE = "as in a bad hour"
CONTENT = b"one line\n" * 20_000
BUSY = Reply(503, {"message": "busy"}, {"cf-aig-log-id": "log-1"})
PROVIDER = {"success": False, "error": [{"code": 2005, "message": "no answer"}]}


class Raw(io.RawIOBase):
    """Bytes that can be read once, as from a pipe."""

    def __init__(self, content):
        self._left = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._left.readinto(buffer)


class Bare(IO[bytes]):
    """An object that has `read()`; what it inherits does nothing."""

    def __init__(self, content):
        self._left = io.BytesIO(content)

    def read(self, size=-1):
        return self._left.read(size)

    def fileno(self):
        raise io.UnsupportedOperation

    def tell(self):
        raise io.UnsupportedOperation


class Unseekable(Bare):
    """An object that refuses to seek."""

    def seek(self, *_):
        raise io.UnsupportedOperation


ONCE = {
    "pipe": lambda: io.BufferedReader(Raw(CONTENT)),
    "reader": lambda: Bare(CONTENT),
    "refusing": lambda: Unseekable(CONTENT),
}


class Simple(Bare):
    """An object that can go back, and does not say so."""

    def seek(self, position, whence=0):
        return self._left.seek(position, whence)

    def tell(self):
        return self._left.tell()


@pytest.fixture
def on_disk(tmp_path):
    """A file whose position is not 0."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        file.seek(1000)
        yield file


def _in_memory():
    file = io.BufferedReader(io.BytesIO(CONTENT))
    file.seek(1000)  # its position is not 0
    return file


REWINDABLE = {
    "bytes": lambda: CONTENT,
    "in memory": _in_memory,
    "simple": lambda: Simple(CONTENT),
}


def retries():
    backoff = UTILS.BackoffStrategy(1000, 60_000, 2, 10_000)
    return UTILS.RetryConfig("backoff", backoff, retry_connection_errors=True)


@pytest.fixture(params=["made", "patched", "own http client", "without the gateway"])
def client(request, make_settings, gateway):
    settings = make_settings()
    if request.param == "patched":
        with patch(settings=settings):
            yield Mistral(api_key=KEY)
        return
    if request.param == "own http client":
        for_one_call = httpx.AsyncClient(
            limits=httpx.Limits(max_keepalive_connections=0), follow_redirects=True
        )
        with httpx.Client(follow_redirects=True) as http:
            yield make_client(settings, client=http, async_client=for_one_call)
        return
    made = make_client(settings)
    yield _Elsewhere(made, gateway.origin) if request.param == "without the gateway" else made


class _Elsewhere:
    """Addresses each call to a host without the gateway, by `server_url=`."""

    def __init__(self, client, url):
        self._files, self._url = client.files, url

    @property
    def files(self):
        return self

    def upload(self, **options):
        return self._files.upload(server_url=self._url, **options)

    async def upload_async(self, **options):
        return await self._files.upload_async(server_url=self._url, **options)


@pytest.mark.parametrize("kind", ONCE)
def test_the_error_that_would_be_tried_again_is_raised(gateway, client, plain_mode, kind):
    gateway.replies.append(BUSY)
    with pytest.raises(SDKError) as caught:
        plain_mode.upload(client, ONCE[kind](), retries=retries())
    (sent,) = gateway.requests
    assert CONTENT in sent.body
    assert (caught.value.status_code, caught.value.body) == (503, '{"message": "busy"}')
    assert caught.value.headers["cf-aig-log-id"] == "log-1"
    (note,) = caught.value.__notes__
    assert "is not sent again: its body can be read only once" in note


def test_the_gateways_own_error_is_raised(gateway, settings, plain_mode):
    gateway.replies.append(Reply(502, PROVIDER, {"cf-aig-log-id": "log-1"}))
    with capture() as calls, pytest.raises(GatewayProviderError) as caught:
        plain_mode.upload(make_client(settings), ONCE["pipe"](), retries=retries())
    assert len(gateway.requests) == len(calls) == 1
    assert (caught.value.code, caught.value.log_id) == (2005, "log-1")


@pytest.mark.parametrize("kind", REWINDABLE)
def test_what_can_be_rewound_is_sent_again_whole(gateway, client, plain_mode, kind):
    gateway.replies.append(BUSY)
    plain_mode.upload(client, REWINDABLE[kind](), retries=retries())
    first, second = gateway.requests
    assert CONTENT in first.body
    assert first.body == second.body


@pytest.mark.parametrize("kind", ONCE)
@pytest.mark.parametrize("retry", [None, retries()], ids=["no retries", "retries"])
def test_what_is_sent_once_arrives(gateway, client, plain_mode, kind, retry):
    assert plain_mode.upload(client, ONCE[kind](), **({"retries": retry} if retry else {})).id
    (sent,) = gateway.requests
    assert CONTENT in sent.body


def test_an_error_without_retries_is_as_ever(gateway, client, plain_mode):
    gateway.replies.append(BUSY)
    with pytest.raises(SDKError) as caught:
        plain_mode.upload(client, ONCE["pipe"]())
    assert caught.value.status_code == 503
    assert not hasattr(caught.value, "__notes__")


def test_a_file_on_disk_is_sent_again_whole(gateway, client, plain_mode, on_disk):
    gateway.replies.append(BUSY)
    plain_mode.upload(client, on_disk, retries=retries())
    first, second = gateway.requests
    assert CONTENT in first.body
    assert first.body == second.body


def test_no_response_to_what_was_sent_is_an_error(settings, plain_mode):
    """A read timeout, after which the SDK tries again."""
    sent = []

    def answer(request):
        sent.append(b"".join(request.stream))
        raise httpx.ReadTimeout(FAILURE, request=request)

    async def answer_async(request):
        sent.append(b"".join([chunk async for chunk in request.stream]))
        raise httpx.ReadTimeout(FAILURE, request=request)

    class Transport(httpx.MockTransport):
        def handle_request(self, request):
            return answer(request)

        async def handle_async_request(self, request):
            return await answer_async(request)

    with httpx.Client(transport=Transport(answer)) as http:
        own = make_client(
            settings,
            client=http,
            async_client=httpx.AsyncClient(transport=Transport(answer)),
        )
        with pytest.raises(httpx.RequestError, match=r"\(ReadTimeout\).* is not sent again"):
            plain_mode.upload(own, ONCE["pipe"](), retries=retries())
    (body,) = sent
    assert CONTENT in body


def test_what_was_not_sent_yet_is_sent_by_a_retry(gateway, settings, plain_mode):
    """No connection at first: nothing of the body was read."""
    failures = [1]

    class Transport(httpx.HTTPTransport):
        def handle_request(self, request):
            if failures:
                failures.pop()
                raise httpx.ConnectError(FAILURE, request=request)
            return super().handle_request(request)

    class AsyncTransport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request):
            if failures:
                failures.pop()
                raise httpx.ConnectError(FAILURE, request=request)
            return await super().handle_async_request(request)

    limits = httpx.Limits(max_keepalive_connections=0)
    for_one_call = httpx.AsyncClient(transport=AsyncTransport(limits=limits))
    with httpx.Client(transport=Transport()) as http:
        client = make_client(settings, client=http, async_client=for_one_call)
        assert plain_mode.upload(client, ONCE["pipe"](), retries=retries()).id
    assert CONTENT in gateway.last.body


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_of_what_is_sent_is_an_error(gateway, elsewhere, client, plain_mode, status):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/x/files", status))
    with pytest.raises(GatewayRedirectError, match="its body can be read only once"):
        plain_mode.upload(client, ONCE["pipe"]())
    assert elsewhere.requests == []


def test_what_mistral_answers_directly_is_not_taken_for_the_gateways(
    mistral, make_settings, plain_mode
):
    mistral.replies.append(Reply(503, b"<html>busy</html>", {"content-type": "text/html"}))
    with refusing() as nobody:
        client = make_client(make_settings(fallback="direct", base_url=f"{nobody}/v1/acc/gw"))
        with pytest.raises(SDKError) as caught:
            plain_mode.upload(client, ONCE["pipe"](), retries=retries())
    assert not isinstance(caught.value, GatewayError)
    (sent,) = mistral.requests
    assert CONTENT in sent.body


def test_a_redirect_that_drops_the_body_is_followed(gateway, elsewhere, settings, plain_mode):
    gateway.replies.append(Reply.redirect(f"{elsewhere.origin}/x", 303))
    elsewhere.replies.append(Reply(404, {"message": "no"}))
    with pytest.raises(SDKError) as caught:
        plain_mode.upload(make_client(settings), ONCE["pipe"]())
    assert caught.value.status_code == 404


def test_what_was_sent_to_a_gateway_that_is_down_goes_nowhere_else(
    gateway, mistral, make_settings, plain_mode
):
    page = Reply(502, b"<html>cloudflare</html>", {"content-type": "text/html"})
    gateway.replies.append(page)
    client = make_client(make_settings(fallback="direct"))
    with pytest.raises(_sdk.SDKError) as caught:
        plain_mode.upload(client, ONCE["pipe"](), retries=retries())
    assert caught.value.status_code == 502
    assert (len(gateway.requests), mistral.requests) == (1, [])


# ---------------------------------------------------------------- other bodies


def guarded(**body):
    request = httpx.Request("POST", "http://127.0.0.1/x", **body)
    _replays.guard(request)
    return type(request.stream).__name__ == "OnceStream"


class Reopening(httpx.SyncByteStream):
    """A stream of somebody's own, which may open its source anew."""

    def __iter__(self):
        yield b"x"


def test_only_what_is_known_to_be_read_once_is_guarded():
    assert not guarded()
    assert not guarded(json={})
    assert not guarded(content=b"x")
    assert not guarded(content=[b"x", b"y"])
    assert not guarded(stream=Reopening())
    assert not guarded(files={"file": ("a", b"x")})
    assert not guarded(files={"file": ("a", io.BytesIO(b"x"))}, data={"purpose": "ocr"})
    assert not guarded(files={"file": ("a", Simple(b"x"))})
    assert guarded(content=iter([b"x"]))
    assert guarded(files={"file": ("a", Bare(b"x"))}, data={"purpose": "ocr"})


def test_a_guarded_stream_is_read_once():
    request = httpx.Request("POST", "http://127.0.0.1/x", files={"file": ("a", Bare(b"xyz"))})
    boundary = request.stream.boundary
    _replays.guard(request)
    assert request.stream.boundary == boundary
    assert b"xyz" in b"".join(request.stream)
    with pytest.raises(httpx.StreamConsumed):
        next(iter(request.stream))


def test_what_is_remembered_of_a_body_forms_no_reference_cycle():
    gc.collect()
    gc.disable()
    try:
        file = Bare(b"x")
        request = httpx.Request("POST", "http://127.0.0.1/x", files={"file": ("a", file)})
        _replays.guard(request)
        list(request.stream)
        response = httpx.Response(503, content=b"busy", request=request)
        _replays.note_outcome(request, response, None, str, is_gateways=False)
        with pytest.raises(SDKError):
            _replays.guard(request)
        weak = ref(file)
        del file, request, response
        assert weak() is None
    finally:
        gc.enable()
