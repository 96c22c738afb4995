"""What `doctor` prints: the verdict first, on a terminal in colour and at its width."""

import fcntl
import json
import os
import pty
import struct
import sys
import termios

import doctor_transcripts
import pytest

from mistral_cf_adapter import Problem
from mistral_cf_adapter._diagnosis._findings import Diagnosis
from mistral_cf_adapter.cli import main
from mistral_cf_adapter.cli.page import Page, open_page
from mistral_cf_adapter.cli.report import Report, write_report
from mistral_cf_adapter.testing import LocalGateway

ESCAPE = "\x1b"
DOCTOR = [sys.executable, "-m", "mistral_cf_adapter", "doctor"]
OWN = ("CF_", "CLOUDFLARE_", "MISTRAL_", "SSL_", "NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS")


@pytest.fixture(scope="module")
def local():
    with LocalGateway(token="cf-token-0123456789", mistral_api_key="mistral-key-0123456789") as it:
        yield it


def on_terminal(*arguments, width=80, **variables):
    """Run the doctor on a pseudo terminal; return its exit status and the lines it prints."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(OWN)}
    process, terminal = pty.fork()
    if process == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        os.execve(sys.executable, [*DOCTOR, *arguments], kept | {"TERM": "xterm"} | variables)
    output = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux says so when the process has ended
            break
        if not data:
            break
        output += data
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), output.decode().splitlines()


def plain(line):
    """Return a line as it is seen, without its colours."""
    first, *rest = line.split(ESCAPE + "[")
    return first + "".join(part.partition("m")[2] for part in rest)


FLAGS = (
    *("--skip-cache", "--collect-log", "--no-collect-log-payload", "--wholesale", "--otel-spans"),
    *("--cache-ttl", "300", "--cache-key", "k" * 300, "--event-id", "my event", "--log", "info"),
    *("--max-attempts", "3", "--retry-delay", "100", "--backoff", "linear"),
    *("--metadata", json.dumps({"team": "search and discovery", "app": "a long name " * 9})),
)


@pytest.mark.parametrize("flags", [(), FLAGS], ids=["few", "many"])
@pytest.mark.parametrize("width", [80, 120])
def test_all_is_well_in_fifteen_lines_with_the_verdict_first(local, flags, width):
    status, lines = on_terminal(*flags, width=width, **local.env())
    assert (status, len(lines) <= 15) == (0, True)
    assert lines[0].startswith(f"{ESCAPE}[32m\u2713 Ready: calls go through {local.url}/mistral.")
    assert max(map(len, map(plain, lines))) <= width


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("arguments", [(), ("-v",), ("-v", *FLAGS), ("--cache-ttl", "5")])
def test_no_line_is_wider_than_the_terminal(local, width, arguments):
    _, lines = on_terminal(*arguments, width=width, **local.env())
    assert max(map(len, map(plain, lines))) <= width


def test_verbose_shows_a_long_value_in_full_on_several_lines(local):
    flags = ("--cache-key", "0123456789" * 12)
    _, short = on_terminal("--offline", *flags, **local.env())
    (cut,) = [line.split() for line in short if "cache_key" in line]
    assert (cut[1][:10], cut[1][-3:]) == ("0123456789", "...")
    _, lines = on_terminal("--offline", "-v", *flags, **local.env())
    start = next(number for number, line in enumerate(lines) if "cache_key" in line)
    cells = "".join(
        line.replace("cache_key", "").replace("--cache-key", "").strip()
        for line in lines[start : start + 4]
    )
    assert "0123456789" * 12 in cells


@pytest.mark.parametrize(
    ("variables", "coloured", "marked"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, True),
    ],
)
def test_colours_and_ticks_of_a_terminal(local, variables, coloured, marked):
    _, lines = on_terminal("--offline", **local.env(), **variables)
    text = "\n".join(lines)
    assert (ESCAPE in text) is coloured
    assert ("\u2713" in text) is marked


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"COLUMNS": "40"}, False)],
)
def test_a_pipe_gets_plain_lines_that_are_not_wrapped(local, variables, coloured):
    _, text = doctor_transcripts.doctor("--offline", **local.env(), **variables)
    assert (ESCAPE in text) is coloured
    assert ("\u2713" in text) is coloured
    assert plain(text.splitlines()[0]).removeprefix("\u2713 ").startswith("Not tried: ")
    assert "have no error. No call was made." in text.splitlines()[0]
    assert "\n  token  cf-t...89  CF_AIG_TOKEN\n" in text


def test_a_tick_that_the_encoding_has_not_is_left_out(local):
    _, lines = on_terminal("--offline", **local.env(), PYTHONIOENCODING="ascii")
    assert plain(lines[0]).startswith("Not tried: ")
    assert "\\u" not in "".join(lines)


def test_every_problem_has_its_own_next_step(local):
    variables = {**local.env(), "MISTRAL_API_KEY": "", "CF_AIG_ENABLED": "maybe"}
    status, text = doctor_transcripts.doctor("--cache-ttl", "5", **variables)
    lines = text.splitlines()
    assert (status, lines[0]) == (1, "3 problems:")
    numbered = [line for line in lines if line[:2] in ("1.", "2.", "3.")]
    assert numbered[0].startswith("1. --cache-ttl: '5' is out of range: must be from 60")
    assert numbered[1].startswith("2. CF_AIG_ENABLED: 'maybe' must be true, false or if-configured")
    assert numbered[2] == "3. There is no Mistral key to send. (no_key)"
    assert [line.partition("Next: ")[2].split()[:2] for line in lines if "Next: " in line] == [
        ["Correct", "--cache-ttl,"],
        ["Correct", "CF_AIG_ENABLED,"],
        ["Set", "MISTRAL_API_KEY,"],
    ]


def test_what_is_at_its_default_is_shown_with_verbose_alone(local):
    _, text = doctor_transcripts.doctor("--offline", "--max-attempts", "3", **local.env())
    settings = text.partition("\nSet\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in settings] == [
        *("token", "mistral_api_key", "base_url", "max_attempts"),
    ]
    assert settings[-1].endswith("  3  --max-attempts")
    for flag in ("-v", "--verbose"):
        _, text = doctor_transcripts.doctor("--offline", flag, **local.env())
        assert "\n  provider  mistral  default\n" in text
        assert "\n  not set: account_id, " in text
        assert "\nVersions\n  mistral-cf-adapter  " in text


def test_the_json_is_complete_and_has_every_problem(local, monkeypatch, capsys):
    for name, text in local.env().items():
        monkeypatch.setenv(name, text)
    assert main(["doctor", "--json", "--cache-ttl", "5", "--max-attempts", "9"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [problem["name"] for problem in found["problems"]] == ["configuration"] * 2
    first = found["problems"][0]
    assert found["problem"] == {
        "code": first["name"],
        "cause": first["message"],
        "next_step": first["advice"],
    }
    assert {*Report.__dataclass_fields__} <= found.keys()
    assert {"problems", "notes", "summary"} <= {*Diagnosis.__dataclass_fields__}


def test_a_flag_that_is_out_of_range_is_named_as_a_flag_by_every_command(capsys):
    for command in (["doctor", "--offline"], ["env"], ["run"]):
        script = ["app.py"] if command == ["run"] else []
        assert main([*command, "--account-id", "acc", "--cache-ttl", "5", *script]) in (1, 2)
        out, err = capsys.readouterr()
        assert "--cache-ttl: '5' is out of range" in out + err or "no such file" in err
        assert " cache_ttl: " not in out + err


def test_rows_are_in_columns_on_a_terminal_alone():
    rows = [("a", "1", "default"), ("longer", "22", "flag")]
    page = Page(width=80)
    page.rows(rows)
    assert page.text == "  a       1   default\n  longer  22  flag"
    page = Page()
    page.rows(rows)
    assert page.text == "  a  1  default\n  longer  22  flag"


def test_a_cell_that_is_too_wide_goes_on_below_itself_or_is_cut():
    row = ("name", "one two three four five six seven", "end")
    page = Page(width=36)
    page.rows([row])
    assert page.text == "  name  one two three four five  end\n        six seven"
    page = Page(width=36)
    page.rows([row], cut=True)
    assert page.text == "  name  one two three four f...  end"
    page = Page(width=28)
    page.rows([row])
    assert page.text == "  name  one two three four\n    five six seven  end"


def test_a_report_without_settings_is_written():
    page = Page(width=80)
    problem = Problem("name", "What.", "Do it.")
    write_report(page, Report(problems=[problem]), verbose=True)
    assert page.text.splitlines()[:4] == ["1 problem:", "", "1. What. (name)", "   Next: Do it."]


def test_a_stream_that_is_no_terminal_has_no_width(capsys):
    assert open_page(sys.stdout).width is None
