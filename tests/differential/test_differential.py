"""Every scenario on the bare SDK and through the adapter: the same, but for one written list."""

from __future__ import annotations

import compare
import pytest
from differences import DIFFERENCES, to_markdown


@pytest.fixture(scope="module")
def comparison():
    return compare.run_all_twice()


def test_every_difference_is_on_the_list(comparison, record_property):
    record_property("differential", comparison.summary())
    if comparison.unlisted:
        pytest.fail(f"{comparison.summary()}\n{compare.report(comparison)}", pytrace=False)


def test_every_entry_of_the_list_is_needed(comparison):
    unmatched = comparison.unmatched
    assert not unmatched


def test_the_suite_is_not_a_small_one(comparison):
    assert comparison.scenarios > 3_000
    assert comparison.ways > 7_000


def test_the_list_can_be_printed():
    lines = to_markdown().splitlines()
    assert len(lines) == 2 + sum(not entry.is_bug for entry in DIFFERENCES)
    assert all(line.startswith("| ") for line in lines)
