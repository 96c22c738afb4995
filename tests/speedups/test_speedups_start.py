"""What a program pays until its first call, and what it does not: in processes of their own.

The garbage collector pauses while the SDK is imported.
"""

from __future__ import annotations

import os

import pytest
from speedup_tools import run_program as run

COLLECTOR = """
    import gc, json, weakref

    class Node: ...

    def cycle():
        node = Node()
        node.self = node
        return weakref.ref(node)

    {before}
    before = gc.get_threshold()
    garbage = cycle()
    collections = []
    gc.callbacks.append(lambda *_: collections.append(1))
    from mistral_cf_adapter import make_client
    paused = len(collections) < 10
    found = [gc.isenabled(), gc.get_freeze_count(), gc.get_threshold() == before]
    gc.collect()
    print(json.dumps([*found, garbage() is None, paused]))
"""


def test_the_collector_works_as_before_once_the_sdk_is_imported():
    assert run(COLLECTOR.format(before="")) == [True, 0, True, True, True]


def test_a_collector_that_the_program_has_stopped_stays_stopped():
    assert run(COLLECTOR.format(before="gc.disable()")) == [False, 0, True, True, True]


def test_what_a_program_has_frozen_stays_frozen():
    enabled, frozen, same_threshold, freed, _ = run(COLLECTOR.format(before="gc.freeze()"))
    assert (enabled, same_threshold, freed) == (True, True, True)
    assert frozen > 1000


def test_with_speedups_off_the_collector_does_not_pause():
    found = run(COLLECTOR.format(before=""), CF_AIG_SPEEDUPS="false")
    assert found == [True, 0, True, True, False]


@pytest.mark.parametrize(
    ("change", "left"),
    [("gc.disable()", [False, 700]), ("gc.set_threshold(50)", [True, 50]), ("", [True, 700])],
)
def test_what_a_program_sets_meanwhile_stays(change, left):
    program = f"""
        import gc, json
        from mistral_cf_adapter._collector import pause_collector

        gc.set_threshold(700)
        with pause_collector():
            {change or "pass"}
        print(json.dumps([gc.isenabled(), gc.get_threshold()[0]]))
    """
    assert run(program) == left


@pytest.mark.once
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
def test_a_child_forked_during_the_import_collects():
    program = """
        import gc, json, os
        from mistral_cf_adapter._collector import pause_collector

        def is_running():
            return bool(gc.get_threshold()[0])

        with pause_collector():
            child = os.fork()
            within = is_running()
        after = is_running()
        with pause_collector():
            again = is_running()
        found = [within, after, again, is_running()]
        if not child:
            os._exit(0 if found == [True, True, False, True] else 1)
        _, status = os.waitpid(child, 0)
        print(json.dumps([found, status]))
    """
    assert run(program) == [[False, True, False, True], 0]


IMPORTED = """
    import json, linecache, sys
    from mistral_cf_adapter import GatewayCall, make_client
    from mistral_cf_adapter._sdk import httpx
    read = [name for name in linecache.cache if "mistral_cf_adapter" in name]
    transport = httpx.__name__.replace("httpx", "httpcore") in sys.modules
    print(json.dumps([read, transport, "    method: HTTP method." in GatewayCall.__doc__]))
"""


def test_the_import_reads_no_source_for_docstrings_and_loads_the_transport():
    assert run(IMPORTED) == [[], True, True]


LOOKED_UP = """
    import json, sys
    import mistral_cf_adapter
    hasattr(mistral_cf_adapter, "_no_such_name")
    by_a_private_name = "difflib" in sys.modules
    hasattr(mistral_cf_adapter, "no_such_name")
    print(json.dumps([by_a_private_name, "difflib" in sys.modules]))
"""


def test_a_private_name_that_is_not_there_is_compared_with_no_other():
    assert run(LOOKED_UP) == [False, True]
