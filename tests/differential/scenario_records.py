"""What is recorded of a run: everything a caller or a server can see, as JSON, without ports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import re
import socket
import stat
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fault_server import Request

Record = dict[str, Any]

_GATEWAYS = ("cf-aig-",)


# ---------------------------------------------------------------- what a caller sees


def describe_error(error: BaseException) -> Record:
    """Return all that a caller can ask of an exception."""
    record: Record = {
        "type": name_of(type(error)),
        "text": re.sub(r"0x[0-9a-f]+", "0x...", str(error)),
        "mro": [name_of(kind) for kind in type(error).__mro__],
        "notes": list(getattr(error, "__notes__", ())),
        "cause": _name_or_none(error.__cause__),
    }
    for name in ("status_code", "message", "body", "data"):
        with contextlib.suppress(Exception):
            record[name] = as_json(getattr(error, name))
    with contextlib.suppress(Exception):
        record["headers"] = sorted(error.headers.multi_items())
    with contextlib.suppress(Exception):
        record["request"] = f"{error.request.method} {error.request.url}"
    return record


def shows(error: BaseException, *secrets: str) -> list[str]:
    """Return the secrets that an error shows, or a variable of the adapter's frames in it."""
    things: list[object] = []
    seen: list[BaseException] = []
    links: list[BaseException | None] = [error]
    while links:
        link = links.pop()
        if link is None or any(link is other for other in seen):
            continue
        seen.append(link)
        links += [link.__cause__, link.__context__]
        things += [link, *getattr(link, "__notes__", ())]
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if "/mistral_cf_adapter/" in frame.f_code.co_filename:
                things += frame.f_locals.values()
    shown = "\n".join(map(_shown, things))
    return [secret for secret in secrets if secret in shown]


def _shown(value: object) -> str:
    try:
        return f"{value} {value!r}"
    except Exception:  # an error of the SDK's that is half-built has no text
        return ""


def _name_or_none(error: BaseException | None) -> str | None:
    return None if error is None else name_of(type(error))


def name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def describe_response(response: Any) -> Record:
    """Return all that a caller can ask of a response of the HTTP library."""
    asked = {name: _ask(response, name) for name in _ATTRIBUTES}
    return {
        **asked,
        "elapsed": _is_positive(_ask(response, "elapsed")),
        "headers": sorted(response.headers.multi_items()),
        "cookies": _ask(response, "cookies"),
        "history": [_describe_hop(hop) for hop in response.history],
        "next_request": str(getattr(response.next_request, "url", None)),
        "request": f"{response.request.method} {response.request.url}",
        "request_headers": own_headers(response.request.headers.multi_items()),
        "extensions": sorted(response.extensions),
        "kind": name_of(type(response)),
    }


_ATTRIBUTES = (
    "status_code", "reason_phrase", "url", "http_version", "encoding", "charset_encoding",
    "is_closed", "is_stream_consumed", "num_bytes_downloaded", "is_success", "is_redirect",
    "has_redirect_location", "links", "text", "content", "default_encoding",
)  # fmt: skip


def _ask(response: Any, name: str) -> Any:
    """Return an attribute as JSON, or the error of asking for it."""
    try:
        return as_json(getattr(response, name))
    except Exception as error:
        return f"{name_of(type(error))}: {error}"


def _is_positive(elapsed: Any) -> Any:
    return "positive" if re.fullmatch(r"\d+:\d\d:\d\d.\d+", str(elapsed)) else elapsed


def _describe_hop(hop: Any) -> Record:
    return {
        "status": hop.status_code,
        "url": str(hop.url),
        "request": f"{hop.request.method} {hop.request.url}",
        "text": _ask(hop, "text"),
        "elapsed": _is_positive(_ask(hop, "elapsed")),
        "history": len(hop.history),
        "is_closed": hop.is_closed,
        "headers": sorted(hop.headers.multi_items()),
    }


def as_json(value: Any) -> Any:
    """Return a value of the SDK's as JSON."""
    if hasattr(value, "model_dump"):
        with contextlib.suppress(Exception):
            return {"class": name_of(type(value)), **value.model_dump(mode="json", warnings=False)}
        return repr(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {str(name): as_json(each) for name, each in value.items()}
    return str(value)


# ---------------------------------------------------------------- what a server sees


def describe_request(request: Request) -> Record:
    lines = request.head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":")[::2] for line in lines[1:]]
    boundary = re.search(r"boundary=(\w+)", request.head.decode("latin-1"))
    body = request.body.decode("latin-1")
    if boundary:
        body = body.replace(boundary[1], "{boundary}")
    return {
        "line": lines[0],
        "headers": own_headers(pairs),
        "order": [name.lower() for name, _ in pairs if not _is_gateways(name)],
        "body": body,
    }


def own_headers(pairs: Any) -> list[list[str]]:
    """Return headers, sorted, without those that the gateway is told something by."""
    return sorted(
        [name.lower(), re.sub(r"boundary=\w+", "boundary=...", value.strip())]
        for name, value in pairs
        if not _is_gateways(name)
    )


def _is_gateways(name: str) -> bool:
    return name.lower().startswith(_GATEWAYS)


# ---------------------------------------------------------------- what goes on beside the call


class Watch:
    """Collects warnings, log records of the HTTP library, and errors that nobody can catch."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.logs: list[str] = []
        self.unraisable: list[str] = []
        self.sleeps: list[float] = []

    def record(self) -> Record:
        return {
            "warnings": self.warnings,
            "logs": self.logs,
            "unraisable": self.unraisable,
            "sleeps": self.sleeps,
        }

    def note_loop_error(self, _loop: Any, context: dict[str, Any]) -> None:
        self.unraisable.append(f"event loop: {context.get('message')}: {context.get('exception')}")


class _Handler(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(f"{record.name} {record.levelname}: {record.getMessage()}")


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """Collect what goes on beside the calls of a block."""
    watch = Watch()
    handler = _Handler(watch.logs)
    loggers = [logging.getLogger(name) for name in ("httpx", "httpx2", "mistralai")]
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda args: watch.unraisable.append(
        f"{args.err_msg or 'Exception ignored in'}: {args.exc_type.__name__}: {args.exc_value}"
    )
    threading.excepthook = lambda args: watch.unraisable.append(
        f"thread: {args.exc_type.__name__}: {args.exc_value}"
    )
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield watch
            gc.collect()
        watch.warnings.extend(_describe_warning(each) for each in caught)
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        for logger in loggers:
            logger.removeHandler(handler)


def _describe_warning(caught: warnings.WarningMessage) -> str:
    text = re.sub(r"0x[0-9a-f]+|fd=\d+|\('127\.0\.0\.1', \d+\)", "...", str(caught.message))
    return f"{caught.category.__name__}: {text}"


def count_sockets(ports: set[int]) -> int:
    """Count this process's own ends of connections to servers of these ports."""
    return sum(_is_client_socket(int(fd), ports) for fd in os.listdir("/proc/self/fd"))  # noqa: PTH208


def _is_client_socket(descriptor: int, ports: set[int]) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        sock = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return False
    with sock:
        if sock.family != socket.AF_INET or sock.type != socket.SOCK_STREAM:
            return False
        return sock.getsockname()[1] not in {*ports, 0}


# ---------------------------------------------------------------- what differs from run to run


def without_ports(record: str, origins: dict[str, str]) -> str:
    """Return a record in which origins of servers are names: ports differ from run to run."""
    for name, origin in origins.items():
        host = origin.rpartition("//")[2]
        record = record.replace(origin, f"{{{name}}}").replace(host, f"{{{name} host}}")
    return record


def watch_loop(watch: Watch) -> None:
    asyncio.get_running_loop().set_exception_handler(watch.note_loop_error)
