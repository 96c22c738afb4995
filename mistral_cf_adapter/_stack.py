"""Which connection is next: of those to a host, the one that was used last.

The HTTP library's own pool asks the system about every idle connection, twice a call: the 256
that a burst leaves behind would slow down each call of the next minute. Here every connection has
an HTTP client of its own, and none but the next is looked at. Nothing here touches a socket.
"""

from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from ._sdk import httpx

_AT_ONCE = 32
"""Connections that one call closes at most, so that none pays for a burst of long ago."""

_Origin = tuple[str, bytes, int | None]
Builder = Callable[[Any, _Origin], tuple[Any, bool]]
"""From an HTTP library's `Limits` and an origin to a client, and whether it can be pooled."""


class PoolConfig(NamedTuple):
    """How a pool is set up; `keepalive_expiry` in seconds."""

    max_connections: int = 1000
    keepalive_expiry: float = 60.0
    certificates: Hashable = None
    """The state of the certificate files when the client was built: see `certificates.py`."""

    def limits(self, connections: int) -> Any:
        """Return the same for an HTTP client of so many connections."""
        return httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=self.keepalive_expiry,
        )


class Connection:
    """An HTTP client of one connection; proxies and TLS are its own matter."""

    __slots__ = ("client", "lasting", "origin", "since", "unread")

    def __init__(self, built: tuple[Any, bool], origin: _Origin) -> None:
        self.client, self.lasting = built
        self.origin = origin
        self.since = 0.0
        """When it was last used."""
        self.unread: Any = None
        """What is left of its last response, to be read before the next request."""

    @property
    def is_new(self) -> bool:
        """Whether no request was sent on it."""
        return not self.since


class Stack:
    """Which connection is next, and which have to go.

    There is no lock: a stream that nobody finished gives its connection back while garbage is
    collected, at any moment in any thread. Each step on the containers is one of theirs alone.
    """

    def __init__(self, build: Builder, config: PoolConfig) -> None:
        self._build = build
        self._config = config
        self._one = config.limits(1)
        self._idle: deque[Connection] = deque()
        """The one used last is on the right."""
        self.open: set[Connection] = set()
        self._is_closed = False

    def take(self, url: Any) -> tuple[Connection, list[Any]]:
        """Return a connection for a URL, and clients to close first."""
        origin = (url.scheme, url.raw_host, url.port)
        idle = self._last(origin)
        if idle is not None:
            return idle, []
        connection = Connection(self._build(self._one, origin), origin)
        self.open.add(connection)
        surplus = len(self.open) - self._config.max_connections
        return connection, self._forget(self._oldest(surplus))

    def give(self, connection: Connection, *, usable: bool) -> list[Any]:
        """Take a connection back; return clients to close."""
        connection.since = monotonic()
        if not usable or not connection.lasting or self._is_closed:
            return self._forget([connection])
        self._idle.append(connection)
        expired = connection.since - self._config.keepalive_expiry
        return self._forget(self._oldest(_AT_ONCE, before=expired))

    def expire(self) -> list[Any]:
        """Return the clients of all idle connections, to be closed."""
        return self._forget(self._oldest(len(self._idle)))

    def clear(self) -> list[Any]:
        """Return all clients, to be closed; keep no connection from now on."""
        self._is_closed = True
        self._idle.clear()
        return self._forget(list(self.open))

    def _last(self, origin: _Origin) -> Connection | None:
        """Take the connection of an origin that was used last: nearly always the last of all."""
        try:
            last = self._idle.pop()
        except IndexError:
            return None
        if last.origin == origin:
            return last
        self._idle.append(last)
        for connection in reversed(list(self._idle)):
            if connection.origin == origin:
                with suppress(ValueError, IndexError):  # another thread was quicker
                    self._idle.remove(connection)
                    return connection
        return None

    def _oldest(self, most: int, before: float = inf) -> list[Connection]:
        """Take the connections that were last used before a time."""
        oldest: list[Connection] = []
        with suppress(IndexError):
            while len(oldest) < most and self._idle[0].since < before:
                oldest.append(self._idle.popleft())
        return oldest

    def _forget(self, connections: list[Connection]) -> list[Any]:
        self.open.difference_update(connections)
        return [connection.client for connection in connections]
