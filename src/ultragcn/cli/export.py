"""Export the vectors of a run for other programs, and say what ranking by them is worth."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ultragcn.cli import output, threads
from ultragcn.cli.messages import tell
from ultragcn.errors import UsageError

if TYPE_CHECKING:
    from ultragcn.data.interactions import Interactions

_TO = ("numpy", "parquet", "word2vec", "faiss", "pgvector", "ndjson", "qdrant", "elasticsearch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that ultragcn train wrote, or save of any model with embeddings")
    parser.add_argument("--to", required=True, choices=_TO, help="the format; docs/exporting.md says which programs read it")
    parser.add_argument(
        "--out", required=True, metavar="PATH",
        help="a new folder; or one file, with --which items or --which users and a format that writes one file for each of them",
    )  # fmt: skip
    parser.add_argument("--which", choices=("both", "items", "users"), default="both", help="what to write (default: both)")
    parser.add_argument(
        "--extended", metavar="R",
        help="append one dimension for the trend and R dimensions for the item graph (default: write the embeddings alone)",
    )  # fmt: skip
    parser.add_argument(
        "--align_to", metavar="OLD_RUN", help="rotate the vectors towards the vectors of another run, so that vectors of both can "
        "be compared; no score changes",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier export in --out; it stays until the new export is complete"
    )
    parser.add_argument("--data_dir", metavar="DIR", help="folder of the named data set of the run, if it has moved")
    threads.add_argument(parser)


_INSTEAD = {"--format": "--to", "--output": "--out", "--rank": "--extended", "--align": "--align_to", "--side": "--which"}


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    return f"; did you mean {_INSTEAD[option]}?" if option in _INSTEAD else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn export`."""
    from ultragcn.models.registry import load_model
    from ultragcn.serving.export import check_place, export

    extended = _rank_of(arguments.extended)
    out, folder = Path(arguments.out), Path(arguments.run_folder)
    check_place(out, arguments.to, arguments.which, arguments.overwrite)
    model = load_model(folder)
    held_out, part = _held_out(folder, arguments.data_dir)
    with output.removed_when_killed():
        done = export(
            model, out, arguments.to, which=arguments.which, extended=extended, align_to=arguments.align_to, held_out=held_out,
            overwrite=arguments.overwrite,
        )  # fmt: skip
    rows = [("format", done.to), *done.rows.items(), ("dimensions", sum(done.dimensions.values())), *done.figures.items()]
    rows += [("file", str(one)) for one in done.files]
    output.write(argparse.Namespace(output=None, format="tsv"), ("figure", "value"), rows)
    if part:
        tell(f"recall@20 measures a ranking by the vectors in the files, on the {part} pairs of the run")
    else:
        tell("overlap@20 is the share of the model's own lists that a ranking by the vectors in the files has too")
    if done.left_out:
        advised = "; --extended R adds dimensions for it, and says what they are worth" if extended is None else ""
        tell(f"the score of the model also has its {' and its '.join(done.left_out)}, which the vectors lack{advised}")
    label = "recall@20" if part else "overlap@20"
    if done.figures[label] < done.figures.get(f"{label}_of_the_embeddings", 0):
        tell(
            "with the dimensions that --extended added, the lists are worse than with the embeddings alone; drop --extended, or "
            "give a larger R"
        )
    return 0


def _rank_of(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"--extended must be a whole number of 0 or more, not {text}")
    return int(text)


def _held_out(folder: Path, data_dir: str | None) -> tuple["Interactions | None", str]:
    """Return the pairs of a run that its model has not seen, and what they are called; None, and why on stderr, where there are none."""
    from ultragcn.experiments.runs.manifest import MANIFEST, MEASURED, kept_by, load_manifest, load_run_data

    if not (folder / MANIFEST).is_file():
        tell(f"{folder} holds a model alone and no data, so nothing is held out")
        return None, ""
    manifest = load_manifest(folder)
    if kept_by(folder) != MEASURED or "updated" in manifest:
        tell(f"the model in {folder} has seen all pairs, so nothing is held out")
        return None, ""
    try:
        dataset = load_run_data(manifest, data_dir)
    except UsageError as error:
        tell(f"the held-out pairs cannot be read: {error}")
        return None, ""
    if len(dataset.test):
        return dataset.test, "test"
    if dataset.valid is not None and len(dataset.valid) and not manifest["refit"]:
        return dataset.valid, "validation"
    tell("the run holds nothing out")
    return None, ""
