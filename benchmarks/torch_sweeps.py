"""Whole trainings with half-sweeps in PyTorch on the CPU beside the same trainings with Numba: loss of each sweep, Recall@20, seconds.

    ULTRAGCN_DATA_DIR=... python benchmarks/torch_sweeps.py [--datasets ml-1m,gowalla] [--negatives clusters] [--seeds 0] [--epochs N]

PyTorch on the CPU is not how anybody should train. It runs the code that a GPU runs, so what it ends with is what a GPU ends with but for
rounding. A row for each data set, kind of negatives and seed goes to plots/torch_sweeps.tsv as it ends:

    loss_apart      the largest difference of the losses of one sweep that began from the same state, relative to the loss
    path_apart      the same of the losses of both trainings, sweep by sweep, each from its own state
    recall@20 ...   of the model on test, by Numba and by PyTorch, and how far apart they are, relative
"""

import argparse
import time
from unittest.mock import patch

from measure import data_dir, report

from ultragcn import Dataset, UltraGCN, load_dataset
from ultragcn.config import configuration_for
from ultragcn.loss.objective import Objective
from ultragcn.solvers import exact
from ultragcn.solvers.torch_sweeper import TorchSweeper

SAME_STATE = 3  # sweeps that both do from one state


def trained(data: Dataset, config, sweeper=None) -> tuple[UltraGCN, float]:
    """Return a model, and its seconds a sweep, what is measured on held-out pairs included."""
    chosen = exact.choose_sweeper if sweeper is None else lambda _: sweeper
    with patch.object(exact, "choose_sweeper", chosen):
        model = UltraGCN(config).fit(data)
    return model, model.train_seconds_ / len(model.history_)


def apart(one: float, other: float) -> float:
    """Return how far apart two numbers are, relative to the first."""
    return abs(one - other) / abs(one)


def from_one_state(data: Dataset, config, seed: int) -> tuple[float, float, float]:
    """Return the largest difference of the losses of sweeps from the same states, and the mean seconds of one by Numba and by PyTorch."""
    objective = Objective.of(data.train, config)
    ours, theirs = exact.ExactSolver(objective, seed), exact.ExactSolver(objective, seed, TorchSweeper("cpu"))
    exact.compile_kernels(config)
    ours.start()
    ours.step()
    largest, seconds = 0.0, [0.0, 0.0]
    for _ in range(SAME_STATE):
        theirs.start({name: array.copy() for name, array in ours.state().items()})
        losses = []
        for number, solver in enumerate((ours, theirs)):
            started = time.perf_counter()
            losses.append(solver.step())
            seconds[number] += (time.perf_counter() - started) / SAME_STATE
        largest = max(largest, apart(*losses))
    return largest, *seconds


def measure(name: str, negatives: str, seed: int, epochs: int | None) -> None:
    """Compare one training with the other, and report."""
    data = load_dataset(name, data_dir())
    config = configuration_for(name, "exact").replace(seed=seed, negatives=negatives, **({} if epochs is None else {"epochs": epochs}))
    loss_apart, numba_sweep, torch_sweep = from_one_state(data, config, seed)
    row = {"dataset": name, "negatives": negatives, "seed": seed, "loss_apart": loss_apart}
    row |= {"numba seconds a sweep": numba_sweep, "torch seconds a sweep": torch_sweep}
    (ours, _), (theirs, _) = trained(data, config), trained(data, config, TorchSweeper("cpu"))
    losses = [[entry["loss"] for entry in model.history_] for model in (ours, theirs)]
    row |= {"path_apart": max(map(apart, *losses)), "numba sweeps": len(losses[0]), "torch sweeps": len(losses[1])}
    figures = [model.evaluate(data.test) for model in (ours, theirs)]
    for metric in ("recall@20", "ndcg@20"):
        one, other = (values[metric] for values in figures)
        row |= {f"numba {metric}": one, f"torch {metric}": other, f"{metric} apart": apart(one, other)}
    report("torch_sweeps", row)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="ml-1m,gowalla")
    parser.add_argument("--negatives", default="clusters")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=int)
    arguments = parser.parse_args()
    for name in arguments.datasets.split(","):
        for negatives in arguments.negatives.split(","):
            for seed in arguments.seeds.split(","):
                measure(name, negatives, int(seed), arguments.epochs)
