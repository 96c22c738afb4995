"""The files of bulk.py: prompts are checked and streamed, answers are appended under a lock."""

import json
import os
from collections import Counter
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain, islice

from _bulk_asking import AGAIN, ANSWERED, FAILED, MODEL, PARAMETERS


class InputError(Exception):
    """Something to put right before anything is sent."""


def check_prompts(path, states):
    """Return how many prompts are in which state; raise InputError for what is wrong with them."""
    counts = Counter()
    if problems := list(islice(find_problems(path, states, counts), 10)):
        raise InputError("\n".join(problems))
    return counts


def find_problems(path, states, counts):
    seen = set()  # 64 bits of each id: the texts would take more memory
    for number, line in read_lines(path):
        try:
            prompt = parse_prompt(number, line)
        except ValueError as error:
            yield f"{path}, line {number}: {error}"
            continue
        if hash(prompt["id"]) in seen:
            yield f"{path}, line {number}: an earlier line has the id {prompt['id']!r} too"
        seen.add(hash(prompt["id"]))
        counts[states.get(prompt["key"], AGAIN)] += 1


def read_prompts(path, states):
    """Yield the prompts that are left to ask. The file is never in memory as a whole."""
    prompts = (parse_prompt(number, line) for number, line in read_lines(path))
    return (prompt for prompt in prompts if prompt["key"] not in states)


def read_lines(path):
    with path.open("rb") as lines:
        yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def parse_prompt(number, line):
    """Return a prompt with its key; raise ValueError with what is wrong with the line."""
    try:
        request = {"id": number, "model": MODEL, **json.loads(line)}
    except (ValueError, TypeError):
        raise ValueError("not a JSON object") from None
    name = str(request.pop("id"))
    if "prompt" in request:
        request["messages"] = [{"role": "user", "content": request.pop("prompt")}]
    if "messages" not in request:
        raise ValueError("neither prompt nor messages")
    if unknown := sorted(request.keys() - PARAMETERS):
        raise ValueError(f"chat.complete() takes no {', '.join(unknown)} here")
    key = sha256(json.dumps([name, request], sort_keys=True).encode()).hexdigest()[:32]
    return {"id": name, "key": key, "request": request}


class Answers:
    """Two files that are only appended to: a line for each answer, and one for each error."""

    def __init__(self, path):
        self.errors_path = path.with_name(f"{path.name}.errors")
        self.states, self.error_counts = {}, Counter()  # by the prompts' keys
        for record in chain(load(self.errors_path), load(path)):
            key, state = record["key"], record["state"]
            if state in (ANSWERED, FAILED):
                self.states[key] = ANSWERED if state == ANSWERED else FAILED  # one string for all
            elif record["error"]["status"]:
                self.error_counts[key] += 1
        # Without a buffer: the operating system has each line, and a kill does no harm to it.
        self.answers, self.errors = path.open("ab", 0), self.errors_path.open("ab", 0)

    def write(self, record):
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        file = self.answers if record["state"] == ANSWERED else self.errors
        while line:
            line = line[file.write(line) :]

    def close(self):
        self.answers.close()
        self.errors.close()


def load(path):
    """Yield the records of a file, and repair its last line if a kill has cut it."""
    if not path.exists():
        return
    with path.open("r+b") as lines:
        for number, line in enumerate(lines, 1):
            is_whole = line.endswith(b"\n")
            try:
                record = json.loads(line)
                record["key"], record["state"]
            except (ValueError, TypeError, KeyError):
                if is_whole or not line.startswith(b'{"id": '[: len(line)]):
                    raise InputError(f"{path}, line {number}: not written by bulk.py") from None
                lines.truncate(lines.seek(-len(line), os.SEEK_END))
                return
            yield record
            if not is_whole:
                lines.write(b"\n")


@contextmanager
def hold_lock(path):
    """Refuse a second run on these answers. After a kill the operating system frees the lock."""
    path = path.resolve()
    with path.with_name(f"{path.name}.lock").open("ab") as file:
        try:
            lock(file)
        except (BlockingIOError, PermissionError):
            raise InputError(f"{path}: another run is writing to it") from None
        yield


def lock(file):
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
