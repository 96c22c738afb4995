"""`diagnose()`: whether calls can go through the gateway, and if not, why and what to do.

_checks looks at the settings and, if asked to, makes one call. What is wrong is put into words by
_wrong_settings, _failed_call and _network. _sources and _sent say where a setting came from and
where it goes, for the command `doctor`. _findings has the classes of the results.
"""

from functools import partial
from types import NoneType

from mistral_cf_adapter._options import GatewayConfigError
from mistral_cf_adapter._public import set_public_module
from mistral_cf_adapter._settings import GatewaySettings
from mistral_cf_adapter._signatures import shorten_signatures

from ._checks import Findings, check_environment, check_settings
from ._findings import Diagnosis, Problem

_LONGEST = 3600  # seconds

__all__ = ["Diagnosis", "Problem", "diagnose", "diagnose_async", "summarize"]


def diagnose(
    settings: GatewaySettings | None = None, *, call: bool = False, timeout: float = 10.0
) -> Diagnosis:
    """Find out whether calls can go through the gateway, and if not, why.

    For a readiness probe, or a check when a program starts. What is wrong is
    in the result and not raised, and no text in it shows a secret. Nothing is
    sent unless `call` is true, and the process is left as it was.

    A key that a program gives to the SDK itself, as `Mistral(api_key=...)`, is
    not seen: give it as the setting `mistral_api_key`.

    Args:
        settings: What to look at; by default the environment, as
            `make_client()` reads it, with its misspelt variables.
        call: Whether to list the models through the gateway: one GET
            request, which uses no tokens. Callables in place of secrets are
            called for it, asynchronous ones in an event loop of their own.
            `capture()` and `on_call()` get it as any call.
        timeout: Seconds that this may take, whatever does not respond: a name
            server, the gateway, or such a callable.

    Raises:
        TypeError: settings are no GatewaySettings.
        GatewayConfigError: the timeout is no positive number.

    Example:
        >>> from mistral_cf_adapter.testing import LocalGateway  # no account
        >>> with LocalGateway() as gateway:
        ...     diagnose(gateway.settings(), call=True).ok
        ...     found = diagnose(gateway.settings(token="wrong"), call=True)
        True
        >>> print(found.summary)
        1 problem: The gateway rejected the token: it is wrong or expired, ...
    """
    # Only the class of a wrong argument is kept: it may be a secret.
    settings_class = type(settings)
    settings = settings if isinstance(settings, GatewaySettings) else None
    _check_arguments(settings_class, timeout)
    if settings is None:
        found = check_environment({}, call=call, timeout=timeout)
    else:
        found = check_settings(settings, call=call, timeout=timeout)
    return Diagnosis(summarize(found), tuple(found.problems), tuple(found.notes), found.called)


async def diagnose_async(
    settings: GatewaySettings | None = None,
    *,
    call: bool = False,
    timeout: float = 10.0,  # noqa: ASYNC109 - it ends a thread too, which asyncio.timeout() cannot
) -> Diagnosis:
    """Do the same as `diagnose()` without blocking the event loop.

    Args:
        settings: See `diagnose()`.
        call: See `diagnose()`.
        timeout: See `diagnose()`; in seconds.

    Raises:
        TypeError: settings are no GatewaySettings.
        GatewayConfigError: the timeout is no positive number.

    Example:
        >>> import asyncio
        >>> asyncio.run(diagnose_async(GatewaySettings(enabled=False))).summary
        'Switched off: calls go to Mistral, and not through a gateway.'
    """
    import asyncio

    check = partial(diagnose, settings, call=call, timeout=timeout)
    try:
        return await asyncio.to_thread(check)
    except RuntimeError:  # there are no threads, as on Pyodide
        return check()


def _check_arguments(settings_class: type, timeout: float) -> None:
    if not issubclass(settings_class, GatewaySettings | NoneType):
        msg = f"diagnose() takes GatewaySettings(...), not {settings_class.__name__}"
        raise TypeError(msg)
    if not 0 < timeout <= _LONGEST:
        msg = f"timeout: {timeout!r} is out of range: must be more than 0, up to {_LONGEST} seconds"
        raise GatewayConfigError(msg)


def summarize(found: Findings) -> str:
    """Return the verdict in one sentence."""
    if found.problems:
        count = len(found.problems)
        which = "1 problem" if count == 1 else f"{count} problems, the first"
        return f"{which}: {found.problems[0].message}"
    settings = found.settings
    if settings is None or not settings.uses_gateway:
        return "Switched off: calls go to Mistral, and not through a gateway."
    url = settings.provider_url
    if found.call is None:
        token = "" if settings.token or settings.uses_access else ", but no token is set"
        return f"Not tried: the settings for {url} have no error{token}. No call was made."
    return f"Ready: calls go through {url}."


shorten_signatures(diagnose, diagnose_async)
set_public_module(diagnose, diagnose_async)
