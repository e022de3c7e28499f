"""How long should embeddings be?

    cd src
    python -m experiments.exp_embedding_dim

Kept in ../plots/exp_embedding_dim/, a line as each run ends; drawn in ../plots/. However it was ended, started again it goes on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # src/, where the run button of an IDE may not look

from arguments import run_as_program
from experiments.ultragcn_study import command

STUDIES = (
    {
        "dataset": "electronics", "vary": {"embedding_dim": [16, 32, 64, 128, 256]}, "seeds": 5,
        "fixed": {"item_graph_weight": 0.369, "item_graph_walk": 0},
    },
)  # fmt: skip

if __name__ == "__main__":
    run_as_program(command("exp_embedding_dim", __doc__, STUDIES))
