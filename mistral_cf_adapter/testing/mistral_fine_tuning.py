"""Fine-tuning jobs, which make a model as soon as they are asked how they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_store import CREATED, Store, page_of
from mistral_cf_adapter.testing.mistral_text import as_dict, as_list
from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from mistral_cf_adapter.testing.mistral_models import Models
    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Card = dict[str, Any]

ROOT = "/v1/fine_tuning/jobs"
ESTIMATE: Card = {
    "expected_duration_seconds": 60,
    "cost": 0.0,
    "cost_currency": "EUR",
    "train_tokens_per_step": 1024,
    "train_tokens": 1024,
    "data_tokens": 1024,
    "estimated_start_time": None,
}


@dataclass(slots=True)
class FineTuning:
    """The fine-tuning jobs of one upstream.

    A job is `QUEUED`, or `VALIDATED` without `auto_start`; the next request that shows it after it
    has started finds it done, and its model in the list.
    """

    models: Models
    kept: Store[Card] = field(default_factory=lambda: Store[dict[str, Any]](ROOT))

    def add_to(self, routes: Routes) -> None:
        """Serve what is under /v1/fine_tuning/jobs."""
        routes.add(f"POST {ROOT}", self.create, required=("model",))
        routes.add(f"GET {ROOT}", self.list_all)
        routes.add(f"GET {ROOT}/{{}}", self.show)
        routes.add(f"POST {ROOT}/{{}}/cancel", self.cancel)
        routes.add(f"POST {ROOT}/{{}}/start", self.start)

    def create(self, request: ReceivedRequest) -> Response:
        """Keep a job, or say what it would cost if `dry_run` asks for that."""
        if request.params.get("dry_run", "").lower() == "true":
            return json_response({**ESTIMATE, "object": "job.metadata", "deprecated": True})
        card = _card(self.kept.new_id(), request.fields)
        self.kept.put(card["id"], card, len(request.body))
        return json_response(card)

    def list_all(self, request: ReceivedRequest) -> Response:
        """List the jobs."""
        cards = [self._settled(card) for card in self.kept]
        data = page_of(cards, request.params)
        return json_response({"object": "list", "data": data, "total": len(cards)})

    def show(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Show one job, done by now if it was started."""
        card = self.kept.get(identity)
        return None if card is None else _detailed(self._settled(card))

    def cancel(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Cancel a job that is not done."""
        return self._move(identity, {"QUEUED": "CANCELLED", "VALIDATED": "CANCELLED"})

    def start(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Start a job that waits for that."""
        return self._move(identity, {"VALIDATED": "QUEUED"})

    def _move(self, identity: str, statuses: dict[str, str]) -> Response | None:
        card = self.kept.get(identity)
        if card is None:
            return None
        card["status"] = statuses.get(card["status"], card["status"])
        return _detailed(card)

    def _settled(self, card: Card) -> Card:
        if card["status"] == "QUEUED":
            middle = f":{card['suffix']}" if card["suffix"] else ""
            name = f"ft:{card['model']}:local{middle}:{card['id'][:8]}"
            card |= {"status": "SUCCESS", "fine_tuned_model": name, "trained_tokens": 1024}
            self.models.add_tuned(name, card["model"], card["id"])
        return card


def _detailed(card: Card) -> Response:
    return json_response({**card, "events": [], "checkpoints": []})


def _card(identity: str, fields: Card) -> Card:
    kind = fields.get("job_type") or "completion"
    auto_start = fields.get("auto_start") is not False
    files = [str(as_dict(file).get("file_id")) for file in as_list(fields.get("training_files"))]
    card: Card = {
        "id": identity,
        "object": "job",
        "auto_start": auto_start,
        "model": str(fields["model"]),
        "status": "QUEUED" if auto_start else "VALIDATED",
        "created_at": CREATED,
        "modified_at": CREATED,
        "training_files": files,
        "validation_files": fields.get("validation_files"),
        "fine_tuned_model": None,
        "suffix": fields.get("suffix"),
        "integrations": [_without_key(item) for item in as_list(fields.get("integrations"))],
        "trained_tokens": None,
        "metadata": ESTIMATE,
        "job_type": kind,
        "hyperparameters": as_dict(fields.get("hyperparameters")),
    }
    return {**card, "repositories": []} if kind == "completion" else card


def _without_key(integration: Any) -> Card:
    """Return an integration without the secret that only the request has."""
    fields = as_dict(integration)
    return {name: value for name, value in fields.items() if name != "api_key"}
