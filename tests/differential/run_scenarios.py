"""Run scenarios on one side, and write a record of each run: run_scenarios.py SIDE FILE [NAME...]

SIDE is `bare`, `adapter` or `adapter without speed-ups`. A process is one side only: in a bare one
nothing of the adapter is imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import trustme
from fault_server import refusing
from scenario_calls import CALLS
from scenario_parts import build_hooks, build_http, fill, with_retries
from scenario_records import (
    Watch,
    as_json,
    count_sockets,
    describe_error,
    describe_request,
    describe_response,
    shows,
    watch_loop,
    watching,
    without_ports,
)
from scenario_server import OtherServer, ScenarioServer
from scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scenario import Scenario

BARE, ADAPTER, WITHOUT_SPEEDUPS = SIDES = ("bare", "adapter", "adapter without speed-ups")
ENTRIES = ("make_client", "patch")
KEY, TOKEN = "mistral-key-4242", "cloudflare-token-4242"
ACCOUNT = "/v1/acc/gw"
LIMIT = 10.0
"""Seconds after which a run counts as one that hangs."""

ROOT = "mistralai.client"
try:
    Mistral = importlib.import_module(ROOT).Mistral
except (ImportError, AttributeError):
    ROOT = "mistralai"
    Mistral = importlib.import_module(ROOT).Mistral
RETRIES = importlib.import_module(f"{ROOT}.utils.retries")


# ---------------------------------------------------------------- clients


@contextlib.contextmanager
def built(entry: str, scenario: Scenario, origin: str, keywords: dict[str, Any]) -> Iterator[Any]:
    """Build the client of a scenario; it points at the same address on each side."""
    keywords = {"api_key": KEY, **keywords}
    if entry == "bare":
        yield Mistral(server_url=f"{origin}{ACCOUNT}/mistral", **keywords)
        return
    from mistral_cf_adapter import make_client, patch

    settings = (_settings.__wrapped__ if scenario.environment else _settings)(origin)
    if entry == "make_client":
        yield make_client(settings, **keywords)
        return
    with patch(settings=settings):
        yield Mistral(**keywords)


@functools.cache
def _settings(origin: str) -> Any:
    from mistral_cf_adapter import GatewaySettings

    return GatewaySettings(base_url=f"{origin}{ACCOUNT}", token=TOKEN)


class Keeper:
    """A hook of the SDK's that keeps the response of a call."""

    def __init__(self) -> None:
        self.responses: list[Any] = []

    def after_success(self, _context: Any, response: Any) -> Any:
        self.responses.append(response)
        return response

    def after_error(self, _context: Any, response: Any, error: Any) -> Any:
        self.responses.append(response)
        return response, error


class Run:
    """One run of a scenario: its client, and what came of its calls."""

    def __init__(self, scenario: Scenario, mode: str, client: Any, origins: dict[str, str]) -> None:
        self.call = CALLS[scenario.call]
        self.client = client
        self.scenario = scenario
        self.outcomes: list[dict[str, Any]] = []
        self.keeper = Keeper()
        self._is_async, self._is_stream = mode.startswith("async"), mode.endswith("stream")
        self._arguments = {**self.call.arguments, **fill(scenario.arguments, origins)}
        registered = client.sdk_configuration.__dict__["_hooks"]
        if scenario.keep:
            registered.register_after_success_hook(self.keeper)
            registered.register_after_error_hook(self.keeper)
        for stage, hook in build_hooks(scenario.hooks):
            getattr(registered, f"register_{stage}_hook")(hook)
        for name, value in fill(scenario.changes, origins).items():
            setattr(client.sdk_configuration.client, name, value)
            setattr(client.sdk_configuration.async_client, name, value)

    def method(self) -> Callable[[], Any]:
        """Return the operation with its arguments, made anew for each call."""
        group: Any = functools.reduce(getattr, self.call.path.split("."), self.client)
        name = self.call.stream if self._is_stream else self.call.method
        arguments = with_retries(self._arguments, self.scenario.retries, RETRIES)
        return functools.partial(getattr(group, name + "_async" * self._is_async), **arguments)

    def run_sync(self) -> None:
        for _ in range(self.scenario.times):
            outcome = self._begin()
            try:
                result = self.method()()
                if self._is_stream:
                    outcome["events"] = []
                    self._read_stream(result, outcome["events"])
                elif hasattr(result, "iter_bytes"):
                    self.keeper.responses.append(result)
                    result.read()
                else:
                    outcome["result"] = as_json(result)
            except Exception as error:
                self._note_error(error, outcome)
            result = None
            self._end(outcome)

    async def run_async(self) -> None:
        for _ in range(self.scenario.times):
            outcome = self._begin()
            try:
                result = await self.method()()
                if self._is_stream:
                    outcome["events"] = []
                    await self._read_async_stream(result, outcome["events"])
                elif hasattr(result, "aiter_bytes"):
                    self.keeper.responses.append(result)
                    await result.aread()
                else:
                    outcome["result"] = as_json(result)
            except Exception as error:
                self._note_error(error, outcome)
            result = None
            self._end(outcome)

    def _begin(self) -> dict[str, Any]:
        self.keeper.responses.clear()
        self.outcomes.append({"shown secrets": []})
        return self.outcomes[-1]

    def _note_error(self, error: Exception, outcome: dict[str, Any]) -> None:
        outcome["error"] = describe_error(error)
        outcome["shown secrets"] = shows(error, KEY, TOKEN)
        if not any(self.keeper.responses):
            self.keeper.responses.append(getattr(error, "raw_response", None))

    def _end(self, outcome: dict[str, Any]) -> None:
        kept = [response for response in self.keeper.responses if response is not None]
        outcome["responses"] = len(kept)
        if kept:
            outcome["response"] = describe_response(kept[-1])
        self.keeper.responses.clear()

    def _read_stream(self, stream: Any, events: list[Any]) -> None:
        if not self.scenario.keep:
            self.keeper.responses.append(stream.response)
        reading = self.scenario.reading
        if reading == "dropped":
            events.append(as_json(next(iter(stream))))
            return
        with stream:
            for event in stream if reading != "nothing" else ():
                events.append(as_json(event))
                if reading == "first":
                    break

    async def _read_async_stream(self, stream: Any, events: list[Any]) -> None:
        if not self.scenario.keep:
            self.keeper.responses.append(stream.response)
        reading = self.scenario.reading
        if reading == "dropped":
            events.append(as_json(await anext(aiter(stream))))
            return
        async with stream:
            if reading == "nothing":
                return
            async for event in stream:
                events.append(as_json(event))
                if reading == "first":
                    break


# ---------------------------------------------------------------- runs


class Runner:
    """The servers of this process, and what runs scenarios against them."""

    def __init__(self) -> None:
        _share_certificates()
        self._stack = contextlib.ExitStack()
        authority = trustme.CA()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.servers = {
            "same": ScenarioServer(),
            "other": OtherServer(),
            "proxy": OtherServer(),
            "tls": ScenarioServer(_tls_context(authority)),
        }
        for server in self.servers.values():
            self._stack.enter_context(server)
        self.origins = {name: server.origin for name, server in self.servers.items()}
        self.origins["refused"] = self._stack.enter_context(refusing())
        self.words = {**self.origins, "authority": str(folder / "ca.pem")}
        os.environ["SSL_CERT_FILE"] = str(folder / "ca.pem")  # few authorities load fast
        self._ports = {server.address[1] for server in self.servers.values()}
        self._ports.add(int(self.origins["refused"].rpartition(":")[2]))

    def run(self, scenario: Scenario, entry: str, mode: str) -> dict[str, Any]:
        """Run a scenario once and return its record."""
        for server in self.servers.values():
            server.begin(scenario.replies, self.origins)
        self.servers["other"].begin((), self.origins)
        environment = fill(scenario.environment, self.words)
        record: dict[str, Any] = {}
        with watching() as watch, mock.patch.dict(os.environ, environment), _clock(watch):
            run = self._async if mode.startswith("async") else self._sync
            try:
                with _limited():
                    run(scenario, entry, mode, record, watch)
            except HangsError:
                record["hangs"] = True
        _close_pools()
        _freeze_what_stays()
        if any(reply.then in ("close", "reset") for reply in scenario.replies):
            record.pop("open after the calls", None)  # who closes first differs from run to run
        record["left open at the end"] = count_sockets(self._ports)
        record |= watch.record()
        for name, server in self.servers.items():
            if name == "same" and not server.requests:
                server.settle()
            record[f"requests to {name}"] = [describe_request(each) for each in server.requests]
            record[f"connections to {name}"] = server.connections
        strangers = self.servers["other"].requests
        record["the token went elsewhere"] = any(TOKEN in request for request in strangers)
        return record

    def _sync(
        self, scenario: Scenario, entry: str, mode: str, record: dict[str, Any], watch: Watch
    ) -> None:
        keywords, own = build_http(scenario, ROOT, self.words, is_async=False, watch=watch)
        try:
            origin = fill(scenario.origin, self.words)
            with built(entry, scenario, origin, keywords) as client:
                run = Run(scenario, mode, client, self.words)
                run.run_sync()
                record["calls"] = run.outcomes
                record["open after the calls"] = count_sockets(self._ports)
                client.__exit__(None, None, None)
                self._count_after_closing(scenario, record)
        except Exception as error:
            record["built"] = describe_error(error)
        if own is not None:
            own.close()

    def _async(
        self, scenario: Scenario, entry: str, mode: str, record: dict[str, Any], watch: Watch
    ) -> None:
        async def main() -> None:
            watch_loop(watch)
            keywords, own = build_http(scenario, ROOT, self.words, is_async=True, watch=watch)
            origin = fill(scenario.origin, self.words)
            with built(entry, scenario, origin, keywords) as client:
                run = Run(scenario, mode, client, self.words)
                await run.run_async()
                record["calls"] = run.outcomes
                record["open after the calls"] = count_sockets(self._ports)
                await client.__aexit__(None, None, None)
                self._count_after_closing(scenario, record)
            if own is not None:
                await own.aclose()

        try:
            asyncio.run(main())
        except Exception as error:
            record["built"] = describe_error(error)

    def _count_after_closing(self, scenario: Scenario, record: dict[str, Any]) -> None:
        if scenario.closing:
            record["open after closing"] = count_sockets(self._ports)


class HangsError(BaseException):
    """A run takes so long that it counts as one that never ends."""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise HangsError

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _tls_context(authority: trustme.CA) -> Any:
    ssl = importlib.import_module("ssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@contextlib.contextmanager
def _clock(watch: Watch) -> Iterator[None]:
    """Let the waits of the SDK's retries take no time; its tries take none either."""

    async def sleep_async(seconds: float) -> None:
        watch.sleeps.append(seconds)

    clock = SimpleNamespace(time=lambda: sum(watch.sleeps), sleep=watch.sleeps.append)
    with (
        mock.patch.object(RETRIES, "time", clock),
        mock.patch.object(RETRIES, "asyncio", SimpleNamespace(sleep=sleep_async)),
        mock.patch.object(RETRIES, "random", SimpleNamespace(uniform=lambda _low, _high: 0.0)),
    ):
        yield


def _freeze_what_stays() -> None:
    """Leave modules that were loaded since out of the next collections: each would look at them."""
    if gc.get_count()[0] > 2_000 or len(gc.get_objects(generation=2)) > 2_000:
        gc.freeze()


@functools.cache
def _share_certificates() -> None:
    """Load certificates once for the same variables: each client of the SDK's loads them twice."""
    module = importlib.import_module(f"{_httpx().__name__}._transports.default")
    load = module.create_ssl_context

    @functools.cache
    def load_once(key: tuple[Any, ...], variables: tuple[str | None, ...]) -> Any:
        return load(**dict(key))

    def share(**how: Any) -> Any:
        variables = tuple(map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")))
        return load_once(tuple(how.items()), variables)

    module.create_ssl_context = share


def _httpx() -> Any:
    return importlib.import_module(f"{ROOT}.basesdk").httpx


def _close_pools() -> None:
    if "mistral_cf_adapter" in sys.modules:
        importlib.import_module("mistral_cf_adapter._pool").close()


def runs(
    side: str, scenarios: list[Scenario], *, every: bool
) -> Iterator[tuple[Scenario, str, str]]:
    """Yield each scenario with the entry and the mode of its runs.

    Unless `every` run is asked for, `patch()` takes half of them, and without speed-ups, when a run
    takes as long as with the bare SDK, each entry takes a quarter: the same ones at any time.
    """
    for scenario in scenarios:
        for mode in scenario.modes:
            for entry in _entries(side, f"{scenario.name}, {mode}", every=every):
                yield scenario, entry, mode


def _entries(side: str, run: str, *, every: bool) -> tuple[str, ...]:
    if side == BARE:
        return ("bare",)
    if every:
        return ENTRIES
    number = zlib.crc32(run.encode()) % 4
    if side == ADAPTER:
        return ENTRIES[: 1 + number % 2]
    return ENTRIES[number : number + 1]


def main(arguments: list[str]) -> int:
    side, path, *names = arguments
    chosen = [each for each in SCENARIOS if not names or each.name in names]
    runner = Runner()
    for each in runs(side, chosen[:3], every=True):  # what is loaded by the first calls
        runner.run(*each)
    gc.collect()
    gc.freeze()
    gc.disable()
    with Path(path).open("w") as file:
        for scenario, entry, mode in runs(side, chosen, every=bool(names)):
            record = runner.run(scenario, entry, mode)
            row = {"scenario": scenario.name, "entry": entry, "mode": mode, **record}
            file.write(without_ports(json.dumps(row), runner.words) + "\n")
    assert side != BARE or "mistral_cf_adapter" not in sys.modules
    sys.stdout.flush()
    os._exit(0)  # connections and threads of the servers may wait for ever


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
