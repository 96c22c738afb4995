"""Every scenario of the differential suite.

A bug report becomes a row of `reported_scenarios.py`: give it a name that says what happened, the
bytes that the server sent, and how the call was made, e.g.

    Scenario(
        "an event in two packets, cut inside of a character",
        (reply(head(200, SSE, CHUNKED), *chunked(b"data: {", b"}\n\n"), LAST),),
        STREAMED,
        http={"headers": {"Accept": "*/*"}},  # an HTTP client of the reporter's own
        environment={"HTTPS_PROXY": "{refused}"},
    )

`python tests/differential/compare.py "an event in two packets, ..."` runs it and prints all that
differs, listed or not. Whatever differs and is not in `differences.py` fails the suite.

`DIFFERENTIAL_PART=1/2` in the environment leaves the first of two parts: about half of them.
"""

from __future__ import annotations

import os
import zlib

import client_scenarios
import environment_scenarios
import reported_scenarios
import request_scenarios
import response_scenarios
import retry_scenarios
import stream_scenarios
from fault_scripts import MAJOR

_MODULES = (
    response_scenarios,
    stream_scenarios,
    retry_scenarios,
    request_scenarios,
    client_scenarios,
    environment_scenarios,
    reported_scenarios,
)

PART, PARTS = map(int, os.environ.get("DIFFERENTIAL_PART", "1/1").split("/"))


def is_in_part(name: str) -> bool:
    """Return whether a scenario is in the part that is asked for; the name decides."""
    return zlib.crc32(name.encode()) % PARTS == PART - 1


_all = [
    scenario for module in _MODULES for scenario in module.scenarios() if MAJOR in scenario.majors
]
assert len({scenario.name for scenario in _all}) == len(_all), "two scenarios of one name"

SCENARIOS = [scenario for scenario in _all if is_in_part(scenario.name)]
