"""Embeddings, OCR, moderation and classification."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_text import (
    as_count,
    as_dict,
    as_list,
    content_text,
    stable_id,
    usage,
)
from mistral_cf_adapter.testing.responses import (
    Response,
    json_response,
    utf8,
)

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.records import ReceivedRequest

DIMENSION = 16
CATEGORIES = (
    "sexual",
    "hate_and_discrimination",
    "violence_and_threats",
    "dangerous_and_criminal_content",
    "selfharm",
    "health",
    "financial",
    "law",
    "pii",
)


def embeddings(request: ReceivedRequest) -> Response:
    """Return vectors of length one that depend on the text alone."""
    fields = request.fields
    value = fields.get("input", fields.get("inputs"))
    texts = [str(text) for text in as_list(value)] if isinstance(value, list) else [str(value)]
    size = as_count(fields.get("output_dimension"), DIMENSION)
    data = [
        {"object": "embedding", "embedding": _vector(text, size), "index": index}
        for index, text in enumerate(texts)
    ]
    return json_response(
        {
            "id": stable_id("", request.body),
            "object": "list",
            "data": data,
            "model": fields["model"],
            "usage": usage(" ".join(texts), ""),
        }
    )


def ocr(request: ReceivedRequest, file_name: str | None = None) -> Response:
    """Read a document of one page, which is an uploaded file if it is named."""
    fields = request.fields
    document = as_dict(fields.get("document"))
    source = next((document[key] for key in ("document_url", "image_url") if key in document), "")
    source = file_name or as_dict(source).get("url", source)
    name = "an inline document" if str(source).startswith("data:") else str(source)
    page: dict[str, Any] = {
        "index": 0,
        "markdown": f"# A page\n\nRead from {name}.",
        "images": [],
        "dimensions": {"dpi": 200, "height": 2200, "width": 1700},
    }
    counted = {"pages_processed": 1, "doc_size_bytes": len(str(source))}
    return json_response({"pages": [page], "model": fields["model"], "usage_info": counted})


def moderation(request: ReceivedRequest) -> Response:
    """Flag what says "kill"; find everything else harmless."""
    results = [
        {
            "categories": {name: _is_flagged(name, text) for name in CATEGORIES},
            "category_scores": {
                name: 0.99 if _is_flagged(name, text) else 0.01 for name in CATEGORIES
            },
        }
        for text in _inputs(request)
    ]
    return json_response(_results(request, "modr-", results))


def classification(request: ReceivedRequest) -> Response:
    """Put every input in the same two classes."""
    scores = {"target": {"scores": {"friendly": 0.9, "other": 0.1}}}
    return json_response(_results(request, "clas-", [scores for _ in _inputs(request)]))


def _vector(text: str, size: int) -> list[float]:
    raw = hashlib.shake_256(utf8(text)).digest(size * 2)
    values = [
        int.from_bytes(raw[index : index + 2]) / 32767.5 - 1.0 for index in range(0, size * 2, 2)
    ]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [round(value / length, 6) for value in values]


def _inputs(request: ReceivedRequest) -> list[str]:
    value = request.fields.get("input", request.fields.get("inputs"))
    items = as_list(value) if isinstance(value, list) else [value]
    if request.path.startswith("/v1/chat/") and items and isinstance(items[0], dict):
        items = [items]
    return [_input_text(item) for item in items]


def _input_text(item: Any) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, dict):
        fields = as_dict(item)
        return _input_text(fields.get("messages", fields.get("content")))
    return " ".join(content_text(part) or _input_text(part) for part in as_list(item))


def _is_flagged(category: str, text: str) -> bool:
    return category == "violence_and_threats" and "kill" in text.lower()


def _results(request: ReceivedRequest, prefix: str, results: list[Any]) -> dict[str, Any]:
    return {
        "id": stable_id(prefix, request.body),
        "model": request.fields["model"],
        "results": results,
    }
