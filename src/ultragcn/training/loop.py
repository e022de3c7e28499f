"""The training loop, the same for every model that learns pass by pass. It does not know which solver it drives.

Several processes may go through it together. What decides on its course, losses and metrics, has the same bits in each of them.
"""

import time
from collections.abc import Callable

from ultragcn.processes import current
from ultragcn.progress import Progress
from ultragcn.solvers import Embeddings, Stepper
from ultragcn.training.checkpoint import Checkpoint
from ultragcn.training.course import Course, Record


def train(
    solver: Stepper,
    course: Course,
    place: Callable[[Embeddings], None],
    measure: Callable[[], dict[str, float]] | None,
    *,
    epochs: int,
    patience: float,
    started: float,
    show: Progress,
    checkpoints: Checkpoint,
    change: Callable[[], None] | None = None,
    on_epoch: Callable[[Record], None] | None = None,
) -> str:
    """Do pass after pass of a solver that has been started; return what ended it, "patience" or "epochs".

    Parameters
    ----------
    solver : Stepper
    course : Course
        Says at any time what is kept so far, also when an exception ends the loop.
    place : callable
        Puts embeddings where the model ranks by them.
    measure : callable or None
        Returns the metrics of the model on held-out pairs by label; the first one chooses the epoch. Without it the loss says when to
        stop, and the last epoch is kept.
    epochs : int
        Passes at most.
    patience : float
        Evaluations without a better value before stopping; infinity: no value ends the loop.
    started : float
        When training began, by `time.perf_counter`.
    show : Progress
        Advanced by each pass.
    checkpoints : Checkpoint
        Written where they are due; of several processes the first one says when, and writes them.
    change : callable, optional
        Called between passes, for what is minimised to change.
    on_epoch : callable, optional
        Called with each record of the history.
    """
    while True:
        loss = solver.step()
        record: Record = {"epoch": solver.epoch, "seconds": time.perf_counter() - started, "loss": loss} | course.l2_in_use
        is_due = measure is None or solver.epoch == epochs or solver.is_due(solver.epoch)
        # Up to the first evaluation, the latest epoch is kept.
        embeddings = solver.embeddings() if is_due or not course.is_measured else None
        if embeddings is not None:
            place(embeddings)
        measured = measure() if is_due and measure is not None else {}
        record |= measured
        course.history.append(record)
        if is_due:  # by the loss alone, creeping on is no better
            course.note(next(iter(measured.values()), -loss), least=0.0 if measured else solver.tolerance)
        if embeddings is not None and (measure is None or not course.without_better):
            course.keep(solver.epoch, embeddings)
        if on_epoch is not None:
            on_epoch(record)
        figures = {name: figure for name, figure in record.items() if name not in ("epoch", "seconds")}
        show.advance(1, figures | ({"best": course.best} if measured else {}))
        if course.without_better >= patience or course.is_lost:
            return "patience"
        if solver.epoch >= epochs:
            return "epochs"
        if change is not None:
            change()
        if current().same(checkpoints.is_due(solver.epoch)):
            course.seconds = time.perf_counter() - started
            checkpoints.write(course, solver.state())
