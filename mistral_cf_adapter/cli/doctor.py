"""`doctor`: look at the settings as `make_client()` does, make one call, explain the result."""

import importlib.metadata
import os
import platform
import sys
import warnings
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from mistral_cf_adapter import __version__
from mistral_cf_adapter._options import GatewayConfigError
from mistral_cf_adapter._secrets import is_too_short, mask
from mistral_cf_adapter._settings import GatewaySettings
from mistral_cf_adapter._settings_secrets import live_secrets
from mistral_cf_adapter._variables import ENV_FILE, PREFIX, env_names

from .children import FLAGS, describe_children
from .report import Report, as_text
from .sources import Source, find_sources, shown

if TYPE_CHECKING:
    from mistral_cf_adapter._gateway_call import GatewayCall
    from mistral_cf_adapter._secrets import Secret

    from .flags import SettingFlags


def run_doctor(flags: "SettingFlags", *, offline: bool, as_json: bool, timeout: float) -> int:
    """Print the report, and return 0 only if all is well."""
    report = run_checks(flags, offline=offline, timeout=timeout)
    if as_json:
        import json

        print(json.dumps(asdict(report), indent=2))
    else:
        print(_encodable(as_text(report)))
    return 0 if report.ok else 1


def _encodable(text: str) -> str:
    """Return a text with escapes for what standard output cannot show, such as a path's letters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def run_checks(flags: "SettingFlags", *, offline: bool, timeout: float) -> Report:
    """Return the report; whatever goes wrong is in it."""
    report = Report(versions=_versions(), notes=_notes(), children=describe_children())
    given = flags.given()
    found = find_sources(given)
    settings = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            settings = flags.settings()
            _examine(report, settings, found, offline=offline, timeout=timeout)
        except GatewayConfigError as error:
            from .diagnosis import configuration

            report.problem = configuration(error)
    if settings is not None and settings.stored_key and not settings.byok:
        found["byok"] = found["byok_alias"]  # which implies it
    for name, source in found.items():
        value = source.raw if settings is None else getattr(settings, _property_of(name))
        report.settings[name] = {
            "value": shown(name, value),
            "source": source.kind,
            "variable": source.variable,
            "shadowed": list(source.shadowed),
        }
    report.notes += _about_address(found)
    said = [str(warning.message) for warning in caught if _is_ours(warning)]
    report.notes += [*said, *_misspelt(said), *_unread_file(report)]
    report.ok = report.problem is None
    return report


def _property_of(name: str) -> str:
    """Return the attribute of settings that says what a setting comes to."""
    return "stored_key" if name == "byok" else name


def _about_address(found: "dict[str, Source]") -> list[str]:
    """Say which variables are not used because a base URL, or an account, is given too."""
    url = found["base_url"]
    parts = {name: found[name] for name in ("account_id", "gateway_id")}
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


def _is_ours(warning: warnings.WarningMessage) -> bool:
    return warning.category is UserWarning and "patch() leaves" not in str(warning.message)


def _versions() -> dict[str, str]:
    versions = {"mistral-cf-adapter": __version__, "python": platform.python_version()}
    for package in ("mistralai", "pydantic", "pydantic-settings"):
        versions[package] = importlib.metadata.version(package)
    return versions


def _notes() -> list[str]:
    return [*_unread(), *_service_account()]


def _unread() -> list[str]:
    reasons = {
        "CLOUDFLARE_API_TOKEN": (
            "such a token usually may do far more than call a gateway. Create one with `AI "
            "Gateway Run` alone and set CF_AIG_TOKEN"
        ),
        "CLOUDFLARE_AI_GATEWAY_API_KEY": (
            "it is the provider's key to some tools and the gateway's token to others. Set "
            "MISTRAL_API_KEY or CF_AIG_TOKEN, whichever it is"
        ),
    }
    return [
        f"{name} is set and never read: {reason}."
        for name, reason in reasons.items()
        if os.environ.get(name)
    ]


def _misspelt(said: list[str]) -> list[str]:
    """Return which variables are no settings; those that resemble one are in the warnings."""
    known = {name for setting in GatewaySettings.model_fields for name in env_names(setting)}
    return [
        f"{name} is no setting."
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX)
        and name.upper() not in {*known, ENV_FILE, FLAGS}
        and not any(note.startswith(f"{name} ") for note in said)
    ]


def _unread_file(report: Report) -> list[str]:
    """Say that `./.env` sets something, unless that is the problem already."""
    from mistral_cf_adapter._settings import describe_unread_file

    if report.problem is not None and "./.env" in report.problem.cause:
        return []
    note = describe_unread_file({"_env_file": os.environ.get(ENV_FILE) or None})
    return [f"{note}."] if note else []


def _service_account() -> list[str]:
    if not os.environ.get("MISTRAL_SA_TOKEN_PATH"):
        return []
    return ["MISTRAL_SA_TOKEN_PATH is set: newer SDKs send the token of that file as the key."]


def _examine(
    report: Report,
    settings: GatewaySettings,
    found: "dict[str, Source]",
    *,
    offline: bool,
    timeout: float,
) -> None:
    from .sent import find_sent_headers

    report.switch = "on" if settings.uses_gateway else "off"
    if not settings.uses_gateway:
        _examine_bare(report, settings, found)
        return
    report.urls = {
        "gateway": settings.root_url,
        "provider": settings.provider_url,
        "compat": settings.compat_url,
    }
    from mistral_cf_adapter._sdk import check_sdk, httpx, untried

    from .diagnosis import missing_key, proxy_for, wrong_variable

    check_sdk()
    report.versions[httpx.__name__] = httpx.__version__
    report.patch = _patched(settings)
    report.proxy = proxy_for(settings.root_url)
    report.notes += [*_about_credentials(settings, found), *_about_proxy(settings)]
    if (note := untried()) is not None:
        report.notes.append(f"{note}.")
    report.sent = find_sent_headers(settings)
    report.problem = missing_key(settings) or wrong_variable(settings)
    if report.problem is None and not offline:
        address = found["base_url"].variable or "--base-url"
        _call(report, settings, address, timeout)


def _examine_bare(report: Report, settings: GatewaySettings, found: "dict[str, Source]") -> None:
    """Say what calls do while the switch is off, and which variables are for the gateway alone."""
    from mistral_cf_adapter._settings import explain_off

    from .sent import find_bare_headers

    report.sent = find_bare_headers()
    report.notes.append(
        f"The switch is off: {explain_off(settings)}. Calls go to Mistral directly; "
        "`doctor --enabled true` checks the settings all the same."
    )
    unused = [
        source.variable
        for name, source in found.items()
        if name != "enabled" and source.variable not in (None, "MISTRAL_API_KEY")
    ]
    if unused:
        report.notes.append(
            f"Set, but not used while the switch is off: {', '.join(map(str, unused))}."
        )


def _about_credentials(settings: GatewaySettings, found: "dict[str, Source]") -> list[str]:
    notes = [
        f"{name} is shorter than any {what} is: it looks like a placeholder."
        for (name, what), secret in _secrets_of(settings)
        if is_too_short(secret)
    ]
    if settings.token is None and not settings.uses_access:
        notes.append("No token is set: only a gateway without authentication lets such calls pass.")
    elif settings.stored_key and settings.mistral_api_key is not None:
        key = found["mistral_api_key"].variable or "mistral_api_key"
        notes.append(f"{key} is set, but not sent: the gateway's stored key is used.")
    return notes


def _secrets_of(settings: GatewaySettings) -> list[tuple[tuple[str, str], SecretStr]]:
    """Return the secrets among the settings, with their variables and what they are."""
    from .diagnosis import variable_of

    known = {
        (variable_of("token"), "token of Cloudflare's"): settings.token,
        (variable_of("mistral_api_key"), "key of Mistral's"): settings.mistral_api_key,
        (variable_of("access_client_secret"), "secret of Access"): settings.access_client_secret,
        (variable_of("access_token"), "JWT of Access"): settings.access_token,
    }
    return [(name, secret) for name, secret in known.items() if isinstance(secret, SecretStr)]


def _ask_callables(settings: GatewaySettings) -> "dict[str, Secret]":
    """Return what the callables in place of secrets return now."""
    import asyncio

    from mistral_cf_adapter._credentials import CallableSecret, ask_all_async

    live = live_secrets(settings).items()
    callables = {name: source for name, source in live if isinstance(source, CallableSecret)}
    return asyncio.run(ask_all_async(callables)) if callables else {}


def _about_proxy(settings: GatewaySettings) -> list[str]:
    from .diagnosis import is_plain_loopback, named_proxy

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


def _patched(settings: GatewaySettings) -> dict[str, str | None]:
    """Ask patch() itself where it would take the clients of each server."""
    from mistral_cf_adapter._patch import Patch
    from mistral_cf_adapter._sdk import servers

    made = Patch(settings)
    hosts = [f"https://{host}" for host in settings.providers]
    providers = {url: made.provider_for(url) for url in [*servers().values(), *hosts]}
    return {
        url: None if provider is None else f"{settings.root_url}/{provider}"
        for url, provider in providers.items()
    }


def _call(report: Report, settings: GatewaySettings, address: str, timeout: float) -> None:
    from mistral_cf_adapter._capture import capture
    from mistral_cf_adapter._client import make_client

    from .diagnosis import diagnose, failed_callable, is_model_list, no_model_list

    try:
        # With a fallback, the response could be Mistral's and not the gateway's.
        asked = settings.model_copy(update={"fallback": "none", **_ask_callables(settings)})
    except Exception as error:  # noqa: BLE001 - a callable of the user's may raise anything
        report.problem = failed_callable(error)
        return
    listed: Any = None
    with capture() as calls:
        try:
            client = make_client(asked, timeout_ms=round(timeout * 1000))
            listed = client.models.list()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what doctor is asked for
            problem = diagnose(error, asked, address)
            # A server's own words are in it, and may quote what was sent.
            secrets = [secret for _, secret in _secrets_of(asked)]
            secrets += settings.headers.values()
            report.problem = replace(problem, cause=mask(problem.cause, secrets))
    if not calls:
        return
    last = calls[-1]
    if report.problem is None and not (_is_marked(last) or is_model_list(listed)):
        report.problem = no_model_list(last.status_code or 0, settings, address)
    report.call = {
        "method": last.method,
        "path": last.path,
        "status_code": last.status_code,
        "seconds": round(last.elapsed, 3),
        "log_id": last.log_id,
        "cache_status": last.cache_status,
        "models": None if report.problem else len((listed and listed.data) or []),
    }
    _judge(report)


def _is_marked(call: "GatewayCall") -> bool:
    """Return whether a response had a header of the gateway's."""
    marks = (call.log_id, call.request_id, call.event_id, call.cache_status, call.step)
    return any(mark is not None for mark in marks)


def _judge(report: Report) -> None:
    """Doubt a call that worked: it may not have been the gateway's work."""
    if report.call is None or report.problem is not None:
        return
    if report.call["log_id"] is None:
        report.notes.append(
            "The answer has no cf-aig-log-id: logs are off for this gateway, or the address is "
            "not a gateway."
        )
