"""A uvicorn HTTP server in a thread of its own, which can stop listening and start again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from concurrent.futures import Future
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mistral_cf_adapter.testing import limits
from mistral_cf_adapter.testing.strict import StrictConnection

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket
    from collections.abc import Awaitable, Callable, Coroutine
    from os import PathLike
    from typing import TypeAlias

    from uvicorn._types import ASGI3Application

    Paths: TypeAlias = tuple[str | PathLike[str], str | PathLike[str]]

HOST = "127.0.0.1"
# Long: a test may sit in a debugger, and stopping does not wait for idle connections.
KEEP_ALIVE = 3600


class ThreadedServer:
    """Serve an ASGI application on 127.0.0.1 from a daemon thread.

    uvicorn's protocol reads and writes HTTP; its `Server` is not used, because its main loop
    and its shutdown both wait in steps of 100 ms and it cannot close its listener alone.
    """

    def __init__(
        self, app: Callable[..., Awaitable[None]], *, port: int, tls: Paths | None
    ) -> None:
        self.transports: dict[tuple[str, int], asyncio.Transport] = {}
        """The open connections, by the caller's address, as in an ASGI scope's `client`."""
        self.port = port
        self._app = app
        self._tls = tls
        self._wanted_port = port
        self._config = self._make_config()
        self._state = ServerState()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: asyncio.Server | None = None
        self._placeholder: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._stop: asyncio.Event | None = None
        self._listening = asyncio.Lock()
        """Held while the listener is opened or closed, as both wait in between."""

    def start(self) -> None:
        """Listen; return once connections are accepted. It can be started again after `stop`.

        Raises:
            OSError: if the port is taken.
            RuntimeError: if it is started already.
        """
        if self._thread is not None:
            msg = f"This gateway is started already, on port {self.port}: call stop() before"
            raise RuntimeError(msg)
        self._pid = os.getpid()
        self._config = self._make_config()
        self.port = self._wanted_port
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(ready)), name="local-gateway", daemon=True
        )
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread = self._loop = self._stop = None
            raise

    def _make_config(self) -> Config:
        """Return uvicorn's settings, which it loads once."""
        return Config(
            cast("ASGI3Application", self._app),
            interface="asgi3",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            ssl_certfile=None if self._tls is None else self._tls[0],
            ssl_keyfile=None if self._tls is None else self._tls[1],
        )

    def stop(self) -> None:
        """Drop every connection and end the thread. Harmless when it is stopped already."""
        thread, loop, stop = self._thread, self._loop, self._stop
        if thread is None or loop is None or stop is None or self._is_copy():
            return
        self._check_thread()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to stop
            loop.call_soon_threadsafe(stop.set)
        thread.join()
        self._thread = self._loop = self._stop = None

    def refuse(self) -> None:
        """Close the listening socket and every connection: callers get "connection refused"."""
        self._run(self._close_listener(hold_port=True))

    def listen(self) -> None:
        """Listen again, on the same port."""
        self._run(self._open_listener())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            work.close()
            return
        try:
            self._check_thread()
        except RuntimeError:
            work.close()
            raise
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _check_thread(self) -> None:
        """Raise RuntimeError where the server's thread would be waited for for ever."""
        if self._is_copy():
            msg = (
                "The gateway runs in the process that has started it, and this one was forked from "
                "that: use the gateway there"
            )
            raise RuntimeError(msg)
        if threading.current_thread() is self._thread:
            msg = (
                "The gateway cannot be stopped, nor its listener be closed, on its own thread, "
                "where a function given to calls.subscribe() runs: do it from another thread"
            )
            raise RuntimeError(msg)

    def _is_copy(self) -> bool:
        """Whether this process was forked from the one that serves: no thread serves here."""
        return self._pid != os.getpid()

    async def _main(self, ready: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._listening = asyncio.Lock()
        try:
            self._config.load()
            await self._open_listener()
        except BaseException as error:  # noqa: BLE001  # it belongs to the thread that waits
            self._release_port()
            ready.set_exception(error)
            return
        ready.set_result(None)
        await self._stop.wait()
        await self._close_listener(hold_port=False)
        await self._end_tasks()

    async def _open_listener(self) -> None:
        async with self._listening:
            if self._listener is None:
                await self._listen()

    async def _listen(self) -> None:
        taken = self._placeholder or _bound_socket(self.port)
        self._placeholder = taken
        self.port = taken.getsockname()[1]
        self._listener = await asyncio.get_running_loop().create_server(
            self._protocol, sock=taken, ssl=self._config.ssl, backlog=128
        )
        self._placeholder = None

    async def _close_listener(self, *, hold_port: bool) -> None:
        async with self._listening:
            await self._end_listening(hold_port=hold_port)

    async def _end_listening(self, *, hold_port: bool) -> None:
        if self._listener is not None:
            await _finish_accepting(self._listener)
            for sock in self._listener.sockets:
                _shut_down(sock)
            self._listener.close()
            self._listener = None
        self._release_port()
        if hold_port:
            # Bound but not listening: connections are refused, and nobody else takes the port.
            self._placeholder = _bound_socket(self.port)
        for transport in list(self.transports.values()):
            _shut_down(transport.get_extra_info("socket"))
            transport.abort()
        # abort() tells the protocol on the loop's next turn.
        while self.transports:  # noqa: ASYNC110
            await asyncio.sleep(0)

    def _release_port(self) -> None:
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None

    async def _end_tasks(self) -> None:
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        return _Connection(self._config, self._state, self.transports)


def _shut_down(sock: TransportSocket | socket.socket | None) -> None:
    """End a socket for each process that has it: a forked one would keep it open."""
    if sock is None:
        return
    with contextlib.suppress(OSError):  # the caller is gone; not every system ends a listener
        sock.shutdown(socket.SHUT_RDWR)


async def _finish_accepting(listener: asyncio.Server) -> None:
    """Accept no more connections, and wait for the protocols of those that were accepted.

    asyncio gives a connection its protocol two turns of the loop after it has accepted it. If the
    listener is closed meanwhile, the connection is left open, and never read.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows
        for sock in listener.sockets:
            loop.remove_reader(sock.fileno())
    for _ in range(3):
        await asyncio.sleep(0)


class _Connection(H11Protocol):
    """uvicorn's HTTP/1.1, strict and within a time limit, which tells where its transport is."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        transports: dict[tuple[str, int], asyncio.Transport],
    ) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        # uvicorn's own switch would silence every other uvicorn server of the process as well.
        self.access_log = False
        self._strict = self.conn = StrictConnection()
        self._transports = transports
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if self.client is not None:
            self._transports[self.client] = self.transport

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_deadline()
        if self.client is not None:
            self._transports.pop(self.client, None)

    def handle_events(self) -> None:
        super().handle_events()
        if not self._strict.is_within_request:
            self._end_deadline()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(limits.REQUEST_TIMEOUT, self._give_up)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        self._refuse(408, f"The request was not whole after {limits.REQUEST_TIMEOUT:g} s.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; uvicorn's own fails where a response has begun."""
        self._refuse(400, self._strict.problem or msg)

    def _refuse(self, status: int, text: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        body = f"{text}\n".encode()
        headers = [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        response = h11.Response(
            status_code=status, headers=headers, reason=HTTPStatus(status).phrase
        )
        # One that asks for the head alone gets no body, which h11 insists on.
        with contextlib.suppress(h11.LocalProtocolError):
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _bound_socket(port: int) -> socket.socket:
    # asyncio sends at once (TCP_NODELAY) only where a socket names its protocol.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock
