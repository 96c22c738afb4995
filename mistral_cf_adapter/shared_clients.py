"""What stands for an HTTP client of the SDK's where connections are shared by a process.

It opens nothing and keeps nothing until somebody looks at it or sets something on it, as on
`client.sdk_configuration.client.headers`. From then on there is a client of the HTTP library
behind it, with headers, cookies, hooks and all, for this SDK client alone. That one sends over
the shared connections as well.
"""

import sys
from typing import Any, Self

from ._locks import fork_safe_lock
from ._sdk import httpx
from .stack import PoolConfig

if sys.platform == "emscripten":  # Pyodide: no sockets, so no pools
    from . import _fetch as pools
else:
    from . import pools

_lock = fork_safe_lock()


def _setting(name: str, default: object) -> property:
    """Return a property that asks the client behind only where there is one."""

    def get(self: Any) -> Any:
        return default if self._own is None else getattr(self._own, name)

    def put(self: Any, value: object) -> None:
        setattr(self._real(), name, value)

    return property(get, put)


class _Shared:
    """The front of a pool: opens nothing until it is used, and closes nothing of the pool's."""

    _kind: Any
    _own: Any = None
    """The client behind it, once it was needed."""

    follow_redirects = _setting("follow_redirects", default=True)
    max_redirects = _setting("max_redirects", default=20)
    auth = _setting("auth", default=None)

    def __init__(self, config: PoolConfig) -> None:
        self.config = config

    @property
    def keeps_cookies(self) -> bool:
        """Whether cookies of one call are sent with the next one."""
        return self._own is not None

    def build_request(self, *args: Any, **kwargs: Any) -> Any:
        """Build a request as the HTTP library's clients do."""
        if self._own is not None:
            return self._own.build_request(*args, **kwargs)
        return pools.build_request(*args, **kwargs)

    def _real(self) -> Any:
        """Return the client behind it, building it if need be."""
        with _lock:
            if self._own is None:
                self.__dict__["_own"] = pools.new_client(self._kind, self.config)
            return self._own

    def _has(self, name: str) -> bool:
        """Return whether the HTTP library's clients have an attribute."""
        return hasattr(self._kind, name) or name in pools.client_attributes()

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The HTTP library's class, for `isinstance()` as with the bare SDK."""
        return self._kind

    def __deepcopy__(self, _memo: object) -> Any:
        """Return a copy that shares what is behind this: connections, and no lock can be copied."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        return copy

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not self._has(name):
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(self._real(), name)

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(type(self), name) or name in self.__dict__ or not self._has(name):
            object.__setattr__(self, name, value)
        else:
            setattr(self._real(), name, value)


class SharedClient(_Shared):
    """The front of a process's pool."""

    _kind = httpx.Client

    def send(self, request: Any, **kwargs: Any) -> Any:
        """Send a request over a connection of the pool."""
        if self._own is not None:
            return self._own.send(request, **kwargs)
        pool = pools.sync_pool(self.config)
        config = getattr(pool, "config", self.config)  # Pyodide's client has none
        if self.config is not config:
            self.config = config  # with the certificates of its first call from now on
        return pool.send(request, **kwargs)

    def close(self) -> None:
        """Close the client behind it, if any; other clients share the pool."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        self._real().__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._real().__exit__(*exc_info)


class AsyncSharedClient(_Shared):
    """The front of an event loop's pool."""

    _kind = httpx.AsyncClient

    async def send(self, request: Any, **kwargs: Any) -> Any:
        """Send a request over a connection of the pool."""
        if self._own is not None:
            return await self._own.send(request, **kwargs)
        pool = pools.async_pool(self.config)
        config = getattr(pool, "config", self.config)
        if self.config is not config:
            self.config = config
        return await pool.send(request, **kwargs)

    async def aclose(self) -> None:
        """Close the client behind it, if any; other clients share the pool."""
        if self._own is not None:
            await self._own.aclose()

    async def __aenter__(self) -> Self:
        await self._real().__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._real().__aexit__(*exc_info)
