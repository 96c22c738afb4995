"""Play a fault to the SDK, with the adapter or bare, in each mode, and say what came of it.

python tests/programs/fault_matrix.py            # every fault x mode, through the adapter
python tests/programs/fault_matrix.py --bare     # the same without it
python tests/programs/fault_matrix.py PYTHON...  # the same for the SDK of each interpreter
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

_TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(_TESTS / "support"), str(_TESTS)]

from fault_scripts import ANSWER, MAJOR, Stage
from faults import BARE, BARE_1, FAULTS, Fault

import mistral_cf_adapter
from mistral_cf_adapter import GatewayConnectionError, GatewaySettings, _pool, make_client
from mistral_cf_adapter._sdk import Mistral, httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "cf-secret-token-4242"
KEY = "mistral-secret-key-4242"
TIMEOUT_MS = 10_000
SHORT_TIMEOUT_MS = 250
"""For the faults that wait for it; the others must not meet it on a busy machine."""
WATCHDOG = 60.0
PACKAGE = str(Path(mistral_cf_adapter.__file__).parent)
MODES = ("sync", "async", "sync stream", "async stream")
CLEARED = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(slots=True)
class Result:
    """What came of one call."""

    outcome: str
    """"answer", "short" for less than the answer taken for the whole, or an exception's name."""
    error: BaseException | None = None
    text: str = ""
    held: int = 0
    """Connections the client's pool still has in use."""
    stage: Stage | None = field(default=None, repr=False)
    stuck: int = 0
    """Connections the servers find still open though the call is over."""

    @property
    def label(self) -> str:
        leak = "+leak" if self.stage is not None and hop_secrets(self.stage) else ""
        return self.outcome + leak + ("+held" if self.held or self.stuck else "")


def play(fault: Fault, mode: str, *, bare: bool = False) -> Result:
    """Set up a fault, make a call in a mode and return what came of it."""
    with fault.set_up() as stage, _environment(stage.environment):
        late = any("Timeout" in name for name in expected(fault, mode, bare=bare))
        sdk_of = functools.partial(
            _bare if bare else _adapted, timeout_ms=SHORT_TIMEOUT_MS if late else TIMEOUT_MS
        )
        call = _sync if mode.startswith("sync") else _async
        result = _watched(functools.partial(call, sdk_of, stage, "stream" in mode))
        _pool.close()
        result.stage = stage
        result.stuck = sum(server.stuck() for server in stage.servers)
        return result


def hop_secrets(stage: Stage) -> list[str]:
    """Return the secrets that reached a server other than the gateway."""
    requests = [request for server in stage.servers[1:] for request in server.requests]
    return [secret for secret in (TOKEN, KEY) for request in requests if secret in request]


def name_of(error: BaseException) -> str:
    """Return an exception's class; where a connection failed the HTTP library's, as when bare."""
    kind = type(error)
    if isinstance(error, GatewayConnectionError):
        kind = kind.__bases__[1]
    return kind.__name__


def leaks(error: BaseException) -> list[str]:
    """Return where a secret shows: in an exception, in what it is chained to, in our frames."""
    shown: list[str] = []
    for link in _chain(error):
        shown += [str(link), repr(link), *getattr(link, "__notes__", ())]
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if frame.f_code.co_filename.startswith(PACKAGE):
                shown += map(_shown, frame.f_locals.values())
    return [text for text in shown if TOKEN in text or KEY in text]


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # an object still under construction may have no repr
        return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    links = [error]
    while links:
        link = links.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        links += [link.__cause__, link.__context__]


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    with mock.patch.dict(os.environ):
        for name in CLEARED:
            os.environ.pop(name, None)
            os.environ.pop(name.lower(), None)
        os.environ.update(changes)
        yield


def _watched(call: Callable[[], Result]) -> Result:
    """Run a call where it can hang without holding up anyone but itself."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(WATCHDOG)
    return results[0] if results else Result("hangs")


def settings_for(stage: Stage) -> GatewaySettings:
    return GatewaySettings(base_url=stage.url, token=TOKEN, mistral_api_key=KEY)


@contextlib.contextmanager
def _adapted(stage: Stage, *, asynchronous: bool, timeout_ms: int) -> Iterator[tuple[Any, Any]]:
    sdk = make_client(settings_for(stage), timeout_ms=timeout_ms)
    configuration = sdk.sdk_configuration
    shell: Any = configuration.async_client if asynchronous else configuration.client
    pool = _pool.async_pool if asynchronous else _pool.sync_pool
    yield sdk, lambda: pool(shell.inner.config)


@functools.cache
def _trust() -> Any:
    return httpx.create_ssl_context()


@contextlib.contextmanager
def _bare(stage: Stage, *, asynchronous: bool, timeout_ms: int) -> Iterator[tuple[Any, Any]]:
    """Yield the SDK as people use it with the gateway: its defaults and one more header."""
    how = {
        "follow_redirects": True,
        "headers": {"cf-aig-authorization": f"Bearer {TOKEN}"},
        "verify": httpx.create_ssl_context() if stage.environment else _trust(),
    }
    client = httpx.Client(**how)
    asynchronous_client = httpx.AsyncClient(**how)
    sdk = Mistral(
        api_key=KEY,
        server_url=f"{stage.url}/mistral",
        client=client,
        async_client=asynchronous_client,
        timeout_ms=timeout_ms,
    )
    yield sdk, lambda: asynchronous_client if asynchronous else client
    client.close()


def _held(pool: Any) -> int:
    """Count the connections in use of a pool of ours, or of an HTTP client.

    One that waits for its next call with the rest of a stream to read is in use by none.
    """
    stack = getattr(pool, "_connections", None)
    clients = [pool] if stack is None else [one.client for one in stack.open if one.unread is None]
    transports = [t for c in clients for t in (c._transport, *filter(None, c._mounts.values()))]
    connections = [c for transport in transports for c in transport._pool.connections]
    return sum(not (c.is_idle() or c.is_closed()) for c in connections)


def _judge(text: str) -> str:
    return "answer" if text.lstrip("x") == ANSWER else "short"


def _arguments(stage: Stage) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": stage.prompt}]}


def _sync(sdk_of: Any, stage: Stage, streamed: bool) -> Result:
    pieces: list[str] = []
    with sdk_of(stage, asynchronous=False) as (sdk, client):
        try:
            if stage.between is not None:
                _ask(sdk, stage, streamed, [])
                stage.between()
            _ask(sdk, stage, streamed, pieces)
        except Exception as error:
            return Result(name_of(error), error, "".join(pieces), _held(client()))
        text = "".join(pieces)
        return Result(_judge(text), None, text, _held(client()))


def _ask(sdk: Any, stage: Stage, streamed: bool, pieces: list[str]) -> None:
    if not streamed:
        pieces.append(sdk.chat.complete(**_arguments(stage)).choices[0].message.content)
        return
    for event in sdk.chat.stream(**_arguments(stage)):
        pieces.append(event.data.choices[0].delta.content)
        stage.on_event()


def _async(sdk_of: Any, stage: Stage, streamed: bool) -> Result:
    return asyncio.run(_async_call(sdk_of, stage, streamed))


async def _async_call(sdk_of: Any, stage: Stage, streamed: bool) -> Result:
    pieces: list[str] = []
    with sdk_of(stage, asynchronous=True) as (sdk, client):
        try:
            if stage.between is not None:
                await _ask_async(sdk, stage, streamed, [])
                await asyncio.to_thread(stage.between)
            await _ask_async(sdk, stage, streamed, pieces)
        except Exception as error:
            result = Result(name_of(error), error, "".join(pieces), _held(client()))
        else:
            text = "".join(pieces)
            result = Result(_judge(text), None, text, _held(client()))
        if sdk_of.func is _bare:
            await client().aclose()
        return result


async def _ask_async(sdk: Any, stage: Stage, streamed: bool, pieces: list[str]) -> None:
    if not streamed:
        answer = await sdk.chat.complete_async(**_arguments(stage))
        pieces.append(answer.choices[0].message.content)
        return
    async for event in await sdk.chat.stream_async(**_arguments(stage)):
        pieces.append(event.data.choices[0].delta.content)
        stage.on_event()


def expected(fault: Fault, mode: str, *, bare: bool = False) -> list[str]:
    """Return the outcomes that are right for a fault in a mode, none where it is not run."""
    streamed = "stream" in mode
    outcomes = (fault.plain, fault.stream)[streamed]
    if bare:
        record = BARE | (BARE_1 if MAJOR == 1 else {})
        outcomes = record.get(fault.name, (outcomes, outcomes))[streamed]
        outcomes = re.sub(r"Gateway\w+", "SDKError", outcomes)
    return outcomes.split("|") if outcomes else []


def rows(*, bare: bool) -> Iterator[tuple[str, list[str], int]]:
    """Play the whole matrix; yield each fault's name, outcomes and how many are wrong."""
    for fault in FAULTS:
        labels: list[str] = []
        wrong = 0
        for mode in MODES:
            right = expected(fault, mode, bare=bare)
            label = play(fault, mode, bare=bare).label if right else "-"
            good = not right or label in right
            wrong += not good
            labels.append(label if good else f"{label} (!)")
        yield fault.name, labels, wrong


def main(arguments: list[str]) -> int:
    """Print the matrix for this interpreter's SDK, or for the SDK of each interpreter given."""
    bare = [argument for argument in arguments if argument == "--bare"]
    pythons = [argument for argument in arguments if argument != "--bare"]
    if pythons:
        return sum(
            subprocess.run([one, __file__, *bare], check=False).returncode for one in pythons
        )
    played = failed = 0
    print(f"mistralai {version('mistralai')}, {'bare' if bare else 'through the adapter'}")
    print(f"{'fault':42} {' | '.join(MODES)}")
    for name, labels, wrong in rows(bare=bool(bare)):
        same = len(set(labels)) == 1
        print(f"{name[:42]:42} {labels[0] if same else ' | '.join(labels)}", flush=True)
        played += sum(label != "-" for label in labels)
        failed += wrong
    print(f"{played - failed} of {played} as they should be\n")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
