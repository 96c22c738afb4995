"""Mask secrets in what people look at: as they are, in a URL, in JSON, and inside of base64."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

from mistral_cf_adapter._secrets import Secret, abbreviate, clean
from mistral_cf_adapter._secrets import mask as mask_secrets
from mistral_cf_adapter.testing.matching import MAX_SHOWN
from mistral_cf_adapter.testing.mistral_text import as_list
from mistral_cf_adapter.testing.scrubbing import forms_of
from mistral_cf_adapter.testing.secret_names import is_secret_header, secret_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mistral_cf_adapter.testing.state import State

    Span = tuple[int, int, str]

_ESCAPE = re.compile(r"\\{1,8}u00([2-7][0-9a-fA-F])")
"""A character of ASCII in JSON, or in JSON that stands in a text of JSON."""
_LITERAL = re.compile(r'"(\w+)"\s*:\s*"((?:[^"\\]|\\.)*)"|"index"\s*:\s*(\d+)')
"""A name and its text in JSON, of an event; or an index."""
_UNIT = re.compile(r"\\u[0-9a-fA-F]{4}|\\?.", re.DOTALL)
"""What stands for one character there."""
_ALONE = r"(?<![A-Za-z0-9_-]){}(?![A-Za-z0-9_-])"
_SHORTEST_PART = 6
"""Characters of a part of a secret that is looked for; four of it are shown anyhow."""
_LONGEST_ESCAPE = 8
"""Characters at most that stand for one: in a URL, or escaped in JSON."""


class _Literal:
    """A text in JSON, between its quotes."""

    def __init__(self, start: int, raw: str) -> None:
        self._start = start
        # Most have no escape: then each character stands for itself.
        self._units = _UNIT.findall(raw) if "\\" in raw else raw
        self.text = "".join(map(_unescape, self._units)) if "\\" in raw else raw

    def place_of(self, start: int, end: int) -> tuple[int, int]:
        """Return where a part of the text stands in the JSON."""
        before, part = self._units[:start], self._units[start:end]
        place = self._start + sum(map(len, before))
        return place, place + sum(map(len, part))


class Mask:
    """Masks secrets in texts, and in JSON with such texts.

    Which secrets are looked for, and what is shown of them, is as in `_secrets.mask`.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        plain = {clean(text) for text in texts if text}
        # Longest first: one may be a part of another.
        ordered = sorted(filter(_is_looked_for, plain), key=len, reverse=True)
        self._shown = {text: abbreviate(Secret(text)) for text in ordered}

    def __call__(self, text: str) -> str:
        """Return a text with the secrets in it abbreviated."""
        return "".join(self.pieces([text]))

    def beginning(self, text: str, length: int) -> str:
        """Return about so many characters of a text; a secret is not cut before it is masked."""
        if len(text) <= length:
            return self(text)
        longest = max(map(len, self._shown), default=0) * _LONGEST_ESCAPE
        for start, end, _ in self._spans(text[: length + longest]):
            if start < length < end:
                return self(text[:end])
        return self(text[:length])

    def pieces(self, pieces: list[str]) -> list[str]:
        """Return the pieces of a text, with secrets masked that go from one to the next as well."""
        return _cut_all(pieces, self._spans("".join(pieces)))

    def stream(self, pieces: list[str]) -> list[str]:
        """Return the same of a stream of events, also where a secret is split over its events."""
        whole = "".join(pieces)
        spans: list[Span] = []
        for span in sorted([*self._spans(whole), *self._joined_spans(whole)]):
            if not spans or span[0] >= spans[-1][1]:  # one that is whole is found both ways
                spans.append(span)
        return _cut_all(pieces, spans)

    def mask_excerpt(self, text: str) -> str:
        """Return a text with secrets masked, also those that were cut at the mark `...`."""
        text = self(text)
        for secret, shown in self._shown.items():
            longest = min(len(secret) - 1, MAX_SHOWN)
            for length in range(longest, _SHORTEST_PART - 1, -1):
                text = text.replace(f"{secret[:length]}...", shown)
                text = text.replace(f"...{secret[-length:]}", shown)
        return text

    def mask_all(self, value: Any) -> Any:
        """Return JSON with the secrets abbreviated in all its texts."""
        # Most have none: one search in all of it is fast.
        text = json.dumps(value, ensure_ascii=False, default=str)
        return self._mask(value) if self._patterns(text) else value

    def _mask(self, value: Any) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {self(key): self._mask(item) for key, item in fields.items()}
        if isinstance(value, list):
            return [self._mask(item) for item in as_list(value)]
        return value

    def _spans(self, text: str) -> list[Span]:
        """Return where the secrets of a text stand, and what is shown in their place."""
        patterns = self._patterns(text)
        if not patterns:
            return []
        shown = [each for _, each in patterns]
        any_of_them = "|".join(f"({pattern})" for pattern, _ in patterns)
        found = re.finditer(any_of_them, text)
        return [(*match.span(), shown[(match.lastindex or 1) - 1]) for match in found]

    def _joined_spans(self, text: str) -> Iterator[Span]:
        """Yield where secrets, or their parts, stand in JSON whose texts of one name are joined."""
        groups: dict[tuple[str, str], list[_Literal]] = {}
        choice = ""
        for found in _LITERAL.finditer(text):
            if found[3] is not None:
                choice = found[3]  # several may come in turn
                continue
            literal = _Literal(found.start(2), found[2])
            for group in {(found[1], ""), (found[1], choice)}:
                groups.setdefault(group, []).append(literal)
        for literals in groups.values():
            starts = [0, *accumulate(len(literal.text) for literal in literals)]
            for start, end, shown in self._spans("".join(literal.text for literal in literals)):
                first, last = bisect_right(starts, start) - 1, bisect_left(starts, end)
                for index in range(first, last):
                    part = max(start - starts[index], 0), end - starts[index]
                    yield (*literals[index].place_of(*part), shown if index == first else "")

    def _patterns(self, text: str) -> list[tuple[str, str]]:
        """Return what a text is searched for, and what is shown for it; nothing if it has none."""
        found = [(pattern, shown) for form, pattern, shown in self._forms if form in text]
        if "\\u00" in text and _ESCAPE.search(text):
            plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
            escaped = ((secret, shown) for secret, shown in self._shown.items() if secret in plain)
            found += ((_escaped(secret), shown) for secret, shown in escaped)
        return found

    @cached_property
    def _forms(self) -> list[tuple[str, str, str]]:
        return [
            (form, _alone(secret, re.escape(form)) if form == secret else re.escape(form), shown)
            for secret, shown in self._shown.items()
            for form in dict.fromkeys(forms_of(secret))
        ]


def known_secrets(state: State) -> list[str]:
    """Return the secrets that a gateway is set to."""
    access = state.access
    own = [state.token, state.mistral_api_key, state.api_token, *state.stored_keys.values()]
    return own if access is None else [*own, access.client_secret]


def carried_secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets in the headers of a request: as they are, and without scheme and name."""
    for name, value in headers.items():
        if not is_secret_header(name):
            continue
        yield value
        yield from secret_parts(name, value)


def _is_looked_for(text: str) -> bool:
    return mask_secrets(text, [Secret(text)]) != text


def _alone(secret: str, pattern: str) -> str:
    """Return the pattern of a secret, of a short one as a whole word."""
    return _ALONE.format(pattern) if abbreviate(Secret(secret)) == "***" else pattern


def _escaped(secret: str) -> str:
    """Return the pattern of a secret in JSON, of which each character may be escaped."""
    each = (rf"(?:{re.escape(one)}|\\{{1,8}}u(?i:{ord(one):04x}))" for one in secret)
    return _alone(secret, "".join(each))


def _unescape(unit: str) -> str:
    """Return the character that stands in JSON; of control characters only some other one."""
    return chr(int(unit[-4:], 16)) if len(unit) == 6 else unit[-1]


def _cut_all(pieces: list[str], spans: list[Span]) -> list[str]:
    if not spans:
        return pieces
    shown: list[str] = []
    first = 0
    for piece in pieces:
        shown.append("".join(_cut(piece, first, spans)))
        first += len(piece)
    return shown


def _cut(piece: str, first: int, spans: list[Span]) -> Iterator[str]:
    """Yield what is shown of a piece, the first character of which is at `first`."""
    place, last = first, first + len(piece)
    for start, end, shown in spans:
        if end <= place or start >= last:
            continue
        yield piece[place - first : max(start - first, place - first)]
        if start >= first:
            yield shown
        place = min(end, last)
    yield piece[place - first :]
