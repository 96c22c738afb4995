"""What `mistral-cf-adapter run` takes: commands on PATH, and flags of Python itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_programs import LIMIT, PYTHON, RUN, SETTINGS, environment, start

from mistral_cf_adapter._sdk import ROOT
from mistral_cf_adapter.cli import programs
from mistral_cf_adapter.cli.commands import split
from mistral_cf_adapter.cli.python_flags import take_python_flags

HERE = "http://127.0.0.1:9/v1/acc/gw/mistral\n"
CLIENT = f"""
    from {ROOT} import Mistral
    print(Mistral(api_key="k").sdk_configuration.server_url)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="scripts with a first line are POSIX")


@pytest.fixture
def command(program, tmp_path, monkeypatch):
    """Write a command that is found on PATH, in a directory that is not the program's."""

    def write(source, name="hello"):
        path = Path(program(source, f"bin/{name}"))
        path.chmod(0o755)
        return str(path)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return write


FACTS = """
import os, sys
print(os.getpid(), sys.argv, sys.path[0], __name__, __file__)
"""
FIRST_LINES = {
    "path": f"#!{sys.executable}",
    "path with a flag": f"#!{sys.executable} -s",
    "env": "#!/usr/bin/env python",
    "env with flags": "#!/usr/bin/env -S python -s",
    "long path": f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''",
}


def started(*arguments, **kwargs):
    """Start, and return the process as well as what it printed."""
    process = subprocess.Popen(
        arguments, env=environment(SETTINGS), stdout=subprocess.PIPE, text=True, **kwargs
    )
    return process, process.communicate(timeout=LIMIT)[0]


@posix
@pytest.mark.parametrize("first", FIRST_LINES)
def test_a_command_of_this_python_runs_in_the_same_process(command, tmp_path, monkeypatch, first):
    path = command(FIRST_LINES[first] + "\n" + FACTS)
    folders = [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    process, printed = started(*RUN, "hello", "--cache-ttl", "x", cwd=tmp_path)
    expected = [path, "--cache-ttl", "x"]
    assert printed == f"{process.pid} {expected} {tmp_path / 'bin'} __main__ {path}\n"
    assert printed.split(" ", 1)[1] == started(path, *expected[1:])[1].split(" ", 1)[1]


@posix
def test_clients_of_a_command_go_through_the_gateway(command):
    command(f"#!{sys.executable}\n" + "\n".join(map(str.strip, CLIENT.splitlines())))
    assert start(*RUN, "hello").stdout == HERE


@posix
def test_another_program_takes_the_process_over_and_its_python_is_reached(command, program):
    path = program(CLIENT)
    command(f'#!/bin/sh\necho "$$ $1"\n"{sys.executable}" {path}\nexit 7\n')
    process, printed = started(*RUN, "hello", "a b")
    assert printed == f"{process.pid} a b\n{HERE}"
    assert process.returncode == 7


@posix
def test_a_command_of_another_python_runs_with_that_python(command, program, tmp_path):
    other = tmp_path / "other" / "python"
    other.parent.mkdir()
    other.write_text(f'#!/bin/sh\necho other\nexec "{sys.executable}" "$@"\n')
    other.chmod(0o755)
    source = "\n".join(map(str.strip, CLIENT.splitlines()))
    command(f"#!/bin/sh\n'''exec' '{other}' \"$0\" \"$@\"\n' '''\n{source}")
    assert start(*RUN, "hello").stdout == f"other\n{HERE}"


@posix
def test_without_children_another_program_is_refused(command):
    command("#!/bin/sh\necho started\n")
    ours = start(*RUN, "--no-children", "hello")
    assert (ours.stdout, ours.returncode) == ("", 2)
    assert "with --no-children, no Mistral client would go through the gateway" in ours.stderr


@posix
def test_a_program_that_the_system_cannot_run_is_one_line(command):
    path = command("\0 no program of any kind")
    ours = start(*RUN, "hello")
    assert ours.returncode == 126
    assert ours.stderr == f"mistral-cf-adapter: {path}: Exec format error\n"


@posix
def test_a_command_that_can_be_executed_and_not_read_is_no_script(command, monkeypatch):
    path = command("#!/bin/sh\necho hello\n")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(programs, "open", refuse, raising=False)
    assert programs.find_program("hello") == programs.Program(str(path), is_python=False)


@posix
def test_a_file_in_the_directory_wins_over_a_command(command, program, tmp_path):
    command("#!/bin/sh\necho command\n")
    program("print('file')", "hello")
    assert start(*RUN, "hello", cwd=tmp_path).stdout == "file\n"


@posix
def test_a_command_beside_python_is_found_without_an_activated_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    ours = start(*RUN, "uvicorn", "--version", cwd=tmp_path)
    assert ours.stdout.startswith("Running uvicorn"), ours.stderr


def test_opentelemetrys_command_is_to_stand_before_ours():
    ours = start(*RUN, "opentelemetry-instrument", "python", "app.py")
    assert ours.returncode == 2
    assert "write `opentelemetry-instrument mistral-cf-adapter run ...`" in ours.stderr


@posix
def test_settings_that_cannot_work_end_a_command_before_it_starts(command):
    command("#!/bin/sh\necho started\n")
    ours = start(*RUN, "hello", settings={**SETTINGS, "CF_AIG_CACHE_TTL": "5"})
    assert (ours.stdout, ours.returncode) == ("", 2)
    assert ours.stderr.startswith("mistral-cf-adapter: Gateway settings: CF_AIG_CACHE_TTL:")


def heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_another_program_as_it_does_without_us(command, number):
    command("#!/bin/sh\necho $$\nexec sleep 50\n")
    statuses = []
    for words in ([*RUN, "hello"], ["hello"]):
        process = subprocess.Popen(
            words,
            env=environment(SETTINGS),
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,  # noqa: PLW1509 - it may be ignored where tests run
        )
        try:
            assert int(process.stdout.readline()) == process.pid
            time.sleep(0.1)
            process.send_signal(number)
            process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        statuses.append(process.returncode)
    assert statuses == [-number, -number]


@pytest.mark.parametrize("name", ["python", "python3", "python3.13", "/usr/bin/python3"])
@pytest.mark.parametrize("rest", [["app.py"], ["-m", "app"], []])
def test_python_is_to_be_left_out(program, tmp_path, name, rest):
    program("print('started')")
    ours = start(*RUN, "--cache-ttl", "60", name, *rest, cwd=tmp_path)
    assert (ours.stdout, ours.returncode) == ("", 2)
    assert ours.stderr.startswith(f"mistral-cf-adapter: leave out {name}: `mistral-cf-adapter run")
    assert len(ours.stderr.splitlines()) == 1


def test_a_name_that_is_neither_file_nor_command_is_one_line(tmp_path):
    ours = start(*RUN, "nothing-of-the-kind", cwd=tmp_path)
    assert ours.returncode == 2
    assert ours.stderr == (
        f"mistral-cf-adapter: there is no file nothing-of-the-kind in {tmp_path}, and no command "
        "nothing-of-the-kind on PATH\n"
    )


@pytest.mark.parametrize(
    ("typed", "flags", "others"),
    [
        ("run -W error app.py", "-W error", "run app.py"),
        ("run -Werror app.py", "-Werror", "run app.py"),
        ("run -uW error app.py", "-uW error", "run app.py"),
        ("run -X dev -u -m app", "-X dev -u", "run -m app"),
        ("run --cache-ttl 60 -OO app.py", "-OO", "run --cache-ttl 60 app.py"),
        ("run -O --cache-key=-u app.py", "-O", "run --cache-key=-u app.py"),
        ("run -uBIE -", "-uBIE", "run -"),
        ("run app.py -u -W error", "", "run app.py"),
        ("run -m app -u", "", "run -m app"),
        ("run -h", "", "run -h"),
        ("doctor -u", "", "doctor -u"),
    ],
)
def test_flags_of_python_stand_before_the_program(typed, flags, others):
    ours, _ = split(typed.split())
    assert take_python_flags(ours) == (flags.split(), others.split())


SEEN = """
    import sys, warnings
    print(sys.argv, sys.flags, sys.warnoptions, sys._xoptions, sys.path[0], __debug__)
    print(sys.stdout.write_through, __file__)
    warnings.warn("a warning", DeprecationWarning)
"""


@pytest.mark.parametrize(
    "flags",
    [
        ["-W", "error"],
        ["-W", "error::DeprecationWarning", "-W", "ignore::UserWarning"],
        ["-uOO", "-X", "utf8", "-Wignore"],
        ["-X", "dev", "-bb"],
        ["-P", "-s"],
    ],
)
def test_a_program_gets_the_flags_of_python(program, flags):
    path = program(SEEN)
    plain = start(*PYTHON, *flags, path, "-W", "x")
    ours = start(*RUN, *flags, path, "-W", "x")
    assert (ours.stdout, ours.stderr) == (plain.stdout, plain.stderr)
    assert ours.returncode == plain.returncode


def test_flags_of_python_and_of_run_go_together(program, tmp_path):
    program(CLIENT.replace("print(", "import sys; print(sys.flags.optimize, "))
    ours = start(*RUN, "--cache-ttl", "60", "-O", "-m", "app", cwd=tmp_path)
    assert ours.stdout == f"1 {HERE}"


def test_a_restart_keeps_process_and_standard_input(program):
    path = program("import os, sys; print(os.getpid(), sys.stdin.read())")
    process = subprocess.Popen(
        [*RUN, "-u", path],
        env=environment(SETTINGS),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    printed, _ = process.communicate("words", timeout=LIMIT)
    assert printed == f"{process.pid} words\n"


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("-c", "run takes a file, `-m module`, or `-` for standard input, not -c"),
        ("-S", "run cannot pass on -S"),
        ("-uS", "run cannot pass on -S"),
        ("-i", "run cannot pass on -i"),
        ("-x", "run cannot pass on -x"),
    ],
)
def test_a_flag_of_python_that_cannot_be_passed_on_is_one_line(program, flag, text):
    ours = start(*RUN, flag, program("print('started')"))
    assert (ours.stdout, ours.returncode) == ("", 2)
    assert ours.stderr.startswith(f"mistral-cf-adapter: {text}")
    assert len(ours.stderr.splitlines()) == 1


def test_warnings_as_errors_do_not_end_run_over_its_settings(program):
    settings = {**SETTINGS, "CLOUDFLARE_AI_GATEWAY_TOKEN": "another-token-0123456789"}
    ours = start(*RUN, "-W", "error", program("print('started')"), settings=settings)
    assert ours.stdout == "started\n"
    assert ours.stderr.startswith("mistral-cf-adapter: warning: ")
    assert ours.returncode == 0
