"""What the gateway did with each `cf-aig-*` header of a call, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_cf_adapter.testing import policies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mistral_cf_adapter.testing.calls import Call

    Explain = Callable[[Call, str], str]

PREFIX = "cf-aig-"
_OLD_NAMES = {"cf-skip-cache": "cf-aig-skip-cache", "cf-cache-ttl": "cf-aig-cache-ttl"}


def explain_options(call: Call) -> list[dict[str, str]]:
    """Return option, header, value and effect of each header that is for the gateway."""
    found: list[dict[str, str]] = []
    for header, value in call.request.headers.items():
        name = _OLD_NAMES.get(header, header)
        if not name.startswith(PREFIX):
            continue
        option = "token" if name == "cf-aig-authorization" else _option_of(name)
        found.append(
            {"option": option, "header": header, "value": value, "effect": _effect(call, name)}
        )
    return found


def _option_of(header: str) -> str:
    return header.removeprefix(PREFIX).replace("-", "_")


def _effect(call: Call, header: str) -> str:
    explain = _EFFECTS.get(header)
    if explain is None:
        return "Not known to this gateway: ignored"
    if call.fault is not None and call.provider is None:
        return f"No effect: the fault {call.fault!r} came first"
    if call.provider is None and header != "cf-aig-authorization":
        return "No effect: the call was refused before"
    return explain(call, call.request.headers.get(header, ""))


def _token(call: Call, _: str) -> str:
    if call.error is not None and call.error.code == 2009:
        return "Refused: it is not this gateway's token"
    if call.provider is None:
        return "No effect: the call was refused for another reason"
    return "The call was let in"


def _cache_ttl(call: Call, value: str) -> str:
    policy = policies.read_cache_policy(call.request.headers, None)
    asked = policies.read_integer(value)
    if asked is None:
        return "Not a whole number: ignored"
    if policy.ttl is None:
        return "No effect: skip_cache is set"
    ranged = "" if asked == policy.ttl else f"Brought into range: {policy.ttl} s. "
    return ranged + _cache_outcome(call, f"stored for {policy.ttl} s")


def _cache_outcome(call: Call, stored: str) -> str:
    if call.cache_status == "HIT":
        return "Answered from the cache"
    if call.cache_status is None:
        return "No effect: only POST requests of up to 25 MiB are cached"
    if call.is_streamed:
        return "Not in the cache, and not stored: it is a stream"
    if call.status is None or call.status >= 300:
        return "Not in the cache, and not stored: it is an error"
    return f"Not in the cache; {stored}"


def _skip_cache(_: Call, value: str) -> str:
    if value.lower() == "true":
        return "The cache was neither read nor written"
    return "No effect: the cache is used" if value.lower() == "false" else "Neither true nor false"


def _cache_key(call: Call, _: str) -> str:
    if policies.read_cache_policy(call.request.headers, None).ttl is None:
        return "No effect: skip_cache is set"
    return _cache_outcome(call, "stored under this key")


def _metadata(call: Call, value: str) -> str:
    kept = call.metadata
    if not kept:
        return "Lost: not a flat JSON object of texts, numbers and booleans"
    every = policies.read_object(value)
    dropped = [name for name in every if name not in kept]
    text = f"Kept with the log: {', '.join(kept)}"
    return f"{text}. Dropped: {', '.join(dropped)}" if dropped else text


def _collect_log(call: Call, _: str) -> str:
    return "Logged" if call.response_header("cf-aig-log-id") else "Not logged, so no cf-aig-log-id"


def _collect_log_payload(_: Call, value: str) -> str:
    if value.lower() == "false":
        return "The log has neither prompt nor response"
    return "The log has prompt and response"


def _request_timeout(call: Call, value: str) -> str:
    policy = policies.read_retry_policy(call.request.headers)
    if policy.timeout is None:
        return "Not a positive whole number: ignored"
    last = ", but without limit at the last attempt" if policy.attempts > 1 else ""
    most = f"{policy.timeout * 1000:.0f} ms"
    ranged = "" if int(value) == policy.timeout * 1000 else f"Brought into range: {most}. "
    return f"{ranged}Waited at most {most} for the provider's first byte{last}"


def _max_attempts(call: Call, _: str) -> str:
    most = policies.read_retry_policy(call.request.headers).attempts
    return f"Asked the provider {call.attempts} of at most {most} times"


def _retry_delay(call: Call, _: str) -> str:
    policy = policies.read_retry_policy(call.request.headers)
    if call.attempts < 2:
        return "No effect: there was no second attempt"
    waits = (policy.wait(attempt) for attempt in range(1, call.attempts))
    return f"Waited {', '.join(f'{wait * 1000:g}' for wait in waits)} ms before the next attempts"


def _custom_cost(call: Call, _: str) -> str:
    if policies.read_custom_cost(call.request.headers) is None:
        return "Lost: not a JSON object"
    return "Kept with the log"


def _event_id(_: Call, __: str) -> str:
    return "Returned in cf-aig-event-id"


def _byok_alias(call: Call, _: str) -> str:
    if call.error is not None and call.error.code == 2040:
        return "Refused: no key is stored under this alias"
    if "authorization" in call.request.headers:
        return "No effect: the request has a key of its own in Authorization"
    return "Chose the stored key, if any is stored"


def _no_wholesale(call: Call, _: str) -> str:
    if "authorization" in call.request.headers:
        return "No effect: the request has a key of its own in Authorization"
    return "Never pays with Cloudflare credits: without a stored key the call is refused"


def _trace(_: Call, __: str) -> str:
    return "Not imitated: this gateway exports no traces"


def _auto_router(call: Call, _: str) -> str:
    chosen = call.response_header("cf-aig-routed-model")
    if not chosen:
        return "No effect: the model is not cloudflare/auto"
    return f"The Auto Router chose {chosen} ({call.response_header('cf-aig-routing-reason')})"


_EFFECTS: Mapping[str, Explain] = {
    "cf-aig-authorization": _token,
    "cf-aig-cache-ttl": _cache_ttl,
    "cf-aig-skip-cache": _skip_cache,
    "cf-aig-cache-key": _cache_key,
    "cf-aig-metadata": _metadata,
    "cf-aig-collect-log": _collect_log,
    "cf-aig-collect-log-payload": _collect_log_payload,
    "cf-aig-request-timeout": _request_timeout,
    "cf-aig-max-attempts": _max_attempts,
    "cf-aig-retry-delay": _retry_delay,
    "cf-aig-backoff": _retry_delay,
    "cf-aig-custom-cost": _custom_cost,
    "cf-aig-event-id": _event_id,
    "cf-aig-byok-alias": _byok_alias,
    "cf-aig-no-wholesale": _no_wholesale,
    "cf-aig-otel-trace-id": _trace,
    "cf-aig-otel-parent-span-id": _trace,
    "cf-aig-session-id": _auto_router,
    "cf-aig-turn-id": _auto_router,
    "cf-aig-no-session-affinity": _auto_router,
    "cf-aig-allowed-models": _auto_router,
    "cf-aig-allowed-providers": _auto_router,
}
