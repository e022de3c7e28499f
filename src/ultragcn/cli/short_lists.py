"""Lists that are shorter than they were to be, or keep a promise in part: counted while they are written, and said in a line each."""

import argparse
from typing import TYPE_CHECKING

import numpy as np

from ultragcn.cli.messages import tell
from ultragcn.errors import counted

if TYPE_CHECKING:
    import polars as pl

    from ultragcn.models.recommender import Recommender

_MASKS = ("only", "candidates", "exclude", "where", "rules")


class ShortLists:
    """Counts lists that the rules of the options leave short.

    Parameters
    ----------
    arguments : Namespace
        Whose `all_rules` hold.
    model : Recommender
    """

    def __init__(self, arguments: argparse.Namespace, model: "Recommender") -> None:
        self._arguments, self._model = arguments, model
        rules = arguments.all_rules
        bound = rules.bind(model.user_ids, model.item_ids, model._known_of_items())
        self._num_items = len(model.item_ids)
        among = self._num_items if bound.items.candidates is None else len(bound.items.candidates)
        self._allowed = among - len(bound.items.left_out)
        self._limits = list(zip(rules.max_per, bound.choice.limits, strict=True))
        places = min(arguments.top_k, self._num_items)
        self._promises = [(name, one.holds, one.places(places)) for name, one in zip(rules.promote, bound.choice.promises, strict=True)]
        self._has_rules = bool(rules.only or rules.exclude or rules.where or rules.max_per)
        self._lists = self._short = 0
        self._broken = [0] * len(self._promises)

    def count(self, num_lists: int, frame: "pl.DataFrame") -> None:
        """Count `num_lists` lists, whose items are the rows of a frame with the columns rank and item_id."""
        ranks = frame["rank"].to_numpy()
        self._lists += num_lists
        self._short += num_lists - int((ranks == self._arguments.top_k).sum())
        if not self._promises:
            return
        rows = self._model.item_ids.find(frame["item_id"].to_list())
        of_list = np.cumsum(ranks == 1) - 1
        for place, (_, holds, wanted) in enumerate(self._promises):
            kept = np.bincount(of_list, holds[rows], minlength=num_lists)
            self._broken[place] += int((kept < wanted).sum())

    def say(self) -> None:
        """Say how many lists are short, and why; nothing where none is, or no rule could be why."""
        top_k = self._arguments.top_k
        if self._short and self._has_rules:
            which = "the list has" if self._lists == 1 else f"{self._short} of {self._lists} lists have"
            tell(f"{which} fewer than {counted(top_k, 'item')}: {', and '.join(self._reasons())}")
        for (name, holds, wanted), broken in zip(self._promises, self._broken, strict=True):
            if broken:
                which = "the list has" if self._lists == 1 else f"{broken} of {self._lists} lists have"
                tell(
                    f"{which} fewer than the {counted(wanted, 'item')} that --promote promises of {name!r}, which is true of "
                    f"{counted(int(holds.sum()), 'item')} of the model; items that may not be listed for a user do not count"
                )

    def _reasons(self) -> list[str]:
        masks = [f"--{name}" for name in _MASKS if getattr(self._arguments, name)]
        reasons = []
        if self._allowed < self._num_items:
            reasons.append(
                f"{' and '.join(masks)} {'let' if len(masks) > 1 else 'lets'} {self._allowed} of {self._num_items} items be listed"
            )
        if self._num_items < self._arguments.top_k:
            reasons.append(f"the model knows {counted(self._num_items, 'item')}")
        for name, limit in self._limits:
            reasons.append(f"--max_per {name}={limit.most} holds for {counted(limit.num_values, 'value')} of {name}")
        if not self._arguments.include_seen:
            reasons.append("what a user has is left out (--include_seen lists it)")
        return reasons or ["--exclude leaves items out for single users"]
