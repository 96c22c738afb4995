"""Which provider a request is for, who may ask, and with which provider key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.datastructures import Headers

from mistral_cf_adapter.testing import auto_router
from mistral_cf_adapter.testing.responses import Response, gateway_error, json_response, utf8

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_cf_adapter.testing.records import ReceivedRequest
    from mistral_cf_adapter.testing.state import State

PROVIDER = "mistral"
COMPAT = "compat"
UPSTREAM_HOST = "api.mistral.ai"
NOT_FORWARDED = frozenset(
    {"host", "connection", "keep-alive", "content-length", "transfer-encoding", "te", "upgrade"}
)


class Refused(Exception):  # noqa: N818  # a turn of events, not a failure
    """The gateway sends a response of its own."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes behind the gateway."""

    provider: str
    path: str
    """As in the URL behind the provider, percent-encoded, no leading slash."""
    model: str | None
    body: bytes
    dynamic: bool = False
    compat: bool = False
    routing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Response headers of the Auto Router, where it chose the model."""


def find_target(request: ReceivedRequest, state: State) -> Target:
    """Check path, gateway and token, in this order; raise Refused if one is wrong."""
    parts = request.raw_path.split("/", 5)
    known = (
        len(parts) >= 5
        and parts[1] == "v1"
        and parts[2] == state.account_id
        and gateway_of(request) in state.gateway_ids
    )
    if not known:
        raise Refused(gateway_error(2001))
    provider = parts[4]
    needs_token = state.authenticated and state.access is None  # which has let it through
    if needs_token and not _has_token(request, state, provider):
        raise Refused(gateway_error(2009))
    path = parts[5] if len(parts) > 5 else ""
    if provider == COMPAT:
        return _compat_target(request, path, state)
    if not _is_provider(provider, state):
        raise Refused(gateway_error(2008))
    model = request.fields.get("model")
    return Target(provider, path, model if isinstance(model, str) else None, request.body)


def gateway_of(request: ReceivedRequest) -> str:
    """Return the gateway that a request's path names; find_target has looked that it does."""
    return unquote(request.raw_path.split("/", 4)[3])


def upstream_request(request: ReceivedRequest, target: Target, state: State) -> ReceivedRequest:
    """Rewrite a request for the provider: no `cf-*` headers, its key, its path and body."""
    authorization = _provider_authorization(request, target, state)
    raw: list[tuple[bytes, bytes]] = [(b"host", UPSTREAM_HOST.encode())]
    for name, value in request.headers.raw:
        low = name.decode("latin-1").lower()
        if low in NOT_FORWARDED or low == "authorization" or low.startswith("cf-"):
            continue
        raw.append((name, value))
    if authorization is not None:
        raw.append((b"authorization", authorization.encode("latin-1")))
    if target.body or request.method in {"POST", "PUT", "PATCH"}:
        raw.append((b"content-length", str(len(target.body)).encode()))
    raw_path = "/" + target.path
    return replace(
        request,
        path=unquote(raw_path),
        raw_path=raw_path,
        headers=Headers(raw=raw),
        body=target.body,
    )


def without_stream(target: Target) -> Target:
    """Ask the provider for a whole response, as a gateway with guardrails must."""
    fields: dict[str, Any] = json.loads(target.body)
    fields["stream"] = False
    return replace(target, body=json.dumps(fields).encode())


def _has_token(request: ReceivedRequest, state: State, provider: str) -> bool:
    wanted = f"Bearer {state.token}"
    if request.headers.get("cf-aig-authorization") is not None:
        return request.headers["cf-aig-authorization"] == wanted
    return provider == COMPAT and request.headers.get("authorization") == wanted


def _is_provider(name: str, state: State) -> bool:
    return name == PROVIDER or name.removeprefix("custom-") in _custom_slugs(name, state)


def _custom_slugs(name: str, state: State) -> frozenset[str]:
    return frozenset(state.custom_providers) if name.startswith("custom-") else frozenset()


def _compat_target(request: ReceivedRequest, path: str, state: State) -> Target:
    if path != "chat/completions":
        raise Refused(gateway_error(2008))
    fields = request.fields
    model = fields.get("model")
    if not isinstance(model, str) or "/" not in model:
        raise Refused(gateway_error(2019))
    provider, _, name = model.partition("/")
    routing: Mapping[str, str] = {}
    if model == auto_router.MODEL:
        provider, name, routing = _choose_model(request)
    elif provider in _PREFIXES:
        provider, name = PROVIDER, _find_model(provider, name, state)
    elif not _is_provider(provider, state):
        raise Refused(gateway_error(2008))
    return Target(
        provider,
        "v1/chat/completions",
        name,
        utf8(json.dumps({**fields, "model": name}, ensure_ascii=False)),
        dynamic=model.startswith("dynamic/"),
        compat=True,
        routing=routing,
    )


def _choose_model(request: ReceivedRequest) -> tuple[str, str, Mapping[str, str]]:
    choice = auto_router.choose(request.headers)
    if isinstance(choice, Response):
        raise Refused(choice)
    return choice


_PREFIXES = {"dynamic": "route", "custom": "alias"}


def _find_model(prefix: str, name: str, state: State) -> str:
    """Return the model of a dynamic route or of an alias."""
    models = state.routes if prefix == "dynamic" else state.aliases
    if name not in models:
        known = ", ".join(sorted(models)) or "none"
        message = f"No {_PREFIXES[prefix]} '{name}'; configured: {known}"
        raise Refused(gateway_error(2005, message=message))
    return models[name].removeprefix(f"{PROVIDER}/")


def _provider_authorization(request: ReceivedRequest, target: Target, state: State) -> str | None:
    authorization = request.headers.get("authorization")
    if target.compat and authorization == f"Bearer {state.token}":
        authorization = None
    if target.routing:
        return _auto_router_authorization(request, authorization, state)
    if authorization is not None:
        return authorization
    if state.stored_keys and target.provider == PROVIDER:
        return f"Bearer {_stored_key(request, state)}"
    _check_credits(request)
    return None


def _auto_router_authorization(
    request: ReceivedRequest, authorization: str | None, state: State
) -> str:
    """Return the key of what stands in for the provider that the Auto Router chose.

    Cloudflare pays where the request brings none; one that it brings goes on, and a key of
    Mistral's is wrong there.
    """
    if authorization is None:
        _check_credits(request)
    elif authorization == f"Bearer {state.mistral_api_key}":
        error = {"message": "Incorrect API key provided", "code": "invalid_api_key"}
        raise Refused(json_response({"error": error}, 401))
    return f"Bearer {state.mistral_api_key}"


def _check_credits(request: ReceivedRequest) -> None:
    if request.headers.get("cf-aig-no-wholesale", "").lower() == "true":
        raise Refused(gateway_error(None, message="No provider credentials for this request"))


def _stored_key(request: ReceivedRequest, state: State) -> str:
    alias = request.headers.get("cf-aig-byok-alias", "default")
    key = state.stored_keys.get(alias)
    if key is None:
        known = ", ".join(sorted(state.stored_keys))
        message = f"No BYOK credential with alias '{alias}'; configured aliases: {known}"
        raise Refused(gateway_error(2040, message=message))
    return key
