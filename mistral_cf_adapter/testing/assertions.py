"""What was sent and used, compared with what a test expects, in words a person can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_cf_adapter.testing.matching import Arrival

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mistral_cf_adapter.testing.matching import Condition, Expectation
    from mistral_cf_adapter.testing.records import ReceivedRequest
    from mistral_cf_adapter.testing.state import State

__tracebackhide__ = True  # pytest shows the test's own line as the last
MAX_LISTED = 20
"""Requests, responses and refusals that a message lists; the newest, as they are most likely."""


def find_sent(state: State, wanted: Expectation, times: int | None) -> ReceivedRequest:
    """Return the last request that fits; raise AssertionError if none does, or too many."""
    requests = list(state.requests)
    fitting = [request for request in requests if not wanted.differences(Arrival(request))]
    if not fitting:
        raise _error(state, _failure("No request fits", wanted, requests))
    if times is not None and len(fitting) != times:
        problem = f"{len(fitting)} request(s) fit instead of {times}"
        raise _error(state, _failure(problem, wanted, requests))
    return fitting[-1]


def refuse_sent(state: State, unwanted: Expectation) -> None:
    """Raise AssertionError if a request fits."""
    requests = list(state.requests)
    if any(not unwanted.differences(Arrival(request)) for request in requests):
        problem = "A request fits that should not"
        raise _error(state, _failure(problem, unwanted, requests))


def check_script(state: State) -> None:
    """Raise AssertionError if a scripted response was not used, or code of the test's failed."""
    if state.script_errors:
        error = state.script_errors[0]
        raise _error(state, str(error)) from error.__cause__
    problem = _unused(state)
    if problem is not None:
        raise _error(state, problem)


def check_strict(state: State) -> None:
    """Raise AssertionError if a request was refused because nothing was scripted for it."""
    problem = _unscripted(state)
    if problem is not None:
        raise _error(state, problem)


def _error(state: State, text: str) -> AssertionError:
    """Return an error without the gateway's secrets, and those that the requests carried."""
    from mistral_cf_adapter.testing.masks import Mask, carried_secrets, known_secrets

    requests = state.requests[-MAX_LISTED:]
    carried = [secret for each in requests for secret in carried_secrets(each.headers)]
    return AssertionError(Mask([*known_secrets(state), *carried]).mask_excerpt(text))


def _unused(state: State) -> str | None:
    entries = [*state.upstream_script.entries(), *state.script.entries()]
    left = [(entry.label, entry.condition) for entry in entries] + state.faults.pending()
    if not left:
        return None
    listed = left[:MAX_LISTED]
    names = ", ".join(label for label, _ in listed)
    more = f" and {len(left) - len(listed)} more" if len(left) > len(listed) else ""
    lines = [f"{len(left)} scripted answer(s) were not used: {names}{more}"]
    requests = state.requests[-MAX_LISTED:]
    for label, condition in dict(listed).items():
        lines.extend(_reasons(label, condition, requests))
    return "\n".join(lines)


def _reasons(
    label: str, condition: Condition, requests: Sequence[ReceivedRequest]
) -> Iterator[str]:
    """Say of each request why a response was not used for it."""
    if not requests:
        return
    yield f"{label}: {len(requests)} request(s) were received last:"
    for number, request in enumerate(requests, 1):
        differences = condition.differences(Arrival(request))
        verdict = "; ".join(differences)
        if not differences and condition.function is not None:
            verdict = "the function in when= did not accept it, or was not asked"
        yield _line(number, request, verdict or "fits, but was refused, cached or answered before")


def _unscripted(state: State) -> str | None:
    refused = [] if state.strict is None else state.strict.refused
    if not refused:
        return None
    lines = [f"{len(refused)} request(s) were refused, as nothing was scripted for them:"]
    lines.extend(f"  {number}. {text}" for number, text in enumerate(refused[:MAX_LISTED], 1))
    return "\n".join(lines)


def _failure(problem: str, wanted: Expectation, requests: Sequence[ReceivedRequest]) -> str:
    """Explain a failed assertion, request by request."""
    lines = [f"{problem}. Received {len(requests)} request(s):"]
    skipped = max(len(requests) - MAX_LISTED, 0)
    if skipped:
        lines.append(f"  ({skipped} older ones)")
    for number, request in enumerate(requests[skipped:], skipped + 1):
        differences = wanted.differences(Arrival(request))
        lines.append(_line(number, request, "; ".join(differences) or "fits"))
    return "\n".join(lines)


def _line(number: int, request: ReceivedRequest, verdict: str) -> str:
    return f"  {number}. {request.method} {request.path}: {verdict}"
