"""What to run next: trials that were laid out beforehand, or those that Optuna suggests from what came out so far."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ultragcn.errors import MissingDependencyError
from ultragcn.experiments.studies.claims import Claim, JournalLock, claim, one_at_a_time
from ultragcn.experiments.studies.space import Point, Range, Values
from ultragcn.experiments.studies.study import CLAIMS, DONE, FAILED, JOURNAL, PRUNED, Row, Study

_WARM_UP_STEPS = 4  # of the pruner: the first epochs tell little

Ended = Mapping[tuple[int, int], Row]
"""What results.tsv holds, by trial and seed."""


@dataclass(frozen=True)
class Task:
    """A trial that is ours to run, with some seeds, one after the other."""

    trial: int
    parameters: Point
    seeds: tuple[int, ...]
    claim: Claim


class Source(Protocol):
    """Something that says what to run next."""

    def take(self) -> Task | None:
        """Claim a task that has not ended and that nobody else runs; None when there is none."""

    def go_on(self, task: Task, step: int, value: float) -> bool:
        """Hear of the curve of a task's first seed; return whether it is to go on."""

    def told(self, task: Task) -> None:
        """Hear that all runs of a task are recorded."""


class Planned:
    """Trials laid out beforehand: every trial with the first seed, then with the second, and so on."""

    def __init__(self, folder: Path, study: Study, points: Sequence[tuple[int, Point]], ended: Callable[[], Ended]) -> None:
        self._folder, self._ended = folder, ended
        self._left = [(trial, seed, point) for seed in study.seeds for trial, point in points]

    def take(self) -> Task | None:
        """Claim a trial with one seed."""
        ended = self._ended()
        self._left = [(trial, seed, point) for trial, seed, point in self._left if (trial, seed) not in ended]
        for trial, seed, point in self._left:
            claimed = claim(self._folder / CLAIMS / f"{trial}-{seed}")
            if claimed is None:
                continue
            if (trial, seed) not in self._ended():
                return Task(trial, point, (seed,), claimed)
            claimed.release()  # it ended between our looking and our claiming
        return None

    def go_on(self, task: Task, step: int, value: float) -> bool:
        """Let everything go on."""
        return True

    def told(self, task: Task) -> None:
        """Do nothing."""


class Suggested:
    """Trials that Optuna's TPE suggests, kept in its journal in the study's folder, which processes and machines share.

    A trial that was suggested to a process which then died is given to the next one that asks. What is suggested to a trial depends
    on the study's seed, its number and what had come out by then, so one process alone gets the same again.
    """

    def __init__(self, folder: Path, study: Study, ended: Callable[[], Ended]) -> None:
        self._optuna = optuna = _optuna()
        self._folder, self._study, self._ended = folder, study, ended
        lock: Any = JournalLock(folder / CLAIMS / "journal")
        self._storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL), lock_obj=lock))
        pruner = (
            optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=_WARM_UP_STEPS) if study.prune else optuna.pruners.NopPruner()
        )
        with one_at_a_time(folder / CLAIMS / "ask"):
            self._optuna_study = optuna.create_study(
                study_name="sweep", storage=self._storage, direction=study.direction, pruner=pruner, load_if_exists=True
            )
        self._study_id = self._storage.get_study_id_from_name("sweep")
        self._trials: dict[int, Any] = {}  # optuna.Trial

    def take(self) -> Task | None:
        """Claim a trial with all its seeds: one that was left, or a new one."""
        with one_at_a_time(self._folder / CLAIMS / "ask"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is experimental in Optuna
            known = self._optuna_study.get_trials(deepcopy=False)
            left = [trial.number for trial in known if not trial.state.is_finished()]
            new = [len(known)] if len(known) < self._study.num_trials else []
            for number in [*left, *new]:
                claimed = claim(self._folder / CLAIMS / f"{number}")
                if claimed is not None:
                    break
            else:
                return None
            if number == len(known):
                # One line of the journal: whoever dies here leaves a trial with all its parameters, or none.
                kept = self._kept(number)
                self._optuna_study.enqueue_trial(self._suggestion(known) if kept is None else self._known_to_optuna(kept))
            waiting = number == len(known) or known[number].state == self._optuna.trial.TrialState.WAITING
            self._trials[number] = trial = self._optuna_study.ask() if waiting else self._again(number)
            return Task(number, self._parameters(trial), self._study.seeds, claimed)

    def _kept(self, number: int) -> Point | None:
        """Return the parameters of the trial if it is the one that has what is kept."""
        return self._study.kept if number == 0 else None

    def _known_to_optuna(self, kept: Point) -> Point:
        """Return those values that are among what varies. Of a parameter whose value is not, such as `auto`, Optuna learns nothing."""
        return {name: value for name, value in kept.items() if self._study.parameters[name].has(value)}

    def _suggestion(self, known: Sequence[Any]) -> Point:
        """Return the parameters of the next trial; chance enters by its number, so that trials begun together differ."""
        sampler = self._optuna.samplers.TPESampler(seed=self._study.sampler_seed * 1_000_003 + len(known))
        scratch = self._optuna.create_study(sampler=sampler, direction=self._study.direction)
        scratch.add_trials(known)
        return self._parameters(scratch.ask())

    def _again(self, number: int) -> Any:
        """Return a trial that was begun."""
        return self._optuna.trial.Trial(self._optuna_study, self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number))

    def _parameters(self, trial: Any) -> Point:
        """Return the parameters of a trial of Optuna's: those it has, or what its study suggests."""
        kept = self._kept(trial.number)
        if kept is not None:
            for name in self._known_to_optuna(kept):
                self._suggest(trial, name, self._study.parameters[name])
            return dict(kept)
        return {name: self._suggest(trial, name, over) for name, over in self._study.parameters.items()}

    def _suggest(self, trial: Any, name: str, over: Values | Range) -> Any:
        if isinstance(over, Values):
            return trial.suggest_categorical(name, over.values)
        if over.whole:
            return trial.suggest_int(name, int(over.low), int(over.high), step=int(over.step or 1), log=over.log)
        return over.rounded(trial.suggest_float(name, over.low, over.high, step=over.step, log=over.log))

    def go_on(self, task: Task, step: int, value: float) -> bool:
        """Let a trial go on unless its curve is below the median of those before; trial 0 with what is kept always goes on."""
        trial = self._trials[task.trial]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a trial that was left has reported its first steps already
            trial.report(value, step)
        return self._kept(task.trial) is not None or not trial.should_prune()

    def told(self, task: Task) -> None:
        """Tell Optuna how the trial ended: by its mean over the seeds."""
        ended, states = self._ended(), self._optuna.trial.TrialState
        rows = [ended[task.trial, seed] for seed in task.seeds if (task.trial, seed) in ended]
        values = [row.metrics.get(self._study.choose_by, math.nan) for row in rows if row.state == DONE]
        value = math.fsum(values) / len(values) if values else math.nan
        if any(row.state == PRUNED for row in rows):
            state, value = states.PRUNED, math.nan
        elif any(row.state == FAILED for row in rows) or not math.isfinite(value):
            state, value = states.FAIL, math.nan
        else:
            state = states.COMPLETE
        with one_at_a_time(self._folder / CLAIMS / "ask"):
            self._optuna_study.tell(task.trial, None if math.isnan(value) else value, state, skip_if_finished=True)
        del self._trials[task.trial]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingDependencyError(
            "sampler tpe needs Optuna, which is not installed; in the repository, run: pip install '.[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def check_installed(study: Study) -> None:
    """Raise `MissingDependencyError` when the study's sampler is not installed."""
    if study.sampler == "tpe":
        _optuna()
