"""The Auto Router: which model gets a request for `cloudflare/auto`.

Documented by Cloudflare (features/auto-router): the models, the request and response headers, the
routing reasons, `*` that does not match `/`, and 400 for an entry that matches no model. Assumed:
the body of that 400, and that an unknown provider, or a model and a provider that exclude each
other, is one too. The choice is Cloudflare's own; here it is the first of the models that are
left, so that a session keeps its model without `pinned_by_turn`.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from mistral_cf_adapter.testing.responses import gateway_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.datastructures import Headers

    from mistral_cf_adapter.testing.responses import Response

MODEL = "cloudflare/auto"

DEFAULT_MODELS: Mapping[str, str] = {
    "anthropic/claude-fable-5": "anthropic",
    "anthropic/claude-opus-5": "anthropic",
    "anthropic/claude-sonnet-5": "anthropic",
    "openai/gpt-5.6-luna": "openai",
    "openai/gpt-5.6-sol": "openai",
    "openai/gpt-5.6-terra": "openai",
    "xai/grok-4.5": "xai",
}
"""Model -> provider, where a request has no list. None is Mistral's."""

ADDITIONAL_MODELS: Mapping[str, str] = {
    "@cf/deepseek-ai/deepseek-v4-flash-0731": "workers-ai",
    "@cf/deepseek-ai/deepseek-v4-pro-0813": "workers-ai",
    "@cf/google/gemma-4-26b-a4b-it": "workers-ai",
    "@cf/moonshotai/kimi-k2.7-code": "workers-ai",
    "@cf/openai/gpt-oss-20b": "workers-ai",
    "@cf/qwen/qwen3.8-27b": "workers-ai",
    "@cf/zai-org/glm-5.2": "workers-ai",
    "alibaba/qwen3.8-max": "alibaba",
    "anthropic/claude-fable-5.1": "anthropic",
    "anthropic/claude-opus-4.8": "anthropic",
    "anthropic/claude-opus-5.5": "anthropic",
    "anthropic/claude-sonnet-4.6": "anthropic",
    "fireworks/glm-5.3": "fireworks",
    "fireworks/glm-5.3-flash": "fireworks",
    "minimax/m3": "minimax",
    "openai/gpt-5.5": "openai",
    "openai/gpt-6-astra": "openai",
    "openai/gpt-6-luna": "openai",
    "openai/gpt-6-sol": "openai",
    "xai/grok-4.6": "xai",
}
"""Model -> provider, for requests whose lists match them."""

_MODELS = {**DEFAULT_MODELS, **ADDITIONAL_MODELS}


def choose(headers: Headers) -> tuple[str, str, dict[str, str]] | Response:
    """Return provider, model and response headers for a request, or the gateway's refusal."""
    models = _entries(headers, "cf-aig-allowed-models")
    providers = _entries(headers, "cf-aig-allowed-providers")
    for entry in models:
        if not any(_matches(entry, model) for model in _MODELS):
            return _refusal(f"allowed model '{entry}' matches no model")
    for entry in providers:
        if entry not in _MODELS.values():
            return _refusal(f"allowed provider '{entry}' matches no model")
    pool = [
        model
        for model, provider in (_MODELS if models or providers else DEFAULT_MODELS).items()
        if (not models or any(_matches(entry, model) for entry in models))
        and (not providers or provider in providers)
    ]
    if not pool:
        return _refusal("no model is in both lists")
    reason = "forced_by_candidate_pool" if len(pool) == 1 else "cost_optimal_within_pool"
    return (
        _MODELS[pool[0]],
        pool[0],
        {
            "cf-aig-routed-model": pool[0],
            "cf-aig-routing-reason": reason,
            "cf-aig-routing-decision-id": str(uuid.uuid4()),
        },
    )


def _entries(headers: Headers, name: str) -> Sequence[str]:
    text = headers.get(name)
    return [] if text is None else [entry.strip() for entry in text.split(",")]


def _matches(entry: str, model: str) -> bool:
    if "*" not in entry:
        return entry == model
    first, *middle, last = map(re.escape, entry.split("*"))
    # Each part is looked for once, from the left: without `(?>)` many stars would take hours.
    parts = "".join(f"(?>[^/]*?{part})" for part in middle)
    return re.fullmatch(f"{first}{parts}[^/]*{last}", model) is not None


def _refusal(message: str) -> Response:
    return gateway_error(None, message=f"Auto Router: {message}")
