"""Every scenario on the bare SDK and through the adapter: the same, but for one written list."""

from __future__ import annotations

import compare
import pytest
from differences import DIFFERENCES, to_markdown
from scenarios import PARTS


def test_every_difference_is_on_the_list_and_every_entry_is_needed(record_property):
    # One test, so that each process of pytest-xdist does not run everything again.
    comparison = compare.run_all_twice()
    record_property("differential", comparison.summary())
    if comparison.unlisted:
        pytest.fail(f"{comparison.summary()}\n{compare.report(comparison)}", pytrace=False)
    assert PARTS > 1 or not comparison.unmatched
    assert comparison.scenarios > 3_000 // PARTS
    assert comparison.ways > 7_000 // PARTS


def test_the_list_can_be_printed():
    lines = to_markdown().splitlines()
    assert len(lines) == 2 + len(DIFFERENCES)
    assert all(line.startswith("| ") for line in lines)
