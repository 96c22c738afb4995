"""What a test can lay out beforehand and ask afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing import faults as faults_module
from mistral_cf_adapter.testing import scripting
from mistral_cf_adapter.testing.assertions import Expectation
from mistral_cf_adapter.testing.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from mistral_cf_adapter.testing.faults import Kind
    from mistral_cf_adapter.testing.mistral import Mistral
    from mistral_cf_adapter.testing.records import ReceivedRequest
    from mistral_cf_adapter.testing.server import ThreadedServer
    from mistral_cf_adapter.testing.state import State

    PolicyKind = Literal["policy_denied", "policy_spend"]


class Controls:
    """Scripted answers, faults and assertions of a `LocalGateway`."""

    _state: State
    _mistral: Mistral
    _server: ThreadedServer

    def reply(self, text: str, *, path: str | None = None, **message_fields: Any) -> None:
        """Let the model say `text` to the next request for a text, streamed if it asks so.

        `path` ("fim/completions") waits for a request to that path of the provider's.
        `message_fields` are more fields of the message, such as `tool_calls`; `finish_reason`
        is put where it belongs.
        """
        self._state.script.add(scripting.reply(self._mistral, text, path, message_fields))

    def reply_stream(
        self, pieces: Iterable[str | bytes | Mapping[str, Any]], *, path: str | None = None
    ) -> None:
        """Stream the pieces to the next request for a text.

        Strings become chunks of the model's text; a mapping is sent as one event's JSON and
        bytes as they are. With strings alone, a request that asks for no stream gets the text
        in one piece.
        """
        self._state.script.add(scripting.reply_stream(self._mistral, list(pieces), path))

    def reply_json(
        self,
        value: Any,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        path: str | None = None,
    ) -> None:
        """Let the provider answer the next request with this JSON."""
        self._state.script.add(scripting.reply_json(value, status, headers, path))

    def fail(  # noqa: PLR0913  # one way to fail each, by keyword
        self,
        code: int | None = None,
        *,
        kind: PolicyKind | None = None,
        status: int | None = None,
        message: str | None = None,
        body: bytes | None = None,
        content_type: str = "text/html",
        headers: Mapping[str, str] | None = None,
        path: str | None = None,
    ) -> None:
        """Let the gateway refuse the next request that passes its own checks and the cache.

        With `code`, in the gateway's shape and with that code's usual status and message; with
        `kind`, in the shape of a policy's refusal; with `status` and `body`, with these bytes.
        A refusal is not retried by the gateway; for a provider that fails see `upstream_fail`.

        Raises:
            ValueError: if neither code, kind nor status says how to fail.
        """
        answer = scripting.refusal(
            code=code,
            kind=kind,
            status=status,
            message=message,
            body=body,
            content_type=content_type,
        )
        what = code if code is not None else kind or status
        self._state.script.add(scripting.fail(what, answer.with_headers(headers or {}), path))

    def upstream_fail(
        self,
        status: int = 500,
        *,
        times: int = 1,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        path: str | None = None,
    ) -> None:
        """Let the provider answer the next `times` attempts with an error.

        401, 422 and 429 come in Mistral's own shapes unless `body` (JSON) says otherwise.
        """
        self._state.upstream_script.add(scripting.upstream_fail(status, body, headers, path), times)

    def upstream_delay(self, seconds: float, *, times: int = 1, path: str | None = None) -> None:
        """Let the provider take this long to its next `times` answers.

        With a shorter `cf-aig-request-timeout` the gateway gives up on the attempt.
        """
        self._state.upstream_script.add(scripting.upstream_delay(seconds, path), times)

    def fault(
        self, kind: Kind, *, times: int | None = 1, path: str | None = None, **details: Any
    ) -> Fault:
        """Spoil the next `times` requests (None: until ended); return a handle to end it.

        - "refuse": the listening socket is closed until the handle's `end()`, the end of
          `with gateway.fault("refuse"):`, or `reset()`; `times` does not apply.
        - "reset": a TCP reset instead of an answer.
        - "stall": no byte of an answer, until the caller or the gateway ends.
        - "cut_body": `keep` bytes (by default half) of the promised body, then the end.
        - "cut_stream": `keep` events (by default 1), then the connection breaks: the HTTP
          library's own error.
        - "end_stream": `keep` events (by default 1), then a proper end without `data: [DONE]`:
          a `GatewayStreamError`.
        - "garbage": `data`, which is no HTTP.
        - "status": `status` (503) with `body`, `content_type`, `headers`.
        - "slow_drip": the answer in bits of `size` bytes (16), `delay` seconds (0.01) apart.
        - "redirect": to the URL `to` with `status` (307) and `headers`.

        Raises:
            ValueError: for an unknown kind. TypeError: for an unknown detail.
        """
        faults_module.check(kind, times, details)
        if kind != "refuse":
            return self._state.faults.add(Fault(kind, times, path, details))
        self._server.refuse()
        return self._state.faults.add(Fault(kind, times, path, details, self._server.listen))

    def pass_time(self, seconds: float) -> None:
        """Move the gateway's clock, on which the cache and the rate limit run."""
        self._state.pass_time(seconds)

    def reset(self) -> None:
        """Forget requests, logs, cache, scripted answers and faults."""
        self._state.clear()

    def assert_all_used(self) -> None:
        """Raise AssertionError if a scripted answer or a fault was not used."""
        state = self._state
        left = [*state.upstream_script.labels(), *state.script.labels(), *state.faults.labels()]
        if left:
            msg = f"{len(left)} scripted answer(s) were not used: {', '.join(left)}"
            raise AssertionError(msg)

    def assert_sent(
        self,
        *,
        path: str | None = None,
        method: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        json_contains: Mapping[str, Any] | None = None,
        times: int | None = None,
    ) -> ReceivedRequest:
        """Return the last request that fits; raise AssertionError, with reasons, if none does.

        `path` is a whole path or its end; a header of None must be absent; `json_contains` is
        compared with the body object by object, extra fields allowed; `times` is how often
        exactly, at least once if left out.
        """
        wanted = Expectation(path=path, method=method, headers=headers, json_contains=json_contains)
        received = list(self._state.requests)
        fitting = [request for request in received if not wanted.differences(request)]
        if not fitting:
            raise AssertionError(wanted.failure(received, "No request fits"))
        if times is not None and len(fitting) != times:
            problem = f"{len(fitting)} request(s) fit instead of {times}"
            raise AssertionError(wanted.failure(received, problem))
        return fitting[-1]

    def assert_not_sent(
        self, *, path: str | None = None, headers: Mapping[str, str | None] | None = None
    ) -> None:
        """Raise AssertionError if a request fits; without arguments, if any arrived."""
        wanted = Expectation(path=path, method=None, headers=headers, json_contains=None)
        received = list(self._state.requests)
        if any(not wanted.differences(request) for request in received):
            raise AssertionError(wanted.failure(received, "A request fits that should not"))
