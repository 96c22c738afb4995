"""The garbage collector may free a half-read stream at any moment of another call.

The pools of the HTTP library wait there for a lock that the thread holds already: a patched client
that keeps its own pool hangs as with the bare SDK, in a moment that is as rare. Ours never waits.
"""

from __future__ import annotations

import subprocess
import sys

from leaving import KINDS, server
from run_programs import environment

LIMIT = 120
"""Seconds, for a process that takes some eight."""
STEP = 97
"""Every so many function calls of a call the collector runs."""

PROGRAM = f"""
import faulthandler, gc, sys
from mistral_cf_adapter import GatewaySettings, make_client

faulthandler.dump_traceback_later({LIMIT / 2}, exit=True)
settings = GatewaySettings(base_url=sys.argv[1], token="t", mistral_api_key="k")
clients = [make_client(settings) for _ in range(2)]

def begin(client, kind):
    messages = [{{"role": "user", "content": "be " + kind}}]
    events = iter(client.chat.stream(model="m", messages=messages))
    next(events)
    return events

class Ring:
    pass

def free_one_during_a_call(kind, moment):
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += 1
        if count == moment:
            sys.setprofile(None)
            gc.collect()

    ring = Ring()
    ring.ring, ring.events = ring, begin(clients[0], kind)
    del ring
    sys.setprofile(profile)
    events = begin(clients[1], "whole")
    sys.setprofile(None)
    assert list(events)
    return count

gc.collect()
gc.disable()
for kind in {KINDS}:
    count = free_one_during_a_call(kind, -1)
    for moment in range(1, count, {STEP}):
        free_one_during_a_call(kind, moment)
    print(kind, count > 500)
"""


def test_no_pool_of_ours_waits_inside_the_collector():
    with server() as gateway:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, gateway.origin],
            env=environment({}),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    assert ended.stdout.split() == [word for kind in KINDS for word in (kind, "True")], ended
