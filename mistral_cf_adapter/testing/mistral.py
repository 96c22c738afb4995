"""A small Mistral that answers the same question with the same words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from mistral_cf_adapter.testing import mistral_chat, mistral_media
from mistral_cf_adapter.testing.answers import Answer, json_answer
from mistral_cf_adapter.testing.mistral_conversations import ROOT as CONVERSATIONS
from mistral_cf_adapter.testing.mistral_conversations import Conversations
from mistral_cf_adapter.testing.mistral_files import Files

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

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
# OpenAI's names for what Mistral calls otherwise or lacks; it refuses them.
FOREIGN_FIELDS = ("max_completion_tokens", "store", "logit_bias")


def is_text_path(request: ReceivedRequest) -> bool:
    """Tell whether the answer to this request is a text the model writes."""
    if request.method != "POST":
        return False
    return request.path in mistral_chat.PATHS or request.path.startswith(CONVERSATIONS)


@dataclass(slots=True)
class Mistral:
    """The upstream embedded in a local gateway."""

    state: State
    files: Files = field(default_factory=Files)
    conversations: Conversations = field(default_factory=Conversations)

    async def answer(self, request: ReceivedRequest) -> Answer:
        """Answer one request in Mistral's shapes."""
        if not self._knows(request.headers.get("authorization")):
            return unauthorized()
        problem = _problem(request)
        if problem is not None:
            return problem
        return await self._route(request) or not_found(request.path)

    def say(self, request: ReceivedRequest, turn: mistral_chat.Turn) -> Answer:
        """Answer a text request with words a test has chosen."""
        if request.path.startswith(CONVERSATIONS):
            return self.conversations.answer(request, turn) or not_found(request.path)
        return mistral_chat.answer(request, turn)

    def _knows(self, authorization: str | None) -> bool:
        keys = {self.state.mistral_api_key, *self.state.stored_keys.values()}
        return authorization is not None and authorization.removeprefix("Bearer ") in keys

    async def _route(self, request: ReceivedRequest) -> Answer | None:
        path, method = request.path, request.method
        if path.startswith(CONVERSATIONS):
            return self.conversations.answer(request)
        if path.startswith("/v1/files"):
            return await self._files(request)
        if method == "GET" and path.rstrip("/") == "/v1/models":
            return mistral_media.models()
        if method == "GET" and path.startswith("/v1/models/"):
            return mistral_media.model(request)
        return None if method != "POST" else await self._post(request)

    async def _post(self, request: ReceivedRequest) -> Answer | None:
        match request.path:
            case path if path in mistral_chat.PATHS:
                return mistral_chat.answer(request)
            case "/v1/embeddings":
                return mistral_media.embeddings(request)
            case "/v1/ocr":
                return mistral_media.ocr(request)
            case "/v1/moderations" | "/v1/chat/moderations":
                return mistral_media.moderation(request)
            case "/v1/classifications" | "/v1/chat/classifications":
                return mistral_media.classification(request)
            case "/v1/audio/transcriptions":
                form = await read_form(request)
                if not form.get("model"):
                    return invalid("missing", ["body", "model"], "Field required")
                return mistral_media.transcription(request, form)
            case _:
                return None

    async def _files(self, request: ReceivedRequest) -> Answer | None:
        if request.path.rstrip("/") != "/v1/files":
            return self.files.one(request, self.state.origin)
        if request.method == "GET":
            return self.files.all()
        stored = await self.files.upload(await read_form(request))
        return stored or invalid("missing", ["body", "file"], "Field required")


def unauthorized() -> Answer:
    """Refuse a key as Mistral does."""
    return json_answer({"detail": "Unauthorized"}, 401)


def not_found(path: str) -> Answer:
    """Say that there is nothing here, as Mistral does."""
    return json_answer({"detail": f"Not Found: {path}"}, 404)


def too_many() -> Answer:
    """Refuse for the rate, as Mistral does."""
    return json_answer(
        {
            "object": "error",
            "message": "Rate limit exceeded",
            "type": "rate_limited",
            "param": None,
            "code": "1300",
        },
        429,
    )


def invalid(kind: str, where: list[str | int], message: str) -> Answer:
    """Refuse a body as Mistral does: a list of what is wrong where."""
    return json_answer({"detail": [{"type": kind, "loc": where, "msg": message}]}, 422)


def _problem(request: ReceivedRequest) -> Answer | None:
    required = REQUIRED.get(request.path)
    if required is None or request.method != "POST":
        return None
    try:
        fields: Any = request.json()
    except ValueError:
        return invalid("json_invalid", ["body", 0], "JSON decode error")
    for name in required:
        if fields.get(name) in (None, "", []):
            return invalid("missing", ["body", name], "Field required")
    if request.path != "/v1/chat/completions":
        return None
    for name in FOREIGN_FIELDS:
        if name in fields:
            return invalid("extra_forbidden", ["body", name], "Extra inputs are not permitted")
    return None


async def read_form(request: ReceivedRequest) -> FormData:
    """Read a form's fields and files; an empty form if the body is none."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield request.body

    kind = request.headers.get("content-type", "")
    try:
        if kind.startswith("multipart/form-data"):
            return await MultiPartParser(request.headers, stream()).parse()
        return await FormParser(request.headers, stream()).parse()
    except MultiPartException:
        return FormData()
