"""Rules for lists: against a reference that looks at every item, in Python, on the command line and in files."""

import copy
import datetime
import math
import pickle
import random

import numpy as np
import polars as pl
import pytest

from ultragcn import EASE, ItemKNN, Popularity, Rules, UltraGCN, load_dataset, load_model, read_interactions
from ultragcn.cli import main
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
    for name in ("_TOGETHER", "_TOGETHER_OTHERS"):
        monkeypatch.setattr(choosing, name, 2)  # several blocks
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


# ------------------------------------------------------------------ what rules can say


def test_the_same_rules_by_name_as_texts_and_as_an_object_give_the_same_lists(models):
    model, users = models["embeddings"], USERS[:5]
    whole = model.recommend(users, 6, where="price < 40", max_per={"brand": 1}, promote={"fresh": 0.5}, exclude=ITEMS[:9])
    texts = model.recommend(users, 6, where=["price < 40"], max_per="brand=1", promote="fresh=50%", exclude=np.array(ITEMS[:9], object))
    both = Rules(where="price < 40", promote={"fresh": 0.1}) & Rules(max_per={"brand": 3}, exclude=ITEMS[:9])
    combined = model.recommend(users, 6, rules=both, max_per=["brand=1"], promote="fresh=0.5")
    for other in (texts, combined):
        assert all(np.array_equal(one, same) for one, same in zip(whole, other, strict=True))
    assert np.array_equal(pickle.loads(pickle.dumps(both)).bind(model.user_ids, model.item_ids, model.items_table_).items.candidates,
                          both.bind(model.user_ids, model.item_ids, model.items_table_).items.candidates)  # fmt: skip
    assert repr(both) == repr(both & Rules())
    assert "where=('price < 40',)" in repr(both)


def test_a_user_gets_the_same_list_alone_among_others_and_in_a_frame(models):
    model, rules = models["embeddings"], Rules(where="stock > 0", max_per="brand=2", diversity=0.4, promote="price < 20=40%")
    items, scores = model.recommend(USERS, 5, rules=rules)
    frame = model.recommend_frame(USERS, 5, rules=rules)
    assert frame["item_id"].to_list() == items.ravel().tolist()
    for user, listed, own in zip(USERS, items, scores, strict=True):
        alone = model.recommend(user, 5, rules=rules)
        assert alone[0].tolist() == listed.tolist()
        assert alone[1].tolist() == own.tolist()


def test_someone_new_gets_lists_under_the_same_rules(models):
    model = models["embeddings"]
    basket = [item for user, item in the_log().rows() if user == USERS[0]]
    items, scores = model.recommend_for(basket, 8, max_per={"genre": 2}, where="price < 50", promote="fresh=50%")
    known = {row["item"]: row for row in the_items().rows(named=True)}
    genres = [known[item]["genre"] for item in items]
    assert len(items) == 8
    assert not set(items) & set(basket)
    assert all(genres.count(genre) <= 2 for genre in genres)
    assert all(known[item]["price"] < 50 for item in items)
    assert sum(known[item]["fresh"] for item in items) >= 4
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    pairs = [("somebody", item) for item in ITEMS]
    assert model.recommend_for(basket, 8, exclude=pairs)[0].tolist() == model.recommend_for(basket, 8)[0].tolist()


def test_pairs_may_be_tuples_a_frame_or_interactions_and_count_for_their_user_alone(models):
    model = models["embeddings"]
    first = model.recommend(USERS[0], 3)[0].tolist()
    other = model.recommend(USERS[1], 3)[0].tolist()
    pairs = [(USERS[0], item) for item in first] + [(USERS[0], "an item of tomorrow"), ("a user of tomorrow", first[0])]
    frame = pl.DataFrame(pairs, schema=["customer_id", "sku"], orient="row")
    for given in (pairs, frame, frame.lazy(), read_interactions(frame)):
        items, _ = model.recommend(USERS[:2], 3, exclude=given)
        assert not set(items[0].tolist()) & set(first)
        assert items[1].tolist() == other
    assert model.recommend(USERS[0], 3, exclude=pl.DataFrame({"item": first}))[0].tolist() == items[0].tolist()


def test_more_diverse_lists_are_less_alike(models):
    model = models["embeddings"]
    unit = model.item_embedding_ / np.linalg.norm(model.item_embedding_, axis=1, keepdims=True)
    alike = []
    for diversity in (0.0, 0.3, 1.0):
        items, _ = model.recommend(USERS, 6, diversity=diversity)
        rows = [unit[model.item_ids.rows(listed)] for listed in items]
        alike.append(np.mean([(own @ own.T)[np.triu_indices(6, 1)].mean() for own in rows]))
    assert alike[0] > alike[1] > alike[2]
    assert np.array_equal(model.recommend(USERS, 6, diversity=0)[0], model.recommend(USERS, 6)[0])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"where": "prize < 3"}, r"no column 'prize'; did you mean price\? \(it has item_id, item, price, brand, genre, fresh, stock\)"),
        ({"where": "price <"}, "cannot make sense of where 'price <'; give a condition in SQL, such as price < 20"),
        ({"where": "price"}, r"where 'price' is not a condition that is true or false for each item; compare numbers .*price "
        r"\(real\), brand \(text\)"),
        ({"where": "genre < 3"}, "compare numbers with numbers and text with text in single quotes"),
        ({"where": "(select 1) = 1"}, "is not a condition that is true or false for each item|cannot make sense"),
        ({"where": 3}, "where must be a condition in SQL, such as .*, not 3"),
        ({"max_per": {"brant": 2}}, r"max_per brant: the items table has no column 'brant'; did you mean brand\?"),
        ({"max_per": "brand"}, r"max_per must be such as brand=2 \(in Python"),
        ({"max_per": "brand=0"}, "max_per must be a whole number of 1 or more for each column, such as brand=2, not brand=0"),
        ({"max_per": {"brand": True}}, "must be a whole number of 1 or more"),
        ({"promote": "fresh=120%"}, "promote must end in a share of the places, 0 to 1 or 0% to 100%, .*not fresh=120%"),
        ({"promote": {"fresh": "a lot"}}, "promote must end in a share"),
        ({"promote": "price <=20%"}, "cannot make sense of where 'price <'"),
        ({"diversity": 1.5}, r"diversity must be a number from 0 \(by score alone\) to 1, not 1.5"),
        ({"diversity": "much"}, "diversity must be a number from 0"),
        ({"unknown": "guess"}, "unknown must be raise, popular or skip, not 'guess'"),
        ({"only": ["i000", "nothing"]}, "only has an id that cannot be meant: unknown item id 'nothing'"),
        ({"candidates": ["nothing"]}, "candidates has an id that cannot be meant"),
        ({"exclude": [(1, "i000")]}, "unknown user id 1: .* ids are strings"),
        ({"exclude": pl.DataFrame({"a": ["i000"]})}, r"exclude: a frame needs a column of items, .* \(a\) .* call it item_id"),
        ({"rules": {"where": "fresh"}}, "rules must be a Rules object"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_a_sentence(models, rules, message):
    with pytest.raises(UsageError, match=message):
        models["embeddings"].recommend(USERS[0], 3, **rules)


def test_what_a_model_cannot_do_is_said(models):
    with pytest.raises(UsageError, match="diversity compares items by vectors, and ItemKNN learns none"):
        models["weights"].recommend(USERS[0], 3, diversity=0.5)
    bare = Popularity().fit(the_log())
    with pytest.raises(
        UsageError, match=r"has no column 'price' \(it has item_id\); give the model an items table: --items_table FILE, or"
    ):
        bare.recommend(USERS[0], 3, where="price < 20")
    assert bare.recommend(USERS[0], 3, where="item_id = 'i159'")[0].tolist() == ["i159"]


def test_titles_can_be_asked_for_without_an_items_table():
    model = Popularity().fit(the_log())
    model.item_titles_ = np.array([f"Song {number}" if number else "" for number in range(NUM_ITEMS)], object)
    assert model.recommend(USERS[0], 3, where="title like '%g 7'", exclude_seen=False)[0].tolist() == ["i007"]
    assert model.recommend(USERS[0], 3, where="title is null", exclude_seen=False)[0].tolist() == ["i000"]
    model.item_titles_ = None
    with pytest.raises(UsageError, match="has no column 'title'"):
        model.recommend(USERS[0], 3, where="title = ''")


# ------------------------------------------------------------------ the items table


def test_columns_of_a_text_file_are_what_their_cells_are(tmp_path):
    lines = ["item,price,zip,sold,old,made", "a,1.5,007,3,true,2026-05-31", "b,,123,4,False,2025-01-01", "b,9,9,9,true,", "x,2,3,4,true,"]
    (tmp_path / "items.csv").write_text("\n".join(lines) + "\n")
    model = Popularity().fit(pl.DataFrame({"user": [1, 1, 2], "item": ["a", "b", "a"]})).set_items_table(tmp_path / "items.csv")
    assert [str(kind) for kind in model.items_table_.kept.dtypes] == ["String", "Float64", "String", "Int64", "Boolean", "String"]
    asked = {"price > 1": ["a"], "zip = '007'": ["a"], "sold = 4 and not old": ["b"], "made >= '2026-01-01'": ["a"], "price is null": ["b"]}
    for condition, expected in asked.items():
        assert model.recommend(1, 5, exclude_seen=False, where=condition)[0].tolist() == expected


def test_dates_and_other_kinds_of_a_frame_are_kept_as_text_and_numbers_or_left_out_with_a_warning():
    frame = pl.DataFrame({
        "item": [1, 2, 3], "day": [datetime.date(2026, 5, 31), None, datetime.date(2025, 1, 1)],
        "at": [datetime.datetime(2026, 5, 31, 12), None, None], "kind": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
        "share": pl.Series([0.5, float("nan"), 2], dtype=pl.Float32), "tags": [["a"], [], None],
        "small": pl.Series([1, 2, 3], dtype=pl.UInt8),
    })  # fmt: skip
    model = Popularity().fit(pl.DataFrame({"user": [1, 1, 2], "item": [1, 2, 3]}))
    with pytest.warns(DataWarning, match="the frame: tags cannot be kept, because an items table holds only text"):
        model.set_items_table(frame)
    assert model.items_table_.kept.columns == ["item", "day", "at", "kind", "share", "small"]
    for condition, expected in {
        "day < '2026-01-01'": [3],
        "at > '2026-05-31'": [1],
        "share > 0": [1, 3],
        "kind = 'y' or small = 3": [2, 3],
    }.items():
        assert sorted(model.recommend(1, 5, exclude_seen=False, where=condition)[0].tolist()) == expected


def test_a_table_without_the_items_is_refused():
    model = Popularity().fit(the_log())
    with pytest.raises(DataError, match="none of 160 items is in column item"):
        model.set_items_table(pl.DataFrame({"item": ["x"], "price": [1]}))
    with pytest.raises(UsageError, match="an items table must be a file or a frame with a row for each item, not a int"):
        model.set_items_table(3)
    with pytest.raises(UsageError, match="made for the items of another model"):
        model.set_items_table(Popularity().fit(pl.DataFrame({"user": [1], "item": [2]})).set_items_table(
            pl.DataFrame({"item": [2], "price": [1]})).items_table_)  # fmt: skip


def test_the_items_table_is_kept_with_the_model_through_files_copies_and_refits(models, tmp_path):
    model = copy.copy(models["ties"])
    assert load_model(model.save(tmp_path)).items_table_.kept.equals(model.items_table_.kept)
    assert model.refit().items_table_ is model.items_table_
    rules = Rules(where="price < 20", max_per="brand=1")
    assert np.array_equal(load_model(tmp_path).recommend(USERS, 4, rules=rules)[0], model.recommend(USERS, 4, rules=rules)[0])
    assert Popularity().fit(the_log()).items_table_ is None
    assert load_model(model.set_items_table(None).save(tmp_path)).items_table_ is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, about: about["items_table"].pop(), "which such a model has not"),
        (lambda arrays, about: about["items_table"][1].update(kind="list"), "damaged"),
        (lambda arrays, about: about["items_table"][1].update(name="item"), "the names of the columns of items_table are not distinct"),
        (lambda arrays, about: about.update(items_table=[]), "damaged"),
        (lambda arrays, about: about.update(items_table={"name": "x"}), "damaged"),
        (lambda arrays, about: arrays.update({"items_table.1.there": arrays["items_table.1.there"][1:]}), "items_table.1 is not a column"),
        (lambda arrays, about: arrays.update({"items_table.1": arrays["items_table.1"] + np.nan}), "items_table.1 is not a column of"),
        (lambda arrays, about: arrays.update({"items_table.4": arrays["items_table.4"] + np.uint8(2)}), "items_table.4 is not a column of"),
        (lambda arrays, about: arrays.update({"items_table.2.utf8": arrays["items_table.2.utf8"] | np.uint8(128)}), "not texts in UTF-8"),
        (lambda arrays, about: arrays.update({"items_table.5": arrays["items_table.5"].astype(np.int32)}), "of another type or shape"),
    ],
)  # fmt: skip
def test_an_items_table_in_a_file_is_not_believed(tmp_path, change, message):
    from ultragcn.storage import read_arrays, read_form, write_arrays

    with pytest.warns(DataWarning):
        file = Popularity().fit(the_log()).set_items_table(the_items()).save(tmp_path) / "model.safetensors"
    arrays, about = read_arrays(file, read_form(file))
    arrays = dict(arrays)
    change(arrays, about)
    write_arrays(file, arrays, read_form(file), about)
    with pytest.raises(UsageError, match=message):
        load_model(tmp_path)


# ------------------------------------------------------------------ files of rules

RULES = """
[summer]
from = 2026-06-01
until = 2026-08-31
where = "genre in {genres} and price < {price}"
max_per = { brand = 2 }
promote = { "fresh" = "20%", "price < {price}" = 0.5 }
diversity = "{spread}"
unknown = "popular"

[summer.values]
price = 20
spread = 0.25

[withdrawn]
exclude = "withdrawn.csv"
only = ["i001", "i002", "gone"]
"""


@pytest.fixture
def file_of_rules(tmp_path):
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "withdrawn.csv").write_text("user_id,item_id\nu01,i001\nu99,i002\n")
    return tmp_path / "rules.toml"


def test_a_file_of_rules_says_what_arguments_say(models, file_of_rules):
    in_july, model = datetime.date(2026, 7, 1), models["embeddings"]
    read = Rules.read(file_of_rules, "summer", values={"genres": ["jazz", "it's new"], "price": 30}, on=in_july)
    given = {"max_per": {"brand": 2}, "promote": {"fresh": 0.2, "price < 30": 0.5}, "diversity": 0.25, "unknown": "popular"}
    expected = model.recommend([*USERS, "nobody"], 5, where="genre in ('jazz', 'it''s new') and price < 30", **given)
    assert np.array_equal(model.recommend([*USERS, "nobody"], 5, rules=read)[0], expected[0])
    both = Rules.read(file_of_rules, "withdrawn", "summer", values={"genres": ["jazz"]}, on=in_july)
    assert both.diversity == 0.25
    assert both.where == ("genre in ('jazz') and price < 20",)
    alone = Rules.read(file_of_rules, "withdrawn")
    assert [set(listed.tolist()) - {""} for listed in model.recommend(["u01", "u02"], 3, False, rules=alone)[0]] == [
        {"i002"},
        {"i001", "i002"},
    ]
    assert model.recommend("u99", 3, rules=alone, unknown="popular")[0].tolist() == ["i001"]


@pytest.mark.parametrize(("day", "note"), [
    ((2026, 5, 31), "does not hold on 2026-05-31: it begins on 2026-06-01"), ((2026, 6, 1), None), ((2026, 8, 31), None),
    ((2026, 9, 1), "does not hold on 2026-09-01: it ended on 2026-08-31"),
])  # fmt: skip
def test_a_rule_holds_from_its_first_day_to_its_last(file_of_rules, day, note):
    named = read_rules(file_of_rules, ["summer"], {"genres": ("jazz",)}, datetime.date(*day))
    assert bool(named.rules.where) == (note is None)
    assert [note in one for one in named.notes] == ([] if note is None else [True])


def test_a_value_is_a_value_whatever_it_says(models, tmp_path):
    (tmp_path / "rules.toml").write_text('[a]\nwhere = "genre = {genre}"\n')
    model = models["ties"]
    rules = Rules.read(tmp_path / "rules.toml", "a", values={"genre": "jazz' or 'a' = 'a"})
    assert model.recommend(USERS[0], 5, rules=rules)[0].tolist() == []
    rules = Rules.read(tmp_path / "rules.toml", "a", values=values_of(["genre=it's new"]))
    assert len(model.recommend(USERS[0], 5, rules=rules)[0]) == 5
    assert values_of(["a=1", "b=x", "a=2.5", "c='1'", "d=007"]) == {"a": [1, 2.5], "b": "x", "c": "1", "d": "007"}
    assert value_of("-3") == -3
    assert value_of("1e3") == "1e3"
    with pytest.raises(UsageError, match="a value is given as NAME=VALUE, such as price=20, not 'price'"):
        values_of(["price"])


@pytest.mark.parametrize(
    ("text", "names", "values", "message"),
    [
        ("[a]\nwhere = 'x < {price}'", ["a"], {}, r"rule a of .*: the value of \{price\} is missing; give one: --value price="),
        ("[a]\nwhere = 'x < 3'", ["a"], {"price": 3}, "no rule that is named has a place for the value 'price'"),
        ("[a]\nwhere = 'x < 3'", ["b"], {}, r"unknown rule of .* 'b' \(allowed: a\)"),
        ("[a]\nwhere = 'x < 3'", [], {}, "no rule of .* is named; name one or more of a"),
        ("[a]\nwhere = \"x = '{price}'\"", ["a"], {"price": 3}, r"\{price\} stands in quotes in .*; leave the quotes out"),
        ("[a]\nwhere = 'x < {price}'", ["a"], {"price": float("nan")}, r"the value of \{price\} must be a number, a text"),
        ("[a]\nwhere = 'x <'", ["a"], {}, "rule a of .*: cannot make sense of where"),
        ("[a]\nwhere = 3", ["a"], {}, "a condition must be text, not 3"),
        ("[a]\nwhen = 'x < 3'", ["a"], {}, r"unknown setting of rule a in .* 'when'; did you mean where\?"),
        ("[a]\nfrom = '2026-01-01'", ["a"], {}, "from must be a date without quotes, such as from = 2026-06-01"),
        ("[a]\nfrom = 2026-01-02\nuntil = 2026-01-01", ["a"], {}, "it ends on 2026-01-01, before it begins on 2026-01-02"),
        ("[a]\nmax_per = 'brand=2'", ["a"], {}, r"max_per must be a table such as \{ brand = 2 \}"),
        ("[a]\npromote = 'brand=2'", ["a"], {}, "promote must be a table such as"),
        ("[a]\nonly = [1.5]", ["a"], {}, "only must be a list of item ids, or the name of a file of them"),
        ("[a]\ndiversity = 7", ["a"], {}, "rule a of .*: diversity must be a number from 0"),
        ("[a]\nvalues = 7", ["a"], {}, "values must be a table of names and values"),
        ("a = 7", ["a"], {}, "a stands outside a table"),
        ("", ["a"], {}, "has no rules; put each under its name"),
        ("[a", ["a"], {}, "cannot read .*rules.toml"),
    ],
)  # fmt: skip
def test_a_file_of_rules_that_cannot_be_meant_is_refused_in_a_sentence(tmp_path, text, names, values, message):
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_rules(tmp_path / "rules.toml", names, values)
    with pytest.raises(UsageError, match=r"cannot read .*: No such file"):
        read_rules(tmp_path / "none.toml", ["a"])


# ------------------------------------------------------------------ the command


def run(capsys, *argv):
    """Return the status, the cells of the lines printed, and what stderr says."""
    status = main(list(map(str, argv)))
    captured = capsys.readouterr()
    return status, [line.split("\t") for line in captured.out.splitlines()], captured.err


@pytest.fixture(scope="module")
def run_folder(models, tmp_path_factory):
    return models["embeddings"].save(tmp_path_factory.mktemp("run"))


def test_the_command_gives_the_lists_that_python_gives(models, run_folder, file_of_rules, tmp_path, capsys):
    (tmp_path / "some.csv").write_text("item_id\n" + "\n".join(ITEMS[::2]) + "\n")
    (tmp_path / "few").write_text("\n".join(ITEMS[:120]) + "\n")
    (tmp_path / "none").write_text("i000\n")
    (tmp_path / "rules.toml").write_text("[cheap]\nwhere = 'price < {price}'\nunknown = 'popular'\n")
    words = ["--only", tmp_path / "some.csv", "--candidates", tmp_path / "few", "--exclude", tmp_path / "withdrawn.csv", "--exclude",
             tmp_path / "none", "--where", "stock > 0", "--max_per", "brand=2", "--diversity", "0.3", "--promote", "fresh=40%", "--rules",
             tmp_path / "rules.toml", "--rule", "cheap", "--value", "price=40"]  # fmt: skip
    status, lines, err = run(capsys, "recommend", run_folder, "--users", "u01", "u02", "nobody", "--top_k", "5", *words)
    assert status == 0
    given = {
        "max_per": {"brand": 2},
        "diversity": 0.3,
        "promote": {"fresh": 0.4},
        "unknown": "popular",
        "where": ["stock > 0", "price < 40"],
    }
    rules = Rules(exclude=[("u01", "i001"), ("u99", "i002")]) & Rules(only=ITEMS[::2]) & Rules(only=ITEMS[:120])
    expected = models["embeddings"].recommend_frame(["u01", "u02", "nobody"], 5, rules=rules, exclude=["i000"], **given)
    assert [(row[0], int(row[1]), row[2]) for row in lines[1:]] == expected.select("user_id", "rank", "item_id").rows()
    assert "1 of 3 users (first: 'nobody') is not known to the model, and get the items that most users have" in err
    status, lines, _ = run(capsys, "recommend", run_folder, "--items", "i003", "i004", "--top_k", "4", "--where", "fresh")
    assert [row[1] for row in lines[1:]] == models["embeddings"].recommend_for(["i003", "i004"], 4, where="fresh")[0].tolist()


def test_pairs_in_files_of_any_kind_are_left_out_for_their_user(models, run_folder, tmp_path, capsys):
    first = models["embeddings"].recommend("u01", 2)[0].tolist()
    frame = pl.DataFrame({"what": ["x", "y"], "user_id": ["u01", "u01"], "item_id": first})
    frame.write_parquet(tmp_path / "pairs.parquet")
    frame.write_ndjson(tmp_path / "pairs.jsonl")
    frame.write_csv(tmp_path / "pairs.tsv", separator="\t")
    frame.vstack(frame.with_columns(item_id=pl.lit("unheard"))).write_csv(tmp_path / "pairs.csv")
    expected = [[user, *models["embeddings"].recommend(user, 2, exclude=[("u01", item) for item in first])[0]] for user in ("u01", "u02")]
    for name in ("pairs.parquet", "pairs.jsonl", "pairs.tsv", "pairs.csv"):
        _, lines, err = run(capsys, "recommend", run_folder, "--users", "u01", "u02", "--top_k", "2", "--exclude", tmp_path / name)
        assert [lines[1][0], lines[1][2], lines[2][2]] == expected[0]
        assert [lines[3][0], lines[3][2], lines[4][2]] == expected[1]
        assert ("1 of 3 items (first: 'unheard') in --exclude" in err) == (name == "pairs.csv")
    pl.DataFrame({"user_id": ["u01"], "item_id": [None]}, schema_overrides={"item_id": pl.String}).write_parquet(tmp_path / "pairs.parquet")
    status, _, err = run(capsys, "recommend", run_folder, "--all", "--exclude", tmp_path / "pairs.parquet")
    assert (status, "has no pairs; give a row with a user and an item for each pair" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "prize < 3"], "has no column 'prize'; did you mean price?"),
        (["--rule", "summer"], "--rule refers to a file of rules; give the file too: --rules FILE"),
        (["--value", "price=3"], "--value refers to a file of rules"),
        (["--rules", "RULES"], "no rule of"),
        (["--rules", "RULES", "--rule", "winter"], "'winter' (allowed: summer, withdrawn)"),
        (["--rules", "RULES", "--rule", "summer"], "the value of {genres} is missing; give one: --value genres=..."),
        (["--max_per", "brand"], "max_per must be such as"),
        (["--diversity", "0,3"], "diversity must be a number from 0 (by score alone) to 1, not '0,3'"),
        (["--only", "-", "--exclude", "-"], "--only and --exclude cannot both be read from stdin"),
        (["--items_table", "nowhere.csv"], "nowhere.csv"),
    ],
)  # fmt: skip
def test_what_the_command_cannot_do_is_one_sentence(run_folder, file_of_rules, words, message, capsys):
    words = [str(file_of_rules) if word == "RULES" else word for word in words]
    status, lines, err = run(capsys, "recommend", run_folder, "--users", "u01", *words)
    assert (status, lines) == (2, [])
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_rule_that_does_not_hold_today_is_said_and_left_out(run_folder, file_of_rules, capsys):
    file_of_rules.write_text("[old]\nuntil = 2001-01-01\nwhere = 'price < 0'\n")
    _, lines, err = run(capsys, "recommend", run_folder, "--users", "u01", "--top_k", "3", "--rules", file_of_rules, "--rule", "old")
    assert len(lines) == 4
    assert "rule old of" in err and "it ended on 2001-01-01" in err  # noqa: PT018


def test_a_table_given_to_train_is_kept_with_the_run_and_another_may_be_given_later(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    the_log().write_csv("log.csv")
    the_items().with_columns(label=pl.format("Song {}", "item")).write_csv("items.csv")
    words = ("--model", "popularity", "--items_table", "items.csv", "--keep", "everything", "--out", "run", "--quiet")
    status, _, err = run(capsys, "train", "--dataset", "log.csv", *words)
    assert status == 0
    assert "items.csv: 4 of 160 items are not in the items table (first: item 'i156')" in err
    asked = ("recommend", "run", "--users", "u01", "--include_seen", "--top_k", "200")
    _, lines, _ = run(capsys, *asked, "--where", "label < 'Song i010' and price > 0")
    known = [row["item"] for row in the_items().rows(named=True) if row["item"] < "i010" and row["price"] is not None]
    assert sorted(row[2] for row in lines[1:]) == sorted(known)
    pl.DataFrame({"item_id": ITEMS, "margin": np.arange(NUM_ITEMS) / NUM_ITEMS}).write_parquet("margins.parquet")
    _, lines, _ = run(capsys, *asked, "--items_table", "margins.parquet", "--where", "margin > 0.9")
    assert {row[2] for row in lines[1:]} == set(ITEMS[145:])


def test_a_data_set_has_its_items_table_and_gives_it_to_models_and_their_refits(tmp_path):
    table = pl.DataFrame({"item": ["Quiet River (jazz)"], "price": [3]})
    table.write_csv(tmp_path / "items.csv")
    with pytest.warns(DataWarning, match="599 of 600 items are not in the items table"):
        data = load_dataset("demo", items_table=tmp_path / "items.csv")
    assert data.origin == {"source": "demo", "items_table": str(tmp_path / "items.csv")}
    model = EASE(l2=100.0).fit(data)
    for one in (model, model.refit(), model.refit(data)):
        assert one.recommend("user-0001", 5, False, where="price = 3")[0].tolist() == ["Quiet River (jazz)"]
    with pytest.warns(DataWarning):
        assert load_dataset("demo", items_table=table).origin is None


def test_after_in_one_value_is_a_list_too(tmp_path):
    (tmp_path / "shop.toml").write_text('[kind]\nwhere = "genre IN {genre} and not price in {price}"\n[one]\nwhere = "genre = {genre}"\n')
    one = read_rules(tmp_path / "shop.toml", ["kind"], {"genre": "jazz", "price": 3})
    assert one.rules.where == ("genre IN ('jazz') and not price in (3)",)
    two = read_rules(tmp_path / "shop.toml", ["kind"], {"genre": ["jazz", "folk"], "price": [3]})
    assert two.rules.where == ("genre IN ('jazz', 'folk') and not price in (3)",)
    assert read_rules(tmp_path / "shop.toml", ["one"], {"genre": "jazz"}).rules.where == ("genre = 'jazz'",)
