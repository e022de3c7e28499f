"""How many negatives should the authors' procedure draw for each train pair?

With five times their learning rate on electronics, so that a run takes half a minute.

    cd src
    python -m experiments.exp_num_negatives

Kept in ../plots/exp_num_negatives/, a line as each run ends; drawn in ../plots/. However it was ended, started again it goes on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # src/, where the run button of an IDE may not look

from arguments import run_as_program
from experiments.ultragcn_study import command

STUDIES = (
    {
        "dataset": "electronics", "model": "ultragcn-sgd", "vary": {"num_negatives": [5, 20, 75]}, "seeds": 3,
        "fixed": {"learning_rate": 0.005, "epochs": 120, "patience": 15},
    },
)  # fmt: skip

if __name__ == "__main__":
    run_as_program(command("exp_num_negatives", __doc__, STUDIES))
