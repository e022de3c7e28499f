"""Training over processes: the same bits for any number of them, also after one was killed; who speaks; what is refused."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ultragcn import UltraGCN, processes
from ultragcn.cli import main
from ultragcn.errors import UsageError
from ultragcn.processes import ALONE, Share, cut, in_order, num_shards
from ultragcn.solvers import half_sweeps

SRC = Path(__file__).parents[1] / "src"
torch_only = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
QUICK = ["--embedding_dim", "8", "--epochs", "4", "--patience", "9", "--num_item_neighbors", "5", "--item_graph_weight", "0.3", "--quiet"]


class Member:
    """One of several processes that is asked alone, for what it works on."""

    def __init__(self, rank, number):
        self.rank, self.number = rank, number


# ------------------------------------------------------------------------------------------------------------------- shards


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_processes_share_out_all_shards_and_each_has_whole_ones(number):
    bounds = [0, 3, 3, 10, 12, 20, 21, 30]
    shares = [Share(bounds, Member(rank, number)) for rank in range(number)]
    assert [shard for share in shares for shard in share.shards] == [slice(*pair) for pair in pairwise(bounds)]
    rows = np.arange(30)
    np.testing.assert_array_equal(np.concatenate([rows[share.own] for share in shares]), rows)
    for share in shares:
        for shard, part in zip(share.shards, share.parts, strict=True):
            np.testing.assert_array_equal(rows[shard], rows[share.own][part])


def test_shards_cost_about_the_same_and_a_giant_row_leaves_some_empty():
    costs = np.random.default_rng(0).integers(1, 100, 5000)
    sums = np.add.reduceat(costs, cut(costs, 8)[:-1])
    assert sums.max() - sums.min() < 200
    costs[7] = 10**6
    bounds = cut(costs, 8)
    assert bounds[0] == 0
    assert bounds[-1] == 5000
    assert (np.diff(bounds) >= 0).all()
    assert (np.diff(bounds) == 0).any()


def test_the_number_of_shards_follows_from_the_smaller_side_and_small_data_have_one():
    assert [num_shards(users, items) for users, items in ((900, 10**6), (10**6, 900), (1435, 1522), (29858, 40981))] == [1, 1, 4, 8]
    numbers = [num_shards(rows, 10**8) for rows in range(1, 10**6, 501)]
    assert numbers == sorted(numbers)
    assert set(numbers) <= {1, 4, 8, 16, 32, 64}


def test_sums_are_added_in_the_order_of_the_shards():
    values = np.array([1e16, 1.0, -1e16, 1.0])
    assert in_order(values) == 1.0  # 1e16 + 1 is 1e16; any other order has another sum
    assert Share([0, 1, 2, 3, 4]).sum(lambda shard: values[shard].sum()) == 1.0
    assert Share([0, 2, 4]).sum_rows(values) == 0.0


def test_one_process_alone_changes_nothing():
    rows, value = np.arange(6).reshape(3, 2), object()
    assert ALONE.gather(rows) is rows
    assert ALONE.same(value) is value
    np.testing.assert_array_equal(ALONE.add(rows), [6, 9])


def test_blocks_and_strips_keep_to_one_shard():
    share = Share([0, 100, 100, 230, 400])
    side = half_sweeps.Side(
        np.zeros(401, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), half_sweeps.NOTHING, np.ones((400, 2), np.float32),
        np.ones((2, 5), np.float32), np.ones(400, np.float32), 33, 16, dealt=share,
    )  # fmt: skip
    starts, strips = side.starts
    assert starts[-1] == 400
    assert (np.diff(starts) > 0).all()
    assert np.diff(starts).max() <= 33
    assert set(share.bounds.tolist()) <= set(starts[strips].tolist())
    assert strips[-1] == len(starts) - 1


# ------------------------------------------------------------------------------------------------------- several processes


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A log of 1,100 users and 1,100 items in ten groups, enough for four shards."""
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(1100), random.integers(5, 30, 1100))
    items = random.integers(0, 110, len(users)) * 10 + users % 10
    path = tmp_path_factory.mktemp("data") / "log.csv"
    pairs = sorted(set(zip(users.tolist(), items.tolist(), strict=True)) | {(n, n) for n in range(1100)})
    path.write_text("\n".join(["user,item", *(f"u{user},i{item}" for user, item in pairs)]) + "\n")
    return path


def torchrun(number, *words, restarts=0, **environment):
    """Return a process that starts `number` processes of the command."""
    agent = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}", f"--max-restarts={restarts}"]
    own = os.environ | {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"} | environment
    return subprocess.Popen(
        [sys.executable, *agent, "-m", "ultragcn", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own, start_new_session=True,
    )  # fmt: skip


def ended(process, seconds=240):
    """Return the exit status, stdout and what the command itself said on stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, [line for line in err.splitlines() if line.startswith("ultragcn: ")]


def trained(number, *words):
    if number == 1:
        assert main(["train", *map(str, words)]) == 0
        return
    status, _, said = ended(torchrun(number, "train", *words))
    assert status == 0, said


def left_by(run):
    """Return all that a run found out, but for seconds and memory."""
    model = UltraGCN.load(run)
    with open(run / "history.tsv", encoding="utf-8") as file:
        history = [{name: value for name, value in line.items() if name != "seconds"} for line in csv.DictReader(file, delimiter="\t")]
    metrics = json.loads((run / "metrics.json").read_text())
    figures = {name: metrics.get(name) for name in ("valid", "test", "chosen", "epochs", "best_epoch", "stopped", "seed")}
    return model.user_embedding_, model.item_embedding_, model.item_graph_.toarray(), history, figures


def assert_same(run, other):
    for ours, theirs in zip(left_by(run), left_by(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@torch_only
@pytest.mark.slow
@pytest.mark.parametrize("negatives", ["clusters", "full"])
def test_one_two_and_four_processes_end_with_the_same_bits(large, tmp_path, negatives):
    runs = {number: tmp_path / str(number) for number in (1, 2, 4)}
    settings = tmp_path / "settings.toml"  # torchrun itself stumbles over --start, the beginning of two options of its own
    settings.write_text(f'negatives = "{negatives}"\nstart = "{"spectral" if negatives == "full" else "quadratic"}"\n')
    for number, run in runs.items():
        trained(number, "--dataset", large, *QUICK, "--config", settings, "--seed", 3, "--out", run)
    history = left_by(runs[1])[3]
    assert len(history) == 4
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    assert_same(runs[2], runs[1])
    assert_same(runs[4], runs[1])


@torch_only
@pytest.mark.slow
def test_a_killed_process_is_started_again_and_all_end_with_the_same_bits(large, tmp_path):
    options = ["--dataset", large, *QUICK, "--epochs", 400, "--patience", 400, "--l2_user", 0.1, "--l2_item", 0.1, "--seed", 3]
    trained(1, *options, "--out", tmp_path / "whole")
    run = tmp_path / "killed"
    agent = torchrun(2, "train", *options, "--checkpoint_every", 20, "--out", run, restarts=1)
    wait_for_checkpoint(run, agent)
    follower = next(child for child in children_of(agent.pid) if environment_of(child).get("RANK") == "1")
    os.kill(follower, signal.SIGKILL)
    status, out, said = ended(agent)
    assert status == 0, said
    assert f"run\t{run}" in out.splitlines()
    assert any("started this training again" in line for line in said)
    assert_same(run, tmp_path / "whole")
    assert "resumed" in json.loads((run / "manifest.json").read_text())


def wait_for_checkpoint(run, agent):
    deadline = time.monotonic() + 120
    while not (run / "checkpoint.safetensors").exists():
        assert agent.poll() is None, agent.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children_of(parent):
    """Return the processes that a process started."""
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if parent_in(path) == parent]


def parent_in(stat):
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def environment_of(process):
    content = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in content if "=" in line)


@torch_only
@pytest.mark.slow
def test_a_checkpoint_of_two_processes_is_gone_on_from_by_one(large, tmp_path):
    options = ["--dataset", large, *QUICK, "--epochs", 400, "--patience", 400, "--l2_user", 0.1, "--l2_item", 0.1, "--seed", 3]
    run = tmp_path / "run"
    agent = torchrun(2, "train", *options, "--negatives", "full", "--checkpoint_every", 20, "--out", run)
    wait_for_checkpoint(run, agent)
    leader = next(child for child in children_of(agent.pid) if environment_of(child).get("RANK") == "0")
    os.kill(leader, signal.SIGKILL)
    status, _, said = ended(agent)
    assert status == 1
    assert not any(line.startswith("ultragcn: process 0") for line in said), said
    trained(1, "--resume", run, "--quiet")
    trained(1, *options, "--negatives", "full", "--out", tmp_path / "whole")
    assert_same(run, tmp_path / "whole")


@torch_only
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--dataset", "demo"], "2 processes are too many: 2000 users and 600 items are cut into 1 shard each"),
        (["train", "--solver", "sgd"], "solver sgd trains in one process"),
        (["train", "--model", "itemknn"], "itemknn trains in one process"),
        (["train", "--epoch", "3"], "unknown option --epoch; did you mean --epochs?"),
        (["datasets"], "torchrun started 2 processes, and datasets is done by one"),
    ],
)
def test_what_processes_cannot_do_is_said_once_in_one_sentence(tmp_path, words, sentence):
    out = ["--out", tmp_path / "run", "--quiet"] if words[0] == "train" else []
    status, printed, said = ended(torchrun(2, *words, *out))
    assert status == 1
    assert printed == ""
    assert len(said) == 1
    assert said[0].startswith(f"ultragcn: {sentence}")


# -------------------------------------------------------------------------------------------------------------- one process


def test_a_training_that_torchrun_may_start_again_needs_a_folder_that_is_found_again(monkeypatch):
    from ultragcn.cli.processes import refuse_new_folder

    refuse_new_folder(None)
    refuse_new_folder(processes.Launch(0, 2, 0, 0))
    with pytest.raises(UsageError, match=r"--max-restarts 3 .* give --out"):
        refuse_new_folder(processes.Launch(0, 2, 0, 3))


def test_what_torchrun_says_is_read_and_nonsense_is_one_sentence(monkeypatch):
    assert processes.launched() is None
    said = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "4", "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_MAX_RESTARTS": "3"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert processes.launched() == (1, 4, 2, 3)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert processes.launched() is None
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(UsageError, match="torchrun must give whole numbers"):
        processes.launched()


def test_training_in_one_process_imports_no_torch(tmp_path):
    lines = [
        "import sys",
        "from ultragcn.cli import main",
        f"assert main(['train', '--epochs', '1', '--quiet', '--out', {str(tmp_path / 'run')!r}]) == 0",
        "assert 'torch' not in sys.modules",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(SRC)}
    )
    assert done.returncode == 0, done.stderr
