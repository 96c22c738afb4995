"""The Mistral key of the settings, as it is when a call is made."""

import os
from collections.abc import Callable
from typing import Any

from ._sdk import Security
from ._secrets import clean, problem_with
from .settings import ALIASES, GatewaySettings, environment_key, key_follows_environment

Key = tuple[str | None, str | None]
"""A key, `None` if there is none, and what is wrong with it."""

NO_KEY = Security()
"""In place of `None`, with which the SDK would send a key of the environment."""

# The values are in closures: what walks over a client's attributes must not find them.


def key_reader(settings: GatewaySettings) -> Callable[[], Key]:
    """Return what reads the key of the settings: a fixed one, or the environment's of now."""
    if key_follows_environment(settings):
        return _environment_reader()
    secret = settings.mistral_api_key
    key = None if secret is None else secret.get_secret_value(), None
    return lambda: key


def _environment_reader() -> Callable[[], Key]:
    known: tuple[str | None, Key] = None, (None, None)

    def read() -> Key:
        nonlocal known
        text = environment_key()
        if text != known[0]:
            known = text, _checked(text)
        return known[1]

    return read


def _checked(text: str | None) -> Key:
    problem = None if text is None else problem_with(text)
    if text is None or problem is None:
        return text and clean(text), None
    name = next(name for name in ALIASES["mistral_api_key"] if os.environ.get(name))
    return None, f"{name} {problem}"


class KeyForSDK:
    """The settings' key as the SDK takes it: a function that it asks at every call."""

    __slots__ = ("_follows_environment", "_is_stored", "_is_used", "_make", "_read")

    def __init__(self, settings: GatewaySettings) -> None:
        self._follows_environment = key_follows_environment(settings)
        self._is_stored = settings.stored_key
        self._is_used = not settings.stored_key and (
            self._follows_environment or settings.mistral_api_key is not None
        )
        self._read = key_reader(settings)
        self._make = _security_maker(self._read)

    def __call__(self) -> Any:
        return self._make()

    def in_place_of(self, own: Any) -> Any:
        """Return what a client is to authenticate with, given what it has of its own.

        With `None` the SDK reads `MISTRAL_API_KEY` itself, and ranks a service account's token
        above it; a key that is only in the settings wins over both.
        """
        if own is None and self._is_stored:
            return NO_KEY
        if not self._is_used or (own is not None and not _is_empty(own)):
            return own
        if self._follows_environment:
            if own is None and os.environ.get("MISTRAL_API_KEY"):
                return None
            if self._read()[0] is None:
                return own
        return self

    def __repr__(self) -> str:
        return "<the Mistral key of GatewaySettings>"


def _security_maker(read: Callable[[], Key]) -> Callable[[], Any]:
    """Return what makes the SDK's `Security` of a key, the same one for the same key."""
    known: tuple[str | None, Any] | None = None

    def make() -> Any:
        nonlocal known
        key, _ = read()
        if known is None or key != known[0]:
            known = key, Security(api_key=key)
        return known[1]

    return make


def _is_empty(security: Any) -> bool:
    """Return whether a client was built without a key; 1.x keeps an empty Security then."""
    return not callable(security) and getattr(security, "api_key", None) is None
