"""Train on a data set under a protocol and write a run folder."""

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from ultragcn import kernels
from ultragcn.cli import data_options
from ultragcn.cli.messages import tell
from ultragcn.config import PARAMETERS, TOPICS, Config, configuration_for, help_of, in_text, parse_value, read_config
from ultragcn.errors import UsageError
from ultragcn.experiments.runs.trackers import TRACKERS
from ultragcn.progress import Progress, Silent

_WITH_RESUME = ("--data_dir", "--quiet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; one for every hyper-parameter, from its one declaration."""
    data_options.add_arguments(parser)
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a .toml file of ours, or a .ini file the authors published; options given beside it win",
    )
    parser.add_argument(
        "--refit",
        action="store_true",
        help="clean only: train again on train and validation for the epochs chosen, before reading test",
    )
    parser.add_argument("--out", metavar="DIR", help="the run folder (default: a new one under runs)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run in --out")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help=f"go on with the run in DIR that was killed or interrupted, as its manifest says; with it go only {', '.join(_WITH_RESUME)}",
    )
    parser.add_argument(
        "--checkpoint_every",
        type=int,
        default=0,
        metavar="N",
        help="epochs between checkpoints, from which --resume goes on (default: by the clock, every ten seconds)",
    )
    parser.add_argument("--track", action="append", default=[], choices=tuple(TRACKERS), help="also tell a tracker how the run goes")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.epilog = "Defaults of hyper-parameters: what configs/ holds for the data set, else those named here."
    for name, declared in PARAMETERS.items():
        if name in TOPICS:
            group = parser.add_argument_group(f"hyper-parameters: {TOPICS[name]}")
        choices = " | ".join(declared.metadata["choices"])
        group.add_argument(f"--{name}", dest=f"hyper_{name}", metavar=choices or "X", help=help_of(declared))


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn train`."""
    return _go_on(arguments) if arguments.resume is not None else _begin(arguments)


def _begin(arguments: argparse.Namespace) -> int:
    changes = {name: parse_value(name, text) for name in PARAMETERS if (text := getattr(arguments, f"hyper_{name}")) is not None}
    source, files, config = _resolve(arguments, changes)
    # All that can fail without the data fails before they are read.
    from ultragcn.solvers import check_runnable

    check_runnable(config)

    from ultragcn.experiments.runs.train import check_run, train_run

    given_out = Path(arguments.out) if arguments.out else None
    options = {name: getattr(arguments, name) for name in ("refit", "overwrite", "checkpoint_every", "track")}
    check_run(config, arguments.protocol, given_out, **options)
    for name, lacking in config.without_effect.items():
        if name in changes:
            tell(f"warning: {name} changes nothing without {lacking}")
    progress = _progress(arguments)
    dataset = data_options.load(arguments, source, files, progress)
    if not arguments.quiet and not kernels.is_compiled():
        tell("compiling, once after installing: this takes about 20 seconds")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    out = given_out or Path("runs") / f"{dataset.name}-{config.solver}-seed{in_text(config.seed)}-{stamp}"
    _report(train_run(dataset, config, out, **options, progress=progress), out)
    return 0


def _go_on(arguments: argparse.Namespace) -> int:
    if others := [option for option in arguments.given if option not in ("--resume", *_WITH_RESUME)]:
        raise UsageError(f"--resume goes on as the manifest of the run says; leave out {', '.join(others)}")

    from ultragcn.experiments.runs.manifest import complete_metrics
    from ultragcn.experiments.runs.train import resume_run

    out = Path(arguments.resume)
    complete = complete_metrics(out) is not None
    metrics = resume_run(out, data_dir=arguments.data_dir, progress=_progress(arguments))
    if complete:
        tell(f"the run in {out} is complete; there is nothing left to do")
    _report(metrics, out)
    return 0


def _progress(arguments: argparse.Namespace) -> Progress:
    from ultragcn.progress import Bars

    return Silent() if arguments.quiet else Bars()


def _report(metrics: dict[str, Any], out: Path) -> None:
    for split in ("valid", "test"):
        for label, value in metrics.get(split, {}).items():
            print(f"{split}\t{label}\t{value:.5g}" if isinstance(value, float) else f"{split}\t{label}\t{value}")
    for label, value in metrics.get("best_reachable", {}).items():
        if label in metrics["test"]:
            print(f"best reachable\t{label}\t{value:.5g}")
    print(f"run\t{out}")
    if metrics["protocol"] == "authors":
        tell("protocol authors chose the epoch on the test set; compare with published numbers only")
    if chosen := metrics.get("chosen"):
        tell(f"chosen on held-out pairs: {', '.join(f'{name} {value:.3g}' for name, value in chosen.items())}")
    tell(f"{metrics['train_seconds']:.1f} s of training, epoch {metrics['best_epoch']} of {metrics['epochs']} kept")


def _resolve(arguments: argparse.Namespace, changes: dict[str, Any]) -> tuple[str, tuple[Path, Path] | None, Config]:
    """Return where the data are, as a name or as two files, and the configuration: options over --config over configs/."""
    from ultragcn.data.sources import canonical_name

    if arguments.config is None:
        source = arguments.dataset or "demo"
        return source, None, configuration_for(source, **changes)
    file = read_config(arguments.config, changes.get("solver"))
    if file.ignored:
        tell(f"{arguments.config}: ignored {', '.join(file.ignored)}, which have no meaning here")
    source = arguments.dataset or canonical_name(file.dataset or "demo")
    return source, None if arguments.dataset else file.files, Config(**(file.values | changes))
