"""What a loaded model answers to questions: the same lists and numbers as its verbs in Python, many questions at a time.

An engine knows nothing of HTTP. It is used by one thread at a time.
"""

import datetime
import json
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET

from ultragcn import __version__
from ultragcn.data.id_texts import typed
from ultragcn.data.ids import Id, IdMap, as_python
from ultragcn.data.interactions import Interactions
from ultragcn.errors import UsageError, unknown_name
from ultragcn.models.explanations import Explanation
from ultragcn.models.files import model_id
from ultragcn.models.recommender import Recommender
from ultragcn.models.registry import load_model
from ultragcn.rules import Rules
from ultragcn.rules.named import RulesFile
from ultragcn.serving import messages
from ultragcn.serving.messages import (
    About,
    Answer,
    Contribution,
    Explained,
    ExplainQuestion,
    Found,
    FoundItems,
    HistoryQuestion,
    ItemsQuestion,
    Listed,
    ListQuestion,
    PopularQuestion,
    Reason,
    Rule,
    Scored,
    ScoreQuestion,
    Scores,
    SimilarItems,
    SimilarQuestion,
    UnknownIds,
)
from ultragcn.serving.titles import Titles

_REASONS = 3
"""Reasons that are given for an item of a list."""
_RULES_KEPT = 64
"""Sets of rules whose rows are kept."""
_NEW_USERS = 8
"""Users that are folded in at a time: a block of known users waits no longer than for these."""


class NotKnownError(UsageError):
    """The model does not know who or what was asked for."""


class _Meant(NamedTuple):
    """Ids of a request: those the model knows, as the model has them, and the others as they were given."""

    known: list[Id]
    unknown: list[Id]


@dataclass(eq=False)
class _Prepared:
    """A question for a list, its ids and rules found."""

    question: ListQuestion
    rules: Rules
    key: Hashable
    """Questions of the same key are answered together."""
    user: Id | None = None
    """A user that the model knows."""
    has: list[Id] | None = None
    """What somebody has who is folded in."""
    notes: tuple[str, ...] = ()
    unknown: UnknownIds = field(default_factory=UnknownIds)
    fallback: bool = False


class Engine:
    """A model, and what is needed to answer questions about it.

    Parameters
    ----------
    folder : str or Path
        A folder that `ultragcn train` or `save` wrote.
    rules : str or Path, optional
        A TOML file of named rules.
    items_table : str or Path, optional
        A table of items in place of the one kept with the model.
    num_threads : int, optional

    Raises
    ------
    UsageError
        There is no model, it or the rules cannot be read, or a rule does not fit the model.
    """

    def __init__(
        self, folder: str | Path, rules: str | Path | None = None, items_table: str | Path | None = None, num_threads: int | None = 1
    ) -> None:
        self.model: Recommender = load_model(folder)
        self.id = model_id(folder)
        self.loaded = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if num_threads is not None:
            self.model.set_params(num_threads=num_threads)
        if items_table is not None:
            self.model.set_items_table(items_table)
        self._file = None if rules is None else RulesFile(rules)
        self._folder_of_rules = None if rules is None else Path(rules).parent
        self._rules: dict[Hashable, tuple[Rules, tuple[str, ...]]] = {}
        self._check_rules()
        self._titles = None if self.model.item_titles_ is None else self.model.item_titles_

    def _check_rules(self) -> None:
        """Raise `UsageError` where a rule that needs no value cannot be meant."""
        for name in self._file.names if self._file is not None else ():
            assert self._file is not None
            try:
                rules = self._file.named([name]).rules
            except UsageError as error:
                if "the value of {" in str(error):  # it is given with a request
                    continue
                raise
            self.model.recommend([], 1, rules=rules, unknown="skip")

    def said(self, error: Exception) -> str:
        """Return what an error says, without the folder of the rules, which is nobody's business outside."""
        return str(error) if self._folder_of_rules is None else str(error).replace(f"{self._folder_of_rules}{os.sep}", "")

    def warm(self) -> None:
        """Answer questions for lists of known users, so that what they need is compiled and made before the first request."""
        degrees = self.model.train_.user_degrees
        rows = np.argsort(-degrees, kind="stable")[: 2 * _NEW_USERS]
        users = self.model.user_ids.ids[rows].tolist()
        if not users:
            return
        self.lists([ListQuestion(user=users[0])])
        self.lists([ListQuestion(user=user) for user in users])
        self.scores(ScoreQuestion(user=users[0], items=[as_python(self.model.item_ids.ids[0])]))
        self.popular(PopularQuestion())

    def warm_rest(self) -> None:
        """Answer a question of each other kind: what they need takes longer to make. Another thread may ask the engine meanwhile."""
        self.items(ItemsQuestion(q="a"))
        if not len(self.model.item_ids) or not len(self.model.user_ids):
            _ = self.abilities
            return
        user = as_python(self.model.user_ids.ids[int(np.argmax(self.model.train_.user_degrees))])
        item = as_python(self.model.item_ids.ids[0])
        for ability in self.abilities:
            if ability == "new users":
                self.lists([ListQuestion(items=[item])])
            elif ability == "explain":
                self.explain(ExplainQuestion(item=str(item), user=str(user)))
            elif ability == "similar":
                self.similar(str(item), SimilarQuestion())

    @cached_property
    def abilities(self) -> list[str]:
        """What the model can do besides lists of known users: "new users", "explain", "similar", "diversity"."""
        found: list[str] = []
        if not len(self.model.item_ids):
            return found
        item = as_python(self.model.item_ids.ids[int(np.argmax(self.model.train_.item_degrees))])
        tries: dict[str, Callable[[], Any]] = {
            "new users": lambda: self.model.recommend_for([item], 1),
            "explain": lambda: self.model.explain_for([item], item),
            "similar": lambda: self.model.similar_items(item, 1),
            "diversity": lambda: self.model.recommend([], 1, diversity=0.5),
        }
        for name, attempt in tries.items():
            try:
                attempt()
                found.append(name)
            except UsageError:
                continue
        return found

    # ------------------------------------------------------------------ lists

    def lists(self, questions: Sequence[ListQuestion]) -> list[Answer | UsageError]:
        """Return the answer to each question, or why there is none; questions by the same rules are answered together."""
        answers: list[Answer | UsageError | None] = [None] * len(questions)
        groups: dict[Hashable, list[tuple[int, _Prepared]]] = {}
        for place, question in enumerate(questions):
            try:
                prepared = self._prepared(question)
            except UsageError as error:
                answers[place] = error
                continue
            groups.setdefault(prepared.key, []).append((place, prepared))
        for group in groups.values():
            step = len(group) if group[0][1].user is not None else _NEW_USERS
            for start in range(0, len(group), step):
                some = group[start : start + step]
                for (place, _), answer in zip(some, self._answers([one for _, one in some]), strict=True):
                    answers[place] = answer
        return answers  # type: ignore[return-value]

    def _prepared(self, question: ListQuestion) -> _Prepared:
        """Return a question with its ids and rules found."""
        rules, notes = self._rules_of(question)
        unknown = question.unknown or rules.unknown or "error"
        if question.user is not None and question.items:
            raise UsageError("give user, or items of somebody whom the model has not seen, not both; what a known user has besides is add")
        if question.user is None and not question.items and not question.add:
            raise UsageError("say who gets the list: give user, or items")
        own_rules = bool(question.exclude) or question.only is not None
        exclude = self._meant(self.model.item_ids, question.exclude)
        only = self._meant(self.model.item_ids, question.only or [])
        items, add = self._meant(self.model.item_ids, question.items), self._meant(self.model.item_ids, question.add)
        if own_rules:
            rules &= Rules(exclude=exclude.known or None, only=None if question.only is None else only.known)
        made = _Prepared(question, rules, None, notes=notes)
        made.unknown = UnknownIds(items=items.unknown, add=add.unknown, exclude=exclude.unknown, only=only.unknown)
        asked = self._user(question.user)
        if question.user is not None and asked is None and unknown in ("error", "raise"):
            raise NotKnownError(
                f'the model does not know user {question.user!r}; unknown "popular" gives such users the most popular items'
            )
        if asked is not None and not add.known:
            made.user = asked
        else:
            made.has = [*(self._items_of(asked) if asked is not None else []), *items.known, *add.known]
            if asked is not None and not question.include_seen and (had := self._had_by(asked)):
                made.rules, own_rules = rules & Rules(exclude=had), True
            if not made.has and unknown in ("error", "raise"):
                raise NotKnownError('the model knows none of these items; give one that it knows, or unknown "popular"')
            made.fallback = not made.has and unknown == "popular"
        shape = (question.k, question.include_seen, made.user is None, unknown)
        made.key = id(made) if own_rules else (id(rules), shape)
        return made

    def _answers(self, group: Sequence[_Prepared]) -> list[Answer | UsageError]:
        """Return the answers to questions of one key."""
        question, rules = group[0].question, group[0].rules
        try:
            if group[0].user is not None:
                users = [one.user for one in group]
                items, scores = self.model.recommend(users, question.k, not question.include_seen, rules=rules)  # type: ignore[arg-type]
            else:
                baskets = [one.has or [] for one in group]
                instead = "popular" if group[0].fallback or any(one.fallback for one in group) else "skip"
                items, scores = self.model.recommend_for(baskets, question.k, not question.include_seen, rules=rules, unknown=instead)
        except UsageError as error:
            return [error] * len(group)
        return [self._answer(one, *row) for one, row in zip(group, zip(items, scores, strict=True), strict=True)]

    def _answer(self, one: _Prepared, items: np.ndarray, scores: np.ndarray) -> Answer | UsageError:
        is_there = np.isfinite(scores)
        if not is_there.all():
            items, scores = items[is_there], scores[is_there]
        ids, values = items.tolist(), scores.tolist()
        titles = self._titles_of(items)
        because: Iterable[Any] = [UNSET] * len(ids)
        if one.question.explain and not one.fallback:
            try:
                because = self._because(one, ids)
            except UsageError as error:
                return error
        columns = self._columns_of(items) if one.question.columns else [UNSET] * len(ids)
        return Answer(
            [Listed(*row) for row in zip(ids, values, titles, because, columns, strict=True)], one.fallback, self.id,
            user=one.user if one.user is not None else UNSET if one.question.user is None else one.question.user,
            unknown=one.unknown if one.unknown != UnknownIds() else UNSET, notes=list(one.notes) or UNSET,
        )  # fmt: skip

    def _because(self, one: _Prepared, items: list[Id]) -> list[list[Reason]]:
        """Return the strongest reasons of each item of a list."""
        found = self.model.explain(one.user, items) if one.user is not None else self.model.explain_for(one.has or [], items)
        return [self._reasons(why) for why in found]

    def _reasons(self, why: Explanation) -> list[Reason]:
        shares = why.shares[:_REASONS]
        reasons = why.item_ids[: len(shares)]
        return [
            Reason(as_python(other), float(share), title)
            for other, share, title in zip(reasons.tolist(), shares, self._titles_of(reasons), strict=True)
            if share > 0
        ]

    def _rules_of(self, question: Rule) -> tuple[Rules, tuple[str, ...]]:
        """Return the rules that a question names, and which of them do not hold today; the same object for the same rules."""
        today = datetime.date.today()
        key: Hashable = today
        if question.rule or question.values or question.max_per or question.diversity is not None:
            key = (today, tuple(question.rule), json.dumps(question.values, sort_keys=True), tuple(question.max_per.items()),
                   question.diversity)  # fmt: skip
        if key in self._rules:
            return self._rules[key]
        rules = Rules()
        notes: tuple[str, ...] = ()
        if question.rule or question.values:
            if self._file is None:
                raise UsageError("this server has no named rules; it is started with --rules FILE for that")
            if missing := [name for name in question.rule if name not in self._file.names]:
                raise unknown_name("rule", missing[0], self._file.names)
            named = self._file.named(question.rule, question.values)
            rules, notes = named.rules, named.notes
        rules &= Rules(max_per=dict(question.max_per) or None, diversity=question.diversity)
        while len(self._rules) >= _RULES_KEPT:
            self._rules.pop(next(iter(self._rules)))
        self._rules[key] = rules, notes
        return rules, notes

    # ------------------------------------------------------- other questions

    def popular(self, question: PopularQuestion) -> Answer:
        """Return the items that most users have, by the rules of the question."""
        rules, notes = self._rules_of(question)
        [items], [scores] = self.model.recommend_for([[]], question.k, rules=rules, unknown="popular")
        made = _Prepared(ListQuestion(columns=question.columns), rules, None, notes=notes, fallback=True)
        answer = self._answer(made, items, scores)
        assert isinstance(answer, Answer)
        return answer

    def similar(self, item: str, question: SimilarQuestion) -> SimilarItems:
        """Return the items most like one."""
        wanted = self._item(item)
        items, likeness = self.model.similar_items(wanted, question.k, by=question.by)
        rows = zip(items.tolist(), likeness.tolist(), self._titles_of(items), strict=True)
        return SimilarItems(wanted, [Listed(*row) for row in rows], self.id)

    def scores(self, question: ScoreQuestion) -> Scores:
        """Return the scores of items with a user."""
        user, items = self._known_user(question.user), self._meant(self.model.item_ids, question.items)
        values: Any = self.model.score(user, items.known) if items.known else np.zeros(0)
        scored = [Scored(*pair) for pair in zip(items.known, values.tolist(), strict=True)]
        return Scores(user, scored, self.id, UnknownIds(items=items.unknown) if items.unknown else UNSET)

    def explain(self, question: ExplainQuestion) -> Explained:
        """Return what a score is made of."""
        if (question.user is None) == (not question.items):
            raise UsageError("say whose score is explained: give user, or items, not both")
        item, has = self._item(question.item), self._meant(self.model.item_ids, list(question.items))
        if question.user is not None:
            user = self._known_user(question.user)
            why = self.model.explain(user, item)
        elif not has.known:
            raise NotKnownError("the model knows none of these items; give one that it knows")
        else:
            user, why = None, self.model.explain_for(has.known, item)
        n = min(question.k, len(why.item_ids))
        contributions, shares = why.contributions, why.shares
        reasons = zip(
            why.item_ids[:n].tolist(), contributions[:n].tolist(), shares[:n].tolist(), self._titles_of(why.item_ids[:n]), strict=True
        )
        return Explained(
            item, why.score, [Contribution(*row) for row in reasons], float(contributions[n:].sum()), why.trend, why.rest, why.words(),
            self.id, UNSET if user is None else user, why.title or UNSET, UnknownIds(items=has.unknown) if has.unknown else UNSET,
        )  # fmt: skip

    def items(self, question: ItemsQuestion) -> FoundItems:
        """Return the items in whose title or id a text stands, or those of some ids; those that most users have come first."""
        if question.id and question.q:
            raise UsageError("give q, a text to look for, or id, not both")
        unknown: Any = UNSET
        if question.id:
            meant = self._meant(self.model.item_ids, list(question.id))
            rows = self.model.item_ids.rows(meant.known).tolist() if meant.known else []
            unknown = UnknownIds(items=meant.unknown) if meant.unknown else UNSET
        else:
            rows = self._search.find(question.q, question.k)
        return FoundItems(self._found(rows), self.id, unknown)

    def history(self, user: str, question: HistoryQuestion) -> FoundItems:
        """Return what a known user has; what most users have comes first."""
        rows = self.model.item_ids.rows(self._items_of(self._known_user(user)))
        order = np.argsort(-self.model.train_.item_degrees[rows], kind="stable")
        return FoundItems(self._found(rows[order][: question.k].tolist()), self.id)

    def _found(self, rows: list[int]) -> list[Found]:
        ids = self.model.item_ids.ids[rows]
        users = self.model.train_.item_degrees[rows].tolist()
        return [Found(*row) for row in zip(ids.tolist(), users, self._titles_of(ids), strict=True)]

    @cached_property
    def _search(self) -> Titles:
        return Titles(self.model.item_ids.ids, self._titles, self.model.train_.item_degrees)

    @cached_property
    def about(self) -> About:
        """What is known of the model."""
        model = self.model
        table = model.items_table_
        return About(
            self.id, model.kind(), len(model.user_ids), len(model.item_ids), len(model.train_), self._titles is not None,
            [] if table is None else list(table.kept.columns), [] if self._file is None else list(self._file.names), self.abilities,
            self.loaded, __version__, as_python(model.user_ids.ids[0]) if len(model.user_ids) else UNSET,
        )  # fmt: skip

    # --------------------------------------------------------------- ids

    def _meant(self, ids: IdMap, given: Sequence[messages.Id]) -> _Meant:
        """Return which ids of a request the model knows, each once, in their order."""
        if not given:
            return _Meant([], [])
        found = typed(ids, [str(one) for one in given])
        unknown = {*found.unknown, *found.impossible}
        known = [one for one in found.ids if str(one) not in unknown] if unknown else found.ids
        return _Meant(list(dict.fromkeys(known)), [one for one in given if str(one) in unknown])

    def _user(self, given: messages.Id | None) -> Id | None:
        """Return the id of a user as the model has it, None where it does not know the user."""
        known = [] if given is None else self._meant(self.model.user_ids, [given]).known
        return known[0] if known else None

    def _known_user(self, given: messages.Id) -> Id:
        user = self._user(given)
        if user is None:
            raise NotKnownError(f"the model does not know user {given!r}")
        return user

    def _item(self, given: str) -> Id:
        known = self._meant(self.model.item_ids, [given]).known
        if not known:
            raise NotKnownError(f"the model does not know item {given!r}")
        return known[0]

    def _items_of(self, user: Id) -> list[Id]:
        """Return what a user of the model has in train and in validation: what lists are made by."""
        parts = [part for part in (self.model.train_, self.model.valid_) if part is not None]
        return self._items_in(user, *parts)

    def _had_by(self, user: Id) -> list[Id]:
        """Return what a user of the model had besides, and rated low."""
        return [] if self.model.had_ is None else self._items_in(user, self.model.had_)

    def _items_in(self, user: Id, *parts: Interactions) -> list[Id]:
        row = int(self.model.user_ids.rows([user])[0])
        items: list[Id] = self.model.item_ids.ids[np.sort(np.concatenate([part.items_of(row) for part in parts]))].tolist()
        return items

    def _columns_of(self, items: np.ndarray) -> list[Any]:
        """Return what the items table knows of items by their ids; empty cells are left out."""
        table = self.model.items_table_
        if table is None or not table.kept.width:
            return [UNSET] * len(items)
        rows = table.kept[self.model.item_ids.rows(items).tolist()].to_dicts() if len(items) else []
        return [{name: value for name, value in row.items() if value is not None} for row in rows]

    def _titles_of(self, items: np.ndarray) -> list[Any]:
        """Return the titles of items by their ids; unset where the data came without titles."""
        if self._titles is None:
            return [UNSET] * len(items)
        return self._titles[self.model.item_ids.rows(items)].tolist() if len(items) else []
