"""Solver against solver: how fast does recall grow with exact, and with sgd, the authors' procedure?

Seconds are those of one run at a time with all cores: leave --jobs at 1.

    cd src
    python -m experiments.exp_solvers

Kept in ../plots/exp_solvers/, a line as each run ends; drawn in ../docs/images/. However it was ended, started again it goes on.
"""

from arguments import run_as_program
from experiments.ultragcn_study import against_seconds, command

STUDIES = ({"dataset": "electronics", "vary": {"solver": ["exact", "sgd"]}, "fixed": {"item_graph_weight": 0}, "seeds": 2},)

if __name__ == "__main__":
    run_as_program(command("exp_solvers", __doc__, STUDIES, against_seconds))
