"""`GatewayClient` and `AsyncGatewayClient`: the SDK's HTTP client, sending through the gateway.

Each wraps another client, the user's own or one of the shared pool, and performs the actions of
`request_flow()` with it.
"""

import inspect
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from ._credentials import ask_all, ask_all_async
from ._flow import Action, Flow, make_pool_key, request_flow
from ._http2_logs import redact_http2_logs
from ._listeners import await_all, run
from ._options import GatewayConfigError
from ._paths import Problem, find_url_problem
from ._pool import PooledClientBase
from ._routing import ELSEWHERE, Route, make_headers_mask
from ._sdk import path_template

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ._capture import Place

if sys.platform == "emscripten":
    from . import _fetch

_NOT_ASCII = "a header is not ASCII: look at api_key (or MISTRAL_API_KEY) and http_headers"


class _BaseGatewayClient:
    """What the sync and the async client share.

    It reads and sets what the HTTP library's clients have on the inner client.
    """

    inner: Any
    route: Route
    configuration: "Callable[[], Any]"
    """Returns the SDK configuration that hands this out, if any; a weak reference."""
    _noticed: "set[Place]"
    _pool_key: "Hashable"
    _is_shared: bool
    _takes_follow_redirects: bool

    def __init__(self, inner: Any, route: Route) -> None:
        # Not isinstance(): the class of a pooled client says httpx.Client.
        is_shared = issubclass(type(inner), PooledClientBase)
        self.__dict__.update(
            inner=inner,
            route=route,
            configuration=lambda: None,
            _noticed=set(),
            _pool_key=inner.config if is_shared else make_pool_key(inner),
            _is_shared=is_shared,
            _takes_follow_redirects=is_shared or _takes_follow_redirects(inner),
        )
        self._count_redirects(None)  # raises if the user's client cannot work
        if not is_shared:  # which speaks HTTP/1.1
            redact_http2_logs(route.own_names)

    def build_request(self, *args: Any, **kwargs: Any) -> Any:
        url = kwargs.get("url", args[1] if len(args) > 1 else None)
        template = path_template(sys._getframe(1))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        wrong = find_url_problem(self.route, url, template) if isinstance(url, str) else None
        problem = None if wrong is None else self._refusal(wrong, kwargs.get("headers"))
        if problem is None:
            try:
                request = self.inner.build_request(*args, **kwargs)
                # The call itself gave another URL than the provider's, as by `server_url=`.
                if isinstance(url, str) and not url.startswith(self.route.provider_url):
                    request.extensions[ELSEWHERE] = True
            except UnicodeEncodeError as error:
                problem = error.with_traceback(None)
                if error.encoding == "ascii":
                    problem = GatewayConfigError(_NOT_ASCII)
            except Exception as error:  # noqa: BLE001 - raised again below
                problem = error.with_traceback(None)
            else:
                return request
        del args, kwargs, url, wrong  # a traceback may show what a frame holds
        try:
            raise problem
        finally:
            del problem  # an error and a frame that holds it would form a cycle

    def _sender(self) -> Any:
        """Return the inner client, or a copy of it where its own transport is unsafe."""
        if sys.platform == "emscripten":
            return _fetch.through_fetch(self.inner)
        return self.inner

    def _refusal(self, problem: Problem, headers: object) -> Exception:
        """Return the error for a URL that is not the one its operation means."""
        given = cast("dict[str, str]", headers if isinstance(headers, Mapping) else {})
        return GatewayConfigError(problem.describe(make_headers_mask(self.route, given)))

    def _without_auth(self, action: Action, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Disable the inner client's `auth` where its credentials must not go."""
        if not action.drop_auth or getattr(self.inner, "auth", None) is None:
            return kwargs
        return {**kwargs, "auth": None}

    def _start_flow(self, request: Any, kwargs: dict[str, Any]) -> Flow:
        hops = self._count_redirects(kwargs.pop("follow_redirects", None))
        if self._takes_follow_redirects:
            kwargs["follow_redirects"] = False
        is_users_own = not self._is_shared or self.inner.keeps_cookies
        return request_flow(
            self.route,
            request,
            max_redirects=hops,
            pool_key=self._pool_key,
            noticed=self._noticed,
            keeps_cookies=is_users_own,
            authenticates=is_users_own and self._authenticates(),
        )

    def _authenticates(self) -> bool:
        """Return whether the user's own HTTP client may add a key: by `auth` or by a hook."""
        hooks: Any = getattr(self.inner, "event_hooks", None) or {}
        return getattr(self.inner, "auth", None) is not None or bool(hooks.get("request"))

    def _count_redirects(self, follow: object) -> int | None:
        """Return how many redirects to follow, as the client says now; `None` for not at all."""
        inner = self.inner
        if not self._takes_follow_redirects and getattr(inner, "follow_redirects", False):
            msg = (
                f"{type(inner).__name__}.send() takes no follow_redirects=, so the client would "
                "follow redirects by itself and take the gateway's token along: let send() take "
                "it, or build the client with follow_redirects=False"
            )
            raise GatewayConfigError(msg)
        if not isinstance(follow, bool):  # None, or what the HTTP library has for a default
            follow = getattr(inner, "follow_redirects", True)
        hops: int | None = getattr(inner, "max_redirects", 20) if follow else None
        return hops

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The inner client's class, for `isinstance()` as with the bare SDK."""
        return self.inner.__class__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: object) -> None:
        # What only this has, such as a `send` that a tracer has wrapped, stays here.
        if name in self.__dict__ or hasattr(type(self), name) or not hasattr(self.inner, name):
            object.__setattr__(self, name, value)
        else:
            setattr(self.inner, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            object.__delattr__(self, name)
        else:
            delattr(self.inner, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self.route.provider_url}>"


class GatewayClient(_BaseGatewayClient):
    """The SDK's `HttpClient`, sending through the gateway."""

    def send(self, request: Any, *, stream: bool = False, **kwargs: Any) -> Any:
        flow = self._start_flow(request, kwargs)
        try:
            action = next(flow)
            while True:
                try:
                    done = self._perform(action, stream, kwargs)
                except BaseException as error:  # noqa: BLE001 - the flow decides what becomes of it
                    action = flow.throw(error)
                else:
                    action = flow.send(done)
        except StopIteration as end:
            return end.value

    def _perform(self, action: Action, stream: bool, kwargs: dict[str, Any]) -> Any:  # noqa: FBT001
        if action.kind == "send":
            inner = self._sender()
            return inner.send(action.target, stream=stream, **self._without_auth(action, kwargs))
        if action.kind == "read":
            action.target.read()  # what it returns would be seen in a traceback
            return None
        if action.kind == "ask":
            return ask_all(action.target)
        if action.kind == "await":
            return run(action.target)
        return action.target.close()

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.inner.__exit__(*exc_info)


class AsyncGatewayClient(_BaseGatewayClient):
    """The SDK's `AsyncHttpClient`, sending through the gateway."""

    async def send(self, request: Any, *, stream: bool = False, **kwargs: Any) -> Any:
        flow = self._start_flow(request, kwargs)
        try:
            action = next(flow)
            while True:
                try:
                    done = await self._perform(action, stream, kwargs)
                except BaseException as error:  # noqa: BLE001 - the flow decides what becomes of it
                    action = flow.throw(error)
                else:
                    action = flow.send(done)
        except StopIteration as end:
            return end.value

    async def _perform(self, action: Action, stream: bool, kwargs: dict[str, Any]) -> Any:  # noqa: FBT001
        if action.kind == "send":
            inner = self._sender()
            return await inner.send(
                action.target, stream=stream, **self._without_auth(action, kwargs)
            )
        if action.kind == "read":
            await action.target.aread()
            return None
        if action.kind == "ask":
            return await ask_all_async(action.target)
        if action.kind == "await":
            return await await_all(action.target)
        return await action.target.aclose()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.inner.__aexit__(*exc_info)


def _takes_follow_redirects(client: Any) -> bool:
    try:
        parameters = inspect.signature(client.send).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        parameter.name == "follow_redirects" or parameter.kind is parameter.VAR_KEYWORD
        for parameter in parameters
    )
