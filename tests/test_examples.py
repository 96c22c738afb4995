"""The examples run as they are, without an account, and go to the gateway they are given."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import example_programs
import httpx
import pytest

from mistral_cf_adapter.testing import LocalGateway

LOCAL = re.compile(r"No \S+ or \S+: using a local gateway, http://127\.0\.0\.1:\d+/\S+\n")
LOG = r"log [0-9a-f-]{36}"


def needed(name):
    """Skip an example whose framework is not installed."""
    if name == "fastapi_service.py":
        pytest.importorskip("fastapi")


def offline(name, *arguments):
    """Run an example without an account; return what it printed."""
    needed(name)
    done = example_programs.run(name, *arguments)
    assert LOCAL.fullmatch(done.stderr), done.stderr
    assert done.returncode == 0
    return done.stdout


@contextmanager
def yours(**options):
    """A gateway that an example is given, as a user's own would be."""
    keys = {"production": "one-key", "staging": "another"}
    with LocalGateway(routes={"support": "m", "other": "m"}, stored_keys=keys, **options) as local:
        yield local


def test_streaming_tells_a_part_of_an_answer_from_a_whole_one():
    shown = offline("streaming.py", "Say", "hello")
    part, whole = shown.split("\n\n")
    assert part.startswith("Hello! It\n  AI Gateway: the stream ended before `data: [DONE]` (log ")
    assert re.search(LOG, part)
    assert re.fullmatch(rf"Hello! .*\n  complete\n  {LOG}\n  tokens: 2 in, \d+ out\n", whole)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the tests as well")
def test_streaming_ends_the_answer_at_ctrl_c_and_tells_its_log_id():
    with yours() as gateway, streaming(gateway) as process:
        assert process.stdout.read(5) == "Bonjo"
        process.send_signal(signal.SIGINT)
        rest, noise = process.communicate(timeout=60)
    assert (process.returncode, noise) == (0, "")
    assert re.fullmatch(rf"[^\n]*\n  stopped\n  {LOG}\n", rest)


@contextmanager
def streaming(gateway):
    """The streaming example, in the middle of an answer that takes very long."""
    gateway.reply_stream(["Bonjour"] * 1000)
    gateway.fault("slow_drip", delay=0.05, size=4096)
    # A program started in the background may have been told to ignore Ctrl-C, and so its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [sys.executable, "-X", "utf8", str(example_programs.EXAMPLES / "streaming.py")],
        env={**os.environ, **gateway.env()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            signal.signal(signal.SIGINT, before)


def test_tools_runs_what_the_model_asks_for_and_reads_its_answer_into_a_class():
    shown = offline("tools.py")
    assert 'high_water({"port": "Brest"}) -> 14:20\n' in shown
    assert "High water in Brest is at 14:20.\nTide(port='Brest', time='14:20')\n" in shown
    assert len(re.findall(rf"  200  {LOG}\n", shown)) == 3


def test_cost_control_pays_once_then_less_then_says_that_the_budget_is_spent():
    first, again, cheaper, spent = offline("cost_control.py").strip().split("\n\n")
    assert re.search(rf"mistral-large-latest: cache MISS, \d\d tokens to pay, {LOG}\n", first)
    assert re.search(rf"mistral-large-latest: cache HIT, 0 tokens to pay, {LOG}\n", again)
    assert first.splitlines()[-1] == again.splitlines()[-1]
    assert re.search(r"mistral-large-latest: .*2041.*\n  mistral-small-latest: cache MISS", cheaper)
    assert len(re.findall(r"latest: AI Gateway: Spend limit exceeded", spent)) == 2
    assert spent.endswith("The budget for today is spent; please come back tomorrow.")


def test_cost_control_sends_what_it_costs_and_for_whom():
    with yours() as gateway:
        example_programs.run("cost_control.py", **gateway.env())
    assert [dict(log.metadata) for log in gateway.logs] == [{"team": "search"}] * 4
    assert all(log.custom_cost["per_token_out"] == 0.0000012 for log in gateway.logs)
    assert [log.cached for log in gateway.logs] == [False, True, False, False]


def test_stored_keys_sends_no_key_and_says_which_aliases_there_are():
    shown = offline("stored_keys.py")
    assert shown.count("Happy to talk about the mistral wind!") == 2
    assert "No BYOK credential with alias 'no-such-key'; configured aliases: " in shown
    assert re.search(rf"\(2040, HTTP 400, {LOG}\)", shown)
    assert shown.endswith("Authorization in the requests that left: [None, None, None]\n")


def test_stored_keys_takes_the_aliases_it_is_told_and_needs_no_mistral_key():
    with yours() as gateway:
        variables = {**gateway.env(), "CF_AIG_BYOK": "true"}
        del variables["MISTRAL_API_KEY"]
        gateway.stored_keys["default"] = "a-third"
        done = example_programs.run("stored_keys.py", "production", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    keys = [request.headers["authorization"] for request in gateway.upstream_requests]
    assert keys == ["Bearer a-third", "Bearer one-key"]


@pytest.mark.packages
def test_dynamic_routes_says_which_step_and_model_answered():
    pytest.importorskip("openai")
    shown = offline("dynamic_routes.py")
    assert re.fullmatch(
        "Send me its number and I will look for it.\n"
        rf"  step 0: mistral-small-latest of mistral, {LOG}\n"
        r"With the openai package: Do you have its number\?\n"
        "  step 0: mistral-small-latest\n",
        shown,
    )


def test_dynamic_routes_explains_a_route_that_is_not_there():
    done = example_programs.run("dynamic_routes.py", "nowhere")
    assert done.returncode == 1
    assert "dynamic/nowhere: AI Gateway: No route 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.packages
def test_fastapi_service_names_the_user_on_every_log_and_explains_refusals():
    shown = offline("fastapi_service.py")
    answer = r'ada /ask 200\n{"answer":"A cold wind from the north-west.","log_id":"[0-9a-f-]{36}"}'
    assert re.match(answer, shown)
    streamed = 'grace /stream 200\ndata: "Hello"\n\ndata: " Grace"\n\nevent: done\n'
    assert streamed in shown
    assert "ada /ask 422\n" in shown
    assert "grace /stream 503\n" in shown
    assert re.findall(r"The gateway's log: (\d+) {'user': '(\w+)', 'path': '(\S+)'}", shown) == [
        ("200", "ada", "/ask"),
        ("200", "grace", "/stream"),
        ("424", "ada", "/ask"),
        ("429", "grace", "/stream"),
    ]


@pytest.fixture
def service(monkeypatch):
    """The FastAPI service behind a real server, its address, and the gateway it uses."""
    pytest.importorskip("fastapi")
    import uvicorn

    path = example_programs.EXAMPLES / "fastapi_service.py"
    spec = importlib.util.spec_from_file_location("fastapi_service", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with yours() as gateway:
        for name, value in gateway.env().items():
            monkeypatch.setenv(name, value)
        server = uvicorn.Server(uvicorn.Config(module.app, port=0, log_level="error"))
        listener = server.config.bind_socket()
        listener.listen()  # from here on a call waits for the thread, instead of being refused
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", gateway
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.packages
def test_fastapi_service_never_mixes_up_users_that_ask_at_once(service):
    address, gateway = service
    asked = [(f"user-{number}", path) for number in range(8) for path in ("/ask", "/stream")]

    def post(user, path):
        question = {"text": f"Hello from {user}"}
        return httpx.post(address + path, headers={"x-user": user}, json=question).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(post, *zip(*asked, strict=True))) == {200}
    logged = {(log.metadata["user"], log.metadata["path"]) for log in gateway.logs}
    assert logged == set(asked)
    for log, sent in zip(gateway.logs, gateway.upstream_requests, strict=True):
        assert sent.fields["messages"][0]["content"] == f"Hello from {log.metadata['user']}"


@pytest.mark.packages
def test_fastapi_service_marks_an_answer_that_ended_early(service):
    address, gateway = service
    delta = {"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}
    gateway.reply_stream([{"id": "1", "model": "m", "choices": [delta]}])
    answer = httpx.post(f"{address}/stream", json={"text": "Hello"})
    assert answer.text == 'data: "Hel"\n\nevent: error\ndata:\n\n'
    assert gateway.logs[-1].metadata["user"] == "anonymous"


@pytest.mark.packages
@pytest.mark.parametrize("path", ["/ask", "/stream"])
def test_fastapi_service_answers_502_where_the_gateway_cannot_be_reached(service, path):
    address, gateway = service
    with gateway.fault("refuse"):
        answer = httpx.post(address + path, json={"text": "Hello"})
    assert (answer.status_code, answer.json()["log_id"]) == (502, None)


@pytest.mark.packages
@pytest.mark.parametrize(("code", "status"), [(2003, 429), (2041, 503), (2017, 422), (2009, 502)])
@pytest.mark.parametrize("path", ["/ask", "/stream"])
def test_fastapi_service_turns_refusals_into_statuses(service, path, code, status):
    address, gateway = service
    gateway.fail(code)
    answer = httpx.post(address + path, json={"text": "Hello"})
    assert answer.status_code == status
    assert set(answer.json()) == {"detail", "log_id"}


PATHS = {
    "streaming.py": {"mistral"},
    "fastapi_service.py": {"mistral"},
    "tools.py": {"mistral"},
    "cost_control.py": {"mistral"},
    "stored_keys.py": {"mistral"},
    "dynamic_routes.py": {"compat"},
}


@pytest.mark.every_sdk
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.packages] * name.startswith("fastapi"))
        for name in PATHS
    ],
)
def test_every_example_goes_to_the_gateway_that_the_environment_names(name):
    needed(name)
    with yours() as gateway:
        done = example_programs.run(name, **gateway.env())
    assert (done.returncode, done.stderr) == (0, "")
    assert {request.path.split("/")[4] for request in gateway.requests} == PATHS[name]
    assert {request.headers["cf-aig-authorization"] for request in gateway.requests} == {
        f"Bearer {gateway.token}"
    }
