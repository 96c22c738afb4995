"""The generators that cut a stream into events, with a search in place of a loop over bytes.

They differ in what they do at the end: 1.x reads on after the sentinel and closes nothing, 2.1
closes at the sentinel, 2.10 closes in any case. 2.0.0 to 2.0.2 and 2.0.4 are as 2.1, but for
events without data, of which they know nothing.
"""

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Literal

from .boundaries import any_blank_line, blocks, same_blank_line
from .originals import stepping_aside
from .seams import Found

Generation = Literal["1.x", "2.0", "2.1", "2.10"]
Decoder = Callable[[str], Any]
Names = dict[str, Any]

GENERATIONS: dict[str, Generation] = {
    "8c6d8edb153da122": "1.x",
    "01520ed16e1b6e8f": "2.0",
    "9f893127db3b7001": "2.1",
    "314b8ab7ec01787d": "2.10",
}
GENERATIONS_ASYNC: dict[str, Generation] = {
    "316903955ded04ae": "1.x",
    "de0c51ef11964774": "2.0",
    "77ce8ddc88cfcd54": "2.1",
    "bd92df881f7489bf": "2.10",
}

_BOM = b"\xef\xbb\xbf"


def stream_events(found: Found) -> Callable[..., Generator[Any, None, None]]:
    """Return the replacement for `eventstreaming.stream_events`."""
    generation = GENERATIONS[found.digests["stream_events"]]
    names = vars(found.module)
    if generation == "1.x":
        replacement = _sync_1(names)
    elif generation == "2.0":
        replacement = _sync_2_0(names)
    else:
        replacement = _sync_2(names, always_close=generation == "2.10")
    return stepping_aside(found.watch(), found.original, replacement)


def stream_events_async(found: Found) -> Callable[..., AsyncGenerator[Any, None]]:
    """Return the replacement for `eventstreaming.stream_events_async`."""
    generation = GENERATIONS_ASYNC[found.digests["stream_events_async"]]
    names = vars(found.module)
    if generation == "1.x":
        replacement = _async_1(names)
    elif generation == "2.0":
        replacement = _async_2_0(names)
    else:
        replacement = _async_2(names, always_close=generation == "2.10")
    return stepping_aside(found.watch(), found.original, replacement)


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
