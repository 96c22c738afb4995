"""The SDK's hooks are imported when one of them has something to do, in processes of their own.

Each program runs twice, once with `CF_AIG_SPEEDUPS=false`, which imports everything at once, and
must print the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from speedup_tools import run_program

from mistral_cf_adapter import _sdk

pytestmark = pytest.mark.skipif(_sdk.ROOT == "mistralai", reason="1.x has two small hooks")
once = pytest.mark.once  # a process or two for each

PROGRAM = """
    import asyncio, copy, gc, json, os, pickle, sys, threading
    import mistral_cf_adapter
    from mistral_cf_adapter import make_client
    from mistral_cf_adapter.testing import LocalGateway

    QUESTION = dict(model="m", messages=[{"role": "user", "content": "hi"}])
    LISTS = "before_request_hooks", "after_success_hooks", "after_error_hooks"
    DEFERRED = (
        "mistralai.client._hooks.tracing",
        "mistralai.extra.observability",
        "mistralai.extra.workflows",
        "mistralai.extra.exceptions",
    )

    def hooks_of(client):
        return client.sdk_configuration.__dict__["_hooks"]

    def kinds(client):
        return [[type(hook).__name__ for hook in getattr(hooks_of(client), name)] for name in LISTS]

    def loaded():
        return [name for name in DEFERRED if name in sys.modules]

    def tracing(client):
        return hooks_of(client).before_request_hooks[-2]

    def call(client):
        return client.chat.complete(**QUESTION).choices[0].message.content

    def stream(client):
        events = client.chat.stream(**QUESTION)
        return "".join(event.data.choices[0].delta.content or "" for event in events)

    async def call_async(client):
        response = await client.chat.complete_async(**QUESTION)
        return response.choices[0].message.content

    async def stream_async(client):
        events = await client.chat.stream_async(**QUESTION)
        return "".join([event.data.choices[0].delta.content or "" async for event in events])

    with LocalGateway() as gateway:
        for _ in range(12):
            gateway.reply("hello")
        client = make_client(gateway.settings())
        found = []
        {body}
    print(json.dumps(found))
"""


def run(body: str, **variables: str) -> Any:
    """Run a program in a new interpreter and return the JSON that it prints."""
    program = textwrap.dedent(PROGRAM)
    body = textwrap.indent(textwrap.dedent(body), " " * 4).strip()
    return run_program(program.replace("{body}", body), **variables)


def run_bare(body: str, **variables: str) -> Any:
    """Run a program with the hooks that the SDK imports."""
    return run(body, CF_AIG_SPEEDUPS="false", **variables)


ALL_FOUR = ["hello"] * 4
CALLS = (
    "[call(client), stream(client), *map(asyncio.run, [call_async(client), stream_async(client)])]"
)


def test_calls_without_telemetry_and_workflows_import_neither():
    body = f"found += [{CALLS}, loaded(), kinds(client), {CALLS}, loaded()]"
    texts, modules, hooks, texts_after, modules_after = run(body)
    assert (texts, modules) == (ALL_FOUR, [])
    assert (texts_after, len(modules_after)) == (ALL_FOUR, 4)
    assert hooks == run_bare(body)[2]
    assert sum(map(len, hooks)) == 10 if _sdk.version() >= "3" else 9


def test_async_calls_use_no_thread_before_and_after():
    body = """
        async def call_both():
            texts = [await call_async(client), await stream_async(client)]
            return texts, asyncio.get_running_loop()._default_executor is None

        found += asyncio.run(call_both())
        found += [kinds(client)]
        found += asyncio.run(call_both())
    """
    texts, unused, _, texts_after, unused_after = run(body)
    assert texts == texts_after == ["hello"] * 2
    assert (unused, unused_after) == (True, True)


@once
@pytest.mark.parametrize(
    "touch",
    [
        "from mistral_cf_adapter.speedups import load_hooks; load_hooks()",
        "import mistralai; mistralai.extra.observability.configure_telemetry",
        "import mistralai; mistralai.extra.workflows",
        "import mistralai; mistralai.extra.exceptions.MistralClientException",
        "import opentelemetry; opentelemetry.trace.get_tracer('x'); opentelemetry.propagate.inject",
        "list(getattr(module, 'x', None) for module in sys.modules.values())",
        "import mistralai.client; mistralai.client._hooks.TracingHook",
        "import mistralai.client; mistralai.client._hooks.registration.TracingHook",
        "from mistralai.client._hooks.registration import TracingHook",
        "from mistralai.client._hooks import *; CustomUserAgentHook",
        "from mistralai.client._hooks import registration; registration.WorkflowEncodingHook",
        "from mistralai.client import _hooks; _hooks.tracing.TracingHook",
        "from mistralai.client._hooks.traceparent import TraceparentInjectionHook",
        "make_client(gateway.settings(speedups=False))",
        "hooks_of(client).register_after_success_hook",
        "copy.copy(hooks_of(client)).after_error_hooks",
        "copy.deepcopy(hooks_of(client)).before_request_hooks",
        "call(client); asyncio.run(call_async(client))",
    ],
)
def test_what_is_late_is_there_when_it_is_looked_at(touch):
    body = f"""
        {touch}
        from mistralai.client._hooks import registration, sdkhooks
        import mistralai.client._hooks as package
        found += [kinds(client), kinds(make_client(gateway.settings())), call(client), loaded()]
        found += [sorted(name for name in vars(package) if not name.startswith("__"))]
        found += [sorted(name for name in vars(registration) if not name.startswith("__"))]
        found += [sdkhooks.init_hooks is registration.init_hooks is package.init_hooks]
        found += [type(registration).__name__, type(package).__name__]
        found += [type(hooks_of(client)) is sdkhooks.SDKHooks, sorted(vars(hooks_of(client)))]
    """
    assert run(body) == run_bare(body)


@once
def test_names_that_are_nowhere_are_an_error_as_without():
    body = """
        import mistralai.client._hooks as package, mistralai.extra, opentelemetry
        for module in (package, package.registration, mistralai.extra, opentelemetry):
            try:
                module.no_such_name
            except AttributeError as error:
                found += [str(error)]
    """
    assert run(body) == run_bare(body)


TELEMETRY = """
    class Provider:
        def get_tracer(self, *_args, **_kwargs):
            import opentelemetry.trace
            return opentelemetry.trace.NoOpTracer()

    {first}
    from mistralai.extra.observability import configure_telemetry
    provider = Provider()
    configure_telemetry(client, provider=provider)
    from mistralai.client._hooks.tracing import TracingHook
    hook = tracing(client)
    found += [isinstance(hook, TracingHook), hook.tracer_provider is provider]
    found += [call(client), hook.tracing_enabled]
    other = make_client(gateway.settings())
    found += [call(other), tracing(other).tracing_enabled, tracing(other).tracer_provider is None]
"""


@once
@pytest.mark.parametrize("first", ["", "call(client)", "asyncio.run(call_async(client))"])
def test_telemetry_is_configured_on_the_hook_that_runs(first):
    body = TELEMETRY.replace("{first}", first)
    found = run(body)
    assert found == run_bare(body)
    assert found[:4] == [True, True, "hello", True]


SPANS = """
    {first}
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    {change}
    call(client)
    asyncio.run(call_async(client))
    call(make_client(gateway.settings()))
    found += sorted(span.name for span in memory.get_finished_spans())
    found += [request.headers.get("traceparent", "")[:2] for request in gateway.requests]
"""


@once
@pytest.mark.parametrize("first", ["", "call(client)"])
@pytest.mark.parametrize(
    "change", ["", 'os.environ["MISTRAL_SDK_TELEMETRY"] = "global"', "tracing(client)"]
)
def test_spans_are_the_same_with_a_tracer_that_comes_later(first, change):
    pytest.importorskip("opentelemetry.sdk")
    body = SPANS.replace("{first}", first).replace("{change}", change)
    assert run(body) == run_bare(body)


STATE = """
    {first}
    {change}
    try:
        text = call(client)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
    sent = [request.headers.get("authorization") for request in gateway.requests]
    hook = tracing(client)
    twin = copy.deepcopy(hooks_of(client)).before_request_hooks[-2]
    found += [text, sent, hook._telemetry_auto_disabled]
    found += [hook.tracing_enabled, twin._telemetry_auto_disabled]
"""
CHANGES = {
    "telemetry": 'os.environ["MISTRAL_SDK_TELEMETRY"] = "nonsense"',
    "telemetry off": 'os.environ["MISTRAL_SDK_TELEMETRY"] = " False "',
    "telemetry blank": 'os.environ["MISTRAL_SDK_TELEMETRY"] = " "',
    "telemetry empty": 'os.environ["MISTRAL_SDK_TELEMETRY"] = ""',
    "global telemetry": 'os.environ["MISTRAL_SDK_TELEMETRY"] = "global"',
    "account": 'os.environ["MISTRAL_SA_TOKEN_PATH"] = "/nowhere/at/all"',
    "setting": "client.sdk_configuration.telemetry = 'dedicated'",
    "setting off": "client.sdk_configuration.telemetry = False",
    "encoding": 'client.sdk_configuration._workflow_encoding_config_id = "unknown"',
    "nothing": "",
}


@once
@pytest.mark.parametrize("first", ["", "call(client)"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_hook_comes_in_where_it_has_something_to_do(first, change):
    body = STATE.replace("{first}", first).replace("{change}", CHANGES[change])
    assert run(body) == run_bare(body)


@once
@pytest.mark.parametrize(
    "change",
    [
        'os.environ["MISTRAL_SA_TOKEN_PATH"] = path',
        'os.environ["MISTRAL_SA_TOKEN_PATH"] = path; del os.environ["MISTRAL_API_KEY"]',
    ],
)
def test_a_service_account_is_read_by_a_client_without_a_key(change):
    body = f"""
        import tempfile
        from mistralai.client import Mistral

        settings = gateway.settings()
        token = settings.token.get_secret_value()
        address = f"{{settings.base_url}}/mistral"

        def ask(client):
            headers = {{"cf-aig-authorization": f"Bearer {{token}}"}}
            client.chat.complete(**QUESTION, http_headers=headers)
            found.append(gateway.requests[-1].headers.get("authorization"))

        with tempfile.NamedTemporaryFile("w", suffix=".token") as file:
            path = file.name
            file.write("token-of-the-account")
            file.flush()
            os.environ["MISTRAL_API_KEY"] = "key"
            plain = Mistral(server_url=address)
            ask(plain)
            {change}
            ask(plain)
            ask(Mistral(server_url=address))
            ask(Mistral(server_url=address, api_key="given"))
    """
    found = run(body)
    assert found == run_bare(body)
    assert found[0] == "Bearer key"


@once
@pytest.mark.parametrize(
    "operation",
    [
        "client.workflows.get_workflows()",
        "client.workflows.execute_workflow(workflow_identifier='w', input={'a': 1})",
        "asyncio.run(client.workflows.execute_workflow_async(workflow_identifier='w'))",
        "list(client.workflows.events.get_stream_events(workflow_name='w'))",
    ],
)
def test_an_operation_on_workflows_has_every_hook(operation):
    body = f"""
        try:
            {operation}
        except Exception as error:
            found += [type(error).__name__]
        found += [call(client), kinds(client)]
        found += [request.headers.get("traceparent", "")[:2] for request in gateway.requests]
    """
    assert run(body) == run_bare(body)


HOOK = """
    class Hook:
        def before_request(self, context, request):
            request.headers["x-mine"] = context.operation_id
            return request

        def after_success(self, context, response):
            found.append([context.operation_id, response.status_code])
            return response

        def after_error(self, context, response, error):
            found.append([context.operation_id, response and response.status_code])
            return response, error

    {first}
    hooks = hooks_of(client)
    hooks.register_before_request_hook(Hook())
    hooks.register_after_success_hook(Hook())
    hooks.after_error_hooks.append(Hook())
    call(client)
    asyncio.run(call_async(client))
    gateway.upstream_fail(422)
    try:
        call(client)
    except Exception as error:
        found += [type(error).__name__]
    found += [kinds(client), [request.headers.get("x-mine") for request in gateway.requests]]
"""


@pytest.mark.parametrize("first", ["", "call(client)"])
def test_hooks_of_the_programs_own_come_behind_the_sdks(first):
    body = HOOK.replace("{first}", first)
    assert run(body) == run_bare(body)


PATCHED = """
    import mistralai.client._hooks.sdkhooks as sdkhooks
    from mistralai.client._hooks.custom_user_agent import CustomUserAgentHook
    original = {place}
    def patched(self, context, *others):
        found.append(context.operation_id)
        return original(self, context, *others)
    {place} = patched
    call(client)
    asyncio.run(call_async(client))
    call(make_client(gateway.settings()))
"""


@once
@pytest.mark.parametrize(
    "place",
    [
        "sdkhooks.SDKHooks.before_request",
        "sdkhooks.SDKHooks.after_success",
        "CustomUserAgentHook.before_request",
    ],
)
def test_methods_that_a_program_replaces_are_called(place):
    body = PATCHED.replace("{place}", place)
    found = run(body)
    assert found == run_bare(body)
    assert len(found) == 3


@once
@pytest.mark.parametrize("module", ["registration", "custom_user_agent"])
@pytest.mark.parametrize("name", ["CustomUserAgentHook", "TracingHook"])
def test_classes_that_a_program_replaces_before_they_are_loaded(module, name):
    body = f"""
        from mistralai.client._hooks import {module} as module
        class Mine:
            def before_request(self, context, request):
                return request
            def after_success(self, context, response):
                return response
            def after_error(self, context, response, error):
                return response, error
        module.{name} = Mine
        found += [kinds(make_client(gateway.settings()))]
    """
    assert run(body) == run_bare(body)


@once
def test_classes_derived_from_that_of_a_clients_hooks_have_the_hooks():
    body = """
        class Mine(type(hooks_of(client))):
            pass

        mine = Mine()
        hooks_of(client).__class__ = Mine
        found += [[type(hook).__name__ for hook in getattr(mine, name)] for name in LISTS]
        found += [call(client), asyncio.run(call_async(client)), kinds(client)]
        gateway.upstream_fail(422)
        try:
            call(client)
        except Exception as error:
            found += [type(error).__name__]
    """
    assert run(body) == run_bare(body)


@once
@pytest.mark.parametrize(
    "context",
    ["operation_id=None, config=client.sdk_configuration", "operation_id='x', config=None"],
)
def test_hooks_that_are_called_by_hand(context):
    body = f"""
        from types import SimpleNamespace
        from mistral_cf_adapter._sdk import httpx
        context = SimpleNamespace({context})
        response = httpx.Response(200, request=httpx.Request("GET", "http://x"))
        found += [hooks_of(client).after_success(context, response) is response]
        found += [hooks_of(client).after_error(context, response, None) == (response, None)]
    """
    assert run(body) == run_bare(body)


@once
def test_a_call_from_a_signal_handler_during_the_import():
    body = """
        import builtins
        original = builtins.__import__
        def importing(name, *args, **kwargs):
            if name == "mistralai.extra.workflows.encoding.models" and not found:
                found.append("handled")
                found.append(call(client))
            return original(name, *args, **kwargs)
        other = make_client(gateway.settings())
        builtins.__import__ = importing
        kinds(other)
        builtins.__import__ = original
        found += [call(client), kinds(client) == kinds(other)]
    """
    assert run(body) == ["handled", "hello", "hello", True]


@once
def test_what_the_tracing_notes_in_a_request_is_there():
    body = """
        from mistral_cf_adapter._sdk import httpx
        seen = []
        def note(request):
            seen.append({name: request.extensions[name] for name in request.extensions
                         if name.startswith("_tracing")})
        mine = make_client(gateway.settings(), client=httpx.Client(event_hooks={"request": [note]}))
        call(mine)
        found += seen
        call(mine)
        found += seen
    """
    found = run(body)
    assert found == run_bare(body)
    assert found[0] == {"_tracing_span": None, "_tracing_span_finished": False}


def test_errors_and_deprecations_are_as_without():
    body = """
        import logging
        class Keep(logging.Handler):
            def emit(self, record):
                found.append([record.name, record.getMessage()])
        logging.getLogger("mistralai").addHandler(Keep())
        old = {"id": "1", "object": "chat.completion", "created": 1, "model": "old", "choices": [],
               "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
        deprecated = {"x-model-deprecation-timestamp": "2030-01-01"}
        gateway.reset()
        for _ in range(2):
            gateway.reply_json(old, headers=deprecated)
        found += [client.chat.complete(**QUESTION).model]
        found += [asyncio.run(client.chat.complete_async(**QUESTION)).model]
        for code in (401, 422, 500):
            for attempt in (call, lambda client: asyncio.run(call_async(client))):
                gateway.upstream_fail(code)
                try:
                    attempt(client)
                except Exception as error:
                    found += [type(error).__name__, error.status_code]
    """
    assert run(body) == run_bare(body)


def test_threads_may_call_and_look_at_once():
    body = """
        clients = [make_client(gateway.settings()) for _ in range(8)]
        gateway.reset()
        ready = threading.Barrier(24)
        lists = []
        def work(number):
            ready.wait()
            client = clients[number % 8]
            if number < 8:
                lists.append(kinds(client))
            else:
                found.append(bool(call(client)))
        threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
        [one.start() for one in threads]
        [one.join() for one in threads]
        found.sort()
        found += [lists == [kinds(client)] * 8, len(found)]
    """
    assert run(body) == [True] * 16 + [True, 16]


@once
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
def test_a_child_that_is_forked_while_hooks_are_imported_can_use_them():
    body = """
        import time
        def look():
            kinds(client)
        codes = []
        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(20):
            child = os.fork()
            if not child:
                try:
                    kinds(make_client(gateway.settings()))
                    kinds(client)
                    os._exit(0)
                finally:
                    os._exit(1)
            codes.append(os.waitpid(child, 0)[1])
        thread.join()
        found += codes
    """
    assert run(body) == [0] * 20


@once
@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SERVICE_NAME": "mine"},
        {"MISTRAL_SA_TOKEN_PATH": "/nowhere"},
        {"MISTRAL_SDK_TELEMETRY": "false"},
        {"CF_AIG_SPEEDUPS": "0"},
    ],
)
def test_hooks_come_with_the_sdk_where_the_environment_asks_for_telemetry(variables):
    assert len(run("found += [loaded()]", **variables)[0]) == 4


@once
def test_hooks_come_with_the_sdk_where_opentelemetry_is_there_already():
    body = """
        import subprocess
        program = (
            "import opentelemetry.trace, sys, mistral_cf_adapter; mistral_cf_adapter.make_client; "
            "print('mistralai.client._hooks.tracing' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        found += [done.stdout.strip()]
    """
    assert run(body) == ["True"]


def test_files_that_are_new_are_imported_at_once(tmp_path):
    from mistral_cf_adapter.speedups import late_hooks
    from mistral_cf_adapter.speedups.patches import ChangedError

    with pytest.raises(FileNotFoundError):
        late_hooks.check_files(str(tmp_path))
    (tmp_path / "_hooks").mkdir()
    (tmp_path / "_hooks" / "registration.py").write_text("def init_hooks(hooks): ...\n")
    with pytest.raises(ChangedError, match=r"registration\.py is new"):
        late_hooks.check_files(str(tmp_path))


MOVED = """
    import sys
    from mistral_cf_adapter.speedups import late_hooks
    def fail(*_):
        raise LookupError("moved")
    late_hooks._make_class = fail
    import mistral_cf_adapter
    mistral_cf_adapter.make_client
    from mistralai.client import Mistral
    from mistralai.client._hooks import TracingHook, registration, sdkhooks
    hooks = Mistral(api_key="k").sdk_configuration.__dict__["_hooks"]
    print(len(hooks.before_request_hooks) > 3, late_hooks.get_late(),
          registration.init_hooks is sdkhooks.init_hooks)
"""


@once
def test_hooks_come_with_the_sdk_where_what_they_rest_on_has_moved():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MOVED)], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("True None True", "")
