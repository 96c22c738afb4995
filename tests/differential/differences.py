"""The one list of differences between the bare SDK and the adapter, each with its reason.

What differs and is not explained by an entry fails the suite; so does an entry that explains
nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from scenario import Scenario

_GATEWAYS = "mistral_cf_adapter."


@dataclass(frozen=True)
class Difference:
    """A field of a run that is not as with the bare SDK."""

    scenario: Scenario
    way: str
    field: str
    bare: Any
    ours: Any
    all_bare: dict[str, Any]
    """All fields of the bare run."""
    all_ours: dict[str, Any]

    @property
    def part(self) -> str:
        """The call or request that the field is of, as `call 1`."""
        match = re.match(r"call \d+|requests? to \w+ \d+|built", self.field)
        return match[0] if match else ""

    @property
    def name(self) -> str:
        """The field without that, as `error text`."""
        return self.field.removeprefix(self.part).strip()

    def of_bare(self, name: str) -> Any:
        """Return another field of the same call."""
        return self.all_bare.get(f"{self.part} {name}")

    def of_ours(self, name: str) -> Any:
        return self.all_ours.get(f"{self.part} {name}")

    @property
    def our_error(self) -> str:
        """The name of the adapter's own error that the call raised."""
        name: str = self.of_ours("error type") or ""
        return name.removeprefix(_GATEWAYS) if name.startswith(_GATEWAYS) else ""

    @property
    def bare_error(self) -> str:
        name: str = self.of_bare("error type") or ""
        return name.rpartition(".")[2]

    @property
    def is_stream(self) -> bool:
        """Whether the SDK asked for a stream: the content of a file is one too."""
        return "stream," in self.way or self.scenario.call == "download"


@dataclass(frozen=True)
class Listed:
    """An entry of the list."""

    name: str
    reason: str
    explains: Callable[[Difference], bool]
    majors: tuple[int, ...] = (1, 2, 3)
    is_rare: bool = False
    """A run may do without it: it depends on what arrives together."""


# ---------------------------------------------------------------- which fields an entry is about


def _is_of_outcome(each: Difference) -> bool:
    """Return whether a field says what came of a call: its result, error, or response."""
    return each.name.startswith(("error", "result", "events", "response"))


def _is_of_traffic(each: Difference) -> bool:
    """Return whether a field says what was sent, over which connections, and when."""
    fields = ("requests to", "request to", "number of requests", "connections to", "sleeps", "logs")
    return each.field.startswith((*fields, "open after"))


def _raises(*errors: str) -> Callable[[Difference], bool]:
    """Return what tells whether a call raised one of the adapter's errors: all else follows."""

    def explains(each: Difference) -> bool:
        return each.our_error in errors and _is_of_outcome(each)

    return explains


_CODES = (
    "GatewayBadFormatError", "GatewayCreditsError", "GatewayDlpError", "GatewayError",
    "GatewayGuardrailError", "GatewayInvalidProviderError", "GatewayNotFoundError",
    "GatewayPolicyError", "GatewayProviderError", "GatewayRateLimitedError", "GatewayScannerError",
    "GatewaySpendLimitError", "GatewayStoredKeyError", "GatewayUnauthorizedError",
)  # fmt: skip


def _is_connection_error(each: Difference) -> bool:
    """Return whether a connection error of ours is the bare SDK's as well."""
    is_both = each.of_bare("error type") in (each.of_ours("error mro") or ())
    return is_both and _raises("GatewayConnectionError", "GatewayTimeoutError")(each)


def _is_refused_before(each: Difference) -> bool:
    """Return whether a setting or a value was refused, so that nothing was sent."""
    refused = "mistral_cf_adapter.GatewayConfigError"
    types = [value for name, value in each.all_ours.items() if name.endswith(" type")]
    return refused in types and (
        _is_of_outcome(each)
        or _is_of_traffic(each)
        or each.field.startswith(("built", "call", "number of calls"))
    )


def _is_not_retried(each: Difference) -> bool:
    """Return whether a retry of the SDK is missing after an error that asking again cannot mend."""
    number = "number of requests to same"
    fewer = _is_less(each.all_ours.get(number), each.all_bare.get(number))
    is_final = any(str(value).startswith(_GATEWAYS) for value in each.all_ours.values())
    return fewer and is_final and bool(each.scenario.retries) and _is_of_traffic(each)


_LONG = ("wait 61", "wait 120", "wait three days", "wait a date far off", "wait infinity",
         "wait more than a float", "wait many milliseconds")  # fmt: skip


def _is_shorter_wait(each: Difference) -> bool:
    """Return whether the SDK waited less, or tried more often in the same time."""
    long = each.scenario.name.endswith(_LONG) and bool(each.scenario.retries)
    return long and (_is_of_traffic(each) or _is_of_outcome(each))


_OF_READING = (
    "response text", "response content", "response elapsed", "response is_closed",
    "response is_stream_consumed", "response num_bytes_downloaded",
)  # fmt: skip


def _is_body_read(each: Difference) -> bool:
    """Return whether a response to a stream that is none was read, or could not be, at once."""
    if not each.is_stream:
        return False
    if each.name in ("response", "responses"):
        return each.of_ours("error type") == each.of_bare("error type") and not each.our_error
    unread = ("ResponseNotRead", ".elapsed", "False", "0")
    return each.name in _OF_READING and any(word in str(each.bare) for word in unread)


def _is_unread_error(each: Difference) -> bool:
    return each.bare_error == "ResponseNotRead" and each.name.startswith("error")


def _is_shared_connection(each: Difference) -> bool:
    return each.field == "open after closing" and each.bare == 0 and each.ours in (1, 2)


def _is_less(one: Any, other: Any) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one < other


def _is_kept_connection(each: Difference) -> bool:
    """Return whether a response to a stream left its connection to the next call."""
    if not each.is_stream:
        return False
    if each.field == "open after the calls":
        return _is_less(each.bare, each.ours) and each.ours <= each.scenario.times
    return each.field.startswith("connections to") and _is_less(each.ours, each.bare)


def _is_dropped_connection(each: Difference) -> bool:
    """Return whether a connection was dropped with a response that nobody read to its end."""
    return (
        each.field == "open after the calls"
        and each.ours == 0
        and each.all_ours.get("call 1 error type", "").startswith(_GATEWAYS)
    )


def _is_unread_stream(each: Difference) -> bool:
    """Return whether the bare SDK leaves a connection in use by a stream that nobody reads."""
    is_open = each.field == "open after the calls"
    return each.is_stream and is_open and _is_less(each.ours, each.bare)


def _is_key_of_an_error(each: Difference) -> bool:
    failed = (each.of_ours("response status_code") or 0) >= 400
    return failed and each.name == "response request_headers" and _lacks(each, {"authorization"})


def _is_redirect_followed(each: Difference) -> bool:
    """Return whether the SDK's own client was redirected, which that of 1.x does not follow."""
    replies = b"".join(reply.packets[0] for reply in each.scenario.replies if reply.packets)
    return b"\r\nLocation: " in replies and each.scenario.http is None


def _is_break_after_the_end(each: Difference) -> bool:
    """Return whether a stream broke off when its end mark was read.

    SDK 1.x reads on after each, the others after those that are events.
    """
    return each.is_stream and each.name.startswith("error") and not each.of_ours("error")


def _is_more_loops(each: Difference) -> bool:
    return each.scenario.name.startswith("program: two loops")


def _is_key_of_environment(each: Difference) -> bool:
    names = {"MISTRAL_API_KEY"} & set(each.scenario.environment)
    fields = ("request to same 1", "call 1 response request_headers")
    return bool(names) and "api_key" in each.scenario.sdk and each.field.startswith(fields)


def _is_without_complaint(each: Difference) -> bool:
    return each.field == "complaints" and each.ours == {}


def _is_surplus(each: Difference) -> bool:
    """Return whether the server sent more than a response, which is the next call's in httpx."""
    return "surplus" in each.scenario.name or (
        each.field == "open after the calls" and each.scenario.name == "length and chunks"
    )


def _is_event_stream_of_json(each: Difference) -> bool:
    is_whole = each.is_stream and each.of_bare("response status_code") == 200
    is_new = each.of_bare("events") is None and each.of_ours("events") is not None
    return is_whole and is_new and _is_of_outcome(each)


def _is_note(each: Difference) -> bool:
    return each.name == "error notes" and each.bare == []


def _lacks(each: Difference, names: set[str]) -> bool:
    """Return whether nothing but headers of these names is missing."""
    if not each.name.endswith(("headers", "order")) or "(absent)" in (each.bare, each.ours):
        return False
    if each.name.endswith("order"):
        return set(each.bare) - set(each.ours) <= names
    missing = {name for name, value in each.bare if [name, value] not in each.ours}
    added = [name for name, value in each.ours if [name, value] not in each.bare]
    return bool(missing) and missing <= names and not added


def _is_redirected_secret(each: Difference) -> bool:
    """Return whether a redirect led out of the gateway's provider, and took no key along."""
    if not _lacks(each, {"authorization"}):
        return False
    if each.part.startswith("request to other"):
        return True
    if each.part.startswith("request to same"):
        _, path, _ = str(each.of_ours("line")).split(" ")
        return not path.startswith("/v1/acc/gw/mistral/")
    url = str(each.of_ours("response url"))
    return each.name == "response request_headers" and not url.startswith(
        "{same}/v1/acc/gw/mistral/"
    )


def _is_cookie_of_before(each: Difference) -> bool:
    sent = re.fullmatch(r"request to same [2-9] (headers|order)", each.field)
    return each.scenario.times > 1 and (
        (bool(sent) and _lacks(each, {"cookie"}))
        or (each.name == "response request_headers" and _lacks(each, {"cookie"}))
    )


def _is_own_request(each: Difference) -> bool:
    """Return whether a response names the SDK's request, without what the HTTP client added."""
    if each.name == "error request":
        return "redirect" in each.scenario.name
    return each.name == "response request_headers" and bool(
        each.scenario.http or each.scenario.changes or "redirect" in each.scenario.name
    )


def _is_loopback(each: Difference) -> bool:
    """Return whether a request over plain http to this machine took no proxy."""
    if not any(name.upper().endswith("_PROXY") for name in each.scenario.environment):
        return False
    if each.scenario.origin == "{tls}" or each.scenario.http is not None:
        return False
    number = "connections to same"
    is_refused = each.scenario.origin == "{refused}"
    return is_refused or _is_less(each.all_bare.get(number), each.all_ours.get(number))


def _is_late(each: Difference) -> bool:
    """Return whether certificates or proxies that cannot work are an error of the first call."""
    failed = each.all_bare.get("built type") is not None
    fields = ("built", "call", "number of calls", "open after")
    return failed and bool(each.scenario.environment) and each.field.startswith(fields)


def _is_way_out(each: Difference) -> bool:
    warning = "UserWarning: a request goes past AI Gateway, to "
    return each.field == "warnings" and all(text.startswith(warning) for text in each.ours)


def _is_once(each: Difference) -> bool:
    return "from a pipe" in each.scenario.name and (_is_of_outcome(each) or _is_of_traffic(each))


DIFFERENCES = [
    # What comes of a call.
    Listed(
        "gateway's errors",
        "A response of the gateway's own is a typed `GatewayError`, itself an `SDKError`.",
        _raises(*_CODES),
    ),
    Listed(
        "edge's errors",
        "A page of Cloudflare's edge, of Access or of a firewall is a `GatewayUnavailableError`, "
        "`GatewayBlockedError` or `GatewayAccessError`.",
        _raises("GatewayUnavailableError", "GatewayBlockedError", "GatewayAccessError"),
    ),
    Listed(
        "connection errors",
        "A call without a whole response is a `GatewayConnectionError` or `GatewayTimeoutError`, "
        "with the status 502 or 504; it is the HTTP library's error too, which is its cause.",
        _is_connection_error,
    ),
    Listed(
        "broken streams and bodies",
        "A stream without its end mark, one with an error in it, and a compressed body that is cut "
        "are a `GatewayStreamError`.",
        _raises("GatewayStreamError"),
    ),
    Listed(
        "unsafe redirects",
        "A redirect that cannot be followed safely is a `GatewayRedirectError`.",
        _raises("GatewayRedirectError"),
    ),
    Listed(
        "late errors",
        "Certificates and proxies of the environment that cannot work are a `GatewayConfigError` "
        "of the first call, which names the variable, and not an error of building the client.",
        _is_late,
    ),
    Listed(
        "refused before sending",
        "A key, a header or an id that cannot work, or no key at all, is a `GatewayConfigError`, "
        "and nothing is sent.",
        _is_refused_before,
    ),
    Listed(
        "JSON for a stream",
        "A whole JSON answer to a streamed chat arrives as a stream of one event.",
        _is_event_stream_of_json,
    ),
    Listed(
        "bodies of errors",
        "What answers a streamed call and is no event stream is read before the SDK gets it.",
        _is_body_read,
    ),
    Listed(
        "empty errors",
        "An empty error of a streamed call is an `SDKError`, not a `ResponseNotRead`.",
        _is_unread_error,
    ),
    Listed(
        "notes on errors",
        "An error of the HTTP library has a note with the method, the URL and the log id.",
        _is_note,
    ),
    Listed(
        "kept connections",
        "A streamed call leaves its connection to the next call.",
        _is_kept_connection,
    ),
    # What is sent, and how often.
    Listed(
        "final refusals",
        "Blocks of guardrails, of DLP, of a spend limit and the like are not retried by the SDK.",
        _is_not_retried,
    ),
    Listed(
        "long waits",
        "A `Retry-After` of more than 60 seconds is not waited for.",
        _is_shorter_wait,
    ),
    Listed(
        "uploads that cannot be repeated",
        "An upload from what cannot be rewound is sent once; a retry raises its error.",
        _is_once,
        majors=(2, 3),
    ),
    Listed(
        "secrets after redirects",
        "A redirect out of this account, gateway and provider takes no secret along.",
        _is_redirected_secret,
    ),
    Listed(
        "cookies",
        "Shared connections keep no cookie from one call to the next.",
        _is_cookie_of_before,
    ),
    Listed(
        "the SDK's request",
        "A response and an error name the request that the SDK made, without what the HTTP client "
        "added to it.",
        _is_own_request,
    ),
    Listed(
        "proxies",
        "A request over plain http to this machine, as to a local gateway, takes no proxy of the "
        "environment.",
        _is_loopback,
    ),
    Listed(
        "ways past the gateway",
        "A per-call `server_url=` elsewhere is said in a warning.",
        _is_way_out,
    ),
    Listed(
        "redirects",
        "With SDK 1.x redirects are followed, as by later ones.",
        _is_redirect_followed,
        majors=(1,),
    ),
    Listed(
        "breaks after the end",
        "A connection that breaks after a stream's end mark is no error.",
        _is_break_after_the_end,
    ),
    Listed(
        "the environment's key",
        "With SDK 1.x `MISTRAL_API_KEY` is sent too where no key is given, as by later ones.",
        _is_key_of_environment,
        majors=(1,),
    ),
    Listed(
        "fewer warnings",
        "With SDK 1.x and 2.x nothing is printed of a connection when an event loop ends.",
        _is_without_complaint,
        majors=(1, 2),
    ),
    Listed(
        "several event loops",
        "An async client works in one event loop after the other.",
        _is_more_loops,
    ),
    # Connections.
    Listed(
        "shared connections",
        "Clients share connections, which stay open when one of the clients is closed.",
        _is_shared_connection,
    ),
    Listed(
        "dropped connections",
        "A response that is refused before its end is closed with its connection.",
        _is_dropped_connection,
    ),
    Listed(
        "streams that nobody reads",
        "A stream that is dropped unread, as an attempt that is retried is, is closed at once.",
        _is_unread_stream,
    ),
    Listed(
        "keys in errors",
        "The request of an error's response has no key in it.",
        _is_key_of_an_error,
        is_rare=True,
    ),
    Listed(
        "surplus responses",
        "What a server sends beyond a response is never the next call's response.",
        _is_surplus,
    ),
]


def to_markdown() -> str:
    """Return the list as a table of Markdown, for the reference."""
    rows = [f"| {entry.name} | {entry.reason} |" for entry in DIFFERENCES]
    return "\n".join(["| Difference | Reason |", "| --- | --- |", *rows]) + "\n"
