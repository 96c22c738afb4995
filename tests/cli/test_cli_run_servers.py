"""Servers under `mistral-cf-adapter run`: their workers go through the gateway."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from run_programs import PYTHON, RUN, calling, environment

from mistral_cf_adapter.testing import LocalGateway

PATIENCE = 60
"""Seconds, for a server to answer or to end."""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="ends a group of processes")

ASGI = """
    import os
    from program import hello

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        text = f"{os.getpid()} {hello()}"
        headers = [(b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})
"""
WSGI = """
    import os
    from program import hello

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{os.getpid()} {hello()}".encode()]
"""


@pytest.fixture
def gateway():
    with LocalGateway() as gateway:
        yield gateway


@contextlib.contextmanager
def running(command, folder, settings):
    """Run a server in a group of its own, and end the whole group."""
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    except BaseException:
        print(log.read_text())
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def ask(port, process):
    """Return what the server says, once it listens: the id of its process, and Mistral's words."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as response:
                pid, text = response.read().decode().split(" ", 1)
                return int(pid), text
        except OSError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline
            time.sleep(0.1)


def end(process):
    """End a server as `docker stop` and supervisors do, and return its exit status."""
    process.terminate()
    return process.wait(PATIENCE)


def run_of(command):
    """Return `run` with a command of this environment's, as on PATH."""
    path = shutil.which(command, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"there is no command {command} in this environment")
    return [*RUN, "--cache-ttl", "60", path]


def is_marked(request):
    return request.headers["cf-aig-cache-ttl"] == "60"


@pytest.mark.every_sdk
@pytest.mark.parametrize("form", ["command", "module"])
def test_workers_of_uvicorn_go_through_the_gateway(program, tmp_path, gateway, form):
    program(calling(), "program.py")
    program(ASGI)
    gateway.reply("Bonjour!")
    port = free_port()
    command = (
        run_of("uvicorn") if form == "command" else [*RUN, "--cache-ttl", "60", "-m", "uvicorn"]
    )
    arguments = ["app:app", "--workers", "2", "--port", str(port)]
    with running([*command, *arguments], tmp_path, gateway.env()) as process:
        pid, text = ask(port, process)
        assert pid != process.pid
        assert text == "Bonjour!"
        assert [*map(is_marked, gateway.requests)] == [True]
        assert end(process) == 0


def test_a_reloaded_uvicorn_goes_through_the_gateway(program, tmp_path, gateway):
    program(calling(), "program.py")
    program(ASGI)
    port = free_port()
    arguments = ["app:app", "--reload", "--port", str(port)]
    with running([*run_of("uvicorn"), *arguments], tmp_path, gateway.env()) as process:
        first, _ = ask(port, process)
        time.sleep(0.1)  # the file must get a later time than it had
        program(ASGI.replace("getpid()}", "getpid()} reloaded"))
        deadline = time.monotonic() + PATIENCE
        while not (asked := ask(port, process))[1].startswith("reloaded"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert first not in (asked[0], process.pid)
        assert len(gateway.requests) >= 2
        assert all(map(is_marked, gateway.requests))


@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_workers_of_gunicorn_go_through_the_gateway(program, tmp_path, gateway, preload):
    pytest.importorskip("gunicorn")
    program(calling(), "program.py")
    program(WSGI)
    port = free_port()
    arguments = ["app:app", "--workers", "2", "--bind", f"127.0.0.1:{port}", *preload]
    with running([*run_of("gunicorn"), *arguments], tmp_path, gateway.env()) as process:
        pid, _ = ask(port, process)
        assert pid != process.pid
        assert [*map(is_marked, gateway.requests)] == [True]
        assert end(process) == 0


CELERY = """
    from celery import Celery
    from program import hello

    folders = dict.fromkeys(("data_folder_in", "data_folder_out"), "queue")
    app = Celery("app", broker="filesystem://", backend="file://results")
    app.conf.broker_transport_options = {**folders, "control_folder": "control"}

    @app.task
    def ask():
        return hello()

    if __name__ == "__main__":
        print(ask.delay().get(timeout=50))
"""


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_workers_of_celery_go_through_the_gateway(program, tmp_path, gateway, pool):
    pytest.importorskip("celery")
    program(calling(), "program.py")
    program(CELERY)
    for folder in ("queue", "results", "control"):
        (tmp_path / folder).mkdir()
    gateway.reply("Bonjour!")
    arguments = ["--app", "app", "worker", "--pool", pool, "--concurrency", "1"]
    with running([*run_of("celery"), *arguments], tmp_path, gateway.env()):
        asked = subprocess.run(
            [*PYTHON, "-c", "from app import ask; print(ask.delay().get(timeout=50))"],
            cwd=tmp_path,
            env=environment({}),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        assert asked.stdout == "Bonjour!\n"
        assert [*map(is_marked, gateway.requests)] == [True]
