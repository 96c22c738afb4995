"""A call as text to copy: for a shell, for Python, and as the lines of a test that repeat it."""

from __future__ import annotations

import json
from pprint import pformat
from shlex import quote
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter._envelopes import parse_json
from mistral_cf_adapter._options import header_names
from mistral_cf_adapter.testing.call_texts import (
    MAX_PARSED,
    answer_of,
    deltas_of,
    fields_of,
    message_of,
)
from mistral_cf_adapter.testing.mistral_text import as_dict
from mistral_cf_adapter.testing.operation_names import is_without_id
from mistral_cf_adapter.testing.responses import GATEWAY_ERRORS, POLICY_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mistral_cf_adapter.testing.calls import Call, CallError

_VARIABLES = {
    "cf-aig-authorization": ("Bearer ", "CF_AIG_TOKEN"),
    "authorization": ("Bearer ", "MISTRAL_API_KEY"),
    "cf-access-client-id": ("", "CF_AIG_ACCESS_CLIENT_ID"),
    "cf-access-client-secret": ("", "CF_AIG_ACCESS_CLIENT_SECRET"),
    "cf-access-token": ("", "CF_AIG_ACCESS_TOKEN"),
}
"""Headers that are secrets: the variable that stands in their place, and what precedes it."""
_COPIED = frozenset({"content-type", "accept"})
_LISTS = frozenset({"allowed_models", "allowed_providers"})
_JSON = frozenset(
    {"cache_ttl", "skip_cache", "metadata", "collect_log", "collect_log_payload", "custom_cost"}
    | {"request_timeout", "max_attempts", "retry_delay", "no_wholesale", "no_session_affinity"}
)
"""Options that are no texts."""
_WIDTH = 88
_MAX_PIECES = 50


def make_snippets(call: Call, origin: str) -> dict[str, str]:
    """Return the call for curl, for Python and for a test, without the credentials it has."""
    return {
        "curl": _unless_too_deep(lambda: _curl(call, origin)),
        "python": _unless_too_deep(lambda: _python(call, origin)),
        "test": _unless_too_deep(lambda: _test(call)),
    }


def _unless_too_deep(write: Callable[[], str]) -> str:
    try:
        return write()
    except RecursionError:
        return "# This call's JSON is nested too deep to copy."


def _url(call: Call, origin: str) -> str:
    query = f"?{call.request.query}" if call.request.query else ""
    return f"{origin}{call.request.raw_path}{query}"


def _copied_headers(call: Call) -> Iterator[tuple[str, str]]:
    for name, value in call.request.headers.items():
        if name in _VARIABLES or name in _COPIED or name.startswith("cf-aig-"):
            yield name, value


# ---------------------------------------------------------------- curl


def _curl(call: Call, origin: str) -> str:
    request = call.request
    lines = [f"curl{' -N' if call.is_streamed else ''} {quote(_url(call, origin))}"]
    if request.method != ("POST" if request.body else "GET"):
        lines.append(f"-X {request.method}")
    for name, value in _copied_headers(call):
        if name in _VARIABLES:
            prefix, variable = _VARIABLES[name]
            lines.append(f'-H "{name}: {prefix}${variable}"')
        else:
            lines.append(f"-H {quote(f'{name}: {value}')}")
    if request.body:
        text = _short_text(request.body)
        lines.append(f"--data-binary {'@body' if text is None else quote(text)}")
    return " \\\n  ".join(lines)


def _short_text(body: bytes) -> str | None:
    """Return a body as text; None where it is too long to copy, or no text."""
    if len(body) > MAX_PARSED:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


# ---------------------------------------------------------------- Python


def _python(call: Call, origin: str) -> str:
    fields = fields_of(call)
    if not is_without_id(call.request.method, call.path) or (call.request.body and not fields):
        return _python_request(call, origin)
    fields.pop("stream", None)
    options = _options_of(call)
    names = "gateway_options, make_client" if options else "make_client"
    called = _write_call(f"client.{call.operation}", fields)
    lines = [f"response = {called}", "print(response)"]
    if call.request.streams:
        lines = [f"with {called} as events:", "    for event in events:", "        print(event)"]
    if options:
        block = "\n".join(lines).replace("\n", "\n    ")
        lines = [f"with {_write_call('gateway_options', options)}:", f"    {block}"]
    start = f"from mistral_cf_adapter import {names}\n\nclient = make_client()"
    return "\n".join([start, *lines])


def _python_request(call: Call, origin: str) -> str:
    lines = ["import os", "", "import httpx", "", "headers = {"]
    for name, value in _copied_headers(call):
        shown = repr(value)
        if name in _VARIABLES:
            prefix, variable = _VARIABLES[name]
            shown = f"os.environ[{variable!r}]"
            shown = f"{prefix!r} + {shown}" if prefix else shown
        lines.append(f"    {name!r}: {shown},")
    arguments = [repr(call.request.method), repr(_url(call, origin)), "headers=headers"]
    if call.request.body:
        text = _short_text(call.request.body)
        content = "open('body', 'rb')" if text is None else repr(text)
        arguments.append(f"content={content}")
    sent = f"response = httpx.request({', '.join(arguments)})"
    return "\n".join([*lines, "}", sent, "print(response.text)"])


def _options_of(call: Call) -> dict[str, Any]:
    """Return the gateway's headers of a request as keywords of `gateway_options()`."""
    found: dict[str, Any] = {}
    for option, header in header_names().items():
        value = call.request.headers.get(header)
        if value is not None:
            found[option] = _read_option(option, value)
    return found


def _read_option(option: str, value: str) -> Any:
    if option in _LISTS:
        return value.split(",")
    if option not in _JSON:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _write_call(function: str, keywords: Mapping[str, Any], *values: Any) -> str:
    """Return a call of a function in Python, in one line if that is short enough."""
    if not all(name.isidentifier() for name in keywords):
        return f"{function}(**{_literal(dict(keywords))})"
    arguments = [*map(_literal, values)]
    arguments += [f"{name}={_literal(value)}" for name, value in keywords.items()]
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    inner = "".join(f"    {_indent(argument)},\n" for argument in arguments)
    return f"{function}(\n{inner})"


def _indent(text: str) -> str:
    return text.replace("\n", "\n    ")


def _literal(value: Any) -> str:
    return pformat(value, width=_WIDTH - 8, sort_dicts=False)


# ---------------------------------------------------------------- a test


def _test(call: Call) -> str:
    expected: dict[str, Any] = {"path": call.path.removeprefix("v1/")}
    model = fields_of(call).get("model")
    if isinstance(model, str):
        expected["json_contains"] = {"model": model}
    return f"{_script(call)}\n{_write_call('cf_gateway.assert_sent', expected)}"


def _script(call: Call) -> str:
    """Return the line that lets the next such call get the same response."""
    if call.fault is not None:
        return _write_call("cf_gateway.fault", {}, call.fault)
    if call.error is not None and call.status is not None and call.status >= 400:
        return _script_failure(call, call.error, call.status)
    return _script_stream(call) if call.is_streamed else _script_body(call)


def _script_stream(call: Call) -> str:
    pieces = list(deltas_of(call))
    if len(pieces) > _MAX_PIECES or len(call.body) > MAX_PARSED:
        return "# This stream is too long to copy."
    return _write_call("cf_gateway.reply_stream", {}, pieces)


def _script_body(call: Call) -> str:
    message = message_of(call)
    if message:
        kept = {"tool_calls": message["tool_calls"]} if message.get("tool_calls") else {}
        return _write_call("cf_gateway.reply", kept, answer_of(call))
    value = parse_json(call.body) if len(call.body) <= MAX_PARSED else None
    if value is None:
        return "# This response is too long to copy, or no JSON."
    return _write_call("cf_gateway.reply_json", {}, value)


def _script_failure(call: Call, error: CallError, status: int) -> str:
    if error.code is not None and GATEWAY_ERRORS.get(error.code, (0, ""))[0] == status:
        return _write_call("cf_gateway.fail", {}, error.code)
    body = as_dict(parse_json(call.body))
    if error.source == "provider":
        keywords = {"body": body} if body and status not in {401, 422, 429} else {}
        return _write_call("cf_gateway.upstream_fail", keywords, status)
    kinds = (kind for kind, (usual, _) in POLICY_ERRORS.items() if usual == status)
    kind = next(kinds, None) if isinstance(body.get("error"), dict) else None
    if kind is not None:
        return _write_call("cf_gateway.fail", {"kind": kind})
    return _write_call("cf_gateway.fail", {"status": status, "body": call.body[:MAX_PARSED]})
