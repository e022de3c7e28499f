"""What came out of studies, comparisons and runs, as plots and as one page.

index.html       the page: one file, which needs no network and no server
figures/         each plot as PNG and SVG
"""

import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import ultragcn
from ultragcn import storage
from ultragcn.errors import UsageError, warn
from ultragcn.experiments import plots
from ultragcn.experiments.reports import comparisons, runs, studies
from ultragcn.experiments.reports.page import Section, write_page
from ultragcn.experiments.runs import manifest as run
from ultragcn.experiments.studies import compare, study

PAGE, FIGURES = "index.html", "figures"
_KINDS = {study.STUDY: studies.section, compare.COMPARISON: comparisons.section, run.MANIFEST: None}
"""The file that tells what a folder holds -> what makes a section of it; runs are put together first."""


def report(folders: Sequence[Path], out: Path) -> Path:
    """Write a page on the studies, comparisons and runs in `folders`, and its plots, into `out`; return where the page is.

    Raises
    ------
    UsageError
        A folder is not there, none holds any of them, or `out` holds files of something else: before anything is written.
    MissingDependencyError
        matplotlib is not installed.
    """
    plots.check_installed("a report")
    # runs/* also matches the report that was written into runs before.
    named = [folder for folder in dict.fromkeys(map(Path, folders)) if folder.resolve() != out.resolve()]
    kinds = {}
    for folder in named:
        try:
            kinds[folder] = _kind(folder)
        except UsageError as error:
            if len(named) == 1 or not folder.is_dir():
                raise
            warn(f"{error}; it is left out")
    if not kinds:
        raise UsageError("there is nothing to report on; give folders that ultragcn sweep, compare or train wrote")
    _check(out)
    made = {}
    for folder, kind in kinds.items():
        if (make := _KINDS[kind]) is not None:
            with storage.as_written(folder, "ultragcn"):
                made[folder] = make(folder)
    titles = [section.title for section in made.values()]
    for folder, section in made.items():
        if titles.count(section.title) > 1:
            section.title += f" ({folder})"
    sections = list(made.values())
    of_runs = [folder for folder, kind in kinds.items() if kind == run.MANIFEST]
    where = ", ".join(map(str, kinds))
    with storage.as_written(Path(where), "ultragcn"):
        sections += runs.sections(of_runs)
        files = list(_written(sections, out))
    kept = set(chain(*files))
    for file in (out / FIGURES).glob("*.*"):
        if f"{FIGURES}/{file.stem}.png" not in kept:
            file.unlink()  # of the report that was here before
    footer = [
        ("Written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by ultragcn {ultragcn.__version__}"),
        ("This page again", shlex.join(["ultragcn", "report", *map(str, kinds), "--out", str(out)])),
    ]
    storage.write_text(out / PAGE, write_page(sections, footer, files))
    return out / PAGE


def _kind(folder: Path) -> str:
    """Return the file that tells what `folder` holds."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; give one that ultragcn sweep, compare or train wrote")
    kind = next((name for name in _KINDS if (folder / name).is_file()), None)
    if kind is not None:
        return kind
    inside = any(next(folder.glob(f"*/{name}"), None) for name in _KINDS)
    hint = f"; give those inside it: {folder}/*" if inside else "; give a folder that ultragcn sweep, compare or train wrote"
    raise UsageError(f"{folder} holds no study, comparison or run{hint}")


def _check(out: Path) -> None:
    """Refuse a folder of something else."""
    try:
        present = sorted(path.name for path in out.iterdir()) if out.exists() else []
    except OSError as error:
        raise UsageError(f"cannot use {out} for a report: {error.strerror}; choose a folder you can write to") from error
    if present and not set(present) <= {PAGE, FIGURES}:
        raise UsageError(f"{out} already holds files of something else ({', '.join(present[:3])}); give another --out")


def _written(sections: Sequence[Section], out: Path) -> Iterable[list[str]]:
    """Write the plots of each section; yield where their PNGs are, relative to the page."""
    for number, section in enumerate(sections, 1):
        files = []
        for plot in section.plots:
            name = plot.file_name if len(sections) == 1 else f"{number}-{plot.file_name}"
            plot.write_png(out / FIGURES / f"{name}.png")
            plot.write_svg(out / FIGURES / f"{name}.svg")
            files.append(f"{FIGURES}/{name}.png")
        yield files
