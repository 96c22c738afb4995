"""Batch jobs: their requests are served by the small Mistral, their results are files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing import limits
from mistral_cf_adapter.testing.mistral_errors import invalid, missing, not_found
from mistral_cf_adapter.testing.mistral_store import CREATED, Store, page_of, picked
from mistral_cf_adapter.testing.mistral_text import as_dict, as_list
from mistral_cf_adapter.testing.responses import Response, json_response, utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mistral_cf_adapter.testing.mistral_files import Files
    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Send = Callable[[ReceivedRequest], Response]

ROOT = "/v1/batch/jobs"
KEPT_FIELDS = frozenset({"endpoint", "model", "agent_id", "metadata"})


@dataclass(slots=True)
class Job:
    """One job: what the API says of it, and the requests that it stands for."""

    card: dict[str, Any]
    lines: list[Any]
    request: ReceivedRequest
    outputs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@dataclass(slots=True)
class Batches:
    """The batch jobs of one upstream.

    A job is `QUEUED` in the response that creates it and done in the next one that shows it, so
    that a loop that polls goes round once. One that is canceled before that is not run.
    """

    files: Files
    send: Send
    """Serve one request as if it had come alone."""
    kept: Store[Job] = field(default_factory=lambda: Store[Job](ROOT))

    def add_to(self, routes: Routes) -> None:
        """Serve what is under /v1/batch/jobs."""
        routes.add(f"POST {ROOT}", self.create, required=("endpoint",))
        routes.add(f"GET {ROOT}", self.list_all)
        routes.add(f"GET {ROOT}/{{}}", self.show)
        routes.add(f"DELETE {ROOT}/{{}}", self.delete)
        routes.add(f"POST {ROOT}/{{}}/cancel", self.cancel)

    def create(self, request: ReceivedRequest) -> Response:
        """Keep a job of the files or the requests that are given."""
        fields = request.fields
        names = [str(name) for name in as_list(fields.get("input_files"))]
        lines = as_list(fields.get("requests"))
        if not names and not lines:
            return missing("input_files")
        for name in names:
            file = self.files.kept.get(name)
            if file is None:
                return not_found(f"/v1/files/{name}")
            lines = [*lines, *file.content.splitlines()]
        if len(lines) > limits.MAX_INPUTS:
            return invalid("too_large", ["body", "input_files"], "LocalGateway's limit")
        card = _card(self.kept.new_id(), names, len(lines), fields)
        size = len(request.body) + sum(len(line) for line in lines if isinstance(line, bytes))
        self.kept.put(card["id"], Job(card, lines, request), size)
        return json_response(card)

    def list_all(self, request: ReceivedRequest) -> Response:
        """List the jobs, of the model or the statuses that are asked for."""
        params = request.params
        cards = [self._settled(job).card for job in self.kept]
        if "model" in params:
            cards = [card for card in cards if card["model"] == params["model"]]
        if "status" in params:
            cards = [card for card in cards if card["status"] in params["status"].split(",")]
        data = page_of(cards, params)
        return json_response({"object": "list", "data": data, "total": len(cards)})

    def show(self, request: ReceivedRequest, identity: str) -> Response | None:
        """Show a job, with its results if `inline` asks for them."""
        job = self.kept.get(identity)
        if job is None:
            return None
        card = self._settled(job).card
        if request.params.get("inline", "").lower() != "true":
            return json_response(card)
        return json_response({**card, "outputs": job.outputs})

    def cancel(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Cancel a job that has not been run."""
        job = self.kept.get(identity)
        if job is None:
            return None
        if job.card["status"] == "QUEUED":
            job.card["status"] = "CANCELLATION_REQUESTED"
        return json_response(job.card)

    def delete(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Forget a job; the files stay."""
        if self.kept.remove(identity) is None:
            return None
        return json_response({"id": identity, "object": "batch", "deleted": True})

    def _settled(self, job: Job) -> Job:
        """Run a job that waits, or end one that is to be canceled."""
        if job.card["status"] == "QUEUED":
            self._run(job)
        elif job.card["status"] == "CANCELLATION_REQUESTED":
            job.card["status"] = "CANCELLED"
        return job

    def _run(self, job: Job) -> None:
        done: list[bytes] = []
        failed: list[bytes] = []
        size = 0
        problem = None
        for number, line in enumerate(job.lines):
            result = self._result(job, number, line)
            if result is None:
                problem = f"line {number + 1} is not a JSON object with a body"
                break
            written = utf8(json.dumps(result, ensure_ascii=False)) + b"\n"
            size += len(written)
            if size > limits.MAX_KEPT_BYTES:
                problem = "the results are over LocalGateway's limit"
                break
            (done if result["response"]["status_code"] < 400 else failed).append(written)
            job.outputs.append(result)
        self.kept.put(job.card["id"], job, self.kept.size_of(job.card["id"]) + size)
        self._finish(job, done, failed, problem)

    def _finish(
        self, job: Job, done: list[bytes], failed: list[bytes], problem: str | None
    ) -> None:
        job.card |= {
            "status": "SUCCESS" if problem is None else "FAILED",
            "errors": [] if problem is None else [{"message": problem, "count": 1}],
            "completed_requests": len(done) + len(failed),
            "succeeded_requests": len(done),
            "failed_requests": len(failed),
            "started_at": CREATED,
            "completed_at": CREATED,
            "output_file": self._keep_file(job, "result", done),
            "error_file": self._keep_file(job, "error", failed),
        }

    def _keep_file(self, job: Job, kind: str, lines: list[bytes]) -> str | None:
        if not lines:
            return None
        name = f"{job.card['id']}_{kind}s.jsonl"
        more = {"source": "mistral", "sample_type": f"batch_{kind}"}
        card = self.files.add(name, b"".join(lines), "batch", mimetype="application/jsonl", **more)
        return str(card["id"])

    def _result(self, job: Job, number: int, line: Any) -> dict[str, Any] | None:
        """Return the line of the results for one line of the input; None for one that is bad."""
        try:
            entry = as_dict(json.loads(line) if isinstance(line, bytes) else line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(entry.get("body"), dict):
            return None
        response = self.send(_request(job, entry["body"]))
        content = response.known_body() or b""
        return {
            "id": f"batch-{job.card['id'][:8]}-{number}",
            "custom_id": entry.get("custom_id"),
            "response": {"status_code": response.status, "body": json.loads(content or b"null")},
            "error": None,
        }


def _request(job: Job, body: Mapping[str, Any]) -> ReceivedRequest:
    """Return the request that one line of a job stands for."""
    path = str(job.card["endpoint"])
    usual = {name: job.card[name] for name in ("model", "agent_id") if job.card[name] is not None}
    if job.card["agent_id"] is not None and path == "/v1/chat/completions":
        path = "/v1/agents/completions"
    content = utf8(json.dumps({**usual, **body, "stream": False}))
    return replace(job.request, path=path, raw_path=path, query="", body=content)


def _card(identity: str, names: list[str], count: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": identity,
        "object": "batch",
        "model": None,
        "agent_id": None,
        "metadata": None,
        **picked(fields, KEPT_FIELDS),
        "input_files": names,
        "output_file": None,
        "error_file": None,
        "errors": [],
        "status": "QUEUED",
        "created_at": CREATED,
        "total_requests": count,
        "completed_requests": 0,
        "succeeded_requests": 0,
        "failed_requests": 0,
        "started_at": None,
        "completed_at": None,
    }
