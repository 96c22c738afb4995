"""LocalGateway: an AI Gateway with a small Mistral behind it, on 127.0.0.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistral_cf_adapter._public import TESTING, set_public_module
from mistral_cf_adapter.testing import (
    assertions,
    connect,
    faults,
    logs_api,
    media_replies,
    replies,
)
from mistral_cf_adapter.testing.app import GatewayApp
from mistral_cf_adapter.testing.faults import Fault
from mistral_cf_adapter.testing.keywords import suggest_keywords
from mistral_cf_adapter.testing.matching import Condition, expect
from mistral_cf_adapter.testing.mistral import Mistral
from mistral_cf_adapter.testing.routing import PROVIDER, Target
from mistral_cf_adapter.testing.server import HOST, ThreadedServer
from mistral_cf_adapter.testing.state import State
from mistral_cf_adapter.testing.unscripted import Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from os import PathLike
    from typing import Literal, Self, TypeAlias, TypeVar, Unpack

    from mistral_cf_adapter._settings import GatewaySettings
    from mistral_cf_adapter.testing.access import Access
    from mistral_cf_adapter.testing.app import ASGIApp
    from mistral_cf_adapter.testing.calls import Calls
    from mistral_cf_adapter.testing.faults import Kind
    from mistral_cf_adapter.testing.matching import Predicate
    from mistral_cf_adapter.testing.player import Match, Player
    from mistral_cf_adapter.testing.recorder import Recorder
    from mistral_cf_adapter.testing.records import LogRecord, ReceivedRequest
    from mistral_cf_adapter.testing.replies import MessageFields
    from mistral_cf_adapter.testing.responses import Response
    from mistral_cf_adapter.testing.server import Paths
    from mistral_cf_adapter.testing.when import When

    T = TypeVar("T")
    Make: TypeAlias = Callable[[ReceivedRequest], T]
    PolicyKind = Literal["policy_denied", "policy_spend"]

__tracebackhide__ = True  # pytest shows the test's own line as the last


class LocalGateway:
    """An AI Gateway on this machine, for tests and first steps; a context manager.

    It listens on 127.0.0.1 between `with` and the end of the block, needs no account, and
    answers from a small Mistral that says the same thing every time:

        >>> from mistral_cf_adapter import make_client
        >>> question = {"role": "user", "content": "Hello"}
        >>> with LocalGateway() as gateway:
        ...     client = make_client(gateway.settings())
        ...     gateway.reply("Bonjour!")
        ...     answer = client.chat.complete(model="mistral-small-latest", messages=[question])
        ...     gateway.assert_all_used()
        >>> answer.choices[0].message.content
        'Bonjour!'

    How far it can be trusted
    -------------------------
    Documented by Cloudflare: the paths; a token in `cf-aig-authorization`, and on `/compat`
    also in `Authorization`; a stored key counts only without `Authorization`; 400 without any
    credentials under `cf-aig-no-wholesale`; cache key, lifetimes and `cf-aig-cache-status`;
    five entries of metadata, `cf.` names stripped; the log headers; ids and the echoed event
    id; attempts, delay, backoff and timeout, the last retry without a timeout; a guarded
    stream answered in one piece; the body of a policy's refusal; `dynamic/` routes; the Auto
    Router's models and headers, of which the module `auto_router` says more.

    Measured by others on live gateways: the body of all other refusals and the codes 2001,
    2003, 2005, 2008, 2009, 2019, 2040; a missing provider key ends in the provider's own 401;
    one null in the metadata loses all of it; an unknown alias matters only if some key is
    stored; no `retry-after` on 429.

    Our assumptions, where nothing was found: an unknown account looks like an unknown gateway;
    paths under `/compat` other than `chat/completions` give 2008; `/compat` takes `custom/`
    aliases; an unknown route or alias gives 2005; failures that are retried are 429, 5xx and no
    response; a timeout ends in 400/2005; lifetimes out of range are brought into range; streams,
    errors and methods other than POST are not cached; skipped requests are not stored and carry
    no cache status; no log id without a log; 2001, 2008, 2009 and 2019 carry no ids. Logs are
    written when a response starts, which is earlier than in reality. Providers other than
    `mistral` and `custom_providers` are unknown.

    The embedded Mistral follows Mistral's OpenAPI document; the module `mistral` says what it
    imitates. The rest gets status 501, which says so, and can be scripted with `reply_json`.

    The modules `logs_api` and `access` say the same of Cloudflare's API for logs and of Access.

    Below `/_gateway/` it has an HTTP API of its own, for tests in other languages: see `http_api`.

    It serves this machine's programs alone: a `Host` that is not localhost gives 421, an `Origin`
    of another host 403. The module `limits` says how large a body may be, how long a request may
    take to arrive, and how much is kept; the oldest requests and logs go first.

    Args:
        token: the gateway token it accepts.
        account_id: the account in its path.
        gateway_ids: the gateways that exist; `url` names the first.
        stored_keys: alias -> provider key kept by the gateway; none by default.
        mistral_api_key: the key the embedded Mistral accepts, besides the stored ones; None
            for any.
        upstream: the origin of a real provider, such as "https://api.mistral.ai"; by default
            the embedded one answers. For another LocalGateway, made with `authenticated=False`,
            its `url` and "/mistral".
        custom_providers: slug -> origin of a provider called `custom-<slug>`, None for the
            embedded one.
        routes: name -> model of dynamic routes, called as `dynamic/<name>` on `/compat`.
        aliases: name -> model of model aliases, called as `custom/<name>` on `/compat`, which is
            assumed: Cloudflare documents them for its REST API alone.
        rate_limit: requests admitted per minute; unlimited by default.
        cache_ttl: the gateway's own cache lifetime in seconds; off by default.
        authenticated: whether a token is required.
        access: Cloudflare Access in front of it, as of a custom domain; a token is not required
            then. None by default.
        api_token: the token that Cloudflare's API accepts, as `api_url` has it.
        log_delay: seconds from a response to its log in that API; `logs` has it at once.
        guardrails: whether guardrails are on, see the attribute.
        strict: whether to refuse, with 400, what nothing is scripted for, and each model that is
            not known: the module `unscripted` says what that is. See `assert_all_scripted`.
        models: names of models that `strict` takes besides those that the embedded Mistral lists.
        page: whether a page for a browser is at `/`, which shows the calls and scripts responses.
        tls: paths of certificate and key, for https.
        port: 0 takes a free one.
        record: path of a cassette (YAML) to write all that the upstream is asked and answers to,
            without secrets; the first call replaces what the file held. Needs PyYAML.
        replay: path of a cassette to answer from, in place of the upstream. What it does not hold
            gets status 501 with what was expected and what came, and fails `assert_all_used()`.
        match: how `replay` finds a response: by the "content" of the request (the default), or by
            "order", where each recording must be used, and used once.

    Raises:
        OSError: on entering, when the port is taken; when the cassette cannot be read or written.
        TypeError: for an unknown keyword, here and in each method; the nearest is named.
        ValueError: for a cassette with mistakes, or `record`, `replay`, `match` and `upstream` that
            do not go together.
        ModuleNotFoundError: for `record` or `replay` without PyYAML.
    """

    @suggest_keywords
    def __init__(  # noqa: PLR0913  # each is a setting by keyword
        self,
        *,
        token: str = "cf-test-token",  # noqa: S107
        account_id: str = "acc",
        gateway_ids: Sequence[str] = ("default",),
        stored_keys: Mapping[str, str] | None = None,
        mistral_api_key: str | None = "mistral-test-key",
        upstream: str | None = None,
        custom_providers: Mapping[str, str | None] | None = None,
        routes: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
        rate_limit: int | None = None,
        cache_ttl: int | None = None,
        authenticated: bool = True,
        access: Access | None = None,
        api_token: str = "cf-api-test-token",  # noqa: S107
        log_delay: float = 0.0,
        guardrails: bool = False,
        strict: bool = False,
        models: Iterable[str] = (),
        page: bool = False,
        tls: Paths | None = None,
        port: int = 0,
        record: str | PathLike[str] | None = None,
        replay: str | PathLike[str] | None = None,
        match: Match = "content",
    ) -> None:
        self._state = State(
            token=token,
            account_id=account_id,
            gateway_ids=tuple(gateway_ids),
            mistral_api_key=mistral_api_key or "mistral-test-key",
            takes_any_key=mistral_api_key is None,
            stored_keys=dict(stored_keys or {}),
            custom_providers=dict(custom_providers or {}),
            routes=dict(routes or {}),
            aliases=dict(aliases or {}),
            upstream=upstream,
            rate_limit=rate_limit,
            authenticated=authenticated,
            cache_ttl=cache_ttl,
            api_token=api_token,
            log_delay=log_delay,
            access=access,
            guardrails=guardrails,
        )
        if access is not None:
            access.use_clock(self._state.wall_time)
        self._mistral = Mistral(self._state)
        self._cassette: Recorder | Player | None = None
        if record is not None or replay is not None:
            from mistral_cf_adapter.testing.cassette_modes import open_cassette

            self._cassette = open_cassette(self._state, record=record, replay=replay, match=match)
        # A cassette is strict by itself, and a recording is to get what nothing is scripted for.
        if strict and self._cassette is None:
            targets = (*self._state.routes.values(), *self._state.aliases.values())
            known = (name.removeprefix(f"{PROVIDER}/") for name in targets)
            self._state.strict = Strict(self._mistral, self.mistral_api_key, [*models, *known])
        self._scheme = "http" if tls is None else "https"
        app = GatewayApp(self._state, self._send_upstream, has_page=page)
        app.make_api = self._make_api
        app.download = self._mistral.download
        self._server = ThreadedServer(app, port=port, tls=tls)
        app.transports = self._server.transports

    if not TYPE_CHECKING:  # to which any name could be set otherwise

        def __setattr__(self, name: str, value: Any) -> None:
            """Refuse what would change nothing, such as `gateway.rate_limit = 1`."""
            if not name.startswith("_") and not hasattr(type(self), name):
                msg = (
                    f"LocalGateway has no attribute {name!r} to set; what a gateway is made with "
                    "are keywords of LocalGateway(...)"
                )
                raise AttributeError(msg)
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"<LocalGateway {self.url}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. `with` does it; call `stop` after it otherwise.

        After `stop` it can be started again: on the port it was given, else on another free one.

        Raises:
            OSError: if the port is taken.
            RuntimeError: if it is started already.
        """
        self._server.start()
        self._state.origin = self.origin

    def stop(self) -> None:
        """Drop every connection, open streams too, and end. Harmless when ended.

        Raises:
            RuntimeError: in a function given to `calls.subscribe()`, which the gateway waits for.
        """
        self._server.stop()

    @property
    def origin(self) -> str:
        """Scheme, host and port, without a path."""
        return f"{self._scheme}://{HOST}:{self._server.port}"

    @property
    def url(self) -> str:
        """The base URL: everything before `/mistral` and `/compat`."""
        return f"{self.origin}/v1/{self._state.account_id}/{self._state.gateway_ids[0]}"

    @property
    def token(self) -> str:
        """The gateway token it accepts."""
        return self._state.token

    @property
    def api_url(self) -> str:
        """The base URL of Cloudflare's API, of which the logs are here: see `logs_api`."""
        return self.origin + logs_api.ROOT

    @property
    def api_token(self) -> str:
        """The token that Cloudflare's API accepts, not the gateway's own token."""
        return self._state.api_token

    @property
    def mistral_api_key(self) -> str:
        """The key the embedded Mistral accepts."""
        return self._state.mistral_api_key

    @property
    def stored_keys(self) -> dict[str, str]:
        """Alias -> stored provider key; change it at any time."""
        return self._state.stored_keys

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request that arrived, oldest first, also those refused or hit by a fault."""
        return self._state.requests

    @property
    def upstream_requests(self) -> list[ReceivedRequest]:
        """Every request the provider was sent, one per attempt."""
        return self._state.upstream_requests

    @property
    def logs(self) -> list[LogRecord]:
        """What the gateway's dashboard would list, oldest first."""
        return self._state.logs

    @property
    def calls(self) -> Calls:
        """The calls that were served, with their responses: see the module `calls`."""
        return self._state.calls

    @property
    def guardrails(self) -> bool:
        """Whether guardrails are on: a streamed request gets one plain JSON response."""
        return self._state.guardrails

    @guardrails.setter
    def guardrails(self, value: bool) -> None:
        self._state.guardrails = value

    @property
    def dlp(self) -> Mapping[str, Any] | None:
        """What the header `cf-aig-dlp` of each response says; None for no header."""
        return self._state.dlp

    @dlp.setter
    def dlp(self, value: Mapping[str, Any] | None) -> None:
        self._state.dlp = value

    def settings(self, **overrides: Any) -> GatewaySettings:
        """Return the adapter's settings for this gateway, with changes of your own.

        With `byok` or a `byok_alias` they have no Mistral key. Behind `access` they have its
        service token in place of the gateway's token, unless an `access_token` is given.
        """
        return connect.make_settings(self.url, self._state, overrides)

    def adopted(self, settings: GatewaySettings) -> GatewaySettings:
        """Return a copy of an application's settings that points at this gateway.

        Settings that are for this gateway already keep their token and key, wrong ones too.
        """
        return connect.adopt_settings(self.url, self._state, settings)

    def env(self) -> dict[str, str]:
        """Return the environment variables that point an application here."""
        return connect.make_environment(self.url, self._state)

    def api_env(self) -> dict[str, str]:
        """Return the environment variables that point Cloudflare's own packages here."""
        return {
            "CLOUDFLARE_ACCOUNT_ID": self._state.account_id,
            "CLOUDFLARE_API_TOKEN": self.api_token,
            "CLOUDFLARE_BASE_URL": self.api_url,
        }

    def reply(
        self,
        text: str | Make[str] = "",
        *,
        when: When | Predicate | None = None,
        path: str | None = None,
        message: Mapping[str, Any] | None = None,
        **fields: Unpack[MessageFields],
    ) -> None:
        """Let the model say `text` to the next request for a text, streamed if it asks so.

        Here and in the other methods `when` says for which request, as a mapping, see `When`:

            gateway.reply("Paris", when={"json_contains": {"messages": [{"content": "France?"}]}})
            gateway.reply("short", when=lambda request: len(request.body) < 1000)

        and what is scripted may be a function that gets the request (a `ReceivedRequest`) and
        returns it: `gateway.reply(lambda request: request.json()["model"])`. Functions run in a
        thread of their own. One that raises is a 500 for the caller, and fails `assert_all_used()`.
        Of several responses that fit, the first is used; each is used once.

        Args:
            text: what it says, or a function that returns that.
            when: the request it waits for; by default any.
            path: the path it waits for, such as "fim/completions"; short for `when`.
            message: more fields of the message, unchecked, for what this release does not know.
            fields: more fields of the message: `tool_calls`, `content` (a list of chunks),
                `prefix`, and `finish_reason`.

        Raises:
            TypeError: for a field, or a key of `when`, that is not known.
            GatewayConfigError: for an option in `when` that is not known or takes no such value.
        """
        checked = replies.check_fields(fields, message)
        self._state.script.add(replies.reply(self._mistral, text, checked, when, path))

    @suggest_keywords
    def reply_stream(
        self,
        pieces: Iterable[str | bytes | Mapping[str, Any]] | Make[Iterable[Any]],
        *,
        when: When | Predicate | None = None,
        path: str | None = None,
    ) -> None:
        """Stream the pieces to the next request for a text.

        Strings become chunks of the model's text; a mapping is sent as one event's JSON and
        bytes as they are. With strings alone, a request that asks for no stream gets the text
        in one piece. For `when` and functions see `reply`.
        """
        self._state.script.add(replies.reply_stream(self._mistral, pieces, when, path))

    @suggest_keywords
    def reply_parsed(
        self,
        value: Any,
        *,
        when: When | Predicate | None = None,
        path: str | None = None,
    ) -> None:
        """Let the model say a value as JSON to the next request for a text.

        For `chat.parse(response_format=Model)` that is a pydantic model, `Model(...)`, or a mapping
        with its fields. For `when` and functions see `reply`.
        """
        self._state.script.add(replies.reply_parsed(self._mistral, value, when, path))

    @suggest_keywords
    def reply_embeddings(
        self,
        vectors: Sequence[Sequence[float]] | Make[Sequence[Sequence[float]]],
        *,
        when: When | Predicate | None = None,
    ) -> None:
        """Answer the next request for embeddings that has as many inputs as there are vectors.

        For `when` and functions see `reply`.
        """
        self._state.script.add(media_replies.reply_embeddings(vectors, when))

    @suggest_keywords
    def reply_ocr(
        self,
        *pages: str | Mapping[str, Any] | Make[Sequence[Any]],
        when: When | Predicate | None = None,
    ) -> None:
        """Answer the next request for OCR with these pages.

        A page is a text in Markdown, or a mapping with its fields (`markdown`, `images` ...). For
        `when` and functions see `reply`; a function returns the list of pages.
        """
        self._state.script.add(media_replies.reply_ocr(pages, when))

    @suggest_keywords
    def reply_json(  # each is a part of a response
        self,
        value: Any,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        when: When | Predicate | None = None,
        path: str | None = None,
    ) -> None:
        """Let the provider answer the next request with this JSON.

        For `when` and functions see `reply`.
        """
        self._state.script.add(replies.reply_json(value, status, headers, when, path))

    @suggest_keywords
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
        when: When | Predicate | None = None,
        path: str | None = None,
    ) -> None:
        """Let the gateway refuse the next request that passes its own checks and the cache.

        With `code`, in the gateway's shape and with that code's usual status and message; with
        `kind`, in the shape of a policy's refusal, "policy_denied" (403, also where no policy
        allows the request) or "policy_spend" (429, with bucket, spent and limit); with `status` and
        `body`, with these bytes. For `when` see `reply`.
        A refusal is not retried by the gateway; for a provider that fails see `upstream_fail`.
        It has the gateway's headers, so a `body` that is not in the gateway's shape passes for the
        provider's own: what Cloudflare's edge says in the gateway's place is `fault("edge")`.

        Raises:
            ValueError: if neither code, kind nor status says how to fail.
        """
        response = replies.refusal(
            code=code,
            kind=kind,
            status=status,
            message=message,
            body=body,
            content_type=content_type,
        )
        what = code if code is not None else kind or status
        entry = replies.fail(what, response.with_headers(headers or {}), when, path)
        self._state.script.add(entry)

    @suggest_keywords
    def upstream_fail(  # noqa: PLR0913  # each is a part of a response, or says when
        self,
        status: int = 500,
        *,
        times: int = 1,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        when: When | Predicate | None = None,
        path: str | None = None,
    ) -> None:
        """Let the provider answer the next `times` attempts with an error.

        401, 422 and 429 come in Mistral's own shapes unless `body` (JSON) says otherwise. For
        `when` see `reply`.
        """
        entry = replies.upstream_fail(status, body, headers, when, path)
        self._state.upstream_script.add(entry, times)

    @suggest_keywords
    def upstream_delay(
        self,
        seconds: float,
        *,
        times: int = 1,
        when: When | Predicate | None = None,
        path: str | None = None,
    ) -> None:
        """Let the provider take this long to its next `times` responses.

        With a shorter `cf-aig-request-timeout` the gateway gives up on the attempt. For `when` see
        `reply`.
        """
        self._state.upstream_script.add(replies.upstream_delay(seconds, when, path), times)

    def fault(
        self,
        kind: Kind,
        *,
        times: int | None = 1,
        when: When | Predicate | None = None,
        path: str | None = None,
        **details: Any,
    ) -> Fault:
        """Spoil the next `times` requests (None: until ended); return a handle to end it.

        - "refuse": the listening socket is closed until the handle's `end()`, the end of
          `with gateway.fault("refuse"):`, or `reset()`; `times` and `when` do not apply.
        - "reset": a TCP reset instead of a response.
        - "stall": no byte of a response, until the caller or the gateway ends.
        - "cut_body": `keep` bytes (by default half) of the promised body, then the end.
        - "cut_stream": `keep` events (by default 1), then the connection breaks: the HTTP
          library's own error.
        - "end_stream": `keep` events (by default 1), then a proper end without `data: [DONE]`:
          a `GatewayStreamError`.
        - "garbage": `data`, which is no HTTP.
        - "status": `status` (503) with `body`, `content_type`, `headers`.
        - "slow_drip": the response in bits of `size` bytes (16), `delay` seconds (0.01) apart.
        - "redirect": to the URL `to` with `status` (307) and `headers`.
        - "edge": a page of Cloudflare's edge in place of the gateway: `page` (502) is a number such
          as 1010, 1015, 413 or 522, or "challenge" or "firewall"; `form` ("html") may be "line" or
          "json". `testing.edge_pages` says what of it is documented.
        - "access": Cloudflare Access refuses: `form` is "login" (a redirect, the default),
          "unauthorized", "page" or "json". `LocalGateway(access=...)` refuses what has no identity.

        For `when` see `reply`; the path is the whole one, with account and gateway, or its end.

        Raises:
            ValueError: for an unknown kind, page or form. TypeError: for an unknown detail.
        """
        faults.check(kind, times, details)
        condition = Condition("fault", when, path)
        if kind != "refuse":
            return self._state.faults.add(Fault(kind, times, path, details, condition))
        self._server.refuse()
        fault = Fault(kind, times, path, details, condition, self._server.listen)
        return self._state.faults.add(fault)

    def pass_time(self, seconds: float) -> None:
        """Move the gateway's clock, on which the cache and the rate limit run."""
        self._state.pass_time(seconds)

    def reset(self) -> None:
        """Forget what came, is scripted, cached or kept by Mistral; rewind the cassette.

        That is requests, calls, logs, responses and faults to come, and the embedded Mistral's
        files, conversations, agents and so on.
        """
        self._state.clear()
        self._mistral.clear()
        if self._cassette is not None:
            self._cassette.rewind()

    def assert_all_used(self) -> None:
        """Raise AssertionError if a scripted response or a fault was not used.

        It says of each request that was received last why it did not fit, and whether a function
        of the test's own, in `when` or as a response, has raised.

        Also if a request did not fit the cassette, if, by order, a recording was not used, or if
        the cassette could not be written.
        """
        problems = [] if self._cassette is None else self._cassette.problems()
        if problems:
            raise AssertionError("\n".join(problems))
        assertions.check_script(self._state)

    def assert_all_scripted(self) -> None:
        """Raise AssertionError if `strict` has refused a request; it names them."""
        assertions.check_strict(self._state)

    def assert_sent(self, *, times: int | None = None, **parts: Unpack[When]) -> ReceivedRequest:
        """Return the last request that fits; raise AssertionError, with reasons, if none does.

        Args:
            times: how often exactly; at least once if left out.
            parts: what the request must have, as in `When`: `path` (a whole path or its end),
                `method`, `model`, `headers` (None for one that must be absent), `json_contains`
                (compared with the body object by object, extra fields allowed) and `options`, those
                of `gateway_options()`, such as `{"cache_ttl": 120}`.
        """
        wanted = expect("assert_sent()", parts, "times")
        return assertions.find_sent(self._state, wanted, times)

    def assert_not_sent(self, **parts: Unpack[When]) -> None:
        """Raise AssertionError if a request fits; without arguments, if any arrived.

        `parts` are those of `assert_sent`.
        """
        unwanted = expect("assert_not_sent()", parts)
        assertions.refuse_sent(self._state, unwanted)

    def _make_api(self) -> ASGIApp:
        from mistral_cf_adapter.testing.http_api import HttpApi

        return HttpApi(self, self._state).app

    async def _send_upstream(self, request: ReceivedRequest, target: Target) -> Response:
        if self._cassette is None:
            return await self._ask_upstream(request, target)
        return await self._cassette.respond(request, target, self._ask_upstream)

    async def _ask_upstream(self, request: ReceivedRequest, target: Target) -> Response:
        base = self._state.upstream
        if target.routing:
            base = None  # the embedded Mistral stands in for what the Auto Router chose
        elif target.provider != PROVIDER:
            slug = target.provider.removeprefix("custom-")
            base = self._state.custom_providers[slug]
        if base is None:
            return await self._mistral.respond(request)
        from mistral_cf_adapter.testing.forward import forward

        return await forward(request, base, decode=self._cassette is not None)


set_public_module(LocalGateway, package=TESTING)
