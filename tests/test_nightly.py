"""The nightly job of docs/nightly.md, to the letter: nights that end well, and nights that do not."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/nightly.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("flock"), reason="the script is for Linux")


@pytest.fixture
def shop(tmp_path):
    """The folder of the job, in which the script, its log and the command are."""
    (script,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "nightly.sh").write_text(script)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "ultragcn"
    command.write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/ran"\nexec "{sys.executable}" -m ultragcn "$@"\n')
    command.chmod(0o755)
    (tmp_path / "job").mkdir()
    write_log(tmp_path, 60)
    return tmp_path


def write_log(shop, users, flipped=False):
    """A log in which everybody keeps to a half of 60 items; flipped, to the other one."""
    random = np.random.default_rng(0)
    pairs = [f"u{user:03},{'ab'[(user + flipped) % 2]}{item}" for user in range(users) for item in random.permutation(30)[:8]]
    (shop / "log.csv").write_text("\n".join(["customer_id,product_id", *pairs]) + "\n")


def begun(shop, night, how="train", **environment):
    """The script as a process of its own group."""
    source = {"PATH": f"{shop / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src"), "NIGHT": night}
    return subprocess.Popen(["sh", shop / "nightly.sh", shop / "job", how, shop / "log.csv"], stderr=subprocess.PIPE, text=True,
                            env=os.environ | source | environment, start_new_session=True)  # fmt: skip


def job(shop, night, how="train", **environment):
    """Status and stderr of a night."""
    process = begun(shop, night, how, **environment)
    _, err = process.communicate(timeout=300)
    return process.returncode, err


def lists(shop, monkeypatch):
    """The lists, read as the page says."""
    monkeypatch.chdir(shop / "job")
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    found = {}
    exec(code, found)
    return found["lists"]


def ran(shop):
    """The commands since the last look."""
    words = (shop / "ran").read_text().split()
    (shop / "ran").unlink()
    return words


def test_nights_that_end_well_put_new_lists_in_place_and_remove_old_nights(shop, monkeypatch):
    assert job(shop, "2026-05-01") == (0, "")
    assert ran(shop) == ["train", "recommend"]
    first = lists(shop, monkeypatch)
    assert first["user_id"].n_unique() == 60
    write_log(shop, 64)
    assert job(shop, "2026-05-02", "update") == (0, "")
    assert ran(shop) == ["update", "diff", "recommend"]
    second = lists(shop, monkeypatch)
    assert second["user_id"].n_unique() == 64
    assert os.readlink(shop / "job/current") == "nights/2026-05-02"
    assert pl.read_parquet(shop / "job/nights/2026-05-01/lists/part-*.parquet").equals(first)
    assert job(shop, "2026-05-02") == (0, "")
    assert not (shop / "ran").exists()  # that night has its lists
    for day in range(10, 17):
        (shop / f"job/nights/2026-04-{day}").mkdir()
    (shop / "job/nights/2026-04-30.unfinished").mkdir()
    assert job(shop, "2026-05-03", LEAST_OVERLAP="0.1") == (0, "")
    kept = sorted(path.name for path in (shop / "job/nights").iterdir())
    assert kept == ["2026-04-13", "2026-04-14", "2026-04-15", "2026-04-16", "2026-05-01", "2026-05-02", "2026-05-03"]


def test_on_a_night_that_fails_the_lists_of_the_night_before_stay(shop, monkeypatch):
    assert job(shop, "2026-05-01")[0] == 0
    before = lists(shop, monkeypatch)
    bytes_before = {path.name: path.read_bytes() for path in (shop / "job/current/lists").iterdir()}
    ran(shop)
    write_log(shop, 60, flipped=True)
    status, err = job(shop, "2026-05-02")
    assert (status, ran(shop)) == (1, ["train", "diff"])
    assert re.search(r"the lists have 0\.\d+ of yesterday's items, less than 0\.5; see nights/2026-05-02\.unfinished/diff\.tsv", err)
    (shop / "log.csv").write_text("customer_id,product_id\n")
    for how in ("train", "update"):
        status, err = job(shop, "2026-05-03", how)
        assert status == 2
        assert err.startswith("nightly: failed; current stays as it is:\n")
        assert "log.csv" in err
    assert os.readlink(shop / "job/current") == "nights/2026-05-01"
    assert lists(shop, monkeypatch).equals(before)
    assert {path.name: path.read_bytes() for path in (shop / "job/current/lists").iterdir()} == bytes_before


def test_a_job_that_was_killed_goes_on_without_training_again(shop, monkeypatch):
    process = begun(shop, "2026-05-01")
    while not (shop / "job/nights/2026-05-01.unfinished/learned").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (shop / "job/current").exists()
    ran(shop)
    assert job(shop, "2026-05-01") == (0, "")
    assert ran(shop) == ["recommend"]
    assert lists(shop, monkeypatch)["user_id"].n_unique() == 60


def test_two_jobs_do_not_run_at_once(shop):
    first = begun(shop, "2026-05-01")
    while not (shop / "job/nights/2026-05-01.unfinished").exists():
        assert first.poll() is None
        time.sleep(0.01)
    assert job(shop, "2026-05-01") == (1, "nightly: an earlier job still runs\n")
    assert first.communicate(timeout=300)[1] == ""
    assert first.returncode == 0
