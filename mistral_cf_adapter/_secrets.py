"""Secrets: held where no walk over objects finds them, and masked in every text of ours."""

import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import SecretStr

_LONG = 16
_SHORTEST = 8
_HIDDEN = "***"
_WORD = r"[\w~%+-]*"


class Secret(SecretStr):
    """A `SecretStr` with no attribute that holds its text.

    Tracers and debuggers copy an object's attributes, and `SecretStr` keeps the text in one; here
    it is in a function's closure.
    """

    def __init__(self, secret_value: str) -> None:
        # A text of another class, such as a member of an enum, may format as something else.
        plain = str.__str__(secret_value)
        self._read: Callable[[], str] = lambda: plain

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._read()

    def _display(self) -> str:
        return "**********"

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._read() == other.get_secret_value()

    def __hash__(self) -> int:
        return hash(self._read())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        msg = "A secret does not pickle: read it anew from the environment in the worker"
        raise TypeError(msg)


def clean(text: str) -> str:
    """Return a key without the `Bearer ` with which it may have been copied."""
    return text[len("bearer ") :] if text.lower().startswith("bearer ") else text


def problem_with(text: str) -> str | None:
    """Return what is wrong with a key, `None` if it can be one; the text is not quoted."""
    if text.lower().startswith("bearer:"):
        return "starts with `Bearer:`; give the token alone"
    if text.strip().lower() == "bearer":
        return "is the word `Bearer` alone; give the token"
    text = clean(text)
    if not text.strip():
        return "is blank"
    if not (text.isascii() and text.isprintable()) or set(text) & set(" \"'`{}<>$"):
        return "has quotes, spaces, a line break or a placeholder in it; give the token alone"
    return None


def check_secret(secret: SecretStr) -> tuple[Secret | None, str | None]:
    """Return a key as it is sent, or what is wrong with it."""
    problem = problem_with(secret.get_secret_value())
    if problem is not None:
        return None, problem
    return Secret(clean(secret.get_secret_value())), None


def is_too_short(secret: SecretStr) -> bool:
    """Return whether a secret is shorter than any key or token that is issued."""
    return len(secret) < _SHORTEST


def abbreviate(secret: SecretStr) -> str:
    """Return enough of a secret to recognise it: first four, last two, or nothing if short."""
    text = secret.get_secret_value()
    return f"{text[:4]}...{text[-2:]}" if len(text) >= _LONG else _HIDDEN


def mask(text: str, secrets: Iterable[SecretStr]) -> str:
    """Return a text with the secrets in it abbreviated.

    A secret of 16 characters and more is found anywhere. A shorter one may be part of an ordinary
    word, or be one (`test`, `gateway`): it is looked for as a whole word, if it has 8 characters
    and a digit among them.
    """
    for secret in secrets:
        text = _mask_one(text, secret)
    return text


def mask_whole(text: str, secrets: Iterable[SecretStr]) -> str:
    """Return a text in which each word with a secret in it is `****`, and nothing of it is shown.

    A secret is found as it is, URL-encoded, and as `mask()` abbreviates it. One of less than 8
    characters is a placeholder, such as `gateway`, and may be an ordinary word: it stays.
    """
    for secret in secrets:
        plain = secret.get_secret_value()
        if len(plain) < _SHORTEST:
            continue
        forms = {plain, quote(plain, safe=""), abbreviate(secret)} - {_HIDDEN}
        any_form = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
        text = re.sub(rf"{_WORD}(?:{any_form}){_WORD}", "****", text)
    return text


def mask_url(url: str) -> str:
    """Return a URL without the user, password, query and fragment it may have."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    host = parts.netloc.rpartition("@")
    netloc = f"***@{host[2]}" if host[1] else host[2]
    return urlunsplit((parts.scheme, netloc, parts.path, "***" if parts.query else "", ""))


def _mask_one(text: str, secret: SecretStr) -> str:
    plain = secret.get_secret_value()
    if len(plain) >= _LONG:
        text = text.replace(quote(plain, safe=""), abbreviate(secret))
        return text.replace(plain, abbreviate(secret))
    if len(plain) < _SHORTEST or plain not in text or not any(map(str.isdigit, plain)):
        return text
    return re.sub(rf"(?<![A-Za-z0-9_-]){re.escape(plain)}(?![A-Za-z0-9_-])", "***", text)
