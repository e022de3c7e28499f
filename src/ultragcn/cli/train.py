"""Train a model on a data set under a protocol and write a run folder."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultragcn.cli import data_options, processes, threads
from ultragcn.cli.messages import tell
from ultragcn.config import AUTO, PARAMETERS, TOPICS, Config, checked, configuration_for, help_of, in_text, parse_value, read_config
from ultragcn.errors import UsageError, counted
from ultragcn.experiments.runs.trackers import TRACKERS
from ultragcn.processes import launched
from ultragcn.progress import Progress, Silent

if TYPE_CHECKING:
    from ultragcn.models.recommender import Recommender

_DEFAULT_MODEL = "ultragcn"
_WITH_RESUME = ("--data_dir", "--num_threads", "--quiet", "--on_disk", "--scratch")


def model_named(argv: Sequence[str]) -> str:
    """Return the model that a command line names, which decides on the options there are."""
    for word, after in zip(argv, [*argv[1:], ""], strict=True):
        if word.startswith("--model="):
            return word.removeprefix("--model=")
        if word == "--model" and after and not after.startswith("--"):
            return after
    return _DEFAULT_MODEL


def add_arguments(parser: argparse.ArgumentParser, model: str = _DEFAULT_MODEL) -> None:
    """Declare the options; one for every hyper-parameter of the model, from its one declaration."""
    data_options.add_arguments(parser)
    data_options.add_disk_arguments(parser)
    add_model(parser)
    parser.add_argument(
        "--refit",
        action="store_true",
        help="with --protocol clean: train again on train and validation, for as many epochs as were chosen, before test is read",
    )
    parser.add_argument(
        "--keep",
        choices=("everything", "measured"),
        help="which model to keep: everything: a model with the chosen settings that is trained again on all pairs, test too; "
        "measured: the model that was measured, without test (default: everything for a log of your own; measured for named data "
        "sets, with --test, and with --protocol authors)",
    )
    parser.add_argument("--out", metavar="DIR", help="the run folder (default: a new one under runs)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier run in --out; the earlier model stays until the new run is complete"
    )
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="go on with the run in DIR that was killed or interrupted, with the options of its manifest; only these options may "
        f"be given too: {', '.join(_WITH_RESUME)}",
    )
    parser.add_argument(
        "--checkpoint_every",
        metavar="N",
        help=f"write a checkpoint, from which --resume goes on, every N epochs (default: {AUTO}, about every ten seconds)",
    )
    parser.add_argument(
        "--track", action="append", default=[], choices=tuple(TRACKERS), help="also send the figures of each epoch to this tracker"
    )
    threads.add_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    add_hyper_parameters(parser, model)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare --model and --config."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        default=_DEFAULT_MODEL,
        help="ultragcn, ultragcn-default, ultragcn-paper, ultragcn-sgd, popularity, itemknn, rp3beta, ease, sparse-ease, ials, bpr or "
        "lightgcn (default: ultragcn); ultragcn train --model NAME --help lists its hyper-parameters",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a .toml file of hyper-parameters, or a .ini file that the authors published; for a baseline, a .toml file with a "
        "table such as [ease]; options on the command line take precedence over the file",
    )


def add_hyper_parameters(parser: argparse.ArgumentParser, model: str) -> None:
    """Declare an option for every hyper-parameter of a model."""
    parser.epilog = "The defaults of hyper-parameters are those in configs/ for the data set and the model, else those shown here."
    group: Any = parser
    for name, declared in _declared(model).items():
        if model == _DEFAULT_MODEL and name in TOPICS:
            group = parser.add_argument_group(f"hyper-parameters: {TOPICS[name]}")
        elif group is parser:
            group = parser.add_argument_group(f"hyper-parameters of {model}")
        choices = " | ".join(declared.metadata["choices"])
        group.add_argument(f"--{name}", dest=f"hyper_{name}", metavar=choices or "X", help=help_of(declared))


def advice(option: str, argv: Sequence[str]) -> str:
    """Return what to do in place of an option that is a hyper-parameter of other models; else an empty string."""
    from ultragcn.models.registry import MODELS, hyper_parameters

    model = model_named(argv)
    owners = [name for name in MODELS if option.removeprefix("--") in hyper_parameters(name)]
    if not owners:
        return ""
    return f", which is not a hyper-parameter of {model}; it belongs to --model {', '.join(owners)}"


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn train`."""
    launch = launched()
    return _lead(arguments, 0) if launch is None else processes.take_part(launch, lambda restarts: _lead(arguments, restarts))


def _lead(arguments: argparse.Namespace, restarts: int) -> int:
    """Train; `restarts` is how often torchrun has started this command again, which then goes on with the run that it began."""
    if arguments.resume is not None:
        return _go_on(arguments)
    if restarts > 0 and arguments.out and _is_begun(Path(arguments.out)):
        tell(f"torchrun has started this training again; it goes on with the run in {arguments.out}")
        arguments.resume, arguments.given = arguments.out, ["--resume"]
        return _go_on(arguments)
    return _begin(arguments)


def _is_begun(out: Path) -> bool:
    """Return whether there is a run in `out` that is not complete."""
    from ultragcn.experiments.runs.manifest import MANIFEST, complete_metrics
    from ultragcn.experiments.runs.train import unfinished_in

    folder = unfinished_in(out)
    return (folder / MANIFEST).exists() and complete_metrics(folder) is None


def _begin(arguments: argparse.Namespace) -> int:
    changes = changes_of(arguments)
    source, files, model = resolve(arguments, changes)
    processes.refuse_model(arguments.model, getattr(model.config, "solver", None))
    if not arguments.out:
        processes.refuse_new_folder(launched())
    # All that can fail without the data fails before they are read.
    model.check_runnable()

    from ultragcn.experiments.runs.train import check_run, train_run

    given_out = Path(arguments.out) if arguments.out else None
    options = {name: getattr(arguments, name) for name in ("refit", "overwrite", "track")}
    options["keep"] = arguments.keep or "auto"
    options["checkpoint_every"] = _number_of_epochs(arguments.checkpoint_every)
    check_run(model, arguments.protocol, given_out, **options)
    for name, lacking in getattr(model.config, "without_effect", {}).items():
        if name in changes:
            tell(f"warning: {name} has no effect without {lacking}")
    progress = _progress(arguments)
    dataset = data_options.load(arguments, source, files, progress, data_options.disk_of(arguments, given_out))
    out = given_out or _new_folder(dataset.name, arguments.model, model.config)
    metrics = train_run(dataset, model, out, **options, progress=progress)
    _report(metrics, out, len(dataset.everything))
    return 0


def _number_of_epochs(text: str | None) -> int | None:
    """Return the epochs between checkpoints as they are given; `train_run` refuses numbers that are out of range."""
    if text is None or text.lower() == AUTO:
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--checkpoint_every must be a whole number of epochs, or {AUTO}, not {text}") from None


def _go_on(arguments: argparse.Namespace) -> int:
    if others := [option for option in arguments.given if option not in ("--resume", *_WITH_RESUME)]:
        raise UsageError(f"--resume takes the options from the manifest of the run; leave out {', '.join(others)}")

    from ultragcn.experiments.runs.manifest import complete_metrics, load_manifest
    from ultragcn.experiments.runs.train import goes_on, resume_run, unfinished_in

    out = Path(arguments.resume)
    folder = unfinished_in(out)
    complete = complete_metrics(folder) is not None
    if not complete:
        manifest = load_manifest(folder)
        name = manifest.get("model", _DEFAULT_MODEL)
        processes.refuse_model(name, manifest["config"].get("solver"))
        if not goes_on(name):
            tell(f"{name} writes no checkpoints, so its training begins again")
    metrics = resume_run(out, data_dir=arguments.data_dir, progress=_progress(arguments), disk=data_options.disk_of(arguments, out))
    if complete:
        tell(f"the run in {out} is complete; there is nothing left to do")
    _report(metrics, out)
    return 0


def _progress(arguments: argparse.Namespace) -> Progress:
    from ultragcn.progress import Bars

    return Silent() if arguments.quiet else Bars()


def _new_folder(dataset: str, model: str, config: Any) -> Path:
    """Return a new folder under runs, which no other run can take."""
    kind = config.solver if model == _DEFAULT_MODEL else model
    seed = f"-seed{in_text(config.seed)}" if hasattr(config, "seed") else ""
    first = Path("runs") / f"{dataset}-{kind}{seed}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
    number, folder = 1, first
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            folder = first.with_name(f"{first.name}-{number}")
        except OSError as error:
            raise UsageError(f"cannot make the run folder {folder}: {error.strerror}; give another by --out") from error
        else:
            return folder


def _report(metrics: Mapping[str, Any], out: Path, num_pairs: int | None = None) -> None:
    for split in ("valid", "test"):
        for label, value in metrics.get(split, {}).items():
            print(f"{split}\t{label}\t{value:.5g}" if isinstance(value, float) else f"{split}\t{label}\t{value}")
    for label, value in metrics.get("best_reachable", {}).items():
        if label in metrics.get("test", {}):
            print(f"best reachable\t{label}\t{value:.5g}")
    for label, value in metrics.get("popularity", {}).items():
        print(f"popularity\t{label}\t{value:.5g}")
    print(f"run\t{out}")
    if metrics["protocol"] == "authors":
        tell("protocol authors chose the epoch on the test set; compare with published numbers only")
    if chosen := metrics.get("chosen"):
        tell(f"chosen on held-out pairs: {_chosen_words(chosen)}")
    tell(_seconds(metrics))
    pairs = "" if num_pairs is None else f", {counted(num_pairs, 'pair')}"
    if metrics.get("kept") != "everything":
        return
    if "test" not in metrics:
        tell(f"the model in {out} was trained on everything{pairs}; nothing was held out, so nothing is measured")
    else:
        tell(
            f"the figures are those of the model that was measured; the model in {out} was then trained on everything{pairs}, "
            f"with the values that were chosen, in {metrics['kept_train_seconds']:.1f} s"
        )


def _chosen_words(chosen: Mapping[str, float]) -> str:
    """Return what was chosen, a name and a value each; of a trend without weight, no half-life."""
    shown = dict(chosen)
    no_trend = shown.get("item_trend_weight") == 0
    for name in ("item_trend_weight", "item_trend_half_life") if no_trend else ():
        shown.pop(name, None)
    return ", ".join([*(f"{name} {value:.3g}" for name, value in shown.items()), *(["no trend"] if no_trend else [])])


def _seconds(metrics: Mapping[str, Any]) -> str:
    seconds = f"{metrics['train_seconds']:.1f} s of training"
    if metrics["solver"] is None and metrics["epochs"] == 1:
        return seconds
    return f"{seconds}, epoch {metrics['best_epoch']} of {metrics['epochs']} kept"


def _declared(model: str) -> Mapping[str, dataclasses.Field[Any]]:
    """Return the hyper-parameters of a model. The registry of all models takes a moment, so it is asked only about others."""
    if model == _DEFAULT_MODEL:
        return PARAMETERS

    from ultragcn.models.registry import hyper_parameters

    return hyper_parameters(model)


def changes_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the hyper-parameters that are given, checked."""
    declared = _declared(arguments.model)
    given = {name: text for name in declared if (text := getattr(arguments, f"hyper_{name}")) is not None}
    return {name: parse_value(name, text) if declared is PARAMETERS else checked(declared[name], text) for name, text in given.items()}


def resolve(arguments: argparse.Namespace, changes: dict[str, Any]) -> tuple[str, tuple[Path, Path] | None, "Recommender"]:
    """Return where the data are, as a name or as two files, and the untrained model: options over --config over configs/."""
    from ultragcn.data.sources import canonical_name, dataset_names
    from ultragcn.models.registry import MODELS, VARIANTS, make_model, note_of_defaults
    from ultragcn.models.ultragcn import UltraGCN

    name, source = arguments.model, arguments.dataset or "demo"
    tuned_as = data_options.tuned_as(arguments, source)
    if name not in VARIANTS or arguments.config is None:
        note = note_of_defaults([name] if name in MODELS else [], source if source in dataset_names() else None, tuned_as)
        if note is not None:
            tell(note)
    if name not in VARIANTS:
        settings = {} if arguments.config is None else _settings(arguments.config, name)
        return source, None, make_model(name, tuned_as, 0, settings | changes)
    variant = {} if name == _DEFAULT_MODEL else VARIANTS[name]
    if arguments.config is None:
        known = None if name == "ultragcn-default" else tuned_as
        return source, None, UltraGCN(configuration_for(known, **(variant | changes)))
    paper = bool(variant.get("paper", False))
    file = read_config(arguments.config, changes.get("solver", variant.get("solver")), paper)
    if file.ignored:
        tell(f"{arguments.config}: ignored {', '.join(file.ignored)}, which this model does not have")
    values = {known: value for known, value in variant.items() if known != "paper"} | file.values
    values |= {"item_graph_weight": 0.0, "item_trend_weight": 0.0} if paper else {}
    source = arguments.dataset or canonical_name(file.dataset or "demo")
    return source, None if arguments.dataset else file.files, UltraGCN(Config(**(values | changes)))


def _settings(path: str, model: str) -> dict[str, Any]:
    """Return the table of a baseline in a file of settings."""
    from ultragcn.cli.settings import read_settings

    settings = read_settings(path)
    if model not in settings:
        there = f"has tables for {', '.join(settings)}" if settings else "has no table"
        raise UsageError(f"{path} {there}, not for {model}; put its hyper-parameters under [{model}]")
    return settings[model]
