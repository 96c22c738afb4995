"""Compare the records of the sides, field by field: compare.py [NAME...] prints what differs.

Without names it runs every scenario. With names it prints listed differences too.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from differences import DIFFERENCES, Difference
from fault_scripts import MAJOR
from program_runs import SCENARIOS as PROGRAMS
from program_runs import run_programs
from scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).parent
BARE, ADAPTER, WITHOUT_SPEEDUPS = SIDES = ("bare", "adapter", "adapter without speed-ups")
ABSENT = "(absent)"
BY_NAME = {scenario.name: scenario for scenario in (*SCENARIOS, *PROGRAMS)}
LIMIT = 1_200.0
"""Seconds after which a side counts as one that hangs."""

Row = dict[str, Any]


@dataclass(repr=False)
class Comparison:
    """What came of all runs."""

    scenarios: int
    found: list[Difference]
    ways: int

    def __repr__(self) -> str:
        return f"<{self.summary()}>"

    @cached_property
    def explained(self) -> list[tuple[Difference, str | None]]:
        return [(each, explain(each)) for each in self.found]

    @cached_property
    def unlisted(self) -> list[Difference]:
        return [each for each, entry in self.explained if entry is None]

    @cached_property
    def matches(self) -> Counter[str]:
        """How many fields each entry of the list explains."""
        return Counter(entry for _, entry in self.explained if entry is not None)

    @property
    def unmatched(self) -> list[str]:
        """Names of entries that nothing needs with this release of the SDK."""
        return [
            entry.name
            for entry in DIFFERENCES
            if MAJOR in entry.majors and entry.name not in self.matches and not entry.is_rare
        ]

    @property
    def differing(self) -> int:
        """How many ways differ, in fields that are all listed or not."""
        return len({(each.scenario.name, each.way) for each in self.found})

    def summary(self) -> str:
        failed = len({(each.scenario.name, each.way) for each in self.unlisted})
        text = (
            f"{self.scenarios} scenarios, {self.ways} ways: "
            f"{self.ways - self.differing} identical, "
            f"{self.differing - failed} differing as listed"
        )
        return f"{text}, {failed} NOT LISTED" if failed else text


def explain(difference: Difference) -> str | None:
    """Return the name of the entry of the list that a difference is for."""
    entries = (entry for entry in DIFFERENCES if MAJOR in entry.majors)
    return next((entry.name for entry in entries if entry.explains(difference)), None)


# ---------------------------------------------------------------- running the sides


def run_all(names: Iterable[str] = ()) -> Comparison:
    """Run scenarios on all sides at once, each in a process, as they often wait; then compare."""
    names = tuple(names)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with ThreadPoolExecutor(len(SIDES) + 1) as pool:
            sides = [pool.submit(_run_side, side, path / side, names) for side in SIDES]
            programs = pool.submit(lambda: list(run_programs(path, names)))
            for side in sides:
                side.result()
        rows = {side: list(_read(path / side)) for side in SIDES}
        for row in programs.result():
            rows[BARE if row["entry"] == "bare" else ADAPTER].append(row)
    return compare(rows)


def run_all_twice() -> Comparison:
    """Run every scenario, and those with an unlisted difference once more, on a machine at rest.

    A busy machine is late by itself: what differs differs each time.
    """
    first = run_all()
    names = sorted({each.scenario.name for each in first.unlisted})
    again = {_key(each) for each in run_all(names).unlisted} if names else set[Any]()
    found = [each for each in first.found if explain(each) is not None or _key(each) in again]
    return Comparison(first.scenarios, found, first.ways)


def _key(difference: Difference) -> tuple[str, str, str]:
    return difference.scenario.name, difference.way, difference.field


def _run_side(side: str, path: Path, names: tuple[str, ...]) -> None:
    command = [sys.executable, str(HERE / "run_scenarios.py"), side, str(path), *names]
    done = subprocess.run(
        command, check=False, env=_environment(side), timeout=LIMIT, capture_output=True, text=True
    )
    if done.returncode:
        msg = f"{side}: exit status {done.returncode}\n{done.stderr[-3000:]}"
        raise RuntimeError(msg)


_HIDDEN = ("CF_", "CLOUDFLARE_", "MISTRAL_", "OTEL_", "SSL_CERT", "COV_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def _environment(side: str) -> dict[str, str]:
    """Return an environment in which nothing of the developer's own decides."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_HIDDEN) and name.upper() not in _PROXIES
    }
    speedups = "true" if side == ADAPTER else "false"
    path = os.pathsep.join([str(HERE), str(HERE.parent / "support")])
    return {**kept, "PYTHONPATH": path, "CF_AIG_SPEEDUPS": speedups, "PYTHONDONTWRITEBYTECODE": "1"}


def _read(path: Path) -> Iterator[Row]:
    with path.open() as file:
        yield from map(json.loads, file)


# ---------------------------------------------------------------- comparing


def compare(rows: dict[str, list[Row]]) -> Comparison:
    bare = {(row["scenario"], row["mode"]): row for row in rows[BARE]}
    found: list[Difference] = []
    ways = 0
    for side in (ADAPTER, WITHOUT_SPEEDUPS):
        for row in rows[side]:
            ways += 1
            found += _differences(bare[row["scenario"], row["mode"]], row, side)
    return Comparison(len({name for name, _ in bare}), found, ways)


def _differences(bare: Row, ours: Row, side: str) -> Iterator[Difference]:
    speedups = "with" if side == ADAPTER else "without"
    way = f"{ours['entry']}, {ours['mode']}, {speedups} speed-ups"
    before, after = dict(_fields(bare)), dict(_fields(ours))
    for field in sorted(before.keys() | after.keys()):
        if _is_of_one_side(field, before, after):
            continue
        one, other = before.get(field, ABSENT), after.get(field, ABSENT)
        if one != other:
            yield Difference(BY_NAME[bare["scenario"]], way, field, one, other, before, after)


def _is_of_one_side(field: str, before: Row, after: Row) -> bool:
    """Return whether a field is of an error, response or request that only one side has."""
    for whole in re.findall(
        r"^(?=(call \d+ (?:error|response)) )|^(?=(requests? to \w+ \d+) )", field
    ):
        name = whole[0] or whole[1]
        if (name in before) != (name in after):
            return True
    return False


def _fields(row: Row) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a record: of its calls, errors, responses and requests each one."""
    for name, value in row.items():
        if name == "calls" or name.startswith("requests to "):
            yield f"number of {name}", len(value)
            singular = name.replace("calls", "call").replace("requests", "request")
            for number, each in enumerate(value, 1):
                yield f"{singular} {number}", "present"
                yield from _nested(f"{singular} {number}", each)
        elif name == "built":
            yield from _nested(name, value)
        elif name not in ("scenario", "mode", "entry"):
            yield name, value


def _nested(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for name, each in value.items():
        if name in ("error", "response"):
            yield f"{prefix} {name}", "present"
            yield from _nested(f"{prefix} {name}", each)
        else:
            yield f"{prefix} {name}", each


# ---------------------------------------------------------------- saying it


def describe(difference: Difference) -> str:
    return (
        f"{difference.scenario.name} | {difference.way} | {difference.field}\n"
        f"    bare: {_short(difference.bare)}\n    ours: {_short(difference.ours)}"
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 300 else f"{text[:200]} ... {text[-90:]}"


def report(comparison: Comparison, most: int = 60) -> str:
    """Return the unlisted differences, those of the same field and values together."""
    groups = itertools.groupby(
        sorted(comparison.unlisted, key=lambda each: (each.scenario.name, each.field, each.way)),
        key=lambda each: (each.scenario.name, each.field),
    )
    texts = []
    for _, group in groups:
        first, *others = group
        more = f"\n    and in {len(others)} more ways" if others else ""
        texts.append(describe(first) + more)
    rest = [f"... and {len(texts) - most} more"] if len(texts) > most else []
    return "\n".join(texts[:most] + rest)


def main(names: list[str]) -> int:
    comparison = run_all(names)
    if names:
        for difference, entry in comparison.explained:
            print(describe(difference) + f"\n    {entry or 'NOT LISTED'}")
    else:
        print(report(comparison, 1_000_000))
        for name, count in comparison.matches.most_common():
            print(f"{count:6} {name}")
    print(comparison.summary())
    return int(bool(comparison.unlisted))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
