"""The settings as keywords, for type checkers and editors."""

import os
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import SecretStr

from ._credentials import SecretFunction
from ._options import OptionKeywords
from ._switch import Enabled

_Secret = str | SecretStr | SecretFunction | None
_Path = str | os.PathLike[str]


class SettingsKeywords(OptionKeywords, total=False):
    """What `GatewaySettings()` takes: one line for each setting, and where to read from."""

    enabled: Enabled
    account_id: str | None
    gateway_id: str
    token: _Secret
    mistral_api_key: _Secret
    base_url: str | None
    access_client_id: str | None
    access_client_secret: _Secret
    access_token: _Secret
    headers: Mapping[str, str | SecretStr]
    provider: str
    providers: Mapping[str, str]
    byok: bool
    unsupported: Literal["error", "direct"]
    fallback: Literal["none", "direct"]
    fallback_cooldown: float
    speedups: bool
    otel: bool
    otel_metrics: bool
    otel_spans: bool
    log: Literal["debug", "info"] | None
    max_connections: int
    reload_secrets: bool
    keepalive_expiry: float
    _env_file: _Path | Sequence[_Path] | None
    _env_file_encoding: str | None
    _secrets_dir: _Path | Sequence[_Path] | None
