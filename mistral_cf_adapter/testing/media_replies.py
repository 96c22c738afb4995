"""Build the script's entries for embeddings and OCR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.matching import Condition
from mistral_cf_adapter.testing.mistral_chat import model_of
from mistral_cf_adapter.testing.mistral_text import as_list, stable_id, usage
from mistral_cf_adapter.testing.replies import scripted
from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mistral_cf_adapter.testing.matching import Arrival
    from mistral_cf_adapter.testing.replies import Wanted
    from mistral_cf_adapter.testing.script import Scripted

__tracebackhide__ = True  # pytest shows the test's own line as the last

EMBEDDINGS = "/v1/embeddings"
OCR = "/v1/ocr"


def reply_embeddings(vectors: Any, when: Wanted) -> Scripted:
    """Let the provider respond with vectors, to a request with as many inputs."""

    def wrong_request(arrival: Arrival) -> str | None:
        if not _is_post(arrival, EMBEDDINGS):
            return "it is no request for embeddings"
        if callable(vectors):
            return None
        asked, given = len(_inputs(arrival)), len(vectors)
        return None if asked == given else f"it has {asked} input(s), the reply {given} vector(s)"

    def embed(vectors: object, arrival: Arrival) -> Response:
        found = _check_vectors("reply_embeddings()", vectors)
        return _embeddings(found, arrival)

    condition = Condition("reply_embeddings", when, None, wrong_request)
    value = vectors if callable(vectors) else list(vectors)
    return scripted("reply_embeddings", value, embed, condition, check=_check_vectors)


def reply_ocr(pages: Sequence[Any], when: Wanted) -> Scripted:
    """Let the provider find these pages in a document."""

    def wrong_request(arrival: Arrival) -> str | None:
        return None if _is_post(arrival, OCR) else "it is no request for OCR"

    def read(pages: object, arrival: Arrival) -> Response:
        return _ocr(_check_pages("reply_ocr()", pages), arrival)

    value: Sequence[Any] | Callable[..., Any] = list(pages)
    if len(pages) == 1 and callable(pages[0]):
        value = pages[0]
    condition = Condition("reply_ocr", when, None, wrong_request)
    return scripted("reply_ocr", value, read, condition, check=_check_pages)


def _is_post(arrival: Arrival, path: str) -> bool:
    return arrival.outgoing.method == "POST" and arrival.provider_path == path


def _inputs(arrival: Arrival) -> list[Any]:
    value = arrival.fields.get("input", arrival.fields.get("inputs"))
    return as_list(value) if isinstance(value, list) else [value]


def _embeddings(vectors: list[list[float]], arrival: Arrival) -> Response:
    texts = " ".join(str(one) for one in _inputs(arrival))
    data = [
        {"object": "embedding", "embedding": vector, "index": index}
        for index, vector in enumerate(vectors)
    ]
    fields = arrival.outgoing.fields
    return json_response(
        {
            "id": stable_id("", arrival.outgoing.body),
            "object": "list",
            "data": data,
            "model": model_of(fields),
            "usage": usage(texts, ""),
        }
    )


def _ocr(pages: Sequence[str | Mapping[str, Any]], arrival: Arrival) -> Response:
    found = [_page(index, page) for index, page in enumerate(pages)]
    size = sum(len(page["markdown"]) for page in found)
    return json_response(
        {
            "pages": found,
            "model": model_of(arrival.outgoing.fields),
            "usage_info": {"pages_processed": len(found), "doc_size_bytes": size},
        }
    )


def _page(index: int, page: str | Mapping[str, Any]) -> dict[str, Any]:
    fields = {"markdown": page} if isinstance(page, str) else page
    usual: dict[str, Any] = {
        "index": index,
        "markdown": "",
        "images": [],
        "dimensions": {"dpi": 200, "height": 2200, "width": 1700},
    }
    return {**usual, **fields}


def _check_vectors(where: str, value: Any) -> list[list[float]]:
    vectors = as_list(value)
    if not vectors or not all(isinstance(vector, list | tuple) for vector in vectors):
        msg = f"{where} takes a list with one list of numbers for each input"
        raise TypeError(msg)
    return [list(vector) for vector in vectors]


def _check_pages(where: str, value: Any) -> list[str | Mapping[str, Any]]:
    pages = as_list(value)
    if not pages or not all(isinstance(page, str | Mapping) for page in pages):
        msg = f"{where} takes pages: each a text in Markdown, or a mapping with its fields"
        raise TypeError(msg)
    return pages
