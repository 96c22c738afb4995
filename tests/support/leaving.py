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


# ---------------------------------------------------------------- the server


def play(wire: Wire, request: Request) -> None:
    """Answer as the last word of the prompt says."""
    kind = next(kind for kind in (*KINDS, SILENT) if f"be {kind}" in request)
    begin = head(200, SSE, CHUNKED) + chunked(EVENTS[0])[0]
    rest = chunked(b"".join(EVENTS[1:]) + DONE)[0]
    if kind == SILENT:
        wire.send(*[begin] * request.streamed)
        wire.until_gone()
    elif not request.streamed:
        wire.send(http(200, completion(), JSON))
    elif kind == "whole":  # in one packet, whose end the reader has not asked for yet
        wire.send(begin + rest + LAST)
    elif kind == "stalled":  # after [DONE]
        wire.send(begin + rest)
        wire.until_gone()
    else:
        wire.over = True
        wire.send(begin)
        while not wire.stopping.wait(0.02):
            wire.send(chunked(EVENTS[1])[0])


KINDS = ("whole", "stalled", "endless")
"""Responses: one that has arrived, one that stalls after [DONE], one with ever more to send."""
SILENT = "silent"
"""A response that stalls in its middle, or before it begins."""


def server() -> FaultServer:
    return FaultServer(play)


# ---------------------------------------------------------------- the programs

BARE = """
    from {root} import Mistral
    clients = [Mistral(api_key="k", server_url="{origin}/mistral") for _ in range(2)]
"""
OURS = """
    from {root} import Mistral
    from mistral_cf_adapter import GatewaySettings, make_client, patch
    settings = GatewaySettings(base_url="{origin}", token="t", mistral_api_key="k")
    clients = [make_client(settings), Mistral(api_key="k")]
    patch(clients[1], settings=settings)
"""

_BEGIN = """
    import asyncio, atexit, concurrent.futures, contextlib, functools, gc, os, signal, sys
    import threading, time, weakref

    def ask(kind):
        return {{"model": "m", "messages": [{{"role": "user", "content": "be " + kind}}]}}

    async def read_on(call, begun):
        async for event in await call():
            begun.set()
            await asyncio.sleep(5)

    def begin_all():
        kept = [iter(call()) for call in calls]
        for events in kept:
            next(events)
        return kept

    def end_with(child):
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def interrupt_soon():
        # Where tests run in the background it is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
"""
_CALLS = """
    asks = [(client.chat, ask(kind)) for client in clients for kind in {kinds}]
    calls = [functools.partial(chat.stream, **asked) for chat, asked in asks]
    async_calls = [functools.partial(chat.stream_async, **asked) for chat, asked in asks]
"""


def program(way: str, clients: str, origin: str) -> str:
    """Return the text of a program."""
    begin = "".join(map(textwrap.dedent, (_BEGIN, clients, _CALLS)))
    return begin.format(origin=origin, root=ROOT, kinds=KINDS) + textwrap.dedent(way)


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
import json, os, sys, time

def begin(path, text, running):
    pid = os.fork()
    if pid:
        running[pid] = path, time.monotonic()
        return None
    flags = os.O_WRONLY | os.O_CREAT
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(path + ".out", flags), 1)
    os.dup2(os.open(path + ".err", flags), 2)
    return text

def launch():
    for line in sys.stdin:
        order = json.loads(line)
        for name in order["modules"]:
            __import__(name)
        running, endings = {}, {}
        for path, text in order["programs"].items():
            if begin(path, text, running):
                return text
        while running:
            time.sleep(0.002)
            for pid, (path, begun) in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                seconds = time.monotonic() - begun
                if ended:
                    endings[path] = os.waitstatus_to_exitcode(status), seconds
                elif seconds > order["limit"]:
                    os.kill(pid, 9)
                    os.waitpid(pid, 0)
                    endings[path] = None, seconds
                else:
                    continue
                del running[pid]
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
        try:
            (loaded,) = self.run(_LOADING, OURS)
            assert loaded.status == 0, loaded
        except BaseException:
            self.__exit__()
            raise
        self._modules = loaded.stdout.split()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(LIMIT)
        self._process.stdout.close()

    def run(self, way: str, *clients: str) -> list[Ending]:
        """Run a way of leaving with different clients at the same time."""
        self._count += 1
        paths = [self._directory / f"{self._count}-{number}" for number in range(len(clients))]
        order = {
            "programs": {
                str(path): program(way, each, self._origin)
                for path, each in zip(paths, clients, strict=True)
            },
            "modules": self._modules,
            "limit": LIMIT,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        endings = json.loads(self._process.stdout.readline())
        return [Ending(*endings[str(path)], path) for path in paths]


_LOADING = """
    import mistral_cf_adapter._streaming
    for client in clients:
        client.chat.complete(**ask("whole"))
        asyncio.run(client.chat.complete_async(**ask("whole")))
        list(client.chat.stream(**ask("whole")))
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
