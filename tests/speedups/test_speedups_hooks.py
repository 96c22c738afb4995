"""Async calls run the SDK's own hooks where they run; whatever may block keeps its thread."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from fault_server import refusing
from hook_records import (
    ACCOUNT,
    AFTER,
    ASK,
    BEFORE,
    EARLY,
    ERROR,
    HAS_ACCOUNTS,
    HELPERS,
    HOOKS_2,
    HOOKS_3,
    NAME,
    QUICK,
    SEAM,
    STAGES,
    THREADED,
    Case,
    Watching,
    basesdk,
    chat,
    client_of,
    deprecates,
    encoding,
    name_of,
    patched_helper,
    place,
    registered,
    service_account,
    since_2,
    since_3,
    stream,
    untouched,
    watched,
)
from operations import Recorded
from speedup_tools import nobody_holding, outcome, sdk_module

from mistral_cf_adapter import _sdk, speedups
from mistral_cf_adapter.speedups import patches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_cf_adapter.testing import LocalGateway


@pytest.fixture(autouse=True)
def _bare() -> Iterator[None]:
    with nobody_holding():
        yield


@pytest.fixture
def gateway(local_gateway: LocalGateway) -> LocalGateway:
    return local_gateway


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages whose hooks went to a thread, in order."""
    seen: list[str] = []
    to_thread = asyncio.to_thread

    async def recording(func: Any, /, *args: Any, **kwargs: Any) -> Any:
        if getattr(func, "__name__", None) in STAGES:
            seen.append(func.__name__)
        return await to_thread(func, *args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", recording)
    return seen


# ---------------------------------------------------------------- each with its outcome


def threaded(trips: list[str], case: Case) -> list[str]:
    """Return the trips that a case is about: another hook of the same kind may make one, too."""
    return [stage for stage in trips if stage in case.trips]


class Seen(NamedTuple):
    """Everything that can be told apart about calls, but for the threads."""

    outcome: Any
    requests: list[Any]
    places: list[str]
    messages: list[str]


def portable(request: Any) -> Recorded:
    """Return a request as it arrived, without what is random in it: the ids of traces."""
    headers = [
        (name, "RANDOM" if name.startswith("cf-aig-otel-") else value)
        for name, value in request.headers.items()
    ]
    return Recorded(request.method, request.raw_path, headers, request.body).portable


def witness(
    gateway: LocalGateway, case: Case, caplog: Any, trips: list[str], *, early: bool = False
) -> Seen:
    """Call with a client whose first call is over, and see what comes of it."""
    gateway.reset()
    caplog.clear()
    sdk = client_of(gateway)
    places: list[str] = []
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        if early:
            case.arrange(sdk, patch, places)
        outcome(lambda: runner.run(chat(sdk)))
        if not early:
            case.arrange(sdk, patch, places)
        trips.clear()
        case.script(gateway)
        result = outcome(lambda: runner.run(case.call(sdk)))
    gateway.assert_all_used()
    requests = [portable(request) for request in gateway.requests]
    messages = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    return Seen(result, requests, places, messages)


@since_2
@pytest.mark.parametrize("case", QUICK, ids=name_of)
def test_after_the_first_call_nothing_goes_to_a_thread_and_all_stays_equal(
    gateway, trips, caplog, case
):
    bare = witness(gateway, case, caplog, trips)
    assert len(trips) >= 2
    with speedups.install():
        assert NAME in speedups.active()
        assert witness(gateway, case, caplog, trips) == bare
    assert trips == []


@since_2
@pytest.mark.parametrize("case", THREADED, ids=name_of)
def test_what_may_block_keeps_its_thread_and_its_outcome(gateway, trips, caplog, case):
    bare = witness(gateway, case, caplog, trips)
    assert set(trips) >= set(case.trips)
    with speedups.install():
        assert witness(gateway, case, caplog, trips) == bare
    assert threaded(trips, case) == case.trips
    assert bare.places or case.arrange in {untouched, encoding}
    assert not [where for where in bare.places if "loop" in where]


@since_2
@pytest.mark.parametrize("case", [case for case in THREADED if case.name in EARLY], ids=name_of)
def test_what_is_there_before_the_first_call_keeps_its_thread_too(gateway, trips, caplog, case):
    bare = witness(gateway, case, caplog, trips, early=True)
    with speedups.install():
        assert witness(gateway, case, caplog, trips, early=True) == bare
    assert threaded(trips, case) == case.trips


@since_2
@pytest.mark.parametrize("case", HELPERS, ids=name_of)
def test_a_hook_with_a_helper_that_is_not_the_sdks_keeps_its_thread(gateway, trips, caplog, case):
    bare = witness(gateway, case, caplog, trips)
    with speedups.install():
        assert witness(gateway, case, caplog, trips) == bare
    assert threaded(trips, case) == case.trips


@since_2
def test_a_helper_that_was_replaced_before_stays_in_a_thread(gateway, trips, monkeypatch):
    places: list[str] = []
    patched_helper(None, monkeypatch, places)
    sdk = client_of(gateway)
    with speedups.install(), asyncio.Runner() as runner:
        for _ in range(2):
            runner.run(chat(sdk))
    assert places == ["thread"] * 2
    assert trips.count(BEFORE) == 2


@since_2
def test_a_users_hook_is_seen_by_the_gateway(gateway):
    sdk = client_of(gateway)
    registered(BEFORE)(sdk, None, [])
    with speedups.install():
        asyncio.run(chat(sdk))
    assert gateway.requests[-1].headers["x-mine"].startswith("1 chat_completion")


@since_2
def test_a_deprecated_model_is_warned_of_once_per_call(gateway, caplog):
    sdk = client_of(gateway)
    deprecates(gateway)
    with speedups.install():
        asyncio.run(chat(sdk))
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "The model old is deprecated" in record.getMessage()


@since_2
def test_the_first_call_of_each_client_settles_its_tracing_in_a_thread(gateway, trips):
    with speedups.install(), asyncio.Runner() as runner:
        for _ in range(2):
            sdk = client_of(gateway)
            found = []
            for _ in range(3):
                runner.run(chat(sdk))
                found.append([*trips])
                trips.clear()
            assert found == [[BEFORE], [], []]


@since_2
def test_a_first_call_that_is_synchronous_settles_the_tracing_too(gateway, trips):
    sdk = client_of(gateway)
    with speedups.install():
        sdk.chat.complete(**ASK)
        asyncio.run(chat(sdk))
    assert trips == []


@since_2
def test_a_refused_connection_is_the_same_error_without_a_thread(gateway, trips):
    def refused() -> list[Any]:
        sdk = client_of(gateway, base_url=f"{origin}/v1/acc/default")
        with asyncio.Runner() as runner:
            first = outcome(lambda: runner.run(chat(sdk)))
            trips.clear()
            return [first, *(outcome(lambda: runner.run(chat(sdk))) for _ in range(2))]

    with refusing() as origin:
        bare = refused()
        assert trips == [BEFORE, ERROR] * 2
        with speedups.install():
            assert refused() == bare
        assert trips == []


@since_2
@pytest.mark.parametrize("setting", ["global", "dedicated", "false", "nonsense"])
def test_the_variable_for_telemetry_counts_as_without_the_speedups(
    gateway, trips, caplog, monkeypatch, setting
):
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", setting)
    bare = witness(gateway, QUICK[0], caplog, trips)
    with speedups.install():
        assert witness(gateway, QUICK[0], caplog, trips) == bare
    expected = {"global": [BEFORE, AFTER], "false": []}
    assert trips == expected.get(setting, [BEFORE, ERROR])


# ---------------------------------------------------------------- service accounts


@since_2
def test_a_service_account_keeps_the_thread_where_the_sdk_knows_any(gateway, trips, caplog):
    case = Case("account", service_account, [BEFORE] if HAS_ACCOUNTS else [])
    bare = witness(gateway, case, caplog, trips)
    with speedups.install():
        assert witness(gateway, case, caplog, trips) == bare
    assert trips == case.trips


@since_3
@pytest.mark.parametrize("content", ["mistral-test-key\n", "wrong", "", None])
def test_the_token_of_a_service_account_is_read_in_a_thread(
    gateway, trips, monkeypatch, tmp_path, content
):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("MISTRAL_SA_TOKEN_PATH", str(path))

    def calls() -> Any:
        gateway.reset()
        trips.clear()
        sdk = client_of(gateway, mistral_api_key=None)
        with asyncio.Runner() as runner:
            found = [outcome(lambda: runner.run(chat(sdk))) for _ in range(2)]
        return found, [request.headers["authorization"] for request in gateway.requests]

    bare = calls()
    assert bare[1] == ([f"Bearer {content.strip()}"] * 2 if content else [])
    with speedups.install():
        assert calls() == bare
    assert trips.count(BEFORE) == 2


@since_3
@pytest.mark.parametrize("unknown", ["by the table", "by its text"])
def test_a_service_account_hook_of_an_unknown_source_keeps_the_thread(gateway, trips, unknown):
    changed = {**HOOKS_3, ACCOUNT: frozenset({"new"})}
    sources = (HOOKS_2,) if unknown == "by the table" else (changed, HOOKS_2)
    applied = patches.apply(SEAM._replace(sources=sources), _sdk.ROOT)
    try:
        sdk = client_of(gateway)
        with asyncio.Runner() as runner:
            runner.run(chat(sdk))
            trips.clear()
            runner.run(chat(sdk))
    finally:
        applied.undo()
    assert trips == [BEFORE]


# ---------------------------------------------------------------- context and load

WHO = ContextVar("WHO", default="nobody")


class Setting(Watching):
    def before_request(self, context: Any, request: Any) -> Any:
        request.headers["x-who"] = WHO.get()
        WHO.set("hook")
        return request

    def after_success(self, context: Any, response: Any) -> Any:
        self.seen.append(WHO.get())
        WHO.set("hook")
        return response


@since_2
@pytest.mark.parametrize("fast", [False, True], ids=["bare", "fast"])
def test_a_users_hook_sees_the_callers_context_and_leaks_nothing_into_it(gateway, fast):
    sdk = client_of(gateway)
    seen: list[str] = []
    for stage in (BEFORE, AFTER):
        registered(stage, Setting)(sdk, None, seen)

    async def call() -> str:
        WHO.set("caller")
        for _ in range(2):
            await chat(sdk)
        return WHO.get()

    with speedups.install() if fast else nullcontext():
        assert asyncio.run(call()) == "caller"
    assert seen == ["caller"] * 2
    assert [request.headers["x-who"] for request in gateway.requests] == ["caller"] * 2


class Full(ThreadPoolExecutor):
    """An executor without a thread to spare."""

    def submit(self, *_args: Any, **_kwargs: Any) -> Any:
        msg = "a call asked for a thread"
        raise AssertionError(msg)


@since_2
@pytest.mark.parametrize("call", [chat, stream])
def test_fifty_calls_at_once_need_no_thread(gateway, call):
    async def many() -> list[Any]:
        sdk = client_of(gateway)
        await chat(sdk)
        asyncio.get_running_loop().set_default_executor(Full())
        return await asyncio.gather(*(call(sdk) for _ in range(50)), return_exceptions=True)

    def kinds(answers: list[Any]) -> set[type]:
        return {type(answer) for answer in answers}

    assert kinds(asyncio.run(many())) == {AssertionError}
    gateway.reset()
    with speedups.install():
        answers = asyncio.run(many())
    assert kinds(answers).isdisjoint({AssertionError})
    assert answers == [answers[0]] * 50
    assert len(gateway.requests) == 51


@since_2
def test_fifty_first_calls_at_once_are_all_answered(gateway):
    async def many() -> list[Any]:
        sdk = client_of(gateway)
        return await asyncio.gather(*(chat(sdk) for _ in range(50)))

    with speedups.install():
        answers = asyncio.run(many())
    assert answers == [answers[0]] * 50


@since_2
def test_a_call_that_is_cancelled_is_over_and_the_next_one_is_answered(gateway):
    async def work() -> Any:
        sdk = client_of(gateway)
        await chat(sdk)
        with gateway.fault("stall"):
            task = asyncio.create_task(chat(sdk))
            while len(gateway.requests) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return await chat(sdk)

    with speedups.install():
        assert asyncio.run(work()).choices


# ---------------------------------------------------------------- stepping aside


def stands_aside(caplog: Any, reason: str = "") -> None:
    before = vars(basesdk).get("run_sync_in_thread")
    with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
        assert patches.apply(SEAM, _sdk.ROOT) is None
    assert vars(basesdk).get("run_sync_in_thread") is before
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.getMessage().startswith(f"speed-up {NAME} steps aside: ")
    assert reason in record.getMessage()


def owner_of(name: str) -> tuple[Any, str]:
    """Return where a function of the table is, and what it is called there."""
    where, _, function = name.rpartition(":")
    owner, _, attribute = function.rpartition(".")
    module = import_module(f".{where}", _sdk.ROOT) if where else basesdk
    return (getattr(module, owner) if owner else module), attribute


def test_it_steps_aside_where_the_sdk_runs_no_hooks_in_threads(monkeypatch, caplog):
    monkeypatch.delattr(basesdk, "run_sync_in_thread", raising=False)
    stands_aside(caplog, "basesdk has no run_sync_in_thread")


@since_2
@pytest.mark.parametrize("name", HOOKS_2)
def test_it_steps_aside_when_a_source_is_new(name, caplog):
    changed = tuple({**known, name: frozenset({"new"})} for known in SEAM.sources)
    before = basesdk.run_sync_in_thread
    with caplog.at_level(logging.DEBUG, "mistral_cf_adapter"):
        assert patches.apply(SEAM._replace(sources=changed), _sdk.ROOT) is None
    assert basesdk.run_sync_in_thread is before
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert f".{name.rpartition(':')[2]} is new (digest " in caplog.text


@since_2
@pytest.mark.parametrize("name", HOOKS_2)
def test_it_steps_aside_when_a_function_was_replaced_before(name, monkeypatch, caplog):
    owner, attribute = owner_of(name)
    monkeypatch.setattr(owner, attribute, watched(getattr(owner, attribute), []))
    stands_aside(caplog, "is not the SDK's own")


@since_2
def test_it_steps_aside_when_somebody_else_has_wrapped_its_place_before(monkeypatch, caplog):
    original = basesdk.run_sync_in_thread

    async def theirs(func: Any, *args: Any) -> Any:
        return await original(func, *args)

    monkeypatch.setattr(basesdk, "run_sync_in_thread", theirs)
    stands_aside(caplog)


@since_2
def test_every_hook_goes_to_a_thread_while_it_stands_aside(gateway, trips, monkeypatch):
    helper = sdk_module("_hooks.sdkhooks").SDKHooks
    monkeypatch.setattr(helper, ERROR, watched(getattr(helper, ERROR), []))
    sdk = client_of(gateway)
    with speedups.install(), asyncio.Runner() as runner:
        assert NAME not in speedups.active()
        for _ in range(2):
            runner.run(chat(sdk))
    assert trips == [BEFORE, AFTER] * 2


@since_2
def test_undo_brings_the_threads_back(gateway, trips):
    before = basesdk.run_sync_in_thread
    sdk = client_of(gateway)
    with asyncio.Runner() as runner:
        with speedups.install():
            assert basesdk.run_sync_in_thread is not before
            runner.run(chat(sdk))
            trips.clear()
            runner.run(chat(sdk))
            assert trips == []
        assert basesdk.run_sync_in_thread is before is sdk_module("utils").run_sync_in_thread
        runner.run(chat(sdk))
    assert trips == [BEFORE, AFTER]


@since_2
@pytest.mark.parametrize("arguments", [(), (1,), (1, 2), (1, 2, 3)])
async def test_a_function_that_runs_no_hooks_goes_to_a_thread(arguments):
    def function(*given: Any) -> Any:
        return place(), given

    with speedups.install():
        assert await basesdk.run_sync_in_thread(function, *arguments) == ("thread", arguments)
