"""The settings as keywords, for type checkers and editors."""

import os
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import SecretStr

from ._options import OptionKeywords

_Path = str | os.PathLike[str]


class SettingsKeywords(OptionKeywords, total=False):
    """What `GatewaySettings()` takes: one line for each setting, and where to read from."""

    account_id: str | None
    gateway_id: str
    token: str | SecretStr | None
    mistral_api_key: str | SecretStr | None
    base_url: str | None
    provider: str
    providers: Mapping[str, str]
    byok: bool
    unsupported: Literal["error", "direct"]
    fallback: Literal["none", "direct"]
    fallback_cooldown: float
    speedups: bool
    otel: bool
    max_connections: int
    keepalive_expiry: float
    _env_file: _Path | Sequence[_Path] | None
    _env_file_encoding: str | None
    _secrets_dir: _Path | Sequence[_Path] | None
