"""Train a model of src/models/ and print what it reaches on the test data.

cd src
python -m main --model mymodel --seed 777 --batch_size 100 --epochs 15 --learning_rate 0.001
python -m main --model ultragcn --dataset electronics

ultragcn has batch_size, epochs and learning_rate from configs/ where they are not given; epochs 0 leaves them to its solver.
"""

from collections.abc import Sequence
from typing import Any

import models
from arguments import FLAGS, fire_command, read_flags, run_as_program


def main(argv: Sequence[str]) -> None:
    """Check the arguments, then let fire call `train_and_evaluate` with them; fire prints what it returns."""
    values = complete(read_flags(argv, FLAGS, about=__doc__))
    import fire  # only here, where `run_as_program` says what to do if it is not installed

    fire.Fire(train_and_evaluate, command=fire_command(values))


def complete(given: dict[str, Any]) -> dict[str, Any]:
    """Return the values of all flags: as given, else the model's own default, else the general one."""
    values = {flag.name: flag.default for flag in FLAGS}
    model = models.find(given.get("model", values["model"]))
    return {**values, **model.defaults, **given, "dataset": model.dataset(given.get("dataset"))}


def train_and_evaluate(model: str, dataset: str, data_dir: str | None, **hyper_param: int | float | None) -> dict[str, float]:
    """Train `model` on the train part of `dataset` and return its metrics on the test part."""
    # Only now: these load torch, which takes seconds, and a mistyped flag is answered at once.
    from data import load_data
    from ultragcn import rng
    from utils import choose_device, log_param, set_random_seed

    trainer_class, evaluator_class = models.find(model).load()
    device = choose_device()
    hyper_param["seed"] = rng.given_or_fresh(None if hyper_param["seed"] == -1 else hyper_param["seed"])
    log_param({"model": model, "dataset": dataset, "device": device, **hyper_param})
    set_random_seed(hyper_param["seed"])

    train_data, test_data = load_data(dataset, data_dir)
    trained = trainer_class(device).train_with_hyper_param(train_data, hyper_param, verbose=True)
    return models.checked_metrics(model, evaluator_class(device).evaluate(trained, test_data))


if __name__ == "__main__":
    run_as_program(main)
