"""What users reported, a row each; `scenarios.py` says how to write one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fault_scripts import JSON, completion, http
from scenario import PLAIN, STREAMED, Reply, Scenario, whole
from stream_scenarios import EVENTS, stream

if TYPE_CHECKING:
    from collections.abc import Iterator


def scenarios() -> Iterator[Scenario]:
    cookie = http(307, b"", "Location: ", "Set-Cookie: seen=1", log_id=False)
    yield Scenario(
        "a host that redirects to itself until its cookie comes",
        (Reply((cookie,)), whole(200, completion(), JSON)),
        PLAIN,
    )
    yield Scenario(
        "a cut stream, and an Accept header of the caller's own",
        (stream(*EVENTS[:2]),),
        STREAMED,
        arguments={"http_headers": {"Accept": "text/event-stream, */*"}},
    )
