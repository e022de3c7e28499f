r"""A load generator for HTTP that does not wait for answers: what it measures is what people would wait who come when they like.

    echo '{"port": 8000, "requests": ["GET /popular HTTP/1.1\r\nHost: localhost\r\n\r\n"], "rate": 100}' | python load.py

Requests come at random moments (a Poisson process) at a fixed rate. Each latency counts from the moment at which the request was meant to
come. A server that stops for a second is thus charged for all requests of that second, and not for one alone. Without a rate the generator
asks again as soon as it has an answer, over so many connections, which finds the most that a server answers.

The plan is JSON on stdin, and the figures are JSON on stdout. The generator says how late it was itself: `lag` is the time from the moment
at which a request was meant to come to the moment at which the generator turned to it. Figures with a lag above 1 ms are marked `late`.
They are in part the generator's own. Connections are kept alive, and another one is opened where none is free. Needs Linux.
"""

import dataclasses
import gc
import json
import re
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

LATE_MS = 1.0
"""A lag above it, at the 99th percentile, marks a result."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.I)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.I)
_TURN = 16
"""Requests that are sent before answers are looked at."""


@dataclasses.dataclass
class Plan:
    """What is sent.

    Attributes
    ----------
    port : int
    requests : list of str
        Whole requests of HTTP, from which each is drawn.
    rate : float, optional
        Requests a second; None: as many as are answered over `connections` connections.
    seconds : float
    most : int, optional
        Requests at most.
    host : str
    connections : int
        Those that are opened before the first request.
    most_connections : int
        Requests wait for a free connection where so many are open.
    timeout : float
        Seconds after the last request, when those without an answer have failed.
    seed : int
    keep : str, optional
        A file for the bodies of all answers, one a line.
    """

    port: int
    requests: list[str]
    rate: float | None = None
    seconds: float = 10.0
    most: int | None = None
    host: str = "127.0.0.1"
    connections: int = 32
    most_connections: int = 900
    timeout: float = 10.0
    seed: int = 0
    keep: str | None = None


def measured(plan: Plan) -> dict[str, Any]:
    """Return the figures of a plan, which a process of its own carries out.

    Returns
    -------
    dict
        `seconds`, `requests` sent, `ok` (200), `refused` (503), `other` (any other status), `failed` (no answer), `statuses`,
        `per_second` (of ok), `p50_ms`, `p99_ms` and `max_ms` of ok, `refused_p99_ms` and `refused_max_ms`, `lag_p50_ms`, `lag_p99_ms`,
        `late`, `cpu_seconds` and `connections` of the generator.
    """
    given = json.dumps(dataclasses.asdict(plan))
    done = subprocess.run([sys.executable, str(Path(__file__).resolve())], input=given, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr}")
    return json.loads(done.stdout)


class _Connection:
    """A connection that carries one request at a time."""

    __slots__ = ("buffer", "is_ready", "need", "number", "out", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(address)
        self.number = -1  # of the request that it carries
        self.out, self.buffer, self.need = b"", b"", 0
        self.is_ready = False


class _Generator:
    """Sends what a plan says, and notes what happens."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = np.random.default_rng(plan.seed)
        self.requests = [text.encode() for text in plan.requests]
        self.choices: list[int] = []
        self.due: list[float] = []
        self.noticed: list[float] = []
        self.done: list[float] = []
        self.statuses: list[int] = []
        self.poller = select.epoll()
        self.connections: dict[int, _Connection] = {}
        self.idle: list[_Connection] = []
        self.waiting: deque[int] = deque()
        self.num_open = self.num_answered = 0
        self.kept = open(plan.keep, "wb") if plan.keep else None  # noqa: SIM115

    def run(self) -> dict[str, Any]:
        """Carry out the plan, and return the figures."""
        plan = self.plan
        for _ in range(plan.connections):
            self._open()
        self._settle()
        gc.collect()
        gc.freeze()
        gc.disable()
        cpu, started = time.process_time(), time.perf_counter()
        if plan.rate is None:
            self._closed(started + plan.seconds)
        else:
            self._open_loop(started, plan.rate)
        ended, cpu = time.perf_counter(), time.process_time() - cpu
        if self.kept is not None:
            self.kept.close()
        return self._figures(ended - started, cpu)

    def _settle(self) -> None:
        """Wait until the first connections are made."""
        latest = time.perf_counter() + self.plan.timeout
        while len(self.idle) < self.plan.connections and time.perf_counter() < latest and self.connections:
            self._events(0.05)

    def _open_loop(self, started: float, rate: float) -> None:
        """Send requests at the moments of a Poisson process, whatever the server does."""
        plan = self.plan
        number = int(plan.seconds * rate + 10 * (plan.seconds * rate) ** 0.5 + 10)
        moments = started + 0.01 + np.cumsum(self.random.exponential(1 / rate, number))
        moments = moments[moments < started + 0.01 + plan.seconds][: plan.most]
        due = self.due = moments.tolist()
        number = len(due)
        self.choices = self.random.integers(0, len(self.requests), number).tolist()
        self.noticed, self.done, self.statuses = [0.0] * number, [0.0] * number, [0] * number
        next_one, latest = 0, (due[-1] if due else started) + plan.timeout
        while self.num_answered < number:
            now = time.perf_counter()
            for _ in range(_TURN):
                if next_one == number or due[next_one] > now:
                    break
                self.noticed[next_one] = now
                self._send(next_one)
                next_one += 1
                now = time.perf_counter()
            if now > latest:
                break
            wait = min(due[next_one] - now, 0.1) if next_one < number else 0.1
            self._events(max(0.0, wait))

    def _closed(self, until: float) -> None:
        """Ask again as soon as there is an answer, on each connection."""
        plan = self.plan
        most = plan.most if plan.most is not None else sys.maxsize
        choices = self.random.integers(0, len(self.requests), 65_536).tolist()

        def send() -> None:
            number = len(self.due)
            now = time.perf_counter()
            self.due.append(now)
            self.noticed.append(now)
            self.done.append(0.0)
            self.statuses.append(0)
            self.choices.append(choices[number % len(choices)])
            self._send(number)

        while True:
            now = time.perf_counter()
            if now > until + plan.timeout:
                return
            if now < until and len(self.due) < most:
                while len(self.due) - self.num_answered < plan.connections and len(self.due) < most:
                    send()
            elif self.num_answered == len(self.due):
                return
            self._events(0.1)

    def _open(self) -> _Connection:
        connection = _Connection((self.plan.host, self.plan.port))
        self.connections[connection.socket.fileno()] = connection
        self.poller.register(connection.socket, select.EPOLLIN | select.EPOLLOUT)
        self.num_open += 1
        return connection

    def _send(self, number: int) -> None:
        """Send a request over a free connection, over a new one, or later."""
        if self.idle:
            connection = self.idle.pop()
        elif len(self.connections) < self.plan.most_connections:
            connection = self._open()
        else:
            self.waiting.append(number)
            return
        connection.number = number
        connection.out = self.requests[self.choices[number]]
        if connection.is_ready:
            self._write(connection)

    def _write(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost(connection)
            return
        connection.out = connection.out[sent:]
        if connection.out:
            self.poller.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _events(self, wait: float) -> None:
        """Take what has come, or wait for it so many seconds."""
        if wait > 0:  # the wait of epoll itself is rounded up to milliseconds
            select.select([self.poller.fileno()], [], [], wait)
        for descriptor, event in self.poller.poll(0):
            connection = self.connections.get(descriptor)
            if connection is None:
                continue
            if event & select.EPOLLOUT:
                if event & (select.EPOLLERR | select.EPOLLHUP):
                    self._lost(connection)
                    continue
                self.poller.modify(connection.socket, select.EPOLLIN)
                was_ready, connection.is_ready = connection.is_ready, True
                if connection.out:
                    self._write(connection)
                elif not was_ready and connection.number < 0:
                    self._free(connection)
            if event & ~select.EPOLLOUT:
                self._read(connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(connection)
            return
        buffer = connection.buffer = connection.buffer + data if connection.buffer else data
        if not connection.need:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(buffer, 0, end + 2)
            if length is None or connection.number < 0:
                self._lost(connection)
                return
            connection.need = end + 4 + int(length[1])
        if len(buffer) < connection.need:
            return
        number = connection.number
        self.done[number] = time.perf_counter()
        self.statuses[number] = int(buffer[9:12])
        self.num_answered += 1
        end = buffer.find(b"\r\n\r\n")
        if self.kept is not None:
            self.kept.write(buffer[end + 4 : connection.need].replace(b"\n", b" ") + b"\n")
        connection.number, connection.buffer, connection.need = -1, b"", 0
        if _CLOSES.search(buffer, 0, end + 2) or buffer.startswith(b"HTTP/1.0"):
            self._drop(connection)
        else:
            self._free(connection)

    def _free(self, connection: _Connection) -> None:
        """Give a free connection to the request that waits longest."""
        self.idle.append(connection)
        if self.waiting:
            self._send(self.waiting.popleft())

    def _lost(self, connection: _Connection) -> None:
        """Note that the request of a connection has failed, if it carries one."""
        if connection.number >= 0:
            self.done[connection.number] = time.perf_counter()
            self.num_answered += 1
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self.connections.pop(connection.socket.fileno(), None)
        connection.socket.close()
        if connection in self.idle:
            self.idle.remove(connection)
        if self.waiting:
            self._send(self.waiting.popleft())

    def _figures(self, seconds: float, cpu: float) -> dict[str, Any]:
        statuses = np.array(self.statuses, int)
        due, done, noticed = (np.array(one, float) for one in (self.due, self.done, self.noticed))
        took, lag = 1000 * (done - due), 1000 * (noticed - due)
        ok, refused = took[statuses == 200], took[statuses == 503]
        late = percentile(lag[noticed > 0], 99)
        return {
            "seconds": seconds, "requests": len(due), "ok": len(ok), "refused": len(refused),
            "other": int(((statuses != 200) & (statuses != 503) & (statuses != 0)).sum()), "failed": int((statuses == 0).sum()),
            "statuses": {str(status): int((statuses == status).sum()) for status in np.unique(statuses)},
            "per_second": len(ok) / seconds, "p50_ms": percentile(ok, 50), "p99_ms": percentile(ok, 99), "max_ms": percentile(ok, 100),
            "refused_p99_ms": percentile(refused, 99), "refused_max_ms": percentile(refused, 100),
            "lag_p50_ms": percentile(lag[noticed > 0], 50), "lag_p99_ms": late, "late": late > LATE_MS,
            "cpu_seconds": cpu, "connections": self.num_open,
        }  # fmt: skip


def percentile(values: np.ndarray, share: float) -> float:
    """Return a percentile; NaN where there are no values."""
    return float(np.percentile(values, share)) if len(values) else float("nan")


if __name__ == "__main__":
    json.dump(_Generator(Plan(**json.load(sys.stdin))).run(), sys.stdout)
