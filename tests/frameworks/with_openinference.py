"""openinference: wraps the SDK's methods, as patch() wraps its construction, in any order."""

import asyncio
from collections.abc import Callable
from typing import Any

from mistralai.client import Mistral
from mistralai.client.chat import Chat
from openinference.instrumentation.mistralai import MistralAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from proof import CHAT, MODEL, Proof

from mistral_cf_adapter import patch

HELLO: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
METHODS = ("complete", "stream", "complete_async", "stream_async")

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracing = MistralAIInstrumentor()


class Patching:
    """patch(), with the names the instrumentation gives to the same two steps."""

    def instrument(self) -> None:
        self.handle = patch()

    def uninstrument(self) -> None:
        self.handle.undo()


class Tracing:
    def instrument(self) -> None:
        tracing.instrument(tracer_provider=provider)

    def uninstrument(self) -> None:
        tracing.uninstrument()


def methods() -> list[Any]:
    return [Mistral.__init__, *(vars(Chat)[name] for name in METHODS)]


async def ask(client: Mistral) -> None:
    await client.chat.complete_async(**HELLO)


async def stream(client: Mistral) -> None:
    async for _ in await client.chat.stream_async(**HELLO):
        pass


def spans_of(call: Callable[[], Any]) -> int:
    exporter.clear()
    call()
    return len(exporter.get_finished_spans())


def every_way(proof: Proof, when: str, client: Mistral, *, spans: int) -> None:
    """Call in every way, each of which is to leave so many spans."""
    with proof.through("patch()", "sync", what=when):
        assert spans_of(lambda: client.chat.complete(**HELLO)) == spans
    with proof.through("patch()", "stream", what=when):
        assert spans_of(lambda: list(client.chat.stream(**HELLO))) == spans
    # One event loop for both: a client built before patch() keeps its own pool, which has one.
    with asyncio.Runner() as loop:
        with proof.through("patch()", "async", what=when):
            assert spans_of(lambda: loop.run(ask(client))) == spans
        with proof.through("patch()", "async stream", what=when):
            assert spans_of(lambda: loop.run(stream(client))) == spans


def in_order(proof: Proof, first: Any, second: Any, *, undo_first: Any, undo_second: Any) -> None:
    before = methods()
    older = Mistral()
    first.instrument()
    middle = Mistral()
    second.instrument()
    order = f"{name(first)} before {name(second)}"
    for client in (Mistral(), middle, older):
        every_way(proof, f"with spans, {order}", client, spans=1)

    undo_first.uninstrument()
    undone = f"{order}, {name(undo_first)} undone"
    exporter.clear()
    if isinstance(undo_first, Tracing):
        with proof.through("patch()", "sync", CHAT, CHAT, what=f"without spans, {undone}"):
            middle.chat.complete(**HELLO)
            Mistral().chat.complete(**HELLO)
        assert not exporter.get_finished_spans()
    else:
        for client in (Mistral(), middle, older):
            with proof.past(undone):
                client.chat.complete(**HELLO)
        assert len(exporter.get_finished_spans()) == 3

    undo_second.uninstrument()
    assert all(now is then for now, then in zip(methods(), before, strict=True)), methods()
    exporter.clear()
    for client in (Mistral(), middle, older):
        with proof.past(f"{order}, both undone, {name(undo_first)} first"):
            client.chat.complete(**HELLO)
    assert not exporter.get_finished_spans()


def name(step: Any) -> str:
    return "patch()" if isinstance(step, Patching) else "openinference"


with Proof("openinference-instrumentation-mistralai") as proof:
    for first, second in ((Patching(), Tracing()), (Tracing(), Patching())):
        in_order(proof, first, second, undo_first=first, undo_second=second)
        in_order(proof, first, second, undo_first=second, undo_second=first)
