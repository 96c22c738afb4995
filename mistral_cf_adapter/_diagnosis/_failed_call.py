"""A call failed: from its exception or response to the cause in plain words, and what to do."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

from mistral_cf_adapter._errors import (
    CREATE_GATEWAY,
    GatewayAccessError,
    GatewayConnectionError,
    GatewayError,
    GatewayNotFoundError,
    GatewayStoredKeyError,
    GatewayUnauthorizedError,
    find_sender,
)
from mistral_cf_adapter._options import GatewayConfigError
from mistral_cf_adapter._settings import GatewaySettings

from ._findings import Problem
from ._network import explain_no_response
from ._wrong_settings import (
    HOW_TO_AUTHENTICATE,
    WHY_UNREAD,
    explain_settings,
    missing_key,
    variable_of,
)


def failed_callable(error: BaseException) -> Problem:
    """Return the problem that a callable in place of a secret raised."""
    if isinstance(error, GatewayConfigError):
        return next(explain_settings(error))
    *_, note = getattr(error, "__notes__", [""])  # the last one names the setting
    return Problem(
        "callable_failed",
        f"{type(error).__name__}, {note}.",
        "Call it by itself, and correct what it raises.",
    )


def explain_error(
    error: BaseException, settings: GatewaySettings, address: str = "CF_AIG_BASE_URL"
) -> Problem:
    """Return the problem that an exception of the call stands for.

    Args:
        error: The exception.
        settings: The settings of the call.
        address: The variable or flag that gave the base URL, if one did.
    """
    if isinstance(error, GatewayConfigError):
        return missing_key(settings) or next(explain_settings(error))
    if isinstance(error, GatewayConnectionError):
        return explain_no_response(error, settings)
    if isinstance(error, GatewayError):
        return _of_gateway(error, settings, address)
    response = getattr(error, "raw_response", None)
    if response is None:
        return explain_no_response(error, settings)
    return _of_other_response(response, settings, address)


def _of_gateway(error: GatewayError, settings: GatewaySettings, address: str) -> Problem:
    if error.code in _CODES_OF_THE_API:
        return _not_a_gateway(error, settings, address)
    if isinstance(error, GatewayNotFoundError):
        return _not_found(settings, address)
    if isinstance(error, GatewayUnauthorizedError):
        return _unauthorized(settings)
    if isinstance(error, GatewayStoredKeyError):
        return _no_stored_key(error, settings)
    if isinstance(error, GatewayAccessError):
        return _refused_by_access(error, settings)
    kind = type(error).__name__.removeprefix("Gateway").removesuffix("Error")
    return Problem(
        f"gateway_{_snake(kind)}" if kind else "gateway_error",
        error.message.removesuffix(error.advice).strip(),
        error.advice,
    )


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


_CODES_OF_THE_API = (7000, 7001, 7003, 9109, 10000, 10001)


def _not_a_gateway(error: GatewayError, settings: GatewaySettings, address: str) -> Problem:
    """Return the problem for a code of Cloudflare's API, which AI Gateway does not use."""
    named = f"{address} to" if settings.base_url is not None else "the address to"
    said = error.message.removesuffix(error.advice).removeprefix("AI Gateway: ").strip()
    return Problem(
        "not_a_gateway",
        f"{urlsplit(settings.root_url).netloc} answered as Cloudflare's API does, not as AI "
        f"Gateway: {said}",
        f"Set {named} https://gateway.ai.cloudflare.com/v1/{{account}}/{{gateway}} or to the "
        "gateway's domain. If it is that already, create a new gateway token (dashboard: AI > AI "
        f"Gateway > your gateway > Settings) and set {variable_of('token')} to it.",
    )


def _not_found(settings: GatewaySettings, address: str) -> Problem:
    if settings.base_url is not None:
        return Problem(
            "gateway_not_found",
            f"There is no gateway at {settings.base_url}.",
            CREATE_GATEWAY.format(address=f"account and gateway in {address}"),
        )
    variables = f"{variable_of('account_id')} and {variable_of('gateway_id')}"
    return Problem(
        "gateway_not_found",
        f"There is no gateway called {settings.gateway_id!r} in the account {settings.account_id}, "
        "or no such account.",
        CREATE_GATEWAY.format(address=variables),
    )


def _unauthorized(settings: GatewaySettings) -> Problem:
    if settings.token is None:
        unused = [name for name in WHY_UNREAD if os.environ.get(name)]
        aside = f" {' and '.join(unused)} is set, but not used." if unused else ""
        cause = f"The gateway asks for a token, and none is set.{aside}"
        return Problem("token_missing", cause, HOW_TO_AUTHENTICATE)
    if settings.mistral_api_key == settings.token:
        return Problem(
            "token_rejected",
            "The gateway rejected the token, which is the same text as the Mistral key.",
            HOW_TO_AUTHENTICATE,
        )
    return Problem(
        "token_rejected",
        "The gateway rejected the token: it is wrong or expired, belongs to another account, or "
        "lacks the permission `AI Gateway Run`. The gateway does not say which.",
        "Create a new token where it gets the permission by itself (dashboard: AI > AI Gateway > "
        f"your gateway > Settings > Create a token) and set {variable_of('token')} to it. It is "
        "not the Mistral key.",
    )


def _refused_by_access(error: GatewayError, settings: GatewaySettings) -> Problem:
    cause = error.message.removesuffix(error.advice).strip()
    if settings.access_token is not None:
        next_step = (
            "The JWT may have expired: `cloudflared access token "
            f"-app={settings.base_url}` prints a new one for {variable_of('access_token')}. If it "
            "is new, a policy of the Access application must take its user (Zero Trust dashboard: "
            "Access > Applications)."
        )
    elif settings.access_client_id is not None:
        next_step = (
            f"Check {variable_of('access_client_id')} and {variable_of('access_client_secret')} "
            "against the service tokens in the Zero Trust dashboard (one may have expired), and "
            "that a policy of the Access application takes that token."
        )
    else:
        next_step = error.advice
    return Problem("gateway_access", cause, next_step)


def _no_stored_key(error: GatewayError, settings: GatewaySettings) -> Problem:
    alias = settings.byok_alias or "default"
    return Problem(
        "stored_key_missing",
        f"The gateway has no stored key with the alias {alias!r} for {settings.provider}.",
        error.advice,
    )


def _of_other_response(response: Any, settings: GatewaySettings, address: str) -> Problem:
    """Return the problem for a response that is neither the gateway's error nor the edge's."""
    status = response.status_code
    if find_sender(response) == "provider":
        return _of_provider(response, settings, address)
    if status < 400:
        return no_model_list(status, settings, address)
    if status == 404:
        return _no_such_path(settings, address)
    return Problem(
        "unexpected_answer",
        f"The address answered HTTP {status}{_quote(response)}. Who sent it is unknown: it has "
        "neither the gateway's body nor one of its headers.",
        f"Check that {settings.provider_url} is the gateway, and that no login page or proxy "
        "answers in its place. If it is, Mistral may have answered: switch the gateway's logs on, "
        "and its headers tell.",
    )


def _of_provider(response: Any, settings: GatewaySettings, address: str) -> Problem:
    status = response.status_code
    if status == 401 and settings.stored_key:
        return Problem(
            "stored_key_missing",
            f"Mistral, not the gateway, refused: the gateway has no stored key for "
            f"{settings.provider}, or the stored one is not valid.",
            "Store a valid Mistral key in the gateway (dashboard: AI > AI Gateway > your gateway > "
            "Provider Keys), or send one: unset CF_AIG_BYOK and CF_AIG_BYOK_ALIAS, and set "
            "MISTRAL_API_KEY.",
        )
    if status in (401, 403):
        return Problem(
            "key_rejected",
            "Mistral, not the gateway, rejected the key. The gateway itself let the call through.",
            "Check MISTRAL_API_KEY against the keys at https://console.mistral.ai (API Keys): it "
            "must be Mistral's key, not Cloudflare's token.",
        )
    if status == 404:
        cause = f"The gateway works; Mistral itself answered HTTP 404{_quote(response)}."
        return replace(_no_such_path(settings, address), message=cause)
    if status == 429 or status >= 500:
        return Problem(
            "provider_busy",
            f"The gateway works; Mistral itself answered HTTP {status}{_quote(response)}.",
            "Try again later; see https://status.mistral.ai.",
        )
    if status < 400:
        return Problem(
            "unexpected_answer",
            f"The gateway works; what Mistral answered (HTTP {status}) is no list of models.",
            "Check CF_AIG_PROVIDER: `doctor` asks for /v1/models, as Mistral has it.",
        )
    return Problem(
        "provider_refused",
        f"The gateway works; Mistral itself answered HTTP {status}{_quote(response)}.",
        "See what Mistral says, and your account at https://console.mistral.ai (plan and billing "
        "for a 402).",
    )


def is_model_list(models: Any) -> bool:
    """Return whether a response said itself that it is a list, and has models in it.

    The SDK makes an empty list of models out of any JSON object.
    """
    if models is None or "object" not in models.model_fields_set:
        return False
    return bool(models.object == "list" and models.data)


def no_model_list(status: int, settings: GatewaySettings, address: str) -> Problem:
    """Return the problem for a response that is neither Mistral's nor marked by the gateway."""
    checked = address if settings.base_url is not None else settings.provider_url
    return Problem(
        "unexpected_answer",
        f"The address answered HTTP {status} with something that is no list of models and has no "
        "header of the gateway's: it is not the gateway.",
        f"Check {checked}: it must be the gateway, and no login page or proxy may answer in its "
        "place.",
    )


_QUOTE_LIMIT = 200


def _quote(response: Any) -> str:
    """Return what a body says, for the end of a sentence; its secrets are still to be masked."""
    said = _find_message(getattr(response, "_content", b""))
    said = " ".join(said.split()).rstrip(".")
    return f": {said[:_QUOTE_LIMIT]}" if said else ""


def _find_message(body: bytes) -> str:
    text = body[:10_000].decode(errors="replace")
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.lstrip().startswith("<") else text
    if not isinstance(parsed, Mapping):
        return parsed if isinstance(parsed, str) else text
    fields = cast("Mapping[str, object]", parsed)
    said = next((fields[name] for name in ("message", "detail", "error") if fields.get(name)), text)
    return said if isinstance(said, str) else json.dumps(said)


def _no_such_path(settings: GatewaySettings, address: str) -> Problem:
    if settings.provider != "mistral":
        return Problem(
            "path_not_found",
            f"The provider {settings.provider} has no such path.",
            "Its base URL in the dashboard (Custom providers) must be the bare host, such as "
            "https://api.eu.mistral.ai: with a /v1 of its own, /v1 is doubled.",
        )
    return Problem(
        "path_not_found",
        f"There is nothing at {settings.provider_url}/v1/models.",
        f"Check {address}: it must be everything before /mistral, without /v1 at its end "
        "(the SDK adds /v1 by itself, and would double it).",
    )
