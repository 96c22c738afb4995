"""What every script here shares: a LocalGateway, and the proof that calls came through it.

The proof is the gateway's own record of each request. Connections to anywhere else are refused
and remembered, so a call that goes past the gateway is seen, and so is one that should.
"""

import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from types import TracebackType
from typing import Any, Self

from mistral_cf_adapter.testing import LocalGateway, ReceivedRequest

MISTRAL = "api.mistral.ai"
MODEL = "mistral-small-latest"
CHAT = "chat/completions"

_LOCAL = {"127.0.0.1", "localhost", "::1", ""}
_strays: list[str] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    """Refuse what is not on this machine, as an audit hook that no library gets around."""
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host or ""
    if name not in _LOCAL:
        _strays.append(name)
        msg = f"{name} is out of reach here"
        raise ConnectionRefusedError(msg)


sys.addaudithook(_watch)


class Proof:
    """One framework against one gateway; each proven way prints a line and is reported.

    With `stored_key` the gateway holds Mistral's key, and the one in the environment, which
    frameworks insist on, is of no use and must not be sent.
    """

    def __init__(self, framework: str, *, stored_key: bool = False) -> None:
        self.framework = framework
        self.version = importlib.metadata.version(framework)
        self.stored_key = stored_key
        self.gateway = LocalGateway(stored_keys={"default": "kept"} if stored_key else None)

    def __enter__(self) -> Self:
        self.gateway.start()
        self._environment = dict(os.environ)
        os.environ.update(self.gateway.env())
        if self.stored_key:
            os.environ.update(CF_AIG_BYOK="true", MISTRAL_API_KEY="placeholder")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.gateway.stop()
        os.environ.clear()
        os.environ.update(self._environment)

    @contextmanager
    def through(self, how: str, mode: str, *paths: str, what: str = "") -> Iterator[None]:
        """Prove that a block makes exactly these calls, and all of them through the gateway.

        `how` is what the user writes, `mode` one of sync, async, stream and async stream;
        `paths` are the calls in their order, behind `/mistral/v1/`, with `*` for ids, or
        `/compat/chat/completions` as it stands.
        """
        wanted = paths or (CHAT,)
        before = len(self.gateway.requests)
        _strays.clear()
        try:
            yield
        except Exception as error:
            past = f", tried to reach {_strays}" if _strays else ""
            came = self.gateway.requests[before:]
            error.add_note(f"while proving {how} {mode} {what}: the gateway received {came}{past}")
            raise
        received = self.gateway.requests[before:]
        assert not _strays, f"{how} {mode}: went past the gateway, to {_strays}"
        assert len(received) == len(wanted), f"{how} {mode}: {received} instead of {wanted}"
        for request, path in zip(received, wanted, strict=True):
            self._check(request, path, streams="stream" in mode)
        words = (mode, what.strip(), "with a stored key" if self.stored_key else "")
        self._report(how, mode, " ".join(word for word in words if word), len(received))

    @contextmanager
    def past(self, when: str) -> Iterator[None]:
        """Prove that a block calls Mistral itself, where the watch ends it, and not the gateway."""
        before = len(self.gateway.requests)
        _strays.clear()
        try:
            yield
        except Exception:  # whatever the framework makes of a refused connection
            assert _strays, f"{when}: failed before it connected anywhere"
            assert set(_strays) == {MISTRAL}, f"{when}: went to {_strays}"
        else:
            msg = f"{when}: the call did not fail, so it did not go to {MISTRAL}"
            raise AssertionError(msg)
        assert len(self.gateway.requests) == before, f"{when}: came through the gateway"
        print(f"{self.framework} {self.version}: {when}: to {MISTRAL} again")

    def _check(self, request: ReceivedRequest, path: str, *, streams: bool) -> None:
        behind = path if path.startswith("/") else f"/mistral/v1/{path}"
        wanted = f"/v1/acc/default{behind}"
        assert fnmatch(request.path, wanted), f"{request.path} is not {wanted}"
        assert request.streams == streams, f"{request.path}: stream is {request.streams}"
        for name, values in self._headers(compat=path.startswith("/compat/")).items():
            # The values stay unsaid: what was sent wrongly may be a real key.
            assert request.headers.getlist(name) == values, f"{request.path}: wrong {name}"

    def _headers(self, *, compat: bool) -> dict[str, list[str]]:
        token, key = f"Bearer {self.gateway.token}", f"Bearer {self.gateway.mistral_api_key}"
        headers = {"host": [self.gateway.origin.partition("//")[2]]}
        if self.stored_key and compat:  # OpenAI clients must send a key: there, the token is one
            return {**headers, "authorization": [token], "cf-aig-authorization": []}
        authorization = [] if self.stored_key else [key]
        return {**headers, "authorization": authorization, "cf-aig-authorization": [token]}

    def _report(self, how: str, mode: str, label: str, calls: int) -> None:
        count = "1 call" if calls == 1 else f"{calls} calls"
        print(
            f"{self.framework} {self.version}: {how} {label}: {count}, all through the gateway",
            flush=True,
        )
        report = os.environ.get("FRAMEWORKS_REPORT")
        if report is None:
            return
        line = {
            "framework": self.framework,
            "version": self.version,
            "sdk": importlib.metadata.version("mistralai"),
            "how": how,
            "mode": mode,
        }
        with open(report, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(json.dumps(line) + "\n")
