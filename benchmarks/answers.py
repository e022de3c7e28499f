"""What an answer to one user costs: a known user, a new one, similar items, the score of pairs; beside implicit where it is installed.

    ULTRAGCN_DATA_DIR=... python benchmarks/answers.py [--dataset gowalla] [--model FOLDER] [--epochs 8] [--calls 200] [--busy 8]

Milliseconds a call, medians: of the processor (of all threads), of the clock, and of the clock beside --busy processes that only count.
The calls of all kinds alternate, with pauses as between requests, so that what else the machine does meets them alike. A model is trained
for a few epochs, which changes no cost, and kept in --model where that is given. implicit's model has as many factors. A row for each
kind goes to plots/answers.tsv.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import data_dir, report

from ultragcn import UltraGCN, load_dataset, load_model
from ultragcn.models.files import MODEL_FILE

_PAUSE = 0.02  # seconds between calls: a process that never waits gets no more than its share of the cores, however short its calls
TOP_K = 20
NEW_ITEMS = 20
Call = Callable[[int], object]


def count_for_ever() -> None:
    """Keep a core busy."""
    while True:
        pass


def model_of(dataset: str, folder: Path | None, epochs: int) -> UltraGCN:
    """Return the model in `folder`, or a new one, which is kept there."""
    if folder is not None and (folder / MODEL_FILE).exists():
        return load_model(folder)
    model = UltraGCN(epochs=epochs, seed=0).fit(load_dataset(dataset, data_dir()))
    if folder is not None:
        model.save(folder)
    return model


def ours(model: UltraGCN, users: np.ndarray, items: np.ndarray) -> dict[str, Call]:
    """Return our calls by what they answer; users (N,) and items (N, NEW_ITEMS) are rows."""
    user_ids, item_ids = model.user_ids.ids[users], model.item_ids.ids[items]
    return {
        "known user": lambda n: model.recommend(user_ids[n], TOP_K),
        "new user": lambda n: model.recommend_for(item_ids[n], TOP_K),
        "similar items, together": lambda n: model.similar_items(item_ids[n, 0], TOP_K),
        "similar items, embeddings": lambda n: model.similar_items(item_ids[n, 0], TOP_K, by="embeddings"),
        "score of 20 pairs": lambda n: model.score(user_ids[n], item_ids[n]),
    }


def theirs(model: UltraGCN, users: np.ndarray, items: np.ndarray) -> dict[str, Call]:
    """Return the calls of implicit; none where it is not installed. Set OPENBLAS_NUM_THREADS=1, as implicit itself advises."""
    try:
        import implicit
    except ImportError:
        return {}
    import scipy.sparse as sp

    matrix = model.train_.matrix.astype(np.float32)
    als = implicit.als.AlternatingLeastSquares(model.config.embedding_dim, iterations=2, random_state=0, num_threads=1)
    als.fit(matrix, show_progress=False)
    new = [sp.csr_matrix((np.ones(NEW_ITEMS, np.float32), (np.zeros(NEW_ITEMS, int), row)), (1, matrix.shape[1])) for row in items]

    return {
        "known user": lambda n: als.recommend(users[n], matrix[users[n]], TOP_K),
        "new user": lambda n: als.recommend(0, new[n], TOP_K, recalculate_user=True),
        "similar items, embeddings": lambda n: als.similar_items(items[n, 0], TOP_K),
    }


def measured(calls: dict[str, Call], number: int) -> dict[str, tuple[float, float]]:
    """Return the median milliseconds of processor and clock of each kind of call; kinds alternate."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for n in range(number):
        for name, call in calls.items():
            time.sleep(_PAUSE)
            before = time.process_time(), time.perf_counter()
            call(n)
            spent[name].append((time.process_time() - before[0], time.perf_counter() - before[1]))
    return {name: tuple(1e3 * np.median(values, axis=0)) for name, values in spent.items()}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="gowalla")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--busy", type=int, default=8)
    options = parser.parse_args()
    model = model_of(options.dataset, options.model, options.epochs)
    random = np.random.default_rng(0)
    users = random.choice(np.flatnonzero(model.train_.user_degrees), options.calls)
    items = np.stack([random.choice(len(model.item_ids), NEW_ITEMS, replace=False) for _ in range(options.calls)])
    calls = {("ultragcn", name): call for name, call in ours(model, users, items).items()}
    calls |= {("implicit", name): call for name, call in theirs(model, users, items).items()}
    measured(calls, 3)  # compiles kernels, makes what is kept
    alone = measured(calls, options.calls)
    others = [multiprocessing.get_context("spawn").Process(target=count_for_ever, daemon=True) for _ in range(options.busy)]
    try:
        for other in others:
            other.start()
        time.sleep(2)
        busy = measured(calls, options.calls)
    finally:
        for other in others:
            other.kill()
    for (library, name), (processor, clock) in alone.items():
        report("answers", {
            "dataset": options.dataset, "dim": model.config.embedding_dim, "library": library, "what": name, "cpu_ms": processor,
            "ms": clock, "busy_ms": busy[library, name][1], "busy_cpu_ms": busy[library, name][0],
        })  # fmt: skip


if __name__ == "__main__":
    main()
