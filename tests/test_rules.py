"""Rules for lists: against a reference that looks at every item, in Python, on the command line and in files."""

import datetime
import math
import random

import numpy as np
import polars as pl
import pytest

from ultragcn import EASE, ItemKNN, Popularity, Rules, UltraGCN, load_dataset, load_model, read_interactions
from ultragcn.data.items_table import ItemsTable
from ultragcn.errors import DataError, DataWarning, UsageError
from ultragcn.rules import choosing
from ultragcn.rules.named import read_rules, value_of, values_of

NUM_USERS, NUM_ITEMS = 40, 160
USERS = [f"u{number:02d}" for number in range(NUM_USERS)]
ITEMS = [f"i{number:03d}" for number in range(NUM_ITEMS)]


def the_items():
    """Return what is known of the items, of which a few are in no table."""
    draw = random.Random(5)
    rows = [
        {
            "item": item,
            "price": draw.choice([None, *(round(draw.uniform(1, 60), 2) for _ in range(6))]),
            "brand": draw.choice([None, "b1", "b1", "b1", "b2", "b3", "b4", "b5", "b6"]),
            "genre": draw.choice(["jazz", "folk", "rock", "it's new"]),
            "fresh": draw.choice([True, False, False]),
            "stock": draw.choice([0, 1, 2, 3]),
        }
        for item in ITEMS[:-4]
    ]
    draw.shuffle(rows)
    return pl.DataFrame(rows)


def the_log():
    """Return who has what: everybody something, every item somebody."""
    draw = np.random.default_rng(3)
    popular = 1 / np.arange(1, NUM_ITEMS + 1) ** 0.7
    taken = {(user, item % NUM_ITEMS) for user, item in zip(range(NUM_USERS), range(0, 400, 10), strict=False)}
    for user in range(NUM_USERS):
        taken |= {(user, int(item)) for item in draw.choice(NUM_ITEMS, 12, replace=False, p=popular / popular.sum())}
    taken |= {(item % NUM_USERS, item) for item in range(NUM_ITEMS)}
    users, items = zip(*sorted(taken), strict=True)
    return pl.DataFrame({"user": [USERS[user] for user in users], "item": [ITEMS[item] for item in items]})


@pytest.fixture(scope="module")
def models():
    log = the_log()
    made = {
        "embeddings": UltraGCN(embedding_dim=5, epochs=2, seed=0, item_graph_weight=0.5).fit(log),
        "weights": ItemKNN().fit(log),
        "ties": Popularity().fit(log),
    }
    with pytest.warns(DataWarning, match="4 of 160 items are not in the items table"):
        return {name: model.set_items_table(the_items()) for name, model in made.items()}


# A condition in SQL, and the same in Python; None is a cell without a value.
CONDITIONS = [
    ("price < 20", lambda row: row["price"] is not None and row["price"] < 20),
    ("genre in ('jazz', 'folk')", lambda row: row["genre"] in ("jazz", "folk")),
    ("genre = 'it''s new'", lambda row: row["genre"] == "it's new"),
    ("fresh", lambda row: row["fresh"] is True),
    ("not fresh", lambda row: row["fresh"] is False),
    ("brand = 'b1' or price > 40", lambda row: row["brand"] == "b1" or (row["price"] is not None and row["price"] > 40)),
    ("brand is null", lambda row: row["brand"] is None),
    ("stock > 0 and item_id < 'i100'", lambda row: row["stock"] is not None and row["stock"] > 0 and row["item_id"] < "i100"),
    ("price <= 3", lambda row: row["price"] is not None and row["price"] <= 3),
]


def cosine(a, b):
    """Return the cosine of two vectors, 0 where one of them is 0."""
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


class Reference:
    """The lists of a model under rules, made item by item in plain Python."""

    def __init__(self, model, vectors):
        self.model = model
        known = {row["item"]: row for row in the_items().rows(named=True)}
        empty = dict.fromkeys(("item", "price", "brand", "genre", "fresh", "stock"))
        self.rows = [known.get(item, empty) | {"item_id": item} for item in ITEMS]
        log = the_log()
        self.seen = {user: set() for user in USERS}
        for user, item in log.rows():
            self.seen[user].add(item)
        self.degrees = [sum(item in seen for seen in self.seen.values()) for item in ITEMS]
        self.scores_of = {user: [float(score) for score in model.score(user, ITEMS)] for user in USERS[:10]}
        self.cosines = None if vectors is None else [[cosine(a, b) for b in vectors.tolist()] for a in vectors.tolist()]

    def scores(self, user):
        return self.scores_of.get(user, self.degrees)

    def list_of(self, user, top_k, exclude_seen, rules, holds):
        score = self.scores(user)
        allowed = [
            i
            for i, item in enumerate(ITEMS)
            if not (exclude_seen and item in self.seen.get(user, ()))
            and ("only" not in rules or item in rules["only"])
            and item not in rules.get("items_out", ())
            and (user, item) not in rules.get("pairs_out", ())
            and all(holds[condition](self.rows[i]) for condition in rules.get("where", ()))
        ]
        allowed.sort(key=lambda i: (-score[i], i))
        limits, diversity = rules.get("max_per", {}), rules.get("diversity", 0)
        size = 10 * top_k if diversity else NUM_ITEMS
        first = allowed[:size]
        low = score[first[-1]] if first else 0
        span = (score[first[0]] - low if first else 0) or 1

        def fits(i, chosen):
            return i not in chosen and all(
                self.rows[i][column] is None or sum(self.rows[j][column] == self.rows[i][column] for j in chosen) < most
                for column, most in limits.items()
            )

        def worth(i, chosen):
            if not diversity:
                return score[i]
            nearest = max((self.cosines[i][j] for j in chosen), default=0.0)
            return (1 - diversity) * (score[i] - low) / span - diversity * nearest

        def fill(chosen, among, wanted):
            target = len(chosen) + wanted
            while len(chosen) < target:
                pool = [i for i in among if fits(i, chosen)][:size]
                if not pool:
                    return
                while len(chosen) < target and (free := [i for i in pool if fits(i, chosen)]):
                    chosen.append(max(free, key=lambda i: worth(i, chosen)))

        chosen = []
        fill(chosen, allowed, top_k)
        promises = {condition: math.ceil(round(share * top_k, 9)) for condition, share in rules.get("promote", {}).items()}
        lacking = {c: places - sum(holds[c](self.rows[i]) for i in chosen) for c, places in promises.items()}
        if any(number > 0 for number in lacking.values()):
            chosen = []
            for condition, places in promises.items():
                kept = sum(holds[condition](self.rows[i]) for i in chosen)
                wanted = min(max(places - kept, 0), top_k - len(chosen))
                fill(chosen, [i for i in allowed if holds[condition](self.rows[i])], wanted)
            fill(chosen, allowed, top_k - len(chosen))
            left, chosen = sorted(chosen, key=lambda i: (-score[i], i)), []
            while left:
                chosen.append(max(left, key=lambda i: worth(i, chosen)))
                left.remove(chosen[-1])
        return [ITEMS[i] for i in chosen], [score[i] for i in chosen], [self.rows[i] for i in allowed]


def random_rules(draw, with_diversity):
    """Return a rule set for the reference, and the same as arguments of `recommend`."""
    rules, given = {}, {}
    if draw.random() < 0.3:
        rules["only"] = draw.sample(ITEMS, draw.choice([3, 30, 120]))
        given[draw.choice(["only", "candidates"])] = rules["only"]
    kind = draw.random()
    if kind < 0.25:
        rules["items_out"] = given["exclude"] = draw.sample(ITEMS, draw.choice([1, 20, 140]))
    elif kind < 0.5:
        rules["pairs_out"] = [(user, item) for user in (*USERS[:6], "nobody") for item in draw.sample(ITEMS, draw.choice([1, 30]))]
        given["exclude"] = draw.choice([rules["pairs_out"], pl.DataFrame(rules["pairs_out"], schema=["user", "item"], orient="row")])
    if draw.random() < 0.4:
        rules["where"] = given["where"] = [condition for condition, _ in draw.sample(CONDITIONS, draw.choice([1, 1, 2]))]
    if draw.random() < 0.5:
        columns = draw.sample(["brand", "genre", "fresh", "stock"], draw.choice([1, 1, 1, 2]))
        rules["max_per"] = given["max_per"] = {column: draw.choice([1, 2, 3]) for column in columns}
    if draw.random() < 0.5:
        conditions = draw.sample(CONDITIONS, draw.choice([1, 1, 2]))
        rules["promote"] = given["promote"] = {condition: draw.choice([0.1, 0.2, 0.5, 1.0]) for condition, _ in conditions}
    if with_diversity and draw.random() < 0.5:
        rules["diversity"] = given["diversity"] = draw.choice([0.1, 0.3, 0.7, 1.0])
    return rules, given


@pytest.mark.parametrize(("kind", "count"), [("embeddings", 300), ("weights", 100), ("ties", 100)])
def test_lists_under_random_rules_equal_those_of_a_reference_that_looks_at_every_item(models, kind, count, monkeypatch):
    monkeypatch.setattr(choosing, "_TOGETHER", 2)  # several blocks
    model, draw = models[kind], random.Random(kind)
    reference = Reference(model, getattr(model, "item_embedding_", None))
    holds = dict(CONDITIONS)
    for _ in range(count):
        rules, given = random_rules(draw, with_diversity=kind == "embeddings")
        top_k, exclude_seen = draw.choice([1, 2, 4, 7]), draw.random() < 0.7
        users = [draw.choice(USERS[:10]) for _ in range(3)] + ["nobody"]
        items, scores = model.recommend(users, top_k, exclude_seen, unknown="popular", **given)
        for user, listed, own in zip(users, items.tolist(), scores.tolist(), strict=True):
            expected, numbers, allowed = reference.list_of(user, top_k, exclude_seen, rules, holds)
            assert [item for item in listed if item] == expected, (user, top_k, exclude_seen, rules)
            assert own[: len(expected)] == [np.float32(number) for number in numbers]
            limits = rules.get("max_per", {})
            if len(limits) <= 1:
                assert len(expected) == min(top_k, most_that_fit(allowed, limits))


def most_that_fit(rows, limits):
    """Return how many items a list can have under at most one limit."""
    if not limits:
        return len(rows)
    ((column, most),) = limits.items()
    values = [row[column] for row in rows]
    return values.count(None) + sum(min(most, values.count(value)) for value in set(values) - {None})
