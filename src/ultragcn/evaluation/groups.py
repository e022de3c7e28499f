"""Who is served well: metrics of users by how much they have in train, and recall of items by how many users they have.

Q users with relevant items, I items, N places, K list length. Groups average users who have relevant items, whatever the dialect.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.errors import UsageError
from ultragcn.evaluation.dialects import CutLists
from ultragcn.evaluation.metrics import Label, UserValues


class Group(NamedTuple):
    """Users or items whose train degree is `low` to `high`, and what they get."""

    low: int
    high: int
    size: int
    """Number of users with relevant items, or of items."""
    means: dict[str, float]
    """Label -> value; for items also `num_users`, those with relevant items in the group."""


def quantile_groups(degrees: np.ndarray, num_groups: int) -> np.ndarray:
    """Return the group of each degree, from 0 for the lowest: (n,) int64.

    Groups are as equal in size as equal degrees allow, since these stay together; a group may come out empty, and is then left
    out of the numbering.
    """
    if num_groups < 1:
        raise UsageError(f"num_groups must be 1 or more, not {num_groups}")
    edges = np.quantile(degrees, np.arange(1, num_groups) / num_groups, method="inverted_cdf")
    return np.unique(np.searchsorted(edges, degrees, side="left"), return_inverse=True)[1]


def by_user_group(table: UserValues, degrees: np.ndarray, num_groups: int) -> list[Group]:
    """Return the means of `table` over users whose train degree (Q,) is in the same quantile group, lowest first."""
    groups = quantile_groups(degrees, num_groups)
    members = groups == np.arange(groups.max() + 1)[:, None]
    means = table.means(members.astype(np.float64))
    return [
        Group(int(degrees[member].min()), int(degrees[member].max()), int(member.sum()), {str(k): float(v[g]) for k, v in means.items()})
        for g, member in enumerate(members)
    ]


def by_item_group(
    table: UserValues, items: np.ndarray, hits: np.ndarray, relevant: sp.csr_matrix, degrees: np.ndarray, num_groups: int
) -> list[Group]:
    """Return recall@K of the relevant items of each group of items of similar train degree, lowest first.

    A user counts in a group with their relevant items that are in it: recall as the dialect defines it, with those as R. K are
    the list lengths of the table's labels.

    Parameters
    ----------
    table : UserValues
    items : (Q, N) int32
    hits : (Q, N) bool
    relevant : (Q, I) csr_matrix
        Held-out pairs of the same users.
    degrees : (I,) int
        Users of each item in train.
    num_groups : int
    """
    group_of = quantile_groups(degrees, num_groups)
    lengths = sorted({label.top_k for label in table.labels})
    rows = np.repeat(np.arange(len(items)), np.diff(relevant.indptr))
    found = []
    for g in range(group_of.max() + 1):
        members = degrees[group_of == g]
        num_relevant = np.bincount(rows[group_of[relevant.indices] == g], minlength=len(items))
        users = np.flatnonzero(num_relevant)
        hits_in_group = hits[users] & (group_of[items[users]] == g)
        means = _mean_recall(table, hits_in_group, num_relevant[users], lengths)
        found.append(Group(int(members.min()), int(members.max()), len(members), means | {"num_users": len(users)}))
    return found


def _mean_recall(table: UserValues, hits: np.ndarray, num_relevant: np.ndarray, lengths: list[int]) -> dict[str, float]:
    """Return label -> mean recall of these hits; 0 where nobody has relevant items."""
    recall = table.dialect.definition("recall")
    statistics = kernels.list_statistics(hits, np.array(lengths, dtype=np.int64))
    by_user = {top_k: recall(CutLists(top_k, num_relevant, *statistics[:, c])) for c, top_k in enumerate(lengths)}
    return {str(Label("recall", top_k)): float(values.sum() / max(len(values), 1)) for top_k, values in by_user.items()}
