"""Other libraries beside ours: EASE in each of them, their defaults, and each tuned; accuracy, CPU seconds, memory, install.

    ULTRAGCN_DATA_DIR=... python benchmarks/peers.py --environments FOLDER [--parts LIST] [--datasets LIST] [--libraries LIST]

Every library gets the same pairs as two arrays of integers, learns with two threads in a process of its own (peers_worker.py), and hands
back 20 items for each user who has test pairs, without what the user has. `ultragcn.evaluate` measures all lists, so there is one ruler.

| part | what it has |
|---|---|
| ease | EASE with the library's own default, and with one L2 strength for all libraries: that of EASE_L2 which is best on validation |
| defaults | the models that a library would be used for, with its defaults, learned from train and validation pairs |
| tuned | the same models after `--draws` settings each, the default among them, chosen by NDCG@20 on validation pairs |

Settings are chosen after a fit on train alone. Test is read once, after a fit on train and validation together. Models that choose when
to stop (`stops` of PEERS) keep validation pairs apart for that, as they do by default. UltraGCN also chooses its L2 strength and the
weight of its item graph on them, and then learns again from all pairs.

With `--environments FOLDER`, each library is installed into FOLDER/LIBRARY from what PEERS names, unless it is there. Without it, every
library is looked for in the environment that runs this script. A fit that needs more than `--limit` CPU seconds is stopped, and the row
says so. A row for each fit goes to plots/peers.tsv; a fit that
stands there is not run again, unless it failed. The tables are printed in Markdown.
"""

import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROOT, data_dir, report

from ultragcn import evaluate, load_dataset, storage
from ultragcn.data.datasets import Dataset
from ultragcn.errors import DataError, DataWarning
from ultragcn.evaluation.lists import RankedLists

WORKER = Path(__file__).with_name("peers_worker.py")
PARTS = ("ease", "defaults", "tuned")
DATASETS = ("electronics", "ml-1m")
METRICS = ("recall@20", "ndcg@20")
EASE_L2 = (10.0, 30.0, 100.0, 200.0, 300.0, 500.0, 800.0)
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """A library: what pip is given, which model is its EASE, and which of its models are compared."""

    requirements: tuple[str, ...]
    ease: tuple[str, str] | None = None
    """The model, and what it calls the L2 strength."""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Model -> hyper-parameter -> what is drawn: a list of values, or the ends of a range, even over the orders of magnitude. Ends that
    are integers give integers. Names with a comma between get the same value."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables that its documentation asks for."""
    variants: tuple[tuple[str, dict], ...] = ()
    """Further EASE models beside the one with defaults: a name, and what is given in all of its fits."""
    stops: tuple[str, ...] = ()
    """Models that choose when to stop on validation pairs."""
    instead: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Model -> what is given in place of a default with which it does not work."""


_ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_FACTORS = [32, 64, 128, 192]

PEERS = {
    "ultragcn": Peer(
        (str(ROOT),), ("EASE", "l2"),
        {
            "UltraGCN": {
                "embedding_dim": _FACTORS, "negative_weight": (20.0, 1000.0), "item_item_weight": (0.001, 3.0),
                "item_graph_l2": (10.0, 1000.0),
            }
        },
        stops=("UltraGCN",),
    ),
    "implicit": Peer(
        ("implicit==0.7.3",), None,
        {
            "AlternatingLeastSquares": {
                "factors": _FACTORS, "regularization": (0.001, 100.0), "alpha": (0.3, 100.0), "iterations": (5, 40),
            },
            "BayesianPersonalizedRanking": {
                "factors": _FACTORS, "learning_rate": (0.003, 0.3), "regularization": (0.0003, 0.1), "iterations": (30, 500),
            },
            "BM25Recommender": {"K": (10, 1000), "K1": (0.1, 100.0), "B": [0.0, 0.25, 0.5, 0.75, 1.0]},
        },
        _ONE_BLAS_THREAD,
    ),
    "rectools": Peer(("rectools==0.19.0",), ("EASEModel", "regularization"), {"PureSVDModel": {"factors": (8, 256)}}),
    "cornac": Peer(
        ("cornac==3.0.1",), ("EASE", "lamb"),
        {"BPR": {"k": _FACTORS, "max_iter": (30, 500), "learning_rate": (0.001, 0.1), "lambda_reg": (0.0003, 0.1)}},
        variants=(("all weights", {"posB": False}),),
    ),
    "lenskit": Peer(
        (TORCH, "lenskit==2025.8.1"), ("EASEScorer", "regularization"),
        {
            "ImplicitMFScorer": {"embedding_size": _FACTORS, "epochs": (5, 40), "regularization": (0.001, 100.0), "weight": (0.3, 100.0)},
            "ItemKNNScorer": {"max_nbrs": (5, 500), "save_nbrs": (50, 1000)},
        },
    ),
    "irspack": Peer(
        ("irspack==0.5.2",), ("DenseSLIMRecommender", "reg"),
        {
            "IALSRecommender": {"n_components": _FACTORS, "alpha0": (0.003, 1.0), "reg": (0.0001, 0.1), "train_epochs": (5, 40)},
            "RP3betaRecommender": {"top_k": (20, 1000), "beta": (0.001, 0.9), "alpha": [0.6, 0.8, 1.0, 1.2]},
        },
        # The constructor's default is 0, with which items that users lack count for nothing; this is the default of its IALSConfig.
        instead={"IALSRecommender": {"alpha0": 1.0}},
    ),
    "recpack": Peer((TORCH, "recpack==0.3.6"), ("EASE", "l2")),
    "recbole": Peer(
        (TORCH, "recbole==1.2.1", "numpy<2", "scipy<1.11"), ("EASE", "reg_weight"),
        {
            "BPR": {"embedding_size": _FACTORS, "learning_rate": (0.0003, 0.03)},
            "LightGCN": {
                "embedding_size": [64, 128], "learning_rate": (0.0003, 0.03), "reg_weight": (1e-6, 1e-2), "n_layers": [1, 2, 3],
            },
        },
        stops=("BPR", "LightGCN"),
    ),
}  # fmt: skip
"""Ours first. Ranges are wide ones around the defaults, and were not changed after a look at results."""


# Data


def pairs_of(data: Dataset, purpose: str, folder: Path) -> Path:
    """Write the pairs of one purpose for the worker and return the file.

    Parameters
    ----------
    purpose : str
        `try`: learn from train, lists for the users with validation pairs. `final`: learn from train and validation, lists for the users
        with test pairs. With ` with validation` after either, validation pairs are handed over apart.
    """
    file = folder / f"{data.name}-{purpose.replace(' ', '-')}.npz"
    tries, apart = purpose.startswith("try"), purpose.endswith(" with validation")
    nothing = np.empty(0, np.int32)
    train, valid = data.train.pairs, data.valid.pairs
    learned, held = train, (valid if apart else (nothing, nothing))
    if not tries and not apart:
        learned = tuple(np.concatenate(both) for both in zip(train, valid, strict=True))
    arrays = dict(zip(("users", "items", "held_users", "held_items"), (*learned, *held), strict=True))
    asked = np.flatnonzero((data.valid if tries else data.test).user_degrees > 0)
    np.savez(
        file, **{name: array.astype(np.int32) for name, array in (arrays | {"asked": asked}).items()},
        shape=[data.train.num_users, data.train.num_items], asks_held=tries and apart,
    )  # fmt: skip
    return file


def measured(lists: np.ndarray, data: Dataset, purpose: str) -> dict[str, float]:
    """Return the metrics of lists (Q, 20) for the users whom `pairs_of` asks about."""
    targets, valid = (data.valid, None) if purpose.startswith("try") else (data.test, data.valid)
    asked = np.flatnonzero(targets.user_degrees > 0)
    if lists.shape[0] != len(asked):
        raise DataError(f"there are lists for {len(lists)} users, not for {len(asked)}; return a row for each user asked about")
    ranked = RankedLists(np.repeat(asked, lists.shape[1]), lists.ravel(), data.train, valid, "the library")
    found = evaluate(ranked, targets, METRICS)
    return {metric: found[metric] for metric in METRICS}


# Environments


def interpreter(library: str, environments: Path | None) -> Path | None:
    """Return the Python that has a library, which is installed if it has to be; None where that failed."""
    if environments is None:
        return Path(sys.executable)
    home = environments / library
    about = installed(library, environments)
    if about.get("requirements") != wanted(library):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        print(f"installing {library}", file=sys.stderr, flush=True)
        about = install(library, home)
        storage.write_json(home / "installed.json", about)
    return home / "bin/python" if about["outcome"] == "ok" else None


def install(library: str, home: Path) -> dict[str, Any]:
    """Make an environment with a library, and return how long that took, what it weighs, and how it ended."""
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    before, started = megabytes(home), time.perf_counter()
    command = [str(home / "bin/python"), "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"]
    done = subprocess.run([*command, *PEERS[library].requirements], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return {
        "requirements": wanted(library), "seconds": round(seconds, 1), "mb": round(megabytes(home) - before), "day": today(),
        "packages": len(list(home.glob("lib/python*/site-packages/*.dist-info"))) - 2,  # pip and setuptools are in every environment
        "outcome": "ok" if done.returncode == 0 else (errors or ["pip failed"])[-1],
    }  # fmt: skip


def wanted(library: str) -> list[str]:
    """Return what an environment is made from; ours is made again when the library has changed."""
    return [commit("src", "pyproject.toml") if name == str(ROOT) else name for name in PEERS[library].requirements]


def installed(library: str, environments: Path | None) -> dict[str, Any]:
    """Return what `install` found about an environment; nothing where there is none."""
    file = None if environments is None else environments / library / "installed.json"
    return storage.read_json(file) if file is not None and file.is_file() else {}


def megabytes(home: Path) -> float:
    """Return the size of what is installed in an environment, in MB."""
    files = {path.stat().st_ino: path.stat().st_size for path in home.glob("lib/python*/site-packages/**/*") if path.is_file()}
    return sum(files.values()) / 2**20


# Fits


@dataclass
class Bench:
    """What all fits share: where data, environments and rows are, and how much a fit may cost."""

    data: Dataset
    environments: Path | None
    limit: int
    folder: Path
    file: str = "peers"
    runs: bool = True
    """Whether what is missing is run."""
    warm: set[tuple[str, str]] = field(default_factory=set)

    def row(self, library: str, model: str, settings: dict[str, Any], purpose: str) -> dict[str, str]:
        """Return the row of one fit: the last one that stands in the file, unless it failed, or a new one."""
        key = {"dataset": self.data.name, "library": library, "model": model, "settings": json.dumps(settings), "purpose": purpose}

        def standing() -> dict[str, str] | None:
            return next((row for row in reversed(self.rows()) if all(row[name] == value for name, value in key.items())), None)

        row = standing()
        if row is not None and not row["outcome"].startswith("failed"):
            return row
        if not self.runs:
            return row or dict.fromkeys(COLUMNS, "") | {"outcome": "not run"}
        python = interpreter(library, self.environments)
        if python is None:
            found = {"outcome": f"failed: {installed(library, self.environments)['outcome']}"}
        else:
            if library == "ultragcn" and (model, purpose) not in self.warm:
                self.run(python, library, model, settings, purpose)  # compiles what is compiled when it is first used
                self.warm.add((model, purpose))
            found = self.run(python, library, model, settings, purpose)
        report(self.file, key | {name: found.get(name, "") for name in COLUMNS} | {"commit": commit(), "day": today()})
        row = standing()
        assert row is not None
        return row

    def rows(self) -> list[dict[str, str]]:
        """Return the rows that stand in the file."""
        path = ROOT / "plots" / f"{self.file}.tsv"
        return storage.read_rows(path) if path.is_file() else []

    def run(self, python: Path, library: str, model: str, settings: dict[str, Any], purpose: str) -> dict[str, Any]:
        """Run one fit in the environment of its library and return what it reached and cost."""
        job, lists, cost = self.folder / "job.json", self.folder / "lists.npy", self.folder / "cost.json"
        pairs = pairs_of(self.data, purpose, self.folder)
        names = {"library": library, "model": model, "settings": settings, "pairs": str(pairs), "lists": str(lists), "cost": str(cost)}
        storage.write_json(job, names)
        try:
            done = subprocess.run(
                [str(python), str(WORKER), str(job)], capture_output=True, text=True, timeout=6 * self.limit, cwd=self.folder,
                env=environment_of(library, self.environments), preexec_fn=lambda: _limit(self.limit),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"outcome": f"stopped after {6 * self.limit} s"}
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return {"outcome": f"stopped after {self.limit} CPU s"}
        if done.returncode != 0:
            return {"outcome": "failed: " + ([line for line in done.stderr.splitlines() if line.strip()] or ["no message"])[-1][:200]}
        found = storage.read_json(cost)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            try:
                metrics = measured(np.load(lists), self.data, purpose)
            except DataError as error:
                return found | {"outcome": f"failed: {error}"}
        return found | metrics | {"outcome": "; ".join(["ok", *(str(warning.message) for warning in caught)])}

    def chosen(
        self, library: str, model: str, candidates: Iterable[dict[str, Any]], purpose: str = "try"
    ) -> tuple[dict[str, Any] | None, float]:
        """Return the settings with the best NDCG@20 on validation, None where every fit failed, and the CPU seconds of all fits.

        Settings are tried until the fits have cost `--limit` CPU seconds together, twice over.
        """
        best, spent = (None, -1.0), 0.0
        for settings in candidates:
            if spent > 2 * self.limit:
                break
            row = self.row(library, model, settings, purpose)
            if row["outcome"] == "not run":
                return None, spent
            spent += float(row["fit_cpu"] or self.limit) + float(row["rank_cpu"] or 0)
            if row["ndcg@20"] and float(row["ndcg@20"]) > best[1]:
                best = settings, float(row["ndcg@20"])
        return best[0], spent


COLUMNS = (
    *METRICS, "outcome", "import_seconds", "prepare_cpu", "fit_cpu", "fit_seconds", "rank_cpu", "rank_seconds", "peak_mb", "version",
)  # fmt: skip


def _limit(seconds: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def environment_of(library: str, environments: Path | None) -> dict[str, str]:
    """Return the environment variables of a worker: two threads everywhere, and what the library asks for."""
    threads = (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS",
        "IRSPACK_NUM_THREADS_DEFAULT", "LK_NUM_THREADS", "LK_NUM_BACKEND_THREADS",
    )  # fmt: skip
    base = dict(os.environ)
    if environments is not None:
        base.pop("PYTHONPATH", None)  # each environment has its own
    return base | dict.fromkeys(threads, "2") | {"CUDA_VISIBLE_DEVICES": ""} | PEERS[library].environment


def drawn(ranges: dict[str, Any], draws: int, first: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the default, or `first`, and draws - 1 random settings; more draws begin with the same ones."""
    random = np.random.default_rng(0)
    yield first or {}
    for _ in range(draws - 1):
        settings: dict[str, Any] = {}
        for names, values in ranges.items():
            if isinstance(values, list):
                value = values[random.integers(len(values))]
            else:
                number = float(np.exp(random.uniform(*np.log(values))))
                value = round(number) if isinstance(values[0], int) else float(f"{number:.3g}")
            settings |= dict.fromkeys(names.split(","), value)
        yield settings


# Tables


def ease(bench: Bench, libraries: list[str]) -> list[list[str]]:
    """Run the part `ease` and return its table."""
    lines = [["library", "L2", "Recall@20 / NDCG@20", "fit: CPU s", "lists: CPU s", "MB"]]
    l2, _ = bench.chosen("ultragcn", "EASE", [{"l2": l2} for l2 in EASE_L2])
    for library in libraries:
        if PEERS[library].ease is None:
            continue
        model, name = PEERS[library].ease
        for label, given in (("", {}), *PEERS[library].variants):
            title = f"{library}, {label}" if label else library
            lines.append([title, "default", *cells(bench.row(library, model, given, "final"))])
            if l2 is not None:
                lines.append([title, f"{l2['l2']:g}", *cells(bench.row(library, model, given | {name: l2["l2"]}, "final"))])
    return lines


def defaults(bench: Bench, libraries: list[str]) -> list[list[str]]:
    """Run the part `defaults` and return its table."""
    lines = [["library", "model", "Recall@20 / NDCG@20", "fit: CPU s", "lists: CPU s", "MB"]]
    for library in libraries:
        for model in PEERS[library].models:
            given = PEERS[library].instead.get(model, {})
            title = ", ".join([model, *(f"{name}={value}" for name, value in given.items())])
            lines.append([library, title, *cells(bench.row(library, model, given, "final with validation"))])
    return lines


def tuned(bench: Bench, libraries: list[str], draws: int) -> list[list[str]]:
    """Run the part `tuned` and return its table."""
    lines = [["library", "model", "tried", "CPU s of all", "settings", "Recall@20 / NDCG@20", "fit: CPU s", "lists: CPU s", "MB"]]
    for library in libraries:
        for model, ranges in PEERS[library].models.items():
            candidates = list(drawn(ranges, draws, PEERS[library].instead.get(model)))
            apart = " with validation" if model in PEERS[library].stops else ""
            best, spent = bench.chosen(library, model, candidates, f"try{apart}")
            keys = [json.dumps(settings) for settings in candidates]
            own = {"dataset": bench.data.name, "library": library, "model": model, "purpose": f"try{apart}"}
            tries = sum(row["settings"] in keys and all(row[name] == value for name, value in own.items()) for row in bench.rows())
            rest = ["not all were run", *[""] * 4]
            if best is not None:
                shown = ", ".join(f"{name} {value}" for name, value in best.items()) or "the default"
                rest = [shown, *cells(bench.row(library, model, best, f"final{apart}"))]
            lines.append([library, model, str(tries), f"{spent:.0f}", *rest])
    return lines


def cells(row: dict[str, str]) -> list[str]:
    """Return what a row reached and cost, or why it has nothing."""
    if not row["ndcg@20"]:
        return [row["outcome"].replace("|", "/"), "", "", ""]
    reached = " / ".join(f"{float(row[metric]):.4f}".lstrip("0") for metric in METRICS)
    return [reached, *(f"{float(row[name]):.1f}" for name in ("fit_cpu", "rank_cpu")), f"{float(row['peak_mb']):.0f}"]


def installs(libraries: list[str], environments: Path) -> list[list[str]]:
    """Return the table of what an installation takes."""
    lines = [["library", "pip install", "packages", "seconds", "MB"]]
    for library in libraries:
        about = installed(library, environments)
        if about:
            names = " ".join("ultragcn" if name == str(ROOT) else name for name in PEERS[library].requirements)
            ok = about["outcome"] == "ok"
            lines.append([library, f"`{names}`", *(str(about[name]) if ok else "" for name in ("packages", "seconds", "mb"))])
            lines[-1][2] = lines[-1][2] or about["outcome"]
    return lines


def markdown(lines: list[list[str]]) -> str:
    """Return a table in Markdown; its first line is the head."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]]) + "\n"


def under(bench: Bench, libraries: list[str]) -> str:
    """Return the line under a table: versions, commits and days of its rows."""
    rows = [row for row in bench.rows() if row["dataset"] == bench.data.name and row["library"] in libraries]
    versions = dict.fromkeys(f"{row['library']} {row['version']}" for row in rows if row["version"])
    days, commits = ({row[name] for row in rows} for name in ("day", "commit"))
    return f"{', '.join(versions)}; two threads; commit {', '.join(sorted(commits))}; {', '.join(sorted(days))}.\n"


def commit(*paths: str) -> str:
    """Return the commit that is checked out, shortened; with paths, the last one that changed them."""
    done = subprocess.run(["git", "log", "-1", "--format=%h", "--", *paths], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def today() -> str:
    """Return the day."""
    return datetime.date.today().isoformat()


def main(words: list[str] | None = None) -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--environments", type=Path, help="folder for a virtual environment a library (default: the one that runs this)")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--libraries", default=",".join(PEERS))
    parser.add_argument("--draws", type=int, default=12, help="settings that are tried for each model in the part tuned")
    parser.add_argument("--limit", type=int, default=600, help="CPU seconds that one fit may take with its lists")
    parser.add_argument("--file", default="peers", help="rows go to plots/FILE.tsv")
    parser.add_argument("--only_print", action="store_true", help="print the tables of what was run, and run nothing")
    arguments = parser.parse_args(words)
    libraries, parts = arguments.libraries.split(","), arguments.parts.split(",")
    for kind, given, known in (("library", libraries, PEERS), ("part", parts, PARTS)):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"there is no {kind} {unknown[0]!r}; choose from {', '.join(known)}")
    environments = arguments.environments and arguments.environments.absolute()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.datasets.split(","):
            data = load_dataset(name, None if name == "demo" else data_dir())
            bench = Bench(data, environments, arguments.limit, Path(folder), arguments.file, not arguments.only_print)
            for part in parts:
                made = {"ease": ease, "defaults": defaults}.get(part)
                lines = made(bench, libraries) if made else tuned(bench, libraries, arguments.draws)
                print(f"\n## {name}: {part}\n\n{markdown(lines)}\n{under(bench, libraries)}", flush=True)
    if environments:
        print(f"\n## Install\n\n{markdown(installs(libraries, environments))}", flush=True)


if __name__ == "__main__":
    main()
