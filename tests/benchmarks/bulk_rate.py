"""How many requests a second one worker of examples/bulk.py sustains.

uv run --group bulk tests/benchmarks/bulk_rate.py [--rows 6000] [--concurrency 32]

A real Ray with one worker, against the server with canned answers, which answers at once: what is
left is the cost of the worker itself, shard and Ray Data included. Every five batches in a row
give a rate; the best is the one that other work on the machine has disturbed least.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from drivers import MESSAGES, MODEL
from running import serving

WINDOW = 5
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "bulk.py"


def load():
    spec = importlib.util.spec_from_file_location("bulk", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    # It stays out of sys.modules, so that Ray carries the worker's class to its processes.
    spec.loader.exec_module(module)
    return module


def rates(options, folder):
    """Return the requests per second over every few batches; the first one warms up."""
    bulk = load()
    request = {"model": MODEL, "messages": MESSAGES}
    rows = [
        {"id": f"row-{number}", "key": f"{number:064}", "request": request}
        for number in range(options.rows)
    ]
    options.workers, options.retries = 1, 0
    seen = [(time.perf_counter(), done) for done in bulk.ask_all(rows, folder, options)]
    answered = sum(state == bulk.ANSWERED for state in bulk.Book(folder).state.values())
    if answered != options.rows:
        sys.exit(f"only {answered} of {options.rows} rows were answered")
    return [
        (done - before) / (moment - last)
        for (last, before), (moment, done) in zip(seen, seen[WINDOW:], strict=False)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch)) as server:
        os.environ |= {
            "CF_AIG_BASE_URL": f"http://127.0.0.1:{server.ports['plain']}/now/bulk",
            "CF_AIG_TOKEN": "t",
            "MISTRAL_API_KEY": "k",
        }
        folder = Path(scratch) / "shards"
        folder.mkdir()
        found = rates(options, folder)
    figures = {
        "best": round(max(found)),
        "median": round(median(found)),
        "concurrency": options.concurrency,
        "cores": os.cpu_count(),
        "mistralai": version("mistralai"),
    }
    print(f"requests per second, one worker: {json.dumps(figures)}")


if __name__ == "__main__":
    main()
