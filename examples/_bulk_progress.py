"""What bulk.py shows: one line while it works, a summary, and nothing of others between."""

import asyncio
import os
import sys
import time
from collections import Counter, deque
from contextlib import contextmanager

from _bulk_asking import AGAIN, ANSWERED, FAILED, STOP

EVERY = 10  # seconds from line to line, where there is no terminal
REDRAWN_EVERY = 0.2
RECENT = 30  # seconds that the rate is taken from
MOST_IN_A_ROW = 100  # prompts that end in an error that may pass; then the run stops


class Progress:
    """Counts of this run, and the line that shows them."""

    def __init__(self, before, stream):
        self.before, self.left, self.stream = before, before[AGAIN], stream
        self.is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.every = REDRAWN_EVERY if self.is_terminal else EVERY
        self.states, self.errors, self.tokens, self.hits = Counter(), Counter(), 0, 0
        self.in_a_row, self.stop_reason = 0, None
        self.started = time.monotonic()
        self.recent = deque([(self.started, 0)], maxlen=int(RECENT / self.every))

    def add(self, record):
        state = record["state"]
        self.states[state] += 1
        self.in_a_row = self.in_a_row + 1 if state == AGAIN else 0
        if state != ANSWERED:
            self.errors[record["error"]["class"]] += 1
            if state == STOP or self.in_a_row == MOST_IN_A_ROW:
                self.stop_reason = record["error"]["message"]
        elif record.get("cache_status") == "HIT":
            self.hits += 1  # which costs no tokens
        else:
            self.tokens += record["usage"].get("total_tokens", 0)

    def begin(self, text):
        self.stream.write(f"{text}\n")
        self.stream.flush()

    async def keep_showing(self, sync):
        while True:
            await asyncio.sleep(self.every)
            self.show()
            await asyncio.to_thread(sync)

    def show(self, end=""):
        if self.is_terminal:
            width = (os.get_terminal_size(self.stream.fileno()).columns or 80) - 1
            self.stream.write(f"\r{self.describe()[:width]:<{width}}{end}")
        else:
            self.stream.write(f"{self.describe()}\n")
        self.stream.flush()

    def describe(self):
        done, now = self.states.total(), time.monotonic()
        (then, done_then) = self.recent[0]
        self.recent.append((now, done))
        rate = (done - done_then) / (now - then or 1)
        seconds = round((self.left - done) / rate) if rate else 0
        remaining = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}" if rate else "?"
        parts = [f"{done:,}/{self.left:,} done", f"{rate:,.1f}/s", f"{remaining} left"]
        parts += [f"{self.tokens:,} tokens", f"{self.hits:,} cache hits"]
        return ", ".join(parts + [f"{count:,} {name}" for name, count in self.errors.most_common()])

    def summarize(self):
        """Return a line for each count."""
        seconds = time.monotonic() - self.started
        answered, failed = self.states[ANSWERED], self.states[FAILED]
        lines = [
            (self.before.total(), "prompts"),
            (self.before[ANSWERED], "answered before"),
            (answered, f"answered now, {self.hits:,} of them by the cache"),
            (self.before[FAILED] + failed, "failed for good"),
            (self.left - answered - failed, "to ask again"),
            (self.tokens, f"tokens paid for, in {seconds:,.1f} s"),
            *((count, f"times {name}") for name, count in self.errors.most_common()),
        ]
        return "\n".join(f"{count:>12,} {text}" for count, text in lines)


@contextmanager
def move_output_aside(log):
    """Send what others print to a file, which is removed if it stays empty; yield the old stderr.

    The file descriptors are changed, as Ray prints from C++ and from other processes too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    stdout, stderr = os.dup(1), os.dup(2)
    with log.open("wb") as file, os.fdopen(os.dup(stderr), "w", encoding="utf-8") as stream:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield stream
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for kept, number in ((stdout, 1), (stderr, 2)):
                os.dup2(kept, number)
                os.close(kept)
    if not log.stat().st_size:
        log.unlink()
