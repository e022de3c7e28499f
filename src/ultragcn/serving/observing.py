"""What the server says of its work: a line of JSON a request on stderr, and metrics for Prometheus."""

import json
import os
import sys
import threading
import time
from collections import deque
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_EVERY = 0.2
"""Seconds between two writes."""
_MOST_LINES = 20_000
"""Lines that wait; where they cannot be written as fast as they come, the oldest are dropped and counted."""
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Log:
    """A log of lines of JSON on stderr, written by a thread of its own, so that no request waits for whoever reads it."""

    def __init__(self) -> None:
        self._lines: deque[dict[str, Any]] = deque(maxlen=_MOST_LINES)
        self._given = self._written = 0
        self._is_stopped = threading.Event()
        self._file = None if sys.stderr is None else sys.stderr.fileno()
        self._thread = threading.Thread(target=self._run, name="ultragcn-log", daemon=True)
        self._thread.start()

    def write(self, **fields: Any) -> None:
        """Write a line with the time and these fields."""
        self._given += 1
        self._lines.append({"time": time.time()} | fields)

    def stop(self) -> None:
        """Write what waits, and end."""
        self._is_stopped.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._is_stopped.wait(_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines = []
        while self._lines:
            lines.append(_line(self._lines.popleft()))
        self._written += len(lines)
        if (dropped := self._given - self._written - len(self._lines)) > 0:
            lines.append(_line({"time": time.time(), "event": "log lines dropped", "number": dropped}))
            self._written += dropped
        if lines and self._file is not None:
            rest = "".join(lines).encode()
            try:
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError:  # nobody reads the log any more; answers matter more
                self._file = None


def _line(fields: dict[str, Any]) -> str:
    now = fields.pop("time")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    return json.dumps({"time": stamp} | fields, ensure_ascii=False) + "\n"


class Metrics:
    """Counters and times of requests, by route and status."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        common: dict[str, Any] = {"namespace": "ultragcn", "registry": self.registry}
        self._requests = Counter("requests", "Requests that were answered.", ["route", "status"], **common)
        self._seconds = Histogram("request_seconds", "Seconds from request to answer.", ["route"], buckets=_SECONDS, **common)
        self._fallbacks = Counter("fallbacks", "Lists of popular items for users whom the model does not know.", **common)
        self._reloads = Counter("reloads", "Reloads of the model.", ["outcome"], **common)
        self.waiting = Gauge("waiting_questions", "Questions that wait for the compute thread.", **common)
        self.connections = Gauge("connections", "Open connections.", **common)
        self._model = Gauge("model_info", "The model that answers.", ["model"], **common)
        self._children: dict[Any, Any] = {}

    def count(self, route: str, status: int, seconds: float, fallback: bool) -> None:
        """Count a request."""
        key = route, status
        if key not in self._children:
            self._children[key] = self._requests.labels(route, str(status)), self._seconds.labels(route)
        requests, times = self._children[key]
        requests.inc()
        times.observe(seconds)
        if fallback:
            self._fallbacks.inc()

    def reloaded(self, outcome: str, model: str) -> None:
        """Count a reload, and name the model that answers."""
        self._reloads.labels(outcome).inc()
        self.name_model(model)

    def name_model(self, model: str) -> None:
        """Name the model that answers."""
        self._model.clear()
        self._model.labels(model).set(1)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
