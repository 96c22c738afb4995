"""What a tool is told of the gateway, and the parts that the guides have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template

KEY, TOKEN = "MISTRAL_API_KEY", "CF_AIG_TOKEN"
AUTHORIZATION = "cf-aig-authorization"


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a tool needs to know of the gateway."""

    provider_url: str
    compat_url: str
    provider: str
    stored_key: bool
    options: Mapping[str, str]
    """The default gateway options, as request headers."""
    own: Mapping[str, str]
    """The adapter's own variables, for tools that `patch()` reaches."""
    token: str | None = field(repr=False)
    key: str | None = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that every call needs, besides `Authorization`."""
        token = {} if self.token is None else {AUTHORIZATION: f"Bearer {self.token}"}
        return {**token, **self.options}


@dataclass(frozen=True, slots=True)
class Guide:
    """What to print for one tool."""

    variables: Mapping[str, str]
    base_url: str
    headers: Mapping[str, str]
    snippet: str
    comment: str = "#"


def secret_variables(gateway: Gateway) -> dict[str, str]:
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
