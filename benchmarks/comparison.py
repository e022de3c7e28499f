"""The tables of docs/results.md: every model on every data set, by `ultragcn compare`, beside published numbers.

    ULTRAGCN_DATA_DIR=... python benchmarks/comparison.py [--parts LIST] [--datasets LIST] [--seeds LIST]

Runs are kept in runs/compare-DATASET-clean-refit, -default and -authors, those of unknown_data.py in runs/unknown-DATASET-SPLIT, those of
research/ablation.py in plots/, so what is there is not run again. A section of docs/results.md is written anew once all that it is made of
is there, and stays as it is until then. Under each table the page says which version made it on which day, from what `compare` recorded. Of
a table without a record, the page names the commit that brought the last of its rows into the page.

The part sgd, the authors' procedure, takes minutes on a GPU and nights without one. It runs where it is named (`--parts sgd`).
"""

import argparse
import functools
import itertools
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import unknown_data
from measure import ROOT, data_dir

sys.path.append(str(ROOT / "research"))

import ablation

from ultragcn import storage
from ultragcn.errors import DataWarning
from ultragcn.experiments.studies.compare import reading

KINDS = ("clean", "default", "authors")
"""Of tables: `clean` with a refit, the same for the defaults alone on data that take them minutes, and the authors' protocol."""
PARTS = (*KINDS, "unknown", "ablation")
"""What is run unless --parts says otherwise: all but `sgd`."""
MEASURED = ("| model | settings |", "|  | seeds |", "|  | Recall@20 / NDCG@20 | their log |", "|  | gowalla | ml-1m |")
"""How the tables begin that have our own figures."""
DATED = re.compile(r"(This table was|The runs? of .+ (was|were)) made by |The last rows of this table came into this page with commit ")
"""How the line under such a table begins."""
ONE_SEED = 0
"""Of the defaults where they take minutes, and of sgd."""

# EASE where its I x I inverse is quick; SparseEASE where it is not.
_WITH_EASE = "popularity,itemknn,rp3beta,ease,ials,bpr"
_LARGE = "popularity,itemknn,rp3beta,sparse-ease,ials,bpr"
BASELINES = {
    "gowalla": _LARGE, "ml-1m": _WITH_EASE, "amazoncds": _LARGE, "electronics": _WITH_EASE, "ml-latest-small": _WITH_EASE,
    "movietweetings-100k": _WITH_EASE,
}  # fmt: skip
"""What is compared on each data set."""
MINUTES = ("gowalla", "amazoncds")
"""Where a fit with the defaults takes minutes."""

AUTHORS_LOG = "UltraGCN, log of the authors' code"
PUBLISHED = {
    "gowalla": {
        AUTHORS_LOG: ".1864 / .1581", "BSL-MF": ".1882 / .1584", "LightGCN": ".1830 / .1554", "EASE": ".1765", "BPR": ".1627",
        "ChebyCF, the best of any kind": ".1941 / .1616",
    },
    "ml-1m": {AUTHORS_LOG: ".2787 / .2642", "softmax MF": ".2809 / .2662", "BSL-MF": ".2804 / .2681", "EASE (l2 500)": ".2759 / .2660"},
    "amazoncds": {AUTHORS_LOG: ".1622 / .1043", "MF-BPR": ".1312 / .0811", "SimpleX": ".1763 / .1145"},
    "electronics": {AUTHORS_LOG: ".1368 / .0829", "MF-BPR": ".1302 / .0775", "SimpleX": ".1457 / .0842"},
}  # fmt: skip
"""Recall@20 / NDCG@20 as others published them, or Recall@20 alone; almost all were selected on the test set."""

SGD_SETTINGS = {"gowalla": {"learning_rate": 1e-3, "epochs": 110}}
"""Where the authors' procedure is given other settings than theirs: at their learning rate it takes some 700 epochs."""

ABOUT = """# Results

This page compares the models on six data sets, by Recall@20 and NDCG@20. Each figure is a mean over seeds, and every item that a user has
not seen yet is ranked. Two CPU cores computed all tables but that of the authors' procedure. This command makes the page:

    ULTRAGCN_DATA_DIR=... python benchmarks/comparison.py

It calls `ultragcn compare --dataset NAME --models LIST --seeds LIST` for each table of a data set, with `--refit` or with
`--protocol authors`. The tables of unknown data are made by `benchmarks/unknown_data.py`, and those of parts left out by
`research/ablation.py`.

## How to read the tables

| column | what it has |
| --- | --- |
| settings | `kept`: chosen for this data set (configs/); `given`: by `--settings`; `chosen`: on validation; `defaults`: for no data set |
| seeds | over how many seeds the figures are means |
| 95 % interval | a bootstrap over users |
| over seeds | the standard deviation over seeds |
| p | the p-value of a paired t-test of recall@20 over users against the best model, with Holm's correction |
| with history | recall@20 of the test users who have train items |
| difference to the best | of recall@20, paired by user, with its 95 % interval |
| seconds | the seconds of a training on the machine as it was; other work may have run at the same time |

| protocol | how a model is trained and measured | use |
| --- | --- | --- |
| `clean`, refitted | A tenth of train is held out, and epochs are chosen on it. | These are the numbers to trust. |
| `authors` | The epoch that is best **on test** is kept, as the authors' code does. | Compare published numbers with these only. |

Refitted means that the model is trained once more, on all of train and for as many epochs as were chosen. Test is then read once.
Almost all published numbers were chosen on test, so they compare with the paper's model under `authors`. The baselines choose no epoch.
Under `authors` their numbers would be those of `clean`, refitted, so they have no line there.

| model | what it is |
| --- | --- |
| `ultragcn` | UltraGCN with the settings kept for the data set |
| `ultragcn-default` | UltraGCN with the defaults: L2 and the weight of the item graph are chosen on validation in training |
| `ultragcn-paper` | [the paper's model](model.md), without the item graph at ranking time, with the settings kept for it |

Settings marked `kept` or `given` were chosen on the validation items of `clean`. configs/baselines/settings.toml names the exceptions. The
figures of UltraGCN in the tables of a data set are of full sweeps, `negatives="full"`. The section on clusters has those of `auto`.

A line under each table says which version made it on which day. `compare` did not always record its version. Where it did not, the line
names the commit that brought the last rows of the table into this page. Code of that commit, or earlier code, made those rows.
"""


CLUSTERS = """## Clusters in place of full sweeps

The tables above are of full sweeps, `negatives="full"`. `auto` takes clusters on the four data sets of this table, and keeps full sweeps on
the other two. The protocol is `clean`, refitted, the settings are those kept, and the figures are means over seeds. They are Recall@20 /
NDCG@20. CPU seconds are those of fit and refit together. `python benchmarks/clusters.py` measured them.
"""

UNKNOWN = """## The defaults on unknown data

These logs have times, and they are split as logs are used. `last` holds out the last five items of each user, and `time` holds out
everything from some time on. UltraGCN has its defaults. Every baseline has the best of 6 to 27 settings on the same validation items.
`python benchmarks/unknown_data.py` made the tables.
"""

SGD = """## The authors' procedure

This table has the paper's model as the authors train it, beside the log of their own code. `solver="sgd"` samples negatives and takes steps
of Adam, with the hyper-parameters that the authors published, under the protocol `authors`, with seed 0.
`python benchmarks/comparison.py --parts sgd` made it. One NVIDIA H200 computed all four trainings at the same time, so the seconds
are more than each takes alone. On gowalla the schedule differs:

| gowalla | learning rate | epochs at most |
| --- | --- | --- |
| here | ten times the authors' | 110 |
| log of the authors' code | the authors' | 634 |
"""

ABLATION = """## What each part brings

Each line leaves out one part of the model and keeps all other settings. The figures are Recall@20 / NDCG@20 on the **validation** items of
`clean`, with model seed 0. Test is not read. `python research/ablation.py` measured them.
"""


def compare(name: str, kind: str, seeds: str) -> None:
    """Run what is missing of one table."""
    clean = "ultragcn,ultragcn-paper" + ("" if name in MINUTES else ",ultragcn-default")
    ours = {"clean": clean, "default": "ultragcn-default", "authors": "ultragcn-paper", "sgd": "ultragcn-sgd"}[kind]
    models = f"{ours},{BASELINES[name]}" if kind == "clean" else ours
    how = ["--protocol", "authors"] if kind in ("authors", "sgd") else ["--refit"]
    words = ["--dataset", name, *how, "--models", models, "--seeds", f"{ONE_SEED}," if kind in ("default", "sgd") else seeds]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        if kind == "sgd" and name in SGD_SETTINGS:
            file.write("[ultragcn-sgd]\n" + "".join(f"{key} = {value}\n" for key, value in SGD_SETTINGS[name].items()))
            file.flush()
            words += ["--settings", file.name]
        out = ["--out", str(folder(name, kind)), "--data_dir", data_dir(), "--quiet"]
        # A model that fails stands in the table with the reason.
        subprocess.run([sys.executable, "-m", "ultragcn", "compare", *words, *out], check=False, stdout=subprocess.DEVNULL)


def folder(name: str, kind: str) -> Path:
    """Return where one comparison is kept."""
    return ROOT / "runs" / f"compare-{name}-{kind}{'-refit' if kind == 'clean' else ''}"


def kinds_of(name: str) -> list[str]:
    """Return the kinds of tables that a data set's section has."""
    having = {"clean": BASELINES, "default": MINUTES, "authors": PUBLISHED}
    return [kind for kind in KINDS if name in having[kind]]


def write() -> None:
    """Write docs/results.md: a section anew where all that it is made of is there, else as it stands."""
    page = ROOT / "docs/results.md"
    standing = page.read_text() if page.is_file() else ""
    sections = [*map(of_data_set, BASELINES), of_clusters(standing), of_unknown_data(), of_sgd(), of_ablations()]
    by_heading = {part.split("\n", 1)[0]: part.rstrip() + "\n" for part in re.split(r"^(?=## )", standing, flags=re.MULTILINE)}
    parts = [ABOUT]
    for heading, text, complete in sections:
        parts.append(dated(text if complete else by_heading.get(heading, text), commits_of_rows()))
    storage.write_text(page, "\n".join(part for part in parts if part))


class Commit(NamedTuple):
    """A commit of docs/results.md."""

    place: int
    """In the history, from the first one."""
    name: str
    day: str


@functools.cache
def commits_of_rows() -> dict[str, Commit]:
    """Return, for each row of a table that docs/results.md ever had, the commit that brought it last."""
    command = ["git", "log", "--reverse", "--first-parent", "-m", "--format=commit %h %as", "-p", "--unified=0", "--", "docs/results.md"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    brought: dict[str, Commit] = {}
    commit = Commit(0, "", "")
    for line in done.stdout.splitlines():
        if words := re.fullmatch(r"commit (\S+) (\S+)", line):
            commit = Commit(commit.place + 1, words[1], words[2])
        elif line.startswith("+| "):
            brought[line[1:]] = commit
    return brought


def dated(section: str, commits: Mapping[str, Commit]) -> str:
    """Return a section with a line under each table that has none: the commit that brought the last of its rows into the page.

    Only tables that begin as MEASURED says are dated, and only where every row is committed.
    """
    if not section:
        return ""
    paragraphs, out = section.rstrip("\n").split("\n\n"), []
    for paragraph, follows in zip(paragraphs, [*paragraphs[1:], ""], strict=True):
        out.append(paragraph)
        rows = paragraph.split("\n")[2:]
        if paragraph.startswith(MEASURED) and not DATED.match(follows) and all(row in commits for row in rows):
            last = max(commits[row] for row in rows)
            out.append(f"The last rows of this table came into this page with commit {last.name}, on {last.day}.")
    return "\n\n".join(out) + "\n"


def of_data_set(name: str) -> tuple[str, str, bool]:
    """Return the heading of a data set's section, the section as far as its tables are there, and whether all are."""
    heading, folders = f"## {name}", [folder(name, kind) for kind in kinds_of(name)]
    found = tables_in(folders)
    tables, clean, default = dict(found), folder(name, "clean"), folder(name, "default")
    if clean in tables and default in tables:
        tables[clean] = with_rows(tables[clean], tables.pop(default))
    published = [of_published(name)] if name in PUBLISHED else []
    return heading, "\n".join([heading + "\n", *tables.values(), *published]) if tables else "", len(found) == len(folders)


def with_rows(table: str, other: str) -> str:
    """Return a table with the rows of another one among its own, by Recall@20.

    Those rows were not compared user by user, so they say that they are not tested.
    """
    lines = table.split("\n")
    head = next(place for place, line in enumerate(lines) if line.startswith("| model |"))
    names = cells_of(lines[head])
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), lines[head + 2 :]))
    of_other = dict.fromkeys(line for line in other.split("\n") if line.startswith("| ") and not line.startswith(("| model |", "| ---")))
    more = [
        "| " + " | ".join("not tested" if name == "p" else cell for name, cell in zip(names, cells_of(line), strict=True)) + " |"
        for line in of_other
    ]
    ordered = sorted([*rows, *more], key=lambda line: -float(cells_of(line)[names.index("recall@20")]))
    apart = ", ".join(f"`{cells_of(line)[0]}`" for line in more)
    note = f"{apart} was run apart, with fewer seeds, so it is not tested against the others user by user."
    return "\n".join([*lines[: head + 2], *ordered, *lines[head + 2 + len(rows) :]]).rstrip("\n") + f"\n\n{note}\n"


def cells_of(line: str) -> list[str]:
    """Return the cells of a row of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def of_published(name: str) -> str:
    """Return the table of what others published on a data set."""
    lines = [["published by others", "Recall@20 / NDCG@20"], ["---"] * 2, *([model, figures] for model, figures in PUBLISHED[name].items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def of_clusters(standing: str) -> tuple[str, str, bool]:
    """Return the same of clusters, beside what the page has of full sweeps."""
    path = ROOT / "plots/clusters.tsv"
    rows = storage.read_rows(path) if path.is_file() else []
    rows = [row for row in rows if row["settings"] == "kept" and row["negatives"] == "clusters"]
    lines = [["", "seeds", "full sweeps", "clusters", "CPU seconds"], ["---"] * 5]
    for name in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == name]
        recall, ndcg, fit, refit = (
            sum(float(row[column]) for row in own) / len(own) for column in ("refitted recall@20", "refitted ndcg@20", "cpu", "refit_cpu")
        )
        section = standing.partition(f"## {name}\n")[2]
        full = re.search(r"\| ultragcn \| kept \| \d+ \| ([\d.]+) \| ([\d.]+) \|", section)
        before = f"{full[1]} / {full[2]}" if full else ""
        lines.append([name, str(len(own)), before, f"{recall:.4f} / {ndcg:.4f}", f"{fit + refit:.0f}"])
    text = "\n".join([CLUSTERS, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"
    return CLUSTERS.split("\n", 1)[0], text if rows else "", len(lines) > 5 and all(int(line[1]) >= 5 for line in lines[2:])


def of_unknown_data() -> tuple[str, str, bool]:
    """Return the same of the defaults on unknown data."""
    folders = {unknown_data.folder(name, split): (name, split) for name in unknown_data.NAMES for split in unknown_data.SPLITS}
    tables = tables_in(folders)
    parts = [f"### {', '.join(folders[path])}\n\n{table}" for path, table in tables.items()]
    return UNKNOWN.split("\n", 1)[0], "\n".join([UNKNOWN, *parts]) if parts else "", len(tables) == len(folders)


def of_sgd() -> tuple[str, str, bool]:
    """Return the same of the authors' procedure."""
    lines = [["", "Recall@20 / NDCG@20", "their log", "seconds"], ["---"] * 4]
    for name, published in PUBLISHED.items():
        path = folder(name, "sgd") / "table.tsv"
        for row in storage.read_rows(path) if path.is_file() else []:
            reached = f"{float(row['recall@20']):.4f} / {float(row['ndcg@20']):.4f}"
            lines.append([name, reached, published[AUTHORS_LOG], f"{float(row['train_seconds']):.0f}"])
    text = "\n".join([SGD, *("| " + " | ".join(line) + " |" for line in lines), *makers_of_sgd()]) + "\n"
    return SGD.split("\n", 1)[0], text if len(lines) > 2 else "", len(lines) == 2 + len(PUBLISHED)


def makers_of_sgd() -> list[str]:
    """Return which versions made the runs of the authors' procedure, as compare recorded it under each of its tables."""
    tables = tables_in(folder(name, "sgd") for name in PUBLISHED)
    lines = {
        line.replace("This table was", f"The run of {path.name.removeprefix('compare-').removesuffix('-sgd')} was")
        for path, table in tables.items()
        for line in table.splitlines()
        if line.startswith("This table was made by ")
    }
    return ["", " ".join(sorted(lines))] if lines else []


def tables_in(folders: Iterable[Path]) -> dict[Path, str]:
    """Return the tables of comparisons, of those that are there, without what the top of the page says once."""
    said = "\n" + reading("recall@20") + "\n"
    return {path: (path / "table.md").read_text().replace(said, "", 1) for path in folders if (path / "table.md").is_file()}


def of_ablations() -> tuple[str, str, bool]:
    """Return the same of what research/ablation.py measured."""
    found = {name: {row["variant"]: row for row in ablation.rows_of(name)} for name in BASELINES}
    names = [name for name, rows in found.items() if rows]
    lines = [["", *names], ["---"] * (len(names) + 1)]
    for variant in (*ablation.LEFT_OUT, ablation.GRAPH_ALONE):
        rows = [found[name].get(variant) for name in names]
        lines.append([variant, *(f"{float(row['recall@20']):.4f} / {float(row['ndcg@20']):.4f}" if row else "" for row in rows)])
    text = "\n".join([ABLATION, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"
    return ABLATION.split("\n", 1)[0], text if names else "", set(ablation.NAMES.split(",")) <= set(names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="what to run where it is missing; '' only writes docs/results.md")
    parser.add_argument("--datasets", default=",".join(BASELINES))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    arguments = parser.parse_args()
    parts, names = arguments.parts.split(","), arguments.datasets.split(",")
    warnings.simplefilter("ignore", DataWarning)
    for name in names:
        for kind in [*kinds_of(name), *(["sgd"] if name in PUBLISHED else [])]:
            if kind in parts:
                compare(name, kind, arguments.seeds)
                write()
        if "unknown" in parts and name in unknown_data.NAMES:
            for split in unknown_data.SPLITS:
                unknown_data.measure(name, split, [int(seed) for seed in arguments.seeds.split(",")])
        if "ablation" in parts:
            ablation.measure(name)
    write()
