"""What a command does in a process that torchrun started: the first process speaks and writes, the others take part in its trainings."""

import os
import time
from collections.abc import Callable

import numpy as np

from ultragcn.cli import messages
from ultragcn.errors import UsageError
from ultragcn.processes import Launch, launched, leading, to_lead

_LONGEST_SENTENCE = 30.0  # seconds in which the first process says what is wrong; then torchrun ends the others
_joined = False


def choose_voice() -> None:
    """Let the first process alone say something."""
    messages.silent = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"


def let_first_speak() -> None:
    """Wait in a process that stays silent about an error that all processes find, each for itself.

    torchrun ends all processes as soon as one has failed, so the first one would be cut short.
    """
    if messages.silent and not _joined:
        time.sleep(_LONGEST_SENTENCE)


def refuse_others(command: str) -> None:
    """Raise `UsageError` for a command that several processes do not do."""
    launch = launched()
    if launch is not None and command != "train":
        raise UsageError(f"torchrun started {launch.number} processes, and {command} is done by one; start it without torchrun")


def refuse_model(name: str, solver: str | None) -> None:
    """Raise `UsageError` where several processes are to train what one process trains."""
    if to_lead().number > 1 and solver != "exact":
        what = name if solver is None else f"solver {solver}"
        raise UsageError(f"{what} trains in one process; start it without torchrun, or take ultragcn with solver exact")


def refuse_new_folder(launch: Launch | None) -> None:
    """Raise `UsageError` where a training that is started again could not find its run folder."""
    if launch is not None and launch.most_restarts > 0:
        raise UsageError(
            f"--max-restarts {launch.most_restarts} lets torchrun start the training again, which then looks for its run folder; give --out"
        )


def take_part(launch: Launch, lead: Callable[[int], int]) -> int:
    """Join the processes, and lead or follow; return the exit status.

    Whichever process fails first says why; the others end with it.

    Parameters
    ----------
    launch : Launch
    lead : callable
        What the first process does. It gets how often torchrun has started all processes again, and returns the exit status.
    """
    from ultragcn.models.ultragcn import UltraGCN
    from ultragcn.processes.torchrun import joined

    global _joined
    with joined(launch) as processes:
        _joined = True
        try:
            restarts = int(processes.gather(np.array([launch.restarts])).max())
            if launch.rank > 0:
                UltraGCN.follow(processes)
                return 0
            with leading(processes):
                status = lead(restarts)
            processes.same(None)
            return status
        except Exception:  # not an interrupt: that comes to all, and the first process knows what is kept
            messages.silent = not processes.is_first_to_tell()
            raise
