"""BPR-MF: matrix factorisation that learns to put a user's items above others; the trainer is that of the package `implicit`.

Rendle, Freudenthaler, Gantner, Schmidt-Thieme: BPR: Bayesian personalized ranking from implicit feedback (UAI 2009).
"""

from dataclasses import dataclass

import numpy as np

from ultragcn import rng
from ultragcn.baselines.base import Baseline
from ultragcn.config import HyperParameters, parameter
from ultragcn.data.interactions import Interactions
from ultragcn.errors import MissingDependencyError
from ultragcn.progress import Progress
from ultragcn.recommender import EmbeddingRecommender


class BPR(Baseline, EmbeddingRecommender):
    """The minimum, by stochastic gradient descent, of the sum over train pairs (u, i), j drawn from the items u lacks, of

        softplus(s_uj - s_ui) + l2 / 2 ||e_u, e_i, e_j||^2,    s_ui = e_u . e_i + b_i.

    The bias b_i is the last number of the item's embedding; the user's is 1 there.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `BPR`."""

        embedding_dim: int = parameter(64, "length of an embedding, the bias included", unit="numbers", low=2)
        learning_rate: float = parameter(0.05, "step size", positive=True)
        l2: float = parameter(0.01, "L2 strength", low=0)
        epochs: int = parameter(150, "passes over as many draws as there are train pairs", unit="epochs", low=1)
        num_threads: int = parameter(1, "threads; with more than one, or 0 for all, the same seed gives other results each time", low=0)
        seed: int = parameter(0, "fixes everything random; -1 draws one and records it", low=-1)

    _recorded = ("seed_", "train_seconds_")

    def _prepare(self) -> None:
        super()._prepare()
        try:
            import implicit.cpu.bpr  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "BPR needs the package implicit, which is not installed; install it with: pip install 'ultragcn[baselines]'"
            ) from error

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        config = self.config
        seed = int(rng.stream(self.seed_, "bpr").integers(2**31))
        model = BayesianPersonalizedRanking(
            config.embedding_dim - 1, config.learning_rate, config.l2, iterations=config.epochs, num_threads=config.num_threads,
            random_state=seed,
        )  # fmt: skip
        model.fit(self.train_.matrix, show_progress=False, callback=lambda *_: show.advance(1))
        self.user_embedding_, self.item_embedding_ = np.asarray(model.user_factors), np.asarray(model.item_factors)
