"""Bulk work past one machine: a file of prompts through Ray Data, resumable after a kill.

uv run --group bulk examples/bulk.py prompts.jsonl answers.jsonl [--workers N] [--concurrency M]

A line of prompts.jsonl is {"id": ..., "prompt": ...} or has "messages", and any other argument of
`chat.complete`; without an id it gets one from its number and content. Without arguments a sample
is made. With RAY_ADDRESS the workers run on that cluster: its nodes need this library, the
gateway's variables in their environment and the folder of answers.jsonl, shared.

What is guaranteed, and what it rests on:
- An outcome is appended to a shard in answers.jsonl.shards as soon as it is known, so kill -9
  loses none; each batch is synced to disk, against a power cut. Start again, and rows answered or
  failed for good are not asked; the others are. One run at a time for an answers.jsonl.
- A request in flight at the kill may be paid for. It is asked again under the same cache key, and
  a cache hit costs nothing (documented), for CACHE_TTL. Cloudflare calls the cache volatile, and
  does not say whether it keeps the answer to a caller who has gone: for those requests "paid once"
  is as good as the cache. An answer that has been written down is never paid for twice.
- An error answer gives the row a new cache key: whether errors are cached is not documented.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import mistral_cf_adapter as cf

CACHE_TTL = 7 * 24 * 3600
TIMEOUT_MS = 300_000
OURS = ("key", "refusals")  # fields of a shard that the answers do without
AGAIN, FAILED, ANSWERED = "to ask again", "failed for good", "answered"
# These would meet every other row too: the run ends, and no row is given up because of them.
STOPPING = (
    cf.GatewaySpendLimitError,
    cf.GatewayNotFoundError,
    cf.GatewayInvalidProviderError,
    cf.GatewayStoredKeyError,
)
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this environment, not a copy of it
}
LOCAL_RAY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux it means: listen on 127.0.0.1 only
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


class Book:
    """What the shards say of each row: its state, where it is written, how often refused."""

    def __init__(self, folder):
        self.folder, self.read = folder, Counter()
        self.state, self.place, self.refusals = {}, {}, Counter()
        self.update()

    def update(self):
        """Read what has been appended since."""
        for shard in sorted(self.folder.glob("*.jsonl")):
            with shard.open("rb") as lines:
                lines.seek(self.read[shard])
                for line in lines:
                    if not line.endswith(b"\n"):
                        break  # torn by a kill, or being written
                    self.add(json.loads(line), (shard, self.read[shard]))
                    self.read[shard] += len(line)

    def add(self, record, place=None):
        key = record["key"]
        self.refusals[key] = max(self.refusals[key], record["refusals"])
        if self.is_left(key):
            self.state[key], self.place[key] = record["state"], place

    def is_left(self, key):
        return self.state.get(key, AGAIN) == AGAIN

    def record(self, key):
        shard, offset = self.place[key]
        with shard.open("rb") as lines:
            lines.seek(offset)
            return json.loads(lines.readline())


class Worker:
    """One client and one shard; Ray keeps one of these in each worker process."""

    def __init__(self, folder, concurrency, retries):
        # Settings do not travel: a worker has them from its own environment.
        self.client = cf.make_client(timeout_ms=TIMEOUT_MS)
        self.book, self.stop, self.retries = Book(folder), folder / "stop", retries
        self.shard = (folder / f"{time.time_ns()}-{os.getpid()}.jsonl").open("xb", buffering=0)
        self.slots, self.runner = asyncio.Semaphore(concurrency), asyncio.Runner()

    def __call__(self, batch):
        self.book.update()  # Ray gives the batch of a worker that died to another
        rows = [json.loads(row) for row in batch["row"]]
        states = self.runner.run(self.ask_all(rows))  # always one event loop: connections last
        os.fsync(self.shard.fileno())
        return {"state": states}

    async def ask_all(self, rows):
        return await asyncio.gather(*map(self.ask, rows))

    async def ask(self, row):
        async with self.slots:
            for turn in range(self.retries + 1):
                if self.stop.exists() or not self.book.is_left(row["key"]):
                    break
                await asyncio.sleep(turn and 2**turn * random.uniform(0.5, 1))
                record = await self.attempt(row)
                self.shard.write(json.dumps(record).encode() + b"\n")
                self.book.add(record)
        return self.book.state.get(row["key"], AGAIN)

    async def attempt(self, row):
        refusals, event = self.book.refusals[row["key"]], quote(row["id"])
        key = f"{row['key']}-{refusals}"
        options = cf.gateway_options(cache_ttl=CACHE_TTL, cache_key=key, event_id=event)
        with cf.capture() as calls, options:
            try:
                outcome = answered(await self.client.chat.complete_async(**row["request"]))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is the row's outcome
                outcome = self.failed(error, sent=bool(calls))
        seen = {name: getattr(calls[-1], name) for name in ("log_id", "cache_status") if calls}
        refusals += bool(outcome.get("error", {}).get("status"))
        return {"id": row["id"], "key": row["key"], **outcome, **seen, "refusals": refusals}

    def failed(self, error, *, sent):
        status, code = getattr(error, "status_code", None), getattr(error, "code", None)
        if isinstance(error, cf.GatewayConnectionError):
            status = None  # there was no response: its 502 or 504 is a stand-in
        passing = sent if status is None else status in {408, 429} or status >= 500
        retryable = getattr(error, "retryable", passing)
        stopping = isinstance(error, STOPPING) or status in {401, 402}
        if stopping:
            self.stop.write_text(f"{error}\n", "utf-8")
        found = {"class": type(error).__name__, "code": code, "status": status}
        found |= {"retryable": retryable, "message": str(error)}
        return {"state": AGAIN if retryable or stopping else FAILED, "error": found}


def answered(answer):
    text = answer.choices[0].message.model_dump()["content"]
    usage = answer.usage.model_dump(mode="json", exclude_none=True)
    return {"state": ANSWERED, "text": text, "usage": usage}


def read_rows(prompts):
    """Return the rows by key, in the order of the file."""
    rows, numbers = {}, {}
    with prompts.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                request = {"model": "mistral-small-latest", **json.loads(line)}
            except (ValueError, TypeError):
                sys.exit(f"{prompts}, line {number}: not a JSON object")
            name = str(request.pop("id", f"{number}-{sha256(line).hexdigest()[:12]}"))
            if numbers.setdefault(name, number) != number:
                sys.exit(f"{prompts}, line {number}: line {numbers[name]} has the id {name!r} too")
            if "prompt" in request:
                request["messages"] = [{"role": "user", "content": request.pop("prompt")}]
            key = sha256(json.dumps([name, request], sort_keys=True).encode()).hexdigest()
            rows[key] = {"id": name, "key": key, "request": request}
    return rows


def ask_all(rows, folder, options):
    """Let Ray's workers ask the rows, and yield how many of them have had their turn."""
    cluster = "RAY_ADDRESS" in os.environ
    os.environ.update((RAY if cluster else RAY | LOCAL_RAY) | os.environ)
    import ray.data

    local = {"num_cpus": options.workers + 1, "object_store_memory": 100 * 2**20}
    local["include_dashboard"] = False
    ray.init(logging_level="ERROR", log_to_driver=False, **({} if cluster else local))
    logging.getLogger("ray.data").setLevel("ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False  # ours counts rows

    batch = min(8 * options.concurrency, -(-len(rows) // options.workers))
    items = [{"row": json.dumps(row)} for row in rows]
    asked = ray.data.from_items(items, override_num_blocks=-(-len(rows) // batch)).map_batches(
        Worker,
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=options.workers),
        fn_constructor_args=(folder.resolve(), options.concurrency, options.retries),
    )
    done = 0
    for states in asked.iter_batches(batch_size=None, prefetch_batches=0):
        yield (done := done + len(states["state"]))
    ray.shutdown()


def show(done, total):
    if sys.stderr.isatty():
        bar = "#" * (40 * done // total)
        print(f"\r[{bar:40}] {done}/{total}", end="\n" * (done == total), file=sys.stderr)


def work(prompts, answers, options):
    """Ask what is left to ask, write the answers in the prompts' order, print the ledger."""
    rows, folder = read_rows(prompts), answers.with_name(f"{answers.name}.shards")
    folder.mkdir(parents=True, exist_ok=True)
    stop = folder / "stop"
    stop.unlink(missing_ok=True)
    before = Book(folder)
    left = [row for key, row in rows.items() if before.is_left(key)]
    if left:
        cf.make_client()  # a setting that is wrong is told at once
        show(0, len(left))
        for done in ask_all(left, folder, options):
            show(done, len(left))
    after = Book(folder)
    write(answers, rows, after)
    states = Counter(after.state.get(key, AGAIN) for key in rows)
    earlier = sum(before.state.get(key) == ANSWERED for key in rows)
    now = {"answered before": earlier, "answered now": states.pop(ANSWERED, 0) - earlier}
    for name, count in {"rows": len(rows), **now, FAILED: 0, AGAIN: 0, **states}.items():
        print(f"{count:>8} {name}")
    if stop.exists():
        print(f"Stopped early. {stop.read_text('utf-8').strip()}")
    return AGAIN in states


def write(answers, rows, book):
    """Replace the answers' file as a whole."""
    draft = answers.with_name(f"{answers.name}.draft")
    with draft.open("w", encoding="utf-8") as lines:
        for key, row in rows.items():
            unasked = {"id": row["id"], "state": AGAIN}
            record = book.record(key) if key in book.place else unasked
            record = {name: value for name, value in record.items() if name not in OURS}
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
    draft.replace(answers)


def sample(folder):
    prompts = folder / "prompts.jsonl"
    lines = [json.dumps({"id": f"wind-{n}", "prompt": f"Name wind number {n}"}) for n in range(20)]
    prompts.write_text("\n".join(lines), "utf-8")
    return prompts


def main():
    from _gateway import gateway

    parser = argparse.ArgumentParser(description="Ask a file of prompts, resumably.")
    parser.add_argument("prompts", type=Path, nargs="?", help="JSONL; a sample if left out")
    parser.add_argument("answers", type=Path, nargs="?", help="JSONL, in the prompts' order")
    parser.add_argument("--workers", type=int, default=2, help="processes, default 2")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at once, each worker")
    parser.add_argument("--retries", type=int, default=4, help="of what may pass, in one run")
    options = parser.parse_args()
    with gateway(), TemporaryDirectory() as folder:
        prompts = options.prompts or sample(Path(folder))
        answers = options.answers or Path(folder) / "answers.jsonl"
        unfinished = work(prompts, answers, options)
        if not options.answers:
            print(answers.read_text("utf-8"), end="")
    return unfinished


if __name__ == "__main__":
    try:
        sys.exit(main())
    except cf.GatewayConfigError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: the same command goes on from here.")
