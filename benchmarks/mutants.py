"""Files that were damaged, by accident and on purpose, and what comes of offering them again.

    python benchmarks/mutants.py [--models 2000] [--flipped 200] [--places 60] [--swapped 40] [--others 500] [--seed 0] [--workers 2]

Small models of every kind, with an items table, a trend and an item graph, whole and without histories, checkpoints, a run, a study and
a comparison are made, and then damaged in many ways with a seed:

bit        one bit of the file of a model, in every array and in the header in turn
accident   a file of a model cut off, made longer, overwritten, put together from two
purpose    what a model's file holds is made wrong, and the file has a right checksum: arrays, the header, what it says in JSON
flipped    a bit of an array is flipped, or a number is very large, and the file has a right checksum: it may be another model that is
           right in itself
place      in the place of a model's file there is a folder, a pipe, a link, a device, or nothing
swapped    the model of a run that is evaluated is another one
manifest, metrics, history, study, results, comparison, runs, values, checkpoint: bits, cuts, and other values in their place

Each mutant is offered in a process with limits of time and memory. What may come of it:

refused    one sentence
equal      the answers of the undamaged file
edited     of files that are text: what was read is what stands there now. Such files have no checksum, so that people can edit them
another    of `flipped` alone: finite answers of another model
"""

import argparse
import contextlib
import io
import json
import os
import pickle
import random
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SECONDS, MEGABYTES = 10, 2048
"""What a mutant may take: seconds of the processor, because others may use it at the same time, and memory."""
HANGS = 90
"""Seconds by the clock after which a process is ended."""
GOOD = ("refused", "equal", "edited", "another")
TEXTS = ("manifest", "metrics", "history", "study", "results", "comparison", "runs")
ODD: tuple[Any, ...] = (
    None, "", "x", "a\0b", "\ud800", True, -1, 0, 7, 2**70, 1e308, 10**18, [], [[]], {}, {"low": 0, "high": 1e9, "step": 1e-9}, "auto",
    "1e999",
)  # fmt: skip
CELLS = ("", "x", "nan", "inf", "-1", "1e999", "0", str(10**25), "\x00", "é")


@dataclass
class Mutant:
    """A damaged file, and what to do with it."""

    kind: str
    what: str
    """Which file of the originals."""
    data: bytes
    about: str
    """What was done to it."""


# ------------------------------------------------------------------- originals


def make_originals(folder: Path) -> None:
    """Make what is damaged: models, checkpoints, a run, a study, a comparison."""
    import polars as pl

    from ultragcn import BPR, EASE, IALS, Interactions, ItemKNN, Popularity, RP3beta, SparseEASE, UltraGCN, load_dataset
    from ultragcn.cli import main
    from ultragcn.experiments.studies.space import space_of
    from ultragcn.experiments.studies.study import Study
    from ultragcn.experiments.studies.sweep import sweep

    draw = random.Random(1)
    lines = ["user,item,title"]
    for user in range(60):
        lines += [f"u{user:03d},{item * 3},Title {item} é" for item in sorted(draw.sample(range(40), 12))]
    (folder / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    titles = {line.split(",")[1]: line.split(",")[2] for line in lines[1:]}
    (folder / "titles.csv").write_text("item,title\n" + "".join(f"{item},{title}\n" for item, title in titles.items()), encoding="utf-8")
    data = load_dataset(folder / "log.csv", titles=folder / "titles.csv", split="random")
    small: dict[str, Any] = {"embedding_dim": 4, "epochs": 3, "num_item_neighbors": 5}
    models = {
        "ultragcn": UltraGCN(**small, item_graph_weight=0.5), "ease": EASE(l2=50.0), "itemknn": ItemKNN(), "ials": IALS(embedding_dim=4),
        "popularity": Popularity(), "rp3beta": RP3beta(), "sparse-ease": SparseEASE(), "bpr": BPR(embedding_dim=4, epochs=2),
    }  # fmt: skip
    for name, model in models.items():
        model.fit(data).save(folder / "models" / name)
    for name in ("ultragcn", "ials", "ease"):
        models[name].save(folder / "models" / f"{name}-alone", history=False)
    full = UltraGCN(**small, item_graph_weight=0.5, item_trend_weight=0.5)
    times = np.random.default_rng(0).integers(0, 10**14, len(data.train))
    full.fit(Interactions(data.train.matrix, data.train.user_ids, data.train.item_ids, times), data.valid)
    items = full.item_ids.ids.tolist()
    columns = {"item": items, "price": [None if item % 7 == 0 else item / 4 for item in items], "stock": items}
    full.set_items_table(
        pl.DataFrame(columns | {"brand": ["é" * (item % 3) or None for item in items], "new": [i % 2 == 0 for i in items]})
    )
    full.save(folder / "models" / "ultragcn-full")
    full.save(folder / "models" / "ultragcn-full-alone", history=False)

    def stop(record: dict[str, Any]) -> None:
        if record["epoch"] == 4:
            raise StopIteration

    solvers = ["exact"]
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401

        solvers.append("sgd")
    for solver in solvers:
        with contextlib.suppress(StopIteration):
            training_of(solver).fit(data.train, data.valid, checkpoint=folder / f"checkpoint-{solver}", checkpoint_every=1, on_epoch=stop)
    words = f"train --dataset {folder}/log.csv --split random --keep measured --embedding_dim 4 --epochs 3 --out {folder}/run --quiet"
    assert main(words.split()) == 0
    study = Study(
        "study", space_of({"x": [0.1, 0.3, 0.5], "kind": ["a", "b"]}), ("score",), "score", (0, 1), about=dict.fromkeys(
            ("dataset", "protocol", "data_hash", "split_hash", "settings")
        )
    )  # fmt: skip
    sweep(study, trial, folder / "study")
    words = f"compare --dataset {folder}/log.csv --split random --models popularity,itemknn --out {folder}/comparison --quiet"
    assert main(words.split()) == 0


def training_of(solver: str) -> Any:
    """Return the model whose training was stopped."""
    from ultragcn import UltraGCN

    return UltraGCN(embedding_dim=4, epochs=6, num_item_neighbors=5, num_negatives=4, solver=solver)


def trial(parameters: dict[str, Any], seed: int, report: Callable[[int, dict[str, float]], None]) -> dict[str, Any]:
    """Return something that has a best."""
    for step in range(1, 4):
        report(step, {"score": 1 - 1 / step})
    return {"score": 1 - (parameters["x"] - 0.3) ** 2 + 0.01 * seed, "best_epoch": 3, "train_seconds": 1.0}


# --------------------------------------------------------------------- answers


def answers_of(what: str, originals: Path, file: Path) -> Any:
    """Return what is answered when `file` is in place of the original `what`; anything that can be pickled and compared."""
    kind, _, name = what.partition(":")
    return {"model": _model, "swapped": _swapped, "checkpoint": _checkpoint}.get(kind, _folder)(originals, name or kind, file)


def _model(originals: Path, name: str, file: Path) -> Any:
    from ultragcn import load_model

    folder = file.parent / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.unlink(missing_ok=True)
    folder.mkdir()
    name, _, how = name.partition("@")
    PLACES[how](file, folder / "model.safetensors")
    model = load_model(folder)
    users = model.user_ids.ids
    users = users.tolist()
    lists = [model.recommend(users, top_k=10), model.recommend(users[:3], top_k=50, exclude_seen=False)] if users else []
    answers = [repr(model), [(items.tolist(), scores.tobytes()) for items, scores in lists], model.item_ids.ids.tolist(), users]
    answers.append(None if model.item_titles_ is None else model.item_titles_.tolist())
    answers.append((model.seen_.indptr.tolist(), model.seen_.indices.tolist()))
    answers.append({name: getattr(model, name) for name in model._recorded})
    similar = {} if name in ("bpr", "ials", "ease", "ease-alone") else {"by": "embeddings" if name.endswith("alone") else "together"}
    lists.append(model.similar_items(model.item_ids.ids.tolist()[:5], top_k=5, **similar))
    if name != "bpr":
        baskets = [model.item_ids.ids.tolist()[:4], model.item_ids.ids.tolist()[7:8]]
        lists.append(model.recommend_for(baskets, top_k=5))
        answers.append([model.recommend(["nobody"], 5, unknown="popular")[0].tolist() for _ in range(1)])
    answers.append([(items.tolist(), scores.tobytes()) for items, scores in lists])
    if any(np.isnan(scores).any() or (scores == np.inf).any() for _, scores in lists):
        raise RuntimeError("scores are not finite")
    if model.items_table_ is not None:
        answers.append(model.items_table_.kept.to_dicts())
        answers.append([one.tolist() for one in model.recommend_for(baskets, 5, where="price < 20 and new", max_per="brand=2")])
    return answers


def _there(file: Path, place: Path) -> None:
    os.replace(file, place)


def _as_pipe(file: Path, place: Path) -> None:
    os.mkfifo(place)


def _as_folder(file: Path, place: Path) -> None:
    place.mkdir()
    os.replace(file, place / "model.safetensors")


def _as_link(file: Path, place: Path) -> None:
    os.replace(file, place.parent / "elsewhere")
    place.symlink_to("elsewhere")


def _as_circle(file: Path, place: Path) -> None:
    place.symlink_to(place.name)


def _as_its_folder(file: Path, place: Path) -> None:
    place.parent.rmdir()
    os.replace(file, place.parent)


def _as_socket(file: Path, place: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place))


PLACES: dict[str, Callable[[Path, Path], object]] = {
    "": _there, "pipe": _as_pipe, "folder": _as_folder, "link": _as_link, "circle": _as_circle, "socket": _as_socket,
    "nothing": lambda file, place: None, "nowhere": lambda file, place: place.symlink_to("nowhere"),
    "device": lambda file, place: place.symlink_to("/dev/zero"), "no bytes": lambda file, place: place.touch(),
    "no folder": lambda file, place: place.parent.rmdir(), "file for a folder": _as_its_folder,
}  # fmt: skip
"""What can be in the place of a model's file."""


def _swapped(originals: Path, name: str, file: Path) -> Any:
    """Return what `evaluate` says of a run whose model is another one's."""
    from ultragcn.cli import main

    run = file.parent / "work" / "run"
    shutil.rmtree(run.parent, ignore_errors=True)
    shutil.copytree(originals / "run", run, ignore=shutil.ignore_patterns("report"))
    os.replace(file, run / "model.safetensors")
    return _said(main, ["evaluate", str(run)])


def _checkpoint(originals: Path, name: str, file: Path) -> Any:
    from ultragcn import load_dataset

    data = load_dataset(originals / "log.csv", titles=originals / "titles.csv", split="random")
    model = training_of(name).fit(data.train, data.valid, checkpoint=file)
    items, scores = model.recommend(model.user_ids.ids.tolist(), top_k=10)
    losses = [record["loss"] for record in model.history_]
    return [items.tolist(), scores.tolist(), losses, model.best_epoch_]


FILES = {
    "manifest": "run/manifest.json", "metrics": "run/metrics.json", "history": "run/history.tsv", "study": "study/study.json",
    "results": "study/results.tsv", "comparison": "comparison/comparison.json", "runs": "comparison/runs.tsv",
}  # fmt: skip


def _folder(originals: Path, kind: str, file: Path) -> Any:
    """Return what the commands say of a folder in which one file is the damaged one."""
    from ultragcn.cli import main
    from ultragcn.experiments.studies.study import best, read_results, read_study, summarise

    place = values_of(originals) if kind == "values" else FILES[kind]
    folder = file.parent / "work"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(originals / Path(place).parts[0], folder / Path(place).parts[0], ignore=shutil.ignore_patterns("report"))
    os.replace(file, folder / place)
    answers: list[Any] = []
    run = folder / Path(place).parts[0]
    if run.name == "run":
        answers.append(_said(main, ["evaluate", str(run)]))
        answers.append(_said(main, ["train", "--resume", str(run)]))
    elif run.name == "study":
        study = read_study(run)
        summaries = summarise(read_results(run, study))
        answers.append(repr((best(study, summaries), summaries)))
    else:
        words = f"compare --dataset {originals}/log.csv --split random --models popularity,itemknn --out {run}"
        answers.append(_said(main, words.split()))
    answers.append(_said(main, ["report", str(run), "--out", str(folder / "report")]))
    return answers


def values_of(originals: Path) -> str:
    """Return where the values of the users of a run of the comparison are."""
    return str(sorted((originals / "comparison" / "values").glob("*.parquet"))[0].relative_to(originals))


class Refused(Exception):  # noqa: N818 - it is what is hoped for
    """A command ended with one sentence."""


def _said(main: Callable[[list[str]], int], words: list[str]) -> str:
    """Return what a command writes to stdout; raise `Refused` with its sentence, or what it wrote that is no sentence."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as ended:
            status = int(ended.code or 0)
    if status:
        said = err.getvalue().strip().split("\n")
        if "Traceback" in err.getvalue() or not said[-1].startswith("ultragcn: "):
            raise RuntimeError(err.getvalue())
        raise Refused(said[-1])
    return out.getvalue()


# ------------------------------------------------------------ in its own process


def serve(originals: Path, place: Path) -> None:
    """Answer for the mutants whose files are named on stdin, a line each, until that ends."""
    import resource

    from ultragcn.errors import DataWarning, UltraGCNError

    limit = 8 * 2**30  # of addresses, of which threads and libraries take some without using them
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    expected: dict[str, bytes] = {}
    for line in sys.stdin:
        number, what, file = line.rstrip("\n").split("\t")
        whole = what.partition("@")[0]
        if whole not in expected:
            source = originals / _source(originals, whole)
            shutil.copy(source, place / "good")
            expected[whole] = pickle.dumps(answers_of(whole, originals, place / "good"))
        _forget_peak()
        said, detail = "other", ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)
                got = answers_of(what, originals, Path(file))
            said = "equal" if pickle.dumps(got) == expected[whole] else "other"
        except (UltraGCNError, Refused) as error:
            said, detail = ("refused" if "\n" not in str(error) else "traceback"), str(error)
        except BaseException as error:
            said, detail = "traceback", "".join(traceback.format_exception(error))[-3000:]
        out.write(json.dumps([int(number), said, detail, _peak()]) + "\n")
        out.flush()


def _source(originals: Path, what: str) -> str:
    kind, _, name = what.partition(":")
    if kind == "model":
        return f"models/{name}/model.safetensors"
    if kind == "swapped":
        return "run/model.safetensors"
    return f"checkpoint-{name}" if kind == "checkpoint" else values_of(originals) if kind == "values" else FILES[kind]


def _forget_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak() -> float:
    from ultragcn.machine import peak_memory_mb

    return peak_memory_mb() or 0.0


class Server:
    """A process that answers for mutants; it is started anew when it dies or takes too long."""

    def __init__(self, originals: Path) -> None:
        self._originals, self.place = originals, Path(tempfile.mkdtemp(prefix="mutants-"))
        self._process: subprocess.Popen[str] | None = None
        self._known: set[str] = set()

    def ask(self, number: int, mutant: Mutant) -> tuple[str, str, float, float]:
        """Return what came of a mutant, in detail, seconds and megabytes."""
        if self._process is None or self._process.poll() is not None:
            words = [sys.executable, __file__, "--serve", str(self._originals), str(self.place)]
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2", "MPLBACKEND": "agg"}
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
            )
            self._known = set()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        file = self.place / "mutant"
        file.write_bytes(mutant.data)
        before = self._seconds()
        is_first = mutant.what.partition("@")[0] not in self._known  # the first of its kind makes the answers of the original too
        self._known.add(mutant.what.partition("@")[0])
        self._process.stdin.write(f"{number}\t{mutant.what}\t{file}\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            ready = waiting.select(HANGS + 120 * is_first)
        line = self._process.stdout.readline() if ready else ""
        seconds = self._seconds() - before
        if not ready:
            self._end_process()
            return "too slow", "", seconds, 0.0
        if not line:
            status = self._process.wait()
            self._end_process()
            return "crash", f"the process ended with {status}", seconds, 0.0
        _, said, detail, peak = json.loads(line)
        seconds = 0.0 if is_first else seconds
        return ("too large" if peak > MEGABYTES else "too slow" if seconds > SECONDS else said), detail, seconds, peak

    def _seconds(self) -> float:
        """Return the seconds of the processor that the process has used."""
        assert self._process is not None
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended, or the system does not say
            return time.perf_counter()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """End the process, and remove what it has written."""
        self._end_process()
        shutil.rmtree(self.place, ignore_errors=True)

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


# --------------------------------------------------------------------- mutants


def mutants(
    originals: Path, models: int, flipped: int, others: int, seed: int, places: int = 0, swapped: int = 0
) -> Iterator[Mutant]:  # fmt: skip
    """Yield the mutants, always the same ones for a seed and the same originals."""
    draw = random.Random(seed)
    names = sorted(path.name for path in (originals / "models").iterdir())
    files = {name: (originals / f"models/{name}/model.safetensors").read_bytes() for name in names}
    parts = [(name, place) for name in names for place in _places(files[name])]
    for number in range(models // 2):
        name, (where, start, end) = parts[number * 7919 % len(parts)]  # a prime: few mutants are of all models too
        yield Mutant("bit", f"model:{name}", _flipped(files[name], draw.randrange(8 * start, 8 * end)), where)
    for number in range(models // 4):
        name = names[number % len(names)]
        about, data = _accident(files[name], files[draw.choice(names)], draw)
        yield Mutant("accident", f"model:{name}", data, about)
    for number in range(models - models // 2 - models // 4):
        name = names[number % len(names)]
        about, data = _on_purpose(originals / f"models/{name}/model.safetensors", draw)
        yield Mutant("purpose", f"model:{name}", data, about)
    for number in range(flipped):
        name = names[number % len(names)]
        about, data = _flipped_with_checksum(originals / f"models/{name}/model.safetensors", draw)
        yield Mutant("flipped", f"model:{name}", data, about)
    for number in range(places):
        name, how = names[number // len(PLACES) % len(names)], list(PLACES)[number % len(PLACES)]
        yield Mutant("place", f"model:{name}@{how}", files[name], how)
    for number in range(swapped):
        name = names[number % len(names)]
        yield Mutant("swapped", "swapped:evaluate", files[name], name)
    checkpoints = sorted(path.name.removeprefix("checkpoint-") for path in originals.glob("checkpoint-*"))
    kinds = [*FILES, "values", *(f"checkpoint:{name}" for name in checkpoints)]
    for number in range(others):
        what = kinds[number % len(kinds)]
        source = originals / _source(originals, what)
        data = source.read_bytes()
        if what.startswith("checkpoint") and draw.random() < 0.5:
            about, data = _on_purpose(source, draw)
        elif what.startswith("checkpoint") or what == "values" or draw.random() < 0.4:
            about, data = _accident(data, data, draw) if draw.random() < 0.5 else ("bit", _flipped(data, draw.randrange(8 * len(data))))
        elif source.suffix == ".json":
            about, data = _other_json(data, draw)
        else:
            about, data = _other_cell(data, draw)
        yield Mutant(what.partition(":")[0], what, data, about)


def _places(data: bytes) -> list[tuple[str, int, int]]:
    """Return the name of every part of a safetensors file, where it begins and where it ends."""
    size = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + size])
    entries.pop("__metadata__")
    parts = [(name, *(8 + size + offset for offset in entry["data_offsets"])) for name, entry in sorted(entries.items())]
    return [("length", 0, 8), ("header", 8, 8 + size), *(part for part in parts if part[2] > part[1])]


def _flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def _accident(data: bytes, other: bytes, draw: random.Random) -> tuple[str, bytes]:
    place, length = draw.randrange(len(data)), draw.choice((1, 2, 4, 8, 64, 512))
    about = draw.choice(("cut", "longer", "zeros", "random bytes", "moved", "repeated", "of another", "empty", "text"))
    changed = {
        "cut": data[:place], "longer": data + draw.randbytes(length), "zeros": data[:place] + bytes(length) + data[place + length :],
        "random bytes": data[:place] + draw.randbytes(length) + data[place + length :], "moved": data[place:] + data[:place],
        "repeated": data[:place] + data[place : place + length] + data[place:], "of another": data[:place] + other[place:],
        "empty": b"", "text": b"not at all\n",
    }[about]  # fmt: skip
    return about, changed


def _written(arrays: dict[str, np.ndarray], form: str, about: Any) -> bytes:
    from ultragcn import storage

    with tempfile.TemporaryDirectory() as folder:
        storage.write_arrays(Path(folder) / "file", arrays, form, about)
        return (Path(folder) / "file").read_bytes()


def _read(file: Path) -> tuple[dict[str, np.ndarray], str, dict[str, Any]]:
    from ultragcn import storage

    form = storage.read_form(file)
    arrays, about = storage.read_arrays(file, form)
    return arrays, form, about


def _flipped_with_checksum(file: Path, draw: random.Random) -> tuple[str, bytes]:
    arrays, form, about = _read(file)
    name = draw.choice(sorted(name for name, array in arrays.items() if array.size))
    if arrays[name].dtype.kind == "f" and draw.random() < 0.3:
        huge = draw.choice((3e38, -3e38, 1e25, -1e25, 1e-45))
        numbers = [one for one in sorted(arrays) if arrays[one].dtype == np.float32 and arrays[one].size]
        for one in (draw.choice(numbers), name):
            arrays[one].flat[draw.randrange(arrays[one].size)] = huge
            arrays[one].flat[0] = huge
        return f"{name} has {huge}", _written(arrays, form, about)
    view = arrays[name].reshape(-1).view(np.uint8)
    view[draw.randrange(len(view))] ^= 1 << draw.randrange(8)
    return f"{name} flipped", _written(arrays, form, about)


def _on_purpose(file: Path, draw: random.Random) -> tuple[str, bytes]:
    """Return a file with a right checksum that holds something wrong."""
    arrays, form, about = _read(file)
    names = sorted(name for name, array in arrays.items() if array.size)

    def pick(*ends: str) -> str | None:
        found = [name for name in names if name.endswith(ends)]
        return draw.choice(found) if found else None

    change = draw.choice((
        "index", "indptr", "drop", "extra", "type", "shape", "finite", "ids", "ends", "utf8", "state", "state", "header", "longer", "order",
        "header", "number", "empty", "negative",
    ))  # fmt: skip
    places = {"index": pick("indices"), "indptr": pick("indptr"), "ends": pick(".ends"), "order": pick("train.indices"),
              "utf8": pick("_ids.utf8", "titles.utf8"), "ids": pick("item_ids", "user_ids.utf8")}  # fmt: skip
    name = places.get(change) or draw.choice(names)
    array = arrays[name].copy()
    place = draw.randrange(array.size)
    match change:
        case "index" | "indptr" if array.dtype.kind == "u":  # a model without such an array
            array = array.reshape(-1)[:-1].copy()
        case "index" | "indptr" if name == "item_degrees":  # of which any number is right that is not below 0
            array.flat[place] = -1
        case "index":
            array.flat[place] = draw.choice((-1, -(2**31), 2**31 - 1, 10**6)) if array.dtype.kind == "i" else np.nan
        case "indptr":
            array.flat[place] = draw.choice((-1, -(2**31), 2**31 - 1, 10**6)) if array.dtype.kind == "i" else np.inf
        case "drop":
            del arrays[name]
        case "extra":
            arrays[f"{name}.more"] = array
        case "type":
            array = array.astype(draw.choice([kind for kind in (np.float64, np.uint8) if kind != array.dtype]))
        case "shape":
            array = np.concatenate([array, array], axis=draw.randrange(array.ndim)) if draw.random() < 0.5 else array[..., None]
        case "longer":
            array = np.resize(array, (max(1, draw.choice((array.size + 1, array.size - 1, 2 * array.size, 1))),))
            if array.shape == arrays[name].shape:
                array = np.concatenate([array, array])
        case "finite":
            name = next((one for one in draw.sample(names, len(names)) if arrays[one].dtype.kind == "f"), names[0])
            array = arrays[name].copy()
            array.flat[draw.randrange(array.size)] = np.nan if array.dtype.kind == "f" else -5
        case "ids" if "_ids" in name:
            array = array[::-1].copy()
        case "order" if name == "train.indices":
            array[:2] = array[1::-1].copy()  # the first user has several items
        case "ids" | "order":
            array = array.reshape(-1)[:-1].copy()
        case "ends":
            array.flat[place] = draw.choice((-1, 2**40, 2**62)) if array.dtype.kind == "i" else 0
            array = array if array.dtype.kind == "i" else array[:-1].copy()
        case "utf8":
            array = array.copy()
            if name.endswith(".utf8"):
                array.flat[place] = 0xFF
            else:
                array = array.reshape(-1)[:-1].copy()
        case "negative":
            rows = [one for one in names if arrays[one].dtype.kind == "i" and not one.startswith("items_table")]
            name = draw.choice(rows or names)
            array = arrays[name].copy()
            array.flat[0] = -1 if array.dtype.kind == "i" else array.flat[0]
            array = array[:0] if array.dtype.kind != "i" or name.endswith("_ids") else array
        case "empty":
            array = array[:0].copy()
        case "number":
            return _wrong_number(file.read_bytes(), about, draw)
        case "state":
            return _wrong_state(arrays, form, about, draw)
        case "header":
            return _wrong_header(file.read_bytes(), draw)
    if change != "drop":
        arrays[name] = array
    return f"{change}: {name}", _written(arrays, form, about)


def _wrong_state(arrays: dict[str, np.ndarray], form: str, about: dict[str, Any], draw: random.Random) -> tuple[str, bytes]:
    """Return a file whose JSON has a name less or more, or a value that no such name has."""
    target = about
    if "config" in about and draw.random() < 0.5:
        target = about["config"]
    elif "course" in about and draw.random() < 0.7:
        target = about["course"]
    name = draw.choice(sorted(target))
    how = draw.choice(("drop", "extra", "list", "deep", "text"))
    match how:
        case "drop":
            del target[name]
        case "extra":
            target["something"] = 1
        case "list":
            target[name] = [[1]]
        case "deep":
            target[name] = {"a": {"b": [{"c": 1}]}}
        case "text":
            target[name] = "no such value"
    return f"state: {name} {how}", _written(arrays, form, about)


def _wrong_header(data: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Return a file whose header says something else about an array, under a right checksum."""
    size = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + size])
    name = draw.choice(sorted(name for name in entries if name != "__metadata__"))
    entry = entries[name]
    values = data[8 + size :]
    about = draw.choice((
        "offsets", "overlap", "shape", "dtype", "nested", "metadata", "gap", "hidden", "twice", "shared", "deep", "zero",
        "other dtype", "format",
    ))  # fmt: skip
    match about:
        case "offsets":
            entry["data_offsets"] = [entry["data_offsets"][0], 2**60]
        case "overlap":
            entry["data_offsets"] = [entry["data_offsets"][0] + 1, entry["data_offsets"][1] + 2]
        case "shape":
            entry["shape"] = draw.choice(([2**40, 2**40], [-1], [2**62] * 4, [1] * 100, ["x"], [[1]]))
        case "dtype":
            entry["dtype"] = draw.choice(("F16", "BOOL", "O", 7, None))
        case "nested":
            entries[name] = [entry]
        case "gap":  # every array lies four bytes further
            for other in entries.values():
                if "data_offsets" in other:
                    other["data_offsets"] = [offset + 4 for offset in other["data_offsets"]]
            values = bytes(4) + values
        case "hidden":
            values += b"something else  "
        case "shared":  # two arrays are the same bytes
            other = draw.choice(sorted(one for one in entries if one not in (name, "__metadata__")))
            entries[name] = dict(entries[other])
        case "deep":
            entry["shape"] = json.loads("[" * 500 + "1" + "]" * 500)
        case "zero":
            entry["shape"] = draw.choice(([0], [0, 0], [-0, *entry["shape"]], [-0.0], [0] * 70, [1.0]))
        case "other dtype":
            entry["dtype"] = draw.choice(("I8", "U16", "U32", "U64", "F8_E4M3", "BF16", "I16", "f32", "F32 ", ""))
        case "format":
            kind = entries["__metadata__"]["format"].rpartition("-")[0]
            entries["__metadata__"]["format"] = draw.choice(
                (f"{kind}-999", f"{kind}-0", f"{kind}-", kind, "", f"{kind}-5.0", "ease--2", "\u0000")
            )
        case "metadata":
            entries["__metadata__"]["about"] = draw.choice(("[" * 100_000, "[1]", "{", '"x"', '{"config": 1}'))
    entries["__metadata__"]["checksum"] = "0" * 8
    text = json.dumps(entries, separators=(",", ":"))
    if about == "twice":
        other = draw.choice(sorted(one for one in entries if one != "__metadata__"))
        text = text[:-1] + f',"{name}":' + json.dumps(entries[other]) + "}"
    return f"header: {name} {about}", _sealed(text.encode(), values)


def _sealed(header: bytes, values: bytes) -> bytes:
    """Return a file of this header and these arrays, with a right checksum."""
    from ultragcn import storage

    header += b" " * (-len(header) % 8)
    whole = bytearray(len(header).to_bytes(8, "little") + header + values)
    place = whole.index(storage._BEFORE_CHECKSUM) + len(storage._BEFORE_CHECKSUM)
    whole[place : place + 8] = storage._checksum(whole, place).encode()
    return bytes(whole)


def _wrong_number(data: bytes, about: dict[str, Any], draw: random.Random) -> tuple[str, bytes]:
    """Return a file whose JSON has a number that no model has, or a name twice, in any place."""
    size = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + size])
    numbers: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            if isinstance(node[key], (dict, list)):
                walk(node[key])
            elif isinstance(node[key], (int, float)) and not isinstance(node[key], bool):
                numbers.append((node, key))

    walk(about)
    node, key = draw.choice(numbers)
    value = node[key]
    odd = draw.choice(("NaN", "Infinity", "-Infinity", "1e999", "-7e300", "9" * 400, "9" * 5000, "true", '"1"', "[]", "{}"))
    node[key] = "here" if draw.random() < 0.8 else value
    text = json.dumps(about)
    if node[key] == "here":
        text, what = text.replace('"here"', odd), f"{key} = {odd[:20]}"
    else:
        text, what = f'{text[:-1]}, "train_seconds": 1.0}}', "train_seconds twice"
    entries["__metadata__"]["about"], entries["__metadata__"]["checksum"] = text, "0" * 8
    return f"number: {what}", _sealed(json.dumps(entries, separators=(",", ":")).encode(), data[8 + size :])


def _other_json(data: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Return a JSON file with another value in one place, or a name less."""
    value = json.loads(data)
    nodes: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            nodes.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(value)
    top = [(node, key) for node, key in nodes if node is value]
    node, key = draw.choice(top if draw.random() < 0.6 else nodes)
    odd = draw.choice(ODD)
    if draw.random() < 0.15:
        del node[key]
        return f"{key} dropped", json.dumps(value).encode()
    node[key] = odd
    about = f"{key} = {odd!r}"
    return about, b"[" * 100_000 if draw.random() < 0.03 else json.dumps(value).encode()


def _other_cell(data: bytes, draw: random.Random) -> tuple[str, bytes]:
    lines = [line.split("\t") for line in data.decode().split("\n")]
    row = draw.randrange(len(lines) - 1)
    column = draw.randrange(len(lines[row]))
    odd = draw.choice(CELLS)
    about = f"{lines[row][column]!r} is {odd!r}"
    lines[row][column] = odd
    return about, "\n".join("\t".join(line) for line in lines).encode()


# ------------------------------------------------------------------------ all


def judge(mutant: Mutant, said: str) -> str:
    """Return what came of a mutant, in the words of the table."""
    if said == "other" and mutant.kind in TEXTS:
        return "edited"
    return "another" if said == "other" and mutant.kind == "flipped" else said


def run(originals: Path, offered: list[Mutant], workers: int) -> tuple[Counter[tuple[str, str]], list[str], float, float]:
    """Offer all mutants; return how often what came of which kind, what went wrong, the most seconds and the most megabytes."""
    came: Counter[tuple[str, str]] = Counter()
    wrong: list[str] = []
    slowest = largest = 0.0

    def share(first: int) -> list[tuple[Mutant, str, str, float, float]]:
        server = Server(originals)
        try:
            return [(offered[number], *server.ask(number, offered[number])) for number in range(first, len(offered), workers)]
        finally:
            server.end()

    with ThreadPoolExecutor(workers) as pool:
        for results in pool.map(share, range(workers)):
            for mutant, said, detail, seconds, peak in results:
                result = judge(mutant, said)
                came[mutant.kind, result] += 1
                slowest = max(slowest, seconds)
                largest = max(largest, peak)
                if result not in GOOD:
                    wrong.append(f"{mutant.kind} {mutant.what} ({mutant.about}): {result} {detail}")
    return came, wrong, slowest, largest


def table(came: Counter[tuple[str, str]]) -> list[str]:
    """Return the lines of the table of what came of the mutants."""
    results = [*GOOD, "other", "traceback", "crash", "too slow", "too large"]
    kinds = list(dict.fromkeys(kind for kind, _ in came))
    lines = ["\t".join(["mutants", "number", *results])]
    for kind in kinds:
        counts = [came[kind, result] for result in results]
        lines.append("\t".join([kind, str(sum(counts)), *map(str, counts)]))
    return lines


def main() -> int:
    """Make the originals, damage them, offer the mutants, and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"models": 2000, "flipped": 200, "places": 60, "swapped": 40, "others": 500, "seed": 0}
    for name, default in (numbers | {"workers": 2}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--serve", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        originals = Path(folder)
        make_originals(originals)
        offered = list(mutants(originals, **{name: getattr(arguments, name) for name in numbers}))
        started = time.perf_counter()
        came, wrong, slowest, largest = run(originals, offered, arguments.workers)
        print("\n".join(table(came)))
        print(f"{len(offered)} mutants in {time.perf_counter() - started:.0f} s; slowest {slowest:.1f} s, largest {largest:.0f} MB")
        for line in wrong:
            print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent)]
    from mutants import main as start  # by its own name, so that what is pickled is found by a worker

    sys.exit(start())
