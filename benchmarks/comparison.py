"""The tables of docs/results.md: every model on every data set, by `ultragcn compare`, beside published numbers.

    ULTRAGCN_DATA_DIR=... python benchmarks/comparison.py [--datasets LIST] [--protocols LIST] [--seeds LIST]

Runs are kept in runs/compare-DATASET-PROTOCOL, so what is there is not run again; docs/results.md is written anew from all of them.
"""

import argparse
import subprocess
import sys

from measure import ROOT, data_dir

from ultragcn import storage

# EASE where its I x I inverse is quick; SparseEASE where it is not.
_WITH_EASE = "popularity,itemknn,rp3beta,ease,ials,bpr,ultragcn"
_LARGE = "popularity,itemknn,rp3beta,sparse-ease,ials,bpr,ultragcn"
MODELS = {"electronics": _WITH_EASE, "ml-latest-small": _WITH_EASE, "ml-1m": _WITH_EASE, "gowalla": _LARGE, "amazoncds": _LARGE}
"""What is compared on each data set."""

PUBLISHED = {
    "gowalla": "UltraGCN's authors' log .1864 / .1581; BSL-MF .1882 / .1584; LightGCN .1830 / .1554; EASE .1765; BPR .1627; "
    "best of any kind ChebyCF .1941 / .1616",
    "ml-1m": "UltraGCN's authors' log .2787 / .2642; softmax MF .2809 / .2662; BSL-MF .2804 / .2681; EASE (l2 500) .2759 / .2660",
    "amazoncds": "UltraGCN's authors' log .1622 / .1043; MF-BPR .1312 / .0811; SimpleX .1763 / .1145",
    "electronics": "UltraGCN's authors' log .1368 / .0829; MF-BPR .1302 / .0775; SimpleX .1457 / .0842",
}
"""Recall@20 / NDCG@20 as others published them, almost all selected on the test set."""

ABOUT = """# Results

Recall@20 / NDCG@20 of full rankings, means over seeds, on two CPU cores. Made by

    ULTRAGCN_DATA_DIR=... python benchmarks/comparison.py

which calls `ultragcn compare --dataset NAME --protocol PROTOCOL --models LIST --seeds LIST` for each table. Settings of every model were
chosen on the validation items of `clean` (configs/, configs/baselines/settings.toml); each table says how many seeds it has.

* `clean`: a tenth of train is held out, epochs are chosen on it, test is read once. These are the numbers to trust.
* `authors`: all of train is trained on, and a model that has epochs keeps the one best **on test**, as the authors' code does. Only for
  comparing with published numbers, which are almost all made so. Models without epochs choose nothing here.
"""


def compare(name: str, protocol: str, seeds: str) -> None:
    """Run what is missing of one table."""
    words = [
        "compare",
        "--dataset",
        name,
        "--protocol",
        protocol,
        "--models",
        MODELS[name],
        "--seeds",
        seeds,
        "--out",
        str(folder(name, protocol)),
    ]
    # A model that fails stands in the table with the reason.
    subprocess.run([sys.executable, "-m", "ultragcn", *words, "--data_dir", data_dir(), "--quiet"], check=False, stdout=subprocess.DEVNULL)


def folder(name: str, protocol: str):
    """Return where one comparison is kept."""
    return ROOT / "runs" / f"compare-{name}-{protocol}"


def write() -> None:
    """Write docs/results.md from the tables there are."""
    parts = [ABOUT]
    for name in MODELS:
        tables = [path.read_text() for protocol in ("clean", "authors") if (path := folder(name, protocol) / "table.md").is_file()]
        if tables:
            parts += [f"## {name}\n", *tables]
            if name in PUBLISHED:
                parts.append(f"Published: {PUBLISHED[name]}.\n")
    storage.write_text(ROOT / "docs/results.md", "\n".join(parts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default=",".join(MODELS))
    parser.add_argument("--protocols", default="clean,authors")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    arguments = parser.parse_args()
    for name in arguments.datasets.split(","):
        for protocol in arguments.protocols.split(","):
            if protocol == "authors" and name not in PUBLISHED:
                continue
            compare(name, protocol, arguments.seeds)
            write()
