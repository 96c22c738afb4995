"""A gateway that cannot be reached: an error of ours that is the HTTP library's own as well."""

from __future__ import annotations

import copy
import itertools
import pickle
import socket
import ssl
import threading
from contextlib import contextmanager

import pytest
import trustme
from call_modes import ASYNC, STREAM, SYNC
from fault_server import refusing
from http_records import CHAT, KEY, TOKEN, RecordingServer, Reply
from secret_searches import shown_in, told_by

from mistral_cf_adapter import (
    GatewayConnectionError,
    GatewayError,
    GatewayTimeoutError,
    _connection_errors,
    _flow,
    capture,
    make_client,
)
from mistral_cf_adapter._sdk import SDKError, library_of_class
from mistral_cf_adapter._sdk import httpx as sdk_httpx
from mistral_cf_adapter.testing import LocalGateway

PREFIX = "/v1/acc/gw"
SECRET = "my secret prompt"


def raising(make_settings, error):
    """Return a client of whose transport all that comes is this error."""

    def fail(_):
        raise error

    transport = sdk_httpx.MockTransport(fail)
    return make_client(make_settings(), client=sdk_httpx.Client(transport=transport))


@contextmanager
def untrusted():
    """A server whose certificate nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with RecordingServer(context) as server:
        yield server.base_url


@contextmanager
def plain():
    """A server that speaks http where https is spoken to."""
    with RecordingServer() as server:
        yield server.base_url.replace("http:", "https:")


@contextmanager
def unresolvable():
    yield "https://gateway.invalid"


@contextmanager
def closed():
    with refusing() as origin:
        yield f"{origin}{PREFIX}"


REASONS = [
    (closed, "the connection was refused", True),
    (unresolvable, "cannot be resolved (DNS)", True),
    (untrusted, "the certificate is not trusted", False),
    (plain, "the TLS handshake failed", False),
]


@pytest.mark.parametrize(("server", "words", "retryable"), REASONS)
def test_the_reason_is_told_in_words(make_settings, mode, server, words, retryable):
    with server() as base_url, capture() as calls:
        error = mode.error(make_client(make_settings(base_url=base_url)), SECRET)
        host = base_url.partition("://")[2].partition("/")[0]
    check(error, GatewayConnectionError, sdk_httpx.ConnectError, 502)
    assert f"cannot connect to {host}: " in error.message
    assert words in error.message
    assert error.retryable is retryable
    assert "mistral-cf-adapter doctor" in error.message
    assert [call.status_code for call in calls] == [None]


def check(error, kind, http_kind, status):
    """Check what is true of every such error."""
    assert isinstance(error, kind)
    assert type(error).__name__ == kind.__name__
    assert type(error).__module__ == "mistral_cf_adapter"
    assert isinstance(error, http_kind)
    assert isinstance(error, SDKError)
    assert type(error.__cause__) in type(error).__bases__
    assert error.args == (str(error),) == (error.message,)
    assert (error.status_code, error.body, dict(error.headers)) == (status, "", {})
    assert (error.raw_response.text, error.code, error.log_id) == ("", None, None)
    assert "cf-aig-authorization" not in error.request.headers
    assert error.raw_response.request.url == error.request.url
    shown = f"{error} {error!r} {error.__cause__}"
    assert not [secret for secret in (TOKEN, KEY, SECRET) if secret in shown]
    assert not shown_in(told_by(error), TOKEN)


def test_a_timeout_is_one_of_both_kinds(gateway, client, mode):
    hold = threading.Event()
    gateway.responder = lambda _: [hold.wait(10), Reply()][1]
    try:
        error = mode.error(client, SECRET, timeout_ms=150)
    finally:
        hold.set()
    check(error, GatewayTimeoutError, sdk_httpx.ReadTimeout, 504)
    assert isinstance(error, GatewayConnectionError)
    assert f"nothing came from 127.0.0.1:{gateway.port} within 0.15 s" in error.message
    assert error.retryable


def test_a_connection_that_is_not_made_in_time_says_after_how_long(make_settings):
    client = raising(make_settings, sdk_httpx.ConnectTimeout(""))
    error = SYNC.error(client, SECRET, timeout_ms=2000)
    check(error, GatewayTimeoutError, sdk_httpx.ConnectTimeout, 504)
    assert "no connection to 127.0.0.1" in error.message
    assert "within 2 s (ConnectTimeout)" in error.message


@pytest.mark.parametrize("fault", ["reset", "garbage"])
def test_a_connection_that_breaks_before_a_response_is_one(mode, fault):
    with LocalGateway() as local:
        client = make_client(local.settings())
        with local.fault(fault):
            error = mode.error(client, SECRET)
    check(error, GatewayConnectionError, sdk_httpx.TransportError, 502)
    assert "the connection to 127.0.0.1" in error.message


@pytest.mark.parametrize("mode", [SYNC, ASYNC], ids=["sync", "async"])
def test_a_body_that_breaks_is_one_where_it_is_not_streamed(gateway, client, mode):
    gateway.replies.append(Reply(200, b"{" * 99, {"content-type": "application/json"}, cut=True))
    error = mode.error(client, SECRET)
    check(error, GatewayConnectionError, sdk_httpx.RemoteProtocolError, 502)


def test_an_old_handler_of_either_kind_works(make_settings, nobody):
    client = make_client(make_settings(base_url=nobody))
    caught = []
    for kind in (sdk_httpx.ConnectError, sdk_httpx.HTTPError, SDKError, GatewayError):
        try:
            SYNC.chat(client)
        except kind as error:
            caught.append(error)
    assert len(caught) == 4
    assert caught[0].request.url.path == f"{PREFIX}/mistral{CHAT}"
    # What handlers of an SDKError do with it.
    error = caught[2]
    assert error.status_code >= 500
    assert error.headers.get("retry-after") is None
    assert error.raw_response.is_server_error
    assert error.raw_response.reason_phrase == "No Response"
    assert {error}


def test_the_sdks_hooks_see_it_as_bare(make_settings, nobody, bare, mode):
    class Hook:
        def after_error(self, context, response, error):
            seen.append((response, isinstance(error, sdk_httpx.ConnectError)))
            return response, error

    seen = []
    mine = make_client(make_settings(base_url=nobody))
    for client, address in ((mine, None), (bare, nobody.removesuffix(PREFIX))):
        client.sdk_configuration.__dict__["_hooks"].register_after_error_hook(Hook())
        mode.error(client, **({} if address is None else {"server_url": address}))
    assert seen == [(None, True), (None, True)]


def test_tls_that_breaks_later_is_not_said_to_be_the_handshake(make_settings):
    raised = sdk_httpx.ReadError("bad record")
    raised.__cause__ = ssl.SSLError(1, "bad record")
    error = SYNC.error(raising(make_settings, raised))
    assert "the connection to 127.0.0.1" in error.message
    assert error.retryable


def test_the_class_is_made_once(make_settings, nobody):
    client = make_client(make_settings(base_url=nobody))
    assert type(SYNC.error(client)) is type(ASYNC.error(client))


def test_it_pickles_without_its_headers(make_settings, nobody, mode):
    error = mode.error(make_client(make_settings(base_url=nobody)))
    pickled = pickle.dumps(error)
    assert KEY.encode() not in pickled
    assert TOKEN.encode() not in pickled
    for again in (pickle.loads(pickled), copy.copy(error)):
        assert type(again) is type(error)
        assert (str(again), again.args, again.status_code) == (str(error), error.args, 502)
        assert again.request.url == error.request.url
        assert "authorization" not in again.request.headers


def other_library():
    """httpx where the SDK uses httpx2, and the other way round, if it is installed."""
    name = "httpx" if sdk_httpx.__name__ == "httpx2" else "httpx2"
    return pytest.importorskip(name)


def test_a_client_of_the_other_library_raises_that_ones(make_settings, nobody):
    library = other_library()
    with library.Client() as http:
        error = SYNC.error(make_client(make_settings(base_url=nobody), client=http), SECRET)
    check(error, GatewayConnectionError, library.ConnectError, 502)
    assert library_of_class(type(error)) is library


def test_an_error_that_takes_no_second_class_is_left_alone(make_settings):
    class Sealed(sdk_httpx.ConnectError):
        def __init_subclass__(cls):
            raise TypeError

    client = raising(make_settings, Sealed("no way"))
    assert type(SYNC.error(client)) is Sealed


def test_a_secret_in_its_text_is_masked(make_settings):
    raised = sdk_httpx.ConnectError(f"cannot send {TOKEN}")
    error = SYNC.error(raising(make_settings, raised))
    assert TOKEN not in f"{error} {error!r} {error.args}"
    assert "ConnectError: cannot send" in error.message


@pytest.mark.parametrize("name", ["UnsupportedProtocol", "LocalProtocolError", "DecodingError"])
def test_what_says_nothing_of_the_connection_stays_as_it_is(make_settings, name):
    kind = getattr(sdk_httpx, name)
    assert type(SYNC.error(raising(make_settings, kind("odd")))) is kind


# ---------------------------------------------------------------- what is not the gateway's


def test_another_host_keeps_the_plain_error(client, nobody, mode):
    error = mode.error(client, server_url=nobody.removesuffix(PREFIX))
    assert type(error) is sdk_httpx.ConnectError


def test_a_redirect_elsewhere_keeps_the_plain_error(gateway, client, nobody):
    gateway.replies.append(Reply.redirect(f"{nobody}/x"))
    assert type(SYNC.error(client)) is sdk_httpx.ConnectError


def test_mistral_itself_keeps_the_plain_error(make_settings, nobody, monkeypatch, mode):
    monkeypatch.setattr(_flow, "MISTRAL_URL", nobody.removesuffix(PREFIX))
    monkeypatch.setattr(_flow, "_open_until", {})
    error = mode.error(make_client(make_settings(base_url=nobody, fallback="direct")))
    assert type(error) is sdk_httpx.ConnectError
    assert "AI Gateway was down as well (ConnectError)" in error.__notes__


def test_a_stream_that_breaks_while_it_is_read_keeps_the_plain_error(gateway, client):
    kind = {"content-type": "text/event-stream"}
    gateway.replies.append(Reply(200, b": ping\n\n" * 9, kind, cut=True))
    assert type(STREAM.error(client)) is sdk_httpx.RemoteProtocolError


# ---------------------------------------------------------------- what it came from


@pytest.mark.parametrize(
    ("errors", "cause"),
    [
        ([socket.gaierror(-2, "unknown")], "dns"),
        ([ConnectionRefusedError(111, "no")], "refused"),
        ([TimeoutError()], "timeout"),
        ([sdk_httpx.ProxyError("407")], "proxy"),
        ([sdk_httpx.ReadError("")], "connection"),
        ([sdk_httpx.ConnectError("x"), RuntimeError(), socket.gaierror(-2, "unknown")], "dns"),
    ],
)
def test_the_cause_is_looked_for_in_what_an_error_came_from(errors, cause):
    for one, from_ in itertools.pairwise(errors):
        one.__cause__ = from_
    assert _connection_errors.find_cause(errors[0]) == cause


# ---------------------------------------------------------------- of a user's own


class CircuitOpenError(sdk_httpx.TransportError):
    """An error of a user's own transport, made in a way of its own."""

    def __new__(cls, *, until):
        return super().__new__(cls)

    def __init__(self, *, until):
        super().__init__("open")
        self.until = until

    @property
    def message(self):
        return "mine"


def test_an_error_of_a_users_own_transport_stays_as_it_is(make_settings):
    error = SYNC.error(raising(make_settings, CircuitOpenError(until=5)))
    assert type(error) is CircuitOpenError
    assert (error.until, error.message) == (5, "mine")


@pytest.mark.parametrize("other", [ssl.SSLError("of another call"), socket.gaierror("other")])
def test_what_the_program_was_handling_is_not_the_cause(make_settings, nobody, other):
    client = make_client(make_settings(base_url=nobody))
    try:
        raise other
    except OSError:
        error = SYNC.error(client)
    assert "the connection was refused" in error.message
    assert error.retryable


def test_a_secret_that_a_server_sends_back_is_in_no_text(make_settings):
    error = SYNC.error(raising(make_settings, sdk_httpx.RemoteProtocolError(f"illegal: {TOKEN}")))
    assert isinstance(error, GatewayConnectionError)
    assert TOKEN not in f"{error!s} {error.__cause__!s} {error.__cause__!r}"


def test_an_error_that_is_raised_again_has_one_note(make_settings):
    client = raising(make_settings, sdk_httpx.ConnectError("no route"))
    for _ in range(3):
        error = SYNC.error(client)
    assert len(error.__notes__) == 1
