"""What bulk.py shows: one line while it works, a summary, and nothing of others between."""

import asyncio
import os
import sys
import time
from collections import Counter, deque
from contextlib import contextmanager
from datetime import timedelta

from _bulk_asking import AGAIN, ANSWERED, FAILED, STOP

EVERY, REDRAWN_EVERY = 10, 0.2  # seconds; the second on a terminal
RECENT = 30  # seconds that the rate is taken from
MOST_IN_A_ROW = 100  # prompts that end in an error that may pass; then the run stops


class Progress:
    """Counts of this run, and the line that shows them."""

    def __init__(self, before, stream):
        self.before, self.left, self.stream = before, before[AGAIN], stream
        self.is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.every = REDRAWN_EVERY if self.is_terminal else EVERY
        self.states, self.errors = Counter(), Counter()
        self.tokens = self.hits = self.retries = 0
        self.in_a_row, self.stop_reason = 0, None
        self.started = time.monotonic()
        self.recent = deque(maxlen=int(RECENT / self.every))  # moments, and what was done then

    def add(self, record):
        state = record["state"]
        self.states[state] += 1
        self.retries += max(0, record["tries"] - 1)
        self.in_a_row = self.in_a_row + 1 if state == AGAIN else 0
        if state != ANSWERED:
            self.errors[record["error"]["class"]] += 1
            if state == STOP or self.in_a_row == MOST_IN_A_ROW:
                self.stop_reason = record["error"]["message"]
        elif record.get("cache_status") == "HIT":
            self.hits += 1  # which costs no tokens
        else:
            self.tokens += record["usage"]["total_tokens"] or 0

    def show(self, text):
        """Write a line, on a terminal over the last one."""
        if self.is_terminal:
            width = (os.get_terminal_size(self.stream.fileno()).columns or 80) - 1
            self.stream.write(f"\r{text[:width]:<{width}}")
        else:
            self.stream.write(f"{text}\n")
        self.stream.flush()

    async def keep_showing(self):
        self.recent.append((time.monotonic(), 0))
        while True:
            await asyncio.sleep(self.every)
            self.show(self.describe())

    def describe(self):
        done, now = self.states.total(), time.monotonic()
        self.recent.append((now, done))
        then, done_then = self.recent[0]
        rate = (done - done_then) / (now - then or 1)
        remaining = timedelta(seconds=round((self.left - done) / rate)) if rate else "?"
        return f"{done:,}/{self.left:,} done, {rate:,.1f}/s, {remaining} left, {self.count_costs()}"

    def count_costs(self):
        counts = [(self.tokens, "tokens"), (self.hits, "cache hits"), (self.retries, "retries")]
        counts += [(count, name) for name, count in self.errors.most_common()]
        return ", ".join(f"{count:,} {what}" for count, what in counts)

    def summarize(self):
        answered, failed = self.states[ANSWERED], self.states[FAILED]
        again = self.left - answered - failed
        return (
            f"{self.before.total():,} prompts: {self.before[ANSWERED]:,} answered before, "
            f"{answered:,} answered now, {self.before[FAILED] + failed:,} failed for good, "
            f"{again:,} to ask again\n"
            f"{time.monotonic() - self.started:,.1f} s, {self.count_costs()}"
        )


@contextmanager
def move_output_aside(log):
    """Send what others print to a file, and yield the old stderr.

    The file descriptors are changed, as Ray prints from C++ and from other processes too.
    """
    sys.stdout.flush()
    stdout, stderr = os.dup(1), os.dup(2)
    with log.open("wb") as file, os.fdopen(os.dup(2), "w", encoding="utf-8") as stream:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield stream
        finally:
            stream.write("\n" * stream.isatty())  # the line stays to be read
            sys.stdout.flush()
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            os.close(stdout)
            os.close(stderr)
    if not log.stat().st_size:
        log.unlink()
