"""The compute thread: it takes all questions that wait as one block, and hands answers back to the event loop.

One thread computes, so that an answer is of one model and memory does not grow with the number of connections. Nothing waits for a block to
fill: a question that comes alone is answered alone, and while it is answered the next block gathers.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from ultragcn.errors import UltraGCNError
from ultragcn.serving.engine import Engine, NotKnownError
from ultragcn.serving.messages import Answer, Answers, Batch, ListQuestion, OneOfBatch

LOGGER = logging.getLogger("ultragcn.serving")
LISTS, BATCH = "lists", "batch"
"""Kinds of questions that are answered as one block."""
_AT_ONCE = (LISTS, "ruled", "score", "popular", "items")
"""Kinds of questions that are answered while the rest of the engine is still being made."""
COMPILING_SECONDS = 5
"""After which to ask again while kernels are being compiled."""
COMPILING = f"kernels are being compiled, once; ask again in {COMPILING_SECONDS} seconds"
_BLOCK = 64
"""Questions that are answered before the next ones are looked at."""
BUSY = "the server has more to do than it can; ask again in a second"
_ALWAYS_TAKEN = 16
"""Lists that may wait whatever they are thought to take. Of a million items one list takes 17 ms, and 16 as one block take 45 ms: if lists
were refused by what one takes, no block would ever form."""
_MOST_WAITING = 2000
_FIRST_GUESS = 0.001
"""Seconds that a question is thought to take before one of its kind was answered."""
_MEMORY = 0.9
"""What the last measurements of a kind count together, the newest having the rest."""
_LEAP = 4.0
"""A measurement counts at most so many times what is known, because the machine may have done something else meanwhile."""


class BusyError(UltraGCNError):
    """More questions wait than can be answered in time, or the kernels that one needs are not compiled.

    `seconds` says when to ask again.
    """

    def __init__(self, message: str, seconds: int = 1) -> None:
        super().__init__(message)
        self.seconds = seconds


class Reply(NamedTuple):
    """An answer as it is sent."""

    status: int
    body: bytes
    model: str
    fallback: bool = False
    error: str | None = None
    """Why there is no answer; the body is empty then."""
    seconds: int = 1
    """After which to ask again, where the status is 503."""


def kind_of_list(question: ListQuestion) -> str:
    """Return the kind of a question for a list, by what it costs."""
    if question.explain:
        return "explained"
    if question.items or question.add:
        return "new user"
    return "ruled" if question.exclude or question.only is not None else LISTS


def _is_at_once(kind: str, question: Any) -> bool:
    """Return whether a question is answered while the rest of the engine is still being made."""
    return kind in _AT_ONCE or (isinstance(question, Batch) and all(kind_of_list(one) in _AT_ONCE for one in question.questions))


class _Job(NamedTuple):
    kind: str
    """What it costs is learned by kind."""
    question: Any
    call: Callable[[Engine], Any] | None
    """What answers it; None for lists, which are answered together."""
    future: "asyncio.Future[Reply]"
    latest: float
    """When nobody waits for the answer any more."""
    cost: float


class Worker:
    """A thread that answers questions with an engine, which may be exchanged for another between two blocks.

    Parameters
    ----------
    engine : Engine
    loop : asyncio.AbstractEventLoop
        Of whoever asks.
    most_seconds : float
        A question is refused where what waits before it is thought to take longer. A few lists may wait all the same.
    timeout : float
        Seconds after which a question that still waits is given up.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, most_seconds: float = 0.025, timeout: float = 10.0) -> None:
        self.engine = engine
        self.most_seconds, self.timeout = most_seconds, timeout
        self._loop = loop
        self._encoder = msgspec.json.Encoder()
        self._jobs: list[_Job] = []
        self.is_warming = False
        """Whether another thread still makes what new users, reasons and similar items need: such questions wait, others do not."""
        self.is_compiling = False
        """Whether it compiles kernels for that, which takes too long to wait for: such questions are refused."""
        self._postponed: list[_Job] = []
        self._more = threading.Condition()
        self._is_stopped = False
        self._cost: dict[str, float] = {}
        self._waiting = 0.0
        """Seconds that all questions are thought to take which were taken on and not answered. Only the event loop changes it."""
        self._thread = threading.Thread(target=self._run, name="ultragcn-compute", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """How many questions wait for the thread."""
        return len(self._jobs)

    @property
    def is_full(self) -> bool:
        """Whether a question of any kind is refused."""
        most = _ALWAYS_TAKEN if self._waiting > self.most_seconds else _MOST_WAITING
        return self._is_stopped or len(self._jobs) >= most

    def ask(self, kind: str, question: Any, call: Callable[[Engine], Any] | None = None) -> "asyncio.Future[Reply]":
        """Return the future of the answer; to be called in the event loop.

        Raises
        ------
        BusyError
            Too much waits already, or the kernels that it needs are being compiled.
        """
        if self.is_warming and self.is_compiling and not _is_at_once(kind, question):
            raise BusyError(COMPILING, COMPILING_SECONDS)
        if self.is_full or (kind != LISTS and self._waiting > self.most_seconds):
            raise BusyError(BUSY)
        cost = self._cost.get(kind, _FIRST_GUESS) * (len(question.questions) if isinstance(question, Batch) else 1)
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting += cost
        with self._more:
            self._jobs.append(_Job(kind, question, call, future, time.monotonic() + self.timeout, cost))
            self._more.notify()
        return future

    def compiles(self) -> None:
        """Refuse what waits for the rest of the engine, because kernels are compiled for that."""
        with self._more:
            self.is_compiling = True
            self._more.notify()

    def warmed(self) -> None:
        """Answer what was postponed while the rest of the engine was made."""
        with self._more:
            self.is_warming = self.is_compiling = False
            self._jobs, self._postponed = self._postponed + self._jobs, []
            self._more.notify()

    def stop(self) -> None:
        """Let the thread end after what it is doing."""
        self._is_stopped = True
        with self._more:
            self._more.notify()
        self._thread.join(self.timeout)

    def _run(self) -> None:
        while True:
            with self._more:
                while not self._jobs and not self._is_stopped and not (self.is_compiling and self._postponed):
                    self._more.wait()
                if self._is_stopped and not self._jobs:
                    return
                jobs, self._jobs = self._jobs[:_BLOCK], self._jobs[_BLOCK:]
                refused: list[_Job] = []
                if self.is_warming:
                    self._postponed += [job for job in jobs if not _is_at_once(job.kind, job.question)]
                    jobs = [job for job in jobs if _is_at_once(job.kind, job.question)]
                    if self.is_compiling:
                        refused, self._postponed = self._postponed, []
            replies = self._answered(self.engine, jobs)
            replies += [Reply(503, b"", self.engine.id, error=COMPILING, seconds=COMPILING_SECONDS)] * len(refused)
            try:
                self._loop.call_soon_threadsafe(self._hand_back, jobs + refused, replies)
            except RuntimeError:  # the loop has ended, so nobody waits
                return

    def _hand_back(self, jobs: Sequence[_Job], replies: Sequence[Reply]) -> None:
        for job, reply in zip(jobs, replies, strict=True):
            self._waiting -= job.cost
            if not job.future.done():
                job.future.set_result(reply)
        if not self._jobs:
            self._waiting = max(self._waiting, 0.0)

    def _answered(self, engine: Engine, jobs: Sequence[_Job]) -> list[Reply]:
        """Return the replies to jobs, all of one engine."""
        replies: list[Reply | None] = [None] * len(jobs)
        now = time.monotonic()
        lists = []
        for place, job in enumerate(jobs):
            if job.future.cancelled() or job.latest < now:
                replies[place] = self._problem(503, "the answer took too long; ask again in a second", engine)
            elif job.call is None and isinstance(job.question, ListQuestion):
                lists.append(place)
        if lists:
            started = time.perf_counter()
            for place, reply in zip(lists, self._lists(engine, [jobs[place].question for place in lists]), strict=True):
                replies[place] = reply
            self._learn([jobs[place] for place in lists], time.perf_counter() - started)
        for place, job in enumerate(jobs):
            if replies[place] is None:
                started = time.perf_counter()
                replies[place] = self._alone(engine, job)
                size = len(job.question.questions) if isinstance(job.question, Batch) else 1
                self._learn_one(job.kind, (time.perf_counter() - started) / max(1, size))
        return replies  # type: ignore[return-value]

    def _lists(self, engine: Engine, questions: Sequence[ListQuestion]) -> list[Reply]:
        try:
            return [self._of_list(engine, answer) for answer in engine.lists(questions)]
        except Exception as error:  # a fault of ours must not end the thread
            if len(questions) == 1:
                return [self._of_error(engine, error)]
            return [reply for question in questions for reply in self._lists(engine, [question])]

    def _of_list(self, engine: Engine, answer: Any) -> Reply:
        if isinstance(answer, Exception):
            return self._of_error(engine, answer)
        return Reply(200, self._encoder.encode(answer), engine.id, answer.fallback)

    def _alone(self, engine: Engine, job: _Job) -> Reply:
        try:
            if isinstance(job.question, Batch):
                found = engine.lists(job.question.questions)
                answers = [OneOfBatch(error=engine.said(one)) if isinstance(one, Exception) else OneOfBatch(one) for one in found]
                fallback = any(isinstance(one, Answer) and one.fallback for one in answers)
                return Reply(200, self._encoder.encode(Answers(answers)), engine.id, fallback)
            assert job.call is not None
            return Reply(200, self._encoder.encode(job.call(engine)), engine.id)
        except Exception as error:
            return self._of_error(engine, error)

    def _of_error(self, engine: Engine, error: Exception) -> Reply:
        if isinstance(error, NotKnownError):
            return self._problem(404, engine.said(error), engine)
        if isinstance(error, MemoryError):
            return self._problem(503, "there is not enough memory for this question; ask for less", engine)
        if isinstance(error, UltraGCNError):
            return self._problem(422, engine.said(error), engine)
        LOGGER.exception("a question ended in an error that should not be", exc_info=error)
        return self._problem(500, "this is a fault of the server; its log says more", engine)

    def _problem(self, status: int, message: str, engine: Engine) -> Reply:
        return Reply(status, b"", engine.id, error=message)

    def _learn(self, jobs: Sequence[_Job], seconds: float) -> None:
        """Learn what jobs of a block cost that took so many seconds together; kinds share it as they were thought to."""
        guess = sum(self._cost.get(job.kind, _FIRST_GUESS) for job in jobs)
        for kind in {job.kind for job in jobs}:
            self._learn_one(kind, self._cost.get(kind, _FIRST_GUESS) * seconds / guess)

    def _learn_one(self, kind: str, seconds: float) -> None:
        known = self._cost.get(kind, seconds)
        self._cost[kind] = _MEMORY * known + (1 - _MEMORY) * min(seconds, _LEAP * known)
