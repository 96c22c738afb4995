"""Streams cut into events: the same events at the same moments, with and without the speed-ups."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from speedup_tools import assert_same, both, nobody_holding, sdk_module

from mistral_cf_adapter import _sdk, speedups
from mistral_cf_adapter.speedups import decoders, streaming

SDK_1 = _sdk.ROOT == "mistralai"
SENTINEL = "[DONE]"

PIECES = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n", b"\r\n\r", b"\r\r\n"),
    *(b"data: ", b"data:", b"data", b"data:  x", b"datax: 1", b" data: 1", b"data: [DONE]"),
    *(b'data: {"a": 1}', b'data: {"a":', b"data: null", b"data: 12", b"data: NaN", b"data: -0"),
    *(b"data: true", b"data: \xc2\xb2", b'data: "text"', b"data: [1, 2.50, 1e400]"),
    *(b'data: {"a": 1, "a": 2}', b'data: "\\ud800"', b"data: boom", b"data: none", b"data: 1"),
    *(b"event: message", b"event", b"event:", b"id: 7", b"id: \x00", b"id", b"id:"),
    *(b"retry: 10", b"retry: x", b"retry: \xc2\xb2", b"retry", b": comment", b":", b": ", b"x: y"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xe2\x80\xa8", b"\x00", b" ", b"", b"\xc3\xbc"),
]
ENDS = [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n", b"\n", b"\r"]
lines = st.builds(lambda piece, end: piece + end, st.sampled_from(PIECES), st.sampled_from(ENDS))
streams = st.lists(lines | st.sampled_from(PIECES) | st.binary(max_size=3), max_size=14).map(
    b"".join
)
cuts = st.lists(st.integers(min_value=0, max_value=120), max_size=12)


@pytest.fixture(autouse=True, scope="module")
def _bare():
    with nobody_holding():
        yield


class Response:
    """A response which notes when it is read and when it is closed."""

    def __init__(self, chunks, trace):
        self.chunks, self.trace = chunks, trace

    def iter_bytes(self):
        for chunk in self.chunks:
            self.trace.append(("read", chunk))
            yield chunk
        self.trace.append("end")

    async def aiter_bytes(self):
        for chunk in self.iter_bytes():
            yield chunk

    def close(self):
        self.trace.append("closed")

    async def aclose(self):
        self.close()


def chunked(stream, places):
    edges = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def decoder(trace):
    def decode(raw):
        trace.append(("decoded", raw))
        if "boom" in raw:
            msg = "boom"
            raise ValueError(msg)
        return None if "none" in raw else raw

    return decode


def keywords(data_required):
    known = inspect.signature(sdk_module("utils.eventstreaming").EventStream.__init__).parameters
    return {"data_required": data_required} if "data_required" in known else {}


def follow(chunks, *, sentinel=SENTINEL, data_required=True, stop=None):
    """Return all that happens in a stream, in order."""
    trace = []
    stream = sdk_module("utils.eventstreaming").EventStream(
        Response(chunks, trace), decoder(trace), sentinel, **keywords(data_required)
    )
    try:
        for event in itertools.islice(stream, stop):
            trace.append(("event", event))  # noqa: PERF401 (what comes before an error counts)
        stream.generator.close()
    except Exception as error:
        trace.append((type(error), str(error)))
    return trace


def follow_async(chunks, *, sentinel=SENTINEL, data_required=True, stop=None):
    trace = []

    async def run():
        stream = sdk_module("utils.eventstreaming").EventStreamAsync(
            Response(chunks, trace), decoder(trace), sentinel, **keywords(data_required)
        )
        left = stop
        try:
            async for event in stream:
                trace.append(("event", event))
                left = None if left is None else left - 1
                if left == 0:
                    break
            await stream.generator.aclose()
        except Exception as error:
            trace.append((type(error), str(error)))

    asyncio.run(run())
    return trace


@given(
    stream=streams,
    places=cuts,
    sentinel=st.sampled_from([None, SENTINEL, "", "1"]),
    data_required=st.booleans(),
    stop=st.sampled_from([None, 1, 2]),
)
@example(b"\xef\xbb\xbfdata: 1\r\n\r\ndata: 2\r\r\n", [1, 2, 12, 13], None, True, None)
@example(b"data: 1\xef\xbb\xbf\n\n", [7], None, True, None)
@example(b"data: [DONE]\n\ndata: 1\n\n", [], SENTINEL, True, None)
@example(b"id: 7\ndata: 1\n\n\n\ndata: 2\n\nevent: x\n\n", [3, 16], SENTINEL, False, None)
@settings(max_examples=300, deadline=None)
def test_any_stream_gives_the_same_events_at_the_same_moments(
    stream, places, sentinel, data_required, stop
):
    chunks = chunked(stream, places)
    how = {"sentinel": sentinel, "data_required": data_required, "stop": stop}
    assert_same(lambda: follow(chunks, **how))


@given(stream=streams, places=cuts, data_required=st.booleans(), stop=st.sampled_from([None, 1]))
@settings(max_examples=100, deadline=None)
def test_any_async_stream_gives_the_same_events_at_the_same_moments(
    stream, places, data_required, stop
):
    chunks = chunked(stream, places)
    assert_same(lambda: follow_async(chunks, data_required=data_required, stop=stop))


@given(stream=st.text("\r\nx", max_size=24).map(str.encode), places=cuts)
@settings(max_examples=300, deadline=None)
def test_boundaries_are_found_wherever_they_are_cut(stream, places):
    chunks = chunked(b"data: 1" + stream + b"data: 2" + stream, places)
    assert_same(lambda: follow(chunks, data_required=False))


@pytest.mark.parametrize("boundary", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
def test_a_stream_may_arrive_byte_by_byte(boundary):
    stream = boundary.join([b"id: 1\ndata: 1", b"data: 2\ndata: 3", b"data: [DONE]", b""])
    bare, fast = both(lambda: follow([bytes([byte]) for byte in stream]))
    assert fast == [bare, bare]
    assert "decoded" in str(bare)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    ascii_only=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_json_reaches_the_decoder_as_the_same_text(value, ascii_only):
    try:
        data = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    assert_same(lambda: follow([b"data: " + data + b"\n\n"]))


@pytest.mark.parametrize("depth", [50, 150, 250, 600, 5000])
def test_json_nested_too_deep_is_refused_in_the_same_way(depth):
    decode = sdk_module("utils.serializers").unmarshal_json

    def follow_deep():
        chunks = [b"data: " + b"[" * depth + b"]" * depth + b"\n\n"]
        stream = sdk_module("utils.eventstreaming").EventStream(
            Response(chunks, []), lambda raw: decode(raw, dict), SENTINEL
        )
        return list(stream)

    bare, fast = both(follow_deep)
    # What a recursion error says depends on how deep the stack was to begin with.
    assert [kind for kind, *_ in fast] == [bare[0]] * 2


def test_a_long_event_in_many_chunks_is_searched_once():
    searched = []

    class Spy(bytearray):
        def find(self, *args):
            searched.append(len(self) - args[1])
            return super().find(*args)

    buffer = Spy()
    for _ in range(100):
        assert not list(streaming.blocks(buffer, b"x" * 100, streaming.any_blank_line))
    assert len(buffer) == 10_000
    assert sum(searched) < 3 * len(buffer)


CHUNK = (
    '{"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": %s}, '
    '"finish_reason": null}]}'
)
ONE, TWO = CHUNK % '"one"', CHUNK % '"two"'
DATA = [
    CHUNK % '"hi"',
    CHUNK % '"\\ud83d\\ude00 \\u00e9 \u00e9 \\n"',
    CHUNK % '"\\ud83d"',  # half of a pair
    CHUNK % '"tab\there"',
    CHUNK % "12345678901234567890123",
    CHUNK % "1.10000000000000000000001e2",
    CHUNK % "NaN",
    CHUNK % ("[" * 300 + "]" * 300),
    CHUNK % ("[" * 190 + "]" * 190),
    CHUNK % '"a", "content": "b"',
    f"  {ONE}  ",
    f'{ONE}, "retry": 5',
    f'{ONE}, "data": {TWO}',
    f'{ONE}}}, {{"data": {TWO}',
    *("null", "[]", '"text"', "text", "1", "-0", "1e999", "{", "{}", '{"id": 1}', "\ufeff{}", ""),
    f"{'9' * 5000}",
]


FAR_DOWN = [CHUNK % f'"a"}}, "x": {"[" * depth}{"]" * depth}' for depth in range(185, 201)]
LINES = [
    *(f"data: {data}" for data in [*DATA, *FAR_DOWN]),
    *(f"event: message\ndata: {data}" for data in (ONE, "null", "text")),
    *(f"data: {ONE}\nevent: message.output.delta", f"event\ndata: {ONE}"),
    *(
        f"data: {ONE}\nretry: 5",
        f"retry: x\ndata: {ONE}",
        f"id: 7\ndata: {ONE}",
        f": c\ndata: {ONE}",
    ),
    *(f"data:{ONE}", f"data: {{\ndata: {ONE[1:]}", f"data: {ONE}\ndata: ", f"data: {ONE}\rdata"),
]


@pytest.mark.skipif(SDK_1, reason="1.x decodes in its reader")
@pytest.mark.parametrize("model", ["CompletionEvent", "ConversationEvents"])
@pytest.mark.parametrize("lines", [*map(str.encode, LINES), b'data: {"a": "\xff"}'])
def test_the_decoders_of_the_sdk_make_the_same_of_any_event(lines, model):
    if not hasattr(sdk_module("models"), model):
        pytest.skip("this release has no such model")

    def parse_or_fail():
        try:
            parsed = parse(lines, decoder_of(model))
        except Exception as error:
            body = getattr(error, "body", None)
            return type(error), str(error), body, str(error.__cause__)
        return parsed, repr(parsed), _fields_set(parsed[0])

    assert_same(parse_or_fail)


def decoder_of(model):
    """Return a decoder as the SDK's operations write it."""
    response = sdk_module("utils.unmarshal_json_response")
    names = {
        "__name__": f"{_sdk.ROOT}.chat",
        "models": sdk_module("models"),
        "unmarshal_json_response": response.unmarshal_json_response,
    }
    call = f"unmarshal_json_response(models.{model}, http_res, raw)"
    return eval(f"lambda http_res: lambda raw: {call}", names)(_sdk.httpx.Response(200))


def parse(lines, decoder):
    return sdk_module("utils.eventstreaming")._parse_event(raw=bytearray(lines), decoder=decoder)


def _fields_set(value):
    """Return the names of the fields that were given, of a model and of those in it."""
    if isinstance(value, list):
        return [_fields_set(each) for each in value]
    if not hasattr(value, "model_fields_set"):
        return None
    return sorted(value.model_fields_set), [_fields_set(each) for _, each in value]


@pytest.mark.skipif(SDK_1, reason="1.x decodes in its reader")
def test_the_sdk_decodes_events_itself_where_a_part_of_its_way_is_replaced(monkeypatch):
    decoder = decoder_of("CompletionEvent")
    serializers = sdk_module("utils.serializers")
    response = sdk_module("utils.unmarshal_json_response")
    seen = []

    def watching(function):
        def watch(*args, **kwargs):
            seen.append(function.__name__)
            return function(*args, **kwargs)

        return watch

    with speedups.install():
        for _ in range(2):
            parse(f"data: {ONE}".encode(), decoder)
        for owner, name in (
            (decoder.__globals__, "unmarshal_json_response"),
            (vars(response), "unmarshal_json"),
            (vars(serializers), "unmarshal"),
            (vars(serializers), "from_json"),
        ):
            with monkeypatch.context() as patched:
                patched.setitem(owner, name, watching(owner[name]))
                parse(f"data: {ONE}".encode(), decoder)
            assert seen.pop() == name
            direct = decoders.EventDecoders(sdk_module("utils.eventstreaming")).decode
            assert direct(decoder, ONE.encode()) is None  # the first event
            assert direct(decoder, ONE.encode()) == parse(f"data: {ONE}".encode(), decoder)[0]
            assert not seen


@pytest.mark.skipif(SDK_1, reason="1.x decodes in its reader")
def test_a_model_that_was_replaced_is_the_one_that_events_become(monkeypatch):
    models = sdk_module("models")
    decoder = decoder_of("CompletionEvent")

    class Own(models.CompletionEvent):
        pass

    with speedups.install():
        for _ in range(2):
            assert type(parse(f"data: {ONE}".encode(), decoder)[0]) is models.CompletionEvent
        monkeypatch.setattr(models, "CompletionEvent", Own, raising=False)
        assert type(parse(f"data: {ONE}".encode(), decoder)[0]) is Own


@pytest.mark.skipif(SDK_1, reason="1.x decodes in its reader")
def test_absent_fields_of_an_event_are_unset_but_never_the_constant():
    unset = sdk_module("types.basemodel").UNSET
    with speedups.install():
        parse(f"data: {ONE}".encode(), decoder_of("CompletionEvent"))
        event = parse(f"data: {ONE}".encode(), decoder_of("CompletionEvent"))[0]
    delta = event.data.choices[0].delta
    assert delta.tool_calls == unset
    assert delta.tool_calls is not unset
    assert delta.model_fields_set == {"content"}
    assert event.model_dump(mode="json") == {"data": json.loads(ONE)}
    copied = pickle.loads(pickle.dumps(event))
    assert copied == event


@pytest.mark.skipif(SDK_1, reason="1.x decodes in its reader")
def test_a_decoder_that_does_more_is_asked_itself():
    decoder = decoder_of("CompletionEvent")
    names = {**decoder.__globals__, "note": lambda raw: seen.append(raw) or raw}
    call = "unmarshal_json_response(models.CompletionEvent, http_res, note(raw))"
    noting = eval(f"lambda http_res: lambda raw: {call}", names)(None)
    seen = []
    with speedups.install():
        for _ in range(2):
            parse(f"data: {ONE}".encode(), noting)
    assert [json.loads(raw) for raw in seen] == [{"data": json.loads(ONE)}] * 2
