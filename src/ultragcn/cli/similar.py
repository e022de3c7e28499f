"""List the items nearest to an item, or the users nearest to a user."""

import argparse
from collections.abc import Sequence

from ultragcn.cli import output, threads
from ultragcn.cli.messages import tell
from ultragcn.errors import UsageError
from ultragcn.scoring.similar import WAYS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that ultragcn train wrote, or save of any model")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--item", metavar="ID", help="an item id; one that begins with - is typed --item=-ID")
    what.add_argument("--user", metavar="ID", help="a user id")
    parser.add_argument(
        "--by", choices=WAYS,
        help="how items are compared: together: by the users who have both; embeddings: by the cosine of their embeddings "
        "(default: together for ultragcn and models with item weights, else embeddings)",
    )  # fmt: skip
    parser.add_argument("--top_k", type=int, default=10, metavar="K", help="length of the list (default: 10)")
    threads.add_argument(parser)
    output.add_arguments(parser)


_INSTEAD = {"--users": "--user", "--user_id": "--user", "--items": "--item", "--item_id": "--item"}


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    return f"; did you mean {_INSTEAD[option]}?" if option in _INSTEAD else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn similar`."""
    from ultragcn.models.registry import load_model

    output.check(arguments)
    if arguments.by is not None and arguments.item is None:
        raise UsageError("--by says how items are compared, and users are always compared by their embeddings; drop --by")
    model = load_model(arguments.run_folder)
    column = "cosine"
    if arguments.item is not None:
        [item] = model.item_ids.parse([arguments.item])
        ids, likeness = model.similar_items(item, arguments.top_k, by=arguments.by)
        column = "cosine" if (arguments.by or model.similar_by) == "embeddings" else "score"
        columns = output.item_columns(model)
        named = output.item_cells(model, model.item_ids.rows(ids))
        if model.train_.item_degrees[model.item_ids.rows([item])[0]] == 0:
            tell(f"no user has item {arguments.item!r} in train, so no item can be compared with it")
    else:
        ids, likeness = model.similar_users(model.user_ids.parse([arguments.user])[0], arguments.top_k)
        columns = ("user_id",)
        named = ((user,) for user in ids)
    rows = ((place, *cells, float(value)) for place, (cells, value) in enumerate(zip(named, likeness, strict=True), start=1))
    output.write(arguments, ("rank", *columns, column), rows)
    return 0
