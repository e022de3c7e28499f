"""Vary hyper-parameters over many trials; any number of processes share a study, and none repeats what is done."""

import argparse
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultragcn.cli import data_options, seeds, slurm, threads
from ultragcn.cli.messages import tell
from ultragcn.data.options import DATA_OPTIONS
from ultragcn.errors import UsageError, counted

if TYPE_CHECKING:
    from ultragcn.experiments.studies.study import Study
    from ultragcn.experiments.studies.sweep import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "study",
        nargs="?",
        metavar="STUDY.toml",
        help="a file of the study (docs/sweeps.md); options on the command line take precedence over it",
    )
    data_options.add_arguments(parser)
    parser.set_defaults(protocol=None, split_seed=None)  # not given: as the file says
    group = parser.add_argument_group("study")
    group.add_argument("--model", metavar="NAME", help="what is trained: ultragcn, ultragcn-sgd or a baseline (default: ultragcn)")
    group.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="NAME=OVER",
        help="a,b,c for values; LOW:HIGH, LOW:HIGH:STEP or log:LOW:HIGH for a range; NAME1,NAME2=OVER gives both the same; repeatable",
    )
    group.add_argument("--fix", action="append", default=[], metavar="NAME=VALUE", help="the same in all trials; repeatable")
    group.add_argument("--sampler", metavar="grid | random | list | tpe", help="which trials there are (default: grid)")
    group.add_argument("--sampler_seed", type=int, metavar="N", help="fixes what random and tpe draw (default: 0)")
    group.add_argument("--trials", type=int, metavar="N", help="how many (default: all of a grid or list, 20 of random or tpe)")
    seeds.add_argument(group, "0")
    group.add_argument("--choose_by", metavar="LABEL", help="metric that the best trial is best in (default: ndcg@20)")
    group.add_argument("--metrics", metavar="LIST", help="what is measured (default: recall@20,ndcg@20)")
    group.add_argument("--no_kept", action="store_true", help="do without trial 0, which has the settings in use without a sweep")
    group.add_argument("--no_prune", action="store_true", help="tpe: let every trial run to its end")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="number of trials that run at once, each in a process of its own (default: 1)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of each trial (default: its share of the cores)")
    threads.add_argument(parser, ", all jobs together")
    parser.add_argument("--out", metavar="DIR", help="the study's folder (default: runs/sweep-NAME)")
    parser.add_argument("--slurm", metavar="FILE.sh", help="run nothing, and write a script for sbatch whose jobs share the study")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn sweep`."""
    from ultragcn.experiments.studies import model_study
    from ultragcn.experiments.studies.study import in_words
    from ultragcn.experiments.studies.sweep import check_workers, sweep
    from ultragcn.models.registry import note_of_defaults
    from ultragcn.progress import Bars, Silent

    if arguments.threads is not None and threads.number_of(arguments) is not None:
        raise UsageError(
            "--threads is the number of threads of each job, and --num_threads is the number of all jobs together; give one of the two"
        )
    said = _said(arguments)
    source = model_study.source_of(said)
    # Before the data are read: what is wrong is said at once.
    model_study.parameters_of(said)
    check_workers(arguments.jobs, arguments.threads)
    progress = Silent() if arguments.quiet else Bars()
    data = data_options.read(source, progress)
    study = model_study.study_of(said, data)
    model = said.get("model", "ultragcn")
    note = note_of_defaults([model], data.known_as, data.tuned_as)
    del data
    out = Path(arguments.out) if arguments.out else Path("runs") / f"sweep-{study.name}"
    trial = model_study.ModelTrial(source, model, study.metrics)
    tell(in_words(study))
    if note is not None:
        tell(note)
    for sentence in model_study.without_effect(study, model):
        tell(f"warning: {sentence}")
    if arguments.slurm is not None:
        slurm.write_script(arguments, study.name, out)
        tell(f"look at its first lines, then: sbatch {arguments.slurm}")
        return 0
    with _stopped_as_by_ctrl_c():
        outcome = sweep(study, trial, out, jobs=arguments.jobs, threads=arguments.threads, progress=progress, tell=tell)
    if outcome.best is not None:
        best = model_study.write_best(out, study, model, source, outcome.best)
        tell(f"trials are measured on pairs that they have not seen; {best} says how to train a model to use")
        _print(study, outcome, best)
    return _ended(study, outcome, out)


@contextlib.contextmanager
def _stopped_as_by_ctrl_c() -> Iterator[None]:
    """Let `kill` and a batch system's notice (SIGTERM) end the sweep as Ctrl-C does: at once, saying what is kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(study: "Study", outcome: "Outcome", best: Path) -> None:
    chosen = outcome.best
    assert chosen is not None
    print(f"trial\t{chosen.trial}")
    print(f"chosen_by\t{study.choose_by}")
    for name, value in chosen.parameters.items():
        print(f"{name}\t{value}")
    for name, mean in chosen.means.items():
        print(f"{name}\t{mean:.5g}" + (f"\t{' - '.join(f'{end:.5g}' for end in ends)}" if (ends := chosen.intervals.get(name)) else ""))
    print(f"configuration\t{best}")


def _ended(study: "Study", outcome: "Outcome", out: Path) -> int:
    """Say on stderr how the study stands; return the exit status."""
    from ultragcn.experiments.studies.study import FAILED, PRUNED

    states = [trial.state for trial in outcome.summaries]
    counts = {"failed": states.count(FAILED), "pruned": states.count(PRUNED)}
    some = "".join(f", {counted(count, 'trial')} {state}" for state, count in counts.items() if count)
    tell(f"{outcome.num_ended} of {counted(outcome.num_runs, 'run')}{some}; results are in {out / 'results.tsv'}")
    if outcome.against_kept:
        tell(outcome.against_kept)
    if (first := next((trial for trial in outcome.summaries if trial.state == FAILED), None)) is not None:
        tell(f"trial {first.trial} failed: {first.why}")
    if outcome.num_ended < outcome.num_runs:
        tell("other processes run the other trials")
    if study.about["protocol"] == "authors":
        tell("protocol authors chose on the test set; compare with published numbers only")
    if outcome.best is None:
        tell(f"no trial is done; {out / 'results.tsv'} says why")
        return 1
    return 0


def _said(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the file says and the options beside it, in the words of a study file."""
    from ultragcn.experiments.studies.model_study import read_study_file

    said = read_study_file(Path(arguments.study)) if arguments.study else {}
    names = ("dataset", "data_dir", "test", "valid", "titles", "items_table", "protocol", "split_seed", "model",
             "sampler", "sampler_seed", "trials", "choose_by")  # fmt: skip
    said |= {name: value for name in names if (value := getattr(arguments, name)) is not None}
    said |= {name: value for name in DATA_OPTIONS if (value := getattr(arguments, f"data_{name}")) is not None}
    if arguments.metrics is not None:
        said["metrics"] = arguments.metrics.split(",")
    if arguments.seeds is not None:
        said["seeds"] = seeds.seeds_of(arguments.seeds)
    if arguments.no_prune:
        said["prune"] = False
    if arguments.no_kept:
        said["kept"] = False
    said["vary"] = said.get("vary", {}) | {name: _over(over) for name, over in map(_pair, arguments.vary)}
    said["fixed"] = said.get("fixed", {}) | dict(map(_pair, arguments.fix))
    if not said["vary"]:
        raise UsageError("nothing varies; give a study file, or --vary NAME=0.1,0.2")
    if "dataset" not in said:
        raise UsageError("give --dataset, or a study file that names its data")
    return said


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"--vary and --fix are written NAME=..., such as --vary l2_user=0.1,0.2, not {text!r}")
    return name, value


def _over(text: str) -> Any:
    """Return what a parameter varies over, as a study file has it."""
    is_log, ends = text.startswith("log:"), text.removeprefix("log:").split(":")
    if len(ends) == 1 and not is_log:
        return [word.strip() for word in text.split(",")]
    try:
        numbers = [int(end) if end.strip().lstrip("+-").isdecimal() else float(end) for end in ends]
        if not 2 <= len(numbers) <= 3:
            raise ValueError(text)
        return dict(zip(("low", "high", "step"), numbers, strict=False)) | ({"log": True} if is_log else {})
    except ValueError:
        raise UsageError(f"a range is written LOW:HIGH, LOW:HIGH:STEP or log:LOW:HIGH with numbers, not {text!r}") from None
