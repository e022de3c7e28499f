"""One fit of one model of one library, in a process of its own: what benchmarks/peers.py starts in the library's own environment.

    PYTHON peers_worker.py JOB.json

JOB.json names the model, its settings, and the file of pairs that peers.py wrote. The worker writes the lists to the file `lists` as an
array (Q, 20), -1 where a place is empty, and what they cost to the file `cost`: seconds of each step, peak memory, and the version.
It does not import ultragcn unless the model is one of ultragcn: nothing but the library itself is in the environment.

Every function of MODELS below reads as the library's own documentation says that it is used. It is a generator that stops after each
step: the import, bringing the pairs into the library's form, the fit, and the lists. A hyper-parameter that is not given keeps the
library's default. Two threads are used wherever a library has threads.
"""

import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

STEPS = ("import", "prepare", "fit", "rank")
TOP_K = 20
THREADS = 2
SEED = 0


class Pairs:
    """The pairs of a job: `users` and `items` (N,) to learn from, and `asked` (Q,), the users to make lists for.

    `held_users` and `held_items` are validation pairs that are kept apart, for a model that chooses when to stop; else they are empty. A
    library that has no use for them learns from both. A list must hold no item that its user has in either, except with `asks_held`:
    then the lists are measured on the validation pairs.
    """

    def __init__(self, file: str):
        data = np.load(file)
        self.users, self.items = data["users"], data["items"]
        self.held_users, self.held_items = data["held_users"], data["held_items"]
        self.asked, self.asks_held = data["asked"], bool(data["asks_held"]) if "asks_held" in data else False
        self.num_users, self.num_items = (int(number) for number in data["shape"])

    @property
    def all_users(self) -> np.ndarray:
        """Return the users of all pairs, validation pairs last."""
        return np.concatenate([self.users, self.held_users])

    @property
    def all_items(self) -> np.ndarray:
        """Return the items of all pairs, validation pairs last."""
        return np.concatenate([self.items, self.held_items])

    def matrix(self, with_held: bool = True) -> Any:
        """Return all pairs, or those that are not kept apart, as a CSR matrix of float32 ones, U x I."""
        import scipy.sparse as sp

        users, items = (self.all_users, self.all_items) if with_held else (self.users, self.items)
        return sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=(self.num_users, self.num_items))

    def frame(self, user: str, item: str, **columns: Any) -> Any:
        """Return all pairs as a pandas frame with these names of columns."""
        import pandas as pd

        return pd.DataFrame({user: self.all_users, item: self.all_items, **columns})


def full(found: dict[int, list[int]], asked: np.ndarray) -> np.ndarray:
    """Return lists by user as an array (Q, TOP_K); places that are left empty are -1."""
    lists = np.full((len(asked), TOP_K), -1, np.int32)
    for row, user in enumerate(asked.tolist()):
        items = found.get(user, [])[:TOP_K]
        lists[row, : len(items)] = items
    return lists


# ultragcn


def ultragcn_model(name: str, pairs: Pairs, settings: dict) -> Iterator[Any]:
    """UltraGCN or one of the baselines; with validation pairs, UltraGCN chooses on them and is then refitted on all pairs."""
    import scipy.sparse as sp

    import ultragcn
    from ultragcn.data.ids import IdMap

    yield None
    ids = IdMap.of(np.arange(pairs.num_users), "user"), IdMap.of(np.arange(pairs.num_items), "item")

    def interactions(users: np.ndarray, items: np.ndarray) -> Any:
        shape = (pairs.num_users, pairs.num_items)
        return ultragcn.Interactions(sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape), *ids)

    seeded = {"seed": SEED} if name in ("UltraGCN", "IALS", "BPR") else {}
    model = getattr(ultragcn, name)(num_threads=THREADS, **seeded, **settings)
    if name == "UltraGCN":
        held = interactions(pairs.held_users, pairs.held_items) if len(pairs.held_users) else None
        train = interactions(pairs.users, pairs.items)
    else:
        held, train = None, interactions(pairs.all_users, pairs.all_items)
    yield None
    model.fit(train, held, progress=False)
    if held is not None and not pairs.asks_held:
        model = model.refit(progress=False)
    yield None
    if pairs.asks_held:  # recommend would leave out what is asked for
        yield np.concatenate([items for _, items, _ in model.rank(pairs.asked, TOP_K, train.matrix)])
    else:
        yield model.recommend(pairs.asked.tolist(), top_k=TOP_K)[0]


# implicit


def implicit_model(name: str, pairs: Pairs, settings: dict) -> Iterator[Any]:
    """ALS, BPR or nearest items of implicit. It advises one BLAS thread (`environment_of`)."""
    if name == "AlternatingLeastSquares":
        from implicit.cpu.als import AlternatingLeastSquares as Model
    elif name == "BayesianPersonalizedRanking":
        from implicit.cpu.bpr import BayesianPersonalizedRanking as Model
    else:
        from implicit.nearest_neighbours import BM25Recommender as Model

    yield None
    matrix = pairs.matrix()
    seeded = {} if name == "BM25Recommender" else {"random_state": SEED}
    model = Model(num_threads=THREADS, **seeded, **settings)
    yield None
    model.fit(matrix, show_progress=False)
    yield None
    items, _ = model.recommend(pairs.asked, matrix[pairs.asked], N=TOP_K, filter_already_liked_items=True)
    yield items


# RecTools


def rectools_model(name: str, pairs: Pairs, settings: dict) -> Iterator[Any]:
    """EASE or PureSVD of RecTools. PureSVD has no seed here, because SciPy 1.17 refuses the generator that a seed makes."""
    import rectools.models
    from rectools import Columns
    from rectools.dataset import Dataset

    yield None
    frame = pairs.frame(Columns.User, Columns.Item, **{Columns.Weight: 1.0, Columns.Datetime: "2020-01-01"})
    data = Dataset.construct(frame)
    model = getattr(rectools.models, name)(recommend_n_threads=THREADS, **settings)
    yield None
    model.fit(data)
    yield None
    found = model.recommend(users=pairs.asked, dataset=data, k=TOP_K, filter_viewed=True)
    found = found.sort_values([Columns.User, Columns.Rank])
    yield full(found.groupby(Columns.User)[Columns.Item].agg(list).to_dict(), pairs.asked)


# cornac


def cornac_model(name: str, pairs: Pairs, settings: dict) -> Iterator[Any]:
    """EASE, BPR or SANSA of cornac. BPR has no seed here, because cornac then uses one thread."""
    import cornac.models
    from cornac.data import Dataset

    yield None
    triples = zip(pairs.all_users.tolist(), pairs.all_items.tolist(), np.ones(len(pairs.all_users)).tolist(), strict=True)
    train = Dataset.from_uir(triples)
    threads = {"num_threads": THREADS} if name == "BPR" else {}
    model = getattr(cornac.models, name)(verbose=False, **threads, **settings)
    yield None
    model.fit(train)
    yield None
    found = {user: model.recommend(user, k=TOP_K, remove_seen=True, train_set=train) for user in pairs.asked.tolist()}
    yield full(found, pairs.asked)


# LensKit


def lenskit_model(name: str, pairs: Pairs, settings: dict) -> Iterator[Any]:
    """EASE, implicit matrix factorization or nearest items of LensKit, in its pipeline for lists."""
    import lenskit.batch
    from lenskit.als import ImplicitMFScorer
    from lenskit.data import from_interactions_df
    from lenskit.knn import EASEScorer, ItemKNNScorer
    from lenskit.pipeline import topn_pipeline
    from lenskit.training import TrainingOptions

    yield None
    scorer = {"EASEScorer": EASEScorer, "ImplicitMFScorer": ImplicitMFScorer, "ItemKNNScorer": ItemKNNScorer}[name]
    data = from_interactions_df(pairs.frame("user_id", "item_id"))
    given = {"feedback": "implicit"} if name == "ItemKNNScorer" else {}
    pipeline = topn_pipeline(scorer(**given, **settings), n=TOP_K)
    yield None
    pipeline.train(data, TrainingOptions(rng=SEED))
    yield None
    found = lenskit.batch.recommend(pipeline, pairs.asked.tolist(), TOP_K, n_jobs=1)
    yield full({int(key.user_id): items.ids().tolist() for key, items in found.items()}, pairs.asked)


# RecBole


def recbole_model(name: str, pairs: Pairs, settings: dict) -> Iterator[Any]:
    """A model of RecBole. Where pairs are held out it stops on them, as it does by default; EASE learns from all pairs."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    yield None
    learn, held = (pairs.users, pairs.items), (pairs.held_users, pairs.held_items)
    if name == "EASE" or not len(held[0]):
        learn = held = pairs.all_users, pairs.all_items
    folder = tempfile.mkdtemp()
    for part, (users, items) in {"train": learn, "valid": held, "test": held}.items():
        path = Path(folder, "pairs", f"pairs.{part}.inter")
        path.parent.mkdir(exist_ok=True)
        rows = "".join(f"{user}\t{item}\n" for user, item in zip(users.tolist(), items.tolist(), strict=True))
        path.write_text("user_id:token\titem_id:token\n" + rows, encoding="utf-8")
    chosen = {
        "data_path": folder, "benchmark_filename": ["train", "valid", "test"], "checkpoint_dir": folder, "use_gpu": False,
        "load_col": {"inter": ["user_id", "item_id"]}, "topk": [TOP_K], "valid_metric": f"Recall@{TOP_K}", "seed": SEED,
        "show_progress": False, "state": "ERROR", **settings,
    }  # fmt: skip
    torch.set_num_threads(THREADS)
    with_no_words, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads the command line too
    config = Config(model=name, dataset="pairs", config_dict=chosen)
    sys.argv = with_no_words
    init_seed(config["seed"], config["reproducibility"])
    data = create_dataset(config)
    train, valid, _ = data_preparation(config, data)
    yield None
    model = get_model(config["model"])(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    if name == "EASE" or held is learn:
        trainer.fit(train, verbose=False, show_progress=False)
    else:
        trainer.fit(train, valid, verbose=False, show_progress=False)
        model.load_state_dict(torch.load(trainer.saved_model_file, weights_only=False)["state_dict"])
    yield None
    lists = np.full((len(pairs.asked), TOP_K), -1, np.int32)
    model.eval()
    has = pairs.matrix(with_held=not pairs.asks_held)
    ids = np.array([-1 if token == "[PAD]" else int(token) for token in data.field2id_token["item_id"]])
    known = data.field2token_id["user_id"]
    for start in range(0, len(pairs.asked), 512):
        asked = pairs.asked[start : start + 512]
        rows = np.array([known[str(user)] for user in asked])
        # RecBole's full_sort_topk leaves out only what stands in the parts before the one that it is given.
        with torch.no_grad():
            scores = model.full_sort_predict(_interaction(rows)).reshape(len(asked), -1).numpy().copy()
        scores[:, 0] = -np.inf
        for row, user in enumerate(asked):
            taken = has.indices[has.indptr[user] : has.indptr[user + 1]]
            scores[row, [data.field2token_id["item_id"][str(item)] for item in taken]] = -np.inf
        best = torch.topk(torch.from_numpy(scores), TOP_K)[1].numpy()
        lists[start : start + len(asked)] = ids[best]
    yield lists


def _interaction(rows: np.ndarray) -> Any:
    import torch
    from recbole.data.interaction import Interaction

    return Interaction({"user_id": torch.from_numpy(rows)})


# RecPack


def recpack_model(name: str, pairs: Pairs, settings: dict) -> Iterator[Any]:
    """EASE of RecPack; what users have is taken out of its scores, as its pipeline does."""
    import recpack.algorithms
    from recpack.matrix import InteractionMatrix
    from recpack.util import get_top_K_values

    yield None
    frame = pairs.frame("user", "item")
    data = InteractionMatrix(frame, "item", "user", shape=(pairs.num_users, pairs.num_items))
    model = getattr(recpack.algorithms, name)(**settings)
    yield None
    model.fit(data)
    yield None
    scores = model.predict(data).tocsr()
    best = get_top_K_values((scores - scores.multiply(data.binary_values)).tocsr(), TOP_K)
    lists = np.full((len(pairs.asked), TOP_K), -1, np.int32)
    for row, user in enumerate(pairs.asked):
        part = slice(best.indptr[user], best.indptr[user + 1])
        ordered = best.indices[part][np.argsort(-best.data[part], kind="stable")]
        lists[row, : len(ordered)] = ordered
    yield lists


# irspack


def irspack_model(name: str, pairs: Pairs, settings: dict) -> Iterator[Any]:
    """EASE (called DenseSLIM), iALS or RP3beta of irspack."""
    import irspack
    from irspack.utils import IDMapper

    yield None
    matrix = pairs.matrix()
    given = {"random_seed": SEED} if name == "IALSRecommender" else {}
    given |= {} if name == "DenseSLIMRecommender" else {"n_threads": THREADS}
    model = getattr(irspack, name)(matrix, **given, **settings)
    yield None
    model.learn()
    yield None
    ids = IDMapper(list(range(pairs.num_users)), list(range(pairs.num_items)))
    found = ids.recommend_for_known_user_batch(model, pairs.asked.tolist(), cutoff=TOP_K, n_threads=THREADS)
    yield full({user: [item for item, _ in listed] for user, listed in zip(pairs.asked.tolist(), found, strict=True)}, pairs.asked)


MODELS = {
    "ultragcn": ultragcn_model, "implicit": implicit_model, "rectools": rectools_model, "cornac": cornac_model, "lenskit": lenskit_model,
    "recbole": recbole_model, "recpack": recpack_model, "irspack": irspack_model,
}  # fmt: skip
"""Library -> the generator that runs one of its models."""


def run(job: dict) -> None:
    """Run one job and write its lists and what they cost."""
    pairs = Pairs(job["pairs"])
    steps = MODELS[job["library"]](job["model"], pairs, job["settings"])
    row, lists = {}, None
    for step in STEPS:
        wall, cpu = time.perf_counter(), cpu_seconds()
        lists = next(steps)
        row |= {f"{step}_seconds": time.perf_counter() - wall, f"{step}_cpu": cpu_seconds() - cpu}
    np.save(job["lists"], np.asarray(lists, np.int32))
    row |= {"peak_mb": peak_mb(), "version": importlib.metadata.version(job["library"])}
    Path(job["cost"]).write_text(json.dumps(row), encoding="utf-8")  # libraries print what they like


def cpu_seconds() -> float:
    """Return the CPU seconds of all threads so far, and of children that have ended."""
    return sum(os.times()[:4])


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, in MB."""
    # getrusage would also count what the parent had before this program was started.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 2**10


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
