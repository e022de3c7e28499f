"""BPR-MF: matrix factorisation that learns to put a user's items above others.

Rendle, Freudenthaler, Gantner, Schmidt-Thieme: BPR: Bayesian personalized ranking from implicit feedback (UAI 2009).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ultragcn import kernels, rng
from ultragcn.config import HyperParameters, parameter, seed_parameter
from ultragcn.data.interactions import Interactions
from ultragcn.errors import NumericalError
from ultragcn.kernels.arguments import Triples
from ultragcn.models.baseline import Baseline
from ultragcn.models.recommender import EmbeddingRecommender
from ultragcn.progress import Progress
from ultragcn.solvers import Sizes


class BPR(Baseline, EmbeddingRecommender):
    """The minimum, by stochastic gradient descent, of the sum over train pairs (u, i), j uniform among the items u lacks, of

        softplus(s_uj - s_ui) + l2 / 2 (||e_u||^2 + ||e_i||^2 + ||e_j||^2),    s_ui = e_u . e_i

    (paper, section 4.1 and fig. 4: pairs are drawn with replacement).
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `BPR`."""

        embedding_dim: int = parameter(64, "length of an embedding", unit="numbers", low=1)
        learning_rate: float = parameter(0.05, "step size", positive=True)
        l2: float = parameter(0.01, "L2 strength", low=0)
        init_std: float = parameter(0.1, "standard deviation of the first embeddings", positive=True)
        epochs: int = parameter(150, "number of epochs; in each, as many pairs are drawn as there are train pairs", unit="epochs", low=1)
        seed: int | None = seed_parameter()

    _recorded = ("seed_", "train_seconds_")
    _kernels = (*Baseline._kernels, "bpr_epoch")

    _lighter = "lower embedding_dim, or fit on fewer users and items"

    @property
    def _update_by_refit_alone(self) -> bool:
        return True

    @classmethod
    def _memory_for(cls, sizes: Sizes, squares: int, config: Any) -> int:
        users, items = sizes.num_users, sizes.num_items
        # Both tables, drawn in float64, and what an epoch draws for each pair.
        return int(config.embedding_dim) * (4 * (users + items) + 16 * max(users, items)) + 30 * sizes.num_pairs

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        config, matrix = self.config, self.train_.matrix
        start, random = rng.stream(self.seed_, "init"), rng.stream(self.seed_, "bpr")
        x, y = ((config.init_std * start.standard_normal((rows, config.embedding_dim))).astype(np.float32) for rows in matrix.shape)
        users, items = self.train_.pairs
        for epoch in range(1, config.epochs + 1):
            drawn = random.integers(len(users), size=len(users))
            negatives = random.integers(len(y), size=len(users), dtype=np.int32)
            kernels.bpr_epoch(
                x, y, Triples(users[drawn], items[drawn], negatives), matrix.indptr, matrix.indices, np.float32(config.learning_rate),
                np.float32(config.l2),
            )  # fmt: skip
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                raise NumericalError(f"the embeddings overflow in epoch {epoch}; lower learning_rate ({config.learning_rate:g})")
            show.advance(1)
        self.user_embedding_, self.item_embedding_ = x, y
