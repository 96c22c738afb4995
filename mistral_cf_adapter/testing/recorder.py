"""Write what passes to a cassette, without its secrets."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mistral_cf_adapter.testing import cassette, cassette_bodies
from mistral_cf_adapter.testing.mistral import form_of
from mistral_cf_adapter.testing.responses import (
    Response,
    StreamBroken,
    gateway_error,
    json_response,
)
from mistral_cf_adapter.testing.routing import PROVIDER, Refused
from mistral_cf_adapter.testing.scrubbing import Scrubber, secrets_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from mistral_cf_adapter.testing.records import ReceivedRequest
    from mistral_cf_adapter.testing.routing import Target
    from mistral_cf_adapter.testing.state import State

    Upstream = Callable[[ReceivedRequest, Target], Awaitable[Response]]

KEPT_HEADERS = frozenset(
    {"content-type", "content-disposition", "location", "retry-after", "mistral-correlation-id"}
)
"""Headers of a response that are kept, besides those of rate limits; the rest only adds noise."""
RECENT = 100
"""So many requests before this one may still be under way, with secrets in their headers."""
LARGE = 64 * 1024
"""Bytes of a body from which on it is read and written in a thread."""
MAX_SECRETS = 1000
T = TypeVar("T")
_END_MARK = re.compile(rb"data: ?\[DONE\]|event: ?[\w.]+\.(?:done|completed|incomplete)\b")


async def show_request(
    request: ReceivedRequest, target: Target, scrubber: Scrubber
) -> dict[str, Any]:
    """Return a request as a cassette shows it."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    shown: dict[str, Any] = {"method": request.method, "path": scrubber.text(request.raw_path)}
    if request.query:
        shown["query"] = scrubber.text(request.query)
    if target.provider != PROVIDER:
        shown["provider"] = target.provider
    if kind and request.body:
        shown["headers"] = {"content-type": kind}
    async with form_of(request) as form:
        parts = await cassette_bodies.show_form(form, scrubber)
    size = len(request.body)
    return {**shown, **await _run(size, lambda: _show_body(request, kind, parts, scrubber))}


def _show_body(
    request: ReceivedRequest, kind: str, parts: list[dict[str, Any]], scrubber: Scrubber
) -> dict[str, Any]:
    body = {"form": parts} if parts else cassette_bodies.show(request.body, kind, scrubber)
    if body and cassette.write_entry(body) is None:
        return cassette_bodies.show_encoded(request.body, scrubber)
    return body


async def _run(size: int, function: Callable[[], T]) -> T:
    """Call a function that takes seconds for a large body: then in a thread, so that no call waits.

    Small ones stay in the order in which they came.
    """
    return function() if size <= LARGE else await asyncio.to_thread(function)


@dataclass(slots=True, repr=False)
class Secrets:
    """The secrets that are known: those the gateway was made with, and those that were sent."""

    state: State
    _sent: dict[str, None] = field(default_factory=dict[str, None])

    def scrubber(self, request: ReceivedRequest) -> Scrubber:
        """Return what takes all of them out."""
        for received in [*self.state.requests[-RECENT:], request]:
            for secret in secrets_of(received.headers):
                self._sent.pop(secret, None)
                self._sent[secret] = None
        while len(self._sent) > MAX_SECRETS:
            del self._sent[next(iter(self._sent))]
        state = self.state
        made_with = [
            state.token,
            state.mistral_api_key,
            state.api_token,
            *state.stored_keys.values(),
        ]
        if state.access is not None:
            made_with += [state.access.client_id, state.access.client_secret]
        return Scrubber([*made_with, *self._sent])


@dataclass(slots=True, repr=False)
class Recorder:
    """Records what a gateway's upstream is asked and answers.

    The file is written anew, all or nothing, after each response; it holds the calls in the order
    in which they began. The first call of a gateway replaces what was there before.
    """

    path: Path
    secrets: Secrets
    _entries: dict[int, str] = field(default_factory=dict[int, str])
    _begun: int = 0
    _room: int = field(default_factory=lambda: cassette.MAX_SIZE - len(cassette.HEADER))
    """Bytes that may still be written; below zero once something was too large."""
    _problems: dict[str, None] = field(default_factory=dict[str, None])
    """Why the file could not be written, each reason once."""

    async def respond(
        self, request: ReceivedRequest, target: Target, upstream: Upstream
    ) -> Response:
        """Send a request on, and record it with its response, a stream at its end."""
        if self._room < 0:
            raise Refused(_full(self._full_problem()))
        number, self._begun = self._begun, self._begun + 1
        scrubber = self.secrets.scrubber(request)
        shown = await show_request(request, target, scrubber)
        exchange = _Exchange(number, shown, len(request.body), scrubber)
        response = await upstream(request, target)
        body = response.known_body()
        if body is not None:
            problem = await self._write(exchange, response, body)
            if problem is not None:
                # Refused, as another attempt would ask the upstream again.
                raise Refused(gateway_error(None, message=problem, status=501))
            return response
        return replace(response, body=self._tee(exchange, response))

    def problems(self) -> list[str]:
        """Say why the file does not hold all that was recorded."""
        full = [self._full_problem()] if self._room < 0 else []
        return [*self._problems, *full]

    def rewind(self) -> None:
        """Forget the problems; what is recorded stays."""
        self._problems.clear()

    def _full_problem(self) -> str:
        return f"The recording {self.path} is full: it would be over {cassette.MAX_SIZE} bytes."

    async def _tee(self, exchange: _Exchange, response: Response) -> AsyncGenerator[bytes, None]:
        """Pass a stream on, and record it when it is over, however it ends."""
        body: Any = response.body
        seen = bytearray()
        is_whole = False
        problem: str | None = None
        last = b""
        try:
            async for piece in body:
                if last:
                    yield last
                if len(seen) <= cassette.MAX_SIZE:
                    seen += piece
                # The caller gets the end mark when all is written: it may stop the gateway then.
                last = piece if _END_MARK.search(piece) else b""
                if not last:
                    yield piece
            is_whole = True
        finally:
            await body.aclose()
            problem = await self._write(exchange, response, bytes(seen), cut=not is_whole)
        if problem is not None:
            raise StreamBroken
        if last:
            yield last

    async def _write(
        self, exchange: _Exchange, response: Response, body: bytes, *, cut: bool = False
    ) -> str | None:
        """Record a response; return why the file could not be written, None if it was."""
        text: str | None = None
        if len(body) <= self._room:
            size = len(body) + exchange.size
            text = await _run(size, lambda: exchange.write(response, body, cut=cut))
        self._room -= len(body) if text is None else len(text.encode())
        if text is None or self._room < 0:
            self._room = -1
            return None
        self._entries[exchange.number] = text
        try:
            cassette.save(self.path, [self._entries[number] for number in sorted(self._entries)])
        except OSError as error:
            problem = f"The recording {self.path} cannot be written: {error.strerror or error}"
            self._problems[problem] = None
            return problem
        return None


@dataclass(frozen=True, slots=True, repr=False)
class _Exchange:
    """A request that is under way, as it will be written."""

    number: int
    request: dict[str, Any]
    size: int
    """Bytes of the request's body."""
    scrubber: Scrubber

    def write(self, response: Response, body: bytes, *, cut: bool) -> str | None:
        """Return the entry as text; None if YAML cannot hold it."""
        headers = {name.lower(): value for name, value in response.headers if _is_kept(name)}
        kind = headers.get("content-type", "")
        shown: dict[str, Any] = {"status": response.status}
        if headers:
            shown["headers"] = self.scrubber.headers(headers)
        if cut:
            shown["cut"] = True
        whole = cassette_bodies.show(body, kind, self.scrubber)
        text = cassette.write_entry({"request": self.request, "response": {**shown, **whole}})
        if text is not None:
            return text
        encoded = cassette_bodies.show_encoded(body, self.scrubber)
        return cassette.write_entry({"request": self.request, "response": {**shown, **encoded}})


def _is_kept(name: str) -> bool:
    return name.lower() in KEPT_HEADERS or "ratelimit" in name.lower()


def _full(text: str) -> Response:
    return json_response({"object": "error", "message": text, "type": "recording_full"}, 501)
