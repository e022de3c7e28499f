"""What other recommender libraries call the things that have a name here.

Who comes from implicit, RecBole, RecTools, LightFM, cornac, Surprise or scikit-learn types the names of that library first. One table
turns those names into one sentence with ours, for arguments in Python and for options of the command alike.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ultragcn.errors import UsageError, did_you_mean


class ForeignName(NamedTuple):
    """A name of another library."""

    ours: tuple[str, ...]
    """Our names for it, likeliest first: the first one that is allowed at the place at hand is meant. Names joined by a comma belong
    together. Empty: there is no such thing here, and `note` says why."""
    libraries: tuple[str, ...]
    """Libraries that use the name; none for a name that is merely usual."""
    note: str = ""
    """What is not the same thing under both names: half a sentence."""


_IMPLICIT, _RECBOLE, _RECTOOLS, _LIGHTFM, _CORNAC = "implicit", "RecBole", "RecTools", "LightFM", "cornac"
_SURPRISE, _SKLEARN, _TORCH, _PANDAS, _AUTHORS = "Surprise", "scikit-learn", "PyTorch", "pandas", "the authors' code"
_SPARK, _LENSKIT = "Spark", "LensKit"

_DIM = ("embedding_dim",)
_L2 = ("l2", "l2_user,l2_item", "l2_weight")
_L2_NOTE = "its scale is another one, so a value cannot be copied"
_NEGATIVES = ("num_negatives",)
_SEEN = ("exclude_seen", "include_seen")
_BOTH = "lambda and gamma are understood in the authors' .ini files only, because their paper and their code exchange them"

FOREIGN_NAMES: Mapping[str, ForeignName] = {
    # The model.
    "factors": ForeignName(_DIM, (_IMPLICIT,)),
    "n_factors": ForeignName(_DIM, (_SURPRISE, _RECTOOLS)),
    "num_factors": ForeignName(_DIM, (_CORNAC,)),
    "no_components": ForeignName(_DIM, (_LIGHTFM,)),
    "n_components": ForeignName(_DIM, (_SKLEARN,)),
    "embedding_size": ForeignName(_DIM, (_RECBOLE,)),
    "embed_dim": ForeignName(_DIM, ()),
    "emb_dim": ForeignName(_DIM, ()),
    "emb_size": ForeignName(_DIM, ()),
    "hidden_size": ForeignName(_DIM, (_RECBOLE,)),
    "latent_dim": ForeignName(_DIM, ()),
    "num_latent": ForeignName(_DIM, ()),
    "rank": ForeignName(_DIM, (_SPARK,)),
    "dim": ForeignName(_DIM, ()),
    "dimension": ForeignName(_DIM, ()),
    "dimensions": ForeignName(_DIM, ()),
    "features": ForeignName(_DIM, (_LENSKIT,)),
    "n_layers": ForeignName(("num_layers",), (_RECBOLE,)),
    "layers": ForeignName(("num_layers",), ()),
    "k": ForeignName(("top_k", "num_neighbors", "embedding_dim"), (_CORNAC, _SURPRISE, _RECTOOLS)),
    "K": ForeignName(("num_neighbors", "top_k"), (_IMPLICIT,)),
    "n_neighbors": ForeignName(("num_neighbors",), (_SKLEARN,)),
    "shrink": ForeignName(("shrinkage",), (_RECBOLE,)),
    "alpha": ForeignName(("unobserved_weight",), (_IMPLICIT, _SPARK), "there, it raises the weight of what was used; here, a larger value "
                         "raises that of what was not"),
    "lambda_": ForeignName(_L2, (), _L2_NOTE),
    "regularization": ForeignName(_L2, (_IMPLICIT, _RECTOOLS), _L2_NOTE),
    "regularisation": ForeignName(_L2, (), _L2_NOTE),
    "reg": ForeignName(_L2, (_LENSKIT,), _L2_NOTE),
    "reg_weight": ForeignName(_L2, (_RECBOLE,), _L2_NOTE),
    "reg_param": ForeignName(_L2, (), _L2_NOTE),
    "regParam": ForeignName(_L2, (_SPARK,), _L2_NOTE),
    "reg_all": ForeignName(_L2, (_SURPRISE,), _L2_NOTE),
    "lambda_reg": ForeignName(_L2, (_CORNAC,), _L2_NOTE),
    "reg_lambda": ForeignName(_L2, (), _L2_NOTE),
    "lamb": ForeignName(_L2, (_CORNAC,), _L2_NOTE),
    "l2_reg": ForeignName(_L2, (), _L2_NOTE),
    "l2_regularization": ForeignName(_L2, (), _L2_NOTE),
    "weight_decay": ForeignName(("l2_weight", *_L2), (_TORCH, _RECBOLE), _L2_NOTE),
    "user_alpha": ForeignName(("l2_user", *_L2), (_LIGHTFM,), _L2_NOTE),
    "item_alpha": ForeignName(("l2_item", *_L2), (_LIGHTFM,), _L2_NOTE),
    "reg_pu": ForeignName(("l2_user", *_L2), (_SURPRISE,), _L2_NOTE),
    "reg_qi": ForeignName(("l2_item", *_L2), (_SURPRISE,), _L2_NOTE),
    "lambda": ForeignName(("item_item_weight",), (_AUTHORS,), _BOTH),
    "gamma": ForeignName(("l2_weight",), (_AUTHORS,), _BOTH),
    # How it is trained.
    "iterations": ForeignName(("epochs",), (_IMPLICIT,)),
    "n_iterations": ForeignName(("epochs",), ()),
    "num_iterations": ForeignName(("epochs",), ()),
    "n_iter": ForeignName(("epochs",), ()),
    "num_iter": ForeignName(("epochs",), ()),
    "max_iter": ForeignName(("epochs",), (_CORNAC, _SKLEARN)),
    "maxiter": ForeignName(("epochs",), ()),
    "maxIter": ForeignName(("epochs",), (_SPARK,)),
    "iters": ForeignName(("epochs",), ()),
    "n_epochs": ForeignName(("epochs",), (_SURPRISE,)),
    "num_epochs": ForeignName(("epochs",), (_CORNAC,)),
    "nb_epochs": ForeignName(("epochs",), ()),
    "max_epochs": ForeignName(("epochs",), ()),
    "lr": ForeignName(("learning_rate",), (_TORCH, _CORNAC)),
    "lr_all": ForeignName(("learning_rate",), (_SURPRISE,)),
    "learn_rate": ForeignName(("learning_rate",), ()),
    "step_size": ForeignName(("learning_rate",), ()),
    "train_batch_size": ForeignName(("batch_size",), (_RECBOLE,)),
    "bs": ForeignName(("batch_size",), ()),
    "num_neg": ForeignName(_NEGATIVES, (_CORNAC,)),
    "n_neg": ForeignName(_NEGATIVES, ()),
    "n_negatives": ForeignName(_NEGATIVES, (_RECTOOLS,)),
    "num_ng": ForeignName(_NEGATIVES, ()),
    "negatives": ForeignName(_NEGATIVES, ()),
    "neg_ratio": ForeignName(_NEGATIVES, ()),
    "train_neg_sample_num": ForeignName(_NEGATIVES, ()),
    "stopping_step": ForeignName(("patience",), (_RECBOLE,)),
    "n_iter_no_change": ForeignName(("patience",), (_SKLEARN,)),
    "early_stopping": ForeignName(("patience",), (_SKLEARN,)),
    "eval_step": ForeignName(("evaluate_every",), (_RECBOLE,)),
    "valid_metric": ForeignName(("select_by",), (_RECBOLE,)),
    "tol": ForeignName(("tolerance",), (_SKLEARN,)),
    "init_scale": ForeignName(("init_std",), ()),
    "init_std_dev": ForeignName(("init_std",), (_SURPRISE,)),
    "random_state": ForeignName(("seed",), (_SKLEARN, _IMPLICIT, _SURPRISE, _LIGHTFM)),
    "random_seed": ForeignName(("seed",), ()),
    "rng": ForeignName(("seed",), ()),
    "use_gpu": ForeignName(("device",), (_IMPLICIT,)),
    "gpu": ForeignName(("device",), ()),
    "gpu_id": ForeignName(("device",), (_RECBOLE,)),
    "cuda": ForeignName(("device",), ()),
    "n_jobs": ForeignName(("num_threads", "threads", "jobs"), (_SKLEARN,)),
    "n_threads": ForeignName(("num_threads", "threads"), ()),
    "nthreads": ForeignName(("num_threads", "threads"), ()),
    "workers": ForeignName(("num_threads", "jobs"), ()),
    "num_workers": ForeignName(("num_threads", "jobs"), (_TORCH,)),
    "verbose": ForeignName(("progress", "quiet"), (_SKLEARN, _CORNAC)),
    "show_progress": ForeignName(("progress", "quiet"), (_IMPLICIT,)),
    "use_tqdm": ForeignName(("progress", "quiet"), ()),
    # The authors' configuration files.
    "ii_neighbor_num": ForeignName(("num_item_neighbors",), (_AUTHORS,)),
    "sampling_sift_pos": ForeignName(("exclude_positives",), (_AUTHORS,)),
    "negative_num": ForeignName(_NEGATIVES, (_AUTHORS,)),
    "initial_weight": ForeignName(("init_std",), (_AUTHORS,)),
    "max_epoch": ForeignName(("epochs",), (_AUTHORS,)),
    "early_stop_epoch": ForeignName(("patience",), (_AUTHORS,)),
    # The verbs.
    "N": ForeignName(("top_k",), (_IMPLICIT,)),
    "n": ForeignName(("top_k",), (_LENSKIT,)),
    "topk": ForeignName(("top_k",), (_RECBOLE,)),
    "topK": ForeignName(("top_k",), ()),
    "top_n": ForeignName(("top_k",), ()),
    "topn": ForeignName(("top_k",), ()),
    "num_items": ForeignName(("top_k",), ()),
    "n_recs": ForeignName(("top_k",), ()),
    "limit": ForeignName(("top_k",), ()),
    "filter_already_liked_items": ForeignName(_SEEN, (_IMPLICIT,)),
    "filter_viewed": ForeignName(_SEEN, (_RECTOOLS,)),
    "remove_seen": ForeignName(_SEEN, ()),
    "exclude_train": ForeignName(_SEEN, ()),
    "items_to_recommend": ForeignName(("candidates", "only"), (_RECTOOLS,)),
    "items": ForeignName(("candidates", "item_ids"), ()),
    "filter_items": ForeignName(("exclude",), (_IMPLICIT,)),
    "userid": ForeignName(("user_ids", "user_id"), (_IMPLICIT,)),
    "user": ForeignName(("users", "user_ids", "user_id"), ()),
    "users": ForeignName(("user_ids",), ()),
    "user_id": ForeignName(("user_ids", "users"), ()),
    "itemid": ForeignName(("item_ids", "item_id", "item"), (_IMPLICIT,)),
    "item_id": ForeignName(("item_ids", "item"), ()),
    "user_items": ForeignName((), (_IMPLICIT,), "leave it out: a fitted model knows what its users have, and takes ids, not rows"),
    "sample_weight": ForeignName((), (_LIGHTFM, _SKLEARN), "interactions have no weights here; keep the rows that count, for example by "
                                 "min_rating"),
    # The data.
    "user_col": ForeignName(("user_column",), ()),
    "userCol": ForeignName(("user_column",), (_SPARK,)),
    "USER_ID_FIELD": ForeignName(("user_column",), (_RECBOLE,)),
    "item_col": ForeignName(("item_column",), ()),
    "itemCol": ForeignName(("item_column",), (_SPARK,)),
    "ITEM_ID_FIELD": ForeignName(("item_column",), (_RECBOLE,)),
    "rating_col": ForeignName(("rating_column",), ()),
    "ratingCol": ForeignName(("rating_column",), (_SPARK,)),
    "RATING_FIELD": ForeignName(("rating_column",), (_RECBOLE,)),
    "TIME_FIELD": ForeignName(("time_column",), (_RECBOLE,)),
    "time_col": ForeignName(("time_column",), ()),
    "timestamp_column": ForeignName(("time_column",), ()),
    "sep": ForeignName(("separator",), (_PANDAS,)),
    "delimiter": ForeignName(("separator",), (_PANDAS,)),
    "rating_threshold": ForeignName(("min_rating",), (_CORNAC,)),
    "test_size": ForeignName(("test_share",), (_SKLEARN, _CORNAC)),
    "test_ratio": ForeignName(("test_share",), ()),
    "val_size": ForeignName((), (_CORNAC,), "a tenth of train is held out for validation; or give pairs of your own as valid"),
    "core": ForeignName(("k_core",), ()),
    "data": ForeignName(("dataset",), ()),
    "input": ForeignName(("dataset",), ()),
    "data_path": ForeignName(("data_dir", "dataset"), (_RECBOLE,)),
    "out_dir": ForeignName(("out",), ()),
    "output_dir": ForeignName(("out",), ()),
    "algorithm": ForeignName(("model",), ()),
    "algo": ForeignName(("model",), (_SURPRISE,)),
}  # fmt: skip
"""Name elsewhere -> what it is here."""


def suggestion(given: str, allowed: Iterable[str], prefix: str = "") -> str:
    """Return what to add to the message about an unknown name: what it is called here, the nearest allowed name, or nothing.

    Parameters
    ----------
    given : str
        The name that nobody knows. Case and dashes do not matter.
    allowed : iterable of str
        What is allowed there.
    prefix : str
        What stands before a name where it is typed, such as `--`.

    Returns
    -------
    str
        It begins with a semicolon, or is empty.

    Examples
    --------
    >>> suggestion("factors", ["embedding_dim", "epochs"])
    '; what implicit calls factors is embedding_dim here'
    >>> suggestion("epohcs", ["embedding_dim", "epochs"], prefix="--")
    '; did you mean --epochs?'
    """
    names = list(allowed)
    foreign = _found(given)
    if foreign is not None:
        ours = next((joined for joined in foreign.ours if set(joined.split(",")) <= set(names)), None)
        note = f"; {foreign.note}" if foreign.note else ""
        who = (
            f"what {_listed(foreign.libraries)} call{'' if len(foreign.libraries) > 1 else 's'} {given} is"
            if foreign.libraries
            else (f"{given} is called")
        )
        if ours is not None:
            here = " and ".join(f"{prefix}{name}" for name in ours.split(","))
            return f"; {who} {here} here{note}"
        return f"; {who} {foreign.ours[0]}, which does not belong here" if foreign.ours else note
    return did_you_mean(given, names).replace("mean ", f"mean {prefix}")


def unknown_parameter(what: str, given: str, allowed: Iterable[str], owner: str = "") -> UsageError:
    """Return the error for a name that is not one of `allowed`, with our name for it where another library has it.

    `what` says what kind of name it is, and `owner` which class or function was given it.

    Examples
    --------
    >>> str(unknown_parameter("argument", "N", ["top_k", "exclude_seen"], "recommend"))
    "unknown argument 'N' of recommend; what implicit calls N is top_k here (allowed: top_k, exclude_seen)"
    """
    names = list(allowed)
    of = f" of {owner}" if owner else ""
    return UsageError(f"unknown {what} {given!r}{of}{suggestion(given, names)} (allowed: {', '.join(names) or 'none'})")


def _found(given: str) -> ForeignName | None:
    """Return the entry of a name; only where there is none of that case, case does not matter."""
    name = given.replace("-", "_")
    return FOREIGN_NAMES.get(name) or _BY_LOWER_CASE.get(name.lower())


def _listed(libraries: tuple[str, ...]) -> str:
    *others, last = libraries
    return f"{', '.join(others)} and {last}" if others else last


_BY_LOWER_CASE = {name.lower(): foreign for name, foreign in FOREIGN_NAMES.items()}
