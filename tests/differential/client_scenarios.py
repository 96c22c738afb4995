"""Clients: HTTP clients of the user's own, attributes set later, hooks, keywords of `Mistral()`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fault_scripts import DONE, EVENTS, JSON, completion, http
from scenario import ALL_MODES, PLAIN, STREAMED, Reply, Scenario, in_turn, whole
from scenario_calls import answer
from stream_scenarios import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = {
    "nothing": {},
    "follow_redirects": {"follow_redirects": True},
    "headers": {"headers": {"X-Team": "search", "User-Agent": "mine/1"}},
    "an Accept": {"headers": {"Accept": "text/event-stream, */*"}},
    "a key in headers": {"headers": {"Authorization": "Bearer other"}},
    "params": {"params": {"team": "search"}},
    "cookies": {"cookies": {"a": "b"}},
    "auth": {"auth": ("user", "word")},
    "digest auth": {"auth": "digest"},
    "a short timeout": {"timeout": 0.25},
    "no timeout": {"timeout": None},
    "one connection": {"limits": {"max_connections": 1}},
    "no keep-alive": {"limits": {"max_keepalive_connections": 0}},
    "two redirects": {"follow_redirects": True, "max_redirects": 2},
    "trust_env off": {"trust_env": False},
    "a base URL": {"base_url": "{other}/base/"},
    "a proxy": {"proxy": "{proxy}"},
    "a proxy that is down": {"proxy": "{refused}"},
    "verify off": {"verify": False},
    "an encoding": {"default_encoding": "latin-1"},
    "note hooks": {"event_hooks": ("note requests", "note responses")},
    "raise for status": {"event_hooks": ("raise for status",)},
    "a hook that adds": {"event_hooks": ("add a header",)},
    "a hook that fails": {"event_hooks": ("fail on requests",)},
    "a hook that fails later": {"event_hooks": ("fail on responses",)},
    "a mock": {"transport": "a list"},
    "a mock of an error": {"transport": "an error"},
    "a mock that breaks": {"transport": "broken"},
    "a transport": {"transport": "retries"},
}
GOOD = whole(200, completion(), JSON)
BAD = whole(422, b'{"detail":[{"loc":["body"],"msg":"bad","type":"missing"}]}', JSON)
DOWN = whole(503, b"down", "Content-Type: text/plain")
HOP = Reply((http(307, b"", "Location: elsewhere", "Set-Cookie: hop=1", log_id=False),))
REPLIES = {
    "success": ((GOOD,), PLAIN),
    "a refusal": ((BAD,), ALL_MODES),
    "an outage": ((DOWN,), PLAIN),
    "a redirect": ((HOP, GOOD), PLAIN),
    "a stream": ((stream(*EVENTS, DONE),), STREAMED),
    "a stream after a redirect": ((HOP, stream(*EVENTS, DONE)), STREAMED),
    "a stall": ((Reply((), "stall"),), PLAIN),
    "a demand for a key": (
        (whole(401, b"", 'WWW-Authenticate: Digest realm="r", nonce="n"'), GOOD),
        PLAIN,
    ),
}
CHANGES = {
    "headers": {"headers": {"X-Team": "search"}},
    "cookies": {"cookies": {"a": "b"}},
    "params": {"params": {"team": "search"}},
    "timeout": {"timeout": 5.0},
    "auth": {"auth": ("user", "word")},
    "follow_redirects": {"follow_redirects": False},
    "max_redirects": {"max_redirects": 0},
    "trust_env": {"trust_env": False},
    "an attribute of its own": {"team": "search"},
}
KEYWORDS = {
    "a timeout": {"timeout_ms": 5_000},
    "a key that is empty": {"api_key": ""},
    "no key": {"api_key": None},
    "a logger": {"debug_logger": "logs"},
    "retries": {"retry_config": (1000, 60_000, 2, 2_500, True)},
}
SDK_HOOKS = (
    "change request",
    "replace request",
    "fail before",
    "fail after",
    "replace error",
    "read body",
)


def _own_clients() -> Iterator[Scenario]:
    for (name, http_options), (kind, (replies, modes)) in itertools.product(
        CLIENTS.items(), REPLIES.items()
    ):
        if kind == "a stall" and "timeout" not in name:
            continue
        if kind == "a stall" and name == "no timeout":
            continue
        yield Scenario(f"own client with {name}, {kind}", replies, modes, http=http_options)
    for name in ("nothing", "cookies", "one connection", "no keep-alive", "note hooks"):
        cookie = whole(200, completion(), JSON, "Set-Cookie: a=b")
        for call in ("chat", "models", "download", "upload"):
            sent = cookie if call == "chat" else answer(call)
            yield Scenario(
                f"own client with {name}, three calls of {call}",
                (sent,),
                call=call,
                http=CLIENTS[name],
                times=3,
                closing=True,
            )


def _changed() -> Iterator[Scenario]:
    for (name, changes), (kind, (replies, modes)) in itertools.product(
        CHANGES.items(), REPLIES.items()
    ):
        if kind == "a stall":  # a timeout that is set later does not end one with the bare SDK
            continue
        yield Scenario(f"client with {name} set later, {kind}", replies, modes, changes=changes)


def _keywords() -> Iterator[Scenario]:
    for (name, keywords), (kind, (replies, modes)) in itertools.product(
        KEYWORDS.items(), REPLIES.items()
    ):
        if kind != "a stall":
            yield Scenario(f"Mistral with {name}, {kind}", replies, modes, sdk=keywords)


def _hooks() -> Iterator[Scenario]:
    for hook, (kind, (replies, modes)), kept in itertools.product(
        SDK_HOOKS, REPLIES.items(), (True, False)
    ):
        if kind != "a stall":
            suffix = "" if kept else ", not kept"
            yield Scenario(f"hook {hook}, {kind}{suffix}", replies, modes, hooks=(hook,), keep=kept)
    both = ("change request", "replace error")
    yield Scenario("two hooks", (BAD,), ALL_MODES, hooks=both)


def scenarios() -> Iterator[Scenario]:
    for rows in (_own_clients(), _changed(), _keywords(), _hooks()):
        yield from in_turn(rows)
