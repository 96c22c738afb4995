"""Every setting of `GatewaySettings` as a command-line flag, from the same table.

Secrets are none: other users of the machine can read a command line while the program runs.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, SkipValidation, create_model
from pydantic.fields import FieldInfo

from mistral_cf_adapter._settings import GatewaySettings
from mistral_cf_adapter._variables import env_names

_UNCHECKED: Any = SkipValidation  # a plain value, as the types in its brackets are values too


class Switch(argparse.Action):
    """A flag without a value, with its opposite: `--byok` and `--no-byok`.

    `argparse.BooleanOptionalAction` refuses a flag that itself begins with `--no-` (Python 3.14),
    or calls its opposite `--no-no-wholesale`. Here that is `--wholesale`.
    """

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        default: object = None,
        help: str | None = None,  # noqa: A002 - argparse gives it by this name
        **_: object,
    ) -> None:
        self._flags = tuple(option_strings)
        flags = [*self._flags, *map(_opposite, self._flags)]
        super().__init__(flags, dest, nargs=0, default=default, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - the signature is argparse's
        namespace: argparse.Namespace,
        values: object,  # noqa: ARG002
        option_string: str | None = None,
    ) -> None:
        """Store whether it is the flag, and not its opposite, that was typed."""
        setattr(namespace, self.dest, option_string in self._flags)

    def format_usage(self) -> str:
        """Return both flags, as they stand in the usage line."""
        return " | ".join(self.option_strings)


def _opposite(flag: str) -> str:
    negative = "--no-"
    if flag.startswith(negative):
        return f"--{flag.removeprefix(negative)}"
    return f"{negative}{flag.removeprefix('--')}"


class GivenFlags(BaseModel):
    """The settings that were given as flags."""

    model_config = ConfigDict(hide_input_in_errors=True, use_attribute_docstrings=True)

    def settings(self) -> GatewaySettings:
        """Return the settings: flags first, then the environment, as `make_client()` reads it.

        Raises:
            GatewayConfigError: a setting is missing or wrong.
        """
        return GatewaySettings(**self.given())

    def given(self) -> dict[str, Any]:
        """Map the settings that were given as flags to their values."""
        names = GatewaySettings.model_fields.keys() & self.model_fields_set
        return {name: parsed(name, getattr(self, name)) for name in sorted(names)}


def parsed(name: str, value: Any) -> Any:
    """Return a flag's text as the keyword of `GatewaySettings` it stands for."""
    if name != "providers" or not isinstance(value, str):
        return value
    import json

    try:
        return json.loads(value)
    except ValueError:
        return value


def is_secret(name: str) -> bool:
    """Tell whether a setting must never be shown in full."""
    return SecretStr in _members(GatewaySettings.model_fields[name].annotation)


def is_switch(name: str) -> bool:
    """Return whether a setting is a flag without a value, a `Switch`."""
    return _members(GatewaySettings.model_fields[name].annotation) == [bool]


def secret_flags() -> dict[str, str]:
    """Map the flags that a secret would have, after its setting and its variables, to settings."""
    names = {"api_key": "mistral_api_key"}
    for setting in filter(is_secret, GatewaySettings.model_fields):
        names |= dict.fromkeys((setting, *env_names(setting)), setting)
    return {flag_of(name.lower()): setting for name, setting in names.items()}


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return f"--{name.replace('_', '-')}"


def _members(annotation: Any) -> list[Any]:
    """Return the plain types in an annotation, without `None`, `Annotated` and unions."""
    if get_origin(annotation) is Literal or isinstance(annotation, type):
        return [] if annotation is type(None) else [annotation]
    if hasattr(annotation, "__metadata__"):
        return _members(get_args(annotation)[0])
    return [plain for member in get_args(annotation) for plain in _members(member)]


def _shown_type(field: FieldInfo) -> Any:
    """Return the type that the help shows; the value itself is checked by `GatewaySettings`."""
    plain = _members(field.annotation)
    if plain in ([bool], [int], [float]):
        return plain[0]
    return plain[0] if get_origin(plain[0]) is Literal else str


def _help(name: str, field: FieldInfo) -> str:
    return f"{field.description} [{', '.join(env_names(name))}]"


def _field(name: str, field: FieldInfo) -> Any:
    default = field.get_default() or None
    annotation = _UNCHECKED[_shown_type(field)]
    return annotation, Field(default, description=_help(name, field))


if TYPE_CHECKING:

    class SettingFlags(GivenFlags):
        """The settings as flags; the fields are made from those of `GatewaySettings`."""

else:
    SettingFlags = create_model(
        "SettingFlags",
        __base__=GivenFlags,
        **{
            name: _field(name, field)
            for name, field in GatewaySettings.model_fields.items()
            if not is_secret(name)
        },
    )
