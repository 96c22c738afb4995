"""One line for each call, as `serve` prints them."""

from __future__ import annotations

import io
import json
import re
import threading

import pytest
from raw_gateway import BASE, QUESTION, asking, exchange

from mistral_cf_adapter.testing import LocalGateway, serve
from mistral_cf_adapter.testing.call_lines import CallLines

LINE = re.compile(
    r"\d\d:\d\d:\d\d  (?P<operation>.{24})  (?P<model>.{24})  (?P<status>[\d -]{3})  "
    r"(?P<cache>.{4})  (?P<tokens>.{11})  (?P<ms> *\d+ ms)(  (?P<note>.*))?"
)


class Terminal(io.StringIO):
    def __init__(self, encoding="utf-8", *, is_terminal=True):
        super().__init__()
        self.encoding_name = encoding
        self.is_terminal = is_terminal

    @property
    def encoding(self):
        return self.encoding_name

    def isatty(self):
        return self.is_terminal


@pytest.fixture
def plain(local_gateway):
    def lines(stream=None):
        writer = CallLines(stream or Terminal(is_terminal=False), local_gateway)
        kept = local_gateway.calls.since(local_gateway.calls.last_id - len(local_gateway.calls))
        return [writer.format(call) for call in kept]

    return lines


def test_columns_stand_below_each_other(local_gateway, plain):
    local_gateway.fail(2003)
    exchange(local_gateway, asking(local_gateway, QUESTION))
    cached = {"cf-aig-cache-ttl": "60"}
    exchange(local_gateway, asking(local_gateway, {**QUESTION, "stream": True}, **cached))
    local_gateway.reply("one two three")
    exchange(local_gateway, asking(local_gateway, QUESTION, **cached))
    exchange(local_gateway, asking(local_gateway, {}, f"{BASE}/v1/nowhere/{'x' * 80}"))
    local_gateway.fault("reset")
    exchange(local_gateway, asking(local_gateway, QUESTION))
    assert local_gateway.calls.wait(4, timeout=30)  # its connection ends before it is noted
    found = [LINE.fullmatch(line) for line in plain()]
    assert all(found), plain()
    columns = [
        {name: (text or "").strip() for name, text in one.groupdict().items()} for one in found
    ]
    assert columns[0]["operation"] == "chat.complete"
    assert columns[0]["status"] == "429"
    log = f"log {local_gateway.logs[0].id}"
    assert columns[0]["note"] == f"gateway 2003: Rate limited  {log}"
    assert (columns[1]["operation"], columns[1]["cache"]) == ("chat.stream", "MISS")
    assert columns[1]["note"] == f"log {local_gateway.logs[1].id}"
    assert (columns[2]["tokens"], columns[2]["model"]) == ("1+3", "mistral-small-latest")
    assert columns[3]["operation"].endswith("...")
    assert (columns[4]["status"], columns[4]["note"]) == ("-", "fault: scripted fault: reset")


HOSTILE = "\x1b[2J\r\n\x07\u202e\ud800é"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_a_client_sends_cannot_change_the_terminal(local_gateway, plain, encoding):
    body = {**QUESTION, "model": f"m{HOSTILE}"}
    exchange(local_gateway, asking(local_gateway, json.dumps(body).encode()))
    path = f"{BASE}/v1/%1b[2J%0a\xc3"
    exchange(local_gateway, asking(local_gateway, {}, path))
    local_gateway.reply_json({"message": HOSTILE}, status=400)
    exchange(local_gateway, asking(local_gateway, QUESTION))
    local_gateway.reply_json({"detail": [HOSTILE]}, status=400)
    exchange(local_gateway, asking(local_gateway, QUESTION))
    for line in plain(Terminal(encoding, is_terminal=False)):
        assert line.isprintable(), repr(line)
        line.encode(encoding)


def test_secrets_are_masked_wherever_they_are_quoted(monkeypatch):
    secret, own = "the-token-of-this-gateway", "a-key-that-a-caller-sends"
    with LocalGateway(
        token=secret, stored_keys={"a": "a-key-that-is-stored"}, mistral_api_key=None
    ) as gateway:
        quoted = f"Bad {secret}, {own}, a-key-that-is-stored, {gateway.api_token}"
        gateway.reply_json({"message": quoted}, status=401)
        sent = asking(gateway, {**QUESTION, "model": own})
        old = f"Authorization: Bearer {gateway.mistral_api_key}".encode()
        exchange(gateway, sent.replace(old, f"Authorization: Bearer {own}".encode()))
        line = CallLines(Terminal(), gateway).format(gateway.calls.get(1))
    assert "Bad the-...ay, a-ke...ds, a-ke...ed, cf-a...en" in line
    for text in (secret, own, "a-key-that-is-stored", gateway.api_token):
        assert text[:8] not in line  # no beginning of one that was cut either


@pytest.mark.parametrize(
    ("stream", "variables", "is_coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(is_terminal=False), {}, False),
    ],
)
def test_colours_are_for_terminals(
    local_gateway, plain, monkeypatch, stream, variables, is_coloured
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    exchange(local_gateway, asking(local_gateway, QUESTION))
    local_gateway.fail(2003)
    exchange(local_gateway, asking(local_gateway, QUESTION))
    good, bad = plain(stream)
    assert bad.startswith("\x1b[31m") is bad.endswith("\x1b[0m") is is_coloured
    assert ("\x1b[" in good) is is_coloured
    assert "\x1b[31m" not in good


# ---------------------------------------------------------------- serve


class Printed(io.StringIO):
    """What is printed, and a wait for a line of it."""

    def __init__(self):
        super().__init__()
        self.changed = threading.Condition()

    def write(self, text):
        with self.changed:
            self.changed.notify_all()
            return super().write(text)

    def wait_for(self, wanted):
        with self.changed:
            assert self.changed.wait_for(lambda: wanted in self.getvalue(), 30), self.getvalue()


@pytest.mark.parametrize("quiet", [False, True])
def test_serve_prints_a_line_for_each_call_unless_it_is_quiet(quiet):
    printed, stop = Printed(), threading.Event()
    thread = threading.Thread(
        target=serve, args=(0,), kwargs={"out": printed, "until": stop, "quiet": quiet}
    )
    thread.start()
    try:
        printed.wait_for("Ctrl-C stops it.")
        url = printed.getvalue().split()[4]
        with LocalGateway() as shape:
            sent = asking(shape, QUESTION)
        exchange(_At(url), sent)
        if not quiet:
            printed.wait_for("chat.complete")
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    assert ("chat.complete" in printed.getvalue()) is not quiet
    assert "Test values" in printed.getvalue()


class _At:
    def __init__(self, url):
        self.origin = url.partition("/v1/")[0]
