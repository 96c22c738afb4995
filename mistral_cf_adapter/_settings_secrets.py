"""The secrets of `GatewaySettings`: fixed, of the environment of now, or read for each request."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BeforeValidator, PlainSerializer, SecretStr

from ._credentials import CallableSecret, SecretFunction, SecretSource
from ._secret_files import FileSecret, SecretFiles
from ._secrets import Secret, check_secret, clean, problem_with
from ._variables import ALIASES, SECRETS, environment_key, is_in_environment

if TYPE_CHECKING:
    from ._settings import GatewaySettings


def _validate_secret(value: object) -> object:
    """Accept a key as it is copied, with or without `Bearer `; reject what no key looks like."""
    if isinstance(value, str):
        value = Secret(value)
    if isinstance(value, SecretStr):
        secret, problem = check_secret(value)
        if problem is not None:
            raise ValueError(problem)
        return secret
    if isinstance(value, CallableSecret):
        return value
    if callable(value):
        return CallableSecret(cast("SecretFunction", value))
    msg = "must be a text, or a callable that returns one"
    raise ValueError(msg)


SecretValue = Annotated[
    SecretStr | SecretFunction,
    BeforeValidator(_validate_secret),
    PlainSerializer(str, return_type=str, when_used="json-unless-none"),
]

Key = tuple[str | None, str | None]
"""A key or `None`, and a problem with it or `None`."""


def key_follows_environment(settings: "GatewaySettings") -> bool:
    """Return whether the Mistral key is the environment's, which every call reads anew."""
    follows: bool = vars(settings)["_key_follows_environment"]
    return follows


def is_key_from_environment(settings: "GatewaySettings", values: Mapping[str, Any]) -> bool:
    """Return whether neither a keyword nor a file gave the settings their Mistral key."""
    if "mistral_api_key" in values:
        return False
    key, now = settings.mistral_api_key, environment_key()
    return key == (None if now is None else Secret(clean(now)))


def live_secrets(settings: "GatewaySettings") -> Mapping[str, SecretSource]:
    """Return the secrets that are read anew for each request, by setting."""
    live: dict[str, SecretSource] = vars(settings)["_live_secrets"]
    return live


def find_live_secrets(
    settings: "GatewaySettings", values: Mapping[str, Any], files: SecretFiles | None
) -> dict[str, SecretSource]:
    """Return the callables, and what came from a file: neither from a keyword nor a variable."""
    secrets = {name: getattr(settings, name) for name in SECRETS}
    live: dict[str, SecretSource] = {
        name: value for name, value in secrets.items() if isinstance(value, CallableSecret)
    }
    if files is None or not settings.reload_secrets:
        return live
    files.secrets = {
        name: value
        for name, value in secrets.items()
        if isinstance(value, Secret) and name not in values and not is_in_environment(name)
    }
    return live | {name: FileSecret(files, name) for name in files.secrets}


# The values are in closures: what walks over a client's attributes must not find them.


def get_key_reader(settings: "GatewaySettings") -> Callable[[], Key]:
    """Return what reads the key of the settings, made once for each settings object.

    It reads a fixed key, or the environment's of now.
    """
    known = vars(settings)
    if "_key_reader" not in known:
        known.setdefault("_key_reader", _make_key_reader(settings))
    reader: Callable[[], Key] = known["_key_reader"]
    return reader


def _make_key_reader(settings: "GatewaySettings") -> Callable[[], Key]:
    if key_follows_environment(settings):
        return _make_environment_reader()
    key = fixed_secret(settings, "mistral_api_key"), None
    return lambda: key


def fixed_secret(settings: "GatewaySettings", name: str) -> str | None:
    """Return the text of a secret, `None` if it is not set or is read anew for each request."""
    secret = getattr(settings, name)
    is_live = name in live_secrets(settings)
    return None if secret is None or is_live else secret.get_secret_value()


def _make_environment_reader() -> Callable[[], Key]:
    known: tuple[str | None, Key] = None, (None, None)

    def read() -> Key:
        nonlocal known
        text = environment_key()
        if text != known[0]:
            known = text, _check_key(text)
        return known[1]

    return read


def _check_key(text: str | None) -> Key:
    problem = None if text is None else problem_with(text)
    if text is None or problem is None:
        return text and clean(text), None
    name = next(name for name in ALIASES["mistral_api_key"] if os.environ.get(name))
    return None, f"{name} {problem}"
