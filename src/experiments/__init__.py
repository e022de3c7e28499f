"""Experiments: scripts that train many times and write one line of a TSV file in plots/ as each result comes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from arguments import Flag, whole_number
from ultragcn.errors import UltraGCNError

PLOTS = Path(__file__).resolve().parents[2] / "plots"
JOBS = Flag("jobs", whole_number(1), min(4, os.cpu_count() or 1), "runs at once, each in a process")
"""Of those experiments that are studies (`ultragcn.experiments.studies.sweep`)."""


def run_in_parallel(
    function: Callable[..., Mapping[str, Any]], jobs: Sequence[Mapping[str, Any]], workers: int
) -> Iterator[Mapping[str, Any]]:
    """Call `function(**job)` for every job in `workers` processes, and yield the results as they come.

    Each process computes on one thread, so a result does not depend on how many run beside it.
    """
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_prepare_worker)
    try:
        for done in as_completed([pool.submit(function, **job) for job in jobs]):
            yield done.result()
    except BrokenProcessPool as error:
        raise UltraGCNError("a worker process was ended from outside, perhaps for want of memory; try --workers 1") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare_worker() -> None:
    """Compute on one thread, and end with the experiment, however that ends."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C reaches all processes; only the first one speaks
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
