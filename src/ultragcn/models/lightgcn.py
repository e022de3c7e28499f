"""LightGCN: embeddings averaged over the user-item graph, layer by layer, and trained by BPR.

He, Deng, Wang, Li, Zhang, Wang: LightGCN: simplifying and powering graph convolution network for recommendation (SIGIR 2020).
"""

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from ultragcn import rng
from ultragcn.config import HyperParameters, parameter, seed_parameter
from ultragcn.data.interactions import Interactions
from ultragcn.errors import MissingDependencyError, NumericalError
from ultragcn.machine import ask_for
from ultragcn.models.baseline import Baseline
from ultragcn.models.recommender import EmbeddingRecommender
from ultragcn.progress import Progress
from ultragcn.solvers import Embeddings, Sizes, State
from ultragcn.training import choices
from ultragcn.training.checkpoint import Checkpoint
from ultragcn.training.course import Course
from ultragcn.training.loop import train as train_loop


class LightGCN(Baseline, EmbeddingRecommender):
    """E = (E0 + G E0 + ... + G^L E0) / (L + 1), G = D^-1/2 (0 A; A^T 0) D^-1/2 over users and items (paper, eq. 3 to 8), E0 being
    what is trained by BPR (eq. 15): the mean over train pairs (u, i), j drawn from the items u lacks, of

        softplus(s_uj - s_ui) + l2_weight / 2 ||e0_u, e0_i, e0_j||^2.

    G is symmetric, so the gradient goes back by the same propagation as the embeddings came. That costs the same for a batch of any
    size, so batches and Adam's steps are larger here than in the paper (2,048 pairs, 0.001). Large steps end far from the minimum: with
    `schedule` "cosine" they shrink to nothing over `schedule_epochs`, with f the share of all steps already taken,

        step = learning_rate (1 + cos(pi f)) / 2.

    Attributes
    ----------
    user_embedding_, item_embedding_ : (U, D) and (I, D) float32
        E, of the best epoch where there are pairs to choose it on, else of the last.
    history_ : list of dict
        A record per epoch: epoch, seconds, loss, and metrics when they were measured.
    best_epoch_ : int
        The epoch kept.
    stopped_ : {"patience", "epochs", "interrupted"}
        Why training ended.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `LightGCN`."""

        embedding_dim: int = parameter(64, "length of an embedding", unit="numbers", low=1)
        num_layers: int = parameter(3, "number L of layers of the propagation", unit="layers", low=0)
        learning_rate: float = parameter(0.02, "Adam's step size", positive=True)
        schedule: str = parameter(
            "constant", "how the step size changes over the epochs; cosine: it falls to 0", choices=("constant", "cosine")
        )
        schedule_epochs: int | None = parameter(None, "epochs after which a cosine is at 0", auto="epochs", unit="epochs", low=1)
        batch_size: int = parameter(32768, "number of train pairs in a batch", unit="pairs", low=1)
        l2_weight: float = parameter(1e-4, "L2 weight of a batch's embeddings before propagation", low=0)
        init_std: float = parameter(0.1, "standard deviation of the first embeddings", positive=True)
        epochs: int = parameter(200, "most passes over the train pairs", unit="epochs", low=1)
        evaluate_every: int = parameter(5, "number of epochs between evaluations, if there are held-out pairs", unit="epochs", low=1)
        patience: int = parameter(10, "number of evaluations without a better value after which training stops", unit="evaluations", low=1)
        select_by: str = parameter("recall@20", "metric that chooses the epoch to keep")
        seed: int | None = seed_parameter()
        device: str = parameter(
            "auto", "the device on which training computes; auto: a GPU if there is one", choices=("auto", "cpu", "cuda")
        )

        def resolved(self) -> Self:
            """Return a copy in which nothing is None but the seed."""
            return dataclasses.replace(self, schedule_epochs=self.schedule_epochs or self.epochs)

    _version = 3
    _recorded = ("seed_", "history_", "best_epoch_", "stopped_", "train_seconds_")

    @property
    def _learns_with_torch(self) -> bool:
        return True

    def check_runnable(self) -> None:
        """Raise the error that `fit` would raise because a package or a device is missing."""
        try:
            from ultragcn.kernels import torch_ops
        except ImportError as error:
            raise MissingDependencyError(
                "LightGCN needs PyTorch, which is not installed; in the repository, run: pip install '.[torch]'"
            ) from error
        torch_ops.choose_device(self.config.device)

    @classmethod
    def _memory_for(cls, sizes: Sizes, squares: int, config: Any) -> int:
        # Embeddings, gradients, Adam's two moments, and the layers of a propagation; the pairs in the graph, twice, and as numbers.
        return int(4 * config.embedding_dim * 8 * (sizes.num_users + sizes.num_items) + 64 * sizes.num_pairs)

    def _ask_for_memory(self) -> None:
        from ultragcn.kernels import torch_ops

        users, items = self.train_.num_users, self.train_.num_items
        needed = self._memory_for(Sizes(users, items, len(self.train_)), 0, self.config)
        free = torch_ops.free_memory(torch_ops.choose_device(self.config.device))
        ask_for(needed, f"LightGCN on {users} users and {items} items", "lower embedding_dim, or fit on fewer users and items", free)

    def _about(self) -> dict[str, str]:
        return super()._about() | {"kept": f"epoch {self.best_epoch_} of {len(self.history_)}"}

    def _chosen(self) -> dict[str, Any]:
        # The steps of a cosine are those of the training that was stopped at the best epoch.
        length = self.config.schedule_epochs or self.config.epochs
        return super()._chosen() | {"epochs": self.best_epoch_, "patience": self.best_epoch_, "schedule_epochs": length}

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        started, config = time.perf_counter(), self.config
        course, solver = Course(self.seed_), PairwiseSolver(self.train_, config, self.seed_)
        self.history_, self.stopped_ = course.history, "epochs"

        try:
            solver.start()
            self.stopped_ = train_loop(
                solver, course, self._place, choices.measure_on(self, targets, config.select_by),
                epochs=config.epochs, patience=math.inf if targets is None else config.patience,  # the loss is too noisy to end it
                started=started, show=show, checkpoints=Checkpoint(None, None, {}, ()),
            )  # fmt: skip
        except KeyboardInterrupt:
            self.stopped_ = "interrupted"
            raise
        finally:
            if course.kept is not None:
                self._place(course.kept)
            self.best_epoch_ = course.best_epoch

    def _place(self, embeddings: Embeddings) -> None:
        self.user_embedding_, self.item_embedding_ = embeddings


class PairwiseSolver:
    """Epochs of BPR over the train pairs, a negative drawn anew for each, through the propagation; an epoch's loss is the mean.

    Parameters
    ----------
    train : Interactions
    config : LightGCN.Settings
    seed : int

    Raises
    ------
    NumericalError
        From `step`: the loss left the range of float32.
    """

    unit, tolerance = "epoch", 0.0

    def __init__(self, train: Interactions, config: LightGCN.Settings, seed: int):
        self.epoch = 0
        self._train, self._seed = train, seed
        self._config: Any = config.resolved()

    def start(self, state: State | None = None) -> None:
        """Put the data on the device, and the first embeddings or those of `state`."""
        import torch

        from ultragcn.kernels import torch_ops

        config, train = self._config, self._train
        where = torch_ops.choose_device(config.device)
        shape = (train.num_users + train.num_items, config.embedding_dim)
        first = (config.init_std * rng.stream(self._seed, "init").standard_normal(shape)).astype(np.float32)
        self._embedding = torch.from_numpy(first).to(where)
        self._embedding.grad = torch.zeros_like(self._embedding)
        self._graph = torch_ops.sparse_matrix(normalised_adjacency(train.matrix), where)
        self._adam = torch.optim.Adam([self._embedding], lr=config.learning_rate, fused=True)
        self._generator = torch.Generator(device=where)
        self._generator.manual_seed(int(rng.stream(self._seed, "bpr").integers(2**62)))

        def integers(array: np.ndarray) -> Any:
            return torch.from_numpy(array.astype(np.int64)).to(where)

        users, items = map(integers, train.pairs)
        self._indptr, self._indices = integers(train.matrix.indptr), integers(train.matrix.indices)
        # A user who has every item lacks none to put below: their pairs teach nothing.
        self._num_lacking = train.num_items - (self._indptr[1:] - self._indptr[:-1])
        teaching = torch.nonzero(self._num_lacking[users] > 0)[:, 0]
        self._users, self._items = users[teaching], items[teaching]
        if state is not None:
            from ultragcn.solvers.sgd import restore_generator, restore_table

            self.epoch = int(state["epoch"][0])
            restore_generator(self._generator, state["generator"])
            restore_table(self._adam, self._embedding, "both", state)

    def step(self) -> float:
        """Do an epoch; return its loss."""
        import torch

        from ultragcn.kernels import torch_ops

        config, users, items, embedding = self._config, self._users, self._items, self._embedding
        order = torch.randperm(len(users), generator=self._generator, device=users.device)
        negatives = self._lacked_items()
        total = 0.0
        batches = order.split(config.batch_size) if len(order) else ()  # type: ignore[no-untyped-call]
        for number, batch in enumerate(batches):
            if config.schedule == "cosine":
                share = min((self.epoch + number / len(batches)) / config.schedule_epochs, 1.0)
                self._adam.param_groups[0]["lr"] = config.learning_rate * (1 + math.cos(math.pi * share)) / 2
            triple = users[batch], self._train.num_users + items[batch], self._train.num_users + negatives[batch]
            final = torch_ops.propagate(self._graph, embedding, config.num_layers)
            loss, gradient = torch_ops.pairwise_loss(final, *triple)
            embedding.grad = torch_ops.propagate(self._graph, gradient, config.num_layers) / len(batch)
            counts = torch.bincount(torch.cat(triple), minlength=len(embedding)).to(embedding.dtype)
            embedding.grad.addcmul_(counts[:, None], embedding, value=config.l2_weight / len(batch))
            self._adam.step()
            total += float(loss)
        self.epoch += 1
        if not np.isfinite(total):
            raise NumericalError(
                f"the loss is no longer a finite number in epoch {self.epoch}; lower learning_rate ({config.learning_rate:g})"
            )
        return total / max(len(users), 1)

    def embeddings(self) -> Embeddings:
        """Return the embeddings after propagation."""
        from ultragcn.kernels import torch_ops

        both = torch_ops.propagate(self._graph, self._embedding, self._config.num_layers).cpu().numpy()
        return both[: self._train.num_users], both[self._train.num_users :]

    def is_due(self, epoch: int) -> bool:
        """Return whether to evaluate after `epoch`."""
        result: bool = epoch % self._config.evaluate_every == 0
        return result

    def state(self) -> State:
        """Return the embeddings before propagation, Adam's moments, and where the generator stands."""
        from ultragcn.solvers.sgd import table_state

        arrays = {"epoch": np.array([self.epoch]), "generator": self._generator.get_state().numpy()}
        return arrays | table_state(self._adam, self._embedding, "both")

    def _lacked_items(self) -> Any:
        """Draw an item that the user lacks for every pair."""
        import torch

        from ultragcn.kernels import torch_ops

        users = self._users
        uniform = torch.rand(len(users), generator=self._generator, device=users.device, dtype=torch.float64)
        lacking = self._num_lacking[users]
        ranks = (uniform * lacking).long().clamp(max=lacking - 1)
        return torch_ops.draw_negatives(ranks[:, None], users, self._indptr, self._indices)[:, 0]


def normalised_adjacency(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return D^-1/2 (0 A; A^T 0) D^-1/2, D the degrees of users and items: (U + I, U + I) float32, symmetric."""
    both = sp.block_array([[None, matrix], [matrix.T, None]], format="csr", dtype=np.float64)
    scale = 1 / np.sqrt(np.maximum(both.sum(axis=1), 1))
    return sp.csr_matrix(sp.diags_array(scale) @ both @ sp.diags_array(scale), dtype=np.float32)
