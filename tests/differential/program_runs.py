"""Run the programs with the bare SDK and through the adapter; a record is how each one ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leaving import Launcher, server
from program_scenarios import BEGIN, PROGRAMS
from scenario import Scenario
from scenarios import is_in_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BARE = """
    from {root} import Mistral
    clients = [Mistral(api_key="k", server_url="{origin}/mistral")]
"""
MAKE_CLIENT = """
    from mistral_cf_adapter import GatewaySettings, make_client
    settings = GatewaySettings(base_url="{origin}", token="t", mistral_api_key="k")
    clients = [make_client(settings)]
"""
PATCH = """
    from {root} import Mistral
    from mistral_cf_adapter import GatewaySettings, patch
    settings = GatewaySettings(base_url="{origin}", token="t", mistral_api_key="k")
    patched = patch(settings=settings)
    clients = [Mistral(api_key="k")]
"""
ENTRIES = {"bare": BARE, "make_client": MAKE_CLIENT, "patch": PATCH}
PREFIX = "program: "
SCENARIOS = [Scenario(PREFIX + name, (), ("program",)) for name in PROGRAMS if is_in_part(name)]


def run_programs(folder: Path, names: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Yield a record for each program and entry."""
    chosen = [each.name for each in SCENARIOS if not names or each.name in names]
    if not chosen:
        return
    with server() as gateway, Launcher(gateway.origin, folder) as launcher:
        for name in chosen:
            program = PROGRAMS[name.removeprefix(PREFIX)]
            endings = launcher.run(BEGIN + program, *ENTRIES.values())
            for entry, ending in zip(ENTRIES, endings, strict=True):
                yield {
                    "scenario": name,
                    "entry": entry,
                    "mode": "program",
                    "exit status": ending.status,
                    "standard output": ending.stdout,
                    "complaints": dict(sorted(ending.complaints.items())),
                }
