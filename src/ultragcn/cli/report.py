"""Show studies, comparisons and runs: plots, and one page for the browser."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="a folder that ultragcn sweep, compare or train wrote; several folders share one page"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder for the page and its plots (default: report in FOLDER, or runs/report for several folders)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn report`."""
    from ultragcn.experiments.reports import report

    folders = [Path(folder) for folder in arguments.folders]
    given = Path(arguments.out) if arguments.out else None
    page = report(folders, given or (folders[0] if len(folders) == 1 else Path("runs")) / "report")
    print(f"page\t{page}")
    return 0
