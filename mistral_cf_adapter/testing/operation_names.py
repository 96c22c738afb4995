"""What the SDK calls the operation of a request: `chat.complete` for a POST to its path."""

from __future__ import annotations

import re
from functools import cache

_NAMES = {
    "POST v1/chat/completions": "chat.complete",
    "POST v1/fim/completions": "fim.complete",
    "POST v1/agents/completions": "agents.complete",
    "POST v1/embeddings": "embeddings.create",
    "POST v1/ocr": "ocr.process",
    "POST v1/moderations": "classifiers.moderate",
    "POST v1/chat/moderations": "classifiers.moderate_chat",
    "POST v1/classifications": "classifiers.classify",
    "POST v1/chat/classifications": "classifiers.classify_chat",
    "POST v1/audio/transcriptions": "audio.transcriptions.complete",
    "POST v1/audio/speech": "audio.speech.complete",
    "GET v1/models": "models.list",
    "GET v1/models/*": "models.retrieve",
    "DELETE v1/models/*": "models.delete",
    "GET v1/files": "files.list",
    "POST v1/files": "files.upload",
    "GET v1/files/*": "files.retrieve",
    "DELETE v1/files/*": "files.delete",
    "GET v1/files/*/content": "files.download",
    "GET v1/files/*/url": "files.get_signed_url",
    "GET v1/batch/jobs": "batch.jobs.list",
    "POST v1/batch/jobs": "batch.jobs.create",
    "GET v1/batch/jobs/*": "batch.jobs.get",
    "DELETE v1/batch/jobs/*": "batch.jobs.delete",
    "POST v1/batch/jobs/*/cancel": "batch.jobs.cancel",
    "GET v1/fine_tuning/jobs": "fine_tuning.jobs.list",
    "POST v1/fine_tuning/jobs": "fine_tuning.jobs.create",
    "GET v1/fine_tuning/jobs/*": "fine_tuning.jobs.get",
    "POST v1/fine_tuning/jobs/*/cancel": "fine_tuning.jobs.cancel",
    "POST v1/fine_tuning/jobs/*/start": "fine_tuning.jobs.start",
    "GET v1/agents": "beta.agents.list",
    "POST v1/agents": "beta.agents.create",
    "GET v1/agents/*": "beta.agents.get",
    "PATCH v1/agents/*": "beta.agents.update",
    "DELETE v1/agents/*": "beta.agents.delete",
    "GET v1/conversations": "beta.conversations.list",
    "POST v1/conversations": "beta.conversations.start",
    "GET v1/conversations/*": "beta.conversations.get",
    "POST v1/conversations/*": "beta.conversations.append",
    "DELETE v1/conversations/*": "beta.conversations.delete",
    "GET v1/conversations/*/history": "beta.conversations.get_history",
    "GET v1/conversations/*/messages": "beta.conversations.get_messages",
    "POST v1/conversations/*/restart": "beta.conversations.restart",
    "GET v1/libraries": "beta.libraries.list",
    "POST v1/libraries": "beta.libraries.create",
    "GET v1/libraries/*": "beta.libraries.get",
    "DELETE v1/libraries/*": "beta.libraries.delete",
    "GET v1/libraries/*/documents": "beta.libraries.documents.list",
    "POST v1/libraries/*/documents": "beta.libraries.documents.upload",
    "GET v1/libraries/*/documents/*": "beta.libraries.documents.get",
    "DELETE v1/libraries/*/documents/*": "beta.libraries.documents.delete",
}
"""Method and path, with a star for an id. Later ones of the SDK are shown by method and path."""


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return the names of operations with an id; compiled on first use, as it takes a while."""
    return [
        (re.compile(re.escape(route).replace(r"\*", "[^/]+")), name)
        for route, name in _NAMES.items()
        if "*" in route
    ]


def name_operation(method: str, path: str, *, streams: bool) -> str:
    """Return the SDK's name of an operation, else method and path.

    Args:
        method: The request's method.
        path: The path behind the provider's name, without a leading slash.
        streams: Whether the request asks for a stream.
    """
    route = f"{method} {path}"
    name = _NAMES.get(route)
    if name is None:
        found = (name for pattern, name in _patterns() if pattern.fullmatch(route))
        name = next(found, None)
    if name is None:
        return f"{method} /{path.lstrip('/')}"
    return _name_stream(name) if streams else name


def is_without_id(method: str, path: str) -> bool:
    """Return whether an operation has a name, and no id in its path."""
    return f"{method} {path}" in _NAMES


def _name_stream(name: str) -> str:
    """Return what the SDK calls the method that streams."""
    if name.endswith(".complete"):
        return f"{name.removesuffix('complete')}stream"
    return f"{name}_stream" if name.startswith("beta.conversations.") else name
