"""The one list of differences between the bare SDK and the adapter, each with its reason.

What differs and is not explained by an entry fails the suite; so does an entry that explains
nothing. Entries whose name begins with `to be mended` are bugs, and not printed for users.
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
        return ", stream," in self.way or ", async stream," in self.way


@dataclass(frozen=True)
class Listed:
    """An entry of the list."""

    name: str
    reason: str
    explains: Callable[[Difference], bool]
    majors: tuple[int, ...] = (1, 2, 3)

    @property
    def is_bug(self) -> bool:
        return self.name.startswith("to be mended")


def _outcome_is(*errors: str) -> Callable[[Difference], bool]:
    """Return whether a call raised one of the adapter's errors, which is another outcome."""

    def explains(each: Difference) -> bool:
        return each.our_error in errors and _is_of_outcome(each)

    return explains


def _is_of_outcome(each: Difference) -> bool:
    """Return whether a field says what came of a call: its result, error, or response."""
    return each.name.startswith(("error", "result", "events", "response"))


_CODES = (
    "GatewayBadFormatError", "GatewayCreditsError", "GatewayDlpError", "GatewayError",
    "GatewayGuardrailError", "GatewayInvalidProviderError", "GatewayNotFoundError",
    "GatewayPolicyError", "GatewayProviderError", "GatewayRateLimitedError", "GatewayScannerError",
    "GatewaySpendLimitError", "GatewayStoredKeyError", "GatewayUnauthorizedError",
)  # fmt: skip


def _is_body_read(each: Difference) -> bool:
    read = each.name in ("response text", "response content")
    return read and "ResponseNotRead" in str(each.bare) and "ResponseNotRead" not in str(each.ours)


def _is_unread_error(each: Difference) -> bool:
    return each.bare_error == "ResponseNotRead" and each.name.startswith("error")


def _is_shared_connection(each: Difference) -> bool:
    return each.field == "open after closing" and each.bare == 0 and each.ours in (1, 2)


def _is_event_stream_of_json(each: Difference) -> bool:
    kind = str(each.of_bare("response headers"))
    is_json = each.is_stream and each.of_bare("response status_code") == 200 and "json" in kind
    return is_json and _is_of_outcome(each) and each.of_ours("events") is not None


def _is_note(each: Difference) -> bool:
    return each.name == "error notes" and each.bare == []


DIFFERENCES = [
    Listed(
        "shared connections",
        "Clients share connections, which stay open when one of the clients is closed.",
        _is_shared_connection,
    ),
    Listed(
        "gateway's errors",
        "A response of the gateway's own is a typed `GatewayError`, itself an `SDKError`.",
        _outcome_is(*_CODES),
    ),
    Listed(
        "edge's errors",
        "A page of Cloudflare's edge is a `GatewayUnavailableError`.",
        _outcome_is("GatewayUnavailableError"),
    ),
    Listed(
        "broken streams",
        "A stream without its end mark, or with an error in it, is a `GatewayStreamError`.",
        _outcome_is("GatewayStreamError"),
    ),
    Listed(
        "JSON for a stream",
        "A whole JSON answer to a streamed chat arrives as a stream of one event.",
        _is_event_stream_of_json,
    ),
    Listed(
        "bodies of errors",
        "The body of an error is read before the SDK gets the response, also of a stream.",
        _is_body_read,
    ),
    Listed(
        "empty errors",
        "An empty error of a stream is an `SDKError`, not a `ResponseNotRead`.",
        _is_unread_error,
    ),
    Listed(
        "notes on errors",
        "An error of the HTTP library has a note with the method, the URL and the log id.",
        _is_note,
    ),
]


def to_markdown() -> str:
    """Return the list as a table of Markdown, for the reference."""
    rows = [f"| {entry.name} | {entry.reason} |" for entry in DIFFERENCES if not entry.is_bug]
    return "\n".join(["| Difference | Reason |", "| --- | --- |", *rows]) + "\n"
