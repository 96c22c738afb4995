"""haystack: the OCR converter builds its `Mistral` late, and closes it when it is done."""

import asyncio

from haystack.dataclasses import ByteStream, ChatMessage
from haystack_integrations.components.converters.mistral import MistralOCRDocumentConverter
from haystack_integrations.components.generators.mistral import MistralChatGenerator
from mistralai.client.models import DocumentURLChunk
from proof import CHAT, Proof
from recipes import only, recipe

from mistral_cf_adapter import make_client, patch

OWN_CLIENT = "MistralOCRDocumentConverter().client = make_client()"
REMOTE = DocumentURLChunk(document_url="https://example.com/report.pdf")
LOCAL = ByteStream(b"%PDF-1.4 a report", meta={"file_path": "report.pdf"})


def every_way(
    proof: Proof, how: str, converter: MistralOCRDocumentConverter, when: str = ""
) -> None:
    with proof.through(how, "sync", "ocr", what=when):
        assert converter.run(sources=[REMOTE])["documents"][0].content
    with proof.through(
        how, "sync", "files", "ocr", "files/*", what=f"{when} with upload and clean-up"
    ):
        assert converter.run(sources=[LOCAL])["documents"][0].content


def every_chat(proof: Proof, generator: MistralChatGenerator, path: str = CHAT) -> None:
    """Use the chat generator, which is built on OpenAI's client."""
    how = "env --for haystack"
    question = [ChatMessage.from_user("hello")]
    with proof.through(how, "sync", path):
        assert "lovely to hear" in generator.run(question)["replies"][0].text
    with proof.through(how, "async", path):
        assert "lovely to hear" in asyncio.run(generator.run_async(question))["replies"][0].text
    pieces: list[str] = []
    with proof.through(how, "stream", path):
        generator.run(question, streaming_callback=lambda piece: pieces.append(piece.content))
    assert "lovely to hear" in "".join(pieces)


with Proof("mistral-haystack") as proof:
    converter = MistralOCRDocumentConverter()
    converter.client = make_client()
    every_way(proof, OWN_CLIENT, converter)
    converter.close()

    older = MistralOCRDocumentConverter()
    older.warm_up()
    with patch():
        every_way(proof, "patch()", MistralOCRDocumentConverter())
        every_way(proof, "patch()", older, "built before it")
        older.close()
        every_way(proof, "patch()", older, "closed and built again")

    with proof.past("patch() undone"):
        # The converter itself logs what goes wrong and hands back nothing.
        older.client.ocr.process(model=older.model, document=REMOTE)

with Proof("mistral-haystack", stored_key=True) as proof:
    with patch():
        every_way(proof, "patch()", MistralOCRDocumentConverter())
    generator = only(MistralChatGenerator, recipe("haystack").follow())
    every_chat(proof, generator, "/compat/chat/completions")

with Proof("mistral-haystack") as proof:
    every_chat(proof, only(MistralChatGenerator, recipe("haystack").follow()))
