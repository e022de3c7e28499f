"""Models of somebody's own, as they come: they know nothing of ultragcn's models."""

from collections import Counter


class MostOften:
    """Recommends to everybody what most users have, without what they have."""

    def __init__(self, most=1.0):
        self.most = most

    def fit(self, train):
        users, items = train.pairs
        self.seen = {}
        for user, item in zip(train.user_ids.ids[users].tolist(), train.item_ids.ids[items].tolist(), strict=True):
            self.seen.setdefault(user, set()).add(item)
        counts = Counter(item for items in self.seen.values() for item in items)
        self.best = sorted(
            train.item_ids.ids.tolist(), key=lambda item: (-self.most * counts[item], train.item_ids.ids.tolist().index(item))
        )

    def recommend(self, user_ids, top_k):
        return [[item for item in self.best if item not in self.seen.get(user, ())][:top_k] for user in user_ids]


class Shuffled:
    """Draws; its lists differ with the seed."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, train, valid=None):
        import random

        self.items, self.seen = train.item_ids.ids.tolist(), {}
        for part in (train, valid):
            users, items = part.pairs
            for user, item in zip(part.user_ids.ids[users].tolist(), part.item_ids.ids[items].tolist(), strict=True):
                self.seen.setdefault(user, set()).add(item)
        random.Random(self.seed).shuffle(self.items)
        return self

    def recommend(self, user_ids, top_k):
        lists = [[item for item in self.items if item not in self.seen[user]][:top_k] for user in user_ids]
        return lists, [[0.0] * top_k for _ in user_ids]


class OnlyFits:
    """Cannot recommend."""

    def fit(self, train):
        return self
