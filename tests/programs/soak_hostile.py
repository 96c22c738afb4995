"""What the soak's gateway does that no gateway should, and what must come of it: nothing.

It sends a response more than it was asked for, and redirects to where no secret may follow. The
proxy in the environment is none of the way to this machine, and records what comes nevertheless.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any
from unittest import mock

from fault_scripts import CHUNKED, DONE, JSON, LAST, SSE, chunked, completion, event, head, http
from fault_server import PREFIX, FaultServer
from http_records import KEY, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SURPLUS = http(200, completion("a response that nobody asked for"), JSON)
IDS = (
    *("../../../../ACC2/gw2/custom-x/f", "../../../openai/v1/x", "..", "a/../../../../../x"),
    *("..%2f..%2fx", "%2e%2e/%2e%2e/x", "..\\..\\x", "x/..%5c..%5cy", "."),
)
"""What an end user may choose as an id, to reach what is not theirs."""
REDIRECTS = {
    "another account": "/v1/ACC2/gw2/custom-x/f",
    "another gateway": "/v1/acc/gw2/mistral/v1/f",
    "another provider": "/v1/acc/gw/custom-x/v1/f",
    "another account, with dots": f"{PREFIX}/mistral/v1/../../../../v1/ACC2/gw2/custom-x/f",
    "a user's name": "http://u:p@{gateway}" + f"{PREFIX}/mistral/v1/hop",
    "another origin": "http://{stranger}/x",
    "another origin, without a scheme": "//{stranger}/x",
    "another origin behind a backslash": "http://{stranger}\\@{gateway}/x",
    "another origin behind a user's name": "http://{gateway}@{stranger}/x",
}
OWN = f"{PREFIX}/mistral/v1/"


def packets(request: Any, question: str) -> list[bytes]:
    """Return an answer as it is on the wire."""
    if not request.streamed:
        return [http(200, completion(question), JSON)]
    return [head(200, SSE, CHUNKED), *chunked(event(question), DONE), LAST]


def redirect(kind: str, gateway: FaultServer, stranger: FaultServer) -> bytes:
    hosts = {"gateway": _host(gateway), "stranger": _host(stranger)}
    return http(307, b"", f"Location: {REDIRECTS[kind].format(**hosts)}")


def _host(server: FaultServer) -> str:
    return server.origin.partition("//")[2]


def is_first_hop(request: Any) -> bool:
    """Return whether a request is what the SDK asked, and not what it was redirected to."""
    return request.path == f"{OWN}chat/completions"


def leaked(request: Any) -> str | None:
    """Return what a request that was redirected, or made with a hostile id, gives away."""
    if "authorization: basic" in request.head.decode("latin-1").lower():
        return f"the key was replaced at {request.path}"
    if request.path.startswith(OWN) and ".." not in request.path:
        return None
    secrets = [name for name, secret in (("token", TOKEN), ("key", KEY)) if secret in request]
    return f"{secrets} at {request.path}" if secrets else None


@contextlib.contextmanager
def proxy(record: Callable[[str], None]) -> Iterator[None]:
    """Have the environment name a proxy that records what it is asked."""

    def play(wire: Any, request: Any) -> None:
        record(request.head.partition(b"\r\n")[0].decode("latin-1"))
        wire.send(http(502, b"", log_id=False))

    with FaultServer(play) as server:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        with mock.patch.dict(os.environ, dict.fromkeys(names, server.origin)):
            for name in ("NO_PROXY", "no_proxy"):
                os.environ.pop(name, None)
            yield
