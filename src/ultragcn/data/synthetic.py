"""The built-in `demo` data: listeners with planted tastes, records with power-law popularity, and a known best result.

Each user u has a taste over G genres, each item j belongs to one genre and has a popularity; u has j with probability
`pi_uj = min(0.9, n_u * taste_u,genre(j) * popularity_j)`, independently of everything else, and each pair goes to test with
probability 0.2. Whoever knows pi can do no better than rank a user's unseen items by it: given that (u, j) is not in train, it
is in test with probability 0.2 pi / (1 - 0.8 pi), which grows with pi. The recall of that ranking is the best reachable.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ultragcn import rng
from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions

NUM_USERS = 2000
ITEMS_PER_GENRE = 50
TEST_SHARE = 0.2
_MEAN_ITEMS = 40.0
_POPULARITY_EXPONENT = 0.8
_TASTE_CONCENTRATION = 0.12
_HIGHEST_PROBABILITY = 0.9
_GENRES = (
    "ambient",
    "blues",
    "chanson",
    "disco",
    "folk",
    "gospel",
    "hip-hop",
    "jazz",
    "metal",
    "opera",
    "punk",
    "samba",
)
_MOODS = ("Amber", "Broken", "Crystal", "Distant", "Electric", "Golden", "Hidden", "Midnight", "Quiet", "Velvet")
_PLACES = ("Avenue", "Garden", "Harbour", "Mountain", "River")


@dataclass(frozen=True)
class Synthetic:
    """Made-up interactions and the probabilities they were drawn from."""

    train: Interactions
    test: Interactions
    probabilities: np.ndarray  # (U, I) float64, pi; U x I is small here by construction


def make_demo(seed: int = 0) -> Synthetic:
    """Return the demo data of `seed`: 2000 users x 600 items, about 40 items a user.

    Returns
    -------
    Synthetic
        Users are called `user-0001`, items like `Quiet River (jazz)`.
    """
    random = rng.stream(seed, "demo")
    names = [f"{mood} {place} ({genre})" for genre in _GENRES for mood in _MOODS for place in _PLACES]
    genre_of = np.repeat(np.arange(len(_GENRES)), ITEMS_PER_GENRE)
    # Popularity falls with rank^-0.8 within a genre; which record has which rank is drawn.
    ranks = np.concatenate([random.permutation(ITEMS_PER_GENRE) for _ in _GENRES]) + 1.0
    popularity = ranks**-_POPULARITY_EXPONENT
    popularity /= np.bincount(genre_of, popularity)[genre_of]
    taste = random.dirichlet(np.full(len(_GENRES), _TASTE_CONCENTRATION), NUM_USERS)
    activity = _MEAN_ITEMS * random.lognormal(-0.125, 0.5, NUM_USERS)
    probabilities = np.minimum(activity[:, None] * taste[:, genre_of] * popularity, _HIGHEST_PROBABILITY)
    drawn = random.random(probabilities.shape) < probabilities
    in_test = drawn & (random.random(probabilities.shape) < TEST_SHARE)

    user_ids = IdMap(np.array([f"user-{number:04}" for number in range(1, NUM_USERS + 1)], dtype=object), "user")
    item_ids = IdMap.of(names, "item")
    columns = item_ids.rows(names)
    probabilities = probabilities[:, np.argsort(columns)]

    def over_ids(mask: np.ndarray) -> Interactions:
        users, items = np.nonzero(mask)
        ones = np.ones(len(users), dtype=np.float32)
        return Interactions(sp.csr_matrix((ones, (users, columns[items])), shape=mask.shape), user_ids, item_ids)

    return Synthetic(over_ids(drawn & ~in_test), over_ids(in_test), probabilities)


def best_reachable_recall(data: Synthetic, top_k: int) -> float:
    """Return recall@top_k on test of the ranking by the true probabilities, train items excluded: no model can expect more."""
    scores = np.where(data.train.matrix.toarray() > 0, -np.inf, data.probabilities)
    ranking = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    relevant = data.test.matrix.toarray() > 0
    counts = relevant.sum(axis=1)
    hits = np.take_along_axis(relevant, ranking, axis=1).sum(axis=1)
    return float((hits[counts > 0] / counts[counts > 0]).mean())
