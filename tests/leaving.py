"""Programs that leave a call or a stream in some way and end: run, timed, and compared.

Loading the SDK takes most of a second, so a process loads it once and forks for each program. The
fork runs the program as its `__main__` and ends as every program does.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trustme
from fault_scripts import CHUNKED, DONE, EVENTS, JSON, LAST, SSE, chunked, completion, head, http
from fault_server import FaultServer

from mistral_cf_adapter._sdk import ROOT

if TYPE_CHECKING:
    from fault_server import Request, Wire

LIMIT = 20.0
"""Seconds after which a program counts as one that never ends."""
AT_ONCE = 4
"""Programs that run at the same time."""


# ---------------------------------------------------------------- the server


def play(wire: Wire, request: Request) -> None:
    """Answer as the first part of the path says."""
    if not request.streamed:
        if request.path.startswith("/silent/"):
            wire.until_gone()
        else:
            wire.send(http(200, completion(), JSON))
        return
    begin = head(200, SSE, CHUNKED)
    kind = request.path.split("/")[1]
    if kind == "whole":  # in one packet, whose end the reader has not asked for yet
        wire.send(begin + b"".join(chunked(b"".join(EVENTS) + DONE)) + LAST)
    elif kind == "stalled":  # after [DONE]
        wire.send(begin + b"".join(chunked(b"".join(EVENTS) + DONE)))
        wire.until_gone()
    elif kind == "silent":  # in the middle
        wire.send(begin + b"".join(chunked(EVENTS[0])))
        wire.until_gone()
    else:  # more and more
        wire.over = True
        wire.send(begin + b"".join(chunked(EVENTS[0])))
        while not wire.stopping.wait(0.02):
            wire.send(b"".join(chunked(EVENTS[1])))


def server() -> FaultServer:
    return FaultServer(play)


# ---------------------------------------------------------------- the programs

CLIENTS = {
    "bare": """
        from {root} import Mistral
        client = Mistral(api_key="k", server_url="{origin}/{kind}/mistral", **KEYWORDS)
    """,
    "make_client": """
        from mistral_cf_adapter import GatewaySettings, make_client
        settings = GatewaySettings(
            base_url="{origin}/{kind}", token="t", mistral_api_key="k", **SETTINGS
        )
        client = make_client(settings, **KEYWORDS)
    """,
    "patch": """
        from {root} import Mistral
        from mistral_cf_adapter import GatewaySettings, patch
        patch(
            settings=GatewaySettings(
                base_url="{origin}/{kind}", token="t", mistral_api_key="k", **SETTINGS
            )
        )
        client = Mistral(api_key="k", **KEYWORDS)
    """,
}

_PREAMBLE = """
    import asyncio, atexit, concurrent.futures, contextlib, functools, gc, os, signal, sys
    import threading, time, weakref

    SETTINGS = KEYWORDS = {{}}
    ASK = {{"model": "m", "messages": [{{"role": "user", "content": "x"}}]}}

    def interrupt_soon():
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
"""


def program(way: str, client: str, kind: str, origin: str) -> str:
    """Return the text of a program."""
    parts = [_PREAMBLE, CLIENTS[client]]
    begin = "".join(textwrap.dedent(part) for part in parts)
    return begin.format(origin=origin, kind=kind, root=ROOT) + textwrap.dedent(way)


# ---------------------------------------------------------------- running them


class Ending:
    """How a program ended.

    Attributes:
        status: as `subprocess` tells it, below zero for a signal; `None` for never.
        seconds: how long that took.
        stdout: what it printed.
        complaints: what it printed to the terminal that a user would report.
        of_generators: those among them of generators that asyncio ended in the wrong order.
    """

    def __init__(self, status: int | None, seconds: float, path: Path) -> None:
        self.status = status
        self.seconds = seconds
        self.stdout = Path(f"{path}.out").read_text()
        self.stderr = Path(f"{path}.err").read_text()
        self.complaints = Counter(_COMPLAINT.findall(self.stderr))
        self.of_generators = Counter(
            _COMPLAINT.findall("".join(_OF_GENERATOR.findall(self.stderr)))
        )

    def __repr__(self) -> str:
        return f"status {self.status} after {self.seconds:.2f} s\n{self.stderr[-3000:]}"


_COMPLAINT = re.compile(
    r"Traceback \(most recent call last\)|Exception ignored|\w*Warning\b|never awaited"
    r"|Task was destroyed|an error occurred|Fatal Python error|mistral_cf_adapter: .*"
)

_OF_GENERATOR = re.compile(
    r"an error occurred during closing of asynchronous generator .*?"
    r"RuntimeError: aclose\(\): asynchronous generator is already running\n",
    re.DOTALL,
)

_LAUNCHER = """
import gc, json, os, sys, time

def in_fork(name, program, running):
    pid = os.fork()
    if pid:
        running[pid] = name, time.monotonic()
        return None
    out = os.open(program["path"] + ".out", os.O_WRONLY | os.O_CREAT)
    err = os.open(program["path"] + ".err", os.O_WRONLY | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    return program["text"]

def launch():
    for line in sys.stdin:
        order = json.loads(line)
        for name in order["modules"]:
            __import__(name)
        gc.collect()
        waiting, running, endings = list(order["programs"].items()), {}, {}
        while waiting or running:
            while waiting and len(running) < order["at_once"]:
                text = in_fork(*waiting.pop(0), running)
                if text is not None:
                    return text
            for pid, (name, begun) in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                seconds = time.monotonic() - begun
                if ended:
                    endings[name] = os.waitstatus_to_exitcode(status), seconds
                elif seconds > order["limit"]:
                    os.kill(pid, 9)
                    os.waitpid(pid, 0)
                    endings[name] = None, seconds
                else:
                    continue
                del running[pid]
            time.sleep(0.002)
        print(json.dumps(endings), flush=True)
    os._exit(0)

exec(compile(launch(), "<program>", "exec"))
"""


class Launcher(contextlib.AbstractContextManager["Launcher"]):
    """A process that has loaded the SDK, and forks to run programs against a server."""

    def __init__(self, origin: str, directory: Path) -> None:
        self._origin = origin
        self._directory = directory
        self._count = 0
        self._modules: list[str] = []

    def __enter__(self) -> Self:
        # Fewer authorities to load for each client of the SDK's.
        trustme.CA().cert_pem.write_to_path(self._directory / "ca.pem")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**_environment(), "SSL_CERT_FILE": str(self._directory / "ca.pem")},
        )
        (loading,) = self.run_all(_LOADING, [("whole", "bare")]).values()
        self._modules = loading.stdout.split()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(LIMIT)
        self._process.stdout.close()

    def run_all(self, way: str, programs: list[tuple[str, str]]) -> dict[tuple[str, str], Ending]:
        """Run a way of leaving by kinds of server and of client, several at a time."""
        self._count += 1
        names = {"-".join((str(self._count), *each)): each for each in programs}
        order = {
            "programs": {
                name: {
                    "path": str(self._directory / name),
                    "text": program(way, client, kind, self._origin),
                }
                for name, (kind, client) in names.items()
            },
            "modules": self._modules,
            "at_once": AT_ONCE,
            "limit": LIMIT,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        endings = json.loads(self._process.stdout.readline())
        return {names[name]: Ending(*endings[name], self._directory / name) for name in names}


_LOADING = """
    import mistral_cf_adapter.client, mistral_cf_adapter.patching, mistral_cf_adapter.generators
    asyncio.run(client.chat.complete_async(**ASK))
    list(client.chat.stream(**ASK))
    client.chat.complete(**ASK)
    print(*(name for name in sys.modules if name.isidentifier() or "." in name))
"""
"""Prints the modules that a call needs, most of which the SDK loads when it is made."""


def _environment() -> dict[str, str]:
    hidden = ("CF_", "CLOUDFLARE_", "MISTRAL_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    given = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(hidden)
    }
    speedups = os.environ.get("CF_AIG_SPEEDUPS")
    return given if speedups is None else {**given, "CF_AIG_SPEEDUPS": speedups}
