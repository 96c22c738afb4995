"""Whether a local gateway records to a cassette, or answers from one."""

from __future__ import annotations

import os
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
    """Return what records to a file or replays it.

    Raises:
        ValueError: for what makes no sense.
        OSError: if the file cannot be written or read.
    """
    if match not in MATCHES:
        msg = f"match={match!r}: use one of {', '.join(MATCHES)}"
        raise ValueError(msg)
    secrets = Secrets(state)
    if replay is None:
        path = Path(record or "").absolute()
        _check_writable(path)
        return Recorder(path, secrets)
    if record is not None or state.upstream is not None:
        other = "record" if record is not None else "upstream"
        msg = f"replay= answers in place of the upstream: leave out {other}="
        raise ValueError(msg)
    path = Path(replay)
    return Player(path, cassette.load(path), match, secrets)


def _check_writable(path: Path) -> None:
    """Make the folder of a recording; raise OSError if the recording cannot be put there."""
    if path.exists() and not path.is_file():
        msg = f"record={str(path)!r} is a folder or a device: give the path of a file"
        raise IsADirectoryError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file is replaced as a whole, for which its folder must be writable.
    if not os.access(path.parent, os.W_OK | os.X_OK):
        msg = f"record={str(path)!r}: its folder is not writable"
        raise PermissionError(msg)
