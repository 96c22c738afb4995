"""What a tool is told of the gateway, and the parts that the guides have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import NamedTuple, TypeAlias

from pydantic import SecretStr

from mistral_cf_adapter._secrets import Secret, abbreviate

KEY, TOKEN = "MISTRAL_API_KEY", "CF_AIG_TOKEN"
ACCESS_SECRET, JWT = "CF_AIG_ACCESS_CLIENT_SECRET", "CF_AIG_ACCESS_TOKEN"
AUTHORIZATION = "cf-aig-authorization"

Text: TypeAlias = str | SecretStr
"""What is printed; if a secret is in it, only when asked for."""


class SecretHeader(NamedTuple):
    """A header with a secret: the words before it, its variable, and the secret."""

    prefix: str
    variable: str
    secret: SecretStr


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a tool needs to know of the gateway."""

    provider_url: str
    compat_url: str
    provider: str
    stored_key: bool
    options: Mapping[str, str]
    """The default gateway options, as request headers; and what else is no secret."""
    own: Mapping[str, Text]
    """The adapter's own variables, for tools that `patch()` reaches."""
    token: SecretStr | None
    key: SecretStr | None
    access_secret: SecretStr | None = None
    access_token: SecretStr | None = None

    @property
    def access_headers(self) -> dict[str, SecretHeader]:
        """The headers with secrets for Cloudflare Access."""
        found = {
            "cf-access-client-secret": ("", ACCESS_SECRET, self.access_secret),
            "cf-access-token": ("", JWT, self.access_token),
        }
        return _only_set(found)

    @property
    def secret_headers(self) -> dict[str, SecretHeader]:
        """The headers with secrets that every call needs, besides `Authorization`."""
        return _only_set({AUTHORIZATION: ("Bearer ", TOKEN, self.token)}) | self.access_headers

    @property
    def headers(self) -> dict[str, Text]:
        """The headers that every call needs, besides `Authorization`."""
        return {**_join_all(self.secret_headers), **self.options}

    @property
    def headers_beside_key(self) -> dict[str, Text]:
        """The headers that a call of compat needs whose key is the gateway's token, or the JWT."""
        return {**_join_all(self.access_headers), **self.options}

    @property
    def compat_key(self) -> tuple[str, SecretStr | None]:
        """The variable and secret that are the key of compat if the gateway holds the key."""
        if self.token is None and self.access_token is not None:
            return JWT, self.access_token
        return TOKEN, self.token


@dataclass(frozen=True, slots=True)
class Guide:
    """What to print for one tool."""

    variables: Mapping[str, Text]
    base_url: str
    headers: Mapping[str, Text]
    snippet: str
    comment: str = "#"


def _only_set(
    headers: Mapping[str, tuple[str, str, SecretStr | None]],
) -> dict[str, SecretHeader]:
    return {
        name: SecretHeader(prefix, variable, secret)
        for name, (prefix, variable, secret) in headers.items()
        if secret is not None
    }


def _join_all(headers: Mapping[str, SecretHeader]) -> dict[str, Text]:
    return {name: join(header.prefix, header.secret) for name, header in headers.items()}


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
    own: dict[str, Text] = {
        header.variable: header.secret for header in gateway.secret_headers.values()
    }
    return ({} if key is None else {KEY: key}) | own


def python_headers(gateway: Gateway, *, token: bool = True) -> str:
    """Return the headers as the source of a Python dict."""
    secret_headers = gateway.secret_headers if token else gateway.access_headers
    lines = [
        f"    {name!r}: f\"{header.prefix}{{os.environ['{header.variable}']}}\",\n"
        for name, header in secret_headers.items()
    ]
    lines += [f"    {name!r}: {value!r},\n" for name, value in gateway.options.items()]
    return f"{{\n{''.join(lines)}}}" if lines else "{}"


def filled(template: str, **values: str) -> str:
    """Return a template with its `$names` filled in, and one line break at its end."""
    return Template(template.strip() + "\n").substitute(values)
