"""A small Mistral that answers the same question with the same words.

It imitates what applications call: chat, fim, agents, responses, embeddings, moderations,
classifications, OCR, models, files, batch jobs, fine-tuning jobs, libraries, conversations, audio,
connectors, prompts, skills and the user. What is made can be listed, shown, changed and deleted,
until the gateway ends; `mistral_store` says how much is kept. Tests validate it against Mistral's
OpenAPI document. Administration, monitoring, workflows and search indexes are not imitated: 501.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from mistral_cf_adapter.testing import (
    limits,
    mistral_chat,
    mistral_media,
    mistral_responses,
    mistral_users,
)
from mistral_cf_adapter.testing.mistral_agents import Agents
from mistral_cf_adapter.testing.mistral_audio import Audio
from mistral_cf_adapter.testing.mistral_batch import Batches
from mistral_cf_adapter.testing.mistral_connectors import Connectors
from mistral_cf_adapter.testing.mistral_conversations import ROOT as CONVERSATIONS
from mistral_cf_adapter.testing.mistral_conversations import Conversations
from mistral_cf_adapter.testing.mistral_errors import (
    invalid,
    missing,
    not_found,
    not_imitated,
    unauthorized,
)
from mistral_cf_adapter.testing.mistral_files import Files
from mistral_cf_adapter.testing.mistral_fine_tuning import FineTuning
from mistral_cf_adapter.testing.mistral_libraries import Libraries
from mistral_cf_adapter.testing.mistral_models import Models
from mistral_cf_adapter.testing.mistral_registry import Registry
from mistral_cf_adapter.testing.mistral_routes import Routes
from mistral_cf_adapter.testing.mistral_text import as_count, as_dict, as_list

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from mistral_cf_adapter.testing.mistral_routes import Found
    from mistral_cf_adapter.testing.records import ReceivedRequest
    from mistral_cf_adapter.testing.responses import Response
    from mistral_cf_adapter.testing.state import State

REQUIRED = {
    "/v1/chat/completions": ("model", "messages"),
    "/v1/agents/completions": ("agent_id", "messages"),
    "/v1/fim/completions": ("model", "prompt"),
}
JUDGES = {
    "/v1/moderations": mistral_media.moderation,
    "/v1/chat/moderations": mistral_media.moderation,
    "/v1/classifications": mistral_media.classification,
    "/v1/chat/classifications": mistral_media.classification,
}
# OpenAI's names for what Mistral calls otherwise or lacks; it refuses them.
FOREIGN_FIELDS = ("max_completion_tokens", "store", "logit_bias")


def is_text_path(request: ReceivedRequest) -> bool:
    """Return whether the response to this request is a text the model writes."""
    if request.method != "POST":
        return False
    if request.path in mistral_chat.PATHS or request.path == mistral_responses.PATH:
        return True
    return request.path.startswith(CONVERSATIONS)


class Mistral:
    """The upstream embedded in a local gateway."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.clear()

    def clear(self) -> None:
        """Forget what was made: files, conversations, agents, libraries, jobs and the rest."""
        routes, signed = Routes(), Routes()
        files, conversations = Files(lambda: self._state.origin), Conversations()
        models, libraries = Models(), Libraries(lambda: self._state.origin)
        parts = (
            *(files, conversations, models, FineTuning(models), Agents(), Audio()),
            *(Batches(files, self._send), libraries, Connectors()),
            *(Registry("/v2/prompts", frozenset({"title", "description"})), Registry("/v2/skills")),
        )
        for part in parts:
            part.add_to(routes)
        for part in (files, libraries):
            part.add_signed_to(signed)
        mistral_responses.add_to(routes)
        mistral_users.add_to(routes)
        self._add_completions(routes)
        # Last, and whole: a request may be served meanwhile, by another thread.
        self.files, self.conversations = files, conversations
        self._routes, self._signed = routes, signed

    async def respond(self, request: ReceivedRequest) -> Response:
        """Return Mistral's response to a request."""
        if not self._knows(request.headers.get("authorization")):
            return unauthorized()
        found = self._routes.find(request)
        if found is None or not found.route.reads_form:
            return self._serve(request, found, None)
        async with form_of(request) as form:
            return self._serve(request, found, form)

    def download(self, request: ReceivedRequest) -> Response | None:
        """Return what a signed URL leads to, for which no key is needed; None if it is none."""
        found = self._signed.find(request)
        return None if found is None else found.call(request, None)

    def say(self, request: ReceivedRequest, turn: mistral_chat.Turn) -> Response:
        """Return the response to a text request, with words a test has chosen."""
        if request.path.startswith(CONVERSATIONS):
            return self.conversations.say(request, turn) or not_found(request.path)
        if request.path == mistral_responses.PATH:
            return mistral_responses.respond(request, turn)
        return mistral_chat.respond(request, turn)

    def _send(self, request: ReceivedRequest) -> Response:
        """Serve a request that a batch job holds; what is a form elsewhere is JSON there."""
        return self._serve(request, self._routes.find(request), request.fields)

    def _serve(
        self, request: ReceivedRequest, found: Found | None, form: Mapping[str, Any] | None
    ) -> Response:
        if found is None:
            return not_imitated(request)
        problem = _problem(request, found.route.required)
        if problem is not None:
            return problem
        return found.call(request, form) or not_found(request.path)

    def _add_completions(self, routes: Routes) -> None:
        """Serve what keeps nothing."""
        for path, required in REQUIRED.items():
            routes.add(f"POST {path}", mistral_chat.respond, required=required)
        for path, judge in JUDGES.items():
            routes.add(f"POST {path}", judge, required=("model", "input"))
        routes.add("POST /v1/embeddings", mistral_media.embeddings, required=("model", "input"))
        routes.add("POST /v1/ocr", self._ocr, required=("model", "document"))

    def _knows(self, authorization: str | None) -> bool:
        if authorization is None:
            return False
        keys = {self._state.mistral_api_key, *self._state.stored_keys.values()}
        return self._state.takes_any_key or authorization.removeprefix("Bearer ") in keys

    def _ocr(self, request: ReceivedRequest) -> Response | None:
        file_id = as_dict(request.fields.get("document")).get("file_id")
        if file_id is None:
            return mistral_media.ocr(request)
        name = self.files.name(str(file_id))
        return None if name is None else mistral_media.ocr(request, name)


def _problem(request: ReceivedRequest, required: tuple[str, ...]) -> Response | None:
    """Return the 422 for a body without a field, or with what would take minutes to serve."""
    if not required:
        return None
    try:
        fields = as_dict(request.json())
    except ValueError:
        return invalid("json_invalid", ["body", 0], "JSON decode error")
    for name in required:
        if fields.get(name) in (None, "", []):
            return missing(name)
    too_much = _too_much(request.path, fields)
    if too_much is not None or request.path != "/v1/chat/completions":
        return too_much
    for name in FOREIGN_FIELDS:
        if name in fields:
            return invalid("extra_forbidden", ["body", name], "Extra inputs are not permitted")
    return None


def _too_much(path: str, fields: Mapping[str, Any]) -> Response | None:
    """Refuse a small request for a response that would take minutes to make."""
    values = fields.get("input", fields.get("inputs"))
    inputs = len(as_list(values)) or 1
    numbers = inputs * as_count(fields.get("output_dimension"), mistral_media.DIMENSION)
    name, is_too_much = "n", as_count(fields.get("n"), 1) > limits.MAX_CHOICES
    if path == "/v1/embeddings":
        name, is_too_much = "output_dimension", numbers > limits.MAX_NUMBERS
    elif path not in mistral_chat.PATHS:
        name, is_too_much = "input", inputs > limits.MAX_INPUTS
    return invalid("too_large", ["body", name], "LocalGateway's limit") if is_too_much else None


@asynccontextmanager
async def form_of(request: ReceivedRequest) -> AsyncGenerator[FormData, None]:
    """Read a form's fields and files; an empty form if the body is none."""
    form = await _parse_form(request)
    try:
        yield form
    finally:
        await form.close()


async def _parse_form(request: ReceivedRequest) -> FormData:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield request.body

    kind = request.headers.get("content-type", "")
    try:
        if kind.startswith("multipart/form-data"):
            return await MultiPartParser(request.headers, stream()).parse()
        if kind.startswith("application/x-www-form-urlencoded"):
            return await FormParser(request.headers, stream()).parse()
    except (MultiPartException, FormParserError):
        return FormData()
    return FormData()
