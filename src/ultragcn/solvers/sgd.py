"""The authors' procedure: shuffled train pairs in batches, uniform negatives drawn anew for each pair, dense Adam.

Differences from their code, none of them in the formulas: seeded; `softplus` instead of `log(sigmoid)`, which underflows; no
U x I mask and no I x I matrix; the gradient of a batch by sparse products instead of gathered rows (see `torch_ops.batch_loss`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ultragcn import rng
from ultragcn.config import Config
from ultragcn.errors import MissingDependencyError, NumericalError, UsageError
from ultragcn.loss.objective import Objective, batch_weights
from ultragcn.loss.weights import DegreeWeights, ItemNeighbors
from ultragcn.solvers import Embeddings, Shapes, Sizes, State, check_state

try:
    from ultragcn.kernels import torch_ops
except ImportError as error:
    raise MissingDependencyError(
        "solver sgd needs PyTorch, which is not installed; in the repository, run: pip install '.[torch]'"
    ) from error

import torch

from ultragcn.kernels.torch_ops import choose_device

__all__ = ["SgdSolver", "choose_device", "compile_kernels"]

# Before this epoch, evaluations are `evaluate_every` epochs apart; the authors do the same.
_EVERY_EPOCH_FROM = 50
_ADAM = ("step", "exp_avg", "exp_avg_sq")


def compile_kernels(config: Config, sizes: Sizes | None = None) -> float:
    """Return 0: PyTorch's kernels come compiled."""
    return 0.0


class SgdSolver:
    """Epochs over shuffled train pairs; an epoch's loss is the sum over its batches.

    Adam, the shuffling and the negatives draw from one generator, the first embeddings from another: those are the same on any device.

    Parameters
    ----------
    objective : Objective
    seed : int

    Raises
    ------
    NumericalError
        From `step`: the loss left the range of float32.
    """

    unit, tolerance = "epoch", 0.0

    def __init__(self, objective: Objective, seed: int):
        self.epoch = 0
        self._objective, self._config, self._train, self._seed = objective, objective.config, objective.train, seed
        self._where = choose_device(objective.config.device)

    def start(self, state: State | None = None) -> None:
        """Put the data on the device, and the first embeddings or those of `state`."""
        config, train, where = self._config, self._train, self._where
        random = rng.stream(self._seed, "init")
        self._user_embedding, self._item_embedding = (
            torch.from_numpy((random.standard_normal((rows, config.embedding_dim)) * config.init_std).astype(np.float32)).to(where)
            for rows in (train.num_users, train.num_items)
        )
        self._generator = torch.Generator(device=where)
        self._generator.manual_seed(int(rng.stream(self._seed, "sgd").integers(2**62)))

        def tensors(arrays: Any) -> Any:
            return type(arrays)(*(torch.from_numpy(array).to(where) for array in arrays))

        neighbors = self._objective.neighbors
        self._beta: DegreeWeights = tensors(self._objective.beta)
        self._neighbors: ItemNeighbors = tensors(ItemNeighbors(neighbors.items.astype(np.int64), neighbors.weights))
        self._users, self._items = (torch.from_numpy(ids.astype(np.int64)).to(where) for ids in train.pairs)
        pointers = train.matrix.indptr, train.matrix.indices
        self._indptr, self._indices = (torch.from_numpy(part.astype(np.int64)).to(where) for part in pointers)
        self._num_lacking = train.num_items - (self._indptr[1:] - self._indptr[:-1])
        self._user_gradient = self._user_embedding.grad = torch.zeros_like(self._user_embedding)
        self._adam = torch.optim.Adam([{"params": [table]} for table in self._tables.values()], lr=config.learning_rate, fused=True)
        self._set_l2()
        if state is not None:
            check_state(state, {"epoch": ("i8", 1), "generator": ("u1", -1), **table_shapes(self._tables)})
            self.epoch = int(state["epoch"][0])
            restore_generator(self._generator, state["generator"])
            for name, table in self._tables.items():
                restore_table(self._adam, table, name, state)

    def step(self) -> float:
        """Do an epoch; return its loss."""
        config, users, items = self._config, self._users, self._items
        epoch = self.epoch + 1
        loss = torch.zeros((), dtype=torch.float64, device=self._where)
        for batch in torch.randperm(len(users), generator=self._generator, device=self._where).split(config.batch_size):  # type: ignore[no-untyped-call]
            batch_users = users[batch]
            looked_at = batch_weights(
                config, self._beta, self._neighbors, batch_users, items[batch], self._negatives(batch_users), torch.cat
            )
            result = torch_ops.batch_loss(self._user_embedding, self._item_embedding, batch_users, *looked_at)
            self._user_gradient.zero_().index_add_(0, batch_users, result.user_gradient)
            self._item_embedding.grad = result.item_gradient
            gradients = self._user_gradient, result.item_gradient
            for gradient, table, l2 in zip(gradients, self._tables.values(), self._l2_by_row, strict=True):
                if l2 is not None:
                    gradient.addcmul_(l2, table)
            self._adam.step()
            loss += result.columns.sum()
        total = float(loss) + self._objective.l2_loss(*self.embeddings())
        if not np.isfinite(total):
            raise NumericalError(
                f"the loss is no longer a finite number in epoch {epoch}; lower learning_rate ({config.learning_rate:g}) or the weights"
            )
        self.epoch = epoch
        return total

    def embeddings(self) -> Embeddings:
        """Return the embeddings of users and items; on the CPU, the next epoch changes them in place."""
        return self._user_embedding.cpu().numpy(), self._item_embedding.cpu().numpy()

    def is_due(self, epoch: int) -> bool:
        """Return whether `epoch` is one of those after which the authors evaluate."""
        return epoch >= _EVERY_EPOCH_FROM or epoch % self._config.evaluate_every == 0

    def state(self) -> State:
        """Return the embeddings, Adam's moments, and where the generator stands."""
        arrays = {"epoch": np.array([self.epoch]), "generator": self._generator.get_state().numpy()}
        for name, table in self._tables.items():
            arrays |= table_state(self._adam, table, name)
        return arrays

    def change(self, objective: Objective) -> None:
        """Go on with an objective that differs in L2 alone."""
        self._objective, self._config = objective, objective.config
        self._set_l2()

    @staticmethod
    def memory(sizes: Sizes, config: Config) -> int:
        """Return about how many bytes the arrays of a training take, those of the data themselves left out."""
        rows = sizes.num_users + sizes.num_items
        columns = 1 + (config.num_item_neighbors if config.item_item_weight > 0 else 0) + config.num_negatives
        # Embeddings, gradients, Adam's two moments and those kept; pairs as long integers; a batch's columns, weights and scores.
        return 4 * config.embedding_dim * 5 * rows + 24 * sizes.num_pairs + 40 * config.batch_size * columns + 16 * rows

    @property
    def _tables(self) -> dict[str, torch.Tensor]:
        return {"user": self._user_embedding, "item": self._item_embedding}

    def _set_l2(self) -> None:
        """Give Adam the L2 strengths: its weight decay adds rho / batches * E to the gradient, the L2 term over all rows in every batch."""
        objective = self._objective
        strengths = objective.l2_users(self._train.user_degrees), objective.l2_items()
        by_row = [bool((strength != strength[0]).any()) for strength in strengths]
        for group, strength, differs in zip(self._adam.param_groups, strengths, by_row, strict=True):
            group["weight_decay"] = 0.0 if differs else float(strength[0]) / objective.num_batches
        # Where it differs from row to row, it is added to the gradients.
        self._l2_by_row = [
            torch.from_numpy(strength / objective.num_batches)[:, None].to(self._where) if differs else None
            for strength, differs in zip(strengths, by_row, strict=True)
        ]

    def _negatives(self, batch_users: torch.Tensor) -> torch.Tensor:
        """Draw the negatives of a batch's pairs: (B, R)."""
        shape = (len(batch_users), self._config.num_negatives)
        if not self._config.exclude_positives:
            return torch.randint(self._train.num_items, shape, generator=self._generator, device=self._where)
        # Rank below the number of items the user lacks; float64 keeps every item possible.
        uniform = torch.rand(shape, generator=self._generator, device=self._where, dtype=torch.float64)
        lacking = self._num_lacking[batch_users][:, None]
        ranks = torch.where(lacking > 0, (uniform * lacking).long().clamp(max=lacking - 1), -1)
        return torch_ops.draw_negatives(ranks, batch_users, self._indptr, self._indices)


def table_state(adam: torch.optim.Adam, table: torch.Tensor, name: str) -> State:
    """Return a table and what Adam remembers of it, as arrays whose names begin with `name`."""
    # The number of steps has no dimension in PyTorch; files hold it as an array of one.
    remembered = {f"{name}.{key}": np.atleast_1d(adam.state[table][key].cpu().numpy()) for key in _ADAM}
    return {f"{name}.embedding": table.cpu().numpy()} | remembered


def table_shapes(tables: Mapping[str, torch.Tensor]) -> Shapes:
    """Return the shapes of what `table_state` returns of each table, by name."""
    shapes: dict[str, tuple[str | int, ...]] = {f"{name}.step": ("f4", 1) for name in tables}
    for name, table in tables.items():
        shapes |= {f"{name}.{key}": ("f4", *table.shape) for key in ("embedding", "exp_avg", "exp_avg_sq")}
    return shapes


def restore_table(adam: torch.optim.Adam, table: torch.Tensor, name: str, state: State) -> None:
    """Put back what `table_state` returned."""
    table.copy_(torch.from_numpy(state[f"{name}.embedding"]))
    adam.state[table] = {key: torch.from_numpy(state[f"{name}.{key}"]).to(table.device) for key in _ADAM}


def restore_generator(generator: torch.Generator, state: np.ndarray) -> None:
    """Put a generator where `state` says; refuse the state of one of another kind of device."""
    try:
        generator.set_state(torch.from_numpy(state))
    except RuntimeError as error:  # each kind of device has a generator of its own
        raise UsageError(
            f"training began on another kind of device than {generator.device.type} and can go on only there; give that --device"
        ) from error
