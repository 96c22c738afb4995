"""`GatewayClient` and `AsyncGatewayClient`: two thin shells around `exchange()`.

They are what the SDK knows as its HTTP client. Each holds another client, the user's own or
the front of a shared pool, and does with it what `exchange()` decides.
"""

import inspect
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ._http2_logs import redact_http2_logs
from ._sdk import path_template
from .exchange import Flow, Step, exchange
from .fallback import pool_key
from .options import GatewayConfigError
from .routing import ELSEWHERE, Route, mask_for_headers, problem_with_url
from .stack import PoolConfig

if sys.platform == "emscripten":  # Pyodide: no sockets, so no pools
    from . import _fetch as pools
else:
    from . import pools

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._notices import Place


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
        pool = pools.sync_pool(self.config)
        self.config = pool.config  # with the certificates of its first call from now on
        return pool.send(request, **kwargs)

    def close(self) -> None:
        """Do nothing: other clients share the pool."""


class AsyncSharedClient(_Shared):
    """The front of an event loop's pool."""

    async def send(self, request: Any, **kwargs: Any) -> Any:
        pool = pools.async_pool(self.config)
        self.config = pool.config
        return await pool.send(request, **kwargs)

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
        self._noticed: set[Place] = set()
        self._via = inner.config if isinstance(inner, _Shared) else pool_key(inner)
        if not isinstance(inner, _Shared):  # which speaks HTTP/1.1
            redact_http2_logs()

    def build_request(self, *args: Any, **kwargs: Any) -> Any:
        url = kwargs.get("url", args[1] if len(args) > 1 else None)
        template = path_template(sys._getframe(1))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        problem = self._refusal(url, template, kwargs.get("headers"))
        if problem is None:
            try:
                return self._marked(self.inner.build_request(*args, **kwargs), url)
            except UnicodeEncodeError:
                msg = "a header is not ASCII: look at api_key (or MISTRAL_API_KEY) and http_headers"
                problem = GatewayConfigError(msg)
            except Exception as error:  # noqa: BLE001 - raised again below
                problem = error.with_traceback(None)
        del args, kwargs, url  # a traceback may show what a frame holds
        try:
            raise problem
        finally:
            del problem  # an error and a frame that holds it would form a cycle

    def _sender(self) -> Any:
        """Return the inner client, or a copy of it where its own transport is unsafe."""
        if sys.platform == "emscripten":
            return pools.through_fetch(self.inner)
        return self.inner

    def _refusal(self, url: object, template: str | None, headers: object) -> Exception | None:
        """Return the error for a URL that is not the one its operation means."""
        problem = problem_with_url(self.route, url, template) if isinstance(url, str) else None
        if problem is None:
            return None
        given = cast("dict[str, str]", headers if isinstance(headers, Mapping) else {})
        return GatewayConfigError(problem.describe(mask_for_headers(self.route, given)))

    def _marked(self, request: Any, url: object) -> Any:
        """Note on a request that its URL leads to another gateway of the same host, as given."""
        if isinstance(url, str) and not url.startswith(self.route.provider_url):
            request.extensions[ELSEWHERE] = True
        return request

    def _withheld(self, step: Step, asked: dict[str, Any]) -> dict[str, Any]:
        """Withhold the inner client's own credentials where they are not meant to go."""
        if not step.withhold or getattr(self.inner, "auth", None) is None:
            return asked
        return {**asked, "auth": None}

    def _exchange(self, request: Any, asked: dict[str, Any]) -> Flow:
        follow = asked.pop("follow_redirects", None)
        hops = 0 if follow is False else self._max_redirects
        asked.update(self._asked)
        return exchange(
            self.route, request, max_redirects=hops, via=self._via, noticed=self._noticed
        )

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
