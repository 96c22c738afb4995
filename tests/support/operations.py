"""Every generated operation of the installed SDK: find it, call it, answer it.

Nothing here knows an operation by name. Signatures say which arguments to make up, return types
say which answer to send, and the constants of the compiled method say verb, path and status. A
new SDK release is covered by installing it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import inspect
import io
import json
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, Literal

import pydantic
import typing_extensions
from http_records import RecordingServer, Reply

# Generated methods, sync and async, of releases that were counted. A later release has at least
# as many as the one before it in this table.
COUNTED = {(1, 9, 11): 136, (1, 12, 4): 150, (2, 10, 1): 506, (3, 7, 0): 604}

PER_CALL = ("retries", "server_url", "timeout_ms", "http_headers")
VERBS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
STREAMS = {"EventStream": "text/event-stream", "JsonLStream": "application/x-ndjson"}
JSON = "application/json"
TEXT = "{}-ü€"
TRACEPARENT = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def mistral_class() -> type:
    """Return `Mistral`, wherever the installed release keeps it."""
    try:
        return importlib.import_module("mistralai.client").Mistral
    except AttributeError:
        return importlib.import_module("mistralai").Mistral


# ---------------------------------------------------------------- operations


@dataclass(frozen=True)
class Operation:
    """One generated method, as `chat.complete_async`."""

    name: str
    function: types.FunctionType = field(repr=False)

    def bind(self, sdk: Any) -> Callable[..., Any]:
        """Return the method of this SDK instance."""
        return functools.reduce(getattr, self.name.split("."), sdk)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def hints(self) -> dict[str, Any]:
        return _function_hints(self.function)

    @functools.cached_property
    def constants(self) -> list[str]:
        """What the method compares and sends, in order of appearance."""
        return [c for c in self.function.__code__.co_consts[1:] if isinstance(c, str)]

    @property
    def method(self) -> str:
        return next(c for c in self.constants if c in VERBS)

    @property
    def path(self) -> str:
        """The template without its fragment, as `/v1/files/{file_id}`."""
        return next(c for c in self.constants if c.startswith("/")).partition("#")[0]

    @property
    def status(self) -> int:
        """The first status which the method takes for success."""
        return next(int(c) for c in self.constants if re.fullmatch("2[0-9][0-9]", c))

    def matches(self, raw_path: str, prefix: str) -> bool:
        """Say whether a raw path, query included, is this operation's behind the prefix."""
        template = re.sub(r"\\\{\w+\\\}", "[^/?]+", re.escape(prefix + self.path))
        return re.fullmatch(template + r"(\?.*)?", raw_path) is not None


@functools.cache
def _function_hints(function: types.FunctionType) -> dict[str, Any]:
    return typing.get_type_hints(function, include_extras=True)


def operations(sdk: Any) -> list[Operation]:
    """Return every generated operation below an SDK instance, sync and async, sorted by name."""
    base = next(c for c in type(sdk).__mro__ if c.__name__ == "BaseSDK")
    return sorted(_walk(sdk, base, ""), key=lambda operation: operation.name)


def _walk(node: Any, base: type, prefix: str) -> Iterator[Operation]:
    for name, member in inspect.getmembers_static(type(node), inspect.isfunction):
        function = inspect.unwrap(member)
        if not name.startswith("_") and _is_generated(function):
            yield Operation(prefix + name, function)
    children = {*getattr(node, "_sub_sdk_map", ()), *vars(node)} - {"parent_ref"}
    for name in sorted(children):
        child = getattr(node, name)
        if isinstance(child, base) and not name.startswith("_"):
            yield from _walk(child, base, f"{prefix}{name}.")


def _is_generated(function: types.FunctionType) -> bool:
    if not {*PER_CALL} <= {*inspect.signature(function).parameters}:
        return False
    return VERBS & {c for c in function.__code__.co_consts if isinstance(c, str)} != set()


# ---------------------------------------------------------------- values


class _TooDeepError(Exception):
    """A type needs itself; the caller takes another branch, or leaves the value out."""


def _plain(tp: Any, *, wire: bool) -> Any:
    moment = datetime(2024, 5, 17, 12, 30, 15, tzinfo=UTC)
    table: dict[Any, Any] = {
        int: 3,
        float: 0.25,
        bool: True,
        bytes: b"\x00file\r\n\xff",
        datetime: "2024-05-17T12:30:15Z" if wire else moment,
        date: "2024-05-17" if wire else moment.date(),
        Any: {"any": ["value-ü", 1, None]},
        object: {"any": "value"},
        dict: {"key": "value"},
        list: ["value"],
        types.NoneType: None,
    }
    return table[tp]


@dataclass
class Sampler:
    """Make up a value of a type.

    `full` fills in what is optional too; `wire` speaks JSON instead of Python; `variant` turns
    every choice (union, enum, literal) to its next alternative. Equal arguments, equal values.
    """

    models: Any
    full: bool = False
    wire: bool = False
    variant: int = 0
    text: str = TEXT
    stack: list[type] = field(default_factory=list)

    def value(self, tp: Any, name: str = "value") -> Any:
        origin, args = typing_extensions.get_origin(tp), typing_extensions.get_args(tp)
        if origin is typing.Annotated:
            return self._choice(args[0], args[1:], name)
        if hasattr(tp, "__value__"):
            return self.value(_alias(tp), name)
        if isinstance(tp, typing.ForwardRef | str):
            return self.value(getattr(self.models, getattr(tp, "__forward_arg__", tp)), name)
        if origin in {typing.Union, types.UnionType}:
            return self._choice(tp, (), name)
        if origin is Literal:
            return args[self.variant % len(args)]
        if typing_extensions.is_typeddict(tp):
            return self._record(tp)
        if isinstance(origin or tp, type):
            return self._instance(origin or tp, args, name)
        return self._scalar(tp, name)

    def _scalar(self, tp: Any, name: str) -> Any:
        if tp is str:
            return (self.text if not self.stack or "key" in self.text else TEXT).format(name)
        return _plain(tp, wire=self.wire)

    def _instance(self, cls: type, args: tuple[Any, ...], name: str) -> Any:
        if issubclass(cls, pydantic.BaseModel):
            return self._record(cls)
        if issubclass(cls, Enum):
            member = list(cls)[self.variant % len(cls)]
            return member.value if self.wire else member
        if issubclass(cls, io.IOBase | typing.IO):
            return io.BufferedReader(io.BytesIO(b"file\r\n"))
        if args and issubclass(cls, Mapping):
            return dict(zip(("key",), self._items(args[1], name), strict=False))
        if args:
            return self._items(args[0], name)
        return self._scalar(cls, name)

    def _items(self, tp: Any, name: str) -> list[Any]:
        try:
            return [self.value(tp, name)]
        except _TooDeepError:
            return []

    def _choice(self, tp: Any, metadata: tuple[Any, ...], name: str) -> Any:
        branches = list(_branches(tp, metadata))
        turn = self.variant % len(branches)
        for branch, key, tag in branches[turn:] + branches[:turn]:
            try:
                value = self.value(branch, name)
            except _TooDeepError:
                continue
            return {**value, key: tag} if key else value
        raise _TooDeepError

    def _record(self, cls: type) -> dict[str, Any]:
        if self.stack.count(cls) > 1:
            raise _TooDeepError
        self.stack.append(cls)
        try:
            return dict(self._members(cls))
        finally:
            self.stack.pop()

    def _members(self, cls: type) -> Iterator[tuple[str, Any]]:
        full = self.full and len(self.stack) <= 5
        for member in _record_members(cls):
            if not (full or member.needed):
                continue
            try:
                yield member.key, self.value(member.hint, member.key)
            except _TooDeepError:
                if member.needed:
                    raise


@dataclass(frozen=True)
class _Member:
    key: str
    hint: Any
    needed: bool


@functools.cache
def _record_members(cls: type) -> list[_Member]:
    """Return the fields of a model or a TypedDict; constants, as a tag, count as needed."""
    hints = typing.get_type_hints(cls, localns=_Names(cls), include_extras=True)
    if not issubclass(cls, pydantic.BaseModel):
        return [_typed_member(name, hint) for name, hint in hints.items()]
    return [
        _Member(
            info.alias or name, hints[name], info.is_required() or isinstance(info.default, str)
        )
        for name, info in cls.model_fields.items()
        if "Callable" not in repr(hints[name])
    ]


def _typed_member(name: str, hint: Any) -> _Member:
    if typing_extensions.get_origin(hint) is not typing_extensions.NotRequired:
        return _Member(name, hint, needed=True)
    (hint,) = typing_extensions.get_args(hint)
    return _Member(name, hint, needed=typing_extensions.get_origin(hint) is Literal)


def _alias(tp: Any) -> Any:
    """Return what a type alias, as `Nullable[int]`, stands for."""
    args = typing_extensions.get_args(tp)
    return tp.__value__[args] if args else tp.__value__


class _Names(dict[str, Any]):
    """The names of a model's module, then those the SDK imports for type checkers only."""

    def __init__(self, cls: type) -> None:
        super().__init__(vars(sys.modules[cls.__module__]))
        self._package = sys.modules[cls.__module__.rpartition(".")[0]]

    def __missing__(self, name: str) -> Any:
        try:
            return getattr(self._package, name)
        except AttributeError:
            raise KeyError(name) from None


def _branches(tp: Any, metadata: tuple[Any, ...]) -> Iterator[tuple[Any, str | None, Any]]:
    """Yield (type, discriminator, tag) for each alternative, the SDK's fallbacks left out."""
    for mark in metadata:
        keywords = getattr(getattr(mark, "func", None), "keywords", {})
        if "variants" in keywords:
            for tag, variant in keywords["variants"].items():
                yield variant, keywords["disc_key"], tag
            return
    if hasattr(tp, "__value__"):
        tp = _alias(tp)
    members = [tp]
    if typing_extensions.get_origin(tp) in {typing.Union, types.UnionType}:
        members = [m for m in typing_extensions.get_args(tp) if not _is_fallback(m)]
    typed = [m for m in members if not _is_typed_dict(m)]
    key = _discriminator(metadata)
    for member in typed or members:
        tags = [m.tag for m in getattr(member, "__metadata__", ()) if hasattr(m, "tag")]
        yield member, key if tags else None, tags[0] if tags else None


def _is_fallback(member: Any) -> bool:
    name = getattr(member, "__name__", "")
    return name in {"NoneType", "Unset"} or name.startswith(("Unknown", "Unrecognized"))


def _is_typed_dict(member: Any) -> bool:
    return "TypedDict" in getattr(member, "__name__", repr(member))


def _discriminator(metadata: tuple[Any, ...]) -> str | None:
    for mark in metadata:
        found = getattr(mark, "discriminator", None)
        if isinstance(found, str):
            return found
        if found is not None:  # `lambda m: get_discriminator(m, "role", "role")`
            return found.__code__.co_consts[-1]
    return None


# ---------------------------------------------------------------- arguments and answers


def arguments(operation: Operation, *, full: bool = False, variant: int = 0) -> dict[str, Any]:
    """Make up the arguments of a call: the required ones, or with `full` all of them."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(operation.function).parameters.items():
        if name in {"self", *PER_CALL}:
            continue
        if parameter.default is not parameter.empty and not full:
            continue
        key = name == "security"
        sampler = Sampler(_models(operation), full=full or key, variant=variant)
        # Escapes and blanks in a path parameter are where a rewritten URL would go wrong.
        sampler.text = "{}-key" if key else "{}%2F1 b"
        found[name] = sampler.value(operation.hints[name], name)
    return found


def _models(operation: Operation) -> Any:
    return operation.function.__globals__["models"]


@dataclass(frozen=True)
class Answer:
    """What a server sends back."""

    status: int = 200
    content_type: str = JSON
    body: bytes = b"{}"

    @property
    def reply(self) -> Reply:
        kind = {"content-type": self.content_type} if self.content_type else {}
        return Reply(self.status, self.body, kind)


def answer(operation: Operation, *, full: bool = True, variant: int = 0) -> Answer:
    """Make up an answer which the SDK parses into the operation's response type."""
    returned = _bare(operation.hints.get("return", types.NoneType), variant)
    if returned is types.NoneType:
        return Answer(operation.status, "", b"")
    kind = _stream_kind(returned)
    if kind is not None:
        render = _event_stream if kind == STREAMS["EventStream"] else _lines
        return Answer(operation.status, kind, render(operation, returned, full))
    if getattr(returned, "__name__", "") == "Response":
        media = next(c for c in operation.constants if re.fullmatch(r"\w+/[\w-]+", c))
        return Answer(operation.status, media, b'\x00\xff{"raw": 1}\n')
    fields = getattr(returned, "model_fields", {})
    if "result" in fields and {"next", "headers"} & {*fields}:
        returned = typing.get_type_hints(returned, include_extras=True)["result"]
    return Answer(operation.status, JSON, _json(operation, returned, full, variant))


def _json(operation: Operation, tp: Any, full: bool, variant: int) -> bytes:
    """Return the first variant which pydantic takes: some unions refuse some of their own."""
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(tp)
    for turn in range(variant, variant + 4):
        value = Sampler(_models(operation), full=full, wire=True, variant=turn).value(tp)
        with contextlib.suppress(ValueError):
            adapter.validate_python(value)
            return json.dumps(value).encode()
    msg = f"no made-up answer fits the return type of {operation.name}"
    raise TypeError(msg)


def _bare(tp: Any, variant: int) -> Any:
    """Strip `Optional`; where a stream or a value is returned, take the variant's."""
    union = _alias(tp) if hasattr(tp, "__value__") else tp
    if typing_extensions.get_origin(union) not in {typing.Union, types.UnionType}:
        return tp
    members = [m for m in typing_extensions.get_args(union) if m is not types.NoneType]
    if len(members) > 1 and not any(map(_stream_kind, members)):
        return tp
    return members[variant % len(members)]


def _stream_kind(tp: Any) -> str | None:
    """Return the media type of `EventStream[type]` and `JsonLStream[type]`."""
    name = getattr(typing_extensions.get_origin(tp), "__name__", "")
    return STREAMS.get(name.removesuffix("Async"))


def _samples(operation: Operation, stream: Any, full: bool) -> Iterator[Any]:
    """Yield one event for every alternative of the type in `EventStream[type]`."""
    (tp,) = typing_extensions.get_args(stream)
    for variant in range(12):
        yield Sampler(_models(operation), full=full, wire=True, variant=variant).value(tp)


def _lines(operation: Operation, stream: Any, full: bool) -> bytes:
    lines = (json.dumps(value) + "\n" for value in _samples(operation, stream, full))
    return "".join(dict.fromkeys(lines)).encode()


def _event_stream(operation: Operation, stream: Any, full: bool) -> bytes:
    events: dict[str, None] = {}
    for value in _samples(operation, stream, full):
        data = value.pop("data", None)
        if "event" in value and isinstance(data, dict) and "type" in data:
            value["event"] = data["type"]
        if value.get("event") == "error":  # the SDK raises it, and the rest is never read
            continue
        head = "".join(f"{name}: {text}\n" for name, text in value.items())
        events[f"{head}data: {json.dumps(data)}\n\n"] = None
    end = "data: [DONE]\n\n" if "[DONE]" in operation.constants else ""
    return ("".join(events) + end).encode()


# ---------------------------------------------------------------- a call


@dataclass
class Outcome:
    """What came of one call: the SDK's value, drained, or what it raised."""

    value: Any = None
    error: Exception | None = None

    @property
    def fingerprint(self) -> Any:
        """Everything a caller can tell apart, comparable with `==`."""
        return fingerprint(self.value), type(self.error), str(self.error)


def run(operation: Operation, sdk: Any, **extra: Any) -> Outcome:
    """Call a sync operation with made-up arguments; drain its stream or raw bytes."""
    with _deprecated_too():
        try:
            return Outcome(_drain(_call(operation, sdk, extra)))
        except Exception as error:
            return Outcome(error=error)


async def run_async(operation: Operation, sdk: Any, **extra: Any) -> Outcome:
    """Await an async operation with made-up arguments; drain its stream or raw bytes."""
    with _deprecated_too():
        try:
            return Outcome(await _drain_async(await _call(operation, sdk, extra)))
        except Exception as error:
            return Outcome(error=error)


def _call(operation: Operation, sdk: Any, extra: dict[str, Any]) -> Any:
    return operation.bind(sdk)(**{**arguments(operation), **extra})


@contextlib.contextmanager
def _deprecated_too() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _drain(value: Any) -> Any:
    if hasattr(value, "generator"):
        with value:
            return list(value)
    if hasattr(value, "iter_raw"):
        return value.read()
    return value


async def _drain_async(value: Any) -> Any:
    if hasattr(value, "generator"):
        async with value:
            return [event async for event in value]
    if hasattr(value, "aiter_raw"):
        return await value.aread()
    return value


def fingerprint(value: Any) -> Any:
    """Return classes, fields set and values of a result, comparable with `==`."""
    if isinstance(value, pydantic.BaseModel):
        items = {**vars(value), **(value.model_extra or {})}
        plain = [(name, fingerprint(item)) for name, item in items.items() if not callable(item)]
        return type(value), frozenset(value.model_fields_set), plain
    if isinstance(value, dict):
        return type(value), [(name, fingerprint(item)) for name, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [fingerprint(item) for item in value]
    return type(value), value


# ---------------------------------------------------------------- what was sent


@dataclass(frozen=True)
class Recorded:
    """A request as it came over the wire; the raw path includes the query."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def portable(self) -> Recorded:
        """The same request without what is random in it; header names lowered and sorted.

        Random are the multipart boundary, and the trace the SDK begins to execute a workflow.
        """
        found = re.search(r"boundary=(\w+)", dict(self.lowered).get("content-type", ""))
        boundary = found[1] if found else "BOUNDARY"
        headers = [(name, _fixed(text, boundary)) for name, text in self.lowered]
        body = _fixed(self.body.decode("latin-1"), boundary).encode("latin-1")
        return Recorded(self.method, self.path, headers, body)

    @property
    def lowered(self) -> list[tuple[str, str]]:
        return sorted((name.lower(), text) for name, text in self.headers)


def _fixed(text: str, boundary: str) -> str:
    return TRACEPARENT.sub("TRACEPARENT", text.replace(boundary, "BOUNDARY"))


# ---------------------------------------------------------------- all of them


@dataclass
class Visit:
    """One operation called once: what arrived, and what the caller got."""

    operation: Operation
    outcome: Outcome
    requests: list[Recorded]

    def __str__(self) -> str:
        arrived = ", ".join(f"{r.method} {r.path}" for r in self.requests) or "nothing"
        return f"{self.operation.name}: {arrived} arrived, raised {self.outcome.error!r}"


def visit_all(
    make: Callable[[], Any], server: RecordingServer, *, full: bool = False, variant: int = 0
) -> list[Visit]:
    """Call every operation of a client from `make()`, one by one: the sync ones, then the async.

    The server answers each with a made-up answer of the right type.
    """
    with make() as sdk:
        plans = [_plan(operation, full, variant) for operation in operations(sdk)]
        visits = [_visit(plan, sdk, server) for plan in plans if not plan.operation.is_async]
    later = [plan for plan in plans if plan.operation.is_async]
    return visits + asyncio.run(_visit_async(later, make, server))


@dataclass
class _Plan:
    operation: Operation
    arguments: dict[str, Any] = field(default_factory=dict)
    answer: Answer = Answer()
    error: Exception | None = None


def _plan(operation: Operation, full: bool, variant: int) -> _Plan:
    try:
        call = arguments(operation, full=full, variant=variant)
        return _Plan(operation, call, answer(operation, full=full, variant=variant))
    except Exception as error:
        return _Plan(operation, error=error)


def _visit(plan: _Plan, sdk: Any, server: RecordingServer) -> Visit:
    if plan.error is not None:
        return Visit(plan.operation, Outcome(error=plan.error), [])
    server.requests.clear()
    server.responder = lambda _: plan.answer.reply
    outcome = run(plan.operation, sdk, **plan.arguments)
    return Visit(plan.operation, outcome, _arrived(server))


def _arrived(server: RecordingServer) -> list[Recorded]:
    return [Recorded(each.method, each.path, each.headers, each.body) for each in server.requests]


async def _visit_async(
    plans: list[_Plan], make: Callable[[], Any], server: RecordingServer
) -> list[Visit]:
    visits: list[Visit] = []
    async with make() as sdk:
        for plan in plans:
            if plan.error is not None:
                visits.append(Visit(plan.operation, Outcome(error=plan.error), []))
                continue
            server.requests.clear()
            server.responder = lambda _, plan=plan: plan.answer.reply
            outcome = await run_async(plan.operation, sdk, **plan.arguments)
            visits.append(Visit(plan.operation, outcome, _arrived(server)))
    return visits
