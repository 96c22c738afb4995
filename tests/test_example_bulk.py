"""Bulk work: checked, resumed after a kill without asking twice, and readable while it runs.

Ray itself runs in the last two tests only, which need it: uv run --group bulk pytest -m packages.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
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
sys.path.insert(0, str(example_programs.EXAMPLES))
bulk, asking, files, progress = map(
    importlib.import_module, ("bulk", "_bulk_asking", "_bulk_files", "_bulk_progress")
)
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture
def local(monkeypatch):
    with LocalGateway() as gateway:
        for name, value in gateway.env().items():
            monkeypatch.setenv(name, value)
        yield gateway


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of prompts and answers, which the example is run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ask(local):
    """Ask one prompt, and return the line that is written of it."""

    def run(prompt="mistral", *, retry_seconds=0, error_count=0, **row):
        line = json.dumps({"id": prompt, "prompt": prompt, **row})
        asker = asking.Asker(retry_seconds)
        return asyncio.run(asker.ask(files.parse_prompt(1, line), error_count))

    return run


@pytest.fixture
def main(local, folder, monkeypatch):
    """Run the whole example in this process, and return its exit status."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*options, files=FILES):
        monkeypatch.setattr(sys, "argv", ["bulk.py", *files, *options])
        return bulk.main()

    yield run
    signal.signal(signal.SIGTERM, before)


FILES = ("prompts.jsonl", "answers.jsonl")
ONE_BY_ONE = ("--concurrency", "1", "--retry-for", "0")


def write_prompts(folder, *prompts, **row):
    lines = [json.dumps({"id": prompt, "prompt": prompt, **row}) for prompt in prompts]
    (folder / "prompts.jsonl").write_text("\n".join(lines), "utf-8")


def read_lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def read_ids(folder):
    """Return whose answers are written, without one that is being written."""
    whole = (folder / "answers.jsonl").read_bytes().rpartition(b"\n")[0]
    return [json.loads(line)["id"] for line in whole.split(b"\n") if line]


def read_summary(printed):
    """Read the counts that are printed at the end."""
    (line,) = re.findall(r"^[\d,]+ prompts: .*$", printed, re.MULTILINE)
    found = re.findall(r"([\d,]+) ([a-z ]+)", line)
    return {name: int(count.replace(",", "")) for count, name in found}


def count_paid(local):
    """How often each prompt was put to the provider."""
    return Counter(request.json()["messages"][0]["content"] for request in local.upstream_requests)


def count_asked(local):
    return Counter(request.json()["messages"][0]["content"] for request in local.requests)


def test_a_prompt_is_sent_with_its_id_and_kept_with_its_answer_and_log_id(ask, local):
    local.reply("A wind.")
    record = ask("mistral")
    assert (record["id"], record["state"]) == ("mistral", "answered")
    assert record["choices"][0]["message"]["content"] == "A wind."
    assert (record["log_id"], record["cache_status"]) == (local.logs[0].id, "MISS")
    assert record["usage"]["total_tokens"] > 0
    assert local.logs[0].event_id == "mistral"


@pytest.mark.parametrize(
    ("script", "kind", "code", "state"),
    [
        ({"code": 2003}, "GatewayRateLimitedError", 2003, "to ask again"),
        ({"code": 2016}, "GatewayGuardrailError", 2016, "failed for good"),
        ({"code": 2045}, "GatewaySpendLimitError", 2045, "stopped the run"),
        ({"kind": "policy_spend"}, "GatewaySpendLimitError", None, "stopped the run"),
        ({"code": 2009}, "GatewayUnauthorizedError", 2009, "stopped the run"),
        ({"kind": "policy_denied"}, "GatewayPolicyError", None, "failed for good"),
    ],
)
def test_an_error_is_kept_with_its_class_and_code(ask, local, script, kind, code, state):
    local.fail(**script)
    record = ask()
    assert (record["error"]["class"], record["error"]["code"]) == (kind, code)
    assert (record["state"], record["log_id"]) == (state, local.logs[0].id)


@pytest.mark.parametrize(("status", "state"), [(422, "failed for good"), (503, "to ask again")])
def test_an_error_of_mistrals_own_is_kept_too(ask, local, status, state):
    local.upstream_fail(status)
    record = ask()
    assert (record["error"]["status"], record["state"]) == (status, state)


def test_a_prompt_that_cannot_be_sent_fails_for_good(ask, local):
    record = ask(messages=5, prompt_mode=[])
    assert record["state"] == "failed for good"
    assert not local.requests


def test_a_prompt_is_tried_again_by_the_sdk_after_an_error_that_may_pass(ask, local):
    local.fail(2003)
    record = ask(retry_seconds=30)
    assert (record["state"], record["tries"]) == ("answered", 2)
    assert len(local.requests) == 2


def test_an_answer_that_got_lost_is_asked_under_the_same_key_and_comes_from_the_cache(ask, local):
    local.fault("cut_body")
    lost, found = ask(), ask()
    assert (lost["state"], lost["error"]["status"]) == ("to ask again", None)
    assert (found["state"], found["cache_status"]) == ("answered", "HIT")
    assert len(local.upstream_requests) == 1


def test_an_error_answer_gives_the_prompt_a_new_cache_key_in_the_next_run(main, local, folder):
    write_prompts(folder, "mistral")
    local.upstream_fail(503)
    assert main(*ONE_BY_ONE) == 1
    assert main(*ONE_BY_ONE) == 0
    first, second = (request.headers["cf-aig-cache-key"] for request in local.requests)
    assert first != second


def test_without_arguments_a_sample_is_asked_and_shown(main, capfd):
    assert main(files=()) == 0
    printed = capfd.readouterr().out
    assert read_summary(printed)["answered now"] == 20
    shown = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert len(shown) == 20
    assert {*shown[0]} >= {"id", "state", "choices", "usage", "log_id"}


def test_what_has_an_answer_or_failed_for_good_is_not_asked_again(main, local, folder, capfd):
    write_prompts(folder, "one", "two")
    local.fail(2016)
    assert main(*ONE_BY_ONE) == 1
    capfd.readouterr()
    assert main(*ONE_BY_ONE) == 1
    counts = read_summary(capfd.readouterr().out)
    assert (counts["answered before"], counts["failed for good"]) == (1, 1)
    assert len(local.requests) == 2

    (folder / "answers.jsonl.errors").unlink()
    assert main(*ONE_BY_ONE) == 0
    assert count_paid(local) == Counter(["one", "two"])


def test_a_prompt_that_was_changed_is_a_new_one(main, local, folder):
    for prompt in ("one", "two"):
        (folder / "prompts.jsonl").write_text(json.dumps({"id": "same", "prompt": prompt}), "utf-8")
        assert main() == 0
    assert count_paid(local) == Counter(["one", "two"])


def test_a_spend_limit_ends_the_run_which_goes_on_from_there_later(main, local, folder, capfd):
    write_prompts(folder, "one", "two", "three")
    local.reply("First.")
    local.fail(2041)
    assert main(*ONE_BY_ONE) == 3
    printed = capfd.readouterr().out
    assert "\nAI Gateway: Spend limit exceeded" in printed
    assert printed.endswith("The same command goes on from here.\n")
    assert read_summary(printed)["to ask again"] == 2
    assert read_ids(folder) == ["one"]

    assert main(*ONE_BY_ONE) == 0
    counts = read_summary(capfd.readouterr().out)
    assert (counts["answered before"], counts["answered now"]) == (1, 2)
    assert count_paid(local) == Counter(["one", "two", "three"])


def test_a_run_stops_when_prompt_after_prompt_meets_an_error_that_may_pass(
    main, local, folder, monkeypatch, capfd
):
    monkeypatch.setattr(progress, "MOST_IN_A_ROW", 3)
    write_prompts(folder, *"abcdef")
    for _ in "abc":
        local.fail(2003)
    assert main(*ONE_BY_ONE) == 3
    assert len(local.requests) == 3
    assert "3 GatewayRateLimitedError" in capfd.readouterr().out


INPUT = b"""{"id": 1, "prompt": "a"}

{"id": "1", "prompt": "b"}
{"prompt": "c", "server_url": "https://example.com"}
{"prom
[]
{"id": 5}
{"prompt": "\xff"}"""


def test_all_that_is_wrong_with_the_prompts_is_said_before_anything_is_sent(
    main, local, folder, capfd
):
    (folder / "prompts.jsonl").write_bytes(INPUT)
    assert main() == 2
    complaints = capfd.readouterr().err.splitlines()
    assert [complaint.partition(": ")[::2] for complaint in complaints] == [
        ("prompts.jsonl, line 3", "an earlier line has the id '1' too"),
        ("prompts.jsonl, line 4", "chat.complete() takes no server_url here"),
        ("prompts.jsonl, line 5", "not a JSON object"),
        ("prompts.jsonl, line 6", "not a JSON object"),
        ("prompts.jsonl, line 7", "neither prompt nor messages"),
        ("prompts.jsonl, line 8", "not a JSON object"),
    ]
    assert not local.requests


def test_ten_problems_are_listed_at_most(main, folder, capfd):
    (folder / "prompts.jsonl").write_text("x\n" * 50, "utf-8")
    assert main() == 2
    assert len(capfd.readouterr().err.splitlines()) == 10


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("none.jsonl", "answers.jsonl"), "none.jsonl: not found"),
        ((".", "answers.jsonl"), ".: not a regular file"),
        (("prompts.jsonl", "prompts.jsonl"), "prompts.jsonl: these are the prompts, name another"),
        (("prompts.jsonl", "notes.txt"), "notes.txt, line 2: not written by bulk.py"),
        (("prompts.jsonl", "no/answers.jsonl"), "No such file or directory"),
        (("prompts.jsonl",), "name both files, or none"),
        ((*FILES, "--concurrency", "0"), "a number is too small"),
    ],
)
def test_a_wrong_command_is_status_2_and_changes_no_file(
    main, local, folder, capfd, arguments, complaint
):
    notes = '{"key": "k", "state": "answered"}\nmine'
    (folder / "notes.txt").write_text(notes, "utf-8")
    write_prompts(folder, "one")
    try:
        status = main(files=arguments)
    except SystemExit as wrong_usage:
        status = wrong_usage.code
    printed = capfd.readouterr()
    assert (status, printed.out) == (2, "")
    assert complaint in printed.err
    assert (folder / "notes.txt").read_text("utf-8") == notes
    assert not (folder / "answers.jsonl").exists()
    assert not local.requests


def test_a_wrong_setting_is_status_2(local, folder):
    write_prompts(folder, "one")
    done = example_programs.run("bulk.py", *FILES, **local.env(), CF_AIG_CACHE_TTL="soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert "CF_AIG_CACHE_TTL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_run_on_the_same_answers_is_refused(main, local, folder, capfd):
    write_prompts(folder, "one")
    with files.hold_lock(folder / "answers.jsonl"):
        assert main() == 2
        assert "another run is writing to it" in capfd.readouterr().err
        assert not local.requests
    assert main() == 0


@pytest.mark.parametrize(("cut", "asked"), [(20, 3), (1, 2)])
def test_a_last_line_that_a_kill_has_cut_is_repaired(main, local, folder, cut, asked):
    write_prompts(folder, "one", "two")
    assert main(*ONE_BY_ONE) == 0
    answers = folder / "answers.jsonl"
    answers.write_bytes(answers.read_bytes()[:-cut])
    assert main(*ONE_BY_ONE) == 0
    assert [answer["id"] for answer in read_lines(answers)] == ["one", "two"]
    assert answers.read_bytes().endswith(b"}\n")
    assert len(local.requests) == asked


@POSIX
def test_a_full_disk_ends_the_run_which_goes_on_from_there_later(main, local, folder):
    write_prompts(folder, *map(str, range(30)))
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 4; exec '{sys.executable}' '{SCRIPT}' {' '.join(FILES)}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3, done.stderr
    assert (
        "OSError: [Errno 27] File too large\nThe same command goes on from here.\n" in done.stdout
    )
    written = read_ids(folder)
    before = count_asked(local)
    assert main() == 0
    assert sorted(read_ids(folder), key=int) == [str(number) for number in range(30)]
    again = count_asked(local) - before
    assert not set(written) & set(again)


LINE = r"\d+/40 done, [\d.]+/s, (\d:\d\d:\d\d|\?) left, [\d,]+ tokens, \d+ cache hits, \d+ retries"


def test_without_a_terminal_a_line_is_shown_now_and_then(main, local, folder, monkeypatch, capfd):
    monkeypatch.setattr(progress, "EVERY", 0.05)
    write_prompts(folder, *map(str, range(40)))
    local.upstream_delay(0.05, times=40)
    local.fail(2003)
    local.fail(2016)
    main("--concurrency", "2", "--retry-for", "0")
    first, *lines = capfd.readouterr().err.splitlines()
    assert first == "40 prompts to ask, by this process"
    assert len(lines) > 3
    assert all(re.fullmatch(rf"{LINE}(, 1 Gateway\w+)*", line) for line in lines)
    assert re.match(r"40/40 done, .* 0:00:00 left", lines[-1])
    assert lines[-1].endswith(", 1 GatewayRateLimitedError, 1 GatewayGuardrailError")


def read_terminal(controller):
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the program has ended
        while chunk := os.read(controller, 4096):
            shown += chunk
    return shown.decode()


def test_tokens_cache_hits_and_retries_are_counted(main, local, folder, capfd):
    write_prompts(folder, "one")
    local.fail(2003)
    assert main("--retry-for", "30") == 0
    (tokens,) = re.findall(r" s, (\d+) tokens, 0 cache hits, 1 retries\n", capfd.readouterr().out)
    assert int(tokens) == read_lines(folder / "answers.jsonl")[0]["usage"]["total_tokens"]

    (folder / "answers.jsonl").unlink()
    assert main() == 0
    assert " s, 0 tokens, 1 cache hits, 0 retries\n" in capfd.readouterr().out


@POSIX
def test_on_a_terminal_one_line_is_redrawn_and_nothing_of_others_is_between(local, folder):
    write_prompts(folder, *map(str, range(40)))
    local.upstream_delay(0.1, times=40)
    controller, terminal = os.openpty()
    command = [sys.executable, str(SCRIPT), *FILES, "--concurrency", "4"]
    environment = {**os.environ, "CF_AIG_LOG": "debug", "TERM": "xterm"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True
    ) as process:
        os.close(terminal)
        # What is before it is the log of what comes before the work.
        _, begin, shown = read_terminal(controller).partition("\r40 prompts to ask")
        printed = process.stdout.read()
    os.close(controller)
    assert shown.endswith("\r\n")
    lines = f"{begin}{shown.rstrip()}".split("\r")[1:]
    assert lines[0].rstrip() == "40 prompts to ask, by this process"
    assert len(lines) > 3
    assert all(re.fullmatch(f"{LINE} *", line) for line in lines[1:])
    assert {len(line) for line in lines[:-1]} == {79}
    assert printed.splitlines()[2] == "Libraries have printed something: answers.jsonl.log"
    assert (folder / "answers.jsonl.log").read_text("utf-8").count("outcome=ok") == 40


@pytest.mark.parametrize(
    ("wanted", "left", "has_ray", "chosen"),
    [(None, 9_999, True, 1), (None, 10_000, False, 1), (None, 10_000, True, 6), (3, 1, True, 3)],
)
def test_ray_is_started_for_many_prompts_or_where_it_is_asked_for(
    monkeypatch, wanted, left, has_ray, chosen
):
    monkeypatch.setattr(bulk, "find_spec", lambda _: has_ray or None)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert bulk.choose_workers(wanted, left) == chosen


def test_workers_without_ray_are_refused(monkeypatch):
    monkeypatch.setattr(bulk, "find_spec", lambda _: None)
    with pytest.raises(bulk.InputError, match="needs Ray"):
        bulk.choose_workers(2, 1)


class Run:
    """A program, the example if it is given no other, in a session of its own."""

    def __init__(self, *options, program=(str(SCRIPT), *FILES), **environment):
        kept = {name: os.environ[name] for name in os.environ if not name.startswith("RAY_")}
        self.process = subprocess.Popen(
            [sys.executable, *program, *options],
            env={**kept, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.stdout.close()
        self.process.wait()
        self.wait_until_gone()

    def finish(self):
        """Return what it has printed, when nothing of it runs any more."""
        printed, _ = self.process.communicate(timeout=PATIENCE)
        self.wait_until_gone()
        return printed

    def wait_until_gone(self):
        """Ray's workers have process groups of their own, and end when its raylet has."""
        self.wait_until(lambda: not self.find_processes())

    def wait_until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    def wait_until_asked(self, local, count):
        enough = lambda: len(local.upstream_requests) >= count  # noqa: E731
        self.wait_until(lambda: enough() or self.process.poll() is not None)
        assert enough(), self.finish()

    def find_processes(self):
        """Return what still runs in its session: process ids and commands."""
        command = ["ps", "-A", "-o", "pid=,sess=,stat=,args="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        split = [line.split(None, 3) for line in listed.stdout.splitlines()]
        session = str(self.process.pid)
        return [(int(p), *rest) for p, sess, st, *rest in split if sess == session and st[0] != "Z"]

    def kill_a_worker(self):
        workers = [pid for pid, command in self.find_processes() if "ray::Asker" in command]
        os.kill(workers[0], signal.SIGKILL)


@POSIX
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_at_once_and_says_how_to_go_on(main, local, folder, stop):
    names = [str(number) for number in range(40)]
    write_prompts(folder, *names)
    local.upstream_delay(0.05, times=20)
    local.upstream_delay(600, times=20)
    with Run("--concurrency", "4") as run:
        run.wait_until_asked(local, 24)
        os.killpg(run.process.pid, stop)
        printed = run.finish()
    assert run.process.returncode == 130
    assert printed.endswith("\nInterrupted.\nThe same command goes on from here.\n")
    assert "Traceback" not in printed
    assert len(read_ids(folder)) == 20 == read_summary(printed)["answered now"]
    assert not (folder / "answers.jsonl.log").exists()


@POSIX
def test_killed_and_resumed_it_asks_nothing_again_that_was_written(main, local, folder):
    names = [f"row-{number}" for number in range(60)]
    write_prompts(folder, *names)
    local.upstream_delay(0.1, times=len(names))
    with Run("--concurrency", "4") as killed:
        killed.wait_until_asked(local, 25)
        killed.kill()
    written, before = read_ids(folder), count_asked(local)
    assert 20 <= len(written) < len(names)
    assert len(before.keys() - set(written)) <= 4

    assert main() == 0
    assert sorted(read_ids(folder)) == sorted(names)
    again = count_asked(local) - before
    assert not set(again) & set(written)
    assert set(count_asked(local)) == set(names)
    assert len(local.requests) <= len(names) + 4


@pytest.fixture
def scratch():
    """A short path: Ray's sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as path:
        yield {"RAY_TMPDIR": path}


@pytest.mark.packages
@POSIX
def test_with_ray_workers_and_a_run_are_killed_and_no_prompt_is_lost_or_paid_for_twice(
    local, folder, scratch
):
    pytest.importorskip("ray")
    names = [f"row-{number}" for number in range(90)]
    write_prompts(folder, *names)
    local.fail(2016)
    local.upstream_delay(0.2, times=len(names))
    options = ("--workers", "2", "--concurrency", "4", "--retry-for", "0")

    with Run(*options, **scratch) as killed:
        killed.wait_until_asked(local, 25)
        killed.kill()
    written, before = read_ids(folder), count_asked(local)
    assert len(before) - len(written) - 1 <= 8

    with Run(*options, **scratch) as resumed:
        resumed.wait_until_asked(local, 50)
        resumed.kill_a_worker()
        printed = resumed.finish()
    assert resumed.process.returncode == 1, printed
    answers, (blocked,) = (read_lines(folder / f"answers.jsonl{name}") for name in ("", ".errors"))
    assert (blocked["state"], blocked["error"]["code"]) == ("failed for good", 2016)
    assert sorted([*(answer["id"] for answer in answers), blocked["id"]]) == sorted(names)
    again = count_asked(local) - before
    assert not set(again) & set(written)
    assert len(local.requests) <= len(names) + 8 + 4
    assert count_paid(local) == Counter(set(names) - {blocked["id"]})
    logged = {log.id: log.event_id for log in local.logs}
    assert all(logged[answer["log_id"]] == answer["id"] for answer in answers)
    counts = read_summary(printed)
    assert counts.pop("answered before") + counts.pop("answered now") == 89
    assert counts == {"prompts": 90, "failed for good": 1, "to ask again": 0}


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
@POSIX
def test_a_task_of_ray_goes_through_the_gateway_under_run(local, folder, scratch):
    pytest.importorskip("ray")
    from mistral_cf_adapter._sdk import ROOT

    (folder / "app.py").write_text(TASK.format(module=ROOT))
    local.reply("Bonjour!")
    program = ("-m", "mistral_cf_adapter", "run", "--cache-ttl", "60", "app.py")
    with Run(program=program, **asking.RAY, **asking.LOCAL_RAY, **scratch) as run:
        printed = run.finish()
    assert printed.splitlines()[-1:] == ["Bonjour!"], printed
    (request,) = local.requests
    assert request.headers["cf-aig-cache-ttl"] == "60"
