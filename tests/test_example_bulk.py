"""Bulk work past one machine: killed half way and resumed, no row is lost or paid for twice.

Ray itself runs in the last two tests only, which need it: uv run --group bulk pytest -m packages.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter

import example_programs
import pytest

from mistral_cf_adapter.testing import LocalGateway

SCRIPT = example_programs.EXAMPLES / "bulk.py"
PATIENCE = 300  # seconds; Ray alone takes many to start


def load():
    spec = importlib.util.spec_from_file_location("bulk_example", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bulk = load()


@pytest.fixture
def local():
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture
def folder(tmp_path):
    """The folder of prompts, answers and shards."""
    return tmp_path


@pytest.fixture
def ask(local, folder, monkeypatch):
    """Have a worker ask prompts, as Ray does but in this process; return the records."""
    for name, value in local.env().items():
        monkeypatch.setenv(name, value)

    def run(*prompts, retries=0, **row):
        write_prompts(folder, *prompts, **row)
        rows = bulk.read_rows(folder / "prompts.jsonl")
        (folder / "shards").mkdir(exist_ok=True)
        worker = bulk.Worker(folder / "shards", concurrency=1, retries=retries)
        with worker.shard, worker.runner:
            worker({"row": [json.dumps(item) for item in rows.values()]})
        book = bulk.Book(folder / "shards")
        return [book.record(key) if key in book.place else None for key in rows]

    return run


def test_a_row_is_sent_with_its_id_and_kept_with_its_answer_and_log_id(ask, local):
    local.reply("A wind.")
    (record,) = ask("mistral")
    assert (record["state"], record["text"]) == ("answered", "A wind.")
    assert (record["log_id"], record["cache_status"]) == (local.logs[0].id, "MISS")
    assert record["usage"]["total_tokens"] > 0
    assert local.logs[0].event_id == "mistral"


@pytest.mark.parametrize(
    ("script", "kind", "code", "retryable", "state"),
    [
        ({"code": 2003}, "GatewayRateLimitedError", 2003, True, "to ask again"),
        ({"code": 2016}, "GatewayGuardrailError", 2016, False, "failed for good"),
        ({"code": 2045}, "GatewaySpendLimitError", 2045, False, "to ask again"),
        ({"kind": "policy_denied"}, "GatewayPolicyError", None, False, "failed for good"),
    ],
)
def test_an_error_is_kept_with_its_class_and_code(ask, local, script, kind, code, retryable, state):
    local.fail(**script)
    (record,) = ask("mistral")
    error = record["error"]
    assert (error["class"], error["code"], error["retryable"]) == (kind, code, retryable)
    assert (record["state"], record["log_id"]) == (state, local.logs[0].id)


@pytest.mark.parametrize(("status", "state"), [(422, "failed for good"), (503, "to ask again")])
def test_an_error_of_mistrals_own_is_kept_too(ask, local, status, state):
    local.upstream_fail(status)
    (record,) = ask("mistral")
    assert (record["error"]["status"], record["state"]) == (status, state)


def test_a_row_that_cannot_be_sent_fails_for_good(ask, local):
    (record,) = ask("mistral", no_such_argument=1)
    assert (record["state"], record["error"]["class"]) == ("failed for good", "TypeError")
    assert not local.requests


def test_a_row_is_tried_again_after_an_error_that_may_pass(ask, local, monkeypatch):
    monkeypatch.setattr(bulk.random, "uniform", lambda *_: 0)
    local.fail(2003)
    (record,) = ask("mistral", retries=1)
    assert record["state"] == "answered"


def test_an_answer_that_got_lost_is_asked_under_the_same_key_and_comes_from_the_cache(ask, local):
    local.fault("cut_body")
    (lost,) = ask("mistral")
    (found,) = ask("mistral")
    assert (lost["state"], lost["error"]["status"]) == ("to ask again", None)
    assert (found["state"], found["cache_status"]) == ("answered", "HIT")
    assert len(local.upstream_requests) == 1


def test_an_error_answer_gives_the_row_a_new_cache_key(ask, local):
    local.upstream_fail(503)
    ask("mistral")
    ask("mistral")
    first, second = (request.headers["cf-aig-cache-key"] for request in local.requests)
    assert first != second


@pytest.mark.parametrize("script", [{"code": 2041}, {"code": 2009}, {"kind": "policy_spend"}])
def test_an_error_that_every_row_would_meet_ends_the_run(ask, local, script):
    local.fail(**script)
    records = ask("one", "two", "three")
    assert [record and record["state"] for record in records] == ["to ask again", None, None]
    assert len(local.requests) == 1


def test_a_worker_asks_nothing_that_an_earlier_one_has_an_answer_to(ask, local):
    ask("one", "two")
    ask("one", "two", "three")
    assert len(local.requests) == 3


def test_a_line_torn_by_a_kill_is_passed_over(ask, local, folder):
    ask("one", "two")
    (shard,) = (folder / "shards").glob("*.jsonl")
    shard.write_bytes(shard.read_bytes()[:-20])
    records = ask("one", "two")
    assert [record["cache_status"] for record in records] == ["MISS", "HIT"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"id": 1, "prompt": "a"}\n{"id": "1", "prompt": "b"}\n', "line 2: line 1 has the id"),
        ('{"prompt": "a"}\n{"prom', "line 2: not a JSON object"),
    ],
)
def test_prompts_that_cannot_be_told_apart_or_read_are_refused(tmp_path, text, complaint):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(text, "utf-8")
    with pytest.raises(SystemExit, match=complaint):
        bulk.read_rows(prompts)


@pytest.fixture
def main(local, monkeypatch):
    """Run the whole example, with one worker in this process in Ray's place."""
    for name, value in local.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(example_programs.EXAMPLES))

    def ask_all(rows, folder, options):
        worker = bulk.Worker(folder, options.concurrency, options.retries)
        with worker.shard, worker.runner:
            yield len(worker({"row": [json.dumps(row) for row in rows]})["state"])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bulk.py", *map(str, arguments)])
        return bulk.main()

    monkeypatch.setattr(bulk, "ask_all", ask_all)
    return run


def test_without_arguments_a_sample_is_asked_and_shown(main, capsys):
    assert not main()
    printed = capsys.readouterr().out
    assert ledger(printed)["answered now"] == 20
    shown = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert len(shown) == 20
    assert set(shown[0]) == {"id", "state", "text", "usage", "log_id", "cache_status"}


def test_a_spend_limit_ends_the_run_which_goes_on_from_there_later(main, local, folder, capsys):
    write_prompts(folder, "one", "two", "three")
    files = (folder / "prompts.jsonl", folder / "answers.jsonl", "--concurrency", "1")
    local.reply("First.")
    local.fail(2041)
    assert main(*files)
    printed = capsys.readouterr().out
    assert "Stopped early. AI Gateway: Spend limit exceeded" in printed
    assert ledger(printed)["to ask again"] == 2
    assert [answer["state"] for answer in read_answers(folder)] == [
        "answered",
        "to ask again",
        "to ask again",
    ]

    assert not main(*files)
    counts = ledger(capsys.readouterr().out)
    assert (counts["answered before"], counts["answered now"]) == (1, 2)
    assert paid(local) == Counter(["one", "two", "three"])


def test_a_prompt_that_was_changed_is_a_new_row(main, local, folder):
    files = (folder / "prompts.jsonl", folder / "answers.jsonl")
    for prompt in ("one", "two"):
        files[0].write_text(json.dumps({"id": "same", "prompt": prompt}), "utf-8")
        assert not main(*files)
    assert paid(local) == Counter(["one", "two"])


def write_prompts(folder, *prompts, **row):
    lines = [json.dumps({"id": prompt, "prompt": prompt, **row}) for prompt in prompts]
    (folder / "prompts.jsonl").write_text("\n".join(lines), "utf-8")


def read_answers(folder):
    lines = (folder / "answers.jsonl").read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def ledger(printed):
    """Read the counts that are printed at the end."""
    found = re.findall(r"^ *(\d+) ([a-z ]+)$", printed, re.MULTILINE)
    return {name: int(count) for count, name in found}


EXAMPLE = [
    *(str(SCRIPT), "prompts.jsonl", "answers.jsonl"),
    *("--workers", "2", "--concurrency", "4", "--retries", "0"),
]


class Run:
    """A program with a real Ray, the example by default, in a session of its own."""

    def __init__(self, local, folder, scratch, *, program=EXAMPLE, **environment):
        kept = {name: os.environ[name] for name in os.environ if not name.startswith("RAY_")}
        self.process = subprocess.Popen(
            [sys.executable, *program],
            cwd=folder,
            env={**kept, **local.env(), **environment, "RAY_TMPDIR": scratch},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.wait_until_gone()

    def wait_until_gone(self):
        """Ray's workers have process groups of their own, and end when its raylet has."""
        wait_until(lambda: not members(self.process.pid))


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def members(session):
    """Return what still runs in a session."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,sess=,stat=,args="], capture_output=True, text=True, check=True
    )
    split = [line.split(None, 3) for line in listed.stdout.splitlines()]
    return [rest for _, sess, stat, *rest in split if sess == str(session) and stat[0] != "Z"]


@pytest.fixture
def scratch():
    """A short path: Ray's sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as path:
        yield path


def paid(local):
    """How often each prompt was put to the provider."""
    return Counter(request.json()["messages"][0]["content"] for request in local.upstream_requests)


@pytest.mark.packages
@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to kill")
def test_killed_half_way_and_resumed_no_row_is_lost_or_paid_for_twice(local, folder, scratch):
    pytest.importorskip("ray")
    names = [f"row-{number}" for number in range(60)]
    write_prompts(folder, *names)
    local.fail(2016)
    local.fail(2003)
    local.upstream_delay(0.2, times=len(names))

    with Run(local, folder, scratch) as killed:
        wait_until(lambda: len(local.upstream_requests) >= 25 or killed.process.poll() is not None)
    assert not (folder / "answers.jsonl").exists()
    before = paid(local)
    assert 25 <= len(before) < len(names)

    with Run(local, folder, scratch) as resumed:
        printed, _ = resumed.process.communicate(timeout=PATIENCE)
        assert resumed.process.returncode == 0, printed
        resumed.wait_until_gone()

    answers = read_answers(folder)
    assert [answer["id"] for answer in answers] == names
    (blocked,) = [answer for answer in answers if answer["state"] != "answered"]
    assert (blocked["state"], blocked["error"]["code"]) == ("failed for good", 2016)
    assert paid(local) == Counter(set(names) - {blocked["id"]})
    logged = {log.id: log.event_id for log in local.logs}
    assert [logged[answer["log_id"]] for answer in answers] == names
    counts = ledger(printed)
    assert counts.pop("answered before") + counts.pop("answered now") == 59
    assert counts == {"rows": 60, "failed for good": 1, "to ask again": 0}


TASK = """
import ray
from {module} import Mistral

@ray.remote
def ask():
    with Mistral(api_key="mistral-test-key") as client:
        message = {{"role": "user", "content": "hi"}}
        answer = client.chat.complete(model="mistral-small-latest", messages=[message])
    return answer.choices[0].message.content

ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
print(ray.get(ask.remote()))
"""


@pytest.mark.packages
@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to kill")
def test_a_task_of_ray_goes_through_the_gateway_under_run(local, folder, scratch):
    pytest.importorskip("ray")
    from mistral_cf_adapter._sdk import ROOT

    (folder / "app.py").write_text(TASK.format(module=ROOT))
    local.reply("Bonjour!")
    program = ("-m", "mistral_cf_adapter", "run", "--cache-ttl", "60", "app.py")
    with Run(local, folder, scratch, program=program, **bulk.RAY, **bulk.LOCAL_RAY) as run:
        printed, _ = run.process.communicate(timeout=PATIENCE)
        assert printed.splitlines()[-1:] == ["Bonjour!"], printed
        run.wait_until_gone()
    (request,) = local.requests
    assert request.headers["cf-aig-cache-ttl"] == "60"
