"""A whole machine is killed in the middle of a training over two: seconds until the training is back, and whether the bits are the same.

    sudo python benchmarks/killed_node.py [--dataset electronics] [--seconds 60]

The machines are two network namespaces with a cable between them (Linux, as root). Both have a torchrun agent with one process. While they
train, every process of the second machine is killed by signal 9, and another agent is started there. The training must go on from its last
checkpoint, within so many seconds, and end with the embeddings and the history of a training in one process. The namespaces are removed at
the end.
"""

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROOT, data_dir, report

from ultragcn import UltraGCN

NAMES, ADDRESSES, CABLE = ("ultragcn-0", "ultragcn-1"), ("10.213.7.1", "10.213.7.2"), ("ultragcn-c0", "ultragcn-c1")


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True)


def make_machines() -> None:
    """Make two network namespaces with a cable between them."""
    for name in NAMES:
        ip("netns", "add", name)
    ip("link", "add", CABLE[0], "netns", NAMES[0], "type", "veth", "peer", "name", CABLE[1], "netns", NAMES[1])
    for name, address, end in zip(NAMES, ADDRESSES, CABLE, strict=True):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
        ip("-n", name, "link", "set", end, "up")
        ip("-n", name, "link", "set", "lo", "up")


def agent(number: int, words: list[str], log: Any) -> subprocess.Popen[bytes]:
    """Start torchrun on a machine; on both the command is the same, but for who is the host of the rendezvous."""
    torchrun = [
        "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d", "--rdzv-id=killed",
        f"--rdzv-endpoint={ADDRESSES[0]}:29471", f"--rdzv-conf=is_host={int(number == 0)},last_call_timeout=2",
        f"--local-addr={ADDRESSES[number]}", "-m", "ultragcn", *words,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": CABLE[number]}
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # else a machine that comes later waits for an address that nobody gives
    command = ["ip", "netns", "exec", NAMES[number], sys.executable, *torchrun]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def processes_of(name: str) -> list[int]:
    """Return the processes that run on a machine."""
    return [int(line) for line in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout.split()]


def history(run: Path) -> list[dict[str, str]]:
    """Return the history of a run but for its seconds; () where there is none yet."""
    if not (run / "history.tsv").exists():
        return []
    with open(run / "history.tsv", encoding="utf-8") as file:
        return [{name: value for name, value in line.items() if name != "seconds"} for line in csv.DictReader(file, delimiter="\t")]


def until(what: str, is_true: Any, seconds: float = 600.0) -> float:
    """Wait until something is true, and return the seconds that it took."""
    started = time.monotonic()
    while not is_true():
        if time.monotonic() > started + seconds:
            sys.exit(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - started


def main(dataset: str, most: float) -> None:
    """Train, kill, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        run, whole = Path(folder) / "run", Path(folder) / "whole"
        words = ["train", "--dataset", dataset, "--data_dir", data_dir(), "--quiet", "--seed", "0", "--epochs", "80", "--patience", "80"]
        words += ["--checkpoint_every", "5", "--embedding_dim", "16", "--l2_user", "1", "--l2_item", "1"]
        own = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        subprocess.run([sys.executable, "-m", "ultragcn", *words, "--out", str(whole)], check=True, env=own, stdout=subprocess.DEVNULL)
        words += ["--out", str(run)]
        with open(Path(folder) / "log.txt", "wb") as log:
            agents = [agent(number, words, log) for number in range(2)]
            until("a checkpoint", lambda: len(history(run)) > 10)
            done, killed = len(history(run)), time.monotonic()
            for process in processes_of(NAMES[1]):
                os.kill(process, signal.SIGKILL)
            agents[1].wait()
            again = agent(1, words, log)
            until("the restart", lambda: (Path(folder) / "run" / "manifest.json").read_text().find('"resumed"') > 0)
            until("another sweep", lambda: len(history(run)) > done)
            seconds = time.monotonic() - killed
            if agents[0].wait() != 0 or again.wait() != 0:
                sys.exit((Path(folder) / "log.txt").read_text()[-5000:])
        models = [UltraGCN.load(place) for place in (whole, run)]
        same = history(whole) == history(run) and all(
            np.array_equal(getattr(models[0], name), getattr(models[1], name)) for name in ("user_embedding_", "item_embedding_")
        )
        report("killed_node", {"dataset": dataset, "killed_after_sweep": done, "seconds_until_back": seconds, "same_bits": same})
        if not same or seconds > most:
            sys.exit("the training came back too late, or with other bits")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="electronics")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    try:
        make_machines()
        main(arguments.dataset, arguments.seconds)
    finally:
        for name in NAMES:
            for process in processes_of(name):
                os.kill(process, signal.SIGKILL)
            ip("netns", "del", name)
