"""`GatewayClient` and `AsyncGatewayClient`: two thin shells around `exchange()`.

They are what the SDK knows as its HTTP client. Each holds another client, the user's own or
the front of a shared pool, and does with it what `exchange()` decides.
"""

import inspect
import sys
from typing import TYPE_CHECKING, Any

from ._http2_logs import redact_http2_logs
from .exchange import Flow, Step, exchange
from .options import GatewayConfigError
from .routing import Route
from .stack import PoolConfig

if sys.platform == "emscripten":  # Pyodide: no sockets, so no pools
    from . import _fetch as pools
else:
    from . import pools

if TYPE_CHECKING:
    from collections.abc import Callable


class _Shared:
    """The front of a pool: opens nothing until it is used, and closes nothing."""

    __slots__ = ("config",)

    follow_redirects = True
    max_redirects = 20

    def __init__(self, config: PoolConfig) -> None:
        self.config = config

    def build_request(self, *args: Any, **kwargs: Any) -> Any:
        return pools.build_request(*args, **kwargs)


class SharedClient(_Shared):
    """The front of a process's pool."""

    def send(self, request: Any, **kwargs: Any) -> Any:
        return pools.sync_pool(self.config).send(request, **kwargs)

    def close(self) -> None:
        """Do nothing: other clients share the pool."""


class AsyncSharedClient(_Shared):
    """The front of an event loop's pool."""

    async def send(self, request: Any, **kwargs: Any) -> Any:
        return await pools.async_pool(self.config).send(request, **kwargs)

    async def aclose(self) -> None:
        """Do nothing: other clients share the pool."""


class _Shell:
    """What both shells have in common: the inner client and how to ask it."""

    def __init__(self, inner: Any, route: Route) -> None:
        self.inner = inner
        self.route = route
        self.configuration: Callable[[], Any] = lambda: None
        """Returns the SDK configuration that hands this out, if any; a weak reference."""
        follows = getattr(inner, "follow_redirects", True)
        self._max_redirects: int = getattr(inner, "max_redirects", 20) if follows else 0
        # Redirects are followed here, hop by hop; a client of another make may not take the word.
        self._asked: dict[str, Any] = {}
        if _takes_follow_redirects(inner):
            self._asked["follow_redirects"] = False
        elif getattr(inner, "follow_redirects", False):
            msg = (
                f"{type(inner).__name__}.send() takes no follow_redirects=, so the client would "
                "follow redirects by itself and take the gateway's token along: let send() take "
                "it, or build the client with follow_redirects=False"
            )
            raise GatewayConfigError(msg)
        self._via = inner.config if isinstance(inner, _Shared) else id(inner)
        if not isinstance(inner, _Shared):  # which speaks HTTP/1.1
            redact_http2_logs()

    def build_request(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.inner.build_request(*args, **kwargs)
        except UnicodeEncodeError:
            msg = "a header is not ASCII: look at api_key (or MISTRAL_API_KEY) and http_headers"
            problem: Exception = GatewayConfigError(msg)
        except Exception as error:  # noqa: BLE001 - raised again below
            problem = error.with_traceback(None)
        del kwargs  # a traceback may show what a frame holds
        raise problem

    def _sender(self) -> Any:
        """Return the inner client, or a copy of it where its own transport is unsafe."""
        if sys.platform == "emscripten":
            return pools.through_fetch(self.inner)
        return self.inner

    def _withheld(self, step: Step, asked: dict[str, Any]) -> dict[str, Any]:
        """Withhold the inner client's own credentials where they are not meant to go."""
        if not step.withhold or getattr(self.inner, "auth", None) is None:
            return asked
        return {**asked, "auth": None}

    def _exchange(self, request: Any, asked: dict[str, Any]) -> Flow:
        follow = asked.pop("follow_redirects", None)
        hops = 0 if follow is False else self._max_redirects
        asked.update(self._asked)
        return exchange(self.route, request, max_redirects=hops, via=self._via)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self.route.provider_url}>"


class GatewayClient(_Shell):
    """The SDK's `HttpClient`, sending through the gateway."""

    def send(self, request: Any, *, stream: bool = False, **asked: Any) -> Any:
        flow = self._exchange(request, asked)
        try:
            step = next(flow)
            while True:
                try:
                    done = self._do(step, stream, asked)
                except BaseException as error:  # noqa: BLE001 - the flow decides what becomes of it
                    step = flow.throw(error)
                else:
                    step = flow.send(done)
        except StopIteration as end:
            return end.value

    def _do(self, step: Step, stream: bool, asked: dict[str, Any]) -> Any:  # noqa: FBT001
        if step.do == "send":
            inner = self._sender()
            return inner.send(step.what, stream=stream, **self._withheld(step, asked))
        if step.do == "read":
            step.what.read()  # what it returns would be seen in a traceback
            return None
        return step.what.close()

    def close(self) -> None:
        self.inner.close()


class AsyncGatewayClient(_Shell):
    """The SDK's `AsyncHttpClient`, sending through the gateway."""

    async def send(self, request: Any, *, stream: bool = False, **asked: Any) -> Any:
        flow = self._exchange(request, asked)
        try:
            step = next(flow)
            while True:
                try:
                    done = await self._do(step, stream, asked)
                except BaseException as error:  # noqa: BLE001 - the flow decides what becomes of it
                    step = flow.throw(error)
                else:
                    step = flow.send(done)
        except StopIteration as end:
            return end.value

    async def _do(self, step: Step, stream: bool, asked: dict[str, Any]) -> Any:  # noqa: FBT001
        if step.do == "send":
            inner = self._sender()
            return await inner.send(step.what, stream=stream, **self._withheld(step, asked))
        if step.do == "read":
            await step.what.aread()
            return None
        return await step.what.aclose()

    async def aclose(self) -> None:
        await self.inner.aclose()


def _takes_follow_redirects(client: Any) -> bool:
    if isinstance(client, _Shared):
        return True
    try:
        parameters = inspect.signature(client.send).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        parameter.name == "follow_redirects" or parameter.kind is parameter.VAR_KEYWORD
        for parameter in parameters
    )
