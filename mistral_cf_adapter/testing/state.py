"""What one local gateway is set to and what it has seen."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mistral_cf_adapter.testing.cache import Cache
from mistral_cf_adapter.testing.calls import Calls
from mistral_cf_adapter.testing.faults import Faults
from mistral_cf_adapter.testing.limits import BoundedList
from mistral_cf_adapter.testing.script import Script

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mistral_cf_adapter.testing.access import Access
    from mistral_cf_adapter.testing.own_code import ScriptError
    from mistral_cf_adapter.testing.records import LogRecord, ReceivedRequest
    from mistral_cf_adapter.testing.unscripted import Strict

RATE_WINDOW = 60.0
SWITCHES = ("authenticated", "guardrails", "dlp", "rate_limit", "cache_ttl", "access")
"""What can be changed while the gateway runs."""


def _request_list() -> list[ReceivedRequest]:
    return BoundedList(lambda request: len(request.body))


def _log_list() -> list[LogRecord]:
    return BoundedList(lambda log: len(log.request or b"") + len(log.response or b""))


def _error_list() -> list[ScriptError]:
    return BoundedList(lambda _: 0)


def _bypass_list() -> list[dict[str, Any]]:
    return BoundedList(lambda _: 1000)


@dataclass(slots=True, repr=False)
class State:
    """Settings first, then memory. It has no `repr` of its fields: some are secrets."""

    token: str
    account_id: str
    gateway_ids: tuple[str, ...]
    mistral_api_key: str
    takes_any_key: bool
    stored_keys: dict[str, str]
    custom_providers: Mapping[str, str | None]
    routes: Mapping[str, str]
    aliases: Mapping[str, str]
    upstream: str | None
    rate_limit: int | None
    authenticated: bool
    cache_ttl: int | None
    api_token: str
    log_delay: float
    access: Access | None = None
    strict: Strict | None = None
    """What refuses requests for which nothing is scripted; None for nothing."""
    guardrails: bool = False
    dlp: Mapping[str, Any] | None = None
    origin: str = ""

    requests: list[ReceivedRequest] = field(default_factory=_request_list)
    upstream_requests: list[ReceivedRequest] = field(default_factory=_request_list)
    logs: list[LogRecord] = field(default_factory=_log_list)
    calls: Calls = field(default_factory=Calls)
    script: Script = field(default_factory=Script)
    upstream_script: Script = field(default_factory=Script)
    script_errors: list[ScriptError] = field(default_factory=_error_list)
    """What code of the test's own raised."""
    faults: Faults = field(default_factory=Faults)
    cache: Cache = field(default_factory=Cache)
    bypassed: list[dict[str, Any]] = field(default_factory=_bypass_list)
    """Calls that went past the gateway, as it was told."""
    ahead: float = 0.0
    """Seconds by which the gateway's clock was moved forward."""
    _admitted: list[float] = field(default_factory=list[float])
    _given: dict[str, Any] = field(default_factory=dict[str, "Any"])

    def __post_init__(self) -> None:
        self._given = {name: getattr(self, name) for name in SWITCHES}

    def now(self) -> float:
        """Return the gateway's clock, in seconds."""
        return time.monotonic() + self.ahead

    def wall_time(self) -> float:
        """Return the same clock as seconds since 1970."""
        return time.time() + self.ahead

    def pass_time(self, seconds: float) -> None:
        """Move the gateway's clock forward."""
        self.ahead += seconds

    def admit(self) -> bool:
        """Count one request against the rate limit, a sliding window of a minute."""
        if self.rate_limit is None:
            return True
        now = self.now()
        self._admitted = [moment for moment in self._admitted if now - moment < RATE_WINDOW]
        if len(self._admitted) >= self.rate_limit:
            return False
        self._admitted.append(now)
        return True

    def clear(self) -> None:
        """Forget what was seen, cached and scripted; keep the settings given at the start."""
        for name, value in self._given.items():
            setattr(self, name, value)
        for memory in (self.requests, self.upstream_requests, self.logs, self._admitted):
            memory.clear()
        self.bypassed.clear()
        self.script_errors.clear()
        if self.strict is not None:
            self.strict.refused.clear()
        for part in (self.calls, self.script, self.upstream_script, self.faults, self.cache):
            part.clear()
