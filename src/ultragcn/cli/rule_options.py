"""The options that say which items may be listed and how lists are chosen: one vocabulary with Python's `recommend`."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ultragcn.cli import ids
from ultragcn.cli.messages import tell
from ultragcn.errors import UsageError, counted

if TYPE_CHECKING:
    from ultragcn.data.ids import Id, IdMap
    from ultragcn.models.recommender import Recommender
    from ultragcn.rules import Rules

UNKNOWN = ("error", "popular", "skip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("rules")
    group.add_argument(
        "--unknown", choices=UNKNOWN,
        help="what to do with ids that the model does not know: error: stop; popular: list the items that most users have; skip: "
        "leave them out "
        "(default: error, or what --rules says)",
    )  # fmt: skip
    for option in ("--only", "--candidates"):
        group.add_argument(
            option, metavar="FILE", action="append", default=[],
            help="list only the items in this file: one id a line, or a column item_id" if option == "--only" else "the same as --only",
        )  # fmt: skip
    group.add_argument(
        "--exclude", metavar="FILE", action="append", default=[],
        help="never list the items in this file; in a table with columns user_id and item_id, never list the item to that user",
    )  # fmt: skip
    group.add_argument(
        "--where", metavar="SQL", action="append", default=[],
        help="list only items for which this condition holds, such as \"price < 20 and genre in ('jazz', 'folk')\", by the "
        "columns of the items "
        "table; several are all to be true",
    )  # fmt: skip
    group.add_argument(
        "--max_per", metavar="COLUMN=N", action="append", default=[], help="at most N items of a list with the same value, such as brand=2"
    )
    group.add_argument(
        "--diversity", metavar="0..1", help="how different the items of a list are: 0: ranked by score alone; 1: as different as possible"
    )
    group.add_argument(
        "--promote", metavar="SQL=SHARE", action="append", default=[],
        help="at least this share of the places has items of which this is true, such as \"margin > 0.4=20%%\"",
    )  # fmt: skip
    group.add_argument(
        "--items_table",
        metavar="FILE",
        help="a table of item ids and anything else known of the items (default: the table kept with the run)",
    )
    group.add_argument("--rules", metavar="FILE", help="a TOML file of named rules")
    group.add_argument(
        "--rule",
        metavar="NAME",
        action="append",
        default=[],
        help="the name of a rule in that file; all rules that are given hold together",
    )
    group.add_argument(
        "--value", metavar="NAME=VALUE", action="append", default=[],
        help="the value of {NAME} in a rule, such as price=20; give a name several times for a list of values",
    )  # fmt: skip


def check(arguments: argparse.Namespace) -> None:
    """Refuse what does not go together, before any work."""
    files = {f"--{name}": getattr(arguments, name) for name in ("users_file", "queries", "candidates", "only", "exclude")}
    named = [(option, file) for option, given in files.items() for file in ([given] if isinstance(given, str) else given or [])]
    from_stdin = [option for option, file in named if file == ids.STDIN]
    if len(from_stdin) > 1:
        raise UsageError(f"{from_stdin[0]} and {from_stdin[1]} cannot both be read from stdin; give a file for one of them")
    for option in ("rule", "value"):
        if getattr(arguments, option) and not arguments.rules:
            raise UsageError(f"--{option} refers to a file of rules; give the file too: --rules FILE")


def rules_of(arguments: argparse.Namespace, model: "Recommender") -> "Rules":
    """Return the rules that the options say; give the model the items table that they name, and settle `arguments.unknown`."""
    from ultragcn.rules import Rules
    from ultragcn.rules.named import read_rules, values_of

    if arguments.items_table:
        model.set_items_table(arguments.items_table)
    rules = Rules()
    if arguments.rules:
        named = read_rules(arguments.rules, arguments.rule, values_of(arguments.value))
        rules = named.rules
        for note in named.notes:
            tell(note)
    rules &= Rules(
        where=arguments.where, max_per=arguments.max_per, diversity=arguments.diversity, promote=arguments.promote,
        unknown=arguments.unknown,
    )  # fmt: skip
    for option in ("--candidates", "--only"):
        for file in getattr(arguments, option[2:]):
            rules &= Rules(only=_items_of(ids.read_ids(file, model.item_ids, option), model.item_ids, f"{option} {file}"))
    for file in arguments.exclude:
        rules &= _excluded(file, model)
    arguments.unknown = "error" if rules.unknown in (None, "raise") else rules.unknown
    return rules


def _excluded(file: str, model: "Recommender") -> "Rules":
    from ultragcn.rules import Rules
    from ultragcn.rules.rules import pairs_of_texts

    users, items = ids.read_items_or_pairs(file, model.user_ids, model.item_ids, "--exclude")
    listed = _items_of(list(dict.fromkeys(items)), model.item_ids, f"--exclude {file}")
    if users is None:
        return Rules(exclude=listed)
    return Rules(exclude=pairs_of_texts(users, items, model.user_ids, model.item_ids))


def _items_of(texts: Sequence[str], item_ids: "IdMap", where: str) -> list["Id"]:
    """Return the items that the model knows, and say how many it does not know."""
    found = ids.typed(item_ids, texts)
    if strangers := [*found.impossible, *found.unknown]:
        tell(f"{of(strangers, found, 'item')} in {where} {are(strangers)} not known to the model, and cannot be listed anyway")
    unknown = set(found.unknown)
    return [item for item in found.ids if str(item) not in unknown]


def of(some: Sequence[str], found: ids.Typed, what: str) -> str:
    """Return `2 of 7 items (first: 'x')`."""
    return f"{len(some)} of {counted(len(found.ids) + len(found.impossible), what)} (first: {some[0]!r})"


def are(some: Sequence[str]) -> str:
    """Return the verb for so many."""
    return "is" if len(some) == 1 else "are"
