"""Every operation of Mistral's OpenAPI documents is sent to a local gateway, over a socket."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import openapi
import pytest
from openapi import EVENTS, FORM, JSON, Operation

from mistral_cf_adapter.testing import LocalGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

NONSENSE = (None, 5, "x", [], [1], [["x"]], {"type": 1, "name": 2, "function": {"name": 3}})
HELLO = [{"role": "user", "content": "Hello"}]

# Fields in place of what the document allows, where that means nothing.
FIELDS: dict[str, Any] = {
    "POST /v1/batch/jobs": {
        "input_files": [],
        "requests": [{"custom_id": "1", "body": {"model": "m", "messages": HELLO}}],
    },
    "POST /v1/conversations": {"model": "m"},
    "POST /v1/conversations#stream": {"model": "m"},
}

# Values of a query in place of the first that the document allows.
QUERIES: dict[str, Any] = {"version": 0}

# What must have been done to a thing before.
CREDENTIALS = "/v1/connectors/{connector_id_or_name}/%s/credentials"
BEFORE = {
    **{
        f"DELETE {CREDENTIALS % scope}/{{credentials_name}}": f"POST {CREDENTIALS % scope}"
        for scope in ("organization", "workspace", "user")
    },
    "DELETE /v1/agents/{agent_id}/aliases": "PUT /v1/agents/{agent_id}/aliases",
    "DELETE /v1/libraries/{library_id}/share": "PUT /v1/libraries/{library_id}/share",
}

# The request that makes what an id in a path stands for: the start of the paths, the name of the
# id, the operation, and the field of its response.
MADE = (
    ("/v1/agents/", "agent_id", "POST /v1/agents", "id"),
    ("/v1/audio/voices/", "voice_id", "POST /v1/audio/voices", "id"),
    ("/v1/batch/jobs/", "job_id", "POST /v1/batch/jobs", "id"),
    ("/v1/connectors/", "connector_id", "POST /v1/connectors", "id"),
    ("/v1/connectors/", "connector_id_or_name", "POST /v1/connectors", "name"),
    ("/v1/conversations/", "conversation_id", "POST /v1/conversations", "conversation_id"),
    ("/v1/files/", "file_id", "POST /v1/files", "id"),
    ("/v1/fine_tuning/jobs/", "job_id", "POST /v1/fine_tuning/jobs", "id"),
    ("/v1/libraries/", "library_id", "POST /v1/libraries", "id"),
    ("/v1/libraries/", "document_id", "POST /v1/libraries/{library_id}/documents", "id"),
    ("/v2/prompts/", "prompt_id", "POST /v2/prompts", "id"),
    ("/v2/skills/", "skill_id", "POST /v2/skills", "id"),
)


class Walk:
    """Sends operations to one gateway, and makes beforehand what their paths name.

    What is sent has the fields that the document requires, or all fields, if it is to be whole.
    """

    def __init__(self, http: httpx.Client, *, whole: bool) -> None:
        self.http = http
        self.whole = whole
        self.operations = {str(operation): operation for operation in openapi.operations()}

    def outcome(self, operation: Operation) -> str:
        """Return "valid", "absent", or what is wrong with a response to the operation."""
        for kind in operation.content_types():
            response = self.send(operation, self.ids(operation), streams=kind == EVENTS)
            if response.status_code == 501 and response.json()["type"] == "not_imitated":
                return "absent"
            received = response.headers.get("content-type", "")
            problem = operation.problem(response.status_code, received, response.content)
            if problem is None and kind != received.partition(";")[0]:
                problem = f"content type {received!r} in place of {kind!r}"
            if problem is not None:
                return problem
        return "valid"

    def ids(self, operation: Operation) -> dict[str, str]:
        """Return a value for each id in a path: of a thing that was made for it, if it can be."""
        found: dict[str, str] = {}
        for name in operation.path_names:
            found[name] = self.id(operation, name, found)
        return found

    def id(self, operation: Operation, name: str, found: dict[str, str]) -> str:
        for start, wanted, maker, field in MADE:
            if wanted == name and operation.path.startswith(start):
                return self.send(self.operations[maker], found).json().get(field, openapi.UUID)
        if name == "credentials_name":
            return self.operations[f"POST {CREDENTIALS % 'user'}"].request_body()["name"]
        if name == "model_id":
            return self.tuned_model()
        first = "0" if operation.path.startswith("/v1/agents/") else "1"
        return first if name == "version" else openapi.UUID

    def tuned_model(self) -> str:
        job = self.send(self.operations["POST /v1/fine_tuning/jobs"], {}).json()["id"]
        shown = self.operations["GET /v1/fine_tuning/jobs/{job_id}"]
        return self.send(shown, {"job_id": job}).json()["fine_tuned_model"]

    def fields(self, operation: Operation, ids: dict[str, str]) -> dict[str, Any]:
        """Return fields in place of what the document allows."""
        if operation.path == "/v1/ocr":
            uploaded = self.send(self.operations["POST /v1/files"], {}).json()["id"]
            return {"model": "m", "document": {"type": "file", "file_id": uploaded}}
        if operation.path == "/v1/conversations/{conversation_id}/restart":
            history = self.operations["GET /v1/conversations/{conversation_id}/history"]
            return {"from_entry_id": self.send(history, ids).json()["entries"][0]["id"]}
        return FIELDS.get(str(operation), {})

    def bodies(self, operation: Operation) -> Iterator[dict[str, Any]]:
        """Yield bodies in each of which one field has a value that makes no sense."""
        usual = operation.request_body(whole=True)
        if isinstance(usual, dict) and operation.request_type() == JSON:
            usual |= self.fields(operation, dict.fromkeys(operation.path_names, ""))
            for name in usual:
                yield from ({**usual, name: value} for value in NONSENSE)

    def send(
        self, operation: Operation, ids: dict[str, str], *, streams: bool = False
    ) -> httpx.Response:
        before = BEFORE.get(str(operation))
        if before is not None:
            self.send(self.operations[before], ids)
        body = operation.request_body(whole=self.whole)
        if isinstance(body, dict):
            body |= self.fields(operation, ids)
            if "stream" in body or EVENTS in operation.content_types():
                body["stream"] = streams
        sent: dict[str, Any] = {"params": {**operation.query(), **picked(QUERIES, operation)}}
        if operation.request_type() == FORM:
            sent["files"] = {"file": ("a.jsonl", b"{}\n")}
            sent["data"] = {name: str(value) for name, value in body.items() if name != "file"}
        elif body is not None:
            sent["json"] = body
        return self.http.request(operation.method, operation.path.format_map(ids), **sent)


def client_of(gateway: LocalGateway) -> httpx.Client:
    return httpx.Client(
        base_url=gateway.url + "/mistral",
        headers={
            "cf-aig-authorization": f"Bearer {gateway.token}",
            "authorization": f"Bearer {gateway.mistral_api_key}",
        },
        trust_env=False,
    )


def picked(values: dict[str, Any], operation: Operation) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in operation.query()}


# Areas that are not imitated: administration, monitoring and the running of workflows.
ABSENT = (
    "/v1/admin/",
    "/v1/observability/",
    "/v1/rag/",
    "/v1/workflows",
)


@pytest.mark.parametrize("whole", [False, True], ids=["required", "whole"])
def test_every_operation_but_those_of_a_few_areas_is_answered_as_the_document_says(capsys, whole):
    with LocalGateway() as gateway, client_of(gateway) as http:
        walk = Walk(http, whole=whole)
        outcomes = {name: walk.outcome(each) for name, each in walk.operations.items()}
    counts = Counter(
        what if what in {"valid", "absent"} else "invalid" for what in outcomes.values()
    )
    with capsys.disabled():
        numbers = ", ".join(f"{counts[name]} {name}" for name in ("valid", "invalid", "absent"))
        print(f"\nOf {len(outcomes)} operations of Mistral's: {numbers}")
    expected = {
        name: "absent" if each.path.startswith(ABSENT) else "valid"
        for name, each in walk.operations.items()
    }
    wrong = {name: outcome for name, outcome in outcomes.items() if outcome != expected[name]}
    assert wrong == {}


def test_no_value_of_a_field_makes_the_gateway_fail():
    with LocalGateway() as gateway, client_of(gateway) as http:
        walk = Walk(http, whole=False)
        for operation in walk.operations.values():
            if operation.path.startswith(ABSENT) or operation.path.endswith("/restart"):
                continue
            path = operation.path.format_map(walk.ids(operation))
            for body in walk.bodies(operation):
                answer = http.request(operation.method, path, json=body, params=QUERIES)
                assert answer.status_code < 500, (operation, body)
                answer = http.get(path)
                assert answer.status_code in {200, 404, 501}, (operation, body)
