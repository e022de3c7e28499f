"""How strongly should the embeddings be kept small, users and items alike?

    cd src
    python -m experiments.exp_l2_strength

Kept in ../plots/exp_l2_strength/, a line as each run ends; drawn in ../plots/. However it was ended, started again it goes on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # src/, where the run button of an IDE may not look

from arguments import run_as_program
from experiments.ultragcn_study import command

STUDIES = (
    {
        "dataset": "electronics", "vary": {"l2_user,l2_item": [0.1, 0.2, 0.4, 0.65, 1, 1.5, 3]}, "seeds": 5,
        "fixed": {"item_graph_weight": 0.369, "item_graph_walk": 0},
    },
)  # fmt: skip

if __name__ == "__main__":
    run_as_program(command("exp_l2_strength", __doc__, STUDIES))
