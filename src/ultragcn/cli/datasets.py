"""List the data sets known by name: sizes, where from, whether present."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--data_dir", metavar="DIR", help="folder in which data sets are searched (default: $ULTRAGCN_DATA_DIR or datasets)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn datasets`."""
    from ultragcn.data import synthetic
    from ultragcn.data.sources import SOURCES, data_folder, is_present

    folder = data_folder(arguments.data_dir)
    rows: list[tuple[str, ...]] = [("name", "users", "items", "train", "test", "here", "about", "from")]
    made = synthetic.make_demo()
    sizes = (made.train.num_users, made.train.num_items, len(made.train), len(made.test))
    rows.append(("demo", *map(str, sizes), "yes", "made on the spot, best reachable recall known", "built in"))
    for source in SOURCES.values():
        # A log is one file, split when it is loaded.
        num_test = "-" if source.num_test is None else source.num_test
        here = "yes" if is_present(source, folder) else "no"
        sizes_here = (source.num_users, source.num_items, source.num_train, num_test)
        rows.append((source.name, *map(str, sizes_here), here, source.about, source.home))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
