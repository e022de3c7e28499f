"""How much should the item-item term of the loss weigh, without the item graph at ranking time and with it?

    cd src
    python -m experiments.exp_item_item_weight

Kept in ../plots/exp_item_item_weight/, a line as each run ends; drawn in ../plots/. However it was ended, started again it goes on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # src/, where the run button of an IDE may not look

from arguments import run_as_program
from experiments.ultragcn_study import command

STUDIES = (
    {
        "dataset": "electronics", "vary": {"item_item_weight": [0, 0.1, 0.3, 1, 3, 10], "item_graph_weight": [0, 0.4]}, "seeds": 5,
        "fixed": {"item_graph_walk": 0},
    },
)  # fmt: skip

if __name__ == "__main__":
    run_as_program(command("exp_item_item_weight", __doc__, STUDIES))
