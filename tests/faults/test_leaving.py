"""However a program leaves a call or a stream, it ends as it does with the bare SDK."""

from __future__ import annotations

import os
import re
import signal

import pytest
import ways_of_leaving as ways
from leaving import BARE, OURS, Launcher, server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="programs are run in forks")

SLOWER = 1.0
"""Seconds that a program may take longer than with the bare SDK."""
TRIES = 3
"""Often enough for a machine that is busy; what waits, waits every time."""
_MISTAKE = re.compile(r"^(Name|Attribute|Type|Syntax)Error", re.MULTILINE)
"""What ends a program that does not do what it was written for, with either."""


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    directory = tmp_path_factory.mktemp("programs")
    with server() as gateway, Launcher(gateway.origin, directory) as launcher:
        yield launcher


@pytest.mark.parametrize("way", ways.SYNC)
def test_a_program_ends_as_with_the_bare_sdk(launcher, way):
    check(launcher, ways.SYNC[way])


@pytest.mark.parametrize("way", ways.ASYNC)
def test_an_async_program_ends_as_with_the_bare_sdk(launcher, way):
    check(launcher, ways.ASYNC[way], is_loud=way in ways.ENDED_BY_THE_LOOP)


def check(launcher, way, *, is_loud=False):
    """Run a way of leaving with the bare SDK and with ours, and compare how they end."""
    for _ in range(TRIES):
        bare, ours = launcher.run(way, BARE, OURS)
        # An interrupt in some moments hangs the exit of Python 3.11, with the bare SDK too.
        is_ended = None not in {bare.status, ours.status}
        if is_ended and ours.seconds < bare.seconds + SLOWER:
            break
    else:
        pytest.fail(f"took longer than {bare}, or did not end: {ours}")
    assert not _MISTAKE.search(bare.stderr), bare
    # Interrupted, the bare SDK ends with 1 where it loads a module after the interrupt.
    assert ours.status == bare.status or (ours.status, bare.status) == (-signal.SIGINT, 1), ours
    assert ours.stdout == bare.stdout
    allowed = bare.complaints + ours.of_generators if is_loud else bare.complaints
    assert not ours.complaints - allowed, ours
