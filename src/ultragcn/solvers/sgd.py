"""The authors' procedure: shuffled train pairs in batches, uniform negatives drawn anew for each pair, dense Adam.

Differences from their code, none of them in the formulas: seeded; `softplus` instead of `log(sigmoid)`, which underflows; no
U x I mask and no I x I matrix; the gradient of a batch by sparse products instead of gathered rows (see `torch_ops.batch_loss`).
"""

from collections.abc import Iterator

import numpy as np

from ultragcn import rng
from ultragcn.config import Config
from ultragcn.errors import MissingDependencyError, NumericalError, UsageError
from ultragcn.loss.objective import Objective, batch_weights
from ultragcn.loss.weights import DegreeWeights, ItemNeighbors
from ultragcn.solvers import State, Step

try:
    from ultragcn.kernels import torch_ops
except ImportError as error:
    raise MissingDependencyError(
        "solver sgd needs PyTorch, which is not installed; in the repository, run: pip install '.[torch]'"
    ) from error

import torch

from ultragcn.kernels.torch_ops import choose_device

__all__ = ["choose_device", "compile_kernels", "solve"]

_ADAM = ("step", "exp_avg", "exp_avg_sq")


def compile_kernels(config: Config) -> float:
    """Return 0: PyTorch's kernels come compiled."""
    return 0.0


def solve(objective: Objective, seed: int, device: str, state: State | None = None) -> Iterator[Step]:
    """Yield a `Step` after each epoch, for ever; its loss is the sum over the epoch's batches.

    Raises
    ------
    NumericalError
        The loss left the range of float32.
    """
    where = choose_device(device)
    config, train = objective.config, objective.train
    # Adam, the shuffling and the negatives draw from one generator, the start from another: the start is the same on any device.
    start = rng.stream(seed, "init")
    user_embedding, item_embedding = (
        torch.from_numpy((start.standard_normal((rows, config.embedding_dim)) * config.init_std).astype(np.float32)).to(where)
        for rows in (train.num_users, train.num_items)
    )
    generator = torch.Generator(device=where)
    generator.manual_seed(int(rng.stream(seed, "sgd").integers(2**62)))

    def tensors(arrays):
        return type(arrays)(*(torch.from_numpy(array).to(where) for array in arrays))

    beta: DegreeWeights = tensors(objective.beta)
    neighbors: ItemNeighbors = tensors(ItemNeighbors(objective.neighbors.items.astype(np.int64), objective.neighbors.weights))
    users, items = (torch.from_numpy(ids.astype(np.int64)).to(where) for ids in train.pairs)
    indptr, indices = (torch.from_numpy(part.astype(np.int64)).to(where) for part in (train.matrix.indptr, train.matrix.indices))
    num_lacking = train.num_items - (indptr[1:] - indptr[:-1])

    def draw(batch_users):
        shape = (len(batch_users), config.num_negatives)
        if not config.exclude_positives:
            return torch.randint(train.num_items, shape, generator=generator, device=where)
        # Rank below the number of items the user lacks; float64 keeps every item possible.
        uniform = torch.rand(shape, generator=generator, device=where, dtype=torch.float64)
        lacking = num_lacking[batch_users][:, None]
        ranks = torch.where(lacking > 0, (uniform * lacking).long().clamp(max=lacking - 1), -1)
        return torch_ops.draw_negatives(ranks, batch_users, indptr, indices)

    user_gradient = user_embedding.grad = torch.zeros_like(user_embedding)
    # Adam's weight decay adds rho / batches * E to the gradient: the L2 term over all parameters in every batch.
    strengths = (objective.l2_users(train.user_degrees), objective.l2_items())
    groups = [
        {"params": [table], "weight_decay": float(strength[0]) / objective.num_batches if (strength == strength[0]).all() else 0.0}
        for table, strength in zip((user_embedding, item_embedding), strengths, strict=True)
    ]
    adam = torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
    # Where it differs from row to row, it is added here.
    l2_user, l2_item = (
        torch.from_numpy(strength / objective.num_batches)[:, None].to(where) if (strength != strength[0]).any() else None
        for strength in strengths
    )
    epoch = 0
    tables = {"user": user_embedding, "item": item_embedding}
    if state is not None:
        epoch = int(state["epoch"][0])
        _restore_generator(generator, state["generator"])
        for name, table in tables.items():
            table.copy_(torch.from_numpy(state[f"{name}.embedding"]))
            adam.state[table] = {key: torch.from_numpy(state[f"{name}.{key}"]).to(where) for key in _ADAM}

    def state_now() -> State:
        arrays = {"epoch": np.array([epoch]), "generator": generator.get_state().numpy()}
        for name, table in tables.items():
            arrays |= {f"{name}.embedding": table.cpu().numpy()} | {f"{name}.{key}": adam.state[table][key].cpu().numpy() for key in _ADAM}
        return arrays

    while True:
        epoch += 1
        loss = torch.zeros((), dtype=torch.float64, device=where)
        for batch in torch.randperm(len(train), generator=generator, device=where).split(config.batch_size):
            batch_users = users[batch]
            looked_at = batch_weights(config, beta, neighbors, batch_users, items[batch], draw(batch_users), torch.cat)
            result = torch_ops.batch_loss(user_embedding, item_embedding, batch_users, *looked_at)
            user_gradient.zero_().index_add_(0, batch_users, result.user_gradient)
            item_embedding.grad = result.item_gradient
            if l2_user is not None:
                user_gradient.addcmul_(l2_user, user_embedding)
            if l2_item is not None:
                item_embedding.grad.addcmul_(l2_item, item_embedding)
            adam.step()
            loss += result.columns.sum()
        total = float(loss) + objective.l2_loss(user_embedding.cpu().numpy(), item_embedding.cpu().numpy())
        if not np.isfinite(total):
            raise NumericalError(
                f"the loss is no longer a finite number in epoch {epoch}; lower learning_rate ({config.learning_rate:g}) or the weights"
            )
        yield Step(epoch, total, user_embedding.cpu().numpy(), item_embedding.cpu().numpy(), state_now)


def _restore_generator(generator: torch.Generator, state: np.ndarray) -> None:
    try:
        generator.set_state(torch.from_numpy(state))
    except RuntimeError as error:  # each kind of device has a generator of its own
        raise UsageError(
            f"training began on another kind of device than {generator.device.type} and can go on only there; give that --device"
        ) from error
