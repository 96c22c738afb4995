"""Hooks, the SDK's own and others, and what makes them wait."""

from __future__ import annotations

import asyncio
import functools
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from speedup_tools import sdk_module

from mistral_cf_adapter import _sdk, make_client
from mistral_cf_adapter.speedups.registry import SPEEDUPS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mistral_cf_adapter.testing import LocalGateway

NAME = "hooks in threads"
(SEAM,) = (speedup for speedup in SPEEDUPS if speedup.name == NAME)
BEFORE, AFTER, ERROR = STAGES = ("before_request", "after_success", "after_error")
ACCOUNT = "_hooks.service_account_auth:ServiceAccountAuthHook.before_request"
HOOKS_3, HOOKS_2 = SEAM.sources
basesdk = sdk_module("basesdk")
HAS_THREADS = hasattr(basesdk, "run_sync_in_thread")
HAS_ACCOUNTS = find_spec(f"{_sdk.ROOT}._hooks.service_account_auth") is not None

since_2 = pytest.mark.skipif(not HAS_THREADS, reason="the SDK runs hooks in threads since 2.0")
since_3 = pytest.mark.skipif(not HAS_ACCOUNTS, reason="the SDK has service accounts since 3.0")


def client_of(gateway: LocalGateway, **settings: Any) -> Any:
    """Return a client that leaves the speed-ups to the test."""
    return make_client(gateway.settings(speedups=False, **settings))


def hooks_of(sdk: Any) -> Any:
    return sdk.sdk_configuration.__dict__["_hooks"]


def hook_of(sdk: Any, name: str) -> Any:
    """Return one of the client's hooks by the name of its class."""
    hooks = hooks_of(sdk)
    every = [hook for stage in STAGES for hook in getattr(hooks, f"{stage}_hooks")]
    return next(hook for hook in every if type(hook).__name__ == name)


def hook_class(name: str) -> Any:
    return getattr(sdk_module("_hooks.registration"), name)


# ---------------------------------------------------------------- ways of calling

ASK = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello"}]}
COMPLETION = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "old",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
EXECUTION = {
    "workflow_name": "w",
    "execution_id": "e",
    "root_execution_id": "e",
    "status": "RUNNING",
    "start_time": "2030-01-01T00:00:00Z",
    "end_time": None,
    "result": None,
}
DEPRECATED = {"x-model-deprecation-timestamp": "2030-01-01"}


async def chat(sdk: Any) -> Any:
    return await sdk.chat.complete_async(**ASK)


async def stream(sdk: Any) -> Any:
    async with await sdk.chat.stream_async(**ASK) as events:
        return [event.data async for event in events]


async def execute(sdk: Any) -> Any:
    return await sdk.workflows.execute_workflow_async(workflow_identifier="w", input={"a": 1})


async def execute_registration(sdk: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        call = sdk.workflows.execute_workflow_registration_async(workflow_registration_id="w")
    return await call


async def patient_chat(sdk: Any) -> Any:
    utils = sdk_module("utils")
    backoff = utils.BackoffStrategy(1, 1, 1, 10_000)
    return await sdk.chat.complete_async(**ASK, retries=utils.RetryConfig("backoff", backoff, True))


def nothing(gateway: LocalGateway) -> None:
    """Let the gateway answer as it does by itself."""


def refuses(gateway: LocalGateway) -> None:
    gateway.upstream_fail(422)


def stumbles(gateway: LocalGateway) -> None:
    gateway.upstream_fail(503, times=2)


def deprecates(gateway: LocalGateway) -> None:
    gateway.reply_json(COMPLETION, headers=DEPRECATED)


def executes(gateway: LocalGateway) -> None:
    gateway.reply_json(EXECUTION)


def is_wrong(gateway: LocalGateway) -> None:
    gateway.reply_json({"unexpected": []})


# ---------------------------------------------------------------- hooks that are not the SDK's


def place() -> str:
    """Tell where a hook runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "thread"
    return "loop"


class Watching:
    """A hook of the user's for every stage, which says where it runs."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def before_request(self, context: Any, request: Any) -> Any:
        self.seen.append(place())
        request.headers["x-mine"] = f"{len(self.seen)} {context.operation_id}"
        return request

    def after_success(self, context: Any, response: Any) -> Any:
        self.seen.append(f"{place()} {response.status_code}")
        return response

    def after_error(self, context: Any, response: Any, error: Any) -> Any:
        self.seen.append(f"{place()} {response and response.status_code} {type(error).__name__}")
        return response, error


def registered(stage: str, kind: Any = Watching) -> Any:
    def arrange(sdk: Any, patch: Any, seen: list[str]) -> None:
        getattr(hooks_of(sdk), f"register_{stage}_hook")(kind(seen))

    return arrange


def failing(stage: str, *, returns: bool) -> Any:
    """Register a hook that raises, or returns, an exception."""

    class Failing(Watching):
        pass

    def fail(self: Watching, *_args: Any) -> Any:
        self.seen.append(place())
        error = LookupError("mine")
        if returns:
            return error
        raise error

    setattr(Failing, stage, fail)
    return registered(stage, Failing)


class Swallowing(Watching):
    def after_error(self, *_args: Any) -> Any:
        self.seen.append(place())
        return None, None


def watched(function: Any, seen: list[str]) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        seen.append(place())
        return function(*args, **kwargs)

    return wrapper


def patched(name: str, stage: str) -> Any:
    """Replace a method of one of the SDK's classes."""

    def arrange(sdk: Any, patch: Any, seen: list[str]) -> None:
        cls = sdk_module("_hooks.sdkhooks").SDKHooks if name == "SDKHooks" else hook_class(name)
        patch.setattr(cls, stage, watched(getattr(cls, stage), seen))

    return arrange


def patched_helper(sdk: Any, patch: Any, seen: list[str]) -> None:
    cls = hook_class("TracingHook")
    helper = watched(cls._store_span_on_request, seen)
    patch.setattr(cls, "_store_span_on_request", staticmethod(helper))


def overridden(name: str, stage: str) -> Any:
    """Give an instance of one of the SDK's classes a method of its own."""

    def arrange(sdk: Any, patch: Any, seen: list[str]) -> None:
        owner = hooks_of(sdk) if name == "SDKHooks" else hook_of(sdk, name)
        setattr(owner, stage, watched(getattr(owner, stage), seen))

    return arrange


def subclassed(name: str, method: str, *, static: bool = False) -> Any:
    """Make one of the client's hooks, with all it has found out, one of a subclass."""

    def arrange(sdk: Any, patch: Any, seen: list[str]) -> None:
        cls = hook_class(name)
        mine = watched(getattr(cls, method), seen)
        members = {method: staticmethod(mine) if static else mine}
        hook_of(sdk, name).__class__ = type(f"My{name}", (cls,), members)

    return arrange


class Spans(SpanProcessor):
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.seen.append(place())

    def on_end(self, span: Any) -> None:
        self.seen.append(f"{place()} {span.name} {span.status.status_code}")


def traced(*, globally: bool) -> Any:
    def arrange(sdk: Any, patch: Any, seen: list[str]) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Spans(seen))
        configure = import_module("mistralai.extra.observability.telemetry").configure_telemetry
        if globally:
            patch.setattr(trace, "_TRACER_PROVIDER", provider)
        configure(sdk, "global" if globally else provider, redaction=False)

    return arrange


def encoding(sdk: Any, patch: Any, seen: list[str]) -> None:
    name = sdk_module("_hooks.workflow_encoding_hook")._ENCODING_CONFIG_ID_ATTR
    setattr(sdk.sdk_configuration, name, "mine")


def service_account(sdk: Any, patch: Any, seen: list[str]) -> None:
    patch.setenv("MISTRAL_SA_TOKEN_PATH", "/no/such/file")


def untouched(sdk: Any, patch: Any, seen: list[str]) -> None:
    """Leave the client as it is."""


class Case(NamedTuple):
    """What is done to a client, and the stages of its next call that keep their thread."""

    name: str
    arrange: Any
    trips: list[str]
    call: Callable[[Any], Coroutine[Any, Any, Any]] = chat
    script: Callable[[LocalGateway], None] = nothing


AGENT, TRACING, WARNING = "CustomUserAgentHook", "TracingHook", "DeprecationWarningHook"
QUICK = [
    Case("chat", untouched, []),
    Case("stream", untouched, [], stream),
    Case("422", untouched, [], chat, refuses),
    Case("422 to a stream", untouched, [], stream, refuses),
    Case("503 and retries", untouched, [], patient_chat, stumbles),
    Case("wrong answer", untouched, [], chat, is_wrong),
]
THREADED = [
    Case("user's before", registered(BEFORE), [BEFORE]),
    Case("user's before, stream", registered(BEFORE), [BEFORE], stream),
    Case("user's before, retries", registered(BEFORE), [BEFORE] * 3, patient_chat, stumbles),
    Case("user's after", registered(AFTER), [AFTER]),
    Case("user's after, stream", registered(AFTER), [AFTER], stream),
    Case("user's error", registered(ERROR), [ERROR], chat, refuses),
    Case("before raises", failing(BEFORE, returns=False), [BEFORE]),
    Case("before returns error", failing(BEFORE, returns=True), [BEFORE]),
    Case("after raises", failing(AFTER, returns=False), [AFTER]),
    Case("after returns error", failing(AFTER, returns=True), [AFTER]),
    Case("error raises", failing(ERROR, returns=False), [ERROR], chat, refuses),
    Case("error returns error", failing(ERROR, returns=True), [ERROR], chat, refuses),
    Case("error swallows", registered(ERROR, Swallowing), [ERROR], chat, refuses),
    Case("subclass before", subclassed(AGENT, BEFORE), [BEFORE]),
    Case("subclass after", subclassed(WARNING, AFTER), [AFTER]),
    Case("subclass error", subclassed(TRACING, ERROR), [ERROR], chat, refuses),
    Case("patched before", patched(AGENT, BEFORE), [BEFORE]),
    Case("patched after", patched(WARNING, AFTER), [AFTER]),
    Case("patched error", patched(TRACING, ERROR), [ERROR], chat, refuses),
    Case("own attribute before", overridden(AGENT, BEFORE), [BEFORE]),
    Case("own attribute after", overridden(WARNING, AFTER), [AFTER]),
    Case("own attribute error", overridden(TRACING, ERROR), [ERROR], chat, refuses),
    Case("SDKHooks before", patched("SDKHooks", BEFORE), [BEFORE]),
    Case("SDKHooks after", patched("SDKHooks", AFTER), [AFTER]),
    Case("SDKHooks error", patched("SDKHooks", ERROR), [ERROR], chat, refuses),
    Case("own SDKHooks attribute", overridden("SDKHooks", BEFORE), [BEFORE]),
    Case("traced globally", traced(globally=True), [BEFORE, AFTER]),
    Case("traced by a provider", traced(globally=False), [BEFORE, AFTER]),
    Case("traced error", traced(globally=True), [BEFORE, ERROR], chat, refuses),
    Case("encoding", encoding, [BEFORE, AFTER]),
    Case("deprecated", untouched, [AFTER], chat, deprecates),
    Case("deprecated, stream", untouched, [AFTER], stream, deprecates),
    Case("execute", untouched, [BEFORE], execute, executes),
    Case("execute registration", untouched, [BEFORE], execute_registration, executes),
]
HELPERS = [
    Case("subclass", subclassed(TRACING, "_store_span_on_request", static=True), [BEFORE]),
    Case("patched", patched_helper, [BEFORE]),
]
EARLY = {"user's before", "user's after", "traced globally", "traced by a provider", "encoding"}


def name_of(case: Case) -> str:
    return case.name
