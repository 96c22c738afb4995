"""What the start of a program leaves for later, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pydantic.main
import pytest

from mistral_cf_adapter import _sdk


def run(program: str, *arguments: str, **variables: str) -> Any:
    """Run a program in a new interpreter and return the JSON that it prints."""
    own = ("CF_", "CLOUDFLARE_", "MISTRAL_")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(own)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


COLLECTOR = """
    import gc, json, weakref

    class Node: ...

    def cycle():
        node = Node()
        node.self = node
        return weakref.ref(node)

    {before}
    garbage = cycle()
    from mistral_cf_adapter import make_client
    found = [gc.isenabled(), gc.get_freeze_count()]
    gc.collect()
    print(json.dumps([*found, garbage() is None]))
"""


def test_the_collector_works_as_before_once_the_sdk_is_imported():
    assert run(COLLECTOR.format(before="")) == [True, 0, True]


def test_a_collector_that_the_program_has_stopped_stays_stopped():
    assert run(COLLECTOR.format(before="gc.disable()")) == [False, 0, True]


def test_what_a_program_has_frozen_stays_frozen():
    enabled, frozen, freed = run(COLLECTOR.format(before="gc.freeze()"))
    assert (enabled, freed) == (True, True)
    assert frozen > 1000


@pytest.mark.once
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
def test_a_child_forked_during_the_import_collects():
    program = """
        import gc, json, os
        from mistral_cf_adapter._collector import pause_collector

        with pause_collector():
            child = os.fork()
            within = gc.isenabled()
        after = gc.isenabled()
        with pause_collector():
            again = gc.isenabled()
        found = [within, after, again, gc.isenabled()]
        if not child:
            os._exit(0 if found == [True, True, False, True] else 1)
        _, status = os.waitpid(child, 0)
        print(json.dumps([found, status]))
    """
    assert run(program) == [[False, True, False, True], 0]


MODELS = """
    import hashlib, importlib, inspect, json, re

    from mistral_cf_adapter import make_client  # imports the SDK
    from mistral_cf_adapter import _sdk
    import pydantic

    models = importlib.import_module(f"{_sdk.ROOT}.models")

    def all_below(cls):
        for one in cls.__subclasses__():
            yield one
            yield from all_below(one)

    def describe(cls):
        try:
            schema = json.dumps(cls.model_json_schema(), default=str)
        except Exception as error:
            schema = f"{type(error).__name__}: {error}"
        return hashlib.sha256(schema.encode()).hexdigest()[:12]

    for name in models._dynamic_imports:
        getattr(models, name)
    base = importlib.import_module(f"{_sdk.ROOT}.types.basemodel").BaseModel
    found = {cls for cls in all_below(base) if ".models." in cls.__module__}
    classes = sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))
    waiting = [cls.__name__ for cls in classes if not cls.__pydantic_complete__]
    def sign(cls):
        return re.sub("0x[0-9a-f]+", "", str(inspect.signature(cls)))

    signatures = {f"{cls.__module__}.{cls.__qualname__}": sign(cls) for cls in classes}
    built = [cls.__name__ for cls in classes if not cls.__pydantic_complete__]
    schemas = {f"{cls.__module__}.{cls.__qualname__}": describe(cls) for cls in classes}
    print(json.dumps([len(waiting), built, signatures, schemas]))
"""


def defers() -> bool:
    """Return whether this release of pydantic can build models later."""
    return hasattr(pydantic.main, "_rebuild_lock")


@pytest.mark.skipif(not defers(), reason="pydantic has no lock for it")
def test_every_model_is_the_same_whenever_it_is_built():
    waiting, unbuilt, *deferred = run(MODELS)
    none_waiting, _, *eager = run(MODELS, CF_AIG_SPEEDUPS="false")
    assert waiting > 100
    assert (unbuilt, none_waiting) == ([], 0)
    assert deferred == eager


DERIVED = """
    import json
    from mistral_cf_adapter import make_client, _sdk
    import importlib, inspect, warnings, pydantic

    base = importlib.import_module(f"{_sdk.ROOT}.types.basemodel").BaseModel
    models = importlib.import_module(f"{_sdk.ROOT}.models")

    class Mine(models.UserMessage):
        mood: str

    def within():
        class Mood(pydantic.BaseModel):
            word: str

        class Moody(models.UserMessage):
            mood: "Mood"

        return Moody(content="hi", mood={"word": "glad"}).mood.word

    class Old(base):
        stale: int = pydantic.Field(default=1, deprecated="use fresh")

    class Later(base):
        other: "Other"

    later_is_built = Later.__pydantic_complete__

    class Other(base):
        number: int

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Old().stale
    try:
        class Wrong(models.UserMessage):
            thing: object = pydantic.Field(gt=1, pattern="(")
        wrong = None
    except Exception as error:
        wrong = type(error).__name__
    rebuilt = Later.model_rebuild()
    print(json.dumps([
        Mine.__pydantic_complete__, "defer_build" in Mine.model_config,
        list(inspect.signature(Mine).parameters),
        within(), [str(one.message) for one in seen], later_is_built, rebuilt,
        Later(other={"number": "3"}).model_dump(), wrong,
    ]))
"""


def test_a_class_derived_from_a_model_is_built_at_once():
    found = run(DERIVED)
    assert found == run(DERIVED, CF_AIG_SPEEDUPS="false")
    assert found[0] is True
    assert found[3] == "glad"


THREADS = """
    import importlib, json, threading
    from mistral_cf_adapter import make_client, _sdk

    models = importlib.import_module(f"{_sdk.ROOT}.models")
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    names = ["ChatCompletionRequest", "ChatCompletionStreamRequest", "AgentsCompletionRequest"]
    ready = threading.Barrier(8)
    found = []

    def build():
        ready.wait()
        for name in names:
            body = dict(request, agent_id="a") if name.startswith("Agents") else request
            found.append(getattr(models, name).model_validate(body).messages[0].content)

    threads = [threading.Thread(target=build) for _ in range(8)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    print(json.dumps(found))
"""


def test_threads_may_be_the_first_to_use_a_model_together():
    assert run(THREADS) == ["hi"] * 24


OFF = """
    import importlib, json, sys
    from mistral_cf_adapter import GatewaySettings, make_client, _sdk

    base = importlib.import_module(f"{_sdk.ROOT}.types.basemodel").BaseModel
    settings = dict(account_id="0123abcd", token="t", mistral_api_key="k")

    def look():
        request = importlib.import_module(f"{_sdk.ROOT}.models").ChatCompletionRequest
        return [request.__pydantic_complete__, base.model_config.get("defer_build", False),
                "model_rebuild" in vars(base), "__pydantic_init_subclass__" in vars(base)]

    before = look()
    make_client(GatewaySettings(**settings, speedups=False))
    print(json.dumps([before, look()]))
"""


def test_speedups_that_are_off_leave_nothing_for_later():
    before, after = run(OFF)
    assert before == ([False, True, True, True] if defers() else [True, False, False, False])
    assert after == [True, False, False, False]
    before, after = run(OFF, CF_AIG_SPEEDUPS="false")
    assert before == after == [True, False, False, False]


has_hooks = pytest.mark.skipif(_sdk.ROOT == "mistralai", reason="1.x has two small hooks")

HOOKS = """
    import asyncio, copy, gc, json, os, sys
    import mistral_cf_adapter
    from mistral_cf_adapter import make_client
    from mistral_cf_adapter.testing import LocalGateway

    QUESTION = dict(model="m", messages=[{"role": "user", "content": "hi"}])
    LISTS = "before_request_hooks", "after_success_hooks", "after_error_hooks"

    def kinds(client):
        hooks = client.sdk_configuration._hooks
        return [[type(hook).__name__ for hook in getattr(hooks, name)] for name in LISTS]

    DEFERRED = (
        "mistralai.client._hooks.tracing",
        "mistralai.extra.observability",
        "mistralai.extra.workflows",
        "opentelemetry.trace",
    )

    def loaded():
        return [name for name in DEFERRED if name in sys.modules]

    def tracing(client):
        return client.sdk_configuration._hooks.before_request_hooks[-2]

    def call(client):
        return client.chat.complete(**QUESTION).choices[0].message.content

    def stream(client):
        events = client.chat.stream(**QUESTION)
        return "".join(event.data.choices[0].delta.content or "" for event in events)

    async def call_async(client):
        answer = await client.chat.complete_async(**QUESTION)
        text = answer.choices[0].message.content
        loop = asyncio.get_running_loop()
        return text, loop._default_executor is None

    with LocalGateway() as gateway:
        for _ in range(8):
            gateway.reply("hello")
        client = make_client(gateway.settings())
        found = []
        {body}
    print(json.dumps(found))
"""


def run_hooks(body: str, **variables: str) -> Any:
    body = textwrap.indent(textwrap.dedent(body), " " * 4).strip()
    return run(textwrap.dedent(HOOKS).replace("{body}", body), **variables)


@has_hooks
def test_calls_without_telemetry_and_workflows_import_neither():
    texts, executor_unused, modules, lists = run_hooks("""
        texts = [call(client), stream(client), *asyncio.run(call_async(client))]
        found += [texts[:3], texts[3], loaded(), kinds(client)]
    """)
    assert texts == ["hello"] * 3
    assert (executor_unused, modules) == (True, [])
    assert lists[0].count("StandIn") >= 3


@has_hooks
@pytest.mark.parametrize(
    "touch",
    [
        "mistral_cf_adapter.speedups.finish_loading()",
        "import mistralai; mistralai.extra.observability.configure_telemetry",
        "import mistralai.client; mistralai.client._hooks.TracingHook",
        "from mistralai.client._hooks.registration import TracingHook",
        "from mistralai.client._hooks import registration; registration.WorkflowEncodingHook",
        "from mistralai.client import _hooks; _hooks.tracing.TracingHook",
        "client.chat; import mistralai; mistralai.extra.workflows",
        "make_client(gateway.settings(speedups=False))",
    ],
)
def test_what_is_deferred_is_loaded_when_it_is_looked_at(touch):
    body = f"""
        {touch}
        hooks = client.sdk_configuration._hooks
        [hook.__class__ for name in LISTS for hook in getattr(hooks, name)]
        from mistralai.client._hooks import registration, sdkhooks
        import mistralai.client._hooks as package
        found += [kinds(client), kinds(make_client(gateway.settings())), call(client), loaded()]
        found += [sorted(name for name in vars(package) if not name.startswith("__"))]
        found += [sorted(name for name in vars(registration) if not name.startswith("__"))]
        found += [sdkhooks.init_hooks is registration.init_hooks is package.init_hooks]
        found += [type(registration).__name__, type(package).__name__]
    """
    assert run_hooks(body) == run_hooks(body, CF_AIG_SPEEDUPS="false")


TELEMETRY = """
    class Provider:
        def get_tracer(self, *_args, **_kwargs):
            import opentelemetry.trace
            return opentelemetry.trace.NoOpTracer()

    {first}
    from mistralai.extra.observability import configure_telemetry
    hook = tracing(client)
    provider = Provider()
    configure_telemetry(client, provider=provider)
    from mistralai.client._hooks.tracing import TracingHook
    found += [isinstance(hook, TracingHook), hook.tracer_provider is provider]
    found += [tracing(client).tracer_provider is provider, call(client)]
    found += [tracing(client).tracing_enabled]
"""


@has_hooks
@pytest.mark.parametrize("first", ["", "call(client)"])
def test_telemetry_is_configured_on_the_hook_that_runs(first):
    body = TELEMETRY.replace("{first}", first)
    assert run_hooks(body) == run_hooks(body, CF_AIG_SPEEDUPS="false")


STATE = """
    {first}
    {change}
    try:
        answer = call(client)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    sent = [request.headers.get("authorization") for request in gateway.requests]
    hook = tracing(client)
    twin = copy.deepcopy(client.sdk_configuration._hooks.before_request_hooks[-2])
    found += [answer, sent, hook._telemetry_auto_disabled]
    found += [hook.tracing_enabled, twin._telemetry_auto_disabled]
"""
CHANGES = {
    "telemetry": 'os.environ["MISTRAL_SDK_TELEMETRY"] = "nonsense"',
    "telemetry off": 'os.environ["MISTRAL_SDK_TELEMETRY"] = " False "',
    "global telemetry": 'os.environ["MISTRAL_SDK_TELEMETRY"] = "global"',
    "account": 'os.environ["MISTRAL_SA_TOKEN_PATH"] = "/nowhere/at/all"',
    "setting": "client.sdk_configuration.telemetry = 'dedicated'",
    "encoding": 'client.sdk_configuration._workflow_encoding_config_id = "unknown"',
    "nothing": "",
}


@has_hooks
@pytest.mark.parametrize("first", ["", "call(client)"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_hook_comes_in_where_it_has_something_to_do(first, change):
    body = STATE.replace("{first}", first).replace("{change}", CHANGES[change])
    found, expected = run_hooks(body), run_hooks(body, CF_AIG_SPEEDUPS="false")
    assert found == expected


@has_hooks
def test_an_operation_on_workflows_has_every_hook():
    body = """
        try:
            client.workflows.get_workflows()
        except Exception as error:
            found += [type(error).__name__]
        found += [call(client)]
        found += [kinds(client)]
    """
    found, expected = run_hooks(body), run_hooks(body, CF_AIG_SPEEDUPS="false")
    assert found[:-1] == expected[:-1]
    assert "TraceparentInjectionHook" in found[-1][0]
