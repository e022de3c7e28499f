"""Copy the model of a run into a folder of its own, with its users or without."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ultragcn.cli.messages import tell
from ultragcn.errors import UsageError, counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that ultragcn train or update wrote, or save of any model")
    parser.add_argument("--out", required=True, metavar="NEW", help="the folder of the copy, which holds the model alone")
    parser.add_argument(
        "--without_history", action="store_true",
        help="leave out all that is known of single users: their items, their ids, and their embeddings, which reveal their "
        "items; the copy recommends to new users by their items, as the model does",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier copy in --out")


_INSTEAD = {"--output": "--out", "--no_history": "--without_history", "--without_users": "--without_history"}


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    return f"; did you mean {_INSTEAD[option]}?" if option in _INSTEAD else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn copy`."""
    from ultragcn.models.registry import load_model

    out = Path(arguments.out)
    _check(out, Path(arguments.run_folder), arguments.overwrite)
    model = load_model(arguments.run_folder)
    model.save(out, history=not arguments.without_history)
    print(f"model\t{out}")
    items, users = counted(len(model.item_ids), "item"), counted(len(model.user_ids), "user")
    if arguments.without_history or model.is_without_history:
        tell(f"the copy knows {items} and no users; it recommends to new users by their items: ultragcn recommend {out} --items ID ...")
    else:
        tell(f"the copy knows {items} and {users}, with the items that each user has; --without_history leaves out the users")
    return 0


def _check(out: Path, run: Path, overwrite: bool) -> None:
    """Refuse a folder that is not new or empty. The copy lies alone in it: a manifest beside it would say where the data are."""
    from ultragcn.models.files import MODEL_FILE

    if out.resolve() == run.resolve():
        raise UsageError(f"{out} is the folder of the model, and the copy needs a folder of its own; give another --out")
    if not out.exists():
        return
    try:
        names = {path.name for path in out.iterdir()}
    except OSError as error:
        raise UsageError(f"cannot use {out}: {error.strerror}; give --out the name of a new folder") from error
    if names - {MODEL_FILE}:
        raise UsageError(f"{out} holds other files, such as {min(names - {MODEL_FILE})}; give --out the name of a new folder")
    if names and not overwrite:
        raise UsageError(f"{out} holds a model already; give another --out, or --overwrite to replace it")
