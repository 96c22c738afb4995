"""`GatewaySettings`: environment -> checked values -> URLs."""

import hashlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Annotated, Any, Literal, NoReturn, Self, Unpack, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsError,
)

from ._base_url import GATEWAY_URL, check_base_url, validate_id
from ._credentials import CallableSecret, SecretFunction
from ._options import GatewayConfigError, GatewayOptions, document_fields, from_json
from ._own_headers import read_own_headers
from ._public import set_public_module
from ._secret_files import FileSecret, find_secret_files
from ._secrets import Secret, problem_with
from ._settings_files import (
    CONFIG,
    SOURCE_KEYWORDS,
    find_file_problem,
    find_unread_names,
    variables_in_files,
)
from ._settings_keywords import SettingsKeywords
from ._settings_secrets import (
    SecretValue,
    find_live_secrets,
    is_key_from_environment,
    key_follows_environment,
    live_secrets,
)
from ._signatures import shorten_signatures
from ._switch import IF_CONFIGURED, read_enabled
from ._validation import did_you_mean, explain_validation_error, is_secret
from ._variables import (
    ALIASES,
    ENV_FILE,
    SECRETS,
    env_names,
    find_conflicts,
    find_look_alikes,
    find_variable,
    in_environment,
)

warning_handler: ContextVar[Callable[[str], None] | None] = ContextVar(
    "mistral_cf_adapter.warning_handler", default=None
)
"""Called with what is odd about the variables, in place of a warning. `catch_warnings()` would hide
the warnings of other threads too."""
_UNREAD_FILE = (
    "./.env sets {names}, but a file is read only when asked for: set CF_AIG_ENV_FILE=.env, or "
    'pass GatewaySettings(_env_file=".env")'
)
_PROVIDER = r"mistral|custom-[A-Za-z0-9_-]+"


def _validate_client_id(value: str) -> str:
    problem = problem_with(value)
    if problem is not None:
        raise ValueError(problem.replace("the token", "the id"))
    return value


def _validate_provider(value: str) -> str:
    if not re.fullmatch(_PROVIDER, value):
        msg = "must be `mistral` or `custom-<slug>`, the name of a custom provider of the gateway"
        raise ValueError(msg)
    return value


def _load_json(value: object) -> object:
    example = '{"api.eu.mistral.ai": "custom-mistral-eu"}'
    return from_json(value, example) if isinstance(value, str) else value


def _validate_providers(value: dict[str, str]) -> dict[str, str]:
    return {_validate_host(host): _validate_slug(host, slug) for host, slug in value.items()}


def _validate_slug(host: str, slug: str) -> str:
    try:
        return _validate_provider(slug)
    except ValueError as error:
        msg = f"the provider of {host} {error}"
        raise ValueError(msg) from None


def _validate_host(value: str) -> str:
    host = urlsplit(value if "//" in value else f"//{value}").hostname
    if not host:
        msg = "must map hosts to providers, as {'api.eu.mistral.ai': 'custom-mistral-eu'}"
        raise ValueError(msg)
    return host


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _aliased(name: str, description: str, default: str | None = None) -> Any:
    """Return a field that has several names in the environment."""
    aliases = AliasChoices(*ALIASES[name])
    return Field(default, validation_alias=aliases, description=description)


_NO_ADDRESS = (
    "CLOUDFLARE_ACCOUNT_ID is not set: export it (and CF_AIG_TOKEN), pass "
    "GatewaySettings(account_id=..., token=...), or set CF_AIG_BASE_URL for a custom domain"
)
_TRY_OUT = "To try it out without an account, `mistral-cf-adapter serve` starts a local gateway"


_ACCESS = ("access_client_id", "access_client_secret", "access_token")


class GatewaySettings(GatewayOptions, BaseSettings):
    """Which gateway, with which credentials and default options.

    Every field can be given by keyword or by its environment variable, which
    stands behind it below; of several, the first one set wins. A keyword wins
    over the environment, which wins over a file; so beside an `account_id` or
    `gateway_id` by keyword a `base_url` of the environment or a file is not
    read, nor one of a file beside an account of the environment.
    `enabled="if-configured"` by keyword leaves it to the environment:
    `CF_AIG_ENABLED` wins then.

    A file is read only when asked for, with `_env_file=".env"`,
    `CF_AIG_ENV_FILE` or `_secrets_dir="/run/secrets"`, a directory with one
    file for each variable, named as the variable
    (`/run/secrets/CF_AIG_TOKEN`). Calls read a Mistral key of the environment
    anew each time, as the SDK does, and secrets of a file when it has changed:
    what cannot be read then stays as it was, with a warning in the log. The
    attributes of the settings stay as they were read first.

    `token`, `mistral_api_key`, `access_token` and `access_client_secret` may
    be callables without arguments. They are called for each request and each
    retry of the SDK's, by several threads at once if those call, and what they
    return is not stored. An asynchronous one is for asynchronous calls through
    the gateway alone; a plain one that waits blocks the event loop. What they
    raise reaches the caller of the SDK, with a note that names the setting,
    and what is no key is a GatewayConfigError: nothing is sent. After a
    GatewayUnauthorizedError `token` is called once more, after a
    GatewayAccessError the secret for Access, after a 401 of Mistral's the key:
    another value is sent once, if the body can be sent again; then the error
    is raised.

    Warns (`UserWarning`) where two variables of one setting differ, and of a
    variable that is not read but looks as if it should be.

    Raises:
        GatewayConfigError: a value is missing or cannot work; the message
            names the variable or the file, says what would be right, and shows
            no secret.

    Example:
        >>> settings = GatewaySettings(account_id="0123abcd", gateway_id="prod")
        >>> settings.provider_url
        'https://gateway.ai.cloudflare.com/v1/0123abcd/prod/mistral'
    """

    model_config = CONFIG

    account_id: Annotated[str, Field(max_length=64), AfterValidator(validate_id)] | None = _aliased(
        "account_id", "Cloudflare account id, from the dashboard's URL; not needed with base_url."
    )
    gateway_id: Annotated[str, Field(max_length=64), AfterValidator(validate_id)] = _aliased(
        "gateway_id", "Name of the gateway, 1 to 64 characters.", "default"
    )
    token: SecretValue | None = _aliased(
        "token",
        "Cloudflare API token with `AI Gateway Run`, sent as `cf-aig-authorization: Bearer ...`.",
    )
    mistral_api_key: SecretValue | None = _aliased(
        "mistral_api_key",
        "Mistral's key, sent as `Authorization` when a call brings none.",
    )
    base_url: Annotated[str, AfterValidator(check_base_url)] | None = _aliased(
        "base_url", "Everything before `/{provider}`, for custom domains: `https://ai.example.com`."
    )
    enabled: Annotated[bool | Literal["if-configured"], BeforeValidator(read_enabled)] = Field(
        default=True,
        description="False: no gateway, calls go to Mistral. `if-configured`: the same while "
        "neither account_id nor base_url is set.",
    )
    access_client_id: Annotated[str, AfterValidator(_validate_client_id)] | None = Field(
        default=None,
        description="Client id of a service token of Cloudflare Access, before a custom domain.",
    )
    access_client_secret: SecretValue | None = Field(
        default=None, description="The client secret of that service token."
    )
    access_token: SecretValue | None = Field(
        default=None,
        description="JWT of Cloudflare Access, in place of a service token; it expires, so it may "
        "be a callable.",
    )
    headers: Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(read_own_headers)] = Field(
        default={},
        description="Further headers for the gateway or a proxy before it, as JSON; secret.",
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
        description="`direct`: the SDK's own connections (realtime, connectors) skip the gateway.",
    )
    fallback: Literal["none", "direct"] = Field(
        default="none",
        description="`direct`: while the gateway is down, requests go to Mistral itself.",
    )
    fallback_cooldown: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Seconds after a failure in which the gateway is not tried first again.",
    )
    speedups: bool = Field(
        default=True,
        description="False leaves the SDK's own code untouched, and HTTP/1.1 to the HTTP library.",
    )
    otel: bool = Field(
        default=True,
        description="False: no trace id is read, no OpenTelemetry span, event or metric written.",
    )
    otel_metrics: bool = Field(
        default=False,
        description="True: histograms of each call (`gen_ai.client.*`), unless otel is False.",
    )
    otel_spans: bool = Field(
        default=False,
        description="True: a span for each call that gets none from the SDK or an instrumentor.",
    )
    log: Annotated[Literal["debug", "info"], BeforeValidator(_lower)] | None = Field(
        default=None,
        description="Shows the log of the process on stderr: `debug` has a line for each call.",
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(
        default=1000, description="Connections to the gateway at once, per process and event loop."
    )
    reload_secrets: bool = Field(
        default=True,
        description="False: secrets of files are read once, not again when a file has changed.",
    )
    keepalive_expiry: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="Seconds an idle connection is kept for the next call."
    )

    def __init__(self, **keywords: Unpack[SettingsKeywords]) -> None:
        """Read and check all settings; each can be given by keyword."""
        values = cast("dict[str, Any]", keywords)
        # A traceback may show the variables of each frame: whatever goes wrong is returned, and
        # raised here, where there is no plain secret, and outside of any `except`.
        problem = _prepare(values, type(self))
        files = None if problem is not None else find_secret_files(values, type(self).model_config)
        problem = problem or self._load(values) or self._find_missing_address(values)
        if problem is None and self.uses_gateway:
            problem = self._find_contradiction(values) or self._find_access_contradiction()
        if problem is not None:
            values.clear()
            try:
                raise problem
            finally:
                del problem  # an error and a frame that holds it would form a cycle
        vars(self)["_key_follows_environment"] = is_key_from_environment(self, values)
        vars(self)["_live_secrets"] = find_live_secrets(self, values, files)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings are read from: files only if there are some."""
        sources = super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )
        # It looks for each field by each of its names, in no file too: a third of the time.
        without_file = getattr(dotenv_settings, "env_file", ...) is None
        return tuple(each for each in sources if not (without_file and each is dotenv_settings))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).model_fields:
            del value  # pydantic's own error shows it
            msg = f"settings do not change: use settings.model_copy(update={{{name!r}: ...}})"
            raise GatewayConfigError(msg)
        super().__setattr__(name, value)

    def _load(self, values: dict[str, Any]) -> Exception | None:
        """Read and check all values; return what is wrong."""
        try:
            BaseSettings.__init__(self, **values)  # which says what is wrong by its variable
        except ValidationError as error:
            problems = _explain_error(error, values)
            text = f"Gateway settings: {'; '.join(problems.values())}"
            return GatewayConfigError(text, problems=problems)
        except SettingsError as error:
            return GatewayConfigError(f"Gateway settings: {error}")
        except RecursionError:
            # pydantic-settings parses the JSON of a variable, and does not say which one it was.
            given = [name for name in map(find_variable, type(self).model_fields) if name]
            found = [name for name in given if os.environ[name].lstrip().startswith(("[", "{"))]
            where = " or ".join(found) or "a file"
            return GatewayConfigError(f"Gateway settings: JSON is nested too deep in {where}")
        except Exception as error:  # noqa: BLE001 - raised by the caller
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        return None

    def _find_missing_address(self, values: dict[str, Any]) -> GatewayConfigError | None:
        """Return that nothing names the gateway, if that is wrong."""
        if self.enabled is False or self.base_url is not None or self.account_id is not None:
            return None
        unread = find_variable("base_url")
        if unread is not None and values.get("gateway_id") is not None:
            msg = (
                f"gateway_id is given, so {unread} is not read, and there is no account: pass "
                "account_id= too, or base_url= instead"
            )
            return GatewayConfigError(msg)
        if self.enabled == IF_CONFIGURED:
            return None
        msg = ". ".join(filter(None, [_NO_ADDRESS, describe_unread_file(values), _TRY_OUT]))
        return GatewayConfigError(msg, problems={"account_id": msg})

    def _find_contradiction(self, values: dict[str, Any]) -> GatewayConfigError | None:
        """Return what is wrong with the values together."""
        if self.stored_key and values.get("mistral_api_key") is not None:
            msg = (
                "byok and mistral_api_key contradict each other: any key that is sent is used in "
                "place of the stored one. Drop one of them"
            )
            return GatewayConfigError(msg, problems={"byok": msg})
        if self.fallback == "direct" and self.stored_key:
            msg = (
                "fallback=direct needs a Mistral key of your own, and byok says that the gateway "
                "holds it. Drop CF_AIG_FALLBACK or the stored key"
            )
            return GatewayConfigError(msg, problems={"fallback": msg})
        if self.fallback == "direct" and self.provider != "mistral":
            msg = (
                "fallback=direct goes to api.mistral.ai, which does not stand in for provider "
                f"{self.provider}. Drop CF_AIG_FALLBACK or CF_AIG_PROVIDER"
            )
            return GatewayConfigError(msg, problems={"fallback": msg})
        return None

    def _find_access_contradiction(self) -> GatewayConfigError | None:
        """Return what is wrong with the settings of Cloudflare Access together."""
        if (self.access_client_id is None) != (self.access_client_secret is None):
            msg = (
                "access_client_id (CF_AIG_ACCESS_CLIENT_ID) and access_client_secret "
                "(CF_AIG_ACCESS_CLIENT_SECRET) are one service token, and only one of them is set. "
                "Set both, or neither"
            )
            return GatewayConfigError(msg, problems=dict.fromkeys(_ACCESS, msg))
        if self.access_client_id is not None and self.access_token is not None:
            msg = (
                "access_token (CF_AIG_ACCESS_TOKEN) and a service token "
                "(CF_AIG_ACCESS_CLIENT_ID, CF_AIG_ACCESS_CLIENT_SECRET) contradict each other: "
                "Cloudflare Access takes one of them. Drop the other"
            )
            return GatewayConfigError(msg, problems=dict.fromkeys(_ACCESS, msg))
        host = (urlsplit(self.root_url).hostname or "").rstrip(".")
        if self.uses_access and host == urlsplit(GATEWAY_URL).hostname:
            name = "access_token" if self.access_client_id is None else "access_client_id"
            msg = (
                f"{name} (CF_AIG_{name.upper()}) is set, but {host} is never behind Cloudflare "
                f"Access: set CF_AIG_BASE_URL to the custom domain of the gateway, or drop {name}"
            )
            return GatewayConfigError(msg, problems=dict.fromkeys(_ACCESS, msg))
        return None

    @property
    def uses_gateway(self) -> bool:
        """Whether calls go through the gateway, as `enabled` says."""
        if self.enabled == IF_CONFIGURED:
            return self.base_url is not None or self.account_id is not None
        return bool(self.enabled)

    @property
    def uses_access(self) -> bool:
        """Whether calls bring a service token or a JWT for Cloudflare Access."""
        return self.access_client_id is not None or self.access_token is not None

    @property
    def stored_key(self) -> bool:
        """Whether the gateway holds the Mistral key: `byok`, or a `byok_alias`."""
        return self.byok or self.byok_alias is not None

    @property
    def root_url(self) -> str:
        """Everything before `/{provider}` and `/compat`.

        Raises:
            GatewayConfigError: nothing names the gateway, as is possible while
                it is not enabled.
        """
        if self.base_url is None and self.account_id is None:
            raise GatewayConfigError(_NO_ADDRESS)
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
        """Return a copy with some values changed, and checked like new settings.

        Raises:
            GatewayConfigError: a changed value cannot work.
        """
        changed = _hide_secrets(_field_names(update or {}), type(self))
        update = None  # may hold a plain secret, as a traceback would show
        if _names_gateway(changed):
            changed.setdefault("base_url", None)
        values = {name: getattr(self, name) for name in type(self).model_fields} | changed
        live = {name: one for name, one in live_secrets(self).items() if name not in changed}
        files = {name: one for name, one in live.items() if isinstance(one, FileSecret)}
        values |= {name: one.last for name, one in files.items()}
        # Beside a stored key, `mistral_api_key` by keyword is refused: it is set on the copy later.
        beside: dict[str, Any] = {}
        if "mistral_api_key" not in changed:
            follows = key_follows_environment(self)
            if follows or values["byok"] or values["byok_alias"]:
                key = values.pop("mistral_api_key")
                beside = {} if follows else {"mistral_api_key": key}
        # Every value is there: a file is not read again, and may be gone.
        values |= {"_env_file": None, "_secrets_dir": None}
        copy = type(self)(**values)
        if beside:
            vars(copy).update(beside, _key_follows_environment=False)
        if not copy.reload_secrets:
            live = {name: one for name, one in live.items() if name not in files}
        vars(copy)["_live_secrets"] |= live
        return copy

    def __reduce__(self) -> NoReturn:
        msg = (
            "GatewaySettings holds secrets and does not pickle: build it in the worker, from the "
            "environment"
        )
        raise TypeError(msg)


def _describe_variables(name: str) -> str:
    return f" [{', '.join(env_names(name))}]"


document_fields(GatewaySettings, GatewaySettings, "Fields:", _describe_variables)
shorten_signatures(GatewaySettings.model_copy, GatewaySettings.__init__)
set_public_module(GatewaySettings)


def explain_off(settings: GatewaySettings) -> str:
    """Return why calls do not go through the gateway."""
    if settings.enabled == IF_CONFIGURED:
        return (
            "enabled (CF_AIG_ENABLED) is if-configured, and neither CLOUDFLARE_ACCOUNT_ID nor "
            "CF_AIG_BASE_URL is set"
        )
    return "enabled (CF_AIG_ENABLED) is false"


_from_environment: tuple[bytes, GatewaySettings] | None = None


def from_environment() -> GatewaySettings:
    """Return `GatewaySettings()`, without reading an unchanged environment twice."""
    global _from_environment  # noqa: PLW0603 - one environment a process, one memory of it
    if os.environ.get(ENV_FILE):
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


_VARIABLES = frozenset(
    name.lower() for field in GatewaySettings.model_fields for name in env_names(field)
)
_FIELDS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}


def _field_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords under their fields' names, whichever of a field's names was used."""
    return {_FIELDS.get(name, name): value for name, value in values.items()}


def _hide_secrets(values: dict[str, Any], settings: type[GatewaySettings]) -> dict[str, Any]:
    """Return keywords with secrets wrapped: a traceback may show a frame's variables."""
    return {name: _hide_secret(name, value, settings) for name, value in values.items()}


def _hide_secret(name: str, value: object, settings: type[GatewaySettings]) -> object:
    if name == "headers" and isinstance(value, Mapping):
        texts = cast("Mapping[Any, object]", value)
        return {header: _wrap_secret(text) for header, text in texts.items()}
    field = settings.model_fields.get(name)
    if field is not None and name not in GatewaySettings.model_fields:
        # Of an application's own class, which takes what it takes.
        return Secret(value) if isinstance(value, str) and is_secret(field) else value
    return _wrap_secret(value) if _may_be_secret(name) else value


def _may_be_secret(name: str) -> bool:
    """Return whether a keyword is a secret, or one under a name that is not known."""
    return name in {*SECRETS, "headers"} or not (
        name in GatewaySettings.model_fields or name.startswith("_")
    )


def _wrap_secret(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        value = value.decode(errors="replace")
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, CallableSecret):
        return value
    if callable(value):
        return CallableSecret(cast("SecretFunction", value))
    return None if value is None else ()  # not a text: it is refused later


def _prepare(values: dict[str, Any], settings: type[GatewaySettings]) -> Exception | None:
    """Name keywords by field and hide their secrets, in place; return what is wrong with them."""
    by_field = _hide_secrets(_field_names(values), settings)
    values.clear()
    unknown = _unknown_name(by_field, settings)
    if unknown is not None:
        return unknown
    if by_field.get("enabled") == IF_CONFIGURED and find_variable("enabled"):
        del by_field["enabled"]  # CF_AIG_ENABLED decides
    keywords = frozenset(by_field)
    if ignores_base_url(by_field):
        by_field["base_url"] = None
    values.update(by_field)
    problem = _use_files(values)
    if problem is not None:
        return GatewayConfigError(f"Gateway settings: {problem}")
    warn = warning_handler.get()
    for text in _find_warnings(values, settings, keywords):
        if warn is not None:
            warn(text)
        else:
            warnings.warn(text, stacklevel=_caller_stacklevel())
    return None


def _use_files(values: dict[str, Any]) -> str | None:
    """Add the file that the environment names; return what is wrong with a file."""
    named_by = "_env_file" if "_env_file" in values else ENV_FILE
    file = os.environ.get(ENV_FILE)
    if file:
        values.setdefault("_env_file", file)
    return find_file_problem(values, _VARIABLES, named_by)


def describe_unread_file(values: Mapping[str, Any]) -> str:
    """Return a sentence if `./.env` sets what nothing else does, and no keyword names it."""
    names = find_unread_names(values, _VARIABLES)
    return _UNREAD_FILE.format(names=" and ".join(names)) if names else ""


def ignores_base_url(values: Mapping[str, Any]) -> bool:
    """Return whether `base_url` is ignored: an account or gateway is given by a stronger source.

    Keywords are stronger than the environment, and the environment is stronger than a file.
    """
    if "base_url" in values:
        return False
    is_account_set = find_variable("account_id") is not None and not find_variable("base_url")
    return _names_gateway(values) or is_account_set


def _names_gateway(values: Mapping[str, Any]) -> bool:
    return any(values.get(name) is not None for name in ("account_id", "gateway_id"))


def _unknown_name(
    values: Mapping[str, Any], settings: type[GatewaySettings]
) -> GatewayConfigError | None:
    for name in values:
        if name in settings.model_fields or name in SOURCE_KEYWORDS:
            continue
        hint = did_you_mean(name, [*settings.model_fields, *sorted(SOURCE_KEYWORDS)])
        hint = hint or "; help(GatewaySettings) lists them"
        return GatewayConfigError(f"GatewaySettings has no setting {name!r}{hint}")
    return None


def _find_warnings(
    values: Mapping[str, Any], settings: type[GatewaySettings], keywords: Collection[str]
) -> list[str]:
    """Return what is odd about the variables; the values stay unsaid."""
    variables = [*in_environment(), *variables_in_files(values, settings, _VARIABLES)]
    rivals = {name: names for name, names in ALIASES.items() if name not in values}
    names = {name: env_names(name) for name in settings.model_fields}
    names["_env_file"] = (ENV_FILE,)
    return [
        *find_conflicts(rivals, variables),
        *find_look_alikes(names, variables, keywords),
    ]


def _caller_stacklevel() -> int:
    """Return the stacklevel of a warning at which the package was called."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    # `__package__` is None in a script, and in a module of `exec()` it may be missing.
    while frame.f_back and (frame.f_globals.get("__package__") or "").startswith(str(__package__)):
        level, frame = level + 1, frame.f_back
    return level


def _explain_error(error: ValidationError, values: dict[str, Any]) -> dict[str, str]:
    """Return a sentence for each setting that is wrong, by its name."""
    fields = GatewaySettings.model_fields
    by_variable = {alias: fields[name] for alias, name in _FIELDS.items()}

    def name_of(location: str) -> str:
        name = _FIELDS.get(location, location)
        if name in values:
            return name
        return find_variable(name) or env_names(name)[0]

    found = explain_validation_error(error, {**fields, **by_variable}, name_of)
    return {_FIELDS.get(location, location): text for location, text in found.items()}
