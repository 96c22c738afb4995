"""A client that was used before a fork is used by parent and children at the same time.

The server tells that no two processes share a connection, by who asks on which. The
processes are forked by a script of their own, as pytest has threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from fault_scripts import (
    CHUNKED,
    DONE,
    JSON,
    LAST,
    SSE,
    Stage,
    chunked,
    completion,
    event,
    head,
    http,
    tls,
)
from fault_server import FaultServer

CHILDREN = 3
CALLS = 2

SCRIPT = """
import asyncio, os, sys, threading
sys.path.insert(0, {tests!r})
from call_modes import ASYNC, ASYNC_STREAM, MODES
from mistral_cf_adapter import GatewaySettings, make_client

client = make_client(GatewaySettings(base_url={url!r}, token="t", mistral_api_key="k"))

def several(name):
    for way in MODES * {calls}:
        answer = way.chat(client, name)
        assert answer == name, (answer, name)
    asyncio.run(several_at_once(name))

async def several_at_once(name):
    ways = (ASYNC, ASYNC_STREAM) * {calls}
    answers = await asyncio.gather(*(way.achat(client, name) for way in ways))
    assert set(answers) == {{name}}, answers

def fork(work, *arguments, leave=sys.exit):
    child = os.fork()
    if child:
        return child
    work(*arguments)
    leave(0)

def reap(*children):
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, status

several("parent")
"""

OS_FORK = """
ready, go = os.pipe()
def released(name):
    os.close(go)
    os.read(ready, 1)
    several(name)
children = [fork(released, f"child {{n}}") for n in range({children})]
os.close(go)
several("parent")
reap(*children)
several("parent")
"""
MULTIPROCESSING = """
import multiprocessing
context = multiprocessing.get_context("fork")
children = [context.Process(target=several, args=(f"child {{n}}",)) for n in range({children})]
[child.start() for child in children]
several("parent")
[child.join() for child in children]
assert [child.exitcode for child in children] == [0] * {children}
several("parent")
"""
PROCESS_POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
def by_process(n):
    several(f"child {{os.getpid()}}")
with ProcessPoolExecutor({children}, multiprocessing.get_context("fork")) as processes:
    done = processes.map(by_process, range(2 * {children}))
    several("parent")
    list(done)
several("parent")
"""
GRANDCHILDREN = """
def child():
    several("child")
    grandchild = fork(several, "grandchild")
    several("child")
    reap(grandchild)
    several("child")
only = fork(child)
several("parent")
reap(only)
several("parent")
"""
WITHIN_A_LOOP = """
async def parent():
    await ASYNC.achat(client, "parent")
    child = fork(several, "child", leave=os._exit)  # the loop is the parent's to end
    await several_at_once("parent")
    reap(child)
    await several_at_once("parent")
asyncio.run(parent())
"""
BESIDE_A_THREAD = """
thread = threading.Thread(target=lambda: [several("parent") for _ in range(3)])
thread.start()
reap(*[fork(several, f"child {{n}}", leave=os._exit) for n in range({children})])
thread.join()
"""
FORKS = {
    "os.fork": OS_FORK,
    "multiprocessing": MULTIPROCESSING,
    "ProcessPoolExecutor": PROCESS_POOL,
    "grandchildren": GRANDCHILDREN,
    "within a loop": WITHIN_A_LOOP,
    "beside a thread": BESIDE_A_THREAD,
}


class Peers:
    """Echoes each question, and keeps what was asked on which connection."""

    def __init__(self):
        self.asked = defaultdict(list)

    def play(self, wire, request):
        question = json.loads(request.body)["messages"][0]["content"]
        self.asked[wire].append(question)
        if request.streamed:
            wire.send(head(200, SSE, CHUNKED), *chunked(event(question), DONE), LAST)
        else:
            wire.send(http(200, completion(question), JSON))

    def connections(self, name):
        return [asked for asked in self.asked.values() if name in asked]


@contextlib.contextmanager
def plain(peers):
    with FaultServer(peers.play) as server:
        yield Stage(server.origin)


def over_tls(peers):
    return tls("127.0.0.1", play=peers.play)


def run(stage, fork):
    given = {"url": stage.base_url, "calls": CALLS, "children": CHILDREN}
    script = (SCRIPT + fork).format(tests=str(Path(__file__).parents[1] / "support"), **given)
    # A process with threads that forks is warned of from 3.12 on.
    strict = ["-W", "always::ResourceWarning", "-W", "ignore::DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *strict, "-c", script],
        env={**os.environ, **stage.environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


SCENES = [
    *((plain, fork) for fork in FORKS),
    *((over_tls, fork) for fork in ("os.fork", "multiprocessing", "grandchildren")),
]


@pytest.mark.parametrize(("scene", "fork"), SCENES)
def test_parent_and_children_answer_at_once_on_connections_of_their_own(scene, fork):
    peers = Peers()
    with scene(peers) as stage:
        run(stage, FORKS[fork])
    for asked in peers.asked.values():
        assert len({*asked}) == 1, "two processes on one connection"
    names = {re.sub(r" \d+", "", name) for asked in peers.asked.values() for name in asked}
    assert names >= {"parent", "child"}


ONE_CALL_EACH = """
assert MODES[0].chat(client, "first") == "first"
reap(*[fork(MODES[0].chat, client, "child") for _ in range({children})])
assert MODES[0].chat(client, "last") == "last"
"""


@pytest.mark.parametrize("scene", [plain, over_tls])
def test_the_parents_connection_outlives_its_children(scene):
    peers = Peers()
    with scene(peers) as stage:
        run(stage, ONE_CALL_EACH)
    (asked,) = peers.connections("last")
    assert asked[-2:] == ["first", "last"]
