"""`ultragcn plan`: sizes from a look at a source, memory and time from sizes, and what is said of them."""

import bz2
import gzip
import json
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ultragcn import load_dataset
from ultragcn.cli import main
from ultragcn.config import Config
from ultragcn.data import sizes as looking
from ultragcn.data.large import size
from ultragcn.data.options import DataOptions
from ultragcn.data.sizes import DISK, LINES, TABLE, by_sizes, sizes_of
from ultragcn.errors import UltraGCNError, UsageError
from ultragcn.experiments import plans, speed
from ultragcn.experiments.plans import Shape, plan_ultragcn
from ultragcn.experiments.speed import REFERENCE, Speed
from ultragcn.models.registry import BASELINES, MODELS, make_model

SPEED = Speed(dict.fromkeys(REFERENCE, 1.0), {"threads": 0.6, "one": 1.0}, 0.5, 0.5, 1.0, 110 * 10**6, 240 * 10**6, 230 * 10**6)


@pytest.fixture
def quick(monkeypatch):
    """Let the machine be one of known speed, with 16 GB of free memory."""
    monkeypatch.setattr(speed, "measured", lambda kind=TABLE: SPEED)
    monkeypatch.setattr(plans, "free_memory", lambda: 16 * 10**9)


def log_of(users, items, pairs, seed=0):
    """Return a log in which popular items have more users, sorted by user."""
    random = np.random.default_rng(seed)
    drawn = {(int(u), int(items * v**2)) for u, v in zip(random.integers(users, size=pairs), random.random(pairs), strict=True)}
    return pl.DataFrame(sorted(drawn), schema=["user_id", "item_id"], orient="row")


def write(log, path: Path):
    """Write a log as the name of the file says."""
    text = log.write_csv()
    suffix = "".join(path.suffixes)
    if suffix == ".parquet":
        log.write_parquet(path)
    elif suffix == ".jsonl":
        log.write_ndjson(path)
    elif suffix == ".csv.gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif suffix == ".csv.bz2":
        path.write_bytes(bz2.compress(text.encode()))
    elif suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("log.csv", text)
    elif suffix == ".sqlite":
        with sqlite3.connect(path) as database:
            database.execute("create table log (user_id integer, item_id integer)")
            database.executemany("insert into log values (?, ?)", log.rows())
        database.close()
    elif suffix == ".txt":
        lists = log.group_by("user_id", maintain_order=True).agg("item_id")
        path.write_text("".join(f"{user} {' '.join(map(str, items))}\n" for user, items in lists.rows()))
    else:
        path.write_text(text)
    return path


KINDS = ("log.parquet", "log.csv", "log.jsonl", "log.csv.gz", "log.csv.bz2", "log.zip", "log.sqlite", "log.txt")


@pytest.mark.parametrize("name", KINDS)
def test_a_small_file_of_every_kind_has_the_sizes_that_a_training_would_find(name, tmp_path):
    path = write(log_of(80, 40, 900), tmp_path / name)
    seen, data = sizes_of(str(path)), load_dataset(path)
    assert seen[:5] == (data.train.num_users, data.train.num_items, len(data.train), len(data.valid), len(data.test))
    assert not seen.is_estimate
    assert seen.one_log
    degrees = data.train.user_degrees
    assert seen.spread == pytest.approx(np.square(degrees).mean() / degrees.mean() ** 2)
    assert (seen.kind == LINES) == (name == "log.txt")


@pytest.fixture
def small_looks(monkeypatch):
    """Let files of some kilobytes be large ones."""
    for name, value in {"WHOLE_BYTES": 2**14, "WHOLE_ROWS": 1, "_PIECE_BYTES": 2**14, "_SAMPLE_ROWS": 15_000}.items():
        monkeypatch.setattr(looking, name, value)


@pytest.mark.parametrize("order", ["sorted by user", "shuffled"])
@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.jsonl", "log.txt", "log.csv.gz"])
def test_the_sizes_of_a_large_file_are_estimated_from_pieces_of_it(name, order, tmp_path, small_looks, monkeypatch):
    log = log_of(2000, 300, 60_000)
    if order == "shuffled":
        if name == "log.txt":
            pytest.skip("a line has all items of a user")
        log = log.sample(fraction=1, shuffle=True, seed=1)
    elif name == "log.csv.gz":
        pytest.skip("of a packed file the beginning is seen, which has the users of the beginning")
    if name == "log.parquet":
        monkeypatch.setattr(looking, "_is_small", lambda *given: False)
    seen = sizes_of(str(write(log, tmp_path / name)))
    assert seen.is_estimate
    assert seen.num_pairs == pytest.approx(len(log), rel=0.08)
    assert seen.num_users == pytest.approx(log["user_id"].n_unique(), rel=0.25)
    assert seen.num_items == pytest.approx(log["item_id"].n_unique(), rel=0.25)
    degrees = log["user_id"].value_counts()["count"].cast(pl.Float64)
    assert seen.spread == pytest.approx((degrees**2).mean() / degrees.mean() ** 2, rel=0.4)
    assert "estimated from" in seen.about


def test_of_a_large_parquet_file_the_footer_says_how_many_rows_there_are(tmp_path, small_looks):
    log = log_of(3000, 2000, 400_000)
    path = tmp_path / "log.parquet"
    log.write_parquet(path, compression="uncompressed", row_group_size=10_000)
    assert path.stat().st_size > 2**20
    seen = sizes_of(str(path))
    assert seen.is_estimate
    assert seen.num_pairs == pytest.approx(len(log), rel=0.1)


@pytest.mark.parametrize("order", ["users in files of their own, shuffled", "shuffled", "sorted by user"])
def test_in_a_folder_of_parquet_files_users_are_counted_wherever_their_rows_stand(tmp_path, small_looks, monkeypatch, order):
    monkeypatch.setattr(looking, "_is_small", lambda *given: False)
    log = log_of(4000, 300, 60_000)
    if order == "shuffled":
        log = log.sample(fraction=1, shuffle=True, seed=1)
    for number, part in enumerate(log.iter_slices(2_000)):
        rows = part.sample(fraction=1, shuffle=True, seed=number) if "files" in order else part
        rows.write_parquet(tmp_path / f"part-{number:02}.parquet")
    seen = sizes_of(str(tmp_path))
    assert seen.num_users == pytest.approx(log["user_id"].n_unique(), rel=0.1)
    assert seen.num_pairs == pytest.approx(len(log), rel=0.1)
    assert seen.num_items == pytest.approx(log["item_id"].n_unique(), rel=0.1)
    degrees = log.group_by("user_id").len()["len"].to_numpy().astype(float)
    assert seen.spread == pytest.approx((degrees**2).mean() / degrees.mean() ** 2, rel=0.1)


def test_several_large_files_are_one_log(tmp_path, small_looks):
    log = log_of(2000, 300, 60_000)
    for number, part in enumerate(log.iter_slices(15_000)):
        part.write_csv(tmp_path / f"part-{number}.csv")
    seen = sizes_of(str(tmp_path / "part-*.csv"))
    assert seen.num_pairs == pytest.approx(len(log), rel=0.08)
    assert seen.num_users == pytest.approx(log["user_id"].n_unique(), rel=0.25)


def test_a_large_test_file_is_counted_beside_train(tmp_path, small_looks):
    log = log_of(2000, 300, 60_000)
    write(log[:40_000], tmp_path / "train.csv")
    write(log[40_000:], tmp_path / "test.csv")
    seen = sizes_of(str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"))
    assert not seen.one_log
    assert seen.num_train + seen.num_valid == pytest.approx(40_000, rel=0.08)
    assert seen.num_valid == pytest.approx(4000, rel=0.1)
    assert seen.num_test == pytest.approx(len(log) - 40_000, rel=0.08)


@pytest.mark.parametrize("name", ["log.parquet", "log.csv.gz", "log.zip"])
def test_a_damaged_file_is_one_sentence(name, tmp_path, capsys, quick):
    path = write(log_of(80, 40, 900), tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert main(["plan", "--dataset", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert name in said.err


def test_of_a_named_data_set_that_is_not_there_the_published_sizes_are_planned_and_nothing_is_downloaded(tmp_path, capsys, quick):
    assert main(["plan", "--dataset", "yelp2018", "--data_dir", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    planned = json.loads(said.out)["sizes"]
    assert (planned["num_users"], planned["num_items"], planned["num_train"] + planned["num_valid"]) == (31_668, 38_048, 1_237_259)
    assert planned["is_estimate"]
    assert "yelp2018 is not in" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({}, (200, 80)), ({"split": "none"}, (0, 0)), ({"test_share": 0.5}, (500, 50)), ({"split": "last", "last_k": 2}, (200, 200)),
        ({"split": "last", "last_share": 0.1}, (100, 90)), ({"split": "time"}, (200, 80)),
    ],
)  # fmt: skip
def test_by_sizes_alone_pairs_are_held_out_as_the_split_says(options, held):
    sizes = by_sizes(100, 50, 1000, options=DataOptions(**options))
    assert (sizes.num_test, sizes.num_valid) == held
    assert sizes.num_pairs == 1000


@pytest.mark.parametrize(("sizes", "message"), [((0, 1, 1), "--users"), ((1, 1, 2), "at most 1 pairs"), ((2, 3, 7), "at most 6 pairs")])
def test_sizes_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(UsageError, match=message):
        by_sizes(*sizes)


def test_pairs_of_items_are_counted_as_they_are_met():
    # All users have all items: every pair of items is shared, and no more.
    dense = Shape(50, 10, 500, 1.0)
    assert dense.shared == 50 * 90
    assert dense.different == pytest.approx(100, rel=0.1)
    # Next to no pairs: nearly all pairs of items are different.
    sparse = Shape(1000, 10**6, 4000, 1.0)
    assert sparse.different == pytest.approx(0.9 * sparse.shared, rel=0.02)


def test_entries_of_p_lie_between_the_pairs_and_all_their_neighbours():
    shape = Shape(30_000, 40_000, 700_000, 2.5)
    assert shape.entries(0) == 700_000
    assert 700_000 < shape.entries(10) < 7_000_000
    assert Shape(10, 10, 90, 1.0).entries(50) <= 100


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 1000, 1000), (1000, 1, 1000), (2, 3, 5), (10**8, 10**7, 10**10)])
@pytest.mark.parametrize("protocol", ["clean", "authors"])
def test_awkward_sizes_have_a_plan(sizes, protocol):
    made = plan_ultragcn(by_sizes(*sizes, protocol=protocol), Config(), SPEED, everything=True)
    for stage in made.stages:
        assert np.isfinite([stage.memory, stage.cpu_seconds, stage.seconds]).all()
        assert stage.memory > 0
    least, likely, most = made.sweeps
    assert 1 <= least <= likely <= most == 30
    assert made.range_seconds[0] <= made.stages[1].seconds <= made.range_seconds[1]


def test_more_of_anything_never_takes_less():
    base = plan_ultragcn(by_sizes(10**5, 10**4, 10**6), Config(), SPEED, everything=False)
    larger = [
        plan_ultragcn(by_sizes(2 * 10**5, 10**4, 10**6 * 2), Config(), SPEED, everything=False),
        plan_ultragcn(by_sizes(10**5, 10**4, 2 * 10**6), Config(), SPEED, everything=False),
        plan_ultragcn(by_sizes(10**5, 10**4, 10**6), Config(embedding_dim=256), SPEED, everything=False),
        plan_ultragcn(by_sizes(10**5, 10**4, 10**6), Config(), SPEED, everything=True),
    ]
    for made in larger:
        assert made.stages[1].memory > base.stages[1].memory
        assert made.stages[1].cpu_seconds > base.stages[1].cpu_seconds


def test_seconds_go_by_how_fast_and_how_busy_the_machine_is():
    sizes = by_sizes(10**5, 10**4, 10**6)
    base = plan_ultragcn(sizes, Config(), SPEED, everything=False).stages[1]
    slow = SPEED._replace(factor=dict.fromkeys(REFERENCE, 2.0))
    busy = SPEED._replace(clock={"threads": 1.2, "one": 1.0})
    slower, later = (plan_ultragcn(sizes, Config(), of, everything=False).stages[1] for of in (slow, busy))
    assert slower.cpu_seconds - 0.5 == pytest.approx(2 * (base.cpu_seconds - 0.5))
    assert (later.cpu_seconds, later.seconds - 0.5) == (base.cpu_seconds, pytest.approx(2 * (base.seconds - 0.5)))


@pytest.mark.parametrize("epochs", [1, 5, 30])
def test_sweeps_end_by_patience_or_by_epochs(epochs):
    counts = plans.sweeps_of(Config(epochs=epochs), chooses=True)
    assert counts == (min(epochs, 9), min(epochs, 14), epochs)
    counts = plans.sweeps_of(Config(epochs=epochs, l2_user=0.1, l2_item=0.1), chooses=True)
    assert counts == (min(epochs, 4), min(epochs, 9), epochs)
    assert counts == plans.sweeps_of(Config(epochs=epochs), chooses=False)


def test_the_command_prints_a_table_and_says_that_it_fits(capsys, quick):
    assert main(["plan", "--users", "1e5", "--items", "20_000", "--pairs", "3000000"]) == 0
    said = capsys.readouterr()
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert rows[0] == ["stage", "peak_memory_mb", "cpu_seconds", "seconds"]
    assert [row[0] for row in rows[1:]] == ["reading", "training", "ranking"]
    assert all(float(cell) > 0 for row in rows[1:] for cell in row[1:])
    assert "100000 users, 20000 items and 3000000 pairs" in said.err
    assert "16.0 GB of free memory" in said.err
    assert said.err.splitlines()[-1].startswith("ultragcn: the plan fits: at most ")


def test_as_json_a_plan_is_one_object(capsys, quick):
    assert main(["plan", "--dataset", "demo", "--json", "--epochs", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] is True
    assert found["advice"] == []
    assert found["free_memory_mb"] == 16_000
    assert found["sizes"]["num_train"] == 48_265
    assert found["sweeps"]["most"] == 5
    assert [stage["stage"] for stage in found["stages"]] == ["reading", "training", "ranking"]


def test_what_does_not_fit_ends_with_1_and_says_what_helps_with_figures(capsys, quick, monkeypatch):
    monkeypatch.setattr(plans, "free_memory", lambda: 10**9)
    words = ["plan", "--users", "1e6", "--items", "2e5", "--pairs", "6e7"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 4
    assert "the plan does not fit: " in said.err
    for change in ("--item_graph_weight 0 would take", "--keep measured would take", "half of the users", "a machine with"):
        assert change in said.err
    assert main([*words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] is False
    # The first change is worth what a plan with it says.
    first = next(sentence for sentence in found["advice"] if sentence.startswith("--item_graph_weight"))
    main([*words, "--item_graph_weight", "0", "--json"])
    less = json.loads(capsys.readouterr().out)
    assert f"{max(stage['peak_memory_mb'] for stage in less['stages']) / 1000:.1f} GB" in first


def test_where_the_system_does_not_say_what_is_free_no_plan_says_that_it_fits(capsys, quick, monkeypatch):
    monkeypatch.setattr(plans, "free_memory", lambda: None)
    assert main(["plan", "--dataset", "demo", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["fits"] is None
    assert "so it is not known whether the plan fits" in said.err


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("ultragcn", "ultragcn-default", "ultragcn-paper")])
def test_of_other_models_memory_is_planned_and_it_is_said_that_time_is_not(name, capsys, quick):
    assert main(["plan", "--users", "1000", "--items", "5e4", "--pairs", "1e5", "--model", name]) == 0
    said = capsys.readouterr()
    training, ranking = (line.split("\t") for line in said.out.splitlines()[2:])
    assert float(training[1]) >= 245
    assert training[2:] == ["-", "-"]
    assert ranking[1:] == ["-", "-", "-"]
    assert "is not predicted, nor are time and memory of ranking" in said.err


def test_ease_has_its_whole_matrix_in_the_plan(capsys, quick):
    assert main(["plan", "--users", "1000", "--items", "1e5", "--pairs", "1e6", "--model", "ease"]) == 1
    said = capsys.readouterr()
    assert float(said.out.splitlines()[2].split("\t")[1]) > 4 * 10**10 / 1e6
    assert "the plan does not fit" in said.err


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "lightgcn"])
def test_the_memory_of_a_baseline_by_sizes_is_what_its_fit_looks_for(name, monkeypatch):
    from ultragcn.models import baseline, ease
    from ultragcn.models.registry import memory_for
    from ultragcn.solvers import Sizes

    train = load_dataset("demo").train
    asked = []
    for module in (baseline, ease):
        monkeypatch.setattr(module, "ask_for", lambda needed, what, advice: asked.append(needed))
    model = make_model(name, None, 0, {"epochs": 1} if hasattr(BASELINES[name].Settings, "epochs") else {})
    model.fit(train)
    squares = int(np.square(train.user_degrees.astype(np.int64)).sum())
    assert asked == [memory_for(model, Sizes(train.num_users, train.num_items, len(train)), squares)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--users", "10"], "give --items and --pairs too"),
        (["--users", "10", "--items", "10", "--pairs", "10", "--dataset", "demo"], "give either"),
        (
            ["--users", "ten", "--items", "1", "--pairs", "1"],
            "--users must be a whole number of 1 or more, such as 1000000 or 1e6, not ten",
        ),
        (["--users", "1.5", "--items", "1", "--pairs", "1"], "--users must be a whole number"),
        (["--users", "0", "--items", "1", "--pairs", "1"], "--users must be a whole number"),
        (["--users", "nan", "--items", "1", "--pairs", "1"], "--users must be a whole number"),
        (["--users", "2", "--items", "2", "--pairs", "5"], "at most 4 pairs"),
        (["--dataset", "nowhere"], "nowhere"),
        (["--shrinkage", "3"], "belongs to --model itemknn"),
        (["--model", "nothing"], "nothing"),
    ],
)
def test_misuse_ends_with_status_2_and_one_line(words, message, capsys, quick):
    assert main(["plan", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert len(said.err.splitlines()) == 1


def test_a_config_file_and_options_of_a_model_count(capsys, quick, tmp_path):
    (tmp_path / "own.toml").write_text("embedding_dim = 256\nepochs = 3\n")
    words = ["plan", "--users", "1e6", "--items", "1e4", "--pairs", "1e7", "--item_graph_weight", "0", "--json"]
    memory = []
    for more in ([], ["--config", str(tmp_path / "own.toml")], ["--embedding_dim", "256"]):
        assert main([*words, *more]) in (0, 1)
        memory.append(json.loads(capsys.readouterr().out)["stages"][1]["peak_memory_mb"])
    assert memory[0] < memory[1] == memory[2]


def test_a_plan_measures_this_machine_by_the_real_commands(monkeypatch):
    found = speed.measured(LINES)
    assert set(found.factor) == set(REFERENCE)
    assert all(0.02 < factor < 50 for factor in found.factor.values())
    assert all(0.1 < ratio < 100 for ratio in found.clock.values())
    assert 20 * 10**6 < found.reading_bytes < found.training_bytes < 2 * 10**9
    assert 20 * 10**6 < found.ranking_bytes < 2 * 10**9
    assert min(found.start_seconds, found.kernel_seconds, found.ranking_start_seconds) > 0


def test_where_measuring_fails_it_is_one_sentence(monkeypatch):
    monkeypatch.setattr(speed.sys, "executable", "/no/such/python")
    with pytest.raises(UltraGCNError, match="cannot measure this machine"):
        speed.measured()


# ------------------------------------------------------------------ logs that are read on the disk


@pytest.mark.parametrize("on_disk", ["auto", "yes", "no"])
def test_a_log_that_is_read_on_the_disk_is_planned_so(on_disk, tmp_path, capsys, quick, monkeypatch):
    path = write(log_of(200, 50, 3_000), tmp_path / "log.parquet")
    monkeypatch.setattr(size, "free_memory", lambda: 2 * 85 * 1_000)
    assert main(["plan", "--dataset", str(path), "--json", "--on_disk", on_disk]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    assert found["scratch_mb"] == (0 if on_disk == "no" else round(34 * rows / 1e6, 1))
    assert ("reading keeps the log on the disk" in said.err) is (on_disk != "no")


def test_what_is_read_on_the_disk_takes_less_memory_and_the_less_the_more_pairs_a_user_has():
    config, sizes = Config(item_graph_weight=0.0), by_sizes(10**6, 10**5, 10**9, on_disk="yes")
    assert sizes.kind == DISK
    disk, memory = (plan_ultragcn(seen, config, SPEED, False) for seen in (sizes, sizes._replace(kind=TABLE)))
    assert disk.stages[0].memory < 10**9 < 85 * 10**9 < memory.stages[0].memory
    assert memory.stages[1].memory - disk.stages[1].memory == pytest.approx(52 * 10**9, rel=0.01)
    assert disk.stages[0].memory < plan_ultragcn(sizes._replace(num_users=10**7), config, SPEED, False).stages[0].memory


@pytest.mark.parametrize(
    ("on_disk", "free", "kind"), [("auto", 10**12, TABLE), ("auto", 10**9, DISK), ("yes", 10**12, DISK), ("no", 1, TABLE)]
)
def test_sizes_alone_are_taken_for_a_parquet_log(on_disk, free, kind, monkeypatch):
    monkeypatch.setattr(size, "free_memory", lambda: free)
    assert by_sizes(10**6, 10**4, 10**8, on_disk=on_disk).kind == kind


def test_text_cannot_be_planned_on_the_disk(tmp_path, capsys, quick):
    path = write(log_of(200, 50, 3_000), tmp_path / "log.csv")
    assert main(["plan", "--dataset", str(path), "--on_disk", "yes"]) == 2
    assert "log.csv is not a Parquet file" in capsys.readouterr().err
