"""HTTP/1.1 as the standard has it, without what a second server may read differently.

h11 takes some of it, as most servers do. Where a gateway and a server behind it disagree about the
end of a request, the rest of one is the beginning of another: request smuggling.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import h11

if TYPE_CHECKING:
    from h11 import Event

_END = re.compile(rb"\r?\n\r?\n")
_PROBLEMS = (
    (re.compile(rb"(?<!\r)\n|\r(?!\n)"), "A line of the request's head does not end with CR LF."),
    (re.compile(rb"\r\n[ \t]"), "A header of the request is folded into two lines."),
    (
        re.compile(rb"(?is)\r\ncontent-length[ \t]*:([^\r]*,|.*\r\ncontent-length[ \t]*:)"),
        "The request has more than one Content-Length.",
    ),
)


class StrictConnection(h11.Connection):
    """A server's side of a connection; `problem` says what is wrong with the request."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER)
        self.problem: str | None = None

    @property
    def is_within_request(self) -> bool:
        """Whether a request has begun to arrive and is not whole."""
        if self.their_state is h11.IDLE:
            return bool(self.trailing_data[0])
        return self.their_state is h11.SEND_BODY

    def next_event(self) -> Event | type[h11.NEED_DATA | h11.PAUSED]:
        """Return what h11 reads, unless the request's head is none to rely on."""
        if self.their_state is h11.IDLE:
            self._check_head(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._check_framing(event)
        return event

    def _check_head(self, received: bytes) -> None:
        end = _END.search(received)
        # A CR at the end may be half of a line's end.
        head = received.removesuffix(b"\r") if end is None else received[: end.end()]
        for pattern, problem in _PROBLEMS:
            if pattern.search(head):
                self._reject(problem)

    def _check_framing(self, request: h11.Request) -> None:
        names = {name for name, _ in request.headers}
        if b"transfer-encoding" not in names:
            return
        if b"content-length" in names:
            self._reject("The request has both Content-Length and Transfer-Encoding.")
        if request.http_version < b"1.1":
            self._reject("The request has Transfer-Encoding, which HTTP/1.0 does not know.")

    def _reject(self, problem: str) -> NoReturn:
        self.problem = problem
        raise h11.RemoteProtocolError(problem)
