"""The generators that cut a stream into events, with a search in place of a loop over bytes.

They differ in what they do at the end: 1.x reads on after the sentinel and closes nothing, 2.1
closes at the sentinel, 2.10 closes in any case. 2.0.0 to 2.0.2 and 2.0.4 are as 2.1, but for
events without data, of which they know nothing.
"""

import functools
import json
import re
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from typing import Any, cast

from .decoders import EventDecoders
from .digests import GENERATIONS, GENERATIONS_ASYNC, WITHOUT_DATA_REQUIRED
from .patches import Target, codes_of, stepping_aside

Scan = Callable[[bytearray, int], Iterable[tuple[int, int]]]

# The order decides: the SDK takes the first that fits.
_ANY_BLANK_LINE = re.compile(rb"\r\n\r\n|\r\n\r|\r\n\n|\r\r\n|\n\r\n|\r\r|\n\r|\n\n")
_SAME_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LONGEST = 4


def any_blank_line(buffer: bytearray, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each boundary begins and ends, as SDK 2 and 3 see them."""
    return _scan(_ANY_BLANK_LINE, buffer, start)


def same_blank_line(buffer: bytearray, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each boundary begins and ends, as SDK 1 sees them."""
    return _scan(_SAME_BLANK_LINE, buffer, start)


def _scan(pattern: re.Pattern[bytes], buffer: bytearray, start: int) -> Iterator[tuple[int, int]]:
    if buffer.find(b"\r", start) >= 0:
        # On from the next byte, not from the end: the SDK finds boundaries that overlap.
        while (match := pattern.search(buffer, start)) is not None:
            yield match.span()
            start = match.start() + 1
        return
    while (start := buffer.find(b"\n\n", start) + 1) > 0:
        yield start - 1, start + 1


def blocks(buffer: bytearray, chunk: bytes, scan: Scan) -> Iterator[bytearray]:
    """Add a chunk to the buffer and take out the blocks that are complete now."""
    # What was there has been searched; a boundary may have begun in its last bytes.
    start = max(0, len(buffer) - _LONGEST + 1)
    buffer += chunk
    position = 0
    for begin, end in scan(buffer, start):
        yield buffer[position:begin]
        position = end
    del buffer[:position]


_LINE_BREAK = re.compile(r"\r?\n|\r")
_DATA = "data: "
_OBJECT = b"data: {"

Parsed = tuple[Any, bool, str | None]


def parse_event(target: Target) -> Callable[..., Parsed]:
    """Return the replacement for `eventstreaming._parse_event` of mistralai 2.0 and later."""
    newer = _parser(target)
    if target.digests["_parse_event"] != WITHOUT_DATA_REQUIRED:
        return newer

    def _parse_event(
        *,
        raw: bytearray,
        decoder: Callable[[str], Any],
        sentinel: str | None = None,
        event_id: str | None = None,
    ) -> Parsed:
        return newer(
            raw=raw, decoder=decoder, sentinel=sentinel, event_id=event_id, data_required=False
        )

    return stepping_aside(target.watch(), target.original, _parse_event)


def _parser(target: Target) -> Callable[..., Parsed]:
    sdk: Any = target.module
    decode = EventDecoders(target.module).decode
    watched = codes_of(*target.functions)

    def _parse_event(
        *,
        raw: bytearray,
        decoder: Callable[[str], Any],
        sentinel: str | None = None,
        event_id: str | None = None,
        data_required: bool = True,
    ) -> Parsed:
        for function, code in watched:  # in place: `stepping_aside()` would take a third of this
            if function.__code__ is not code:
                return cast(
                    "Parsed",
                    target.original(
                        raw=raw,
                        decoder=decoder,
                        sentinel=sentinel,
                        event_id=event_id,
                        data_required=data_required,
                    ),
                )
        is_plain = (  # as nearly every event
            event_id is None and raw.startswith(_OBJECT) and b"\n" not in raw and b"\r" not in raw
        )
        if is_plain:
            event = decode(decoder, raw[len(_DATA) :])
            if event is not None:
                return event, False, None
        fields, parts, event_id = _fields(raw.decode(), event_id)
        data = "\n".join(parts)
        if sentinel and parts and data == sentinel:
            return None, True, event_id
        if fields is None or (data_required and not parts):
            return None, False, event_id
        if not is_plain and event_id is None and "retry" not in fields:
            event = decode(decoder, data.encode(), fields.get("event"))
            if event is not None:
                return event, False, None
        whole = _whole(fields, parts, data, event_id)
        try:
            return decoder(json.dumps(whole)), False, event_id
        except Exception:
            # What nests too deep for the SDK's copy fails there, and not in the decoder.
            sdk.asdict(sdk.ServerEvent(data=whole.get("data")))
            raise

    return _parse_event


def _fields(text: str, event_id: str | None) -> tuple[dict[str, Any] | None, list[str], str | None]:
    """Return what the lines say: None for nothing, the lines of data, and the last id so far."""
    fields: dict[str, Any] | None = None
    parts: list[str] = []
    for line in _LINE_BREAK.split(text) if "\r" in text else text.split("\n"):
        if line.startswith(_DATA):
            parts.append(line[len(_DATA) :])
            fields = {} if fields is None else fields
            continue
        name, value = _field(line)
        if name not in {"data", "event", "id", "retry"}:
            continue
        fields = {} if fields is None else fields
        if name == "data":
            parts.append(value)
        elif name == "event":
            fields["event"] = value
        elif name == "id":
            event_id = event_id if "\x00" in value else value
        elif value.isdigit():
            fields["retry"] = int(value)
    return fields, parts, event_id


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")


def _whole(fields: dict[str, Any], parts: list[str], data: str, event_id: str | None) -> Any:
    """Put the fields in the order of the SDK's dataclass, without those that are not set."""
    whole: dict[str, Any] = {} if event_id is None else {"id": event_id}
    if "event" in fields:
        whole["event"] = fields["event"]
    if parts:
        try:
            whole["data"] = json.loads(data)
        except json.JSONDecodeError:
            whole["data"] = data
    if "retry" in fields:
        whole["retry"] = fields["retry"]
    return whole


Decoder = Callable[[str], Any]
Names = dict[str, Any]

_BOM = b"\xef\xbb\xbf"


def stream_events(target: Target) -> Callable[..., Generator[Any, None, None]]:
    """Return the replacement for `eventstreaming.stream_events`."""
    generation = GENERATIONS[target.digests["stream_events"]]
    names = vars(target.module)
    if generation == "1.x":
        replacement = _sync_1(names)
    elif generation == "2.0":
        replacement = _sync_2_0(names)
    else:
        replacement = _sync_2(names, always_close=generation == "2.10")
    return stepping_aside(target.watch(), target.original, replacement)


def stream_events_async(target: Target) -> Callable[..., AsyncGenerator[Any, None]]:
    """Return the replacement for `eventstreaming.stream_events_async`."""
    generation = GENERATIONS_ASYNC[target.digests["stream_events_async"]]
    names = vars(target.module)
    if generation == "1.x":
        replacement = _async_1(names)
    elif generation == "2.0":
        replacement = _async_2_0(names)
    else:
        replacement = _async_2(names, always_close=generation == "2.10")
    return stepping_aside(target.watch(), target.original, replacement)


def _body(buffer: bytearray, chunk: bytes) -> bytes:
    return chunk[len(_BOM) :] if not buffer and chunk.startswith(_BOM) else chunk


def _sync_2(names: Names, *, always_close: bool) -> Callable[..., Generator[Any, None, None]]:
    def stream_events(
        response: Any,
        decoder: Decoder,
        sentinel: str | None = None,
        data_required: bool = True,  # noqa: FBT001, FBT002
    ) -> Generator[Any, None, None]:
        parse = functools.partial(
            names["_parse_event"], decoder=decoder, sentinel=sentinel, data_required=data_required
        )
        closing = always_close
        try:
            buffer = bytearray()
            event_id: str | None = None
            for chunk in response.iter_bytes():
                for block in blocks(buffer, _body(buffer, chunk), any_blank_line):
                    event, discard, event_id = parse(raw=block, event_id=event_id)
                    if event is not None:
                        yield event
                    if discard:
                        closing = True
                        return
            event, _, _ = parse(raw=buffer, event_id=event_id)
            if event is not None:
                yield event
        finally:
            if closing:
                response.close()

    return stream_events


def _async_2(names: Names, *, always_close: bool) -> Callable[..., AsyncGenerator[Any, None]]:
    async def stream_events_async(
        response: Any,
        decoder: Decoder,
        sentinel: str | None = None,
        data_required: bool = True,  # noqa: FBT001, FBT002
    ) -> AsyncGenerator[Any, None]:
        parse = functools.partial(
            names["_parse_event"], decoder=decoder, sentinel=sentinel, data_required=data_required
        )
        closing = always_close
        try:
            buffer = bytearray()
            event_id: str | None = None
            async for chunk in response.aiter_bytes():
                for block in blocks(buffer, _body(buffer, chunk), any_blank_line):
                    event, discard, event_id = parse(raw=block, event_id=event_id)
                    if event is not None:
                        yield event
                    if discard:
                        closing = True
                        return
            event, _, _ = parse(raw=buffer, event_id=event_id)
            if event is not None:
                yield event
        finally:
            if closing:
                await response.aclose()

    return stream_events_async


def _sync_2_0(names: Names) -> Callable[..., Generator[Any, None, None]]:
    newer = _sync_2({"_parse_event": _without_data_required(names)}, always_close=False)

    def stream_events(
        response: Any, decoder: Decoder, sentinel: str | None = None
    ) -> Generator[Any, None, None]:
        yield from newer(response, decoder, sentinel)

    return stream_events


def _async_2_0(names: Names) -> Callable[..., AsyncGenerator[Any, None]]:
    newer = _async_2({"_parse_event": _without_data_required(names)}, always_close=False)

    def stream_events_async(
        response: Any, decoder: Decoder, sentinel: str | None = None
    ) -> AsyncGenerator[Any, None]:
        return newer(response, decoder, sentinel)

    return stream_events_async


def _without_data_required(names: Names) -> Callable[..., Any]:
    def parse(*, data_required: bool, **arguments: Any) -> Any:  # noqa: ARG001
        return names["_parse_event"](**arguments)

    return parse


def _sync_1(names: Names) -> Callable[..., Generator[Any, None, None]]:
    def stream_events(
        response: Any, decoder: Decoder, sentinel: str | None = None
    ) -> Generator[Any, None, None]:
        parse = names["_parse_event"]
        buffer = bytearray()
        discard = False
        for chunk in response.iter_bytes():
            if discard:
                continue
            for block in blocks(buffer, chunk, same_blank_line):
                event, discard = parse(block, decoder, sentinel)
                if event is not None:
                    yield event
        event, _ = parse(buffer, decoder, sentinel)
        if event is not None:
            yield event

    return stream_events


def _async_1(names: Names) -> Callable[..., AsyncGenerator[Any, None]]:
    async def stream_events_async(
        response: Any, decoder: Decoder, sentinel: str | None = None
    ) -> AsyncGenerator[Any, None]:
        parse = names["_parse_event"]
        buffer = bytearray()
        discard = False
        async for chunk in response.aiter_bytes():
            if discard:
                continue
            for block in blocks(buffer, chunk, same_blank_line):
                event, discard = parse(block, decoder, sentinel)
                if event is not None:
                    yield event
        event, _ = parse(buffer, decoder, sentinel)
        if event is not None:
            yield event

    return stream_events_async
