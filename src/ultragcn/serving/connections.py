"""Connections that cannot be held open at the cost of others: limits of time, of bytes and of number, around uvicorn's protocol."""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_CONNECTIONS = 1000
"""Where more are open, those that wait for a request are closed, the oldest first."""
HEAD_BYTES = 65_536
"""Of the request line and the headers at most."""
SECONDS = 10.0
"""In which a request must arrive whole, and part of an answer must be taken."""


_REFUSALS = {
    400: ("Bad Request", "this is not a request in HTTP/1.1"),
    408: ("Request Timeout", f"the request did not arrive within {SECONDS:g} seconds"),
    431: ("Request Header Fields Too Large", f"a request has at most {HEAD_BYTES} bytes before its body"),
}
"""What a connection refuses by itself, by status: the reason of the status, and the sentence."""


def closing(status: int, request_id: str | None) -> bytes:
    """Return an answer after which the connection is closed, as the application's own are."""
    reason, error = _REFUSALS[status]
    body = json.dumps({"error": error} | ({} if request_id is None else {"request_id": request_id})).encode()
    head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
    named = "" if request_id is None else f"x-request-id: {request_id}\r\n"
    return f"{head}{named}\r\n".encode() + body


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with the limits of this module."""

    def connection_made(self, transport: Any) -> None:
        """Take a connection; where there are too many, close one that waits for a request."""
        super().connection_made(transport)
        self._head = 0
        self._is_in_body = self._is_turned_away = False
        self._heads = 0
        self._since: float | None = self.loop.time()
        self._stuck: tuple[float, int] | None = None
        if len(self.connections) > MOST_CONNECTIONS:
            waiting: list[Any] = [one for one in self.connections if isinstance(one, Connection) and one.waits]
            if waiting:
                min(waiting, key=lambda one: one.since).transport.abort()

    @property
    def waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def since(self) -> float:
        """When the connection began to wait for what it waits for."""
        return self._since if self._since is not None else self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Read what has arrived."""
        if self._since is None:
            self._since = self.loop.time()
        heads, is_body = self._heads, self._is_in_body
        super().data_received(data)
        if self._heads == heads and not is_body:
            self._head += len(data)
            if self._head > HEAD_BYTES and not self.transport.is_closing():
                self._refuse(431)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400)

    def _refuse(self, status: int) -> None:
        """Answer a request that is not looked at, and close the connection."""
        named = getattr(self.app, "refused_unread", None)
        self.transport.write(closing(status, None if named is None else named(status)))
        self.transport.close()

    def on_headers_complete(self) -> None:
        """Begin with a request."""
        self._heads += 1
        self._is_in_body, self._head = True, 0
        if sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._refuse(431)
            return
        if self.waits and not self.pipeline:
            self._is_turned_away = self._turn_away()
        if not self._is_turned_away:
            super().on_headers_complete()

    def _turn_away(self) -> bool:
        """Return whether the request is refused for want of time, at once and unread."""
        turned_away = getattr(self.app, "turned_away", None)
        answer = turned_away(self.parser.get_method(), self.url, self.headers) if turned_away is not None else None
        if answer is None:
            return False
        self.transport.write(answer)
        return True

    def on_body(self, body: bytes) -> None:
        """Take a part of a request's body."""
        if not self._is_turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        if self._is_turned_away:
            self._is_turned_away, self._is_in_body, self._since = False, False, None
            if self.parser.should_keep_alive():
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
            else:
                self.transport.close()
            return
        self._is_in_body, self._since = False, None
        super().on_message_complete()

    def check(self, now: float) -> None:
        """Close the connection where a request does not arrive, or an answer is not taken, in time."""
        if self.transport.is_closing():
            return
        if not (size := self.transport.get_write_buffer_size()):
            self._stuck = None
        elif self._stuck is None or size < self._stuck[1]:
            self._stuck = now, size
        elif now - self._stuck[0] > SECONDS:
            self.transport.abort()
            return
        if self._since is not None and now - self._since > SECONDS:
            self._since = now
            if not self.waits:
                self.transport.abort()
            elif self._head or self._is_in_body:
                self._refuse(408)
            else:  # nothing has come
                self.transport.write(closing(408, None))
                self.transport.close()


def check_all(connections: set[Any]) -> None:
    """Close the connections that hold others up."""
    now = asyncio.get_running_loop().time()
    for connection in list(connections):
        if isinstance(connection, Connection):
            connection.check(now)
