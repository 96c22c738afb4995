"""A fork while another thread holds a lock of the package: the child never waits for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from http_records import KEY, TOKEN

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

SCRIPT = """
import os, signal, sys, threading, types
from mistral_cf_adapter import GatewaySettings, make_client, patch
from mistral_cf_adapter._sdk import Mistral

LOCKS = (type(threading.Lock()), type(threading.RLock()))
settings = GatewaySettings(base_url={url!r}, token={token!r}, mistral_api_key={key!r})

def use():
    client = make_client(settings)
    assert client.models.list()
    with patch(settings=settings):
        assert Mistral(api_key={key!r}).models.list()

def is_ours(value):
    return getattr(type(value), "__module__", "").startswith("mistral_cf_adapter")

def find_locks():
    found = {{}}
    seen = set()
    todo = [
        (name, module) for name, module in list(sys.modules.items())
        if name.startswith("mistral_cf_adapter") and isinstance(module, types.ModuleType)
    ]
    while todo:
        name, owner = todo.pop()
        for key, value in list(getattr(owner, "__dict__", {{}}).items()):
            if isinstance(value, LOCKS):
                found[id(value)] = name + "." + key, value
            elif is_ours(value) and id(value) not in seen:
                seen.add(id(value))
                todo.append((name + "." + key, value))
    return list(found.values())

use()
locks = find_locks()
assert len(locks) >= 4, locks
held, done = threading.Event(), threading.Event()

def hold():
    for _, lock in locks:
        lock.acquire()
    held.set()
    done.wait(60)
    for _, lock in locks:
        lock.release()

thread = threading.Thread(target=hold)
thread.start()
held.wait(10)
child = os.fork()
if not child:
    signal.alarm(20)
    use()
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
print(sorted(name for name, _ in locks))
sys.exit(os.waitstatus_to_exitcode(status) and 1)
"""

WHILE_INSTALLING = """
import os, signal, threading
from mistral_cf_adapter import GatewaySettings, make_client

settings = GatewaySettings(base_url={url!r}, token={token!r}, mistral_api_key={key!r})
status = 0
for _ in range(3):
    threading.Thread(target=make_client, args=(settings,)).start()
    child = os.fork()
    if not child:
        signal.alarm(20)
        make_client(settings)
        os._exit(0)
    status |= os.waitpid(child, 0)[1]
os._exit(status and 1)
"""


HALF_INSTALLED = """
import os, signal, threading
from mistral_cf_adapter import _sdk, speedups
from mistral_cf_adapter.speedups import patches
from mistral_cf_adapter.speedups.registry import SPEEDUPS

def found():
    return [
        patches.members(target).get(speedup.attribute)
        for speedup in SPEEDUPS
        for module in [__import__(f"{{_sdk.ROOT}}.{{speedup.module}}", fromlist=["x"])]
        for target in [module if speedup.owner is None else getattr(module, speedup.owner, module)]
    ]

before = found()
with speedups.install():
    whole = speedups.active()
original, half, go_on, count = patches.apply, threading.Event(), threading.Event(), []

def apply(speedup, root):
    count.append(speedup)
    if len(count) == 4:
        half.set()
        go_on.wait(60)
    return original(speedup, root)

patches.apply = apply
thread = threading.Thread(target=speedups.install)
thread.start()
half.wait(10)
child = os.fork()
if not child:
    signal.alarm(20)
    patches.apply = original
    hold = speedups.install()
    assert speedups.active() == whole, (speedups.active(), whole)
    hold.undo()
    assert all(one is other for one, other in zip(found(), before, strict=True))
    os._exit(0)
_, status = os.waitpid(child, 0)
go_on.set()
thread.join()
os._exit(status and 1)
"""


@pytest.mark.parametrize(
    "script",
    [SCRIPT, WHILE_INSTALLING, HALF_INSTALLED],
    ids=["held", "installing", "half installed"],
)
def test_a_child_does_not_wait_for_a_lock_that_its_parent_held(gateway, script):
    code = script.format(url=gateway.base_url, token=TOKEN, key=KEY)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


IMPORTS = """
import sys
from mistral_cf_adapter import GatewaySettings, make_client, speedups

settings = GatewaySettings(base_url="http://127.0.0.1:9/v1/acc/gw", token={token!r})
speedups.install()  # which a fork waits for
before = set(sys.modules)
make_client(settings)
print(*sorted(set(sys.modules) - before))
"""


def test_a_client_is_built_without_an_import_that_a_fork_may_cut_short():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(token=TOKEN)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
