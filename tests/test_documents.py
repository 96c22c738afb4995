"""README, reference and the text on the examples are true: their code runs, their names exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import documents
import pytest
import write_reference

import mistral_cf_adapter
from mistral_cf_adapter import GatewaySettings
from mistral_cf_adapter._sdk import Mistral
from mistral_cf_adapter._variables import env_names
from mistral_cf_adapter.cli.commands import parse
from mistral_cf_adapter.cli.tools import TOOLS
from mistral_cf_adapter.testing import LocalGateway
from mistral_cf_adapter.testing.plugin import _point_environment_at

DOCUMENTS = {name: documents.read(name) for name in documents.PATHS}
ALL = "\n".join(document.text for document in DOCUMENTS.values())
# Variables that are not settings: where a file is, the SDK's own, and the ones never read.
OTHER_VARIABLES = {
    "CF_AIG_ENV_FILE",
    "CLOUDFLARE_AI_GATEWAY_API_KEY",
    "CLOUDFLARE_API_TOKEN",
    "MISTRAL_SA_TOKEN_PATH",
    "MISTRAL_SDK_TELEMETRY",
}
KNOWN = {name for setting in GatewaySettings.model_fields for name in env_names(setting)}
SHELL_LINES = [
    line.partition(" #")[0].strip()
    for document in DOCUMENTS.values()
    for code in document.code("sh")
    for line in code.splitlines()
    if not line.startswith("#")
] + [
    text
    for text in documents.QUOTED.findall(documents.FENCE.sub("", ALL))
    if re.search(r"mistral-cf-adapter [a-z]", text)
]

every_document = pytest.mark.parametrize("name", DOCUMENTS)


@pytest.fixture
def cf_gateway(monkeypatch):
    """The plugin's fixture, installed or not, with the dynamic route the reference speaks of."""
    with LocalGateway(routes={"support": "mistral-small-latest"}) as gateway:
        _point_environment_at(gateway, monkeypatch)
        yield gateway


@pytest.fixture
def feedback(monkeypatch):
    """Cloudflare's package as far as the reference uses it."""
    edits = []
    logs = SimpleNamespace(edit=lambda log_id, **values: edits.append((log_id, values)))
    package = ModuleType("cloudflare")
    package.Cloudflare = lambda: SimpleNamespace(ai_gateway=SimpleNamespace(logs=logs))
    monkeypatch.setitem(sys.modules, "cloudflare", package)
    return edits


@every_document
def test_the_python_runs_from_top_to_bottom(name, cf_gateway, feedback, capsys):
    names = {}
    documents.execute(DOCUMENTS[name], names)
    assert isinstance(names["client"], Mistral)
    assert "Error" not in capsys.readouterr().out


def test_what_the_first_program_prints_is_what_stands_below_it(cf_gateway, capsys):
    program = DOCUMENTS["README.md"].code("python")[0]
    exec(program, {})
    shown = re.findall(r"^# (.+)$", program, re.MULTILINE)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == shown[:2]
    assert printed[2:] == [cf_gateway.logs[-1].id]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", shown[2])
    assert shown[3:] == []


def test_the_reference_goes_to_where_it_says(cf_gateway, feedback):
    names = {}
    documents.execute(DOCUMENTS["REFERENCE.md"], names)
    assert feedback[0][0] == names["calls"][-1].log_id
    for model in ("dynamic/support", "cloudflare/auto"):
        cf_gateway.assert_sent(path="compat/chat/completions", json_contains={"model": model})
    metadata = '{"app":"shop","team":"search"}'
    sent = {"cf-aig-metadata": metadata, "cf-aig-cache-ttl": "3600", "cf-aig-skip-cache": "true"}
    cf_gateway.assert_sent(headers=sent, times=1)


@pytest.mark.parametrize("name", ["README.md", "REFERENCE.md"])
def test_the_test_that_users_are_shown_passes(name, cf_gateway, feedback):
    names = {}
    documents.execute(DOCUMENTS[name], names)
    cf_gateway.reset()
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    for marker in getattr(test, "pytestmark", []):
        LocalGateway(**marker.kwargs)  # takes these keywords
    test(cf_gateway)
    cf_gateway.assert_all_used()


def test_what_the_comment_on_the_fixture_names_exists():
    shown = DOCUMENTS["README.md"].sections["Testing"].code("python")[0].partition("# or ")[2]
    named = re.findall(r"(\w+)\(", shown.partition("\n")[0])
    assert named
    assert [name for name in named if not hasattr(LocalGateway, name)] == []


def test_every_block_is_in_a_language_that_is_checked_here():
    for document in DOCUMENTS.values():
        assert document.languages <= {"python", "sh"}


@pytest.mark.parametrize("line", SHELL_LINES)
def test_a_shell_line_names_what_exists(line):
    for command in line.split(" && "):
        program, *words = command.split()
        match program:
            case "mistral-cf-adapter":
                words = [word for word in words if word not in {"app.py", "--help"}]
                parse(words + ["x"] * (words[0] == "run"))
            case "export":
                assert words[0].removesuffix('="..."') in KNOWN
            case "python3":
                packages = ("uv", "mistral-cf-adapter", "'mistral-cf-adapter[testing]'")
                assert words in [["-m", "pip", "install", package] for package in packages]
            case _:
                assert (program, words[0]) == ("uv", "run")
                assert words[-1] == "pytest" or (documents.ROOT / words[-1]).is_file()
                assert words[1:-1] in ([], ["--with", "ray"])


def test_the_flags_named_beside_the_commands_exist():
    for line in DOCUMENTS["REFERENCE.md"].sections["Command line"].code("sh")[0].splitlines():
        typed, _, comment = line.partition("#")
        flags = re.findall(r"--[\w-]+", comment)
        assert flags == [] or parse([typed.split()[1], *flags])


def test_the_tools_that_env_is_named_for_exist():
    named = set(re.findall(r"env --for ([\w-]+)", ALL)) - {"TOOL"}
    assert named
    assert named <= set(TOOLS)


@every_document
def test_the_linked_files_and_headings_exist(name):
    titles = DOCUMENTS[name].sections
    anchors = {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in titles}
    links = re.findall(r"\]\(([^)]+)\)", DOCUMENTS[name].text)
    local = [link for link in links if not link.startswith("https://")]
    assert [x for x in local if x.startswith("#") and x[1:] not in anchors] == []
    folder = documents.PATHS[name].parent
    assert [x for x in local if not x.startswith("#") and not _exists(folder, x)] == []


def _exists(folder, path):
    return (folder / path).exists() or (documents.PACKAGE.parent / path).exists()


def test_the_named_files_exist():
    named = re.findall(r"\b(?:tests|examples)/[\w./]+\b", ALL)
    assert named
    assert [path for path in named if not (documents.ROOT / path).exists()] == []


def test_every_variable_is_one_that_is_read_or_said_not_to_be():
    named = set(re.findall(r"\b(?:CF|CLOUDFLARE|MISTRAL)_[A-Z_]+\b", ALL))
    assert named - OTHER_VARIABLES <= KNOWN
    assert named >= OTHER_VARIABLES


@every_document
def test_the_tables_are_what_the_code_says(name):
    """`python tests/programs/write_reference.py` writes them."""
    assert write_reference.is_current(documents.PATHS[name])


def test_every_table_that_is_written_stands_somewhere():
    marks = re.findall(r"^<!-- (.+) -->$", ALL, re.MULTILINE)
    assert sorted(marks) == sorted([*write_reference.TABLES, "releases", "/releases"])


def test_the_framework_table_has_the_columns_that_its_runner_prints():
    rows = DOCUMENTS["examples/README.md"].sections["Frameworks"].text.splitlines()
    assert {line.count(" | ") for line in rows if line.startswith("|")} == {6}


def test_the_changelog_has_this_version():
    changelog = (Path(documents.ROOT) / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## [{mistral_cf_adapter.__version__}] - " in changelog
