"""A model of one's own is judged as those of the library: in evaluate, and in compare."""

import numpy as np
import pytest

from tests.own_models import MostOften, OnlyFits, Shuffled
from ultragcn import evaluate, load_dataset
from ultragcn.errors import DataError, UsageError
from ultragcn.experiments.studies import compare
from ultragcn.models.popularity import Popularity


@pytest.fixture(scope="module")
def data():
    return load_dataset("demo")


class Given:
    """Returns whatever it was made with."""

    def __init__(self, returned):
        self.returned = returned

    def recommend(self, user_ids, top_k):
        return self.returned(user_ids, top_k)


def test_a_model_of_ones_own_has_the_figures_of_the_same_model_of_the_library(data):
    own = MostOften()
    own.fit(data.train)
    ours = Popularity().fit(data.train)
    metrics = ["recall@20", "ndcg@10", "coverage@20", "novelty@20"]
    assert evaluate(own, data.test, metrics, train=data.train) == pytest.approx(evaluate(ours, data.test, metrics))
    assert evaluate(own, data.test) == pytest.approx(evaluate(ours, data.test))


@pytest.mark.parametrize("form", ["lists", "array", "items and scores", "padded"])
def test_lists_may_come_in_several_forms(data, form):
    own = MostOften()
    own.fit(data.train)

    def returned(user_ids, top_k):
        lists = own.recommend(user_ids, top_k)
        if form == "padded":
            return np.array([[*items, ""] for items in lists], dtype=object)
        array = np.array(lists, dtype=object)
        return {"lists": lists, "array": array, "items and scores": (array, np.zeros(array.shape))}[form]

    assert evaluate(Given(returned), data.test) == evaluate(own, data.test)


def test_users_and_items_are_the_ids_of_the_data(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\n" + "".join(f"{u},{i}\n" for u in range(-3, 30) for i in range(-1, 9) if (u * i) % 3))
    data = load_dataset(tmp_path / "log.csv")
    asked = []

    def returned(user_ids, top_k):
        asked.extend(user_ids)
        return [[-1, 8] for _ in user_ids]

    with pytest.warns(UserWarning, match="has fewer than 20 items"):
        assert evaluate(Given(returned), data.test)["num_users"] == len(asked)
    assert all(type(user) is int for user in asked)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda users, k: [["nosuch"]] * len(users), "Given recommends 1984 items that the data do not have (first: 'nosuch';"),
        (lambda users, k: None, "Given.recommend returned a NoneType; it must return a list of item ids for each user"),
        (lambda users, k: [[]], "Given.recommend returned 1 list for 1984 users; it must return one for each"),
        (lambda users, k: ["abc"] * len(users), "Given.recommend returned 'abc' where a list of item ids belongs"),
        (lambda users, k: [["Amber Ant (jazz)"] * 2] * len(users), "recommend"),
    ],
)  # fmt: skip
def test_what_is_not_a_list_of_ids_for_each_user_is_said_in_one_sentence(data, returned, says):
    with pytest.raises((UsageError, DataError)) as caught:
        evaluate(Given(returned), data.test)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_of_what_users_have_are_refused_where_train_is_known(data):
    everything = Given(lambda users, k: [data.train.item_ids.ids[:k].tolist() for _ in users])
    assert evaluate(everything, data.test)["num_users"] == 1984
    with pytest.raises(DataError, match="users who have them in train"):
        evaluate(everything, data.test, train=data.train)


def test_what_is_missing_is_named(data):
    with pytest.raises(UsageError, match=r"a model needs recommend\(user_ids, top_k\), .*; OnlyFits has no method recommend"):
        evaluate(OnlyFits(), data.test)
    with pytest.raises(UsageError, match=r"MostOften is a class; give an object of it, such as MostOften\(\)"):
        evaluate(MostOften, data.test)
    with pytest.raises(UsageError, match=r"novelty counts train pairs, which Given does not show; give train=data\.train"):
        evaluate(Given(None), data.test, ["novelty@20"])
    with pytest.raises(UsageError, match="a Popularity knows what it was trained on; leave out train and valid"):
        evaluate(Popularity().fit(data.train), data.test, train=data.train)


def test_own_models_stand_beside_those_of_the_library(tmp_path):
    models = {"popularity": None, "mine": MostOften, "by chance": Shuffled}
    table = compare.compare({"source": "demo"}, models, [0, 1], tmp_path / "out", settings={"mine": {"most": 2.0}})
    lines = {line.model: line for line in table.lines}
    assert {name: line.num_seeds for name, line in lines.items()} == {"popularity": 1, "mine": 1, "by chance": 2}
    # MostOften does not know the validation items, which Popularity leaves out.
    assert lines["mine"].means["recall@20"] == pytest.approx(lines["popularity"].means["recall@20"], rel=0.3)
    assert lines["by chance"].means["recall@20"] < lines["popularity"].means["recall@20"]
    assert (lines["mine"].settings_from, lines["mine"].settings) == ("given", '{"most": 2.0}')
    again = []
    compare.compare({"source": "demo"}, models, [0, 1], tmp_path / "out", settings={"mine": {"most": 2.0}}, tell=again.append)
    assert "4 of 4 runs found, 0 to do" in again


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ({"mine": OnlyFits}, "OnlyFits has no method recommend"), ({"mine": lambda: MostOften()}, "must be a class or a function"),
        ({"ease": MostOften}, "ease is a model of this library; give yours another name"), ({"mine": None}, "unknown model 'mine'"),
        ({"mine": 3}, "mine must be made by a class or a function, not by a int"), ({"a/b": MostOften}, "leave out slashes"),
    ],
)  # fmt: skip
def test_an_own_model_that_cannot_be_compared_is_refused_before_the_data_are_read(tmp_path, models, says):
    with pytest.raises(UsageError) as caught:
        compare.compare({"source": "no.csv"}, models, [0], tmp_path / "out")
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_arguments_that_the_class_does_not_take_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"mine cannot be made: .* unexpected keyword argument 'least'"):
        compare.compare({"source": "no.csv"}, {"mine": MostOften}, [0], tmp_path / "out", settings={"mine": {"least": 1}})
