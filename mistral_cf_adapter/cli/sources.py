"""Where the value of each setting came from, by the sources that `GatewaySettings` reads."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from mistral_cf_adapter._options import GatewayOptions
from mistral_cf_adapter._secrets import Secret, abbreviate, mask_url
from mistral_cf_adapter._settings import GatewaySettings, ignores_base_url
from mistral_cf_adapter._settings_files import find_file_problem
from mistral_cf_adapter._variables import ENV_FILE, env_names

from .flags import is_secret


@dataclass(frozen=True, slots=True)
class Source:
    """Where the value of one setting came from."""

    kind: Literal["flag", "environment", "file", "default"]
    variable: str | None
    """The variable that won, in the environment or the file."""
    shadowed: tuple[str, ...]
    """Variables that are set for the same setting and not used."""
    raw: Any
    """The value as it was given, before any check."""


def find_sources(given: Mapping[str, Any]) -> dict[str, Source]:
    """Return the source of every setting, with these given as flags."""
    sources = _sources()
    # Which gateway comes first, and only then the options of its requests.
    names = sorted(
        GatewaySettings.model_fields, key=lambda name: name in GatewayOptions.model_fields
    )
    return {name: _find_source(name, given, sources) for name in names}


def _sources() -> dict[Literal["environment", "file"], EnvSettingsSource]:
    sources: dict[Literal["environment", "file"], EnvSettingsSource] = {
        "environment": EnvSettingsSource(GatewaySettings)
    }
    file = os.environ.get(ENV_FILE)
    # What is wrong with it is in the error of the settings.
    if file and find_file_problem({"_env_file": file}, (), ENV_FILE) is None:
        path = Path(file).expanduser()
        sources["file"] = DotEnvSettingsSource(GatewaySettings, env_file=path)
    return sources


def _find_source(
    name: str,
    given: Mapping[str, Any],
    sources: Mapping[Literal["environment", "file"], EnvSettingsSource],
) -> Source:
    found: list[tuple[Literal["environment", "file"], str, Any]] = [
        (kind, variable, _hidden(name, source.env_vars[variable.lower()]))
        for kind, source in sources.items()
        for variable in env_names(name)
        if source.env_vars.get(variable.lower())
    ]
    labels = tuple(_label(kind, variable) for kind, variable, _ in found)
    if name in given:
        return Source("flag", None, labels, given[name])
    if name == "base_url" and ignores_base_url(given):
        return Source("default", None, labels, None)
    if not found:
        default = GatewaySettings.model_fields[name].get_default(call_default_factory=True)
        return Source("default", None, (), default)
    source, variable, raw = found[0]
    return Source(source, variable, labels[1:], raw)


def _hidden(name: str, value: str | None) -> Any:
    """Return a value, with a secret out of sight: tracebacks may show a frame's variables."""
    return Secret(value) if value is not None and is_secret(name) else value


def _label(kind: str, variable: str) -> str:
    return variable if kind == "environment" else f"{variable} in the file"


def shown(name: str, value: Any) -> Any:
    """Return a setting's value as JSON can hold it, with secrets masked."""
    if isinstance(value, SecretStr):
        return "***" if name == "headers" else abbreviate(value)
    if callable(value):
        return "a callable"
    if isinstance(value, Mapping):
        return json.loads(json.dumps(value, default=_plain))
    return mask_url(value) if name == "base_url" and value is not None else value


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return "***"
    return float(value) if isinstance(value, Decimal) else str(value)
