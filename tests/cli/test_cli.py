"""The command line as a whole: its help, its flags, its mistakes, and how quickly it starts."""

import os
import subprocess
import sys
import urllib.request

import pytest

from mistral_cf_adapter import GatewaySettings, __version__
from mistral_cf_adapter._variables import env_names
from mistral_cf_adapter.cli import main
from mistral_cf_adapter.cli.commands import parse, split

MODULE = [sys.executable, "-m", "mistral_cf_adapter"]
SECRET = "cf-secret-0123456789"
SECRETS = {"token", "mistral_api_key", "access_client_secret", "access_token", "headers"}


def start(*command, **kwargs):
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **kwargs
    )


def test_the_version_is_told_without_loading_the_sdk_or_pydantic():
    code = (
        "import sys; from mistral_cf_adapter.cli import main; main(['--version']); "
        "print({'mistralai', 'pydantic', 'httpx', 'httpx2'} & set(sys.modules))"
    )
    done = start(sys.executable, "-c", code)
    assert done.stdout == f"mistral-cf-adapter {__version__}\nset()\n"


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["--version", "--version"]])
def test_every_spelling_of_version_works(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"mistral-cf-adapter {__version__}\n"


@pytest.mark.parametrize("command", [[], ["doctor"], ["run"], ["env"], ["serve"], ["reference"]])
def test_every_command_has_help_on_standard_output(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert out.startswith(" ".join(["usage: mistral-cf-adapter", *command]))
    assert err == ""


@pytest.mark.parametrize("command", ["doctor", "run", "env"])
@pytest.mark.parametrize("name", sorted(GatewaySettings.model_fields.keys() - SECRETS))
def test_every_setting_but_secrets_is_a_flag_with_its_own_help_text(command, name, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    described = " ".join((GatewaySettings.model_fields[name].description or "").split())
    assert f" --{name.replace('_', '-')}" in text
    # argparse breaks lines at hyphens too.
    assert described.replace(" ", "") in text.replace(" ", "")
    assert env_names(name)[0] in text


GIVEN = {
    "account_id": "acc",
    "gateway_id": "gw",
    "base_url": "https://ai.example.com",
    "providers": '{"api.eu.mistral.ai": "custom-eu"}',
    "cache_ttl": "60",
    "keepalive_expiry": "1.5",
    "metadata": '{"team": "a,b"}',
    "custom_cost": '{"per_token_in": 1e-8}',
    "backoff": "linear",
    "allowed_models": "openai/*,xai/*",
    "allowed_providers": '["openai"]',
}


def test_a_flag_means_what_the_keyword_means():
    flags = [f"--{name.replace('_', '-')}={text}" for name, text in GIVEN.items()]
    settings = parse(["doctor", *flags, "--skip-cache", "--no-speedups"]).settings()
    keywords = {**GIVEN, "providers": {"api.eu.mistral.ai": "custom-eu"}}
    assert settings == GatewaySettings(**keywords, skip_cache=True, speedups=False)


def test_a_flag_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "of-the-environment")
    assert parse(["env", "--account-id", "of-the-flag"]).settings().account_id == "of-the-flag"


def test_a_variable_named_like_a_command_is_no_command(monkeypatch):
    for name in ("run", "RUN", "env", "doctor", "version"):
        monkeypatch.setenv(name, "1")
    assert main([]) == 2


@pytest.mark.parametrize(
    ("typed", "ours", "theirs"),
    [
        ("run app.py --token x -m y", "run app.py", "--token x -m y"),
        ("run --cache-ttl 60 app.py -h", "run --cache-ttl 60 app.py", "-h"),
        ("run --cache-ttl=60 app.py", "run --cache-ttl=60 app.py", ""),
        ("run --byok app.py run", "run --byok app.py", "run"),
        ("run --no-speedups app.py", "run --no-speedups app.py", ""),
        ("run --metadata {} app.py x", "run --metadata {} app.py", "x"),
        ("run -m pkg.mod -m x", "run -m pkg.mod", "-m x"),
        ("run -mpkg.mod x", "run -mpkg.mod", "x"),
        ("run --module=pkg x", "run --module=pkg", "x"),
        ("run - x", "run -", "x"),
        ("run -- app.py -- x", "run app.py", "-- x"),
        ("run", "run", ""),
        ("doctor app.py --x", "doctor app.py --x", ""),
    ],
)
def test_what_follows_the_program_belongs_to_it(typed, ours, theirs):
    assert split(typed.split()) == (ours.split(), theirs.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor", "--tokn", SECRET],
        ["doctor", f"--tokn={SECRET}"],
        ["doctor", SECRET],
        ["--token", SECRET, "doctor"],
        ["env", "--for", SECRET],
        ["env", "--timeout", SECRET],
        ["doctor", "--timeout", SECRET],
        ["env", "--token", f"Bearer: {SECRET}", "--account-id", "acc"],
        ["env", "--account-id", f"{SECRET}/x"],
        ["env", "--base-url", f"https://me:{SECRET}@ai.example.com"],
        ["env", "--providers", SECRET, "--account-id", "acc"],
        ["env", "--backoff", SECRET, "--account-id", "acc"],
        ["serve", "--port", SECRET],
        ["run", "--token", SECRET],
        ["nothing-of-the-kind"],
        [],
    ],
)
def test_a_mistake_is_one_message_and_never_quotes_what_may_be_a_secret(arguments, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mistral-cf-adapter: ")
    assert SECRET not in err


def test_a_warning_about_the_settings_is_one_line():
    names = {"CLOUDFLARE_ACCOUNT_ID": "one", "CF_ACCOUNT_ID": "two", "CF_AIG_TOKEN": SECRET}
    done = start(*MODULE, "env", env={**os.environ, **names})
    assert done.returncode == 0
    assert done.stderr == (
        "mistral-cf-adapter: warning: CLOUDFLARE_ACCOUNT_ID and CF_ACCOUNT_ID differ; "
        "CLOUDFLARE_ACCOUNT_ID is used. Unset the other.\n"
    )


def test_serve_runs_a_gateway_until_it_is_interrupted():
    with subprocess.Popen(
        [*MODULE, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as served:
        try:
            url = served.stdout.readline().split()[-1]
            request = urllib.request.Request(
                f"{url}/mistral/v1/models",
                headers={
                    "cf-aig-authorization": "Bearer cf-test-token",
                    "authorization": "Bearer mistral-test-key",
                },
            )
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=30) as answer:
                assert answer.status == 200
        finally:
            served.terminate()


def test_reference_prints_the_file_without_its_comments(capsys):
    assert main(["reference"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# Reference of mistral_cf_adapter\n")
    assert "| `cache_ttl` |" in printed
    assert "<!--" not in printed


def test_serve_on_a_port_that_is_taken_says_so(capsys):
    from mistral_cf_adapter.testing import LocalGateway

    with LocalGateway() as gateway:
        port = gateway.origin.rpartition(":")[2]
        assert main(["serve", "--port", port]) == 1
    assert capsys.readouterr().err.startswith(f"mistral-cf-adapter: port {port}: ")


def test_serve_without_its_extra_says_how_to_install_it(tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('no', name='uvicorn')")
    inherited = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = start(*MODULE, "serve", "--port", "0", env=inherited)
    assert done.returncode == 2
    assert "pip install 'mistral-cf-adapter[testing]'" in done.stderr
    assert "Traceback" not in done.stderr


def without_reader(*command, **settings):
    """Run a command whose output has no reader; return its exit status and its complaints."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = subprocess.Popen(
            command, stdout=writing, stderr=subprocess.PIPE, text=True, env=os.environ | settings
        )
    finally:
        os.close(writing)
    _, complaints = process.communicate(timeout=60)
    return process.returncode, complaints


@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE is POSIX")
@pytest.mark.parametrize(
    "command", ["env", "env --for js", "doctor --offline", "-V", "serve --port 0"]
)
def test_output_without_a_reader_ends_quietly(command):
    assert without_reader(*MODULE, *command.split(), CLOUDFLARE_ACCOUNT_ID="acc") == (141, "")


@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE is POSIX")
@pytest.mark.parametrize("command", ["--help", "run --help"])
def test_help_without_a_reader_ends_quietly(command):
    assert without_reader(*MODULE, *command.split())[1] == ""


@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE is POSIX")
def test_output_of_a_program_without_a_reader_ends_as_with_python(tmp_path):
    path = tmp_path / "app.py"
    path.write_text("print('hello')")
    ours = without_reader(*MODULE, "run", str(path), CLOUDFLARE_ACCOUNT_ID="acc")
    assert ours == without_reader(sys.executable, str(path))


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_is_none_is_one_line(port, capsys):
    assert main(["serve", f"--port={port}"]) == 2
    assert capsys.readouterr().err == (
        f"mistral-cf-adapter: serve --port {port}: a port is 1 to 65535, or 0 for a free one\n"
    )


@pytest.mark.parametrize("timeout", ["nan", "inf", "-1", "0", "1e9"])
def test_a_timeout_that_is_none_is_one_line_that_blames_the_flag(timeout, capsys, monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc")
    assert main(["doctor", f"--timeout={timeout}"]) == 2
    complaint = capsys.readouterr().err.splitlines()
    assert complaint[0].startswith("mistral-cf-adapter: --timeout: Input should be ")
    assert complaint[1:] == ["See `mistral-cf-adapter doctor --help`."]


def test_a_misspelt_flag_is_one_line_with_the_right_one(capsys):
    assert main(["run", "--cachettl", "60", "app.py"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "mistral-cf-adapter: unrecognized arguments: --cachettl; did you mean --cache-ttl?",
        "See `mistral-cf-adapter run --help`.",
    ]


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--tokn", "; secrets are no flags: set CF_AIG_TOKEN"),
        ("--access-tokens", "; secrets are no flags: set CF_AIG_ACCESS_TOKEN"),
        ("--zzz", ""),
    ],
)
def test_no_flag_is_suggested_for_a_secret(flag, hint, capsys):
    assert main(["doctor", flag, "hunter2"]) == 2
    complaint = capsys.readouterr().err.splitlines()[0]
    assert complaint == f"mistral-cf-adapter: unrecognized arguments: {flag} ***{hint}"


def test_a_flag_before_the_command_is_no_command(capsys):
    assert main(["--cache-ttl", "60", "doctor"]) == 2
    complaint = capsys.readouterr().err
    assert "{doctor,run,env,serve,reference}" in complaint
    assert "flags of a command come after its name" in complaint


def test_a_message_does_not_mask_its_own_first_words(capsys):
    assert main(["doctor", "error"]) == 2
    assert capsys.readouterr().err.startswith("mistral-cf-adapter: unrecognized arguments: ***\n")
