"""However a program leaves a call or a stream, it ends as it does with the bare SDK."""

from __future__ import annotations

import os
import signal
from collections import Counter

import leaving
import pytest
import ways_of_leaving as ways

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="programs are run in forks")

SLOWER = 1.0
"""Seconds that a program may take longer than with the bare SDK, on a machine that is busy."""


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    with (
        leaving.server() as server,
        leaving.Launcher(server.origin, tmp_path_factory.mktemp("programs")) as launcher,
    ):
        yield launcher


@pytest.mark.parametrize("way", ways.SYNC)
def test_a_program_ends_as_with_the_bare_sdk(launcher, way):
    check(launcher, ways.SYNC[way], ("whole", "stalled", "more"))


@pytest.mark.parametrize("way", ways.ASYNC)
def test_an_async_program_ends_as_with_the_bare_sdk(launcher, way):
    is_loud = way in ways.ENDED_BY_THE_LOOP
    check(launcher, ways.ASYNC[way], ("whole", "stalled", "more"), is_loud=is_loud)


@pytest.mark.parametrize("way", ways.SILENT)
def test_a_program_ends_while_a_server_says_nothing(launcher, way):
    check(launcher, ways.SILENT[way], ("silent",))


def check(launcher, way, kinds, *, is_loud=False):
    """Run a way of leaving with each client against each server, and compare the endings."""
    programs = [(kind, client) for kind in kinds for client in ("bare", "make_client")]
    programs.append((kinds[0], "patch"))
    endings = launcher.run_all(way, programs)
    bare = {kind: endings[kind, "bare"] for kind in kinds}
    shown = sum((ending.complaints for ending in bare.values()), Counter())
    for (kind, client), ending in endings.items():
        told = f"{client} against a server that is {kind}: {ending}"
        assert ending.status is not None, told
        assert same(ending.status, bare[kind].status), told
        assert ending.seconds < bare[kind].seconds + SLOWER, told
        assert ending.stdout == bare[kind].stdout, told
        allowed = shown + ending.of_generators if is_loud else shown
        assert not ending.complaints - allowed, told


def same(status, bare):
    # Interrupted, the bare SDK ends with 1 where it loads a module after the interrupt.
    return status == bare or (status == -signal.SIGINT and bare == 1)
