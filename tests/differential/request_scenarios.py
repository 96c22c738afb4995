"""Requests: bodies, uploads, headers, paths, and what can be said per call."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fault_scripts import DONE, EVENTS, JSON, completion
from scenario import ALL_MODES, PLAIN, STREAMED, Scenario, in_turn, whole
from scenario_calls import answer
from stream_scenarios import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = {
    "empty": "",
    "accents": "été 🌞",
    "lines": "a\nb\r\nc\t\0",
    "quotes": '"\\"/</script>',
    "long": "x" * 70_000,
    "a separator": "a\u2028b",
    "half a surrogate pair": "a\ud83d",
}
OPTIONS = {
    "temperature": {"temperature": 0.0},
    "all numbers": {"temperature": 1.5, "top_p": 0.5, "max_tokens": 7, "random_seed": 3, "n": 2},
    "stop": {"stop": ["a", "é"]},
    "null": {"stop": None, "max_tokens": None},
    "tools": {
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ],
        "tool_choice": "auto",
    },
    "a format": {"response_format": {"type": "json_object"}},
    "metadata": {"metadata": {"a": 1, "b": [1.5, None]}},
    "safe prompt": {"safe_prompt": True},
    "a wrong type": {"temperature": "warm"},
    "an unknown keyword": {"nonsense": 1},
    "no model": {"model": None},
    "an image": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:x"}]}]
    },
    "roles": {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "assistant", "content": "a", "prefix": True},
        ]
    },
    "a wrong role": {"messages": [{"role": "nobody", "content": "a"}]},
    "no messages": {"messages": []},
}
HEADERS = {
    "a header": {"X-Team": "search"},
    "two of a name": {"X-A": "1", "x-a": "2"},
    "another Accept": {"Accept": "text/event-stream, */*"},
    "any Accept": {"Accept": "*/*"},
    "another Authorization": {"Authorization": "Bearer other"},
    "another content type": {"Content-Type": "application/json; charset=utf-8"},
    "another user agent": {"User-Agent": "mine/1"},
    "another encoding": {"Accept-Encoding": "identity"},
    "a cookie": {"Cookie": "a=b"},
    "a host": {"Host": "example.org"},
    "a trace": {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"},
    "an idempotency key": {"Idempotency-Key": "k"},
    "an empty value": {"X-Empty": ""},
    "a value not ASCII": {"X-Name": "é"},
    "a value with a line end": {"X-Name": "a\r\nb: c"},
    "a name with a space": {"X Name": "a"},
    "connection": {"Connection": "close"},
    "range": {"Range": "bytes=0-3"},
}
IDS = {
    "plain": "f-1",
    "spaces": "a b",
    "accents": "é",
    "a percent": "100%",
    "an escape": "a%2Fb",
    "a colon": "ft:open:x",
    "a dot": "a.b",
    "a semicolon": "a;b=c",
    "an at": "a@b",
    "a plus": "a+b",
    "a quote": "a'b\"",
    "a slash": "a/b",
    "two dots": "..",
    "a question mark": "a?b",
    "a hash": "a#b",
    "nothing": "",
    "a line end": "a\nb",
    "a backslash": "a\\b",
}


def _chats() -> Iterator[Scenario]:
    good = whole(200, completion(), JSON)
    for name, text in TEXTS.items():
        yield Scenario(
            f"text {name}",
            (good,),
            PLAIN,
            arguments={"messages": [{"role": "user", "content": text}]},
        )
    for name, options in OPTIONS.items():
        for call in ("chat", "agents"):
            yield Scenario(f"{call} with {name}", (good,), call=call, arguments=options)
    for (name, headers), (call, modes) in itertools.product(
        HEADERS.items(), (("chat", ALL_MODES), ("models", PLAIN), ("download", PLAIN))
    ):
        reply = good if call == "chat" else answer(call)
        yield Scenario(
            f"{call} with {name} per call",
            (reply,),
            modes,
            call,
            arguments={"http_headers": headers},
        )
    for name, headers in HEADERS.items():
        yield Scenario(
            f"stream with {name} per call",
            (stream(*EVENTS, DONE),),
            STREAMED,
            arguments={"http_headers": headers},
        )


def _paths() -> Iterator[Scenario]:
    for (name, value), (call, argument) in itertools.product(
        IDS.items(), (("model", "model_id"), ("download", "file_id"), ("delete file", "file_id"))
    ):
        reply = answer(call)
        yield Scenario(
            f"{call} with {name} in its id", (reply,), call=call, arguments={argument: value}
        )
    for name, value in IDS.items():
        yield Scenario(
            f"files with {name} in a query",
            (answer("files"),),
            call="files",
            arguments={"search": value, "page": 2},
        )


def _uploads() -> Iterator[Scenario]:
    good = answer("upload")
    contents = {
        "bytes": b"{}\n",
        "nothing": b"",
        "binary": bytes(range(256)),
        "100 KB": b"x" * 100_000,
        "a file": ("file", b"{}\n" * 10),
        "an empty file": ("file", b""),
        "a pipe": ("pipe", b"{}\n" * 10),
        "a file of 100 KB": ("file", b"y" * 100_000),
    }
    names = {
        "plain": "a.jsonl",
        "accents": "é.jsonl",
        "quotes": 'a"b.txt',
        "a path": "../a",
        "none": "",
    }
    for (kind, content), (name, file_name) in itertools.product(contents.items(), names.items()):
        if name != "plain" and kind not in ("bytes", "a file"):
            continue
        file = {"file_name": file_name, "content": content}
        yield Scenario(
            f"upload of {kind}, name {name}", (good,), call="upload", arguments={"file": file}
        )
        yield Scenario(
            f"upload of {kind}, name {name}, with purpose",
            (good,),
            call="upload",
            arguments={"file": {**file, "content_type": "text/plain"}, "purpose": "batch"},
            keep=False,
        )


def _per_call() -> Iterator[Scenario]:
    good = whole(200, completion(), JSON)
    for value in (5_000, 10_000, None):
        yield Scenario(f"timeout of {value} ms per call", (good,), arguments={"timeout_ms": value})
    for name, url in {
        "elsewhere": "{other}/x",
        "the same": "{same}/v1/acc/gw/mistral",
        "with a slash": "{same}/v1/acc/gw/mistral/",
        "another gateway": "{same}/v1/acc/other/mistral",
        "refused": "{refused}",
        "no URL": "nonsense",
        "empty": "",
    }.items():
        for call in ("models", "download"):
            yield Scenario(
                f"server {name} per call of {call}",
                (answer(call),),
                call=call,
                arguments={"server_url": url},
            )
        yield Scenario(
            f"server {name} per call of a stream",
            (stream(*EVENTS, DONE),),
            STREAMED,
            arguments={"server_url": url},
        )


def scenarios() -> Iterator[Scenario]:
    for rows in (_chats(), _paths(), _uploads()):
        yield from in_turn(rows)
    yield from _per_call()
