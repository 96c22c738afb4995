"""Measure one metric of one rival in this environment and print the figures as JSON.

Started by compare.py; the last line of output begins with `figures `.
"""

import json
import os
import sys
import time
from importlib import import_module
from typing import Any


def load(job: dict[str, Any], listener: str, behaviour: str) -> Any:
    """Load the rival's driver, pointed at a listener of the server."""
    module, name = job["driver"].split(".")
    scheme = "http" if listener == "plain" else "https"
    url = f"{scheme}://127.0.0.1:{job['ports'][listener]}/{behaviour}/{job['tag']}/v1/acc/gw"
    return getattr(import_module(module), name)(url, **job["options"])


def first_answer(job: dict[str, Any]) -> None:
    """Answer once over TLS and print when, on the clock of the whole machine."""
    driver = load(job, "tls", "now")
    driver.call(driver.make())
    print(time.monotonic(), flush=True)
    os._exit(0)


def measure(job: dict[str, Any], arguments: str) -> dict[str, Any]:
    """Run the metric; `unsupported` says that the library has no such call."""
    import growth
    import measures
    import overheads

    own = {
        "routing": overheads.routing,
        "capture": overheads.capturing,
        "listening": overheads.listening,
        "tasks": growth.tasks,
        "idle_connections": growth.idle_connections,
        "leftovers": growth.leftovers,
        "import": measures.imports,
    }
    metric = own.get(job["metric"]) or getattr(measures, job["metric"])
    described = measures.Job(
        rival=job["rival"],
        statement=job["statement"],
        calls=job["calls"],
        idle_s=job["idle_s"],
        tag=job["tag"],
        ports=job["ports"],
        arguments=arguments,
        driver=lambda listener, behaviour: load(job, listener, behaviour),
    )
    try:
        return metric(described)
    except NotImplementedError:
        return {"unsupported": True}


if __name__ == "__main__":
    described_job = json.loads(sys.argv[1])
    if sys.argv[2:] == ["cold"]:
        first_answer(described_job)
    figures = measure(described_job, sys.argv[1])
    print("\nfigures", json.dumps(figures), flush=True)
    # Nothing to tidy: a rival's threads and open connections must not hold the next one up.
    os._exit(0)
