"""Whether a compressed body has arrived whole.

The length of a response can be right and its compressed data be cut all the same, where a proxy or
the provider broke off. The HTTP library then returns what it could decode, as if that were all.
Its decoder knows better: it waits for more. (Of zstd the library says so itself.)
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from . import _streaming
from ._errors import GatewayError, GatewayStreamError, Mask, build_error

_PARTIAL_CONTENT = 206  # a part is what was asked for


def guard_body(response: Any, mask: Mask = str) -> None:
    """Make the body of a response that is not read yet raise if it ends too early."""
    if hasattr(response, "_content") or not _is_success(response):
        return
    if response.headers.get("content-encoding"):
        guard = _CodingGuard(_streaming.ResponseRef(response), mask)
        _streaming.guard_with(response, guard, mask)


def check(response: Any, mask: Mask = str) -> None:
    """Raise if a body that was read ended too early.

    Raises:
        GatewayStreamError: the data of a content coding stops before its end.
    """
    if type(getattr(response, "_decoder", None)).__name__ not in _UNFINISHED:
        return
    if not hasattr(response, "_content") or not _is_success(response):
        return
    # A mock's response that was made with its content has downloaded nothing.
    if (response.num_bytes_downloaded or response.content) and _is_cut(response):
        raise _error(response, mask)


class _CodingGuard:
    """Looks at the decoder of a response where its body ends."""

    undecodable = False
    done = False
    carries_error = reached_mark = False

    def __init__(self, response: _streaming.ResponseRef, mask: Mask) -> None:
        self.response = response
        self.failure: _streaming.Failure | None = None
        self._mask = mask
        self._has_begun = False

    def read(self, chunk: bytes) -> bytes:
        """Note that the body is not empty."""
        if chunk:
            self._has_begun = True
        return chunk

    def end(self) -> None:
        """Find an error if the decoder waits for more; who reads the raw bytes uses none."""
        response = self.response.alive()
        if response is not None and self._has_begun and _is_cut(response):
            self.failure = partial(_error, mask=self._mask)


def _error(response: Any, mask: Mask) -> GatewayError:
    coding = response.headers.get("content-encoding")
    message = f"the {coding} data of the response stops before its end"
    return build_error(GatewayStreamError, message, response, mask=mask)


def _is_success(response: Any) -> bool:
    """Return whether a body is what was asked for: an error is one with half of its text too."""
    status: int = response.status_code
    return 200 <= status < 300 and status != _PARTIAL_CONTENT


def _is_cut(response: Any) -> bool:
    return _is_unfinished(getattr(response, "_decoder", None))


def _is_unfinished(decoder: Any) -> bool:
    """Return whether a decoder waits for more; `False` where that cannot be told."""
    find = _UNFINISHED.get(type(decoder).__name__)
    return find is not None and find(decoder)


def _is_zlib_unfinished(decoder: Any) -> bool:
    decompressor = getattr(decoder, "decompressor", None)
    decompressor = getattr(decompressor, "decompressor", decompressor)  # of httpx2
    return getattr(decompressor, "eof", None) is False


def _is_brotli_unfinished(decoder: Any) -> bool:
    # `brotlicffi` has no such method, but raises by itself.
    is_finished = getattr(getattr(decoder, "decompressor", None), "is_finished", None)
    return is_finished is not None and is_finished() is False


def _is_any_unfinished(decoder: Any) -> bool:
    return any(map(_is_unfinished, getattr(decoder, "children", ())))


_UNFINISHED: Mapping[str, Callable[[Any], bool]] = {  # by names of classes of httpx and httpx2
    "GZipDecoder": _is_zlib_unfinished,
    "DeflateDecoder": _is_zlib_unfinished,
    "BrotliDecoder": _is_brotli_unfinished,
    "MultiDecoder": _is_any_unfinished,
}
