"""Sums over the calls of a local gateway: tokens, cache hits, durations, errors."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.call_view import make_mask
from mistral_cf_adapter.testing.limits import MAX_KEPT

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.calls import Call, Calls

MAX_GROUPS = 200
"""Models, and entries of metadata, that are counted apart; the rest is left out."""


@dataclass(slots=True)
class _Group:
    calls: int = 0
    errors: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, call: Call) -> None:
        usage = call.usage
        self.calls += 1
        self.errors += call.error is not None
        if usage is not None and call.cache_status != "HIT":
            self.tokens_in += usage.prompt_tokens or 0
            self.tokens_out += usage.completion_tokens or 0

    def to_json(self) -> dict[str, int]:
        return {
            "calls": self.calls,
            "errors": self.errors,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }


@dataclass(slots=True)
class _Sums:
    everything: _Group = field(default_factory=_Group)
    models: dict[str, _Group] = field(default_factory=dict[str, _Group])
    metadata: dict[str, _Group] = field(default_factory=dict[str, _Group])
    errors: Counter[str] = field(default_factory=Counter[str])
    cache: Counter[str] = field(default_factory=Counter[str])
    milliseconds: deque[float] = field(default_factory=lambda: deque[float](maxlen=MAX_KEPT))

    def add(self, call: Call) -> None:
        self.everything.add(call)
        mask = make_mask(call, ())
        _add(self.models, mask(call.model or "(none)"), call)
        for name, value in call.metadata.items():
            _add(self.metadata, mask(f"{name}={value}"), call)
        if call.error is not None:
            self.errors[_name_error(call)] += 1
        if call.cache_status is not None:
            self.cache[call.cache_status] += 1
        self.milliseconds.append(call.duration * 1000)


class Totals:
    """Totals since the start or the last reset; they are counted when they are asked for.

    Calls that were dropped before that, as there were too many, are not in them.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._counted = calls.cleared_at
        self._cleared = calls.cleared_at
        self._sums = _Sums()

    def read(self) -> dict[str, Any]:
        """Count the calls since the last time, and return all of it as JSON."""
        with self._lock:
            if self._calls.cleared_at != self._cleared:
                self._counted = self._cleared = self._calls.cleared_at
                self._sums = _Sums()
            for call in self._calls.since(self._counted):
                self._sums.add(call)
                self._counted = call.id
            return self._to_json()

    def _to_json(self) -> dict[str, Any]:
        sums = self._sums
        ordered = sorted(sums.milliseconds)
        looked_up = sums.cache.total()
        return {
            **sums.everything.to_json(),
            "served": self._counted - self._cleared,
            "cache_hits": sums.cache["HIT"],
            "cache_misses": sums.cache["MISS"],
            "hit_ratio": round(sums.cache["HIT"] / looked_up, 4) if looked_up else None,
            "p50_ms": _percentile(ordered, 0.5),
            "p95_ms": _percentile(ordered, 0.95),
            "errors_by_code": dict(sums.errors.most_common(MAX_GROUPS)),
            "by_model": _sorted(sums.models),
            "by_metadata": _sorted(sums.metadata),
        }


def _add(groups: dict[str, _Group], name: str, call: Call) -> None:
    group = groups.get(name)
    if group is None:
        if len(groups) >= MAX_GROUPS:
            return
        group = groups[name] = _Group()
    group.add(call)


def _sorted(groups: dict[str, _Group]) -> dict[str, dict[str, int]]:
    ordered = sorted(groups.items(), key=lambda item: -item[1].calls)
    return {name: group.to_json() for name, group in ordered}


def _name_error(call: Call) -> str:
    """Return the gateway's code, else the status, else what happened."""
    error = call.error
    if error is not None and error.code is not None:
        return str(error.code)
    if call.fault is not None:
        return f"fault {call.fault}"
    if call.status is not None and call.status >= 400:
        return f"HTTP {call.status}"
    return "cut off" if not call.is_complete else "in the stream"


def _percentile(ordered: list[float], share: float) -> float | None:
    """Return the nearest-rank percentile of sorted numbers."""
    if not ordered:
        return None
    return round(ordered[ceil(len(ordered) * share) - 1], 1)
