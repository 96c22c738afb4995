"""What a kill costs examples/bulk.py: prompts that are asked twice, seconds and memory.

uv run --group bulk tests/benchmarks/bulk_resume.py [--workers 2] [--prompts 2000] [--delay 0.5]

The example runs against a local gateway whose Mistral takes `--delay` seconds. With Ray a worker is
killed when a fifth of the answers is written. At two thirds the whole run is killed; then it is
started again, to the end. Linux only: it reads /proc.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from mistral_cf_adapter.testing import LocalGateway

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "bulk.py"


class Run:
    """The example in a session of its own, and the most memory of its processes in MiB."""

    def __init__(self, gateway, folder, options):
        self.started, self.memory, self.first_request = time.monotonic(), {}, None
        self.gateway, self.asked_before = gateway, len(gateway.upstream_requests)
        self.process = subprocess.Popen(
            [
                *(sys.executable, EXAMPLE, "prompts.jsonl", "answers.jsonl"),
                *("--workers", str(options.workers), "--concurrency", str(options.concurrency)),
            ],
            cwd=folder,
            env={**os.environ, **gateway.env(), "RAY_TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while self.process.poll() is None:
            time.sleep(0.1)
            if not self.first_request and len(self.gateway.upstream_requests) > self.asked_before:
                self.first_request = time.monotonic() - self.started
            for pid in self.find("bulk.py", "ray::Asker"):
                self.memory[pid] = max(self.memory.get(pid, 0), read_memory(pid))

    def find(self, *names):
        """Return the processes of the session that are called like that."""
        listed = subprocess.run(
            ["ps", "-s", str(self.process.pid), "-o", "pid=,args="],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
        return [int(pid) for pid, command in lines if any(name in command for name in names)]

    def kill(self):
        for pid in self.find(""):
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()


def read_memory(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024
    except (OSError, IndexError):  # it has ended
        return 0


def wait_for(answers, count):
    """Wait until that many answers are written; return their ids."""
    while True:
        lines = answers.read_bytes().splitlines(keepends=True) if answers.exists() else []
        if len(lines) >= count:
            return {json.loads(line)["id"] for line in lines if line.endswith(b"\n")}
        time.sleep(0.02)


def count_asked(gateway):
    return Counter(request.json()["messages"][0]["content"] for request in gateway.requests)


def measure(gateway, folder, options):
    names = [f"row-{number}" for number in range(options.prompts)]
    lines = [json.dumps({"id": name, "prompt": name}) for name in names]
    (folder / "prompts.jsonl").write_text("\n".join(lines), "utf-8")
    gateway.upstream_delay(options.delay, times=2 * options.prompts)
    answers, figures = folder / "answers.jsonl", {}

    run = Run(gateway, folder, options)
    written = wait_for(answers, options.prompts // 5)
    if options.workers > 1:
        worker = run.find("ray::Asker")[0]
        os.kill(worker, signal.SIGKILL)
        while len(set(run.find("ray::Asker")) - {worker}) < options.workers:
            time.sleep(0.05)
    wait_for(answers, 2 * options.prompts // 3)
    run.kill()
    before = count_asked(gateway)
    twice = {name for name in before if before[name] > 1}
    figures["asked twice after the worker's kill"] = len(twice)
    figures["written before the worker's kill and asked again"] = len(twice & written)
    written = wait_for(answers, 0)
    figures["in flight at the kill"] = len(before.keys() - written)
    figures["start-up in seconds"] = round(run.first_request, 1)

    resumed = Run(gateway, folder, options)
    printed, _ = resumed.process.communicate()
    after = count_asked(gateway)
    again = {name for name in after if after[name] > before[name]}
    figures["written and asked again"] = len(written & again)
    figures["in flight and asked again"] = len(again & before.keys() - written)
    figures["lost"] = len(set(names) - wait_for(answers, 0))
    figures["put to Mistral"] = len(gateway.upstream_requests)
    rate = (options.prompts - len(written)) / (time.monotonic() - resumed.started)
    figures["prompts a second of the second run, start-up included"] = round(rate, 1)
    figures["MiB at most, driver and workers"] = [*resumed.memory.values()]
    figures["exit status"] = resumed.process.returncode
    print(printed)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="1: without Ray")
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--delay", type=float, default=0.5, help="seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bulk") as folder, LocalGateway() as gateway:
        figures = measure(gateway, Path(folder), options)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
