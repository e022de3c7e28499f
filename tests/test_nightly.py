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

from tests.servers import serving

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/nightly.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("flock"), reason="the script is for Linux")


@pytest.fixture
def shop(tmp_path):
    """The folder of the job, in which the script, its log and the command are."""
    (script,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "nightly.sh").write_text(script)
    (tmp_path / "nightly.sh").chmod(0o755)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "ultragcn"
    command.write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/ran"\nexec "{sys.executable}" -m ultragcn "$@"\n')
    command.chmod(0o755)
    (tmp_path / "job").mkdir()
    write_log(tmp_path, 60)
    return tmp_path


def write_log(shop, users, flipped=False, header="customer_id,product_id"):
    """A log in which everybody keeps to a half of 60 items; flipped, to the other one."""
    random = np.random.default_rng(0)
    pairs = [f"u{user:03},{'ab'[(user + flipped) % 2]}{item}" for user in range(users) for item in random.permutation(30)[:8]]
    (shop / "log.csv").write_text("\n".join([header, *pairs]) + "\n")


def begun(shop, night, how="train", **environment):
    """The script as a process of its own group."""
    source = {"PATH": f"{shop / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src"), "NIGHT": night}
    return subprocess.Popen([shop / "nightly.sh", shop / "job", how, shop / "log.csv"], stderr=subprocess.PIPE, text=True,
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


def test_a_night_on_which_nothing_is_new_says_so_and_the_lists_stay(shop):
    assert job(shop, "2026-05-01")[0] == 0
    ran(shop)
    status, err = job(shop, "2026-05-02", "update")
    assert (status, ran(shop)) == (1, ["update"])
    assert err.startswith("nightly: failed; current stays as it is:\n")
    assert "ultragcn: nothing is new: all 480 pairs are known, so nights/2026-05-02.unfinished/model is not written\n" in err
    assert os.readlink(shop / "job/current") == "nights/2026-05-01"
    assert not (shop / "job/nights/2026-05-02.unfinished/model").exists()


def test_options_name_columns_for_training_and_each_step_has_its_time_in_the_log(shop):
    write_log(shop, 60, header="this,that")
    assert job(shop, "2026-05-01", OPTIONS="--user_column that --item_column this")[0] == 0
    assert pl.read_parquet(shop / "job/current/lists/part-*.parquet")["user_id"].str.contains("^[ab][0-9]+$").all()
    write_log(shop, 70, header="this,that")
    assert job(shop, "2026-05-02", "update", LEAST_OVERLAP="0")[0] == 0
    assert pl.read_parquet(shop / "job/current/lists/part-*.parquet")["item_id"].str.contains("^u[0-9]+$").all()
    noted = re.findall(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} nightly: (\w+)", (shop / "job/nightly.log").read_text(), re.M)
    assert noted == ["trains", "writes", "current", "updates", "compares", "writes", "current"]


def test_a_server_that_is_started_with_the_link_follows_it_at_a_reload(shop):
    httpx = pytest.importorskip("httpx", reason="needs what ultragcn serve needs: pip install -r requirements-dev.txt")
    pytest.importorskip("uvicorn", reason="needs what ultragcn serve needs: pip install -r requirements-dev.txt")
    assert job(shop, "2026-05-01")[0] == 0
    with serving(shop / "job/current/model", "--admin_port", "0") as server, httpx.Client(base_url=server.url, timeout=30) as client:
        first = client.get("/model").json()
        write_log(shop, 70)
        assert job(shop, "2026-05-02", "update")[0] == 0
        shutil.rmtree(shop / "job/nights/2026-05-01")
        assert client.get("/recommend/u003").json()["model"] == first["model"]
        assert client.get("/recommend/u069").status_code == 404
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 60
        while client.get("/model").json()["model"] == first["model"]:
            assert time.monotonic() < end, server.lines()
            time.sleep(0.1)
        assert client.get("/recommend/u069").status_code == 200
        assert httpx.post(f"{server.admin}/admin/reload", timeout=60).json()["changed"] is False


def test_what_the_page_gives_to_cron_and_systemd_calls_the_script_by_its_whole_name():
    calls = re.findall(r"([^\s=]*nightly\.sh) +/srv/shop/lists +(\S+)", PAGE)
    assert {name for name, _ in calls} == {"/srv/shop/nightly.sh"}
    assert {"train", "update", "%i"} == {how for _, how in calls}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_units_of_the_page(tmp_path):
    blocks = re.findall(r"^```ini\n(.*?)^```", PAGE, re.M | re.S)
    names = ("nightly@.service", "nightly@train.timer", "nightly@update.timer")
    for name, text in zip(names, blocks, strict=True):
        (tmp_path / name).write_text(text.replace("/srv/shop/nightly.sh", "/bin/echo"))
    for name in ("nightly@train.service", *names[1:]):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


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
