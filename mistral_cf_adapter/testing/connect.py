"""How an application gets to a local gateway: settings, and environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_cf_adapter._settings import GatewaySettings
    from mistral_cf_adapter.testing.state import State


_TEST_SECRETS = frozenset({"cf-test-token", "mistral-test-key", "access-test-secret"})
HIDDEN = "***"


def show_variable(name: str, value: str) -> str:
    """Return the value of an environment variable as people may see it.

    A secret that is not one of the usual test values may be real, and is hidden.
    """
    is_address = name.endswith(("_URL", "_ID"))
    return value if is_address or value in _TEST_SECRETS else HIDDEN


def make_settings(url: str, state: State, overrides: Mapping[str, Any]) -> GatewaySettings:
    """Return settings for a gateway, with changes of the caller's."""
    from mistral_cf_adapter._settings import GatewaySettings

    values: dict[str, Any] = {"enabled": True, "base_url": url, **_credentials(state)}
    if overrides.get("access_token"):
        values |= {"access_client_id": None, "access_client_secret": None}
    if not (overrides.get("byok") or overrides.get("byok_alias")):
        values["mistral_api_key"] = state.mistral_api_key
    return GatewaySettings(**{**values, **overrides})


def adopt_settings(url: str, state: State, settings: GatewaySettings) -> GatewaySettings:
    """Return a copy of an application's settings that points at a gateway."""
    here: dict[str, Any] = {"enabled": True, "fallback": "none"}
    if settings.root_url != url:
        here |= {"base_url": url, **_credentials(state)}
        if not settings.stored_key:
            here["mistral_api_key"] = state.mistral_api_key
    return settings.model_copy(update=here)


def make_environment(url: str, state: State) -> dict[str, str]:
    """Return the environment variables that point an application at a gateway."""
    credentials = {
        f"CF_AIG_{name.upper()}": value for name, value in _credentials(state).items() if value
    }
    return {"CF_AIG_BASE_URL": url, **credentials, "MISTRAL_API_KEY": state.mistral_api_key}


def _credentials(state: State) -> dict[str, str | None]:
    """Return the settings that let a request in: the token, or what Access accepts."""
    access = state.access
    return {
        "token": state.token if access is None else None,
        "access_client_id": None if access is None else access.client_id,
        "access_client_secret": None if access is None else access.client_secret,
        "access_token": None,
    }
