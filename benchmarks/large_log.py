"""How fast a log larger than memory is read and split, and how much memory it takes. The log is a fractal expansion.

    ULTRAGCN_DATA_DIR=... python benchmarks/large_log.py --rows 1e7,1e8 --folder DIR [--dataset gowalla] [--split random] [--in_memory]
        [--copies 10] [--keep]

For each size it writes DIR/ROWS/part-00000.parquet and so on, in the way of Spark, one block of users in memory at a time. Then a
process of its own reads and splits them with `load_dataset(..., on_disk="yes")`, and the log is removed again (--keep: it stays). With
--in_memory another process reads the same log in memory, and the hashes of both are compared.

An expansion of 10^9 rows takes long to make. With --copies 10, a log of 10^8 rows is written ten times, each time with other users.

`private_mb` is the most memory that the process had of its own. `peak_mb` counts pages of mapped files too, which the system takes back
when it needs them. A table is printed and kept in plots/large_log.tsv.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import fractal
import polars as pl
from measure import report

PAIRS_A_USER, USERS_AN_ITEM = 60, 5
ROWS_A_FILE = 4_000_000


def write(folder: Path, dataset: str, rows: int) -> dict:
    """Write a log of about so many rows, without times, and return its sizes."""
    started = time.perf_counter()
    users = rows // PAIRS_A_USER
    made = fractal.expansion(dataset, users, max(users // USERS_AN_ITEM, 1000), rows)
    folder.mkdir(parents=True)
    waiting, count, files = [], 0, 0

    def flush() -> None:
        nonlocal waiting, files
        if waiting:
            # In no order, as logs are: a job of Spark writes what comes first.
            frame = pl.concat(waiting).sample(fraction=1.0, shuffle=True, seed=files)
            frame.write_parquet(folder / f"part-{files:05}.snappy.parquet", compression="snappy")
            waiting, files = [], files + 1

    for users_of_block, items_of_block in made.blocks("train"):
        frame = pl.DataFrame({"user_id": users_of_block, "item_id": items_of_block})
        waiting += [frame[start : start + ROWS_A_FILE] for start in range(0, len(frame), ROWS_A_FILE)]
        count += len(frame)
        if sum(map(len, waiting)) >= ROWS_A_FILE:
            flush()
    flush()
    (folder / "_SUCCESS").touch()
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"rows": count, "files": files, "parquet_mb": round(size / 1e6), "writing_s": round(time.perf_counter() - started, 1)}


def copied(log: Path, folder: Path, copies: int) -> dict:
    """Write the files of a log several times, each time with other users, and return the sizes of the whole."""
    started, number, rows = time.perf_counter(), 0, 0
    folder.mkdir(parents=True)
    files = sorted(log.glob("*.parquet"))
    users = 1 + max(pl.scan_parquet(file).select(pl.col("user_id").max()).collect().item() for file in files)
    for copy in range(copies):
        for file in files:
            frame = pl.read_parquet(file).with_columns(pl.col("user_id") + pl.lit(copy * users, pl.Int32))
            frame.write_parquet(folder / f"part-{number:05}.snappy.parquet", compression="snappy")
            number, rows = number + 1, rows + len(frame)
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"rows": rows, "files": number, "parquet_mb": round(size / 1e6), "writing_s": round(time.perf_counter() - started, 1)}


def read(folder: Path, scratch: Path, on_disk: bool, split: str) -> dict:
    """Read and split a log, and say what it took."""
    from ultragcn import load_dataset
    from ultragcn.machine import peak_memory_mb

    class Phases:
        """Notes the seconds of each piece of work."""

        def __init__(self) -> None:
            self.seconds: dict[str, float] = {}

        def start(self, what: str, total: int | None, unit: str) -> None:
            self._what, self._started = what, time.perf_counter()

        def advance(self, steps: int, figures: object = None) -> None:
            pass

        def finish(self) -> None:
            self.seconds[f"{self._what}_s"] = round(time.perf_counter() - self._started, 1)

    phases, private, ended = Phases(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            lines = Path("/proc/self/status").read_text().splitlines()
            private[0] = max(private[0], next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    data = load_dataset(str(folder), on_disk="yes" if on_disk else "no", scratch=scratch, split=split, progress=phases)
    seconds = time.perf_counter() - started
    on_scratch = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
    turned = time.perf_counter()
    by_item = data.train.by_item
    turned = time.perf_counter() - turned
    ended.set()
    assert by_item.nnz == len(data.train)
    whole = data.everything
    of_phases = {f"{what}_s": phases.seconds.get(f"{what}_s", 0.0) for what in ("reading", "sorting", "splitting")}
    return {
        "on_disk": on_disk, "users": whole.num_users, "items": whole.num_items, "pairs": len(whole), "seconds": round(seconds, 1),
        "rows_per_s": round(len(whole) / seconds), **of_phases, "by_item_s": round(turned, 1), "private_mb": round(private[0] / 2**10),
        "peak_mb": peak_memory_mb(), "scratch_mb": round(on_scratch / 1e6), "hash": data.hash[:12],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="1e7", help="sizes, with commas between")
    parser.add_argument("--folder", type=Path, required=True, help="where logs and scratch folders are made and removed")
    parser.add_argument("--dataset", help="the log to expand (default: gowalla, and below 5e7 rows ml-1m, which is denser)")
    parser.add_argument("--split", default="random", choices=("random", "none"))
    parser.add_argument("--in_memory", action="store_true", help="read it in memory too")
    parser.add_argument("--copies", type=int, default=1, help="write the log so often, with other users")
    parser.add_argument("--keep", action="store_true", help="leave the log, and use one that is there")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(read(given.read, given.folder, not given.memory, given.split)))
        return
    for rows in (int(float(text)) for text in given.rows.split(",")):
        log, scratch = given.folder / str(rows), given.folder / "scratch"
        try:
            written = {"rows": rows, "files": None, "parquet_mb": None, "writing_s": None}
            if not log.exists():
                written = write(log, given.dataset or ("gowalla" if rows >= 5e7 else "ml-1m"), rows)
            if given.copies > 1:
                log, before = log.with_name(f"{rows}x{given.copies}"), log
                written = copied(before, log, given.copies)
                if not given.keep:
                    shutil.rmtree(before)
            hashes = set()
            for memory in (False, True) if given.in_memory else (False,):
                command = [sys.executable, __file__, f"--read={log}", f"--folder={scratch}", f"--split={given.split}"]
                done = subprocess.run(command + ["--memory"] * memory, check=True, stdout=subprocess.PIPE, text=True)
                row = json.loads(done.stdout)
                hashes.add(row["hash"])
                report("large_log", {"asked": rows, "split": given.split, **written, **row})
            assert len(hashes) == 1, "the two readers differ"
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            if not given.keep:
                shutil.rmtree(log, ignore_errors=True)


if __name__ == "__main__":
    main()
