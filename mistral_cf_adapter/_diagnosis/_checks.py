"""The checks: build the settings as `make_client()` does, look at them, make one call."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from mistral_cf_adapter._options import GatewayConfigError
from mistral_cf_adapter._secrets import is_too_short, mask_whole
from mistral_cf_adapter._settings import (
    GatewaySettings,
    describe_unread_file,
    explain_off,
    warning_handler,
)
from mistral_cf_adapter._settings_secrets import live_secrets
from mistral_cf_adapter._switch import RUN_FLAGS
from mistral_cf_adapter._variables import ENV_FILE, PREFIX, correct_prefix, env_names, find_meant

from ._findings import Problem
from ._sources import Source, find_sources
from ._within import run_within
from ._wrong_settings import WHY_UNREAD, explain_settings, missing_key, variable_of

if TYPE_CHECKING:
    from mistral_cf_adapter._gateway_call import GatewayCall
    from mistral_cf_adapter._secrets import Secret

_PLACEHOLDER = "https://unknown.invalid"
_UNAUTHENTICATED = (
    "No token is set: the gateway refuses such calls unless its authentication is switched off."
)
_UNUSED_STORED_KEY = (
    "No token is set, and the gateway holds the Mistral key: it uses that only for calls that "
    "bring a token."
)


@dataclass(slots=True)
class Findings:
    """What the checks found."""

    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[str] = field(default_factory=list[str])
    settings: GatewaySettings | None = None
    """The settings; `None` if they cannot work."""
    sources: dict[str, Source] = field(default_factory=dict[str, Source])
    """Where each setting came from; empty if the settings were given as an object."""
    called: bool = False
    """Whether a call was tried."""
    call: dict[str, Any] | None = None
    """The result of the call, `None` if there is none."""


def check_environment(flags: Mapping[str, Any], *, call: bool, timeout: float) -> Findings:
    """Check the settings that the environment and these flags give."""
    found = Findings(notes=[*_unread(), *_service_account()], sources=find_sources(flags))
    said: list[str] = []
    with _collecting_warnings(said):
        usable, wrong = _build_settings(flags, found)
        if usable is not None:
            _check(found, usable, wrong, call=call, timeout=timeout)
    said = list(dict.fromkeys(said))  # each attempt to build the settings says the same
    found.notes += [*_about_address(found.sources), *said, *_misspelt(said), *_unread_file(found)]
    return found


def check_settings(settings: GatewaySettings, *, call: bool, timeout: float) -> Findings:
    """Check settings that are built."""
    found = Findings(settings=settings)
    _check(found, settings, set(), call=call, timeout=timeout)
    return found


@contextmanager
def _collecting_warnings(texts: list[str]) -> Generator[None]:
    token = warning_handler.set(texts.append)
    try:
        yield
    finally:
        warning_handler.reset(token)


def _build_settings(
    flags: Mapping[str, Any], found: Findings
) -> tuple[GatewaySettings | None, set[str]]:
    """Return settings to look at, and which of them are wrong and were replaced by a default.

    Settings are checked in steps, and an error is of one step: what is wrong is replaced and the
    rest is checked again, until all is known. Only if nothing is wrong are they those to be used.
    """
    keywords = dict(flags)
    wrong: set[str] = set()
    while True:
        try:
            settings = GatewaySettings(**keywords)
        except GatewayConfigError as error:
            found.problems += explain_settings(error, flags)
            if not error.problems.keys() - wrong:
                return None, wrong
            wrong |= error.problems.keys()
            keywords |= _replacements(wrong)
        except Exception as error:  # noqa: BLE001 - of a class, a plug-in or a warning filter
            found.problems.append(_unexpected(error))
            return None, wrong
        else:
            found.settings = None if wrong else settings
            return settings, wrong


def _replacements(names: set[str]) -> dict[str, Any]:
    fields = GatewaySettings.model_fields
    values = {name: fields[name].get_default(call_default_factory=True) for name in names}
    if not names.isdisjoint(("account_id", "base_url")):
        values["base_url"] = _PLACEHOLDER
    return values


def _unexpected(error: Exception) -> Problem:
    return Problem(
        "configuration",
        f"The settings cannot be read: {type(error).__name__}.",
        "Run `GatewaySettings()` in Python to see the whole error.",
    )


def _check(
    found: Findings, settings: GatewaySettings, wrong: set[str], *, call: bool, timeout: float
) -> None:
    """Look at settings, of which some may be wrong, and make the call if nothing is."""
    if not settings.uses_gateway:
        _check_bare(found, settings)
        return
    try:
        from mistral_cf_adapter._sdk import check_sdk, untried

        check_sdk()
    except GatewayConfigError as error:  # of an SDK that is not known, or has changed
        found.problems += explain_settings(error)
        found.settings = None
        return
    from ._network import wrong_variable

    if not wrong.intersection(("mistral_api_key", "byok", "byok_alias")):
        found.problems += filter(None, [missing_key(settings)])
    found.problems += filter(None, [wrong_variable(settings)])
    found.notes += [*_about_secrets(settings, found.sources, wrong), *_about_proxy(settings)]
    if (note := untried()) is not None:
        found.notes.append(f"{note}.")
    if call and not found.problems:
        _call(found, settings, timeout)


def _check_bare(found: Findings, settings: GatewaySettings) -> None:
    """Say what calls do while the switch is off, and which variables are for the gateway alone."""
    found.notes.append(
        f"The switch is off: {explain_off(settings)}. Calls go to Mistral directly; "
        "`doctor --enabled true` checks the settings all the same."
    )
    unused = [
        source.variable
        for name, source in found.sources.items()
        if name != "enabled" and source.variable not in (None, "MISTRAL_API_KEY")
    ]
    if unused:
        found.notes.append(
            f"Set, but not used while the switch is off: {', '.join(map(str, unused))}."
        )


# ---------------------------------------------------------------- notes


def _unread() -> list[str]:
    found = {name: correct_prefix(name.upper()) for name in sorted(os.environ) if os.environ[name]}
    return [
        f"{name} is set and never read{'' if name == right else f', nor is {right}'}: "
        f"{WHY_UNREAD[right]}."
        for name, right in found.items()
        if right in WHY_UNREAD
    ]


def _service_account() -> list[str]:
    if not os.environ.get("MISTRAL_SA_TOKEN_PATH"):
        return []
    return ["MISTRAL_SA_TOKEN_PATH is set: newer SDKs send the token of that file as the key."]


def _misspelt(said: list[str]) -> list[str]:
    """Return which variables are no settings; those that resemble one are in the warnings."""
    names = {setting: env_names(setting) for setting in GatewaySettings.model_fields}
    known = {name for aliases in names.values() for name in aliases}
    unknown = [
        name
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX)
        and name.upper() not in {*known, ENV_FILE, RUN_FLAGS}
        and not any(note.startswith(f"{name} ") for note in said)
    ]
    meant = {name: find_meant(name.upper(), names) for name in unknown}
    return [
        f"{name} is no setting{f'; did you mean {near}?' if near else '.'}"
        for name, near in meant.items()
    ]


def _unread_file(found: Findings) -> list[str]:
    """Say that `./.env` sets something, unless that is a problem already."""
    if any("./.env" in problem.message for problem in found.problems):
        return []
    note = describe_unread_file({"_env_file": os.environ.get(ENV_FILE) or None})
    return [f"{note}."] if note else []


def _about_address(sources: Mapping[str, Source]) -> list[str]:
    """Say which variables are not used because a base URL, or an account, is given too."""
    url = sources["base_url"]
    parts = {name: sources[name] for name in ("account_id", "gateway_id")}
    if url.kind == "default" and url.shadowed:
        flags = [
            f"--{name.replace('_', '-')}" for name, part in parts.items() if part.kind == "flag"
        ]
        variables = [part.variable for part in parts.values() if part.kind == "environment"]
        unused, used = list(url.shadowed), flags or list(filter(None, variables))
    elif url.kind != "default":
        unused = [part.variable for part in parts.values() if part.variable is not None]
        used = [url.variable or "--base-url"]
    else:
        return []
    if not unused:
        return []
    verbs = "is" if len(unused) == 1 else "are", "names" if len(used) == 1 else "name"
    names = " and ".join(unused), " and ".join(used)
    return [f"{names[0]} {verbs[0]} set, but not used: {names[1]} {verbs[1]} the gateway."]


def _about_secrets(
    settings: GatewaySettings, sources: Mapping[str, Source], wrong: set[str]
) -> list[str]:
    notes = [
        f"{name} is shorter than any {what} is: it looks like a placeholder."
        for (name, what), secret in _secrets_of(settings)
        if is_too_short(secret)
    ]
    if settings.token is None and not settings.uses_access:
        if not wrong.intersection(("token", "access_token", "access_client_id")):
            notes.append(_UNUSED_STORED_KEY if settings.stored_key else _UNAUTHENTICATED)
    elif settings.stored_key and settings.mistral_api_key is not None:
        source = sources.get("mistral_api_key")
        key = (source and source.variable) or "mistral_api_key"
        notes.append(f"{key} is set, but not sent: the gateway's stored key is used.")
    return notes


def find_secrets(settings: GatewaySettings) -> list[SecretStr]:
    """Return all secrets among the settings, those of their headers too."""
    return [*(secret for _, secret in _secrets_of(settings)), *settings.headers.values()]


def _secrets_of(settings: GatewaySettings) -> list[tuple[tuple[str, str], SecretStr]]:
    """Return the secrets among the settings, with their variables and what they are."""
    known = {
        (variable_of("token"), "token of Cloudflare's"): settings.token,
        (variable_of("mistral_api_key"), "key of Mistral's"): settings.mistral_api_key,
        (variable_of("access_client_secret"), "secret of Access"): settings.access_client_secret,
        (variable_of("access_token"), "JWT of Access"): settings.access_token,
    }
    return [(name, secret) for name, secret in known.items() if isinstance(secret, SecretStr)]


def _about_proxy(settings: GatewaySettings) -> list[str]:
    from ._network import is_plain_loopback, named_proxy

    url = settings.root_url
    proxy = named_proxy(url) if is_plain_loopback(url) else None
    if proxy is None:
        return []
    note = (
        f"The proxy {proxy} of the environment is not used for {url}: it would get the secrets "
        "unencrypted. An HTTP client of your own (client=, async_client=) does use it: build that "
        "with trust_env=False."
    )
    return [note]


# ---------------------------------------------------------------- the call


def _call(found: Findings, settings: GatewaySettings, timeout: float) -> None:
    """List the models through the gateway, and judge what comes back."""
    from ._failed_call import explain_error

    found.called = True
    source = found.sources.get("base_url")
    address = (source and source.variable) or ("--base-url" if source else "base_url")
    try:
        outcome = run_within(timeout, lambda: _list_models(settings, address, timeout))
    except TimeoutError:
        # A name that does not resolve, a callable that waits, or a response that drips in.
        host = urlsplit(settings.root_url).netloc
        outcome = _Outcome(explain_error(TimeoutError(), settings, address), None)
        outcome.problem = replace(
            outcome.problem or Problem("timeout", "", ""),
            message=f"{host} did not answer within {timeout:g} seconds.",
        )
    found.problems += filter(None, [outcome.problem])
    found.call = outcome.call
    if outcome.problem is None and outcome.call is not None and outcome.call["log_id"] is None:
        found.notes.append(
            "The response has no cf-aig-log-id: logs are off for this gateway, or the address is "
            "not a gateway."
        )


@dataclass(slots=True)
class _Outcome:
    problem: Problem | None
    call: dict[str, Any] | None


def _list_models(settings: GatewaySettings, address: str, timeout: float) -> _Outcome:
    from mistral_cf_adapter._capture import capture
    from mistral_cf_adapter._client import make_client

    from ._failed_call import explain_error, failed_callable, is_model_list, no_model_list

    # With a fallback, the response could be Mistral's and not the gateway's. The rest would change
    # this process for good: the SDK's code, and where its log goes.
    changes: dict[str, Any] = {"fallback": "none", "speedups": False, "log": None}
    try:
        asked = settings.model_copy(update={**changes, **_ask_callables(settings)})
    except Exception as error:  # noqa: BLE001 - a callable of the user's may raise anything
        return _Outcome(failed_callable(error), None)
    listed: Any = None
    problem: Problem | None = None
    with capture() as calls:
        try:
            # Less than what is left, so that the HTTP library says what it was waiting for.
            client = make_client(asked, timeout_ms=max(1, round(timeout * 900)))
            listed = client.models.list()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is asked for
            problem = explain_error(error, asked, address)
            # A server's own words are in it, and may quote what was sent.
            problem = replace(problem, message=mask_whole(problem.message, find_secrets(asked)))
    if not calls:
        return _Outcome(problem, None)
    last = calls[-1]
    if problem is None and not (_is_marked(last) or is_model_list(listed)):
        problem = no_model_list(last.status_code or 0, settings, address)
    call = {
        "method": last.method,
        "path": last.path,
        "status_code": last.status_code,
        "seconds": round(last.elapsed, 3),
        "log_id": last.log_id,
        "cache_status": last.cache_status,
        "models": None if problem else len((listed and listed.data) or []),
    }
    return _Outcome(problem, call)


def _ask_callables(settings: GatewaySettings) -> "dict[str, Secret]":
    """Return what the callables in place of secrets return now."""
    import asyncio

    from mistral_cf_adapter._credentials import CallableSecret, ask_all_async

    live = live_secrets(settings).items()
    callables = {name: source for name, source in live if isinstance(source, CallableSecret)}
    return asyncio.run(ask_all_async(callables)) if callables else {}


def _is_marked(call: "GatewayCall") -> bool:
    """Return whether a response had a header of the gateway's."""
    marks = (call.log_id, call.request_id, call.event_id, call.cache_status, call.step)
    return any(mark is not None for mark in marks)
