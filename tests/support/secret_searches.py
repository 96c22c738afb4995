"""Secrets as they are drawn, and all the places where one could be seen."""

from __future__ import annotations

import base64
import hashlib
import pickle
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase
from hypothesis import settings as example_settings
from hypothesis import strategies as st

import mistral_cf_adapter
from mistral_cf_adapter import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = str(Path(mistral_cf_adapter.__file__).parent)
PIECE = 8
TOKEN = "cfut_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
KEY = "Zq7xWm3kVb9TnR2yLc5hJd8gFs1pQe6u"
OTHER = "Hy4bNt8vKx2mPw6cRz9sLd3fGj7qAe5o"
some = example_settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # a smaller number is no simpler secret
    suppress_health_check=list(HealthCheck),
)
a_few = example_settings(some, max_examples=5)


def drawn(number: int) -> str:
    return base64.b64encode(hashlib.sha256(str(number).encode()).digest()).decode()


PAIRS = st.tuples(st.integers(0, 1 << 32), st.integers(1 << 33, 1 << 34)).map(
    lambda numbers: tuple(map(drawn, numbers))
)


def shown_in(text: str, *secrets: str) -> list[str]:
    """Return the pieces of secrets that a text shows."""
    pieces = [s[at : at + PIECE] for s in secrets for at in range(len(s) - PIECE + 1)]
    return [piece for piece in pieces if piece in text]


def forms_of(thing: object) -> str:
    """Return all that is shown of an object that is printed, or pickled if it lets itself be."""
    try:
        pickled = pickle.dumps(thing).decode("latin-1")
    except Exception as refusal:
        pickled = str(refusal)
    return "\n".join([repr(thing), str(thing), f"{thing}", f"{thing!a}", pickled])


def told_by(error: BaseException) -> str:
    """Return all that an exception shows, with what it is chained to and our frames' variables."""
    links, seen = [error], []
    while links:
        link = links.pop()
        if link is None or link in seen:
            continue
        seen.append(link)
        links += [link.__cause__, link.__context__]
    told = [
        f"{show(str, link)} {show(repr, link)} {getattr(link, '__notes__', '')}" for link in seen
    ]
    told += [
        pickle.dumps(link).decode("latin-1") for link in seen if isinstance(link, GatewayError)
    ]
    for link in seen:
        frames = [frame for frame, _ in traceback.walk_tb(link.__traceback__)]
        ours = [frame for frame in frames if frame.f_code.co_filename.startswith(PACKAGE)]
        told += [show(repr, value) for frame in ours for value in frame.f_locals.values()]
    return "\n".join(told)


def show(form: Callable[[object], str], thing: object) -> str:
    """Return a text of an object; of one that an error left half-built there may be none."""
    try:
        return form(thing)
    except AttributeError:
        return ""
