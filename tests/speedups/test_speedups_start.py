"""What the start of a program leaves for later, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from mistral_cf_adapter import _sdk

_MODEL_PATH = f"{_sdk.ROOT}.types.basemodel"


def run(program: str, *arguments: str, **variables: str) -> Any:
    """Run a program in a new interpreter and return the JSON that it prints."""
    own = ("CF_", "CLOUDFLARE_", "MISTRAL_")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(own)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


COLLECTOR = """
    import gc, json, weakref

    class Node: ...

    def cycle():
        node = Node()
        node.self = node
        return weakref.ref(node)

    {before}
    garbage = cycle()
    from mistral_cf_adapter import make_client
    found = [gc.isenabled(), gc.get_freeze_count()]
    gc.collect()
    print(json.dumps([*found, garbage() is None]))
"""


def test_the_collector_works_as_before_once_the_sdk_is_imported():
    assert run(COLLECTOR.format(before="")) == [True, 0, True]


def test_a_collector_that_the_program_has_stopped_stays_stopped():
    assert run(COLLECTOR.format(before="gc.disable()")) == [False, 0, True]


def test_what_a_program_has_frozen_stays_frozen():
    enabled, frozen, freed = run(COLLECTOR.format(before="gc.freeze()"))
    assert (enabled, freed) == (True, True)
    assert frozen > 1000


@pytest.mark.once
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
def test_a_child_forked_during_the_import_collects():
    program = """
        import gc, json, os
        from mistral_cf_adapter._collector import pause_collector

        with pause_collector():
            child = os.fork()
            within = gc.isenabled()
        after = gc.isenabled()
        with pause_collector():
            again = gc.isenabled()
        found = [within, after, again, gc.isenabled()]
        if not child:
            os._exit(0 if found == [True, True, False, True] else 1)
        _, status = os.waitpid(child, 0)
        print(json.dumps([found, status]))
    """
    assert run(program) == [[False, True, False, True], 0]
