"""The gateway's error responses as exceptions.

    mistralai SDKError
      GatewayError                       base of all below
        GatewayNotFoundError             2001         no such gateway
        GatewayRateLimitedError          2003         the gateway's request limit
        GatewayProviderError             2005         no response from the provider
        GatewayInvalidProviderError      2008         no such provider
        GatewayUnauthorizedError         2009         gateway token missing or wrong; also 9109,
                                                      10000, 10001 and every 401 of Cloudflare's
        GatewayGuardrailError            2016 2017    prompt or response blocked by guardrails
        GatewayBadFormatError            2019         request not in the endpoint's shape
        GatewayCreditsError              2021         no credits left
        GatewayDlpError                  2029 2030    prompt or response blocked by DLP
        GatewayStoredKeyError            2040         no stored key with that alias
        GatewaySpendLimitError           2041 2045    spend limit reached, or a spend policy
        GatewayPolicyError               (no code)    access denied by a policy
        GatewayScannerError              7013         guardrail scanner unavailable
        GatewayUnavailableError          1016 ... 530 the edge responded: the gateway is not reached
        GatewayBlockedError              1006 ... 1020 a rule in front of the gateway, or its limits
        GatewayAccessError               (no code)    Cloudflare Access did not let the request in
        GatewayStreamError               (no code)    a stream or a body that stopped too early
        GatewayRedirectError             (no code)    a redirect that cannot be followed safely
        GatewayConnectionError           (no code)    no response: also the HTTP library's error
          GatewayTimeoutError            (no code)    not in time: also its timeout
    ValueError
      GatewayConfigError                 a setting or an option cannot work; nothing was sent

Mistral's own errors are never turned into these: the SDK raises them as always. `from_response()`
decides who sent an error: the gateway if the body is its JSON; else Mistral, if there is a
`cf-aig-*` header or a mark of Mistral's own; else what `_edge` knows of Cloudflare's pages.
`find_sender()` names the same result, for the doctor.
Codes and bodies: https://developers.cloudflare.com/ai-gateway/reference/troubleshooting/ and
public reports; the documentation has no full table of them.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from ._edge import Page, Sender, find_page, is_from_provider
from ._envelopes import ErrorDetail, clean_text, parse_json, read_envelope, read_event
from ._public import set_public_module
from ._sdk import SDKError, http_library
from ._signatures import add_paragraph, shorten_signatures

KEY_HEADERS = ("authorization", "x-api-key")
"""Carry the Mistral key. A response never shows the token: it names the SDK's own request."""

_BODY_LIMIT = 1_000_000
_MESSAGE_LIMIT = 500  # characters
_ID_LIMIT = 40  # likewise; a log id has 26, or 36


class GatewayError(SDKError):
    """Base of all errors of a call: the gateway's, and what kept it from there.

    Has the SDK's own attributes (`message`, `status_code`, `body`, `headers`,
    `raw_response`) and:

    Attributes:
        code: the gateway's number for the error, or the number on a page of
            Cloudflare's edge (1010, 522); `None` where there is none.
        log_id: `cf-aig-log-id` of the call, to find it in the dashboard;
            `message` names it.
        retryable: whether the same request may succeed later.
        advice: what to do about it; `message` ends with it.

    Example:
        >>> from mistral_cf_adapter.testing import LocalGateway  # no account
        >>> with LocalGateway() as gateway:
        ...     gateway.fail(2003)
        ...     try:
        ...         make_client(gateway.settings()).models.list()
        ...     except GatewayError as error:
        ...         print(type(error).__name__, error.code, error.retryable)
        GatewayRateLimitedError 2003 True
    """

    retryable: bool = False
    advice: str = "See the gateway's log in the Cloudflare dashboard."
    code: int | None = None
    log_id: str | None = None

    def __init__(self, message: str, raw_response: Any, body: str | None = None) -> None:
        # SDKError would append the body to the message, which may quote the prompt.
        super(SDKError, self).__init__(message, raw_response, body)
        object.__setattr__(self, "log_id", raw_response.headers.get("cf-aig-log-id"))

    def __repr__(self) -> str:
        # The SDK's own shows the body too, which is the server's text and may quote what was sent.
        return f"{type(self).__name__}({self.message!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        response = copy(self.raw_response)
        # The request has the Mistral key in its headers; what raises for the SDK cannot pickle.
        response.request = _strip_request(response.request)
        response.history = [copy(each) for each in response.history]
        for each in response.history:
            each.request = _strip_request(each.request)
        for name in ("iter_text", "aiter_text", "iter_bytes", "aiter_bytes"):
            vars(response).pop(name, None)  # what the adapter put there
        state = {**vars(self), "raw_response": response}
        return type(self), (self.message, response, self.body), state


def _strip_request(request: Any) -> Any:
    return type(request)(request.method, request.url)


CREATE_GATEWAY = (
    "Check {address}, or create the gateway in the Cloudflare dashboard under AI > AI Gateway; "
    "only `default` is created by itself."
)


class GatewayNotFoundError(GatewayError):
    """There is no gateway of that name in the account (2001)."""

    advice = CREATE_GATEWAY.format(
        address="CF_AIG_BASE_URL if it is set, else CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_GATEWAY_ID"
    )


class GatewayRateLimitedError(GatewayError):
    """The request limit of the gateway (2003) or its zone (1015) is reached."""

    retryable = True
    advice = (
        "Slow down, or raise the limit in the gateway's settings in the dashboard (Rate limiting)."
    )


class GatewayProviderError(GatewayError):
    """The gateway got no response from the provider (2005)."""

    retryable = True
    advice = "Try again; if it stays, check the provider's status and a dynamic route's targets."


class GatewayInvalidProviderError(GatewayError):
    """The provider segment of the URL, or the model's prefix, is unknown (2008)."""

    advice = (
        "Check CF_AIG_PROVIDER (`mistral`, or `custom-<slug>` as created in the dashboard), and on "
        "the compat endpoint what stands before the `/` in the model."
    )


class GatewayUnauthorizedError(GatewayError):
    """The gateway token is missing or wrong (2009, 9109, 10000, 10001).

    One report saw this code for throttling, so an occasional one may pass.
    """

    advice = (
        "Check CF_AIG_TOKEN: it must be a Cloudflare API token of this account with the "
        "permission `AI Gateway Run`, created under AI > AI Gateway > Settings. It is not the "
        "Mistral key."
    )


_UNSENT_ADVICE = (
    "No token was sent: set CF_AIG_TOKEN (the setting `token`) to a Cloudflare API token of this "
    "account with the permission `AI Gateway Run`, created under AI > AI Gateway > Settings."
)


class GatewayGuardrailError(GatewayError):
    """Guardrails blocked the prompt (2016) or the response (2017)."""

    advice = "The same text will be blocked again; the rules are in the gateway's Guardrails tab."


class GatewayBadFormatError(GatewayError):
    """The request is not in the endpoint's shape (2019)."""

    advice = (
        "On the compat endpoint the model needs a prefix: `mistral/{model}`, `dynamic/{route}` or "
        "`cloudflare/auto`."
    )


class GatewayCreditsError(GatewayError):
    """The account has no credits for this request (2021)."""

    advice = "Send your own Mistral key, store one in the gateway (BYOK), or add credits."


class GatewayDlpError(GatewayError):
    """Data loss prevention blocked the prompt (2029) or the response (2030)."""

    advice = "The same text will be blocked again; `cf-aig-dlp` names the policy."


class GatewayStoredKeyError(GatewayError):
    """There is no stored key with that alias (2040)."""

    advice = "Check CF_AIG_BYOK_ALIAS against the gateway's Provider Keys in the dashboard."


class GatewaySpendLimitError(GatewayError):
    """A spend limit is reached (2041, 2045, or a spending policy without a code).

    Attributes:
        bucket: id of a policy's budget that is used up.
        spent: how much of it is spent, a number as documented. A policy's
            amount is in US dollars; of what unit this is, Cloudflare does not
            say.
        limit: how much may be spent, likewise.

    They are a policy's alone (docs: features/policies), and `None` where it
    does not say them.
    """

    bucket: Any = None
    spent: Any = None
    limit: Any = None
    advice = (
        "It ends when the period of the limit ends; the rules are in the gateway's settings "
        "(Spend limits)."
    )


_POLICY_ADVICE = "The rules are in the gateway's Policies in the dashboard."
_BUDGET_ADVICE = f"A budget starts again with its next hour, day, week or month. {_POLICY_ADVICE}"


class GatewayPolicyError(GatewayError):
    """A policy denied the request, or no policy allows it."""

    advice = f"{_POLICY_ADVICE} Once there is one, what no policy allows is denied."


class GatewayScannerError(GatewayError):
    """The guardrail scanner is unavailable and a rule says block (7013)."""

    retryable = True
    advice = "Try again; the gateway blocks while its scanner is down and a Block rule applies."


class GatewayUnavailableError(GatewayError):
    """Something in front of the gateway responded in its place.

    `code` is the number on the page of Cloudflare's edge, and `advice` is
    about that page. On a custom domain the origin, Tunnel or Worker behind it
    is meant (521 to 526, 1016, 1033, 1101), and there it does not pass by
    itself. Where the sender is unknown, the message says so.
    """

    advice = "Try again; if it stays, see https://www.cloudflarestatus.com."


class GatewayBlockedError(GatewayError):
    """Something in front of the gateway refused this client or request.

    A rule of the zone (1006, 1009, 1010, 1020), its firewall or a challenge,
    its limit of a body's size, or a page of an unknown sender. It does not
    pass by itself.
    """

    advice = "Ask who runs the zone of the base URL (CF_AIG_BASE_URL) to let this program in."


class GatewayAccessError(GatewayError):
    """Cloudflare Access, in front of a custom domain, refused the request.

    A redirect to its login page is not followed: nothing is sent there. A
    gateway token does not let a request in there, a service token or a JWT
    does (docs: configuration/cloudflare-access).
    """

    advice = (
        "Set CF_AIG_ACCESS_CLIENT_ID and CF_AIG_ACCESS_CLIENT_SECRET, or CF_AIG_ACCESS_TOKEN; one "
        "that is set may have expired."
    )


class GatewayStreamError(GatewayError):
    """A response stopped before its end, or a stream with an error in the middle."""

    retryable = True
    advice = "What arrived so far is incomplete; ask again."


class GatewayRedirectError(GatewayError):
    """The response is a redirect that cannot be followed safely."""

    advice = "Check the base URL (CF_AIG_BASE_URL)."


class GatewayConnectionError(GatewayError):
    """No whole response: refused, DNS, TLS, a proxy, or a connection that broke.

    It is an instance of the HTTP library's error as well, `httpx.ConnectError`
    for example (of `httpx2` from SDK 3 on): handlers of those, and the SDK's
    own retries, work as without the adapter. `request` is the SDK's own
    request, `__cause__` the HTTP library's error.

    An `SDKError` has a response, and there was none: `raw_response` is a
    stand-in without headers and body. Its status, 502 or 504, is what a proxy
    says in this case, so that a handler that compares `status_code` or passes
    it on keeps working. A `GatewayCall` has no status then.

    A streamed response that breaks while it is read raises the HTTP library's
    plain error.
    """

    retryable = True
    advice = "Run `mistral-cf-adapter doctor` to find out more."


class GatewayTimeoutError(GatewayConnectionError):
    """No connection or response in time; also the HTTP library's timeout."""


BY_CODE: Mapping[int, type[GatewayError]] = {
    2001: GatewayNotFoundError,
    2003: GatewayRateLimitedError,
    2005: GatewayProviderError,
    2008: GatewayInvalidProviderError,
    2009: GatewayUnauthorizedError,
    2016: GatewayGuardrailError,
    2017: GatewayGuardrailError,
    2019: GatewayBadFormatError,
    2021: GatewayCreditsError,
    2029: GatewayDlpError,
    2030: GatewayDlpError,
    2040: GatewayStoredKeyError,
    2041: GatewaySpendLimitError,
    2045: GatewaySpendLimitError,
    7013: GatewayScannerError,
    9109: GatewayUnauthorizedError,
    10000: GatewayUnauthorizedError,
    10001: GatewayUnauthorizedError,
}


_FINAL_ADVICE = "What arrived so far is incomplete; the same request gets the same error again."

# Cloudflare's REST API says them, where AI Gateway is not.
_REST_API_CODES = frozenset({7000, 7001, 7003})
_REST_API_ADVICE = (
    "This is Cloudflare's REST API, not AI Gateway: check the base URL (CF_AIG_BASE_URL)."
)


class _ParsedError(NamedTuple):
    cls: type[GatewayError]
    code: int | None
    message: str
    fields: Mapping[str, Any] = MappingProxyType({})
    """Further attributes of the exception."""
    advice: str = ""
    """In place of the class's own."""


Mask = Callable[[str], str]
"""Returns a text without the secrets that its request carried: a server may quote them."""


def find_sender(response: Any) -> Sender:
    """Return who sent an error response, or a redirect; the body counts if it was read.

    The gateway's body comes first, then a `cf-aig-*` header: the gateway let the request through,
    so the error is the provider's. Else it is `edge` or `access` if it looks like Cloudflare's.
    """
    body, parsed = _parse_envelope(response)
    if parsed is not None:
        return "gateway"
    if is_from_provider(response, body):
        return "provider"
    page = find_page(response, body)
    return "unknown" if page is None else page.sender


def from_response(
    response: Any, mask: Mask = str, address: str = "", *, had_token: bool = True
) -> GatewayError | None:
    """Return the error for a response that was read, or None if it is not the gateway's or edge's.

    Args:
        response: The response.
        mask: Masks secrets in the server's text.
        address: The settings that name the gateway, for the advice.
        had_token: Whether the request brought a token for the gateway, likewise.
    """
    body, parsed = _parse_envelope(response)
    if parsed is not None:
        return _build(parsed, response, mask, address, had_token=had_token)
    page = find_page(response, body)
    return None if page is None else build_page_error(page, response, mask)


_BY_KIND: Mapping[str, type[GatewayError]] = {
    "unavailable": GatewayUnavailableError,
    "rate_limited": GatewayRateLimitedError,
    "blocked": GatewayBlockedError,
    "access": GatewayAccessError,
}


def build_page_error(page: Page, response: Any, mask: Mask) -> GatewayError:
    """Return the error for a page of the edge; the response need not be read."""
    numbers = [] if page.code is None else [str(page.code)]
    numbers.append(f"HTTP {response.status_code}")
    numbers += _id_parts(response, mask, {"Ray ID": "cf-ray", **_LOG})
    _drop_credentials(response)
    body = None if hasattr(response, "_content") else ""
    text = f"AI Gateway: {page.what}{_in_parentheses(numbers)}. {page.advice}"
    error = _BY_KIND[page.kind](text, response, body)
    return _with_fields(
        error, {"code": page.code, "advice": page.advice, "retryable": page.retryable}
    )


def build_error(
    cls: type[GatewayError],
    message: str,
    response: Any,
    body: str = "",
    mask: Mask | None = None,
) -> GatewayError:
    """Return an error that the adapter found itself; the response need not be read.

    Without a mask the message has no text of the server's: no log id either.
    """
    _drop_credentials(response)
    if mask is not None:
        log = _in_parentheses(_id_parts(response, mask, _LOG))
        message = f"{mask(message)}{log}"
    return cls(f"AI Gateway: {message}. {cls.advice}", response, body)


_LOG = {"log": "cf-aig-log-id"}


def _id_parts(response: Any, mask: Mask, headers: Mapping[str, str]) -> list[str]:
    """Return the ids in a response's headers, each after its label; masked first, then cut."""
    ids = {label: response.headers.get(header, "") for label, header in headers.items()}
    return [f"{label} {clean_text(mask(text))[:_ID_LIMIT]}" for label, text in ids.items() if text]


def _in_parentheses(parts: list[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""


def _build(
    parsed: _ParsedError,
    response: Any,
    mask: Mask,
    address: str = "",
    *,
    had_token: bool = True,
) -> GatewayError:
    said = mask(parsed.message)[:_MESSAGE_LIMIT].rstrip(".")  # masked first, while it is whole
    advice = parsed.advice or parsed.cls.advice
    if address and advice is GatewayNotFoundError.advice:
        advice = CREATE_GATEWAY.format(address=address)
    elif parsed.code == 2009 and not had_token:
        advice = _UNSENT_ADVICE
    numbers = [] if parsed.code is None else [str(parsed.code)]
    body = None
    if issubclass(parsed.cls, GatewayStreamError):
        body = ""  # the caller has it
    else:
        numbers.append(f"HTTP {response.status_code}")
    numbers += _id_parts(response, mask, _LOG)
    _drop_credentials(response)
    text = f"AI Gateway: {said}{_in_parentheses(numbers)}. {advice}"
    error = parsed.cls(text, response, body)
    texts = {name: mask(value) for name, value in parsed.fields.items() if isinstance(value, str)}
    fields = {**parsed.fields, **texts, "code": parsed.code, "advice": advice}
    if parsed.cls is GatewayError:
        fields["retryable"] = response.status_code in (429, *range(500, 600))
    return _with_fields(error, fields)


def _with_fields(error: GatewayError, fields: Mapping[str, Any]) -> GatewayError:
    for name, value in fields.items():
        object.__setattr__(error, name, value)  # the SDK's errors are frozen
    return error


def from_success_response(response: Any, mask: Mask = str) -> GatewayError | None:
    """Return the gateway's error in a response with HTTP 200 that was read, or None."""
    detail = read_envelope(parse_json(response.content), response.status_code)
    # A provider's own body may have a `success` too: only one with an error in it counts.
    if detail is None or not detail.says_something:
        return None
    return _build(_classify(detail, response.status_code), response, mask)


def from_json_stream(response: Any, mask: Mask = str) -> GatewayError | None:
    """Return the error in a JSON response to a streamed call, in any form, or None."""
    detail = read_event("", parse_json(response.content))
    return None if detail is None else from_event(detail, response, mask)


def from_event(detail: ErrorDetail, response: Any, mask: Mask = str) -> GatewayError:
    """Return the error for one that stands in a stream: a `GatewayStreamError` in any case.

    With a code of the gateway's it has that code's class too, with its advice.
    """
    cls: Any
    if detail.is_gateways:
        parsed = _classify(detail, response.status_code)
        cls, said, advice = parsed.cls, parsed.message, parsed.advice or parsed.cls.advice
        fields = {**parsed.fields, "retryable": cls.retryable}
    else:
        is_final = _is_final(detail.code)
        cls, said, advice = GatewayStreamError, detail.message, _FINAL_ADVICE if is_final else ""
        fields = {"retryable": not is_final}
    text = f"the stream carries an error: {said}"
    parsed = _ParsedError(_stream_class(cls), detail.code, text, fields, advice)
    return _build(parsed, response, mask)


def _is_final(code: int | None) -> bool:
    """Return whether a provider's code is an HTTP status that the same request gets again."""
    return code is not None and 400 <= code < 500 and code not in (408, 425, 429)


@cache
def _stream_class(cls: Any) -> Any:
    """Return a class that is both `cls` and `GatewayStreamError`, with the advice of `cls`."""
    if issubclass(GatewayStreamError, cls):
        return GatewayStreamError

    def reduce(self: GatewayError) -> tuple[Any, ...]:
        _, arguments, state = cls.__reduce__(self)
        return _make_stream_error, (cls, *arguments), state

    members = {
        "__doc__": f"{cls.__doc__} It stood in a stream.",
        "__module__": cls.__module__,
        "__reduce__": reduce,
        "advice": cls.advice,
        "retryable": cls.retryable,
    }
    return type(cls.__name__, (cls, GatewayStreamError), members)


def _make_stream_error(cls: Any, *arguments: Any) -> GatewayError:
    error: GatewayError = _stream_class(cls)(*arguments)
    return error


def _drop_credentials(response: Any) -> None:
    """Remove the credentials from the requests of a response, which an error keeps."""
    for each in (response, *getattr(response, "history", ())):
        request = getattr(each, "_request", None)
        if request is not None:
            each.request = copy_without_credentials(request)
        drop_stream(each)


def drop_stream(response: Any) -> None:
    """Drop the stream of a response that is read or closed: it refers to what was sent."""
    if hasattr(response, "_content") or response.is_closed:
        with suppress(RuntimeError):  # not known: the body was not read
            # Stored now, as httpx2 reads it from the stream that is dropped here.
            response.elapsed = response.elapsed
        response.stream = http_library(response).ByteStream(b"")


def mask_error(error: Exception, mask: Mask) -> None:
    """Take secrets out of the texts of an error, where a server has sent them back."""
    error.args = tuple(mask(value) if isinstance(value, str) else value for value in error.args)


def copy_without_credentials(request: Any) -> Any:
    """Return a copy of a request, for an error to keep."""
    # Not copy(): the libraries' requests leave their stream and extensions out of a copy.
    twin: Any = object.__new__(cast("type[object]", type(request)))
    twin.__dict__ = {**request.__dict__, "headers": request.headers.copy()}
    for name in KEY_HEADERS:
        twin.headers.pop(name, None)
    return twin


def _parse_envelope(response: Any) -> tuple[object, _ParsedError | None]:
    """Return a response's body as JSON, and the gateway's error in it."""
    content: bytes = getattr(response, "_content", b"")
    body = parse_json(content) if len(content) <= _BODY_LIMIT else None
    detail = read_envelope(body, response.status_code)
    return body, None if detail is None else _classify(detail, response.status_code)


def _classify(detail: ErrorDetail, status: int) -> _ParsedError:
    """Return the class for what the gateway says: by its code, else by what it says."""
    code, message = detail.code, detail.message
    if code in _REST_API_CODES:
        return _ParsedError(GatewayNotFoundError, code, message, advice=_REST_API_ADVICE)
    if code is not None and code in BY_CODE:
        cls = BY_CODE[code]
    elif status == 401:
        cls = GatewayUnauthorizedError
    elif code is not None:
        cls = GatewayError
    else:
        cls = _policy_class(detail, status)
    if cls is not GatewaySpendLimitError:
        return _ParsedError(cls, code, message)
    if detail.budget:
        said = ", ".join(f"{name} {value}" for name, value in detail.budget.items())
        message = f"{message.rstrip('.')} ({said})"
    advice = _BUDGET_ADVICE if code is None else ""
    return _ParsedError(cls, code, message, detail.budget, advice)


def _policy_class(detail: ErrorDetail, status: int) -> type[GatewayError]:
    """Return the class of a policy's error, which has no code (docs: features/policies).

    Its status is 200 where it stands in a response that began well.
    """
    message = detail.message.lower()
    has_budget = all(name in detail.budget for name in ("bucket", "spent", "limit"))
    if has_budget or ("spend" in message and status in (200, 402, 403, 429)):
        return GatewaySpendLimitError
    if "policy" in message and status in (200, 403):
        return GatewayPolicyError
    return GatewayError


_ERRORS = [
    cls
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, GatewayError)
]
for _error in _ERRORS:
    add_paragraph(_error, f"What to do: {_error.advice}")
shorten_signatures(GatewayError)
set_public_module(*_ERRORS)
