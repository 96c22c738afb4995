"""Whatever is passed for a path parameter, a request goes where its operation means, or not at all.

Every generated operation of the installed SDK, sync, async and streamed, through `make_client()`
and `patch()`.
"""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest
from hostile_values import HOSTILE, ORDINARY
from http_records import KEY, TOKEN
from operations import Operation, arguments, operations, run, run_async

from mistral_cf_adapter import GatewayConfigError, GatewaySettings, _sdk, make_client, patch

GATEWAY = "https://gateway.ai.cloudflare.com/v1/acc/gw"
SETTINGS = GatewaySettings(base_url=GATEWAY, token=TOKEN, mistral_api_key=KEY)


class Recorder:
    """An HTTP client that keeps the address of every request in place of sending it."""

    def __init__(self, *, is_async=False):
        self.is_async = is_async
        self.sent = []
        self._http = _sdk.httpx.Client(transport=_sdk.httpx.BaseTransport())

    def build_request(self, *args, **kwargs):
        return self._http.build_request(*args, **kwargs)

    def send(self, request, *, stream=False, follow_redirects=False):
        url = request.url
        self.sent.append((request.method, bytes(url.raw_host), bytes(url.raw_path)))
        response = _sdk.httpx.Response(404, json={}, request=request)
        return asyncio.sleep(0, response) if self.is_async else response

    def close(self): ...

    async def aclose(self): ...


class Walk:
    """A client, what it sent, and its operations that have path parameters."""

    def __init__(self, build):
        self.recorders = {False: Recorder(), True: Recorder(is_async=True)}
        self.sdk = build(client=self.recorders[False], async_client=self.recorders[True])
        self.operations = [one for one in operations(self.sdk) if "{" in one.path]

    def call(self, operation, given):
        """Call an operation; return what it raised, and what was sent."""
        sent = self.recorders[operation.is_async].sent
        sent.clear()
        call = run(operation, self.sdk, **given)
        return call.error, list(sent)

    async def call_async(self, operation, given):
        sent = self.recorders[operation.is_async].sent
        sent.clear()
        call = await run_async(operation, self.sdk, **given)
        return call.error, list(sent)

    def call_all(self, calls):
        """Make all calls, the sync ones first; return each with what came of it."""
        plain = [call for call in calls if not call[0].is_async]
        done = [(*call, *self.call(call[0], call[1])) for call in plain]

        async def rest():
            return [
                (*call, *await self.call_async(call[0], call[1]))
                for call in calls
                if call[0].is_async
            ]

        return done + asyncio.run(rest())


def parameters(operation: Operation):
    return re.findall(r"\{(\w+)\}", operation.path)


def with_value(operation, name, value):
    """Return arguments with an ordinary value in each path parameter but one."""
    known = arguments(operation)
    return {
        **known,
        **{other: "abc" for other in parameters(operation) if known[other] != 3},
        name: value,
    }


@pytest.fixture(scope="module")
def routed():
    return Walk(lambda **clients: make_client(SETTINGS, **clients))


@pytest.fixture(scope="module")
def patched():
    walk = Walk(lambda **clients: _sdk.Mistral(api_key=KEY, **clients))
    with patch(walk.sdk, settings=SETTINGS):
        yield walk


@pytest.fixture(scope="module")
def bare():
    url = f"{GATEWAY}/mistral"
    return Walk(lambda **clients: _sdk.Mistral(api_key=KEY, server_url=url, **clients))


def hostile_calls(walk, turn):
    """Yield each hostile value for each path parameter, or one in `turn` of them."""
    numbers = itertools.count()
    for operation in walk.operations:
        for name in parameters(operation):
            for value in HOSTILE:
                if next(numbers) % turn == 0:
                    yield operation, with_value(operation, name, value), name


def offence(given, name, error, sent):
    """Return what is wrong with how a hostile value was treated."""
    if sent:
        return f"sent {sent}"
    if type(error).__name__ in ("ValidationError", "TypeError") and given[name] is not None:
        return None  # no text for a number or one of few words: the SDK refuses it itself
    if not isinstance(error, GatewayConfigError):
        return f"raised {error!r}"
    if name not in str(error):
        return f"did not name {name}: {error}"
    return None


def check_hostile(walk, turn):
    done = walk.call_all(list(hostile_calls(walk, turn)))
    problems = [
        f"{operation.name}({name}={given[name]!r}): {problem}"
        for operation, given, name, error, sent in done
        if (problem := offence(given, name, error, sent))
    ]
    assert not problems, "\n".join([f"{len(problems)} of {len(done)}:", *problems[:40]])
    return done


def test_no_hostile_value_is_sent_by_a_client_of_make_client(routed):
    done = check_hostile(routed, 3)
    refused = [call for call in done if isinstance(call[3], GatewayConfigError)]
    assert len(refused) > len(done) * 0.9


def test_no_hostile_value_is_sent_by_a_patched_client(patched):
    check_hostile(patched, 7)


def ordinary_calls(walk):
    """Yield two ordinary values for each path parameter, all of them over all operations."""
    values = itertools.cycle(ORDINARY)
    for operation in walk.operations:
        for name in parameters(operation):
            for value in itertools.islice(values, 2):
                yield operation, with_value(operation, name, value), name


@pytest.mark.parametrize("kind", ["routed", "patched"])
def test_ordinary_values_are_sent_as_the_bare_sdk_sends_them(bare, request, kind):
    walk = request.getfixturevalue(kind)
    expected = [call[4] for call in bare.call_all(list(ordinary_calls(bare)))]
    done = walk.call_all(list(ordinary_calls(walk)))
    problems = [
        f"{operation.name}({name}={given[name]!r}): {sent} instead of {wanted}, {error!r}"
        for (operation, given, name, error, sent), wanted in zip(done, expected, strict=True)
        if sent != wanted
    ]
    assert not problems, "\n".join(problems[:40])


def test_the_template_of_an_operation_is_looked_up_once(routed):
    _sdk._templates.clear()
    calls = [(one, with_value(one, parameters(one)[0], "abc"), "") for one in routed.operations]
    sending = [call[0] for call in routed.call_all(calls) if call[4]]
    assert {code: text.partition("#")[0] for code, text in _sdk._templates.items()} == {
        operation.function.__code__: operation.path for operation in sending
    }


def test_two_values_that_stand_in_for_each_other_are_refused(routed):
    calls = []
    for operation in routed.operations:
        names = parameters(operation)
        for first, second in itertools.permutations(names, 2):
            given = with_value(operation, first, "{" + second + "}")
            calls.append((operation, given, first))
    for operation, given, name, error, sent in routed.call_all(calls):
        if isinstance(error, GatewayConfigError) or type(error).__name__ == "ValidationError":
            assert sent == []
            continue
        pytest.fail(f"{operation.name} {name} {given[name]}: {sent} {error!r}")
