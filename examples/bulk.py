"""Ask a file of prompts through the gateway, and go on after a kill where it had come to.

uv run examples/bulk.py prompts.jsonl answers.jsonl

A line of prompts.jsonl is {"id": ..., "prompt": ...} or has "messages", and any other argument of
chat.complete(); without an id it has the number of its line. Answers are appended to answers.jsonl
as they arrive, not in the prompts' order; errors to answers.jsonl.errors. Without arguments a
sample is made; without a gateway in the environment a local one answers.

Few prompts are asked by this process, many by Ray's workers if Ray is there: uv run --with ray
examples/bulk.py, or pip install ray. With RAY_ADDRESS and --workers they run on that cluster, whose
nodes need this library and the gateway's variables.

What is guaranteed, and what it rests on:
- The same command goes on where a run ended, however it did. Not asked again: what has an answer
  in answers.jsonl, and what failed for good (remove answers.jsonl.errors to ask that again). A
  prompt that was changed is a new one.
- What was in flight at a kill is asked again: at most --concurrency prompts of each worker. It has
  the same cache key, and a cache hit costs nothing (documented). But Cloudflare calls the cache
  volatile, and does not say whether it keeps an answer to a caller who has gone.
- A power cut may take the last answers: they are with the operating system, not on the disk.
- One run at a time: it locks answers.jsonl.lock, which stays and is free when the run is gone.
- Memory grows by 80 bytes a prompt, by 230 if it is done already, however long the prompts are.

Exit status: 0 every prompt has an answer; 1 some have none; 2 wrong usage or input, and nothing was
sent; 3 stopped, as no further prompt would have been answered; 130 interrupted.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import argparse
import asyncio
import json
import os
import signal
import sys
import traceback
from contextlib import closing
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

from _bulk_asking import AGAIN, ANSWERED, start_here, start_ray
from _bulk_files import Answers, InputError, check_prompts, hold_lock, read_prompts
from _bulk_progress import Progress, move_output_aside
from _gateway import gateway

import mistral_cf_adapter as cf

RAY_FROM = 10_000  # prompts: below, Ray takes longer to start than it saves
ALL_ANSWERED, SOME_NOT, USAGE, STOPPED, INTERRUPTED = 0, 1, 2, 3, 130


def work(prompts, path, options):
    """Ask what is left to ask, print a summary, and return the exit status."""
    if not prompts.is_file():  # it is read twice
        raise InputError(f"{prompts}: {'not a regular file' if prompts.exists() else 'not found'}")
    if path.exists() and path.samefile(prompts):
        raise InputError(f"{path}: these are the prompts, name another file for the answers")
    cf.make_client()  # raises if a setting is wrong
    log = path.with_name(f"{path.name}.log")
    with hold_lock(path), closing(Answers(path)) as answers:
        before = check_prompts(prompts, answers.states)
        options.workers = choose_workers(options.workers, before[AGAIN])
        with move_output_aside(log) as stream:
            progress = Progress(before, stream)
            is_interrupted = not ask(prompts, answers, progress, options)
    print(progress.summarize())
    if progress.errors:
        print(f"Errors: {answers.errors_path}")
    if log.exists():
        print(f"Libraries have printed something: {log}")
    if is_interrupted or progress.stop_reason:
        print(f"{progress.stop_reason or 'Interrupted.'}\nThe same command goes on from here.")
        return STOPPED if progress.stop_reason else INTERRUPTED
    is_complete = before[ANSWERED] + progress.states[ANSWERED] == before.total()
    return ALL_ANSWERED if is_complete else SOME_NOT


def choose_workers(wanted, left):
    """Return how many workers of Ray to start; 1 is this process, without Ray."""
    if wanted is None:
        # One core is for this process, which writes what the workers answer.
        return max(1, os.cpu_count() - 1) if left >= RAY_FROM and find_spec("ray") else 1
    if wanted > 1 and not find_spec("ray"):
        raise InputError("--workers: more than 1 needs Ray, which is not installed")
    return wanted


def interrupt(_number, frame):
    """Do as Ctrl-C does at this moment: asyncio then cancels what is under way."""
    handler = signal.getsignal(signal.SIGINT)
    handler = handler if callable(handler) else signal.default_int_handler
    handler(signal.SIGINT, frame)


def ask(prompts, answers, progress, options):
    """Ask what is left, and return whether that was not interrupted."""
    with_ray = options.workers > 1 and progress.left
    where = f"{options.workers} workers of Ray, once it runs" if with_ray else "this process"
    progress.show(f"{progress.left:,} prompts to ask, by {where}")
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with start_ray(options) if with_ray else start_here(options) as asks:
            signal.signal(signal.SIGTERM, interrupt)  # Ray has set its own
            left = read_prompts(prompts, answers.states)
            asyncio.run(ask_all(left, asks * options.concurrency, answers, progress))
    except (KeyboardInterrupt, SystemExit):  # the latter by Ray, for SIGTERM while it starts
        return False
    except Exception as error:  # noqa: BLE001  # such as a full disk, or Ray that does not start
        error = getattr(error, "exceptions", [error])[0]  # of a TaskGroup's
        progress.stop_reason = f"{type(error).__name__}: {error}"
        if not isinstance(error, OSError):
            traceback.print_exception(error)  # to the log
    return True


async def ask_all(prompts, asks, answers, progress):
    """Ask by each function one prompt after another; an outcome is written before the next."""
    prompts = takewhile(lambda _: not progress.stop_reason, prompts)

    async def ask_one_after_another(ask):
        for prompt in prompts:
            record = await ask(prompt, answers.error_counts[prompt["key"]])
            answers.write(record)
            progress.add(record)

    showing = asyncio.create_task(progress.keep_showing())
    try:
        async with asyncio.TaskGroup() as group:
            for ask in asks:
                group.create_task(ask_one_after_another(ask))
    finally:
        showing.cancel()
        progress.show(progress.describe())


def make_sample(folder):
    lines = [json.dumps({"id": f"wind-{n}", "prompt": f"Name wind number {n}"}) for n in range(20)]
    (folder / "prompts.jsonl").write_text("\n".join(lines), "utf-8")
    return folder / "prompts.jsonl"


def parse_arguments():
    about, _, details = __doc__.partition("\n\n")
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, epilog=details, formatter_class=style)
    add = parser.add_argument
    add("prompts", type=Path, nargs="?", help="JSONL; a sample if left out")
    add("answers", type=Path, nargs="?", help="JSONL, appended to")
    add("--concurrency", type=int, default=32, help="requests in flight, each worker (32)")
    add("--workers", type=int, help="1: this process, more: Ray; by default by the prompts' number")
    add("--retry-for", type=int, default=60, help="seconds, if an error may pass (60)")
    options = parser.parse_args()
    if bool(options.prompts) != bool(options.answers):
        parser.error("name both files, or none")
    if options.concurrency < 1 or (options.workers or 1) < 1 or options.retry_for < 0:
        parser.error("a number is too small")
    return options


def main():
    options = parse_arguments()
    try:
        with TemporaryDirectory() as folder, gateway():
            if options.prompts:
                return work(options.prompts, options.answers, options)
            answers = Path(folder) / "answers.jsonl"
            status = work(make_sample(Path(folder)), answers, options)
            print(answers.read_text("utf-8"), end="")
            return status
    except (InputError, OSError, cf.GatewayConfigError) as error:
        print(error, file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("Interrupted: nothing was sent.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
