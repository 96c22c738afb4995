"""Audio: transcriptions, speech and voices. What is spoken is a moment of silence."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cf_adapter.testing.mistral_errors import missing
from mistral_cf_adapter.testing.mistral_store import (
    MOMENT,
    OWNER,
    Resource,
    Store,
    number,
    picked,
)
from mistral_cf_adapter.testing.mistral_text import usage
from mistral_cf_adapter.testing.responses import (
    Response,
    bytes_response,
    event,
    json_response,
    stream_response,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_cf_adapter.testing.mistral_routes import Routes
    from mistral_cf_adapter.testing.records import ReceivedRequest

    Card = dict[str, Any]

VOICES = "/v1/audio/voices"
CHANGES = frozenset({"name", "languages", "gender", "age", "tags", "description"})
FIELDS = CHANGES | {"slug", "color", "retention_notice"}
RATE = 8000
FRAMES = 800
PIECES = 4


@dataclass(slots=True)
class Audio:
    """What is under /v1/audio, with the voices of one upstream and their recordings."""

    voices: Resource = field(init=False)
    samples: Store[bytes] = field(default_factory=lambda: Store[bytes]("samples"))

    def __post_init__(self) -> None:
        self.voices = Resource(
            VOICES,
            make=self._voice,
            page=_page,
            deleted=json_response,
            required=("name", "sample_audio"),
            changes=CHANGES,
        )

    def add_to(self, routes: Routes) -> None:
        """Serve it."""
        routes.add("POST /v1/audio/transcriptions", transcribe, reads_form=True)
        routes.add("POST /v1/audio/speech", speak, required=("input",))
        routes.add(f"GET {VOICES}/{{}}/sample", self.show_sample)
        self.voices.add_to(routes)

    def show_sample(self, _: ReceivedRequest, identity: str) -> Response | None:
        """Return the recording that a voice was made from."""
        if self.voices.kept.get(identity) is None:
            return None
        return bytes_response(self.samples.get(identity) or silence(), "audio/wav")

    def _voice(self, request: ReceivedRequest, identity: str) -> Card:
        fields = request.fields
        sample = _decoded(fields.get("sample_audio"))
        self.samples.put(identity, sample, len(sample))
        return {
            "languages": [],
            "retention_notice": 30,
            **picked(fields, FIELDS),
            "id": identity,
            "created_at": MOMENT,
            "user_id": OWNER,
            "type": "custom",
        }


def transcribe(_: ReceivedRequest, form: Mapping[str, Any]) -> Response:
    """Hear the same words in every recording."""
    if not form.get("model"):
        return missing("model")
    upload = form.get("file")
    name = getattr(upload, "filename", None) or form.get("file_url") or form.get("file_id")
    text = f"This is what I heard in {name}."
    whole: Card = {
        "model": str(form.get("model")),
        "text": text,
        "language": "en",
        "segments": [{"type": "transcription_segment", "text": text, "start": 0.0, "end": 1.0}],
        "usage": {**usage("", text), "prompt_audio_seconds": 1},
    }
    if str(form.get("stream")).lower() != "true":
        return json_response(whole)
    deltas = [_event("transcription.text.delta", text=piece) for piece in words(text)]
    return stream_response([*deltas, _event("transcription.done", **whole)])


def speak(request: ReceivedRequest) -> Response:
    """Say every text as the same silence: a WAV, or its samples alone if `pcm` is asked for."""
    fields = request.fields
    audio = bytes(FRAMES) if fields.get("response_format") == "pcm" else silence()
    if not request.streams:
        return json_response({"audio_data": _encoded(audio)})
    size = -(-len(audio) // PIECES)
    pieces = [audio[start : start + size] for start in range(0, len(audio), size)]
    deltas = [_event("speech.audio.delta", audio_data=_encoded(piece)) for piece in pieces]
    done = _event("speech.audio.done", usage=usage(str(fields.get("input")), ""))
    return stream_response([*deltas, done])


def silence() -> bytes:
    """Return a tenth of a second of it, as a WAV."""
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(RATE)
        sound.writeframes(b"\x80" * FRAMES)
    return file.getvalue()


def _event(name: str, **fields: Any) -> bytes:
    return event({"type": name, **fields}, name)


def _encoded(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(str(text).rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _page(cards: Sequence[Card], params: Mapping[str, str]) -> Card:
    """Return the voices that `offset` and `limit` (10) ask for."""
    size = max(number(params.get("limit"), 10), 1)
    start = number(params.get("offset"), 0)
    return {
        "items": cards[start : start + size],
        "total": len(cards),
        "page": start // size + 1,
        "page_size": size,
        "total_pages": -(-len(cards) // size),
    }
