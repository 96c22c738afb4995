"""What faults are made of: answers as bytes, scripts that play them, and their stages."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import trustme
from fault_server import GONE, PREFIX, FaultServer, Request, Wire, full_backlog, refusing

LOG_ID = "log-4242"
ANSWER = "Bonjour, été 🌞 encore"
PROMPT = "Say bonjour, s'il te plaît"

MAJOR = int(version("mistralai").partition(".")[0])

Play = Callable[[Wire, Request], None]


@dataclass(slots=True)
class Stage:
    """Where a fault plays: the gateway's origin, who listens, what the environment says."""

    origin: str
    servers: tuple[FaultServer, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    between: Callable[[], None] | None = None
    """What happens between a first call, which goes well, and the one that counts."""
    prompt: str = PROMPT

    @property
    def base_url(self) -> str:
        return self.origin + PREFIX


# Bytes


def http(status: int, body: bytes = b"", *headers: str, log_id: bool = True) -> bytes:
    """Return a whole HTTP answer with its Content-Length."""
    return head(status, f"Content-Length: {len(body)}", *headers, log_id=log_id) + body


def head(status: int, *headers: str, log_id: bool = True) -> bytes:
    """Return the head of an answer."""
    lines = [f"HTTP/1.1 {status} Some Reason", *headers]
    if log_id:
        lines.append(f"cf-aig-log-id: {LOG_ID}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(*chunks: bytes) -> list[bytes]:
    return [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]


JSON = "Content-Type: application/json"
SSE = "Content-Type: text/event-stream; charset=utf-8"
HTML = "Content-Type: text/html; charset=UTF-8"
CHUNKED = "Transfer-Encoding: chunked"
PAGE = b"<!DOCTYPE html><html><head><title>cloudflare</title></head><body>Error</body></html>"
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
DONE = b"data: [DONE]\n\n"
LAST = b"0\r\n\r\n"


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}
    value = {"id": "c1", "model": "m", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def completion(text: str = ANSWER) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    value = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps({**value, "usage": USAGE, "choices": [choice]}).encode()


EVENTS = [event(word) for word in ("Bonjour,", " été", " 🌞")] + [event(" encore", "stop")]
WHOLE = b"".join(EVENTS) + DONE


def envelope(code: object = 2005, **changes: object) -> bytes:
    """Return a gateway's error body, as it was seen in the wild."""
    message = "Failed to get response from provider"
    value: dict[str, object] = {
        "success": False,
        "result": [],
        "messages": [],
        "error": [{"code": code, "message": message}],
    }
    return json.dumps({**value, **changes}).encode()


# Scripts


def good(wire: Wire, request: Request) -> None:
    """Answer a request as a healthy gateway does."""
    if request.method != "POST":
        wire.send(http(405, b'{"detail":"Method Not Allowed"}', JSON))
    elif request.streamed:
        wire.send(head(200, SSE, CHUNKED), *chunked(*EVENTS, DONE), LAST)
    else:
        wire.send(http(200, completion(), JSON))


def says(*parts: bytes, then: Callable[[Wire], None] | None = None) -> Play:
    def play(wire: Wire, _: Request) -> None:
        wire.send(*parts)
        if then is not None:
            then(wire)

    return play


def either(plain: Play, stream: Play) -> Play:
    return lambda wire, request: (stream if request.streamed else plain)(wire, request)


def streams(*chunks: bytes, then: Callable[[Wire], None] | None = None, end: bytes = LAST) -> Play:
    return says(head(200, SSE, CHUNKED), *chunked(*chunks), end, then=then)


# Stages


def served(play: Play, **how: bool) -> Callable[[], AbstractContextManager[Stage]]:
    @contextlib.contextmanager
    def set_up() -> Iterator[Stage]:
        with FaultServer(play, **how) as server:
            yield Stage(server.origin, (server,))

    return set_up


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


def _context(name: str, authority: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (authority or _authority()).issue_cert(name).configure_cert(context)
    return context


@contextlib.contextmanager
def trusted() -> Iterator[dict[str, str]]:
    """Yield the environment in which the test authority is trusted."""
    descriptor, path = tempfile.mkstemp(suffix=".pem")
    os.close(descriptor)
    try:
        _authority().cert_pem.write_to_path(path)
        yield {"SSL_CERT_FILE": path}
    finally:
        Path(path).unlink()


@contextlib.contextmanager
def tls(name: str, authority: trustme.CA | None = None, play: Play = good) -> Iterator[Stage]:
    with (
        trusted() as environment,
        FaultServer(play, tls=_context(name, authority)) as server,
    ):
        yield Stage(server.origin, (server,), environment)


@contextlib.contextmanager
def nobody(origin: str = "") -> Iterator[Stage]:
    with refusing() as refused:
        yield Stage(origin or refused)


@contextlib.contextmanager
def never_accepts() -> Iterator[Stage]:
    with full_backlog() as origin:
        yield Stage(origin)


@contextlib.contextmanager
def proxied(play: Play | None) -> Iterator[Stage]:
    """Send https through a proxy from the environment; without a script, one that is down."""
    with FaultServer(play or good) as proxy, refusing() as refused:
        address = proxy.origin if play else refused
        environment = {"HTTPS_PROXY": address, "NO_PROXY": ""}
        yield Stage("https://gateway.invalid", (proxy,) if play else (), environment)


@contextlib.contextmanager
def deaf() -> Iterator[Stage]:
    """Read no body, however long: the client cannot get rid of its request."""

    def play(wire: Wire, _: Request) -> None:
        wire.over, wire.busy = True, False  # what it holds is told by the client's pool alone
        wire.stopping.wait(GONE)

    with FaultServer(play, deaf=True) as server:
        yield Stage(server.origin, (server,), prompt="long " * 2_000_000)


@contextlib.contextmanager
def gone_for_good() -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(FaultServer(good))
        yield Stage(server.origin, between=stack.close)


def drips(wire: Wire, request: Request) -> None:
    """Send an answer in small pieces."""
    body = WHOLE if request.streamed else completion()
    kind = SSE if request.streamed else JSON
    wire.send(head(200, kind, f"Content-Length: {len(body)}"))
    for start in range(0, len(body), 16):
        wire.send(body[start : start + 16])
        time.sleep(0.001)


def refuses(status: int) -> Play:
    return lambda wire, _: wire.send(http(status, b"no", log_id=False)) or wire.close()


CUT = head(200, JSON, "Content-Length: 900") + completion()[:40]
FAULTS = {
    "refusal": says(http(401, envelope(2009), JSON)),
    "edge": says(http(530, PAGE, HTML)),
    "no body": says(http(204)),
    "Mistral's error": says(http(422, b'{"detail":[]}', JSON)),
    "not JSON": says(http(200, b"{oops", JSON)),
    "cut": either(says(CUT, then=Wire.close), streams(EVENTS[0], then=Wire.close, end=b"")),
    "reset": either(says(CUT, then=Wire.reset), streams(EVENTS[0], then=Wire.reset, end=b"")),
    "no [DONE]": either(good, streams(*EVENTS[:2])),
    "error in a stream": either(good, streams(EVENTS[0], b'data: {"error":"x"}\n\n', DONE)),
    "not zipped": says(http(200, completion(), JSON, "Content-Encoding: gzip")),
    "redirect to nowhere": says(http(307, b"", "Location: ftp://x")),
    "not HTTP": says(b"\x16\x03\x01 no\r\n\r\n", then=Wire.close),
    "JSON for a stream": says(http(200, completion(), JSON)),
}
"""Ways in which a response fails, each with what plays it."""
