"""A call as JSON, for the HTTP API and the page. Secrets are masked in all of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from mistral_cf_adapter._secrets import Secret, abbreviate, clean
from mistral_cf_adapter._secrets import mask as mask_secrets
from mistral_cf_adapter.testing.call_texts import answer_of, prompt_of, shorten
from mistral_cf_adapter.testing.matching import SECRET_HEADERS
from mistral_cf_adapter.testing.mistral_text import as_list
from mistral_cf_adapter.testing.snippets import make_snippets
from mistral_cf_adapter.testing.used_options import explain_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mistral_cf_adapter.testing.calls import Call, CallError

    Headers = Iterable[tuple[str, str]]

MAX_SHOWN = 1024 * 1024
"""Bytes of a body that is shown."""
_SECRET_NAME = re.compile(r"token|key|secret|auth|cookie|password|credential|signature|jwt")
_PLAIN = re.compile(r"[ !#-\[\]-~]+")
_NO_SECRETS = frozenset({"cf-aig-cache-key"})


def is_secret_header(name: str) -> bool:
    """Return whether a header may hold a secret, by its name."""
    low = name.lower()
    return low in SECRET_HEADERS or (low not in _NO_SECRETS and bool(_SECRET_NAME.search(low)))


class Mask:
    """Masks secrets in texts, and in JSON with such texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        # Longest first: one may be a part of another.
        self._texts = sorted({clean(text) for text in texts if text}, key=len, reverse=True)
        self._secrets = [Secret(text) for text in self._texts]

    def __call__(self, text: str) -> str:
        """Return a text with the secrets in it abbreviated."""
        return mask_secrets(text, self._secrets)

    def mask_all(self, value: Any) -> Any:
        """Return JSON with the secrets abbreviated in all its texts."""
        # Most have none: one search in all of it is fast. JSON writes each of these as it is.
        text = json.dumps(value, ensure_ascii=False, default=str)
        if any(secret in text or not _PLAIN.fullmatch(secret) for secret in self._texts):
            return self._mask(value)
        return value

    def _mask(self, value: Any) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {self(key): self._mask(item) for key, item in fields.items()}
        if isinstance(value, list):
            return [self._mask(item) for item in as_list(value)]
        return value


def make_mask(call: Call, known: Iterable[str]) -> Mask:
    """Return what masks the gateway's secrets and those that the call carries."""
    carried = (value for name, value in call.request.headers.items() if is_secret_header(name))
    return Mask((*carried, *known))


def summarize(call: Call, known: Iterable[str]) -> dict[str, Any]:
    """Return a call in one line, as the list shows it."""
    view: dict[str, Any] = make_mask(call, known).mask_all(_summary(call))
    return view


def describe(call: Call, known: Iterable[str], origin: str) -> dict[str, Any]:
    """Return all of a call: headers, bodies, pieces, what each option did, and copies of it."""
    mask = make_mask(call, known)
    request, response = call.request, call.body
    query = f"?{request.query}" if request.query else ""
    view: dict[str, Any] = mask.mask_all(
        {
            **_summary(call),
            "url": request.raw_path + query,
            "options": explain_options(call),
            "snippets": make_snippets(call, origin),
            "request": {"body": _text(request.body), "bytes": len(request.body)},
            "response": {
                "body": None if call.is_streamed else _text(response),
                "bytes": len(response),
                "pieces": _pieces(call) if call.is_streamed else [],
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


def _summary(call: Call) -> dict[str, Any]:
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
        "error": None if call.error is None else _error(call.error),
        "fault": call.fault,
        "complete": call.is_complete,
        "client": None if call.client is None else "{}:{}".format(*call.client),
        "prompt": shorten(prompt_of(call)),
        "answer": shorten("" if call.error else answer_of(call)),
    }


def _error(error: CallError) -> dict[str, Any]:
    return {"source": error.source, "code": error.code, "message": error.message}


def _pieces(call: Call) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    left = MAX_SHOWN
    for moment, piece in call.pieces:
        if left <= 0:
            break
        text = piece[:left].decode(errors="replace")
        left -= len(piece)
        shown.append({"ms": round(moment * 1000, 1), "text": text})
    return shown


def _text(body: bytes) -> str | None:
    """Return a body, or its beginning, as text; None if it is none."""
    try:
        return body.decode() if len(body) <= MAX_SHOWN else body[:MAX_SHOWN].decode(errors="ignore")
    except UnicodeDecodeError:
        return None


def _shown_headers(headers: Headers, mask: Mask) -> list[list[str]]:
    return [
        [name, _hide(value) if is_secret_header(name) else mask(value)] for name, value in headers
    ]


def _hide(value: str) -> str:
    scheme, space, rest = value.partition(" ")
    if scheme.lower() in {"bearer", "basic"} and space:
        return f"{scheme} {abbreviate(Secret(rest))}"
    return abbreviate(Secret(value))
