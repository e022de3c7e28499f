"""How many negatives should the authors' procedure draw for each train pair?

Thirty epochs with ten times their learning rate, so that it takes minutes: what is left to gain after that is not seen.

    cd src
    python -m experiments.exp_num_negatives

Kept in ../plots/exp_num_negatives/, a line as each run ends; drawn in ../docs/images/. However it was ended, started again it goes on.
"""

from arguments import run_as_program
from experiments.ultragcn_study import command

STUDIES = (
    {
        "dataset": "electronics", "model": "ultragcn-sgd", "vary": {"num_negatives": [5, 15, 50, 150]}, "seeds": 3,
        "fixed": {"learning_rate": 0.01, "epochs": 30},
    },
)  # fmt: skip

if __name__ == "__main__":
    run_as_program(command("exp_num_negatives", __doc__, STUDIES))
