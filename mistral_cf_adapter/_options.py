"""The gateway's request headers as options: one table.

Each field of `GatewayOptions` is one `cf-aig-*` header, except those in `_NOT_HEADERS`. To add a
header, add a field. It is then a keyword of `gateway_options()` and `gateway_headers()`, a
setting, an environment variable and a command-line flag.
"""

import enum
import functools
import inspect
import json
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import (
    Annotated,
    Any,
    Literal,
    Self,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
)
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from ._public import set_public_module
from ._signatures import add_section, set_keywords, shorten_signatures
from ._switch import drops_headers
from ._validation import did_you_mean, explain_validation_error

MONTH = 30 * 24 * 3600
METADATA_ENTRIES = 5
PREFIX = "cf-aig-"

_NOT_HEADERS = frozenset({"endpoint"})
_COST_FIELDS = frozenset(
    {"per_token_in", "per_token_out", "per_cache_read_token", "per_cache_write_token"}
)

MetadataValue: TypeAlias = (
    str | int | float | bool | Decimal | date | time | UUID | enum.Enum  # datetime is a date
)


class GatewayConfigError(ValueError):
    """A setting, an option or a combination of them cannot work; nothing was sent.

    The message names the setting, option, variable or file, with its value if
    it can be no secret, and says what would be right.

    Attributes:
        problems: a sentence for each setting or option that is wrong, by its
            name; empty where the error is about something else, such as a
            file.

    Example:
        >>> gateway_headers(cache_ttl=5)
        Traceback (most recent call last):
        ...
        mistral_cf_adapter.GatewayConfigError: cache_ttl: 5 is out of range: ...
    """

    def __init__(self, *args: object, problems: Mapping[str, str] | None = None) -> None:
        super().__init__(*args)
        self.problems: Mapping[str, str] = problems or {}


def _header_text(value: str) -> str:
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        msg = "must be printable ASCII without surrounding spaces, as it travels in an HTTP header"
        raise ValueError(msg)
    return value


def from_json(text: str, example: str) -> Any:
    """Parse JSON with exact decimals; `example` is for the error message."""
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        msg = f"is not JSON, as in {example}"
        raise ValueError(msg) from None


def _metadata(value: object) -> dict[str, str | int | float | bool]:
    if isinstance(value, str):
        value = from_json(value, '{"team": "search"}')
    if not isinstance(value, Mapping):
        msg = "must be a flat mapping of names to strings, numbers and booleans"
        raise ValueError(msg)  # noqa: TRY004 - pydantic collects ValueError only
    entries = {
        str(name): _metadata_value(str(name), entry)
        for name, entry in cast("Mapping[object, object]", value).items()
    }
    return validate_metadata(entries)


def _metadata_value(name: str, value: object) -> str | int | float | bool:
    if name.startswith("cf."):
        msg = f"entry {name!r}: names that start with 'cf.' are reserved and stripped"
        raise ValueError(msg)
    if isinstance(value, enum.Enum):
        return _metadata_value(name, value.value)
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        msg = f"entry {name!r}: NaN and infinity are not JSON"
        raise ValueError(msg)
    if isinstance(value, str | int | float):
        return value
    msg = (
        f"entry {name!r} is {type(value).__name__}: the gateway drops all metadata when one value "
        "is not a string, a number or a boolean"
    )
    raise ValueError(msg)


def validate_metadata(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the entries, or raise ValueError when there are more than the gateway keeps."""
    if len(entries) <= METADATA_ENTRIES:
        return entries
    msg = (
        f"{len(entries)} entries ({', '.join(entries)}), but the gateway keeps "
        f"{METADATA_ENTRIES} and drops the rest"
    )
    raise ValueError(msg)


def _decimal(value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        msg = "costs must be numbers"
        raise ValueError(msg) from None


def _custom_cost(value: object) -> dict[str, Decimal]:
    if isinstance(value, str):
        value = from_json(value, '{"per_token_in": 0.0000002}')
    given = cast("Mapping[str, object]", value if isinstance(value, Mapping) else {})
    unknown = [str(name) for name in given if name not in _COST_FIELDS]
    if not given or unknown:
        hint = did_you_mean(unknown[0], _COST_FIELDS) if unknown else ""
        hint = hint or f": any of {', '.join(sorted(_COST_FIELDS))}"
        msg = f"must name costs per token{hint}"
        raise ValueError(msg)
    costs = {name: _decimal(cost) for name, cost in given.items()}
    if not all(cost.is_finite() and cost >= 0 for cost in costs.values()):
        msg = "costs must be finite and not negative"
        raise ValueError(msg)
    return costs


def _list(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        text = value.strip()
        value = (
            from_json(text, '["openai/*"]')
            if text.startswith("[")
            else [entry.strip() for entry in text.split(",")]
        )
    if not isinstance(value, Iterable) or isinstance(value, bytes | bytearray | Mapping):
        msg = "must be a list of texts, or one text with commas in between"
        raise ValueError(msg)  # noqa: TRY004 - pydantic collects ValueError only
    entries = tuple(cast("Iterable[object]", value))
    if not entries:
        msg = "is an empty list, which would allow all; None sends no list"
        raise ValueError(msg)
    return tuple(_list_entry(number, entry) for number, entry in enumerate(entries, 1))


def _list_entry(number: int, entry: object) -> str:
    if not isinstance(entry, str) or not entry or "," in entry:
        msg = f"entry {number} must be a text that is not empty and has no comma in it"
        raise ValueError(msg)
    try:
        return _header_text(entry)
    except ValueError as error:
        msg = f"entry {number} {error}"
        raise ValueError(msg) from None


_Text: TypeAlias = Annotated[str, AfterValidator(_header_text)]
_List: TypeAlias = Annotated[Sequence[str], PlainValidator(_list)]
_Metadata: TypeAlias = Annotated[Mapping[str, MetadataValue], PlainValidator(_metadata)]
_Cost: TypeAlias = Annotated[
    Mapping[str, Decimal | float | int | str], PlainValidator(_custom_cost)
]


_HEX_DIGITS = frozenset("0123456789abcdef")


def _hex(length: int) -> AfterValidator:
    def check(value: str) -> str:
        if len(value) != length or not set(value) <= _HEX_DIGITS:
            msg = f"must be {length} hex digits, in lower case"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


class OptionKeywords(TypedDict, total=False):
    """The options as keywords, for type checkers and editors: one line for each option."""

    cache_ttl: int | None
    skip_cache: bool | None
    cache_key: str | None
    metadata: Mapping[str, MetadataValue] | None
    collect_log: bool | None
    collect_log_payload: bool | None
    request_timeout: int | None
    max_attempts: int | None
    retry_delay: int | None
    backoff: Literal["constant", "linear", "exponential"] | None
    custom_cost: Mapping[str, Decimal | float | int | str] | None
    event_id: str | None
    byok_alias: str | None
    no_wholesale: bool | None
    otel_trace_id: str | None
    otel_parent_span_id: str | None
    session_id: str | None
    turn_id: str | None
    no_session_affinity: bool | None
    allowed_models: str | Sequence[str] | None
    allowed_providers: str | Sequence[str] | None
    endpoint: Literal["native", "compat"] | None


class GatewayOptions(BaseModel):
    """Per-request controls of AI Gateway; `None` sends no header.

    Documented at https://developers.cloudflare.com/ai-gateway/ (features,
    configuration and observability pages); limits are checked here because the
    gateway drops bad values silently.

    Example:
        >>> GatewayOptions(cache_ttl=3600).cache_ttl
        3600
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    cache_ttl: Annotated[int, Field(ge=60, le=MONTH)] | None = Field(
        default=None,
        description="Seconds to cache the response, 60 to 2592000 (30 days); see also skip_cache.",
    )
    skip_cache: bool | None = Field(default=None, description="True bypasses the gateway's cache.")
    cache_key: _Text | None = Field(default=None, description="Replaces the default cache key.")
    metadata: _Metadata | None = Field(
        default=None, description="At most 5 flat entries stored with the log, as JSON."
    )
    collect_log: bool | None = Field(
        default=None, description="Overrides the gateway's log setting, either way."
    )
    collect_log_payload: bool | None = Field(
        default=None, description="False keeps prompt and response out of the log."
    )
    request_timeout: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Milliseconds the gateway waits for the provider's first byte."
    )
    max_attempts: Annotated[int, Field(ge=1, le=5)] | None = Field(
        default=None,
        description="Attempts the gateway makes, 1 to 5; multiplies with the SDK's own retries.",
    )
    retry_delay: Annotated[int, Field(ge=0, le=60_000)] | None = Field(
        default=None, description="Milliseconds between the gateway's attempts, 0 to 60000."
    )
    backoff: Literal["constant", "linear", "exponential"] | None = Field(
        default=None, description="How the delay between the gateway's attempts grows."
    )
    custom_cost: _Cost | None = Field(
        default=None,
        description="Costs per token, for the log: per_token_in, per_token_out, "
        "per_cache_read_token, per_cache_write_token.",
    )
    event_id: _Text | None = Field(
        default=None, description="Your own id for the event, echoed back by the gateway."
    )
    byok_alias: _Text | None = Field(
        default=None,
        description="Alias of the stored key to use; implies byok when it is a setting.",
    )
    no_wholesale: bool | None = Field(
        default=None, description="True never falls back to Cloudflare credits."
    )
    otel_trace_id: Annotated[str, _hex(32)] | None = Field(
        default=None,
        description="Trace id, 32 hex digits; by default taken from an outgoing traceparent.",
    )
    otel_parent_span_id: Annotated[str, _hex(16)] | None = Field(
        default=None,
        description="Parent span id, 16 hex digits; by default taken from an outgoing traceparent.",
    )
    session_id: _Text | None = Field(
        default=None,
        description="Auto Router: your id of the conversation, which keeps its model for a turn.",
    )
    turn_id: _Text | None = Field(
        default=None, description="Auto Router: your id of the turn, in place of its own guess."
    )
    no_session_affinity: bool | None = Field(
        default=None, description="Auto Router: True chooses a model anew for each request."
    )
    allowed_models: _List | None = Field(
        default=None,
        description="Auto Router: models to choose from, as openai/*; a list, or with commas.",
    )
    allowed_providers: _List | None = Field(
        default=None,
        description="Auto Router: providers to choose from; a list, or with commas.",
    )
    endpoint: Literal["native", "compat"] | None = Field(
        default=None,
        description=(
            "Where chat goes: the provider's own path, or /compat (for dynamic routes and the "
            "Auto Router)."
        ),
    )

    def __init__(self, **options: Unpack[OptionKeywords]) -> None:
        """Check all options; each can be given by keyword."""
        problem = None
        try:
            super().__init__(**options)
        except ValidationError as error:
            problem = _explain(error)
        if problem is not None:
            cast("dict[str, Any]", options).clear()  # a traceback may show what a frame holds
            try:
                raise problem
            finally:
                del problem  # an error and a frame that holds it would form a cycle

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Yield what is set, for `repr()`: which gateway, before the options."""
        fields = type(self).model_fields
        for name in sorted(fields, key=lambda name: name in GatewayOptions.model_fields):
            # One that was refused has no fields yet, and may be shown in a traceback.
            value = vars(self).get(name)
            if name in vars(self) and value != fields[name].get_default(call_default_factory=True):
                yield name, value


def document_fields(
    thing: Any, model: type[BaseModel], title: str, describe: Callable[[str], str] = lambda _: ""
) -> None:
    """Name the fields of a model, its own ones first, in a docstring and a signature.

    Args:
        thing: What is documented.
        model: Whose fields.
        title: What stands above them.
        describe: Returns what to add to a field's description.
    """
    bases = [base for base in model.__bases__ if issubclass(base, BaseModel)]
    inherited = {name for base in bases for name in base.model_fields}
    names = sorted(model.model_fields, key=lambda name: name in inherited)
    texts = {name: f"{model.model_fields[name].description}{describe(name)}" for name in names}
    add_section(thing, title, texts)
    set_keywords(thing, names)


document_fields(GatewayOptions, GatewayOptions, "Fields:")
shorten_signatures(GatewayOptions.__init__)


def header_names() -> dict[str, str]:
    """Map every option that is a request header to the header's name."""
    return {
        name: PREFIX + name.replace("_", "-")
        for name in GatewayOptions.model_fields
        if name not in _NOT_HEADERS
    }


_HEADERS = header_names()


def merge_options(parent: Mapping[str, Any], inner: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two sets of options; the inner one wins, `metadata` entry by entry.

    Raises:
        GatewayConfigError: the merged metadata has more entries than the gateway keeps.
    """
    result = {**parent, **inner}
    if inner.get("metadata") is not None and parent.get("metadata") is not None:
        result["metadata"] = _merge_metadata(parent["metadata"], inner["metadata"])
    return result


def _merge_metadata(parent: Mapping[str, Any], inner: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return validate_metadata({**parent, **inner})
    except ValueError as error:
        msg = f"metadata, merged from all places: {error}"
        raise GatewayConfigError(msg) from None


def to_headers(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options as request headers; `None` sends none."""
    return {
        _HEADERS[name]: _header_value(value)
        for name, value in options.items()
        if value is not None and name in _HEADERS
    }


def _header_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return _json(cast("Mapping[str, object]", value))
    if isinstance(value, tuple):
        return ",".join(cast("tuple[str, ...]", value))
    return str(value)


def _json(value: Mapping[str, object]) -> str:
    # json has no Decimal; its plain digits are valid JSON.
    items = (
        f"{json.dumps(name)}:{format(item, 'f') if isinstance(item, Decimal) else json.dumps(item)}"
        for name, item in value.items()
    )
    return "{" + ",".join(items) + "}"


def merge_metadata_header(parent: Mapping[str, Any], header: str) -> str:
    """Merge the metadata header of a call into the metadata of outer scopes; the call wins.

    A header that is not a JSON object is the caller's own business and is returned unchanged.
    """
    try:
        inner = json.loads(header)
    except ValueError:
        return header
    if not isinstance(inner, dict):
        return header
    return _json(_merge_metadata(parent, cast("dict[str, Any]", inner)))


def _explain(error: ValidationError) -> GatewayConfigError:
    problems = explain_validation_error(error, GatewayOptions.model_fields)
    return GatewayConfigError("; ".join(problems.values()), problems=problems)


def _validate(options: dict[str, Any]) -> dict[str, Any]:
    try:
        model = GatewayOptions(**options)
    except GatewayConfigError:
        options.clear()  # a traceback may show what a frame holds
        raise
    return {name: getattr(model, name) for name in model.model_fields_set}


_R = TypeVar("_R")
_F = TypeVar("_F", bound=Callable[..., Any])


class OptionsScope:
    """The options of the enclosing `gateway_options()` blocks, merged."""

    __slots__ = ("block", "cached_headers", "options", "parent")

    def __init__(self, block: "OptionsBlock", parent: "OptionsScope | None") -> None:
        own = block.options
        self.options: Mapping[str, Any] = (
            own if parent is None else merge_options(parent.options, own)
        )
        self.block = block
        self.parent = parent
        # Set by _routing._effective_options(): the route, the options with its own, the headers.
        self.cached_headers: tuple[object, Mapping[str, Any], Mapping[str, str]] | None = None


_current: ContextVar[OptionsScope | None] = ContextVar("mistral_cf_adapter._options", default=None)
get_current_scope = _current.get


def _remove_block(block: "OptionsBlock", scope: OptionsScope | None) -> OptionsScope | None:
    """Remove a block from a scope and its parents.

    It is the innermost as a rule; a generator may leave its block while another one is open.
    """
    if scope is None or scope.block is block:
        return scope and scope.parent
    parent = _remove_block(block, scope.parent)
    return scope if parent is scope.parent else OptionsScope(scope.block, parent)


class OptionsBlock:
    """What `gateway_options()` returns: a context manager and a decorator."""

    __slots__ = ("options",)

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def __enter__(self) -> Self:
        _current.set(OptionsScope(self, _current.get()))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _current.set(_remove_block(self, _current.get()))

    def __call__(self, function: _F) -> _F:
        """Run every call of the function, sync or async, inside the block."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            msg = "gateway_options() cannot decorate a generator: use `with` inside of it instead"
            raise TypeError(msg)
        if inspect.iscoroutinefunction(function):
            return cast("_F", self._around_async(function))

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with OptionsBlock(self.options):
                result = function(*args, **kwargs)
            return self._await(result) if inspect.iscoroutine(result) else result

        return cast("_F", wrapper)

    async def _await(self, coroutine: Coroutine[Any, Any, _R]) -> _R:
        with OptionsBlock(self.options):
            return await coroutine

    def _around_async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await self._await(function(*args, **kwargs))

        return wrapper

    def __repr__(self) -> str:
        return f"gateway_options({', '.join(self.options)})"


def gateway_options(**options: Unpack[OptionKeywords]) -> OptionsBlock:
    """Set gateway options for every call in a block, or in a decorated function.

    Blocks nest, the inner one wins option by option (`metadata` entry by
    entry), and each task and thread has its own. An option set to `None`
    removes what an outer scope set. Options on the call itself
    (`http_headers=gateway_headers(...)`) win over the block.

    Raises:
        GatewayConfigError: a value is out of range, or merged metadata has
            over 5 entries.
        TypeError: on decorating a generator; use `with` inside of it.

    Example:
        >>> from mistral_cf_adapter.testing import LocalGateway  # no account
        >>> with LocalGateway() as gateway:
        ...     client = make_client(gateway.settings())
        ...     with gateway_options(cache_ttl=3600, metadata={"team": "a"}):
        ...         models = client.models.list()
        ...     gateway.requests[-1].headers["cf-aig-metadata"]
        '{"team":"a"}'
    """
    return OptionsBlock(_validate(cast("dict[str, Any]", options)))


def gateway_headers(**options: Unpack[OptionKeywords]) -> dict[str, str]:
    """Return gateway options as headers, for `http_headers=` of a single call.

    An option set to `None` is an empty header, which removes what an outer
    scope set. While the switch is off (`CF_AIG_ENABLED=false`, or a `patch()`
    that found it off) and no client goes through the gateway, there are none:
    they would go to Mistral.

    Raises:
        GatewayConfigError: a value is out of range, or `endpoint` is given,
            which is no header.

    Example:
        >>> gateway_headers(skip_cache=True)
        {'cf-aig-skip-cache': 'true'}
    """
    if "endpoint" in options:
        msg = "endpoint is not a header: use gateway_options(endpoint=...) or the setting"
        raise GatewayConfigError(msg)
    checked = _validate(cast("dict[str, Any]", options))
    if drops_headers():
        return {}
    unset = {_HEADERS[name]: "" for name, value in checked.items() if value is None}
    return unset | to_headers(checked)


for _function in (gateway_options, gateway_headers):
    document_fields(_function, GatewayOptions, "Options:")
shorten_signatures(GatewayConfigError)
set_public_module(GatewayConfigError, GatewayOptions, gateway_headers, gateway_options)
