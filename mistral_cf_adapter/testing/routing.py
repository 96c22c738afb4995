"""Which provider a request is for, who may ask, and with which provider key."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.datastructures import Headers

from mistral_cf_adapter.testing.responses import Response, gateway_error, utf8

if TYPE_CHECKING:
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
    dynamic = provider == "dynamic"
    if dynamic:
        provider, name = PROVIDER, _route(name, state)
    elif not _is_provider(provider, state):
        raise Refused(gateway_error(2008))
    body = utf8(json.dumps({**fields, "model": name}, ensure_ascii=False))
    return Target(provider, "v1/chat/completions", name, body, dynamic=dynamic, compat=True)


def _route(name: str, state: State) -> str:
    if name not in state.routes:
        known = ", ".join(sorted(state.routes)) or "none"
        raise Refused(gateway_error(2005, message=f"No route '{name}'; configured: {known}"))
    return state.routes[name].removeprefix(f"{PROVIDER}/")


def _provider_authorization(request: ReceivedRequest, target: Target, state: State) -> str | None:
    authorization = request.headers.get("authorization")
    if target.compat and authorization == f"Bearer {state.token}":
        authorization = None
    if authorization is not None:
        return authorization
    if state.stored_keys and target.provider == PROVIDER:
        return f"Bearer {_stored_key(request, state)}"
    if request.headers.get("cf-aig-no-wholesale", "").lower() == "true":
        raise Refused(gateway_error(None, message="No provider credentials for this request"))
    return None


def _stored_key(request: ReceivedRequest, state: State) -> str:
    alias = request.headers.get("cf-aig-byok-alias", "default")
    key = state.stored_keys.get(alias)
    if key is None:
        known = ", ".join(sorted(state.stored_keys))
        message = f"No BYOK credential with alias '{alias}'; configured aliases: {known}"
        raise Refused(gateway_error(2040, message=message))
    return key
