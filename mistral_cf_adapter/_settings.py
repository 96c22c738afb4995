"""`GatewaySettings`: environment -> checked values -> URLs."""

import difflib
import hashlib
import ipaddress
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from ._options import GatewayConfigError, GatewayOptions, document_fields, format_validation_error
from ._public import set_public_module
from ._secrets import Secret, clean, problem_with

_PROVIDERS = ("mistral", "compat")


def normalize_base_url(value: str) -> str:
    """Return everything before `/{provider}` and `/compat`, without a trailing slash.

    A pasted `.../mistral`, `.../mistral/v1` or full endpoint is cut back to its base.

    Raises:
        ValueError: it is no https URL, or it is not clear which part is the base.
    """
    value = value.strip()
    parts = urlsplit(value)
    _check_address(value, parts)
    segments = [segment for segment in parts.path.split("/") if segment]
    if any(segment in (".", "..") for segment in segments):
        msg = "has dots for a path segment; give the plain URL"
        raise ValueError(msg)
    base = "/".join(_base_segments(segments, parts))
    return f"{parts.scheme}://{parts.netloc}/{base}".rstrip("/")


def _check_address(value: str, parts: SplitResult) -> None:
    if not value.isascii() or not value.isprintable() or " " in value:
        msg = "has spaces, control or non-ASCII characters in it"
        raise ValueError(msg)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        msg = "must be a URL such as https://gateway.ai.cloudflare.com/v1/{account}/{gateway}"
        raise ValueError(msg)
    if "@" in parts.netloc:
        msg = "has credentials in it; the token belongs in CF_AIG_TOKEN"
        raise ValueError(msg)
    if parts.query or parts.fragment:
        msg = "must not have a query or a fragment"
        raise ValueError(msg)
    _ = parts.port  # raises ValueError for a port that is no number
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        msg = "must be https: over http the token could be read on the way (loopback is exempt)"
        raise ValueError(msg)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is a loopback one."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base_segments(segments: list[str], parts: SplitResult) -> list[str]:
    if parts.hostname == "gateway.ai.cloudflare.com" or segments[:1] == ["v1"]:
        return _gateway_segments(segments, parts)
    for index, segment in enumerate(segments):
        if segment in _PROVIDERS:
            return segments[:index]
        _reject_custom(segment)
    if segments[-1:] == ["v1"]:
        base = "/".join([parts.netloc, *segments[:-1]])
        msg = f"must not end in /v1, the SDK adds it; did you mean {parts.scheme}://{base} ?"
        raise ValueError(msg)
    return segments


def _gateway_segments(segments: list[str], parts: SplitResult) -> list[str]:
    """Read `/v1/{account}/{gateway}`, with or without what follows it."""
    if len(segments) < 3 or segments[0] != "v1":
        root = f"{parts.scheme}://{parts.netloc}"
        msg = f"must name account and gateway: {root}/v1/{{account_id}}/{{gateway_id}}"
        if segments == ["v1"] and parts.hostname != "gateway.ai.cloudflare.com":
            msg += f", or {root} for a custom domain"
        raise ValueError(msg)
    for segment in segments[3:4]:
        _reject_custom(segment)
        if segment not in _PROVIDERS:
            base = "/".join([parts.netloc, *segments[:3]])
            msg = f"goes on after the gateway; did you mean {parts.scheme}://{base} ?"
            raise ValueError(msg)
    return segments[:3]


def _reject_custom(segment: str) -> None:
    if segment.startswith("custom-"):
        msg = f"must end before the provider; set CF_AIG_PROVIDER={segment} beside it"
        raise ValueError(msg)


ENV_FILE = "CF_AIG_ENV_FILE"
GATEWAY_URL = "https://gateway.ai.cloudflare.com/v1"

# Names the world already has; the first one set wins. Everything else is CF_AIG_<NAME>.
ALIASES: dict[str, tuple[str, ...]] = {
    "account_id": ("CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID", "CF_AIG_ACCOUNT_ID"),
    "gateway_id": ("CLOUDFLARE_GATEWAY_ID", "CLOUDFLARE_AI_GATEWAY_ID", "CF_AIG_GATEWAY_ID"),
    "token": ("CF_AIG_TOKEN", "CLOUDFLARE_AI_GATEWAY_TOKEN"),
    "mistral_api_key": ("MISTRAL_API_KEY", "CF_AIG_MISTRAL_API_KEY"),
    "base_url": ("CF_AIG_BASE_URL", "CLOUDFLARE_AI_GATEWAY_BASE_URL"),
}

_SEGMENT = re.compile(r"[A-Za-z0-9_.~-]+")
_PROVIDER = re.compile(r"mistral|custom-[A-Za-z0-9_-]+")


def _validate_segment(value: str) -> str:
    value = value.strip()
    if not value:
        msg = "is blank"
        raise ValueError(msg)
    if not _SEGMENT.fullmatch(value) or set(value) == {"."}:
        msg = "must be one path segment of a URL: letters, digits, `-` and `_` (copy the id alone)"
        raise ValueError(msg)
    return value


def _validate_secret(value: object) -> object:
    """Accept a key as it is copied, with or without `Bearer `; reject what no key looks like."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return value
    problem = problem_with(text)
    if problem is not None:
        raise ValueError(problem)
    return Secret(clean(text))


def _validate_provider(value: str) -> str:
    if not _PROVIDER.fullmatch(value):
        msg = "must be `mistral` or `custom-<slug>`, the name of a custom provider of the gateway"
        raise ValueError(msg)
    return value


def _load_json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def _validate_providers(value: dict[str, str]) -> dict[str, str]:
    return {_validate_host(host): _validate_provider(slug) for host, slug in value.items()}


def _validate_host(value: str) -> str:
    host = urlsplit(value if "//" in value else f"//{value}").hostname
    if not host:
        msg = "must map hosts to providers, as {'api.eu.mistral.ai': 'custom-mistral-eu'}"
        raise ValueError(msg)
    return host


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


_Secret = Annotated[SecretStr, BeforeValidator(_validate_secret)]


def _aliased(name: str, description: str, default: str | None = None) -> Any:
    """Return a field that has several names in the environment."""
    aliases = AliasChoices(*ALIASES[name])
    return Field(default, validation_alias=aliases, description=description)


class GatewaySettings(GatewayOptions, BaseSettings):
    """Which gateway, with which credentials and default options.

    Every field can be given by keyword or by its environment variable, `CF_AIG_` plus the
    name in capitals; the exceptions are `account_id` (`CLOUDFLARE_ACCOUNT_ID`,
    `CF_ACCOUNT_ID`), `gateway_id` (`CLOUDFLARE_GATEWAY_ID`, `CLOUDFLARE_AI_GATEWAY_ID`),
    `token` (also `CLOUDFLARE_AI_GATEWAY_TOKEN`), `mistral_api_key` (`MISTRAL_API_KEY`) and
    `base_url` (also `CLOUDFLARE_AI_GATEWAY_BASE_URL`). A keyword wins over the environment,
    which wins over a file; so beside an `account_id` or `gateway_id` by keyword a `base_url` of
    the environment or a file is not read, nor one of a file beside an account of the environment.
    A file is read only when asked for, with
    `_env_file=".env"`, `CF_AIG_ENV_FILE` or `_secrets_dir="/run/secrets"`. Calls read a Mistral
    key of the environment anew each time, as the SDK does.

    Raises:
        GatewayConfigError: a value is missing or cannot work; the message names the variable
            and never shows a value.

    Example:
        >>> settings = GatewaySettings(account_id="0123abcd", gateway_id="prod", token="cf-token")
        >>> settings.provider_url
        'https://gateway.ai.cloudflare.com/v1/0123abcd/prod/mistral'
    """

    model_config = SettingsConfigDict(
        env_prefix="CF_AIG_",
        env_file_encoding="utf-8-sig",  # python-dotenv up to 1.2.2 keeps a byte order mark
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    account_id: Annotated[str, AfterValidator(_validate_segment)] | None = _aliased(
        "account_id", "Cloudflare account id, from the dashboard's URL; not needed with base_url."
    )
    gateway_id: Annotated[str, Field(max_length=64), AfterValidator(_validate_segment)] = _aliased(
        "gateway_id", "Name of the gateway, 1 to 64 characters.", "default"
    )
    token: _Secret | None = _aliased(
        "token",
        "Cloudflare API token with `AI Gateway Run`, sent as `cf-aig-authorization: Bearer ...`.",
    )
    mistral_api_key: _Secret | None = _aliased(
        "mistral_api_key",
        "Mistral's key, sent as `Authorization` when a call brings none.",
    )
    base_url: Annotated[str, AfterValidator(normalize_base_url)] | None = _aliased(
        "base_url", "Everything before `/{provider}`, for custom domains: `https://ai.example.com`."
    )
    provider: Annotated[str, AfterValidator(_validate_provider)] = Field(
        default="mistral",
        description="`mistral`, or `custom-<slug>` for a custom provider as Mistral's EU host.",
    )
    providers: Annotated[
        dict[str, str], NoDecode, BeforeValidator(_load_json), AfterValidator(_validate_providers)
    ] = Field(
        default={},
        description="For patch(): which `custom-<slug>` serves which other Mistral host, as JSON.",
    )
    byok: bool = Field(
        default=False,
        description="True: the gateway holds the Mistral key; no Authorization is sent.",
    )
    unsupported: Literal["error", "direct"] = Field(
        default="error",
        description="What to do with SDK paths the gateway does not carry (realtime, connectors).",
    )
    fallback: Literal["none", "direct"] = Field(
        default="none",
        description="`direct`: while the gateway is down, requests go to Mistral itself.",
    )
    fallback_cooldown: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Seconds after a failure in which the gateway is not tried first again.",
    )
    speedups: bool = Field(default=True, description="False leaves the SDK's own code untouched.")
    otel: bool = Field(
        default=True,
        description="False: nothing is written on OpenTelemetry spans, no trace id is sent.",
    )
    otel_metrics: bool = Field(
        default=False,
        description="True: OpenTelemetry metrics of each call (`gen_ai.client.*`).",
    )
    otel_spans: bool = Field(
        default=False,
        description="True: a span for each call for which SDK and instrumentors make none.",
    )
    log: Annotated[Literal["debug", "info"], BeforeValidator(_lower)] | None = Field(
        default=None,
        description="Show the log on stderr: `debug` has a line for each call. For the process.",
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(
        default=1000, description="Connections to the gateway at once, per process and event loop."
    )
    keepalive_expiry: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="Seconds an idle connection is kept for the next call."
    )

    def __init__(self, **values: Any) -> None:
        # A traceback may show the variables of each frame: whatever goes wrong is returned, and
        # raised here, where there is no plain secret, and outside of any `except`.
        problem = _prepare(values, type(self)) or self._load(values) or self._contradiction(values)
        if problem is not None:
            values.clear()
            try:
                raise problem
            finally:
                del problem  # an error and a frame that holds it would form a cycle
        vars(self)["_key_follows_environment"] = _follows_environment(self, values)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).model_fields:
            del value  # pydantic's own error shows it
            msg = f"settings do not change: use settings.model_copy(update={{{name!r}: ...}})"
            raise GatewayConfigError(msg)
        super().__setattr__(name, value)

    def _load(self, values: dict[str, Any]) -> Exception | None:
        """Read and check all values; return what is wrong."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            return GatewayConfigError(f"Gateway settings: {_format_error(error, values)}")
        except SettingsError as error:
            return GatewayConfigError(f"Gateway settings: {error}")
        except UnicodeDecodeError:
            return GatewayConfigError("Gateway settings: a file of settings is not UTF-8 text")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return GatewayConfigError(f"Gateway settings: cannot read {error.filename}: {reason}")
        except Exception as error:  # noqa: BLE001 - raised by the caller
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        return None

    def _contradiction(self, values: dict[str, Any]) -> GatewayConfigError | None:
        """Return what is wrong with the values together."""
        if self.base_url is None and self.account_id is None:
            unread = _find_variable("base_url")
            if unread is not None and values.get("gateway_id") is not None:
                msg = (
                    f"gateway_id is given, so {unread} is not read, and there is no account: pass "
                    "account_id= too, or base_url= instead"
                )
                return GatewayConfigError(msg)
            msg = (
                "CLOUDFLARE_ACCOUNT_ID is not set: export it (and CF_AIG_TOKEN), pass "
                "GatewaySettings(account_id=..., token=...), or set CF_AIG_BASE_URL for a custom "
                "domain"
            )
            return GatewayConfigError(msg)
        if self.stored_key and values.get("mistral_api_key") is not None:
            msg = (
                "byok and mistral_api_key contradict each other: any key that is sent is used in "
                "place of the stored one. Drop one of them"
            )
            return GatewayConfigError(msg)
        if self.fallback == "direct" and self.stored_key:
            msg = (
                "fallback=direct needs a Mistral key of your own, and byok says that the gateway "
                "holds it. Drop CF_AIG_FALLBACK or the stored key"
            )
            return GatewayConfigError(msg)
        if self.fallback == "direct" and self.provider != "mistral":
            msg = (
                "fallback=direct goes to api.mistral.ai, which does not stand in for provider "
                f"{self.provider}. Drop CF_AIG_FALLBACK or CF_AIG_PROVIDER"
            )
            return GatewayConfigError(msg)
        return None

    @property
    def stored_key(self) -> bool:
        """Whether the gateway holds the Mistral key: `byok`, or a `byok_alias`."""
        return self.byok or self.byok_alias is not None

    @property
    def root_url(self) -> str:
        """Everything before `/{provider}` and `/compat`."""
        return self.base_url or f"{GATEWAY_URL}/{self.account_id}/{self.gateway_id}"

    @property
    def provider_url(self) -> str:
        """The `server_url` of a Mistral SDK, in any language."""
        return f"{self.root_url}/{self.provider}"

    @property
    def compat_url(self) -> str:
        """The `base_url` of an OpenAI client; models are named `mistral/{model}`."""
        return f"{self.root_url}/compat"

    @property
    def options(self) -> dict[str, Any]:
        """The default gateway options that are set."""
        values = {name: getattr(self, name) for name in GatewayOptions.model_fields}
        return {name: value for name, value in values.items() if value is not None}

    def model_copy(
        self,
        *,
        update: Mapping[str, Any] | None = None,
        deep: bool = False,  # noqa: ARG002 - every copy is built anew
    ) -> Self:
        """Return a copy with some values changed, and checked as those of new settings are.

        Raises:
            GatewayConfigError: a changed value cannot work.
        """
        changed = _hide_secrets(_field_names(update or {}))
        update = None  # may hold a plain secret, as a traceback would show
        if _names_gateway(changed):
            changed.setdefault("base_url", None)
        values = {name: getattr(self, name) for name in type(self).model_fields} | changed
        stored = values["byok"] or values["byok_alias"]
        if "mistral_api_key" not in changed and (stored or key_follows_environment(self)):
            # Beside a stored key only the environment may have one, so it is asked again.
            del values["mistral_api_key"]
        return type(self)(**values)

    def __reduce__(self) -> NoReturn:
        msg = (
            "GatewaySettings holds secrets and does not pickle: build it in the worker, from the "
            "environment"
        )
        raise TypeError(msg)


document_fields(GatewaySettings)
set_public_module(GatewaySettings)


def env_names(name: str) -> tuple[str, ...]:
    """Return the environment variables of a setting, the one that wins first."""
    return ALIASES.get(name, (f"CF_AIG_{name.upper()}",))


_from_environment: tuple[bytes, GatewaySettings] | None = None


def from_environment() -> GatewaySettings:
    """Return `GatewaySettings()`, without reading an unchanged environment twice."""
    global _from_environment  # noqa: PLW0603 - one environment a process, one memory of it
    if ENV_FILE in os.environ:
        return GatewaySettings()
    now = _digest()
    known = _from_environment
    if known is not None and known[0] == now:
        return known[1]
    settings = GatewaySettings()
    _from_environment = now, settings
    return settings


def _digest() -> bytes:
    """Return a digest of the variables that settings are read from: it shows no secret."""
    # In any case, as pydantic-settings looks for them.
    found = sorted(item for item in os.environ.items() if item[0].lower() in _VARIABLES)
    return hashlib.sha256(repr(found).encode()).digest()


def environment_key() -> str | None:
    """Return the Mistral key of the environment as it is now, unchecked."""
    first, second = ALIASES["mistral_api_key"]
    return os.environ.get(first) or os.environ.get(second) or None


def key_follows_environment(settings: GatewaySettings) -> bool:
    """Return whether the Mistral key is the environment's, which every call reads anew."""
    follows: bool = vars(settings)["_key_follows_environment"]
    return follows


def _follows_environment(settings: GatewaySettings, values: Mapping[str, Any]) -> bool:
    """Return whether neither a keyword nor a file gave the settings their Mistral key."""
    if "mistral_api_key" in values:
        return False
    key, now = settings.mistral_api_key, environment_key()
    return key == (None if now is None else Secret(clean(now)))


_VARIABLES = frozenset(
    name.lower() for field in GatewaySettings.model_fields for name in env_names(field)
)
_SECRETS = frozenset({"token", "mistral_api_key"})
_FIELDS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}


def _field_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords under their fields' names, whichever of a field's names was used."""
    return {_FIELDS.get(name, name): value for name, value in values.items()}


def _hide_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """Return keywords with secrets wrapped: a traceback may show a frame's variables."""
    return {
        name: _hidden(value) if _may_be_secret(name) else value for name, value in values.items()
    }


def _may_be_secret(name: str) -> bool:
    """Return whether a keyword is a secret, or one under a name that is not known."""
    return name in _SECRETS or not (name in GatewaySettings.model_fields or name.startswith("_"))


def _hidden(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        value = value.decode(errors="replace")
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        return Secret(value)
    return None if value is None else type(value)  # no text either, and refused as such


def _prepare(values: dict[str, Any], settings: type[GatewaySettings]) -> Exception | None:
    """Name keywords by field and hide their secrets, in place; return what is wrong with them."""
    by_field = _hide_secrets(_field_names(values))
    values.clear()
    unknown = _unknown_name(by_field, settings)
    if unknown is not None:
        return unknown
    if ignores_base_url(by_field):
        by_field["base_url"] = None
    values.update(by_field)
    if ENV_FILE in os.environ:
        values.setdefault("_env_file", os.environ[ENV_FILE])
    missing = _missing_file(values.get("_env_file"))
    if missing is not None:
        return missing
    _warn_conflicts(values)
    return None


def ignores_base_url(values: Mapping[str, Any]) -> bool:
    """Return whether `base_url` is ignored: an account or gateway is given by a stronger source.

    Keywords are stronger than the environment, and the environment is stronger than a file.
    """
    if "base_url" in values:
        return False
    in_environment = _find_variable("account_id") is not None and not _find_variable("base_url")
    return _names_gateway(values) or in_environment


def _names_gateway(values: Mapping[str, Any]) -> bool:
    return any(values.get(name) is not None for name in ("account_id", "gateway_id"))


def _find_variable(name: str) -> str | None:
    """Return the environment variable that gives a setting its value, if there is one."""
    return next((variable for variable in env_names(name) if os.environ.get(variable)), None)


def _unknown_name(
    values: Mapping[str, Any], settings: type[GatewaySettings]
) -> GatewayConfigError | None:
    for name in values:
        if name in settings.model_fields or name.startswith("_"):
            continue
        near = difflib.get_close_matches(name, settings.model_fields, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return GatewayConfigError(f"GatewaySettings has no setting {name!r}{hint}")
    return None


def _missing_file(given: Any) -> GatewayConfigError | None:
    files = cast("list[Any]", given) if isinstance(given, list | tuple) else [given]
    for file in files:
        if file is not None and not Path(file).expanduser().is_file():
            msg = f"there is no file {file}, named by _env_file or {ENV_FILE}"
            return GatewayConfigError(msg)
    return None


def _warn_conflicts(values: dict[str, Any]) -> None:
    """Warn where two variables for one setting disagree; the values stay unsaid."""
    for name, names in ALIASES.items():
        rivals = [variable for variable in names if os.environ.get(variable)]
        if name in values or len({os.environ[variable] for variable in rivals}) < 2:
            continue
        msg = f"{' and '.join(rivals)} differ; {rivals[0]} is used. Unset the other."
        warnings.warn(msg, stacklevel=_caller_stacklevel())


def _caller_stacklevel() -> int:
    """Return the stacklevel of a warning at which the package was called."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    while frame.f_back and frame.f_globals.get("__package__", "").startswith(str(__package__)):
        level, frame = level + 1, frame.f_back
    return level


def _format_error(error: ValidationError, values: dict[str, Any]) -> str:
    fields = GatewaySettings.model_fields

    def naming(location: str) -> str:
        name = next((field for field in fields if location in env_names(field)), location)
        if name in values:
            return name
        return _find_variable(name) or env_names(name)[0]

    return format_validation_error(error, fields, naming)


Key = tuple[str | None, str | None]
"""A key or `None`, and a problem with it or `None`."""


# The values are in closures: what walks over a client's attributes must not find them.


def make_key_reader(settings: GatewaySettings) -> Callable[[], Key]:
    """Return what reads the key of the settings: a fixed one, or the environment's of now."""
    if key_follows_environment(settings):
        return _make_environment_reader()
    secret = settings.mistral_api_key
    key = None if secret is None else secret.get_secret_value(), None
    return lambda: key


def _make_environment_reader() -> Callable[[], Key]:
    known: tuple[str | None, Key] = None, (None, None)

    def read() -> Key:
        nonlocal known
        text = environment_key()
        if text != known[0]:
            known = text, _checked(text)
        return known[1]

    return read


def _checked(text: str | None) -> Key:
    problem = None if text is None else problem_with(text)
    if text is None or problem is None:
        return text and clean(text), None
    name = next(name for name in ALIASES["mistral_api_key"] if os.environ.get(name))
    return None, f"{name} {problem}"
