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
"""

from __future__ import annotations

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

SCENARIOS = [
    scenario for module in _MODULES for scenario in module.scenarios() if MAJOR in scenario.majors
]

_names = [scenario.name for scenario in SCENARIOS]
assert len(set(_names)) == len(_names), "two scenarios of one name"
