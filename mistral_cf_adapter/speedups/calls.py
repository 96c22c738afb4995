"""What a call computes and throws away, or computes again: content types and debug texts."""

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

from .seams import Found

_LIMIT = 256


def match_content_type(found: Found) -> Callable[[str, str], bool]:
    """Return the replacement for `values.match_content_type`, which parses a mail header."""
    original: Callable[[str, str], bool] = found.original
    remembered = functools.lru_cache(maxsize=_LIMIT)(original)
    is_untouched = found.watch()

    def match_content_type(content_type: str, pattern: str) -> bool:
        if len(content_type) > _LIMIT or not is_untouched():
            return original(content_type, pattern)
        if pattern in {content_type, "*", "*/*"}:
            return True
        return remembered(content_type, pattern)

    return match_content_type


def get_body_content(found: Found) -> Callable[[Any], str]:
    """Return the replacement for `basesdk.get_body_content`: nothing where nobody listens.

    It renders the whole body of every request, images and recordings included, for a logger
    which by default does nothing.
    """
    original: Callable[[Any], str] = found.original
    logger = importlib.import_module(".utils.logger", found.module.__package__)
    silent: type = vars(logger)["NoOpLogger"]
    is_untouched = found.watch()

    def get_body_content(req: Any) -> str:
        caller = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if type(caller.f_locals.get("logger")) is silent and is_untouched():
            return ""
        return original(req)

    return get_body_content
