"""Models: those that are always there, and those that fine-tuning jobs made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_store import CREATED, OWNER, Store, picked
from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

MODELS = (
    "mistral-small-latest",
    "mistral-medium-latest",
    "mistral-large-latest",
    "ministral-8b-latest",
    "codestral-latest",
    "mistral-embed",
    "mistral-ocr-latest",
    "mistral-moderation-latest",
    "voxtral-mini-latest",
)
ROOT = "/v1/models"
TUNED = "/v1/fine_tuning/models"
CHANGES = frozenset({"name", "description"})


@dataclass(slots=True)
class Models:
    """The models of one upstream."""

    tuned: Store[dict[str, Any]] = field(default_factory=lambda: Store[dict[str, Any]](TUNED))

    def add_to(self, routes: Routes) -> None:
        """Serve what is under /v1/models and /v1/fine_tuning/models."""
        routes.add(f"GET {ROOT}", self.list_all)
        routes.add(f"GET {ROOT}/{{}}", self.show)
        routes.add(f"DELETE {ROOT}/{{}}", self.delete)
        routes.add(f"PATCH {TUNED}/{{}}", self.update)
        routes.add(f"POST {TUNED}/{{}}/archive", self.archive)
        routes.add(f"DELETE {TUNED}/{{}}/archive", self.unarchive)

    def add_tuned(self, name: str, root: str, job: str) -> None:
        """Keep the model that a fine-tuning job has made."""
        card = {**_card(root), "id": name, "name": name, "type": "fine-tuned"}
        self.tuned.put(name, {**card, "job": job, "root": root, "archived": False})

    def list_all(self, _: ReceivedRequest) -> Response:
        """List the models."""
        data = [*map(_card, MODELS), *self.tuned]
        return json_response({"object": "list", "data": data})

    def show(self, _: ReceivedRequest, name: str) -> Response | None:
        """Show one model."""
        card = _card(name) if name in MODELS else self.tuned.get(name)
        return None if card is None else json_response(card)

    def delete(self, _: ReceivedRequest, name: str) -> Response | None:
        """Forget a model that was fine-tuned."""
        if self.tuned.remove(name) is None:
            return None
        return json_response({"id": name, "object": "model", "deleted": True})

    def update(self, request: ReceivedRequest, name: str) -> Response | None:
        """Change the name or description of a model that was fine-tuned."""
        card = self.tuned.get(name)
        if card is None:
            return None
        card |= picked(request.fields, CHANGES)
        return json_response(_detailed(card))

    def archive(self, _: ReceivedRequest, name: str) -> Response | None:
        """Archive a model that was fine-tuned."""
        return self._set_archived(name, archived=True)

    def unarchive(self, _: ReceivedRequest, name: str) -> Response | None:
        """Make a model that was archived usable."""
        return self._set_archived(name, archived=False)

    def _set_archived(self, name: str, *, archived: bool) -> Response | None:
        card = self.tuned.get(name)
        if card is None:
            return None
        card["archived"] = archived
        return json_response({"id": name, "object": "model", "archived": archived})


def _detailed(card: dict[str, Any]) -> dict[str, Any]:
    """Return a fine-tuned model as the fine-tuning paths show it."""
    shown = {name: value for name, value in card.items() if name != "type"}
    return {**shown, "workspace_id": OWNER, "root_version": "1", "model_type": "completion"}


def _card(name: str) -> dict[str, Any]:
    chats = name.endswith("-latest") and name.startswith(("mistral-", "ministral", "codestral"))
    return {
        "id": name,
        "object": "model",
        "created": CREATED,
        "owned_by": "mistralai",
        "type": "base",
        "name": name,
        "description": "A local stand-in",
        "max_context_length": 131072,
        "aliases": [],
        "capabilities": {
            "completion_chat": chats,
            "completion_fim": name.startswith("codestral"),
            "function_calling": chats,
            "fine_tuning": False,
            "vision": False,
            "classification": False,
        },
    }
