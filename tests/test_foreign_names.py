"""Names of other libraries: one table, one sentence each."""

import dataclasses
import doctest

import pytest

import ultragcn.config.foreign_names as module
from ultragcn import UltraGCN, load_dataset
from ultragcn.config import PARAMETERS
from ultragcn.config.foreign_names import FOREIGN_NAMES, suggestion, unknown_parameter
from ultragcn.data.options import DATA_OPTIONS
from ultragcn.errors import UsageError, did_you_mean
from ultragcn.models.registry import BASELINES

_ELSEWHERE = {
    "top_k", "exclude_seen", "include_seen", "candidates", "only", "exclude", "user_ids", "user_id", "users", "item_ids", "item_id", "item",
    "num_threads", "threads", "jobs", "progress", "quiet", "dataset", "data_dir", "out", "model",
}  # fmt: skip
"""Names that are no hyper-parameters and no data options: arguments of verbs, options of the command."""


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("factors", "embedding_dim"), ("n_factors", "embedding_dim"), ("no_components", "embedding_dim"), ("iterations", "epochs"),
        ("n_iterations", "epochs"), ("n_epochs", "epochs"), ("lr", "learning_rate"), ("random_state", "seed"), ("num_neg", "num_negatives"),
        ("regularization", "l2_user and l2_item"), ("reg", "l2_user and l2_item"), ("weight_decay", "l2_weight"), ("Lr", "learning_rate"),
        ("n-factors", "embedding_dim"), ("ii_neighbor_num", "num_item_neighbors"),
    ],
)  # fmt: skip
def test_a_name_of_another_library_gets_one_sentence_with_ours(given, ours):
    sentence = suggestion(given, PARAMETERS)
    assert f" {ours} here" in sentence
    assert "did you mean" not in sentence


def test_one_name_means_what_is_allowed_at_the_place_at_hand():
    assert "embedding_dim here" in suggestion("k", PARAMETERS)
    assert "top_k here" in suggestion("k", ["top_k", "exclude_seen"])
    assert "num_neighbors here" in suggestion("k", ["num_neighbors", "shrinkage"])
    assert " l2 here" in suggestion("regularization", ["l2", "epochs"])
    assert "test_share, which does not belong here" in suggestion("test_size", PARAMETERS)


def test_options_are_named_as_they_are_typed():
    assert suggestion("reg", PARAMETERS, "--").startswith("; what LensKit calls reg is --l2_user and --l2_item here")
    assert suggestion("epohcs", PARAMETERS, "--") == "; did you mean --epochs?"


def test_what_does_not_exist_here_is_explained():
    assert suggestion("user_items", ["user_ids"]) == "; leave it out: a fitted model knows what its users have, and takes ids, not rows"


def test_models_and_data_answer_with_our_names():
    for call, says in (
        (lambda: UltraGCN(factors=64), "what implicit calls factors is embedding_dim here"),
        (lambda: BASELINES["ease"](regularization=3), "what implicit and RecTools call regularization is l2 here"),
        (lambda: load_dataset("no.csv", sep=";"), "what pandas calls sep is separator here"),
    ):
        with pytest.raises(UsageError, match=says):
            call()


def test_the_error_names_ours_and_all_that_is_allowed():
    error = unknown_parameter("argument", "N", ["top_k", "exclude_seen"], "recommend")
    assert str(error) == ("unknown argument 'N' of recommend; what implicit calls N is top_k here (allowed: top_k, exclude_seen)")


def test_every_name_of_the_table_leads_to_one_that_exists():
    ours = set(PARAMETERS) | set(DATA_OPTIONS) | _ELSEWHERE
    ours |= {declared.name for baseline in BASELINES.values() for declared in dataclasses.fields(baseline.Settings)}
    for given, foreign in FOREIGN_NAMES.items():
        for joined in foreign.ours:
            assert set(joined.split(",")) <= ours, (given, joined)
        assert foreign.ours or foreign.note, given


@pytest.mark.parametrize(("given", "wrong"), [("lr", "solver"), ("iterations", "tolerance"), ("d", "dataset"), ("n", "seed")])
def test_a_guess_needs_more_than_a_few_letters_in_common(given, wrong):
    assert wrong not in did_you_mean(given, [*PARAMETERS, wrong])


def test_the_beginning_of_a_name_stands_for_it():
    assert did_you_mean("embed", PARAMETERS) == "; did you mean embedding_dim?"


def test_the_examples_of_the_table_are_true():
    assert doctest.testmod(module).failed == 0
