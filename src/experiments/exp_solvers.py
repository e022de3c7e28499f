"""Solver against solver: how fast does recall grow with exact, and with sgd, the authors' procedure?

Without the item graph, and with five times the authors' learning rate. Seconds are those of one thread where each of the jobs has one.

    cd src
    python -m experiments.exp_solvers

Kept in ../plots/exp_solvers/, a line as each run ends; drawn in ../plots/. However it was ended, started again it goes on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # src/, where the run button of an IDE may not look

from arguments import run_as_program
from experiments.ultragcn_study import against_seconds, command

STUDIES = (
    {
        "dataset": "electronics", "vary": {"solver": ["exact", "sgd"]}, "seeds": 3,
        "fixed": {"item_graph_weight": 0, "learning_rate": 0.005, "epochs": 120, "patience": 15},
    },
)  # fmt: skip

if __name__ == "__main__":
    run_as_program(command("exp_solvers", __doc__, STUDIES, against_seconds))
