"""Make of a scenario's data what the SDK and the HTTP library take."""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scenario import Scenario
    from scenario_records import Watch


def fill(value: Any, words: dict[str, str]) -> Any:
    """Return a value in which `{same}` and its like are what they stand for."""
    if isinstance(value, str):
        for name, word in words.items():
            value = value.replace(f"{{{name}}}", word)
        return value
    if isinstance(value, dict):
        return {name: fill(each, words) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(fill(each, words) for each in value)
    return value


def with_retries(
    arguments: dict[str, Any], retries: tuple[Any, ...], module: Any
) -> dict[str, Any]:
    """Return arguments of one call, with retries, and with files at their start."""
    made = {name: _made(value) for name, value in arguments.items()}
    if not retries:
        return made
    *backoff, connections = retries
    config = module.RetryConfig("backoff", module.BackoffStrategy(*backoff), connections)
    return {**made, "retries": config}


def _made(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get("content"), tuple):
        kind, content = value["content"]
        return {**value, "content": _CONTENTS[kind](content)}
    return value


class _Pipe(io.RawIOBase):
    """A file that can be read once."""

    def __init__(self, content: bytes) -> None:
        self._inner = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


_CONTENTS = {"file": io.BytesIO, "pipe": _Pipe}


# ---------------------------------------------------------------- HTTP clients


def build_http(
    scenario: Scenario, root: str, words: dict[str, str], *, is_async: bool, watch: Watch
) -> tuple[dict[str, Any], Any]:
    """Return keywords of `Mistral()`, and the HTTP client among them, if there is one."""
    keywords = fill(scenario.sdk, words)
    if keywords.get("debug_logger") == "logs":
        keywords["debug_logger"] = _DebugLogger(watch)
    if "retry_config" in keywords:
        module = importlib.import_module(f"{root}.utils.retries")
        keywords["retry_config"] = with_retries({}, keywords["retry_config"], module)["retries"]
    if scenario.http is None:
        return keywords, None
    library = _library(root)
    options = {
        name: _OPTIONS.get(name, _as_it_is)(library, value, watch, is_async)
        for name, value in fill(scenario.http, words).items()
    }
    client = (library.AsyncClient if is_async else library.Client)(**options)
    return {**keywords, "async_client" if is_async else "client": client}, client


def _library(root: str) -> Any:
    return importlib.import_module(f"{root}.basesdk").httpx


class _DebugLogger:
    def __init__(self, watch: Watch) -> None:
        self._logs = watch.logs

    def debug(self, message: str, *arguments: Any, **_: Any) -> None:
        self._logs.append(f"debug: {message.split(':', maxsplit=1)[0]}")


def _as_it_is(_library: Any, value: Any, _watch: Watch, _is_async: bool) -> Any:
    return value


def _limits(library: Any, value: Any, _watch: Watch, _is_async: bool) -> Any:
    return library.Limits(**value)


def _event_hooks(library: Any, value: Any, watch: Watch, is_async: bool) -> Any:
    hooks: dict[str, list[Any]] = {}
    for name in value:
        stage, hook = _EVENT_HOOKS[name]
        hooks.setdefault(stage, []).append(_hook(hook, watch, is_async))
    return hooks


def _hook(hook: Any, watch: Watch, is_async: bool) -> Any:
    async def run_async(message: Any) -> None:
        hook(message, watch)

    return run_async if is_async else lambda message: hook(message, watch)


def _raise_for_status(response: Any, _watch: Watch) -> None:
    response.raise_for_status()


def _note_request(request: Any, watch: Watch) -> None:
    watch.logs.append(f"hook: {request.method} {request.url}")


def _note_response(response: Any, watch: Watch) -> None:
    watch.logs.append(f"hook: {response.status_code} {response.url} {response.is_closed}")


def _add_header(request: Any, _watch: Watch) -> None:
    request.headers["x-hook"] = "added"


def _fail(_message: Any, _watch: Watch) -> None:
    msg = "of a hook"
    raise KeyError(msg)


_EVENT_HOOKS = {
    "raise for status": ("response", _raise_for_status),
    "note requests": ("request", _note_request),
    "note responses": ("response", _note_response),
    "add a header": ("request", _add_header),
    "fail on requests": ("request", _fail),
    "fail on responses": ("response", _fail),
}


def _auth(library: Any, value: Any, _watch: Watch, _is_async: bool) -> Any:
    if value == "digest":
        return library.DigestAuth("user", "word")
    return value


def _transport(library: Any, value: Any, watch: Watch, is_async: bool) -> Any:
    if value == "retries":
        return (library.AsyncHTTPTransport if is_async else library.HTTPTransport)(retries=1)

    def respond(request: Any) -> Any:
        watch.logs.append(f"transport: {request.method} {request.url}")
        return _TRANSPORTS[value](library)

    return library.MockTransport(respond)


def _broken(library: Any) -> Any:
    msg = "no route"
    raise library.ConnectError(msg)


_TRANSPORTS = {
    "a list": lambda library: library.Response(200, json={"object": "list", "data": []}),
    "an error": lambda library: library.Response(503, text="down"),
    "broken": _broken,
}
_OPTIONS = {"limits": _limits, "event_hooks": _event_hooks, "auth": _auth, "transport": _transport}


# ---------------------------------------------------------------- hooks of the SDK


class _ChangeRequest:
    def before_request(self, _context: Any, request: Any) -> Any:
        request.headers["x-sdk-hook"] = "before"
        return request


class _ReplaceRequest:
    def before_request(self, _context: Any, request: Any) -> Any:
        headers = {**request.headers, "x-sdk-hook": "replaced"}
        return type(request)(request.method, request.url, headers=headers, content=request.content)


class _FailBefore:
    def before_request(self, _context: Any, _request: Any) -> Any:
        msg = "before"
        raise LookupError(msg)


class _FailAfter:
    def after_success(self, _context: Any, _response: Any) -> Any:
        msg = "after"
        raise LookupError(msg)


class _ReplaceError:
    def after_error(self, _context: Any, response: Any, error: Any) -> Any:
        kind = type(error).__name__
        return response, LookupError(f"{kind} {getattr(response, 'status_code', None)}")


class _ReadBody:
    def after_success(self, _context: Any, response: Any) -> Any:
        response.extensions["body"] = len(response.read())
        return response


HOOKS = {
    "change request": ("before_request", _ChangeRequest),
    "replace request": ("before_request", _ReplaceRequest),
    "fail before": ("before_request", _FailBefore),
    "fail after": ("after_success", _FailAfter),
    "replace error": ("after_error", _ReplaceError),
    "read body": ("after_success", _ReadBody),
}


def build_hooks(names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name in names:
        stage, kind = HOOKS[name]
        yield stage, kind()
