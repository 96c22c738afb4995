"""`env`: print what points other tools at the same gateway."""

import json
import shlex
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import SecretStr

from mistral_cf_adapter._options import to_headers
from mistral_cf_adapter._settings import GatewaySettings, env_names

from .guides import A_CALLABLE, Gateway, Guide, Text, hide, reveal
from .tools import TOOLS

Style = Literal["shell", "snippet", "json"]


def print_environment(
    settings: GatewaySettings, tool: str | None, *, style: Style, show_secrets: bool
) -> int:
    """Print variables, snippet or both for a tool, and return 0."""
    guide = guide_for(settings, tool)
    if style == "snippet":
        print(guide.snippet, end="")
    elif style == "json":
        print(json.dumps(_as_json(tool, guide, show_secrets=show_secrets), indent=2))
    else:
        print("\n".join(_as_shell(guide, show_secrets=show_secrets)))
    return 0


def guide_for(settings: GatewaySettings, tool: str | None) -> Guide:
    """Return what points a tool at the gateway; without one, the adapter's own variables."""
    gateway = Gateway(
        provider_url=settings.provider_url,
        compat_url=settings.compat_url,
        provider=settings.provider,
        stored_key=settings.stored_key,
        options=to_headers(settings.options),
        own=own_variables(settings),
        token=_secret(settings.token),
        key=_secret(settings.mistral_api_key),
    )
    if tool is None:
        return Guide(gateway.own, settings.provider_url, gateway.headers, "")
    return TOOLS[tool](gateway)


def own_variables(settings: GatewaySettings) -> dict[str, Text]:
    """Return the settings as the environment that would lead to the same ones."""
    own: dict[str, Text] = {}
    for name, field in GatewaySettings.model_fields.items():
        value = getattr(settings, name)
        if value is None or value == field.get_default(call_default_factory=True):
            continue
        own[env_names(name)[0]] = _text(value)
    return own


def _secret(value: Any) -> SecretStr | None:
    return A_CALLABLE if callable(value) else value


def _text(value: Any) -> Text:
    value = _secret(value)
    if isinstance(value, SecretStr):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return json.dumps(value, default=_number)
    return str(value)


def _number(value: object) -> object:
    # As text, which the setting reads back without the rounding of a float.
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _as_shell(guide: Guide, *, show_secrets: bool) -> list[str]:
    lines: list[str] = []
    hidden = False
    for name, value in guide.variables.items():
        if show_secrets or isinstance(value, str):
            lines.append(f"export {name}={_quoted(reveal(value))}")
            continue
        hidden = True
        # A comment must stay on its line, whatever the value.
        text = hide(value).replace("\n", "\\n")
        lines.append(f"# export {name}={_quoted(text)}")
    if hidden:
        lines.append("# Commented lines hold secrets; --show-secrets prints them in full.")
    if guide.snippet:
        lines += ["#", *(f"# {line}".rstrip() for line in guide.snippet.splitlines())]
    return lines


def _quoted(value: str) -> str:
    quoted = shlex.quote(value)
    return quoted if quoted.startswith("'") else f"'{quoted}'"


def _as_json(tool: str | None, guide: Guide, *, show_secrets: bool) -> dict[str, Any]:
    def safe(values: Mapping[str, Text]) -> dict[str, str | None]:
        return {
            name: reveal(value) if show_secrets or isinstance(value, str) else None
            for name, value in values.items()
        }

    return {
        "for": tool,
        "base_url": guide.base_url,
        "variables": safe(guide.variables),
        "headers": safe(guide.headers),
        "snippet": guide.snippet,
    }
