"""What a tool is told of the gateway, and the parts that the guides have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import TypeAlias

from pydantic import SecretStr

from mistral_cf_adapter._secrets import Secret, abbreviate

KEY, TOKEN = "MISTRAL_API_KEY", "CF_AIG_TOKEN"
AUTHORIZATION = "cf-aig-authorization"

Text: TypeAlias = str | SecretStr
"""What is printed; if a secret is in it, only when asked for."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a tool needs to know of the gateway."""

    provider_url: str
    compat_url: str
    provider: str
    stored_key: bool
    options: Mapping[str, str]
    """The default gateway options, as request headers."""
    own: Mapping[str, Text]
    """The adapter's own variables, for tools that `patch()` reaches."""
    token: SecretStr | None
    key: SecretStr | None

    @property
    def headers(self) -> dict[str, Text]:
        """The headers that every call needs, besides `Authorization`."""
        token = {} if self.token is None else {AUTHORIZATION: join("Bearer ", self.token)}
        return {**token, **self.options}


@dataclass(frozen=True, slots=True)
class Guide:
    """What to print for one tool."""

    variables: Mapping[str, Text]
    base_url: str
    headers: Mapping[str, Text]
    snippet: str
    comment: str = "#"


class _TextWithSecret(Secret):
    """A text that has a secret in it, and the same text with the secret abbreviated."""

    def __init__(self, text: str, abbreviated: str) -> None:
        super().__init__(text)
        self.abbreviated = abbreviated


A_CALLABLE: SecretStr = _TextWithSecret("a callable", "a callable")
"""In place of a secret that the application's own code returns."""


def join(*parts: Text) -> Text:
    """Return the parts as one text, which is a secret if one of them is."""
    text = "".join(map(reveal, parts))
    hidden = "".join(map(hide, parts))
    return text if all(isinstance(part, str) for part in parts) else _TextWithSecret(text, hidden)


def reveal(text: Text) -> str:
    """Return a text as it is."""
    return text if isinstance(text, str) else text.get_secret_value()


def hide(text: Text) -> str:
    """Return a text with the secret in it abbreviated."""
    if isinstance(text, str):
        return text
    return text.abbreviated if isinstance(text, _TextWithSecret) else abbreviate(text)


def secret_variables(gateway: Gateway) -> dict[str, Text]:
    """Return the variables that the snippets read their secrets from."""
    key = None if gateway.stored_key else gateway.key
    secrets = {KEY: key, TOKEN: gateway.token}
    return {name: value for name, value in secrets.items() if value is not None}


def python_headers(gateway: Gateway, *, token: bool = True) -> str:
    """Return the headers as the source of a Python dict."""
    lines = [f"    {name!r}: {value!r},\n" for name, value in gateway.options.items()]
    if token and gateway.token is not None:
        lines.insert(0, f"    {AUTHORIZATION!r}: f\"Bearer {{os.environ['{TOKEN}']}}\",\n")
    return f"{{\n{''.join(lines)}}}" if lines else "{}"


def filled(template: str, **values: str) -> str:
    """Return a template with its `$names` filled in, and one line break at its end."""
    return Template(template.strip() + "\n").substitute(values)
