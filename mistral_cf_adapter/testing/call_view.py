"""A call as JSON, for the HTTP API and the page. Secrets are masked in all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistral_cf_adapter._secrets import Secret, abbreviate
from mistral_cf_adapter.testing.call_texts import answer_of, prompt_of, shorten
from mistral_cf_adapter.testing.limits import MIB
from mistral_cf_adapter.testing.masks import Mask, carried_secrets
from mistral_cf_adapter.testing.secret_names import is_secret_header
from mistral_cf_adapter.testing.snippets import make_snippets
from mistral_cf_adapter.testing.used_options import explain_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mistral_cf_adapter.testing.calls import Call, CallError

    Headers = Iterable[tuple[str, str]]

MAX_SHOWN = MIB
"""Characters of a body that are shown."""
MAX_MESSAGE = 1000
"""Characters of an error's message that are shown."""


def make_mask(call: Call, known: Iterable[str]) -> Mask:
    """Return what masks the gateway's secrets and those that the call carries."""
    return Mask((*carried_secrets(call.request.headers), *known))


def summarize(call: Call, known: Iterable[str]) -> dict[str, Any]:
    """Return a call in one line, as the list shows it."""
    mask = make_mask(call, known)
    view: dict[str, Any] = mask.mask_all(_summary(call, mask))
    return view


def describe(call: Call, known: Iterable[str], origin: str) -> dict[str, Any]:
    """Return all of a call: headers, bodies, pieces, what each option did, and copies of it."""
    mask = make_mask(call, known)
    request, response = call.request, call.body
    query = f"?{request.query}" if request.query else ""
    view: dict[str, Any] = mask.mask_all(
        {
            **_summary(call, mask),
            "url": request.raw_path + query,
            "options": explain_options(call),
            "snippets": make_snippets(call, origin),
            "request": {"body": _text(request.body, mask), "bytes": len(request.body)},
            "response": {
                "body": None if call.is_streamed else _text(response, mask),
                "bytes": len(response),
                "pieces": _pieces(call, mask) if call.is_streamed else [],
            },
        }
    )
    for option in view["options"]:
        if is_secret_header(option["header"]):
            option["value"] = _hide(option["value"])
    # Masked by their names, and so not once more above.
    view["request"]["headers"] = _shown_headers(request.headers.items(), mask)
    view["response"]["headers"] = _shown_headers(call.response_headers, mask)
    return view


def _summary(call: Call, mask: Mask) -> dict[str, Any]:
    usage, first = call.usage, call.time_to_first_byte
    return {
        "id": call.id,
        "log_id": call.log_id or None,
        "time": call.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "operation": call.operation,
        "method": call.request.method,
        "path": f"/{call.path.lstrip('/')}",
        "provider": call.provider,
        "model": call.model,
        "status": call.status,
        "cache": call.cache_status,
        "streamed": call.is_streamed,
        "tokens_in": None if usage is None else usage.prompt_tokens,
        "tokens_out": None if usage is None else usage.completion_tokens,
        "ms": round(call.duration * 1000, 1),
        "first_byte_ms": None if first is None else round(first * 1000, 1),
        "attempts": call.attempts,
        "metadata": dict(call.metadata),
        "error": None if call.error is None else _error(call.error, mask),
        "fault": call.fault,
        "complete": call.is_complete,
        "client": None if call.client is None else "{}:{}".format(*call.client),
        "prompt": shorten(prompt_of(call), mask),
        "answer": shorten("" if call.error else answer_of(call), mask),
    }


def _error(error: CallError, mask: Mask) -> dict[str, Any]:
    message = mask.beginning(error.message, MAX_MESSAGE)
    return {"source": error.source, "code": error.code, "message": message}


def _pieces(call: Call, mask: Mask) -> list[dict[str, Any]]:
    texts: list[str] = []
    left = MAX_SHOWN + MIB  # a secret at the end of what is shown is to be whole
    for _, piece in call.pieces:
        if left <= 0:
            break
        texts.append(piece[:left].decode(errors="replace"))
        left -= len(piece)
    shown: list[dict[str, Any]] = []
    left = MAX_SHOWN
    # A secret may go from one piece or event to the next, and all of them are read as one text.
    for text, (moment, _) in zip(mask.stream(texts), call.pieces, strict=False):
        if left <= 0:
            break
        shown.append({"ms": round(moment * 1000, 1), "text": text[:left]})
        left -= len(text)
    return shown


def _text(body: bytes, mask: Mask) -> str | None:
    """Return a body, or its beginning, as text; None if it is none."""
    is_cut = len(body) > MAX_SHOWN
    try:
        text = body[: MAX_SHOWN + MIB].decode(errors="ignore" if is_cut else "strict")
    except UnicodeDecodeError:
        return None
    return mask.beginning(text, MAX_SHOWN)


def _shown_headers(headers: Headers, mask: Mask) -> list[list[str]]:
    return [
        [name, _hide(value) if is_secret_header(name) else mask(value)] for name, value in headers
    ]


def _hide(value: str) -> str:
    scheme, space, rest = value.partition(" ")
    if scheme.lower() in {"bearer", "basic"} and space:
        return f"{scheme} {abbreviate(Secret(rest))}"
    return abbreviate(Secret(value))
