"""Whether bytes are left over on a connection after a response.

A server that sends more than one response to a request leaves bytes behind. httpcore keeps them
and takes them for the next response, which on a shared connection is another caller's. Between
two requests nothing may be there: not in the parser, not in a buffer below it, not on the socket.

No public attribute of the HTTP library shows the buffers. Where the private ones are not as
expected, the connection counts as one with leftovers, and is closed instead of being reused.
"""

import logging
import select
from typing import Any

logger = logging.getLogger("mistral_cf_adapter")

_warned: set[str] = set()


def has_leftovers(client: Any) -> bool:
    """Return whether a connection of an HTTP client holds bytes, or may hold some.

    Args:
        client: An `httpx.Client` or `AsyncClient`, none of whose connections is in use.
    """
    try:
        return any(map(_is_dirty, _open_connections(client)))
    except Exception as unknown:  # noqa: BLE001 - whatever it is, nothing can be told
        _warn(unknown)
        return True


def _open_connections(client: Any) -> list[Any]:
    transports = (client._transport, *client._mounts.values())  # noqa: SLF001
    return [
        connection
        for transport in transports
        if transport is not None  # as for a host of NO_PROXY, which the first one serves
        for connection in _pool_of(transport).connections
        if not connection.is_closed()
    ]


def _pool_of(transport: Any) -> Any:
    """Return the connection pool of a transport, which a tracing tool may have wrapped."""
    while not hasattr(transport, "_pool"):
        transport = transport._transport  # noqa: SLF001
    return transport._pool  # noqa: SLF001


def _is_dirty(connection: Any) -> bool:
    if not connection.is_idle():
        return True
    http11 = connection
    while not hasattr(http11, "_h11_state"):  # one to or through a proxy holds another
        http11 = http11._connection  # noqa: SLF001
    received, is_at_end = http11._h11_state.trailing_data  # noqa: SLF001
    stream = http11._network_stream  # noqa: SLF001
    sock = _asyncio_socket(stream) if hasattr(stream, "_stream") else _blocking_socket(stream)
    if received or sock is None:
        logger.debug("closed, as the server sent more bytes than its response: %s", connection)
        return True
    return is_at_end or is_readable(sock)


def _blocking_socket(stream: Any) -> Any:
    """Return the socket of a blocking stream, `None` if bytes wait in a buffer above it."""
    sock = stream._sock  # noqa: SLF001
    if hasattr(sock, "pending") and sock.pending():
        return None
    if not hasattr(stream, "ssl_obj"):
        return sock
    # TLS within TLS, for a proxy that is spoken to in https.
    return None if stream.ssl_obj.pending() or stream._incoming.pending else sock  # noqa: SLF001


def _asyncio_socket(stream: Any) -> Any:
    """Return the socket of an event loop's stream, `None` if bytes wait in a buffer above it."""
    stream = stream._stream  # noqa: SLF001
    while hasattr(stream, "transport_stream"):
        if stream._ssl_object.pending() or stream._read_bio.pending:  # noqa: SLF001
            return None
        stream = stream.transport_stream
    transport = stream._transport  # noqa: SLF001
    if stream._protocol.read_queue:  # noqa: SLF001
        return None
    # On Windows a read that was under way when reading was paused leaves its result here.
    if getattr(transport, "_pending_data_length", -1) != -1:
        return None
    return transport.get_extra_info("socket")


def is_readable(sock: Any) -> bool:
    """Return whether a socket has bytes to read, or has ended: a system call, not a read."""
    descriptor: int = sock.fileno()
    if descriptor < 0:
        return True
    if not hasattr(select, "poll"):  # Windows, and where gevent has taken it away
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _warn(unknown: Exception) -> None:
    """Say once why connections are closed after each response."""
    reason = str(unknown)
    if reason in _warned:
        return
    _warned.add(reason)
    message = (
        "connections are not reused: whether a response left bytes on one cannot be told with "
        "this release of the HTTP library (%s)"
    )
    logger.warning(message, reason)
