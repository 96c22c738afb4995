"""Cloudflare's REST API for a gateway's logs: list them, read one, score one.

Documented by Cloudflare (API reference, "AI Gateway Logs"): the paths; a Bearer token of its
own; the fields of a log; the body of a PATCH, with `feedback` from -1 to 1, `score` from 0 to
100 and flat `metadata`; its response, an empty `result`; 404 with a list of errors; pages of
at most 50.

Measured by others on live gateways: a log may be missing for some hundred milliseconds after
a stream; `metadata` comes as an object, though the reference says text.

Our assumptions: a missing or wrong token gives 401 with the code 10000; an unknown account or
gateway looks like an unknown log, code 7002; a value out of range gives 400 with 7001;
`metadata` in a PATCH replaces what was there and null empties it; the newest log comes first,
20 a page; `duration` is in milliseconds. Filters, deletion and payloads are not served: 501.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from mistral_cf_adapter.testing.mistral_text import as_dict
from mistral_cf_adapter.testing.responses import Response
from mistral_cf_adapter.testing.strict_json import read_strict, write_strict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mistral_cf_adapter.testing.records import LogRecord, ReceivedRequest
    from mistral_cf_adapter.testing.state import State

ROOT = "/client/v4"
PAGE, LONGEST_PAGE = 20, 50
NOT_FOUND, INVALID, UNAUTHORIZED, UNSERVED = (404, 7002), (400, 7001), (401, 10000), (501, 501)


def is_for_api(request: ReceivedRequest) -> bool:
    """Return whether a request is for Cloudflare's API rather than for a gateway."""
    return request.raw_path.startswith(f"{ROOT}/")


def respond(request: ReceivedRequest, state: State) -> Response:
    """Return the response of Cloudflare's API to a request for a gateway's logs."""
    if request.headers.get("authorization") != f"Bearer {state.api_token}":
        return _error(UNAUTHORIZED, "Authentication error")
    found = _address(request.raw_path)
    if found is None:
        return _error(UNSERVED, "LocalGateway serves nothing of Cloudflare's API but logs")
    account_id, gateway_id, log_id = found
    if account_id != state.account_id or gateway_id not in state.gateway_ids:
        return _error(NOT_FOUND, "Not Found")
    if log_id is None:
        return _list(request, _written(state, gateway_id))
    return _one(request, state, gateway_id, log_id)


def _address(raw_path: str) -> tuple[str, str, str | None] | None:
    """Return account, gateway and log of a path, None if it is another one."""
    parts = [unquote(part) for part in raw_path.removeprefix(f"{ROOT}/").split("/")]
    match parts:
        case ["accounts", account_id, "ai-gateway", "gateways", gateway_id, "logs"]:
            return account_id, gateway_id, None
        case ["accounts", account_id, "ai-gateway", "gateways", gateway_id, "logs", log_id]:
            return account_id, gateway_id, log_id
        case _:
            return None


def _written(state: State, gateway_id: str) -> list[LogRecord]:
    now = state.now()
    return [log for log in state.logs if log.gateway_id == gateway_id and log.written_at <= now]


def _list(request: ReceivedRequest, logs: list[LogRecord]) -> Response:
    params = request.params
    if request.method != "GET" or not params.keys() <= {"page", "per_page"}:
        return _error(UNSERVED, "LocalGateway serves GET with page= and per_page=, no filters")
    page, size = params.get("page", "1"), params.get("per_page", str(PAGE))
    if not (_is_count(page) and _is_count(size) and int(size) <= LONGEST_PAGE):
        return _error(INVALID, f"page must be from 1, per_page from 1 to {LONGEST_PAGE}")
    start = (int(page) - 1) * int(size)
    shown = logs[::-1][start : start + int(size)]
    info = {
        "count": len(shown),
        "page": int(page),
        "per_page": int(size),
        "total_count": len(logs),
    }
    result = [_shown(log) for log in shown]
    return _json({"result": result, "result_info": info, "success": True})


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 10 and int(text) > 0


def _one(request: ReceivedRequest, state: State, gateway_id: str, log_id: str) -> Response:
    log = next((log for log in _written(state, gateway_id) if log.id == log_id), None)
    if log is None:
        return _error(NOT_FOUND, "Log not found")
    match request.method:
        case "GET":
            return _json({"result": _shown(log), "success": True})
        case "PATCH":
            return _edit(request, state, log)
        case _:
            return _error(UNSERVED, "LocalGateway serves GET and PATCH of a log")


def _edit(request: ReceivedRequest, state: State, log: LogRecord) -> Response:
    try:
        value = read_strict(request.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return _error(INVALID, "The body must be a JSON object")
    fields = cast("dict[str, Any]", value)
    changes: dict[str, Any] = {}
    for name, (fits, wanted) in EDITABLE.items():
        if name not in fields:
            continue
        if fields[name] is not None and not fits(fields[name]):
            return _error(INVALID, f"{name} must be {wanted}, or null")
        changes[name] = fields[name]
    if "metadata" in changes:
        changes["metadata"] = changes["metadata"] or {}
    state.logs[state.logs.index(log)] = replace(log, **changes)
    return _json({"result": {}, "success": True})


def _shown(log: LogRecord) -> dict[str, Any]:
    counted = _usage(log)
    return {
        "id": log.id,
        "cached": log.cached,
        "created_at": log.created_at.isoformat().replace("+00:00", "Z"),
        "custom_cost": log.custom_cost is not None,
        "duration": log.duration,
        "metadata": dict(log.metadata),
        "model": log.model or "",
        "path": log.path,
        "provider": log.provider,
        "status_code": log.status_code,
        "step": log.step,
        "success": log.success,
        "tokens_in": counted.get("prompt_tokens"),
        "tokens_out": counted.get("completion_tokens"),
    }


def _usage(log: LogRecord) -> dict[str, Any]:
    try:
        return as_dict(as_dict(json.loads(log.response or b"")).get("usage"))
    except (ValueError, RecursionError):  # a stream, bytes, or nothing
        return {}


def _between(low: float, high: float) -> Callable[[Any], bool]:
    # JSON's true is not a number, though Python's is.
    return lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    )


def _is_flat(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    entries = cast("dict[str, Any]", value)
    return all(isinstance(entry, str | int | float) for entry in entries.values())


EDITABLE: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "feedback": (_between(-1, 1), "a number from -1 to 1"),
    "score": (_between(0, 100), "a number from 0 to 100"),
    "metadata": (_is_flat, "an object of texts, numbers and booleans"),
}


def _error(kind: tuple[int, int], message: str) -> Response:
    status, code = kind
    body: dict[str, Any] = {"errors": [{"code": code, "message": message}], "success": False}
    return _json(body, status)


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, (("content-type", "application/json"),), write_strict(value))
