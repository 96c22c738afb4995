"""The files that compare.py makes of results, without measuring anything."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

COMPARE = Path(__file__).with_name("compare.py")
ROUND = {
    "call_sync": {
        "mistralai-3.7.0": {"cpu_us": 8000.0, "wall_us": 9000.0},
        "adapter-3.7.0": {"cpu_us": 1000.0, "wall_us": 2000.0},
        "litellm": {"failed": "no answer within 180 s"},
    },
    "per_request": {
        "mistralai-3.7.0": {"rps": 10.0, "handshakes": 1.0},
        "adapter-3.7.0": {"rps": 300.0, "handshakes": 0.0},
    },
    "stream_sync": {"pydantic-ai": {"unsupported": True}},
    "tasks": {"adapter-3.7.0": {"cpu_1_us": 900.0, "cpu_8_us": 800.0, "cpu_512_us": 1000.0}},
}
RESULTS = {
    "about": {"date": "2026-01-01", "python": "3.11", "system": "Linux", "idle_s": 20},
    "failures": {"openai": "not installed: no such release"},
    "rounds": [ROUND, ROUND],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files made of RESULTS."""
    output = tmp_path_factory.mktemp("benchmark")
    source = output / "given.json"
    source.write_text(json.dumps(RESULTS))
    command = [sys.executable, str(COMPARE), "--from", str(source), "--output", str(output)]
    subprocess.run(command, check=True, capture_output=True)
    return output


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("| CPU per call | 8,000 us | **8** | - | - | - |", id="lower-is-better"),
        pytest.param("A client per request, TLS | 10 req/s | **30** |", id="higher-is-better"),
        pytest.param("- openai: not installed: no such release", id="not-installed"),
        pytest.param("- litellm, call_sync: no answer within 180 s", id="failed"),
    ],
)
def test_the_summary_compares_with_the_bare_sdk(written: Path, row: str) -> None:
    assert row in (written / "summary.md").read_text()


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("| CPU per call [adapter-3.7.0] | 8 | 5 | 8 | aim |", id="target"),
        pytest.param("| LiteLLM | failed |", id="failed"),
        pytest.param("| pydantic-ai | not offered |", id="not-offered"),
    ],
)
def test_the_details_say_what_was_reached_and_what_was_not_measured(
    written: Path, row: str
) -> None:
    assert row in (written / "details.md").read_text()


def test_the_chart_is_well_formed_and_names_what_was_measured(written: Path) -> None:
    text = "".join(ElementTree.parse(written / "chart.svg").getroot().itertext())
    assert "CPU per call" in text
    assert "bare: 10 req/s" in text


def test_the_picture_of_growth_has_a_line_for_what_was_measured(written: Path) -> None:
    text = "".join(ElementTree.parse(written / "growth.svg").getroot().itertext())
    assert "512 tasks at once: 1,000 us" in text
    assert "idle connections: " not in text
