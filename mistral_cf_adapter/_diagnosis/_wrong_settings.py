"""What is wrong with the settings, and what to do: known without a call, and without the SDK."""

import os
import re
from collections.abc import Collection, Iterator

from mistral_cf_adapter._options import GatewayConfigError
from mistral_cf_adapter._settings import GatewaySettings
from mistral_cf_adapter._validation import name_flag
from mistral_cf_adapter._variables import ENV_FILE, env_names

from ._findings import Problem

# Variables that are not read, and why.
WHY_UNREAD = {
    "CLOUDFLARE_API_TOKEN": (
        "such a token usually may do far more than call a gateway. Create one with `AI "
        "Gateway Run` alone and set CF_AIG_TOKEN"
    ),
    "CLOUDFLARE_AI_GATEWAY_API_KEY": (
        "it is the provider's key to some tools and the gateway's token to others. Set "
        "MISTRAL_API_KEY or CF_AIG_TOKEN, whichever it is"
    ),
}
HOW_TO_AUTHENTICATE = (
    "Create a Cloudflare API token with the permission `AI Gateway Run` (dashboard: AI > AI "
    "Gateway > your gateway > Settings > Create a token) and set CF_AIG_TOKEN."
)


def missing_key(settings: GatewaySettings) -> Problem | None:
    """Return the problem that there is no key to send, which needs no call to be seen."""
    if settings.stored_key or settings.mistral_api_key is not None:
        return None
    if os.environ.get("MISTRAL_SA_TOKEN_PATH"):  # where newer SDKs read one
        return None
    return Problem(
        "no_key",
        "There is no Mistral key to send.",
        "Set MISTRAL_API_KEY, or, if the key is stored in the gateway (Provider Keys), say so "
        "with CF_AIG_BYOK=true.",
    )


def explain_settings(error: GatewayConfigError, flags: Collection[str] = ()) -> Iterator[Problem]:
    """Yield the problem of each setting that cannot work.

    Args:
        error: What building the settings raised.
        flags: The settings that were given as flags of the command line.
    """
    whole = str(error).removeprefix("Gateway settings: ")
    for text in dict.fromkeys(error.problems.values()) or [whole]:
        message, advice = _split(name_flag(text, flags))
        yield Problem("configuration", message, advice)


def _split(text: str) -> tuple[str, str]:
    """Return what is wrong, and what to do: the end of the text, or what follows from it."""
    found = _WITH_ADVICE.fullmatch(text)
    if found is not None and "./.env" not in text:
        message, advice = found.groups()
        return f"{message}.", f"{advice[0].upper()}{advice[1:]}."
    message = f"{text.removesuffix('.)')})." if text.endswith(".)") else f"{text.rstrip('.')}."
    return message, _correction(text)


# The texts of contradictions end in what to do, as does that of a missing account.
_WITH_ADVICE = re.compile(r"(.+?)(?:(?<=is not set): |\. )((?:export|Set|Drop) .+)")


def _correction(text: str) -> str:
    """Say what to type, as far as the error's text knows."""
    if f"{ENV_FILE}=.env" in text:
        return f"Set {ENV_FILE}=.env."
    named = re.search(r"\b(?:CF|CLOUDFLARE|MISTRAL)_[A-Z_]+\b|^--[a-z-]+", text)
    if named is None or (named[0] == ENV_FILE and "there is no file" not in text):
        return "Do what it says."
    suggested = re.search(r"did you mean (\S+) \?", text)
    if suggested is not None:
        return f"Set {named[0]}={suggested[1]}"
    if named[0].startswith("--"):
        return f"Correct {named[0]}, or leave it out."
    if f"{named[0]} is not set" in text:
        return f"Set {named[0]}."
    return f"Correct {named[0]}, or unset it."


def variable_of(name: str) -> str:
    """Return the variable that a setting was read from, or would be."""
    names = env_names(name)
    return next((variable for variable in names if os.environ.get(variable)), names[0])
