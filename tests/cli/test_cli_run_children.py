"""`mistral-cf-adapter run` reaches the Python processes that a program starts."""

import json
import os
import sys
import textwrap
from pathlib import Path

import pytest
from run_programs import PYTHON, RUN, SETTINGS, calling, start

from mistral_cf_adapter._sdk import ROOT
from mistral_cf_adapter.testing import LocalGateway

KEY = "mistral-test-key"

# Each starts the program's hello() in another process and prints what that printed or returned.
WAYS = {
    "subprocess": """
        import subprocess, sys
        subprocess.run([sys.executable, "app.py"], check=True)
    """,
    "subprocess of a module": """
        import subprocess, sys
        subprocess.run([sys.executable, "-m", "app"], check=True)
    """,
    "subprocess of a subprocess": """
        import subprocess, sys
        code = "import subprocess, sys; subprocess.run([sys.executable, 'app.py'], check=True)"
        subprocess.run([sys.executable, "-c", code], check=True)
    """,
    "subprocess of a shell": """
        import os, sys
        sys.exit(os.waitstatus_to_exitcode(os.system(f"'{sys.executable}' app.py")))
    """,
    "exec": """
        import os, sys
        os.execv(sys.executable, [sys.executable, "app.py"])
    """,
    "spawn": "pool('spawn')",
    "forkserver": "pool('forkserver')",
    "fork": "pool('fork')",
}
STARTER = """
    import multiprocessing, sys
    from concurrent.futures import ProcessPoolExecutor
    from app import hello

    def pool(method):
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as processes:
            print(processes.submit(hello).result(timeout=50))

    if __name__ == "__main__":
"""


def starter(way):
    lines = [line.strip() for line in WAYS[way].strip().splitlines()]
    return STARTER + "".join(f"        {line}\n" for line in lines)


@pytest.mark.every_sdk
@pytest.mark.skipif(os.name != "posix", reason="fork and exec are POSIX")
@pytest.mark.parametrize("way", WAYS)
def test_a_process_goes_through_the_gateway_with_the_flags_of_run(program, tmp_path, way):
    program(calling())
    path = program(starter(way), "starter.py")
    with LocalGateway() as gateway:
        gateway.reply("Bonjour!")
        ours = start(*RUN, "--cache-ttl", "60", path, settings=gateway.env(), cwd=tmp_path)
        assert (ours.stdout, ours.stderr, ours.returncode) == ("Bonjour!\n", "", 0)
        (request,) = gateway.requests
        assert request.headers["cf-aig-cache-ttl"] == "60"
        assert request.headers["cf-aig-authorization"] == f"Bearer {gateway.token}"


# Run in a child; each prints where its clients go.
CLIENTS = f"""
    from {ROOT} import Mistral
    from {ROOT}.sdk import Mistral as OfTheModule
    def server(kind=Mistral):
        return kind(api_key="{KEY}").sdk_configuration.server_url
"""
HERE = "http://127.0.0.1:9/v1/acc/gw/mistral"
ELSEWHERE = "http://127.0.0.1:9/v1/acc/other/mistral"
SETTINGS_ELSEWHERE = "GatewaySettings(base_url='http://127.0.0.1:9/v1/acc/other')"
FORMS = {
    "a client": ("print(server())", [HERE]),
    "a client of the module": ("print(server(OfTheModule))", [HERE]),
    "a client of a subclass": (
        """
        class Mine(Mistral):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
        print(server(Mine), server())
        """,
        [HERE, HERE],
    ),
    "patch() as well": (
        "from mistral_cf_adapter import patch; patch(); print(server(), server())",
        [HERE, HERE],
    ),
    "patch() as well, after a client": (
        """
        print(server())
        from mistral_cf_adapter import patch; patch(); print(server())
        """,
        [HERE, HERE],
    ),
    "patch() to elsewhere for a while": (
        f"""
        import warnings
        warnings.simplefilter("ignore")  # patch() says that clients change their gateway
        from mistral_cf_adapter import GatewaySettings, patch
        with patch(settings={SETTINGS_ELSEWHERE}):
            print(server())
        print(server())
        """,
        [ELSEWHERE, HERE],
    ),
    "make_client() to elsewhere": (
        f"""
        from mistral_cf_adapter import GatewaySettings, make_client
        client = make_client({SETTINGS_ELSEWHERE})
        print(client.sdk_configuration.server_url, server())
        """,
        [ELSEWHERE, HERE],
    ),
    "errors of the adapter's": (
        "from mistral_cf_adapter import GatewayError, capture; print(server())",
        [HERE],
    ),
    "a class that another library wrapped": (
        """
        original = Mistral.__init__
        def __init__(self, *args, **kwargs):
            print("wrapped")
            original(self, *args, **kwargs)
        Mistral.__init__ = __init__
        print(server())
        print(server())
        """,
        ["wrapped", HERE, "wrapped", HERE],
    ),
    "a search for the module first": (
        f"""
        import importlib.util
        spec = importlib.util.find_spec("{ROOT}.sdk")
        print(type(spec.loader).__name__, server())
        """,
        ["SourceFileLoader", HERE],
    ),
    "a lazy import of a second copy": (
        f"""
        import importlib.util, sys
        first = Mistral
        for name in [name for name in sys.modules if name.startswith("mistralai")]:
            del sys.modules[name]
        spec = importlib.util.find_spec("{ROOT}")
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = sys.modules["{ROOT}"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        print(server(module.Mistral), server(first))
        """,
        [HERE, "None"],  # as with patch(), for a class that is no longer the SDK's
    ),
}


RUNS_CHILD = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, 'child.py']))"


def in_child(program, tmp_path, source, *flags, settings=SETTINGS):
    """Run a program in a subprocess of a program under `run`."""
    program(source, "child.py")
    return start(*RUN, *flags, program(RUNS_CHILD), settings=settings, cwd=tmp_path)


@pytest.mark.every_sdk
@pytest.mark.parametrize("form", FORMS)
def test_whatever_a_process_does_its_clients_are_redirected_once(program, tmp_path, form):
    source, expected = FORMS[form]
    ours = in_child(program, tmp_path, textwrap.dedent(CLIENTS) + textwrap.dedent(source))
    assert (ours.stdout.split(), ours.stderr) == (expected, "")


@pytest.mark.every_sdk
def test_threads_that_import_the_sdk_and_the_adapter_at_once_are_all_redirected(program, tmp_path):
    ours = in_child(
        program,
        tmp_path,
        f"""
        import sys, threading
        sys.setswitchinterval(1e-5)
        gate = threading.Barrier(9)
        servers = []

        def of_the_sdk():
            gate.wait()
            from {ROOT} import Mistral
            servers.append(Mistral(api_key="{KEY}").sdk_configuration.server_url)

        def of_the_adapter():
            gate.wait()
            from mistral_cf_adapter import GatewayError, make_client
            servers.append(make_client().sdk_configuration.server_url)

        threads = [threading.Thread(target=target, daemon=True)
                   for target in (of_the_sdk, of_the_adapter) * 4]
        [thread.start() for thread in threads]
        gate.wait()
        [thread.join(30) for thread in threads]
        print(len(servers), *set(servers))
        """,
    )
    assert (ours.stdout, ours.stderr) == (f"8 {HERE}\n", "")


def test_clients_that_threads_build_while_patch_is_called_are_all_redirected(program, tmp_path):
    ours = in_child(
        program,
        tmp_path,
        f"""
        import sys, threading, time
        from {ROOT} import Mistral
        sys.setswitchinterval(1e-5)
        servers = []

        def build():
            servers.append(Mistral(api_key="{KEY}").sdk_configuration.server_url)

        threads = [threading.Thread(target=build, daemon=True) for _ in range(40)]
        threads[0].start()
        for thread in threads[1:]:
            time.sleep(0.01)
            thread.start()
        [thread.join(50) for thread in threads]
        print(len(servers), *set(servers))
        """,
    )
    assert (ours.stdout, ours.stderr) == (f"40 {HERE}\n", "")


SEEN = """
    import importlib.util, os, sys
    print(sys.argv, sys.path, sys.flags, sys.orig_argv[1:])
    print(sorted(sys.modules))
    spec = importlib.util.find_spec("sitecustomize")
    print(sys.modules.get("sitecustomize"), spec and spec.origin)
    print([name for name in os.environ if name.startswith(("CF_", "MISTRAL_"))])
    import nothing_of_the_kind
"""


THEIRS = "import sys; print(__name__, __file__, sys.path, file=sys.stderr)"


@pytest.mark.parametrize("theirs", [None, THEIRS, "1 / 0"])
def test_a_process_sees_what_it_sees_below_python(program, tmp_path, theirs):
    settings = {**SETTINGS, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    if theirs is not None:
        folder = Path(program(theirs, "theirs/sitecustomize.py")).parent
        settings["PYTHONPATH"] = f"{folder}{os.pathsep}{settings['PYTHONPATH']}"
    program(SEEN, "child.py")
    path = program(RUNS_CHILD)
    plain = start(*PYTHON, path, settings=settings, cwd=tmp_path)
    ours = start(*RUN, path, settings=settings, cwd=tmp_path)
    assert plain.returncode == 1
    assert (ours.stdout, ours.stderr) == (plain.stdout, plain.stderr)
    assert ours.returncode == plain.returncode


# As OpenTelemetry's does, which imports no sitecustomize behind it.
PUTS_ITSELF_FIRST = """
    import os
    folder = os.path.dirname(__file__)
    paths = os.environ["PYTHONPATH"].split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *(p for p in paths if p != folder)])
"""


def test_a_sitecustomize_that_puts_itself_first_does_not_keep_processes_from_us(program, tmp_path):
    folder = Path(program(PUTS_ITSELF_FIRST, "theirs/sitecustomize.py")).parent
    paths = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    program(calling())
    path = program(starter("subprocess of a subprocess"), "starter.py")
    with LocalGateway() as gateway:
        settings = {**gateway.env(), "PYTHONPATH": paths}
        ours = start(*RUN, path, settings=settings, cwd=tmp_path)
        assert (ours.stderr, ours.returncode) == ("", 0)
        assert len(gateway.requests) == 1


@pytest.mark.parametrize("flag", ["-S", "-E", "-I"])
def test_a_process_that_ignores_the_environment_is_not_reached_and_not_broken(program, flag):
    path = program(
        f"""
        import subprocess, sys
        sys.exit(subprocess.call([sys.executable, {flag!r}, "-c", "print('well')"]))
        """
    )
    ours = start(*RUN, path)
    assert (ours.stdout, ours.stderr, ours.returncode) == ("well\n", "", 0)


def test_an_environment_without_the_adapter_is_said_when_the_sdk_is_imported(program, tmp_path):
    ours = in_child(
        program,
        tmp_path,
        f"""
        import sys
        sys.modules["mistral_cf_adapter"] = None  # as where it is not installed
        print("well")
        from {ROOT} import Mistral
        print(Mistral(api_key="{KEY}").sdk_configuration.server_url)
        """,
    )
    assert ours.stdout.split() == ["well", "None"]
    assert ours.stderr.startswith(f"mistral-cf-adapter: warning: {sys.executable} has no mistral_")
    assert len(ours.stderr.splitlines()) == 1


@pytest.mark.every_sdk
@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("CF_AIG_CACHE_TTL", "5", "Gateway settings: CF_AIG_CACHE_TTL"),
        ("CF_AIG_RUN_FLAGS", "{", "CF_AIG_RUN_FLAGS is not as `mistral-cf-adapter run` set it"),
    ],
)
def test_settings_that_cannot_work_in_a_process_end_its_use_of_mistral(
    program, tmp_path, variable, value, complaint
):
    program(
        f"""
        from {ROOT} import Mistral
        print("imported")
        for _ in range(2):
            try:
                Mistral(api_key="{KEY}")
            except ValueError as error:
                print(type(error).__name__)
        Mistral(api_key="{KEY}")
        """,
        "child.py",
    )
    path = program(
        f"""
        import os, subprocess, sys
        os.environ["{variable}"] = "{value}"
        sys.exit(subprocess.call([sys.executable, "child.py"]))
        """
    )
    ours = start(*RUN, path, cwd=tmp_path)
    assert ours.stdout.split() == ["imported", "GatewayConfigError", "GatewayConfigError"]
    assert f"mistral_cf_adapter.GatewayConfigError: {complaint}" in ours.stderr
    assert ours.stderr.endswith("A program under `mistral-cf-adapter run` started this process.\n")
    assert KEY not in ours.stderr.replace(f'Mistral(api_key="{KEY}")', "")
    assert SETTINGS["CF_AIG_TOKEN"] not in ours.stderr
    assert ours.returncode == 1


PRINTS_ENVIRONMENT = """
    import json, os
    print(json.dumps([os.environ.get(name) for name in
                      ("PYTHONPATH", "CF_AIG_RUN_FLAGS", "CF_AIG_ENV_FILE")]))
"""


def paths_and_flags(program, *flags, settings=SETTINGS, **kwargs):
    path = program(PRINTS_ENVIRONMENT, "prints.py")
    ours = start(*RUN, *flags, path, settings=settings, **kwargs)
    assert (ours.stderr, ours.returncode) == ("", 0)
    paths, *rest = json.loads(ours.stdout)
    return (paths or "").split(os.pathsep), *rest


def test_the_environment_has_one_folder_more_and_the_flags_and_no_secret(program):
    before = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    (folder, *paths), flags, _ = paths_and_flags(program, "--cache-ttl", "60", "--byok")
    assert paths == before
    assert [path.name for path in Path(folder).glob("*.py")] == ["sitecustomize.py"]
    assert json.loads(flags) == {"cache_ttl": "60", "byok": True}
    assert paths_and_flags(program)[1] is None


def test_a_path_of_the_programs_stays_behind_ours(program, tmp_path):
    given = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    (_, *paths), *_ = paths_and_flags(program, settings={**SETTINGS, "PYTHONPATH": given})
    assert os.pathsep.join(paths) == given


def test_without_children_the_environment_stays_as_it_is(program):
    paths, flags, _ = paths_and_flags(program, "--cache-ttl", "60", "--no-children")
    assert os.pathsep.join(paths) == os.environ.get("PYTHONPATH", "")
    assert flags is None


@pytest.mark.parametrize("reached", [True, False])
def test_without_children_a_process_is_left_alone(program, tmp_path, reached):
    source = f"from {ROOT} import Mistral; print(Mistral(api_key='k').sdk_configuration.server_url)"
    ours = in_child(program, tmp_path, source, "--children" if reached else "--no-children")
    assert ours.stdout == f"{HERE if reached else None}\n"


def test_a_file_of_settings_is_found_from_another_directory(program, tmp_path):
    program("CF_AIG_BASE_URL=http://127.0.0.1:9/v1/acc/gw", "settings.env")
    (tmp_path / "below").mkdir()
    program(
        f"from {ROOT} import Mistral; print(Mistral(api_key='k').sdk_configuration.server_url)",
        "child.py",
    )
    path = program(
        """
        import subprocess, sys
        sys.exit(subprocess.call([sys.executable, "../child.py"], cwd="below"))
        """
    )
    settings = {"CF_AIG_ENV_FILE": "settings.env"}
    ours = start(*RUN, path, settings=settings, cwd=tmp_path)
    assert (ours.stdout, ours.stderr) == (f"{HERE}\n", "")


NESTED = """
    import subprocess, sys
    sys.exit(subprocess.call([sys.executable, "-m", "mistral_cf_adapter", *sys.argv[1:]]))
"""


def test_a_run_below_another_takes_its_own_flags_alone(program, tmp_path):
    program(calling())
    path = program(NESTED, "nested.py")
    with LocalGateway() as gateway:
        gateway.reply("Bonjour!")
        ours = start(
            *RUN,
            *("--cache-ttl", "60", path),
            *("run", "--skip-cache", "app.py"),
            settings=gateway.env(),
            cwd=tmp_path,
        )
        assert (ours.stdout, ours.stderr) == ("Bonjour!\n", "")
        (request,) = gateway.requests
        assert request.headers["cf-aig-skip-cache"] == "true"
        assert "cf-aig-cache-ttl" not in request.headers


def test_the_doctor_below_run_says_that_processes_are_reached(program):
    settings = {**SETTINGS, "MISTRAL_API_KEY": KEY}
    flags = ("--cache-ttl", "60", program(NESTED, "nested.py"), "doctor", "--offline", "--json")
    ours = start(*RUN, *flags, settings=settings)
    report = json.loads(ours.stdout)
    assert report["children"].endswith("processes that a program starts are patched too.")
    assert not [note for note in report["notes"] if "CF_AIG_RUN_FLAGS" in note]
    assert ours.returncode == 0


def test_the_doctor_says_that_a_python_without_environment_reaches_less():
    command = [sys.executable, "-E", "-m", "mistral_cf_adapter", "doctor", "--offline", "-v"]
    ours = start(*command, cwd=Path(__file__).parents[2])
    assert "not all processes that a program starts are patched: Python was" in ours.stdout


def test_a_python_without_environment_is_warned_of_what_is_not_reached(program):
    path = program("print('well')")
    command = [sys.executable, "-E", "-m", "mistral_cf_adapter", "run"]
    for flags, lines in (([], 1), (["--no-children"], 0)):
        ours = start(*command, *flags, path, cwd=Path(__file__).parents[2])
        assert ours.stdout == "well\n"
        assert len(ours.stderr.splitlines()) == lines
        assert ours.stderr.startswith("mistral-cf-adapter: warning: " if lines else "")


@pytest.mark.parametrize("flags", [["--enabled", "false"], ["--enabled", "if-configured"]])
@pytest.mark.parametrize("children", [[], ["--no-children"]])
def test_no_header_for_the_gateway_reaches_mistral_while_run_is_off(
    program, tmp_path, flags, children
):
    path = program(
        """
        import subprocess, sys
        from mistral_cf_adapter import gateway_headers

        print(gateway_headers(skip_cache=True), flush=True)
        if len(sys.argv) == 1:
            subprocess.run([sys.executable, sys.argv[0], "in a child"], check=True)
        """
    )
    ours = start(*RUN, *flags, *children, path, settings={}, cwd=tmp_path)
    assert (ours.stdout, ours.stderr) == ("{}\n{}\n", "")
