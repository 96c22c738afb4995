"""Start the server and the workers, and read their figures."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics import Metric
from rivals import BY_NAME

HERE = Path(__file__).parent
TIMEOUT_S = 180
STAGGER_S = 0.7
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false"}


@dataclass(frozen=True)
class Server:
    """Where the server listens, and the certificates that clients are to trust."""

    ports: dict[str, int]
    bundle: Path


@contextmanager
def serving(scratch: Path) -> Iterator[Server]:
    """Run the server in a process of its own until the block ends."""
    import certifi
    import trustme

    authority = trustme.CA()
    certificate = scratch / "server.pem"
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    # All the usual authorities and ours: everyone loads what a real client has to load.
    bundle = scratch / "bundle.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    with subprocess.Popen(
        [sys.executable, str(HERE / "server.py"), str(certificate)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield Server(json.loads(process.stdout.readline()), bundle)
        finally:
            process.stdin.close()


@dataclass(frozen=True)
class Runner:
    """Run workers, one for each metric of each rival."""

    server: Server
    pythons: dict[str, Path]
    calls: int
    idle_s: float

    def measure(self, metric: Metric, names: list[str]) -> dict[str, Any]:
        """Return the figures of each rival, or why there are none."""
        if metric.together:
            return self._together(metric, names)
        return {name: _figures(*self._start(metric, name)) for name in names}

    def _together(self, metric: Metric, names: list[str]) -> dict[str, Any]:
        """Let all rivals get ready, then sleep side by side and wake one after the other."""
        started = {}
        for name in names:
            process, deadline = self._start(metric, name)
            assert process.stdout
            process.stdout.readline()
            started[name] = process, deadline
        for process, _ in started.values():
            assert process.stdin
            with suppress(OSError):  # it has failed already, and will say so
                process.stdin.write("go\n")
                process.stdin.flush()
                time.sleep(STAGGER_S)
        return {name: _figures(*running) for name, running in started.items()}

    def _start(self, metric: Metric, name: str) -> tuple[subprocess.Popen[str], float]:
        rival = BY_NAME[name]
        job = {
            "rival": name,
            "metric": metric.name,
            "driver": rival.driver,
            "options": rival.options,
            "statement": rival.imports,
            "ports": self.server.ports,
            "tag": f"{name}-{time.monotonic_ns()}",
            "calls": self.calls,
            "idle_s": self.idle_s,
        }
        process = subprocess.Popen(
            [str(self.pythons[name]), str(HERE / "worker.py"), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(),
            text=True,
        )
        return process, time.monotonic() + TIMEOUT_S + self.idle_s

    def _environment(self) -> dict[str, str]:
        """Return what a worker sees: no proxies, no keys, nothing that the user has set."""
        kept = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LANG")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        return {**environment, **QUIET, "SSL_CERT_FILE": str(self.server.bundle)}


def _figures(process: subprocess.Popen[str], deadline: float) -> dict[str, Any]:
    try:
        output, errors = process.communicate(timeout=max(1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"failed": f"no answer within {TIMEOUT_S} s"}
    for line in reversed(output.splitlines()):
        if line.startswith("figures "):
            return json.loads(line.removeprefix("figures "))
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return {"failed": lines[-1][:200] if lines else f"exit status {process.returncode}"}
