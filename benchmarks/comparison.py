"""The tables of docs/results.md: every model on every data set, by `ultragcn compare`, beside published numbers.

    ULTRAGCN_DATA_DIR=... python benchmarks/comparison.py [--parts LIST] [--datasets LIST] [--seeds LIST]

Runs are kept in runs/compare-DATASET-clean-refit, -default and -authors, those of unknown_data.py in runs/unknown-DATASET-SPLIT, those of
research/ablation.py in plots/, so what is there is not run again. A section of docs/results.md is written anew once all that it is made of
is there, and stays as it is until then. The part sgd, the authors' procedure, takes minutes on a GPU and nights without one, so it is run
where it is named (`--parts sgd`).
"""

import argparse
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

import unknown_data
from measure import ROOT, data_dir

sys.path.append(str(ROOT / "research"))

import ablation

from ultragcn import storage
from ultragcn.errors import DataWarning

KINDS = ("clean", "default", "authors")
"""Of tables: `clean` with a refit, the same for the defaults alone on data that take them minutes, and the authors' protocol."""
PARTS = (*KINDS, "unknown", "ablation")
"""What is run unless --parts says otherwise: all but `sgd`."""
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

PUBLISHED = {
    "gowalla": "UltraGCN's authors' log .1864 / .1581; BSL-MF .1882 / .1584; LightGCN .1830 / .1554; EASE .1765; BPR .1627; "
    "best of any kind ChebyCF .1941 / .1616",
    "ml-1m": "UltraGCN's authors' log .2787 / .2642; softmax MF .2809 / .2662; BSL-MF .2804 / .2681; EASE (l2 500) .2759 / .2660",
    "amazoncds": "UltraGCN's authors' log .1622 / .1043; MF-BPR .1312 / .0811; SimpleX .1763 / .1145",
    "electronics": "UltraGCN's authors' log .1368 / .0829; MF-BPR .1302 / .0775; SimpleX .1457 / .0842",
}
"""Recall@20 / NDCG@20 as others published them, almost all selected on the test set."""

SGD_SETTINGS = {"gowalla": {"learning_rate": 1e-3, "epochs": 110}}
"""Where the authors' procedure is given other settings than theirs: at their learning rate it takes some 700 epochs."""

ABOUT = """# Results

Recall@20 / NDCG@20 of full rankings, means over seeds, on two CPU cores (the authors' procedure apart). Made by

    ULTRAGCN_DATA_DIR=... python benchmarks/comparison.py

which calls `ultragcn compare --dataset NAME --models LIST --seeds LIST` with `--refit`, and with `--protocol authors`, for each table of a
data set; the tables of unknown data and of parts left out are of `benchmarks/unknown_data.py` and `research/ablation.py`.
The figures of UltraGCN in the tables of a data set are of full sweeps, `negatives="full"`. The section on clusters has those of `auto`.
Settings marked `kept` or `given` were chosen on the validation items of `clean` (configs/; configs/baselines/settings.toml names the
exceptions); each table says how many seeds it has. Seconds are those of the machine as it was: read them only where it did nothing else.

* `clean`, refitted: a tenth of train is held out and epochs are chosen on it; then the model is trained once more on all of train for as
  many epochs, and test is read once. These are the numbers to trust.
* `authors`: the epoch that is best **on test** is kept, as the authors' code does. Only for comparing the paper's model with published
  numbers, which are almost all made so. The baselines compared here choose no epoch: theirs are the numbers of `clean`, refitted.

`ultragcn` has the settings kept for the data set, `ultragcn-default` those for data it knows nothing of (L2 and the weight of the item
graph chosen on validation while training), `ultragcn-paper` is the paper's model, without the item graph at ranking time, with the settings
kept for it (docs/model.md).
"""


CLUSTERS = """## Clusters in place of full sweeps

The tables above are of full sweeps, `negatives="full"`. `auto` takes clusters on these four data sets, and keeps full sweeps on the other
two. `clean`, refitted, settings kept, means over seeds (`python benchmarks/clusters.py`). CPU seconds are those of fit and refit together.
"""

UNKNOWN = """## The defaults on unknown data

Logs with times, split as they are used: the last five items of each user (`last`), or everything from some time on (`time`). UltraGCN has
its defaults, every baseline the best of 6 to 27 settings on the same validation items (`python benchmarks/unknown_data.py`).
"""

SGD = """## The authors' procedure

The paper's model by `solver="sgd"`: sampled negatives and Adam, with the hyper-parameters that the authors published, protocol `authors`,
seed 0, beside the log of their own code (`python benchmarks/comparison.py --parts sgd`). gowalla has ten times their learning rate and 110
epochs at most, where their log has 634. Computed on one NVIDIA H200, all four at the same time: seconds are more than each takes alone.
"""

ABLATION = """## What each part brings

On **validation** items of `clean` (never test), settings kept and one part left out; model seed 0 (`python research/ablation.py`).
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
        parts.append(text if complete else by_heading.get(heading, text))
    storage.write_text(page, "\n".join(part for part in parts if part))


def of_data_set(name: str) -> tuple[str, str, bool]:
    """Return the heading of a data set's section, the section as far as its tables are there, and whether all are."""
    heading, folders = f"## {name}", [folder(name, kind) for kind in kinds_of(name)]
    tables = tables_in(folders)
    published = [f"Published: {PUBLISHED[name]}.\n"] if name in PUBLISHED else []
    return heading, "\n".join([heading + "\n", *tables.values(), *published]) if tables else "", len(tables) == len(folders)


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
            log = published.split(";")[0].removeprefix("UltraGCN's authors' log ")
            reached = f"{float(row['recall@20']):.4f} / {float(row['ndcg@20']):.4f}"
            lines.append([name, reached, log, f"{float(row['train_seconds']):.0f}"])
    text = "\n".join([SGD, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"
    return SGD.split("\n", 1)[0], text if len(lines) > 2 else "", len(lines) == 2 + len(PUBLISHED)


def tables_in(folders: Iterable[Path]) -> dict[Path, str]:
    """Return the tables of comparisons, of those that are there."""
    return {path: (path / "table.md").read_text() for path in folders if (path / "table.md").is_file()}


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
