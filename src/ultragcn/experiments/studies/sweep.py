"""A study run: trials in processes apart, what comes out kept line by line, nothing done twice.

All there is to know is in the study's folder (`study.py`), so a sweep that ended in any way is continued by starting it again, and
several processes or machines that start it in one folder share its trials. This process claims trials, hands them to its workers and
writes their lines; a worker computes, and writes the log and the curve of its trial.
"""

import math
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ultragcn import storage
from ultragcn.errors import UltraGCNError, UsageError, counted
from ultragcn.experiments.runs.manifest import versions
from ultragcn.experiments.studies import workers
from ultragcn.experiments.studies.space import Point
from ultragcn.experiments.studies.study import (
    DONE,
    FAILED,
    HISTORY,
    LOG,
    PRUNED,
    RESULTS,
    TRIALS,
    Row,
    Study,
    Summary,
    against_kept,
    best,
    open_folder,
    read_results,
    read_study,
    summarise,
)  # fmt: skip
from ultragcn.experiments.studies.suggest import Ended, Planned, Source, Suggested, Task, check_installed
from ultragcn.machine import num_cores, thread_limit
from ultragcn.progress import Progress, Silent, say

_POLL_SECONDS = 1.0  # between looks at what other processes have added
_ATTEMPTS = 3  # at a run whose process is killed: it may be the memory it needs


class Trial(Protocol):
    """What is run: with one set of parameters and one seed."""

    def __call__(self, parameters: dict[str, Any], seed: int, report: Callable[[int, Mapping[str, Any]], None]) -> Mapping[str, Any]:
        """Return the metrics, and `best_epoch` and `train_seconds` if it knows them.

        `parameters` holds what is fixed and what varies. `report(step, values)` adds a line to the trial's history, with the same
        values at every step, and ends the trial there and then if it is to be pruned.
        """


class Pruned(Exception):  # noqa: N818 - no error
    """Raised by `report` in a trial that need not go on."""


class Outcome(NamedTuple):
    """How a study stands when a sweep ends."""

    summaries: list[Summary]
    best: Summary | None
    num_ended: int
    """Runs recorded, of this study."""
    num_runs: int
    """Runs there are to be; a trial of tpe that is pruned or fails with one seed counts as run with all."""
    against_kept: str = ""
    """By how much the best trial beats trial 0, as a sentence; empty where the study keeps nothing."""


def sweep(
    study: Study,
    trial: Trial,
    out: Path,
    *,
    jobs: int = 1,
    threads: int | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Run what is missing of `study` and keep it in the folder `out`; return how the study stands.

    Parameters
    ----------
    study : Study
    trial : callable
        As of `Trial`. It is pickled: a function that can be imported, or an object of a class that can.
    out : Path
        The study's folder: new, or that of the same study, perhaps with fewer seeds, trials or values.
    jobs : int
        Processes that compute at once.
    threads : int, optional
        Of each; by default its share of the cores.
    progress : Progress, optional
        Shown a step per run.
    tell : callable, optional
        Called with what is worth knowing, a sentence at a time.

    Raises
    ------
    UsageError
        The folder holds something else; `jobs` or `threads` is no number above 0.
    MissingDependencyError
        Optuna is needed and not installed.
    KeyboardInterrupt
        With a message that says what is kept.
    """
    check_workers(jobs, threads)
    check_installed(study)
    out = Path(out)
    points = open_folder(out, study)
    asked_for, study = study.kept, replace(study, kept=read_study(out).kept)
    results = _Results(out, study)
    source: Source = Suggested(out, study, results.ended) if study.sampler == "tpe" else Planned(out, study, points, results.ended)
    runs = study.num_trials * len(study.seeds)
    # Only the runs of this study: the folder may hold more seeds or values.
    mine = None if study.sampler == "tpe" else {number for number, _ in points}
    if asked_for != study.kept and tell is not None:
        tell(_other_trial_0(out, study.kept))
    if (found := results.count(mine)) and tell is not None:
        tell(f"{found} of {counted(runs, 'run')} found in {out}")
    show = progress or Silent()
    show.start("sweep", runs - found, "run")
    running = _Running(study, trial, out, source, results, threads or max(1, (thread_limit() or num_cores()) // jobs))
    try:
        running.run(jobs, _Shown(show, study, results, mine))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; {results.count(mine)} of {counted(runs, 'run')} are kept in {out}; the same command goes on from there"
        ) from None
    finally:
        running.end()
        show.finish()
    summaries = summarise(results.rows())
    return Outcome(summaries, best(study, summaries), results.count(mine), runs, against_kept(study, summaries))


def _other_trial_0(out: Path, kept: Point | None) -> str:
    """Return what is to be known about trial 0 of a folder whose study was begun when something else was kept, or nothing."""
    if kept is None:
        return f"the study in {out} was begun without trial 0 for the settings in use without a sweep, and goes on without"
    setting = ", ".join(f"{name} {value}" for name, value in kept.items())
    return f"trial 0 of the study in {out} stays as it was begun, at {setting}"


def check_workers(jobs: int, threads: int | None) -> None:
    """Raise `UsageError` where `jobs` or `threads` is no number above 0."""
    for name, number in (("jobs", jobs), ("threads", threads)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise UsageError(f"{name} must be a whole number of 1 or more, not {number!r}")


class _Results:
    """results.tsv, read again when it has grown."""

    def __init__(self, out: Path, study: Study) -> None:
        self._out, self._study, self._kept = out, study, read_study(out)
        self._size = -1
        self._ended: Ended = {}

    def ended(self) -> Ended:
        path = self._out / RESULTS
        size = path.stat().st_size if path.exists() else 0
        if size != self._size:
            self._ended, self._size = {(row.trial, row.seed): row for row in read_results(self._out, self._kept)}, size
        return self._ended

    def rows(self) -> list[Row]:
        return [self.ended()[run] for run in sorted(self.ended())]

    def count(self, trials: set[int] | None) -> int:
        """Return how many runs of the study's seeds, and of `trials`, ended or need not begin."""
        ended, seeds = self.ended(), self._study.seeds
        given_up = {row.trial for row in ended.values() if row.state != DONE} if self._study.sampler == "tpe" else set()
        runs = ended.keys() | {(trial, seed) for trial in given_up for seed in seeds}
        return sum(seed in seeds and (trials is None or trial in trials) for trial, seed in runs)


class _Shown:
    """Shows what is recorded, by whomever."""

    def __init__(self, show: Progress, study: Study, results: _Results, mine: set[int] | None) -> None:
        self._show, self._study, self._results, self._mine = show, study, results, mine
        self._count = results.count(mine)

    def look(self) -> None:
        count = self._results.count(self._mine)
        if count == self._count:
            return
        leader = best(self._study, summarise(self._results.rows()))
        figures = {} if leader is None else {"best": leader.means[self._study.choose_by], "trial": leader.trial}
        self._show.advance(count - self._count, figures)
        self._count = count


@dataclass
class _Slot:
    """A worker, and what it is doing."""

    worker: workers.Worker
    task: Task | None = None
    seed: int = 0
    started: bool = False


class _Running:
    """The workers of this process and what they do."""

    def __init__(self, study: Study, trial: Trial, out: Path, source: Source, results: _Results, threads: int) -> None:
        self._study, self._trial, self._out, self._source, self._results = study, trial, out, source, results
        self._threads = threads
        self._slots: list[_Slot] = []
        self._killed: Counter[tuple[int, int]] = Counter()
        self._versions = ", ".join(f"{name} {version}" for name, version in versions().items())

    def run(self, jobs: int, shown: _Shown) -> None:
        """Run what there is to run, `jobs` at a time, until all that is left is done or run by others."""
        while True:
            self._start(jobs)
            busy = {slot.worker: slot for slot in self._slots if slot.task is not None}
            shown.look()
            if not busy:
                return
            for worker in workers.ready(list(busy), _POLL_SECONDS):
                self._hear(busy[worker], worker.message())

    def end(self) -> None:
        """End the workers and give back what they had begun."""
        for slot in self._slots:
            slot.worker.stop()
        for slot in self._slots:
            slot.worker.end()
            if slot.task is not None:
                slot.task.claim.abandon()
        self._slots = []

    def _start(self, jobs: int) -> None:
        """Give every worker that has nothing to do a task; workers are made when there is one for them."""
        while True:
            idle = next((slot for slot in self._slots if slot.task is None), None)
            if idle is None and len(self._slots) == jobs:
                return
            task = self._source.take()
            if task is None:
                return
            with ExitStack() as on_failure:
                on_failure.callback(task.claim.abandon)
                if idle is None:
                    idle = _Slot(self._worker())
                    self._slots.append(idle)
                on_failure.pop_all()
            idle.task = task
            self._next(idle)

    def _worker(self) -> workers.Worker:
        return workers.Worker(_Run(self._trial, self._study), self._threads)

    def _next(self, slot: _Slot) -> None:
        """Begin the next seed of the slot's task, or end the task."""
        task = slot.task
        assert task is not None
        ended = self._results.ended()
        of_task = [ended[task.trial, seed].state for seed in task.seeds if (task.trial, seed) in ended]
        left = [seed for seed in task.seeds if (task.trial, seed) not in ended]
        if left and all(state == DONE for state in of_task):
            slot.seed = left[0]
            folder = self._out / TRIALS / f"{task.trial}-{slot.seed}"
            _make_empty(folder)
            asks = self._study.prune and slot.seed == task.seeds[0]
            slot.worker.call(task.parameters, slot.seed, folder, asks, log=folder / LOG)
            return
        self._source.told(task)
        task.claim.release()
        slot.task = None

    def _hear(self, slot: _Slot, message: workers.Message) -> None:
        """Do what a message of the slot's worker asks for."""
        task = slot.task
        assert task is not None
        match message:
            case workers.Said(sentence):
                say(sentence)
                return
            case workers.Started():
                slot.started = True
                return
            case workers.Report((step, value)):
                slot.worker.answer(self._source.go_on(task, step, value))
                return
            case workers.Done(result, seconds, memory):
                self._record(task, slot.seed, result, seconds, memory)
            case workers.Failed(error):
                why = str(error) if isinstance(error, UltraGCNError) else f"{type(error).__name__}: {error}"
                self._record(task, slot.seed, {"state": FAILED, "why": why}, None, None)
            case workers.Killed():
                self._killed[task.trial, slot.seed] += 1
                often = self._killed[task.trial, slot.seed] == _ATTEMPTS
                if often and not slot.started:
                    raise UltraGCNError(
                        "a worker process ends before it begins; the trial must be something that another process can import"
                    )
                if often:
                    why = f"its process was killed {_ATTEMPTS} times, most likely because memory ran out"
                    self._record(task, slot.seed, {"state": FAILED, "why": why}, None, None)
                slot.worker.end()
                slot.worker, slot.started = self._worker(), False
        self._next(slot)

    def _record(self, task: Task, seed: int, result: Mapping[str, Any], seconds: float | None, memory: float | None) -> None:
        """Write the line of a run that ended."""
        seconds = result.get("train_seconds", seconds)
        cells = {
            "trial": task.trial, "seed": seed, "state": result["state"], **{name: str(value) for name, value in task.parameters.items()},
            **{name: result.get(name, "") for name in self._study.metrics}, "best_epoch": result.get("best_epoch", ""),
            "train_seconds": "" if seconds is None else round(seconds, 3), "peak_memory_mb": memory or "",
            "data_hash": self._study.about.get("data_hash") or "", "versions": self._versions,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"), "why": result.get("why", ""),
        }  # fmt: skip
        storage.append_row(self._out / RESULTS, cells)


@dataclass(frozen=True)
class _Run:
    """A run of a trial, in a worker."""

    trial: Trial
    study: Study

    def __call__(self, parameters: dict[str, Any], seed: int, folder: Path, asks: bool) -> dict[str, Any]:
        """Return the metrics of one run with its state; `asks` whether it is to go on."""
        curve = self.study.choose_by

        def report(step: int, values: Mapping[str, Any]) -> None:
            storage.append_row(folder / HISTORY, {"epoch": step, **values})
            # A curve has the metric under its own name, or without the part of the data it is of.
            value = values.get(curve, values.get(curve.removeprefix("valid_").removeprefix("test_"), ""))
            if asks and value != "" and not workers.report((step, float(value))):
                raise Pruned

        try:
            returned = self.trial({**self.study.fixed, **parameters}, seed, report)
        except Pruned:
            return {"state": PRUNED}
        except Exception:
            traceback.print_exc()  # into the log
            raise
        if not isinstance(returned, Mapping):
            raise UsageError(
                f"the trial returned {_short(returned)}; it must return its metrics by name, such as {{{self.study.choose_by!r}: 0.5}}"
            )
        unknown = [name for name in returned if name not in (*self.study.metrics, "best_epoch", "train_seconds")]
        if unknown:
            raise UsageError(f"the trial returned {unknown[0]!r}, which is no metric of the study ({', '.join(self.study.metrics)})")
        values = {name: _number(name, value) for name, value in returned.items()}
        if values.get(self.study.choose_by) is None:
            raise UsageError(f"the trial did not return {self.study.choose_by}, by which trials are chosen; it must be a number")
        return {"state": DONE} | {name: value for name, value in values.items() if value is not None}


def _number(name: str, value: Any) -> float | None:
    """Return what a trial returned under a name: a number, or None where it has none."""
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if value is not None and not isinstance(value, (int, float)):
        raise UsageError(f"the trial returned {_short(value)} as {name}; it must be a number")
    whole = name == "best_epoch"
    if value is not None and name in ("best_epoch", "train_seconds") and not (math.isfinite(value) and (not whole or value == int(value))):
        raise UsageError(f"the trial returned {value} as {name}; it must be a {'whole' if whole else 'finite'} number")
    return int(value) if isinstance(value, bool) or (whole and value is not None) else value


def _short(value: Any) -> str:
    """Return what a value is, for a message."""
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _make_empty(folder: Path) -> None:
    """Make the folder of a run, without what an earlier attempt left."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; choose a folder you can write to") from error
