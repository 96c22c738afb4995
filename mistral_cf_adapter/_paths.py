"""Request paths: refuse one that is not the path its operation means.

The SDK puts path parameters into the URL as they are, and the HTTP library resolves dot segments
when it parses the URL. So an id such as `../../../ACCOUNT/GATEWAY/x` would decide which account,
gateway or provider gets the request with its keys. The check looks at the URL as the SDK wrote it.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from ._sdk import httpx

if TYPE_CHECKING:
    from ._routing import Route

_FRAGMENTS = frozenset({"stream", "id", "idOrName"})
"""What the SDK's path templates (1.9.11 to 3.7.0) end with behind a `#`; it is not sent."""

_VERSION = re.compile(r"v[0-9]+")
_PARAMETER = re.compile(r"\{(\w+)\}")
# A value of these alone cannot be anything but one segment.
_PLAIN = re.compile(r"[A-Za-z0-9 _~+@:,=!$&'()*-]+")
# Texts, compiled by their first use: most programs need none of them.
_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029]"
_SURROGATE = "[\ud800-\udfff]"
# Dots that only lenient decoders take for dots.
_ODD_DOT = r"%(?:c0%ae|e0%80%ae|f0%80%80%ae|u002e)"
_SEPARATOR = r"[/\\]"
_MAX_DECODINGS = 8
_MAX_SHOWN = 40
_MAX_EXPLAINED = 2000  # characters; the search backtracks


class Problem(NamedTuple):
    """Why a path is refused."""

    place: str
    """Which value: a parameter's name, or where it stands."""
    value: str
    reason: str

    def describe(self, mask: Callable[[str], str]) -> str:
        """Return the problem as text, with secrets masked before anything is cut off."""
        value = mask(self.value)
        if len(value) > _MAX_SHOWN:
            value = f"{value[: _MAX_SHOWN - 3]}..."
        shown = ascii(value) if re.search(_SURROGATE, value) else repr(value)
        return f"{self.place} {shown} cannot be part of a request's path: {self.reason}"


def find_url_problem(route: "Route", url: str, template: str | None) -> Problem | None:
    """Return why a request for a URL is refused, `None` if it may be built.

    Args:
        route: Where requests go.
        url: The URL as the SDK wrote it: the HTTP library has not resolved anything in it.
        template: The operation's path, as `/v1/files/{file_id}`, if it is known.
    """
    if url.startswith(route.provider_url):
        path = url[len(route.provider_url) :]
        if path.startswith("/"):
            return find_problem(path, template)
    return _find_other_url_problem(route, url, template)


def _find_other_url_problem(route: "Route", url: str, template: str | None) -> Problem | None:
    """Judge a URL that does not begin as the provider's: another spelling of it, or elsewhere."""
    try:
        parsed = httpx.URL(url)
    except Exception:  # noqa: BLE001 - the HTTP library says what it is when it builds the request
        return None
    if not route.is_same_origin(parsed):
        return None
    path, prefix = _path_text(url), _path_text(route.provider_url)
    if path.startswith(f"{prefix}/"):
        return find_problem(path.removeprefix(prefix), template)
    if has_dot_segment(path):  # which decides whose gateway gets the request
        return Problem("the path", path, "it has a dot segment")
    if route.covers(parsed):
        return Problem("the path", path, not_the_provider(route))
    return None


def _path_text(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]


def not_the_provider(route: "Route") -> str:
    """Return why a path of the gateway that is not below the provider's is refused."""
    return (
        f"it is not below {route.provider_path}/v1/. For another provider of the gateway build "
        "a client of its own, with GatewaySettings(provider=...)"
    )


def find_problem(path: str, template: str | None) -> Problem | None:
    """Return why a request's path is refused, `None` if it is the one that is meant.

    Args:
        path: What comes after the provider, as `/v1/files/abc#stream`; not parsed yet.
        template: The operation's own path, as `/v1/files/{file_id}`; `None` if it is not known.
    """
    if template is None:
        return _problem_without_template(path)
    if path == template and "{" not in template:
        return None
    return _Template.of(template).find_problem(path)


def is_below(raw_path: bytes, prefix: bytes) -> bool:
    """Return whether a parsed URL's path, query included, lies below a prefix.

    Dot segments that the HTTP library leaves alone count too: a server behind may resolve them.
    """
    if not raw_path.startswith(prefix):
        return False
    rest = raw_path[len(prefix) :].partition(b"?")[0]
    if b"%" not in rest and b"/." not in rest and b"\\" not in rest and rest[:1] != b".":
        return True
    return _problem_with_segment(rest.decode("ascii")) is None


def has_dot_segment(text: str) -> bool:
    """Return whether a part of a URL has a segment `.` or `..`, in whatever spelling."""
    decoded = _fully_decoded(text)
    return decoded is None or _dot_segment(decoded) is not None


class _Template:
    """One operation's path, as `/v1/libraries/{library_id}/share`."""

    def __init__(self, template: str) -> None:
        self.template = template
        literals = _PARAMETER.split(template)
        self.names = literals[1::2]
        parts = [re.escape(literal) for literal in literals[::2]]
        self._strict = re.compile("([^/?#]+)".join(parts))
        self._loose = re.compile("(.*)".join(parts), re.DOTALL)

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(template: str) -> "_Template":
        """Return the template for a text, the same one for the same text."""
        return _Template(template)

    def find_problem(self, path: str) -> Problem | None:
        match = self._strict.fullmatch(path)
        if match is None:
            return self._explain(path)
        for name, value in zip(self.names, match.groups(), strict=True):
            if _PLAIN.fullmatch(value) is None:
                reason = self._problem_with_value(value)
                if reason is not None:
                    return Problem(name, value, reason)
        return None

    def _problem_with_value(self, value: str) -> str | None:
        """Return what is wrong with a value that is one segment."""
        # The SDK fills parameters in one by one: a value may stand in for the next one's place.
        if any(name in self.names for name in _PARAMETER.findall(value)):
            return "it is a placeholder of the path itself"
        return _problem_with_segment(value)

    def _explain(self, path: str) -> Problem:
        """Return which value makes a path another than the template's, as far as can be told."""
        match = None if len(path) > _MAX_EXPLAINED else self._loose.fullmatch(path)
        values: tuple[str, ...] = () if match is None else match.groups()
        for name, value in zip(self.names, values, strict=False):
            reason = _problem_with_any(value) or self._problem_with_value(value)
            if reason is not None:
                return Problem(name, value, reason)
        return Problem("the path", path, f"the operation's own is {self.template}")


def _problem_without_template(path: str) -> Problem | None:
    rest, sign, fragment = path.partition("#")
    if sign and fragment not in _FRAGMENTS:
        cut = "a `#` ends the path; write %23 if it belongs to it"
        return Problem("the part", f"#{fragment}", cut)
    _, version, *segments = rest.split("/")
    for place, segment in enumerate((version, *segments), 1):
        reason = _problem_with_any(segment)
        if reason is not None:
            return Problem(f"segment {place} of the path", segment, reason)
    if _VERSION.fullmatch(version) is None or not segments:
        return Problem("the path", path, "it is not below a version, as /v1/")
    return None


def _problem_with_any(value: str) -> str | None:
    """Return what keeps a value from being one segment of a path."""
    if not value:
        return "it is empty"
    reason = _problem_with_segment(value)
    if reason is not None:
        return reason
    for sign, code in (("/", "%2F"), ("?", "%3F"), ("#", "%23")):
        if sign in value:
            return f"a `{sign}` in it would make another path; write {code} if it belongs to it"
    return None


def _problem_with_segment(value: str) -> str | None:
    """Return what is wrong with a value, percent-encoded or not, as part of a path."""
    if re.search(_SURROGATE, value):
        return "it has half a surrogate pair, which cannot be sent"
    decoded = _fully_decoded(value)
    if decoded is None:
        return f"it is percent-encoded over {_MAX_DECODINGS} times"
    if re.search(_CONTROL, value) or re.search(_CONTROL, decoded):
        return "it has a line break or a control character"
    dots = _dot_segment(decoded)
    return dots and f"the dot segment {dots!r} in it would lead to another path"


def _fully_decoded(text: str) -> str | None:
    """Return a text without percent-encoding, `None` if that takes too many rounds."""
    for _ in range(_MAX_DECODINGS + 1):
        if "%" not in text:
            return text
        plain = unquote(re.sub(_ODD_DOT, ".", text, flags=re.IGNORECASE))
        if plain == text:
            return text
        text = plain
    return None


def _dot_segment(decoded: str) -> str | None:
    """Return the first segment that is `.` or `..`, with what follows a `;` left out."""
    return next((name for name in _names_in(decoded) if name in (".", "..")), None)


def _names_in(decoded: str) -> Iterator[str]:
    return (part.partition(";")[0].strip() for part in re.split(_SEPARATOR, decoded))
