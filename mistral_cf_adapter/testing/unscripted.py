"""Strict: refuse what a test has not scripted.

Refused is what the provider would have to answer by itself: chat, agents, fill-in-the-middle,
conversations, embeddings, OCR, moderation, classification, audio, and each path that is not
imitated. Served as ever is what is only kept and listed: models, files, batch and fine-tuning jobs,
agents, libraries, voices, connectors, prompts, skills and the conversations so far, whose content
is the test's own.

Refused too is a model that is not known, even where a response is scripted: a misspelt name is the
most usual mistake that a test against an imitation does not find. Known are those that the embedded
Mistral lists (`GET /v1/models`), those of routes and aliases, those of `LocalGateway(models=...)`,
and one that a scripted response waits for by its name. Custom providers and the Auto Router may
have any.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from mistral_cf_adapter.testing.limits import BoundedList
from mistral_cf_adapter.testing.records import ReceivedRequest
from mistral_cf_adapter.testing.responses import gateway_error
from mistral_cf_adapter.testing.routing import Refused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from mistral_cf_adapter.testing.matching import Arrival
    from mistral_cf_adapter.testing.mistral import Mistral
    from mistral_cf_adapter.testing.script import Scripted

_MAX_REASONS = 5
_MAX_MODEL = 100
_MAX_TEXT = 4000
_KEPT = re.compile(
    r"/(v1/(?:models|files|batch|fine_tuning|libraries|agents(?!/completions)|audio/voices"
    r"|connectors|users)|v2/(?:prompts|skills))(/|$)|/v1/conversations"
)


class Strict:
    """What a strict gateway refuses, and has refused."""

    def __init__(self, mistral: Mistral, key: str, models: Iterable[str]) -> None:
        """Take the embedded Mistral, a key that it accepts, and models besides those it lists."""
        self._mistral = mistral
        self._key = key
        self._models = frozenset(models)
        self.refused: list[str] = BoundedList(len)
        """What was refused, in words."""

    async def check_model(self, arrival: Arrival, left: Collection[Scripted]) -> None:
        """Raise Refused if the model is not known.

        Args:
            arrival: the request.
            left: the scripted responses that are left, which may wait for a model by name.
        """
        model = arrival.models[-1] if arrival.models else None
        waited_for = {entry.condition.model for entry in left}
        if model is None or not waited_for.isdisjoint(arrival.models):
            return
        known = {*self._models, *await self._listed_models()}
        if model in known:
            return
        from mistral_cf_adapter._validation import did_you_mean

        hint = did_you_mean(model, known) or "."
        text = (
            f"{_name(arrival)}: the model {model[:_MAX_MODEL]!r} is not known{hint} If it is "
            "right, name it: LocalGateway(models=[...]) or @pytest.mark.cf_gateway(models=[...])"
        )
        raise self._refusal(text)

    def check_scripted(self, arrival: Arrival, left: Collection[Scripted]) -> None:
        """Raise Refused if the provider would have to answer by itself."""
        if not _needs_script(arrival):
            return
        text = (
            f"{_name(arrival)}: nothing is scripted for it, and this LocalGateway is strict. "
            "Script it before the call, as with gateway.reply('...') or gateway.reply_json({...})"
        )
        for entry in list(left)[:_MAX_REASONS]:
            reasons = "; ".join(entry.condition.differences(arrival))
            text += f". {entry.label} does not fit: {reasons or 'its function did not accept it'}"
        raise self._refusal(text)

    def _refusal(self, text: str) -> Refused:
        text = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
        self.refused.append(text)
        return Refused(gateway_error(None, message=text))

    async def _listed_models(self) -> set[str]:
        """Return the models that the embedded Mistral lists."""
        headers = Headers(raw=[(b"authorization", f"Bearer {self._key}".encode())])
        path = "/v1/models"
        response = await self._mistral.respond(ReceivedRequest("GET", path, path, "", headers, b""))
        cards: list[dict[str, Any]] = json.loads(response.known_body() or b"{}")["data"]
        return {card["id"] for card in cards}


def _needs_script(arrival: Arrival) -> bool:
    found = _KEPT.match(arrival.provider_path)
    if found is None:
        return True
    return found[1] is None and arrival.outgoing.method == "POST"  # a conversation goes on


def _name(arrival: Arrival) -> str:
    return f"{arrival.outgoing.method} {arrival.provider_path}"
