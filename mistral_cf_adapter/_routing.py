"""`Route`: an SDK request becomes the gateway's request, an error response an exception. No I/O."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Literal, NamedTuple, NoReturn, Self, cast
from weakref import ref

from pydantic import SecretStr

from . import _paths
from ._capture import get_trace_ids
from ._credentials import SecretSource
from ._errors import KEY_HEADERS, Mask, from_response
from ._gateway_models import is_auto_router
from ._options import (
    PREFIX,
    GatewayConfigError,
    OptionsScope,
    merge_metadata_header,
    merge_options,
    to_headers,
)
from ._own_headers import texts_of
from ._sdk import hide_from_retries, httpx
from ._secrets import Secret, clean
from ._secrets import mask as mask_secrets
from ._settings import GatewaySettings
from ._settings_secrets import Key, fixed_secret, get_key_reader, live_secrets
from ._telemetry import Telemetry, make_telemetry

TOKEN_HEADER = "cf-aig-authorization"  # noqa: S105 - a name
METADATA = "cf-aig-metadata"
BYOK_ALIAS = "cf-aig-byok-alias"
MISTRAL_HOST = "api.mistral.ai"

_CHAT = "/v1/chat/completions"
_MAX_RETRY_AFTER = 60.0  # seconds, as the longest interval of the SDK's own default
_PORTS = {"https": 443, "http": 80}
_TRACE_HEADERS = ("cf-aig-otel-trace-id", "cf-aig-otel-parent-span-id")
_TRACEPARENT = r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}"
_PREFIX = PREFIX.encode()
_SEGMENT = rb"[^./?%\\][^/?%\\]*"  # without what a dot segment could be spelt with
_OPERATION = rb"/v[0-9]+/(?=.)(%b(?:/%b)*(?:\?.*)?\Z)?" % (_SEGMENT, _SEGMENT)
ACCESS_HEADERS = ("cf-access-client-id", "cf-access-client-secret", "cf-access-token")
_SECRET_HEADERS = (*KEY_HEADERS, TOKEN_HEADER, *ACCESS_HEADERS)
_RAW_SECRET_HEADERS = frozenset(name.encode() for name in _SECRET_HEADERS)
_RELEVANT = frozenset(
    {b"authorization", b"x-api-key", b"traceparent", *(name.encode() for name in ACCESS_HEADERS)}
)


class _Carrier(NamedTuple):
    """How a secret of the settings travels."""

    header: str
    prefix: str
    rivals: tuple[str, ...]
    """Headers of a request that replace the secret of the settings."""


_CARRIERS = {
    "token": _Carrier(TOKEN_HEADER, "Bearer ", (TOKEN_HEADER,)),
    "mistral_api_key": _Carrier("Authorization", "Bearer ", KEY_HEADERS),
    "access_client_secret": _Carrier("cf-access-client-secret", "", ACCESS_HEADERS),
    "access_token": _Carrier("cf-access-token", "", ACCESS_HEADERS),
}
_JWT_IN_PLACE_OF_A_KEY = _Carrier("Authorization", "Bearer ", ACCESS_HEADERS)
NOT_PICKLED = "A client of the gateway holds secrets and does not pickle: build it in the worker"
# Keys in `request.extensions`: prepared already, to be sent without a provider's key, number of the
# attempt, URL that the call gave itself (`server_url=`).
ROUTED = "mistral_cf_adapter.routed"
KEYLESS = "mistral_cf_adapter.keyless"
ATTEMPT = "mistral_cf_adapter.attempt"
OWN_URL = "mistral_cf_adapter.own_url"


ExtraHeaders = Callable[[bool], Mapping[str, str]]
"""Returns headers, given whether the request goes without a Mistral key."""
_KeyUse = Literal["required", "optional", "never"]  # of the Mistral key, in one request


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Where requests go and what they carry, worked out once from the settings."""

    origin: tuple[str, str, int]
    prefix: bytes
    provider: str
    provider_path: str
    provider_raw_path: bytes
    operations: re.Pattern[bytes]
    """Matches a raw path below the provider's `/v1/`, `/v2/` ... Its group is set if no segment
    begins with a dot or has `%` or a backslash; else `_paths.is_below()` decides."""
    provider_url: str
    compat_url: str
    address: str
    """The settings that name the gateway, as an error's advice says them."""
    options: Mapping[str, Any]
    stored_key: bool
    fallback: bool
    cooldown: float
    otel: bool
    telemetry: Telemetry | None
    headers: Mapping[str, str] = field(repr=False)
    own_names: frozenset[str]
    """The names of the setting `headers`, in lower case."""
    # Functions, so that nothing finds a secret among the attributes of a route.
    read_token_header: Callable[[], str | None] = field(repr=False)
    """Returns the value of `cf-aig-authorization`."""
    read_key: Callable[[], Key] = field(repr=False)
    """Returns the Mistral key as it is now, and what is wrong with it."""
    read_extra_headers: "ExtraHeaders | None" = field(repr=False)
    """Reads the setting `headers` and those for Cloudflare Access; `None`: there are none."""
    live_secrets: Mapping[str, SecretSource] | None = field(repr=False)
    """Secrets read anew for each request (a callable, or a file that may change), by setting."""

    @classmethod
    def from_settings(cls, settings: GatewaySettings, provider: str | None = None) -> "Route":
        """Work out the route for the settings, or for another provider of the same gateway."""
        provider = provider or settings.provider
        provider_url = f"{settings.root_url}/{provider}"
        # As the HTTP library reads them, for requests are compared with these.
        root, url = httpx.URL(settings.root_url), httpx.URL(provider_url)
        return cls(
            origin=get_origin(root),
            prefix=bytes(root.raw_path).rstrip(b"/") + b"/",
            provider=provider,
            provider_path=url.path,
            provider_raw_path=bytes(url.raw_path),
            operations=re.compile(re.escape(bytes(url.raw_path)) + _OPERATION),
            provider_url=provider_url,
            compat_url=settings.compat_url,
            address=_name_address(settings),
            options=settings.options,
            stored_key=settings.stored_key,
            fallback=settings.fallback == "direct" and provider == "mistral",
            cooldown=settings.fallback_cooldown,
            otel=settings.otel,
            telemetry=make_telemetry(
                metrics=settings.otel and settings.otel_metrics,
                spans=settings.otel and settings.otel_spans,
            ),
            headers=to_headers(settings.options),
            own_names=frozenset(name.lower() for name in settings.headers),
            read_token_header=_make_authorization_reader(settings),
            read_key=get_key_reader(settings),
            read_extra_headers=_make_extra_headers_reader(settings),
            live_secrets=live_secrets(settings) or None,
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_PICKLED)

    def __deepcopy__(self, memo: object) -> "Route":
        return self

    def is_same_origin(self, url: Any) -> bool:
        """Return whether a URL has the gateway's origin."""
        return get_origin(url) == self.origin

    def leads_to_provider(self, url: Any) -> bool:
        """Return whether a URL is an operation's below this account, gateway and provider."""
        match = self.operations.match(url.raw_path)
        if match is None or not self.is_same_origin(url):
            return False
        return match[1] is not None or _paths.is_below(url.raw_path, self.provider_raw_path + b"/")

    def covers(self, url: Any) -> bool:
        """Return whether a URL is below this account's gateway."""
        return self.is_same_origin(url) and bytes(url.raw_path).startswith(self.prefix)


def _name_address(settings: GatewaySettings) -> str:
    if settings.base_url is not None:
        return "account and gateway in base_url (CF_AIG_BASE_URL)"
    return "account_id (CLOUDFLARE_ACCOUNT_ID) and gateway_id (CLOUDFLARE_GATEWAY_ID)"


def _find_carrier(name: str, *, keyless: bool) -> _Carrier:
    """Return how a secret travels in a request with or without a Mistral key."""
    is_in_its_place = keyless and name == "access_token"
    return _JWT_IN_PLACE_OF_A_KEY if is_in_its_place else _CARRIERS[name]


def _make_authorization_reader(settings: GatewaySettings) -> Callable[[], str | None]:
    token = fixed_secret(settings, "token")
    value = None if token is None else f"Bearer {token}"
    return lambda: value


def _make_extra_headers_reader(settings: GatewaySettings) -> ExtraHeaders | None:
    """Return what reads the setting `headers` and the headers for Cloudflare Access.

    The JWT of Access is documented as a bearer token, where the Mistral key stands, and as
    `cf-access-token`. So it is a bearer token if no key is sent, which is our reading of
    https://developers.cloudflare.com/ai-gateway/configuration/cloudflare-access/ ; no live gateway
    was asked.
    """
    if not settings.uses_access and not settings.headers:
        return None
    own = {name: value.get_secret_value() for name, value in settings.headers.items()}
    client_id = settings.access_client_id
    client_secret = fixed_secret(settings, "access_client_secret")
    jwt = fixed_secret(settings, "access_token")

    def read(keyless: bool) -> Mapping[str, str]:  # noqa: FBT001
        access: dict[str, str] = {}
        if client_id is not None:
            access["cf-access-client-id"] = client_id
        if client_secret is not None:
            access["cf-access-client-secret"] = client_secret
        if jwt is not None:
            carrier = _find_carrier("access_token", keyless=keyless)
            access[carrier.header] = f"{carrier.prefix}{jwt}"
        return {**own, **access}

    return read


def get_origin(url: Any) -> tuple[str, str, int]:
    """Return scheme, host and port, the default one if the URL names none."""
    return url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS.get(url.scheme, 0)


def find_address_problem(route: Route, request: Any) -> str | None:
    """Return why a request that does not lead to the provider must not be sent, if it must not."""
    url = request.url
    if not route.is_same_origin(url):
        return None
    if OWN_URL in request.extensions and not route.covers(url):
        return None
    path = bytes(url.raw_path).partition(b"?")[0].decode("ascii")
    problem = _paths.Problem("the path", path, _paths.not_the_provider(route))
    return problem.describe(make_mask(route, request))


def secrets_area(route: Route, url: Any) -> bytes:
    """Return the path prefix that a redirect must stay below to keep the secrets.

    That is the provider's or the compat endpoint's of this gateway. For another URL it is empty:
    there, as with the HTTP library, the origin alone decides.
    """
    if not route.covers(url):
        return b""
    provider = route.provider_raw_path + b"/"
    compat = route.prefix + b"compat/"
    return compat if url.raw_path.startswith(compat) else provider


def is_within(url: Any, area: bytes) -> bool:
    """Return whether a URL's path lies in an area of `secrets_area()`."""
    return not area or _paths.is_below(url.raw_path, area)


def get_route(settings: GatewaySettings, provider: str | None = None) -> Route:
    """Return the route for the settings, worked out once for each settings object."""
    routes: dict[str | None, Route] = vars(settings).setdefault("_routes", {})
    if provider not in routes:
        routes[provider] = Route.from_settings(settings, provider)
    return routes[provider]


def prepare_request(
    route: Route, request: Any, scope: OptionsScope | None, *, needs_key: bool = True
) -> Any:
    """Return a copy of the request with the gateway's headers and the right credentials.

    Args:
        route: Where the request goes and what it carries.
        request: The SDK's own request.
        scope: The enclosing `gateway_options()` blocks, if any.
        needs_key: A missing key is an error. False if the user's HTTP client may add one, or
            `add_secrets()` does.

    Raises:
        GatewayConfigError: there is no key to send, or merged metadata has over 5 entries.
    """
    options, defaults = _effective_options(route, scope)
    metadata = _merge_call_metadata(request, options)
    compat = _compat_body(route, request) if options.get("endpoint") == "compat" else None
    # The gateway would pass a Mistral key on to the provider that the Auto Router chooses.
    is_auto = compat is not None and is_auto_router(compat["model"])
    key: _KeyUse = "never" if is_auto else "required" if needs_key else "optional"
    headers, problem = _outgoing_headers(route, request, defaults, metadata, key)
    if problem is not None:
        del headers  # a traceback may show what a frame holds
        raise GatewayConfigError(problem)
    return (
        clone_request(request, headers)
        if compat is None
        else _compat_request(route, request, headers, compat)
    )


def _outgoing_headers(
    route: Route,
    request: Any,
    defaults: Mapping[str, str],
    metadata: Mapping[str, str],
    key: _KeyUse,
) -> tuple[Any, str | None]:
    """Return the request's headers with the gateway's and the right key, and what is wrong."""
    headers = request.headers.copy()
    relevant = _relevant_headers(headers)
    call_headers = {**_gateway_headers(relevant), **metadata}
    gateway_headers = {**defaults, **call_headers}
    trace = _trace_headers(request, relevant, gateway_headers) if route.otel else {}
    _update(headers, {**trace, **gateway_headers})
    if route.stored_key or gateway_headers.get(BYOK_ALIAS):
        key = "never"
    problem = _set_key(route, headers, relevant, key)
    if TOKEN_HEADER not in call_headers and (authorization := route.read_token_header()):
        headers[TOKEN_HEADER] = authorization
    if route.read_extra_headers is not None:
        extra = route.read_extra_headers(key == "never")
        _add_extra_headers(route, headers, extra, relevant)
    return headers, problem or _credential_problem(headers)


def _add_extra_headers(
    route: Route, headers: Any, extra: Mapping[str, str], relevant: Mapping[str, list[str]]
) -> None:
    """Add the headers of `Route.read_extra_headers`; those of the call win."""
    has_access = not relevant.keys().isdisjoint(ACCESS_HEADERS)
    for name, value in extra.items():
        if name.lower() in route.own_names:
            # An empty `cf-aig-*` header of the call is in `relevant` alone: it sends none.
            is_present = name in headers or name.lower() in relevant
        else:
            is_present = has_access
        if not is_present:
            headers[name] = value


def find_missing_secrets(route: Route, request: Any, outgoing: Any) -> dict[str, SecretSource]:
    """Return the live secrets that the SDK's request did not bring."""
    return {
        name: source
        for name, source in (route.live_secrets or {}).items()
        if request.headers.keys().isdisjoint(_CARRIERS[name].rivals)
        and not (name == "mistral_api_key" and is_keyless(route, outgoing))
    }


def find_missing_key(route: Route, request: Any) -> dict[str, SecretSource]:
    """Return the live secret for a request that goes past the gateway: Mistral's key alone."""
    missing = find_missing_secrets(route, request, request)
    return {name: source for name, source in missing.items() if name == "mistral_api_key"}


def add_secrets(route: Route, outgoing: Any, secrets: Mapping[str, Secret]) -> None:
    """Set the headers of secrets that were read for this request, by setting."""
    keyless = is_keyless(route, outgoing)
    for name, secret in secrets.items():
        carrier = _find_carrier(name, keyless=keyless)
        outgoing.headers[carrier.header] = f"{carrier.prefix}{secret.get_secret_value()}"


def strip_gateway_headers(request: Any) -> Any:
    """Return a copy for a host that is not the gateway: nothing of the gateway's goes there."""
    headers = request.headers.copy()
    for name in _gateway_headers(_relevant_headers(headers)):
        del headers[name]
    return clone_request(request, headers)


def strip_cloudflare_headers(headers: Any) -> Any:
    """Return headers for a request that was meant for the gateway, and goes elsewhere.

    `cf-access-*` lets a caller in where Cloudflare Access guards the gateway's host; cookies
    are that host's too.
    """
    headers = headers.copy()
    for name in {name.lower() for name in headers}:
        if name.startswith("cf-") or name in ("cookie", "proxy-authorization"):
            del headers[name]
    return headers


def _effective_options(
    route: Route, scope: OptionsScope | None
) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Return the options in force and their headers, remembered for the next call."""
    if scope is None:
        return route.options, route.headers
    known = scope.cached_headers
    if known is None or known[0] is not route:
        options = merge_options(route.options, scope.options)
        known = scope.cached_headers = (route, options, to_headers(options))
    return known[1], known[2]


def _relevant_headers(headers: Any) -> dict[str, list[str]]:
    """Return the credentials, the trace and the `cf-aig-*` headers that a request brings.

    One pass over the raw headers: each question to the HTTP library would be another.
    """
    relevant: dict[str, list[str]] = {}
    encoding = headers.encoding
    for name, value in headers.raw:
        lowered = name.lower()
        if lowered in _RELEVANT or lowered[:7] == _PREFIX:
            values = relevant.setdefault(lowered.decode(encoding), [])
            values.append(value.decode(encoding))
    return relevant


def _merge_call_metadata(request: Any, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the header where both the call and the options bring metadata, else nothing."""
    below = options.get("metadata")
    values = request.headers.get_list(METADATA) if below else ()
    if not below or not values or not values[-1]:
        return {}
    return {METADATA: merge_metadata_header(below, values[-1])}


def _update(headers: Any, fields: Mapping[str, str]) -> None:
    """Set headers; an empty value removes the header."""
    for name, value in fields.items():
        if value:
            headers[name] = value
        else:
            headers.pop(name, None)


def _gateway_headers(relevant: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the `cf-aig-*` headers of a call itself, the last one of two."""
    return {name: values[-1] for name, values in relevant.items() if name.startswith(PREFIX)}


def _trace_headers(
    request: Any, relevant: Mapping[str, list[str]], gateway_headers: Mapping[str, str]
) -> dict[str, str]:
    """Return the headers of the trace that a request brings, else of the current one.

    A pair of ids that are not of one trace would be worse than none: an id that is set as an
    option gets no second one.
    """
    if any(name in gateway_headers for name in _TRACE_HEADERS):
        return {}
    values = relevant.get("traceparent")
    if values is None:
        ids = get_trace_ids(request)
    else:
        match = re.fullmatch(_TRACEPARENT, values[0]) if len(values) == 1 else None
        ids = None if match is None else (match[1], match[2])
    return {} if ids is None else dict(zip(_TRACE_HEADERS, ids, strict=True))


def _set_key(
    route: Route,
    headers: Any,
    relevant: Mapping[str, list[str]],
    use: _KeyUse,
) -> str | None:
    """Set or remove the key in the headers; return a problem if there is no key."""
    present = [name for name in KEY_HEADERS if name in relevant]
    if use == "never":
        for name in present:
            del headers[name]
        return None
    if len(relevant.get("authorization", ())) > 1:
        # The SDK sends both where a call spells the header in another case; the call's is last.
        headers["authorization"] = relevant["authorization"][-1]
    if present:
        return None
    key, problem = route.read_key()
    if key is None and problem is None and use == "optional":
        return None
    if key is None:
        return problem or (
            "There is no Mistral key to send: set MISTRAL_API_KEY, pass api_key=..., or, if the "
            "key is stored in the gateway, say so with CF_AIG_BYOK=true"
        )
    headers["Authorization"] = f"Bearer {key}"
    return None


def _credential_problem(headers: Any) -> str | None:
    """Return what is wrong with a secret that the HTTP library would refuse, quoting it."""
    for raw_name, raw_value in headers.raw:
        name = raw_name.lower()
        if name in _RAW_SECRET_HEADERS:
            value = raw_value.decode(headers.encoding)
            text = value.lower().removeprefix("bearer").strip()
            if not text or not value.isprintable() or value != value.strip():
                argument = "api_key" if name == b"authorization" else name.decode("ascii")
                return (
                    f"{argument} is empty, begins or ends with a space, or has a line break or a "
                    "control character in it"
                )
    return None


def is_keyless(route: Route, outgoing: Any) -> bool:
    """Return whether a prepared request goes without a Mistral key."""
    return uses_stored_key(route, outgoing.headers) or bool(outgoing.extensions.get(KEYLESS))


def uses_stored_key(route: Route, headers: Any) -> bool:
    """Return whether the gateway is to use a key that is stored there, by a request's headers."""
    return route.stored_key or BYOK_ALIAS in headers


def clone_request(request: Any, headers: Any, url: Any = None) -> Any:
    """Copy a request with its stream and loaded body; the SDK sends its own again on a retry."""
    copy: Any = object.__new__(cast("type[object]", type(request)))
    copy.__dict__ = dict(request.__dict__)
    copy.headers = headers
    copy.extensions = {**request.extensions, ROUTED: True}
    if url is not None:
        copy.url = url
        headers["host"] = url.netloc.decode("ascii")
    return copy


def restore_sdk_headers(route: Route, request: Any, sent: Any) -> Any:
    """Return the request of a redirect's hop as the SDK may see it: without what is not its own."""
    headers = strip_cloudflare_headers(sent.headers)
    for name in (*KEY_HEADERS, *route.own_names):
        if name in headers:
            del headers[name]
            if name in request.headers:
                headers[name] = request.headers[name]
    shown = clone_request(sent, headers)
    shown.extensions = request.extensions
    return shown


def _compat_body(route: Route, request: Any) -> dict[str, Any] | None:
    """Return the body of a chat request for the compat endpoint, `None` for other requests."""
    if request.url.path != route.provider_path + _CHAT:
        return None
    body: dict[str, Any] = json.loads(request.content)
    if "/" not in str(body.get("model", "")):
        body["model"] = f"{route.provider}/{body['model']}"
    return body


def _compat_request(route: Route, request: Any, headers: Any, body: dict[str, Any]) -> Any:
    """Turn a chat request into one for the OpenAI-compatible endpoint."""
    for name in ("host", "content-length"):
        headers.pop(name, None)
    return type(request)(
        request.method,
        f"{route.compat_url}/chat/completions",
        headers=headers,
        content=json.dumps(body, separators=(",", ":")).encode(),
        extensions={**request.extensions, ROUTED: True, KEYLESS: is_auto_router(body["model"])},
    )


def _hide_long_retry_after(response: Any) -> None:
    """Hide a `Retry-After` of over a minute from the SDK's retries, which would sleep that long.

    The SDK's own backoff then applies, which `max_elapsed_time` ends. The caller still finds it.
    """
    long_waits = {
        name
        for name, unit in (("retry-after", 1.0), ("retry-after-ms", 0.001))
        if (value := response.headers.get(name)) is not None
        and not 0 <= _retry_after_seconds(value, unit) <= _MAX_RETRY_AFTER
    }
    if long_waits:
        response.headers = hide_from_retries(response.headers, frozenset(long_waits))


def _retry_after_seconds(value: str, unit: float) -> float:
    """Return the seconds a header asks to wait, -1 if it cannot be parsed."""
    try:
        return float(value) * unit
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - time(), 0)
    except (ValueError, TypeError, OverflowError):
        return -1


def make_mask(route: Route, request: Any, secrets: Sequence[SecretStr] = ()) -> Mask:
    """Return what masks in a text the secrets of a route, and those that a request carries.

    Args:
        route: Where the request goes.
        request: The request.
        secrets: Further ones, as they are when a text is masked.
    """
    return make_headers_mask(route, request.headers, secrets)


def make_headers_mask(
    route: Route, headers: Mapping[str, str], secrets: Sequence[SecretStr] = ()
) -> Mask:
    """Return the same for a request that is not built yet."""

    def mask(text: str) -> str:
        values: list[str | None] = [
            value for name, value in headers.items() if name.lower() in _SECRET_HEADERS
        ]
        values += route.read_token_header(), route.read_key()[0]
        if route.read_extra_headers is not None:
            own = [value for name, value in headers.items() if name.lower() in route.own_names]
            for value in (*own, *route.read_extra_headers(False).values()):  # noqa: FBT003
                values += texts_of(value)
        # Nothing is asked for here: what was sent is in the headers.
        sources = (route.live_secrets or {}).values()
        known = [source.last for source in sources if source.last is not None]
        carried = [Secret(clean(value)) for value in values if value]
        return mask_secrets(text, [*carried, *known, *secrets])

    return mask


def raise_for_gateway_error(
    response: Any, mask: Mask = str, address: str = "", *, had_token: bool = True
) -> Any:
    """Return the response, or raise the gateway's error.

    A retryable error is raised later: the response is returned, so that the SDK retries by its
    status. After the last retry the SDK calls `iter_text()`, and that raises.

    Args:
        response: The response.
        mask: Masks secrets in the server's text.
        address: `Route.address`.
        had_token: Whether the request, as it was sent, brought a token for the gateway.
    """
    if response.status_code < 400:
        return response
    error = from_response(response, mask, address, had_token=had_token)
    if error is not None and error.retryable:
        response.iter_text = response.aiter_text = _ErrorRaiser(ref(response), mask)
    _hide_long_retry_after(response)
    if error is None or error.retryable:
        return response
    try:
        raise error
    finally:
        del error  # an error and a frame that holds it would form a cycle


class _ErrorRaiser:
    """Raises a response's error; it does not hold the error, which has the response."""

    def __init__(self, response: Callable[[], Any], mask: Mask) -> None:
        self._response = response
        self._mask = mask

    def __call__(self, *_: object) -> NoReturn:
        raise cast("Exception", from_response(self._response(), self._mask))

    def __reduce__(self) -> tuple[Any, ...]:
        response = self._response()
        return _TextIterator, ("" if response is None else response.text,)


class _TextIterator:
    """What an `_ErrorRaiser` is in a copy by pickle: it yields the text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, *_: object) -> Self:
        return self

    def __iter__(self) -> Iterator[str]:
        yield self._text

    async def __aiter__(self) -> AsyncIterator[str]:
        yield self._text
