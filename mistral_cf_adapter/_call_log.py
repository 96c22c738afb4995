"""The log record of a call, and `CF_AIG_LOG`, which shows the log without a line of code."""

import logging
import sys
from dataclasses import fields
from typing import Any, Literal

from ._gateway_call import GatewayCall
from ._usage import Usage

logger = logging.getLogger("mistral_cf_adapter")

_ROUNDED = ("elapsed", "duration", "time_to_first_event")
_USAGE = tuple(field.name for field in fields(Usage))
_NESTED = ("dlp", "usage")
LogValue = str | int | float | bool | None


def flatten(call: GatewayCall) -> dict[str, LogValue]:
    """Return the fields of a call and of its usage, one name each, without what is nested."""
    values: dict[str, Any] = {
        field.name: getattr(call, field.name) for field in fields(call) if field.name not in _NESTED
    }
    for name in _ROUNDED:
        if values[name] is not None:
            values[name] = round(values[name], 4)
    return values | {name: getattr(call.usage, name, None) for name in _USAGE}


def select(values: dict[str, LogValue]) -> dict[str, str | int | float | bool]:
    """Return the fields that are set and say something."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and value is not False and (name, value) != ("routed", "gateway")
    }


def log_call(call: GatewayCall) -> None:
    """Log a call that is over, with each field as an attribute of the record."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    values = flatten(call)
    text = " ".join(f"{name}={value}" for name, value in select(values).items())
    record = logger.makeRecord(
        *(logger.name, logging.DEBUG, __file__, 0, "%s", (text,), None, "log_call")
    )
    # Not `extra=`, which raises where a record factory of the application's has set one of these.
    for name, value in values.items():
        record.__dict__.setdefault(name, value)
    logger.handle(record)


class _Handler(logging.StreamHandler[Any]):
    """Writes to stderr as long as the application has no handlers: those get the records as well.

    `logging.basicConfig()` instead would keep the application's own from having an effect.
    """

    def emit(self, record: logging.LogRecord) -> None:
        others = [handler for handler in logger.handlers if handler is not self]
        if not others and not logging.getLogger().handlers:
            self.stream = sys.stderr
            super().emit(record)


_handler = _Handler()
_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))


def show_log(level: Literal["debug", "info"] | None) -> None:
    """Set the level of the logger `mistral_cf_adapter`, and write it to stderr."""
    if level is None:
        return
    logger.setLevel(level.upper())
    if _handler not in logger.handlers:
        logger.addHandler(_handler)
