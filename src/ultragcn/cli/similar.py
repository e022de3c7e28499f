"""List the items nearest to an item, or the users nearest to a user."""

import argparse
from collections.abc import Sequence

from ultragcn.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that ultragcn train wrote, or save of any model")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--item", metavar="ID", help="an item id")
    what.add_argument("--user", metavar="ID", help="a user id")
    parser.add_argument("--top_k", type=int, default=10, metavar="K", help="length of the list (default: 10)")
    output.add_arguments(parser)


_INSTEAD = {"--users": "--user", "--user_id": "--user", "--items": "--item", "--item_id": "--item"}


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    return f"; did you mean {_INSTEAD[option]}?" if option in _INSTEAD else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn similar`."""
    from ultragcn.models.recommender import EmbeddingRecommender
    from ultragcn.models.registry import load_model

    output.check(arguments)
    model = load_model(arguments.run_folder)
    if arguments.item is not None:
        ids, likeness = model.similar_items(model.item_ids.parse([arguments.item])[0], arguments.top_k)
        columns = output.item_columns(model)
        named = output.item_cells(model, model.item_ids.rows(ids))
    else:
        ids, likeness = model.similar_users(model.user_ids.parse([arguments.user])[0], arguments.top_k)
        columns = ("user_id",)
        named = ((user,) for user in ids)
    rows = ((place, *cells, float(value)) for place, (cells, value) in enumerate(zip(named, likeness, strict=True), start=1))
    output.write(arguments, ("rank", *columns, "cosine" if isinstance(model, EmbeddingRecommender) else "score"), rows)
    return 0
