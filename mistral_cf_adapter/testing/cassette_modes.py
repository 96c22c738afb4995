"""Whether a local gateway records to a cassette, or answers from one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cf_adapter.testing import cassette
from mistral_cf_adapter.testing.player import MATCHES, Match, Player
from mistral_cf_adapter.testing.recorder import Recorder, Secrets

if TYPE_CHECKING:
    from os import PathLike

    from mistral_cf_adapter.testing.state import State


def open_cassette(
    state: State,
    *,
    record: str | PathLike[str] | None,
    replay: str | PathLike[str] | None,
    match: Match,
) -> Recorder | Player:
    """Return what records to a file or replays it; raise ValueError for what makes no sense."""
    if match not in MATCHES:
        msg = f"match={match!r}: use one of {', '.join(MATCHES)}"
        raise ValueError(msg)
    secrets = Secrets(state)
    if replay is None:
        path = Path(record or "").absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        return Recorder(path, secrets)
    if record is not None or state.upstream is not None:
        other = "record" if record is not None else "upstream"
        msg = f"replay= answers in place of the upstream: leave out {other}="
        raise ValueError(msg)
    path = Path(replay)
    return Player(path, cassette.load(path), match, secrets)
