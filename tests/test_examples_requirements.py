"""`uv run examples/NAME.py` installs what that example needs, and no test stack."""

from __future__ import annotations

import re
import tomllib

import example_programs
import pytest

EXAMPLES = example_programs.EXAMPLES
OURS = "mistral-cf-adapter[testing]"  # with the local gateway that an example starts
BLOCK = re.compile(r"^# /// script\n((?:# .+\n)+)# ///$", re.MULTILINE)
GROUPS = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
KNOWN = {line for group in ("test", "examples") for line in GROUPS[group] if isinstance(line, str)}
# No program of its own: patch_application.py has it.
WITHOUT = {"their_application.py"}
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("[a-z]*.py") if path.name not in WITHOUT)


def requirements(name):
    """What the example asks for, as uv reads it: PEP 723."""
    (block,) = BLOCK.findall((EXAMPLES / name).read_text("utf-8"))
    return tomllib.loads(re.sub("^# ", "", block, flags=re.MULTILINE))


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_asks_for_what_the_tests_run_it_with(name):
    """The releases are those of the group `examples`, in which the tests of the examples run."""
    asked = requirements(name)
    ours, *others = asked["dependencies"]
    assert ours == OURS
    assert set(others) <= KNOWN
    assert not [line for line in others if line.startswith("pytest")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_takes_the_adapter_of_this_clone(name):
    source = requirements(name)["tool"]["uv"]["sources"]["mistral-cf-adapter"]
    assert (EXAMPLES / source["path"]).resolve() == EXAMPLES.parent
    assert source["editable"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_names_the_command_that_needs_no_group(name):
    assert f"\nuv run examples/{name}" in (EXAMPLES / name).read_text("utf-8")
