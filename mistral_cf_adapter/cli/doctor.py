"""`doctor`: print a diagnosis, with where each setting came from and where it goes."""

import importlib.metadata
import platform
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

from mistral_cf_adapter import __version__
from mistral_cf_adapter._diagnosis import summarize
from mistral_cf_adapter._diagnosis._checks import Findings, check_environment, find_secrets
from mistral_cf_adapter._diagnosis._sent import find_bare_headers, find_sent_headers
from mistral_cf_adapter._diagnosis._sources import shown
from mistral_cf_adapter._diagnosis._wrong_settings import explain_settings
from mistral_cf_adapter._options import GatewayConfigError
from mistral_cf_adapter._secrets import mask_whole
from mistral_cf_adapter._settings import GatewaySettings

from .children import describe_children
from .report import Report, print_report

if TYPE_CHECKING:
    from .flags import SettingFlags


def run_doctor(
    flags: "SettingFlags", *, offline: bool, as_json: bool, verbose: bool, timeout: float
) -> int:
    """Print the report; return 0 if all is well, 1 if there is a problem."""
    report = make_report(flags, offline=offline, timeout=timeout)
    if as_json:
        import json

        print(json.dumps(_as_json(report), indent=2))
    else:
        print_report(report, sys.stdout, verbose=verbose)
    return 0 if report.ok else 1


def make_report(flags: "SettingFlags", *, offline: bool, timeout: float) -> Report:
    """Return the report; whatever goes wrong is in it."""
    found = check_environment(flags.given(), call=not offline, timeout=timeout)
    report = Report(
        problems=found.problems,
        notes=found.notes,
        call=found.call,
        versions=_versions(),
        children=describe_children(),
        settings=_describe_settings(found),
    )
    if found.settings is not None:
        try:
            _describe_way(report, found.settings)
        except GatewayConfigError as error:  # such a request would be refused
            report.problems += explain_settings(error)
    report.ok = not report.problems
    report.summary = summarize(found)
    return report


def _as_json(report: Report) -> dict[str, Any]:
    first = report.problems[0] if report.problems else None
    # `problem` is the first of `problems`, in the words of version 0.1.
    old = first and {"code": first.name, "cause": first.message, "next_step": first.advice}
    return {**asdict(report), "problem": old}


def _describe_settings(found: Findings) -> dict[str, dict[str, Any]]:
    sources, settings = dict(found.sources), found.settings
    if settings is not None and settings.stored_key and not settings.byok:
        sources["byok"] = sources["byok_alias"]  # which implies it
    secrets = [] if settings is None else find_secrets(settings)
    described: dict[str, dict[str, Any]] = {}
    for name, source in sources.items():
        # What a setting comes to: an alias of a stored key implies `byok`.
        attribute = "stored_key" if name == "byok" else name
        value = source.raw if settings is None else getattr(settings, attribute)
        text = shown(name, value)
        described[name] = {
            "value": text if isinstance(value, SecretStr) else _mask(text, secrets),
            "source": source.kind,
            "variable": source.variable,
            "shadowed": list(source.shadowed),
        }
    return described


def _mask(value: Any, secrets: list[SecretStr]) -> Any:
    """Return a value without a secret that was pasted into it."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {name: _mask(each, secrets) for name, each in items}
    return mask_whole(value, secrets) if isinstance(value, str) else value


def _describe_way(report: Report, settings: GatewaySettings) -> None:
    """Add where calls go, and with which headers."""
    report.switch = "on" if settings.uses_gateway else "off"
    if not settings.uses_gateway:
        report.sent = find_bare_headers()
        return
    from mistral_cf_adapter._diagnosis._network import proxy_for
    from mistral_cf_adapter._sdk import httpx

    report.urls = {
        "gateway": settings.root_url,
        "provider": settings.provider_url,
        "compat": settings.compat_url,
    }
    report.versions[httpx.__name__] = httpx.__version__
    report.patch = _find_patched(settings)
    report.proxy = proxy_for(settings.root_url)
    report.sent = find_sent_headers(settings)


def _versions() -> dict[str, str]:
    versions = {"mistral-cf-adapter": __version__, "python": platform.python_version()}
    for package in ("mistralai", "pydantic", "pydantic-settings"):
        versions[package] = importlib.metadata.version(package)
    return versions


def _find_patched(settings: GatewaySettings) -> dict[str, str | None]:
    """Ask patch() itself where it would take the clients of each server."""
    import warnings

    from mistral_cf_adapter._patch import Patch
    from mistral_cf_adapter._sdk import servers

    patched = Patch(settings)
    hosts = [f"https://{host}" for host in settings.providers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the clients that it leaves alone: they are in the list
        providers = {url: patched.provider_for(url) for url in [*servers().values(), *hosts]}
    patched.undo()
    return {
        url: None if provider is None else f"{settings.root_url}/{provider}"
        for url, provider in providers.items()
    }
