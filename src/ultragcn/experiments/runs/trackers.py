"""Trackers: programs that are told how a run goes, beside what its folder holds anyway. No run needs one.

Their packages are extras, imported when one is asked for.
"""

import contextlib
import os
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ultragcn import storage
from ultragcn.errors import MissingDependencyError, UsageError, unknown_name

if TYPE_CHECKING:
    from ultragcn.training.course import Record


class Tracker(Protocol):
    """What a tracker looks like. It is made with the run folder and what manifest.json holds.

    When a run goes on after it was killed, its tracker is made anew and told every epoch from the first. It must end up with each once.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]): ...

    def record(self, record: "Record") -> None:
        """Take note of an epoch."""

    def finish(self, metrics: Mapping[str, Any] | None) -> None:
        """Take note of the end of the run and what metrics.json holds; without them, the run was left before its end."""


class TensorBoard:
    """An event file in the run folder; `tensorboard --logdir runs` shows those of all runs."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]):
        from tensorboard.summary import Writer

        for left in folder.glob("events.out.tfevents.*"):
            left.unlink()
        self._writer = Writer(str(folder))

    def record(self, record: "Record") -> None:
        """Write the figures of an epoch."""
        for name, value in _figures(record):
            self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()

    def finish(self, metrics: Mapping[str, Any] | None) -> None:
        """Write the test metrics, at the epoch that was kept."""
        if metrics is not None:
            for name, value in _test_metrics(metrics):
                self._writer.add_scalar(name, value, metrics["best_epoch"])
        self._writer.close()


class MLflow:
    """A run of the experiment `ultragcn`, where MLflow keeps its runs: `$MLFLOW_TRACKING_URI`, else mlflow.db in the current folder."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]):
        from mlflow import MlflowClient, get_tracking_uri
        from mlflow.entities import Param

        with _alone(get_tracking_uri()):
            self._client = MlflowClient()
            known = self._client.get_experiment_by_name("ultragcn")
            experiment = known.experiment_id if known is not None else self._client.create_experiment("ultragcn")
        before = self._client.search_runs([experiment], f"tags.`ultragcn.id` = '{manifest['id']}'")
        self._last_epoch = 0
        if before:
            self._run = before[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            self._last_epoch = max((figure.step for figure in self._client.get_metric_history(self._run, "loss")), default=0)
        else:
            self._run = self._client.create_run(experiment, run_name=folder.name, tags={"ultragcn.id": manifest["id"]}).info.run_id
            about = {name: manifest[name] for name in ("dataset", "protocol", "data_hash")} | manifest["config"]
            self._client.log_batch(self._run, params=[Param(name, str(value)) for name, value in about.items()])

    def record(self, record: "Record") -> None:
        """Log the figures of an epoch that is not there yet."""
        if record["epoch"] > self._last_epoch:
            self._log(_figures(record), record["epoch"])

    def finish(self, metrics: Mapping[str, Any] | None) -> None:
        """Log the test metrics, at the epoch that was kept, and end the run."""
        if metrics is not None:
            self._log(_test_metrics(metrics), metrics["best_epoch"])
        self._client.set_terminated(self._run, "KILLED" if metrics is None else "FINISHED")

    def _log(self, figures: Iterable[tuple[str, float]], epoch: int) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        # MLflow wants no @ in names.
        batch = [Metric(name.replace("@", "_at_"), float(value), now, epoch) for name, value in figures]
        self._client.log_batch(self._run, metrics=batch)


@contextlib.contextmanager
def _alone(place: str) -> Iterator[None]:
    """Let one process of this user's at a time begin to use `place`.

    Of several that make the tables of one database at once, MLflow leaves one that nobody can use.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            name = f"ultragcn-{os.getuid() if hasattr(os, 'getuid') else 'own'}-{zlib.crc32(place.encode()):08x}.lock"
            descriptor = os.open(Path(tempfile.gettempdir()) / name, os.O_RDWR | os.O_CREAT, 0o600)
            held.callback(os.close, descriptor)
            storage.lock(descriptor, say=False)
        yield


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}
_PACKAGES = {"tensorboard": "tensorboard.summary", "mlflow": "mlflow"}


class Tracking:
    """The trackers of a run. One that fails on the way is left out from there on, with a warning: the run matters more.

    Parameters
    ----------
    names : list of str
    folder : Path
    manifest : dict
    resumed : bool
        The run has begun long since, so that one that cannot start is left out too.

    Raises
    ------
    UsageError
        A tracker does not exist, or cannot start.
    MissingDependencyError
        Its package is not installed.
    """

    def __init__(self, names: Sequence[str], folder: Path, manifest: Mapping[str, Any], resumed: bool = False):
        check_installed(names)
        self._active: dict[str, Tracker] = {}
        for name in names:
            try:
                self._active[name] = TRACKERS[name](folder, manifest)
            except Exception as error:  # whatever the package raises
                if not resumed:
                    raise UsageError(f"cannot start {name}: {_one_line(error)}; mend that, or train without --track {name}") from error
                _warn(name, error)

    def record(self, record: "Record") -> None:
        """Tell them of an epoch."""
        self._tell(lambda tracker: tracker.record(record))

    def finish(self, metrics: Mapping[str, Any] | None) -> None:
        """Tell them of the end, with the metrics if the run is complete."""
        self._tell(lambda tracker: tracker.finish(metrics))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._active.items()):
            try:
                what(tracker)
            except Exception as error:
                del self._active[name]
                _warn(name, error)


def check_installed(names: Sequence[str]) -> None:
    """Raise `UsageError` for a tracker that does not exist, `MissingDependencyError` for one whose package is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        try:
            import_module(_PACKAGES[name])
        except ImportError:
            raise MissingDependencyError(
                f"tracker {name} needs a package that is not installed; in the repository, run: pip install '.[{name}]'"
            ) from None


def _figures(record: "Record") -> Iterable[tuple[str, float]]:
    return ((name, value) for name, value in record.items() if name != "epoch")


def _test_metrics(metrics: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    return ((f"test/{name}", value) for name, value in metrics["test"].items())


def _warn(name: str, error: Exception) -> None:
    warnings.warn(f"{name} failed ({_one_line(error)}); the run goes on without it", stacklevel=2)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
