"""Logs larger than memory: what is read, split and kept on the disk is what the reader in memory makes, bit for bit."""

import errno
import gc
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultragcn import UltraGCN, load_dataset
from ultragcn.cli import main
from ultragcn.data import split
from ultragcn.data.large import codes, disk, pairs, reading, size
from ultragcn.data.large.disk import Scratch
from ultragcn.errors import DataError, DataWarning, UltraGCNError, UsageError
from ultragcn.experiments.runs.train import resume_run, train_run

# What is odd in logs drawn at random is not looked at here, but where `loaded` collects it.
pytestmark = pytest.mark.filterwarnings("ignore::ultragcn.errors.DataWarning")


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    """A handful of rows at a time, so that a small log is read in many pieces and sorted in many buckets."""
    monkeypatch.setattr(pairs, "ROWS", 37)
    monkeypatch.setattr(codes, "WAITING", 11)


def loaded(source, scratch, **options):
    """Return the same log read on the disk and in memory, and the warnings of either."""
    found, said = [], []
    for on_disk in ("yes", "no"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            found.append(load_dataset(source, on_disk=on_disk, scratch=scratch, **options))
        said.append([str(warning.message) for warning in caught])
    return found, said


def assert_same(large, small):
    """Compare two data sets bit by bit."""
    for name in ("train", "valid", "test", "everything"):
        one, other = getattr(large, name), getattr(small, name)
        if other is None:
            assert one is None
            continue
        assert (one.user_ids, one.item_ids) == (other.user_ids, other.item_ids), name
        for array in ("indptr", "indices", "data"):
            mine, expected = getattr(one.matrix, array), getattr(other.matrix, array)
            assert mine.dtype == expected.dtype, (name, array)
            assert np.array_equal(mine, expected), (name, array)
            turned, wanted = getattr(one.by_item, array), getattr(other.by_item, array)
            assert np.array_equal(turned, wanted), (name, array)
        assert (one.times is None) == (other.times is None)
        assert one.times is None or np.array_equal(one.times, other.times)
        assert np.array_equal(one.item_degrees, other.item_degrees)
        assert one.hash == other.hash
    assert (large.had is None) == (small.had is None)
    assert large.had is None or (large.had.hash == small.had.hash and len(large.had))
    assert large.hash == small.hash
    if small.valid is not None:
        assert large.train.union(large.valid).hash == small.train.union(small.valid).hash


def spark_folder(folder, frames, name="part-{:05}-0b1c.c000.snappy.parquet"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        frame.write_parquet(folder / name.format(number))
    (folder / "_SUCCESS").touch()
    (folder / "._SUCCESS.crc").touch()
    return str(folder)


def a_log(seed=0, rows=600, text=False):
    random = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "user_id": random.integers(-9, 40, rows),
            "item_id": random.zipf(1.4, rows) % 31,
            "rating": random.integers(1, 6, rows).astype(np.float32),
            "time": random.integers(1_500_000_000, 1_500_000_400, rows),
        }
    )
    return frame.with_columns(pl.format("u{}", "user_id").alias("user_id"), pl.col("item_id").cast(pl.String)) if text else frame


SPLITS = [
    {},
    {"protocol": "authors"},
    {"split": "none"},
    {"split_seed": 5, "test_share": 0.4},
    {"split": "last", "time_column": "time"},
    {"split": "last", "last_share": 0.3, "time_column": "time", "split_seed": 3},
    {"split": "time", "time_column": "time"},
    {"split": "time", "time_column": "time", "test_from": "1500000200"},
    {"time_column": "time"},
    {"k_core": 5},
    {"k_core": 4, "split": "last", "time_column": "time", "min_rating": 2},
    {"min_rating": 3},
    {"where": "rating > 2"},
]


@pytest.mark.parametrize("text", [False, True], ids=["integers", "strings"])
@pytest.mark.parametrize("options", SPLITS, ids=lambda options: "-".join(map(str, options)) or "random")
def test_ids_pairs_times_splits_and_hashes_are_those_of_the_reader_in_memory(tmp_path, options, text):
    log = a_log(text=text)
    files = [log[:200], log[200:250].select(reversed(log.columns)), log.clear(), log[250:]]
    (large, small), (said, expected) = loaded(spark_folder(tmp_path / "log", files), tmp_path, **options)
    assert_same(large, small)
    assert said == expected
    assert [note.removesuffix("; on disk") for note in large.notes] == list(small.notes)


@st.composite
def awkward_logs(draw):
    """Files of one log: other orders of columns, empty ones, nulls, strings in some and integers in others, few or far integers."""
    kinds = draw(st.lists(st.sampled_from(["small", "far", "text"]), min_size=1, max_size=2))
    frames = []
    for number in range(draw(st.integers(1, 4))):
        rows = draw(st.sampled_from([0, 1, 2, 5, 36, 37, 38, 90]))
        random = np.random.default_rng(draw(st.integers(0, 10_000)))
        columns = {}
        for side, most in (("user_id", 12), ("item_id", 8)):
            kind = kinds[number % len(kinds)]
            numbers = random.integers(-most if kind == "far" else 0, most, rows) * (3_000_000_017 if kind == "far" else 1)
            cells = pl.Series(side, numbers, dtype=pl.Int64)
            if kind == "text":
                blank = draw(st.sampled_from(["", " "]))
                cells = pl.Series(side, [f"{blank}{cell}" for cell in numbers.tolist()], dtype=pl.String)
            if draw(st.booleans()) and rows:
                cells = cells.to_frame().with_columns(pl.when(pl.Series(random.random(rows) > 0.1)).then(pl.col(side)))[side]
            columns[side] = cells
        columns["time"] = pl.Series("time", random.integers(20_200_101, draw(st.sampled_from([20_200_128, 20_200_199])), rows))
        frame = pl.DataFrame(list(columns.values()))
        frames.append(frame.select(draw(st.permutations(frame.columns))))
    options = draw(st.sampled_from([{}, {"time_column": "time"}, {"split": "last"}, {"split": "time"}, {"k_core": 2}, {"split": "none"}]))
    return frames, options | draw(
        st.sampled_from([{}, {"missing": "skip"}, {"blanks": "drop"}, {"protocol": "authors", "missing": "skip"}])
    )


@given(awkward_logs(), st.sampled_from([5, 37, 1000]), st.sampled_from([64, 1 << 27]))
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_awkward_logs_are_read_alike_or_refused_alike(tmp_path_factory, log, rows, span):
    frames, options = log
    if options.get("split") == "none":
        options = {name: value for name, value in options.items() if name != "protocol"}
    folder = tmp_path_factory.mktemp("log")
    source = spark_folder(folder / "log", frames)
    found = {}
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        patched.setattr(pairs, "ROWS", rows)
        patched.setattr(codes, "SPAN", span)
        for on_disk in ("yes", "no"):
            try:
                found[on_disk] = load_dataset(source, on_disk=on_disk, scratch=folder, **options)
            except (DataError, UsageError) as error:
                found[on_disk] = error
    if isinstance(found["no"], Exception):
        assert type(found["yes"]) is type(found["no"])
        # A file in pieces counts only up to the piece that is refused.
        parts = [re.sub(r"; on disk| \(the first of \d+ such rows\)", "", str(found[which])) for which in ("yes", "no")]
        assert parts[0] == parts[1]
    else:
        assert_same(found["yes"], found["no"])


def test_numbers_are_dates_only_where_all_of_the_file_are(tmp_path):
    frame = pl.DataFrame({"user": np.arange(90) % 9, "item": np.arange(90) % 10, "time": np.full(90, 20_200_131)})
    dates = spark_folder(tmp_path / "dates", [frame])
    last = frame.with_columns(pl.when(pl.int_range(90) == 89).then(1_600_000_000).otherwise("time").alias("time"))
    mixed = spark_folder(tmp_path / "mixed", [last])
    for source, first in ((dates, date(2020, 1, 31)), (mixed, date(1970, 8, 22))):
        (large, small), _ = loaded(source, tmp_path, time_column="time")
        assert_same(large, small)
        assert date.fromtimestamp(int(large.train.times[0]) / 1e6) == first


def test_a_folder_with_partitions_is_one_log_whose_folders_are_columns(tmp_path):
    log = a_log(rows=300)
    for number, day in enumerate(("2026-01-01", "2026-01-02", "__HIVE_DEFAULT_PARTITION__")):
        spark_folder(tmp_path / "log" / f"day={day}" / "country=a%2Fb", [log[number * 100 : number * 100 + 100].drop("time")])
    unfinished = tmp_path / "log" / "_temporary" / "0"
    spark_folder(unfinished, [log])
    (tmp_path / "log" / "_SUCCESS").touch()
    (large, small), _ = loaded(str(tmp_path / "log"), tmp_path)
    assert_same(large, small)
    assert len(small.everything) == log.select("user_id", "item_id").n_unique()
    (large, small), _ = loaded(str(tmp_path / "log"), tmp_path, where="day = DATE '2026-01-02' AND country = 'a/b'")
    assert_same(large, small)
    assert len(small.everything) == log[100:200].select("user_id", "item_id").n_unique()


def test_the_day_of_a_partition_can_be_the_time(tmp_path):
    log = a_log(rows=200).drop("time")
    for number, day in enumerate(("2026-01-01", "2026-01-02")):
        spark_folder(tmp_path / "log" / f"day={day}", [log[number * 100 : number * 100 + 100]], "0a1b2c3d4e5f-{}.parquet")
    (large, small), _ = loaded(str(tmp_path / "log"), tmp_path, split="time", time_column="day", protocol="authors")
    assert_same(large, small)
    assert "2026-01-02" in small.notes[-1]


def test_a_repetition_is_shown_where_it_stands_and_counted(tmp_path, monkeypatch):
    frame = pl.DataFrame({"user": [1, 2, 1, 2] + [3] * 40, "item": [1, 1, 2, 1, *range(40)]})
    _, (said, expected) = loaded(spark_folder(tmp_path / "log", [frame]), tmp_path, split="none")
    assert said == expected
    assert any("row 4: user 2 has item 1 twice; it was counted once" in sentence for sentence in said)
    monkeypatch.setattr(reading, "LOOKED_AT", 1)
    late = pl.DataFrame({"user": [*range(50), 7], "item": [1] * 51})
    _, (said, _) = loaded(spark_folder(tmp_path / "late", [late]), tmp_path, split="none")
    assert any("1 row repeat" in sentence and "counted once" in sentence for sentence in said)


def test_a_random_share_is_that_of_a_full_sort_also_where_numbers_are_equal():
    random = np.random.default_rng(0)
    for num_users in (1, 3, 2047, 2048, 2049, 5000):
        degrees = random.integers(0, 30, num_users)
        held = split._share_of_each_user(degrees, 0.3, 3)
        for drawn in (random.random(int(degrees.sum())), random.random(int(degrees.sum())).round(1)):
            assert np.array_equal(split._smallest_of_each_user(degrees, held, drawn), split._first_of_each_user(degrees, held, drawn))


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), min_size=1, max_size=60), st.data())
@settings(max_examples=60, deadline=None)
def test_the_nth_latest_time_is_that_of_a_sort(numbers, data):
    scratch = Scratch(None, 0)
    column = scratch.column(np.int64)
    column.append(np.array(numbers))
    before = data.draw(st.none() | st.sampled_from(numbers))
    among = sorted((number for number in numbers if before is None or number < before), reverse=True)
    if among:
        n = data.draw(st.integers(1, len(among)))
        assert pairs.nth_latest(column, n, before, rows=7) == among[n - 1]
    scratch.close()


def test_what_is_made_of_pairs_on_the_disk_is_what_is_made_in_memory(tmp_path):
    (large, small), _ = loaded(spark_folder(tmp_path / "log", [a_log()]), tmp_path, time_column="time")
    fresh = split.hold_out(small.everything, 9)
    assert np.array_equal(large.everything.common(fresh[1]).toarray(), small.everything.common(fresh[1]).toarray())
    assert large.train.union(fresh[1]).hash == small.train.union(fresh[1]).hash
    with pytest.raises(ValueError, match="read-only"):
        large.train.matrix.indices[0] = 7


def test_the_scratch_folder_stays_as_long_as_something_uses_it_and_then_goes(tmp_path):
    source = spark_folder(tmp_path / "log", [a_log()])
    place = tmp_path / "scratch"
    data = load_dataset(source, on_disk="yes", scratch=place)
    train = data.train
    del data
    gc.collect()
    assert len(list(place.iterdir())) == 1
    assert train.hash == load_dataset(source).train.hash
    del train
    gc.collect()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("fault", [KeyboardInterrupt, DataError], ids=["interrupted", "refused"])
def test_a_reading_that_ends_early_leaves_nothing_behind(tmp_path, monkeypatch, fault):
    source, place = spark_folder(tmp_path / "log", [a_log()]), tmp_path / "scratch"

    def stop(*_):
        raise fault("enough")

    monkeypatch.setattr(pairs.Buckets, "add", stop)
    with pytest.raises(fault):
        load_dataset(source, on_disk="yes", scratch=place)
    gc.collect()
    assert list(place.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(tmp_path, monkeypatch):
    source, place = spark_folder(tmp_path / "log", [a_log()]), tmp_path / "scratch"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk.Column, "_put", full)
    with pytest.raises(UltraGCNError, match=r"No space left on device; free some space, or give another folder with --scratch") as raised:
        load_dataset(source, on_disk="yes", scratch=place)
    assert "\n" not in str(raised.value)
    del raised
    gc.collect()
    assert list(place.iterdir()) == []


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    source, place = spark_folder(tmp_path / "log", [a_log()]), tmp_path / "scratch"
    monkeypatch.setattr(size, "BYTES_ON_DISK", 10**15)
    with pytest.raises(UsageError, match=r"needs about 600000000\.3 GB in .*scratch, but .* GB are free"):
        load_dataset(source, on_disk="yes", scratch=place)
    assert list(place.iterdir()) == []


def test_the_size_of_the_log_against_free_memory_decides(tmp_path, monkeypatch):
    source = spark_folder(tmp_path / "log", [a_log()])
    for free, is_on_disk in ((10**12, False), (600 * size.BYTES_IN_MEMORY, True), (None, False)):
        monkeypatch.setattr(size, "free_memory", lambda free=free: free)
        data = load_dataset(source, scratch=tmp_path)
        assert (data.whole is not None) == is_on_disk
        assert data.notes[0].endswith("; on disk") == is_on_disk


def test_what_cannot_be_read_on_disk_says_why_and_is_read_in_memory_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(size, "free_memory", lambda: 1)
    a_log().write_csv(tmp_path / "log.csv")
    a_log().write_parquet(tmp_path / "log.parquet")
    for source, options, why in (
        (tmp_path / "log.csv", {}, "sink_parquet"),
        (tmp_path / "log.parquet", {"test": tmp_path / "log.parquet"}, "give one log"),
        (tmp_path / "log.parquet", {"net": True, "quantity_column": "rating"}, "drop net"),
        (a_log(), {}, "in memory already"),
    ):
        with pytest.raises(UsageError, match=why):
            load_dataset(source, on_disk="yes", scratch=tmp_path, **options)
    assert load_dataset(tmp_path / "log.csv", scratch=tmp_path).whole is None
    with pytest.raises(UsageError, match="auto, yes"):
        load_dataset(tmp_path / "log.parquet", on_disk="perhaps")


def test_training_on_a_log_on_disk_gives_the_same_model_and_leaves_no_scratch_folder(tmp_path, capsys):
    source = spark_folder(tmp_path / "log", [a_log(rows=2000)])
    for on_disk in ("yes", "no"):
        words = ["train", "--dataset", source, "--epochs=3", "--embedding_dim=8", "--seed=1", "--quiet", f"--out={tmp_path / on_disk}"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            assert main([*words, f"--on_disk={on_disk}"]) == 0
    gc.collect()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "no", "yes"]
    assert "; on disk" in capsys.readouterr().err
    one, other = (UltraGCN.load(tmp_path / name) for name in ("yes", "no"))
    assert np.array_equal(one.item_embedding_, other.item_embedding_)
    assert np.array_equal(one.user_embedding_, other.user_embedding_)
    assert one.train_.hash == other.train_.hash


def test_a_run_on_disk_that_was_stopped_goes_on_with_the_same_data(tmp_path):
    source = spark_folder(tmp_path / "log", [a_log(rows=2000)])

    def stop(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    model = UltraGCN(epochs=4, embedding_dim=8, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        data = load_dataset(source, on_disk="yes", scratch=tmp_path)
        with pytest.raises(KeyboardInterrupt):
            train_run(data, model, tmp_path / "run", keep="measured", checkpoint_every=1, on_epoch=stop)
        resume_run(tmp_path / "run", disk={"on_disk": "yes", "scratch": tmp_path})
        whole = UltraGCN(epochs=4, embedding_dim=8, seed=1).fit(load_dataset(source))
    assert np.array_equal(UltraGCN.load(tmp_path / "run").item_embedding_, whole.item_embedding_)


def test_a_killed_reader_is_cleaned_up_by_the_next_one(tmp_path):
    source, place = spark_folder(tmp_path / "log", [a_log()]), tmp_path / "scratch"
    code = f"""
import time
from ultragcn import load_dataset
data = load_dataset({source!r}, on_disk="yes", scratch={str(place)!r})
print("read", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"read\n"
        process.send_signal(signal.SIGKILL)
    assert len(list(place.iterdir())) == 1
    data = load_dataset(source, on_disk="yes", scratch=place)
    assert len(list(place.iterdir())) == 1  # its own
    del data
    gc.collect()
    assert list(place.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_that_ends_leaves_the_folder_to_its_parent(tmp_path):
    data = load_dataset(spark_folder(tmp_path / "log", [a_log()]), on_disk="yes", scratch=tmp_path / "scratch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks beside threads
        child = os.fork()
    if not child:
        data.whole.scratch.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list((tmp_path / "scratch").iterdir())) == 1


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Ten times the rows over the same ids take next to no more memory of the process's own."""
    code = """
import sys, threading, time
from ultragcn.data.large import pairs, reading
pairs.ROWS = reading.LOOKED_AT = 1 << 17
from pathlib import Path
from ultragcn import load_dataset
most = [0]
def watch():
    while True:
        lines = Path("/proc/self/status").read_text().splitlines()
        most[0] = max(most[0], next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")))
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
data = load_dataset(sys.argv[1], on_disk="yes", scratch=sys.argv[2])
assert data.train.by_item.nnz == len(data.train)
print(most[0])
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux says how much memory is a process's own")
    random, kilobytes = np.random.default_rng(0), []
    for rows in (300_000, 3_000_000):
        frame = pl.DataFrame({"user": random.integers(0, 20_000, rows, np.int32), "item": random.integers(0, 5_000, rows, np.int32)})
        folder = tmp_path / str(rows)
        folder.mkdir()
        for part in range(0, rows, 300_000):
            frame[part : part + 300_000].write_parquet(folder / f"part-{part // 300_000:05}.parquet")
        command = [sys.executable, "-W", "ignore", "-c", code, str(folder), str(tmp_path)]
        kilobytes.append(int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    assert kilobytes[1] < kilobytes[0] + 100_000  # in memory, 2.7 million rows more take 200 MB and more


def test_matrices_on_disk_are_not_copied(tmp_path):
    data = load_dataset(spark_folder(tmp_path / "log", [a_log()]), on_disk="yes", scratch=tmp_path)
    for matrix in (data.train.matrix, data.train.by_item):
        assert isinstance(matrix, sp.csr_matrix)
        for array in (matrix.data, matrix.indices):
            assert not array.flags.owndata
            assert not array.flags.writeable


def test_progress_counts_the_rows_of_each_piece_of_work(tmp_path):
    done = []

    class Notes:
        def start(self, what, total, unit):
            done.append([what, total, 0])

        def advance(self, steps, figures=None):
            done[-1][2] += steps

        def finish(self):
            pass

    started = time.monotonic()
    load_dataset(spark_folder(tmp_path / "log", [a_log()]), on_disk="yes", scratch=tmp_path, progress=Notes())
    assert [what for what, _, _ in done] == ["reading", "sorting", "splitting"]
    assert time.monotonic() > started
    assert all(total == steps for _, total, steps in done)


def test_lists_made_inside_spark_are_those_of_the_model(tmp_path):
    """The function that docs/scaling.md gives to `mapInPandas`, called as Spark calls it: with frames, one after the other."""
    pandas = pytest.importorskip("pandas")
    page = Path(__file__).parents[1] / "docs" / "scaling.md"
    code = re.search(r"```python\n(import functools\n.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    names = {}
    exec(code[1], names)
    log = a_log()
    model = UltraGCN(epochs=2, embedding_dim=8, seed=1).fit(log)
    model.save(tmp_path / "run")
    users = model.user_ids.ids[:25].tolist()
    frames = [pandas.DataFrame({"user_id": users[:10]}), pandas.DataFrame({"user_id": [*users[10:], 10**9]})]
    made = pandas.concat(names["lists_of"](iter(frames), str(tmp_path / "run"), top_k=4))
    expected = model.recommend_frame(users, top_k=4)
    assert list(made.columns) == ["user_id", "rank", "item_id", "score"]
    for column in made.columns:
        assert np.array_equal(made[column].to_numpy(), expected[column].to_numpy())


def test_the_slurm_array_of_the_page_makes_every_part(tmp_path, monkeypatch):
    """Its command, run once for each number of the array, leaves the lists of all users."""
    page = Path(__file__).parents[1] / "docs" / "scaling.md"
    command = re.search(r"^exec ultragcn (recommend .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert command is not None
    model = UltraGCN(epochs=2, embedding_dim=8, seed=1).fit(a_log())
    model.save(tmp_path / "runs" / "large")
    monkeypatch.chdir(tmp_path)
    for number in range(1, 21):
        assert main(shlex.split(command[1].replace("$SLURM_ARRAY_TASK_ID", str(number)))) == 0
    made = pl.read_parquet(tmp_path / "lists" / "part-*.parquet")
    assert made["user_id"].unique().sort().to_list() == model.user_ids.ids.tolist()
