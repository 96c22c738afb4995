"""Signatures of what takes many keywords, short enough for `help()`."""

import inspect
from collections.abc import Iterable
from typing import Any


class KeywordSignature(inspect.Signature):
    """A parameter for each keyword, which notebooks complete; shown as `(**keywords)`."""

    def format(self, **_: Any) -> str:
        """Return the text that `help()` prints, from Python 3.13 on."""
        return "(**keywords)"

    def __str__(self) -> str:
        return self.format()


def set_keywords(thing: Any, names: Iterable[str]) -> None:
    """Give a function or class the signature of these keywords, at run time."""
    kind = inspect.Parameter.KEYWORD_ONLY
    thing.__signature__ = KeywordSignature(
        [inspect.Parameter(name, kind, default=None) for name in names]
    )
