"""What the programs that run in Pyodide share: the door to the host, ways to a client, a runner."""

from __future__ import annotations

import inspect
import json
import os
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mistralai.client import Mistral
from pyodide.http import pyfetch

from mistral_cf_adapter import GatewaySettings, make_client, patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL = "mistral-small-latest"
QUESTION = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
TOKEN = os.environ["CF_AIG_TOKEN"]
KEY = os.environ["MISTRAL_API_KEY"]
ELSEWHERE = os.environ["ELSEWHERE"]


class Gateway:
    """A gateway on the host: its methods are those of `LocalGateway`, awaited."""

    def __init__(self, name: str = "gateway") -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            asked = {"of": self._name, "call": name, "args": args, "kwargs": kwargs}
            answer = await pyfetch(os.environ["DOOR"], method="POST", body=json.dumps(asked))
            return await answer.json()

        return call


def settings(**changes: Any) -> GatewaySettings:
    """Return the settings from the environment, with changes."""
    return GatewaySettings(**changes)


@contextmanager
def made(**changes: Any) -> Iterator[Mistral]:
    """A client of make_client()."""
    yield make_client(settings(**changes))


@contextmanager
def made_with_own_client(**changes: Any) -> Iterator[Mistral]:
    """A client of make_client() around HTTP clients of the user's own."""
    import httpx2

    own = {
        "client": httpx2.Client(follow_redirects=True),
        "async_client": httpx2.AsyncClient(follow_redirects=True),
    }
    yield make_client(settings(**changes), **own)


@contextmanager
def patched(**changes: Any) -> Iterator[Mistral]:
    """A client that is built under patch()."""
    with patch(settings=settings(**changes)):
        yield Mistral(api_key=KEY)


@contextmanager
def patched_later(**changes: Any) -> Iterator[Mistral]:
    """A client that was built before patch(client), with the SDK's own HTTP clients."""
    client = Mistral(api_key=KEY)
    with patch(client, settings=settings(**changes)):
        yield client


WAYS = (made, made_with_own_client, patched, patched_later)


@contextmanager
def raises(kind: type[BaseException]) -> Iterator[list[BaseException]]:
    """Expect an error in the block; the list has it afterwards."""
    found: list[BaseException] = []
    try:
        yield found
    except kind as error:
        found.append(error)
    if not found:
        msg = f"{kind.__name__} was not raised"
        raise AssertionError(msg)


async def run(checks: list[Callable[..., Any]]) -> int:
    """Run each check, those that take a way with each of them; return how many failed."""
    passed = failed = 0
    for check in checks:
        takes_way = "way" in inspect.signature(check).parameters
        for way in WAYS if takes_way else (None,):
            for name in ("gateway", "elsewhere"):
                await Gateway(name).reset()
            label = check.__name__ + (f"[{way.__name__}]" if way else "")
            try:
                await (check(way) if way else check())
            except Exception:
                failed += 1
                print(f"FAILED {label}\n{traceback.format_exc()}")
            else:
                passed += 1
                print(f"ok {label}")
    print(f"{passed} passed, {failed} failed")
    return failed


def checks_of(module: dict[str, Any]) -> list[Callable[..., Any]]:
    """Return the checks of a module, in order."""
    return [value for name, value in module.items() if name.startswith("check_")]


async def text_of(stream: Any) -> str:
    """Read a streamed chat to its end."""
    return "".join([event.data.choices[0].delta.content or "" async for event in stream])
