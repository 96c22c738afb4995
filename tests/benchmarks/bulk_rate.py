"""How many prompts a second examples/bulk.py asks, and how long it takes to start.

uv run --group bulk tests/benchmarks/bulk_rate.py [--workers 1] [--prompts 6000] [--concurrency 32]

Against the server with canned answers, which answers at once: what is left is the cost of the
example itself, files included. Every thousand answers in a row give a rate; the best is the one
that other work on the machine has disturbed least.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from statistics import median

from drivers import MESSAGES
from running import serving

WINDOW = 1000
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))


def record_moments(options, folder):
    """Return when it began, and the moment of each answer."""
    import bulk

    class Progress(bulk.Progress):
        def add(self, record):
            super().add(record)
            moments.append(time.perf_counter())

    prompts, moments = folder / "prompts.jsonl", []
    line = json.dumps({"messages": MESSAGES})
    prompts.write_text(f"{line}\n" * options.prompts, "utf-8")
    progress = Progress(Counter({bulk.AGAIN: options.prompts}), sys.stderr)
    began = time.perf_counter()
    with closing(bulk.Answers(folder / "answers.jsonl")) as answers:
        bulk.ask(prompts, answers, progress, options)
    if progress.states[bulk.ANSWERED] != options.prompts:
        sys.exit(f"not all were answered: {progress.summarize()}")
    return began, moments


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=1, help="1: without Ray")
    parser.add_argument("--prompts", type=int, default=6000)
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    options.retry_for = 0
    with tempfile.TemporaryDirectory(prefix="bulk") as scratch, serving(Path(scratch)) as server:
        os.environ |= {
            "CF_AIG_BASE_URL": f"http://127.0.0.1:{server.ports['plain']}/now/bulk",
            "CF_AIG_TOKEN": "t",
            "MISTRAL_API_KEY": "k",
        }
        began, moments = record_moments(options, Path(scratch))
    found = [WINDOW / (b - a) for a, b in zip(moments, moments[WINDOW:], strict=False)]
    figures = {
        "best": round(max(found)),
        "median": round(median(found)),
        "seconds to the first answer": round(moments[0] - began, 1),
        "workers": options.workers,
        "concurrency": options.concurrency,
        "cores": os.cpu_count(),
        "mistralai": version("mistralai"),
    }
    print(f"prompts a second: {json.dumps(figures)}")


if __name__ == "__main__":
    main()
