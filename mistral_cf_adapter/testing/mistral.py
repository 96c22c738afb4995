"""A small Mistral that answers the same question with the same words."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from mistral_cf_adapter.testing import limits, mistral_chat, mistral_media
from mistral_cf_adapter.testing.mistral_conversations import ROOT as CONVERSATIONS
from mistral_cf_adapter.testing.mistral_conversations import Conversations
from mistral_cf_adapter.testing.mistral_files import Files
from mistral_cf_adapter.testing.mistral_text import as_count, as_dict, as_list
from mistral_cf_adapter.testing.responses import Response, json_response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from mistral_cf_adapter.testing.records import ReceivedRequest
    from mistral_cf_adapter.testing.state import State

REQUIRED = {
    "/v1/chat/completions": ("model", "messages"),
    "/v1/agents/completions": ("agent_id", "messages"),
    "/v1/fim/completions": ("model", "prompt"),
    "/v1/embeddings": ("model", "input"),
    "/v1/ocr": ("model", "document"),
    "/v1/moderations": ("model", "input"),
    "/v1/chat/moderations": ("model", "input"),
    "/v1/classifications": ("model", "input"),
    "/v1/chat/classifications": ("model", "input"),
    "/v1/conversations": ("inputs",),
}
HANDLERS: Mapping[str, Callable[[ReceivedRequest], Response]] = {
    **dict.fromkeys(mistral_chat.PATHS, mistral_chat.respond),
    "/v1/embeddings": mistral_media.embeddings,
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
    return request.path in mistral_chat.PATHS or request.path.startswith(CONVERSATIONS)


@dataclass(slots=True)
class Mistral:
    """The upstream embedded in a local gateway."""

    state: State
    files: Files = field(default_factory=Files)
    conversations: Conversations = field(default_factory=Conversations)

    async def respond(self, request: ReceivedRequest) -> Response:
        """Return Mistral's response to a request."""
        if not self._knows(request.headers.get("authorization")):
            return unauthorized()
        problem = _problem(request)
        if problem is not None:
            return problem
        return await self._route(request) or not_found(request.path)

    def say(self, request: ReceivedRequest, turn: mistral_chat.Turn) -> Response:
        """Return the response to a text request, with words a test has chosen."""
        if request.path.startswith(CONVERSATIONS):
            return self.conversations.respond(request, turn) or not_found(request.path)
        return mistral_chat.respond(request, turn)

    def _knows(self, authorization: str | None) -> bool:
        if authorization is None:
            return False
        keys = {self.state.mistral_api_key, *self.state.stored_keys.values()}
        return self.state.takes_any_key or authorization.removeprefix("Bearer ") in keys

    async def _route(self, request: ReceivedRequest) -> Response | None:
        path = request.path
        if path.startswith(CONVERSATIONS):
            return self.conversations.respond(request)
        if path.startswith("/v1/files"):
            return await self._files(request)
        if request.method == "GET" and path.startswith("/v1/models"):
            return mistral_media.models(request)
        return await self._post(request) if request.method == "POST" else None

    async def _post(self, request: ReceivedRequest) -> Response | None:
        if request.path == "/v1/audio/transcriptions":
            async with form_of(request) as form:
                return _transcription(form)
        if request.path == "/v1/ocr":
            return self._ocr(request)
        handler = HANDLERS.get(request.path)
        return None if handler is None else handler(request)

    def _ocr(self, request: ReceivedRequest) -> Response | None:
        file_id = as_dict(request.fields.get("document")).get("file_id")
        if file_id is None:
            return mistral_media.ocr(request)
        name = self.files.name(str(file_id))
        return None if name is None else mistral_media.ocr(request, name)

    async def _files(self, request: ReceivedRequest) -> Response | None:
        if request.path.rstrip("/") != "/v1/files":
            return self.files.one(request, self.state.origin)
        if request.method == "GET":
            return self.files.all()
        async with form_of(request) as form:
            stored = await self.files.upload(form)
        return stored or invalid("missing", ["body", "file"], "Field required")


def unauthorized() -> Response:
    """Refuse a key as Mistral does."""
    return json_response({"detail": "Unauthorized"}, 401)


def not_found(path: str) -> Response:
    """Say that there is nothing here, as Mistral does."""
    return json_response({"detail": f"Not Found: {path}"}, 404)


def too_many() -> Response:
    """Refuse for the rate, as Mistral does."""
    return json_response(
        {
            "object": "error",
            "message": "Rate limit exceeded",
            "type": "rate_limited",
            "param": None,
            "code": "1300",
        },
        429,
    )


def invalid(kind: str, where: list[str | int], message: str) -> Response:
    """Refuse a body as Mistral does: a list of what is wrong where."""
    return json_response({"detail": [{"type": kind, "loc": where, "msg": message}]}, 422)


def _transcription(form: FormData) -> Response:
    if not form.get("model"):
        return invalid("missing", ["body", "model"], "Field required")
    return mistral_media.transcription(form)


def _problem(request: ReceivedRequest) -> Response | None:
    required = REQUIRED.get(request.path)
    if required is None or request.method != "POST":
        return None
    try:
        fields = as_dict(request.json())
    except ValueError:
        return invalid("json_invalid", ["body", 0], "JSON decode error")
    for name in required:
        if fields.get(name) in (None, "", []):
            return invalid("missing", ["body", name], "Field required")
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
