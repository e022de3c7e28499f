"""Train a model of src/models/ and print what it reaches on the test data.

cd src
python -m main --model mymodel --seed 777 --batch_size 100 --epochs 15 --learning_rate 0.001
python -m main --model ultragcn --dataset electronics

Each run adds a line to ../plots/main.tsv. `python -m experiments.exp_seeds` trains with several seeds.
"""

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import models
from arguments import fire_command, flags_of, help_page, read_flags, run_as_program, value_given
from experiments import PLOTS
from ultragcn.errors import UsageError

TABLE = PLOTS / "main.tsv"


def with_defaults_of_the_model(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command be called with some of its flags: each of the others is what the model's folder says, else the command's default.

    So `main(model="mymodel", seed=1)` in Python does what `python -m main --model mymodel --seed 1` does. A value of None counts as
    not given.
    """

    @functools.wraps(command)
    def call(*positional: Any, **named: Any) -> Any:
        given = inspect.signature(command).bind_partial(*positional).arguments | named
        argv = [f"--{name}={value}" for name, value in given.items() if value is not None]
        return command(**_values(command, argv))

    return call


@with_defaults_of_the_model
def main(model="mymodel", seed=-1, batch_size=100, epochs=15, learning_rate=0.001, dataset=None, data_dir=None, **flags_of_the_model):
    """Handle user arguments of ml-project-template

    :param model: name of model to be trained and tested
    :param seed: random_seed (if -1, a default seed is used)
    :param batch_size: size of batch
    :param epochs: number of training epochs
    :param learning_rate: learning rate
    :param dataset: data set to learn from (None: the first that the model names)
    :param data_dir: folder of the data sets (None: $ULTRAGCN_DATA_DIR, else datasets/)
    """
    # This function is the command: its parameters are the flags, and the text above is what --help shows.
    hyper_param = {"seed": seed, "batch_size": batch_size, "epochs": epochs, "learning_rate": learning_rate, **flags_of_the_model}
    return train_and_evaluate(model, dataset, data_dir, **hyper_param)


def run(argv: Sequence[str]) -> None:
    """Check the arguments, then let fire call `main` with them; fire prints what it returns."""
    import fire  # only here, where `run_as_program` says what to do if it is not installed

    for name in ("seed", "seeds"):
        if "," in (value_given(argv, name) or ""):
            raise UsageError("main trains once, with one --seed; for several seeds run: python -m experiments.exp_seeds --seeds 1,2,3")
    fire.Fire(main, command=fire_command(_values(main, argv)))


def _values(command: Callable[..., Any], argv: Sequence[str]) -> Mapping[str, Any]:
    """Return the values of all flags of the command and of the model that `argv` names, checked."""
    flags = flags_of(command)
    # The model comes first, because it may have flags of its own.
    named = value_given(argv, "model")
    model = models.find(named or flags[0].default)
    page = help_page("main.py", command.__doc__, (*flags, *(model.flags if named else ())), model.notes if named else "")
    given = read_flags(argv, (*flags, *model.flags), page)
    return model.values(flags, given) | {"dataset": model.dataset(given.get("dataset"))}


def train_and_evaluate(model: str, dataset: str, data_dir: str | None, **hyper_param: int | float | str | None) -> dict[str, float]:
    """Train `model` on the train part of `dataset`, return its metrics on the test part, and add a line to the table of runs."""
    # Only now: these load torch, which takes seconds, and a mistyped flag is answered at once.
    from utils import choose_device, chosen_seed, log_param

    found = models.find(model)
    found.load()  # so that a mistake in its code is met before data are downloaded
    given_seed, seed = hyper_param["seed"], chosen_seed(hyper_param["seed"])
    hyper_param["seed"] = seed
    log_param({"model": model, "dataset": dataset, "device": choose_device(), **hyper_param})
    if given_seed == -1:
        log_param({"seed -1 stands for the default seed": seed})
    result = found.run(dataset, data_dir, hyper_param, verbose=True)
    flags = {"data_dir": data_dir, **{name: value for name, value in hyper_param.items() if name != "seed"}}
    _add_line(
        {
            "time": datetime.now().astimezone().isoformat(timespec="seconds"), "model": model, "dataset": dataset, "seed": seed,
            "flags": json.dumps(flags), "metrics": json.dumps(result.metrics, default=float), "seconds": round(result.seconds, 2),
        }
    )  # fmt: skip
    return result.metrics


def _add_line(row: dict[str, object]) -> None:
    from loguru import logger

    from ultragcn.errors import UltraGCNError
    from ultragcn.storage import append_row

    try:
        append_row(TABLE, row)
        logger.info("{} has a line for this run", TABLE)
    except UltraGCNError as error:  # the metrics are more than the line: they are printed all the same
        logger.warning("the table of runs has no line for this run: {}", error)


if __name__ == "__main__":
    run_as_program(run)
