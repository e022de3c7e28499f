"""LightGCN: embeddings averaged over the user-item graph, layer by layer, and trained by BPR.

He, Deng, Wang, Li, Zhang, Wang: LightGCN: simplifying and powering graph convolution network for recommendation (SIGIR 2020).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from ultragcn import rng
from ultragcn.config import HyperParameters, parameter
from ultragcn.data.interactions import Interactions
from ultragcn.errors import MissingDependencyError, NumericalError
from ultragcn.evaluation.metrics import parse_selection
from ultragcn.models.baseline import Baseline
from ultragcn.models.recommender import EmbeddingRecommender
from ultragcn.progress import Progress


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
        A record per epoch: epoch, loss, and metrics when they were measured.
    best_epoch_ : int
        The epoch kept.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `LightGCN`."""

        embedding_dim: int = parameter(64, "length of an embedding", unit="numbers", low=1)
        num_layers: int = parameter(3, "layers L of the propagation", unit="layers", low=0)
        learning_rate: float = parameter(0.02, "Adam's step size", positive=True)
        schedule: str = parameter("constant", "the step size over all epochs; cosine falls to 0", choices=("constant", "cosine"))
        schedule_epochs: int = parameter(0, "epochs after which a cosine is at 0; 0: epochs", unit="epochs", low=0)
        batch_size: int = parameter(32768, "train pairs in a batch", unit="pairs", low=1)
        l2_weight: float = parameter(1e-4, "L2 weight of a batch's embeddings before propagation", low=0)
        init_std: float = parameter(0.1, "standard deviation of the first embeddings", positive=True)
        epochs: int = parameter(200, "passes over the train pairs at most", unit="epochs", low=1)
        evaluate_every: int = parameter(5, "epochs between evaluations, where there are pairs to choose on", unit="epochs", low=1)
        patience: int = parameter(10, "evaluations without a better value before stopping", unit="evaluations", low=1)
        select_by: str = parameter("recall@20", "metric that chooses the epoch to keep")
        seed: int = parameter(0, "fixes everything random; -1 draws one and records it", low=-1)
        device: str = parameter("auto", "where it computes; auto takes a GPU when there is one", choices=("auto", "cpu", "cuda"))

    _recorded = ("seed_", "history_", "best_epoch_", "train_seconds_")

    @property
    def _learns_with_torch(self) -> bool:
        return True

    def check_runnable(self) -> None:
        """Raise now what `fit` would raise for want of a package or of a device."""
        try:
            from ultragcn.kernels import torch_ops
        except ImportError as error:
            raise MissingDependencyError(
                "LightGCN needs PyTorch, which is not installed; in the repository, run: pip install '.[torch]'"
            ) from error
        torch_ops.choose_device(self.config.device)

    def _chosen(self) -> dict[str, Any]:
        # The steps of a cosine are those of the training that was stopped at the best epoch.
        length = self.config.schedule_epochs or self.config.epochs
        return super()._chosen() | {"epochs": self.best_epoch_, "patience": self.best_epoch_, "schedule_epochs": length}

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        import torch

        from ultragcn.kernels import torch_ops

        config, train = self.config, self.train_
        label = str(parse_selection(config.select_by))
        where = torch_ops.choose_device(config.device)
        num_users = train.num_users
        shape = (num_users + train.num_items, config.embedding_dim)
        start = (config.init_std * rng.stream(self.seed_, "init").standard_normal(shape)).astype(np.float32)
        embedding = torch.from_numpy(start).to(where)
        embedding.grad = torch.zeros_like(embedding)
        graph = torch_ops.sparse_matrix(normalised_adjacency(train.matrix), where)
        adam = torch.optim.Adam([embedding], lr=config.learning_rate, fused=True)
        generator = torch.Generator(device=where)
        generator.manual_seed(int(rng.stream(self.seed_, "bpr").integers(2**62)))

        def integers(array: np.ndarray) -> Any:
            return torch.from_numpy(array.astype(np.int64)).to(where)

        users, items = map(integers, train.pairs)
        indptr, indices = integers(train.matrix.indptr), integers(train.matrix.indices)
        # A user who has every item lacks none to put below: their pairs teach nothing.
        num_lacking = train.num_items - (indptr[1:] - indptr[:-1])
        teaching = torch.nonzero(num_lacking[users] > 0)[:, 0]
        users, items = users[teaching], items[teaching]

        def lacked_items() -> Any:
            """Draw an item that the user lacks for every pair."""
            uniform = torch.rand(len(users), generator=generator, device=where, dtype=torch.float64)
            lacking = num_lacking[users]
            ranks = (uniform * lacking).long().clamp(max=lacking - 1)
            return torch_ops.draw_negatives(ranks[:, None], users, indptr, indices)[:, 0]

        self.history_: list[dict[str, Any]] = []
        self.best_epoch_, best, without_better = 0, -np.inf, 0
        length = config.schedule_epochs or config.epochs
        for epoch in range(1, config.epochs + 1):
            order = torch.randperm(len(users), generator=generator, device=where)
            negatives = lacked_items()
            total = 0.0
            batches = order.split(config.batch_size) if len(order) else ()
            for number, batch in enumerate(batches):
                if config.schedule == "cosine":
                    share = min((epoch - 1 + number / len(batches)) / length, 1.0)
                    adam.param_groups[0]["lr"] = config.learning_rate * (1 + math.cos(math.pi * share)) / 2
                triple = users[batch], num_users + items[batch], num_users + negatives[batch]
                final = torch_ops.propagate(graph, embedding, config.num_layers)
                loss, gradient = torch_ops.pairwise_loss(final, *triple)
                embedding.grad = torch_ops.propagate(graph, gradient, config.num_layers) / len(batch)
                counts = torch.bincount(torch.cat(triple), minlength=len(embedding)).to(embedding.dtype)
                embedding.grad.addcmul_(counts[:, None], embedding, value=config.l2_weight / len(batch))
                adam.step()
                total += float(loss)
            if not np.isfinite(total):
                raise NumericalError(
                    f"the loss is no longer a finite number in epoch {epoch}; lower learning_rate ({config.learning_rate:g})"
                )
            record: dict[str, Any] = {"epoch": epoch, "loss": total / max(len(users), 1)}
            due = epoch == config.epochs or (targets is not None and epoch % config.evaluate_every == 0)
            if due:
                tables = torch_ops.propagate(graph, embedding, config.num_layers).cpu().numpy()
                self.user_embedding_, self.item_embedding_ = tables[:num_users], tables[num_users:]
                value = 0.0
                if targets is not None:
                    value = record[label] = self.evaluate(targets, [label])[label]
                if value > best:
                    best, self.best_epoch_, without_better, kept = value, epoch, 0, tables
                else:
                    without_better += 1
            self.history_.append(record)
            show.advance(1, {name: figure for name, figure in record.items() if name != "epoch"})
            if without_better >= config.patience:
                break
        self.user_embedding_, self.item_embedding_ = kept[:num_users], kept[num_users:]


def normalised_adjacency(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return D^-1/2 (0 A; A^T 0) D^-1/2, D the degrees of users and items: (U + I, U + I) float32, symmetric."""
    both = sp.block_array([[None, matrix], [matrix.T, None]], format="csr", dtype=np.float64)
    scale = 1 / np.sqrt(np.maximum(both.sum(axis=1), 1))
    return sp.csr_matrix(sp.diags_array(scale) @ both @ sp.diags_array(scale), dtype=np.float32)
