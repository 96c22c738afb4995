"""The README is true: its code runs, its tables say what the code says, its names exist."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import get_args

import operations
import pytest

import mistral_cf_adapter
from mistral_cf_adapter import GatewayCall, GatewayConfigError, GatewayOptions, GatewaySettings
from mistral_cf_adapter import _errors as errors_module
from mistral_cf_adapter._errors import BY_CODE, GatewayError
from mistral_cf_adapter._options import gateway_headers, header_names
from mistral_cf_adapter._sdk import Mistral
from mistral_cf_adapter._variables import env_names
from mistral_cf_adapter.cli.commands import parse
from mistral_cf_adapter.cli.tools import TOOLS
from mistral_cf_adapter.testing import LocalGateway
from mistral_cf_adapter.testing.plugin import _point_environment_at

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")

# Reserved for a later release: they can be set, and change nothing yet.
# Variables that are not settings: where a file is, the SDK's own, and the ones never read.
OTHER_VARIABLES = {
    "CF_AIG_ENV_FILE",
    "CLOUDFLARE_AI_GATEWAY_API_KEY",
    "CLOUDFLARE_API_TOKEN",
    "MISTRAL_SA_TOKEN_PATH",
    "MISTRAL_SDK_TELEMETRY",
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`]+)`")


@dataclass
class Section:
    """What stands below one heading."""

    title: str
    text: str
    blocks: list[tuple[str, str]] = field(default_factory=list)

    def code(self, language):
        return [code for known, code in self.blocks if known == language]

    @property
    def rows(self):
        """The cells of its tables' rows, without the headings."""
        lines = [line for line in self.text.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        rules = [place for place, row in enumerate(cells) if set("".join(row)) <= set("-: ")]
        headings = {place - 1 for place in rules}
        return [row for place, row in enumerate(cells) if place not in {*rules, *headings}]


def sections():
    title, *rest = re.split(r"^#{1,2} (.+)$", README, flags=re.MULTILINE)
    assert title == ""
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return {title: Section(title, text, FENCE.findall(text)) for title, text in pairs}


SECTIONS = sections()
WITH_PYTHON = [title for title, section in SECTIONS.items() if section.code("python")]
SHELL_LINES = [
    line.partition("#")[0].strip()
    for section in SECTIONS.values()
    for code in section.code("sh")
    for line in code.splitlines()
]


def quoted(cell):
    return QUOTED.findall(cell)


def table(title):
    """Map what each row's first cell quotes to the row's other cells."""
    return {name: cells for first, *cells in SECTIONS[title].rows for name in quoted(first)}


@pytest.fixture
def cf_gateway(monkeypatch):
    """The plugin's fixture, installed or not, with the dynamic route the README speaks of."""
    with LocalGateway(routes={"support": "mistral-small-latest"}) as gateway:
        _point_environment_at(gateway, monkeypatch)
        yield gateway


@pytest.fixture
def feedback(monkeypatch):
    """Cloudflare's package as far as the README uses it."""
    edits = []
    logs = SimpleNamespace(edit=lambda log_id, **values: edits.append((log_id, values)))
    package = ModuleType("cloudflare")
    package.Cloudflare = lambda: SimpleNamespace(ai_gateway=SimpleNamespace(logs=logs))
    monkeypatch.setitem(sys.modules, "cloudflare", package)
    return edits


def execute(title, names):
    for code in SECTIONS[title].code("python"):
        exec(compile(code, f"<README: {title}>", "exec"), names)


def test_the_python_runs_from_top_to_bottom(cf_gateway, feedback, capsys):
    names = {}
    for title in WITH_PYTHON:
        execute(title, names)

    assert isinstance(names["client"], Mistral)
    assert names["answer"].choices[0].message.content
    assert names["calls"][-1].log_id == feedback[0][0]
    for model in ("dynamic/support", "cloudflare/auto"):
        cf_gateway.assert_sent(path="compat/chat/completions", json_contains={"model": model})
    metadata = '{"app":"shop","team":"search"}'
    sent = {"cf-aig-metadata": metadata, "cf-aig-cache-ttl": "3600", "cf-aig-skip-cache": "true"}
    cf_gateway.assert_sent(headers=sent, times=1)
    assert "Error" not in capsys.readouterr().out


def test_the_test_that_users_are_shown_passes(cf_gateway):
    names = {}
    execute("Use", names)
    execute("Testing your application", names)
    cf_gateway.reset()
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0](cf_gateway)
    cf_gateway.assert_all_used()


def test_the_migration_ends_in_a_client_of_the_sdk(cf_gateway):
    (diff,) = SECTIONS["Use"].code("diff")
    names = {}
    exec("\n".join(line[1:] for line in diff.splitlines() if line.startswith("+")), names)
    assert isinstance(names["client"], Mistral)


def test_every_block_is_in_a_language_that_is_checked_here():
    assert {language for section in SECTIONS.values() for language, _ in section.blocks} == {
        "python",
        "sh",
        "diff",
    }


@pytest.mark.parametrize("line", SHELL_LINES)
def test_a_shell_line_names_what_exists(line):
    program, *words = line.rpartition("&& ")[2].split()
    if program == "mistral-cf-adapter":
        parse([word for word in words if word != "app.py"] + ["x"] * (words[0] == "run"))
        return
    assert (program, words[0]) == ("uv", "run")
    assert line.startswith("python3 -m pip install uv && ")
    assert words[1] == "pytest" or (ROOT / words[1]).is_file()


def test_the_flags_named_beside_the_commands_exist():
    for line in SECTIONS["Command line"].code("sh")[0].splitlines():
        typed, _, comment = line.partition("#")
        flags = re.findall(r"--[\w-]+", comment)
        assert flags == [] or parse([typed.split()[1], *flags])


def test_the_tools_that_env_is_named_for_exist():
    named = re.findall(r"env --for ([\w-]+)", README)
    assert named
    assert set(named) <= set(TOOLS)


def test_what_the_comment_on_the_fixture_names_exists():
    named = re.findall(r"(\w+)\(", SECTIONS["Testing your application"].text.partition("also")[2])
    assert [name for name in named[:3] if not hasattr(LocalGateway, name)] == []


def test_the_linked_files_and_headings_exist():
    anchors = {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in SECTIONS}
    links = re.findall(r"\]\(([^)]+)\)", README)
    local = [link for link in links if not link.startswith("https://")]
    assert [x for x in local if x.startswith("#") and x[1:] not in anchors] == []
    assert [x for x in local if not x.startswith("#") and not _exists(x)] == []


def _exists(path):
    home = Path(mistral_cf_adapter.__file__).parents[1]  # elsewhere, where the wheel is tested
    return (ROOT / path).exists() or (home / path).exists()


def test_the_named_files_exist():
    named = re.findall(r"\b(?:tests|examples)/[\w./]+\b", README)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_variable_is_one_that_is_read_or_said_not_to_be():
    named = set(re.findall(r"\b(?:CF|CLOUDFLARE|MISTRAL)_[A-Z_]+\b", README))
    known = {name for setting in GatewaySettings.model_fields for name in env_names(setting)}
    assert named - OTHER_VARIABLES <= known
    assert named >= OTHER_VARIABLES


def test_the_settings_are_those_of_the_code_with_their_variables_in_order():
    rows = table("Settings")
    own = GatewaySettings.model_fields.keys() - GatewayOptions.model_fields.keys()
    assert rows.keys() == own
    assert {name: tuple(quoted(row[0])) for name, row in rows.items()} == {
        name: env_names(name) for name in rows
    }


@pytest.mark.parametrize(("name", "row"), table("Settings").items())
def test_a_default_is_that_of_the_code(name, row):
    default = GatewaySettings.model_fields[name].default
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    assert row[1] == ("none" if default is None else f"`{shown}`")


def test_the_options_are_those_of_the_code_with_their_headers():
    rows = table("Options")
    assert rows.keys() == GatewayOptions.model_fields.keys()
    assert {name: row[0].strip("`") for name, row in rows.items()} == {
        **dict.fromkeys(rows, "none"),
        **header_names(),
    }


NUMBERS = [
    (name, *map(int, bounds))
    for name, row in table("Options").items()
    for bounds in re.findall(r"(\d+) to (\d+)", row[1])
]


@pytest.mark.parametrize(("name", "low", "high"), NUMBERS)
def test_the_bounds_of_an_option_are_those_that_are_enforced(name, low, high):
    value = entries if name == "metadata" else int
    assert gateway_headers(**{name: value(low)})
    assert gateway_headers(**{name: value(high)})
    for outside in (low - 1, high + 1):
        if name == "metadata" and outside < 0:
            continue
        with pytest.raises(GatewayConfigError):
            gateway_headers(**{name: value(outside)})


def entries(number):
    return {f"name{place}": place for place in range(number)}


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        pytest.param("request_timeout", 1, 0, id="request_timeout"),
        pytest.param("otel_trace_id", "a" * 32, "a" * 31, id="otel_trace_id"),
        pytest.param("otel_parent_span_id", "a" * 16, "a" * 17, id="otel_parent_span_id"),
    ],
)
def test_the_other_ranges_are_enforced_too(name, value, wrong):
    size = len(value) if isinstance(value, str) else value
    assert re.search(rf"\b{size}\b", table("Options")[name][1])
    assert gateway_headers(**{name: value})
    with pytest.raises(GatewayConfigError):
        gateway_headers(**{name: wrong})


@pytest.mark.parametrize("name", ["backoff", "endpoint"])
def test_the_values_of_a_choice_are_those_that_are_accepted(name):
    choices = quoted(table("Options")[name][1])
    (literal, _) = get_args(GatewayOptions.model_fields[name].annotation)
    assert set(choices) == set(get_args(literal))


def test_the_costs_are_those_that_are_accepted():
    names = quoted(table("Options")["custom_cost"][2])
    assert gateway_headers(custom_cost=dict.fromkeys(names, 1))
    with pytest.raises(GatewayConfigError) as caught:
        gateway_headers(custom_cost={"other": 1})
    assert [name for name in names if name not in str(caught.value)] == []


def test_the_facts_of_a_call_are_those_of_the_code():
    assert table("What happened").keys() == {fact.name for fact in fields(GatewayCall)}


def error_rows():
    return [(re.findall(r"\d+", code), *quoted(name), yes) for code, name, yes, _ in ERRORS.rows]


ERRORS = SECTIONS["Errors"]


def test_the_codes_are_those_of_the_code():
    shown = {int(code): name for codes, name, _ in error_rows() for code in codes}
    assert shown == {code: kind.__name__ for code, kind in BY_CODE.items()}


def test_every_error_of_the_gateway_has_a_row():
    kinds = [kind for kind in vars(errors_module).values() if isinstance(kind, type)]
    names = {kind.__name__ for kind in kinds if issubclass(kind, GatewayError)}
    assert {name for _, name, _ in error_rows()} == names
    assert names <= set(mistral_cf_adapter.__all__)


# See test_edge_pages, test_connection_errors and test_stream_events.
BY_CAUSE = ("GatewayUnavailableError", "GatewayConnectionError", "GatewayStreamError")


@pytest.mark.parametrize(("codes", "name", "retryable"), error_rows())
def test_what_may_be_asked_again_is_what_the_code_says(codes, name, retryable):
    if retryable == "429, 5xx":  # by status: see the test of from_response()
        assert name == "GatewayError"
        return
    if retryable.startswith("by "):
        assert name in BY_CAUSE
        return
    assert {"yes": True, "no": False}[retryable] is vars(errors_module)[name].retryable


def test_the_counted_methods_are_those_of_the_operations_test():
    sentence = re.search(r"runs with (.+?), whose (.+?) generated", SECTIONS["Compatibility"].text)
    releases, counts = (re.findall(r"[\d.]+", words) for words in sentence.groups())
    shown = {
        tuple(map(int, release.split("."))): int(count)
        for release, count in zip(releases, counts, strict=True)
    }
    assert shown == operations.COUNTED


def test_the_framework_table_has_the_columns_that_its_runner_prints():
    rows = SECTIONS["patch()"].rows
    assert rows
    assert {len(row) for row in rows} == {7}


def test_the_changelog_has_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## [{mistral_cf_adapter.__version__}] - " in changelog
