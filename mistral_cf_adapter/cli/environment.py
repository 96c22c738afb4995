"""`env`: print what points other tools at the same gateway."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal, cast

from pydantic import SecretStr

from mistral_cf_adapter._options import to_headers
from mistral_cf_adapter._secrets import Secret
from mistral_cf_adapter._settings import GatewaySettings, explain_off
from mistral_cf_adapter._variables import env_names

from .guides import A_CALLABLE, Gateway, Guide, Text, hide, join, reveal
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
    if not settings.uses_gateway:
        return _guide_without_gateway(settings, tool)
    access_id = settings.access_client_id
    client_id = {} if access_id is None else {"cf-access-client-id": access_id}
    gateway = Gateway(
        provider_url=settings.provider_url,
        compat_url=settings.compat_url,
        provider=settings.provider,
        stored_key=settings.stored_key,
        options={**client_id, **to_headers(settings.options)},
        own=own_variables(settings),
        token=_secret(settings.token),
        key=_secret(settings.mistral_api_key),
        access_secret=_secret(settings.access_client_secret),
        access_token=_secret(settings.access_token),
    )
    if tool is None:
        return Guide(gateway.own, settings.provider_url, gateway.headers, "")
    guide = TOOLS[tool](gateway)
    if not settings.headers or guide.variables is gateway.own:  # which patch() sends
        return guide
    names = ", ".join(settings.headers)
    note = f"{guide.comment} Send the headers of CF_AIG_HEADERS as well: {names}\n"
    return replace(guide, snippet=guide.snippet + note)


def _guide_without_gateway(settings: GatewaySettings, tool: str | None) -> Guide:
    """Return what a shell can evaluate to no effect: the tool goes to Mistral by itself."""
    if tool is None:
        return Guide(own_variables(settings), "", {}, "")
    comment = "//" if tool == "js" else "#"
    return Guide(
        {}, "", {}, f"{comment} No gateway for {tool}: {explain_off(settings)}.\n", comment
    )


def own_variables(settings: GatewaySettings) -> dict[str, Text]:
    """Return the settings as the environment that would lead to the same ones."""
    own: dict[str, Text] = {}
    for name, field in GatewaySettings.model_fields.items():
        value = getattr(settings, name)
        if value is None or value == field.get_default(call_default_factory=True):
            continue
        own[env_names(name)[0]] = _headers_text(value) if name == "headers" else _text(value)
    return own


def _headers_text(headers: Mapping[str, SecretStr]) -> Text:
    """Return the setting `headers` as JSON, which is a secret as its values are."""
    parts: list[Text] = []
    for name, value in headers.items():
        parts += ", ", f"{json.dumps(name)}: ", Secret(json.dumps(value.get_secret_value()))
    return join("{", *parts[1:], "}")


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
    if isinstance(value, tuple):
        return ",".join(cast("tuple[str, ...]", value))
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
        "base_url": guide.base_url or None,
        "variables": safe(guide.variables),
        "headers": safe(guide.headers),
        "snippet": guide.snippet,
    }
