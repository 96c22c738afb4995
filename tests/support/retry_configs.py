"""Configurations of the SDK's retries whose waits take next to no time."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mistral_cf_adapter._sdk import ROOT


def retries(pause: int = 1, *, elapsed: int = 60_000, connections: bool = True) -> Any:
    """Retry for `elapsed` milliseconds, with pauses of as many; failed connections too."""
    utils = import_module(f"{ROOT}.utils")
    return utils.RetryConfig(
        "backoff", utils.BackoffStrategy(pause, pause, 1, elapsed), connections
    )
