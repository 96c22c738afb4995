"""`mistral-cf-adapter run`: a program runs as under Python, with its Mistral clients redirected."""

import os
import signal
import sys
import zipfile
from pathlib import Path

import pytest
from run_programs import PYTHON, RUN, SETTINGS, calling, start

from mistral_cf_adapter.testing import LocalGateway


def same(program, *arguments, **kwargs):
    """Run under Python and under `run`; return the latter's result after comparing both."""
    plain = start(*PYTHON, *program, *arguments, **kwargs)
    ours = start(*RUN, *program, *arguments, **kwargs)
    assert (ours.stdout, ours.stderr) == (plain.stdout, plain.stderr)
    assert ours.returncode == plain.returncode
    return ours


FACTS = """
    import sys
    main = sys.modules["__main__"]
    print(sys.argv, sys.path[0], __name__, __file__, __package__, type(__loader__).__name__)
    print(main.__dict__ is globals(), main.__spec__ and main.__spec__.name, __builtins__)
    print(sorted(globals()))
"""


def test_a_script_sees_what_it_sees_under_python(program):
    same([program(FACTS)], "--cache-ttl", "5", "--", "a b", "-m", "--help", "--token=x,y")


BARE = """
    try:
        from mistralai.client import Mistral
    except ImportError:
        from mistralai import Mistral
    print(type(Mistral(api_key="x").sdk_configuration).__name__)
    print(Mistral.__init__.__code__.co_filename)
"""


def test_with_the_switch_off_a_program_runs_as_it_is(program):
    same([program(BARE)], settings={"CF_AIG_ENABLED": "false"})
    headers = program(
        "from mistral_cf_adapter import gateway_headers; print(gateway_headers(skip_cache=True))"
    )
    for flags, settings in ((["--enabled", "false"], {}), ([], {"CF_AIG_ENABLED": "0"})):
        done = start(*RUN, *flags, headers, settings=settings)
        assert (done.returncode, done.stdout) == (0, "{}\n")
    wrong = start(*RUN, headers, settings={"CF_AIG_ENABLED": "flase"})
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "CF_AIG_ENABLED: 'flase' must be true, false or if-configured" in wrong.stderr


def test_a_module_sees_what_it_sees_under_python(program, tmp_path):
    program(FACTS, "package/module.py")
    program("", "package/__init__.py")
    same(["-m", "package.module"], "--offline", "-m", cwd=tmp_path)


def test_a_package_runs_its_main(program, tmp_path):
    program("", "package/__init__.py")
    program(FACTS, "package/__main__.py")
    same(["-m", "package"], "x", cwd=tmp_path)


def test_standard_input_runs_as_a_script():
    ours = same(["-"], "x", input="import sys; print(sys.argv, __name__, sys.path[0] == '')")
    assert ours.stdout == "['-', 'x'] __main__ True\n"


def test_a_directory_runs_its_main(program, tmp_path):
    program(FACTS, "folder/__main__.py")
    same([str(tmp_path / "folder")], "x")


def test_a_zip_file_runs_its_main(tmp_path):
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("helper.py", "NAME = 'helper'")
        file.writestr("__main__.py", "import helper, sys; print(helper.NAME, sys.argv, __name__)")
    assert same([str(archive)], "x").stdout.startswith("helper")


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a message')",
        "import sys; sys.exit()",
        "raise SystemExit(None)",
        "import os; os._exit(7)",
        "import atexit; atexit.register(print, 'bye'); raise SystemExit(4)",
    ],
)
def test_the_exit_status_is_the_programs_own(program, source):
    same([program(source)])


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    1 / 0\nf()",
        "this is no Python",
        "import nothing_of_the_kind",
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError('after')",
        "import sys\nsys.excepthook = lambda kind, error, trace: print(kind, trace.tb_lineno)\n1/0",
        "import threading\nthreading.Thread(target=lambda: 1 / 0, name='t').start()",
        "raise ExceptionGroup('several', [ValueError(1)])",
        "raise BaseException('base')",
    ],
)
def test_a_traceback_has_the_programs_frames_alone(program, source):
    same([program(source)])


def test_a_traceback_of_a_package_that_fails_on_import_has_no_frames_of_ours(program, tmp_path):
    program("1 / 0", "package/__init__.py")
    program("", "package/module.py")
    ours = start(*RUN, "-m", "package.module", cwd=tmp_path)
    assert "ZeroDivisionError" in ours.stderr
    assert ours.stderr.count('File "') == 1
    assert ours.returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="signals as exit statuses are POSIX")
def test_an_interrupt_ends_the_program_by_its_signal(program):
    path = program(
        """
        import os, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored where tests run
        os.kill(os.getpid(), signal.SIGINT)
        input()
        """
    )
    ours = same([path])
    assert ours.returncode == -signal.SIGINT
    shell = start("sh", "-c", '"$@"; echo "status $?"', "sh", *RUN, path)
    assert "status 130" in shell.stdout


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        (["missing.py"], 2, "can't open file"),
        (["missing.pyc"], 2, "can't open file"),
        (["-m", "nothing_of_the_kind"], 1, "No module named nothing_of_the_kind"),
        (["-m", "nothing_of_the_kind.below"], 1, "No module named nothing_of_the_kind.below"),
        (["-m", ".relative"], 1, "Relative module names not supported"),
        (["."], 1, "can't find '__main__' module"),
        ([], 2, "run needs a script"),
    ],
)
def test_a_program_that_is_not_there_is_one_line(tmp_path, target, status, text):
    ours = start(*RUN, *target, cwd=tmp_path)
    assert ours.returncode == status
    assert text in ours.stderr
    assert "Traceback" not in ours.stderr


def test_settings_that_cannot_work_are_one_message_before_the_program_starts(program):
    path = program("print('started')")
    ours = start(*RUN, path, settings={"CLOUDFLARE_ACCOUNT_ID": "acc", "CF_AIG_CACHE_TTL": "5"})
    assert (ours.returncode, ours.stdout) == (2, "")
    assert ours.stderr.startswith("mistral-cf-adapter: Gateway settings: CF_AIG_CACHE_TTL:")
    assert "Traceback" not in ours.stderr


def test_an_error_of_the_adapters_own_inside_the_program_is_the_programs(program):
    path = program("from mistral_cf_adapter import gateway_options; gateway_options(cache_ttl=1)")
    ours = start(*RUN, path)
    assert ours.returncode == 1
    assert ours.stderr.startswith("Traceback")


@pytest.mark.every_sdk
@pytest.mark.parametrize("form", ["script", "module"])
def test_a_program_that_knows_nothing_of_the_gateway_goes_through_it(program, tmp_path, form):
    program(calling())
    target = ["app.py"] if form == "script" else ["-m", "app"]
    with LocalGateway() as gateway:
        gateway.reply("Bonjour!")
        ours = start(*RUN, "--cache-ttl", "60", *target, settings=gateway.env(), cwd=tmp_path)
        assert (ours.stdout, ours.returncode) == ("Bonjour!\n", 0), ours.stderr
        (request,) = gateway.requests
        assert request.headers["cf-aig-cache-ttl"] == "60"
        assert request.headers["cf-aig-authorization"] == f"Bearer {gateway.token}"


def test_the_help_names_the_line_for_spawned_processes():
    text = start(*RUN, "--help").stdout
    assert "from mistral_cf_adapter import patch; patch()" in text
    assert "spawn" in text


def test_the_console_script_puts_the_programs_directory_in_place_of_its_own(program):
    command = Path(sys.executable).with_name("mistral-cf-adapter")
    if not command.exists():
        pytest.skip("the package is not installed with its command")
    path = program("import sys; print(sys.path)")
    ours = start(str(command), "run", path)
    assert ours.stdout == start(*PYTHON, path).stdout


def test_a_safe_path_stays_safe(program):
    path = program("import sys; print(sys.path)")
    plain = start(sys.executable, "-P", path, settings=SETTINGS)
    ours = start(sys.executable, "-P", "-m", "mistral_cf_adapter", "run", path)
    assert ours.stdout == plain.stdout
